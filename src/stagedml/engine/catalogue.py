"""Stages by their names, as a person types them: in a shell, or in a list of what to keep."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import json
import shlex
import sys
import traceback
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from stagedml.authoring import schema
from stagedml.authoring.instantiate import Instantiated, instantiate
from stagedml.authoring.redefine import redefine
from stagedml.authoring.stage import Stage, declaring
from stagedml.errors import UsageError

#: The names of no session.
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def declared(
    stage: str, arguments: Sequence[str], catalogue: str, session: Mapping[str, Any] = NOTHING
) -> Instantiated[Any]:
    """Declare a stage in the current store.

    Args:
        stage: a name in the session, or as of `stage_named`.
        arguments: VALUE or NAME=VALUE for its parameters; of a function that composes stages also NAME=VALUE for a
            parameter of the stage that it returns, and STAGE.NAME=VALUE for one of a stage inside. Values are JSON
            where they read as such and the parameter takes it, plain text otherwise.
        catalogue: the module whose stages go by their bare names.
        session: names that come before those of the catalogue.

    Raises:
        UsageError: there is no such stage, or it does not take these arguments.
    """
    function = stage_named(stage, catalogue, session)
    positional = [text for text in arguments if not _is_assignment(text)]
    named = _named(arguments)
    if isinstance(function, Stage):
        names = list(function.annotations)
        given = dict(zip(names, positional, strict=False)) if len(positional) <= len(names) else {}
        extra = positional[len(given) :]  # for the stage to complain of
        types = {**function.annotations, **function.exec_annotations}
        values = {name: _typed(text, types.get(name)) for name, text in named.items()}
        return instantiate(function, *(_typed(given[name], types[name]) for name in given), *extra, **values)
    signature = inspect.signature(function)
    own = {name: text for name, text in named.items() if name in signature.parameters}
    try:
        bound = signature.bind(*positional, **own)
    except TypeError as error:
        raise UsageError(f"{stage}{signature}: {error}; `stagedml stages {stage}` tells more") from None
    for name, value in bound.arguments.items():
        bound.arguments[name] = _checked(function, name, value)
    changes = {name: text for name, text in named.items() if name not in own}
    meant = _changed(function, changes) if changes else function
    return instantiate(meant, *bound.args, **bound.kwargs)


def _changed(function: Callable[..., Any], changes: Mapping[str, str]) -> Callable[..., Any]:
    """A function that composes stages, with parameters of these changed: NAME or STAGE.NAME -> text."""

    @functools.wraps(function)
    def variant(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        stages = _stages_behind(function, result)
        changed = function
        for key, text in changes.items():
            owner, name = _meant(function, key, stages)
            stage = stages[owner]
            value = _typed(text, {**stage.annotations, **stage.exec_annotations}[name])
            changed = redefine(changed, _setting(name, value), at=stage if owner else None)
        return changed(*args, **kwargs)

    return variant


def _stages_behind(function: Callable[..., Any], result: Any) -> dict[str, Stage[..., Any]]:
    """The stages that a function called, by the names of their builders; the one that it returned under ""."""
    declarations = declaring(function.__name__).declarations
    stages = {one.stage.__name__: one.stage for one in declarations.values() if one.stage is not None}
    target = declarations.get(str(result)) if isinstance(result, str) else None
    return {**stages, "": target.stage} if target is not None and target.stage is not None else stages


def _meant(function: Callable[..., Any], key: str, stages: Mapping[str, Stage[..., Any]]) -> tuple[str, str]:
    """The stage and the parameter that NAME or STAGE.NAME stands for. Raises UsageError."""
    known = _parameters_of(stages)
    if key in known:
        return known[key]
    names = [*inspect.signature(function).parameters, *sorted(known)]
    close = difflib.get_close_matches(key, names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(names)}"
    raise UsageError(f"{function.__name__} has no parameter {key!r}; {hint}")


def _parameters_of(stages: Mapping[str, Stage[..., Any]]) -> dict[str, tuple[str, str]]:
    """The parameters of stages as of `_stages_behind`: as it is written -> stage and name."""
    return {
        f"{owner}.{name}" if owner else name: (owner, name)
        for owner, stage in stages.items()
        for name in (*stage.checks, *stage.exec_checks)
    }


def _setting(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(parameters: dict[str, Any]) -> None:
        parameters[name] = value

    return change


def _checked(function: Callable[..., Any], name: str, given: Any) -> Any:
    """An argument of a function that composes stages, given as text. Raises UsageError where it is of another type."""
    try:
        annotation = typing.get_type_hints(function).get(name, Any)
    except (NameError, TypeError):
        annotation = Any  # nobody can say
    value = tuple(_typed(text, annotation) for text in given) if isinstance(given, tuple) else _typed(given, annotation)
    try:
        check = schema.compile_check(annotation, name)
    except schema.UnsupportedType:
        return value
    try:
        return check(value, name)
    except schema.Mismatch as error:
        raise UsageError(f"{function.__name__}: {'; '.join(error.problems)}") from None


def declared_line(line: str, catalogue: str) -> Instantiated[Any]:
    """As `declared`, of a stage and its arguments in one line, quoted as in a shell."""
    try:
        stage, *arguments = shlex.split(line)
    except ValueError:
        raise UsageError(f"{line!r} names no stage; write STAGE ARGUMENT..., quoted as in a shell") from None
    return declared(stage, arguments, catalogue)


def stage_named(text: str, catalogue: str, session: Mapping[str, Any] = NOTHING) -> Callable[..., Any]:
    """A stage function: a name in the session, MODULE:FUNCTION, or a name in the catalogue.

    The last may be abbreviated: `all_` may be left out, and what follows the first letters that tell it from others;
    `-` is as good as `_`.

    Raises:
        UsageError: there is none, or several.
    """
    if is_stage(session.get(text)):
        own: Callable[..., Any] = session[text]
        return own
    module_name, _, name = text.rpartition(":")
    found_module = _imported(text, module_name or catalogue)
    found: Any = getattr(found_module, name, None)
    if is_stage(found):
        stage: Callable[..., Any] = found
        return stage
    stages = stages_in(found_module)
    candidates = [] if module_name else _abbreviated(name, stages)
    if len(candidates) == 1:
        return stages[candidates[0]]
    if candidates:
        raise UsageError(f"{text!r} stands for several stages; give more of it: {', '.join(candidates)}")
    known = [*stages, *(() if module_name else stages_of_session(session))]
    close = difflib.get_close_matches(name.replace("-", "_"), dict.fromkeys(known), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`stagedml stages` lists those of the catalogue"
    where = f"the session and {found_module.__name__} have" if session else f"{found_module.__name__} has"
    raise UsageError(f"{where} no stage {name!r}; {hint}")


def _abbreviated(name: str, stages: Collection[str]) -> list[str]:
    """The names that a person can mean, if not one of them is meant exactly."""
    wanted = name.replace("-", "_")
    for prefix in ("", "all_"):
        if prefix + wanted in stages:
            return [prefix + wanted]
    return [one for one in stages if wanted and (one.startswith(wanted) or one.startswith(f"all_{wanted}"))]


def stages_in(module: types.ModuleType) -> dict[str, Callable[..., Any]]:
    """The stages that a module has names for, by name."""
    return {name: value for name, value in sorted(vars(module).items()) if name[0] != "_" and is_stage(value)}


def stages_of_session(session: Mapping[str, Any]) -> list[str]:
    """The names of a session's stages, and of functions that say by their own names that they compose such."""
    return [
        name
        for name, value in session.items()
        if isinstance(value, Stage) or (name.startswith("all_") and is_stage(value))
    ]


