"""joblib for `bench_engine.py`: functions decorated with `Memory.cache`, called one from the other's result."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from joblib import Memory  # type: ignore[import-untyped]


def check_wanted() -> None:
    """Raise where everything is said to be there, so nothing may be computed."""
    if os.environ.get("BENCH_ENGINE_NOTHING_TO_DO"):
        raise RuntimeError("computed once more")


def square(number: int) -> int:
    check_wanted()
    return number * number


def add(number: int, before: int) -> int:
    check_wanted()
    return before + number


def total(numbers: list[int]) -> int:
    check_wanted()
    return sum(numbers)


def compute(shape: str, count: int, folder: Path) -> Callable[[], int]:
    """Call all; each call looks itself up in the folder, and loads what is there."""

    def work() -> int:
        memory = Memory(folder, verbose=0)
        cached_square, cached_add, cached_total = (memory.cache(function) for function in (square, add, total))
        result: int
        if shape == "wide":
            result = cached_total([cached_square(number) for number in range(count)])
            return result
        result = cached_square(0)
        for number in range(1, count):
            result = cached_add(number, result)
        return result

    return work
