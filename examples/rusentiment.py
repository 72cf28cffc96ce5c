"""Learning rates on RuSentiment with a BERT for Russian, and the report.

python examples/rusentiment.py [--tiny | --folder FOLDER_WITH_THE_FILES]
"""

from __future__ import annotations

from collections.abc import Sequence

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *


def all_rusentiment(
    finetune: Trains = all_rubert_finetune_rusentiment, learning_rates: Sequence[float] = (1e-5, 2e-5, 5e-5)
) -> Report:
    """A run for each learning rate."""
    return comparison(
        title="Learning rates on RuSentiment",
        text="Posts in Russian by sentiment. F1 is the mean of the classes', weighted by their numbers of posts, as in "
        "the data's paper; what is taken for what is told at the end.",
        runs=[finetune(learning_rate=rate) for rate in learning_rates],
        labels=[{"learning_rate": rate} for rate in learning_rates],
        metrics=["eval_f1_weighted", "test_f1_weighted", "test_accuracy"],
    )


if __name__ == "__main__":
    run_experiment(all_rusentiment, all_rubert_finetune_rusentiment, dryrun_finetune_rusentiment, __doc__)
