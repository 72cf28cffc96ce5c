"""`stagedml stages`: the catalogue."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from stagedml.cli.output import show, styled, table, width
from stagedml.inspection.stages import ParameterView, StageView, stage, stages
from stagedml.settings import read_settings


def run(arguments: argparse.Namespace) -> int:
    catalogue = read_settings(root=arguments.root).catalogue
    if arguments.stage is None:
        show(arguments, stages(catalogue), _list)
    else:
        show(arguments, (stage(arguments.stage, catalogue),), lambda views: _lines(views[0]))
    return 0


def _list(views: tuple[StageView, ...]) -> Iterator[str]:
    for title, is_composed in (("STAGES WITH ALL THAT THEY NEED", True), ("STAGES", False)):
        rows = [(view.name, view.artifact, view.summary) for view in views if view.is_composed == is_composed]
        yield from table((title, "MAKES", ""), rows)
    yield ""
    yield "`stagedml stages NAME` tells what one takes"


def _lines(view: StageView) -> Iterator[str]:
    yield styled(f"{view.name} -> {view.artifact or '?'}", "bold")
    yield view.where
    if view.text:
        yield ""
        yield from textwrap.indent(view.text, "  ").splitlines()
    if view.family:
        yield ""
        yield from textwrap.indent(view.family, "  ").splitlines()
    if view.parameters:
        yield ""
        yield from table(("PARAMETER", "TYPE", "DEFAULT", ""), list(map(_row, view.parameters)))
    yield ""
    more = "; NAME=VALUE for parameters of the stage that comes out, STAGE.NAME=VALUE for one inside"
    text = f"stagedml realize {view.name} {' '.join(map(_usage, view.parameters))}".rstrip()
    yield from textwrap.wrap(text + more * view.is_composed, width() or 100, subsequent_indent="  ")
    if view.settings_of:
        told = " or ".join(f"`stagedml stages {name}`" for name in view.settings_of)
        yield from textwrap.wrap(f"{told} tells the parameters of the stage that comes out", width() or 100)


def _row(parameter: ParameterView) -> tuple[str, str, str, str]:
    told = {"exec": "how it runs, in no hash", "output": "an output"}.get(parameter.kind, "")
    default = "(must be given)" if parameter.default is None else parameter.default
    return (parameter.name, parameter.type, default, told)


def _usage(parameter: ParameterView) -> str:
    if parameter.kind == "output":
        return ""
    return f"[{parameter.name}=...]" if parameter.default is not None else f"{parameter.name}=..."
