"""What counts of a piece of source: its normalised text, and a digest over many of them.

Normalised: parsed, then written out by rules of our own, so that it is the same on every Python version. Comments,
formatting, docstrings and other strings that stand alone, and the annotations of signatures and local variables do not
count; annotations in class bodies do, since dataclasses and artifacts read them, and those of the parameters of what
`@function.register` decorates, since `singledispatch` does. Everything else is semantic.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable

from blake3 import blake3

VERSION = 2
_HEADER = b"stagedml code 2\n"
_IGNORED_FIELDS = frozenset({"ctx", "type_comment", "kind", "type_ignores", "type_params"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def normalised(node: ast.AST) -> str:
    """The normalised text of a definition or statement."""
    text: list[str] = []
    _dump(node, text, in_class=False)
    return "".join(text)


@functools.lru_cache(maxsize=1024)
def normalised_builder(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The normalised text of a stage's builder.

    Defaults of its parameters are out, since the effective values stand in the config, and so is the `@stage` above it.
    """
    arguments = ast.arguments(
        posonlyargs=node.args.posonlyargs,
        args=node.args.args,
        vararg=node.args.vararg,
        kwonlyargs=node.args.kwonlyargs,
        kw_defaults=[],
        kwarg=node.args.kwarg,
        defaults=[],
    )
    bare = ast.FunctionDef(
        name=node.name,
        args=arguments,
        body=node.body,
        decorator_list=[d for d in node.decorator_list if not is_stage(d)],
    )
    return normalised(bare)


def is_stage(decorator: ast.expr) -> bool:
    """Whether a decorator is `@stage(...)`, under whatever module name."""
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(function, ast.Name) and function.id == "stage") or (
        isinstance(function, ast.Attribute) and function.attr == "stage"
    )


def _dump(node: ast.AST, text: list[str], *, in_class: bool) -> None:
    """Append what is written of a node."""
    if isinstance(node, ast.AnnAssign) and node.value is not None and not in_class:
        node = ast.Assign(targets=[node.target], value=node.value)
    inside = isinstance(node, ast.ClassDef) or (in_class and not isinstance(node, _FUNCTIONS))
    text.append(f"{type(node).__name__}(")
    for name in node._fields:
        value = getattr(node, name, None)
        if value is None or value == [] or name in _IGNORED_FIELDS or name == "returns":
            continue
        if name == "annotation" and not (in_class and isinstance(node, ast.AnnAssign)):
            continue
        if name == "simple" and isinstance(node, ast.AnnAssign):
            continue
        if isinstance(node, ast.JoinedStr):  # in nested formats Python 3.12 has empty strings that others have not
            value = [part for part in value if not (isinstance(part, ast.Constant) and part.value == "")]
        text.append(f"{name}=")
        _dump_value(value, text, in_class=inside)
        text.append(",")
    if isinstance(node, _FUNCTIONS) and any(map(_is_register, node.decorator_list)):
        text.append("annotations=")
        _dump_value([argument.annotation for argument in node.args.args], text, in_class=False)
        text.append(",")
    text.append(")")


def _is_register(decorator: ast.expr) -> bool:
    """Whether a decorator reads the annotations of what it decorates, as that of `functools.singledispatch` does."""
    return isinstance(decorator, ast.Attribute) and decorator.attr == "register"


def _dump_value(value: object, text: list[str], *, in_class: bool) -> None:
    if isinstance(value, list):
        text.append("[")
        for item in value:
            if not _is_bare_string(item):
                _dump_value(item, text, in_class=in_class)
                text.append(",")
        text.append("]")
    elif isinstance(value, ast.AST):
        _dump(value, text, in_class=in_class)
    else:
        text.append(f"{type(value).__name__}:{value!r}")


def _is_bare_string(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def text_digest(text: str) -> str:
    """The digest of one normalised text, 32 hexadecimal digits."""
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def digest(builder: str, reached: Iterable[tuple[str, str]]) -> str:
    """The fingerprint of a builder and of what it reaches, as it stands in a config.

    Args:
        builder: its normalised text.
        reached: (name, normalised text) of each definition, in any order. Neither the names of modules nor paths are
            part of it, so a file may be renamed, and code may move between a notebook cell and a module.
    """
    hasher = blake3(_HEADER)
    for text in (builder, *(part for unit in sorted(set(reached)) for part in unit)):
        data = text.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return f"{VERSION}:{hasher.hexdigest()[:32]}"
