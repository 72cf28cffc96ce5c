"""What running processes need: one file for each process and store, which lists references, in `<side>/live/`.

The file is locked for as long as its process, or the `Store` that claims, lives; the kernel frees it when the process
dies, and then it means nothing. References are added inside `Store.changing`, so that no collector comes between
finding a realization and claiming it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

from stagedml.store import atomic, locks


class Claims:
    """The references that one `Store` object keeps from being collected."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._claimed: set[str] = set()
        self._descriptor: int | None = None
        self._mutex = threading.Lock()
        self._owner = os.getpid()
        self._release: weakref.finalize[[int, Path, int], Claims] | None = None

    def add(self, refs: Iterable[str]) -> None:
        """Claim derivations and realizations, and all that these rest on. The caller is inside `changing`."""
        with self._mutex:
            if self._owner != os.getpid():  # a forked child: its parent's file goes with its parent
                self._owner, self._descriptor = os.getpid(), None
                refs = [*refs, *self._claimed]
                self._claimed.clear()
            new = sorted({str(ref) for ref in refs} - self._claimed)
            if not new:
                return
            if self._descriptor is None:
                path = self._folder / f"{os.uname().nodename[:60]}-{os.getpid()}-{atomic.unique(4)}"
                self._descriptor = os.open(
                    path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
                )
                self._release = weakref.finalize(self, _release, self._descriptor, path, os.getpid())
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._descriptor, "".join(f"{ref}\n" for ref in new).encode())
            self._claimed.update(new)

    def holds(self, refs: Iterable[str]) -> bool:
        """Whether all of these are claimed by this process already."""
        with self._mutex:
            return self._owner == os.getpid() and self._claimed.issuperset(refs)

    def forget(self) -> None:
        """Claim nothing any more; what is younger than the collector's grace time is safe all the same."""
        with self._mutex:
            if self._release is not None:
                self._release()
            self._release, self._descriptor = None, None
            self._claimed.clear()


def _release(descriptor: int, path: Path, owner: int) -> None:
    os.close(descriptor)
    if os.getpid() == owner:  # a forked child ends, too
        with contextlib.suppress(OSError):
            os.unlink(path)


def claimed(folder: Path) -> Iterator[tuple[str, str]]:
    """What running processes claim: (process, reference). The caller is alone in the store, or guesses.

    A process is spelt `<host>-<process id>`, or `this process`.
    """
    for path in _files(folder):
        if locks.is_held(path):
            process = path.name.rpartition("-")[0]
            if process == f"{os.uname().nodename[:60]}-{os.getpid()}":
                process = "this process"
            with contextlib.suppress(FileNotFoundError):
                for line in path.read_text(errors="replace").splitlines():
                    yield process, line


def forget_dead(folder: Path) -> None:
    """Remove the files of processes that ended without doing so. The caller is alone in the store."""
    for path in _files(folder):
        if not locks.is_held(path):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _files(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except FileNotFoundError:
        return []
