"""One build, as data: what a builder needs to run, in this process or in another one."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from stagedml.authoring.build import Build, BuildListener, derive_seed, in_this_process, stage_seed
from stagedml.authoring.pylightnix import DRef, RRef, StorageSettings
from stagedml.authoring.pylightnix import Path as PylightnixPath
from stagedml.authoring.session import Storage, using_store
from stagedml.core.refs import parse_dref
from stagedml.engine.records import record_of
from stagedml.store.metadata import BuildRecord
from stagedml.store.objects import Store


class Builder(Protocol):
    """What runs a builder of ours: a realizer, or a stage that was sent here."""

    @property
    def deterministic(self) -> bool: ...

    def run(self, build: Build) -> tuple[float, float]: ...

    def beyond(self, build: Build) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Task:
    """One build.

    Attributes:
        builder: what runs; or, if `is_foreign`, a realizer of Pylightnix's, which may give several folders: of several
            instances, beginning with the one that is asked for.
        context: all that the result rests on.
        outpath: the folder to fill.
        arguments: values of the Exec parameters.
        checkpoints: the folder of what outlives a crash.
        imports: the installed modules that the builder's code imports.
        notes: fields of the record that are known beforehand.
    """

    dref: str
    builder: Any
    is_foreign: bool
    context: Mapping[str, Sequence[str]]
    outpath: Path
    instance: int
    arguments: Mapping[str, Any]
    offline: bool
    mirrors: str
    checkpoints: Path | None = None
    imports: Collection[str] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def perform(self, store: Store, listener: BuildListener) -> list[tuple[Path, BuildRecord]]:
        """Run it in this process; returns the folders that were filled, and what is to be recorded of each."""
        with using_store(store):
            return self._foreign(store) if self.is_foreign else [self._own(store, listener)]

    def build(self, store: Store, listener: BuildListener) -> Build:
        """What a builder of ours works with."""
        return Build(
            storage=Storage.of(store),
            dref=self.dref,
            context=self.context,
            outpath=self.outpath,
            scratch=self.outpath.with_name("scratch"),
            instance=self.instance,
            arguments=self.arguments,
            offline=self.offline,
            mirrors=self.mirrors,
            listener=listener,
            checkpoints=self.checkpoints,
            imports=self.imports,
        )

    def for_person(self) -> Task:
        """The same, for a person: what the builder left to go on with after a crash stays untouched."""
        return dataclasses.replace(self, checkpoints=None)

    @property
    def noted_arguments(self) -> Mapping[str, Any]:
        """The arguments, as they are recorded: what a realizer of Pylightnix's takes need not be JSON."""
        if not self.is_foreign:
            return self.arguments
        return cast("dict[str, Any]", json.loads(json.dumps(dict(self.arguments), default=repr, skipkeys=True)))

    def _own(self, store: Store, listener: BuildListener) -> tuple[Path, BuildRecord]:
        build = self.build(store, listener)
        builder: Builder = self.builder
        started, stopped = builder.run(build)
        record = record_of(
            self.instance,
            build.seed,
            started,
            stopped,
            self.arguments,
            builder.deterministic,
            reads=builder.beyond(build),
            **self.notes,
        )
        return self.outpath, record

    def _foreign(self, store: Store) -> list[tuple[Path, BuildRecord]]:
        layout = store.layout
        storage = StorageSettings(
            PylightnixPath(str(layout.root)), PylightnixPath(str(layout.storage)), PylightnixPath(str(self.outpath))
        )
        plain = {DRef(dref): [RRef(rref) for rref in rrefs] for dref, rrefs in self.context.items()}
        started = time.time()
        with in_this_process():
            paths = self.builder(storage, DRef(self.dref), plain, dict(self.arguments))
        stopped = time.time()
        seed = stage_seed(store.config(parse_dref(self.dref)))
        noted = self.noted_arguments
        return [
            (Path(path), record_of(index, derive_seed(seed, index), started, stopped, noted, **self.notes))
            for index, path in enumerate(paths, start=self.instance)
        ]
