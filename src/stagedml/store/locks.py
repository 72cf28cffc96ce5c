"""Locks over processes: `flock` on files, which the kernel frees when their owner dies.

- `exclusive`: one builder at a time for one key. The file names its owner. It is removed on release, while the lock is
  still held; whoever waited on the removed file notices that its name leads elsewhere now, and opens it anew.
- `Turnstile`: many that change the store a little at a time, or one that collects. Its two files stay. Whoever wants to
  be alone closes the gate first, so that a stream of others cannot keep it waiting for ever.

Reading the store takes no lock. Assumes a file system on which `flock` works between the processes concerned: local
ones, and NFS from Linux 2.6.12 on. A forked child that outlives its parent keeps the parent's locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

#: Called, with the owner's own words, before waiting for somebody else. Who returns True is asked again soon, and does
#: not wait in the kernel, where nothing wakes a thread.
OnWait = Callable[[str], "bool | None"]


@contextlib.contextmanager
def exclusive(path: str | Path, *, on_wait: OnWait | None = None) -> Iterator[None]:
    """Hold the lock at `path` for the length of the block.

    Args:
        path: the lock file; its folder must exist.
        on_wait: see `OnWait`.
    """
    descriptor = acquire(path, on_wait=on_wait)
    try:
        yield
    finally:
        release(path, descriptor)


def acquire(path: str | Path, *, on_wait: OnWait | None = None) -> int:
    """Take the lock at `path`, as `exclusive` does; returns what `release` needs."""
    while True:
        descriptor = _open(path)
        try:
            _lock(descriptor, fcntl.LOCK_EX, on_wait)
            if _names(path, descriptor):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def release(path: str | Path, descriptor: int) -> None:
    """Let a lock go."""
    with contextlib.suppress(OSError):  # a file that stays is taken over by the next owner
        os.unlink(path)
    os.close(descriptor)


@contextlib.contextmanager
def exclusive_if_free(path: Path) -> Iterator[bool]:
    """As `exclusive`, but where somebody else holds the lock the block runs without it and is told so."""
    descriptor = _open(path)
    try:
        free = _try_lock(descriptor, fcntl.LOCK_EX) and _names(path, descriptor)
        if free:
            _sign(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if not free:
        os.close(descriptor)
        yield False
        return
    try:
        yield True
    finally:
        release(path, descriptor)


class Turnstile:
    """A lock that many hold at once, or one alone. May be entered again by a thread that is inside."""

    def __init__(self, folder: Path) -> None:
        self._gate = f"{folder}/store.gate"
        self._inside = f"{folder}/store.lock"
        self._here = threading.local()

    def enter(self, on_wait: OnWait | None = None) -> int:
        """Go inside with others; returns what `leave` needs."""
        depth: int = getattr(self._here, "depth", 0)
        if depth:
            self._here.depth = depth + 1
            return -1
        gate = _open(self._gate)
        try:
            _lock(gate, fcntl.LOCK_SH, on_wait)
            inside = _open(self._inside)
            try:
                _lock(inside, fcntl.LOCK_SH, on_wait)
            except BaseException:
                os.close(inside)
                raise
        finally:
            os.close(gate)
        self._here.depth = 1
        return inside

    def leave(self, inside: int) -> None:
        """Go outside again."""
        self._here.depth -= 1
        if inside >= 0:
            os.close(inside)

    @contextlib.contextmanager
    def alone(self, *, on_wait: OnWait | None = None) -> Iterator[None]:
        """Be inside alone. A thread that is inside with others must not ask for it."""
        with self._once() as first:
            assert first, "a thread that is inside waits for itself"
            gate = _open(self._gate)
            try:
                _lock(gate, fcntl.LOCK_EX, on_wait)
                _sign(gate)
                inside = _open(self._inside)
                try:
                    _lock(inside, fcntl.LOCK_EX, None)
                    yield
                finally:
                    os.close(inside)
                with contextlib.suppress(OSError):
                    os.ftruncate(gate, 0)
            finally:
                os.close(gate)

    @contextlib.contextmanager
    def _once(self) -> Iterator[bool]:
        depth: int = getattr(self._here, "depth", 0)
        self._here.depth = depth + 1
        try:
            yield depth == 0
        finally:
            self._here.depth = depth


def is_held(path: Path) -> bool:
    """Whether some process, this one included, holds the lock on a file that is there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _open(path: str | Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _lock(descriptor: int, kind: int, on_wait: OnWait | None) -> bool:
    if not _try_lock(descriptor, kind):
        while on_wait is not None:
            owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            if not on_wait(owner):
                break
            if _try_lock(descriptor, kind):
                return True
        fcntl.flock(descriptor, kind)
    return True


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int) -> None:
    """Write into a lock who holds it. On a full disk it says nothing, and holds all the same."""
    try:
        text = f"process {os.getpid()} on {_host()}\n".encode()
        if os.pwrite(descriptor, text, 0) == len(text):
            os.ftruncate(descriptor, len(text))
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)


@functools.lru_cache(maxsize=1)
def _host() -> str:
    return os.uname().nodename


def _names(path: str | Path, descriptor: int) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
