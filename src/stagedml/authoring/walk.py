"""Finding the code behind a builder.

Starting from the builder, every name it uses is followed to a definition: in its own module or notebook cell, and
through imports, at the top or inside functions, into other tracked modules. Installed packages are not followed; which
of them are imported is noted. Modules are read, not imported, so a builder that imports TensorFlow when it runs is
fingerprinted without it. A module that is used as a value counts whole. What the modules on the way, and those that
they import, change elsewhere when they are imported belongs to the definitions that it changes.

A notebook cell names what is in its namespace now, whichever cell put it there: functions are followed, plain data
counts by its value, and everything else by the statements of the cells that made it.
"""

from __future__ import annotations

import ast
import builtins
import enum
import functools
import inspect
import pprint
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stagedml.authoring.cells import changed_inside, history_of
from stagedml.authoring.compare import (
    check_constants,
    check_functions,
    check_imported,
    check_record,
    replacements,
    source_of_function,
)
from stagedml.authoring.effects import Effect, changed_by_functions, changed_by_statement, effects_of, places, run_by
from stagedml.authoring.escapes import Escape, escapes_below
from stagedml.authoring.live import Live, live_cell, live_name
from stagedml.authoring.loaded import function_behind
from stagedml.authoring.names import (
    FUNCTIONS,
    Chain,
    Import,
    all_bound,
    chain_of,
    chains_below,
    imports_below,
    locals_of,
    modules_imported,
)
from stagedml.authoring.plain import is_literal, literal_assigned, literal_of, literal_text, unit_text
from stagedml.authoring.sources import (
    Source,
    SourceChanged,
    SourceUnavailable,
    cells_backwards,
    digest_of_text,
    file_of_module,
    first_line,
    has_submodules,
    is_cell_module,
    is_namespace,
    is_tracked,
    is_wrapper,
    one_snapshot,
    source_of_file,
    source_of_module,
    spec_of_module,
    stands_in_cell,
)
from stagedml.core import fingerprint
from stagedml.core.code import Unfollowed, Unit
from stagedml.core.config import article
from stagedml.errors import UsageError

_LARGEST_DATA_BYTES = 1 << 20
#: What every module has without binding it.
_IN_EVERY_MODULE = frozenset(
    {
        *("__name__", "__file__", "__doc__", "__package__", "__spec__", "__path__", "__loader__", "__builtins__"),
        *("__cached__", "__annotations__", "__class__", "__debug__", "__qualname__", "__module__", "__dict__"),
    }
)
_BUILT_IN = frozenset(dir(builtins))


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


class OversizedData(UsageError):
    """Plain data in the code is too large for a fingerprint to hold it."""

    def __init__(self, variable: str, size_bytes: int, where: str) -> None:
        super().__init__(variable, size_bytes, where)
        self.variable, self.size_bytes, self.where = variable, size_bytes, where

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.variable!r} holds {self.size_bytes:,} bytes of plain data, and code may hold "
            f"{_LARGEST_DATA_BYTES:,}; put it into a file and make that an input of the stage, with `fetchlocal`"
        )


@dataclass(frozen=True)
class Found:
    """What one walk came to.

    Attributes:
        builder: its normalised text.
        reached: (name, normalised text) of each definition.
        units: the same for readers, the builder first.
        unfollowed: the places that could not be followed.
        packages: full names of the installed modules that the code imports, the parts of namespaces included.
        unloaded: the tracked modules that were not loaded, with the names of theirs that count.
        live: what the names stood for, those left out that the code itself changes.
    """

    builder: str
    reached: frozenset[tuple[str, str]]
    units: tuple[Unit, ...]
    unfollowed: tuple[Unfollowed, ...]
    packages: frozenset[str]
    unloaded: Mapping[str, tuple[Source, frozenset[str]]]
    live: tuple[Live, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)  #: digests of the texts of modules, scripts left out
    bound_here: str = ""  #: what a notebook or script changed in modules of this process; "" if nothing


def walk(builder: Callable[..., Any]) -> Found:
    """Find the code behind a builder.

    Raises:
        SourceChanged: what is on disk is not what is loaded.
        SourceUnavailable: there is no source.
        UncoveredCapture: a captured variable holds data that no hash covers.
        OversizedData: so much of it that it should be a file.
    """
    with one_snapshot():
        return _Walk(builder).found()


