"""Realizations that come from elsewhere: kept apart, checked, and only then published.

They are put together in a scratch folder `import-*` of their own, which a lock of the same name keeps from the
collector. When all are there, each is hashed and made read-only, and everything is compared with the references. Only
then are they published, inputs before what rests on them. A crash before leaves the scratch folder, which the collector
sweeps by age; a crash while publishing leaves whole realizations besides, and none whose inputs are missing.

Any number of processes may do so at once, and at once with all that changes a store.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from stagedml.core import config as configs
from stagedml.core.code import Code
from stagedml.core.refs import DerivationRef, RealizationRef, parse_dref, parse_rref
from stagedml.errors import StoreError
from stagedml.store import adoptions, atomic, hashing, locks, metadata
from stagedml.store.closure import belongs, hashes_to_name, parsed_context
from stagedml.store.hashing import Entry
from stagedml.store.layout import CONFIG_FILE, CONTEXT_FILE
from stagedml.store.metadata import BuildRecord, Metadata, UnreadableMetadata
from stagedml.store.objects import DamagedFile, DiskFull, NotInStore, Store
from stagedml.store.publish import install, longest_path_bytes

logger = logging.getLogger(__name__)

_SCRATCH = "import-"

#: Makes an error of a path in the storage and what is wrong there.
Blame: TypeAlias = Callable[[str, str], StoreError]


def _none(ref: DerivationRef) -> None:
    """Archives tell nothing of the code behind derivations."""


@dataclass(slots=True)
class Arrival:
    """One realization that is to be in a store.

    Attributes:
        tree: the folder in which it is put together.
        size_bytes: of the files in it.
        known: whether its metadata stands beside that folder.
        present: it is in the store already, and nothing of it is written.
        content: what its files should hash to.
    """

    ref: RealizationRef
    tree: Path
    size_bytes: int
    present: bool
    known: bool = False
    content: str = ""

    def write_metadata(self, text: bytes) -> None:
        with new_file(self._metadata) as write:
            write(memoryview(text))
        self.known = True

    def read_metadata(self) -> Metadata | None:
        return metadata.read(Path(self._metadata)) if self.known else None

    @property
    def _metadata(self) -> str:
        return f"{self.tree}.json"


class Tree:
    """A folder that is being filled. Links are made last, so that nothing is written through one."""

    def __init__(self, top: Path) -> None:
        self._top = os.fspath(top)
        self._links: list[tuple[str, str]] = []
        os.mkdir(top)

    def path(self, inner: str) -> str:
        return f"{self._top}/{inner}"

    def add_folder(self, inner: str) -> None:
        os.mkdir(self.path(inner), 0o755)

    def add_link(self, inner: str, target: str) -> None:
        self._links.append((target, self.path(inner)))

    def finish(self) -> None:
        for target, path in self._links:
            os.symlink(target, path)


@contextlib.contextmanager
def new_file(path: str, *, executable: bool = False) -> Iterator[Callable[[memoryview], None]]:
    """A file that was not there, as a function that appends to it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o755 if executable else 0o644)

    def write(piece: memoryview) -> None:
        while piece:
            piece = piece[os.write(descriptor, piece) :]

    try:
        yield write
    finally:
        os.close(descriptor)


