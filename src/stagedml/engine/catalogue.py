"""Stages by their names, as a person types them: in a shell, or in a list of what to keep."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import json
import os
import shlex
import sys
import traceback
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.authoring import schema
from stagedml.authoring.instantiate import Instantiated, instantiate
from stagedml.authoring.redefine import redefine
from stagedml.authoring.stage import Stage, declaring
from stagedml.engine.failures import reason_of, users_frame
from stagedml.errors import StagedmlError, UsageError

#: The names of no session.
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def declared(
    stage: str, arguments: Sequence[str], catalogue: str, session: Mapping[str, Any] = NOTHING
) -> Instantiated[Any]:
    """Declare a stage in the current store.

    Args:
        stage: a name in the session, or as of `stage_named`.
        arguments: VALUE or NAME=VALUE for its parameters; of a function that composes stages also NAME=VALUE for a
            parameter of the stage that it returns, and STAGE.NAME=VALUE for one of a stage inside, which goes by the
            name that a plan shows, or by that of its function. Values are JSON where they read as such and the
            parameter takes it, plain text otherwise.
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
    try:
        return instantiate(meant, *bound.args, **bound.kwargs)
    except StagedmlError:
        raise
    except (Exception, SystemExit) as error:
        place = users_frame(error)
        if place is None:
            raise
        where = f"{place.filename}:{place.lineno}\n  {place.line}"
        raise UsageError(f"{stage}: it failed, {reason_of(error)} at {where}") from error


