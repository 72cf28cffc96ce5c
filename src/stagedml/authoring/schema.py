"""Types of stage parameters and artifact fields, and checking values against them.

Allowed are what a config can hold: `str`, `int`, `float`, `bool`, `None`, `Literal`, unions, `list[T]`, `dict[str, T]`,
`Any`, paths into artifacts (`RefPath`), and artifact types; numbers perhaps within bounds, `Annotated[int,
Interval(ge=1)]`. A whole number is fine where a float is asked for, and is stored as a float, so that 1 and 1.0 are one
config.
"""

from __future__ import annotations

import functools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union

from stagedml.authoring.pylightnix import DRef, RefPath
from stagedml.core.config import article, is_ref_path
from stagedml.errors import UsageError

#: Takes a value and a field name; returns the value as it is stored, or raises Mismatch.
Check = Callable[[Any, str], Any]


class UnsupportedType(UsageError):
    """A parameter or field is annotated with a type whose values cannot stand in a config."""

    def __init__(self, where: str, annotation: str) -> None:
        super().__init__(where, annotation)
        self.where, self.annotation = where, annotation

    def __str__(self) -> str:
        return (
            f"{self.where}: values of type {self.annotation} cannot stand in a config; use str, int, float, bool, "
            f"None, Literal, list, dict with str keys, RefPath or an Artifact"
        )


class UnresolvedType(UsageError):
    """An annotation names something that does not exist when the program runs."""

    def __init__(self, where: str, name: str) -> None:
        super().__init__(where, name)
        self.where, self.name = where, name

    def __str__(self) -> str:
        return (
            f"{self.where}: its annotations speak of {self.name!r}, which is not known where they are read; define or "
            f"import it at the top of the module, and not for type checkers only"
        )


class Mismatch(Exception):
    """A value is not of the type that was asked for. Caught by whoever knows the stage."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    @classmethod
    def of(cls, field: str, wanted: str, value: object) -> Mismatch:
        return cls([f"{field}: wanted {wanted}, got {describe(value)}"])


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Bounds of a number: `Annotated[float, Interval(ge=0, lt=1)]`. What is not a number lies in none.

    They are looked at where a stage is declared, and are no part of what it is.

    Attributes:
        ge, gt: the number is at least that, or above it.
        le, lt: it is at most that, or below it.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            not math.isnan(number)
            and (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )

    def __str__(self) -> str:
        bounds = ((">=", self.ge), (">", self.gt), ("<=", self.le), ("<", self.lt))
        return " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)


def describe(value: object) -> str:
    """A value and its type in a few words."""
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return f"{text} ({article(type(value).__name__)})"


def plain(annotation: Any) -> Any:
    """A type without what `Annotated` says of it or of its parts."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Annotated:
        return plain(arguments[0])
    parts = tuple(map(plain, arguments)) if typing.get_origin(annotation) is not typing.Literal else arguments
    if all(part is argument for part, argument in zip(parts, arguments, strict=True)):
        return annotation
    return functools.reduce(operator.or_, parts) if _is_union(annotation) else typing.get_origin(annotation)[parts]


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)  # Python 3.10 writes them in two ways


