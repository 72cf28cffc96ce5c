"""Making sure that source is the code that is loaded.

The source of what is loaded is compared with the loaded code objects, defaults and constants, and with the text that
was there when the module's stages were made or, at the latest, when it was first read: source that was edited since it
was imported is refused, for a fingerprint of it would not be that of the code that runs.
"""

from __future__ import annotations

import ast
import inspect
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stagedml.authoring.loaded import FUTURE_FLAGS, codes_named, functions_of, same_code
from stagedml.authoring.names import FUNCTIONS, Import, find_function
from stagedml.authoring.plain import is_literal, literal_assigned, literal_of, literal_text, short
from stagedml.authoring.sources import (
    Source,
    SourceChanged,
    SourceUnavailable,
    compiled,
    parse,
    source_of_file,
    source_of_module,
    text_of_file,
)
from stagedml.core.config import article


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
            text = text_of_file(filename) if os.path.exists(filename) else None
        except SourceChanged:
            text = None  # told when the stage is declared
        if text is not None:
            _records[filename] = _Record(names, names.get("__spec__"), text)


def check_record(name: str, source: Source, names: dict[str, Any]) -> None:
    """Refuse a definition that reads otherwise than when its module was loaded, as far as that is known."""
    if source.is_cell:
        return
    record = _records.get(source.filename)
    if record is None or record.names is not names or record.spec is not names.get("__spec__"):
        _records[source.filename] = _Record(names, names.get("__spec__"), source.text)
    elif record.text != source.text:
        before = parse(source.filename, source.module, record.text)
        if before.text_of(name) != source.text_of(name) or before.imports.get(name) != source.imports.get(name):
            raise SourceChanged(source.filename, name, "its definition is another one now")


def check_loaded(name: str, nodes: list[ast.stmt], source: Source, value: object) -> None:
    """Refuse a definition whose loaded counterpart is another one."""
    check_functions(name, nodes, source, value)
    check_constants(name, nodes, source, value)


def check_functions(name: str, nodes: list[ast.stmt], source: Source, value: Any) -> None:
    """Refuse a function or class of which the loaded code is another one."""
    last = nodes[-1]
    if isinstance(last, (*FUNCTIONS, ast.ClassDef)):
        for function in functions_of(value, source.filename):
            if not is_written(function, source):
                raise SourceChanged(source.filename, function.__qualname__, "its code is not what is loaded")
        return
    is_lambda = len(nodes) == 1 and isinstance(value, types.FunctionType) and value.__name__ == "<lambda>"
    if is_lambda and not is_written(value, source):
        raise SourceChanged(source.filename, name, "its code is not what is loaded")


def check_constants(name: str, nodes: list[ast.stmt], source: Source, value: object) -> None:
    """Refuse a constant, or those of a class, whose loaded value is another one than the source spells."""
    last = nodes[-1]
    if isinstance(last, ast.ClassDef) and isinstance(value, type):
        for statement in last.body:
            _check_constant(statement, vars(value), f"{name}.", source)
    elif len(nodes) == 1 and not isinstance(last, (*FUNCTIONS, ast.ClassDef)):
        _check_constant(last, {name: value}, "", source)


def replacements(
    name: str, nodes: list[ast.stmt], source: Source, value: object
) -> Iterator[tuple[int, str, types.FunctionType | type]]:
    """Functions and classes that somebody put into the place of what a definition says: line, what, the new one."""
    node = nodes[-1]
    if source.is_cell or not isinstance(node, (*FUNCTIONS, ast.ClassDef)) or node.decorator_list:
        return
    loaded = [(name, node, value)]
    if isinstance(node, ast.ClassDef) and isinstance(value, type):
        methods = [item for item in node.body if isinstance(item, FUNCTIONS) and not item.decorator_list]
        loaded += [(f"{name}.{item.name}", item, vars(value).get(item.name)) for item in methods]
    for qualname, written, found in loaded:
        if isinstance(found, types.FunctionType) and isinstance(written, FUNCTIONS):
            if found.__code__.co_filename != source.filename:
                where = f"{found.__code__.co_filename}:{found.__code__.co_firstlineno}"
                yield written.lineno, f"{qualname}, in whose place there is {found.__qualname__} ({where})", found
        elif isinstance(found, type) and isinstance(written, ast.ClassDef):
            if found.__module__ not in (source.module, "__main__"):
                yield (
                    written.lineno,
                    f"{qualname}, in whose place there is {found.__module__}.{found.__qualname__}",
                    found,
                )
        elif found is not None and not isinstance(found, type) and "." not in qualname:
            yield written.lineno, f"{qualname}, in whose place there is {article(type(found).__name__)}", type(found)


def check_imported(name: str, target: Import, source: Source, value: object) -> None:
    """Refuse code that was imported by name and is not what its module holds now, as after a reload of that alone."""
    module = sys.modules.get(target.module)
    if module is None or target.attribute is None or source_of_module(target.module) is None:
        return
    current = vars(module).get(target.attribute, value)
    if current is not value and all(isinstance(one, (types.FunctionType, type)) for one in (current, value)):
        raise SourceChanged(source.filename, name, f"it holds another {name} than {target.module} does")


def _check_constant(statement: ast.stmt, loaded: Mapping[str, Any], prefix: str, source: Source) -> None:
    """Refuse `name = <literal>` where the loaded value is another literal, or none."""
    for name, value in loaded.items():
        literal = literal_assigned(name, statement)
        if literal is None or (prefix and not is_literal(value)):  # a class may make fields of its literals
            continue
        if not is_literal(value) or literal_text(literal[0]) != literal_text(value):
            what = f"{short(literal[0])} in the source, {short(value)} in memory"
            raise SourceChanged(source.filename, prefix + name, what)


def is_written(function: types.FunctionType, source: Source) -> bool:
    """Whether some definition in the source is that of a loaded function, its plain defaults included."""
    code = function.__code__
    written = codes_named(compiled(source.filename, source.text, code.co_flags & FUTURE_FLAGS), function.__qualname__)
    if not any(same_code(code, candidate) for candidate in written):
        return False
    node = find_function(source.tree, function.__qualname__, code.co_firstlineno)
    return len(written) != 1 or node is None or _has_defaults(function, node.args)


def _has_defaults(function: types.FunctionType, arguments: ast.arguments) -> bool:
    positional = zip(arguments.defaults, function.__defaults__ or (), strict=False)
    keyword = [
        (node, (function.__kwdefaults__ or {}).get(argument.arg))
        for argument, node in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if node is not None
    ]
    for node, value in [*positional, *keyword]:
        literal = literal_of(node)
        if literal is not None and is_literal(value) and literal_text(literal[0]) != literal_text(value):
            return False
    return len(arguments.defaults) == len(function.__defaults__ or ())


def source_of_function(function: types.FunctionType) -> tuple[Source, ast.FunctionDef | ast.AsyncFunctionDef]:
    """A loaded function's source and definition. Raises SourceUnavailable, SourceChanged."""
    code = function.__code__
    source = source_of_file(code.co_filename, function.__module__)
    if source is None:
        raise SourceUnavailable(function.__qualname__, code.co_filename)
    node = find_function(source.tree, function.__qualname__, code.co_firstlineno)
    if node is None or not is_written(function, source):
        raise SourceChanged(source.filename, function.__qualname__, "another function stands there now")
    return source, node
