"""Settings that somebody found or used, and who that was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Some settings.

    Attributes:
        values: by the names of parameters.
        source: who found or used them.
    """

    values: Mapping[str, Any]
    source: str
