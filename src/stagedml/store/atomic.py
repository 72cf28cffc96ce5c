"""Writing so that a crash leaves the old or the new, never a mixture.

Everything is written under a temporary name in the same file system and renamed. What must survive a power failure is
synced before it is renamed into place, and the folder after it. Trees are walked without recursion and without
following links, so that depth and cycles do no harm.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

# Linux takes paths of 4,095 bytes, names of 255; a folder with a shorter path than this can name all that it holds.
_REACHABLE_PATH_BYTES = 3_800
_COPY_BYTES = 1 << 20


def unique(count: int = 16) -> str:
    """A name that nobody else has: so many random bytes, as hexadecimal digits."""
    return os.urandom(count).hex()


def write_file(path: str | Path, text: str, *, durable: bool, mode: int = 0o644) -> None:
    """Write a small file whole or not at all; an existing one is replaced."""
    temporary = f"{path}.{unique(4)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            _write_all(descriptor, text.encode())
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        sync_folder(Path(path).parent)


def write_new_file(path: str, data: bytes, mode: int = 0o444) -> None:
    """Write a file that is not there yet, where nobody else looks: not atomic, not synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def write_over(path: str, data: bytes, mode: int = 0o444) -> None:
    """As `write_new_file`; a file that is there is replaced."""
    try:
        write_new_file(path, data, mode)
    except FileExistsError:
        os.unlink(path)
        write_new_file(path, data, mode)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Make everything that was written to the file system of a folder survive a power failure.

    One call whatever the number of files; here it is quicker than `fsync` from the first file on. Where the C library
    has no `syncfs`, the whole machine is synced.
    """
    import ctypes  # only durable stores that publish something pay for it

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def folders_below(tree: str | os.PathLike[str]) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Every folder of a tree, a folder before those in it, with everything in it that is no folder."""
    pending = [os.fspath(tree)]
    while pending:
        folder = pending.pop()
        others = []
        with os.scandir(folder) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    pending.append(item.path)
                else:
                    others.append(item)
        yield folder, others


def paths_in(folder: str | os.PathLike[str]) -> list[str]:
    """What is in a folder, sorted; nothing if it is not there, or no folder."""
    try:
        return [f"{os.fspath(folder)}/{name}" for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def make_read_only(tree: Path) -> None:
    """Take the write bits from everything below a folder and from the folder itself; links are left alone."""
    folders = []
    for folder, others in folders_below(tree):
        folders.append(folder)
        for item in others:
            if not item.is_symlink():
                _lock(item.path, item.stat(follow_symlinks=False).st_mode)
    for folder in reversed(folders):
        _lock(folder, os.lstat(folder).st_mode)


def _lock(path: str, mode: int) -> None:
    if mode & 0o7222:
        os.chmod(path, stat.S_IMODE(mode) & 0o555)


def remove_tree(tree: str | os.PathLike[str]) -> None:
    """Delete a folder, read-only ones inside it too, however deep. What is not there, or goes meanwhile, is fine."""
    top = os.fspath(tree)
    folders = []
    pending = [top]
    while pending:
        folder = pending.pop()
        try:
            inner = _remove_files(folder)
        except FileNotFoundError:
            continue
        except PermissionError:  # a folder that is read-only
            os.chmod(folder, 0o700)
            inner = _remove_files(folder)
        for item in inner:
            is_short = len(item.path) < _REACHABLE_PATH_BYTES // 4  # a character has at most four bytes
            pending.append(item.path if is_short else _lifted(item, top))
        folders.append(folder)
    for folder in reversed(folders):
        with contextlib.suppress(FileNotFoundError):
            try:
                os.rmdir(folder)
            except PermissionError:  # it is in a folder that is read-only, with no file in it
                if folder == top:
                    raise
                os.chmod(os.path.dirname(folder), 0o700)
                os.rmdir(folder)


def _remove_files(folder: str) -> list[os.DirEntry[str]]:
    """Remove all from a folder but the folders in it, which are returned."""
    inner = []
    with os.scandir(folder) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                inner.append(item)
            else:
                try:
                    os.unlink(item.path)
                except FileNotFoundError:
                    continue
    return inner


def _lifted(item: os.DirEntry[str], top: str) -> str:
    """Move a folder whose contents may be too deep to be named to the top of its tree; returns where it is now."""
    name = unique()
    parent = os.open(os.path.dirname(item.path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chmod(item.name, 0o700, dir_fd=parent)
        os.rename(item.name, os.path.join(top, name), src_dir_fd=parent)
    finally:
        os.close(parent)
    return os.path.join(top, name)


def make_empty(folder: str) -> None:
    """Make a folder; what was there is deleted."""
    try:
        os.mkdir(folder)
    except FileExistsError:
        remove_tree(folder)
        os.mkdir(folder)


def copy_file(source: str, destination: str) -> None:
    """Copy the bytes and the mode of a file to a name that is free; holes stay holes where both ends can tell."""
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(reader)
        writer = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for begin, end in _data_ranges(reader, status.st_size):
                os.lseek(reader, begin, os.SEEK_SET)
                os.lseek(writer, begin, os.SEEK_SET)
                left = end - begin
                while left > 0 and (data := os.read(reader, min(left, _COPY_BYTES))):
                    _write_all(writer, data)
                    left -= len(data)
            os.ftruncate(writer, status.st_size)
            os.fchmod(writer, stat.S_IMODE(status.st_mode))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data, hole by hole."""
    position = 0
    while position < size:
        try:
            begin = os.lseek(descriptor, position, os.SEEK_DATA)
            end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            begin, end = position, size  # a file system that does not tell
        yield begin, end
        position = end


def copy_tree(source: Path, destination: Path, *, skip: Iterable[str]) -> None:
    """Fill an empty folder with what is in another one, by hard links where the file system makes them.

    Args:
        source: the folder to read.
        destination: an empty folder; all folders made in it may be written by their owner.
        skip: names at the top of `source` that are left out.
    """
    skipped = frozenset(skip)
    top = os.fspath(source)
    target_top = os.fspath(destination)
    for folder, others in folders_below(source):
        inner = folder[len(top) + 1 :]
        if inner.partition("/")[0] in skipped:
            continue
        target = os.path.join(target_top, inner) if inner else target_top
        if inner:
            os.mkdir(target, 0o755)
        for item in others:
            if not inner and item.name in skipped:
                continue
            place = os.path.join(target, item.name)
            if item.is_symlink():
                os.symlink(os.readlink(item.path), place)
            elif not _linked(item.path, place):
                copy_file(item.path, place)


def _linked(source: str, destination: str) -> bool:
    try:
        os.link(source, destination, follow_symlinks=False)
    except OSError as error:
        if error.errno in CANNOT_LINK:
            return False
        raise
    return True


#: How a file system says that it makes no hard links, or no more of this file.
CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})


def free_bytes(folder: Path) -> int:
    """How much the user may still write to the file system of a folder."""
    system = os.statvfs(folder)
    return system.f_bavail * system.f_frsize
