"""How much space a store takes: apparent bytes, real bytes, and what is shared.

Apparent bytes are the sizes of files, added up. Real bytes are the blocks on disk of files, links and folders, a file
with several names counted once. Files are looked at, and not opened; what goes meanwhile is left out.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stagedml.core import words
from stagedml.core.refs import RealizationRef, is_folder, is_rhash, parse_rref
from stagedml.store import atomic
from stagedml.store.layout import CONFIG_FILE, Layout
from stagedml.store.objects import Store

_ROWS = 40
_BLOCK_BYTES = 512  # the unit of `st_blocks`, whatever the file system's blocks are


@dataclass(frozen=True, slots=True)
class RealizationUsage:
    """The space that one realization takes.

    Attributes:
        rref: the realization.
        name: of its stage.
        files: how many it has.
        apparent_bytes: the sizes of its files.
        real_bytes: what it takes on disk, each file counted once.
        shared_bytes: the part of `real_bytes` that files take which have names outside of the realization, too, mostly
            in other realizations. Deleting the realization alone frees the rest.
    """

    rref: str
    name: str
    files: int
    apparent_bytes: int
    real_bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class OtherUsage:
    """The space that something else of the store takes.

    Attributes:
        kind: `derivations` (their folders and configs), `interrupted` (what a crash left in the storage), `metadata`,
            `scratch`, `runs`, `checkpoints`, `downloads`, `quarantine` or `pylightnix` (where its own stages are
            built).
        apparent_bytes: the sizes of its files.
        real_bytes: what it takes on disk besides the realizations and what stands before it.
    """

    kind: str
    apparent_bytes: int
    real_bytes: int


@dataclass(frozen=True)
class Usage:
    """The space that a store, or some of its realizations, takes. Its text is a table.

    Attributes:
        realizations: the largest on disk first.
        others: what lies beside them; empty where only some realizations were asked for.
        apparent_bytes: of these realizations.
        real_bytes: of these realizations together, each file counted once.
    """

    realizations: tuple[RealizationUsage, ...]
    others: tuple[OtherUsage, ...]
    apparent_bytes: int
    real_bytes: int

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def lines(self, most: int | None = _ROWS, width: int | None = None) -> list[str]:
        """The table of the largest, up to so many, as wide as `width`, and what it all comes to."""
        rows = [
            (
                row.name,
                parse_rref(row.rref).rhash[:12],
                words.size(row.apparent_bytes),
                words.size(row.real_bytes),
                words.size(row.shared_bytes) if row.shared_bytes else "",
            )
            for row in self.realizations[:most]
        ]
        totals = [
            (
                words.count(len(self.realizations), "realization"),
                words.size(self.apparent_bytes),
                words.size(self.real_bytes),
            ),
            *((other.kind, words.size(other.apparent_bytes), words.size(other.real_bytes)) for other in self.others),
        ]
        lines = words.table(("NAME", "HASH", "SIZE", "ON DISK", "SHARED"), rows, width)
        if len(self.realizations) > len(rows):
            lines.append(f"... and {words.count(len(self.realizations) - len(rows), 'smaller realization')}")
        return lines + words.table(("TOTAL", "SIZE", "ON DISK"), totals, width)


class _Found:
    """What some files and folders come to."""

    def __init__(self) -> None:
        self.files = 0
        self.apparent_bytes = 0
        self.alone_bytes = 0  #: on disk, of folders and of files with one name
        self.linked: dict[tuple[int, int], _Linked] = {}

    def add(self, status: os.stat_result) -> None:
        """Count one file, link or folder."""
        blocks_bytes = status.st_blocks * _BLOCK_BYTES
        if stat.S_ISREG(status.st_mode):
            self.files += 1
            self.apparent_bytes += status.st_size
        if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode):
            self.alone_bytes += blocks_bytes
        else:
            inode = (status.st_dev, status.st_ino)
            self.linked.setdefault(inode, _Linked(blocks_bytes, status.st_nlink)).names_here += 1

    def add_tree(self, path: str | os.PathLike[str]) -> None:
        """Count a folder and everything below. Raises FileNotFoundError if it goes meanwhile."""
        for folder, others in atomic.folders_below(path):
            self.add(os.lstat(folder))
            for item in others:
                self.add(item.stat(follow_symlinks=False))

    @property
    def real_bytes(self) -> int:
        return self.alone_bytes + sum(linked.blocks_bytes for linked in self.linked.values())

    @property
    def shared_bytes(self) -> int:
        return sum(linked.blocks_bytes for linked in self.linked.values() if linked.names_here < linked.names)


@dataclass(slots=True)
class _Linked:
    """A file with several names."""

    blocks_bytes: int
    names: int
    names_here: int = 0


class _Once:
    """Adds up what takes space on disk, each file once however many places it is found in."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def real_bytes(self, found: _Found) -> int:
        """What this takes besides what was added up before."""
        total = found.alone_bytes
        for inode, linked in found.linked.items():
            if inode not in self._seen:
                total += linked.blocks_bytes
                if linked.names_here < linked.names:
                    self._seen.add(inode)
        return total


