"""What can be adopted: which realization was built under which key, and whether its bytes may stand elsewhere.

`<side>/adoptable/<key>-<instance>` is a symbolic link whose text is the realization's reference. It is a hint: what it
says is compared with the realization's metadata each time, and where it is lost, something is built once more than need
be. A key that a builder's reading goes beyond is never noted.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection
from pathlib import Path

from stagedml.core.adoption import is_key, template_of
from stagedml.core.refs import DerivationRef, RealizationRef, is_rref, parse_rref
from stagedml.store import atomic
from stagedml.store.metadata import BuildRecord, Metadata, UnreadableMetadata
from stagedml.store.objects import Context, DamagedFile, NotInStore, Store

logger = logging.getLogger(__name__)

_FEW = 8  # for more references than these, one pass of a slower search is quicker
_PIECE_BYTES = 1 << 20
_PART = 8  # bytes of a reference that are compared first
_STRIDE = 32 - _PART + 1
_IS_DIGIT = bytes(byte in b"0123456789abcdef" for byte in range(256))
_ALL_DIGITS = b"\1" * 32


def offer(store: Store, ref: RealizationRef, known: Metadata) -> None:
    """Note under which keys a realization was built. The caller holds its publish lock.

    Where that cannot be noted the realization is there all the same, and a warning tells.
    """
    for build in known.builds:
        if is_key(build.key) and not build.reads:  # what is imported may tell anything
            place = _place(store, build.key, build.instance)
            try:
                _offer(store, ref, build, place)
            except OSError as error:
                logger.warning("%s: %s will not be adopted: %s", place, ref, error)


def _offer(store: Store, ref: RealizationRef, build: BuildRecord, place: str) -> None:
    with contextlib.suppress(FileExistsError):
        _link(str(ref), place)
        return
    if offered(store, build.key, build.instance) is None:
        temporary = f"{place}.{atomic.unique(4)}.tmp"
        os.symlink(str(ref), temporary)
        try:
            os.replace(temporary, place)
        except OSError:
            os.unlink(temporary)
            raise


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
        if known is None or store.missing_outputs(ref, known):
            return None
    except (UnreadableMetadata, NotInStore, DamagedFile):
        return None
    fits = any((build.key, build.instance) == (key, instance) and not build.reads for build in known.builds)
    return ref if fits else None


def withdraw(store: Store, key: str, instance: int) -> None:
    """Forget that something can be adopted under a key. Raises StoreUnusable."""
    with store.own_errors(), contextlib.suppress(FileNotFoundError):
        os.unlink(_place(store, key, instance))


def sweep(store: Store) -> None:
    """Forget what is not there any more."""
    for path in atomic.paths_in(store.layout.adoptable):
        with contextlib.suppress(OSError):
            text = os.readlink(path)
            if path.endswith(".tmp") or not (is_rref(text) and store.layout.metadata_of(parse_rref(text)).exists()):
                os.unlink(path)


def spelt_reference(
    store: Store, ref: RealizationRef, known: Metadata, target: DerivationRef, inputs: Context
) -> str | None:
    """A file of a realization that spells its own reference or one that it rests on; None if none does.

    Such a file would tell wrongly where it comes from if it were adopted. Reads all of its bytes.

    Args:
        store: where it is.
        ref: the realization.
        known: its metadata.
        target: the derivation that is to adopt it.
        inputs: the direct inputs of that. What is behind those that both have, in the same place, may be spelt.

    Raises:
        DamagedFile, NotInStore: it is not there as it was published.
    """
    hashes = {ref.dhash, *_hashes(store.context(ref))} - _hashes(_shared(store, ref, known, target, inputs))
    folder = store.path(ref)
    for entry in known.files:
        named = entry.path + (entry.digest if entry.kind == "l" else "")
        if any(text in named for text in hashes):
            return entry.path
        if entry.kind in ("f", "x") and entry.size >= 32:
            try:
                is_spelling = holds(folder / entry.path, hashes)
            except OSError as error:
                raise DamagedFile(str(folder / entry.path), error.strerror or str(error)) from error
            if is_spelling:
                return entry.path
    return None


def _shared(
    store: Store, ref: RealizationRef, known: Metadata, target: DerivationRef, inputs: Context
) -> dict[str, list[str]]:
    """The context that two derivations have in common, by the inputs that have the same number in both."""
    context: dict[str, list[str]] = {}
    mine, theirs = (template_of(store.config(one)).inputs for one in (ref.derivation, target))
    for dref, other in zip(mine, theirs, strict=False):
        rrefs = sorted(known.inputs.get(dref, ()))
        if dref == other and rrefs and rrefs == sorted(inputs.get(dref, ())):
            for one in ({dref: rrefs}, *(store.context(parse_rref(rref)) for rref in rrefs)):
                for name, further in one.items():
                    context[name] = [*context.get(name, ()), *further]
    return context


def _hashes(context: Context) -> set[str]:
    references = {*context, *(rref for rrefs in context.values() for rref in rrefs)}
    return {text[5:37] for text in references} | {text[38:70] for text in references if text.startswith("rref:")}


def holds(path: Path, hashes: Collection[str]) -> bool:
    """Whether a file holds one of some texts of 32 hexadecimal digits. Few are looked for one after the other."""
    wanted = frozenset(text.encode() for text in hashes)
    parts = frozenset(text[at : at + _PART] for text in wanted for at in range(_STRIDE))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = b""
        while piece := os.read(descriptor, _PIECE_BYTES):
            data = before + piece
            # Without zeros, ASCII in UTF-16 and UTF-32 is plain ASCII.
            for form in (data, data.replace(b"\0", b"")) if b"\0" in data else (data,):
                if any(text in form for text in wanted) if len(wanted) <= _FEW else _is_among(form, wanted, parts):
                    return True
            before = data[-128:]
    finally:
        os.close(descriptor)
    return False


def _is_among(data: bytes, wanted: Collection[bytes], parts: Collection[bytes]) -> bool:
    """Whether data holds a text of 32 hexadecimal digits that is wanted; `parts` are all parts of these.

    Only runs of digits are looked at, and in these, one part out of so many that no text fits between.
    """
    digits = data.translate(_IS_DIGIT)
    begin = digits.find(_ALL_DIGITS)
    while begin >= 0:
        end = digits.find(b"\0", begin)
        end = len(data) if end < 0 else end
        for at in range(begin, end - _PART + 1, _STRIDE):
            if data[at : at + _PART] in parts and any(
                data[start : start + 32] in wanted for start in range(max(begin, at - _STRIDE + 1), at + 1)
            ):
                return True
        begin = digits.find(_ALL_DIGITS, end)
    return False
