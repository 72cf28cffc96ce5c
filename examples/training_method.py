"""The same task trained in several ways, and the report.

python examples/training_method.py [--tiny | --folder glue_data]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *

METHODS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "lamb": {"algorithm": "lamb", "learning_rate": 1e-3},
    "accumulate 4": {"accumulate": 4},
    "average of weights": {"average_decay": 0.99},
    "best epoch": {"keep_best": "accuracy"},
}


def all_training_method(
    finetune: Trains = all_minibert_finetune_glue, methods: Sequence[str] = tuple(METHODS)
) -> Report:
    """A run for each way to train."""
    return comparison(
        title="Ways to train on MRPC",
        text="All begin with the same weights and see the same rows. LAMB, whose steps are "
        "measured by the weights that they change, has a learning rate of its own.",
        runs=[finetune("MRPC", **METHODS[method]) for method in methods],
        labels=[{"method": method} for method in methods],
        metrics=["eval_loss", "eval_accuracy", "test_accuracy", "test_f1"],
    )


if __name__ == "__main__":
    run_experiment(all_training_method, all_minibert_finetune_glue, dryrun_finetune_glue, __doc__)
