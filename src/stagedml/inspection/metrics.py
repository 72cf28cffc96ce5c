"""The numbers that a builder measured and wrote into `metrics.json`.

Some stand in lists, such as a loss after each epoch: histories, of which people are told how they end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.json"
#: How many numbers of a list are shown to people one by one.
MOST_SHOWN = 6
_PLACE = re.compile(r"\[\d+\]")
_LAST_PLACES = re.compile(r"(\[\])+\Z")


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


def list_of(metric: str) -> str:
    """The list in which a number stands: `history.loss` of `history.loss[3]`; "" of one that stands in none."""
    name, places = _PLACE.subn("[]", metric)
    return (_LAST_PLACES.sub("", name) or name) if places else ""


def single(metrics: Mapping[str, float]) -> dict[str, float]:
    """The numbers that stand in no list."""
    return {name: value for name, value in metrics.items() if not list_of(name)}


def names(metrics: Iterable[str]) -> list[str]:
    """What is measured, each list once, as `history.loss[...]`."""
    return list(dict.fromkeys(f"{list_of(name)}[...]" if list_of(name) else name for name in metrics))


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _numbers(item, f"{name}[{place}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and name:
        yield name, value
