"""The store: configs and realizations, read and published.

Publishing is atomic. A builder works in a scratch folder beside the storage; when it is done the tree is hashed, its
metadata written, the folder moved to `<rhash>.tmp` inside its derivation, made read-only there (an unprivileged user
cannot move a read-only folder to another parent), and renamed in place. A crash leaves:

- before the move: scratch, which the next attempt at the same build empties;
- after the move, before the rename: a `.tmp` folder that nobody reads, which the next publish of the same bytes
  replaces, and metadata of a realization that is not there, which nobody reads either;
- after the rename: the whole realization.

Any number of processes may read and publish at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from stagedml.core import config as configs
from stagedml.core.config import Config
from stagedml.core.matchers import Candidate
from stagedml.core.refs import DerivationRef, RealizationRef, is_rhash, parse_dref, parse_folder
from stagedml.errors import StoreError
from stagedml.settings import Settings
from stagedml.store import atomic, hashing, locks, metadata
from stagedml.store.hashing import Entry
from stagedml.store.layout import (
    BUILD_START_FILE,
    CONFIG_FILE,
    CONTEXT_FILE,
    DECLARING_CONFIG,
    DECLARING_STAGES,
    LAYOUT_VERSION,
    RESERVED_NAMES,
    Layout,
)
from stagedml.store.metadata import BuildRecord, Metadata

logger = logging.getLogger(__name__)

_DAY_S = 86_400

#: derivation -> the realizations that stand for it, over everything a realization rests on
Context = Mapping[str, Sequence[str]]


class NotInStore(StoreError):
    """A reference leads nowhere in this store."""

    def __init__(self, ref: str, storage: str) -> None:
        super().__init__(ref, storage)
        self.ref, self.storage = ref, storage

    def __str__(self) -> str:
        return (
            f"{self.ref} is not in the store {self.storage}; `stagedml ls` lists what is, `realize` builds what is not"
        )


class StoreUnusable(StoreError):
    """A folder cannot serve as a store."""

    def __init__(self, storage: str, reason: str) -> None:
        super().__init__(storage, reason)
        self.storage, self.reason = storage, reason

    def __str__(self) -> str:
        return f"the store {self.storage} cannot be used: {self.reason}"


class DamagedFile(StoreError):
    """A config or a context is not what was written."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return (
            f"{self.path} is damaged: {self.reason}; `stagedml verify --repair` puts aside what is, and realizing the "
            "stage once more mends it"
        )


