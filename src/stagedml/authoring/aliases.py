"""Which other names a thing has: in `c = helpers.CONFIG`, a change of `c` changes `helpers.CONFIG`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from stagedml.authoring.names import Chain, chain_of

#: Functions that give out the items that they are given.
_SAME_ITEMS = frozenset({"list", "tuple", "set", "sorted", "reversed", "enumerate", "zip", "cast"})


def aliases_below(node: ast.AST) -> dict[str, list[tuple[Chain, str]]]:
    """What variables below a statement are other names of: in `c = a.B`, `for c in (a.B, D): ...`."""
    found: dict[str, list[tuple[Chain, str]]] = {}
    for part in ast.walk(node):
        if isinstance(part, (ast.For, ast.AsyncFor, ast.comprehension)):
            targets, value = [part.target], part.iter
        elif isinstance(part, ast.Assign):
            targets, value = part.targets, part.value
        elif isinstance(part, (ast.AnnAssign, ast.NamedExpr)) and part.value is not None:
            targets, value = [part.target], part.value
        elif isinstance(part, ast.withitem) and part.optional_vars is not None:
            value = part.context_expr
            value = ast.Tuple([value, *value.args]) if isinstance(value, ast.Call) else value
            targets = [part.optional_vars]
        else:
            continue
        names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        acts = [act for item in _items(value) for act in beginning(item)]
        for name in names:
            found.setdefault(name, []).extend(act for act in acts if act[0][0] != name)
    return found


def as_alias(others: Iterable[tuple[Chain, str]], rest: Iterable[str], kind: str) -> Iterator[tuple[Chain, str]]:
    """What is done to what a variable is another name of, if this is done to the variable."""
    for chain, how in others:
        if how == "changed":
            yield (*chain, *rest), kind
        elif kind == "changed":
            yield chain, how


def beginning(node: ast.AST) -> Iterator[tuple[Chain, str]]:
    """The longest chain at the beginning of an expression, and what changes if the expression is changed.

    Of `a.b[0].c`, a.b is changed; of `a.b(1).c`, the result of a.b.
    """
    kind = "changed"
    while (chain := chain_through_vars(node)) is None and isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        kind = "result" if isinstance(node, ast.Call) else kind
        node = node.func if isinstance(node, ast.Call) else node.value
    if chain is not None:
        yield chain, kind


def _items(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        for item in node.elts:
            yield from _items(item)
    elif isinstance(node, ast.Dict):
        for item in node.values:
            yield from _items(item)
    elif isinstance(node, ast.IfExp):
        yield from _items(node.body)
        yield from _items(node.orelse)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SAME_ITEMS:
        for item in node.args:
            yield from _items(item)
    else:
        yield node


def chain_through_vars(node: ast.AST) -> Chain | None:
    """As `chain_of`; `vars(x)` is `x.__dict__`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Call) and chain_of(node.func) == ("vars",) and len(node.args) == 1:
        parts.append("__dict__")
        node = node.args[0]
    chain = chain_of(node)
    return (*chain, *reversed(parts)) if chain is not None else None