def stages_of(catalogue: str) -> dict[str, Callable[..., Any]]:
    """The stages of a catalogue, by name. Raises UsageError where there is no such module."""
    return stages_in(_imported(f"the catalogue {catalogue}", catalogue))


def _imported(text: str, module: str) -> types.ModuleType:
    """A module, for the stage that a person wrote as `text`. Raises UsageError."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
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
        raise UsageError(f"{text}: importing {module} failed, {problem}") from error


def parameter_names(stage: Callable[..., Any]) -> list[str]:
    """What a stage, or a function that composes stages, takes."""
    if isinstance(stage, Stage):
        return [*stage.checks, *stage.exec_checks]
    return [name for name in inspect.signature(stage).parameters if name != "r"]  # Pylightnix's registry


def names_to_set(stage: Callable[..., Any], arguments: Sequence[str]) -> list[str]:
    """What NAME in NAME=VALUE may be, as of `declared`, given the arguments before; of parameters inside, too.

    A function that composes stages is run in the current store to see which; nothing is written. What it raises is told
    to who declares it, and not to who asks for names.
    """
    own = parameter_names(stage)
    inside: list[str] = []

    def looked_at(*args: Any) -> None:
        inside.extend(_parameters_of(_stages_behind(stage, stage(*args))))
        raise _Seen

    if not isinstance(stage, Stage):
        with contextlib.suppress(Exception):
            instantiate(looked_at, *(text for text in arguments if not _is_assignment(text)))
    return list(dict.fromkeys((*own, *inside)))


class _Seen(Exception):
    """What a function declares is known, and need not be published."""


def knows_stage(text: str, catalogue: str) -> bool:
    """Whether a text can only be meant as a stage: MODULE:FUNCTION, or a name in the catalogue, but for `all_`."""
    return (":" in text and "@" not in text) or any(
        prefix + text.replace("-", "_") in stages_of(catalogue) for prefix in ("", "all_")
    )


def is_stage(value: object) -> bool:
    """Whether something declares stages: a stage, or a function that is no tool, such as `gc` or `typing.overload`."""
    if isinstance(value, Stage):
        return True
    module = getattr(value, "__module__", None) or ""
    is_ours = module.startswith("stagedml.") and not module.startswith(("stagedml.stages.", "stagedml.testing."))
    is_tool = is_ours or module.partition(".")[0] in sys.stdlib_module_names - {"__main__"}
    return inspect.isfunction(value) and not is_tool


def _named(arguments: Sequence[str]) -> dict[str, str]:
    """The texts of NAME=VALUE by name. Raises UsageError where one is given twice."""
    named: dict[str, str] = {}
    for text in filter(_is_assignment, arguments):
        name, _, value = text.partition("=")
        name = name.replace("-", "_")
        if name in named:
            raise UsageError(f"{name} is given twice: {named[name]!r} and {value!r}")
        named[name] = value
    return named


def _is_assignment(text: str) -> bool:
    name, equals, _ = text.partition("=")
    return bool(equals) and all(part.isidentifier() for part in name.replace("-", "_").split("."))


def assignment(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE. Raises UsageError."""
    if not _is_assignment(text):
        raise UsageError(f"{text!r}: give NAME=VALUE")
    name, _, value = text.partition("=")
    return name, _value(value)


def _typed(text: str, annotation: Any) -> Any:
    """A value as a parameter of that type takes it: `3` is text for one that takes texts and no numbers."""
    value = _value(text)
    kinds = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    return text if str in kinds and type(value) not in kinds else value


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _value(text: str) -> Any:
    """JSON where it reads as such, plain text otherwise."""
    try:
        return json.loads(text)
    except ValueError:
        return text
