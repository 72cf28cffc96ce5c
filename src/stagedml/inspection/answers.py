"""Small views: what the faces answer where no other module has the view of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stagedml.engine.check import Check
from stagedml.engine.keep import Garbage, Reason
from stagedml.store.gc import Doomed
from stagedml.store.leftovers import Leftover
from stagedml.store.verify import Finding, Report


@dataclass(frozen=True, slots=True)
class Opened:
    """A store, and where its parts are.

    Attributes:
        is_new: whether it was made just now.
    """

    root: str
    storage: str
    experiments: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Realized:
    """What a realize came to."""

    rref: str
    path: str


@dataclass(frozen=True, slots=True)
class Blessed:
    """Two derivations that a person declared to be equal."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of building a realization again.

    Attributes:
        sameness: the worst of the verdicts.
        comparisons: with each rebuild: verdict, files, and the first difference.
        kept: the folders of the rebuilds that are different.
    """

    rref: str
    sameness: str
    comparisons: tuple[Mapping[str, Any], ...]
    kept: tuple[str, ...]

    @classmethod
    def of(cls, check: Check) -> Checked:
        return cls(check.rref, str(check.sameness), tuple(one.to_json() for one in check.comparisons), check.kept)


@dataclass(frozen=True, slots=True)
class Verified:
    """What is damaged, and what was done about it.

    Attributes:
        realizations, untracked, size_bytes, findings: as of `store.verify.Report`.
        repaired: what was done, in words.
    """

    realizations: int
    untracked: int
    size_bytes: int
    findings: tuple[Finding, ...]
    repaired: tuple[str, ...]

    @classmethod
    def of(cls, report: Report, repaired: Iterable[str]) -> Verified:
        return cls(report.realizations, report.untracked, report.size_bytes, report.findings, tuple(repaired))


@dataclass(frozen=True, slots=True)
class Collection:
    """What nothing keeps, or kept.

    Attributes:
        deleted: whether it was deleted, or is only planned to be.
        kept: how many realizations stay.
        realizations: what goes, the largest first.
        derivations: those that go with all their realizations.
        leftovers: what failed builds and others left behind.
        spared: what came to be needed before it could be deleted.
        freed_bytes: 0 where nothing was deleted.
    """

    deleted: bool
    kept: int
    realizations: tuple[Doomed, ...]
    derivations: tuple[str, ...]
    leftovers: tuple[Leftover, ...]
    spared: tuple[str, ...]
    freed_bytes: int

    @classmethod
    def of(cls, garbage: Garbage) -> Collection:
        done = garbage.collected
        return cls(
            deleted=done is not None,
            kept=garbage.plan.kept,
            realizations=garbage.rows,
            derivations=tuple(garbage.plan.derivations),
            leftovers=tuple(garbage.plan.leftovers),
            spared=tuple(done.spared) if done else (),
            freed_bytes=done.freed_bytes if done else 0,
        )


@dataclass(frozen=True, slots=True)
class KeptBy:
    """One reason why a realization is kept.

    Attributes:
        kind: `link`, `named`, `process`, `young` or `policy`.
        name: of the link (its path), of the process, or in words.
        path: from the realization that is kept to the one that was asked for.
    """

    kind: str
    name: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, reason: Reason) -> KeptBy:
        return cls(reason.root.kind.value, reason.root.name, reason.path)
