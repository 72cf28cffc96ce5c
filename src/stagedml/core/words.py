"""Numbers, times and tables as people write and read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stagedml.errors import UsageError

_UNITS_S = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NARROWEST = 16  #: a column of a table that gives way
_LONGEST_LINE = 1000
_UNITS_BYTES = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_span(text: str) -> float:
    """A length of time in seconds: `90`, `90s`, `15m`, `24h`, `30d`, `2w`. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or (match[2] or "s") not in _UNITS_S:
        raise UsageError(f"{text!r} is no length of time; write 0, 90s, 15m, 24h, 30d or 2w")
    return float(match[1]) * _UNITS_S[match[2] or "s"]


def parse_size(text: str) -> int:
    """A number of bytes: `500`, `20M`, `1.5GiB`; a kilobyte has 1,024. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no size; write 500, 20M, 1.5GiB or 2T")
    return int(float(match[1]) * 1024 ** _UNITS_BYTES[match[2]])


def size(count: int | None) -> str:
    """A number of bytes."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def span(seconds: float | None) -> str:
    """A length of time: `0.3 s`, `12 min`, `3.5 h`, `2 days`."""
    if seconds is None:
        return "-"
    if seconds < 100:
        return f"{max(seconds, 0):.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"


def ago(seconds: float | None) -> str:
    """How long ago something was."""
    if seconds is None:
        return "-"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`, `no files`."""
    return f"{f'{number:,}' if number else 'no'} {noun}{'s' * (number != 1)}"


def printable(text: str) -> str:
    """A text with what no terminal shows, or what it would obey, spelt out."""
    return "".join(letter if letter.isprintable() else _spelt(letter) for letter in text)


def printable_lines(text: str) -> str:
    """As `printable`, of a text of several lines."""
    return "\n".join(printable(line.expandtabs(4)) for line in text.split("\n"))


def brief(text: str) -> str:
    """As `printable_lines`, each line at most as long as a person may read it: what it repeats may be of any length."""
    return "\n".join(shortened(line, _LONGEST_LINE) for line in printable_lines(text).split("\n"))


def _spelt(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def shortened(text: str, length: int, *, at_end: bool = False) -> str:
    """A text of at most that many characters, its middle or its end left out if it is longer."""
    if len(text) <= length:
        return text
    end = 0 if at_end else max((length - 3) // 2, 0)
    return f"{text[: length - 3 - end]}...{text[len(text) - end :]}" if length > 4 else text[:length]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Lines of aligned columns; none where there are no rows. Columns without any text are left out.

    With a width, the widest columns give way until the lines fit, as far as they can: cells lose their middle, those
    of the last column their end.
    """
    if not rows:
        return []
    rows = [[printable(cell) for cell in row] for row in rows]
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    widths = {column: max(len(row[column]) for row in (header, *rows)) for column in used}
    if width is not None:
        excess = sum(widths.values()) + 2 * (len(used) - 1) - width
        prose = len(header) - 1 if not header[-1] else None  # gives way first

        def breadth(column: int) -> int:
            return widths[column] * (2 if column == prose else 1)

        while excess > 0 and widths[widest := max(used, key=breadth)] > _NARROWEST:
            widths[widest] -= 1
            excess -= 1
        last = len(header) - 1
        rows = [
            [shortened(cell, widths.get(column, 0), at_end=column == last) for column, cell in enumerate(row)]
            for row in rows
        ]
    return ["  ".join(f"{row[column]:<{widths[column]}}" for column in used).rstrip() for row in (header, *rows)]
