"""Looking around in a store from Python: lists of names, texts, a shell in a folder, and a search.

The first functions take a store; `lsref`, `catref`, `find`, `diff`, `du` and `shell` are for sessions, look at the
current one. `diff`, `du` and `shell` take what the command line takes for a realization, `lsref` and `catref` a
reference. None of them changes anything.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from stagedml.core import config as configs
from stagedml.core.refs import DerivationRef, RealizationRef, is_dref, parse_dref, parse_rref
from stagedml.errors import UsageError
from stagedml.inspection.compare import Comparison, compare
from stagedml.inspection.du import Usage, usage
from stagedml.inspection.selectors import built, find_all
from stagedml.inspection.selectors import find as find_one
from stagedml.store.objects import DamagedFile, NotInStore, Store

if TYPE_CHECKING:
    from stagedml.authoring.build import Build
    from stagedml.authoring.pylightnix import RRef
    from stagedml.authoring.stage import Stage

logger = logging.getLogger(__name__)

_MISSING = object()
_FILLED_IN = re.compile(r"\{[^}]*\}")


class NoSuchFile(UsageError):
    """A realization holds no such file, or not of that kind."""

    def __init__(self, ref: str, path: str, problem: str) -> None:
        super().__init__(ref, path, problem)
        self.ref, self.path, self.problem = ref, path, problem

    def __str__(self) -> str:
        return f"{self.path!r} in {self.ref}: {self.problem}"


def folder_of(store: Store, ref: RealizationRef | DerivationRef) -> Path:
    """Where a realization or a derivation lies. Raises NotInStore."""
    if isinstance(ref, RealizationRef):
        return store.path(ref)
    folder = store.layout.derivation(ref)
    if not folder.is_dir():
        raise NotInStore(str(ref), str(store.layout.storage))
    return folder


def listing(store: Store, ref: RealizationRef | DerivationRef, folder: str = "") -> list[str]:
    """The names in a realization, or in a folder of it; of a derivation the hashes of its realizations.

    Raises:
        NotInStore: it is not there.
        NoSuchFile: there is no such folder in it.
    """
    if isinstance(ref, DerivationRef):
        folder_of(store, ref)
        return sorted(one.rhash for one in store.realizations(ref))
    place = _inside(store, ref, folder)
    if not place.is_dir():
        raise NoSuchFile(str(ref), folder, "there is no such folder; " + _there(store, ref))
    return sorted(os.listdir(place))


def text_of(store: Store, ref: RealizationRef, path: str) -> str:
    """The text of a file of a realization.

    Raises:
        NotInStore: the realization is not there.
        NoSuchFile: there is no such file in it, or it holds no text.
    """
    place = _inside(store, ref, path)
    if not place.is_file():
        raise NoSuchFile(str(ref), path, "there is no such file; " + _there(store, ref))
    try:
        return place.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise NoSuchFile(str(ref), path, f"holds no text; its bytes are in {place}") from None


def place_of(store: Store, ref: RealizationRef, name: str) -> Path:
    """A file or folder of a realization: by its path in it, or by the field of the config that names it.

    Raises:
        NotInStore: the realization is not there.
        NoSuchFile: there is no such file or folder in it.
    """
    outputs = configs.outputs_of(store.config(ref.derivation))
    path, is_prefix = outputs.get(name, (name, False))
    place = _inside(store, ref, path)
    if is_prefix or os.path.lexists(place):
        return place
    fields = f"; its fields are {', '.join(outputs)}" if outputs else ""
    raise NoSuchFile(str(ref), name, f"there is no such file; {_there(store, ref)}{fields}")


def _inside(store: Store, ref: RealizationRef, path: object) -> Path:
    """A path in a realization, which leads nowhere else."""
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"{path!r} is no path; give one relative to the realization, such as 'metrics.json'")
    given = os.fspath(path)
    root = store.path(ref)
    parts = PurePosixPath(given).parts if isinstance(given, str) else ("..",)
    if "\0" in str(given) or ".." in parts or os.path.isabs(given):
        raise NoSuchFile(str(ref), str(given), "give a path relative to the realization, without `..`")
    place = root.joinpath(*parts)
    if not place.resolve().is_relative_to(root.resolve()):
        raise NoSuchFile(str(ref), str(given), "is a link that leads out of the realization")
    return place


def _there(store: Store, ref: RealizationRef) -> str:
    return "there are: " + ", ".join(listing(store, ref))


def run_in(folder: Path, environment: Mapping[str, str], command: Sequence[str] | None) -> int:
    """Run the user's shell, or a command, in a folder; returns its exit code. Raises UsageError if it cannot start."""
    words = list(command or [os.environ.get("SHELL") or "/bin/sh"])
    try:
        return subprocess.call(words, cwd=folder, env={**os.environ, **environment})
    except OSError as error:
        hint = "" if command else "; SHELL names the shell to start"
        raise UsageError(f"{words[0]} cannot be started: {error.strerror}{hint}") from error


