"""Realizations as a person names them.

| written | stands for |
| --- | --- |
| `rref:...` | that one |
| `1a2b`, `rref:1a2b` | the one whose hash begins so |
| `1a2b-3c4d`, `1a2b-text` | the same; with the beginning of its derivation's hash, of its name, or both behind |
| `dref:...`, `dref:1a2b`, `dref:1a2b-text` | of that derivation, the one that was built last |
| `bert-finetune-mrpc`, `bert-f` | of all stages of that name, the one that was built last; enough of the name will do |
| `NAME@latest`, `NAME~1` | the same; the one that was built before it |
| `NAME@best:f1`, `NAME@lowest:loss` | the one with the highest, or the lowest, number of that name in `metrics.json` |
| `NAME@best` | by the first that there is of `eval_accuracy`, `eval_score`, `accuracy` and `score` |
| a path | the one that it leads into, as a link from `--out-link` does |

NAME may be a `dref:`, too. Where several are asked for, a name alone stands for all of that name, and `*` and `?` for
any letters.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from stagedml.core.refs import RealizationRef, is_rhash, is_rref, parse_folder, parse_rref
from stagedml.errors import UsageError
from stagedml.inspection.metrics import METRICS_FILE, metrics_in, names
from stagedml.store.metadata import UnreadableMetadata
from stagedml.store.objects import NotInStore, Store

#: What `@best` goes by where nothing is said: the first of these that a realization has.
METRICS = ("eval_accuracy", "eval_score", "accuracy", "score")
_LEAST_OF_A_HASH = 4
_HASH = re.compile(rf"[0-9a-f]{{{_LEAST_OF_A_HASH},32}}(-|\Z)")
_CHOICE = re.compile(r"(?P<name>[^@~]*)(?:@(?P<which>latest|best|lowest)(?::(?P<metric>.+))?|~(?P<back>\d+))\Z")


class AmbiguousReference(UsageError):
    """What a person wrote stands for several realizations, or for stages of several names."""

    def __init__(self, text: str, found: Sequence[str], noun: str = "realizations") -> None:
        super().__init__(text, tuple(found), noun)
        self.text, self.found, self.noun = text, tuple(found), noun

    def __str__(self) -> str:
        return "\n  ".join([f"{self.text!r} stands for several {self.noun}; give more of it:", *self.found])


class NoSuchRealization(NotInStore):
    """What a person wrote stands for nothing in the store."""

    def __init__(self, text: str, storage: str, hint: str) -> None:
        super().__init__(text, storage)
        self.args = (text, storage, hint)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.ref or repr('')} is not in the store {self.storage}; {self.hint}"


def find(store: Store, text: str) -> RealizationRef:
    """The realization that a person means.

    Raises:
        NotInStore: there is none.
        AmbiguousReference: there are several.
        UsageError: it says too little.
    """
    given: object = text  # whoever checks no types passes other things, too
    if not isinstance(given, str):
        raise UsageError(f"{given!r} is no realization; give a reference, the start of its hash, or a stage's name")
    if is_rref(text):
        ref = parse_rref(text)
        store.path(ref)
        return ref
    if (ref_of_path := _behind_path(store, text)) is not None:
        return ref_of_path
    if os.sep not in text and ("@" in text or "~" in text):
        return _chosen(store, text)
    of_name = [ref for one in store.derivations() if one.name == text for ref in store.realizations(one)]
    if not of_name and (found := _by_hash(store, text)):
        return _the_one(text, found)
    return _by_age(store, of_name or _several(store, text))[0]


def find_all(store: Store, texts: Iterable[str]) -> list[RealizationRef]:
    """The realizations that a person means, each once; errors as of `find`."""
    everything = [ref for derivation in store.derivations() for ref in store.realizations(derivation)]
    found: dict[RealizationRef, None] = {}
    for text in texts:
        if set("*?[") & set(str(text)) and not os.path.lexists(text):
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
    given = text.removeprefix("rref:")
    if not _HASH.match(given):
        return []
    begins = _beginnings(given)
    return [
        ref
        for derivation in store.derivations()
        for ref in store.realizations(derivation)
        if begins.match(f"{ref.rhash}-{ref.folder}") or begins.match(f"{ref.rhash}-{ref.name}")
    ]


def _beginnings(given: str) -> re.Pattern[str]:
    """Matches hashes and a name, joined by hyphens, that begin as the given ones do."""
    return re.compile("[^-]*-".join(map(re.escape, given.split("-"))))


def _several(store: Store, text: str) -> list[RealizationRef]:
    """The realizations of a derivation, or of the stages of a name."""
    return _of_derivation(store, text) if text.startswith("dref:") else _of_name(store, text)


def _of_derivation(store: Store, text: str) -> list[RealizationRef]:
    """The realizations of the one derivation whose hash begins so."""
    given = text.removeprefix("dref:")
    begins = _beginnings(given)
    meant = (one for one in store.derivations() if _HASH.match(given) and begins.match(one.folder))
    there = {one: found for one in meant if (found := store.realizations(one))}
    if not there:
        raise _nothing(store, text)
    if len(there) > 1:
        raise AmbiguousReference(text, sorted(map(str, there)), "derivations")
    return next(iter(there.values()))


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


def _nothing(store: Store, text: str) -> NoSuchRealization:
    names = {ref.name for ref in store.derivations() if store.realizations(ref)}
    if close := difflib.get_close_matches(text, names, n=3):
        hint = f"did you mean {' or '.join(close)}?"
    elif len(text.removeprefix("rref:").removeprefix("dref:")) < _LEAST_OF_A_HASH:
        hint = f"of a hash, give at least {_LEAST_OF_A_HASH} characters; `stagedml ls` lists what is there"
    else:
        hint = "`stagedml ls` lists what is, `realize` builds what is not"
    return NoSuchRealization(text, str(store.layout.storage), hint)


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


def _chosen(store: Store, text: str) -> RealizationRef:
    """One of several realizations: NAME@latest, NAME~1, NAME@best, NAME@best:METRIC or NAME@lowest:METRIC."""
    choice = _CHOICE.match(text)
    if choice is None:
        raise UsageError(f"{text}: after a name goes @latest, @best, @best:METRIC, @lowest:METRIC, or ~1, ~2, ...")
    refs = _by_age(store, _several(store, choice["name"]))
    if choice["which"] in ("best", "lowest"):
        return _by_metric(store, text, choice, refs)
    back = int(choice["back"] or 0)
    if back >= len(refs):
        oldest = f"{choice['name']}~{len(refs) - 1}"
        hint = f"there are {len(refs)}, so {oldest} is the first" if len(refs) > 1 else "there is but one"
        raise NoSuchRealization(text, str(store.layout.storage), hint)
    return refs[back]


def _by_metric(store: Store, text: str, choice: re.Match[str], refs: Sequence[RealizationRef]) -> RealizationRef:
    """The realization with the best, or the lowest, metric."""
    name, which = choice["name"], choice["which"]
    measured = {ref: metrics_in(store.path(ref)) for ref in refs}
    metrics = list(dict.fromkeys(metric for found in measured.values() for metric in found))
    if not metrics:
        raise UsageError(f"{text}: nothing is measured of {name}: its builder writes no numbers into {METRICS_FILE}")
    metric = choice["metric"] or _usual(text, name, which, metrics)
    if which == "best" and _is_loss(metric):
        raise UsageError(f"{text}: the best loss is the lowest: {name}@lowest:{metric}")
    if metric not in metrics:
        there = f"there are: {', '.join(names(metrics))}"
        raise UsageError(f"{text}: no {name} has a number {metric!r} in {METRICS_FILE}; {there}")
    rated = {ref: found[metric] for ref, found in measured.items() if not math.isnan(found.get(metric, math.nan))}
    if not rated:
        raise UsageError(f"{text}: {metric} is NaN, not a number, in every {METRICS_FILE} of {name}")
    return min(rated, key=lambda ref: (rated[ref] if which == "lowest" else -rated[ref], str(ref)))


def _usual(text: str, name: str, which: str, metrics: Sequence[str]) -> str:
    """What `@best` goes by where nothing is said. Raises UsageError where nobody can know, as of `@lowest`."""
    usual = [metric for metric in METRICS if metric in metrics]
    if which == "best" and usual:
        return usual[0]
    fitting = [metric for metric in metrics if _is_loss(metric) == (which == "lowest")]
    example = f"{name}@{which}:{fitting[0]}" if fitting else f"{name}@lowest:{metrics[0]}"
    raise UsageError(f"{text}: say by which metric, as in {example}; there are: {', '.join(names(metrics))}")


def _is_loss(metric: str) -> bool:
    return re.split(r"[._]", metric)[-1] == "loss"
