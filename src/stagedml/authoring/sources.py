"""Reading and parsing the source of functions, modules and notebook cells, and telling which are tracked.

Modules are read, not imported. Tracked are the user's own modules and cells, and our `stages`, `ml` and `testing`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import linecache
import os
import re
import site
import sys
import sysconfig
import tokenize
import types
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder

from stagedml.authoring.names import (
    FUNCTIONS,
    LOOKING,
    Import,
    absolute,
    all_bound,
    bound_by,
    globals_of,
    imports_in,
    is_type_checking,
)
from stagedml.authoring.plain import unit_text
from stagedml.errors import UsageError

_OWN_TRACKED = ("stagedml.stages", "stagedml.ml", "stagedml.testing")


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


@dataclass(eq=False)
class Source:
    """The parsed text of one module or notebook cell.

    Attributes:
        definitions: the statements at its top that bind a name or may change what it stands for, in order.
        imports: where names come from; several where it depends on a condition.
        stars: the modules that `from ... import *` names.
        shadowed: built-in names that stand for something else in it.
    """

    filename: str
    module: str
    text: str
    tree: ast.Module
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[Import, ...]] = field(default_factory=dict)
    stars: list[Import] = field(default_factory=list)
    shadowed: frozenset[str] = frozenset()

    @functools.cached_property
    def is_cell(self) -> bool:
        """Whether it is a notebook cell."""
        return not os.path.exists(self.filename)

    def text_of(self, name: str) -> str:
        """All definitions of a name in their order, as they enter the fingerprint."""
        return "\n".join(unit_text(name, node) for node in self.definitions.get(name, ()))

    @functools.cached_property
    def lines(self) -> list[str]:
        """Its text by lines, as the parser counts them."""
        return self.text.split("\n")

    def as_written(self, nodes: Iterable[ast.stmt]) -> str:
        """The lines of some statements, with their decorators."""
        return "\n".join("\n".join(self.lines[first_line(node) - 1 : node.end_lineno]) for node in nodes)


def first_line(node: ast.stmt) -> int:
    """The line at which a statement begins, its decorators included, counted from 1."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


@functools.lru_cache(maxsize=1024)
def parse(filename: str, module: str, text: str, shadowed: frozenset[str] = frozenset()) -> Source:
    """Parse a text; other cells may shadow built-in names. Raises SyntaxError."""
    source = Source(filename, module, text, ast.parse(text, filename))
    source.shadowed = shadowed | (all_bound(source.tree) & LOOKING)
    _collect(source.tree.body, source)
    if not source.is_cell:
        _collect_globals(source)
    return source


@functools.lru_cache(maxsize=1024)
def compiled(filename: str, text: str, future_flags: int) -> types.CodeType:
    """The code object of a whole text."""
    flags = future_flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # which notebook cells may do
    code: types.CodeType = compile(text, filename, "exec", flags=flags, dont_inherit=True)
    return code


def text_of_file(filename: str) -> str | None:
    """The current text of a file, or of a notebook cell under the file name that it was compiled with."""
    try:
        with tokenize.open(filename) as file:
            return file.read()
    except OSError:
        return "".join(linecache.getlines(filename)) or None
    except SyntaxError:
        raise SourceChanged(filename, os.path.basename(filename), "its encoding cannot be read any more") from None


def source_of_file(filename: str, module: str) -> Source | None:
    """A file or cell as it is now; None where there is none. Raises SourceChanged where it does not parse."""
    text = text_of_file(filename)
    if text is None:
        return None
    try:
        return parse(filename, module, text)
    except SyntaxError:
        raise SourceChanged(filename, module, "it does not parse any more") from None


def digest_of_text(text: str) -> str:
    """What tells one text of a module from another."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class _Snapshot:
    """What the walk in progress has found and read of each module."""

    def __init__(self) -> None:
        self.sources: dict[str, Source | None] = {}
        self.specs: dict[str, ModuleSpec | None] = {}


_snapshot: ContextVar[_Snapshot | None] = ContextVar("stagedml_snapshot", default=None)


@contextlib.contextmanager
def one_snapshot() -> Iterator[None]:
    """Inside the block each module is found and read once."""
    token = _snapshot.set(_Snapshot())
    try:
        yield
    finally:
        _snapshot.reset(token)


def source_of_module(module: str) -> Source | None:
    """The source of a tracked module, which need not be loaded; None for all others. Raises SourceUnavailable."""
    known = _snapshot.get()
    if known is None:
        return _read_module(module)
    if module not in known.sources:
        known.sources[module] = _read_module(module)
    return known.sources[module]


def _read_module(module: str) -> Source | None:
    filename = file_of_module(module)
    if filename is None or not is_tracked(module, filename):
        return None
    source = source_of_file(filename, module)
    if source is None:
        raise SourceUnavailable(f"the module {module}", filename)
    return source


def cells_backwards(own: Source | None) -> Iterator[Source]:
    """The notebook's cells in the order of their execution, the last one first; where there is none, the builder's."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    texts = shell.user_ns.get("In", []) if shell is not None else []
    shadowed = frozenset(LOOKING.intersection(shell.user_ns)) if shell is not None else frozenset()
    for number in range(len(texts) - 1, 0, -1):
        try:
            yield parse(f"In[{number}]", "__main__", texts[number], shadowed)
        except SyntaxError:  # such a cell did nothing
            continue
    if not texts and own is not None:
        yield own


