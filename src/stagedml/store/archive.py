"""Moving realizations: a closure as one archive, and from store to store.

What moves is a *closure*: some realizations, all that they rest on, the sources that pinned derivations among them
keep, and the configs of all their derivations. An archive of it is a tar stream that has the same bytes wherever,
whenever and in whatever order its realizations were built; with build records it tells that, too, and differs.

Nothing that arrives is believed. It is written to a scratch folder, in which nobody looks for it, and hashed there;
only when every config, realization and context is what its reference says does publishing begin, inputs before what
rests on them. So a bad archive changes nothing, and a crash leaves nothing, or the scratch folder, which the collector
sweeps by age, or whole realizations of which no input is missing; doing it once more does the rest. Realizations that
Pylightnix built have no digest of ours: they are compared with Pylightnix's hash, as far as it tells.

Any number of processes may export, import and copy at once, while others build, publish and collect: what is read, and
what is there already, is claimed first.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from blake3 import blake3

from stagedml.core.refs import (
    DerivationRef,
    InvalidReference,
    RealizationRef,
    is_dref,
    is_rref,
    parse_dref,
    parse_rref,
)
from stagedml.errors import StoreError
from stagedml.store import atomic, hashing, metadata
from stagedml.store.arrivals import Arrival, Arrivals, Tree, arriving, new_file, writing
from stagedml.store.closure import Closure, Contents, Holdings, config_problem, is_hashed, is_hashed_by_pylightnix
from stagedml.store.hashing import Entry
from stagedml.store.layout import CONTEXT_FILE
from stagedml.store.members import BadArchive, Reader, Writer
from stagedml.store.metadata import BuildRecord, Metadata, UnreadableMetadata
from stagedml.store.objects import DamagedFile, Store
from stagedml.store.publish import longest_path_bytes

FORMAT = 1
MANIFEST = "stagedml-archive.json"
#: Names in an archive are those in the root of a store.
_STORAGE = "store-v0"
_METADATA = "store-v0.stagedml/metadata"
_PIECE_BYTES = 1 << 20
_MOST_TEXT_BYTES = 1 << 30  # of a config, context or metadata; that of a million files has less
_LONGEST_TARGET_BYTES = 4095  # of a link; what Linux takes

#: Told how many of how many bytes are done.
OnProgress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What an archive holds.

    Attributes:
        asked: the references that were asked for.
        realizations: those of all realizations in it, inputs before what rests on them.
        size_bytes: of the archive.
    """

    asked: tuple[str, ...]
    realizations: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Imported:
    """What came into a store.

    Attributes:
        asked: the references that were asked for when it was exported, or of `copy`.
        imported: those of the realizations that were published, inputs before what rests on them.
        present: those of the realizations that were there already, and left alone.
        size_bytes: of the files of what was published.
    """

    asked: tuple[str, ...]
    imported: tuple[str, ...]
    present: tuple[str, ...]
    size_bytes: int


