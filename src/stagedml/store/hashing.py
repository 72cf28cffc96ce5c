"""Tree hash, version 1: what the bytes of a realization are called.

The manifest of a tree lists everything below its top folder but for the three unhashed names and `context.json`, in the
order of the paths' UTF-8 bytes. Its digest is BLAKE3 over

    b"stagedml tree 1\\n"
    for each entry: kind (1 byte), length of the path (8 bytes, little endian), path, payload

where the payload is nothing for a folder (`d`), size (8 bytes, little endian) and BLAKE3 of the contents (32 bytes)
for a file (`f`) or an executable file (`x`), and length (8 bytes, little endian) and target for a symbolic link
(`l`). Every field has a fixed length or is preceded by one, so no two trees share an encoding.
docs/reference/store-format.md has test vectors.

Memory is bounded whatever the sizes: small files are read whole, one after the other, which is quickest for them;
large ones in pieces, several files at once, and of a very large one the next pieces are read while one is hashed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import PurePosixPath
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from blake3 import blake3

from stagedml.core.refs import DerivationRef, RealizationRef
from stagedml.errors import StoreError
from stagedml.store import atomic
from stagedml.store.layout import CONTEXT_FILE, UNHASHED

TREE_HEADER = b"stagedml tree 1\n"
REALIZATION_HEADER = b"stagedml realization 1\n"
_SMALL_BYTES = 1 << 20  # up to here a file is read at once
_HUGE_BYTES = 1 << 25  # from here on reading ahead pays
_PIECE_BYTES = 1 << 20
_PIECES_AHEAD = 3
_MOST_WORKERS = 8  # each holds up to three pieces
#: What is wrong with the disk or the process, not with one file of a tree.
_NOT_THE_CONTENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class UnpublishableContent(StoreError):
    """A tree holds things that cannot be published; every one is listed."""

    def __init__(self, tree: str, problems: tuple[str, ...]) -> None:
        super().__init__(tree, problems)
        self.tree, self.problems = tree, problems

    def __str__(self) -> str:
        return "\n  ".join([f"{self.tree} cannot be published:", *self.problems])


class Entry(NamedTuple):
    """One file, folder or link of a tree."""

    kind: str  #: `d` folder, `f` file, `x` executable file, `l` symbolic link
    path: str  #: relative, parts joined by `/`
    size: int = 0  #: bytes of a file; 0 otherwise
    digest: str = ""  #: BLAKE3 of a file in hexadecimal; the target of a link; empty for a folder

    def encoded(self) -> bytes:
        """The entry as it enters the tree hash."""
        path = self.path.encode()
        head = self.kind.encode() + len(path).to_bytes(8, "little") + path
        if self.kind == "d":
            return head
        if self.kind == "l":
            target = self.digest.encode()
            return head + len(target).to_bytes(8, "little") + target
        return head + self.size.to_bytes(8, "little") + bytes.fromhex(self.digest)


def hash_file(path: str | os.PathLike[str]) -> str:
    """BLAKE3 of a file's contents in hexadecimal, read in pieces."""
    return _hash_contents(path)[0]


def _hash_contents(path: str | os.PathLike[str]) -> tuple[str, int]:
    """BLAKE3 of a file, and how many bytes it had."""
    hasher = blake3()
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        huge = os.fstat(descriptor).st_size >= _HUGE_BYTES
        pieces = _pieces_read_ahead if huge and _processors() > 1 else _pieces
        total = 0
        for piece in pieces(descriptor):
            hasher.update(piece)
            total += len(piece)
    finally:
        os.close(descriptor)
    return hasher.hexdigest(), total


def _processors() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pieces(descriptor: int) -> Iterator[memoryview]:
    buffer = bytearray(_PIECE_BYTES)
    view = memoryview(buffer)
    while count := os.readv(descriptor, [buffer]):
        yield view[:count]


def _pieces_read_ahead(descriptor: int) -> Iterator[memoryview]:
    """As `_pieces`; a thread reads the next ones while the caller works on one. Reading and hashing leave the GIL."""
    free: SimpleQueue[bytearray | None] = SimpleQueue()
    filled: SimpleQueue[tuple[bytearray, int] | OSError] = SimpleQueue()
    for _ in range(_PIECES_AHEAD):
        free.put(bytearray(_PIECE_BYTES))

    def read() -> None:
        while (buffer := free.get()) is not None:
            try:
                count = os.readv(descriptor, [buffer])
            except OSError as error:
                filled.put(error)
                return
            filled.put((buffer, count))
            if not count:
                return

    thread = Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            got = filled.get()
            if isinstance(got, OSError):
                raise got
            buffer, count = got
            if not count:
                return
            yield memoryview(buffer)[:count]
            free.put(buffer)
    finally:
        free.put(None)
        thread.join()  # it must not read from a descriptor that is somebody else's by then


