"""What all verbs print with: a view as text or as JSON, as wide as the terminal, in colour only on a terminal.

Results go to standard output. `NO_COLOR` (with any value) and `TERM=dumb` mean no colour. Nothing is cut where the
output is no terminal. On a terminal nothing is printed that it would obey, whatever a name holds, but for colours.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO, TypeVar

from stagedml.core import words
from stagedml.inspection.plain import as_json

V = TypeVar("V")

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}
_STYLE = re.compile(f"(\033\\[(?:0|{'|'.join(_STYLES.values())})m)")
#: What tells at a glance what a plan, or a past run, is about.
VERDICT_STYLES = {
    "reuse": "dim",
    "adopt": "cyan",
    "adopted": "cyan",
    "build": "yellow",
    "built": "yellow",
    "depends": "magenta",
}


def show(arguments: argparse.Namespace, view: V, lines: Callable[[V], Iterable[str]]) -> None:
    """Print a view: its JSON if that was asked for, else its text."""
    if arguments.json:
        print(as_json(view))
        return
    for line in lines(view):
        print(_harmless(line) if _is_terminal(sys.stdout) else line)


def complain(text: str) -> None:
    """Say on standard error what went wrong."""
    print(f"{styled('stagedml:', 'red', sys.stderr)} {words.brief(text)}", file=sys.stderr)


def _harmless(text: str) -> str:
    """A text with all spelt out that a terminal would obey, but for styles."""
    parts = _STYLE.split(text)
    return "".join(part if place % 2 else words.printable_lines(part) for place, part in enumerate(parts))


def results_alone() -> contextlib.AbstractContextManager[object]:
    """Let what stages and their modules print go to standard error inside the block: results stand alone."""
    return contextlib.redirect_stdout(sys.stderr)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """`words.table` for standard output: its head stands out, and it is as wide as the terminal."""
    lines = words.table(header, rows, width())
    return [styled(lines[0], "bold"), *lines[1:]] if lines else []


def how_to_see(lists: Iterable[str]) -> str:
    """What shows all numbers of lists, as of `metrics.list_of`, that were cut."""
    curves = "`stagedml plot` draws histories, " if any(name.startswith("history.") for name in lists) else ""
    return f"{curves}--json has all"


def width() -> int | None:
    """How many characters of a line standard output shows; None where it is no terminal, and shows all."""
    return columns() if _is_terminal(sys.stdout) else None


def columns() -> int:
    """How wide text is set that is broken into lines: as `COLUMNS` says, as the terminal is, or 80 characters."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """A text in a style of `_STYLES`, if the stream (default standard output) shows styles."""
    return f"\033[{_STYLES[style]}m{text}\033[0m" if style and shows_styles(stream or sys.stdout) else text


def with_verdict(line: str) -> str:
    """A line that begins with a verdict, that in its colour."""
    verdict, _, rest = line.partition(" ")
    return f"{styled(verdict, VERDICT_STYLES[verdict])} {rest}" if verdict in VERDICT_STYLES else line


def shows_styles(stream: TextIO) -> bool:
    """Whether what is written there may be coloured."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