class _Progress:
    """Adds up what is done, and tells."""

    def __init__(self, on_progress: OnProgress | None, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def add(self, count: int) -> None:
        self._done += count
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


# -- out --------------------------------------------------------------------------------------------------------------


def export(
    store: Store,
    refs: Iterable[RealizationRef],
    stream: BinaryIO,
    *,
    records: bool = False,
    on_progress: OnProgress | None = None,
) -> Exported:
    """Write a closure as an archive. The store is not changed.

    Every file is hashed while it is written. If one is damaged the archive is left without its end, and is refused
    wherever it is imported; so it is after a crash. Collectors spare what is being exported.

    Args:
        store: where the realizations are.
        refs: realizations; what they rest on comes along.
        stream: where to; it is written from beginning to end, and not closed.
        records: add when, where and by whom each was built, and logs. Then archives of the same content differ.
        on_progress: told how many bytes of files are done.

    Raises:
        NotInStore: a realization, or one that it rests on, is not in the store.
        DamagedFile: a file, context or config is not what was published.
        UnreadableMetadata: metadata is damaged.
        UnpublishableContent: a realization that Pylightnix built holds what no archive can.
        ArchiveNotWritten: the stream takes no more.
        StoreUnusable: a file may not be read.
    """
    with store.own_errors():
        holdings = Holdings(store, records=records)
        closure = holdings.closure(refs)
        writer = Writer(stream, closure.size_bytes)
        progress = _Progress(on_progress, closure.size_bytes)
        writer.add_text(MANIFEST, _manifest_text(closure, records=records))
        for dref, config in closure.configs.items():
            writer.add_text(_config_name(dref), config)
        for ref in closure.realizations:
            contents = holdings.contents(ref)
            if contents.known is not None:
                known = contents.known if records else _without_records(contents.known)
                writer.add_text(_metadata_name(ref), metadata.to_text(known).encode())
            writer.add(Entry("d", _top(ref)))
            for entry in contents.entries:
                _add(writer, entry, f"{_top(ref)}/{entry.path}", store.layout.realization(ref) / entry.path, progress)
        writer.finish()
    return Exported(closure.asked, tuple(map(str, closure.realizations)), writer.size_bytes)


def _config_name(ref: DerivationRef) -> str:
    return f"{_STORAGE}/{ref.folder}/config.json"


def _metadata_name(ref: RealizationRef) -> str:
    return f"{_METADATA}/{ref.folder}/{ref.rhash}.json"


def _top(ref: RealizationRef) -> str:
    return f"{_STORAGE}/{ref.folder}/{ref.rhash}"


def _manifest_text(closure: Closure, *, records: bool) -> bytes:
    document = {
        "format": FORMAT,
        "asked": closure.asked,
        "derivations": [str(ref) for ref in closure.configs],
        "realizations": [[str(ref), size] for ref, size in closure.realizations.items()],
        "records": records,
    }
    return (json.dumps(document, indent=4, sort_keys=True) + "\n").encode()


def _without_records(known: Metadata) -> Metadata:
    """Metadata as far as it follows from the content: the instances, and nothing of the builds themselves."""
    repeatable = all(build.deterministic for build in known.builds)
    instances = sorted({(build.instance, build.seed) for build in known.builds})
    return replace(
        known,
        inputs={dref: tuple(sorted(rrefs)) for dref, rrefs in known.inputs.items()},
        builds=tuple(BuildRecord(*instance, 0.0, 0.0, "", "", deterministic=repeatable) for instance in instances),
    )


def _add(writer: Writer, entry: Entry, name: str, path: Path, progress: _Progress) -> None:
    """Write one entry of a realization, if it is still what it should be."""
    try:
        if entry.kind == "d":
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise DamagedFile(str(path), "is no folder")
            writer.add(Entry("d", name))
        elif entry.kind == "l":
            if (target := os.readlink(path)) != entry.digest:
                raise DamagedFile(str(path), f"led to {entry.digest}, leads to {target}")
            writer.add(Entry("l", name, 0, target))
        else:
            _add_file(writer, entry, name, path, progress)
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedFile(str(path), "is gone") from None
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise
        raise DamagedFile(str(path), f"cannot be read: {error.strerror}") from error


#: What reading a published file says when that is damaged: sectors that cannot be read, or another kind of file.
_DAMAGE = frozenset({errno.EIO, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EISDIR})


def _add_file(writer: Writer, entry: Entry, name: str, path: Path, progress: _Progress) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        kind = "x" if status.st_mode & stat.S_IXUSR else "f"
        if not stat.S_ISREG(status.st_mode) or kind != entry.kind:
            raise DamagedFile(str(path), "is another kind of file now")
        if status.st_size != entry.size:
            raise DamagedFile(str(path), f"had {entry.size} bytes, has {status.st_size}")
        if entry.size <= _PIECE_BYTES:
            data = b"".join(map(bytes, _pieces(descriptor, entry.size, path)))
            digest = blake3(data).hexdigest()
            _check_digest(entry, digest, path)  # before anything of it is written
            writer.add(Entry(kind, name, entry.size, digest), data)
            progress.add(len(data))
        else:
            pieces = _told(_pieces(descriptor, entry.size, path), progress)
            _check_digest(entry, writer.add_large(Entry(kind, name, entry.size), pieces), path)
    finally:
        os.close(descriptor)


def _check_digest(entry: Entry, digest: str, path: Path) -> None:
    if entry.digest and digest != entry.digest:
        raise DamagedFile(str(path), f"hashed to {entry.digest}, hashes to {digest}")


def _pieces(descriptor: int, size: int, path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(size, _PIECE_BYTES)))
    while size:
        count = os.readv(descriptor, [buffer[:size]])
        if not count:
            raise DamagedFile(str(path), "changes while it is read")
        yield buffer[:count]
        size -= count


