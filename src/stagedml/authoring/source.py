"""Finding the code behind a builder, and making sure that it is the code that runs.

Starting from the builder, every name it uses is followed to a definition: in its own module or notebook cell, and
through imports, at the top or inside functions, into other tracked modules. Tracked are the user's own modules and
cells, and our `stages` and `ml`; installed packages are not followed. Modules are read, not imported, so a builder that
imports TensorFlow when it runs is fingerprinted without it. A module that is used as a value counts whole.

The source of what is loaded is compared with the loaded code objects, defaults and constants, and with the text that
was there when the module's stages were made or, at the latest, when it was first read: source that was edited since it
was imported is refused, for a fingerprint of it would not be that of the code that runs.

A notebook cell names what is in its namespace now, whichever cell put it there: functions are followed, plain data
counts by its value, and everything else by the statements of the cells that made it.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import linecache
import os
import site
import sys
import sysconfig
import tokenize
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any, TypeAlias

from stagedml.authoring.loaded import FUTURE_FLAGS, codes_named, function_behind, functions_of, same_code
from stagedml.core import fingerprint
from stagedml.core.config import article
from stagedml.errors import UsageError

_OWN_TRACKED = ("stagedml.stages", "stagedml.ml", "stagedml.testing")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_Chain: TypeAlias = tuple[str, ...]


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
    """A builder uses a variable of its surroundings whose value is neither configuration nor code."""

    def __init__(self, builder: str, variable: str, kind: str, where: str) -> None:
        super().__init__(builder, variable, kind, where)
        self.builder, self.variable, self.kind, self.where = builder, variable, kind, where

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.builder} captures {self.variable!r}, {article(self.kind)}, which no hash covers; "
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

    @property
    def is_cell(self) -> bool:
        return not os.path.exists(self.filename)

    def text_of(self, name: str) -> str:
        """All definitions of a name in their order, as they enter the fingerprint."""
        return "\n".join(_unit_text(name, node) for node in self.definitions.get(name, ()))


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
        function = inspect.unwrap(builder)
        assert isinstance(function, types.FunctionType)
        self.builder = function
        self.reached: set[tuple[str, str]] = set()
        self.seen: set[tuple[str, str]] = set()
        self.numbers: dict[str, int] = {}  # of modules, in the order in which they are come to

    def digest(self) -> str:
        builder = self.builder
        source, node = _source_of_function(builder)
        self._number(source)
        self.seen.add((source.filename, node.name))
        _check_record(node.name, source, builder.__globals__)
        self._follow_captures(builder)
        bare = [d for d in node.decorator_list if not fingerprint.is_stage(d)]
        self._follow_names(bare, source, builder.__globals__)
        own = _locals_of(node) | set(builder.__code__.co_freevars)
        self._follow_names(node.body, source, builder.__globals__, own)
        return fingerprint.digest(fingerprint.normalised_builder(node), self.reached)

    def _reach(self, name: str, source: _Source, text: str) -> None:
        number = self._number(source)
        self.reached.add((f"{number}:{name}" if number else name, text))

    def _number(self, source: _Source) -> int:
        """What stands for a module, which may be renamed; 0 is the builder's own, and all cells are one."""
        return self.numbers.setdefault("" if source.is_cell else source.filename, len(self.numbers))

    # -- names ---------------------------------------------------------------------------------------------------

    def _follow_names(
        self,
        nodes: Iterable[ast.AST],
        source: _Source,
        names: dict[str, Any] | None,
        bound: frozenset[str] = frozenset(),
    ) -> None:
        local_imports: dict[str, _Import] = {}
        chains: set[_Chain] = set()
        for node in nodes:
            local_imports.update(_imports_below(node, source.module, source.filename))
            chains.update(_chains_below(node, bound))
        for chain in sorted(chains):
            if chain[0] in local_imports:
                self._follow_import(local_imports[chain[0]], chain[1:])
            else:
                self._follow_name(chain, source, names)

    def _follow_name(self, chain: _Chain, source: _Source, names: dict[str, Any] | None) -> None:
        name = chain[0]
        if source.is_cell and names is not None:
            if name in names:
                self._follow_live(chain, names[name], names)
            return
        if name in source.imports:
            self._add_import(chain, source, names)
        if name in source.definitions:
            self._add(name, source, names)
        elif name not in source.imports:
            self._follow_stars(source, chain)

    def _follow_stars(self, source: _Source, chain: _Chain) -> bool:
        """Follow a name through all star imports: the last one that has it counts, and which that is may change."""
        found = [star for star in source.stars if self._follow_import(_Import(star, chain[0]), chain[1:])]
        for star in found:
            self._reach(chain[0], source, self._spelt(_Import(star, chain[0])))
        return bool(found)

    def _add_import(self, chain: _Chain, source: _Source, names: dict[str, Any] | None) -> bool:
        """Cover an imported name: what it stands for, and where that leads."""
        target = source.imports[chain[0]]
        if names is not None and chain[0] in names:
            _check_record(chain[0], source, names)
            _check_imported(chain[0], target, source, names[chain[0]])
        self._reach(chain[0], source, self._spelt(target))
        return self._follow_import(target, chain[1:])

    def _spelt(self, target: _Import) -> str:
        source = _source_of_module(target.module)
        module = target.module if source is None else self._number(source)
        return f"import:{module}:{target.attribute or ''}"

    def _add(self, name: str, source: _Source, names: dict[str, Any] | None) -> None:
        if (source.filename, name) in self.seen:
            return
        self.seen.add((source.filename, name))
        nodes = source.definitions[name]
        if names is not None and name in names:  # what is not loaded yet will be, from this source
            _check_record(name, source, names)
            _check_loaded(name, nodes, source, names[name])
        self._reach(name, source, source.text_of(name))
        self._follow_names(nodes, source, names)

    def _follow_import(self, target: _Import, rest: _Chain) -> bool:
        """Follow an imported name as far as tracked source goes; whether it led into any."""
        if target.attribute is not None:
            rest = (target.attribute, *rest)
        source = _source_of_module(target.module)
        if source is None:
            inside = f"{target.module}.{rest[0]}" if rest else ""
            if not inside or not _is_namespace(target.module):
                return False
            return self._follow_import(_Import(inside, None), rest[1:])
        names = vars(sys.modules[target.module]) if target.module in sys.modules else None
        if not rest:
            if (source.filename, "*") not in self.seen:
                self.seen.add((source.filename, "*"))
                for name in sorted({*source.imports, *source.definitions}):
                    self._follow_name((name,), source, names)
            return True
        name = rest[0]
        found = False
        if name in source.definitions:
            self._add(name, source, names)
            found = True
        if name in source.imports:
            self._add_import(rest, source, names)
            found = True
        if not found and _source_of_module(f"{target.module}.{name}") is not None:
            found = self._follow_import(_Import(f"{target.module}.{name}", None), rest[1:])
        return found or self._follow_stars(source, rest)

    # -- values: what notebook cells and closures hold ------------------------------------------------------------

    def _follow_live(self, chain: _Chain, value: object, names: dict[str, Any]) -> None:
        """Cover what a name of a notebook stands for now."""
        name = chain[0]
        function = function_behind(value)
        if _is_literal(value):
            self.reached.add((name, f"value:{_literal_text(value)}"))
        elif isinstance(value, types.FunctionType) and function is not None and _stands_in_cell(function, name):
            self._follow_object(name, value)
        elif not self._follow_cells(chain, names) and not self._follow_object(name, value):
            where = f"{self.builder.__code__.co_filename}:{self.builder.__code__.co_firstlineno}"
            raise UncoveredCapture(self.builder.__qualname__, name, type(value).__name__, where)

    def _follow_cells(self, chain: _Chain, names: dict[str, Any]) -> bool:
        """Cover a name by the statements that made it what it is: those from its last binding on, over all cells."""
        name = chain[0]
        history: list[_Source] = []
        for cell in _cells_backwards(_source_of_file(self.builder.__code__.co_filename, self.builder.__module__)):
            if name in cell.definitions or name in cell.imports:
                history.append(cell)
            if name in cell.imports or any(_binds(name, node) for node in cell.definitions.get(name, ())):
                break
        if history and name in history[-1].imports:
            self._add_import(chain, history[-1], names)
        changes = [cell for cell in reversed(history) if name in cell.definitions]
        if changes and ("<cells>", name) not in self.seen:
            self.seen.add(("<cells>", name))
            self._reach(name, changes[0], "\n".join(cell.text_of(name) for cell in changes))
            for cell in changes:
                self._follow_names(cell.definitions[name], cell, names)
        return bool(history)

    def _follow_object(self, name: str, value: object) -> bool:
        """Cover a value of which only the value is known: code by its source, plain data by its text."""
        if isinstance(value, types.ModuleType):
            self._follow_import(_Import(value.__name__, None), ())
            return True
        if _is_literal(value):
            self.reached.add((name, f"value:{_literal_text(value)}"))
            return True
        if isinstance(value, functools.partial):
            given: object = [list(value.args), value.keywords]
            return self._follow_object(f"{name}()", given) and self._follow_object(name, value.func)
        if isinstance(value, (types.BuiltinFunctionType, types.MethodType)):
            return value.__self__ is None or isinstance(value.__self__, (type, types.ModuleType))
        if not isinstance(value, type) and function_behind(value) is not value and not _is_wrapper(value):
            return False
        module = getattr(value, "__module__", None) or ""
        function = function_behind(value)
        filename = function.__code__.co_filename if function is not None else _file_of_module(module)
        if filename is None:
            return module in sys.builtin_module_names or not _is_cell_module(module)
        if not _is_tracked(module, filename):
            return True
        if isinstance(value, types.FunctionType) and function is not None and "<locals>" in function.__qualname__:
            return self._add_local(name, function)
        source = _source_of_file(filename, module)
        top = getattr(value, "__qualname__", "").split(".")[0]
        if source is None or top not in source.definitions:
            return False
        self._add(top, source, function.__globals__ if function is not None else vars(sys.modules[module]))
        return True

    def _follow_captures(self, function: types.FunctionType) -> None:
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet: a function that refers to itself
                continue
            if value is not function and not self._follow_object(name, value):
                where = f"{code.co_filename}:{code.co_firstlineno}"
                raise UncoveredCapture(function.__qualname__, name, type(value).__name__, where)

    def _add_local(self, name: str, function: types.FunctionType) -> bool:
        """Cover a function that was defined inside another one."""
        key = (function.__code__.co_filename, function.__qualname__)
        if key not in self.seen and function is not self.builder:
            self.seen.add(key)
            source, node = _source_of_function(function)
            self._reach(name, source, fingerprint.normalised(node))
            captured = frozenset(function.__code__.co_freevars)
            self._follow_names([node], source, function.__globals__, captured)
            self._follow_captures(function)
        return True


