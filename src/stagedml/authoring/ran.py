"""Of modules that were not loaded when a stage was declared and that its build loads: is it the code that was declared?

A module that was loaded at declaration was compared then, and edits of its file do not matter. Of one that a builder
imports, the text that was read at declaration counts. A file that nobody touched since needs no look; else the loaded
functions, classes and plain constants are compared with that text, and what cannot be seen in memory (expressions,
decorators, imports) by the text that is there now.
"""

from __future__ import annotations

import ast
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stagedml.authoring.compare import check_loaded
from stagedml.authoring.names import FUNCTIONS
from stagedml.authoring.plain import literal_assigned, literal_of
from stagedml.authoring.sources import Source, SourceChanged, source_of_file
from stagedml.errors import BuildError

_Stamp = tuple[int, int, int, int] | None
_RECENT_NS = 2_000_000_000  # more than the granularity of any file system's clock


class ChangedSinceDeclared(BuildError):
    """A build ran other code than the one that its stage was declared with."""

    def __init__(self, path: str, name: str) -> None:
        super().__init__(path, name)
        self.path, self.name = path, name

    def __str__(self) -> str:
        return f"{self.path} ({self.name}) changed between declaration and build; declare and realize again"


@dataclass(frozen=True)
class Unloaded:
    """A tracked module that was not loaded at declaration."""

    module: str
    source: Source  #: as it was read then
    names: frozenset[str]  #: those of its definitions that count
    stamp: _Stamp  #: of the file then; None where it was written so recently that an edit might not show in it

    def check_unchanged(self) -> None:
        """Refuse a file whose definitions read otherwise now, unless it is loaded. Raises ChangedSinceDeclared."""
        if self.module in sys.modules:
            self.check_ran()
        elif not self._is_untouched():
            self._compare_texts(sorted(self.names))

    def check_ran(self) -> None:
        """Refuse what is loaded if it is not what was read. Raises ChangedSinceDeclared."""
        loaded = sys.modules.get(self.module)
        if loaded is None or self._is_untouched():
            return
        unseen = []
        for name in sorted(self.names):
            nodes = self.source.definitions.get(name, [])
            if name in vars(loaded) and nodes:
                try:
                    check_loaded(name, nodes, self.source, vars(loaded)[name])
                except SourceChanged:
                    raise ChangedSinceDeclared(self.source.filename, name) from None
            if name in self.source.imports or not _shows_in_memory(name, nodes):
                unseen.append(name)
        self._compare_texts(unseen)

    def _is_untouched(self) -> bool:
        return self.stamp is not None and _stamp(self.source.filename) == self.stamp

    def _compare_texts(self, names: Iterable[str]) -> None:
        try:
            now = source_of_file(self.source.filename, self.module)
        except SourceChanged:
            now = None
        for name in names:
            if now is None or _text(now, name) != _text(self.source, name):
                raise ChangedSinceDeclared(self.source.filename, name)


def unloaded_modules(found: Mapping[str, tuple[Source, frozenset[str]]]) -> list[Unloaded]:
    """What a walk came to that was not loaded, with stamps of the files as they are just after it."""
    now = time.time_ns()
    modules = []
    for module, (source, names) in sorted(found.items()):
        stamp = _stamp(source.filename)
        trusted = stamp is not None and max(stamp[2:]) < now - _RECENT_NS
        modules.append(Unloaded(module, source, names, stamp if trusted else None))
    return modules


def _shows_in_memory(name: str, nodes: list[ast.stmt]) -> bool:
    """Whether comparing what is loaded sees all of a definition."""
    if len(nodes) != 1:
        return False
    if isinstance(nodes[0], FUNCTIONS):
        arguments = nodes[0].args
        defaults = [*arguments.defaults, *(node for node in arguments.kw_defaults if node is not None)]
        return not nodes[0].decorator_list and all(map(literal_of, defaults))
    return literal_assigned(name, nodes[0]) is not None


def _text(source: Source, name: str) -> tuple[object, ...]:
    return source.text_of(name), source.imports.get(name)


def _stamp(filename: str) -> _Stamp:
    try:
        status = os.stat(filename)
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