def _told(pieces: Iterable[memoryview], progress: _Progress) -> Iterator[memoryview]:
    for piece in pieces:
        yield piece
        progress.add(len(piece))


# -- in ---------------------------------------------------------------------------------------------------------------


def import_archive(store: Store, stream: BinaryIO, *, on_progress: OnProgress | None = None) -> Imported:
    """Publish what an archive holds, if all of it is what it should be.

    Until everything was read and checked nothing of the store changes but a scratch folder of this call's own. Then
    realizations are published, inputs first. A crash leaves whole realizations and never one whose inputs are missing,
    and may leave the scratch folder, which the collector sweeps; importing once more publishes the rest. What is there
    is read, but not written again; of instances that share its bytes, those that the store does not know are noted.
    What arrives is younger than the collector's grace time; it is kept for longer by a link, as anything else.

    Args:
        store: where to.
        stream: where the archive is read from, once, to its end; it may be a pipe.
        on_progress: told how many bytes of files were read.

    Raises:
        BadArchive: it is damaged, incomplete, or no archive; nothing was changed.
        DiskFull: there is no room for it.
        StoreUnusable: the store cannot be written.
    """
    reader = Reader(stream)
    manifest = _read_manifest(reader)
    with arriving(store, _bad) as arrivals:
        arrivals.expect(manifest.realizations)
        needed_bytes = sum(arrival.size_bytes for arrival in arrivals.missing)
        with writing(store, needed_bytes):
            arrivals.check_space(needed_bytes)
            incoming = _Incoming(reader, arrivals, _Progress(on_progress, sum(manifest.realizations.values())))
            for dref in manifest.derivations:
                arrivals.configs[dref] = incoming.config(dref)
            for arrival in arrivals.realizations:
                incoming.realization(arrival, records=manifest.records)
            reader.finish()
            arrivals.check()
            arrivals.publish(records=manifest.records, now=time.time())
        return _imported(manifest.asked, arrivals)


def _imported(asked: tuple[str, ...], arrivals: Arrivals) -> Imported:
    missing = arrivals.missing
    return Imported(
        asked=asked,
        imported=tuple(str(arrival.ref) for arrival in missing),
        present=tuple(str(arrival.ref) for arrival in arrivals.realizations if arrival.present),
        size_bytes=sum(arrival.size_bytes for arrival in missing),
    )


def _bad(path: str, problem: str) -> StoreError:
    return BadArchive(f"{_STORAGE}/{path}", problem)


@dataclass(frozen=True)
class _Manifest:
    """The first member of an archive."""

    asked: tuple[str, ...]
    derivations: tuple[DerivationRef, ...]
    realizations: dict[RealizationRef, int]
    records: bool


