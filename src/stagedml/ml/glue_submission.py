"""Files with predictions, as GLUE's leaderboard takes them: `index` and `prediction`, separated by a tab.

A file has each row of the test once, in order. Classes are spelt as the task's own files spell them; scores have three
decimals and stay within the task's range.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.glue import GlueTask

logger = logging.getLogger(__name__)


class UnusablePredictions(UsageError):
    """Predictions from which no file for the leaderboard can be made."""

    def __init__(self, task: str, split: str, problems: tuple[str, ...]) -> None:
        super().__init__(task, split, problems)
        self.task, self.split, self.problems = task, split, problems

    def __str__(self) -> str:
        return f"{self.task}, {self.split}: {'; '.join(self.problems)}; predict each row of the split once"


def write_submission(
    folder: Path, task: GlueTask, split: str, index: NDArray[np.integer[Any]], predicted: NDArray[Any]
) -> Path:
    """Write the predictions for a test of GLUE.

    Args:
        folder: where to write; exists.
        task: from `glue.TASKS`.
        split: "unlabelled", or "unlabelled_mismatched" of MNLI.
        index: (rows,) the number of each row in the test, in any order.
        predicted: (rows,) the numbers of classes, or scores.

    Returns:
        The file, by the name that the leaderboard wants.

    Raises:
        UnusablePredictions: rows are missing or there twice, there is no such class, or a score is no number.
    """
    problems = []
    if split not in task.leaderboard:
        problems.append(f"the leaderboard takes {', '.join(task.leaderboard) or 'nothing'} of this task")
    if index.shape != predicted.shape or index.ndim != 1 or not index.size:
        problems.append(f"{predicted.shape} predictions for {index.shape} rows")
    elif not np.array_equal(np.sort(index), np.arange(len(index))):
        rows, counts = np.unique(index, return_counts=True)
        problems += [f"row {row} is there {count} times" for row, count in zip(rows, counts, strict=True) if count > 1]
        problems += [f"row {row} is missing" for row in np.setdiff1d(np.arange(len(index)), rows)]
    if task.scores is not None:
        if not np.all(np.isfinite(predicted)):
            problems.append("there are scores that are no numbers")
    elif strange := sorted(set(predicted.ravel().tolist()) - set(range(len(task.labels)))):
        problems.append(f"no class has the number {strange[0]}; there are {len(task.labels)}")
    if problems:
        raise UnusablePredictions(task.name, split, tuple(problems[:10]))
    if len(index) != (published := task.file(split).rows):
        logger.warning("%s, %s: %d rows; the leaderboard wants %d", task.name, split, len(index), published)
    ordered = predicted[np.argsort(index)]
    lines = [f"{row}\t{spelling}\n" for row, spelling in enumerate(_spelt(task, ordered))]
    path = folder / task.leaderboard[split]
    path.write_text("".join(["index\tprediction\n", *lines]), encoding="utf-8", newline="\n")
    return path


def _spelt(task: GlueTask, predicted: NDArray[Any]) -> list[str]:
    if task.scores is None:
        return [task.labels[number] for number in predicted.tolist()]
    within = np.clip(predicted.astype(np.float64), *task.scores) + 0.0  # no negative zeros
    return [f"{score:.3f}" for score in within.tolist()]
