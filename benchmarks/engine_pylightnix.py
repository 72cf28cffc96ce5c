"""Pylightnix 0.3.0 for `bench_engine.py`: derivations made by `mkdrv`, as its reference shows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pylightnix import (
    build_cattrs,
    build_outpath,
    build_path,
    build_wrapper,
    fsinit,
    instantiate,
    match_only,
    mkconfig,
    mkdrv,
    mkSS,
    realize1,
    rref2path,
    selfref,
)

ONLY: Any = match_only  # untyped


def check_wanted() -> None:
    """Raise where everything is said to be there, so nothing may be built."""
    if os.environ.get("BENCH_ENGINE_NOTHING_TO_DO"):
        raise RuntimeError("built once more")


def write(build: Any, value: int) -> None:
    check_wanted()
    Path(build_outpath(build), "value").write_text(str(value))


def read(build: Any, dref: str) -> int:
    return int(Path(build_path(build, [dref, "value"])).read_text())


def square(r: Any, number: int) -> Any:
    def realize(build: Any) -> None:
        number = build_cattrs(build).number
        write(build, number * number)

    config = {"name": "square", "number": number, "value": [selfref, "value"]}
    return mkdrv(mkconfig(config), ONLY(), build_wrapper(realize), r)


def add(r: Any, number: int, before: Any) -> Any:
    def realize(build: Any) -> None:
        attributes = build_cattrs(build)
        write(build, read(build, attributes.before) + attributes.number)

    config = {"name": "add", "number": number, "before": before, "value": [selfref, "value"]}
    return mkdrv(mkconfig(config), ONLY(), build_wrapper(realize), r)


def total(r: Any, inputs: list[Any]) -> Any:
    def realize(build: Any) -> None:
        write(build, sum(read(build, dref) for dref in build_cattrs(build).inputs))

    config = {"name": "total", "inputs": inputs, "value": [selfref, "value"]}
    return mkdrv(mkconfig(config), ONLY(), build_wrapper(realize), r)


def chain(count: int, r: Any) -> Any:
    last = square(r, 0)
    for number in range(1, count):
        last = add(r, number, last)
    return last


def wide(count: int, r: Any) -> Any:
    return total(r, [square(r, number) for number in range(count)])


SHAPES = {"chain": chain, "wide": wide}


def compute(shape: str, count: int, folder: Path) -> Callable[[], int]:
    """Declare all, realize it, read the result."""

    def work() -> int:
        storage = mkSS(str(folder))
        fsinit(storage)
        rref = realize1(instantiate(SHAPES[shape], count, S=storage))
        return int(Path(rref2path(rref, S=storage), "value").read_text())

    return work
