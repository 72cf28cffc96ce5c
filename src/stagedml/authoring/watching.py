"""Telling the builds that run in this process when somebody may look at more than their inputs.

A builder sees its inputs through their declared fields. Whatever else it asks, the store or an order of references, may
change with what is upstream though no byte of its inputs does; what was built so is never adopted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

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
