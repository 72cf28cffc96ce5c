"""Luigi for `bench_engine.py`: tasks with parameters, `LocalTarget`s written through `open`, and the local scheduler.

Luigi takes a task for done when its target is there, and then does not look at what it requires. That is `compute`.
`compute_all` asks for every task, so every target is looked at, as all the other tools do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import luigi  # type: ignore[import-not-found]


def check_wanted() -> None:
    """Raise where everything is said to be there, so nothing may be run."""
    if os.environ.get("BENCH_ENGINE_NOTHING_TO_DO"):
        raise RuntimeError("run once more")


class Number(luigi.Task):  # type: ignore[misc]
    """A number in a file."""

    folder = luigi.Parameter()
    number = luigi.IntParameter()

    def output(self) -> Any:
        return luigi.LocalTarget(os.path.join(self.folder, f"{self.task_family}-{self.number}"))

    def write(self, value: int) -> None:
        check_wanted()
        with self.output().open("w") as file:
            file.write(str(value))


def read(target: Any) -> int:
    with target.open() as file:
        return int(file.read())


class Square(Number):
    """A task that requires nothing."""

    def run(self) -> None:
        self.write(self.number * self.number)


class Add(Number):
    """A task that requires one."""

    def requires(self) -> Number:
        before = self.number - 1
        return Add(folder=self.folder, number=before) if before else Square(folder=self.folder, number=0)

    def run(self) -> None:
        self.write(read(self.input()) + self.number)


class Total(Number):
    """A task that requires as many as its number says."""

    def requires(self) -> list[Number]:
        return [Square(folder=self.folder, number=number) for number in range(self.number)]

    def run(self) -> None:
        self.write(sum(read(target) for target in self.input()))


def last_of(shape: str, count: int, folder: Path) -> Number:
    return Total(folder=str(folder), number=count) if shape == "wide" else Add(folder=str(folder), number=count - 1)


def all_of(shape: str, count: int, folder: Path) -> list[Number]:
    """Every task, in the order in which they can run."""
    squares = [Square(folder=str(folder), number=number) for number in range(count if shape == "wide" else 1)]
    adds = [] if shape == "wide" else [Add(folder=str(folder), number=number) for number in range(1, count - 1)]
    return [*squares, *adds, last_of(shape, count, folder)]


def build(tasks: list[Number]) -> int:
    if not luigi.build(tasks, local_scheduler=True, log_level="WARNING"):
        raise RuntimeError("luigi.build failed")
    return read(tasks[-1].output())


def compute(shape: str, count: int, folder: Path) -> Callable[[], int]:
    """Ask for the last task."""
    return lambda: build([last_of(shape, count, folder)])


def compute_all(shape: str, count: int, folder: Path) -> Callable[[], int]:
    """Ask for every task."""
    return lambda: build(all_of(shape, count, folder))