# -- reading sources -------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _parse(filename: str, module: str, text: str) -> _Source:
    source = _Source(filename, module, text, ast.parse(text, filename))
    _collect(source.tree.body, source)
    return source


@functools.lru_cache(maxsize=1024)
def _compiled(filename: str, text: str, future_flags: int) -> types.CodeType:
    flags = future_flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # which notebook cells may do
    code: types.CodeType = compile(text, filename, "exec", flags=flags, dont_inherit=True)
    return code


def _text_of_file(filename: str) -> str | None:
    """The current text of a file, or of a notebook cell under the file name that it was compiled with."""
    try:
        with tokenize.open(filename) as file:
            return file.read()
    except OSError:
        return "".join(linecache.getlines(filename)) or None
    except SyntaxError:
        raise SourceChanged(filename, os.path.basename(filename), "its encoding cannot be read any more") from None


def _source_of_file(filename: str, module: str) -> _Source | None:
    text = _text_of_file(filename)
    if text is None:
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
    source = _source_of_file(filename, module)
    if source is None:
        raise SourceUnavailable(f"the module {module}", filename)
    return source


def _source_of_function(function: types.FunctionType) -> tuple[_Source, ast.FunctionDef | ast.AsyncFunctionDef]:
    """A loaded function's source and definition. Raises SourceUnavailable, SourceChanged."""
    code = function.__code__
    source = _source_of_file(code.co_filename, function.__module__)
    if source is None:
        raise SourceUnavailable(function.__qualname__, code.co_filename)
    node = _find_function(source.tree, function.__qualname__, code.co_firstlineno)
    if node is None or not _is_written(function, source):
        raise SourceChanged(source.filename, function.__qualname__, "another function stands there now")
    return source, node


