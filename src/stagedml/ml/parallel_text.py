"""Parallel text: the same in two languages, a sentence a line, in two files of as many lines.

Rules this module keeps:
- A line ends in LF, or in CR LF, and nowhere else: text from the web holds other characters that some readers take for
  the end of a line, and one of these in one of the files would set all that follows apart.
- A mark of byte order at the beginning of a file is no part of its first line.
- Files with different numbers of lines are an error that names both; they are never paired as far as they go.
- Files are read in pieces; no more than one of them is in memory.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stagedml.errors import UsageError

_PIECE_LINES = 1024


class NotAligned(UsageError):
    """Two files that should say the same line by line have different numbers of lines."""

    def __init__(self, paths: tuple[str, ...], lines: tuple[int, ...]) -> None:
        super().__init__(paths, lines)
        self.paths, self.lines = paths, lines

    def __str__(self) -> str:
        counts = ", ".join(f"{path} has {lines} lines" for path, lines in zip(self.paths, self.lines, strict=True))
        return f"{counts}: line n of each must say the same; look where they part, or fetch them again"


@dataclass(frozen=True)
class ParallelPiece:
    """Some lines of two files.

    Attributes:
        first: the number of the first one, from 0.
        sources, targets: the lines, without what ends them; as many of one as of the other.
    """

    first: int
    sources: Sequence[bytes]
    targets: Sequence[bytes]


def parallel_pieces(source: Path, target: Path) -> Iterator[ParallelPiece]:
    """Two files from their beginning to their end.

    Raises:
        NotAligned: one has more lines than the other; told at the end.
        UsageError: one cannot be read.
    """
    for first, (sources, targets) in _pieces((source, target)):
        yield ParallelPiece(first, sources, targets)


def join_files(parts: Sequence[Sequence[Path]], outputs: Sequence[Path]) -> list[int]:
    """Write parallel files one after the other.

    Args:
        parts: each as many files as there are languages, aligned with each other.
        outputs: a file to write for each language; all lines end in LF.

    Returns:
        How many lines each part has.

    Raises:
        NotAligned: the files of a part have different numbers of lines.
        UsageError: a file cannot be read.
    """
    counts = []
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in outputs]
        for part in parts:
            count = 0
            for _, pieces in _pieces(part):
                count += len(pieces[0])
                for file, lines in zip(files, pieces, strict=True):
                    file.writelines(line + b"\n" for line in lines)
            counts.append(count)
    return counts


def split_shuffled(files: Sequence[Path], outputs: Sequence[Sequence[Path]], *, share: float, seed: int) -> None:
    """Shuffle parallel files in step and part them in two. All lines are in memory: for small files.

    Args:
        files: aligned with each other.
        outputs: for each of them, the file to write the first part to, and that for the rest.
        share: of the lines, the part that comes first, in [0, 1].
        seed: of the order.

    Raises:
        NotAligned: they have different numbers of lines.
        UsageError: a file cannot be read.
    """
    lines: list[list[bytes]] = [[] for _ in files]
    for _, pieces in _pieces(files):
        for all_lines, some in zip(lines, pieces, strict=True):
            all_lines += some
    order = np.random.default_rng(seed).permutation(len(lines[0]))
    first = round(share * len(order))
    for own, paths in zip(lines, outputs, strict=True):
        for path, places in zip(paths, (order[:first], order[first:]), strict=True):
            path.write_bytes(b"".join(own[place] + b"\n" for place in places))


def count_lines(path: Path) -> int:
    """How many lines a file has, the last of which may have no end.

    Raises:
        UsageError: it cannot be read.
    """
    with ExitStack() as stack:
        return sum(1 for _ in _opened(path, stack))


def read_lines(path: Path) -> list[str]:
    """The lines of a file that `write_lines` wrote."""
    return path.read_bytes().decode("utf-8").split("\n")[:-1]


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write texts without line feeds in them, one a line."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))


def _pieces(paths: Sequence[Path]) -> Iterator[tuple[int, list[list[bytes]]]]:
    """The number of a first line, and some lines of each file."""
    first = 0
    with ExitStack() as stack:
        files = [_opened(path, stack) for path in paths]
        while True:
            lines = [[_bare(line) for line in islice(file, _PIECE_LINES)] for file in files]
            if len(set(map(len, lines))) > 1:
                counts = [first + len(own) + sum(1 for _ in file) for own, file in zip(lines, files, strict=True)]
                raise NotAligned(tuple(map(str, paths)), tuple(counts))
            if not lines[0]:
                return
            if not first:
                for own in lines:
                    own[0] = own[0].removeprefix(codecs.BOM_UTF8)
            yield first, lines
            first += len(lines[0])


def _opened(path: Path, stack: ExitStack) -> BinaryIO:
    try:
        return stack.enter_context(path.open("rb"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _bare(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")
