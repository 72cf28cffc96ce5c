"""Deleting: what a plan says, or one realization, and nothing that somebody needs.

`collect` plans once more while nobody else changes the store, and takes what both plans say. It first renames what
goes, dependents before what they rest on, and then deletes it while others go on. A crash leaves a store in which less
is deleted than planned, perhaps metadata of what is gone, and folders named `*.tmp`, which nobody reads and the next
collection deletes. It needs no space.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from stagedml.core.refs import DerivationRef, RealizationRef
from stagedml.errors import StoreError, UsageError
from stagedml.store import adoptions, atomic, blessings, live
from stagedml.store.gc import GcPlan, plan_gc
from stagedml.store.layout import Layout
from stagedml.store.leftovers import Leftover, apart, remove_path, sweep, sweep_locks, unlink_if_there
from stagedml.store.objects import DamagedFile, NotInStore, Store
from stagedml.store.reach import pins_of
from stagedml.store.roots import experiments_folders, links


class NoRoots(UsageError):
    """Nothing in a store is kept by anybody, so everything would go."""

    def __init__(self, storage: str, experiments: str) -> None:
        super().__init__(storage, experiments)
        self.storage, self.experiments = storage, experiments

    def __str__(self) -> str:
        return (
            f"nothing is deleted: no link keeps anything in {self.storage}, so all of it would go. Links are looked "
            f"for below {self.experiments} (STAGEDML_EXPERIMENTS); `stagedml roots add NAME REF` makes one"
        )


def no_roots(store: Store) -> NoRoots:
    """The error of a collection that would take everything."""
    return NoRoots(str(store.layout.storage), ", ".join(map(str, experiments_folders(store.layout))))


class StillNeeded(StoreError):
    """A realization cannot be removed, since something needs it."""

    def __init__(self, ref: str, why: str) -> None:
        super().__init__(ref, why)
        self.ref, self.why = ref, why

    def __str__(self) -> str:
        return f"{self.ref} is needed: {self.why}; `rmref(..., force=True)` removes it all the same"


@dataclass(frozen=True)
class Collected:
    """What a collection did.

    Attributes:
        realizations: those that were deleted.
        derivations: those that were deleted.
        leftovers: those that were deleted.
        spared: realizations that were planned to go and are needed by now.
        freed_bytes: how much more space there is; other processes' writing counts against it.
    """

    realizations: tuple[str, ...]
    derivations: tuple[str, ...]
    leftovers: tuple[Leftover, ...]
    spared: tuple[str, ...]
    freed_bytes: int


def collect(
    store: Store, plan: GcPlan, *, named: Mapping[str, str] | None = None, now: float | None = None
) -> Collected:
    """Delete what a plan says, as far as it still holds. Reading the store waits for nothing.

    Args:
        store: the store.
        plan: what `plan_gc` gave.
        named: as given to `plan_gc`.
        now: seconds since the epoch; default the clock's.

    Raises:
        NoRoots: nothing in the store is kept by a link or a name.
        StoreUnusable: the store cannot be written. What was deleted until then is; the rest is whole.
    """
    if plan.rootless and plan.realizations:
        raise no_roots(store)
    before = shutil.disk_usage(store.layout.storage).free
    with store.alone():
        again = plan_gc(store, plan.policy, named=named, now=now)
        still = frozenset(again.realizations)
        doomed = [rref for rref in plan.realizations if rref in still]
        new = {f"dref:{rref[38:]}" for rref in still.difference(plan.realizations)}  # was not shown
        planned = frozenset(plan.derivations) - new
        derivations = [dref for dref in again.derivations if dref in planned]
        with store.own_errors():
            swept = [leftover for leftover in again.leftovers if leftover.kind in ("interrupted", "metadata", "code")]
            trash = [apart(leftover.path) for leftover in swept]  # others may make these names anew
            trash += _set_apart(store.layout, doomed, derivations)
            live.forget_dead(store.layout.live)
    with store.own_errors():
        for path in trash:
            remove_path(path)
        others = [leftover for leftover in again.leftovers if leftover not in swept]
        swept += [leftover for leftover in others if sweep(store.layout, leftover)]
        sweep_locks(store.layout)
        adoptions.sweep(store)
        blessings.sweep(store)
    return Collected(
        realizations=tuple(doomed),
        derivations=tuple(derivations),
        leftovers=tuple(swept),
        spared=tuple(rref for rref in plan.realizations if rref not in still),
        freed_bytes=max(0, shutil.disk_usage(store.layout.storage).free - before),
    )


def _set_apart(layout: Layout, rrefs: Collection[str], drefs: Iterable[str]) -> list[str]:
    """Rename what is to go, so that nobody finds it; returns where it is. The caller is alone in the store.

    Realizations come dependents first, and so do derivations, whose realizations are all among these. What is renamed
    stays in its folder, which takes no space, and no right that its owner lacks.
    """
    storage, metadata = os.fspath(layout.storage), os.fspath(layout.metadata)
    pins = pins_of(layout)
    mark = f"{atomic.unique(4)}.tmp"
    trash: list[str] = []

    def rename(path: str, to: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, to)
            trash.append(to)

    def set_derivation_apart(folder: str) -> None:
        for top in (storage, metadata):
            rename(f"{top}/{folder}", f"{top}/{folder[:64]}.{mark}")
        if folder in pins:
            unlink_if_there(f"{layout.pins}/{folder}")

    left = {dref[5:]: 0 for dref in drefs}
    for rref in rrefs:
        if rref[38:] in left:
            left[rref[38:]] += 1
    single = {folder for folder, count in left.items() if count == 1}
    for folder in [folder for folder, count in left.items() if count == 0]:
        set_derivation_apart(folder)
    for rref in rrefs:
        folder, rhash = rref[38:], rref[5:37]
        if folder not in single:
            place = f"{storage}/{folder}/{rhash}"
            rename(place, f"{place}.{mark}")
        if folder not in left:
            unlink_if_there(f"{metadata}/{folder}/{rhash}.json")
            continue
        left[folder] -= 1
        if left[folder] == 0:
            set_derivation_apart(folder)
    return trash


def remove(
    store: Store,
    ref: RealizationRef | DerivationRef,
    *,
    force: bool = False,
    named: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Delete a realization, or a derivation with all of its realizations; returns the realizations that went.

    Args:
        store: the store.
        ref: what is to go.
        force: even where links or running processes keep it, or others rest on it.
        named: as of `plan_gc`.

    Raises:
        NotInStore: it is not there.
        StillNeeded: something keeps it.
        StoreUnusable: the store cannot be written.
    """
    if isinstance(ref, RealizationRef):
        store.path(ref)
    elif not store.layout.derivation(ref).is_dir():
        raise NotInStore(str(ref), str(store.layout.storage))
    with store.alone():
        going = [str(ref)] if isinstance(ref, RealizationRef) else list(map(str, store.realizations(ref)))
        if not force:
            _check_unneeded(store, going, named or {})
        with store.own_errors():
            trash = _set_apart(store.layout, going, [] if isinstance(ref, RealizationRef) else [str(ref)])
    with store.own_errors():
        for path in trash:
            remove_path(path)
    return tuple(going)


def _check_unneeded(store: Store, going: Collection[str], named: Mapping[str, str]) -> None:
    kept = {link.ref: f"the link {link.path} keeps it" for link in links(store.layout) if link.ref}
    kept |= {claim: f"{process} uses it" for process, claim in live.claimed(store.layout.live)}
    kept |= {ref: f"{why} keeps it" for ref, why in named.items()}
    for needed in (*going, *{f"dref:{rref[38:]}" for rref in going}):
        if needed in kept:
            raise StillNeeded(needed, kept[needed])
    wanted = frozenset(going)
    pins = pins_of(store.layout)
    for derivation in store.derivations():
        if pins.get(derivation.folder) in wanted:
            raise StillNeeded(str(pins[derivation.folder]), f"{derivation} pins it")
        for other in store.realizations(derivation):
            if str(other) in wanted:
                continue
            with contextlib.suppress(NotInStore, DamagedFile):
                for rref in (rref for rrefs in store.context(other).values() for rref in rrefs):
                    if rref in wanted:
                        raise StillNeeded(rref, f"{other} rests on it")
