"""What a process for each build costs, on top of building in the calling process.

    python benchmarks/bench_jobs.py [--stages 100] [--rounds 5]

Trivial stages, none resting on another, are built here, and apart with two at a time, in turns, in one process whose
server is warm. Told are the medians for one build; on two free cores, what a process costs is up to twice the
difference.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

from stagedml import Artifact, Build, RefPath, instantiate, output, realize_many, stage, store_initialize
from stagedml.settings import read_settings


class Text(Artifact):
    """A file."""

    text: RefPath


@stage(Text, name="tiny")
def tiny(build: Build, *, number: int, round_: int, way: str, text: RefPath = output("text")) -> None:
    build.path(text).write_text(str(number))


def seconds_of(way: str, round_: int, stages: int) -> float:
    """How long one build takes."""
    target = instantiate(lambda: [tiny(number=number, round_=round_, way=way) for number in range(stages)])
    started = time.perf_counter()
    if way == "here":
        realize_many(target)
    else:
        realize_many(target, jobs=2)
    return (time.perf_counter() - started) / stages


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stages", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store_initialize(settings=read_settings({"STAGEDML_DURABLE": "0"}, root=folder))
        seconds_of("apart", -1, 2)  # the server starts
        found: dict[str, list[float]] = {"here": [], "apart": []}
        for round_ in range(arguments.rounds):
            for way, times in found.items():
                times.append(seconds_of(way, round_, arguments.stages))
        here, apart = (statistics.median(times) for times in found.values())
        print(f"here {here * 1e3:.2f} ms, apart {apart * 1e3:.2f} ms: a process costs {(apart - here) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
