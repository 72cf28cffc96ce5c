"""Letting a person say that what is there will do: `bless` for two derivations, `borrow` for one realization."""

from __future__ import annotations

import time
from typing import Any

from stagedml.authoring.pylightnix import RRef
from stagedml.core.config import outputs_of
from stagedml.core.refs import DerivationRef, RealizationRef, dref_of, is_dref, is_rref, parse_dref, parse_rref
from stagedml.engine.events import Observer
from stagedml.engine.realize import Target, one_result, one_target, prepare
from stagedml.engine.records import user_name
from stagedml.engine.run import Run
from stagedml.errors import UsageError
from stagedml.store import blessings
from stagedml.store.blessings import Blessing
from stagedml.store.hashing import content_digest, scan
from stagedml.store.objects import Store, output_exists


class CannotBless(UsageError):
    """A derivation cannot be declared equal to another one."""

    def __init__(self, old: str, new: str, problem: str) -> None:
        super().__init__(old, new, problem)
        self.old, self.new, self.problem = old, new, problem

    def __str__(self) -> str:
        return f"{self.new} cannot be blessed as equal to {self.old}: {self.problem}"


def bless(old: str, new: Target[Any], *, reason: str) -> None:
    """Declare that a derivation makes what an older one made, so that its realizations are adopted, not built again.

    They are adopted by the next `realize`, if their inputs hold the same contents. What is adopted so, and why, is
    recorded with it and always shown by `why`.

    Args:
        old: a derivation that has realizations, or one of these.
        new: what `instantiate` returned; it must have one result.
        reason: what makes you sure, for whoever asks later.

    Raises:
        CannotBless: the old one has no realization, or none with the files that the new one promises; both are the
            same; or there is no reason.
    """
    result, run = prepare(new)
    one_target(run, result)
    target = run.targets[0]
    if not (is_dref(old) or is_rref(old)):
        raise CannotBless(str(old), target, "it is no reference; `stagedml ls` lists what there is")
    older = dref_of(old) if is_rref(old) else str(old)
    if not _is_reason(reason):
        raise CannotBless(older, target, "give a reason, for whoever asks later why nothing was built")
    if older == target:
        raise CannotBless(older, target, "they are one and the same; `realize` reuses it")
    there = run.store.realizations(parse_dref(older))
    if not there:
        raise CannotBless(older, target, "it has no realization in this store that could be taken")
    lacking = [_lacking(run.store, ref, parse_dref(target)) for ref in there]
    if all(lacking):
        raise CannotBless(older, target, f"it has no {', '.join(lacking[0])}, which the stage promises")
    blessing = Blessing(older, target, reason.strip(), user_name(), time.time())
    blessings.bless(run.store, parse_dref(target), blessing)


def borrow(rref: str, target: Target[Any], *, reason: str, observer: Observer | None = None) -> RRef:
    """Take the contents of a realization as those of another derivation, whatever it was made from.

    The inputs of the derivation are realized. As for `bless`, this is recorded and always shown by `why`.

    Args:
        rref: a realization with the files that the target's stage promises.
        target: what `instantiate` returned; it must have one result.
        reason: what makes you sure.
        observer: as of `realize`.

    Returns:
        the realization of the target; one that is there already stays as it is.

    Raises:
        CannotBless: there is no reason; the realization lacks a promised file, is damaged, or nothing is recorded of
            it; or the target's matcher wants several.
        UnreadableMetadata: what is recorded of it cannot be read.
        CannotBorrow: a file of it spells what it was made from.
        NotInStore: there is no such realization.
    """
    result, run = prepare(target, observer=observer)
    one_target(run, result)
    source = parse_rref(rref)
    if not _is_reason(reason):
        raise CannotBless(rref, run.targets[0], "give a reason, for whoever asks later why nothing was built")
    target_dref = run.targets[0]
    if problem := _cannot_lend(run, source):
        raise CannotBless(rref, target_dref, problem)
    run.planner.lent[target_dref] = Blessing(rref, target_dref, reason.strip(), user_name(), time.time())
    run.realize()
    return one_result(run)


def _is_reason(reason: object) -> bool:
    return isinstance(reason, str) and bool(reason.strip())


def _lacking(store: Store, ref: RealizationRef, target: DerivationRef) -> list[str]:
    """The files that a derivation promises and a realization of another one has not."""
    folder, promised = store.path(ref), outputs_of(store.config(target)).values()
    return [path for path, is_prefix in promised if not output_exists(folder, path, is_prefix)]


def _cannot_lend(run: Run, source: RealizationRef) -> str | None:
    """Why a realization cannot stand for the target of a run; all of its bytes are read. Raises NotInStore."""
    folder = run.store.path(source)
    (node,) = (node for node in run.nodes if node.dref == run.targets[0])
    if source.derivation == node.ref:
        return "it is one of its realizations; `realize` reuses it"
    if node.matcher.instances > 1:
        return f"its matcher wants {node.matcher.instances} instances, and one realization cannot be them all"
    known = run.store.metadata(source)
    if known is None:
        return "nothing is recorded of it, so nobody could tell whether it is whole"
    if missing := _lacking(run.store, source, node.ref):
        return f"it has no {', '.join(missing)}, which the stage promises"
    if content_digest(scan(folder)) != known.content:
        return "it is damaged; `stagedml verify` says how"
    return None
