"""What the cells of a notebook have done to a name.

A notebook is also where things are looked at, so not every statement that mentions a module changes it: `helpers.f()`
counts only if what it calls changes something of the user's code, as `helpers.configure(3)` does.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stagedml.authoring.effects import CHANGING, changed_by_call, places
from stagedml.authoring.names import (
    FUNCTIONS,
    LOOKING,
    Chain,
    Import,
    binds,
    chain_of,
    locals_of,
    only_looks,
    root_of,
    sounds_like_setting,
)
from stagedml.authoring.plain import is_literal
from stagedml.authoring.sources import Source, is_cell_module, source_of_module


@dataclass(frozen=True)
class History:
    """The statements that made a name what it is, in their order, from its last binding on."""

    imported: Source | None  #: the cell that imported it, if one did
    changes: tuple[tuple[Source, ast.stmt], ...]


def history_of(
    name: str, names: Mapping[str, Any], backwards: Sequence[Source], *, with_calls: bool = False
) -> History:
    """Find the statements behind a name, given the cells with the last one first.

    Args:
        name: a name of the notebook.
        names: what the names of the notebook stand for now.
        backwards: the cells.
        with_calls: also find calls, with arguments, of functions of the cells that change it.
    """
    value = names[name]
    setters = _setters(name, backwards) if with_calls else frozenset()
    imported: Source | None = None
    found: list[tuple[Source, ast.stmt]] = []
    for cell in backwards:
        statements = cell.definitions.get(name, [])
        if setters:
            statements = [node for node in cell.tree.body if node in statements or _calls(node, setters)]
        is_bound = any(binds(name, statement) for statement in statements)
        if not isinstance(value, types.ModuleType):
            found += [(cell, statement) for statement in reversed(statements)]
            imported = cell if name in cell.imports else None
            if imported or is_bound:
                break
            continue
        if imported and (is_bound or cell.imports.get(name, imported.imports[name]) != imported.imports[name]):
            break
        found += [(cell, statement) for statement in reversed(statements) if _is_change(name, statement, cell, names)]
        imported = imported or (cell if name in cell.imports else None)
        if is_bound:
            break
    return History(imported, tuple(reversed(found)))


def _setters(name: str, cells: Iterable[Source]) -> frozenset[str]:
    """The functions at the top of cells that change a name, themselves or through others of these."""
    functions = [node for cell in cells for node in cell.tree.body if isinstance(node, FUNCTIONS)]
    found: set[str] = set()
    while more := {
        node.name
        for node in functions
        if node.name not in found and (name in changed_inside([node]) or not found.isdisjoint(_names_in(node)))
    }:
        found |= more
    return frozenset(found)


def _names_in(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _calls(statement: ast.stmt, functions: frozenset[str]) -> bool:
    """Whether a statement at the top calls one of these functions with arguments."""
    return not isinstance(statement, (*FUNCTIONS, ast.ClassDef)) and any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in functions
        and bool(node.args or node.keywords)
        for node in ast.walk(statement)
    )


def changed_inside(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The names of the surroundings that the functions below some nodes change when they run."""
    for function in (part for node in nodes for part in ast.walk(node) if isinstance(part, FUNCTIONS)):
        own = locals_of(function)
        for node in ast.walk(function):
            root: str | None = None
            if isinstance(node, ast.Global):
                yield from node.names
            elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
                root = root_of(node)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
                root = root_of(node.func)
            if root is not None and root not in own:
                yield root


def _is_change(name: str, statement: ast.stmt, cell: Source, names: Mapping[str, Any]) -> bool:
    """Whether a statement changes a module or something in it."""
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        return True
    for node in ast.walk(statement):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and node.name == name:
            return True
        if isinstance(node, (ast.Name, ast.Subscript, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            if root_of(node) == name:
                return True
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value
            if not only_looks(call, cell.shadowed) and _may_change(name, call, cell, names):
                return True
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            is_setting = sounds_like_setting(node.func.attr)
            if is_setting and _may_change(name, node, cell, names):
                return True
    return False


def _may_change(name: str, call: ast.Call, cell: Source, names: Mapping[str, Any]) -> bool:
    if not isinstance(call.func, ast.Name) and root_of(call.func) == name:
        chain = chain_of(call.func)
        local = _origins(name, names)
        if chain is None:  # helpers.TABLE["a"].append(1)
            return any(place.source for place in places(cell, _beginning(call.func), local))
        if any(changed_by_call(place) for place in places(cell, chain, local)):
            return True
    own = any(True for _ in _callees(call, cell, names)) or _is_unknown(call, names, cell)
    return any(root_of(part) == name and (own or _is_mutable(part, names)) for part in call.args)


def _callees(call: ast.Call, cell: Source, names: Mapping[str, Any]) -> Iterator[object]:
    """What a call calls of the user's own code."""
    chain = chain_of(call.func)
    if chain is None or chain[0] not in names:
        return
    value = names[chain[0]]
    module = getattr(value, "__module__", None)
    if len(chain) == 1 and isinstance(module, str) and is_cell_module(module):
        yield value
    yield from places(cell, chain, _origins(chain[0], names))


def _is_unknown(call: ast.Call, names: Mapping[str, Any], cell: Source) -> bool:
    """Whether nothing can be said of what a call calls, or it changes its first argument by its name."""
    chain = chain_of(call.func)
    if chain is None or chain[0] not in names:
        return chain is None or chain[0] in ("setattr", "delattr") or chain[0] in cell.shadowed & LOOKING
    return False


def _origins(name: str, names: Mapping[str, Any]) -> list[tuple[str, Import]]:
    """Where a name of the notebook comes from, if that is a tracked module."""
    value = names.get(name)
    if isinstance(value, types.ModuleType):
        return [(name, Import(value.__name__, None))]
    module = getattr(value, "__module__", None)
    top = getattr(value, "__qualname__", "").partition(".")[0]
    is_own = isinstance(module, str) and not is_cell_module(module) and source_of_module(module) is not None
    return [(name, Import(module, top))] if is_own and isinstance(module, str) and top else []


def _is_mutable(node: ast.expr, names: Mapping[str, Any]) -> bool:
    """Whether an argument is something of a tracked module that a call may change: no code, and no constant."""
    chain = chain_of(node)
    if chain is None:
        return bool(_tracked(_beginning(node), names))
    value: object = names[chain[0]]
    for part in chain[1:]:
        if not isinstance(value, types.ModuleType):
            break
        value = vars(value).get(part)
    is_code = isinstance(value, (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type))
    is_constant = is_literal(value) and not isinstance(value, (list, dict, set))
    return not is_code and not is_constant and bool(_tracked(chain, names))


def _tracked(chain: Chain, names: Mapping[str, Any]) -> bool:
    value = names.get(chain[0])
    return isinstance(value, types.ModuleType) and source_of_module(value.__name__) is not None


def _beginning(node: ast.expr) -> Chain:
    """The longest chain at the beginning of an expression: of `a.b[0].c`, `a.b`."""
    while (chain := chain_of(node)) is None and isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return chain or ("",)