def _read_manifest(reader: Reader) -> _Manifest:
    _expect(reader, "f", MANIFEST)
    text = reader.read_text(_MOST_TEXT_BYTES)
    try:
        document = json.loads(text.decode())
        if document["format"] != FORMAT:
            problem = f"format {document['format']!r}, this StagedML reads {FORMAT}; use a newer StagedML"
            raise BadArchive(MANIFEST, problem)
        manifest = _Manifest(
            asked=tuple(str(parse_rref(text)) for text in document["asked"]),
            derivations=tuple(map(parse_dref, document["derivations"])),
            realizations={parse_rref(text): _natural(size) for text, size in document["realizations"]},
            records=document["records"] is True,
        )
    except (ValueError, TypeError, KeyError, RecursionError, InvalidReference) as error:
        raise BadArchive(MANIFEST, f"cannot be read: {type(error).__name__}: {error}") from error
    derivations = set(manifest.derivations)
    if len(derivations) != len(document["derivations"]) or len(manifest.realizations) != len(document["realizations"]):
        raise BadArchive(MANIFEST, "names something twice")
    if not {ref.derivation for ref in manifest.realizations} <= derivations:
        raise BadArchive(MANIFEST, "names realizations without their derivations")
    if not set(manifest.asked) <= {str(ref) for ref in manifest.realizations}:
        raise BadArchive(MANIFEST, "asks for what the archive does not hold")
    return manifest


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def _expect(reader: Reader, kind: str, name: str) -> None:
    """Check kind and name of the next member."""
    found = reader.peek()
    if (found.kind, found.path) != (kind, name):
        raise BadArchive(found.path, f"stands where {name} should")


def _ignore(piece: memoryview) -> None:
    """Read and not written: what is in the store already."""


class _Incoming:
    """Puts the members of an archive where they are to be checked."""

    def __init__(self, reader: Reader, arrivals: Arrivals, progress: _Progress) -> None:
        self._reader = reader
        self._store = arrivals.store
        self._progress = progress

    def config(self, ref: DerivationRef) -> bytes:
        """Take the config of a derivation."""
        _expect(self._reader, "f", _config_name(ref))
        data = self._reader.read_text(_MOST_TEXT_BYTES)
        problem = config_problem(data, ref)
        if problem is not None:
            raise BadArchive(_config_name(ref), problem)
        return data

    def realization(self, arrival: Arrival, *, records: bool) -> None:
        """Take all members of a realization."""
        known = self._metadata(arrival)
        top = _top(arrival.ref)
        _expect(self._reader, "d", top)
        self._reader.read(_ignore)
        longest = longest_path_bytes(self._store, arrival.ref.derivation)
        shape = _Shape(known, arrival.size_bytes, longest, records=records)
        tree = None if arrival.present else Tree(arrival.tree)
        while (entry := self._reader.peek()).path.startswith(f"{top}/"):
            inner = entry.path[len(top) + 1 :]
            problem = shape.problem(entry._replace(path=inner)) or shape.take(self._take(inner, tree))
            if problem is not None:
                raise BadArchive(entry.path, problem)
        problem = shape.lack()
        if problem is not None:
            raise BadArchive(top, problem)
        if tree is not None:
            tree.finish()
        arrival.content = shape.content

    def _metadata(self, arrival: Arrival) -> Metadata | None:
        """Take the metadata of a realization, if it has any, and put it beside the tree."""
        name = _metadata_name(arrival.ref)
        if self._reader.peek().path != name:
            return None
        _expect(self._reader, "f", name)
        data = self._reader.read_text(_MOST_TEXT_BYTES)
        try:
            known = metadata.from_text(data.decode(), name)
        except (UnreadableMetadata, ValueError, RecursionError) as error:
            raise BadArchive(name, str(error)) from error
        problem = _metadata_problem(known, arrival.ref)
        if problem is not None:
            raise BadArchive(name, problem)
        if arrival.present and self._store.metadata(arrival.ref) is None:
            arrival.present = False  # it lost its metadata, which it has again after publishing
        arrival.write_metadata(data)
        return known

    def _take(self, inner: str, tree: Tree | None) -> Entry:
        """Take one entry of a realization, and write it unless there is no tree; returns it with its inner path."""
        entry = self._reader.peek()
        try:
            if tree is None:
                taken = self._reader.read(_ignore)
            elif entry.kind in "fx":
                with new_file(tree.path(inner), executable=entry.kind == "x") as write:
                    taken = self._reader.read(write)
            else:
                taken = self._reader.read(_ignore)
                if entry.kind == "d":
                    tree.add_folder(inner)
                else:
                    tree.add_link(inner, entry.digest)
        except OSError as error:
            if error.errno in _ODD_NAME:
                raise BadArchive(entry.path, f"cannot be written here: {error.strerror}") from error
            raise
        self._progress.add(taken.size)
        return taken._replace(path=inner)


