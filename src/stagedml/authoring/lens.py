"""Lenses: walking from a reference through configs, inputs and files with dots.

    mklens(rref).learning_rate.val            a value of the config
    mklens(rref).glue.rref                    the realization of an input that this one was made from
    mklens(rref).checkpoint.syspath           a file of it
    mklens(rref).glue.bert.cased.val          and so on

A lens on a realization resolves inputs as they were when it was built; one on a derivation knows configs only.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from keyword import iskeyword
from pathlib import Path
from typing import Any

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import Closure, DRef, RefPath, RRef, StorageSettings
from stagedml.authoring.session import current_source, current_store, store_of
from stagedml.core import config as configs
from stagedml.core.refs import dref_of, is_dref, is_rref, parse_dref, parse_rref
from stagedml.errors import StagedmlError, UsageError
from stagedml.store.objects import Store

ACCESSORS = ("val", "optval", "refpath", "dref", "rref", "syspath", "contents", "get")


class InvalidLens(UsageError):
    """A lens was led where nothing is."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class NoSuchField(InvalidLens, AttributeError):
    """A lens was asked for a field that is not there; `hasattr` and `getattr` with a default understand it."""


class Lens:
    """A place inside a reference, a build or a dict; made by `mklens`."""

    __slots__ = ("_build", "_context", "_key", "_owner", "_path", "_store", "_value")

    def __init__(
        self,
        store: Store | None,
        value: Any,
        path: str,
        context: Mapping[str, Sequence[str]] | None,
        build: Build | None = None,
        owner: dict[str, Any] | None = None,
        key: str = "",
    ) -> None:
        self._store, self._value, self._path, self._context = store, value, path, context
        self._build, self._owner, self._key = build, owner, key

    # -- walking -------------------------------------------------------------------------------------------------

    def _fields(self) -> Mapping[str, Any]:
        """What can be asked for here."""
        value = self._value
        if isinstance(value, Build):
            return value.config
        if is_rref(value):
            value = dref_of(value)
        if is_dref(value):
            source = self._store or current_source()
            resolved: dict[str, Any] = configs.resolve(dict(source.config_of(value)), str(value))
            return resolved
        if isinstance(value, dict):
            return value
        if configs.is_ref_path(value) and str(value[-1]).endswith(".json"):
            loaded = json.loads(self.syspath.read_text(encoding="utf-8"))
            if isinstance(loaded, dict):
                return loaded
        raise InvalidLens(self._path, f"is {_short(value)}, which has no fields")

    def get(self, name: str) -> Lens:
        """The lens on a field; for names that are no Python identifiers or mean something else on a lens."""
        fields = self._fields()
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "there are: " + ", ".join(sorted(fields))
            raise NoSuchField(self._path, f"has no field {name!r}; {hint}")
        owner = self._value if isinstance(self._value, dict) else None
        return Lens(self._store, fields[name], f"{self._path}.{name}", self._context, self._build, owner, name)

    def __getattr__(self, name: str) -> Lens:
        if name.startswith("_"):  # protocol look-ups by copy, IPython and others
            raise AttributeError(name)
        return self.get(name)

    def __dir__(self) -> Iterable[str]:
        try:
            fields = self._fields()
        except (StagedmlError, OSError, ValueError, RecursionError):  # there are none, or they cannot be read
            return list(ACCESSORS)
        return [*ACCESSORS, *(name for name in fields if name.isidentifier() and not iskeyword(name))]

    def __repr__(self) -> str:
        return f"<lens {self._path}: {_short(self._value)}>"

    # -- arriving ------------------------------------------------------------------------------------------------

    @property
    def optval(self) -> Any:
        """The value, which may be None."""
        return self._value

    @property
    def val(self) -> Any:
        """The value. Raises InvalidLens where it is None. On a lens into a dict it can be assigned."""
        if self._value is None:
            raise InvalidLens(self._path, "is None; `optval` allows for that")
        return self._value

    @val.setter
    def val(self, value: Any) -> None:
        if self._owner is None:
            raise InvalidLens(self._path, "cannot be set: only dicts change, such as the parameters in `redefine`")
        self._owner[self._key] = value
        self._value = value

    @property
    def refpath(self) -> RefPath:
        """The value as a path into an artifact."""
        if not configs.is_ref_path(self._value):
            raise InvalidLens(self._path, f"wanted a RefPath, got {_short(self._value)}")
        path: RefPath = self._value
        return path

    @property
    def dref(self) -> DRef:
        """The derivation that the value refers to."""
        if is_rref(self._value):
            return DRef(dref_of(self._value))
        if is_dref(self._value):
            return DRef(self._value)
        if isinstance(self._value, Build):
            return DRef(self._value.dref)
        raise InvalidLens(self._path, f"wanted a reference, got {_short(self._value)}")

    @property
    def rref(self) -> RRef:
        """The one realization that the value refers to, in the context of where the lens began."""
        if is_rref(self._value):
            return RRef(self._value)
        return RRef(self._one_realization(self.dref))

    @property
    def syspath(self) -> Path:
        """The file or folder that the value refers to."""
        value = self._value
        if isinstance(value, Build):
            return value.outpath
        if configs.is_ref_path(value):
            if self._build is not None:
                return self._build.path(value)
            store = self._store or current_store()
            return store.path(parse_rref(self._one_realization(value[0]))).joinpath(*value[1:])
        store = self._store or current_store()
        if is_dref(value) and (self._context is None or value not in self._context):
            return store.layout.derivation(parse_dref(value))
        return store.path(parse_rref(self.rref))

    @property
    def contents(self) -> str:
        """The text of the file that the value refers to."""
        path = self.syspath
        if not path.is_file():
            raise InvalidLens(self._path, f"is {path}, which is no file")
        return path.read_text(encoding="utf-8")

    def _one_realization(self, dref: str) -> str:
        if self._context is None:
            raise InvalidLens(self._path, f"{dref} alone has no realization; begin with an rref")
        found = self._context.get(dref, ())
        if len(found) != 1:
            raise InvalidLens(self._path, f"{dref} has {len(found)} realizations here, wanted one")
        return found[0]


