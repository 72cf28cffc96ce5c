"""Series of numbers that trainings measure, and those in a training's protocol."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STEPS, EPOCHS = "steps", "epochs"
TRAIN, VALID, TEST = "train", "valid", "test"
LEARNING_RATE = "learning_rate"
#: Numbers of a training that say how it ran, not what it came to.
OF_RUNNING = (LEARNING_RATE, "examples_per_second", "tokens_per_second")


_NOT_MEASURED = frozenset({"epoch", "rows", "steps"})


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity in the course of a training.

    Attributes:
        name: `loss`, `accuracy`, ...
        split: what it was measured on: `train`, `valid`, `test`; else the name of the folder in the log.
        over: what `at` counts, `steps` or `epochs`.
        at: ascending.
        values: one for each of `at`; may hold NaN and infinities.
    """

    name: str
    split: str
    over: str
    at: tuple[int, ...]
    values: tuple[float, ...]


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def of_protocol(protocol: Any) -> Iterator[Series]:
    """The series in a `protocol.json`: a list of operations, each with its epoch and what came out."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for entry in protocol if isinstance(protocol, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("epoch"), int):
            continue
        split = TRAIN if entry.get("operation") == "train" else str(entry.get("split", VALID))
        for name, value in entry.items():
            if name not in _NOT_MEASURED and is_number(value):
                found.setdefault((name, split), {})[entry["epoch"]] = float(value)
    yield from (series_of(name, split, EPOCHS, values) for (name, split), values in found.items())


def series_of(name: str, split: str, over: str, values: Mapping[int, float]) -> Series:
    at = tuple(sorted(values))
    return Series(name, split, over, at, tuple(values[step] for step in at))


def thinned(values: Sequence[float], count: int) -> list[float]:
    """Values as at most `count` means of neighbours; what is no finite number counts if nothing else is."""
    groups = min(len(values), max(count, 1))
    bounds = [len(values) * place // groups for place in range(groups + 1)] if groups else [0]
    return [_mean(values[start:stop]) for start, stop in itertools.pairwise(bounds)]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(value / len(finite) for value in finite) if finite else math.nan
