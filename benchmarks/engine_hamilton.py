"""Hamilton for `bench_engine.py`: nodes made by `parameterize`, a driver built `with_cache`, one `execute`.

All is as documented and by default: metadata in SQLite, results pickled. On a disk, SQLite syncs what it commits.
Executing walks from the last node to the first by recursion, for which Python's limit is too low in a long chain.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from hamilton import ad_hoc_utils, driver  # type: ignore[import-not-found]
from hamilton.function_modifiers import (  # type: ignore[import-not-found]
    group,
    inject,
    parameterize,
    source,
    value,
)


def check_wanted() -> None:
    """Raise where everything is said to be there, so nothing may be executed."""
    if os.environ.get("BENCH_ENGINE_NOTHING_TO_DO"):
        raise RuntimeError("executed once more")


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
    """Declare the nodes, build the driver, execute the last node."""

    sys.setrecursionlimit(100_000)

    def work() -> int:
        names = [f"node_{number}" for number in range(count)]
        if shape == "wide":
            functions = [
                parameterize(**{name: {"number": value(number)} for number, name in enumerate(names)})(square),
                inject(numbers=group(*(source(name) for name in names)))(total),
            ]
            last = "total"
        else:
            following = zip(names[1:], names, range(1, count), strict=False)
            functions = [
                parameterize(**{names[0]: {"number": value(0)}})(square),
                parameterize(
                    **{name: {"number": value(number), "before": source(before)} for name, before, number in following}
                )(add),
            ]
            last = names[-1]
        module = ad_hoc_utils.create_temporary_module(*functions, module_name="bench_engine_nodes")
        found: int = driver.Builder().with_modules(module).with_cache(path=folder).build().execute([last])[last]
        return found

    return work
