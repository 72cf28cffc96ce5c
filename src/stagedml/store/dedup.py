"""De-duplication: equal files of a store share their bytes, as hard links of each other.

`plan_dedup` finds files of equal kind, size and digest by the metadata of all realizations, and changes nothing.
`dedup` compares two such files byte by byte and then puts a link to one in the place of the other with one rename, so
who reads finds the file at any time, with the same bytes, and who has it open goes on reading the old one. Names, bytes
and modes stay; the time of the last change becomes that of the other file. Files that differ, though their metadata
says that they are equal, are left alone, so damage never spreads; but a file that is damaged later is damaged in every
realization that shares it. Small files, `context.json`, what is in no hash, and realizations of Pylightnix are left
alone, too, and so are files of other users: who owns a file may change it. (Pylightnix's own `rmref` makes what it
deletes writable, and thereby what shares its bytes; `stagedml verify --repair` takes the write bits away again.)

Comparing takes no lock. The renames of a realization are done inside `Store.publishing`, so other publishers and the
collector keep out, and what was renamed, replaced or collected meanwhile is passed over. Its folders are writable for
their owner during these renames, as a user who is not root cannot rename into them otherwise. Which realization that is
stands in `<scratch>/linking-*/realization`, and who does it holds a lock: after a crash `Store.open` makes the folders
read-only again. A crash leaves every file as it was or linked, and that.

Any number of processes may do this at once: names go from the file with fewer links to the one with more, so that they
do not undo each other's work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import NamedTuple

from stagedml.core.refs import RealizationRef, parse_rref
from stagedml.store import atomic, hashing, locks
from stagedml.store.hashing import Entry
from stagedml.store.layout import LINKING, LINKING_NOTE
from stagedml.store.metadata import UnreadableMetadata
from stagedml.store.objects import Store

#: The usual block of a file system. A smaller file has one of its own at most, and to link it takes as long as to link
#: one of any size; below this the gain is a block a file, at the price that damage to one is damage to all.
SMALLEST_BYTES = 4096

_COMPARED_BYTES = 1 << 20
_MOST_AT_ONCE = 500  # renames for which a collector has to wait
_ABSENT = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, slots=True, order=True)
class StoredFile:
    """One file of a realization."""

    rref: str
    path: str  #: relative, parts joined by `/`


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """One file that another one can take the place of."""

    file: StoredFile
    to: StoredFile
    size_bytes: int
    digest: str  #: that both had when they were published


class Reason(Enum):
    """Why a file is not linked though another one should have the same bytes."""

    DAMAGED = "damaged"  #: it has other bytes than were published
    CHANGED = "changed"  #: it has another size or other permissions than were published, or is no file
    UNREADABLE = "unreadable"  #: it, or the metadata of its realization, cannot be read
    FOREIGN = "foreign"  #: it, or its folder, is another user's
    GONE = "gone"  #: it is no longer there


@dataclass(frozen=True, slots=True)
class Skipped:
    """One file that is not linked, and why."""

    file: StoredFile
    reason: Reason
    detail: str


@dataclass(frozen=True)
class DedupPlan:
    """What could share its bytes.

    Attributes:
        storage: the store.
        links: which file would become a link to which; in the order of references and paths.
        saves_bytes: how much less space the store would take.
        skipped: files that have equals and are no longer what was published.
    """

    storage: str
    links: tuple[Link, ...] = field(repr=False)
    saves_bytes: int
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Deduped:
    """What was done.

    Attributes:
        files: how many files became links.
        saved_bytes: how much less space the store takes.
        skipped: files that were not linked, those of the plan included; what shares its bytes already is not among
            them.
        refused: what the file system says to hard links; empty where it makes them.
    """

    files: int
    saved_bytes: int
    skipped: tuple[Skipped, ...]
    refused: str


# -- planning ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Inode:
    """One file on disk, and the names that are known of it."""

    links: int
    blocks_bytes: int
    files: list[StoredFile]


def plan_dedup(store: Store, *, smallest_bytes: int = SMALLEST_BYTES) -> DedupPlan:
    """What could share its bytes. Nothing is changed, and no contents are read.

    Args:
        store: the store.
        smallest_bytes: files with fewer bytes are left alone, and empty ones always.
    """
    skipped: list[Skipped] = []
    links: list[Link] = []
    saves_bytes = 0
    storage = os.fspath(store.layout.storage)
    for (_, size, digest), files in _equal_files(store, max(smallest_bytes, 1), skipped):
        for inodes in _by_traits(storage, size, files, skipped):
            kept, *others = sorted(inodes, key=lambda inode: (-inode.links, inode.files[0]))
            for other in others:
                links += [Link(file, kept.files[0], size, digest) for file in other.files]
                if other.links == len(other.files):
                    saves_bytes += other.blocks_bytes
    skipped.sort(key=lambda one: one.file)
    return DedupPlan(storage, tuple(sorted(links)), saves_bytes, tuple(skipped))


def _equal_files(
    store: Store, smallest_bytes: int, skipped: list[Skipped]
) -> Iterator[tuple[tuple[str, int, str], list[StoredFile]]]:
    """All files of which there are several by their (kind, size, digest).

    What is held in memory is 8 bytes for each file, and the names of those that have equals.
    """
    marks = array("q")
    ends: list[tuple[RealizationRef, int]] = []
    for ref in (ref for derivation in store.derivations() for ref in store.realizations(derivation)):
        try:
            marks.extend(hash(entry.digest) for entry in _files(store, ref, smallest_bytes))
        except (UnreadableMetadata, OSError) as error:
            skipped.append(Skipped(StoredFile(str(ref), ""), Reason.UNREADABLE, f"no metadata: {error}"))
        ends.append((ref, len(marks)))
    repeated = frozenset(mark for mark, following in pairwise(sorted(marks)) if mark == following)

    groups: dict[tuple[str, int, str], list[StoredFile]] = {}
    begin = 0
    for ref, end in ends:
        if not repeated.isdisjoint(marks[begin:end]):
            rref = str(ref)
            with contextlib.suppress(UnreadableMetadata, OSError):  # it was readable a moment ago
                for entry in _files(store, ref, smallest_bytes):
                    if hash(entry.digest) in repeated:
                        key = (entry.kind, entry.size, entry.digest)
                        groups.setdefault(key, []).append(StoredFile(rref, entry.path))
        begin = end
    while groups:
        key, files = groups.popitem()
        if len(files) > 1:
            yield key, files


def _files(store: Store, ref: RealizationRef, smallest_bytes: int) -> Iterator[Entry]:
    """The files of a realization that are large enough; none where Pylightnix published it or metadata is another's."""
    known = store.metadata(ref)
    if known is not None and known.rref == str(ref):
        for entry in known.files:
            if entry.kind in ("f", "x") and entry.size >= smallest_bytes and ".." not in entry.path.split("/"):
                yield entry