def scan(
    tree: str | os.PathLike[str],
    *,
    seal: bool = False,
    shared: Collection[tuple[int, int]] = (),
    longest_path_bytes: int | None = None,
    beside: set[str] | None = None,
) -> tuple[Entry, ...]:
    """The manifest of a tree, files hashed.

    Args:
        tree: its top folder.
        seal: make it fit to be published, too: all but the top folder read-only, and no bytes shared by a hard link
            with a file elsewhere, whose owner could change them: such a file becomes a copy.
        shared: files elsewhere that may be shared, by device and inode: the store's own.
        longest_path_bytes: paths longer than this cannot be kept.
        beside: is given the names at the top that are no part of the manifest.

    Raises:
        UnpublishableContent: naming everything that cannot be kept.
    """
    found = _Found(os.fspath(tree), longest_path_bytes, set() if beside is None else beside)
    found.walk()
    if found.problems:
        raise UnpublishableContent(found.top, tuple(sorted(found.problems)))
    if seal:
        found.part_from_elsewhere(shared)
    found.hash_large()
    if found.problems:
        raise UnpublishableContent(found.top, tuple(sorted(found.problems)))
    if seal:
        found.seal()
    return tuple(entry for _, entry in sorted(found.entries))


class _Found:
    """What is found in a tree: manifest, problems, and what sealing has to look at."""

    def __init__(self, top: str, longest_path_bytes: int | None, beside: set[str]) -> None:
        self.top = top
        self.beside = beside
        self.entries: list[tuple[bytes, Entry]] = []
        self.problems: list[str] = []
        self._longest = longest_path_bytes
        self._large: list[tuple[bytes, str, str, int]] = []
        self._writable: list[tuple[str, int]] = []  # folders before what is in them
        self._linked: dict[tuple[int, int], list[str]] = {}
        self._links: dict[tuple[int, int], int] = {}

    def walk(self) -> None:
        pending = [""]
        while pending:
            folder = pending.pop()
            place = f"{self.top}/{folder}" if folder else self.top
            try:
                with os.scandir(place) as items:
                    for item in items:
                        name = item.name
                        if not folder and (name in UNHASHED or name == CONTEXT_FILE):
                            self.beside.add(name)
                            continue
                        self._item(item, f"{folder}/{name}" if folder else name, pending)
            except OSError as error:
                self._cannot(folder or ".", error)

    @functools.cached_property
    def _real_top(self) -> str:
        return os.path.realpath(self.top)

    def _item(self, item: os.DirEntry[str], path: str, pending: list[str]) -> None:
        try:
            key = path.encode()
        except UnicodeEncodeError:
            self.problems.append(f"{path!r}: the name is not UTF-8")
            return
        if self._longest is not None and len(key) > self._longest:
            self.problems.append(f"{_short(path)}: {len(key)} bytes of path, {self._longest} fit into this store")
            return
        try:
            status = item.stat(follow_symlinks=False)
            mode = status.st_mode
            if stat.S_ISREG(mode):
                kind = "x" if mode & stat.S_IXUSR else "f"
                if status.st_nlink > 1:
                    inode = (status.st_dev, status.st_ino)
                    self._linked.setdefault(inode, []).append(item.path)
                    self._links[inode] = status.st_nlink
                if mode & 0o7222:
                    self._writable.append((item.path, mode))
                if status.st_size > _SMALL_BYTES:
                    self._large.append((key, kind, path, status.st_size))
                else:
                    digest = _hash_small(item.path, status.st_size)
                    if digest is None:
                        self._changes(path)
                    else:
                        self.entries.append((key, Entry(kind, path, status.st_size, digest)))
            elif stat.S_ISDIR(mode):
                pending.append(path)
                self._writable.append((item.path, mode))
                self.entries.append((key, Entry("d", path)))
            elif stat.S_ISLNK(mode):
                target = os.readlink(item.path)
                problem = _link_problem(self._real_top, path, target)
                if problem:
                    self.problems.append(problem)
                self.entries.append((key, Entry("l", path, 0, target)))
            else:
                self.problems.append(f"{path}: {_kind_of(mode)}; only files, folders and links can be kept")
        except OSError as error:
            self._cannot(path, error)

    def _cannot(self, path: str, error: OSError) -> None:
        if error.errno in _NOT_THE_CONTENT:
            raise error
        self.problems.append(f"{_short(path)}: cannot be read: {error.strerror}")

    def _changes(self, path: str) -> None:
        self.problems.append(f"{path}: changes while it is read; end what still writes to it")

    def hash_large(self) -> None:
        """Hash the large files, the largest first."""
        if not self._large:
            return
        self._large.sort(key=lambda large: large[3], reverse=True)

        def contents(large: tuple[bytes, str, str, int]) -> tuple[str, int] | OSError:
            try:
                return _hash_contents(f"{self.top}/{large[2]}")
            except OSError as error:
                return error

        workers = min(len(self._large), _processors(), _MOST_WORKERS)
        with contextlib.ExitStack() as stack:
            apply: Callable[..., Iterable[tuple[str, int] | OSError]] = map
            if workers > 1:
                from concurrent.futures import ThreadPoolExecutor  # costs milliseconds that `ls` should not pay

                apply = stack.enter_context(ThreadPoolExecutor(workers)).map
            for (key, kind, path, size), result in zip(self._large, apply(contents, self._large), strict=True):
                if isinstance(result, OSError):
                    self._cannot(path, result)
                elif result[1] != size:
                    self._changes(path)
                else:
                    self.entries.append((key, Entry(kind, path, size, result[0])))

    def part_from_elsewhere(self, shared: Collection[tuple[int, int]]) -> None:
        for inode, paths in self._linked.items():
            if len(paths) < self._links[inode] and inode not in shared:
                for path in paths:
                    copied = f"{self.top}/{atomic.unique()}.tmp"
                    atomic.copy_file(path, copied)
                    os.replace(copied, path)

    def seal(self) -> None:
        for path, mode in reversed(self._writable):
            os.chmod(path, mode & 0o555)


