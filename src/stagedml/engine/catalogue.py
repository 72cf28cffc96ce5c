"""Stages by their names, as a person types them: in a shell, or in a list of what to keep."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import shlex
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stagedml.authoring.instantiate import Instantiated, instantiate
from stagedml.authoring.stage import Stage
from stagedml.errors import UsageError

#: The names of no session.
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def declared(
    stage: str, arguments: Sequence[str], catalogue: str, session: Mapping[str, Any] = NOTHING
) -> Instantiated[Any]:
    """Declare a stage in the current store.

    Args:
        stage: MODULE:FUNCTION, or a name in the session or the catalogue.
        arguments: VALUE or NAME=VALUE; values are JSON where they read as such and the parameter is not a `str`, plain
            text otherwise.
        catalogue: the module whose stages go by their bare names.
        session: names that come before those of the catalogue.

    Raises:
        UsageError: there is no such stage, or it does not take these arguments.
    """
    function = session[stage] if is_stage(session.get(stage)) else stage_named(stage, catalogue)
    positional, named = _arguments(arguments, _parameters(function))
    if not isinstance(function, Stage):
        try:
            inspect.signature(function).bind(*positional, **named)
        except TypeError as error:
            raise UsageError(f"{stage}{inspect.signature(function)}: {error}") from None
    return instantiate(function, *positional, **named)


def declared_line(line: str, catalogue: str) -> Instantiated[Any]:
    """As `declared`, of a stage and its arguments in one line, quoted as in a shell."""
    try:
        stage, *arguments = shlex.split(line)
    except ValueError:
        raise UsageError(f"{line!r} names no stage; write STAGE ARGUMENT..., quoted as in a shell") from None
    return declared(stage, arguments, catalogue)


def stage_named(text: str, catalogue: str) -> Callable[..., Any]:
    """A stage function: MODULE:FUNCTION, or a name in the catalogue. Raises UsageError."""
    module_name, _, name = text.rpartition(":")
    try:
        found_module = importlib.import_module(module_name or catalogue)
    except ModuleNotFoundError as error:
        module = module_name or catalogue
        if error.name != module and not module.startswith(f"{error.name}."):
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise UsageError(
                f"{text}: importing {module} failed, there is no module {error.name!r}, which {place.filename}:"
                f"{place.lineno} imports; install it, or name the folder that holds it in PYTHONPATH"
            ) from None
        raise UsageError(
            f"{text}: there is no module {error.name!r}; name the folder that holds it in PYTHONPATH, and the stage as "
            "MODULE:FUNCTION"
        ) from None
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" at {place.filename}:{place.lineno}"
        problem = f"{type(error).__name__}: {error}{where}"
        raise UsageError(f"{text}: importing {module_name or catalogue} failed, {problem}") from error
    found: Any = getattr(found_module, name, None)
    if not is_stage(found):
        names = [key for key, value in vars(found_module).items() if is_stage(value) and not key.startswith("_")]
        close = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "it must be a function that declares stages"
        raise UsageError(f"{found_module.__name__} has no stage {name!r}; {hint}")
    stage: Callable[..., Any] = found
    return stage


def knows_stage(text: str, catalogue: str) -> bool:
    """Whether a text can only be meant as a stage: MODULE:FUNCTION, or a name in the catalogue."""
    return ":" in text or is_stage(getattr(importlib.import_module(catalogue), text, None))


def is_stage(value: object) -> bool:
    """Whether something can be declared by its name: a stage, or a function that composes stages."""
    return isinstance(value, Stage) or inspect.isfunction(value)


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of a stage function, in order, with their annotations."""
    if isinstance(function, Stage):
        return dict(function.annotations)
    return {name: parameter.annotation for name, parameter in inspect.signature(function).parameters.items()}


def _arguments(texts: Sequence[str], parameters: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    annotations = iter(parameters.values())
    positional = [_typed(text, next(annotations, None)) for text in texts if not _is_assignment(text)]
    named: dict[str, Any] = {}
    for text in filter(_is_assignment, texts):
        name, _, rest = text.partition("=")
        value = _typed(rest, parameters.get(name))
        if name in named:
            raise UsageError(f"{name} is given twice: {named[name]!r} and {value!r}")
        named[name] = value
    return positional, named


def _is_assignment(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and name.isidentifier()


def assignment(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE. Raises UsageError."""
    if not _is_assignment(text):
        raise UsageError(f"{text!r}: give NAME=VALUE")
    name, _, value = text.partition("=")
    return name, _value(value)


def _typed(text: str, annotation: Any) -> Any:
    value = _value(text)
    return text if annotation in (str, "str") and not isinstance(value, str) else value


def _value(text: str) -> Any:
    """JSON where it reads as such, plain text otherwise."""
    try:
        return json.loads(text)
    except ValueError:
        return text
