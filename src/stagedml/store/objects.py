"""The store: configs and realizations, and what every change of them has in common.

Who reads takes no lock. Whatever changes which realizations there are does so inside `publishing`, or alone, as the
collector does: then nobody else is inside `changing`. Publishing itself is in `publish.py`, deleting in `collect.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stagedml.core import config as configs
from stagedml.core.candidate import Candidate
from stagedml.core.config import Config
from stagedml.core.refs import DerivationRef, RealizationRef, is_rhash, parse_dref, parse_folder, parse_rref
from stagedml.errors import StoreError
from stagedml.settings import Settings
from stagedml.store import atomic, locks, metadata
from stagedml.store.hashing import Entry
from stagedml.store.layout import (
    BUILD_START_FILE,
    CODE_FILE,
    CONFIG_FILE,
    CONTEXT_FILE,
    DECLARING_CONFIG,
    DECLARING_STAGES,
    LAYOUT_VERSION,
    LINKING,
    LINKING_NOTE,
    Layout,
)
from stagedml.store.live import Claims
from stagedml.store.metadata import CheckRecord, Metadata

if TYPE_CHECKING:
    from stagedml.core.code import Code

logger = logging.getLogger(__name__)

T = TypeVar("T")
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


class DiskFull(StoreUnusable):
    """The file system of a store takes no more."""

    def __init__(self, storage: str, reason: str, free_bytes: int) -> None:
        super().__init__(storage, reason)
        self.args = (storage, reason, free_bytes)
        self.free_bytes = free_bytes

    def __str__(self) -> str:
        return (
            f"the store {self.storage} cannot be written: {self.reason}; {self.free_bytes:,} bytes are free there. "
            "What is published is whole. `stagedml gc` shows what could go"
        )


#: How a file system says that it takes no more.
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


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
        #: Paths as text, for what is done a thousand times in a run.
        self.storage_text, self.side_text = os.fspath(layout.storage), os.fspath(layout.side)
        self.metadata_text = f"{self.side_text}/metadata"
        self.durable = durable
        self.turnstile = locks.Turnstile(layout.side)
        self.claims = Claims(layout.live)
        self._configs: dict[str, Config] = {}
        self._texts: dict[str, str] = {}
        self._contents: dict[str, str] = {}

    @classmethod
    def open(cls, settings: Settings, *, create: bool = True) -> Store:
        """The store that the settings name, made if it is not there and `create` is set. Raises StoreUnusable."""
        layout = Layout.of(settings)
        store = cls(layout, durable=settings.durable)
        with store.own_errors():
            store._prepare(create)
        return store

    @contextlib.contextmanager
    def own_errors(self) -> Iterator[None]:
        """What the file system refuses, as errors of the store: no right to write, no space left."""
        try:
            yield
        except OSError as error:
            raise self._own_error(error) from error

    def _own_error(self, error: OSError) -> StoreUnusable:
        where = f": {error.filename}" if error.filename else ""
        if error.errno in FULL_DISK:
            return DiskFull(self.storage_text, f"{error.strerror}{where}", self.free_bytes())
        return StoreUnusable(self.storage_text, f"{error.strerror}{where}")

    def free_bytes(self) -> int:
        """How much may still be written to the store's file system; 0 if that cannot be told."""
        try:
            return atomic.free_bytes(self.layout.storage)
        except OSError:
            return 0

    def _prepare(self, create: bool) -> None:
        layout = self.layout
        if not create and not layout.storage.is_dir():
            raise StoreUnusable(
                str(layout.storage),
                "there is no such folder; `stagedml init`, or `store_initialize()` in Python, makes one",
            )
        if not create and not layout.side.is_dir():
            return  # filled by Pylightnix alone; reading needs nothing of ours
        for outer in layout.storage.parents:
            if outer.name and outer.with_name(f"{outer.name}.stagedml").joinpath("version").exists():
                raise StoreUnusable(str(layout.storage), f"it would lie inside of the store {outer}")
        version = layout.version_file.read_text().strip() if layout.version_file.exists() else None
        if version not in (None, str(LAYOUT_VERSION)):
            raise StoreUnusable(
                str(layout.storage),
                f"its layout is version {version or '?'}, this StagedML knows {LAYOUT_VERSION}; use a newer StagedML",
            )
        if not create and not os.access(layout.side, os.W_OK):
            return  # who may only read needs nothing of what follows
        for folder in (layout.storage, layout.tmp, layout.scratch, layout.locks, layout.live, layout.metadata):
            folder.mkdir(parents=True, exist_ok=True)
        if version is None:
            atomic.write_file(layout.version_file, f"{LAYOUT_VERSION}\n", durable=self.durable)
        self.remember_experiments()
        device = layout.storage.stat().st_dev
        for folder in (layout.scratch, layout.tmp):
            if folder.stat().st_dev != device:
                raise StoreUnusable(
                    str(layout.storage),
                    f"{folder} is on another file system, so nothing can be renamed into place; put both on one",
                )
        self._sweep()

    def remember_experiments(self) -> None:
        """Remember where links into this store are looked for, lest one who has other settings misses them."""
        for folder in dict.fromkeys((self.layout.experiments, self.layout.default_experiments)):
            mark = self.layout.experiments_mark(folder)
            if folder.is_dir() and not mark.is_symlink():
                is_default = folder == self.layout.default_experiments  # it moves with the store
                with contextlib.suppress(OSError):  # who may only read, and another process that does the same
                    mark.parent.mkdir(exist_ok=True)
                    os.symlink(os.path.relpath(folder, mark.parent) if is_default else folder, mark)

    def _sweep(self) -> None:
        """Remove what killed declarations left behind; they take moments, so what is a day old is nobody's.

        A realization in which a killed process was linking files is made read-only again.
        """
        for item in os.scandir(self.layout.scratch):
            if item.name.startswith(LINKING):
                with contextlib.suppress(OSError, StoreUnusable):  # another user's
                    self._end_linking(Path(item.path))
            if item.name.startswith((DECLARING_CONFIG, DECLARING_STAGES)):
                with contextlib.suppress(OSError):  # another process sweeps, too, or it is another user's
                    if item.stat().st_mtime < time.time() - _DAY_S:
                        atomic.remove_tree(Path(item.path))

    def _end_linking(self, entry: Path) -> None:
        with locks.exclusive_if_free(self.layout.locks / f"{entry.name}.lock") as free:
            if not free:
                return
            with contextlib.suppress(FileNotFoundError):  # nothing was writable, or it was collected since
                ref = parse_rref(os.readlink(entry / LINKING_NOTE))
                with self.publishing(ref.folder):
                    atomic.make_read_only(self.layout.realization(ref))
            atomic.remove_tree(entry)

    def __repr__(self) -> str:
        return f"Store({str(self.layout.storage)!r})"

    # -- derivations ---------------------------------------------------------------------------------------------

    def add_config(self, text: str, ref: DerivationRef, config: Config | None = None, *, compare: bool = False) -> None:
        """Publish the config of a derivation, given its exact text. One that is there already is left alone.

        One that is cut short or gone is written anew; with `compare`, any that has another text. It is synced with the
        first realization that is published for it: before, there is nothing to lose. Raises StoreUnusable where nothing
        can be written.

        Args:
            text: the config's text, ASCII.
            ref: the derivation.
            config: what the text says, if it is at hand.
        """
        name = ref.folder
        self._texts[name] = text
        if config is None:
            config = json.loads(text)
        if "stagedml" in config and (source := configs.pinned_by(config)) is not None:
            self._pin(ref, source)
        try:
            size_bytes: int | None = os.stat(f"{self.storage_text}/{name}/{CONFIG_FILE}").st_size
        except OSError:
            size_bytes = None
        if size_bytes == len(text) and not (compare and self._differs(ref, text)):
            self._configs.setdefault(name, config)
            return
        folder = f"{self.storage_text}/{name}"
        if os.path.isdir(folder):
            if size_bytes is not None:
                logger.warning("%s/%s was damaged; it is written anew", folder, CONFIG_FILE)
            with self.own_errors():
                atomic.write_file(f"{folder}/{CONFIG_FILE}", text, durable=False, mode=0o444)
            self._configs[ref.folder] = config
            return
        mark = f"{DECLARING_CONFIG}{ref.dhash}-{os.getpid()}-{threading.get_ident()}"
        temporary = f"{self.side_text}/scratch/{mark}"
        with self.own_errors():
            atomic.make_empty(temporary)
            try:
                atomic.write_new_file(f"{temporary}/{CONFIG_FILE}", text.encode())
                try:
                    os.rename(temporary, folder)
                except OSError:
                    if not os.path.isdir(folder):  # else another process was quicker
                        raise
                    atomic.remove_tree(temporary)
            except BaseException:
                atomic.remove_tree(temporary)
                raise
        self._configs[ref.folder] = config

    def remember_config(self, text: str, ref: DerivationRef) -> None:
        """Know the config of a derivation in this process alone; it is written with the first realization."""
        self._texts[ref.folder] = text
        self._configs.setdefault(ref.folder, json.loads(text))

    def _differs(self, ref: DerivationRef, text: str) -> bool:
        with self.own_errors():
            return self.layout.config(ref).read_text(encoding="utf-8", errors="replace") != text

    def _pin(self, ref: DerivationRef, source: str) -> None:
        """Note what a pinned derivation keeps, so that a collector need not read every config."""
        with self.own_errors(), contextlib.suppress(FileExistsError):
            self.layout.pins.mkdir(exist_ok=True)
            os.symlink(source, self.layout.pins / ref.folder)

    def mend_config(self, ref: DerivationRef) -> None:
        """Write a config that was declared by this process and collected since."""
        if ref.folder in self._texts and not os.path.exists(f"{self.storage_text}/{ref.folder}/{CONFIG_FILE}"):
            self.add_config(self._texts[ref.folder], ref)

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
        except OSError as error:
            raise DamagedFile(str(self.layout.config(ref)), f"it cannot be read: {error.strerror}") from error
        import hashlib

        digest = hashlib.sha256(data).hexdigest()
        if not digest.startswith(ref.dhash):
            raise DamagedFile(str(self.layout.config(ref)), f"it hashes to {digest[:32]}, not to {ref.dhash}")
        config: Config = json.loads(data)
        return config

    def config_of(self, dref: str) -> Config:
        """The config of a derivation, given as text. Raises InvalidReference and NotInStore."""
        return self.config(parse_dref(dref))

    def derivations(self) -> list[DerivationRef]:
        """Every derivation in the store, sorted. Raises StoreUnusable where that cannot be told."""
        with self.own_errors():
            try:
                names = sorted(os.listdir(self.layout.storage))
            except FileNotFoundError:
                return []
        return [ref for ref in map(parse_folder, names) if ref is not None]

    # -- realizations --------------------------------------------------------------------------------------------

    def realizations(self, ref: DerivationRef) -> list[RealizationRef]:
        """Every realization of a derivation, sorted. Raises StoreUnusable where that cannot be told."""
        with self.own_errors():
            try:
                names = sorted(os.listdir(self.layout.derivation(ref)))
            except (FileNotFoundError, NotADirectoryError):
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
        return metadata.read(f"{self.metadata_text}/{ref.folder}/{ref.rhash}.json")

    def content_of(self, rref: str) -> str | None:
        """The content digest of a realization; None where it has no metadata. Raises UnreadableMetadata."""
        content = self._contents.get(rref)
        if content is None:
            known = self.metadata(parse_rref(rref))
            if known is None:
                return None
            content = self._contents[rref] = known.content
        return content

    def remember_content(self, rref: str, content: str) -> None:
        """Note the content digest of a realization, which never changes, to be told by `content_of`."""
        self._contents[rref] = content

    def code(self, ref: DerivationRef) -> Code | None:
        """The code behind a derivation, as it was when it was built first; None where it was not kept."""
        from stagedml.core import code

        path = self.layout.code_of(ref)
        try:
            return code.from_text(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("%s cannot be read: %s", path, error)
            return None

    def keep_code(self, ref: DerivationRef, known: Code) -> None:
        """Keep the code behind a derivation, once for all that have the same. The caller is inside `publishing`.

        What of it no derivation has any more, the collector sees by its one link.
        """
        path = f"{self.metadata_text}/{ref.folder}/{CODE_FILE}"
        shared = f"{self.side_text}/code/{known.digest.replace(':', '-')}.json"
        try:
            if not self._linked(shared, path):
                for folder in map(os.path.dirname, (shared, path)):
                    os.makedirs(folder, exist_ok=True)
                if not self._linked(shared, path):
                    temporary = f"{path}.{atomic.unique(4)}.tmp"
                    atomic.write_new_file(temporary, known.to_text().encode())
                    try:
                        with contextlib.suppress(FileExistsError):  # another process was quicker
                            os.link(temporary, shared)
                    finally:
                        os.unlink(temporary)
                    self._linked(shared, path)
        except OSError as error:
            if error.errno not in atomic.CANNOT_LINK:
                raise
            atomic.write_file(path, known.to_text(), durable=False, mode=0o444)  # each derivation has one of its own

    @staticmethod
    def _linked(shared: str, path: str) -> bool:
        """Link what is there already; False where it is not, or the folder is not."""
        try:
            os.link(shared, path)
        except FileNotFoundError:
            return False
        except FileExistsError:
            pass
        return True

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
        metric = self.metric_of(f"{self.storage_text}/{ref.folder}/{ref.rhash}")
        if known is None:
            return Candidate(str(ref), self.started(ref), (), metric)
        return Candidate(str(ref), known.started, known.instances, metric)

    @staticmethod
    def metric_of(folder: str) -> Callable[[str, str], float | None]:
        """What reads the numbers in a realization's folder: by file and key, None where there is none."""

        def metric(file: str, key: str) -> float | None:
            try:
                value = json.loads(Path(folder, file).read_text(encoding="utf-8")).get(key)
            except (OSError, ValueError, AttributeError):
                return None
            return float(value) if isinstance(value, (int, float)) else None

        return metric

    # -- changing ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keep collectors out for a moment: what is found to be in the store stays, and can be claimed.

        Raises StoreUnusable where nothing can be written.
        """
        try:
            inside = self.turnstile.enter(self._tell_wait)
        except OSError as error:
            raise self._own_error(error) from error
        try:
            yield
        finally:
            self.turnstile.leave(inside)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody out who changes the store or claims something in it. Raises StoreUnusable."""
        with contextlib.ExitStack() as held:
            with self.own_errors():
                held.enter_context(self.turnstile.alone(on_wait=self._tell_wait))
            yield

    def claiming(self, look: Callable[[], T], refs_of: Callable[[T], Iterable[str]]) -> T:
        """Look for something, and claim what is found, with no collector in between.

        Claimed is what this object lives for; a collector keeps it, and all that it rests on. Who may only read the
        store claims nothing, and has the collector's grace time.
        """
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.changing())
            except StoreUnusable as error:
                logger.debug("nothing is claimed: %s", error)
                return look()
            found = look()
            try:
                self.claims.add(refs_of(found))
            except OSError as error:
                logger.warning("%s: what is used here is not claimed: %s", self.layout.storage, error)
            return found

    def _tell_wait(self, owner: str) -> None:
        logger.info("waiting for %s, which collects garbage in %s", owner, self.layout.storage)

    def note_check(self, ref: RealizationRef, record: CheckRecord) -> None:
        """Keep what came of a check with its realization, if that is there and has metadata."""
        with self.publishing(ref.folder):
            known = self.metadata(ref)
            if known is not None:
                path = f"{self.metadata_text}/{ref.folder}/{ref.rhash}.json"
                text = metadata.to_text(dataclasses.replace(known, checks=(*known.checks, record)))
                atomic.write_file(path, text, durable=self.durable)

    @contextlib.contextmanager
    def publishing(self, folder: str) -> Iterator[None]:
        """Be the one, over all processes, that changes which realizations a derivation's folder holds."""
        path = f"{self.side_text}/locks/{folder[:64]}.publish.lock"
        with self.changing():
            try:
                held = locks.acquire(path)
            except OSError as error:
                raise self._own_error(error) from error
            try:
                yield
            finally:
                locks.release(path, held)

    def set_aside(self, realization: RealizationRef) -> Path:
        """Move a damaged realization out of the storage, into quarantine. Nothing is deleted."""
        place = self.quarantine(self.layout.realization(realization))
        logger.warning("%s was damaged; what is left of it is in %s", realization, place)
        return place

    def is_quarantined(self, ref: DerivationRef) -> bool:
        """Whether a realization of a derivation was found damaged, and put away."""
        try:
            names = os.listdir(self.layout.quarantine)
        except FileNotFoundError:
            return False
        return any(name.startswith(f"{ref.folder}-") for name in names)

    def quarantine(self, path: Path) -> Path:
        """Move a file or folder of this store out of the way; returns where it is now. Raises StoreUnusable."""
        place = self.layout.quarantine / f"{path.parent.name}-{path.name}-{time.time_ns()}"
        with self.own_errors():
            self.layout.quarantine.mkdir(exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                os.chmod(path, 0o755)  # an unprivileged user cannot move a read-only folder to another parent
            os.rename(path, place)
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
