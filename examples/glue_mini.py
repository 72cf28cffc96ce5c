"""All of GLUE with a mini model, and the report.

python examples/glue_mini.py [--tiny | --folder glue_data]
"""

from __future__ import annotations

from collections.abc import Sequence

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.ml.glue import glue_task
from stagedml.stages.all import *


def all_glue_mini(finetune: Trains = all_minibert_finetune_glue, tasks: Sequence[str] = tuple(glue_tasks())) -> Report:
    """A run for each task of GLUE."""
    measured = [
        f"{split}_{metric}"
        for task in map(glue_task, tasks)
        for split in ("test", *task.labelled)
        for metric in task.metrics
    ]
    return comparison(
        title="All of GLUE with a mini model",
        text="Measured on GLUE's dev, whose labels are public; of MNLI there are two. Each task has its own metrics.",
        runs=[finetune(task) for task in tasks],
        labels=[{"task": task} for task in tasks],
        metrics=list(dict.fromkeys(measured)),
    )


if __name__ == "__main__":
    run_experiment(all_glue_mini, all_minibert_finetune_glue, dryrun_finetune_glue, __doc__)
