"""Which names a piece of source binds, imports and reads."""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: A name with the attributes that are read off it: `a.b.c` is (a, b, c).
Chain: TypeAlias = tuple[str, ...]
#: Built-in functions that only look at what they are given.
LOOKING = frozenset(
    {
        *("abs", "all", "any", "ascii", "bool", "callable", "chr", "dict", "dir", "display", "enumerate", "float"),
        *("format", "frozenset", "getattr", "hasattr", "hash", "help", "hex", "id", "int", "isinstance"),
        *("issubclass", "iter", "len", "list", "max", "min", "ord", "print", "range", "repr", "reversed", "round"),
        *("set", "sorted", "str", "sum", "tuple", "type", "vars", "zip"),
    }
)
#: What names of functions that change how a package works begin with, or hold: `seterr`, but no `settings`.
_SETTING_BEGINS = re.compile(
    r"(?:set|use|configure|init)(?![a-z])|set(?:err|locale|context|recursionlimit|default|switch|trace|profile)"
    r"|chdir|umask|(?:un|put)(?:set)?env"
)
_SETTING_HOLDS = ("seed", "register", "patch", "enable", "disable", "install")


@dataclass(frozen=True, slots=True)
class Import:
    """Where an imported name comes from."""

    module: str
    attribute: str | None  #: None where the name is the module itself
    node: ast.stmt | None = field(default=None, compare=False, repr=False)


def is_type_checking(test: ast.expr) -> bool:
    """Whether a condition holds for type checkers only."""
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def is_main_guard(statement: ast.stmt) -> bool:
    """Whether a statement is `if __name__ == "__main__"`."""
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


def only_looks(call: ast.Call, shadowed: frozenset[str] = frozenset()) -> bool:
    """Whether a call changes none of its arguments: `print(TABLE)`. Names that are shadowed are no built-in ones."""
    if isinstance(call.func, ast.Name):
        return call.func.id in LOOKING and call.func.id not in shadowed
    return chain_of(call.func) == ("importlib", "reload")


def sounds_like_setting(name: str) -> bool:
    """Whether functions of this name use to change how a package works: `seed`, `set_printoptions`."""
    return _SETTING_BEGINS.match(name) is not None or any(part in name.lower() for part in _SETTING_HOLDS)


def bound_by(statement: ast.stmt, shadowed: frozenset[str] = frozenset()) -> set[str]:
    """The names a top-level statement binds or may change."""
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        return {statement.name}
    names: set[str | None] = set()
    for node in ast.walk(statement):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Name, ast.Subscript, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            names.add(root_of(node) or _key_of_globals(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not is_main_guard(statement):
            call = node.value  # TABLE.update(...), shuffle(TABLE)
            if only_looks(call, shadowed):
                continue
            names.update(root_of(part) for part in (call.func, *call.args) if not isinstance(part, ast.Name))
            names.update(part.id for part in call.args if isinstance(part, ast.Name))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):  # old = helpers.set_mode("fast")
            names.add(root_of(node.func) if sounds_like_setting(node.func.attr) else None)
    return {name for name in names if name is not None}


def binds(name: str, statement: ast.stmt) -> bool:
    """Whether a statement makes a name anew, rather than changing what it stands for."""
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        return statement.name == name
    return any(
        (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        or (_key_of_globals(node) == name and isinstance(statement, ast.Assign))
        for node in ast.walk(statement)
        if not isinstance(statement, ast.AugAssign)
    )


def _key_of_globals(node: ast.AST) -> str | None:
    """The name that `globals()["name"] = ...` binds at the top of a module."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
        is_globals = isinstance(node.value, ast.Call) and chain_of(node.value.func) == ("globals",)
        if is_globals and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            return node.slice.value
    return None


def globals_of(statement: ast.stmt) -> frozenset[str]:
    """The names that functions in a statement bind with `global`."""
    return frozenset(name for node in ast.walk(statement) if isinstance(node, ast.Global) for name in node.names)


def root_of(node: ast.expr) -> str | None:
    """The name at the beginning of `a.b[c].d`."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def absolute(node: ast.ImportFrom, module: str, filename: str) -> str:
    """The full name of the module that a `from ... import` speaks of."""
    if not node.level:
        return node.module or ""
    if module == "__main__":  # run with `python -m package.module`
        package = (getattr(sys.modules["__main__"], "__package__", None) or "").split(".")
    else:
        package = module.split(".")
        if os.path.basename(filename) != "__init__.py":
            package = package[:-1]
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, *([node.module] if node.module else [])])


@functools.lru_cache(maxsize=8192)
def imports_below(node: ast.AST, module: str, filename: str) -> tuple[tuple[str, Import], ...]:
    """The names that are bound by importing anywhere below a node."""
    return tuple(imports_in(node, module, filename))


@functools.lru_cache(maxsize=8192)
def chains_below(node: ast.AST, bound: frozenset[str]) -> frozenset[Chain]:
    """As `name_chains`."""
    return frozenset(name_chains(node, bound))


