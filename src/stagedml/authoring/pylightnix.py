"""The one import of Pylightnix.

Pylightnix logs warnings about missing programs when it is imported, which is no news to our users: they are silenced.
It also imports the retired `distutils`, for one function. What answers to that name today is setuptools, whose import
takes longer than all the rest of ours, so a stand-in with that one function is there for the time of the import.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import types
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def _quickly_and_quietly() -> Iterator[None]:
    loggers = logging.getLogger("pylightnix")
    level = loggers.level
    loggers.setLevel(logging.CRITICAL)
    stand_ins: dict[str, types.ModuleType] = {}
    if "distutils" not in sys.modules and "pylightnix" not in sys.modules:
        spawn = types.ModuleType("distutils.spawn")
        spawn.find_executable = shutil.which  # type: ignore[attr-defined]
        stand_ins = {"distutils": types.ModuleType("distutils"), "distutils.spawn": spawn}
        sys.modules.update(stand_ins)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
        loggers.setLevel(level)


with _quickly_and_quietly():
    import pylightnix.core as plx_core
    from pylightnix.types import (
        Build as PylightnixBuild,
    )
    from pylightnix.types import (
        BuildArgs,
        Closure,
        Context,
        Derivation,
        DRef,
        Output,
        Path,
        Registry,
        RRef,
        StorageSettings,
    )
    from pylightnix.types import RefPath as RefPath

__all__ = [
    "BuildArgs",
    "Closure",
    "Context",
    "DRef",
    "Derivation",
    "Output",
    "Path",
    "PylightnixBuild",
    "RRef",
    "RefPath",
    "Registry",
    "StorageSettings",
    "current_registry",
    "set_current_registry",
]


def current_registry() -> Registry | None:
    """The registry of this thread that stages declare themselves in, as Pylightnix keeps it."""
    registry: Registry | None = getattr(plx_core.TL, "registry", None)
    return registry


def set_current_registry(registry: Registry | None) -> None:
    """Replace this thread's registry. Pylightnix's own context manager would touch the storage, too."""
    plx_core.TL.registry = registry
