"""Stages whose builders fail, print, and measure."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.testing.toys import Sample, Text


@stage(Text, name="failing")
def failing(build: Build, *, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text("half of it")
    raise RuntimeError("no luck")


@stage(Text, name="printing")
def printing(build: Build, *, text: RefPath = output("text.txt")) -> None:
    sys.stdout.write("what a builder prints\n")
    build.path(text).write_text("x")


@stage(Text, name="measuring")
def measuring(build: Build, *, metric: str, fails: bool = False, text: RefPath = output("text.txt")) -> None:
    if fails:
        raise RuntimeError(metric)
    build.path(text).write_text("x")
    (build.outpath / "metrics.json").write_text(json.dumps({metric: 1}))


@stage(Text, name="talking")
def talking(build: Build, *, who: Exec[str] = "", gate: Exec[str] = "", text: RefPath = output("text.txt")) -> None:
    """Print a line, and another one once a file exists."""
    sys.stdout.write(f"first of {who}\n")
    sys.stdout.flush()
    deadline = time.monotonic() + 60
    while gate and not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    sys.stdout.write(f"last of {who}\n")
    build.path(text).write_text("the same whoever builds it")


@stage(Text, name="listening")
def listening(build: Build, *, source: Text, text: RefPath = output("text.txt")) -> None:
    sys.stdout.write("heard it\n")
    build.path(text).write_text(build.path(source.text).read_text())


def heard() -> Text:
    """What was said, and one who listens."""
    return listening(source=talking())


@stage(Sample, name="lasting")
def lasting(
    build: Build,
    *,
    rate: float = 1.0,
    epochs: int = 40,
    only_history: bool = False,
    number: RefPath = output("number.txt"),
    metrics: RefPath = output("metrics.json"),
) -> None:
    """Measure something after each epoch."""
    build.path(number).write_text("0")
    history = {"loss": [rate / (epoch + 1) for epoch in range(epochs)]}
    single = {} if only_history else {"accuracy": rate / 2, "f1": [rate / 4, rate / 8]}
    build.path(metrics).write_text(json.dumps({**single, "history": history}))
