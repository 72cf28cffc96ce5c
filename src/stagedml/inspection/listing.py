"""What is in a store: a line for each realization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from stagedml.core.refs import RealizationRef
from stagedml.store.metadata import Metadata, UnreadableMetadata
from stagedml.store.objects import Store


@dataclass(frozen=True, slots=True)
class RealizationLine:
    """One realization in a list."""

    rref: str
    name: str
    built: float | None  #: when it was last built or adopted, seconds since the epoch
    seconds: float | None  #: how long that took
    size_bytes: int | None
    instances: tuple[int, ...]


def ls(store: Store, name: str | None = None) -> list[RealizationLine]:
    """The realizations in a store, oldest first.

    Args:
        store: where to look.
        name: only those whose stage name contains this text.
    """
    lines = []
    for derivation in store.derivations():
        if name is not None and name not in derivation.name:
            continue
        lines += [_line(ref, _metadata(store, ref), store) for ref in store.realizations(derivation)]
    return sorted(lines, key=lambda line: (line.built or 0.0, line.rref))


def _line(ref: RealizationRef, known: Metadata | None, store: Store) -> RealizationLine:
    if known is None:
        return RealizationLine(str(ref), ref.name, store.started(ref) or None, None, None, ())
    last = max(known.builds, key=lambda build: build.started)
    seconds = last.stopped - last.started
    return RealizationLine(str(ref), ref.name, known.started, seconds, known.size_bytes, known.instances)


def _metadata(store: Store, ref: RealizationRef) -> Metadata | None:
    try:
        return store.metadata(ref)
    except UnreadableMetadata:
        return None


def short_hashes(rrefs: Iterable[str]) -> dict[str, str]:
    """For each realization, the start of its hash; where others have the same, that of its derivation's, too.

    What was adopted has the same files as what it was taken from, and often the same hash.
    """
    times = Counter(rref[5:17] for rref in rrefs)
    return {rref: rref[5:17] if times[rref[5:17]] == 1 else f"{rref[5:17]}-{rref[38:44]}" for rref in rrefs}


def hash_of(ref: str) -> str:
    """The hash that tells a reference from others of its kind; nothing of nothing."""
    return ref[5:37]
