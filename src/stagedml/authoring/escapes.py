"""Places where code reaches something that its source does not name.

A value counts whole, a module with everything in it and a class with its whole body: so `getattr(value, name)` reaches
nothing that is not covered, whatever the name, and neither do `vars(value)` and `locals()` in a function. What is left
are the few ways to reach code by a text, listed here, and changes of modules and classes from inside of functions,
which outlive the build that makes them.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stagedml.authoring.names import (
    FUNCTIONS,
    Chain,
    Import,
    absolute,
    all_bound,
    attribute_of,
    chain_of,
    imports_below,
)
from stagedml.authoring.sources import Source

#: Functions and tables that lead from a text to code.
_FROM_TEXT = frozenset(
    {
        "eval",
        "exec",
        "__import__",
        "importlib.import_module",
        "importlib.machinery.SourceFileLoader",
        "importlib.util.spec_from_file_location",
        "inspect.currentframe",
        "inspect.stack",
        "pkgutil.resolve_name",
        "pydoc.locate",
        "runpy.run_module",
        "runpy.run_path",
        "sys._getframe",
        "sys.modules",
    }
)
_FROM_TEXT_PREFIXES = ("unittest.mock.patch", "mock.patch")
_READING = frozenset({"get", "items", "keys", "values", "copy", "__getitem__"})  # of a dict
_IMPORTERS = frozenset({"importlib.import_module", "__import__"})
_ATTRIBUTES = frozenset({"__globals__", "__builtins__", "__subclasses__", "f_globals", "f_locals"})
#: What a definition without any of these names needs not be searched for.
_NAMES = frozenset(
    {
        *(name.rpartition(".")[2] for name in _FROM_TEXT),
        *("globals", "locals", "vars", "dir", "getattr", "setattr", "delattr", "patch"),
        *_ATTRIBUTES,
    }
)


@dataclass(frozen=True, slots=True)
class Escape:
    """One such place, or one that looks like it and leads to modules that count whole."""

    line: int
    what: str
    #: What it reaches, where that can be said: modules that count whole; `""` is the module it stands in.
    modules: tuple[str, ...] = ()
    #: What it changes, or may read any attribute of: of interest if it turns out to be a tracked module or a class.
    target: Chain | None = None
    is_change: bool = False


@functools.lru_cache(maxsize=8192)
def escapes_below(node: ast.AST, source: Source) -> tuple[Escape, ...]:
    """The places below a definition or statement, in their order."""
    renamed = _renamed(source.tree)
    for part in ast.walk(node):
        if (isinstance(part, ast.Name) and (part.id in _NAMES or part.id in renamed)) or (
            isinstance(part, ast.Attribute) and (part.attr in _NAMES or not isinstance(part.ctx, ast.Load))
        ):
            return tuple(_Finder(node, source).escapes(node, in_function=False))
    return ()


@functools.lru_cache(maxsize=1024)
def _renamed(tree: ast.Module) -> frozenset[str]:
    """The names under which a module imports such functions."""
    aliases = (alias for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names)
    return frozenset(alias.asname for alias in aliases if alias.asname is not None and alias.name in _NAMES)


class _Finder:
    """One search of one definition."""

    def __init__(self, node: ast.AST, source: Source) -> None:
        self.source = source
        self.bound = all_bound(node)
        self.imports: dict[str, tuple[Import, ...]] = {}
        for name, target in imports_below(node, source.module, source.filename):
            self.imports[name] = (*self.imports.get(name, ()), target)

    def escapes(self, node: ast.AST, *, in_function: bool) -> Iterator[Escape]:
        in_function = in_function or isinstance(node, (*FUNCTIONS, ast.Lambda))
        if isinstance(node, ast.Call):
            found = list(self._of_call(node, in_function))
            if found:
                yield from found
                for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                    yield from self.escapes(argument, in_function=in_function)
                return
        elif isinstance(node, ast.Compare) and all(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            if any(name == "sys.modules" for name in map(self._meaning, node.comparators)):
                yield from self.escapes(node.left, in_function=in_function)
                return
        elif isinstance(node, ast.Subscript):
            found = list(self._of_subscript(node, in_function))
            if found:
                yield from found
                yield from self.escapes(node.slice, in_function=in_function)
                return
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)) and in_function:
            chain = chain_of(node)
            if chain is not None and not self._is_local(chain[0]):
                yield Escape(node.lineno, f"{ast.unparse(node)} = ...", target=chain, is_change=True)
        if isinstance(node, (ast.Name, ast.Attribute)):
            meaning = self._meaning(node)
            if meaning in _FROM_TEXT or meaning.startswith(_FROM_TEXT_PREFIXES):
                yield Escape(node.lineno, _spelt(node))
                return
            if meaning == "globals":
                yield Escape(node.lineno, "globals")
                return
            if isinstance(node, ast.Attribute) and node.attr in _ATTRIBUTES:
                yield Escape(node.lineno, _spelt(node))
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns"):
                continue
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST):
                    yield from self.escapes(item, in_function=in_function)

    def _of_call(self, node: ast.Call, in_function: bool) -> Iterator[Escape]:
        meaning = self._meaning(node.func)
        line, what = node.lineno, _spelt(node)
        if meaning in _IMPORTERS:
            module = self._module_named(node)
            yield Escape(line, what) if module is None else Escape(line, what, modules=(module,))
        elif meaning == "globals" or (meaning in ("locals", "vars") and not node.args and not in_function):
            yield Escape(line, what, modules=("",))
        elif meaning in ("getattr", "vars", "dir") and node.args and attribute_of(node) is None:
            chain = chain_of(node.args[0])
            if chain is not None and not self._is_local(chain[0]):
                yield Escape(line, what, target=chain)
        elif meaning in ("setattr", "delattr") and node.args and in_function:
            chain = chain_of(node.args[0])
            if chain is not None and not self._is_local(chain[0]):
                yield Escape(line, what, target=(*chain, "*"), is_change=True)
        elif isinstance(node.func, ast.Attribute) and self._is_globals(node.func.value):
            yield Escape(line, what, modules=("",)) if node.func.attr in _READING else Escape(line, what)

    def _of_subscript(self, node: ast.Subscript, in_function: bool) -> Iterator[Escape]:
        key = node.slice
        if self._meaning(node.value) == "sys.modules" and isinstance(node.ctx, ast.Load):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield Escape(node.lineno, _spelt(node), modules=(key.value,))
            elif isinstance(key, ast.Name) and key.id == "__name__":
                yield Escape(node.lineno, _spelt(node), modules=("",))
        elif self._is_globals(node.value) and not isinstance(node.ctx, ast.Load):
            yield Escape(node.lineno, f"{_spelt(node)} = ...")

    def _is_local(self, name: str) -> bool:
        """Whether a name can be nothing but a local variable."""
        known = name in self.imports or name in self.source.imports or name in self.source.definitions
        return not known and name in self.bound

    def _is_globals(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and self._meaning(node.func) == "globals"

    def _module_named(self, call: ast.Call) -> str | None:
        first = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "name"), None)
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            return None
        name = first.value
        if not name.startswith("."):
            return name
        package = next((k.value for k in call.keywords if k.arg == "package"), call.args[1] if call.args[1:] else None)
        if isinstance(package, ast.Name) and package.id == "__package__":
            level = len(name) - len(name.lstrip("."))
            node = ast.ImportFrom(module=name[level:] or None, names=[], level=level)
            return absolute(node, self.source.module, self.source.filename)
        return None

    def _meaning(self, node: ast.AST) -> str:
        """The full name of what an expression spells: of a built-in its own, of what is imported its module's first."""
        chain = chain_of(node)
        if chain is None:
            return ""
        imports: Mapping[str, tuple[Import, ...]] = self.imports if chain[0] in self.imports else self.source.imports
        if chain[0] in imports:
            target = imports[chain[0]][0]
            chain = (target.module, *((target.attribute,) if target.attribute else ()), *chain[1:])
        elif chain[0] in self.bound or chain[0] in self.source.definitions:
            return ""
        return ".".join(chain).removeprefix("builtins.")


def _spelt(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."