def mklens(start: Any, *, S: StorageSettings | None = None, store: Store | None = None) -> Lens:
    """A lens on a realization, a derivation, a closure, a build, a path into an artifact, or a dict.

    Args:
        start: where to begin.
        S: the store, as Pylightnix names it; or
        store: the store; default the current one.
    """
    if store is None and S is not None:
        store = store_of(S)
    if isinstance(start, Build):
        return Lens(start.store, start, "build", {str(ref): rrefs for ref, rrefs in start.context.items()}, build=start)
    if isinstance(start, tuple) and len(start) == 2 and isinstance(start[1], Closure):
        start = start[1]
    if isinstance(start, Closure):
        if len(start.targets) != 1:
            raise InvalidLens("mklens(closure)", f"has {len(start.targets)} targets, wanted one")
        return Lens(store or store_of(start.S), start.targets[0], "closure", None)
    if is_rref(start):
        holder = store or current_store()
        ref = parse_rref(start)
        return Lens(holder, start, ref.name, {**holder.context(ref), str(ref.derivation): [str(ref)]})
    if is_dref(start):
        return Lens(store, start, parse_dref(start).name, None)
    if isinstance(start, dict) or configs.is_ref_path(start):
        return Lens(store, start, "lens", None)
    raise InvalidLens("mklens", f"wanted a reference, a closure, a build or a dict, got {_short(start)}")


def rref2path(rref: str, S: StorageSettings | None = None) -> str:
    """The folder of a realization in the current store (or `S`). Raises NotInStore."""
    return str(store_of(S).path(parse_rref(rref)))


def rref2dref(rref: str) -> DRef:
    """The derivation that a realization belongs to."""
    return DRef(dref_of(rref))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
