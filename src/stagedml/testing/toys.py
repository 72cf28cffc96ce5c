"""Toy stages: small, quick, deterministic, and made of nothing but the standard library.

    store_initialize(folder)
    realize(instantiate(all_counted, "some words"))

builds `text` -> `upper` -> `count`. `sample` draws from its seed and has metrics to choose by, `blocking` waits for a
file, so that two processes can be made to meet, and `node` makes graphs of any shape.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

from stagedml.authoring.artifact import Artifact
from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage


class Text(Artifact):
    """A text file."""

    text: RefPath


class Count(Artifact):
    """How often each letter occurs in a text."""

    source: Text
    counts: RefPath
    scale: float


class Sample(Artifact):
    """A number drawn from a seed, and what is measured of it."""

    number: RefPath
    metrics: RefPath


class Node(Artifact):
    """A node of a graph."""

    label: str
    trace: RefPath


@stage(Text, name="text")
def text(build: Build, *, content: str = "hello", text: RefPath = output("text.txt")) -> None:
    """Write a text."""
    build.path(text).write_text(content)


@stage(Text, name="upper")
def upper(build: Build, *, source: Text, text: RefPath = output("text.txt")) -> None:
    """Shout a text."""
    build.path(text).write_text(build.path(source.text).read_text().upper())


@stage(Count, name="count")
def count(
    build: Build,
    *,
    source: Text,
    scale: float = 1,
    counts: RefPath = output("result/counts.json"),
    workers: Exec[int] = 1,
) -> None:
    """Count the letters of a text; its log says with how many workers."""
    letters = build.path(source.text).read_text()
    path = build.path(counts)
    path.parent.mkdir()
    path.write_text(json.dumps({letter: letters.count(letter) * scale for letter in sorted(set(letters))}))
    (build.log_dir / "workers").write_text(str(workers))


def all_counted(content: str = "hello") -> Count:
    """The letters of a text in capitals."""
    return count(source=upper(source=text(content=content)))


@stage(Sample, name="sample")
def sample(
    build: Build,
    *,
    seed: int = 0,
    constant: bool = False,
    number: RefPath = output("number.txt"),
    metrics: RefPath = output("metrics.json"),
) -> None:
    """Draw a number; each instance draws another one, unless it is to be constant."""
    drawn = 0.5 if constant else random.Random(build.seed).random()
    build.path(number).write_text(repr(drawn))
    build.path(metrics).write_text(json.dumps({"accuracy": drawn, "loss": 1 - drawn}))


@stage(Text, name="blocking")
def blocking(
    build: Build,
    *,
    content: str = "hello",
    text: RefPath = output("text.txt"),
    journal: Exec[str] = "",
    gate: Exec[str] = "",
    timeout_s: Exec[float] = 60,
) -> None:
    """Write a text, once a file exists.

    Args:
        journal: a file to which each build appends its process id when it begins.
        gate: the file to wait for; none if empty.
        timeout_s: how long to wait before giving up.
    """
    if journal:
        with open(journal, "a") as file:
            file.write(f"{os.getpid()}\n")
    deadline = time.monotonic() + timeout_s
    while gate and not Path(gate).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made {gate}")
        time.sleep(0.01)
    build.path(text).write_text(content)


@stage(Node, name="node-{label:lower}")
def node(build: Build, *, label: str, inputs: list[Node], trace: RefPath = output("trace.txt")) -> None:
    """Write the traces of the inputs and the own label."""
    before = [build.path(source.trace).read_text() for source in inputs]
    build.path(trace).write_text("".join([*before, label, "\n"]))
