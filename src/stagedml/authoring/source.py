"""Finding the code behind a builder, and making sure that it is the code that runs.

Starting from the builder, every name it uses is followed to a definition: in its own module or notebook cell, and
through imports, at the top or inside functions, into other tracked modules. Tracked are the user's own modules and
cells, and our `stages` and `ml`; installed packages are not followed. Modules are read, not imported, so a builder that
imports TensorFlow when it runs is fingerprinted without it. A module that is used as a value counts whole.

The source of what is loaded is compared with the loaded code objects and constants: source that was edited since it was
imported is refused, for a fingerprint of it would not be that of the code that runs.
"""

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import os
import site
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from stagedml.core import fingerprint
from stagedml.errors import UsageError

_OWN_TRACKED = ("stagedml.stages", "stagedml.ml", "stagedml.testing")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class SourceChanged(UsageError):
    """Source on disk is no longer the code that is loaded."""

    def __init__(self, path: str, name: str, what: str) -> None:
        super().__init__(path, name, what)
        self.path, self.name, self.what = path, name, what

    def __str__(self) -> str:
        return f"{self.path} changed since it was imported ({self.name}: {self.what}): reload it or restart Python"


class SourceUnavailable(UsageError):
    """The source of a builder cannot be read."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(name, where)
        self.name, self.where = name, where

    def __str__(self) -> str:
        return f"the source of {self.name} ({self.where}) cannot be read; define it in a file or in a notebook cell"


class UncoveredCapture(UsageError):
    """A builder captures a variable whose value is neither configuration nor code."""

    def __init__(self, builder: str, variable: str, kind: str, where: str) -> None:
        super().__init__(builder, variable, kind, where)
        self.builder, self.variable, self.kind, self.where = builder, variable, kind, where

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.builder} captures {self.variable!r}, a {self.kind}, which no hash covers; "
            f"make it a parameter of the stage"
        )


@dataclass(frozen=True, slots=True)
class _Import:
    module: str
    attribute: str | None  #: None where the name is the module itself


@dataclass
class _Source:
    """The parsed text of one module or notebook cell."""

    filename: str
    module: str
    text: str
    tree: ast.Module
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, _Import] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)

    @functools.cached_property
    def code(self) -> types.CodeType:
        return compile(self.text, self.filename, "exec", dont_inherit=True)

    @property
    def is_cell(self) -> bool:
        return not os.path.exists(self.filename)


def fingerprint_of(builder: Callable[..., Any]) -> str:
    """The code fingerprint of a builder, as it stands in the config of its stage.

    Raises:
        SourceChanged: what is on disk is not what is loaded.
        SourceUnavailable: there is no source.
        UncoveredCapture: a captured variable holds data that no hash covers.
    """
    return _Walk(builder).digest()


class _Walk:
    """One walk over everything that a builder reaches."""

    def __init__(self, builder: Callable[..., Any]) -> None:
        self.builder = builder
        self.reached: set[tuple[str, str]] = set()
        self.seen: set[tuple[str, str]] = set()

    def digest(self) -> str:
        builder = self.builder
        code = builder.__code__
        source = _source_of_file(code.co_filename, builder.__module__)
        if source is None:
            raise SourceUnavailable(builder.__qualname__, code.co_filename)
        node = _find_function(source.tree, builder.__qualname__, code.co_firstlineno)
        if node is None or not _same_as_source(code, source, builder.__qualname__):
            raise SourceChanged(source.filename, builder.__qualname__, "another function stands there now")
        self.seen.add((source.filename, node.name))
        self._follow_captures(source)
        bare = [d for d in node.decorator_list if not fingerprint.is_stage(d)]
        self._follow_names([*bare, *node.body], source, builder.__globals__)
        return fingerprint.digest(fingerprint.normalised_builder(node), self.reached)

    # -- names ---------------------------------------------------------------------------------------------------

    def _follow_names(self, nodes: Iterable[ast.AST], source: _Source, names: dict[str, Any] | None) -> None:
        local_imports: dict[str, _Import] = {}
        chains: set[tuple[str, ...]] = set()
        for node in nodes:
            for imported in _imports_in(node, source):
                local_imports.update([imported])
            chains.update(_name_chains(node))
        for chain in sorted(chains):
            target = local_imports.get(chain[0]) or source.imports.get(chain[0])
            if chain[0] in local_imports or (target is not None and chain[0] not in source.definitions):
                assert target is not None
                self._follow_import(target, chain[1:])
            else:
                self._follow_name(chain, source, names)

    def _follow_name(self, chain: tuple[str, ...], source: _Source, names: dict[str, Any] | None) -> None:
        name = chain[0]
        if source.is_cell and names is not None and name in names and not isinstance(names[name], type):
            self._follow_object(name, names[name], chain[1:])  # a later cell may have defined it anew
            return
        if name in source.definitions:
            self._add(name, source, names)
            return
        for star in source.stars:
            if self._follow_import(_Import(star, name), chain[1:]):
                return
        if source.is_cell and names is not None and name in names:
            self._follow_object(name, names[name], chain[1:])

    def _add(self, name: str, source: _Source, names: dict[str, Any] | None) -> None:
        if (source.filename, name) in self.seen:
            return
        self.seen.add((source.filename, name))
        nodes = source.definitions[name]
        _check_loaded(name, nodes, source, names)
        self.reached.update((name, _unit_text(name, node)) for node in nodes)
        self._follow_names(nodes, source, names)

    def _follow_import(self, target: _Import, rest: tuple[str, ...]) -> bool:
        """Follow an imported name as far as tracked source goes; whether it led into any."""
        source = _source_of_module(target.module)
        if source is None:
            return False
        if target.attribute is not None:
            rest = (target.attribute, *rest)
        names = vars(sys.modules[target.module]) if target.module in sys.modules else None
        if not rest:
            for name in source.definitions:
                self._add(name, source, names)
            return True
        name = rest[0]
        if name in source.definitions:
            self._add(name, source, names)
        elif name in source.imports:
            self._follow_import(source.imports[name], rest[1:])
        elif _source_of_module(f"{target.module}.{name}") is not None:
            self._follow_import(_Import(f"{target.module}.{name}", None), rest[1:])
        else:
            return any(self._follow_import(_Import(star, name), rest[1:]) for star in source.stars)
        return True

    # -- values: what notebook cells and closures hold ------------------------------------------------------------

    def _follow_object(self, name: str, value: object, rest: tuple[str, ...] = ()) -> bool:
        """Cover a live value: code by its source, plain data by its text. Whether it is covered."""
        if isinstance(value, types.ModuleType):
            self._follow_import(_Import(value.__name__, None), rest)
            return True
        function = _function_behind(value)
        if function is not None:
            source = _source_of_file(function.__code__.co_filename, function.__module__)
            if source is None or not _is_tracked(function.__module__, function.__code__.co_filename):
                return True
            top = (value.__qualname__ if isinstance(value, type) else function.__qualname__).split(".")[0]
            if top in source.definitions:
                self._add(top, source, function.__globals__)
                return True
            return source.filename == self.builder.__code__.co_filename
        if isinstance(value, type) or value is None or getattr(builtins, name, None) is value:
            return True
        if _is_literal(value):
            self.reached.add((name, f"value:{_literal_text(value)}"))
            return True
        return False

    def _follow_captures(self, source: _Source) -> None:
        code = self.builder.__code__
        for name, cell in zip(code.co_freevars, self.builder.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet: a function that refers to itself
                continue
            function = _function_behind(value)
            if function is not None and "<locals>" in function.__qualname__:
                self._add_local(name, function)
            elif not self._follow_object(name, value):
                where = f"{source.filename}:{code.co_firstlineno}"
                raise UncoveredCapture(self.builder.__qualname__, name, type(value).__name__, where)

    def _add_local(self, name: str, function: types.FunctionType) -> None:
        """Cover a function that was defined inside another one."""
        code = function.__code__
        key = (code.co_filename, function.__qualname__)
        if key in self.seen or function is self.builder:
            return
        self.seen.add(key)
        source = _source_of_file(code.co_filename, function.__module__)
        if source is None:
            raise SourceUnavailable(function.__qualname__, code.co_filename)
        node = _find_function(source.tree, function.__qualname__, code.co_firstlineno)
        if node is None or not _same_as_source(code, source, function.__qualname__):
            raise SourceChanged(source.filename, function.__qualname__, "another function stands there now")
        self.reached.add((name, fingerprint.normalised(node)))
        self._follow_names([node], source, function.__globals__)
        inner = _Walk(function)
        inner.seen, inner.reached = self.seen, self.reached
        inner._follow_captures(source)


# -- reading sources -------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _parse(filename: str, module: str, text: str) -> _Source:
    source = _Source(filename, module, text, ast.parse(text, filename))
    _collect(source.tree.body, source)
    return source


def _source_of_file(filename: str, module: str) -> _Source | None:
    """The current source of a file, or of a notebook cell under the file name that it was compiled with."""
    try:
        with open(filename, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        text = "".join(linecache.getlines(filename))
    if not text:
        return None
    try:
        return _parse(filename, module, text)
    except SyntaxError:
        raise SourceChanged(filename, module, "it does not parse any more") from None


def _source_of_module(module: str) -> _Source | None:
    """The source of a tracked module, which need not be loaded; None for all others."""
    filename = _file_of_module(module)
    if filename is None or not _is_tracked(module, filename):
        return None
    return _source_of_file(filename, module)


@functools.lru_cache(maxsize=4096)
def _file_of_module(module: str) -> str | None:
    loaded = sys.modules.get(module)
    if loaded is not None:
        filename = getattr(loaded, "__file__", None)
    else:
        spec = _find_spec(module)
        filename = spec.origin if spec is not None and spec.has_location else None
    return filename if filename is not None and filename.endswith(".py") else None


def _find_spec(module: str) -> ModuleSpec | None:
    """Where a module would be loaded from. Nothing is imported, its parents neither."""
    path: Sequence[str] | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        if depth < len(parts) and name in sys.modules:
            path = list(getattr(sys.modules[name], "__path__", ()))
            continue
        try:
            spec = PathFinder.find_spec(name, path)
        except (ImportError, ValueError):
            return None
        if spec is None or depth == len(parts):
            return spec
        if spec.submodule_search_locations is None:
            return None
        path = list(spec.submodule_search_locations)
    return None


@functools.lru_cache(maxsize=1)
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(site.getsitepackages())
    folders.add(site.getusersitepackages())
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)


def _is_tracked(module: str, filename: str) -> bool:
    if module == "stagedml" or module.startswith("stagedml."):
        return module.startswith(_OWN_TRACKED)
    return not os.path.realpath(filename).startswith(_installed_folders())


def _collect(body: Iterable[ast.stmt], source: _Source) -> None:
    """Find what the statements at the top of a module bind."""
    for statement in body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            for name, target in _imports_in(statement, source):
                source.imports[name] = target
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                source.stars.append(_absolute(statement, source))
        elif isinstance(statement, ast.If) and _is_type_checking(statement.test):
            _collect(statement.orelse, source)
        else:
            for name in _bound_by(statement):
                source.definitions.setdefault(name, []).append(statement)
            if isinstance(statement, (ast.If, ast.Try, ast.With)):
                for name, target in _imports_in(statement, source):
                    source.imports.setdefault(name, target)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _bound_by(statement: ast.stmt) -> set[str]:
    """The names a top-level statement binds or visibly changes."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):  # TABLE.update(...)
        function = statement.value.func
        root = _root(function) if isinstance(function, ast.Attribute) else None
        return {root} if root else set()
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Name, ast.Subscript, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            root = _root(node)
            if root:
                names.add(root)
    return names


