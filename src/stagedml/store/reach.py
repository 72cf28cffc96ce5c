"""What lies in a storage, and what is behind a realization.

Both are read from names and from the contexts of the realizations asked about, nothing else.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from stagedml.core.refs import is_dref, is_folder, is_rhash, is_rref, parse_rref
from stagedml.store.layout import Layout
from stagedml.store.metadata import Metadata, UnreadableMetadata
from stagedml.store.objects import DamagedFile, NotInStore, Store


@dataclass(frozen=True)
class Inventory:
    """The names in a storage."""

    realizations: dict[str, list[str]]  #: folder of a derivation -> hashes
    interrupted: list[str]  #: paths of folders that end in `.tmp`

    def rrefs_of(self, folder: str) -> list[str]:
        return [f"rref:{rhash}-{folder}" for rhash in self.realizations.get(folder, ())]

    def has(self, rref: str) -> bool:
        return rref[38:] in self.realizations and rref[5:37] in self.realizations[rref[38:]]


def take_inventory(layout: Layout) -> Inventory:
    storage = os.fspath(layout.storage)
    realizations: dict[str, list[str]] = {}
    interrupted: list[str] = []
    for folder in os.listdir(storage):
        path = f"{storage}/{folder}"
        if not is_folder(folder):
            if folder.endswith(".tmp"):
                interrupted.append(path)
            continue
        try:
            names = os.listdir(path)
        except (NotADirectoryError, FileNotFoundError):
            continue
        hashes = []
        for name in names:
            if len(name) == 32 and is_rhash(name):
                hashes.append(name)
            elif name.endswith(".tmp"):
                interrupted.append(f"{path}/{name}")
        realizations[folder] = hashes
    return Inventory(realizations, interrupted)


class Reach:
    """What is kept so far, and the realizations behind it."""

    def __init__(self, store: Store, inventory: Inventory) -> None:
        self._store = store
        self._inventory = inventory
        self.pins = pins_of(store.layout)
        self.kept: set[str] = set()
        self.derivations: set[str] = set()  #: folders; with or without realizations

    def keep(self, ref: str) -> None:
        """Keep a realization, or a derivation and all of its realizations, and everything behind."""
        self._take(self.behind(ref), ref)

    def _take(self, rrefs: set[str], ref: str) -> None:
        self.kept |= rrefs
        if is_dref(ref):
            self.derivations.add(ref[5:])

    def behind(self, ref: str) -> set[str]:
        """What would be kept besides what is kept already."""
        new: set[str] = set()
        pending = [ref] if is_rref(ref) else self._inventory.rrefs_of(ref[5:])
        while pending:
            rref = pending.pop()
            if rref in new or rref in self.kept:
                continue
            if not self._inventory.has(rref):
                continue
            new.add(rref)
            for dref, rrefs in self._context(rref).items():
                source = self.pins.get(dref[5:])
                if source is not None:
                    pending.append(source)
                for other in rrefs:
                    if other not in new and self._inventory.has(other):
                        new.add(other)
            source = self.pins.get(rref[38:])
            if source is not None:
                pending.append(source)
        return new

    def _context(self, rref: str) -> Mapping[str, Iterable[str]]:
        try:
            return self._store.context(parse_rref(rref))
        except (NotInStore, DamagedFile) as error:
            known = known_metadata(self._store, rref)
            if known is None:
                raise DamagedFile(
                    str(self._store.layout.context(parse_rref(rref))), "so what it rests on is unknown"
                ) from error
        found: dict[str, list[str]] = {}  # its file is damaged or gone; metadata tells the direct inputs
        for dref, rrefs in known.inputs.items():
            found.setdefault(dref, []).extend(rrefs)
            for other in filter(self._inventory.has, rrefs):
                for inner, inners in self._context(other).items():
                    found.setdefault(inner, []).extend(inners)
        return found


def pins_of(layout: Layout) -> dict[str, str]:
    try:
        return {folder: os.readlink(layout.pins / folder) for folder in os.listdir(layout.pins)}
    except FileNotFoundError:
        return {}


def known_metadata(store: Store, rref: str) -> Metadata | None:
    try:
        return store.metadata(parse_rref(rref))
    except UnreadableMetadata:
        return None


def path_between(store: Store, starts: Collection[str], goal: str) -> tuple[str, ...] | None:
    """A shortest path from one of several realizations to another one, by direct inputs and pins."""
    pins = pins_of(store.layout)
    came_from: dict[str, str] = dict.fromkeys(starts, "")
    pending = deque(starts)
    while pending:
        rref = pending.popleft()
        if rref == goal:
            path = [rref]
            while came_from[path[-1]]:
                path.append(came_from[path[-1]])
            return tuple(reversed(path))
        try:
            inputs = store.inputs_of(parse_rref(rref), known_metadata(store, rref))
        except (NotInStore, DamagedFile):
            continue
        nexts = [other for rrefs in inputs.values() for other in rrefs]
        if rref[38:] in pins:
            nexts.append(pins[rref[38:]])
        for other in nexts:
            if other not in came_from:
                came_from[other] = rref
                pending.append(other)
    return None