def type_name(annotation: Any) -> str:
    """How a type is written in messages."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation == RefPath:
        return "RefPath"
    if typing.get_origin(annotation) is Annotated:
        bounds = [str(each) for each in typing.get_args(annotation)[1:] if isinstance(each, Interval)]
        return " ".join((type_name(typing.get_args(annotation)[0]), " and ".join(bounds))).rstrip()
    if _is_union(annotation):
        return " | ".join(map(type_name, typing.get_args(annotation)))
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def compile_check(annotation: Any, where: str) -> Check:
    """The check for a type, made once. Raises UnsupportedType naming `where`."""
    if annotation is Any:
        return _anything
    if annotation == RefPath:
        return _ref_path
    if annotation is None or annotation is type(None):
        return _nothing
    if annotation in (str, bool, int, float):
        return {str: _string, bool: _boolean, int: _integer, float: _number}[annotation]
    if isinstance(annotation, type) and issubclass(annotation, DRef):
        return _instance_of(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        intervals = [each for each in arguments[1:] if isinstance(each, Interval)]
        return _within(compile_check(arguments[0], where), intervals, type_name(annotation))
    if origin is typing.Literal:
        return _one_of(arguments)
    if origin in (Union, types.UnionType):
        return _any_of([compile_check(argument, where) for argument in arguments], type_name(annotation))
    if origin is list and len(arguments) == 1:
        return _list_of(compile_check(arguments[0], where))
    if origin is dict and len(arguments) == 2 and arguments[0] is str:
        return _dict_of(compile_check(arguments[1], where))
    raise UnsupportedType(where, type_name(annotation))


def _anything(value: Any, field: str) -> Any:
    return value


def _ref_path(value: Any, field: str) -> Any:
    if is_ref_path(value):
        return list(value)
    raise Mismatch.of(field, "a RefPath such as `artifact.field`", value)


def _nothing(value: Any, field: str) -> Any:
    if value is None:
        return None
    raise Mismatch.of(field, "None", value)


def _string(value: Any, field: str) -> Any:
    if isinstance(value, str) and not isinstance(value, DRef):
        return str.__str__(value)  # of an enumeration's member, its value and not its name
    raise Mismatch.of(field, "str", value)


def _boolean(value: Any, field: str) -> Any:
    if isinstance(value, bool):
        return value
    raise Mismatch.of(field, "bool", value)


def _integer(value: Any, field: str) -> Any:
    if type(value) is int:
        return value
    raise Mismatch.of(field, "int", value)


def _number(value: Any, field: str) -> Any:
    if type(value) in (int, float):
        return float(value)
    raise Mismatch.of(field, "float", value)


def _within(unbounded: Check, intervals: Sequence[Interval], wanted: str) -> Check:
    def check(value: Any, field: str) -> Any:
        try:
            checked = unbounded(value, field)
        except Mismatch:
            raise Mismatch.of(field, wanted, value) from None
        if all(checked in interval for interval in intervals):
            return checked
        raise Mismatch.of(field, wanted, value)

    return check


def _instance_of(artifact: type) -> Check:
    def check(value: Any, field: str) -> Any:
        if isinstance(value, artifact):
            return value
        raise Mismatch.of(field, artifact.__name__, value)

    return check


def _one_of(choices: tuple[Any, ...]) -> Check:
    def check(value: Any, field: str) -> Any:
        if any(type(value) is type(choice) and value == choice for choice in choices):
            return value
        raise Mismatch.of(field, "one of " + ", ".join(map(repr, choices)), value)

    return check


def _any_of(checks: list[Check], wanted: str) -> Check:
    def check(value: Any, field: str) -> Any:
        for option in checks:
            try:
                return option(value, field)
            except Mismatch:
                continue
        raise Mismatch.of(field, wanted, value)

    return check


def _list_of(item: Check) -> Check:
    def check(value: Any, field: str) -> Any:
        if not isinstance(value, list):
            raise Mismatch.of(field, "list", value)
        return _all_of((item, element, f"{field}[{index}]") for index, element in enumerate(value))

    return check


def _dict_of(item: Check) -> Check:
    def check(value: Any, field: str) -> Any:
        if not isinstance(value, dict):
            raise Mismatch.of(field, "dict", value)
        return dict(
            zip(value, _all_of((item, element, f"{field}.{key}") for key, element in value.items()), strict=True)
        )

    return check


def _all_of(checks: Iterable[tuple[Check, Any, str]]) -> list[Any]:
    """The checked values. Raises Mismatch with the problems of all of them."""
    values: list[Any] = []
    problems: list[str] = []
    for check, value, field in checks:
        try:
            values.append(check(value, field))
        except Mismatch as error:
            problems.extend(error.problems)
    if problems:
        raise Mismatch(problems)
    return values