def _root(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _absolute(node: ast.ImportFrom, source: _Source) -> str:
    if not node.level:
        return node.module or ""
    package = source.module.split(".")
    if os.path.basename(source.filename) != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, *([node.module] if node.module else [])])


def _imports_in(tree: ast.AST, source: _Source) -> Iterator[tuple[str, _Import]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = alias.name if alias.asname else alias.name.split(".")[0]
                yield alias.asname or module, _Import(module, None)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, source)
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, _Import(module, alias.name)


def _name_chains(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Every name that is read, with the attributes that are read off it: `a.b.c` is ("a", "b", "c")."""
    inner: set[int] = set()
    for node in _walk_code(tree):  # outermost attributes come first
        if id(node) in inner:
            continue
        parts: list[str] = []
        item: ast.AST = node
        while isinstance(item, ast.Attribute):
            parts.append(item.attr)
            item = item.value
            inner.add(id(item))
        if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load):
            yield (item.id, *reversed(parts))


def _walk_code(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes below and including one, but for the annotations that do not count."""
    pending: deque[tuple[ast.AST, bool]] = deque([(tree, False)])
    while pending:
        node, in_class = pending.popleft()
        yield node
        for name, value in ast.iter_fields(node):
            if name == "returns" or (name == "annotation" and not (in_class and isinstance(node, ast.AnnAssign))):
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST):
                    pending.append((item, isinstance(node, ast.ClassDef)))


