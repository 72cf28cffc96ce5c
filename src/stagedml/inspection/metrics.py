"""The numbers that a builder measured and wrote into `metrics.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a realization."""

    of: str
    metrics: Mapping[str, float]


def metrics_in(folder: Path) -> dict[str, float]:
    """The numbers of a realization's folder, by where they stand, `name.name[place]`; none where there are none."""
    try:
        return dict(_numbers(json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))))
    except (OSError, ValueError, RecursionError):
        return {}


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _numbers(item, f"{name}[{place}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and name:
        yield name, value
