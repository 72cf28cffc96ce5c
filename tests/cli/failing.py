"""Stages whose builders fail, print, and measure."""

from __future__ import annotations

import json
import sys

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.testing.toys import Text


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
