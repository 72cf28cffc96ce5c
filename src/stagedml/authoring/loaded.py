"""Whether code that is loaded is what a piece of source says.

Two code objects are the same if they do the same: line numbers, docstrings and what the compiler leaves in for tracers
do not count, since comments and formatting change them.
"""

from __future__ import annotations
import __future__

import dis
import functools
import inspect
import types
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

#: Flags of a code object that come from `from __future__ import`, possibly of an earlier notebook cell.
FUTURE_FLAGS = functools.reduce(
    lambda flags, name: flags | getattr(__future__, name).compiler_flag, __future__.all_feature_names, 0
)
_FLAGS = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_ITERABLE_COROUTINE
)
_FILLERS = frozenset({"NOP", "EXTENDED_ARG", "CACHE", "PUSH_NULL"})
#: A method is called in another way where the compiler saw an import of its object, which in a notebook, compiled
#: statement by statement, it does not.
_SAME = {"LOAD_METHOD": "LOAD_ATTR", "CALL_METHOD": "CALL_FUNCTION"}
#: What the body of a class stores about its own text.
_ABOUT_SOURCE = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
_NAMED = frozenset({*dis.hasname, *dis.haslocal, *dis.hasfree})
_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})


@functools.lru_cache(maxsize=4096)
def same_code(loaded: types.CodeType, written: types.CodeType) -> bool:
    """Whether two code objects do the same. What pytest rewrote cannot be compared and passes."""
    return _rewritten(loaded) or _shape(loaded) == _shape(written)


def _rewritten(code: types.CodeType) -> bool:
    return any(name.startswith("@py_") for name in code.co_varnames) or any(
        isinstance(constant, types.CodeType) and _rewritten(constant) for constant in code.co_consts
    )


def _shape(code: types.CodeType) -> tuple[Any, ...]:
    """All that matters of a code object, as values that compare."""
    instructions = [one for one in dis.get_instructions(code) if one.opname not in _FILLERS]
    for position in range(len(instructions) - 2, -1, -1):
        if instructions[position + 1].opname == "STORE_NAME" and instructions[position + 1].argval in _ABOUT_SOURCE:
            del instructions[position : position + 2]
    offsets = [instruction.offset for instruction in instructions]
    arguments = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    return (
        code.co_name,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS),
        code.co_varnames[: arguments + bool(code.co_flags & inspect.CO_VARKEYWORDS)],
        [(_SAME.get(one.opname, one.opname), _argument(one, offsets)) for one in instructions],
        [
            (*(bisect_left(offsets, offset) for offset in (entry.start, entry.end, entry.target)), entry.depth)
            for entry in _exception_table(code)
        ],
    )


def _argument(instruction: dis.Instruction, offsets: list[int]) -> object:
    if instruction.opcode in dis.hasconst:
        return _constant(instruction.argval)
    if instruction.opcode in _JUMPS:
        return bisect_left(offsets, instruction.argval)
    if instruction.opcode in _NAMED:
        return instruction.argval  # not the index, which moves with unused names
    return instruction.arg


def _constant(value: object) -> object:
    if isinstance(value, types.CodeType):
        return _shape(value)
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    if isinstance(value, frozenset):  # of equal ones each may have its own order
        return ("frozenset", sorted(repr(_constant(item)) for item in value))
    return (type(value).__name__, repr(value))


def _exception_table(code: types.CodeType) -> list[Any]:
    """What `try` protects, which is beside the instructions from Python 3.11 on."""
    parse = getattr(dis, "_parse_exception_table", None)
    return list(parse(code)) if parse is not None else []


def codes_named(top: types.CodeType, qualname: str) -> list[types.CodeType]:
    """The code objects of that qualified name inside a module's."""
    scopes = [top]
    for part in (part for part in qualname.split(".") if part != "<locals>"):
        scopes = [code for scope in scopes for code in _codes_in(scope) if code.co_name == part]
    return scopes


def _codes_in(scope: types.CodeType) -> Iterator[types.CodeType]:
    for constant in scope.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            if constant.co_name.startswith("<generic parameters of "):
                yield from _codes_in(constant)


def functions_of(value: object, filename: str) -> Iterator[types.FunctionType]:
    """The functions of a file behind a loaded value: itself, or the methods of a class, below all their wrappers."""
    pending, seen = [value], set()
    while pending:
        item = pending.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, types.FunctionType):
            if hasattr(item, "__wrapped__"):
                pending.append(item.__wrapped__)  # the wrapper is its decorator's and has its name from the wrapped
            elif item.__code__.co_filename == filename:
                yield item
        elif isinstance(item, type):
            if item.__module__ == getattr(value, "__module__", None):
                pending.extend(vars(item).values())
        elif isinstance(item, property):
            pending.extend((item.fget, item.fset, item.fdel))
        elif isinstance(item, (functools.partial, functools.cached_property)):
            pending.append(item.func)
        elif isinstance(item, (staticmethod, classmethod, types.MethodType)):
            pending.append(item.__func__)
        elif isinstance(inspect.getattr_static(item, "__wrapped__", None), types.FunctionType):
            pending.append(inspect.getattr_static(item, "__wrapped__"))


def function_behind(value: object) -> types.FunctionType | None:
    """The plain function under methods, properties and wrappers; of a class, one of its own."""
    for _ in range(16):
        if isinstance(value, types.FunctionType):
            wrapped = getattr(value, "__wrapped__", None)
            if wrapped is None:
                return value
            value = wrapped
        elif isinstance(value, type):
            own = (item for item in vars(value).values() if isinstance(item, types.FunctionType))
            return next((item for item in own if not item.__code__.co_filename.startswith("<string>")), None)
        elif isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(inspect.getattr_static(value, "__wrapped__", None), types.FunctionType):
            value = inspect.getattr_static(value, "__wrapped__")
        else:
            return None
    return None
