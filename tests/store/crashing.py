"""Processes that kill themselves, as `kill -9` would, at chosen points of publishing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from stagedml.store import atomic, hashing, metadata

#: Points of publishing, in the order in which they are reached.
POINTS = (
    "while hashing",
    "before the metadata",
    "amid the metadata",
    "after the metadata",
    "after the move",
    "amid making it read-only",
    "before the rename",
    "after the rename",
)


def die(*arguments: object, **keywords: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def dying_after(function: Callable[..., Any]) -> Callable[..., NoReturn]:
    def call(*arguments: object, **keywords: object) -> NoReturn:
        function(*arguments, **keywords)
        die()

    return call


def crash_at(point: str) -> None:
    """Let this process die at a point. There is no way back, so call it in a process made for it."""
    rename, replace = Path.rename, os.replace

    def dying_rename(self: Path, target: Path) -> Path:
        into_place = self.name.endswith(".tmp")
        if point == "before the rename" and into_place:
            die()
        renamed = rename(self, target)
        if (point == "after the rename" and into_place) or (point == "after the move" and target.name.endswith(".tmp")):
            die()
        return renamed

    def dying_replace(source: Path, destination: Path) -> None:
        if point == "amid the config" or "metadata" in destination.parts[-3]:
            die()
        replace(source, destination)

    def half_read_only(tree: Path) -> NoReturn:
        next(path for path in tree.rglob("*") if path.is_dir()).chmod(0o555)
        die()

    patches: dict[str, tuple[Any, str, Callable[..., object]]] = {
        "while hashing": (hashing, "content_digest", die),
        "before the metadata": (metadata, "merge", die),
        "amid the config": (os, "replace", dying_replace),
        "amid the metadata": (os, "replace", dying_replace),
        "after the metadata": (metadata, "merge", dying_after(metadata.merge)),
        "after the move": (Path, "rename", dying_rename),
        "amid making it read-only": (atomic, "make_read_only", half_read_only),
        "before the rename": (Path, "rename", dying_rename),
        "after the rename": (Path, "rename", dying_rename),
    }
    setattr(*patches[point])


def killed(function: Callable[[], object]) -> bool:
    """Whether a function, called in a process of its own, ended by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
