"""A grid of learning rates and batch sizes on MRPC, and its report.

python examples/learning_rate_batch_size.py [--tiny | --folder glue_data]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *


def all_learning_rate_batch_size(
    finetune: Trains = all_minibert_finetune_glue,
    learning_rates: Sequence[float] = (2e-5, 5e-5, 1e-4),
    batch_sizes: Sequence[int] = (8, 32),
) -> Report:
    """A run for each pair of a learning rate and a batch size."""
    grid = itertools.product(learning_rates, batch_sizes)
    settings = [{"learning_rate": rate, "batch_size": size} for rate, size in grid]
    return comparison(
        title="Learning rate and batch size on MRPC",
        text="Choose by eval, which was held out of train; test is GLUE's dev.",
        runs=[finetune("MRPC", **one) for one in settings],
        labels=[{**one} for one in settings],
        metrics=["eval_accuracy", "eval_f1", "test_accuracy", "test_f1"],
    )


if __name__ == "__main__":
    run_experiment(all_learning_rate_batch_size, all_minibert_finetune_glue, dryrun_finetune_glue, __doc__)
