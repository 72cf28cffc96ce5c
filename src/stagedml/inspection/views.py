"""What is in a store, without Pylightnix: lists of realizations, and everything about one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.core import words
from stagedml.core.config import resolve
from stagedml.core.refs import RealizationRef
from stagedml.inspection.metrics import metrics_in
from stagedml.store.hashing import Entry
from stagedml.store.metadata import BuildRecord, CheckRecord, Metadata, UnreadableMetadata
from stagedml.store.objects import Store


@dataclass(frozen=True, slots=True)
class RealizationView:
    """Everything about one realization.

    Attributes:
        files: as they were published: path and bytes.
        suspect: those that are not so any more, as far as can be told without reading them: path, and what is wrong.
        content: the digest of their contents, as published.
        metrics: the numbers in `metrics.json`.
    """

    rref: str
    dref: str
    path: str
    config: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, ...]]
    files: tuple[tuple[str, int], ...]
    suspect: tuple[tuple[str, str], ...]
    content: str | None
    metrics: Mapping[str, float]
    builds: tuple[BuildRecord, ...]
    checks: tuple[CheckRecord, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is."""

    path: str


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
        suspect=tuple(_suspect(path, known.files)) if known is not None else (),
        content=known.content if known else None,
        metrics=metrics_in(path),
        builds=known.builds if known else (),
        checks=known.checks if known else (),
    )


def _suspect(folder: Path, published: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """The files that were changed, by what the file system tells of them."""
    for entry in published:
        if entry.kind == "d":
            continue
        try:
            now = os.lstat(folder / entry.path)
        except (FileNotFoundError, NotADirectoryError):
            yield entry.path, "is gone"
            continue
        if entry.kind == "l":
            continue
        if now.st_size != entry.size:
            yield entry.path, f"has {words.size(now.st_size)} now"
        elif now.st_mode & 0o222:
            yield entry.path, "can be written to, and may be changed"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
