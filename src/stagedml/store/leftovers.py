"""What lies in a store and is no realization: left by builds, transfers and collections that did not come to an end.

Each kind goes when nothing in it changed for an age of its own: what may be resumed stays longer than what may not.
What somebody works on is locked, or has a name that nobody else gives.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagedml.store import atomic, locks
from stagedml.store.layout import DECLARING_CONFIG, DECLARING_STAGES, Layout
from stagedml.store.reach import Inventory

DAY_S = 86_400.0
_COLLECTED = re.compile(r"\.[0-9a-f]{8}\.tmp$")  # what a collection set apart, and did not come to delete


@dataclass(frozen=True)
class Ages:
    """After how many seconds without a change what is left behind goes.

    Attributes:
        grace_s: what publishing and collecting left, metadata of what is gone, and code that nothing has.
        scratch_s: what failed and killed builds left.
        resumable_s: unfinished downloads, and checkpoints of builds that ended badly.
        quarantine_s: what was found damaged, and journals of runs.
    """

    grace_s: float
    scratch_s: float
    resumable_s: float
    quarantine_s: float


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something in the store that is no realization and that nobody works on any more.

    Attributes:
        kind: `scratch`, `checkpoint`, `declaring`, `interrupted`, `download`, `quarantine`, `pylightnix`, `metadata`,
            `code` or `journal`.
        path: the file or folder, absolute.
        age_s: how long ago the last change in it was, in seconds.
    """

    kind: str
    path: str
    age_s: float


def leftovers(layout: Layout, inventory: Inventory, ages: Ages, now: float) -> Iterator[Leftover]:
    """Everything that is old enough for its kind, and that nobody works on."""

    def old(kind: str, paths: Iterable[str], limit_s: float) -> Iterator[Leftover]:
        for path in sorted(paths):
            age_s = now - changed(Path(path))
            if age_s >= limit_s:
                yield Leftover(kind, path, age_s)

    scratch = atomic.paths_in(layout.scratch)
    declaring = [path for path in scratch if os.path.basename(path).startswith((DECLARING_CONFIG, DECLARING_STAGES))]
    collected = [path for path in inventory.interrupted if _COLLECTED.search(path)]
    yield from old("interrupted", collected, 0)
    yield from old("interrupted", set(inventory.interrupted) - set(collected), ages.grace_s)
    yield from old("declaring", declaring, DAY_S)
    builds = [path for path in scratch if path not in set(declaring) and not locks.is_held(_lock_of(layout, path))]
    yield from old("scratch", builds, ages.scratch_s)
    kept = atomic.paths_in(layout.all_checkpoints)
    yield from old("checkpoint", (path for path in kept if not locks.is_held(_lock_of(layout, path))), ages.resumable_s)
    yield from old("download", atomic.paths_in(layout.all_downloads), ages.resumable_s)
    yield from old("journal", atomic.paths_in(layout.runs), ages.quarantine_s)
    yield from old("quarantine", atomic.paths_in(layout.quarantine), ages.quarantine_s)
    yield from old("pylightnix", atomic.paths_in(layout.tmp), ages.scratch_s)
    with contextlib.suppress(FileNotFoundError):
        orphans = set(os.listdir(layout.metadata)) - inventory.realizations.keys()
        yield from old("metadata", (f"{layout.metadata}/{name}" for name in orphans), ages.grace_s)
    unused = (path for path in atomic.paths_in(layout.all_code) if os.lstat(path).st_nlink == 1)
    yield from old("code", unused, ages.grace_s)


def _lock_of(layout: Layout, scratch: str) -> Path:
    return layout.locks / f"{os.path.basename(scratch)}.lock"


def changed(path: Path) -> float:
    """When anything in a file or folder changed last, seconds since the epoch. What is gone changed now."""
    latest = time.time()
    try:
        status = os.lstat(path)
        latest = status.st_mtime
        if stat.S_ISDIR(status.st_mode):
            for folder, others in atomic.folders_below(path):
                latest = max(latest, os.lstat(folder).st_mtime)
                for item in others:
                    latest = max(latest, item.stat(follow_symlinks=False).st_mtime)
    except FileNotFoundError:
        return time.time()
    except OSError:  # what is inside cannot be reached: no right, or too deep to be named
        return latest
    return latest


def apart(path: str) -> str:
    """Give a leftover a name of its own; returns it."""
    folder, name = os.path.split(path)
    apart = f"{folder}/{name[:64]}.{atomic.unique(4)}.tmp"
    os.rename(path, apart)
    return apart


def unlink_if_there(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def sweep(layout: Layout, leftover: Leftover) -> bool:
    """Delete a leftover; False if somebody works on it again."""
    if leftover.kind not in ("scratch", "checkpoint"):
        remove_path(leftover.path)
        return True
    with locks.exclusive_if_free(_lock_of(layout, leftover.path)) as free:
        if free:
            remove_path(leftover.path)
    return free


def remove_path(path: str) -> None:
    """Delete a folder with all in it, or a file or link; what is not there is fine."""
    try:
        unlink_if_there(path)
    except OSError:  # a folder: Linux says EISDIR, POSIX would have it say EPERM
        atomic.remove_tree(path)


def sweep_locks(layout: Layout) -> None:
    """Remove lock files that killed processes left."""
    for path in atomic.paths_in(layout.locks):
        with locks.exclusive_if_free(Path(path)):
            pass
