"""Telling the builds that run in this process when somebody may look at more than their inputs.

A builder sees its inputs through their declared fields. Whatever else it asks, the store or an order of references, may
change with what is upstream though no byte of its inputs does; what was built so is never adopted.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

_watchers: list[Callable[[str], None]] = []


@contextlib.contextmanager
def watching(note: Callable[[str], None]) -> Iterator[None]:
    """Be told, inside the block, of what is asked for, by any thread."""
    _watchers.append(note)
    try:
        yield
    finally:
        _watchers.remove(note)


def tell(what: str) -> None:
    """Tell who watches that something was asked for."""
    for note in _watchers:
        note(what)


class InputPath(type(Path())):  # type: ignore[misc]  # the class for this system
    """A path into an input, which tells when it is ordered by the references in it.

    Files of one realization are in the order of their names, whatever it is called; nothing is told of that.
    """

    __slots__ = ()

    def __lt__(self, other: PurePath) -> bool:
        _tell_order(self, other)
        return bool(super().__lt__(other))

    def __le__(self, other: PurePath) -> bool:
        _tell_order(self, other)
        return bool(super().__le__(other))

    def __gt__(self, other: PurePath) -> bool:
        _tell_order(self, other)
        return bool(super().__gt__(other))

    def __ge__(self, other: PurePath) -> bool:
        _tell_order(self, other)
        return bool(super().__ge__(other))


_FOLDER = re.compile(r"[0-9a-f]{32}(-|\Z)")


def _tell_order(one: PurePath, other: object) -> None:
    if isinstance(other, PurePath):
        for mine, theirs in zip(one.parts, other.parts, strict=False):
            if mine != theirs:
                if _FOLDER.match(mine) and _FOLDER.match(theirs):
                    tell("an order of paths")
                return
