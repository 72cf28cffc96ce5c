"""Parallel text as TFRecord files of subwords, one a split, and the lines that evaluation compares with.

A row has `index` (the number of its line), `inputs` and `targets`, each with the id of its end as the last one.

Rules this module keeps:
- A file's bytes follow from texts, subwords and settings, not from the number of workers.
- Pairs to train on are cleaned: those with an empty side, one that is too long, or bytes that are no UTF-8 are left
  out, counted by reason, and the first of them named by their line.
- Of what is measured with, no line is left out: what is too long is cut, and counted; bytes that are no UTF-8 are an
  error. References are the lines as they are.
- Writing streams: a few pieces of the texts are in memory, however long they are.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.parallel_text import ParallelPiece, count_lines, parallel_pieces, write_lines
from stagedml.ml.processes import map_in_order
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.subwords import END, Subwords
from stagedml.ml.tfrecord import DamagedRecords, Row, frames_of, read_columns

TRAIN = "train"
EMPTY, TOO_LONG, NOT_UTF8 = "an empty side", "too long", "not UTF-8"

_NAMED = 20
_MOST_UNREADABLE = 0.05
# A process takes a quarter of a second to start; so many pieces, of about a thousand pairs, are worth it.
_PIECES_WORTH_A_PROCESS = 8


class NotText(UsageError):
    """A line that is needed holds bytes that are no UTF-8."""

    def __init__(self, source: str, target: str, line: int) -> None:
        super().__init__(source, target, line)
        self.source, self.target, self.line = source, target, line

    def __str__(self) -> str:
        return (
            f"line {self.line} of {self.source} or {self.target}: bytes that are no UTF-8, and too many to leave out; "
            "mend the line, or write the whole file in UTF-8"
        )


class NoPairs(UsageError):
    """Nothing is left of a split."""

    def __init__(self, split: str, lines: int, problems: Mapping[str, int]) -> None:
        super().__init__(split, lines, problems)
        self.split, self.lines, self.problems = split, lines, problems

    def __str__(self) -> str:
        if not self.lines:
            return f"{self.split} has no lines; give at least one pair"
        reasons = ", ".join(f"{count} for {problem}" for problem, count in self.problems.items())
        return f"{self.split}: all of its {self.lines} pairs are left out: {reasons}"


class PairsDoNotFit(UsageError):
    """Records are no pairs for the subwords beside them."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; write the records again, with their subwords"


