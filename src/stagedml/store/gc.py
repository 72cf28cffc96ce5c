"""Collection: what nothing keeps is found first, and deleted only when told to.

What keeps a realization, and all that it rests on, is a *root*: a link below an experiments folder, a derivation that
the caller names, what a running process claims, and what is younger than a grace time. `plan_gc` reads the names in the
store and the contexts of the roots, and of what they do not keep the times; it changes nothing. Policies only ever keep
more: no policy makes a realization go that a root keeps. Beside realizations, what crashed and failed builds left is
swept by age.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from graphlib import TopologicalSorter

from stagedml.core import config as configs
from stagedml.core import words
from stagedml.core.refs import (
    RealizationRef,
    is_dref,
    is_rref,
    parse_rref,
)
from stagedml.errors import UsageError
from stagedml.store import atomic, live
from stagedml.store.layout import CONTEXT_FILE
from stagedml.store.leftovers import (
    DAY_S,
    Ages,
    Leftover,
    changed,
    leftovers,
)
from stagedml.store.objects import DamagedFile, NotInStore, Store
from stagedml.store.reach import Inventory, Reach, known_metadata, path_between, take_inventory
from stagedml.store.roots import links


class RootKind(Enum):
    """What keeps a realization."""

    LINK = "link"  #: below an experiments folder
    NAMED = "named"  #: by the caller
    PROCESS = "process"  #: built, realized or used by a process that runs
    YOUNG = "young"  #: younger than the grace time
    POLICY = "policy"  #: one of the latest or best, or still below the size that is allowed


@dataclass(frozen=True, slots=True)
class Root:
    """One reason why something is kept.

    Attributes:
        ref: the realization, or the derivation, which keeps all of its realizations; spelt out.
        kind: what keeps it.
        name: of the link (its path), of the process, or in words.
    """

    ref: str
    kind: RootKind
    name: str


@dataclass(frozen=True)
class Policy:
    """What is kept beyond what links keep, and for how long.

    Attributes:
        grace_s: what was published less than so many seconds ago is kept.
        max_bytes: unreachable realizations are kept, the latest first, as long as all that is kept has no more bytes.
        keep_latest: of each derivation, keep so many realizations that were built last.
        keep_best: of each derivation, keep so many realizations with the highest value of a metric: (metric, number).
        scratch_s: what failed and killed builds left goes when nothing in it changed for so many seconds.
        resumable_s: as `scratch_s`, for unfinished downloads and checkpoints of builds that ended badly.
        quarantine_s: as `scratch_s`, for what was found damaged, and journals of runs.
    """

    grace_s: float = DAY_S
    max_bytes: int | None = None
    keep_latest: int = 0
    keep_best: tuple[str, int] | None = None
    scratch_s: float = 3 * DAY_S
    resumable_s: float = 14 * DAY_S
    quarantine_s: float = 30 * DAY_S

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, (int, float))}
        wrong = [f"{name}={value}" for name, value in numbers.items() if not value >= 0]
        if self.keep_best is not None and self.keep_best[1] < 0:
            wrong.append(f"keep_best={self.keep_best}")
        if wrong:
            raise UsageError(f"{', '.join(wrong)}: ages, sizes and numbers to keep are 0 or more")

    @property
    def ages(self) -> Ages:
        return Ages(self.grace_s, self.scratch_s, self.resumable_s, self.quarantine_s)


@dataclass(frozen=True)
class GcPlan:
    """What a collection would delete, and what keeps the rest.

    Attributes:
        storage: the store.
        policy: by which it was made.
        roots: what keeps something, and why.
        realizations: the references of the realizations that go.
        derivations: the references of the derivations that go with all that they have.
        leftovers: what else goes.
        kept: how many realizations stay.
        rootless: no link and no name keeps anything; such a plan is not carried out.
    """

    storage: str
    policy: Policy
    roots: tuple[Root, ...] = field(repr=False)
    realizations: tuple[str, ...]
    derivations: tuple[str, ...]
    leftovers: tuple[Leftover, ...]
    kept: int
    rootless: bool


@dataclass(frozen=True, slots=True)
class Doomed:
    """What is known of a realization that would go.

    Attributes:
        size_bytes: of its files.
        age_s: since it was published.
        build_s: how long it took to build; None if nobody knows.
        repeatable: whether its stage says that a rebuild gives the same bytes.
    """

    rref: str
    size_bytes: int
    age_s: float
    build_s: float | None
    repeatable: bool


# -- what there is ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Traits:
    """What two looks at a realization tell.

    Attributes:
        published: the last time, seconds since the epoch; 0 if it is gone.
        context_bytes: of two realizations of which one rests on the other, that one has the larger context.
    """

    published: float
    context_bytes: int


def _traits(storage: str, metadata: str, rref: str) -> _Traits:
    folder, rhash = rref[38:], rref[5:37]
    published, size = 0.0, 0
    try:
        status = os.stat(f"{storage}/{folder}/{rhash}/{CONTEXT_FILE}")
        published, size = status.st_mtime, status.st_size
        published = max(published, os.stat(f"{metadata}/{folder}/{rhash}.json").st_mtime)
    except OSError:
        pass
    return _Traits(published, size)


# -- what keeps it ----------------------------------------------------------------------------------------------------


def plan_gc(
    store: Store,
    policy: Policy | None = None,
    *,
    named: Mapping[str, str] | None = None,
    now: float | None = None,
) -> GcPlan:
    """What nothing keeps. Nothing is changed.

    Args:
        store: the store.
        policy: what is kept beyond that, and for how long; default what `Policy()` says.
        named: derivations or realizations to keep, by reference, and what to call the reason.
        now: seconds since the epoch; default the clock's.

    Raises:
        RootsUnknown: links cannot be looked for.
        DamagedFile: what is behind a root cannot be told; `stagedml verify` says more.
        StoreUnusable: a part of the store cannot be read.
    """
    with store.own_errors():
        return _plan(store, policy or Policy(), named or {}, time.time() if now is None else now)


def _plan(store: Store, policy: Policy, named: Mapping[str, str], now: float) -> GcPlan:
    layout = store.layout
    inventory = take_inventory(layout)
    reach = Reach(store, inventory)
    roots = [Root(link.ref, RootKind.LINK, link.path) for link in links(layout) if link.ref]
    roots += [Root(ref, RootKind.NAMED, why) for ref, why in named.items()]
    roots = [root for root in roots if _is_there(inventory, root.ref)]
    rootless = not roots
    roots += [Root(ref, RootKind.PROCESS, process) for process, ref in live.claimed(layout.live) if _is_ref(ref)]
    for root in roots:
        reach.keep(root.ref)

    present = {rref for folder in inventory.realizations for rref in inventory.rrefs_of(folder)}
    storage, metadata = os.fspath(layout.storage), os.fspath(layout.metadata)
    traits = {rref: _traits(storage, metadata, rref) for rref in present - reach.kept}
    young = [rref for rref, seen in traits.items() if now - seen.published < policy.grace_s]
    for rref in sorted(young, key=lambda rref: (-traits[rref].context_bytes, rref)):
        if rref not in reach.kept:  # else it is behind another one
            roots.append(Root(rref, RootKind.YOUNG, f"published {words.ago(now - traits[rref].published)}"))
            reach.keep(rref)
    unbuilt = {folder for folder, hashes in inventory.realizations.items() if not hashes}
    declared = {folder for folder in unbuilt if now - changed(layout.storage / folder) < policy.grace_s}
    for folder in declared & reach.pins.keys():
        roots.append(Root(reach.pins[folder], RootKind.YOUNG, f"pinned by dref:{folder}, which was declared of late"))
        reach.keep(reach.pins[folder])
    for root in _by_policy(store, policy, reach, {rref: seen.published for rref, seen in traits.items()}):
        roots.append(root)
        reach.keep(root.ref)

    doomed = sorted(present - reach.kept, key=lambda rref: (-traits[rref].context_bytes, rref))
    alive = {rref[38:] for rref in reach.kept} | reach.derivations
    alive |= _with_inputs(store, declared | (reach.derivations & inventory.realizations.keys()), alive)
    built = list(dict.fromkeys(rref[38:] for rref in reversed(doomed)))  # by what each has last in that order
    derivations = [*_dependents_first(store, unbuilt - alive), *reversed(built)]
    return GcPlan(
        storage=str(layout.storage),
        policy=policy,
        roots=tuple(roots),
        realizations=tuple(doomed),
        derivations=tuple(f"dref:{folder}" for folder in derivations if folder not in alive),
        leftovers=tuple(leftovers(layout, inventory, policy.ages, now)),
        kept=len(present) - len(doomed),
        rootless=rootless,
    )


def _with_inputs(store: Store, folders: Iterable[str], known: Collection[str]) -> set[str]:
    """Derivations, and those that their configs refer to, directly or not; what is known is not looked at."""
    found: set[str] = set()
    pending = list(folders)
    while pending:
        folder = pending.pop()
        if folder not in found:
            found.add(folder)
            pending += [name for name in _inputs(store, folder) if name not in known]
    return found


def _inputs(store: Store, folder: str) -> list[str]:
    try:
        return [dref[5:] for dref in configs.inputs_of(store.config_of(f"dref:{folder}"))]
    except (NotInStore, DamagedFile):
        return []


def _dependents_first(store: Store, folders: Collection[str]) -> list[str]:
    """Derivations that were never built; a crash leaves none whose inputs are gone."""
    order = TopologicalSorter({folder: _inputs(store, folder) for folder in sorted(folders)}).static_order()
    return [folder for folder in order if folder in folders][::-1]


def _is_ref(text: str) -> bool:
    return is_rref(text) or is_dref(text)


def _is_there(inventory: Inventory, ref: str) -> bool:
    return inventory.has(ref) if is_rref(ref) else ref[5:] in inventory.realizations


def _by_policy(store: Store, policy: Policy, reach: Reach, published: Mapping[str, float]) -> Iterator[Root]:
    """Roots that a policy adds, one after the other; each is kept before the next one is asked for."""
    lost = sorted(published.keys() - reach.kept)
    if policy.keep_latest:
        for rrefs in _by_derivation(lost).values():
            latest = sorted(rrefs, key=lambda rref: (published[rref], rref), reverse=True)[: policy.keep_latest]
            for rref in latest:
                yield Root(rref, RootKind.POLICY, f"one of the {policy.keep_latest} latest of its derivation")
    if policy.keep_best is not None:
        metric, count = policy.keep_best
        measured = {rref: value for rref in lost if (value := _metric(store, rref, metric)) is not None}
        if lost and not measured:
            raise UsageError(f"nothing that would go has {metric!r} in its metrics.json, so none of it would be kept")
        for rrefs in _by_derivation(measured).values():
            values = {rref: measured[rref] for rref in rrefs}
            for rref in sorted(values, key=lambda rref: (values[rref], rref), reverse=True)[:count]:
                yield Root(rref, RootKind.POLICY, f"one of the {count} best of its derivation by {metric}")
    if policy.max_bytes is not None:
        total = sum(_size(store, rref) for rref in reach.kept)
        for rref in sorted(published.keys() - reach.kept, key=lambda rref: (published[rref], rref), reverse=True):
            more = sum(_size(store, other) for other in reach.behind(rref))
            if total + more <= policy.max_bytes:
                total += more
                yield Root(rref, RootKind.POLICY, f"all that is kept has at most {policy.max_bytes:,} bytes")


def _by_derivation(rrefs: Iterable[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for rref in rrefs:
        grouped.setdefault(rref[38:], []).append(rref)
    return grouped


def _metric(store: Store, rref: str, key: str) -> float | None:
    ref = parse_rref(rref)
    return store.candidate(ref, known_metadata(store, rref)).metric("metrics.json", key)


def _size(store: Store, rref: str) -> int:
    known = known_metadata(store, rref)
    if known is not None:
        return known.size_bytes
    folders = atomic.folders_below(store.layout.realization(parse_rref(rref)))
    return sum(item.stat(follow_symlinks=False).st_size for _, others in folders for item in others)


# -- telling and doing ------------------------------------------------------------------------------------------------


def describe(store: Store, plan: GcPlan, *, now: float | None = None) -> list[Doomed]:
    """What is known of each realization that would go, the largest first. Reads its metadata."""
    now = time.time() if now is None else now
    storage, metadata = os.fspath(store.layout.storage), os.fspath(store.layout.metadata)
    rows = []
    for rref in plan.realizations:
        known = known_metadata(store, rref)
        age_s = now - _traits(storage, metadata, rref).published
        if known is None:
            rows.append(Doomed(rref, _size(store, rref), age_s, None, True))
            continue
        last = max(known.builds, key=lambda build: build.started)
        repeatable = known.is_repeatable
        rows.append(Doomed(rref, known.size_bytes, age_s, last.stopped - last.started, repeatable))
    return sorted(rows, key=lambda row: (-row.size_bytes, row.rref))


def why_alive(
    store: Store, ref: RealizationRef, policy: Policy | None = None, *, named: Mapping[str, str] | None = None
) -> list[tuple[Root, tuple[str, ...]]]:
    """Every root that keeps a realization, each with a path from it: realizations, each an input of the one before.

    Raises NotInStore.
    """
    store.path(ref)
    plan = plan_gc(store, policy, named=named)
    inventory = take_inventory(store.layout)
    found = []
    for root in plan.roots:
        starts = [root.ref] if is_rref(root.ref) else inventory.rrefs_of(root.ref[5:])
        path = path_between(store, starts, str(ref))
        if path is not None:
            found.append((root, path))
    return found