#: How a file system says that it takes no such name, or takes it for another one's.
_ODD_NAME = frozenset({errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})


class _Shape:
    """What must come in a realization's folder, compared with what comes."""

    def __init__(self, known: Metadata | None, size_bytes: int, longest_path_bytes: int, *, records: bool) -> None:
        self._known = known
        self._files = iter(known.files if known is not None else ())
        self._expected: Entry | None = None
        self._left = size_bytes
        self._longest = longest_path_bytes
        self._records = records
        self._folders = {""}
        self._previous = b""
        self._has_context = False
        self._hasher = blake3(hashing.TREE_HEADER)

    @property
    def content(self) -> str:
        """The content digest of what came."""
        return self._hasher.hexdigest()

    def problem(self, entry: Entry) -> str | None:
        """What is wrong with the next entry, before it is read."""
        key = entry.path.encode()
        if "\0" in entry.path or any(part in ("", ".", "..") for part in entry.path.split("/")):
            return "is no path inside of a realization"
        if key <= self._previous:
            return "comes twice, or too late"
        if entry.path.rpartition("/")[0] not in self._folders:
            return "lies in no folder"
        if len(key) > self._longest:
            return f"{len(key)} bytes of path, {self._longest} fit into this store"
        if (entry.kind == "l" and not 0 < len(entry.digest.encode()) <= _LONGEST_TARGET_BYTES) or "\0" in entry.digest:
            return "is a link to nothing that can be named"
        if entry.size > self._left:
            return "is larger than the manifest says"
        self._previous = key
        self._left -= entry.size
        if entry.kind == "d":
            self._folders.add(entry.path)
        if entry.path == CONTEXT_FILE:
            self._has_context = True
            return None if entry.kind == "f" else "is no file"
        if not is_hashed(entry):
            belongs = (self._records or is_hashed_by_pylightnix(entry, self._known)) and entry.kind != "l"
            return None if belongs else "does not belong into this archive"
        if self._known is not None:
            self._expected = next(self._files, None)
            if self._expected is None or self._expected[:3] != entry[:3]:
                return "is not what stands in its metadata here"
        return None

    def take(self, entry: Entry) -> str | None:
        """What is wrong with the entry, now that it was read."""
        if not is_hashed(entry):
            return None
        self._hasher.update(entry.encoded())
        if self._known is not None and entry != self._expected:
            return f"hashes to {entry.digest}, not to what its metadata says"
        return None

    def lack(self) -> str | None:
        """What is missing when no more entries come."""
        if (expected := next(self._files, None)) is not None:
            return f"{expected.path} is missing"
        if not self._has_context:
            return f"{CONTEXT_FILE} is missing"
        return None if self._left == 0 else "is smaller than the manifest says"


def _metadata_problem(known: Metadata, ref: RealizationRef) -> str | None:
    """What is wrong with metadata, looked at alone."""
    if known.rref != str(ref):
        return f"is that of {known.rref}"
    if not all(is_dref(dref) and all(map(is_rref, rrefs)) for dref, rrefs in known.inputs.items()):
        return "its inputs are no references"
    if not known.builds or not all(map(_is_record, known.builds)):
        return "its builds cannot be understood"
    return None


def _is_record(build: Any) -> bool:
    return (
        type(build.instance) is int
        and type(build.seed) is int
        and type(build.deterministic) is bool
        and all(type(moment) in (int, float) and math.isfinite(moment) for moment in (build.started, build.stopped))
        and all(isinstance(name, str) for name in (build.host, build.user))
        and all(isinstance(values, dict) for values in (build.arguments, build.environment))
    )


# -- from store to store ----------------------------------------------------------------------------------------------


