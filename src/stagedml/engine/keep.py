"""What is kept in the current store, and what goes: links, collection, and why something is alive."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stagedml.authoring.instantiate import Instantiated
from stagedml.authoring.pylightnix import Closure
from stagedml.authoring.session import current_store, using_store
from stagedml.core import words
from stagedml.core.refs import RealizationRef, is_rref, parse_dref, parse_rref
from stagedml.engine.catalogue import declared_line
from stagedml.errors import UsageError
from stagedml.settings import read_settings
from stagedml.store import roots
from stagedml.store.collect import Collected, collect, no_roots, remove
from stagedml.store.gc import Doomed, GcPlan, Policy, Root, RootKind, describe, plan_gc
from stagedml.store.gc import why_alive as _why_alive
from stagedml.store.objects import NotInStore, Store

_ROWS = 40


@dataclass(frozen=True)
class Garbage:
    """What a collection would delete, or deleted. Its text is a table.

    Attributes:
        plan: what nothing keeps.
        rows: what is known of each realization in it, the largest first.
        collected: what was deleted; None where it was only planned.
    """

    plan: GcPlan
    rows: tuple[Doomed, ...]
    collected: Collected | None

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def lines(self) -> list[str]:
        """The table, and what it comes to."""
        shown = self.rows[:_ROWS]
        lines = words.table(
            ("NAME", "HASH", "SIZE", "PUBLISHED", "TOOK", ""),
            [
                (
                    parse_rref(row.rref).name,
                    parse_rref(row.rref).rhash[:12],
                    words.size(row.size_bytes),
                    words.ago(row.age_s),
                    words.span(row.build_s),
                    "" if row.repeatable else "a rebuild gives other bytes",
                )
                for row in shown
            ],
        )
        if len(self.rows) > len(shown):
            lines.append(f"... and {words.count(len(self.rows) - len(shown), 'smaller realization')}")
        lines += words.table(
            ("LEFT BEHIND", "CHANGED", "PATH"),
            [(leftover.kind, words.ago(leftover.age_s), leftover.path) for leftover in self.plan.leftovers],
        )
        return [*lines, *self._sums()]

    def _sums(self) -> list[str]:
        going = self.plan.realizations if self.collected is None else self.collected.realizations
        gone = frozenset(going)
        rows = [row for row in self.rows if row.rref in gone]
        size = words.size(sum(row.size_bytes for row in rows))
        took = words.span(sum(row.build_s or 0.0 for row in rows))
        what = words.count(len(going), "realization") + (f" of {size}, which took {took} to build," if going else "")
        done = "would go" if self.collected is None else "deleted"
        lines = [f"{what} {done}; {words.count(self.plan.kept, 'realization')} kept"]
        empty = len(set(self.plan.derivations) - {f"dref:{rref[38:]}" for rref in self.plan.realizations})
        if empty:
            lines.append(f"{words.count(empty, 'derivation')} without realizations {done}")
        if any(root.kind is RootKind.YOUNG for root in self.plan.roots):
            lines.append(f"some are kept only because they are younger than {words.span(self.plan.policy.grace_s)}")
        if self.collected is not None and self.collected.spared:
            lines.append(f"{words.count(len(self.collected.spared), 'realization')} came to be needed meanwhile")
        elif self.plan.rootless and self.plan.realizations:
            lines.append(str(no_roots(current_store())))
        elif self.collected is None and (going or self.plan.leftovers or self.plan.derivations):
            lines.append("nothing was deleted; `stagedml gc --delete` deletes it, in Python `gc(force=True)`")
        return lines


@dataclass(frozen=True)
class Reason:
    """One reason why a realization is kept.

    Attributes:
        root: what keeps it.
        path: from the root's realization to the one that was asked for; each is an input of the one before.
    """

    root: Root
    path: tuple[str, ...]

    def __str__(self) -> str:
        kind = "" if self.root.kind in (RootKind.YOUNG, RootKind.POLICY) else f"{self.root.kind.value} "
        return "\n".join([f"{kind}{self.root.name}", *(f"  -> {rref}" for rref in self.path)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def gc(
    force: bool = False,
    *,
    policy: Policy | None = None,
    keep: Iterable[Instantiated[Any] | Closure | str] | str = (),
) -> Garbage:
    """What nothing in the current store keeps; with `force`, it is deleted.

    Kept is, with all that it rests on: what a link below the experiments folder leads to, what `keep` and
    `STAGEDML_KEEP` name, what running processes built, realized or use, this one included, and what is younger than the
    policy's grace time, one day by default.

    Args:
        force: delete it. Refused with NoRoots where no link and no name keeps anything.
        policy: what is kept beyond that, and for how long.
        keep: closures whose results are kept; references; or stages as in a shell, `all_minilm_finetune_glue MRPC`.
    """
    if not isinstance(force, bool):
        raise UsageError(f"gc(force={force!r}): give True or False")
    store = current_store()
    policy = policy or Policy()
    named = _named(store, keep)
    plan = plan_gc(store, policy, named=named)
    rows = tuple(describe(store, plan))
    return Garbage(plan, rows, collect(store, plan, named=named) if force else None)


def _named(store: Store, keep: Iterable[Instantiated[Any] | Closure | str] | str) -> dict[str, str]:
    """References to keep, and what to call the reason."""
    settings = read_settings()
    named: dict[str, str] = {}
    with using_store(store):
        for what in [keep] if isinstance(keep, str) else keep:
            named.update(_references(store, what, settings.catalogue))
        for line in settings.keep:
            try:
                named.update(_references(store, line, settings.catalogue))
            except UsageError as error:
                hint = "it takes stages, and whole references: rref:... or dref:..."
                raise UsageError(f"STAGEDML_KEEP: {error}; {hint}") from error
    return named


def _references(store: Store, what: Instantiated[Any] | Closure | str, catalogue: str) -> dict[str, str]:
    if isinstance(what, str) and what.startswith(("rref:", "dref:")):
        ref = parse_rref(what) if is_rref(what) else parse_dref(what)
        place = store.layout.realization(ref) if isinstance(ref, RealizationRef) else store.layout.derivation(ref)
        if not place.is_dir():
            raise NotInStore(what, str(store.layout.storage))
        return {what: "the name it was given"}
    target = declared_line(what, catalogue) if isinstance(what, str) else what
    closure = target if isinstance(target, Closure) else target[1]
    return {str(dref): what if isinstance(what, str) else "a closure" for dref in closure.targets}


def why_alive(ref: str) -> list[Reason]:
    """Why a realization in the current store would not be collected now; no reason means that it would be.

    Raises:
        NotInStore: it is not there.
    """
    store = current_store()
    found = _why_alive(store, parse_rref(ref), named=_named(store, ()))
    reasons = {(root.kind, root.name, path): Reason(root, path) for root, path in reversed(found)}
    return list(reasons.values())[::-1]  # a process that uses it and its derivation is one reason


def rmref(ref: str, force: bool = False) -> tuple[str, ...]:
    """Delete one realization, or a derivation with its realizations, from the current store.

    Args:
        ref: an rref or a dref.
        force: even where links or running processes keep it, or other realizations rest on it.

    Returns:
        the realizations that went.

    Raises:
        StillNeeded: something keeps it.
        NotInStore: it is not there.
    """
    parsed = parse_rref(ref) if is_rref(ref) else parse_dref(ref)
    store = current_store()
    return remove(store, parsed, force=force, named={} if force else _named(store, ()))


def linkrref(rref: str, link: str | os.PathLike[str] | None = None) -> str:
    """Link to a realization from the experiments folder, and so keep it.

    Args:
        rref: the realization.
        link: the link's path below the experiments folder, or, beginning with `/` or `./`, a path anywhere;
            default the name of its stage.

    Returns:
        the link's absolute path.

    Raises:
        CannotLink: it cannot be made there.
    """
    ref = parse_rref(rref)
    return str(roots.add_link(current_store(), ref.name if link is None else roots.as_place(link), ref))


def linkrrefs(rrefs: Iterable[str], folder: str = "") -> list[str]:
    """Link to several realizations: `<folder>/<name of the stage>`; equal names get the start of the hash as well."""
    refs = [parse_rref(rref) for rref in rrefs]
    inside = roots.as_place(folder) if folder else ""
    names = [ref.name for ref in refs]
    links = [ref.name if names.count(ref.name) == 1 else f"{ref.name}-{ref.rhash[:8]}" for ref in refs]
    return [linkrref(str(ref), os.path.join(inside, link)) for ref, link in zip(refs, links, strict=True)]
