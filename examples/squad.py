"""Learning rates on SQuAD 1.1 with a mini model, and the report.

python examples/squad.py [--tiny | --folder FOLDER_WITH_BOTH_FILES]
"""

from __future__ import annotations

from collections.abc import Sequence

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *


def all_squad(
    finetune: Trains = all_minibert_finetune_squad11,
    learning_rates: Sequence[float] = (5e-5, 1e-4, 3e-4),
    seeds: Sequence[int] = (0, 1),
) -> Report:
    """A run for each learning rate and seed."""
    grid = [{"learning_rate": rate, "seed": seed} for rate in learning_rates for seed in seeds]
    return comparison(
        title="Learning rates on SQuAD 1.1",
        text="Exact match and F1 in percent, as the official evaluation defines them: `eval_*` on articles held out of "
        "train, by which to choose, `test_*` on SQuAD's dev.",
        runs=[finetune(**settings) for settings in grid],
        labels=[{**settings} for settings in grid],
        metrics=["eval_exact_match", "eval_f1", "test_exact_match", "test_f1"],
    )


if __name__ == "__main__":
    run_experiment(all_squad, all_minibert_finetune_squad11, dryrun_finetune_squad11, __doc__)
