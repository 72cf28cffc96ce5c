"""What tells some realizations apart, in a few words each: for legends and axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stagedml.core.refs import parse_rref
from stagedml.inspection.compare import compare
from stagedml.inspection.parameters import words_of
from stagedml.store.metadata import UnreadableMetadata
from stagedml.store.objects import Store

_SHORT = 6  #: characters of a hash


def labels(store: Store, rrefs: Sequence[str]) -> list[str]:
    """A label for each of some realizations: its stage's name, if they have several, and the parameters and inputs that
    differ among those of its stage. Where that is not enough, the instance or the start of the hash, too.

    Raises NotInStore.
    """
    names = [parse_rref(rref).name for rref in rrefs]
    own: dict[str, str] = {}
    for name in dict.fromkeys(names):
        of_stage = [rref for rref in dict.fromkeys(rrefs) if parse_rref(rref).name == name]
        own |= zip(of_stage, map(words_of, differing(store, of_stage)), strict=True)
    several = len(set(names)) > 1
    found = [_joined(name if several else "", own[rref]) or name for name, rref in zip(names, rrefs, strict=True)]
    alike = [[rref for rref, other in zip(rrefs, found, strict=True) if other == label] for label in found]
    return [
        _joined(label, _apart(store, rref, others) if len(set(others)) > 1 else "")
        for label, rref, others in zip(found, rrefs, alike, strict=True)
    ]


def differing(store: Store, rrefs: Sequence[str]) -> list[dict[str, Any]]:
    """For each of some realizations, its values of the parameters, and its inputs, that differ among them."""
    if not rrefs:
        return []
    first, *others = map(parse_rref, rrefs)
    of_first: dict[str, Any] = {}
    of_others: list[dict[str, Any]] = []
    for other in others:
        found = compare(store, first, other)
        of_first |= {one.name: one.before for one in found.config}
        of_first |= {one.name: _hash(one.before) for one in found.inputs}
        own = {one.name: one.after for one in found.config}
        of_others.append(own | {one.name: _hash(one.after) for one in found.inputs})
    of_first = dict(sorted(of_first.items()))  # a config declared here and one read from the disk have other orders
    return [of_first, *({**of_first, **own} for own in of_others)]


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _hash(rref: str) -> str | None:
    return parse_rref(rref).rhash[:_SHORT] if rref else None


def _apart(store: Store, rref: str, alike: Sequence[str]) -> str:
    """What tells a realization from others whose parameters are the same: the instance, if that is all there is."""
    ref = parse_rref(rref)
    if all(parse_rref(other).derivation == ref.derivation for other in alike):
        try:
            known = store.metadata(ref)
        except UnreadableMetadata:
            known = None
        if known is not None and known.instances:
            return f"instance {', '.join(map(str, known.instances))}"
    return ref.rhash[:_SHORT]
