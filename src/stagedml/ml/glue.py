"""The GLUE benchmark: its tasks, the layouts of their files, and how their rows are split.

Rules this module keeps:
- A task's layout stands once, in `TASKS`. Files are read as they are published: tab-separated, no quoting (rows hold
  unbalanced quotation marks), a byte order mark dropped, lines ending in LF or CRLF.
- A row that does not fit its layout is never dropped in silence: reading fails and names each of them by file and
  line, or, where the caller allows for some, returns them beside the examples and logs them.
- Three labelled splits: *train* and *valid* are GLUE's train with 5 % held out (`is_held_out`), *test* is GLUE's dev,
  since the labels of GLUE's test were never published. Choices are made on valid; test is only reported.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagedml.errors import UsageError

if TYPE_CHECKING:
    from stagedml.ml.records import TextExample

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")

_SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class GlueTask:
    """One task: what its files look like and how it is scored.

    Attributes:
        name: as GLUE spells it; the name of the task's folder, too.
        columns: of train.tsv and dev.tsv; names are ours where a file has no header.
        header: whether the first line of train.tsv and dev.tsv names the columns.
        first: the column with the sentence, or with the first of two.
        second: the column with the second sentence; None for tasks on single sentences.
        label: the column with the label.
        labels: how the files spell the classes; the place of a spelling is the class's number.
        metrics: names from `metrics.METRICS`, the task's own, in the order in which GLUE reports them.
    """

    name: str
    columns: tuple[str, ...]
    header: bool
    first: str
    second: str | None
    label: str
    labels: tuple[str, ...]
    metrics: tuple[str, ...]


TASKS = {
    task.name: task
    for task in (
        GlueTask(
            name="MRPC",
            columns=("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
            header=True,
            first="#1 String",
            second="#2 String",
            label="Quality",
            labels=("0", "1"),
            metrics=("accuracy", "f1"),
        ),
        GlueTask(
            name="CoLA",
            columns=("source", "label", "author's mark", "sentence"),
            header=False,
            first="sentence",
            second=None,
            label="label",
            labels=("0", "1"),
            metrics=("matthews", "accuracy"),
        ),
        GlueTask(
            name="SST-2",
            columns=("sentence", "label"),
            header=True,
            first="sentence",
            second=None,
            label="label",
            labels=("0", "1"),
            metrics=("accuracy",),
        ),
        GlueTask(
            name="RTE",
            columns=("index", "sentence1", "sentence2", "label"),
            header=True,
            first="sentence1",
            second="sentence2",
            label="label",
            labels=("entailment", "not_entailment"),
            metrics=("accuracy",),
        ),
    )
}


class UnknownGlueTask(UsageError):
    """No task of that name is in the table."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no GLUE task {self.name!r}; there are {', '.join(TASKS)}"


@dataclass(frozen=True)
class MalformedRow:
    """A row that does not fit its layout."""

    path: str
    line: int
    problem: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}"


class MalformedRows(UsageError):
    """A file of GLUE holds more rows that do not fit their layout than the caller allows for."""

    def __init__(self, rows: tuple[MalformedRow, ...], allowed: int) -> None:
        super().__init__(rows, allowed)
        self.rows, self.allowed = rows, allowed

    def __str__(self) -> str:
        shown = [str(row) for row in self.rows[:_SHOWN_PROBLEMS]]
        if len(self.rows) > len(shown):
            shown.append(f"... and {len(self.rows) - len(shown)} more")
        head = f"{len(self.rows)} malformed rows ({self.allowed} allowed); mend or remove them, or allow for them:"
        return "\n".join([head, *shown])


@dataclass(frozen=True)
class Reading:
    """What a file held."""

    examples: tuple[TextExample, ...]
    malformed: tuple[MalformedRow, ...]


def glue_task(name: str) -> GlueTask:
    """The task of that name, however it is capitalised.

    Raises:
        UnknownGlueTask: there is none.
    """
    for task in TASKS.values():
        if task.name.lower() == name.lower():
            return task
    raise UnknownGlueTask(name)


def read_split(task: GlueTask, folder: Path, split: str, *, allow_malformed: int = 0) -> Reading:
    """Read one labelled split of a task.

    Args:
        task: from `TASKS`.
        folder: the task's folder, with train.tsv and dev.tsv as GLUE publishes them.
        split: "train", "valid" or "test", as the module's docstring defines them.
        allow_malformed: so many malformed rows of the file are no error.

    Raises:
        MalformedRows: there are more of them.
        UsageError: the folder lacks the file.
    """
    if split not in SPLITS:
        raise ValueError(f"{split!r} is none of {SPLITS}")
    reading = read_labelled(task, folder / ("dev.tsv" if split == "test" else "train.tsv"), allow_malformed)
    if split == "test":
        return reading
    kept = tuple(example for example in reading.examples if is_held_out(example.index) == (split == "valid"))
    return Reading(kept, reading.malformed)


