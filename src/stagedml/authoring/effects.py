"""What the statements at the top of a module change elsewhere, when it is imported.

`helpers.f = other`, `helpers.configure(3)`, `@REGISTRY.register`, `@register` whose body fills a table, a class whose
base has `__init_subclass__`: each changes what a name of another module, or of the same one, stands for, and so belongs
to the definition of that name.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stagedml.authoring.names import (
    FUNCTIONS,
    Chain,
    Import,
    chain_of,
    imports_below,
    is_main_guard,
    is_type_checking,
    locals_of,
    only_looks,
)
from stagedml.authoring.sources import Source, is_namespace, source_of_module

#: Methods that change what they are called on, wherever the call stands. A call that is a statement always counts.
CHANGING = frozenset(
    {
        *("append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove", "discard"),
        *("clear", "sort", "reverse", "register", "subscribe", "__setitem__", "__setattr__"),
    }
)
#: Methods that only look: those of tables that are made as such, and of loggers.
_LOOKING_AT_TABLES = frozenset({"items", "keys", "values", "get", "copy", "count", "index"})
_LOGGING = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_MOST_STEPS = 64  # through calls of calls, and re-exports of re-exports


@dataclass(frozen=True, slots=True)
class Place:
    """What a chain of names leads to: a definition of a tracked module, or the module itself."""

    source: Source
    name: str  #: `*` for the whole module
    rest: Chain


@dataclass(frozen=True, slots=True)
class Effect:
    """A statement that changes what a name stands for."""

    filename: str  #: of the module whose name is changed
    name: str  #: `*` where it may be any
    statement: ast.stmt
    source: Source  #: where the statement stands


@dataclass(frozen=True, slots=True)
class _Candidate:
    statement: ast.stmt
    chain: Chain
    kind: str  #: changed: by this statement; called: by what is called; subclassed


def effects_of(source: Source) -> Iterator[Effect]:
    """The effects of the statements at the top of a module, except those that `definitions` has already."""
    for candidate in _candidates(source):
        for place in places(source, candidate.chain):
            for filename, name in _changed(place, candidate.kind):
                if candidate.statement not in source.definitions.get(name, ()) or filename != source.filename:
                    yield Effect(filename, name, candidate.statement, source)


def changed_by_statement(
    statement: ast.stmt, source: Source, local: Iterable[tuple[str, Import]]
) -> Iterator[tuple[str, str]]:
    """The names (of which file, which) that a statement at the top changes."""
    local = list(local)
    for chain, kind in dict.fromkeys(_acts_in(statement, everything=False, shadowed=source.shadowed)):
        for place in places(source, chain, local):
            yield from _changed(place, kind)


def run_by(source: Source) -> Iterator[tuple[ast.AST, Source]]:
    """The statements that the import of a module runs for what they do, and functions that it calls for that."""
    for statement in source.tree.body:
        is_skipped = is_main_guard(statement) or (isinstance(statement, ast.If) and is_type_checking(statement.test))
        if is_skipped or isinstance(statement, (*FUNCTIONS, ast.ClassDef, ast.Assign, ast.AnnAssign)):
            continue
        yield statement, source
        for node in ast.walk(statement):
            chain = (
                chain_of(node.value.func) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
            )
            for place in places(source, chain) if chain else ():
                if not place.rest:
                    functions = place.source.definitions.get(place.name, ())
                    yield from ((function, place.source) for function in functions if isinstance(function, FUNCTIONS))


def changed_by_functions(sources: Iterable[Source]) -> frozenset[tuple[str, str]]:
    """The names (of which file, which) that some function of these modules changes when it is called."""
    return frozenset(
        written
        for source in sources
        for function in ast.walk(source.tree)
        if isinstance(function, FUNCTIONS)
        for written in _written_by(function, source, _MOST_STEPS - 1)
    )


def changed_by_call(place: Place) -> bool:
    """Whether a call of what stands there changes something of a tracked module."""
    return place.name != "*" and any(True for _ in _changed(place, "called"))


def places(source: Source, chain: Chain, local: Iterable[tuple[str, Import]] = (), steps: int = 0) -> Iterator[Place]:
    """Where a chain of names leads, as far as tracked source goes; several places where that depends on a condition."""
    if steps > _MOST_STEPS:
        return
    name = chain[0]
    targets = [target for bound, target in local if bound == name] or source.imports.get(name, ())
    for target in targets:
        inner = (*((target.attribute,) if target.attribute else ()), *chain[1:])
        yield from _places_in(target.module, inner, steps + 1)
    if targets:
        return
    if name in source.definitions:
        yield Place(source, name, chain[1:])
    else:
        for star in source.stars:
            yield from _places_in(star.module, chain, steps + 1)


def _places_in(module: str, chain: Chain, steps: int) -> Iterator[Place]:
    source = source_of_module(module)
    if source is None:
        if chain and is_namespace(module):
            yield from _places_in(f"{module}.{chain[0]}", chain[1:], steps + 1)
    elif not chain:
        yield Place(source, "*", ())
    elif chain[0] in source.definitions or chain[0] in source.imports:
        yield from places(source, chain, (), steps)
    elif source_of_module(f"{module}.{chain[0]}") is not None:
        yield from _places_in(f"{module}.{chain[0]}", chain[1:], steps + 1)
    elif source.stars:
        yield from places(source, chain, (), steps)
    else:
        yield Place(source, chain[0], chain[1:])  # a name that is made from outside


def _changed(place: Place, kind: str, steps: int = 0) -> Iterator[tuple[str, str]]:
    """The names (of which file, which) that change if what stands there is changed, called or subclassed."""
    if steps > _MOST_STEPS:
        return
    nodes = [  # not the functions that bind it with `global`
        node
        for node in place.source.definitions.get(place.name, ())
        if not isinstance(node, FUNCTIONS) or node.name == place.name
    ]
    for node in nodes:  # other names of the same thing
        chain = chain_of(node.value) if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value else None
        for there in places(place.source, (*chain, *place.rest)) if chain else ():
            yield from _changed(there, kind, steps + 1)
    if kind == "changed":
        yield place.source.filename, place.name
        return
    if kind == "subclassed":
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                hooks = [item for item in node.body if isinstance(item, FUNCTIONS) and item.name == "__init_subclass__"]
                if hooks or any(keyword.arg == "metaclass" for keyword in node.keywords):
                    yield place.source.filename, place.name
                for hook in hooks:
                    yield from _written_by(hook, place.source, steps)
                above = [(base, "subclassed") for base in node.bases]
                above += [(keyword.value, "called") for keyword in node.keywords if keyword.arg == "metaclass"]
                for expression, how in above:
                    chain = chain_of(expression)
                    for there in places(place.source, chain) if chain else ():
                        yield from _changed(there, how, steps + 1)
        return
    if place.rest:  # a method of an object that has a name: @REGISTRY.register
        if _only_looks(nodes, place.rest):
            return
        if not any(isinstance(node, FUNCTIONS) for node in nodes) or place.rest[-1] in CHANGING:
            yield place.source.filename, place.name
        return
    if nodes and not isinstance(nodes[-1], (*FUNCTIONS, ast.ClassDef)):  # an object that is called
        yield place.source.filename, place.name
    for node in nodes:
        if isinstance(node, FUNCTIONS):
            yield from _written_by(node, place.source, steps)
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, FUNCTIONS) and item.name in ("__init__", "__new__", "__call__"):
                    yield from _written_by(item, place.source, steps)


def _only_looks(nodes: list[ast.stmt], rest: Chain) -> bool:
    """Whether a method of what these statements make changes nothing."""
    values = [node.value for node in nodes if isinstance(node, (ast.Assign, ast.AnnAssign))]
    if len(rest) != 1 or len(values) != len(nodes):
        return False
    return rest[0] in _LOGGING or (rest[0] in _LOOKING_AT_TABLES and all(map(_is_table, values)))


def _is_table(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("dict", "frozenset", "list", "set", "tuple")
    return isinstance(node, (ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Tuple))


def _written_by(
    function: ast.FunctionDef | ast.AsyncFunctionDef, source: Source, steps: int
) -> Iterator[tuple[str, str]]:
    """The names that a call of a function may change, by itself and through what it calls."""
    local = imports_below(function, source.module, source.filename)
    for chain, kind in _acts(function, source.shadowed):
        for place in places(source, chain, local):
            yield from _changed(place, kind, steps + 1)


@functools.lru_cache(maxsize=4096)
def _acts(function: ast.FunctionDef | ast.AsyncFunctionDef, shadowed: frozenset[str]) -> tuple[tuple[Chain, str], ...]:
    own = locals_of(function)
    named = {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
    acts: list[tuple[Chain, str]] = [((name,), "changed") for name in sorted(named)]
    for statement in function.body:
        found = _acts_in(statement, everything=True, shadowed=shadowed)
        acts += [(chain, kind) for chain, kind in found if chain[0] not in own]
    return tuple(dict.fromkeys(acts))


@functools.lru_cache(maxsize=1024)
def _candidates(source: Source) -> tuple[_Candidate, ...]:
    return tuple(_candidates_in(source.tree.body, source.shadowed))


def _candidates_in(body: Iterable[ast.stmt], shadowed: frozenset[str]) -> Iterator[_Candidate]:
    for statement in body:
        if is_main_guard(statement) or (isinstance(statement, ast.If) and is_type_checking(statement.test)):
            continue
        for chain, kind in dict.fromkeys(_acts_in(statement, everything=False, shadowed=shadowed)):
            yield _Candidate(statement, chain, kind)


def _acts_in(node: ast.AST, *, everything: bool, shadowed: frozenset[str]) -> Iterator[tuple[Chain, str]]:
    """What running a statement changes, calls and subclasses; with `everything`, inner functions too."""
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        for decorator in node.decorator_list:
            chain = chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if chain is not None:
                yield chain, "called"
    if isinstance(node, ast.ClassDef):
        above = [(base, "subclassed") for base in node.bases]
        above += [(keyword.value, "called") for keyword in node.keywords if keyword.arg == "metaclass"]
        for expression, kind in above:
            chain = chain_of(expression)
            if chain is not None:
                yield chain, kind
    if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
        inner: ast.AST = node
        while isinstance(inner, ast.Subscript):
            inner = inner.value
        chain = _chain_of(inner)
        while chain is None and isinstance(inner, (ast.Attribute, ast.Subscript)):
            inner = inner.value
            chain = _chain_of(inner)
        if chain is not None:
            yield _owner(chain), "changed"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        call = node.value
        chain = chain_of(call.func)
        if chain is not None and len(chain) > 1 and chain[-1] not in CHANGING:
            yield chain, "called"
        for argument in () if only_looks(call, shadowed) else call.args:
            chain = chain_of(argument)
            if chain is not None:
                named = call.args[1] if len(call.args) > 1 and argument is call.args[0] else None
                if _is_setattr(call) and isinstance(named, ast.Constant) and isinstance(named.value, str):
                    chain = (*chain, named.value)
                if not _is_setattr(call) or argument is call.args[0]:
                    yield chain, "changed"
    if isinstance(node, ast.Call):
        chain = _chain_of(node.func)
        if chain is not None:
            changing = len(chain) > 1 and chain[-1] in CHANGING
            yield (_owner(chain[:-1]), "changed") if changing else (chain, "called")
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, (*FUNCTIONS, ast.Lambda)) and not everything:
        children = node.decorator_list if not isinstance(node, ast.Lambda) else ()
    for child in children:
        yield from _acts_in(child, everything=everything, shadowed=shadowed)


def _chain_of(node: ast.AST) -> Chain | None:
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


def _owner(chain: Chain) -> Chain:
    """What changes if the end of a chain does: of `x.__dict__`, x."""
    return chain[: chain.index("__dict__")] if "__dict__" in chain[1:] else chain


def _is_setattr(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in ("setattr", "delattr")
