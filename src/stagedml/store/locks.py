"""Locks over processes: one builder at a time for one key.

A lock is `flock` on a file that names its owner. The kernel frees it when the owner dies. The file is removed on
release, while the lock is still held; whoever waited on the removed file notices that its name leads elsewhere now, and
opens it anew. Assumes a file system on which `flock` works between the processes concerned: local ones, and NFS from
Linux 2.6.12 on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def exclusive(path: Path, *, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock at `path` for the length of the block.

    Args:
        path: the lock file; its folder must exist.
        on_wait: called once, with the owner's own words, before waiting for somebody else.
    """
    descriptor = _acquire(path, on_wait)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, on_wait: Callable[[str], None] | None) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_wait is not None:
                    on_wait(os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process")
                    on_wait = None
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _names(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