def _changed(function: Callable[..., Any], changes: Mapping[str, str]) -> Callable[..., Any]:
    """A function that composes stages, with parameters of these changed: NAME or STAGE.NAME -> text."""

    @functools.wraps(function)
    def variant(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        called = _called_by(function, result)
        changed = function
        for key, text in changes.items():
            one, name = _meant(function, key, called)
            value = _typed(text, {**one.stage.annotations, **one.stage.exec_annotations}[name])
            changed = redefine(changed, _setting(name, value), at=one.stage if "." in key else None)
        return changed(*args, **kwargs)

    return variant


@dataclass(frozen=True, slots=True)
class _Called:
    """A stage that a function calls.

    Attributes:
        stage: the stage.
        declared: the names of what it declared, as a plan shows them.
        is_target: whether the function returns what it declared.
    """

    stage: Stage[..., Any]
    declared: tuple[str, ...]
    is_target: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What stands for all that it declared: that name first which a plan shows."""
        return tuple(dict.fromkeys((*self.declared[: len(self.declared) == 1], self.stage.__name__)))

    def takes(self, parameter: str, owner: str) -> bool:
        """Whether OWNER.PARAMETER can mean one of its parameters; an empty owner is the stage that is returned."""
        goes_by = map(_underscored, (*self.declared, self.stage.__name__))
        return parameter in parameter_names(self.stage) and (owner in goes_by if owner else self.is_target)


def _called_by(function: Callable[..., Any], result: Any) -> list[_Called]:
    """The stages that a function called."""
    declarations = declaring(function.__name__).declarations
    target = declarations.get(str(result)) if isinstance(result, str) else None
    declared: dict[Stage[..., Any], dict[str, None]] = {}
    for one in declarations.values():
        if one.stage is not None:
            declared.setdefault(one.stage, {})[one.ref.name] = None
    return [
        _Called(stage, tuple(names), target is not None and target.stage is stage) for stage, names in declared.items()
    ]


def _meant(function: Callable[..., Any], key: str, called: Sequence[_Called]) -> tuple[_Called, str]:
    """The stage and its parameter that NAME or STAGE.NAME stands for. Raises UsageError."""
    owner, _, name = key.rpartition(".")
    found = [one for one in called if one.takes(name, owner)]
    if not found:
        raise UsageError(f"{function.__name__} has no parameter {key!r}; {_suggested(function, key, called)}")
    if len(found) > 1:
        alone = [
            f"{written}.{name}"
            for one in found
            for written in one.names
            if [other for other in called if other.takes(name, _underscored(written))] == [one]
        ]
        hint = f"write {' or '.join(alone)}" if alone else "tell them apart in Python: redefine(..., at=STAGE)"
        raise UsageError(f"{function.__name__}: {key!r} stands for parameters of several stages; {hint}")
    (one,) = found
    if owner and owner not in map(_underscored, one.names):
        raise UsageError(
            f"{function.__name__}: {', '.join(one.declared)} are all declared by {one.stage.__name__}; "
            f"{one.stage.__name__}.{name} changes all of them"
        )
    return one, name


def _suggested(function: Callable[..., Any], key: str, called: Sequence[_Called]) -> str:
    """What may be meant by a parameter that there is not."""
    targets = [name for one in called if one.is_target for name in parameter_names(one.stage)]
    own = dict.fromkeys([*parameter_names(function), *targets])
    inside = [f"{one.names[0]}.{name}" for one in called for name in parameter_names(one.stage)]
    written = {_underscored(name): name for name in (*own, *sorted(inside))}
    alike = [name for name in written if ("." in name) == ("." in key)]
    close = difflib.get_close_matches(key, alike, n=3) or difflib.get_close_matches(key, written, n=3)
    if close:
        return f"did you mean {' or '.join(written[name] for name in close)}?"
    elsewhere = sorted(
        f"{one.names[0]}.{name}" for one in called if not one.is_target for name in parameter_names(one.stage)
    )
    return f"there are: {', '.join([*own, *elsewhere])}"


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
    close = difflib.get_close_matches(_underscored(name), dict.fromkeys(known), n=3)
    written = [f"{module_name}:{one}" if module_name else one for one in close or stages]
    hint = f"did you mean {' or '.join(written)}?" if close else "`stagedml stages` lists those of the catalogue"
    if module_name and not close:
        hint = f"there are: {', '.join(written)}" if written else "there is none in it"
    where = f"the session and {found_module.__name__} have" if session else f"{found_module.__name__} has"
    raise UsageError(f"{where} no stage {name!r}; {hint}")


def _abbreviated(name: str, stages: Collection[str]) -> list[str]:
    """The names that a person can mean, if not one of them is meant exactly."""
    wanted = _underscored(name)
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
    if not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(f"{text}: {module!r} is no name of a module; {_how_to_name(text, module)}")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise UsageError(
                f"{text}: importing {module} failed, there is no module {error.name!r}, which {place.filename}:"
                f"{place.lineno} imports; install it, or name the folder that holds it in PYTHONPATH"
            ) from None
        raise UsageError(f"{text}: there is no module {error.name!r}; {_how_to_name(text, module)}") from None
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" at {place.filename}:{place.lineno}"
        problem = f"{type(error).__name__}: {error}{where}"
        raise UsageError(f"{text}: importing {module} failed, {problem}") from error


def _how_to_name(text: str, module: str) -> str:
    """What to write instead of a text whose module is not found: maybe that is a file, or its file lies here."""
    paths = map(Path, (module, f"{module}.py", f"{module.replace('.', os.sep)}.py"))
    file = next((path for path in paths if path.is_file()), None)
    if file is None:
        return "write MODULE:FUNCTION, and name the folder that holds the module in PYTHONPATH"
    if not file.stem.isidentifier():
        return f"give {file} a name of letters, digits and _ alone, so that Python can import it"
    folder, parts = file.absolute().parent, [file.stem]
    while (folder / "__init__.py").is_file():
        folder, parts = folder.parent, [folder.name, *parts]
    written = text.replace(module, ".".join(parts), 1)
    is_found = any(os.path.realpath(place) == os.path.realpath(folder) for place in sys.path)
    return f"write {written}" if is_found else f"write {written}, after export PYTHONPATH={os.path.relpath(folder)}"


def parameter_names(stage: Callable[..., Any]) -> list[str]:
    """What a stage, or a function that composes stages, takes."""
    if isinstance(stage, Stage):
        return [*stage.checks, *stage.exec_checks]
    parameters = inspect.signature(stage).parameters.values()
    # Pylightnix's registry, and settings that are handed on to a stage inside, whose parameters they are.
    return [one.name for one in parameters if one.name != "r" and one.kind is not one.VAR_KEYWORD]


def names_to_set(stage: Callable[..., Any], arguments: Sequence[str]) -> list[str]:
    """What NAME in NAME=VALUE may be, as of `declared`, given the arguments before; of parameters inside, too.

    A function that composes stages is run in the current store to see which; nothing is written. What it raises is told
    to who declares it, and not to who asks for names.
    """
    own = parameter_names(stage)
    inside: list[str] = []

    def looked_at(*args: Any) -> None:
        for one in _called_by(stage, stage(*args)):
            names = [*([""] if one.is_target else []), *(f"{name}." for name in one.names)]
            inside.extend(owner + name for owner in names for name in parameter_names(one.stage))
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
        prefix + _underscored(text) in stages_of(catalogue) for prefix in ("", "all_")
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
        name = _underscored(name)
        if name in named:
            raise UsageError(f"{name} is given twice: {named[name]!r} and {value!r}")
        named[name] = value
    return named


def _is_assignment(text: str) -> bool:
    name, equals, _ = text.partition("=")
    *owners, parameter = _underscored(name).split(".")
    may_be_owners = all(owner and f"_{owner}".isidentifier() for owner in owners)  # a stage's name may begin with 1
    return bool(equals) and parameter.isidentifier() and may_be_owners


def _underscored(name: str) -> str:
    return name.replace("-", "_")


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
    if text == "None" and types.NoneType in kinds and str not in kinds:
        return None
    return text if str in kinds and type(value) not in kinds else value


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _value(text: str) -> Any:
    """JSON where it reads as such, plain text otherwise."""
    try:
        return json.loads(text)
    except ValueError:
        return text