def _literal_assigned(name: str, node: ast.stmt) -> tuple[object] | None:
    """The value of `name = <literal>`, in a tuple of its own; None for every other statement."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target: ast.expr = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    else:
        return None
    if not (isinstance(target, ast.Name) and target.id == name) or node.value is None:
        return None
    try:
        value = ast.literal_eval(node.value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return (value,) if _is_literal(value) else None


def _unit_text(name: str, node: ast.stmt) -> str:
    """A definition as it enters the fingerprint: plain data by its value, everything else by its normalised source."""
    literal = _literal_assigned(name, node)
    return f"value:{_literal_text(literal[0])}" if literal else fingerprint.normalised(node)


# -- comparing with what is loaded -----------------------------------------------------------------------------------


def _find_function(tree: ast.Module, qualname: str, line: int) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The definition of a function by its qualified name; of several, the one at `line`, else the last."""
    scopes: list[ast.AST] = [tree]
    parts = [part for part in qualname.split(".") if part != "<locals>"]
    for part in parts:
        scopes = [node for scope in scopes for node in _definitions_in(scope) if node.name == part]
    found = [node for node in scopes if isinstance(node, _FUNCTIONS)]
    at_line = [node for node in found if line in (node.lineno, *(d.lineno for d in node.decorator_list))]
    chosen = at_line or found
    return chosen[-1] if chosen else None


