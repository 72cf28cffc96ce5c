"""Realizations as a person names them.

| written | stands for |
| --- | --- |
| `rref:...` | that one |
| `1a2b`, `rref:1a2b`, `1a2b-3c4d` | the one whose hash begins so; with the beginning of its derivation's hash behind |
| `dref:...` | of that derivation, the one that was built last |
| `bert-finetune-mrpc`, `bert-f` | of all stages of that name, the one that was built last; enough of the name will do |
| `NAME@latest`, `NAME~1` | the same; the one that was built before it |
| `NAME@best`, `NAME@best:f1` | the one with the highest metric, of `metrics.json`; by default the first of `METRICS` |
| `NAME@lowest:loss` | the one with the lowest |
| a path | the one that it leads into, as a link from `--out-link` does |

Where several are asked for, a name alone stands for all of that name, and `*` and `?` for any letters.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from stagedml.core.refs import RealizationRef, is_dref, is_rhash, is_rref, parse_dref, parse_folder, parse_rref
from stagedml.errors import UsageError
from stagedml.inspection.metrics import METRICS_FILE, metrics_in, names
from stagedml.store.metadata import UnreadableMetadata
from stagedml.store.objects import NotInStore, Store

#: What `@best` goes by where nothing is said: the first of these that a realization has.
METRICS = ("eval_accuracy", "eval_score", "accuracy", "score")
_LEAST_OF_A_HASH = 4
_CHOICE = re.compile(r"(?P<name>.+)(?:@(?P<which>latest|best|lowest)(?::(?P<metric>.+))?|~(?P<back>\d+))\Z")
_TWO_HASHES = re.compile(r"([0-9a-f]{4,32})-([0-9a-f]{1,32})\Z")


class AmbiguousReference(UsageError):
    """What a person wrote stands for several realizations, or for stages of several names."""

    def __init__(self, text: str, found: Sequence[str], noun: str = "realizations") -> None:
        super().__init__(text, tuple(found), noun)
        self.text, self.found, self.noun = text, tuple(found), noun

    def __str__(self) -> str:
        return "\n  ".join([f"{self.text!r} stands for several {self.noun}; give more of it:", *self.found])


class NoSuchRealization(NotInStore):
    """What a person wrote stands for nothing in the store."""

    def __init__(self, text: str, storage: str, close: Sequence[str]) -> None:
        super().__init__(text, storage)
        self.args = (text, storage, tuple(close))
        self.close = tuple(close)

    def __str__(self) -> str:
        if self.close:
            return f"{self.ref} is not in the store {self.storage}; did you mean {' or '.join(self.close)}?"
        return super().__str__()


def find(store: Store, text: str) -> RealizationRef:
    """The realization that a person means.

    Raises:
        NotInStore: there is none.
        AmbiguousReference: there are several.
        UsageError: it says too little.
    """
    if is_rref(text):
        ref = parse_rref(text)
        store.path(ref)
        return ref
    if (ref_of_path := _behind_path(store, text)) is not None:
        return ref_of_path
    named = [parse_dref(text)] if is_dref(text) else [ref for ref in store.derivations() if ref.name == text]
    if found := [ref for one in named for ref in store.realizations(one)]:
        return _by_age(store, found)[0]
    if choice := _CHOICE.match(text):
        return _chosen(store, text, _of_name(store, choice["name"]), choice)
    if found := _by_hash(store, text):
        return _the_one(text, found)
    return _by_age(store, _of_name(store, text))[0]


def find_all(store: Store, texts: Iterable[str]) -> list[RealizationRef]:
    """The realizations that a person means, each once; errors as of `find`."""
    everything = [ref for derivation in store.derivations() for ref in store.realizations(derivation)]
    found: dict[RealizationRef, None] = {}
    for text in texts:
        if set("*?[") & set(text) and not os.path.lexists(text):
            matching = [ref for ref in everything if fnmatch.fnmatchcase(ref.name, text)]
            if not matching:
                raise _nothing(store, text)
        else:
            matching = [ref for ref in everything if ref.name == text] or [find(store, text)]
        found |= dict.fromkeys(_by_age(store, matching)[::-1])
    return list(found)


def _behind_path(store: Store, text: str) -> RealizationRef | None:
    """The realization that a path leads into: from here, or from the experiments folder."""
    if not text or (os.sep not in text and not os.path.islink(text)):
        return None
    storage = os.path.realpath(store.layout.storage)
    for folder in ("", str(store.layout.experiments)):
        real = os.path.realpath(os.path.join(folder, os.path.expanduser(text)))
        parts = Path(real).relative_to(storage).parts if real.startswith(storage + os.sep) else ()
        derivation = parse_folder(parts[0]) if len(parts) > 1 else None
        if derivation is not None and is_rhash(parts[1]):
            ref = RealizationRef(parts[1], derivation.dhash, derivation.name)
            store.path(ref)
            return ref
    return None


def _by_hash(store: Store, text: str) -> list[RealizationRef]:
    """The realizations whose hash begins so."""
    prefix = text.removeprefix("rref:")
    if len(prefix) < _LEAST_OF_A_HASH:
        return []
    both = _TWO_HASHES.match(prefix)
    return [
        ref
        for derivation in store.derivations()
        for ref in store.realizations(derivation)
        if f"{ref.rhash}-{ref.folder}".startswith(prefix)
        or (both and ref.rhash.startswith(both[1]) and ref.dhash.startswith(both[2]))
    ]


def _of_name(store: Store, name: str) -> list[RealizationRef]:
    """The realizations of the stages of one name, or of the one name that begins so."""
    there: dict[str, list[RealizationRef]] = {}
    for derivation in store.derivations():
        if derivation.name.startswith(name) and (found := store.realizations(derivation)):
            there.setdefault(derivation.name, []).extend(found)
    if name in there:
        return there[name]
    if not name or not there:
        raise _nothing(store, name)
    if len(there) > 1:
        raise AmbiguousReference(name, sorted(there), "stages")
    return next(iter(there.values()))


def _nothing(store: Store, text: str) -> UsageError | NotInStore:
    if len(text.removeprefix("rref:")) < _LEAST_OF_A_HASH:
        return UsageError(
            f"{text!r} is no stage in the store; of a hash, give at least {_LEAST_OF_A_HASH} characters; "
            "`stagedml ls` lists what there is"
        )
    names = {ref.name for ref in store.derivations() if store.realizations(ref)}
    return NoSuchRealization(text, str(store.layout.storage), difflib.get_close_matches(text, names, n=3))


def _the_one(text: str, found: Sequence[RealizationRef]) -> RealizationRef:
    if len(found) > 1:
        raise AmbiguousReference(text, tuple(map(str, found)))
    return found[0]


def _by_age(store: Store, refs: Iterable[RealizationRef]) -> list[RealizationRef]:
    """Realizations, the latest first."""
    return sorted(refs, key=lambda ref: (built(store, ref), str(ref)), reverse=True)


def built(store: Store, ref: RealizationRef) -> float:
    """When a realization was last built or adopted, seconds since the epoch; 0 where nothing tells."""
    try:
        known = store.metadata(ref)
    except UnreadableMetadata:
        known = None
    return known.started if known is not None else store.started(ref)


def _chosen(store: Store, text: str, refs: list[RealizationRef], choice: re.Match[str]) -> RealizationRef:
    """One of the realizations of a name."""
    if choice["which"] in (None, "latest"):
        back = int(choice["back"] or 0)
        if back >= len(refs):
            raise UsageError(f"{text}: there are {len(refs)}, so {choice['name']}~{len(refs) - 1} is the first")
        return _by_age(store, refs)[back]
    metrics = {ref: metrics_in(store.path(ref)) for ref in refs}
    there = list(dict.fromkeys(name for found in metrics.values() for name in found))
    usual = (name for name in METRICS if name in there)
    metric = choice["metric"] or next(usual, "") or (there[0] if len(there) == 1 else "")
    lowest = choice["which"] == "lowest"
    if not metric:
        raise UsageError(f"{text}: say by which metric, as in {text}:accuracy; {_told(there)}")
    if not lowest and re.split(r"[._]", metric)[-1] == "loss":
        raise UsageError(f"{text}: the best loss is the lowest: {choice['name']}@lowest:{metric}")
    rated = {ref: found[metric] for ref, found in metrics.items() if not math.isnan(found.get(metric, math.nan))}
    if not rated:
        raise UsageError(f"{text}: no {choice['name']} has a number {metric!r} in {METRICS_FILE}; {_told(there)}")
    return min(rated, key=lambda ref: (rated[ref] if lowest else -rated[ref], str(ref)))


def _told(metrics: Sequence[str]) -> str:
    return f"there are: {', '.join(names(metrics))}" if metrics else "there are none"
