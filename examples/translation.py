"""Ways to train a translator from English into German, and the report.

python examples/translation.py [--tiny | --folder FOLDER_WITH_TEXTS]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *

METHODS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "no label smoothing": {"label_smoothing": 0.0},
    "no average of weights": {"average_decay": None},
    "greedy": {"beam_size": 1},
}


def trains_small(folder: str | None = None, **settings: Any) -> Transformer:
    """A small Transformer, for a CPU."""
    return all_transformer_wmtende(folder, size="small", vocabulary_size=4000, **settings)


def all_translation(trains: Trains = trains_small, methods: Sequence[str] = tuple(METHODS)) -> Report:
    """A run for each way to train."""
    return comparison(
        title="Ways to train a translator",
        text="BLEU by sacrebleu; losses are measured without label smoothing.",
        runs=[trains(**METHODS[method]) for method in methods],
        labels=[{"method": method} for method in methods],
        metrics=["eval_loss", "eval_accuracy", "eval_bleu"],
    )


if __name__ == "__main__":
    run_experiment(all_translation, trains_small, dryrun_transformer, __doc__)