def _definitions_in(scope: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The definitions directly inside a scope, those under `if`, `with`, `try` and loops included."""
    pending: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while pending:
        node = pending.pop(0)
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield node
        elif not isinstance(node, ast.expr):
            pending.extend(ast.iter_child_nodes(node))


def _check_loaded(name: str, nodes: list[ast.stmt], source: _Source, names: dict[str, Any] | None) -> None:
    """Refuse a definition whose loaded counterpart is another one. What is not loaded will be, from this source."""
    if names is None or name not in names:
        return
    value = names[name]
    last = nodes[-1]
    if isinstance(last, (*_FUNCTIONS, ast.ClassDef)):
        for function in _functions_of(value, source.filename):
            if not _same_as_source(function.__code__, source, function.__qualname__):
                raise SourceChanged(source.filename, function.__qualname__, "its code is not what is loaded")
    elif len(nodes) == 1:
        literal = _literal_assigned(name, last)
        if literal and _literal_text(literal[0]) != (_literal_text(value) if _is_literal(value) else None):
            raise SourceChanged(source.filename, name, f"{_short(literal[0])} in the source, {_short(value)} in memory")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _functions_of(value: object, filename: str) -> Iterator[types.FunctionType]:
    values = vars(value).values() if isinstance(value, type) else [value]
    for item in values:
        function = _function_behind(item)
        if function is not None and function.__code__.co_filename == filename:
            yield function


def _function_behind(value: object) -> types.FunctionType | None:
    """The plain function under methods, properties, partials and wrappers; of a class, one of its own."""
    for _ in range(16):
        if isinstance(value, types.FunctionType):
            wrapped = getattr(value, "__wrapped__", None)
            if wrapped is None:
                return value
            value = wrapped
        elif isinstance(value, type):
            own = (item for item in vars(value).values() if isinstance(item, types.FunctionType))
            return next((item for item in own if item.__code__.co_filename != "<string>"), None)
        elif isinstance(value, (staticmethod, classmethod, types.MethodType)):
            value = value.__func__
        elif isinstance(value, property):
            value = value.fget
        elif isinstance(value, functools.partial):
            value = value.func
        elif getattr(value, "__wrapped__", None) is not None:
            value = value.__wrapped__  # type: ignore[attr-defined]
        else:
            return None
    return None


def _same_as_source(code: types.CodeType, source: _Source, qualname: str) -> bool:
    """Whether some definition of that name in the source compiles to the loaded code."""
    return any(_same_code(code, candidate) for candidate in _codes_named(source.code, qualname))


def _codes_named(top: types.CodeType, qualname: str) -> list[types.CodeType]:
    scopes = [top]
    for part in (part for part in qualname.split(".") if part != "<locals>"):
        scopes = [
            constant
            for scope in scopes
            for constant in scope.co_consts
            if isinstance(constant, types.CodeType) and constant.co_name == part
        ]
    return scopes


def _same_code(loaded: types.CodeType, written: types.CodeType) -> bool:
    """Equal but for line numbers and docstrings. What pytest rewrote cannot be compared and passes."""
    if any(name.startswith("@py_") for name in loaded.co_varnames):
        return True
    if (
        loaded.co_code != written.co_code
        or loaded.co_names != written.co_names
        or loaded.co_varnames != written.co_varnames
        or loaded.co_freevars != written.co_freevars
        or loaded.co_argcount != written.co_argcount
        or loaded.co_kwonlyargcount != written.co_kwonlyargcount
        or len(loaded.co_consts) != len(written.co_consts)
    ):
        return False
    for position, (one, other) in enumerate(zip(loaded.co_consts, written.co_consts, strict=True)):
        if isinstance(one, types.CodeType) and isinstance(other, types.CodeType):
            if not _same_code(one, other):
                return False
        elif (type(one), repr(one)) != (type(other), repr(other)) and not (
            position == 0 and isinstance(one, (str, type(None))) and isinstance(other, (str, type(None)))
        ):
            return False
    return True


def _is_literal(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_literal, value))
    if isinstance(value, dict):
        return all(_is_literal(key) and _is_literal(item) for key, item in value.items())
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes))


def _literal_text(value: object) -> str:
    if isinstance(value, dict):
        items = sorted(f"{_literal_text(key)}:{_literal_text(item)}" for key, item in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({','.join(map(_literal_text, value))})"
    return f"{type(value).__name__}:{value!r}"