def file_of_module(module: str) -> str | None:
    """The Python file of a module, which need not be loaded."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        filename = getattr(loaded, "__file__", None)
    else:
        spec = spec_of_module(module)
        filename = spec.origin if spec is not None and spec.has_location else None
    return filename if filename is not None and filename.endswith(".py") else None


def spec_of_module(module: str) -> ModuleSpec | None:
    """Where a module is, found without importing anything, its parent packages included."""
    known = _snapshot.get()
    if known is None:
        return _find_spec(module)
    if module not in known.specs:
        known.specs[module] = _find_spec(module)
    return known.specs[module]


def _find_spec(module: str) -> ModuleSpec | None:
    loaded: ModuleSpec | None = getattr(sys.modules.get(module), "__spec__", None)
    if loaded is not None:
        return loaded
    parent, _, _ = module.rpartition(".")
    try:
        if not parent:
            return importlib.util.find_spec(module) if module else None
        above = spec_of_module(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        return PathFinder.find_spec(module, list(above.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):
        return None


def is_namespace(module: str) -> bool:
    """Whether a module is a folder without `__init__.py`."""
    spec = spec_of_module(module)
    return spec is not None and not spec.has_location and bool(spec.submodule_search_locations)


def stands_in_cell(function: types.FunctionType, name: str) -> bool:
    """Whether a function is the one that a cell defines at its top under that name."""
    return function.__qualname__ == name and not os.path.exists(function.__code__.co_filename)


def is_cell_module(module: str) -> bool:
    """Whether a module is a notebook's namespace."""
    return getattr(sys.modules.get(module), "__file__", None) is None and module not in sys.builtin_module_names


def has_submodules(module: str) -> bool:
    """Whether a module is a package with more in it than its `__init__.py`."""
    spec = spec_of_module(module)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return any(
        (name.endswith(".py") and name != "__init__.py") or ("." not in name and name != "__pycache__")
        for folder in folders
        if os.path.isdir(folder)
        for name in os.listdir(folder)
    )


def is_wrapper(value: object) -> bool:
    """Whether a value is one that only wraps a function, such as a cached one."""
    return isinstance(value, (staticmethod, classmethod, functools._lru_cache_wrapper))


@functools.lru_cache(maxsize=1)
def _installed_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(site.getsitepackages())
    folders.add(site.getusersitepackages())
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)


#: How the folders are called that packages are installed in, of other environments too, as a `.pth` file brings them.
_INSTALLED = re.compile(rf"{re.escape(os.sep)}(site|dist)-packages{re.escape(os.sep)}")


@functools.lru_cache(maxsize=8192)
def is_tracked(module: str, filename: str) -> bool:
    """Whether a module is the user's, or one of those of ours that count as such."""
    if module == "stagedml" or module.startswith("stagedml."):
        return module.startswith(_OWN_TRACKED)
    place = os.path.realpath(filename)
    return not (place.startswith(_installed_folders()) or _INSTALLED.search(place))


def _collect(body: Iterable[ast.stmt], source: Source) -> None:
    """Find what the statements at the top of a module bind."""
    for statement in body:
        if not isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
            stars = (node for node in ast.walk(statement) if isinstance(node, ast.ImportFrom))
            source.stars.extend(
                Import(absolute(node, source.module, source.filename), "*", node)
                for node in stars
                if node.names[0].name == "*"
            )
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            for name, target in imports_in(statement, source.module, source.filename):
                source.imports[name] = (target,)
        elif isinstance(statement, ast.If) and is_type_checking(statement.test):
            _collect(statement.orelse, source)
        else:
            names = bound_by(statement, source.shadowed)
            if not isinstance(statement, (*FUNCTIONS, ast.ClassDef)):  # imports under conditions
                for name, target in imports_in(statement, source.module, source.filename):
                    source.imports[name] = (*source.imports.get(name, ()), target)
                    names.add(name)
            for name in names:
                source.definitions.setdefault(name, []).append(statement)


def _collect_globals(source: Source) -> None:
    """Find the names that only functions bind, with `global`: these functions are what defines them."""
    known = {*source.definitions, *source.imports}
    for statement in source.tree.body:
        for name in sorted(globals_of(statement) - known):
            source.definitions.setdefault(name, []).append(statement)
