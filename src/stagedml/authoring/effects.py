"""What the statements at the top of a module change elsewhere, when it is imported.

`helpers.f = other`, `helpers.configure(3)`, `@REGISTRY.register`, `@register` whose body fills a table, a class whose
base has `__init_subclass__`: each changes what a name of another module, or of the same one, stands for, and so belongs
to the definition of that name. What changes an installed package, as `numpy.random.seed(1)` does, or the environment of
the process, may reach any code, and belongs to all of it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from stagedml.authoring.aliases import aliases_below, as_alias, beginning, chain_through_vars
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
    sounds_like_setting,
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
#: Methods whose result is a new object.
_MAKING = frozenset({"copy", "deepcopy", "replace", "_replace", "_asdict", "split", "join", "format"})
_LOGGING = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
#: Packages, and parts of them, whose settings change no result: what is logged, and where modules are looked for.
_HARMLESS = ("logging", "warnings", "sys.path", "faulthandler", "atexit", "signal", "stagedml", "pylightnix", "IPython")
_OUTSIDE = "<outside>"
_BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.If, ast.Try, ast.Expr)
_MOST_STEPS = 64  # through calls of calls, and re-exports of re-exports


@dataclass(frozen=True, slots=True)
class Place:
    """What a chain of names leads to: a definition of a tracked module, or the module itself."""

    source: Source
    name: str  #: `*` for the whole module
    rest: Chain


@dataclass(frozen=True, slots=True)
class _Outside:
    """A chain of names that leads to an installed package."""

    chain: Chain  #: the full name of the module first


@dataclass(frozen=True, slots=True)
class Effect:
    """A statement that changes what a name stands for."""

    filename: str  #: of the module whose name is changed; see `is_outside`
    name: str  #: `*` where it may be any
    statement: ast.stmt
    source: Source  #: where the statement stands

    @property
    def is_outside(self) -> bool:
        """Whether an installed package is changed, and with it perhaps any code."""
        return self.filename == _OUTSIDE


@dataclass(frozen=True, slots=True)
class _Candidate:
    statement: ast.stmt
    chain: Chain
    kind: str  #: changed: by this statement, result: what it gives out; given: to what is called; called; subclassed


def effects_of(source: Source) -> Iterator[Effect]:
    """The effects of the statements at the top of a module, except those that `definitions` has already."""
    for candidate in _candidates(source):
        for place in _leads(source, candidate.chain):
            for filename, name in _changed(place, candidate.kind):
                if candidate.statement not in source.definitions.get(name, ()) or filename != source.filename:
                    yield Effect(filename, name, candidate.statement, source)


def changed_by_statement(
    statement: ast.stmt, source: Source, local: Iterable[tuple[str, Import]]
) -> Iterator[tuple[str, str]]:
    """The names (of which file, which) that a statement at the top changes."""
    local = list(local)
    for chain, kind in dict.fromkeys(_acts_in(statement, everything=False, shadowed=source.shadowed)):
        for place in _leads(source, chain, local):
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


def changed_by_functions(
    sources: Iterable[Source], among: Collection[tuple[str, str]] | None = None
) -> frozenset[tuple[str, str]]:
    """The names (of which file, which) that some function of these modules changes when it is called.

    With `among`, of functions and classes at the top those (of which file, which) alone.
    """
    return frozenset(
        written
        for source in sources
        for statement in source.tree.body
        if among is None
        or not isinstance(statement, (*FUNCTIONS, ast.ClassDef))
        or (source.filename, statement.name) in among
        for function in ast.walk(statement)
        if isinstance(function, FUNCTIONS)
        for written in _written_by(function, source, _MOST_STEPS - 1)
    )


def changed_by_call(place: Place) -> bool:
    """Whether a call of what stands there changes something of a tracked module."""
    return place.name != "*" and any(filename != _OUTSIDE for filename, _ in _changed(place, "called"))


def places(source: Source, chain: Chain, local: Iterable[tuple[str, Import]] = (), steps: int = 0) -> Iterator[Place]:
    """Where a chain of names leads, as far as tracked source goes; several places where that depends on a condition."""
    return (place for place in _leads(source, chain, local, steps) if isinstance(place, Place))


def _leads(
    source: Source, chain: Chain, local: Iterable[tuple[str, Import]] = (), steps: int = 0
) -> Iterator[Place | _Outside]:
    if steps > _MOST_STEPS:
        return
    name = chain[0]
    targets = [target for bound, target in local if bound == name] or source.imports.get(name, ())
    for target in targets:
        inner = (*((target.attribute,) if target.attribute else ()), *chain[1:])
        yield from _leads_in(target.module, inner, steps + 1)
    if targets:
        return
    if name in source.definitions:
        yield Place(source, name, chain[1:])
    else:
        for star in source.stars:
            yield from (place for place in _leads_in(star.module, chain, steps + 1) if isinstance(place, Place))


def _leads_in(module: str, chain: Chain, steps: int) -> Iterator[Place | _Outside]:
    source = source_of_module(module)
    if source is None:
        if chain and is_namespace(module):
            yield from _leads_in(f"{module}.{chain[0]}", chain[1:], steps + 1)
        else:
            yield _Outside((*module.split("."), *chain))
    elif not chain:
        yield Place(source, "*", ())
    elif chain[0] in source.definitions or chain[0] in source.imports:
        yield from _leads(source, chain, (), steps)
    elif source_of_module(f"{module}.{chain[0]}") is not None:
        yield from _leads_in(f"{module}.{chain[0]}", chain[1:], steps + 1)
    elif source.stars:
        yield from _leads(source, chain, (), steps)
    else:
        yield Place(source, chain[0], chain[1:])  # a name that is made from outside


def _changed(place: Place | _Outside, kind: str, steps: int = 0) -> Iterator[tuple[str, str]]:
    """The names (of which file, which) that change if what stands there is changed, called or subclassed."""
    if steps > _MOST_STEPS:
        return
    if isinstance(place, _Outside):
        last = place.chain[-1]
        is_shared = kind == "result" and last.startswith(("get", "current"))
        if kind == "changed" or is_shared or (kind == "called" and sounds_like_setting(last)):
            name = ".".join(place.chain)
            if not any(name == harmless or name.startswith(harmless + ".") for harmless in _HARMLESS):
                yield _OUTSIDE, name
        return
    nodes = [  # not the functions that bind it with `global`
        node
        for node in place.source.definitions.get(place.name, ())
        if not isinstance(node, FUNCTIONS) or node.name == place.name
    ]
    for node in nodes:  # other names of the same thing
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for other, how in as_alias(beginning(node.value), place.rest, kind):
                for there in _leads(place.source, other):
                    yield from _changed(there, how, steps + 1)
    if kind == "result" and not place.rest:
        for chain, how in _returned_by(nodes):
            for there in _leads(place.source, chain):
                yield from _changed(there, how, steps + 1)
        return
    if kind == "result" and place.rest[-1] in _MAKING:
        return
    if kind in ("changed", "given", "result"):
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
                    base = chain_of(expression)
                    for there in _leads(place.source, base) if base else ():
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
        for place in _leads(source, chain, local):
            yield from _changed(place, kind, steps + 1)


def _returned_by(nodes: Iterable[ast.stmt]) -> Iterator[tuple[Chain, str]]:
    """What functions give out that they do not make, and what changes of it if that is changed: `return CONFIG`."""
    for function in nodes:
        if isinstance(function, FUNCTIONS):
            own = locals_of(function)
            returned = (node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value)
            yield from (act for value in returned for act in beginning(value) if act[0][0] not in own)


@functools.lru_cache(maxsize=4096)
def _acts(function: ast.FunctionDef | ast.AsyncFunctionDef, shadowed: frozenset[str]) -> tuple[tuple[Chain, str], ...]:
    own = locals_of(function)
    named = {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
    acts: list[tuple[Chain, str]] = [((name,), "changed") for name in sorted(named)]
    for statement in function.body:
        acts += _acts_in(statement, everything=True, shadowed=shadowed)
    aliases = aliases_below(function)
    for (name, *rest), kind in [act for act in acts if act[0][0] in aliases]:
        acts += as_alias(aliases[name], rest, kind)
    acts = [(chain, kind) for chain, kind in acts if chain[0] not in own]
    return tuple(dict.fromkeys(acts))


@functools.lru_cache(maxsize=1024)
def _candidates(source: Source) -> tuple[_Candidate, ...]:
    return tuple(_candidates_in(source.tree.body, source.shadowed))


def _candidates_in(body: Iterable[ast.stmt], shadowed: frozenset[str]) -> Iterator[_Candidate]:
    for statement in body:
        if is_main_guard(statement) or (isinstance(statement, ast.If) and is_type_checking(statement.test)):
            continue
        found = dict.fromkeys(_acts_in(statement, everything=False, shadowed=shadowed))
        aliases = aliases_below(statement) if found and isinstance(statement, _BLOCKS) else {}
        for chain, kind in found:
            yield _Candidate(statement, chain, kind)
            for other, how in as_alias(aliases.get(chain[0], ()), chain[1:], kind):
                yield _Candidate(statement, other, how)


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
        yield from ((_owner(chain), kind) for chain, kind in beginning(node))
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
                if not _is_setattr(call):
                    yield chain, "given"
                elif argument is call.args[0]:
                    yield chain, "changed"
    if isinstance(node, ast.Call):
        chain = chain_through_vars(node.func)
        if chain is not None:
            changing = len(chain) > 1 and chain[-1] in CHANGING
            yield (_owner(chain[:-1]), "changed") if changing else (chain, "called")
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, (*FUNCTIONS, ast.Lambda)) and not everything:
        children = node.decorator_list if not isinstance(node, ast.Lambda) else ()
    for child in children:
        yield from _acts_in(child, everything=everything, shadowed=shadowed)


def _owner(chain: Chain) -> Chain:
    """What changes if the end of a chain does: of `x.__dict__`, x."""
    return chain[: chain.index("__dict__")] if "__dict__" in chain[1:] else chain


def _is_setattr(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in ("setattr", "delattr")
