"""What is recorded of a build beside its result: where, by whom and with what it ran."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import os
import platform
import socket
import sys
from collections.abc import Mapping
from typing import Any

from stagedml.store.metadata import BuildRecord

_RECORDED_PACKAGES = ("pylightnix", "numpy", "tensorflow", "tf_keras", "official", "tokenizers", "torch")
_DISTRIBUTIONS = {"official": "tf-models-official", "tf_keras": "tf-keras"}


def record_of(
    instance: int,
    seed: int,
    started: float,
    stopped: float,
    arguments: Mapping[str, Any],
    deterministic: bool = True,
    **more: Any,
) -> BuildRecord:
    """The record of a build that just ended in this process; `more` are further fields of it."""
    return BuildRecord(
        instance=instance,
        seed=seed,
        started=started,
        stopped=stopped,
        host=host_name(),
        user=user_name(),
        arguments=dict(arguments),
        environment=_environment(tuple(module for module in _RECORDED_PACKAGES if module in sys.modules)),
        deterministic=deterministic,
        **more,
    )


@functools.lru_cache(maxsize=1)
def host_name() -> str:
    """The machine."""
    return socket.gethostname()


@functools.lru_cache(maxsize=1)
def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name
        return str(os.getuid())


@functools.lru_cache(maxsize=64)
def _environment(modules: tuple[str, ...]) -> Mapping[str, Any]:
    """Python, the platform, and the versions of modules that are loaded."""
    packages = {}
    for module in modules:
        try:
            packages[module] = importlib.metadata.version(_DISTRIBUTIONS.get(module, module))
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": packages}