@dataclass(frozen=True)
class SplitPairs:
    """What became of the pairs of a split.

    Attributes:
        written: how many are in its TFRecord file.
        problems: how many were left out, or cut, by reason.
        named: the first of those, by line.
    """

    written: int
    problems: dict[str, int]
    named: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `rows.json` has it."""
        return {"rows": self.written, "problems": self.problems, "named": list(self.named)}


@dataclass(frozen=True)
class _Encoded:
    """A piece of parallel text as a TFRecord file holds it; its problems by line, from 1; its target lines."""

    lines: int
    rows: int
    frames: bytes
    problems: Sequence[tuple[int, str]]
    references: Sequence[str]


def write_pairs(
    split: str,
    source: Path,
    target: Path,
    records: Path,
    subwords: Subwords,
    *,
    max_length: int,
    references: Path | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> SplitPairs:
    """Write the pairs of one split.

    Args:
        split: what it is called.
        source, target: its texts.
        records: the TFRecord file to write.
        subwords: of both languages.
        max_length: subwords a side at most, the end included.
        references: the file to write target lines to, for a split to measure with; None for one to train on, which is
            cleaned.
        workers: processes that encode; no part of the result.
        progress: told now and then.

    Raises:
        NotAligned: the texts have different numbers of lines.
        NotText: a line to measure with is no UTF-8, or more than a share of `_MOST_UNREADABLE` of those to train on.
        NoPairs: nothing is left.
        UsageError: a text cannot be read.
    """
    total, done, written = count_lines(source), 0, 0
    problems, named, lines = Counter[str](), list[str](), list[str]()
    unreadable = 0  # the first such line
    encode = functools.partial(_encode, subwords, max_length, references is None)
    pieces = map_in_order(encode, parallel_pieces(source, target), workers, worth=_PIECES_WORTH_A_PROCESS)
    with records.open("wb") as file, closing(pieces):
        for piece in pieces:
            file.write(piece.frames)
            written, done = written + piece.rows, done + piece.lines
            problems.update(problem for _, problem in piece.problems)
            named += [f"line {line}: {problem}" for line, problem in piece.problems[: _NAMED - len(named)]]
            unreadable = unreadable or next((line for line, problem in piece.problems if problem == NOT_UTF8), 0)
            lines += piece.references
            progress(f"subwords of {split}", done, total, "lines")
    most = 0 if references is not None else _MOST_UNREADABLE * done
    if problems[NOT_UTF8] > most:
        raise NotText(source.name, target.name, unreadable)
    if not written:
        raise NoPairs(split, done, dict(sorted(problems.items())))
    if references is not None:
        write_lines(references, lines)
    return SplitPairs(written, dict(sorted(problems.items())), tuple(named))


def _encode(subwords: Subwords, max_length: int, cleans: bool, piece: ParallelPiece) -> _Encoded:
    sides = [[_text(line) for line in lines] for lines in (piece.sources, piece.targets)]
    ids = [subwords.encode([text or "" for text in texts]) for texts in sides]
    rows: list[Row] = []
    problems = []
    for place, (inputs, targets) in enumerate(zip(*ids, strict=True)):
        problem = _problem([texts[place] for texts in sides], max(len(inputs), len(targets)) + 1 > max_length)
        if problem and (cleans or problem != EMPTY):
            problems.append((piece.first + place + 1, problem))
        if not (problem and cleans):
            inputs, targets = ([*own[: max_length - 1], END] for own in (inputs, targets))
            rows.append({"index": (piece.first + place,), "inputs": inputs, "targets": targets})
    references = [] if cleans else [text or "" for text in sides[1]]
    return _Encoded(len(piece.sources), len(rows), frames_of(rows), problems, references)


def _text(line: bytes) -> str | None:
    try:
        return line.decode("utf-8").strip()
    except UnicodeDecodeError:
        return None


def _problem(texts: Sequence[str | None], is_long: bool) -> str | None:
    if None in texts:
        return NOT_UTF8
    if "" in texts:
        return EMPTY
    return TOO_LONG if is_long else None


# -- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """A file of pairs, in memory.

    Attributes:
        inputs, targets: ids of subwords, a row as long as its text, the end included; in 16 bits if they fit.
    """

    inputs: Ragged
    targets: Ragged

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def columns(self) -> dict[str, Sequence[NDArray[Any]]]:
        """The ragged columns, for `batching`."""
        return {"inputs": self.inputs, "targets": self.targets}


def read_pairs(path: Path, size: int) -> Pairs:
    """Read a file of pairs.

    Args:
        path: of the file.
        size: how many subwords there are.

    Raises:
        DamagedRecords: the file is damaged, or a row lacks a feature.
        PairsDoNotFit: there are none, or subwords that there are not.
    """
    kind = np.uint16 if size <= 1 << 16 else np.int32
    parts: dict[str, list[Ragged]] = {"inputs": [], "targets": []}
    for columns in read_columns(path):
        if missing := sorted(set(parts) - set(columns)):
            raise DamagedRecords(str(path), 0, f"the rows have no {', '.join(missing)}")
        for name, own in parts.items():
            if (highest := columns[name].values.max(initial=0)) >= size:
                raise PairsDoNotFit(str(path), f"there is a subword {highest} among {name}, and {size} are known")
            own.append(Ragged(columns[name].values.astype(kind), columns[name].offsets))
    pairs = Pairs(*(Ragged.joined(own, kind) for own in parts.values()))
    if not len(pairs):
        raise PairsDoNotFit(str(path), "there are no pairs in it")
    return pairs