def usage(store: Store, refs: Iterable[RealizationRef] | None = None) -> Usage:
    """How much space realizations take; default all, and then what lies beside them, too.

    Raises:
        NotInStore: one that was named is not there.
        StoreUnusable: a folder cannot be looked at.
    """
    once = _Once()
    rows = []
    real_bytes = 0
    chosen = list(_all(store)) if refs is None else list(dict.fromkeys(refs))
    for ref in chosen if refs is not None else ():
        store.path(ref)
    with store.own_errors():
        for ref in chosen:
            found = _Found()
            try:
                found.add_tree(store.layout.realization(ref))
            except FileNotFoundError:  # collected meanwhile
                continue
            real_bytes += once.real_bytes(found)
            rows.append(
                RealizationUsage(
                    str(ref), ref.name, found.files, found.apparent_bytes, found.real_bytes, found.shared_bytes
                )
            )
        others = tuple(_others(store.layout, once)) if refs is None else ()
    return Usage(
        realizations=tuple(sorted(rows, key=lambda row: (-row.real_bytes, row.rref))),
        others=others,
        apparent_bytes=sum(row.apparent_bytes for row in rows),
        real_bytes=real_bytes,
    )


def _all(store: Store) -> Iterator[RealizationRef]:
    return (ref for derivation in store.derivations() for ref in store.realizations(derivation))


def _others(layout: Layout, once: _Once) -> Iterator[OtherUsage]:
    derivations, interrupted = _beside_realizations(layout)
    kinds = {"derivations": derivations, "interrupted": interrupted}
    for kind, folder in (
        ("metadata", layout.metadata),
        ("code", layout.all_code),
        ("scratch", layout.scratch),
        ("runs", layout.runs),
        ("checkpoints", layout.all_checkpoints),
        ("downloads", layout.all_downloads),
        ("quarantine", layout.quarantine),
        ("pylightnix", layout.tmp),
    ):
        kinds[kind] = _Found()
        for path in atomic.paths_in(folder):
            _add(kinds[kind], path)
    for kind, found in kinds.items():
        real_bytes = once.real_bytes(found)
        if real_bytes or found.apparent_bytes:
            yield OtherUsage(kind, found.apparent_bytes, real_bytes)


def _beside_realizations(layout: Layout) -> tuple[_Found, _Found]:
    """The storage without its realizations: what belongs to derivations, and what to nobody."""
    derivations, interrupted = _Found(), _Found()
    derivations.add(os.lstat(layout.storage))
    for path in atomic.paths_in(layout.storage):
        if not is_folder(os.path.basename(path)):
            _add(interrupted, path)
            continue
        with contextlib.suppress(FileNotFoundError):
            derivations.add(os.lstat(path))
        for inner in atomic.paths_in(path):
            if not is_rhash(os.path.basename(inner)):
                _add(derivations if os.path.basename(inner) == CONFIG_FILE else interrupted, inner)
    return derivations, interrupted


def _add(found: _Found, path: str) -> None:
    """Count a file, or a folder and all below, as far as it is there and can be reached: not what is too deep."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            found.add_tree(path)
        else:
            found.add(status)
