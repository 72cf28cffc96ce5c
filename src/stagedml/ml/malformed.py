"""What of a data set does not fit its layout: counted, and named by file and place, never dropped in silence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stagedml.errors import UsageError

logger = logging.getLogger(__name__)

# Of a file full of them, so many malformed rows are named.
NAMED = 100
_SHOWN = 20


@dataclass(frozen=True)
class MalformedRow:
    """A row that does not fit its layout.

    Attributes:
        path: of the file.
        place: the number of the line, or what else tells where in the file the row stands.
        problem: what is wrong with it.
    """

    path: str
    place: int | str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}:{self.place}: {self.problem}"


class MalformedRows(UsageError):
    """A file holds more rows that do not fit their layout than the caller allows for."""

    def __init__(self, rows: tuple[MalformedRow, ...], count: int, allowed: int) -> None:
        super().__init__(rows, count, allowed)
        self.rows, self.count, self.allowed = rows, count, allowed

    def __str__(self) -> str:
        shown = [str(row) for row in self.rows[:_SHOWN]]
        if self.count > len(shown):
            shown.append(f"... and {self.count - len(shown)} more")
        head = f"{self.count} malformed rows ({self.allowed} allowed); mend or remove them, or allow for them:"
        return "\n".join([head, *shown])


@dataclass
class Malformed:
    """What was found to be malformed so far: how many rows, and the first of them."""

    count: int = 0
    named: list[MalformedRow] = field(default_factory=list)

    def note(self, rows: Sequence[MalformedRow]) -> None:
        """Take in the malformed rows of a piece."""
        self.count += len(rows)
        self.named += rows[: NAMED - len(self.named)]

    def check(self, allowed: int) -> None:
        """Log what was found.

        Raises:
            MalformedRows: there is more than is allowed.
        """
        if self.count > allowed:
            raise MalformedRows(tuple(self.named), self.count, allowed)
        for row in self.named[:_SHOWN]:
            logger.warning("left out: %s", row)
        if self.count > _SHOWN:
            logger.warning("left out: %d more rows", self.count - _SHOWN)

    @property
    def texts(self) -> tuple[str, ...]:
        """Those that are named, each in a line, by the name of its file."""
        return tuple(f"{Path(row.path).name}:{row.place}: {row.problem}" for row in self.named)
