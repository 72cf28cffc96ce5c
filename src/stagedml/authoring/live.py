"""What a builder's names stood for when its stage was declared, and whether they still do when it is about to run.

A closure may be realized long after it was declared. A notebook cell that was run again meanwhile, a module that was
reloaded, or a function that was replaced, would have the builder run other code than the one that its reference tells.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stagedml.authoring.loaded import functions_of
from stagedml.authoring.plain import is_literal, literal_text

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Live:
    """One name, and what it stood for.

    Attributes:
        name: as it is told.
        where: the file, or the notebook cell.
        get: what it stands for now.
        token: compares equal for what does the same.
    """

    name: str
    where: str
    get: Callable[[], object]
    token: object

    def is_changed(self) -> bool:
        """Whether the name stands for something else now."""
        return token_of(self.get()) != self.token


def live_name(name: str, where: str, names: dict[str, object]) -> Live:
    """A name of a namespace as it is now."""
    return Live(name, where, functools.partial(names.get, name, _MISSING), token_of(names.get(name, _MISSING)))


def live_cell(name: str, where: str, cell: types.CellType) -> Live:
    """A captured variable as it is now."""

    def get() -> object:
        try:
            return cell.cell_contents
        except ValueError:
            return _MISSING

    return Live(name, where, get, token_of(get()))


def changed(names: Iterable[Live]) -> Live | None:
    """The first of some names that stands for something else now."""
    return next((one for one in names if one.is_changed()), None)


def token_of(value: object) -> object:
    """What compares equal for values that do the same; for others than code and plain data, only for the very same."""
    if isinstance(value, types.FunctionType):
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        wrapped = getattr(value, "__wrapped__", None)
        inner = token_of(wrapped) if wrapped is not None else None
        return ("function", value.__code__, tuple(map(token_of, defaults)), inner)
    if isinstance(value, type):
        codes = [(one.__qualname__, one.__code__) for one in functions_of(value, _file_of(value))]
        plain = [(name, literal_text(item)) for name, item in vars(value).items() if _is_plain_member(name, item)]
        return ("class", value.__qualname__, tuple(codes), tuple(plain))
    if is_literal(value):
        return ("plain", literal_text(value))
    return _Same(value)


def _is_plain_member(name: str, item: object) -> bool:
    return not (name.startswith("__") and name.endswith("__")) and is_literal(item)


def _file_of(value: type) -> str:
    functions = (item for item in vars(value).values() if isinstance(item, types.FunctionType))
    return next((function.__code__.co_filename for function in functions), "")


class _Same:
    """Equal for one and the same object, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)
