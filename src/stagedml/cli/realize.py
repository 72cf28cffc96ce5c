"""`stagedml realize` and `plan`."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

from stagedml.authoring.instantiate import Instantiated, instantiate
from stagedml.authoring.lens import rref2path
from stagedml.authoring.session import store_initialize
from stagedml.authoring.stage import Stage
from stagedml.core.plan import Plan
from stagedml.engine.console import plan_lines, shown
from stagedml.engine.realize import plan, realize_many
from stagedml.errors import UsageError


def run_plan(arguments: argparse.Namespace) -> int:
    store_initialize(arguments.root)
    drawn = plan(_instantiated(arguments), force=arguments.force)
    if arguments.json:
        print(json.dumps(_plan_json(drawn), indent=2))
    else:
        print("\n".join(plan_lines(drawn)))
    return 0


def _plan_json(drawn: Plan) -> dict[str, Any]:
    return {"targets": drawn.targets, "steps": [dataclasses.asdict(step) for step in drawn.steps]}


def run(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return run_plan(arguments)
    store_initialize(arguments.root)
    realized = realize_many(
        _instantiated(arguments),
        instances=arguments.instances,
        force=arguments.force,
        args=dict(map(_assignment, arguments.exec_values)),
        offline=arguments.offline,
        observer=shown(show_plan=True),
    )
    rrefs = _leaves(realized)
    if arguments.json:
        print(json.dumps([{"rref": rref, "path": rref2path(rref)} for rref in rrefs], indent=2))
    else:
        for rref in rrefs:
            print(rref)
            print(rref2path(rref))
    return 0


def _leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [str(value)]
    items = value.values() if isinstance(value, dict) else value
    return [leaf for item in items for leaf in _leaves(item)]


def _instantiated(arguments: argparse.Namespace) -> Instantiated[Any]:
    function = _stage_named(arguments.stage)
    positional, named = _arguments(arguments.arguments)
    if not isinstance(function, Stage):
        try:
            inspect.signature(function).bind(*positional, **named)
        except TypeError as error:
            raise UsageError(f"{arguments.stage}{inspect.signature(function)}: {error}") from None
    return instantiate(function, *positional, **named)


def _stage_named(text: str) -> Callable[..., Any]:
    module_name, _, name = text.rpartition(":")
    try:
        module = importlib.import_module(module_name or "stagedml.stages.all")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{text}: there is no module {error.name!r}; name the folder that holds it in PYTHONPATH, and the stage as "
            "MODULE:FUNCTION"
        ) from None
    found: Any = getattr(module, name, None)
    if not _is_stage(found):
        names = [key for key, value in vars(module).items() if _is_stage(value) and not key.startswith("_")]
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "it must be a function that declares stages"
        raise UsageError(f"{module.__name__} has no stage {name!r}; {hint}")
    stage: Callable[..., Any] = found
    return stage


def _is_stage(value: object) -> bool:
    return isinstance(value, Stage) or inspect.isfunction(value)


def _arguments(texts: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    positional = [_value(text) for text in texts if not _is_assignment(text)]
    named: dict[str, Any] = {}
    for name, value in (_assignment(text) for text in texts if _is_assignment(text)):
        if name in named:
            raise UsageError(f"{name} is given twice: {named[name]!r} and {value!r}")
        named[name] = value
    return positional, named


def _is_assignment(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and name.isidentifier()


def _assignment(text: str) -> tuple[str, Any]:
    if not _is_assignment(text):
        raise UsageError(f"{text!r}: give NAME=VALUE")
    name, _, value = text.partition("=")
    return name, _value(value)


def _value(text: str) -> Any:
    """JSON where it reads as such, plain text otherwise."""
    try:
        return json.loads(text)
    except ValueError:
        return text
