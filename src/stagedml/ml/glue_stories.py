"""Tasks of GLUE made up by the storyteller: their own layouts, one question.

Whatever the task, it is asked whether two sentences tell the same; see `storyteller`. A task on single sentences has
both in one. If they tell the same, the label is the task's second class, or its highest score, else the first, or the
lowest.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from stagedml.ml.glue import GlueFile, GlueTask
from stagedml.ml.storyteller import Pair, draw_pair


def write_glue(folder: Path, task: GlueTask, *, train: int, dev: int, seed: int) -> None:
    """Write the labelled files of a task.

    Args:
        folder: where; it exists.
        task: one that can be learnt.
        train: rows of the file to learn from.
        dev: rows of each file to measure on.
        seed: of all that is drawn.
    """
    random = Random(seed)
    for split in ("train", "test", *task.labelled):
        file = task.file(split)
        rows = [_cells(task, file, row, draw_pair(random)) for row in range(train if split == "train" else dev)]
        lines = ["\t".join(cells) for cells in ([file.columns, *rows] if file.header else rows)]
        (folder / file.name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _cells(task: GlueTask, file: GlueFile, row: int, pair: Pair) -> list[str]:
    """A row; columns that nobody reads hold its number."""
    cells = dict.fromkeys(file.columns, str(row))
    if task.second is None:
        cells[task.first] = f"{pair.first} {pair.second}"
    else:
        cells[task.first], cells[task.second] = pair.first, pair.second
    if file.label is not None:
        cells[file.label] = task.labels[pair.paraphrase] if task.scores is None else str(task.scores[pair.paraphrase])
    return list(cells.values())
