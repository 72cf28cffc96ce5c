"""What is in a store: a line for each realization."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from stagedml.core.refs import RealizationRef, dref_of, parse_rref
from stagedml.errors import UsageError
from stagedml.inspection.parameters import differing, values_of
from stagedml.store.metadata import Metadata, UnreadableMetadata
from stagedml.store.objects import DamagedFile, NotInStore, Store

#: Realizations up to which a list tells their parameters: to read the configs of 1,000 takes 40 ms.
_MOST_TOLD_APART = 200


@dataclass(frozen=True, slots=True)
class RealizationLine:
    """One realization in a list.

    Attributes:
        rref: its reference.
        name: its stage's.
        built: when it was last built or adopted, seconds since the epoch.
        seconds: how long that took.
        size_bytes: of all its files.
        instances: which of several it is.
        metric: what the list is sorted by, if that is a metric.
        parameters: those, and the inputs, that differ among its stage's in the list; not told in a list of many.
    """

    rref: str
    name: str
    built: float | None
    seconds: float | None
    size_bytes: int | None
    instances: tuple[int, ...]
    metric: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def ls(store: Store, name: str | None = None, sort: str = "time") -> list[RealizationLine]:
    """The realizations in a store, oldest first. What tells those of a stage apart is there in lists of up to 200.

    Args:
        store: where to look.
        name: only those whose stage name contains this text, or matches it, if it has `*`, `?` or `[` in it.
        sort: `time`, `size`, or a number in `metrics.json`: the lowest first, but before it those that have none.

    Raises:
        UsageError: none has such a number.
    """
    lines: list[RealizationLine] = []
    for derivation in store.derivations():
        if name is not None and not _is_meant(derivation.name, name):
            continue
        lines += [_line(ref, _metadata(store, ref), store) for ref in store.realizations(derivation)]
    if len(lines) <= _MOST_TOLD_APART:
        lines = _with_parameters(store, lines)
    lines.sort(key=lambda line: (line.built or 0.0, line.rref))
    if sort == "size":
        lines.sort(key=lambda line: line.size_bytes or 0)
    elif sort != "time":
        lines = _with_metric(store, lines, sort)
    return lines


def _is_meant(name: str, text: str) -> bool:
    return fnmatchcase(name, text) if set("*?[") & set(text) else text in name


def _line(ref: RealizationRef, known: Metadata | None, store: Store) -> RealizationLine:
    if known is None:
        return RealizationLine(str(ref), ref.name, store.started(ref) or None, None, None, ())
    last = max(known.builds, key=lambda build: build.started)
    seconds = last.stopped - last.started
    return RealizationLine(str(ref), ref.name, known.started, seconds, known.size_bytes, known.instances)


def _with_parameters(store: Store, lines: Iterable[RealizationLine]) -> list[RealizationLine]:
    """The lines, with what tells the derivations of each stage apart."""
    of_stage: dict[str, dict[str, list[RealizationLine]]] = {}
    for line in lines:
        of_stage.setdefault(line.name, {}).setdefault(dref_of(line.rref), []).append(line)
    found = []
    for of_derivation in of_stage.values():
        several = len(of_derivation) > 1
        values = differing([_values(store, dref) for dref in of_derivation]) if several else [{}]
        for own, same in zip(values, of_derivation.values(), strict=True):
            found += [replace(line, parameters=own) for line in same]
    return found


def _values(store: Store, dref: str) -> dict[str, Any]:
    try:
        return values_of(store.config_of(dref))
    except (DamagedFile, NotInStore):
        return {}


def _with_metric(store: Store, lines: Sequence[RealizationLine], metric: str) -> list[RealizationLine]:
    """The lines, with a metric, and sorted by it."""
    from stagedml.inspection.metrics import METRICS_FILE, metrics_in

    measured = [metrics_in(store.layout.realization(parse_rref(line.rref))) for line in lines]
    if lines and not any(metric in found for found in measured):
        there = ", ".join(dict.fromkeys(["time", "size", *(name for found in measured for name in found)]))
        raise UsageError(
            f"sort by {metric}: nothing in the list has such a number in {METRICS_FILE}; there are: {there}"
        )
    rated = [replace(line, metric=found.get(metric)) for line, found in zip(lines, measured, strict=True)]
    return sorted(rated, key=lambda line: -math.inf if line.metric is None or math.isnan(line.metric) else line.metric)


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
