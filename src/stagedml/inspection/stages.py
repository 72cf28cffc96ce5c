"""The stages that go by bare names, and what each takes."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stagedml.authoring import schema
from stagedml.authoring.stage import Stage
from stagedml.engine.catalogue import parameter_names, stage_named, stages_of


@dataclass(frozen=True, slots=True)
class ParameterView:
    """One parameter.

    Attributes:
        name: how it is called.
        type: as it is written.
        default: as it is written; None where it must be given.
        kind: `config`, which is part of what a stage is; `exec`, which only says how it runs; `output`, which the stage
            names; or `argument`, of a function that composes stages.
    """

    name: str
    type: str
    default: str | None
    kind: str


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage, or function that composes stages.

    Attributes:
        name: how it is called on the command line.
        is_composed: whether it is a function that composes stages.
        artifact: the type of what it makes, as it is written.
        summary: the first paragraph of its docstring.
        text: all of its docstring.
        family: the docstring of its module, which names papers and sources of data.
        parameters: in order.
        settings_of: where it is composed, the stages of the catalogue that make what it makes, by name: parameters of
            the one that it returns can be given, too.
        where: file and line.
    """

    name: str
    is_composed: bool
    artifact: str
    summary: str
    text: str
    family: str
    parameters: tuple[ParameterView, ...]
    settings_of: tuple[str, ...]
    where: str


def stages(catalogue: str) -> tuple[StageView, ...]:
    """The stages of a catalogue, by name. Raises UsageError where there is no such module."""
    found = stages_of(catalogue)
    return tuple(_view(name, function, found) for name, function in found.items())


def stage(text: str, catalogue: str) -> StageView:
    """One stage, as `engine.catalogue.stage_named` finds it. Raises UsageError."""
    function = stage_named(text, catalogue)
    name = function.__name__
    return _view(f"{text.rpartition(':')[0]}:{name}" if ":" in text else name, function, stages_of(catalogue))


def _view(name: str, function: Callable[..., Any], catalogue: Mapping[str, Callable[..., Any]]) -> StageView:
    text = inspect.cleandoc(function.__doc__ or "")
    is_stage = isinstance(function, Stage)
    plain = inspect.unwrap(function.builder if isinstance(function, Stage) else function)
    code = plain.__code__
    returned = _hints(function).get("return", "")
    return StageView(
        name=name,
        is_composed=not is_stage,
        artifact=function.artifact.__name__ if isinstance(function, Stage) else _written(returned),
        summary=" ".join(text.partition("\n\n")[0].split()),
        text=text,
        family=inspect.cleandoc(getattr(sys.modules.get(plain.__module__), "__doc__", None) or ""),
        parameters=tuple(_stage_parameters(function) if isinstance(function, Stage) else _parameters(function)),
        settings_of=() if is_stage else tuple(_makers(returned, catalogue)),
        where=f"{code.co_filename}:{code.co_firstlineno}",
    )


def _makers(artifact: Any, catalogue: Mapping[str, Callable[..., Any]]) -> Iterator[str]:
    for name, function in catalogue.items():
        if isinstance(function, Stage) and function.artifact is artifact:
            yield name


def _stage_parameters(stage: Stage[..., Any]) -> list[ParameterView]:
    config = [
        ParameterView(name, _written(stage.type_names[name]), _default(stage.defaults, name), "config")
        for name in stage.checks
    ]
    run = [
        ParameterView(name, _written(stage.type_names[name]), _default(stage.exec_defaults, name), "exec")
        for name in stage.exec_checks
    ]
    outputs = [ParameterView(name, "RefPath", "/".join(path[1:]), "output") for name, path in stage.outputs.items()]
    return [*config, *run, *outputs]


def _default(defaults: dict[str, Any], name: str) -> str | None:
    return repr(defaults[name]) if name in defaults else None


def _parameters(function: Callable[..., Any]) -> list[ParameterView]:
    hints = _hints(function)
    return [
        ParameterView(
            name,
            _written(hints.get(name, parameter.annotation)),
            None if parameter.default is parameter.empty else repr(parameter.default),
            "argument",
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if name in parameter_names(function)
    ]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return dict(getattr(function, "__annotations__", {}))


def _written(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty or annotation == "":
        return ""
    written = annotation if isinstance(annotation, str) else schema.type_name(annotation)
    return re.sub(r"\b[A-Za-z_][\w.]*\.(?=\w)", "", written)  # without modules
