"""What is in a store, without Pylightnix: lists of realizations, and everything about one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagedml.core.config import resolve
from stagedml.core.refs import RealizationRef, is_dref, is_rref, parse_dref, parse_rref
from stagedml.errors import UsageError
from stagedml.store.metadata import Metadata, UnreadableMetadata
from stagedml.store.objects import NotInStore, Store

_TWO_HASHES = re.compile(r"([0-9a-f]{4,32})-([0-9a-f]{1,32})")


class AmbiguousReference(UsageError):
    """An abbreviated reference stands for several realizations."""

    def __init__(self, text: str, found: tuple[str, ...]) -> None:
        super().__init__(text, found)
        self.text, self.found = text, found

    def __str__(self) -> str:
        return "\n  ".join([f"{self.text!r} stands for several realizations; give more of it:", *self.found])


@dataclass(frozen=True, slots=True)
class RealizationLine:
    """One realization in a list."""

    rref: str
    name: str
    built: float | None  #: when it was last built or adopted, seconds since the epoch
    seconds: float | None  #: how long that took
    size_bytes: int | None
    instances: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RealizationView:
    """Everything about one realization."""

    rref: str
    dref: str
    path: str
    config: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, ...]]
    files: tuple[tuple[str, int], ...]  #: (path, bytes)
    content: str | None  #: content digest
    builds: tuple[Mapping[str, Any], ...]
    checks: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


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


def show(store: Store, ref: RealizationRef) -> RealizationView:
    """Everything about one realization. Raises NotInStore."""
    path = store.path(ref)
    known = _metadata(store, ref)
    config = store.config(ref.derivation)
    files = (
        tuple((entry.path, entry.size) for entry in known.files if entry.kind != "d")
        if known is not None
        else tuple((str(file.relative_to(path)), file.stat().st_size) for file in _files(path))
    )
    return RealizationView(
        rref=str(ref),
        dref=str(ref.derivation),
        path=str(path),
        config=resolve(dict(config), str(ref.derivation)),
        inputs=store.inputs_of(ref, known),
        files=files,
        content=known.content if known else None,
        builds=tuple(asdict(build) for build in known.builds) if known else (),
        checks=tuple(asdict(check) for check in known.checks) if known else (),
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def short_hashes(rrefs: Iterable[str]) -> dict[str, str]:
    """For each realization, the start of its hash; where others have the same, that of its derivation's, too.

    What was adopted has the same files as what it was taken from, and often the same hash.
    """
    times = Counter(rref[5:17] for rref in rrefs)
    return {rref: rref[5:17] if times[rref[5:17]] == 1 else f"{rref[5:17]}-{rref[38:44]}" for rref in rrefs}


def hash_of(ref: str) -> str:
    """The hash that tells a reference from others of its kind; nothing of nothing."""
    return ref[5:37]


def find(store: Store, text: str) -> RealizationRef:
    """The realization that a person means.

    Args:
        store: where to look.
        text: an rref; a dref or the name of a stage, for the realization of it that was built last; the first
            characters of an rref's hash, with or without `rref:`; or those of both of its hashes, with `-` between.

    Raises:
        UsageError: it is too short.
        NotInStore: there is none.
        AmbiguousReference: there are several.
    """
    if is_rref(text):
        ref = parse_rref(text)
        store.path(ref)
        return ref
    named = [parse_dref(text)] if is_dref(text) else [ref for ref in store.derivations() if ref.name == text]
    if named:
        lines = [_line(ref, _metadata(store, ref), store) for one in named for ref in store.realizations(one)]
        if lines:
            return parse_rref(max(lines, key=lambda line: (line.built or 0.0, line.rref)).rref)
    prefix = text.removeprefix("rref:")
    abbreviated = _TWO_HASHES.fullmatch(prefix)
    if len(prefix) < 4:
        raise UsageError(f"{text!r} is no stage in the store; of a hash, give at least 4 characters")
    found = [
        ref
        for derivation in store.derivations()
        for ref in store.realizations(derivation)
        if f"{ref.rhash}-{ref.folder}".startswith(prefix)
        or (abbreviated and ref.rhash.startswith(abbreviated[1]) and ref.dhash.startswith(abbreviated[2]))
    ]
    if len(found) > 1:
        raise AmbiguousReference(text, tuple(map(str, found)))
    if not found:
        raise NotInStore(text, str(store.layout.storage))
    return found[0]
