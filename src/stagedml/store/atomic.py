"""Writing so that a crash leaves the old or the new, never a mixture.

Everything is written under a temporary name in the same file system and renamed. With `durable`, bytes are synced
before the rename and the folder after it, so the promise holds across a power failure too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path


def write_file(path: Path, text: str, *, durable: bool, mode: int = 0o644) -> None:
    """Write a small file whole or not at all; an existing one is replaced."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(tree: Path) -> None:
    """Make all files and names below a folder survive a power failure."""
    for folder, _, files in os.walk(tree):
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        sync_folder(Path(folder))


def _entries_bottom_up(tree: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(tree, topdown=False):
        for name in (*files, *folders):
            yield Path(folder, name)
    yield tree


def make_read_only(tree: Path) -> None:
    """Take the write bits from everything below a folder and from the folder itself; links are left alone."""
    for path in _entries_bottom_up(tree):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~0o222)


def remove_tree(tree: Path) -> None:
    """Delete a folder, read-only ones inside it too. A missing folder is fine."""
    if not tree.exists():
        return
    for folder, _, _ in os.walk(tree):
        with contextlib.suppress(OSError):
            os.chmod(folder, 0o700)
    shutil.rmtree(tree)