def copy(
    source: Store, destination: Store, refs: Iterable[RealizationRef], *, on_progress: OnProgress | None = None
) -> Imported:
    """Publish a closure in another store, with all build records and logs, and the code behind it.

    As `import_archive`, without an archive between: bytes are copied, never shared, and hashed where they arrive; what
    is there already is not read. Holes in files stay holes. The source is not changed, and collectors spare there what
    is being copied.

    Args:
        source: where the realizations are.
        destination: where to.
        refs: realizations; what they rest on comes along.
        on_progress: told how many bytes of files are copied.

    Raises:
        NotInStore: a realization, or one that it rests on, is not in the source.
        DamagedFile: a file, context or config there is not what was published; nothing was changed.
        UnreadableMetadata: metadata there is damaged.
        UnpublishableContent: a realization that Pylightnix built holds what cannot be kept.
        DiskFull: there is no room in the destination.
        StoreUnusable: the destination cannot be written, or a file in the source not be read.
    """

    def blame(path: str, problem: str) -> StoreError:
        return DamagedFile(str(source.layout.storage / path), problem)

    with source.own_errors():
        holdings = Holdings(source, records=True)
        closure = holdings.closure(refs)
    with arriving(destination, blame) as arrivals:
        arrivals.expect(closure.realizations)
        arrivals.configs = closure.configs
        needed_bytes = sum(_allocated_bytes(source, arrival.ref, holdings) for arrival in arrivals.missing)
        progress = _Progress(on_progress, sum(arrival.size_bytes for arrival in arrivals.missing))
        with writing(destination, needed_bytes):
            arrivals.check_space(needed_bytes)
            for arrival in arrivals.realizations:
                contents = holdings.contents(arrival.ref)
                if contents.known is not None:
                    arrival.write_metadata(metadata.to_text(contents.known).encode())
                if not arrival.present:
                    _check_paths(contents, arrival.ref, destination)
                    _fill(Tree(arrival.tree), contents, source, source.layout.realization(arrival.ref), progress)
                    arrival.content = hashing.content_digest(filter(is_hashed, contents.entries))
            arrivals.check()
            arrivals.publish(records=True, now=time.time(), code_of=source.code)
        return _imported(closure.asked, arrivals)


def _check_paths(contents: Contents, ref: RealizationRef, destination: Store) -> None:
    longest = longest_path_bytes(destination, ref.derivation)
    problems = [
        f"{entry.path[:100]}...: {size} bytes of path, {longest} fit into this store"
        for entry in contents.entries
        if (size := len(entry.path.encode())) > longest
    ]
    if problems:
        raise hashing.UnpublishableContent(str(ref), tuple(problems))


def _allocated_bytes(store: Store, ref: RealizationRef, holdings: Holdings) -> int:
    """How much a realization takes without the holes in its files."""
    folder = store.layout.realization(ref)
    total = 0
    for entry in holdings.contents(ref).entries:
        if entry.size:
            with contextlib.suppress(OSError):  # is found missing when it is copied
                total += min(entry.size, os.lstat(folder / entry.path).st_blocks * 512)
    return total


def _fill(tree: Tree, contents: Contents, source: Store, folder: Path, progress: _Progress) -> None:
    """Copy a realization into an empty tree."""
    for entry in contents.entries:
        path, place = f"{folder}/{entry.path}", tree.path(entry.path)
        if entry.kind == "d":
            tree.add_folder(entry.path)
        elif entry.kind == "l":
            tree.add_link(entry.path, entry.digest)
        else:
            try:
                status = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                raise DamagedFile(path, "is gone") from None
            if not stat.S_ISREG(status.st_mode) or status.st_size != entry.size:
                raise DamagedFile(path, "is another file now")
            if not os.access(path, os.R_OK):
                with source.own_errors():
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            try:
                atomic.copy_file(path, place)
            except OSError as error:
                where = error.filename or f"{path}, copied to {place}"
                raise OSError(error.errno, error.strerror, where) from error
            progress.add(entry.size)
    tree.finish()
