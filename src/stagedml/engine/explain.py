"""Why something is built: what differs from the nearest earlier realization of a stage of the same name."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stagedml.core import differences
from stagedml.core.code import Code
from stagedml.core.config import Config
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import DerivationRef, RealizationRef, parse_folder
from stagedml.store.metadata import Metadata, UnreadableMetadata
from stagedml.store.objects import DamagedFile, NotInStore, Store

_MOST_COMPARED = 32  #: of the namesakes in which more than one field differs, those built last


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a derivation has nothing that could be reused.

    Attributes:
        reasons: what counts most first.
        since: what it is compared with, if there is anything.
        only_inputs: whether nothing but its inputs are others.
        seconds: how long the build took that it is compared with.
    """

    reasons: tuple[Reason, ...]
    since: RealizationRef | None = None
    only_inputs: bool = False
    seconds: float | None = None


class Explainer:
    """Compares derivations with their namesakes, as they were in the store when this object was made.

    A namesake in which one field differs is found by a table of all fields but one, so the cost grows with the number
    of namesakes and of derivations, not with their product.
    """

    def __init__(self, store: Store, closure: Collection[str] = ()) -> None:
        """`closure`: derivations that are compared with where nothing else is as near, for they stay as they are."""
        self.store = store
        self._closure = closure
        self._namesakes: dict[str, _Namesakes] = {}
        self._folders: dict[str, list[DerivationRef]] | None = None
        self._has_quarantine: bool | None = None

    def first_build(self, ref: DerivationRef, code: Code | None) -> Explanation:
        """Why a derivation is built that has no realization, and none to adopt."""
        if self._is_quarantined(ref):
            return Explanation((Reason(Cause.BYTES_MISSING, "what there was is in quarantine"),))
        config = self.store.config(ref)
        near = self._of(ref.name).nearest(ref, config, self._closure)
        if near is None:
            return Explanation((Reason(Cause.FIRST_BUILD),))
        return self.against(ref, near[1], code)

    def against(self, ref: DerivationRef, since: RealizationRef, code: Code | None) -> Explanation:
        """How a derivation differs from that of a realization."""
        config, other = self.store.config(ref), since.derivation
        found = differences.reasons(self.store.config(other), config, self.store.code(other), code)
        return Explanation(
            found or (Reason(Cause.FIRST_BUILD),),
            since,
            bool(found) and all(reason.cause is Cause.INPUT for reason in found),
            seconds_of(self.store, since),
        )

    def _is_quarantined(self, ref: DerivationRef) -> bool:
        if self._has_quarantine is None:
            self._has_quarantine = os.path.isdir(self.store.layout.quarantine)
        return self._has_quarantine and self.store.is_quarantined(ref)

    def _of(self, name: str) -> _Namesakes:
        if self._folders is None:
            self._folders = {}
            for other in _derivations_with_metadata(self.store):
                self._folders.setdefault(other.name, []).append(other)
        if name not in self._namesakes:
            self._namesakes[name] = _Namesakes(self.store, self._folders.get(name, ()))
        return self._namesakes[name]


def _derivations_with_metadata(store: Store) -> Iterator[DerivationRef]:
    """Those of which realizations of ours were built; listing them looks into no folder."""
    try:
        names = os.listdir(store.layout.metadata)
    except FileNotFoundError:
        return
    for name in names:
        if (ref := parse_folder(name)) is not None:
            yield ref


class _Namesakes:
    """The derivations of one name that were built earlier, those built last first."""

    def __init__(self, store: Store, refs: Iterable[DerivationRef]) -> None:
        self.store = store
        self._fields: dict[DerivationRef, dict[str, str]] = {}
        self._by_all_but_one: dict[int, list[DerivationRef]] = {}
        for ref in sorted(refs, key=self._built, reverse=True):
            try:
                fields = differences.own_fields(store.config(ref))
            except (NotInStore, DamagedFile):
                continue
            self._fields[ref] = fields
            for key in _keys(fields):
                alike = self._by_all_but_one.setdefault(key, [])
                if len(alike) < _MOST_COMPARED:
                    alike.append(ref)

    def nearest(
        self, ref: DerivationRef, config: Config, closure: Collection[str]
    ) -> tuple[DerivationRef, RealizationRef] | None:
        """The one with the fewest fields that differ, then inputs; of several the one built last."""
        if not self._fields:
            return None
        fields = differences.own_fields(config)
        alike = dict.fromkeys(one for key in _keys(fields) for one in self._by_all_but_one.get(key, ()))
        for others in (alike, itertools.islice(self._fields, _MOST_COMPARED)):
            ranked = [
                (
                    _distance(self._fields[one], fields),
                    str(one) in closure,
                    _distance(self.store.config(one), config),
                    place,
                    one,
                )
                for place, one in enumerate(others)
            ]
            for *_, other in sorted(ranked):
                if other != ref and (since := latest_realization(self.store, other)) is not None:
                    return other, since
        return None

    def _built(self, ref: DerivationRef) -> tuple[float, str]:
        try:
            return os.stat(self.store.layout.metadata / ref.folder).st_mtime, ref.dhash
        except FileNotFoundError:
            return 0.0, ref.dhash


def _keys(fields: Mapping[str, str]) -> list[int]:
    """What fields have in common with others that are the same, or lack one, or differ in one: all, and all but one."""
    hashes = [hash(item) for item in fields.items()]
    whole = 0
    for value in hashes:
        whole ^= value
    return [whole, *(whole ^ value for value in hashes)]


def _distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    return sum(one.get(name) != other.get(name) for name in {*one, *other})


def latest_realization(store: Store, ref: DerivationRef) -> RealizationRef | None:
    """The realization of a derivation that was built last, of those with metadata."""
    found = [(known.started, str(one), one) for one in store.realizations(ref) if (known := _known(store, one))]
    return max(found)[2] if found else None


def seconds_of(store: Store, ref: RealizationRef) -> float | None:
    """How long a realization took to build, the mean of all its builds; None where a person alone knows."""
    known = _known(store, ref)
    builds = known.builds if known is not None else ()
    taken = [build.stopped - build.started for build in builds if not build.by_hand]
    return sum(taken) / len(taken) if taken else None


def _known(store: Store, ref: RealizationRef) -> Metadata | None:
    try:
        return store.metadata(ref)
    except UnreadableMetadata:
        return None