class Arrivals:
    """What is to be in a store, kept apart until all of it is found to be right."""

    def __init__(self, store: Store, folder: Path, blame: Blame) -> None:
        self.store = store
        self.configs: dict[DerivationRef, bytes] = {}
        self.realizations: list[Arrival] = []
        self._folder = folder
        self._blame = blame

    def expect(self, sizes: Mapping[RealizationRef, int]) -> None:
        """Say what arrives, inputs first, and with how many bytes. What is there already is claimed."""
        with self.store.own_errors():
            present = self.store.claiming(
                lambda: frozenset(ref for ref in sizes if _is_there(self.store, ref)), lambda found: map(str, found)
            )
        self.realizations = [
            Arrival(ref, self._folder / str(number), size, ref in present)
            for number, (ref, size) in enumerate(sizes.items())
        ]

    @property
    def missing(self) -> list[Arrival]:
        return [arrival for arrival in self.realizations if not arrival.present]

    def check_space(self, needed_bytes: int) -> None:
        """Raise what the file system would if so much was written."""
        if needed_bytes > atomic.free_bytes(self._folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder.parent))

    def check(self) -> None:
        """Hash all that is to be published, and look whether what it rests on will be there.

        Raises what `blame` makes, and StoreError where the store's own file system is at fault.
        """
        self._check_configs()
        earlier: set[str] = set()
        elsewhere: dict[str, RealizationRef] = {}
        for arrival in self.realizations:
            if not arrival.present:
                for rref in self._check(arrival):
                    if rref not in earlier:
                        elsewhere.setdefault(rref, arrival.ref)
            earlier.add(str(arrival.ref))
        found = self.store.claiming(
            lambda: {rref for rref in elsewhere if self.store.layout.realization(parse_rref(rref)).is_dir()},
            lambda found: found,
        )
        for rref in sorted(elsewhere.keys() - found):
            problem = f"names {rref}, which neither comes before it nor is in the store"
            raise self._wrong(elsewhere[rref], CONTEXT_FILE, problem)

    def _check_configs(self) -> None:
        earlier: set[str] = set()
        for ref, config in self.configs.items():
            for dref in configs.inputs_of(json.loads(config)):
                if dref not in earlier and not self.store.layout.config(parse_dref(dref)).exists():
                    problem = f"names {dref}, which neither comes before it nor is in the store"
                    raise self._blame(f"{ref.folder}/{CONFIG_FILE}", problem)
            earlier.add(str(ref))

    def _check(self, arrival: Arrival) -> list[str]:
        """Hash a realization, and make it read-only; returns what it rests on."""
        ref, tree = arrival.ref, arrival.tree
        try:
            entries = hashing.scan(tree, seal=True, longest_path_bytes=longest_path_bytes(self.store, ref.derivation))
        except hashing.UnpublishableContent as error:
            raise self._wrong(ref, "", "; ".join(error.problems)) from error
        known = arrival.read_metadata()
        if hashing.content_digest(entries) != arrival.content:
            raise self._wrong(ref, *_difference(known.files if known is not None else entries, entries))
        text = (tree / CONTEXT_FILE).read_bytes()
        context = parsed_context(text)
        if context is None:
            raise self._wrong(ref, CONTEXT_FILE, "is no context")
        if known is None:
            is_ours = "stagedml" in json.loads(self.configs[ref.derivation])
            if not hashes_to_name(tree, ref, entries, text, is_ours=is_ours):
                raise self._wrong(ref, "", "does not hash to its name")
        else:
            if not belongs(known, ref, text):
                raise self._wrong(ref, CONTEXT_FILE, "does not hash to the reference")
            direct = configs.inputs_of(json.loads(self.configs[ref.derivation]))
            named = {dref for dref, rrefs in known.inputs.items() if set(rrefs) <= set(context.get(dref, ()))}
            if named != set(direct) or named != set(known.inputs):
                raise self._wrong(ref, CONTEXT_FILE, "does not hold the inputs that metadata and config name")
        return [rref for rrefs in context.values() for rref in rrefs]

    def _wrong(self, ref: RealizationRef, path: str, problem: str) -> StoreError:
        return self._blame(f"{ref.folder}/{ref.rhash}{path and '/'}{path}", problem)

    def publish(self, *, records: bool, now: float, code_of: Callable[[DerivationRef], Code | None] = _none) -> None:
        """Publish what was checked, inputs first; `code_of` knows the code behind derivations."""
        for dref, config in self.configs.items():
            self.store.add_config(config.decode(), dref, compare=True)
        for arrival in self.realizations:
            known = arrival.read_metadata()
            if known is not None and not records:
                known = replace(known, builds=tuple(replace(b, started=now, stopped=now) for b in known.builds))
            if not arrival.present:
                context_text = (arrival.tree / CONTEXT_FILE).read_bytes().decode()
                code = code_of(arrival.ref.derivation)
                install(self.store, arrival.ref, arrival.tree, context_text, known, code)
            elif known is not None:
                _add_builds(self.store, arrival.ref, known, by_instance=not records)


def _is_there(store: Store, ref: RealizationRef) -> bool:
    """Whether a realization is in a store, by what can be told without reading its files."""
    try:
        return store.layout.realization(ref).is_dir() and not store.missing_outputs(ref, store.metadata(ref))
    except (NotInStore, DamagedFile, UnreadableMetadata):
        return False


def _add_builds(store: Store, ref: RealizationRef, known: Metadata, *, by_instance: bool) -> None:
    """Note builds of a realization that is there: those that are not known yet, or of instances that are not."""
    path = store.layout.metadata_of(ref)

    def missing() -> tuple[BuildRecord, ...]:
        there = metadata.read(path)
        if there is None or there.digest != known.digest:
            return ()
        if by_instance:
            return tuple(build for build in known.builds if build.instance not in there.instances)
        return tuple(build for build in known.builds if build not in there.builds)

    if missing():
        with store.publishing(ref.folder):
            if builds := missing():
                metadata.merge(path, replace(known, builds=builds), durable=store.durable)
                adoptions.offer(store, ref, replace(known, builds=builds))


def _difference(expected: Iterable[Entry], found: Iterable[Entry]) -> tuple[str, str]:
    """The first path at which two trees differ, and how."""
    before, now = ({entry.path: entry for entry in entries} for entries in (expected, found))
    for path in sorted(before.keys() | now.keys()):
        if path not in now:
            return path, "is gone"
        if path not in before:
            return path, "was not published"
        if before[path] != now[path]:
            return path, f"hashed to {before[path].digest}, hashes to {now[path].digest}"
    return "", "has changed"


@contextlib.contextmanager
def arriving(store: Store, blame: Blame) -> Iterator[Arrivals]:
    """A scratch folder for what arrives, which is gone after the block; a lock keeps it until then."""
    name = f"{_SCRATCH}{atomic.unique()}"
    folder = store.layout.scratch / name
    with contextlib.ExitStack() as held:
        with store.own_errors():
            held.enter_context(locks.exclusive(store.layout.locks / f"{name}.lock"))
        try:
            with store.own_errors():
                os.mkdir(folder)
            yield Arrivals(store, folder, blame)
        finally:
            try:
                atomic.remove_tree(folder)
            except OSError as error:
                logger.warning("%s stays: %s", folder, error)


@contextlib.contextmanager
def writing(store: Store, needed_bytes: int) -> Iterator[None]:
    """As `store.own_errors`; a full disk is told how much was to be written."""
    try:
        with store.own_errors():
            yield
    except DiskFull as error:
        reason = f"{needed_bytes:,} bytes are to be written; {error.reason}"
        raise DiskFull(error.storage, reason, error.free_bytes) from error
