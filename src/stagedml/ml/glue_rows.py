"""Reading the files of GLUE's tasks.

Rules this module keeps:
- Files are read as they are published: tab-separated, no quoting (rows hold unbalanced quotation marks), a byte order
  mark dropped, lines ending in LF or CRLF, the last one perhaps in neither.
- A file is read in pieces; no more than one of them is in memory.
- A row that does not fit its layout is never dropped in silence: it is counted, and named by file and line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stagedml.errors import UsageError
from stagedml.ml.glue import GlueFile, GlueTask
from stagedml.ml.held_out import is_held_out
from stagedml.ml.malformed import MalformedRow, MalformedRows
from stagedml.ml.records import TextExample

_PIECE_BYTES = 1 << 18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class SplitReader:
    """Reads the rows of one split of a task. It can be sent to another process.

    Attributes:
        task: from `glue.TASKS`.
        path: of the file that holds the split.
        split: one of the task's.
    """

    task: GlueTask
    path: Path
    split: str

    @property
    def file(self) -> GlueFile:
        """What the file looks like."""
        return self.task.file(self.split)

    def pieces(self) -> Iterator[SplitPiece]:
        """The file from its beginning to its end, in one piece at least.

        Raises:
            UsageError: it cannot be read.
            MalformedRows: it has another header.
        """
        with _opened(self.path) as file:
            lines = file.readlines(_PIECE_BYTES)
            self._check_header(lines)
            yield SplitPiece(self, 0, lines)
            first = len(lines)
            while lines := file.readlines(_PIECE_BYTES):
                yield SplitPiece(self, first, lines)
                first += len(lines)

    def read(self, first: int, lines: Sequence[bytes]) -> tuple[list[TextExample], list[MalformedRow]]:
        """The split's rows among some lines of its file, and the malformed ones among them.

        Each example has the number of its row, counted from 0 without the header and with malformed rows.

        Args:
            first: the number of the first line, from 0.
            lines: with what ends them.

        Raises:
            UsageError: there are bytes that are no UTF-8.
        """
        file, header = self.file, int(self.file.header)
        held_out = {"train": False, "valid": True}.get(self.split)
        layouts = {
            len(columns): _Layout(self.task, columns, file.label) for columns in (file.columns, file.wider) if columns
        }
        examples: list[TextExample] = []
        malformed: list[MalformedRow] = []
        for number, line in enumerate(lines, first):
            index = number - header
            if index < 0 or (held_out is not None and is_held_out(index) != held_out):
                continue
            cells = self._text(number, line).split("\t")
            layout = layouts.get(len(cells))
            row = layout.example(index, cells) if layout else f"{len(cells)} columns, not {len(file.columns)}"
            if isinstance(row, str):
                malformed.append(MalformedRow(str(self.path), number + 1, row))
            else:
                examples.append(row)
        return examples, malformed

    def _check_header(self, lines: Sequence[bytes]) -> None:
        if not self.file.header:
            return
        header = tuple(self._text(0, lines[0]).split("\t")) if lines else ()
        if header != self.file.columns:
            problem = MalformedRow(str(self.path), 1, f"header {header!r}, not {self.file.columns!r}")
            raise MalformedRows((problem,), 1, 0)

    def _text(self, number: int, line: bytes) -> str:
        if not number:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        try:
            # What ends a line is LF or CRLF alone: sentences may hold other line separators of Unicode.
            return line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self.path}:{number + 1}: not UTF-8 at byte {error.start}; write the file in UTF-8, or fetch it again"
            ) from error


@dataclass(frozen=True)
class SplitPiece:
    """Some lines of the file of a split, one after the other, with what ends them."""

    reader: SplitReader
    first: int
    lines: list[bytes]

    def read(self) -> tuple[list[TextExample], list[MalformedRow]]:
        """As `SplitReader.read`."""
        return self.reader.read(self.first, self.lines)


class _Layout:
    """Where in the cells of a row its parts are."""

    def __init__(self, task: GlueTask, columns: tuple[str, ...], label: str | None) -> None:
        self._texts = [(column, columns.index(column)) for column in (task.first, task.second) if column is not None]
        self._label = None if label is None else columns.index(label)
        self._numbers = {spelling: number for number, spelling in enumerate(task.labels)}
        self._scores = task.scores

    def example(self, index: int, cells: list[str]) -> TextExample | str:
        """A row as an example, or what is wrong with it."""
        label: int | float | None = None
        if self._label is not None:
            label = self._number(cells[self._label])
            if label is None:
                return f"label {cells[self._label]!r}, {self._wanted}"
        for column, place in self._texts:
            if not cells[place].strip():
                return f"column {column!r} is empty"
        first, *second = (cells[place] for _, place in self._texts)
        return TextExample(index, first, second[0] if second else None, label)

    def _number(self, cell: str) -> int | float | None:
        if self._scores is None:
            return self._numbers.get(cell)
        low, high = self._scores
        try:
            score = float(cell)
        except ValueError:
            return None
        return score if low <= score <= high else None

    @property
    def _wanted(self) -> str:
        if self._scores is None:
            return f"none of {', '.join(self._numbers)}"
        return "no score from {:g} to {:g}".format(*self._scores)


def count_lines(path: Path) -> int:
    """How many lines a file has, the last one with or without its end.

    Raises:
        UsageError: it cannot be read.
    """
    count, last = 0, b"\n"
    with _opened(path) as file:
        while block := file.read(_PIECE_BYTES):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; is this the folder of another task?") from error