def is_held_out(index: int) -> bool:
    """Whether a row of train belongs to the validation split.

    The rule, fixed for ever: the row's number (from 0, the header not counted) in decimal digits is hashed with
    SHA-256; the row is held out if the first 8 bytes of the hash, a big-endian number, leave a remainder below 5 when
    divided by 100. No generator and no seed: the split of a file is the same everywhere. It holds out 5 % of the rows,
    give or take chance (MRPC: see `docs/explanation/mrpc-settings.md`).
    """
    return int.from_bytes(hashlib.sha256(str(index).encode()).digest()[:8], "big") % 100 < 5


def read_labelled(task: GlueTask, path: Path, allow_malformed: int = 0) -> Reading:
    """Read a file in the layout of a task's train.tsv and dev.tsv.

    Returns:
        The examples in the file's order; each has the number of its row, counted from 0 without the header and with
        malformed rows.
    """
    from stagedml.ml.records import TextExample

    lines = _lines(path)
    if task.header:
        header = tuple(next(lines, "").split("\t"))
        if header != task.columns:
            raise MalformedRows((MalformedRow(str(path), 1, f"header {header!r}, not {task.columns!r}"),), 0)
    numbers = {spelling: number for number, spelling in enumerate(task.labels)}
    place = {column: number for number, column in enumerate(task.columns)}
    examples: list[TextExample] = []
    malformed: list[MalformedRow] = []
    for index, line in enumerate(lines):
        cells = line.split("\t")
        if problem := _problem(task, cells, place):
            malformed.append(MalformedRow(str(path), index + 1 + task.header, problem))
            continue
        examples.append(
            TextExample(
                index=index,
                first=cells[place[task.first]],
                second=None if task.second is None else cells[place[task.second]],
                label=numbers[cells[place[task.label]]],
            )
        )
    if len(malformed) > allow_malformed:
        raise MalformedRows(tuple(malformed), allow_malformed)
    for row in malformed:
        logger.warning("left out: %s", row)
    return Reading(tuple(examples), tuple(malformed))


def _problem(task: GlueTask, cells: Sequence[str], place: dict[str, int]) -> str | None:
    if len(cells) != len(task.columns):
        return f"{len(cells)} columns, not {len(task.columns)}"
    if cells[place[task.label]] not in task.labels:
        return f"label {cells[place[task.label]]!r}, none of {', '.join(task.labels)}"
    for column in (task.first, task.second):
        if column is not None and not cells[place[column]].strip():
            return f"column {column!r} is empty"
    return None


def _lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, split at LF and CRLF only: sentences may hold other line separators of Unicode."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; a GLUE folder has train.tsv and dev.tsv in it") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}; fetch the file again") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return (line.removesuffix("\r") for line in lines)


# -- MRPC by GLUE's own recipe ---------------------------------------------------------------------------------------


def make_mrpc(train_text: Path, test_text: Path, dev_ids: Path, output: Path) -> None:
    """Make GLUE's MRPC files from the corpus's two text files, as GLUE's own recipe does, byte for byte.

    train.tsv and dev.tsv: the rows of the corpus's train, in its order; dev.tsv has those whose pair of ids is listed.
    test.tsv: the rows of the corpus's test, numbered, without their labels.

    Args:
        train_text: msr_paraphrase_train.txt in its SentEval edition.
        test_text: msr_paraphrase_test.txt, likewise.
        dev_ids: mrpc_dev_ids.tsv, two ids a line.
        output: a folder that exists.

    Raises:
        MalformedRows: a row has not five columns, or the ids not two.
        UsageError: ids are listed that the corpus does not have.
    """
    columns = TASKS["MRPC"].columns
    ids = {tuple(cells) for _, cells in _rows(dev_ids, 2)}
    header = train_text.read_bytes().split(b"\n", 1)[0].decode("utf-8").removesuffix("\r")
    train, dev = [header], [header]
    found = set()
    for _, cells in _rows(train_text, len(columns), skip=1):
        pair = (cells[1], cells[2])
        (dev if pair in ids else train).append("\t".join(cells))
        found.add(pair)
    if lost := sorted(ids - found):
        raise UsageError(f"{dev_ids}: {len(lost)} pairs of ids are not in {train_text}, the first {lost[0]}")
    test = ["\t".join(("index", *columns[1:]))]
    test += ["\t".join((str(index), *cells[1:])) for index, cells in _rows(test_text, len(columns), skip=1)]
    for name, lines in (("train.tsv", train), ("dev.tsv", dev), ("test.tsv", test)):
        (output / name).write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))


def _rows(path: Path, columns: int, skip: int = 0) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The rows of a file with their numbers, outer whitespace stripped, which must all have so many columns."""
    lines = [line.strip() for line in _lines(path)][skip:]
    rows = [tuple(line.split("\t")) for line in lines]
    if malformed := tuple(
        MalformedRow(str(path), number + 1 + skip, f"{len(row)} columns, not {columns}")
        for number, row in enumerate(rows)
        if len(row) != columns
    ):
        raise MalformedRows(malformed, 0)
    return enumerate(rows)
