"""How the batch size matters on MRPC, with three seeds each, and the report.

    python examples/batch_size.py [--tiny | --folder glue_data]

The learning rate grows with the square root of the batch size: the noise of a step then stays about as large.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *


def all_batch_size(
    finetune: Trains = all_minibert_finetune_glue,
    batch_sizes: Sequence[int] = (8, 16, 32),
    seeds: Sequence[int] = (0, 1, 2),
) -> Report:
    """Runs of some batch sizes, each with some seeds."""
    grid = list(itertools.product(batch_sizes, seeds))
    return comparison(
        title="Batch size on MRPC",
        text="The learning rate is 2e-5 for 8 rows and grows with the square root of the size.",
        runs=[
            finetune("MRPC", batch_size=size, learning_rate=2e-5 * (size / 8) ** 0.5, seed=seed) for size, seed in grid
        ],
        labels=[{"batch_size": size, "seed": seed} for size, seed in grid],
        metrics=["eval_loss", "eval_accuracy", "test_accuracy", "test_f1"],
    )


if __name__ == "__main__":
    run_experiment(all_batch_size, all_minibert_finetune_glue, dryrun_finetune_glue, __doc__)