class Store:
    """One store on disk. Objects are cheap; all state is in the file system, but for configs, which never change."""

    def __init__(self, layout: Layout, *, durable: bool = True) -> None:
        self.layout = layout
        self.durable = durable
        self._configs: dict[str, Config] = {}

    @classmethod
    def open(cls, settings: Settings, *, create: bool = True) -> Store:
        """The store that the settings name, made if it is not there and `create` is set. Raises StoreUnusable."""
        layout = Layout(settings.root, settings.storage, settings.tmp)
        store = cls(layout, durable=settings.durable)
        with store._own_errors():
            store._prepare(create)
        return store

    @contextlib.contextmanager
    def _own_errors(self) -> Iterator[None]:
        """What the file system refuses, as errors of the store: no right to write, no space left."""
        try:
            yield
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            raise StoreUnusable(str(self.layout.storage), f"{error.strerror}{where}") from error

    def _prepare(self, create: bool) -> None:
        layout = self.layout
        if not create and not layout.storage.is_dir():
            raise StoreUnusable(str(layout.storage), "there is no such folder; `store_initialize()` makes one")
        if not create and not layout.side.is_dir():
            return  # filled by Pylightnix alone; reading needs nothing of ours
        version = layout.version_file.read_text().strip() if layout.version_file.exists() else None
        if version not in (None, str(LAYOUT_VERSION)):
            raise StoreUnusable(
                str(layout.storage),
                f"its layout is version {version}, this StagedML knows {LAYOUT_VERSION}; use a newer StagedML",
            )
        for folder in (layout.storage, layout.tmp, layout.scratch, layout.locks, layout.metadata):
            folder.mkdir(parents=True, exist_ok=True)
        if version is None:
            atomic.write_file(layout.version_file, f"{LAYOUT_VERSION}\n", durable=self.durable)
        device = layout.storage.stat().st_dev
        for folder in (layout.scratch, layout.tmp):
            if folder.stat().st_dev != device:
                raise StoreUnusable(
                    str(layout.storage),
                    f"{folder} is on another file system, so nothing can be renamed into place; put both on one",
                )
        self._sweep()

    def _sweep(self) -> None:
        """Remove what killed declarations left behind; they take moments, so what is a day old is nobody's."""
        for item in os.scandir(self.layout.scratch):
            if item.name.startswith((DECLARING_CONFIG, DECLARING_STAGES)):
                with contextlib.suppress(OSError):  # another process sweeps, too, or it is another user's
                    if item.stat().st_mtime < time.time() - _DAY_S:
                        atomic.remove_tree(Path(item.path))

    def __repr__(self) -> str:
        return f"Store({str(self.layout.storage)!r})"

    # -- derivations ---------------------------------------------------------------------------------------------

    def add_config(self, text: str, ref: DerivationRef) -> None:
        """Publish the config of a derivation, given its exact text. One that is there already is left alone.

        One that is damaged or gone is written anew. Raises StoreUnusable where nothing can be written.
        """
        folder = self.layout.derivation(ref)
        path = folder / CONFIG_FILE
        try:
            present = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            present = None
        if present == text:
            self._configs.setdefault(ref.folder, json.loads(text))
            return
        if folder.is_dir():
            if present is not None:
                logger.warning("%s was damaged; it is written anew", path)
            with self._own_errors():
                atomic.write_file(path, text, durable=self.durable, mode=0o444)
            self._configs[ref.folder] = json.loads(text)
            return
        temporary = self.layout.scratch / f"{DECLARING_CONFIG}{ref.dhash}-{os.getpid()}-{threading.get_ident()}"
        with self._own_errors():
            atomic.remove_tree(temporary)
            temporary.mkdir()
            try:
                atomic.write_file(temporary / CONFIG_FILE, text, durable=self.durable, mode=0o444)
                with contextlib.suppress(FileExistsError):
                    self._rename_new(temporary, folder)
            finally:
                atomic.remove_tree(temporary)
        self._configs[ref.folder] = json.loads(text)

    def _rename_new(self, source: Path, destination: Path) -> None:
        """Rename a folder to a name that must be free. Raises FileExistsError where it is not."""
        try:
            source.rename(destination)
        except OSError as error:
            if destination.exists():
                raise FileExistsError(str(destination)) from error
            raise
        if self.durable:
            atomic.sync_folder(destination.parent)

    def config(self, ref: DerivationRef) -> Config:
        """The config of a derivation; do not change it. Raises NotInStore and DamagedFile."""
        if ref.folder not in self._configs:
            self._configs[ref.folder] = self.read_config(ref)
        return self._configs[ref.folder]

    def read_config(self, ref: DerivationRef) -> Config:
        """As `config`, from the disk and not from memory."""
        try:
            data = self.layout.config(ref).read_bytes()
        except FileNotFoundError:
            raise NotInStore(str(ref), str(self.layout.storage)) from None
        digest = hashlib.sha256(data).hexdigest()
        if not digest.startswith(ref.dhash):
            raise DamagedFile(str(self.layout.config(ref)), f"it hashes to {digest[:32]}, not to {ref.dhash}")
        config: Config = json.loads(data)
        return config

    def config_of(self, dref: str) -> Config:
        """The config of a derivation, given as text. Raises InvalidReference and NotInStore."""
        return self.config(parse_dref(dref))

    def derivations(self) -> list[DerivationRef]:
        """Every derivation in the store, sorted."""
        try:
            names = sorted(os.listdir(self.layout.storage))
        except FileNotFoundError:
            return []
        return [ref for ref in map(parse_folder, names) if ref is not None]

    # -- realizations --------------------------------------------------------------------------------------------

    def realizations(self, ref: DerivationRef) -> list[RealizationRef]:
        """Every realization of a derivation, sorted."""
        try:
            names = sorted(os.listdir(self.layout.derivation(ref)))
        except FileNotFoundError:
            return []
        return [RealizationRef(name, ref.dhash, ref.name) for name in names if is_rhash(name)]

    def path(self, ref: RealizationRef) -> Path:
        """The folder of a realization. Raises NotInStore where there is none."""
        path = self.layout.realization(ref)
        if not path.is_dir():
            raise NotInStore(str(ref), str(self.layout.storage))
        return path

    def metadata(self, ref: RealizationRef) -> Metadata | None:
        """What is known of a realization; None where Pylightnix built it."""
        return metadata.read(self.layout.metadata_of(ref))

    def context(self, ref: RealizationRef) -> dict[str, list[str]]:
        """All that a realization rests on, itself not included. Raises NotInStore and DamagedFile."""
        try:
            context: dict[str, list[str]] = json.loads(self.layout.context(ref).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotInStore(str(ref), str(self.layout.storage)) from None
        except ValueError as error:  # neither UTF-8 nor JSON
            raise DamagedFile(str(self.layout.context(ref)), str(error)) from error
        return context

    def inputs_of(self, ref: RealizationRef, known: Metadata | None) -> dict[str, tuple[str, ...]]:
        """The direct inputs of a realization, from its metadata or else from its context."""
        if known is not None:
            return dict(known.inputs)
        context = self.context(ref)
        direct = configs.inputs_of(self.config(ref.derivation))
        return {dref: tuple(context.get(dref, ())) for dref in direct}

    def missing_outputs(self, ref: RealizationRef, known: Metadata | None) -> tuple[str, ...]:
        """The declared outputs of a realization that are not on disk as they were published, and its context.

        Kinds and sizes are looked at, as far as metadata tells them, but neither bytes nor what is inside of folders.
        """
        folder = self.layout.realization(ref)
        missing = [] if self.layout.context(ref).exists() else [CONTEXT_FILE]
        for path, is_prefix in configs.outputs_of(self.config(ref.derivation)).values():
            entries = known.output(path, is_prefix) if known is not None else ()
            if entries:
                missing += [entry.path for entry in entries if not _is_there(folder, entry)]
            elif not output_exists(folder, path, is_prefix):
                missing.append(path)
        return tuple(missing)

    def started(self, ref: RealizationRef) -> float:
        """When a realization without metadata was built, by the time of Pylightnix's start file; 0 if it has none."""
        try:
            return (self.layout.realization(ref) / BUILD_START_FILE).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def candidate(self, ref: RealizationRef, known: Metadata | None) -> Candidate:
        """A realization as matchers see it."""
        folder = self.layout.realization(ref)

        def metric(file: str, key: str) -> float | None:
            try:
                value = json.loads((folder / file).read_text(encoding="utf-8")).get(key)
            except (OSError, ValueError, AttributeError):
                return None
            return float(value) if isinstance(value, (int, float)) else None

        if known is None:
            return Candidate(str(ref), self.started(ref), (), metric)
        return Candidate(str(ref), known.started, known.instances, metric)

    # -- building ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def building(
        self,
        ref: DerivationRef,
        inputs: Context,
        instance: int,
        *,
        on_wait: Callable[[str], None] | None = None,
    ) -> Iterator[Path]:
        """Be the one builder of a derivation, direct inputs and instance, over all processes on this store.

        Yields a scratch folder's path for `begin_build`. It is on the store's file system, belongs to this build alone,
        and is what a failed or killed attempt leaves behind until the next attempt begins.

        Raises StoreUnusable where nothing can be written.
        """
        key = f"{ref.folder[:64]}.{build_key(ref, inputs, instance)[:16]}"
        with contextlib.ExitStack() as held:
            with self._own_errors():
                held.enter_context(locks.exclusive(self.layout.locks / f"{key}.lock", on_wait=on_wait))
            yield self.layout.scratch / key

    def begin_build(self, scratch: Path) -> Path:
        """Empty a scratch folder; returns the folder in it that a builder is to fill. Raises StoreUnusable."""
        outpath = scratch / "out"
        with self._own_errors():
            atomic.remove_tree(scratch)
            outpath.mkdir(parents=True)
        return outpath

    def publish(
        self,
        ref: DerivationRef,
        tree: Path,
        *,
        context: Context,
        inputs: Context,
        build: BuildRecord,
    ) -> RealizationRef:
        """Publish a built tree; afterwards `tree` is gone and the realization is in the store, whole and read-only.

        Raises:
            UnpublishableContent: the tree holds names or kinds of files that cannot be kept.
        """
        reserved = [name for name in sorted(RESERVED_NAMES) if os.path.lexists(tree / name)]
        if reserved:
            raise hashing.UnpublishableContent(str(tree), tuple(f"{name}: a reserved name" for name in reserved))
        entries = hashing.scan(tree)
        content = hashing.content_digest(entries)
        context_text = context_json(context)
        digest = hashing.realization_digest(content, context_text)
        realization = hashing.realization_ref(ref, digest)
        known = Metadata(
            rref=str(realization),
            digest=digest,
            content=content,
            inputs={dref: tuple(rrefs) for dref, rrefs in inputs.items()},
            files=entries,
            builds=(build,),
        )
        atomic.write_file(tree / CONTEXT_FILE, context_text, durable=False, mode=0o444)
        if self.durable:
            atomic.sync_tree(tree)
        with self.publishing(ref.folder):
            metadata.merge(self.layout.metadata_of(realization), known, durable=self.durable)
            self._install(realization, tree, known)
        return realization

    @contextlib.contextmanager
    def publishing(self, folder: str) -> Iterator[None]:
        """Be the one, over all processes, that changes which realizations a derivation's folder holds."""
        with contextlib.ExitStack() as held:
            with self._own_errors():
                held.enter_context(locks.exclusive(self.layout.locks / f"{folder}.publish.lock"))
            yield

    def _install(self, realization: RealizationRef, tree: Path, known: Metadata) -> None:
        final = self.layout.realization(realization)
        if final.is_dir():
            if self._is_whole(final, known):
                atomic.remove_tree(tree)
                return
            self.set_aside(realization)
        temporary = final.with_name(f"{final.name}.tmp")
        atomic.remove_tree(temporary)
        tree.rename(temporary)
        atomic.make_read_only(temporary)
        self._rename_new(temporary, final)

    def _is_whole(self, folder: Path, known: Metadata) -> bool:
        """Whether a published folder still hashes to its name; all of it is read."""
        try:
            content = hashing.content_digest(hashing.scan(folder))
            context_text = (folder / CONTEXT_FILE).read_text(encoding="utf-8")
        except (OSError, ValueError, hashing.UnpublishableContent):
            return False
        return hashing.realization_digest(content, context_text) == known.digest

    def set_aside(self, realization: RealizationRef) -> Path:
        """Move a damaged realization out of the storage, into quarantine. Nothing is deleted."""
        place = self.quarantine(self.layout.realization(realization))
        logger.warning("%s was damaged; what is left of it is in %s", realization, place)
        return place

    def quarantine(self, path: Path) -> Path:
        """Move a file or folder of this store out of the way; returns where it is now. Raises StoreUnusable."""
        place = self.layout.quarantine / f"{path.parent.name}-{path.name}-{time.time_ns()}"
        with self._own_errors():
            self.layout.quarantine.mkdir(exist_ok=True)
            if path.is_dir():
                path.chmod(0o755)  # an unprivileged user cannot move a read-only folder to another parent
            path.rename(place)
        return place


