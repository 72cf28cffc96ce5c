"""Archives, unpacked in this process without trusting them.

Takes zip, tar, tar.gz, tar.bz2, tar.xz, and single files packed with gzip, bzip2 or xz. The contents say which it is,
not the name; only whether compressed bytes are a tar or one file may be settled by the name.

Rules:
- Every member's name is checked before anything of it is written: no absolute path, no `..`, no two members under one
  name, no member below another that is a file or a link. What is neither file, folder nor link is refused.
- Symbolic links are made last, when every file is in its place, so nothing is ever written through one; each must lead,
  through all other links, to a place inside. A hard link must name a regular file that came before it.
- Files come out with the usual modes, executable where the archive says so; owners, times and other bits are dropped:
  the same archive gives the same tree.
- All is unpacked beside the destination and renamed there in the end: a failure leaves nothing behind.
- A damaged archive is an error that names the member; a tar without its end mark counts as damaged, since nothing else
  tells that it was cut off between two members.
"""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final, cast

from stagedml.errors import RemoteError, UsageError
from stagedml.remotes.progress import Meter, Progress

_CHUNK_BYTES: Final = 1 << 20
_TAR_BLOCK_BYTES: Final = 512
_MOST_LINK_STEPS: Final = 40  # as many as Linux follows
_LONGEST_LINK_BYTES: Final = 4096
_EXECUTABLE: Final = 0o100

_ZIP_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000  # classic, strong, and an encrypted directory of members
_ZIP_MADE_ON_UNIX: Final = 3

_TAR_ENDINGS: Final = (".tar", ".tgz", ".tbz", ".tbz2", ".tb2", ".txz")


class ArchiveError(RemoteError):
    """An archive that cannot be unpacked; `member` is empty where the archive as a whole is meant."""

    def __init__(self, archive: str, member: str, reason: str) -> None:
        super().__init__(archive, member, reason)
        self.archive, self.member, self.reason = archive, member, reason

    def __str__(self) -> str:
        return f"{self.archive}{f', member {self.member!r}' if self.member else ''}: {self.reason}"


class UnknownArchive(ArchiveError):
    """The file is no archive of a kind that can be unpacked."""


class DamagedArchive(ArchiveError):
    """The archive is cut off or altered: fetch it again, or look at where it is from."""


class UnsafeArchive(ArchiveError):
    """The archive asks for something that unpacking does not do."""


class DestinationNotEmpty(UsageError):
    """There is something already where an archive should be unpacked."""

    def __init__(self, destination: str) -> None:
        super().__init__(destination)
        self.destination = destination

    def __str__(self) -> str:
        return f"{self.destination} is not an empty folder: name one, or a folder that does not exist yet"


@dataclass(frozen=True)
class UnpackLimits:
    """The most that an archive may unpack to. Far above real data; a decompression bomb goes beyond.

    members: files, folders and links together.
    ratio: unpacked bytes for each byte of the archive. Deflate reaches 1,032; text is at 3 to 20.
    free_bytes: allowed whatever the ratio.
    """

    members: int = 20_000_000
    ratio: float = 1100.0
    free_bytes: int = 1 << 32

    def most_bytes(self, archive_bytes: int) -> int:
        """The most that an archive of a size may unpack to."""
        return max(self.free_bytes, int(archive_bytes * self.ratio))


DEFAULT_LIMITS: Final = UnpackLimits()