def matching(
    store: Store, name: str | None = None, parameters: Mapping[str, Any] | None = None, known: Collection[str] = ()
) -> list[str]:
    """The realizations of stages of a name with these values in their configs, the newest last.

    Args:
        store: where to look.
        name: as a shell matches names: `bert-*`; default all.
        parameters: fields of the config and their values.
        known: fields that there may be, though no config here has them.

    Raises:
        UsageError: no stage of that name has such a parameter.
    """
    wanted = dict(parameters or {})
    derivations = [one for one in store.derivations() if name is None or fnmatchcase(one.name, name)]
    if wanted:
        configs_of = {one: _config(store, one) for one in derivations}
        derivations = [one for one, config in configs_of.items() if _has(config, wanted)]
        if any(configs_of.values()) and not derivations:
            _check_known(wanted, {*known, *(field for config in configs_of.values() for field in config)}, name)
    found = [(built(store, ref), str(ref)) for one in derivations for ref in store.realizations(one)]
    return [rref for _, rref in sorted(found)]


def _config(store: Store, derivation: DerivationRef) -> Mapping[str, Any]:
    """A config; one that cannot be read holds nothing."""
    try:
        return store.config(derivation)
    except NotInStore:  # collected meanwhile
        return {}
    except DamagedFile as error:
        logger.warning("not searched: %s", error)
        return {}


def _has(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(_is_equal(config.get(field, _MISSING), value) for field, value in wanted.items())


def _check_known(wanted: Iterable[str], known: Collection[str], name: str | None) -> None:
    """Raises UsageError where a parameter is one that nothing has."""
    for field in wanted:
        if field not in known:
            close = difflib.get_close_matches(field, known, n=3)
            there = ", ".join(sorted({*known} - {"name", "stagedml"}))
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {there}"
            of_name = "" if name is None else f" of a stage {name!r}"
            raise UsageError(f"find: nothing{of_name} in the store has a parameter {field!r}; {hint}")


def _is_equal(value: object, wanted: object) -> bool:
    """As JSON values are equal: 1 is 1.0, and not true."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


# -- of the current store ----------------------------------------------------------------------------------------------


def lsref(ref: str, folder: str = "") -> list[str]:
    """The names in a realization of the current store, or in a folder of it; of a derivation, its realizations' hashes.

    Raises:
        NotInStore: it is not there.
        NoSuchFile: there is no such folder in it.
    """
    return listing(_current_store(), _parsed(ref), folder)


def catref(rref: str, path: str) -> str:
    """The text of a file of a realization in the current store.

    Args:
        rref: the realization.
        path: relative to it, such as `metrics.json`.

    Raises:
        NotInStore: the realization is not there.
        NoSuchFile: there is no such file in it, or it holds no text.
    """
    return text_of(_current_store(), parse_rref(rref), path)


def find(name: str | Stage[..., Any] | None = None, **parameters: Any) -> list[RRef]:
    """The realizations in the current store of stages of a name with these parameters, the newest last.

        find("bert-finetune-*", learning_rate=3e-5)

    Args:
        name: of the stage, as a shell matches names; or a stage, for all names that it can have; default any.
        parameters: fields of the config and their values; an input is given by its derivation.

    Raises:
        UsageError: no stage of that name has such a parameter.
    """
    from stagedml.authoring.pylightnix import RRef
    from stagedml.authoring.stage import Stage

    known: Collection[str] = ()
    if isinstance(name, Stage):
        known = (*name.checks, *name.outputs)
        name = _FILLED_IN.sub("*", name.name_template)
    given: object = name  # whoever checks no types passes other things, too
    if given is not None and not isinstance(given, str):
        raise UsageError(f"find({given!r}): give the name of a stage, such as 'bert-*', or what is decorated by @stage")
    return [RRef(rref) for rref in matching(_current_store(), name, parameters, known)]


def du(*refs: str) -> Usage:
    """How much space these realizations of the current store take; default all, and what lies beside them.

    Args:
        refs: as on the command line; a stage's name, also with `*` and `?`, stands for all of that name.

    Raises:
        NotInStore: one of them is not there.
        UsageError: one of them says too little.
    """
    store = _current_store()
    return usage(store, find_all(store, refs) or None)


def diff(old: str, new: str) -> Comparison:
    """What differs between two realizations in the current store: config, code, packages, inputs, metrics and files.

        diff("bert-finetune-mrpc~1", "bert-finetune-mrpc@best")

    Args:
        old, new: as on the command line: references, starts of hashes, names of stages.

    Raises:
        NotInStore: one of them is not there.
        UsageError: one of them says too little.
    """
    store = _current_store()
    return compare(store, find_one(store, old), find_one(store, new))


def shell(of: str | Build | None = None) -> int:
    """Open the user's shell in a folder, and wait until it is left; returns its exit code.

    Args:
        of: a realization in the current store, as on the command line; a derivation; a build that was taken over with
            `repl_realize`; default the folder of all.

    Raises:
        NotInStore: it is not there.
        UsageError: there is no terminal, as in a notebook.
    """
    from stagedml.authoring.build import Build

    environment: dict[str, str] = {}
    if of is None:
        folder = _current_store().layout.storage
    elif isinstance(of, Build):
        folder = of.outpath
    else:
        store = _current_store()
        ref = parse_dref(of) if is_dref(of) else find_one(store, of)
        folder = folder_of(store, ref)
        if isinstance(ref, RealizationRef):
            environment["STAGEDML_RREF"] = str(ref)
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"a shell needs a terminal, and here is none; open one, and there: cd {folder}")
    return run_in(folder, environment, None)


def _parsed(ref: str) -> RealizationRef | DerivationRef:
    return parse_dref(ref) if str(ref).startswith("dref:") else parse_rref(ref)


def _current_store() -> Store:
    from stagedml.authoring.session import current_store

    return current_store()
