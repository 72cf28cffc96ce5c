"""Places where code reaches something that its source does not name.

A value counts whole, a module with everything in it and a class with its whole body: so `getattr(value, name)` reaches
nothing that is not covered, whatever the name, and neither do `vars(value)` and `locals()` in a function. What is left
are the few ways to reach code by a text, listed here, changes of modules and classes from inside of functions, which
outlive the build that makes them, and what reads the parts of source that no fingerprint holds, such as docstrings.
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
from stagedml.authoring.plain import literal_of
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
#: What reads source that no fingerprint holds: docstrings, comments, annotations of signatures.
_SOURCE_READERS = frozenset(
    {
        "inspect.Signature.from_callable",
        "inspect.getcomments",
        "inspect.getdoc",
        "inspect.getfullargspec",
        "inspect.getsource",
        "inspect.getsourcelines",
        "inspect.signature",
        "pydoc.getdoc",
    }
)
#: The same, but annotations in the body of a class are held.
_ANNOTATION_READERS = frozenset(
    {
        "annotationlib.get_annotations",
        "inspect.get_annotations",
        "typing.get_type_hints",
        "typing_extensions.get_annotations",
        "typing_extensions.get_type_hints",
    }
)
_SOURCE_ATTRIBUTES = frozenset({"__doc__", "__annotations__", "__annotate__"})
_READING = frozenset({"get", "items", "keys", "values", "copy", "__getitem__"})  # of a dict
_IMPORTERS = frozenset({"importlib.import_module", "__import__"})
_ATTRIBUTES = frozenset({"__globals__", "__builtins__", "__subclasses__", "f_globals", "f_locals"})
#: What a definition without any of these names needs not be searched for.
_NAMES = frozenset(
    {
        *(name.rpartition(".")[2] for name in (*_FROM_TEXT, *_SOURCE_READERS, *_ANNOTATION_READERS)),
        *("globals", "locals", "vars", "dir", "getattr", "setattr", "delattr", "patch", "attrgetter"),
        *_ATTRIBUTES,
        *_SOURCE_ATTRIBUTES,
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
    #: Whether it reads source that no fingerprint holds; of a class that is the `target`, one does.
    is_reading: bool = False


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
            escapes = list(self._of_call(node, in_function))
            if escapes:
                yield from escapes
                for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                    yield from self.escapes(argument, in_function=in_function)
                return
        elif isinstance(node, ast.Compare) and all(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            if any(name == "sys.modules" for name in map(self._meaning, node.comparators)):
                yield from self.escapes(node.left, in_function=in_function)
                return
        elif isinstance(node, ast.Subscript):
            escapes = list(self._of_subscript(node, in_function))
            if escapes:
                yield from escapes
                yield from self.escapes(node.slice, in_function=in_function)
                return
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)) and in_function:
            chain = chain_of(node)
            if chain is not None and not self._is_local(chain[0]):
                yield Escape(node.lineno, f"{ast.unparse(node)} = ...", target=chain, is_change=True)
        found = attribute_of(node)
        if found is not None and found[1] in _SOURCE_ATTRIBUTES:
            yield from self._of_reading(node, *found)
        if isinstance(node, (ast.Name, ast.Attribute)):
            meaning = self._meaning(node)
            is_reader = meaning in _SOURCE_READERS or meaning in _ANNOTATION_READERS
            if is_reader or (isinstance(node, ast.Name) and meaning in _SOURCE_ATTRIBUTES):
                if isinstance(node.ctx, ast.Load):
                    yield Escape(node.lineno, _spelt(node), is_reading=True)
                return
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

    def _of_reading(self, node: ast.AST, owner: ast.expr, name: str) -> Iterator[Escape]:
        """The escape that reading one of these attributes is."""
        is_read = isinstance(node, ast.Call) or (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load))
        if isinstance(node, ast.expr) and is_read and literal_of(owner) is None:
            target = chain_of(owner) if name != "__doc__" else None
            yield Escape(node.lineno, _spelt(node), target=target, is_reading=True)

    def _of_call(self, node: ast.Call, in_function: bool) -> Iterator[Escape]:
        meaning = self._meaning(node.func)
        line, what = node.lineno, _spelt(node)
        if meaning in _IMPORTERS:
            module = self._module_named(node)
            yield Escape(line, what) if module is None else Escape(line, what, modules=(module,))
        elif meaning in _ANNOTATION_READERS and node.args:
            yield Escape(line, what, target=chain_of(node.args[0]), is_reading=True)
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
        elif meaning == "operator.attrgetter" and any("." in str(literal_of(name) or ".") for name in node.args):
            yield Escape(line, what)
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
            if not in_function and isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield Escape(node.lineno, _spelt(node), target=("globals",))  # as a definition of that name
                return
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
