"""What can be adopted: which realization was built under which key, and whether its bytes may stand elsewhere.

`<side>/adoptable/<key>-<instance>` is a symbolic link whose text is the realization's reference. It is a hint: what it
says is compared with the realization's metadata each time, and where it is lost, something is built once more than need
be. A key that a builder's reading goes beyond is never noted.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

from stagedml.core.refs import RealizationRef, is_rref, parse_rref
from stagedml.store import atomic
from stagedml.store.metadata import Metadata, UnreadableMetadata
from stagedml.store.objects import Context, Store

_FEW = 8  # for more references than these, one pass of a slower search is quicker
_HASHES = re.compile(rb"(?=([0-9a-f]{32}))")


def offer(store: Store, ref: RealizationRef, known: Metadata) -> None:
    """Note under which keys a realization was built. The caller holds its publish lock."""
    for build in known.builds:
        if build.key and not build.reads:
            place = _place(store, build.key, build.instance)
            with contextlib.suppress(FileExistsError):
                _link(str(ref), place)
                continue
            if offered(store, build.key, build.instance) is None:
                temporary = f"{place}.{uuid.uuid4().hex[:8]}.tmp"
                os.symlink(str(ref), temporary)
                os.replace(temporary, place)


def _link(text: str, place: str) -> None:
    try:
        os.symlink(text, place)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(place))
        os.symlink(text, place)


def _place(store: Store, key: str, instance: int) -> str:
    return f"{store.side_text}/adoptable/{key}-{instance}"


def offered(store: Store, key: str, instance: int) -> RealizationRef | None:
    """The realization that was built under a key, if it is whole."""
    try:
        text = os.readlink(_place(store, key, instance))
    except OSError:
        return None
    if not is_rref(text):
        return None
    ref = parse_rref(text)
    try:
        known = store.metadata(ref)
    except UnreadableMetadata:
        return None
    if known is None or store.missing_outputs(ref, known):
        return None
    fits = any((build.key, build.instance) == (key, instance) and not build.reads for build in known.builds)
    return ref if fits else None


def withdraw(store: Store, key: str, instance: int) -> None:
    """Forget that something can be adopted under a key."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_place(store, key, instance))


def sweep(store: Store) -> None:
    """Forget what is not there any more."""
    for path in atomic.paths_in(store.layout.adoptable):
        with contextlib.suppress(OSError):
            text = os.readlink(path)
            if not (is_rref(text) and store.layout.metadata_of(parse_rref(text)).exists()):
                os.unlink(path)


def spelt_reference(store: Store, ref: RealizationRef, known: Metadata, context: Context) -> str | None:
    """A file of a realization that spells its own reference or one that it rests on; None if none does.

    Such a file would tell wrongly where it comes from if it were adopted. Reads all of its bytes.

    Args:
        store: where it is.
        ref: the realization.
        known: its metadata.
        context: what it would rest on; these references may be spelt.
    """
    hashes = {ref.dhash, *_hashes(store.context(ref))} - _hashes(context)
    folder = store.path(ref)
    for entry in known.files:
        named = entry.path + (entry.digest if entry.kind == "l" else "")
        if any(text in named for text in hashes):
            return entry.path
        if entry.kind in ("f", "x") and entry.size >= 32 and _holds(folder / entry.path, hashes):
            return entry.path
    return None


def _hashes(context: Context) -> set[str]:
    references = {*context, *(rref for rrefs in context.values() for rref in rrefs)}
    return {text[5:37] for text in references} | {text[38:70] for text in references if text.startswith("rref:")}


def _holds(path: Path, hashes: Iterable[str]) -> bool:
    wanted = [text.encode() for text in hashes]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if len(wanted) <= _FEW:
            return any(data.find(text) >= 0 for text in wanted)
        there = frozenset(wanted)
        return any(match[1] in there for match in _HASHES.finditer(data))