def _by_traits(storage: str, size: int, files: Iterable[StoredFile], skipped: list[Skipped]) -> Iterator[list[_Inode]]:
    """Those of some files that can become one: on one device, with the same owner and permissions."""
    alike: dict[_Traits, dict[int, _Inode]] = {}
    for file in files:
        try:
            status = os.lstat(_place(storage, file))
        except OSError as error:
            skipped.append(_absent(file) if isinstance(error, _ABSENT) else _unreadable(file, error))
            continue
        if not _is_sealed(status, size):
            skipped.append(_changed(file))
            continue
        inodes = alike.setdefault(_traits(status), {})
        inode = inodes.setdefault(status.st_ino, _Inode(status.st_nlink, status.st_blocks * 512, []))
        inode.files.append(file)
    for traits, inodes in alike.items():
        if len(inodes) > 1 and os.geteuid() not in (0, traits.owner):
            for inode in inodes.values():
                skipped.extend(_foreign(file) for file in inode.files)
        elif len(inodes) > 1:
            yield list(inodes.values())


class _Traits(NamedTuple):
    """What two files must have in common to become one, besides their bytes."""

    device: int
    mode: int
    owner: int
    group: int


def _traits(status: os.stat_result) -> _Traits:
    return _Traits(status.st_dev, status.st_mode, status.st_uid, status.st_gid)


def _state(status: os.stat_result) -> tuple[int, ...]:
    """What tells one file from another that took its place; the number alone may be given to a new file."""
    return status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


