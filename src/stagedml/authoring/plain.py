"""Plain data: values of the very types that literals have, and the text that stands for them in a fingerprint."""

from __future__ import annotations

import ast
import functools

from stagedml.core import fingerprint


def is_literal(value: object) -> bool:
    """Whether a value is plain data: of the very types that literals have, for others carry more than their text."""
    try:
        if type(value) in (list, tuple, set, frozenset):
            return all(map(is_literal, value))  # type: ignore[call-overload]
        if type(value) is dict:
            return all(is_literal(key) and is_literal(item) for key, item in value.items())
    except RecursionError:  # it holds itself
        return False
    return value is None or value is ... or type(value) in (bool, int, float, complex, str, bytes)


def literal_text(value: object) -> str:
    """The text of plain data. The order of a dict's keys is part of it, for programs go through them in that order."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{literal_text(key)}:{literal_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = map(literal_text, value)
        ordered = parts if isinstance(value, (list, tuple)) else sorted(parts)
        return f"{type(value).__name__}({','.join(ordered)})"
    return f"{type(value).__name__}:{value!r}"


def literal_assigned(name: str, node: ast.stmt) -> tuple[object] | None:
    """The value of `name = <literal>`, in a tuple of its own; None for every other statement."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target: ast.expr = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    else:
        return None
    if not (isinstance(target, ast.Name) and target.id == name) or node.value is None:
        return None
    return literal_of(node.value)


def literal_of(node: ast.expr) -> tuple[object] | None:
    """The value of an expression that spells plain data, in a tuple of its own; None for every other one."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return (value,) if is_literal(value) else None


@functools.lru_cache(maxsize=8192)
def unit_text(name: str, node: ast.stmt) -> str:
    """A definition as it enters the fingerprint: plain data by its value, everything else by its normalised source."""
    literal = literal_assigned(name, node)
    return f"value:{literal_text(literal[0])}" if literal else fingerprint.normalised(node)


def short(value: object) -> str:
    """A value as it stands in a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
