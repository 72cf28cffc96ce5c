"""What is in a store, without Pylightnix: lists of realizations, and everything about one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.core.config import resolve
from stagedml.core.refs import RealizationRef
from stagedml.inspection.metrics import metrics_in
from stagedml.store.metadata import BuildRecord, CheckRecord, Metadata, UnreadableMetadata
from stagedml.store.objects import Store


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
    metrics: Mapping[str, float]  #: the numbers in `metrics.json`
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
        content=known.content if known else None,
        metrics=metrics_in(path),
        builds=known.builds if known else (),
        checks=known.checks if known else (),
    )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
