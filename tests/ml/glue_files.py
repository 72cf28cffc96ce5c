"""GLUE's files, made up in the exact layouts of the published ones, with what is hostile in those and more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stagedml.ml.glue import GlueFile, GlueTask

# Texts that a reader which knows of quotes, or of Unicode's line separators, falls over.
HOSTILE = (
    'He said " so',
    '" " "',
    "'tis a \\t backslash \\",
    "one\u2028two\u2029three\x85four\x0bfive\x0csix",
    "\ufeffa mark inside",
    "Ünïcödé 中文 \U0001f600",
    "  spaces around  ",
    "-",
)


@dataclass(frozen=True)
class Written:
    """What a file has: the texts and the label of each well-formed row by its number, and the malformed lines."""

    rows: dict[int, tuple[str, str | None, int | float | None]]
    malformed: list[int]


def write_file(folder: Path, task: GlueTask, split: str, count: int, *, malformed: bool = False) -> Written:
    """A file of a task with so many well-formed rows; now and then in CRLF, without a newline at its end."""
    file = task.file(split)
    lines = ["\t".join(file.columns)] if file.header else []
    rows: dict[int, tuple[str, str | None, int | float | None]] = {}
    bad: list[int] = []
    spoilers = _spoilers(task, file) if malformed else []
    for row in range(count):
        if row % 3 == 2 and spoilers:
            lines.append("\t".join(spoilers.pop()(_cells(task, file, file.columns, row))))
            bad.append(len(lines))
        columns = file.wider if file.wider and row % 4 == 1 else file.columns
        cells = _cells(task, file, columns, row)
        lines.append("\t".join(cells.values()))
        first, second = cells[task.first], None if task.second is None else cells[task.second]
        rows[len(lines) - 1 - file.header] = first, second, _label(task, file, row)
    assert not spoilers, "more rows, please"
    end = "\r\n" if count % 2 else "\n"
    mark = b"\xef\xbb\xbf" if task.name == "MRPC" else b""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file.name).write_bytes(mark + end.join(lines).encode() + (b"" if count % 3 else end.encode()))
    return Written(rows, bad)


def _label(task: GlueTask, file: GlueFile, row: int) -> int | float | None:
    if file.label is None:
        return None
    return row % len(task.labels) if task.scores is None else row % 26 / 5


def _cells(task: GlueTask, file: GlueFile, columns: tuple[str, ...], row: int) -> dict[str, str]:
    cells = {column: f"{column} of {row}" for column in columns}
    cells[columns[0]] = str(row)
    for number, column in enumerate((task.first, task.second)):
        if column is not None:
            cells[column] = f"{HOSTILE[(row + number) % len(HOSTILE)]} {row}"
    label = _label(task, file, row)
    if file.label is not None and label is not None:
        cells[file.label] = f"{label:.3f}" if task.scores else task.labels[int(label)]
    return cells


def _spoilers(task: GlueTask, file: GlueFile) -> list[Callable[[dict[str, str]], list[str]]]:
    """Ways in which a row can be malformed."""
    ways: list[Callable[[dict[str, str]], list[str]]] = [
        lambda cells: list(cells.values())[:-1],
        lambda cells: [*cells.values(), "one", "more"],
        lambda cells: [""],
        lambda cells: list((cells | {task.first: " "}).values()),
    ]
    label = file.label
    if label is not None:
        for spelling in ("-", "", "2.x", "Entailment", "nan", "5.001"):
            ways.append(lambda cells, spelling=spelling: list((cells | {label: spelling}).values()))  # type: ignore[misc]
    return ways