def _hash_small(path: str, size: int) -> str | None:
    """BLAKE3 of a file of so many bytes; None if it has another size by now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, size + 1)
        while 0 < len(data) < size and (more := os.read(descriptor, size + 1 - len(data))):
            data += more
    finally:
        os.close(descriptor)
    return blake3(data).hexdigest() if len(data) == size else None


def _short(path: str) -> str:
    return path if len(path) < 200 else f"{path[:100]}...{path[-60:]}"


def _kind_of(mode: int) -> str:
    return {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a fifo"}.get(stat.S_IFMT(mode), "a device")


def _link_problem(top: str, path: str, target: str) -> str | None:
    if os.path.isabs(target):
        return f"{path}: a link to the absolute path {target!r}; copy the file, or link relatively inside the output"
    if not is_utf8(target):
        return f"{path}: a link to {target!r}, which is not UTF-8"
    # By its text alone, since the folder gets another name; and by where it leads now, past other links.
    parts = os.path.normpath(PurePosixPath(path).parent / target).split("/")
    if parts[0] == ".." or os.path.commonpath([top, os.path.realpath(os.path.join(top, path))]) != top:
        return f"{path}: a link that leads out of the output, to {target}; copy the file instead"
    return None


def is_utf8(name: str) -> bool:
    """Whether a name, as the file system gives it, is UTF-8 there."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def content_digest(entries: Iterable[Entry]) -> str:
    """The digest of a manifest, 64 hexadecimal digits. The entries must be in the manifest's order."""
    hasher = blake3(TREE_HEADER)
    for entry in entries:
        hasher.update(entry.encoded())
    return hasher.hexdigest()


def realization_digest(content: str, context_text: str) -> str:
    """The digest of a realization: its content and the exact text of its `context.json`; 64 hexadecimal digits."""
    hasher = blake3(REALIZATION_HEADER)
    hasher.update(bytes.fromhex(content))
    hasher.update(blake3(context_text.encode()).digest())
    return hasher.hexdigest()


def realization_ref(derivation: DerivationRef, digest: str) -> RealizationRef:
    """The reference of a realization: the first 128 bits of its digest are spelt."""
    return RealizationRef(digest[:32], derivation.dhash, derivation.name)
