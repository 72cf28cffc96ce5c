"""What a build ran on and with: the machine, the versions of packages, the commit of the code."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stagedml.authoring.distributions import versions_of
from stagedml.engine.nodes import Node

_GIT_TIMEOUT_S = 10.0


class Surroundings:
    """As they are during one run; each repository is looked at once."""

    def __init__(self) -> None:
        self._commits: dict[str, Mapping[str, Any]] = {}

    def of(self, node: Node) -> dict[str, Any]:
        """What is to be recorded of a build of a derivation, besides what its process tells.

        `cpu`, `gpus` (models) and `gpu_driver` where there are some, `versions` of the packages that its code imports
        and of all that these require, `git` with `commit` and `dirty` where the builder's file is in a repository.
        """
        found: dict[str, Any] = {**machine()}
        if node.imports:
            found["versions"] = versions_of(node.imports, "lock")
        if node.code is not None and node.code.units:
            folder = os.path.dirname(node.code.units[0].file)
            if folder not in self._commits:
                self._commits[folder] = commit_of(folder)
            if self._commits[folder]:
                found["git"] = self._commits[folder]
        return found


def commit_of(folder: str) -> Mapping[str, Any]:
    """The commit that is checked out where a folder is, and whether tracked files differ; nothing where there is none.

    Nothing is written, not even git's own index.
    """
    command = ["git", "-C", folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    if not os.path.isdir(folder):
        return {}
    try:
        environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, env=environment, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return {}
    lines = done.stdout.splitlines()
    commits = [line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")]
    if done.returncode or not commits or commits[0] == "(initial)":
        return {}
    return {"commit": commits[0], "dirty": any(not line.startswith("#") for line in lines)}


@functools.lru_cache(maxsize=1)
def machine() -> Mapping[str, Any]:
    """The processor, and the GPUs with their driver where there are some."""
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        if models:
            found["cpu"] = f"{len(models)} x {models[0]}"
    gpus = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with contextlib.suppress(OSError):
            lines = path.read_text(errors="replace").splitlines()
            gpus += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    if gpus:
        found["gpus"] = gpus
        with contextlib.suppress(OSError, IndexError):
            found["gpu_driver"] = Path("/proc/driver/nvidia/version").read_text(errors="replace").splitlines()[0]
    return found
