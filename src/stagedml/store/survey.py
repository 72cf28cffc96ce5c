"""What reuse asks of each realization of a derivation: its inputs, its instances, and whether its outputs are there.

This is what a realize with nothing to do consists of, so it makes few system calls and few objects: one listing of the
derivation's folder, one read of each realization's metadata, one `lstat` for its context and for each declared output.
Whatever is not as usual, metadata that cannot be read, or none, is looked at the long way.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from stagedml.core.candidate import Candidate
from stagedml.core.refs import DerivationRef, RealizationRef, is_rhash, parse_rref
from stagedml.store import atomic
from stagedml.store.layout import CONTEXT_FILE
from stagedml.store.metadata import FORMAT, UnreadableMetadata
from stagedml.store.objects import DamagedFile, NotInStore, Store

logger = logging.getLogger(__name__)


class Survey(NamedTuple):
    """The realizations of a derivation for some inputs: those that are whole, and those that are not."""

    whole: list[Candidate]
    damaged: list[str]
    total: int = 0  #: how many it has, those for other inputs included


def survey(
    store: Store,
    ref: DerivationRef,
    inputs: Mapping[str, tuple[str, ...]],
    outputs: Iterable[tuple[str, bool]],
) -> Survey:
    """Look at the realizations of a derivation.

    Args:
        store: where.
        ref: the derivation.
        inputs: the realizations, sorted, that stand for each of its direct inputs.
        outputs: what it promises, as `core.config.outputs_of` has it: path, and whether it is a prefix.

    Raises:
        StoreUnusable: it cannot be told what there is.
    """
    folder = f"{store.storage_text}/{ref.dhash}-{ref.name}"
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return Survey([], [])
    except OSError:
        names = [one.rhash for one in store.realizations(ref)]  # says what is wrong
    names = sorted(name for name in names if len(name) == 32 and is_rhash(name))
    found = Survey([], [], len(names))
    for name in names:
        if not _look(store, ref, name, folder, inputs, outputs, found):
            _look_closely(store, RealizationRef(name, ref.dhash, ref.name), inputs, found)
    return found


def _look(
    store: Store,
    ref: DerivationRef,
    rhash: str,
    folder: str,
    inputs: Mapping[str, tuple[str, ...]],
    outputs: Iterable[tuple[str, bool]],
    found: Survey,
) -> bool:
    """Look at one realization; False where it is not as usual, and has to be looked at closely."""
    try:
        descriptor = os.open(f"{store.metadata_text}/{ref.dhash}-{ref.name}/{rhash}.json", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, 1 << 16)
            while len(data) & 0xFFFF == 0 and (more := os.read(descriptor, 1 << 20)):
                data += more
        finally:
            os.close(descriptor)
        document = json.loads(data.decode())
        rref = f"rref:{rhash}-{ref.dhash}-{ref.name}"
        builds = document["builds"]
        if document["format"] != FORMAT or document["rref"] != rref or not builds:
            return False
        theirs = document["inputs"]
        if len(theirs) != len(inputs):
            return True
        for dref, rrefs in inputs.items():
            if tuple(sorted(theirs.get(dref, ()))) != rrefs:
                return True
        if len(builds) == 1:
            instances: tuple[int, ...] = (builds[0]["instance"],)
        else:
            instances = tuple(sorted({build["instance"] for build in builds}))
        started = max([max(build["started"], build.get("published", 0.0)) for build in builds])
        place = f"{folder}/{rhash}"
        if _all_there(place, document["files"], outputs):
            found.whole.append(Candidate(rref, started, instances, store.metric_of(place)))
        else:
            found.damaged.append(rref)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _all_there(place: str, files: list[Any], outputs: Iterable[tuple[str, bool]]) -> bool:
    """Whether the context and the declared outputs of a realization are on disk as they were published.

    Kinds and sizes are looked at, but neither bytes nor what is inside of folders. Raises ValueError where metadata
    does not name an output.
    """
    try:
        os.lstat(f"{place}/{CONTEXT_FILE}")
        for path, is_prefix in outputs:
            named = [one for one in files if (_is_of(one[1], path) if is_prefix else one[1] == path)]
            if not named:
                raise ValueError(path)
            for kind, name, size, _ in named:
                status = os.lstat(f"{place}/{name}")
                mode = status.st_mode
                if kind == "d":
                    there = stat.S_ISDIR(mode)
                elif kind == "l":
                    there = stat.S_ISLNK(mode)
                else:
                    there = stat.S_ISREG(mode) and status.st_size == size
                if not there:
                    return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _is_of(name: str, prefix: str) -> bool:
    """Whether a file is one of those that a prefix stands for."""
    return name.startswith(f"{prefix}.") and "/" not in name[len(prefix) + 1 :]


def _look_closely(store: Store, ref: RealizationRef, inputs: Mapping[str, tuple[str, ...]], found: Survey) -> None:
    try:
        known = store.metadata(ref)
    except UnreadableMetadata as error:
        logger.warning("%s", error)
        known = None
    try:
        theirs = store.inputs_of(ref, known)
    except (NotInStore, DamagedFile):  # neither metadata nor context is left to tell
        found.damaged.append(str(ref))
        return
    if {dref: tuple(sorted(rrefs)) for dref, rrefs in theirs.items()} != inputs:
        return
    if store.missing_outputs(ref, known):
        found.damaged.append(str(ref))
    else:
        found.whole.append(store.candidate(ref, known))


def changed_since(store: Store, inputs: Mapping[str, Iterable[str]], moment: float) -> str | None:
    """A file of some realizations that somebody has written to since then, by the file system's clock; None if none is.

    Nobody may: published files are read-only. Whoever goes round that is found out here if their times tell.
    """
    for rref in (rref for rrefs in inputs.values() for rref in rrefs):
        try:
            folder = store.path(parse_rref(rref))
        except NotInStore:
            continue
        for _, others in atomic.folders_below(folder):
            for item in others:
                if item.is_file(follow_symlinks=False) and item.stat(follow_symlinks=False).st_mtime > moment:
                    return str(item.path)
    return None