class _Walk:
    """One walk over everything that a builder reaches."""

    def __init__(self, builder: Callable[..., Any]) -> None:
        function = inspect.unwrap(builder)
        assert isinstance(function, types.FunctionType)
        self.builder = function
        self.units: dict[tuple[str, str], Unit] = {}
        self.seen: set[tuple[str, str]] = set()
        self.numbers: dict[str, int] = {}  # of modules, in the order in which they are come to
        self.unfollowed: dict[Unfollowed, None] = {}
        self.packages: set[str] = set()
        self.scope: dict[str, None] = {}  # modules whose import may change others
        self.sources: dict[str, Source] = {}
        self.unloaded: dict[str, tuple[Source, set[str]]] = {}
        self.doubts: list[tuple[Source, str, SourceChanged, object]] = []
        self.replaced: list[tuple[Source, str, int, str, object]] = []
        self.rebound: list[tuple[Source, str, object, list[str]]] = []
        self.live: dict[tuple[str, str], Live] = {}
        self.plain: dict[str, tuple[Chain, dict[str, Any]]] = {}  # names of the notebook that stand for plain data
        self.changing: set[str] = set()  # names of the notebook that functions which are reached change
        self.touched: set[tuple[str, str]] = set()  # of which file, which name: changed by what counts
        self.bound_here = ""

    def found(self) -> Found:
        builder = self.builder
        source, node = source_of_function(builder)
        self._number(source)
        self.seen.add((source.filename, node.name))
        check_record(node.name, source, builder.__globals__)
        self._follow_captures(builder)
        bare = [d for d in node.decorator_list if not fingerprint.is_stage(d)]
        self._follow_names(bare, source, builder.__globals__)
        own = locals_of(node) | set(builder.__code__.co_freevars)
        self._follow_names(node.body, source, builder.__globals__, own, searched=[node])
        self._note_inner_decorators(builder.__qualname__, bare, source)
        self._follow_changing()
        self._follow_effects()
        while self._follow_changing():
            self._follow_effects()
        for name, (_, names) in sorted(self.plain.items()):
            self._reach_value(name, names[name])
        text = fingerprint.normalised_builder(node)
        first = Unit(
            node.name, source.filename, first_line(node), source.as_written([node]), fingerprint.text_digest(text)
        )
        others = sorted(self.units.items(), key=lambda item: (item[1].name, item[0][1]))
        return Found(
            builder=text,
            reached=frozenset(self.units),
            units=(first, *(unit for _, unit in others)),
            unfollowed=tuple(sorted(self.unfollowed, key=lambda place: (place.file, place.line, place.what))),
            packages=frozenset(self.packages),
            unloaded={module: (source, frozenset(names)) for module, (source, names) in self.unloaded.items()},
            live=self._unchanging(),
            files={
                source.filename: digest_of_text(source.text)
                for source in self.sources.values()
                if not source.is_cell and source.module != "__main__"
            },
            bound_here=self.bound_here,
        )

    def _follow_changing(self) -> bool:
        """Cover plain data that the code changes itself, as a cache, by the statements that made it."""
        is_more = False
        while pending := sorted(self.plain.keys() & self.changing):
            for name in pending:
                chain, names = self.plain.pop(name)
                if (name, "changing") not in self.seen and self._follow_cells(chain, names, with_calls=True):
                    is_more = True
                    self.seen.add((name, "changing"))
                    self._follow_items(name, names[name])
                elif (name, "changing") not in self.seen:
                    self._reach_value(name, names[name])
        return is_more

    def _unchanging(self) -> tuple[Live, ...]:
        """What the names stood for that the code does not change itself, as it does a cache."""
        if not self.live:
            return ()
        cells = [cell for cell in cells_backwards(self.sources.get("")) if cell.is_cell]
        own = {name for _, name in changed_by_functions(cells)}
        elsewhere = changed_by_functions(self._modules_in_scope(), self._reached())
        return tuple(
            live
            for (place, name), live in self.live.items()
            if (place, name) not in elsewhere and not (place == "" and name in own)
        )

    def _note_live(self, name: str, source: Source, names: dict[str, Any]) -> None:
        place = "" if source.is_cell else source.filename
        if (place, name) not in self.live:
            self.live[place, name] = live_name(name, source.filename, names)

    def _reach(self, name: str, source: Source, text: str, nodes: Iterable[ast.stmt] | None) -> None:
        """Cover a definition: its normalised text, and the statements that it is made of."""
        number = self._number(source)
        name = f"{number}:{name}" if number else name
        if (name, text) not in self.units:
            nodes = list(nodes or ())
            line = first_line(nodes[0]) if nodes else 1
            self._check_size(name, text, f"{source.filename}:{line}")
            self.units[name, text] = Unit(
                name, source.filename, line, source.as_written(nodes), fingerprint.text_digest(text)
            )

    def _reach_value(self, name: str, value: object) -> None:
        text = f"value:{literal_text(value)}"
        code = self.builder.__code__
        self._check_size(name, text, f"{code.co_filename}:{code.co_firstlineno}")
        shown = pprint.pformat(value, width=120, sort_dicts=False)  # which sorts sets
        self.units[name, text] = Unit(name, code.co_filename, code.co_firstlineno, shown, fingerprint.text_digest(text))

    def _check_size(self, name: str, text: str, where: str) -> None:
        if text.startswith("value:") and len(text) > _LARGEST_DATA_BYTES:
            raise OversizedData(name.rpartition(":")[2], len(text), where)

    def _number(self, source: Source) -> int:
        """What stands for a module, which may be renamed; 0 is the builder's own, and all cells are one."""
        key = "" if source.is_cell else source.filename
        if key not in self.numbers:
            self.numbers[key] = len(self.numbers)
            self.sources[key] = source
        return self.numbers[key]

    # -- names ---------------------------------------------------------------------------------------------------

    def _follow_names(
        self,
        nodes: Iterable[ast.AST],
        source: Source,
        names: dict[str, Any] | None,
        bound: frozenset[str] = frozenset(),
        searched: Iterable[ast.AST] | None = None,
    ) -> None:
        """Follow all names in some nodes, and search them, or what they are part of, for places that are no names."""
        nodes = list(nodes)
        if source.is_cell:
            self.changing.update(changed_inside(nodes if searched is None else searched))
        local_imports: dict[str, list[Import]] = {}
        chains: dict[Chain, ast.AST] = {}
        for node in nodes:
            for name, target in imports_below(node, source.module, source.filename):
                local_imports.setdefault(name, []).append(target)
            for chain in chains_below(node, bound):
                chains.setdefault(chain, node)
        for node in nodes if searched is None else searched:
            for escape in escapes_below(node, source):
                self._follow_escape(escape, source, names, local_imports)
        for chain in sorted(chains):
            if chain[0] in local_imports:
                for target in local_imports[chain[0]]:
                    self._follow_import(target, chain[1:])
            elif not self._follow_name(chain, source, names):
                self._note_unbound(chain[0], chains[chain], source)
        for targets in local_imports.values():
            for target in targets:
                self.scope[target.module] = None
                if target.attribute is not None:
                    self.scope[f"{target.module}.{target.attribute}"] = None
                if source_of_module(target.module) is None:
                    self._note_package(target, ())

    def _follow_name(self, chain: Chain, source: Source, names: dict[str, Any] | None) -> bool:
        """Follow a name of a module or cell; False where nothing is known of it."""
        name = chain[0]
        if source.is_cell and names is not None:
            if name in names:
                self._follow_live(chain, names[name], names)
                return True
            return hasattr(builtins, name) or name in _IN_EVERY_MODULE  # IPython has built-in names of its own
        if name in source.imports:
            self._add_import(chain, source, names)
        if name in source.definitions:
            self._add(name, source, names)
            return True
        if name in source.imports or self._follow_stars(source, chain):
            return True
        return name in _BUILT_IN or name in _IN_EVERY_MODULE

    def _follow_stars(self, source: Source, chain: Chain) -> bool:
        """Follow a name through all star imports: the last one that has it counts, and which that is may change."""
        known = False
        for star in source.stars:
            if source_of_module(star.module) is None:
                if chain[0] not in _BUILT_IN:
                    self._note_package(star, ())
                    known = True
            elif _has_name(star.module, chain[0]):
                target = Import(star.module, chain[0], star.node)
                self._follow_import(target, chain[1:])
                self._reach(chain[0], source, self._spelt(target), [star.node] if star.node else None)
                known = True
        return known

    def _add_import(self, chain: Chain, source: Source, names: dict[str, Any] | None) -> None:
        """Cover an imported name: what it stands for, and where that leads."""
        if (source.filename, f"import {'.'.join(chain)}") in self.seen:
            return
        self.seen.update({(source.filename, f"import {'.'.join(chain)}"), (source.filename, chain[0])})
        self._note_unloaded(source, chain[0], names)
        for target in source.imports[chain[0]]:
            if names is not None and chain[0] in names and len(source.imports[chain[0]]) == 1:
                check_record(chain[0], source, names)
                self._note_live(chain[0], source, names)
                check_imported(chain[0], target, source, names[chain[0]])
            self._reach(chain[0], source, self._spelt(target), [target.node] if target.node else None)
            self._follow_import(target, chain[1:])

    def _spelt(self, target: Import) -> str:
        source = source_of_module(target.module)
        module = target.module if source is None else self._number(source)
        return f"import:{module}:{target.attribute or ''}"

    def _add(self, name: str, source: Source, names: dict[str, Any] | None) -> None:
        if (source.filename, f"def {name}") in self.seen:
            return
        self.seen.update({(source.filename, name), (source.filename, f"def {name}")})
        nodes = source.definitions[name]
        self._note_unloaded(source, name, names)
        if names is not None and name in names:  # what is not loaded yet will be, from this source
            check_record(name, source, names)
            self._note_live(name, source, names)
            check_functions(name, nodes, source, names[name])
            try:
                check_constants(name, nodes, source, names[name])
            except SourceChanged as error:
                self.doubts.append((source, name, error, names[name]))
            self._note_rebound(name, nodes, source, names[name])
            if getattr(nodes[-1], "name", name) == name:  # no function that binds it with `global`
                for line, what, value in replacements(name, nodes, source, names[name]):
                    self.replaced.append((source, name, line, what, value))
        self._reach(name, source, source.text_of(name), nodes)
        self._follow_names(nodes, source, names)

    def _note_rebound(self, name: str, nodes: list[ast.stmt], source: Source, value: object) -> None:
        """Remember a name that a function has bound to other plain data than its module did."""
        binders = [node.name for node in nodes if isinstance(node, FUNCTIONS) and node.name != name]
        if binders and is_literal(value):
            firsts = [literal_assigned(name, node) for node in nodes if not isinstance(node, FUNCTIONS)]
            if all(first is None or literal_text(first[0]) != literal_text(value) for first in firsts):
                self.rebound.append((source, name, value, binders))

    def _follow_import(self, target: Import, rest: Chain) -> None:
        """Follow an imported name as far as tracked source goes."""
        if target.attribute is not None:
            rest = (target.attribute, *rest)
        source = source_of_module(target.module)
        if source is None:
            if rest and is_namespace(target.module):
                self._follow_import(Import(f"{target.module}.{rest[0]}", None, target.node), rest[1:])
            else:
                self._note_package(Import(target.module, None), rest)
            return
        names = self._namespace_of(target.module, source)
        if not rest:
            self._add_whole(source, names)
            return
        name = rest[0]
        found = False
        if name in source.definitions:
            self._add(name, source, names)
            found = True
        if name in source.imports:
            self._add_import(rest, source, names)
            found = True
        if not found and source_of_module(f"{target.module}.{name}") is not None:
            self._follow_import(Import(f"{target.module}.{name}", None), rest[1:])
            found = True
        self.seen.add((source.filename, name))
        if not found and not self._follow_stars(source, rest) and name not in _IN_EVERY_MODULE:
            if "__getattr__" in source.definitions:
                self._add("__getattr__", source, names)
            elif name not in all_bound(source.tree) and not is_namespace(f"{target.module}.{name}"):
                self._note(source.filename, 1, f"{name} of {target.module}, which nothing in its source binds")

    def _add_whole(self, source: Source, names: dict[str, Any] | None) -> None:
        """Cover everything in a module."""
        if (source.filename, "*") not in self.seen:
            self.seen.add((source.filename, "*"))
            self._number(source)
            for name in sorted({*source.imports, *source.definitions}):
                self._follow_name((name,), source, names)
            for star in source.stars:
                self._follow_import(Import(star.module, None), ())

    def _namespace_of(self, module: str, source: Source) -> dict[str, Any] | None:
        loaded = sys.modules.get(module)
        return None if loaded is None else vars(loaded)

    def _note_unloaded(self, source: Source, name: str, names: dict[str, Any] | None) -> None:
        if names is None and not source.is_cell:
            self.unloaded.setdefault(source.module, (source, set()))[1].add(name)

    def _note_package(self, target: Import, rest: Chain) -> None:
        """Remember an installed module; of a namespace, the part that is meant."""
        module = target.module
        top = module.partition(".")[0]
        if not top or top in sys.stdlib_module_names or top in ("stagedml", "__main__"):
            return
        inside = [*((target.attribute,) if target.attribute else ()), *rest]
        while inside and is_namespace(module):
            module = f"{module}.{inside.pop(0)}"
        spec = spec_of_module(module)
        if spec is not None and spec.has_location and spec.origin and is_tracked(module, spec.origin):
            self._note(spec.origin, 1, f"{module}, which is compiled")
        else:
            self.packages.add(module)

    # -- what modules change when they are imported ---------------------------------------------------------------

    def _follow_effects(self) -> None:
        """Cover the statements that change what is covered, until there is nothing more of them."""
        done: set[tuple[int, str]] = set()
        touched = self.touched
        looked: set[str] = set()
        effects: list[Effect] = []
        while True:
            for source in self._modules_in_scope():
                if source.filename not in looked:
                    looked.add(source.filename)
                    effects += effects_of(source)
                    self._note_discoveries(source)
            found = [effect for effect in effects if self._is_covered(effect)]
            found = [effect for effect in found if (id(effect.statement), effect.name) not in done]
            if not found:
                break
            for effect in sorted(found, key=lambda effect: (effect.name, unit_text(effect.name, effect.statement))):
                done.add((id(effect.statement), effect.name))
                touched.add((effect.filename, effect.name))
                self._add_effect(effect)
        for source, name, error, value in self.doubts:  # what code changes need not be what the source spells
            places = {(source.filename, name), (source.filename, "*")}
            modules = self._modules_in_scope()
            if places & (touched | changed_by_functions(modules, self._reached())):
                continue
            if places & changed_by_functions(modules):  # by a function that is none of the builder's
                self._reach_changed(name, source, value)
                continue
            if not (self.unfollowed and isinstance(value, (list, dict, set))):
                raise error
            line = first_line(source.definitions[name][0])  # what is not followed may well have filled it
            self._note(source.filename, line, f"{name}, which something fills that is not followed")
            self._follow_items(name, value)
        reached = self._reached()
        for source, name, value, binders in self.rebound:
            if reached.isdisjoint((source.filename, binder) for binder in binders):
                self._reach_changed(name, source, value)
        for source, name, line, what, value in self.replaced:
            if not {(source.filename, name), (source.filename, "*")} & touched:
                self._note(source.filename, line, what)
                self.bound_here = self.bound_here or f"{source.filename}:{line}: {what}"
                self._follow_object(name, value)

    def _reached(self) -> set[tuple[str, str]]:
        """The functions and classes at the top of modules that count: of which file, which."""
        own = self.builder.__code__.co_filename, self.builder.__qualname__
        seen = [own, *((filename, name) for filename, name in self.seen if "def " in name or "<locals>" in name)]
        return {(filename, name.removeprefix("def ").partition(".")[0]) for filename, name in seen}

    def _reach_changed(self, name: str, source: Source, value: object) -> None:
        """Cover what a name of a module stands for, since its source does not say so any more."""
        if is_literal(value):
            number = self._number(source)
            self._reach_value(f"{number}:{name}" if number else name, value)

    def _note_discoveries(self, source: Source) -> None:
        """Tell of modules that a module finds and imports when it is imported, and of what it executes then."""
        for node, there in run_by(source):
            for escape in escapes_below(node, there):
                if not escape.modules and escape.target is None and not escape.is_reading:
                    self._note(there.filename, escape.line, escape.what)

    def _bind_here(self, source: Source, statement: ast.stmt) -> None:
        """Note a statement of a notebook or script that changes modules of this process."""
        self.bound_here = self.bound_here or f"{source.filename}:{statement.lineno} changes a module in this process"

    def _is_covered(self, effect: Effect) -> bool:
        if effect.is_outside:
            return True
        if effect.name == "*":
            return any(filename == effect.filename for filename, _ in self.seen)
        return (effect.filename, effect.name) in self.seen or (effect.filename, "*") in self.seen

    def _add_effect(self, effect: Effect) -> None:
        source, statement = effect.source, effect.statement
        names = self._namespace_of(source.module, source)
        name = effect.name
        if source.module == "__main__" and effect.filename != source.filename:
            self._bind_here(source, statement)
        self._reach(name, source, unit_text(name, statement), [statement])
        if isinstance(statement, (*FUNCTIONS, ast.ClassDef)) and statement.name in source.definitions:
            self._add(statement.name, source, names)
        else:
            self._follow_names([statement], source, names)

    def _modules_in_scope(self) -> list[Source]:
        """The modules that were come to, and those that their import imports, with the packages that they are in."""
        pending = [*self.scope, *(module for source in self.sources.values() for module in _imported_by(source))]
        pending += [source.module for source in self.sources.values()]
        seen: set[str] = set()
        found = {source.filename: source for source in self.sources.values()}
        while pending:
            module = pending.pop()
            if not module or module in seen:
                continue
            seen.add(module)
            pending.append(module.rpartition(".")[0])
            try:
                source = source_of_module(module)
            except (SourceChanged, SourceUnavailable):  # nothing of it is reached
                continue
            if source is not None and source.filename not in found:
                found[source.filename] = source
                pending += _imported_by(source)
        return [source for source in found.values() if not source.is_cell]

    # -- what cannot be followed ----------------------------------------------------------------------------------

    def _note(self, filename: str, line: int, what: str) -> None:
        self.unfollowed[Unfollowed(filename, line, what)] = None

    def _note_unbound(self, name: str, node: ast.AST, source: Source) -> None:
        if name in all_bound(source.tree):
            return
        lines = [part.lineno for part in ast.walk(node) if isinstance(part, ast.Name) and part.id == name]
        if lines:  # names in annotations are none
            self._note(source.filename, min(lines), f"{name}, which nothing in the source binds")

    def _note_inner_decorators(self, qualname: str, decorators: Iterable[ast.expr], source: Source) -> None:
        """A decorator that is itself a local variable of a function leaves no trace of what it was."""
        if "<locals>" not in qualname:
            return
        for decorator in decorators:
            chain = chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
            known = chain is None or chain[0] in source.definitions or chain[0] in source.imports
            if not known and chain is not None and chain[0] not in _BUILT_IN:
                self._note(source.filename, decorator.lineno, f"@{ast.unparse(decorator)}")

    def _follow_escape(
        self,
        escape: Escape,
        source: Source,
        names: dict[str, Any] | None,
        local_imports: Mapping[str, Iterable[Import]],
    ) -> None:
        if escape.is_reading:
            classes = self._classes(escape.target, source, names, local_imports) if escape.target is not None else []
            for there in classes:
                if "annotations" in there.imports:  # from __future__: they are read as text
                    self._add_import(("annotations",), there, self._namespace_of(there.module, there))
            if not classes:
                self._note(source.filename, escape.line, escape.what)
            return
        if not escape.modules and escape.target is None:
            self._note(source.filename, escape.line, escape.what)
        for module in escape.modules:
            if module:
                self._follow_import(Import(module, None), ())
                self.scope[module] = None
            elif source.is_cell:
                self._note(source.filename, escape.line, escape.what)
            else:
                self._add_whole(source, names)
        if escape.target is not None:
            local = [(name, target) for name, targets in local_imports.items() for target in targets]
            if escape.target[0] in locals_below(source, escape.line) and escape.target[0] not in local_imports:
                return
            for place in places(source, escape.target, local):
                self._follow_target(escape, place.source, place.name, place.rest, source)

    def _classes(
        self,
        chain: Chain,
        source: Source,
        names: dict[str, Any] | None,
        local_imports: Mapping[str, Iterable[Import]],
    ) -> list[Source]:
        """Where the class stands that a chain leads to, whose annotations count; nothing if it may be no class."""
        if chain == ("cls",):
            return [source]
        if source.is_cell and names is not None and len(chain) == 1:
            return [source] if isinstance(names.get(chain[0]), type) else []
        local = [(name, target) for name, targets in local_imports.items() for target in targets]
        found = [(place, place.source.definitions.get(place.name, ())) for place in places(source, chain, local)]
        is_class = all(
            not place.rest and bool(nodes) and all(isinstance(node, ast.ClassDef) for node in nodes)
            for place, nodes in found
        )
        return [place.source for place, _ in found] if is_class else []

    def _follow_target(self, escape: Escape, there: Source, name: str, rest: Chain, source: Source) -> None:
        if not escape.is_change:
            if name == "*" and has_submodules(there.module):
                self._note(source.filename, escape.line, f"{escape.what} (a package with modules in it)")
            return
        nodes = there.definitions.get(name, ())
        is_class = any(isinstance(node, ast.ClassDef) for node in nodes)
        other_module = there.filename != source.filename or name == "*"
        if (not rest and other_module) or (len(rest) == 1 and is_class):
            self._note(source.filename, escape.line, f"{escape.what} (changes what others build later)")

    # -- values: what notebook cells and closures hold ------------------------------------------------------------

    def _follow_live(self, chain: Chain, value: object, names: dict[str, Any]) -> None:
        """Cover what a name of a notebook stands for now."""
        name = chain[0]
        function = function_behind(value)
        code = self.builder.__code__
        if ("", name) not in self.live:
            self.live["", name] = live_name(name, code.co_filename, names)
        if is_literal(value):
            self.plain[name] = chain, names
        elif isinstance(value, types.FunctionType) and function is not None and stands_in_cell(function, name):
            self._follow_object(name, value)
        elif self._follow_cells(chain, names):
            self._follow_items(name, value)
        elif not self._follow_object(name, value):
            where = f"{self.builder.__code__.co_filename}:{self.builder.__code__.co_firstlineno}"
            raise UncoveredCapture(self.builder.__qualname__, name, type(value).__name__, where)

    def _follow_items(self, name: str, value: object) -> None:
        """Cover the code in a table that functions of other cells may have filled."""
        items: Iterable[object] = ()
        if isinstance(value, Mapping):
            items = value.values()
        elif isinstance(value, (list, tuple, set, frozenset)):
            items = value
        code = (item for item in items if isinstance(item, (type, types.FunctionType, functools.partial)))
        for item in sorted(code, key=lambda item: getattr(item, "__qualname__", "")):
            self._follow_object(f"{name}[]", item)

    def _follow_cells(self, chain: Chain, names: dict[str, Any], *, with_calls: bool = False) -> bool:
        """Cover a name by the statements that made it what it is: those from its last binding on, over all cells."""
        name = chain[0]
        own = source_of_file(self.builder.__code__.co_filename, self.builder.__module__)
        history = history_of(name, names, list(cells_backwards(own)), with_calls=with_calls)
        if history.imported is not None:
            self._add_import(chain, history.imported, names)
        if history.changes and ("<cells>", name) not in self.seen:
            self.seen.add(("<cells>", name))
            first = history.changes[0][0]
            nodes = [node for cell, node in history.changes if cell is first]
            text = "\n".join(unit_text(name, node) for _, node in history.changes)
            self._reach(name, first, text, nodes)
            modules = {key: value for key, value in names.items() if isinstance(value, types.ModuleType)}
            local = [(key, Import(value.__name__, None)) for key, value in modules.items()]
            for cell, node in history.changes:
                self._follow_names([node], cell, names)
                if name in modules:
                    self.touched.update(changed_by_statement(node, cell, local))
                    self._bind_here(cell, node)
        return history.imported is not None or bool(history.changes)

    def _follow_object(self, name: str, value: object) -> bool:
        """Cover a value of which only the value is known: code by its source, plain data by its text."""
        if isinstance(value, types.ModuleType):
            self._follow_import(Import(value.__name__, None), ())
            return True
        if is_literal(value):
            self._reach_value(name, value)
            return True
        if isinstance(value, functools.partial):
            given: object = [list(value.args), value.keywords]
            return self._follow_object(f"{name}()", given) and self._follow_object(name, value.func)
        if isinstance(value, types.MethodType):
            return isinstance(value.__self__, type) and self._follow_object(name, value.__self__)
        if isinstance(value, enum.Enum):
            plain = value.value if is_literal(value.value) else None
            member: str | None = getattr(value, "_name_", None)  # a combination of flags may have none
            self._reach_value(name, [type(value).__qualname__, member, plain])
            return (plain is not None or member is not None) and self._follow_object(name, type(value))
        if isinstance(value, types.BuiltinFunctionType):
            return value.__self__ is None or isinstance(value.__self__, (type, types.ModuleType))
        if not isinstance(value, type) and function_behind(value) is not value and not is_wrapper(value):
            return False
        module = getattr(value, "__module__", None) or ""
        top = getattr(value, "__qualname__", "").split(".")[0]
        if isinstance(value, type) and is_cell_module(module):
            names = vars(sys.modules[module]) if module in sys.modules else {}
            return top in names and self._follow_cells((top,), names)
        function = None if isinstance(value, type) else function_behind(value)
        filename = function.__code__.co_filename if function is not None else file_of_module(module)
        source: Source | None
        if filename is None or not is_tracked(module, filename):
            source = source_of_module(module)  # what a decorator of a package made there
            if source is None or top not in source.definitions:
                self._note_package(Import(module, None), ())
                return filename is not None or module in sys.builtin_module_names or not is_cell_module(module)
            self._add(top, source, self._namespace_of(module, source))
            return True
        if isinstance(value, types.FunctionType) and function is not None and "<locals>" in function.__qualname__:
            return self._add_local(name, function)
        source = source_of_file(filename, module)
        if source is None or top not in source.definitions:
            return False
        self._add(top, source, function.__globals__ if function is not None else vars(sys.modules[module]))
        return True

    def _follow_defaults(
        self, name: str, function: types.FunctionType, node: ast.FunctionDef | ast.AsyncFunctionDef
    ) -> None:
        """Cover the defaults of an inner function that its source does not spell out."""
        positional = zip(node.args.defaults, function.__defaults__ or (), strict=False)
        given = function.__kwdefaults__ or {}
        keyword = [
            (default, given.get(argument.arg))
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            if default is not None
        ]
        for number, (default, value) in enumerate([*positional, *keyword]):
            if literal_of(default) is None and not self._follow_object(f"{name}({number})", value):
                where = f"{function.__code__.co_filename}:{default.lineno}"
                raise UncoveredCapture(function.__qualname__, ast.unparse(default), type(value).__name__, where)

    def _follow_captures(self, function: types.FunctionType) -> None:
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet: a function that refers to itself
                continue
            if value is not function:
                live = live_cell(name, code.co_filename, cell)
                self.live.setdefault((code.co_filename, f"{function.__qualname__} {name}"), live)
            if value is not function and not self._follow_object(name, value):
                where = f"{code.co_filename}:{code.co_firstlineno}"
                raise UncoveredCapture(function.__qualname__, name, type(value).__name__, where)

    def _add_local(self, name: str, function: types.FunctionType) -> bool:
        """Cover a function that was defined inside another one."""
        key = (function.__code__.co_filename, function.__qualname__)
        if key not in self.seen and function is not self.builder:
            self.seen.add(key)
            source, node = source_of_function(function)
            self._reach(name, source, fingerprint.normalised(node), [node])
            captured = frozenset(function.__code__.co_freevars)
            self._follow_names([node], source, function.__globals__, captured)
            self._follow_captures(function)
            self._follow_defaults(name, function, node)
            self._note_inner_decorators(function.__qualname__, node.decorator_list, source)
        return True


def locals_below(source: Source, line: int) -> frozenset[str]:
    """The names that the functions around a line bind themselves."""
    return frozenset(name for first, last, names in _scopes(source) if first <= line <= last for name in names)


@functools.lru_cache(maxsize=1024)
def _scopes(source: Source) -> tuple[tuple[int, int, frozenset[str]], ...]:
    functions = (node for node in ast.walk(source.tree) if isinstance(node, (*FUNCTIONS, ast.Lambda)))
    return tuple((node.lineno, node.end_lineno or node.lineno, locals_of(node)) for node in functions)


@functools.lru_cache(maxsize=1024)
def _imported_by(source: Source) -> tuple[str, ...]:
    return tuple(dict.fromkeys(modules_imported(source.tree.body, source.module, source.filename)))


def _has_name(module: str, name: str, steps: int = 16) -> bool:
    """Whether `from module import *` may bind a name."""
    source = source_of_module(module)
    if source is None or not steps:
        return False
    if name in source.definitions or name in source.imports:
        return True
    return any(_has_name(star.module, name, steps - 1) for star in source.stars)
