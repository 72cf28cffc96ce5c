"""The one import of Pylightnix.

Pylightnix logs warnings about missing programs and imports the deprecated `distutils` when it is imported; neither is
news to our users, so both are silenced for the time of the import.
"""

from __future__ import annotations

import logging
import warnings

_loggers = logging.getLogger("pylightnix")
_level = _loggers.level
_loggers.setLevel(logging.CRITICAL)
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
        from pylightnix.utils import timestring
finally:
    _loggers.setLevel(_level)

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
    "timestring",
]


def current_registry() -> Registry | None:
    """The registry of this thread that stages declare themselves in, as Pylightnix keeps it."""
    registry: Registry | None = getattr(plx_core.TL, "registry", None)
    return registry


def set_current_registry(registry: Registry | None) -> None:
    """Replace this thread's registry. Pylightnix's own context manager would touch the storage, too."""
    plx_core.TL.registry = registry