def _is_there(folder: Path, entry: Entry) -> bool:
    try:
        status = os.lstat(folder / entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if entry.kind == "d":
        return stat.S_ISDIR(status.st_mode)
    if entry.kind == "l":
        return stat.S_ISLNK(status.st_mode)
    return stat.S_ISREG(status.st_mode) and status.st_size == entry.size


def output_exists(folder: Path, path: str, is_prefix: bool) -> bool:
    """Whether a declared output is there; a prefix stands for the files whose names begin with it and a dot."""
    place = folder / path
    if not is_prefix:
        return os.path.lexists(place)
    try:
        names = os.listdir(place.parent)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(name.startswith(f"{place.name}.") for name in names)


def context_json(context: Context) -> str:
    """The exact text of a `context.json`, as Pylightnix writes it."""
    return json.dumps({dref: sorted(rrefs) for dref, rrefs in context.items()}, indent=4, sort_keys=True)


def build_key(ref: DerivationRef, inputs: Context, instance: int) -> str:
    """What two builders must not do at once: the same derivation, direct inputs and instance."""
    text = json.dumps([str(ref), {dref: sorted(rrefs) for dref, rrefs in inputs.items()}, instance], sort_keys=True)
    return blake3(text.encode()).hexdigest()


def copy_tree(source: Path, destination: Path, *, skip: Iterable[str]) -> None:
    """Fill an empty folder with the contents of another one, by hard links where the file system allows them."""

    def place(from_path: str, to_path: str) -> str:
        try:
            os.link(from_path, to_path, follow_symlinks=False)
        except OSError:
            shutil.copy2(from_path, to_path, follow_symlinks=False)
        return to_path

    skipped = set(skip)
    shutil.copytree(
        source,
        destination,
        symlinks=True,
        copy_function=place,
        dirs_exist_ok=True,
        ignore=lambda folder, names: skipped.intersection(names) if Path(folder) == source else set(),
    )
    for folder, _, _ in os.walk(destination):
        os.chmod(folder, 0o755)