def _cells_backwards(own: _Source | None) -> Iterator[_Source]:
    """The notebook's cells in the order of their execution, the last one first; where there is none, the builder's."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    texts = shell.user_ns.get("In", []) if shell is not None else []
    for number in range(len(texts) - 1, 0, -1):
        try:
            yield _parse(f"In[{number}]", "__main__", texts[number])
        except SyntaxError:  # such a cell did nothing
            continue
    if not texts and own is not None:
        yield own


def _file_of_module(module: str) -> str | None:
    loaded = sys.modules.get(module)
    if loaded is not None:
        filename = getattr(loaded, "__file__", None)
    else:
        spec = _spec_of_module(module)
        filename = spec.origin if spec is not None and spec.has_location else None
    return filename if filename is not None and filename.endswith(".py") else None


def _spec_of_module(module: str) -> ModuleSpec | None:
    """Where a module is, found without importing anything, its parent packages included."""
    loaded: ModuleSpec | None = getattr(sys.modules.get(module), "__spec__", None)
    if loaded is not None:
        return loaded
    parent, _, _ = module.rpartition(".")
    try:
        if not parent:
            return importlib.util.find_spec(module) if module else None
        above = _spec_of_module(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        return PathFinder.find_spec(module, list(above.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):
        return None


def _is_namespace(module: str) -> bool:
    """Whether a module is a folder without `__init__.py`."""
    spec = _spec_of_module(module)
    return spec is not None and not spec.has_location and bool(spec.submodule_search_locations)


def _stands_in_cell(function: types.FunctionType, name: str) -> bool:
    """Whether a function is the one that a cell defines at its top under that name."""
    return function.__qualname__ == name and not os.path.exists(function.__code__.co_filename)


def _is_cell_module(module: str) -> bool:
    return getattr(sys.modules.get(module), "__file__", None) is None and module not in sys.builtin_module_names


def _is_wrapper(value: object) -> bool:
    """Whether a value is one that only wraps a function, such as a cached one."""
    return isinstance(value, (staticmethod, classmethod, functools._lru_cache_wrapper))


@functools.lru_cache(maxsize=1)
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(site.getsitepackages())
    folders.add(site.getusersitepackages())
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)


@functools.lru_cache(maxsize=8192)
def _is_tracked(module: str, filename: str) -> bool:
    if module == "stagedml" or module.startswith("stagedml."):
        return module.startswith(_OWN_TRACKED)
    return not os.path.realpath(filename).startswith(_installed_folders())


def _collect(body: Iterable[ast.stmt], source: _Source) -> None:
    """Find what the statements at the top of a module bind."""
    for statement in body:
        if not isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            stars = (node for node in ast.walk(statement) if isinstance(node, ast.ImportFrom))
            source.stars.extend(
                _absolute(node, source.module, source.filename) for node in stars if node.names[0].name == "*"
            )
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            for name, target in _imports_in(statement, source.module, source.filename):
                source.imports[name] = target
        elif isinstance(statement, ast.If) and _is_type_checking(statement.test):
            _collect(statement.orelse, source)
        else:
            names = _bound_by(statement)
            if not isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):  # imports under conditions
                for name, target in _imports_in(statement, source.module, source.filename):
                    source.imports.setdefault(name, target)
                    names.add(name)
            for name in names:
                source.definitions.setdefault(name, []).append(statement)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _is_main_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


def _bound_by(statement: ast.stmt) -> set[str]:
    """The names a top-level statement binds or may change."""
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return {statement.name}
    names: set[str | None] = set()
    for node in ast.walk(statement):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Name, ast.Subscript, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            names.add(_root(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not _is_main_guard(statement):
            call = node.value  # TABLE.update(...), shuffle(TABLE)
            names.update(_root(part) for part in (call.func, *call.args) if not isinstance(part, ast.Name))
            names.update(part.id for part in call.args if isinstance(part, ast.Name))
    return {name for name in names if name is not None}


def _binds(name: str, statement: ast.stmt) -> bool:
    """Whether a statement makes a name anew, rather than changing what it stands for."""
    return isinstance(statement, (*_FUNCTIONS, ast.ClassDef)) or any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        for node in ast.walk(statement)
        if not isinstance(statement, ast.AugAssign)
    )


def _root(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _absolute(node: ast.ImportFrom, module: str, filename: str) -> str:
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
def _imports_below(node: ast.AST, module: str, filename: str) -> tuple[tuple[str, _Import], ...]:
    return tuple(_imports_in(node, module, filename))


@functools.lru_cache(maxsize=8192)
def _chains_below(node: ast.AST, bound: frozenset[str]) -> frozenset[_Chain]:
    return frozenset(_name_chains(node, bound))


def _imports_in(tree: ast.AST, module: str, filename: str) -> Iterator[tuple[str, _Import]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.name if alias.asname else alias.name.split(".")[0]
                yield alias.asname or bound, _Import(bound, None)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, module, filename)
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, _Import(origin, alias.name)


def _name_chains(node: ast.AST, bound: frozenset[str] = frozenset(), *, in_class: bool = False) -> Iterator[_Chain]:
    """Every name of the surroundings that is read, with the attributes that are read off it: `a.b.c` is (a, b, c).

    Annotations that do not count are left out, and so are names that a function binds itself. What it imports is not
    among those, for it leads elsewhere.
    """
    if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
        inner = bound | _locals_of(node)
        for name, value in ast.iter_fields(node):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST) and name != "returns":
                    yield from _name_chains(item, inner if name == "body" else bound)
    elif isinstance(node, (ast.Name, ast.Attribute)):
        parts: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            parts.append(root.attr)
            root = root.value
        if not isinstance(root, ast.Name):
            yield from _name_chains(root, bound)
        elif root.id not in bound and (parts or isinstance(root.ctx, ast.Load)):
            yield (root.id, *reversed(parts))
    else:
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            targets = (part for generator in node.generators for part in ast.walk(generator.target))
            bound = bound | {part.id for part in targets if isinstance(part, ast.Name)}
        for name, value in ast.iter_fields(node):
            if name == "annotation" and not (in_class and isinstance(node, ast.AnnAssign)):
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST):
                    yield from _name_chains(item, bound, in_class=in_class or isinstance(node, ast.ClassDef))


def _locals_of(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    """The names that a function binds itself, except by importing."""
    arguments = function.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    names.update(argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument is not None)
    elsewhere: set[str] = set()
    pending: list[ast.AST] = list(function.body) if isinstance(function.body, list) else [function.body]
    while pending:
        node = pending.pop()
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
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
    return _literal(node.value)


def _literal(node: ast.expr) -> tuple[object] | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return (value,) if _is_literal(value) else None


@functools.lru_cache(maxsize=8192)
def _unit_text(name: str, node: ast.stmt) -> str:
    """A definition as it enters the fingerprint: plain data by its value, everything else by its normalised source."""
    literal = _literal_assigned(name, node)
    return f"value:{_literal_text(literal[0])}" if literal else fingerprint.normalised(node)


# -- comparing with what is loaded -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8192)
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


@dataclass(frozen=True)
class _Record:
    """The text of a file at a moment when it was what is loaded."""

    names: Mapping[str, Any]  #: the namespace it was loaded into
    spec: object  #: replaced when a module is reloaded
    text: str


#: What was first read of each file whose code is loaded. A stage's own module is read when the stage is made.
_records: dict[str, _Record] = {}


def note_loading(builder: Callable[..., Any]) -> None:
    """Remember the text of the module that is being loaded and has just come to this builder."""
    function = inspect.unwrap(builder)
    if isinstance(function, types.FunctionType) and "<locals>" not in function.__qualname__:
        names, filename = function.__globals__, function.__code__.co_filename
        try:
            text = _text_of_file(filename) if os.path.exists(filename) else None
        except SourceChanged:
            text = None  # told when the stage is declared
        if text is not None:
            _records[filename] = _Record(names, names.get("__spec__"), text)


def _check_record(name: str, source: _Source, names: dict[str, Any]) -> None:
    """Refuse a definition that reads otherwise than when its module was loaded, as far as that is known."""
    if source.is_cell:
        return
    record = _records.get(source.filename)
    if record is None or record.names is not names or record.spec is not names.get("__spec__"):
        _records[source.filename] = _Record(names, names.get("__spec__"), source.text)
    elif record.text != source.text:
        before = _parse(source.filename, source.module, record.text)
        if before.text_of(name) != source.text_of(name) or before.imports.get(name) != source.imports.get(name):
            raise SourceChanged(source.filename, name, "its definition is another one now")


def _check_loaded(name: str, nodes: list[ast.stmt], source: _Source, value: object) -> None:
    """Refuse a definition whose loaded counterpart is another one."""
    last = nodes[-1]
    if isinstance(last, (*_FUNCTIONS, ast.ClassDef)):
        for function in functions_of(value, source.filename):
            if not _is_written(function, source):
                raise SourceChanged(source.filename, function.__qualname__, "its code is not what is loaded")
        if isinstance(last, ast.ClassDef) and isinstance(value, type):
            for statement in last.body:
                _check_constant(statement, vars(value), f"{name}.", source)
    elif len(nodes) == 1:
        if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>" and not _is_written(value, source):
            raise SourceChanged(source.filename, name, "its code is not what is loaded")
        _check_constant(last, {name: value}, "", source)


def _check_imported(name: str, target: _Import, source: _Source, value: object) -> None:
    """Refuse code that was imported by name and is not what its module holds now, as after a reload of that alone."""
    module = sys.modules.get(target.module)
    if module is None or target.attribute is None or _source_of_module(target.module) is None:
        return
    current = vars(module).get(target.attribute, value)
    if current is not value and all(isinstance(one, (types.FunctionType, type)) for one in (current, value)):
        raise SourceChanged(source.filename, name, f"it holds another {name} than {target.module} does")


def _check_constant(statement: ast.stmt, loaded: Mapping[str, Any], prefix: str, source: _Source) -> None:
    """Refuse `name = <literal>` where the loaded value is another literal, or none."""
    for name, value in loaded.items():
        literal = _literal_assigned(name, statement)
        if literal is None or (prefix and not _is_literal(value)):  # a class may make fields of its literals
            continue
        if not _is_literal(value) or _literal_text(literal[0]) != _literal_text(value):
            what = f"{_short(literal[0])} in the source, {_short(value)} in memory"
            raise SourceChanged(source.filename, prefix + name, what)


def _is_written(function: types.FunctionType, source: _Source) -> bool:
    """Whether some definition in the source is that of a loaded function, its plain defaults included."""
    code = function.__code__
    written = codes_named(_compiled(source.filename, source.text, code.co_flags & FUTURE_FLAGS), function.__qualname__)
    if not any(same_code(code, candidate) for candidate in written):
        return False
    node = _find_function(source.tree, function.__qualname__, code.co_firstlineno)
    return len(written) != 1 or node is None or _has_defaults(function, node.args)


def _has_defaults(function: types.FunctionType, arguments: ast.arguments) -> bool:
    positional = zip(arguments.defaults, function.__defaults__ or (), strict=False)
    keyword = [
        (node, (function.__kwdefaults__ or {}).get(argument.arg))
        for argument, node in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if node is not None
    ]
    for node, value in [*positional, *keyword]:
        literal = _literal(node)
        if literal is not None and _is_literal(value) and _literal_text(literal[0]) != _literal_text(value):
            return False
    return len(arguments.defaults) == len(function.__defaults__ or ())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_literal(value: object) -> bool:
    """Whether a value is plain data: of the very types that literals have, for others carry more than their text."""
    if type(value) in (list, tuple, set, frozenset):
        return all(map(_is_literal, value))  # type: ignore[call-overload]
    if type(value) is dict:
        return all(_is_literal(key) and _is_literal(item) for key, item in value.items())
    return value is None or value is ... or type(value) in (bool, int, float, complex, str, bytes)


def _literal_text(value: object) -> str:
    if isinstance(value, dict):
        items = sorted(f"{_literal_text(key)}:{_literal_text(item)}" for key, item in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = map(_literal_text, value)
        ordered = parts if isinstance(value, (list, tuple)) else sorted(parts)
        return f"{type(value).__name__}({','.join(ordered)})"
    return f"{type(value).__name__}:{value!r}"