def unpack(
    archive: Path,
    destination: Path,
    *,
    name: str | None = None,
    limits: UnpackLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> Path:
    """Unpack an archive into a folder.

    A single packed file comes out under the archive's name without its last ending: `images.gz` gives `images`.

    Args:
        archive: the file to unpack.
        destination: an empty folder, or one to be made in an existing folder.
        name: the archive's own name, where the file is kept under another one.
        limits: against decompression bombs.
        progress: see `stagedml.remotes.progress`; counts the bytes of the archive that were read.

    Returns:
        The destination.

    Raises:
        DestinationNotEmpty: nothing is ever overwritten.
        UnknownArchive: it is of no known kind.
        DamagedArchive: it is cut off or altered.
        UnsafeArchive: a member would leave the destination or overwrite another, is a device or the like, is encrypted,
            or the limits are reached.
    """
    if os.path.lexists(destination) and not _is_empty_folder(destination):
        raise DestinationNotEmpty(str(destination))
    own_name = archive.name if name is None else name
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as scratch:
        tree = Path(scratch, "tree")
        tree.mkdir()
        with archive.open("rb") as raw:
            size_bytes = os.fstat(raw.fileno()).st_size
            meter = Meter(progress, own_name, total=size_bytes, note="unpacking")
            _unpack_stream(raw, own_name, _Tree(tree, own_name, limits, limits.most_bytes(size_bytes), meter, raw))
            meter.reach(size_bytes)
            meter.finish()
        os.rename(tree, destination)
    return destination


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _unpack_stream(raw: BinaryIO, name: str, tree: _Tree) -> None:
    start = raw.read(_TAR_BLOCK_BYTES)
    raw.seek(0)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        _unpack_zip(raw, tree)
        return
    opener = _opener_of(start)
    if opener is None:
        if not _is_named_tar(name) and not _is_tar_header(start):
            looks = ", a web page" if start.lstrip().lower().startswith((b"<!doctype html", b"<html")) else ""
            raise UnknownArchive(name, "", f"is no zip, tar, gzip, bzip2 or xz; it begins with {start[:16]!r}{looks}")
        _unpack_tar(raw, tree)
        return
    with _damage_named(tree, ""), opener(raw) as stream:
        is_tar = _is_named_tar(name) or _is_tar_header(stream.read(_TAR_BLOCK_BYTES))
        stream.seek(0)
        if is_tar:
            _unpack_tar(stream, tree)
        else:
            tree.add_file(PurePosixPath(name).stem, stream, executable=False)


def _opener_of(start: bytes) -> Callable[[BinaryIO], IO[bytes]] | None:
    """What reads a compressed file that begins so."""
    if start.startswith(b"\x1f\x8b"):
        import gzip

        return lambda raw: cast("IO[bytes]", gzip.GzipFile(fileobj=raw, mode="rb"))
    if start.startswith(b"BZh"):
        import bz2

        return lambda raw: cast("IO[bytes]", bz2.BZ2File(raw))
    if start.startswith(b"\xfd7zXZ\x00"):
        import lzma

        return lambda raw: cast("IO[bytes]", lzma.LZMAFile(raw))
    return None


def _is_named_tar(name: str) -> bool:
    path = PurePosixPath(name.lower())
    return path.suffix in _TAR_ENDINGS or PurePosixPath(path.stem).suffix == ".tar"


def _is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are a tar member's header; they hold a sum of themselves, so chance does not make one."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


@contextmanager
def _damage_named(tree: _Tree, member: str) -> Iterator[None]:
    """Turn what the standard library raises on damaged bytes into an error that names archive and member."""
    import lzma
    import struct
    import zlib

    try:
        yield
    except ArchiveError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error) as error:
        raise DamagedArchive(tree.archive, member, f"is damaged: {error}") from error
    except (EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the archive
        raise DamagedArchive(tree.archive, member, f"is damaged: {error}") from error


def _unpack_tar(stream: IO[bytes], tree: _Tree) -> None:
    with _damage_named(tree, ""):
        if not any(stream.read(_TAR_BLOCK_BYTES)):
            _check_tar_end(stream, 0, tree, "")  # nothing in it, which `tarfile` of Python 3.10 stumbles over
            return
        stream.seek(0)
    member_name = ""
    with _damage_named(tree, ""), tarfile.open(fileobj=stream, mode="r:") as tar:
        while True:
            with _damage_named(tree, member_name):
                member = tar.next()
            if member is None:
                break
            member_name = member.name
            with _damage_named(tree, member_name):
                _unpack_tar_member(tar, member, tree)
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps a kilobyte for every member
        _check_tar_end(stream, tar.offset, tree, member_name)
    tree.make_links()


def _unpack_tar_member(tar: tarfile.TarFile, member: tarfile.TarInfo, tree: _Tree) -> None:
    if member.isdir():
        tree.add_folder(member.name)
    elif member.isreg():
        contents = tar.extractfile(member)
        assert contents is not None
        tree.add_file(member.name, contents, executable=bool(member.mode & _EXECUTABLE))
    elif member.issym():
        tree.add_link(member.name, member.linkname)
    elif member.islnk():
        tree.add_hard_link(member.name, member.linkname)
    else:
        raise UnsafeArchive(tree.archive, member.name, "is neither a file, a folder nor a link")


def _check_tar_end(stream: IO[bytes], offset: int, tree: _Tree, last: str) -> None:
    """See that reading ended at the end mark: `tarfile` also stops, in silence, at a damaged header or a cut."""
    stream.seek(offset)
    block = stream.read(_TAR_BLOCK_BYTES)
    if len(block) < _TAR_BLOCK_BYTES or any(block):
        where = f"after member {last!r}" if last else "at its beginning"
        raise DamagedArchive(tree.archive, "", f"is damaged or cut off {where}, at byte {offset} of the tar")
    while stream.read(_CHUNK_BYTES):
        pass  # to the end of compressed bytes, where their own sum is


def _unpack_zip(raw: BinaryIO, tree: _Tree) -> None:
    with _damage_named(tree, ""), zipfile.ZipFile(raw) as bundle:
        for member in bundle.infolist():
            with _damage_named(tree, member.filename):
                _unpack_zip_member(bundle, member, tree)
    tree.make_links()


def _unpack_zip_member(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, tree: _Tree) -> None:
    mode = member.external_attr >> 16 if member.create_system == _ZIP_MADE_ON_UNIX else 0
    kind = stat.S_IFMT(mode)
    if member.flag_bits & _ZIP_ENCRYPTED:
        raise UnsafeArchive(tree.archive, member.filename, "is encrypted: unpack it by hand and fetch the result")
    if member.is_dir() or kind == stat.S_IFDIR:
        tree.add_folder(member.filename)
        return
    if kind not in (0, stat.S_IFREG, stat.S_IFLNK):
        raise UnsafeArchive(tree.archive, member.filename, "is neither a file, a folder nor a link")
    try:
        contents = bundle.open(member)
    except (NotImplementedError, RuntimeError) as error:
        raise UnknownArchive(tree.archive, member.filename, f"is packed in an unknown way: {error}") from error
    with contents:
        if kind == stat.S_IFLNK:
            tree.add_link(member.filename, os.fsdecode(contents.read(_LONGEST_LINK_BYTES)))
        else:
            tree.add_file(member.filename, contents, executable=bool(mode & _EXECUTABLE))


class _Tree:
    """A folder that members are added to under checked names; keeps count of what was added against the limits."""

    def __init__(
        self, folder: Path, archive: str, limits: UnpackLimits, most_bytes: int, meter: Meter, raw: BinaryIO
    ) -> None:
        self.archive = archive
        self._folder = folder
        self._limits = limits
        self._bytes_left = most_bytes
        self._meter = meter
        self._raw = raw
        self._member_count = 0
        self._folders: set[tuple[str, ...]] = {()}
        self._links: dict[tuple[str, ...], tuple[str, str]] = {}

    def add_folder(self, name: str) -> None:
        """Add a folder; one that is there already stays."""
        self._count(name)
        parts = self._checked(name)
        self._make_parents((*parts, ""), name)

    def add_file(self, name: str, contents: IO[bytes], *, executable: bool) -> None:
        """Add a file with the bytes of a stream."""
        path = self._new_path(name)
        try:
            # O_EXCL: what the books let through, say on a file system that ignores case, still overwrites nothing.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if executable else 0o666)
        except FileExistsError as error:
            raise self._unsafe(name, "comes twice") from error
        with open(descriptor, "wb") as stream:
            while chunk := contents.read(_CHUNK_BYTES):
                self._bytes_left -= len(chunk)
                if self._bytes_left < 0:
                    raise self._unsafe(name, "unpacks to more bytes than any real data of that size (see UnpackLimits)")
                stream.write(chunk)
                self._meter.reach(self._raw.tell())

    def add_hard_link(self, name: str, target: str) -> None:
        """Add a further name of a file that was added before."""
        target_path = self._folder.joinpath(*self._checked(target, of=name))
        path = self._new_path(name)
        try:
            is_file = stat.S_ISREG(os.lstat(target_path).st_mode)
        except OSError:
            is_file = False
        if not is_file:
            raise self._unsafe(name, f"is a hard link to {target!r}, which is no file that came before it")
        os.link(target_path, path, follow_symlinks=False)

    def add_link(self, name: str, target: str) -> None:
        """Note a symbolic link, to be made when all else is in place."""
        path = self._new_path(name)
        if not target or "\0" in target or len(os.fsencode(target)) >= _LONGEST_LINK_BYTES:
            raise self._unsafe(name, f"is a link to {target[:80]!r}, which is no path")
        self._links[path.relative_to(self._folder).parts] = (name, target)

    def make_links(self) -> None:
        """Make the symbolic links, once it is known that each leads to a place inside."""
        for parts, (name, target) in self._links.items():
            self._check_link(parts, name, target)
        for parts, (name, target) in self._links.items():
            try:
                os.symlink(target, self._folder.joinpath(*parts))
            except FileExistsError as error:
                raise self._unsafe(name, "comes twice") from error

    def _check_link(self, parts: tuple[str, ...], name: str, target: str) -> None:
        """Follow a link as the kernel would, through the other links, and refuse it where it steps outside."""
        if target.startswith("/"):
            raise self._unsafe(name, f"is a link to {target!r}, an absolute path")
        at = list(parts[:-1])
        ahead = target.split("/")[::-1]
        steps = 0
        while ahead:
            part = ahead.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not at:
                    raise self._unsafe(name, f"is a link to {target!r}, which leads outside")
                at.pop()
                continue
            at.append(part)
            if tuple(at) in self._links:
                steps += 1
                if steps > _MOST_LINK_STEPS:
                    raise self._unsafe(name, f"is a link to {target!r}, which leads through links without an end")
                linked = self._links[tuple(at)][1]
                if linked.startswith("/"):
                    raise self._unsafe(name, f"is a link to {target!r}, which leads outside")
                at.pop()
                ahead += linked.split("/")[::-1]

    def _new_path(self, name: str) -> Path:
        """The path of a member that is no folder; its parents are made, and nothing is there yet."""
        self._count(name)
        parts = self._checked(name)
        if not parts:
            raise self._unsafe(name, "has the name of the folder itself")
        self._make_parents(parts, name)
        path = self._folder.joinpath(*parts)
        if parts in self._links or os.path.lexists(path):
            raise self._unsafe(name, "comes twice, or is both a folder and something else")
        return path

    def _make_parents(self, parts: tuple[str, ...], name: str) -> None:
        for depth in range(1, len(parts)):
            parent = parts[:depth]
            if parent in self._folders:
                continue
            try:
                if parent in self._links:
                    raise FileExistsError
                os.mkdir(self._folder.joinpath(*parent))
            except FileExistsError as error:
                raise self._unsafe(name, f"lies below {'/'.join(parent)!r}, which is no folder") from error
            self._folders.add(parent)

    def _checked(self, name: str, *, of: str | None = None) -> tuple[str, ...]:
        """The parts of a member's name, which can only lead into the folder."""
        said_by = name if of is None else of
        if name.startswith("/"):
            raise self._unsafe(said_by, f"names {name!r}, an absolute path")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if ".." in parts:
            raise self._unsafe(said_by, f"names {name!r}, which leads outside")
        if "\0" in name:
            raise self._unsafe(said_by, f"names {name!r}, which is no path")
        return parts

    def _count(self, name: str) -> None:
        self._member_count += 1
        if self._member_count > self._limits.members:
            raise self._unsafe(name, f"is one more than {self._limits.members} members (see UnpackLimits)")

    def _unsafe(self, name: str, reason: str) -> UnsafeArchive:
        return UnsafeArchive(self.archive, name, reason)