def _is_sealed(status: os.stat_result, size: int) -> bool:
    return stat.S_ISREG(status.st_mode) and not status.st_mode & 0o7222 and status.st_size == size


def _place(storage: str, file: StoredFile) -> str:
    return f"{storage}/{file.rref[38:]}/{file.rref[5:37]}/{file.path}"


def _absent(file: StoredFile) -> Skipped:
    return Skipped(file, Reason.GONE, "is gone")


def _changed(file: StoredFile) -> Skipped:
    return Skipped(file, Reason.CHANGED, "is not as it was published")


def _foreign(file: StoredFile) -> Skipped:
    return Skipped(file, Reason.FOREIGN, "is another user's")


def _unreadable(file: StoredFile, error: OSError) -> Skipped:
    return Skipped(file, Reason.UNREADABLE, f"cannot be read: {error.strerror}")


# -- doing ------------------------------------------------------------------------------------------------------------


def dedup(store: Store, plan: DedupPlan, *, on_progress: Callable[[int, int], None] | None = None) -> Deduped:
    """Link what a plan says, as far as it still holds. Reading the store waits for nothing.

    Args:
        store: the store.
        plan: what `plan_dedup` gave.
        on_progress: told how many of how many files were looked at.

    Raises:
        StoreUnusable: the store cannot be written; DiskFull if for lack of space. What was linked until then is.
    """
    linking = _Linking(store, list(plan.skipped))
    if not plan.links:
        return linking.outcome("")
    refused = ""
    layout = store.layout
    with store.own_errors(), locks.exclusive(layout.locks / f"{linking.entry.name}.lock"):
        if store.durable:  # what takes the place of a file must be on the disk as surely as that file was
            atomic.sync_file_system(layout.storage)
        os.mkdir(linking.entry)
        try:
            done = 0
            for rref, links in groupby(plan.links, key=lambda link: link.file.rref):
                while batch := list(islice(links, _MOST_AT_ONCE)):
                    linking.link(parse_rref(rref), batch)
                    done += len(batch)
                    if on_progress is not None:
                        on_progress(done, len(plan.links))
        except _Refused as error:
            refused = str(error)
        finally:
            if not linking.is_amid_renames():
                atomic.remove_tree(linking.entry)
    return linking.outcome(refused)


class _Refused(Exception):
    """The file system makes no hard links."""


class _Ready(NamedTuple):
    """A link that only has to be renamed to where the file is."""

    file: StoredFile
    temporary: str
    state: tuple[int, ...]  #: of the file, as it was compared


