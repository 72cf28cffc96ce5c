"""Our stages for `bench_engine.py`: trivial ones, used as README.md shows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stagedml import Artifact, Build, RefPath, instantiate, output, plan, realize, rref2path, stage, store_initialize


class Number(Artifact):
    """A number in a file."""

    value: RefPath


def check_wanted() -> None:
    """Raise where everything is said to be there, so nothing may be built."""
    if os.environ.get("BENCH_ENGINE_NOTHING_TO_DO"):
        raise RuntimeError("built once more")


@stage(Number, name="square")
def square(build: Build, *, number: int, value: RefPath = output("value")) -> None:
    """A stage without inputs."""
    check_wanted()
    build.path(value).write_text(str(number * number))


@stage(Number, name="add")
def add(build: Build, *, number: int, before: Number, value: RefPath = output("value")) -> None:
    """A stage with one input."""
    check_wanted()
    build.path(value).write_text(str(int(build.path(before.value).read_text()) + number))


@stage(Number, name="total")
def total(build: Build, *, inputs: list[Number], value: RefPath = output("value")) -> None:
    """A stage with as many inputs as there are."""
    check_wanted()
    build.path(value).write_text(str(sum(int(build.path(number.value).read_text()) for number in inputs)))


def chain(count: int) -> Number:
    """Each reads what the one before it wrote."""
    last = square(number=0)
    for number in range(1, count):
        last = add(number=number, before=last)
    return last


def wide(count: int) -> Number:
    """So many that read nothing, and one that reads them all."""
    return total(inputs=[square(number=number) for number in range(count)])


SHAPES = {"chain": chain, "wide": wide}


def compute(shape: str, count: int, folder: Path) -> Callable[[], int]:
    """Declare all, realize it, read the result."""

    def work() -> int:
        store_initialize(folder)
        rref = realize(instantiate(SHAPES[shape], count))
        return int((Path(rref2path(rref)) / "value").read_text())

    return work


def declare(shape: str, count: int, folder: Path) -> Callable[[], int]:
    """Declare all, and no more; tells how many derivations there are."""

    def work() -> int:
        store_initialize(folder)
        return len(instantiate(SHAPES[shape], count).closure.derivations)

    return work


def plan_only(shape: str, count: int, folder: Path) -> Callable[[], int]:
    """Plan what is declared already; tells how many derivations are reused."""
    store_initialize(folder)
    declared = instantiate(SHAPES[shape], count)

    def work() -> int:
        drawn = plan(declared)
        return len(drawn.steps) - len(drawn.builds)

    return work