def imports_in(tree: ast.AST, module: str, filename: str) -> Iterator[tuple[str, Import]]:
    """The names that are bound by importing anywhere below a node; star imports are left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.name if alias.asname else alias.name.split(".")[0]
                yield alias.asname or bound, Import(bound, None, node)
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(node, module, filename)
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, Import(origin, alias.name, node)


def modules_imported(body: Iterable[ast.stmt], module: str, filename: str) -> Iterator[str]:
    """The modules that statements import when they run, those under conditions included; not what functions do."""
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            origin = absolute(statement, module, filename)
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in statement.names if alias.name != "*")
        elif isinstance(statement, ast.If) and (is_type_checking(statement.test) or is_main_guard(statement)):
            yield from modules_imported(statement.orelse, module, filename)
        elif not isinstance(statement, FUNCTIONS):
            inner = (
                node for node in ast.iter_child_nodes(statement) if isinstance(node, (ast.stmt, ast.ExceptHandler))
            )
            for node in inner:
                below = [node] if isinstance(node, ast.stmt) else node.body
                yield from modules_imported(below, module, filename)


def attribute_of(node: ast.AST) -> tuple[ast.expr, str] | None:
    """What an attribute is read off, and its name. `getattr(x, "name")` reads one, too."""
    if isinstance(node, ast.Attribute):
        return node.value, node.attr
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "getattr"
        and len(node.args) >= 2
        and isinstance(node.args[1], ast.Constant)
        and isinstance(node.args[1].value, str)
    ):
        return node.args[0], node.args[1].value
    return None


def chain_of(node: ast.AST) -> Chain | None:
    """The chain that an expression spells, if it is one: `a.b.c`."""
    parts: list[str] = []
    while (found := attribute_of(node)) is not None:
        node, name = found
        parts.append(name)
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def name_chains(node: ast.AST, bound: frozenset[str] = frozenset(), *, in_class: bool = False) -> Iterator[Chain]:
    """Every name of the surroundings that is read, with the attributes that are read off it: `a.b.c` is (a, b, c).

    Annotations that do not count are left out, and so are names that a function binds itself. What it imports is not
    among those, for it leads elsewhere. `x.__dict__` is x as a whole.
    """
    if isinstance(node, (*FUNCTIONS, ast.Lambda)):
        inner = bound | locals_of(node)
        for name, value in ast.iter_fields(node):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST) and name != "returns":
                    yield from name_chains(item, inner if name == "body" else bound)
    elif isinstance(node, ast.Name) or attribute_of(node) is not None:
        parts: list[str] = []
        root: ast.AST = node
        while (found := attribute_of(root)) is not None:
            if isinstance(root, ast.Call):
                for extra in (root.func, *root.args[2:], *(keyword.value for keyword in root.keywords)):
                    yield from name_chains(extra, bound)
            root, name = found
            parts.append(name)
        if not isinstance(root, ast.Name):
            yield from name_chains(root, bound)
        elif root.id not in bound and (parts or isinstance(root.ctx, ast.Load)):
            chain = (root.id, *reversed(parts))
            yield chain[: chain.index("__dict__")] if "__dict__" in chain else chain
    else:
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            targets = (part for generator in node.generators for part in ast.walk(generator.target))
            bound = bound | {part.id for part in targets if isinstance(part, ast.Name)}
        for name, value in ast.iter_fields(node):
            if name == "annotation" and not (in_class and isinstance(node, ast.AnnAssign)):
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST):
                    yield from name_chains(item, bound, in_class=in_class or isinstance(node, ast.ClassDef))


@functools.lru_cache(maxsize=1024)
def all_bound(tree: ast.AST) -> frozenset[str]:
    """Every name that is bound anywhere below a node, in whatever scope."""
    names: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping):
            names.add(node.rest)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.split(".")[0])
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            names.update(node.names)
        elif type(node).__name__ in ("TypeVar", "ParamSpec", "TypeVarTuple"):
            names.add(getattr(node, "name", None))
    return frozenset(name for name in names if name is not None)


def locals_of(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    """The names that a function binds itself, except by importing."""
    arguments = function.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    names.update(argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument is not None)
    elsewhere: set[str] = set()
    pending: list[ast.AST] = list(function.body) if isinstance(function.body, list) else [function.body]
    while pending:
        node = pending.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
            continue
        if isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            continue
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            elsewhere.update(node.names)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name is not None:
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            elsewhere.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return frozenset(names - elsewhere)


@functools.lru_cache(maxsize=8192)
def find_function(tree: ast.Module, qualname: str, line: int) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The definition of a function by its qualified name; of several, the one at `line`, else the last."""
    scopes: list[ast.AST] = [tree]
    parts = [part for part in qualname.split(".") if part != "<locals>"]
    for part in parts:
        scopes = [node for scope in scopes for node in definitions_in(scope) if node.name == part]
    found = [node for node in scopes if isinstance(node, FUNCTIONS)]
    at_line = [node for node in found if line in (node.lineno, *(d.lineno for d in node.decorator_list))]
    chosen = at_line or found
    return chosen[-1] if chosen else None


def definitions_in(scope: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The definitions directly inside a scope, those under `if`, `with`, `try` and loops included."""
    pending: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while pending:
        node = pending.pop(0)
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node
        elif not isinstance(node, ast.expr):
            pending.extend(ast.iter_child_nodes(node))