class _Linking:
    """One run: what was done so far, and where it works."""

    def __init__(self, store: Store, skipped: list[Skipped]) -> None:
        self.entry = store.layout.scratch / f"{LINKING}{atomic.unique()}"
        self._store = store
        self._storage = os.fspath(store.layout.storage)
        self._note = self.entry / LINKING_NOTE
        self._kept: dict[StoredFile, StoredFile] = {}  # what stands for a file of the plan that cannot be linked to
        self._prepared = 0
        self._files = 0
        self._saved_bytes = 0
        self._skipped = skipped

    def outcome(self, refused: str) -> Deduped:
        return Deduped(self._files, self._saved_bytes, tuple(self._skipped), refused)

    def is_amid_renames(self) -> bool:
        """Whether some folder may be writable."""
        return os.path.lexists(self._note)

    def link(self, ref: RealizationRef, links: Iterable[Link]) -> None:
        """Link some files of one realization."""
        ready = [one for one in map(self._prepare, links) if one is not None]
        if not ready:
            return
        with self._store.publishing(ref.folder):
            os.symlink(str(ref), self._note)  # whole at once, unlike a file
            for folder, files in groupby(ready, key=lambda one: one.file.path.rpartition("/")[0]):
                self._rename_into(self._store.layout.realization(ref), folder, list(files))
            os.unlink(self._note)

    def _prepare(self, link: Link) -> _Ready | None:
        """Make a link that can take the place of a file, if both are what they should be."""
        try:
            status = os.lstat(_place(self._storage, link.file))
        except OSError as error:
            self._skipped.append(_absent(link.file) if isinstance(error, _ABSENT) else _unreadable(link.file, error))
            return None
        if not _is_sealed(status, link.size_bytes):
            self._skipped.append(_changed(link.file))
            return None
        source = self._kept.get(link.to, link.to)
        temporary = self._linked(source)
        if temporary is None:
            self._keep(link)
            return None
        if not self._may_replace(link, status, source, temporary):
            os.unlink(temporary)
            return None
        return _Ready(link.file, temporary, _state(status))

    def _may_replace(self, link: Link, status: os.stat_result, source: StoredFile, temporary: str) -> bool:
        """Whether a link to `source` may take the place of a file."""
        found = os.lstat(temporary)
        if found.st_ino == status.st_ino and found.st_dev == status.st_dev:  # another process was here
            return False
        if not _is_sealed(found, link.size_bytes):
            self._skipped.append(_changed(source))
            self._keep(link)
            return False
        if _traits(found) != _traits(status):
            self._skipped.append(_changed(link.file))
            return False
        if found.st_nlink - 1 < status.st_nlink:
            self._keep(link)
            return False
        return self._is_equal(link, source, temporary)

    def _keep(self, link: Link) -> None:
        """Link to this file from now on: the one of the plan is gone, damaged, or has fewer names, or too many."""
        self._kept[link.to] = link.file

    def _linked(self, source: StoredFile) -> str | None:
        """Link to a file in our own folder; None if it takes no more links, is gone, or is a file no more."""
        self._prepared += 1
        place, temporary = _place(self._storage, source), f"{self.entry}/{self._prepared}"
        try:
            os.link(place, temporary, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EMLINK or isinstance(error, _ABSENT) or os.path.isdir(place):
                return None
            if error.errno in atomic.CANNOT_LINK:
                raise _Refused(error.strerror) from error
            raise
        return temporary

    def _is_equal(self, link: Link, source: StoredFile, temporary: str) -> bool:
        """Compare a file with what is to take its place. If they differ, tell which one is damaged."""
        place = _place(self._storage, link.file)
        try:
            if _same_bytes(place, temporary):
                return True
            if hashing.hash_file(place) == link.digest:
                damaged = source
                self._keep(link)
            else:
                damaged = link.file
        except OSError as error:
            self._skipped.append(_unreadable(link.file, error))
            return False
        self._skipped.append(Skipped(damaged, Reason.DAMAGED, "has other bytes than were published"))
        return False

    def _rename_into(self, realization: Path, folder: str, files: Iterable[_Ready]) -> None:
        """Put links in the place of files of one folder, which is writable meanwhile."""
        try:
            descriptor = _open_folder(realization, folder)
        except OSError:  # collected, or not a folder any more
            self._skipped.extend(_absent(one.file) for one in files)
            return
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            try:
                os.fchmod(descriptor, mode | stat.S_IWUSR)
            except PermissionError:
                self._skipped.extend(_foreign(one.file) for one in files)
                return
            try:
                for one in files:
                    self._rename(descriptor, one)
            finally:
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def _rename(self, folder: int, one: _Ready) -> None:
        name = one.file.path.rpartition("/")[2]
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            self._skipped.append(_absent(one.file))
            return
        if _state(status) != one.state:  # published anew, or linked by another process
            return
        os.rename(one.temporary, name, dst_dir_fd=folder)
        self._files += 1
        if status.st_nlink == 1:
            self._saved_bytes += status.st_blocks * 512


def _same_bytes(first: str, second: str) -> bool:
    descriptors: list[int] = []
    try:
        for path in (first, second):
            descriptors.append(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        position = 0
        while True:
            one, other = (os.pread(descriptor, _COMPARED_BYTES, position) for descriptor in descriptors)
            count = min(len(one), len(other))
            if one[:count] != other[:count]:
                return False
            if not count:
                return not one and not other
            position += count
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _open_folder(top: Path, folder: str) -> int:
    """Open a folder below another one; no part of the path may be a link, which could lead elsewhere."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(top, flags)
    for part in filter(None, folder.split("/")):
        outer = descriptor
        try:
            descriptor = os.open(part, flags, dir_fd=outer)
        finally:
            os.close(outer)
    return descriptor
