"""What lets a build go on after a crash: a folder for each build, kept until it succeeds.

A build is a derivation, its direct inputs and an instance, as its lock has it; who holds that lock is alone in its
folder. In it is a slot for each way to run the build (values of Exec parameters, versions of packages), since what one
way began another must not end. `attempts.jsonl` tells who began when. What nobody goes on with is swept by the
collector.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stagedml.store import atomic
from stagedml.store.layout import Layout
from stagedml.store.metadata import Attempt

_ATTEMPTS = "attempts.jsonl"


def checkpoints_of(layout: Layout, scratch: Path) -> Path:
    """The folder of the build that works in a scratch folder."""
    return layout.all_checkpoints / scratch.name


def slot(folder: Path, way: Mapping[str, Any]) -> Path:
    """The slot for a way to run a build, made if it is not there; the attempt is noted."""
    digest = hashlib.sha256(json.dumps(way, sort_keys=True, default=repr).encode()).hexdigest()[:16]
    found = folder / digest
    found.mkdir(parents=True, exist_ok=True)
    noted = {"started": time.time(), "host": os.uname().nodename, "process": os.getpid(), "slot": digest}
    with open(folder / _ATTEMPTS, "a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(noted))  # the line before may have been cut off by a crash
    return found


def slots(folder: Path) -> list[Path]:
    """All slots of a build."""
    return [path for path in folder.iterdir() if path.is_dir()]


def attempts(folder: Path) -> tuple[Attempt, ...]:
    """The attempts at a build, the last one included; nothing if it asked for no slot."""
    found: list[tuple[str, Attempt]] = []
    try:
        lines = (folder / _ATTEMPTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was being written in a crash
            noted = json.loads(line)
            attempt = Attempt(float(noted["started"]), str(noted["host"]), int(noted["process"]))
            found.append((str(noted["slot"]), attempt))
    return tuple(attempt for where, attempt in found if where == found[-1][0])


def forget(folder: Path) -> None:
    """Remove all that is kept of a build; the caller holds its lock."""
    with contextlib.suppress(FileNotFoundError):
        os.lstat(folder)
        atomic.remove_tree(folder)
