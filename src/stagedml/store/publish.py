"""Building and publishing: from a scratch folder to a whole realization, with one rename.

A builder works in a scratch folder beside the storage. When it is done the tree is hashed and made read-only, all but
its top folder, which an unprivileged user could not move then; its metadata is written; the folder is moved to
`<rhash>.tmp` inside its derivation, and made read-only too; a durable store syncs the file system, once; and the folder
is renamed in place. A crash leaves:

- before the move: scratch, which the next attempt at the same build empties, and perhaps metadata of a realization
  that is not there, which nobody reads;
- after the move, before the rename: beside that a `.tmp` folder that nobody reads, which the next publish of the same
  bytes replaces;
- after the rename: the whole realization. A power failure before `publish` returns may take the rename back.

What is left behind and never tried again is swept by the collector. Any number of processes may read and publish at
once.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from stagedml.core.code import Code
from stagedml.core.refs import DerivationRef, RealizationRef
from stagedml.store import adoptions, atomic, hashing, locks, metadata
from stagedml.store.contexts import context_json
from stagedml.store.layout import CONTEXT_FILE, RESERVED_NAMES, UNHASHED
from stagedml.store.metadata import BuildRecord, Metadata
from stagedml.store.objects import Context, DamagedFile, Store

# What Linux takes is 4,095; a realization that is being deleted has a longer name for a moment.
_LONGEST_PATH_BYTES = 4_050


class Held(NamedTuple):
    """What the one builder has.

    Attributes:
        scratch: its folder, for `begin_build`.
        lock: a descriptor; as long as some process has it open, nobody else builds.
    """

    scratch: Path
    lock: int


@contextlib.contextmanager
def building(
    store: Store,
    ref: DerivationRef,
    inputs: Context,
    instance: int,
    *,
    on_wait: locks.OnWait | None = None,
) -> Iterator[Held]:
    """Be the one builder of a derivation, direct inputs and instance, over all processes on this store.

    The scratch folder is on the store's file system, belongs to this build alone, and is what a failed or killed
    attempt leaves behind until the next attempt begins.

    Raises StoreUnusable where nothing can be written.
    """
    key = f"{ref.folder[:64]}.{build_key(ref, inputs, instance)[:16]}"
    path = f"{store.side_text}/locks/{key}.lock"
    with store.own_errors():
        held = locks.acquire(path, on_wait=on_wait)
    try:
        yield Held(Path(f"{store.side_text}/scratch/{key}"), held)
    finally:
        locks.release(path, held)


def begin_build(store: Store, scratch: Path) -> Path:
    """Empty a scratch folder; returns the folder in it that a builder is to fill. Raises StoreUnusable."""
    outpath = f"{scratch}/out"
    with store.own_errors():
        atomic.make_empty(os.fspath(scratch))
        os.mkdir(outpath)
    return Path(outpath)


def publish(
    store: Store,
    ref: DerivationRef,
    tree: Path,
    *,
    context: Context,
    inputs: Context,
    build: BuildRecord,
    links_to: Collection[RealizationRef] = (),
    code: Code | None = None,
    content: str | None = None,
) -> RealizationRef:
    """Publish a built tree; afterwards `tree` is gone and the realization is in the store, whole and read-only.

    Files, folders, links that stay inside, and whether a file may be executed, are kept; so are names of any case, and
    links that lead nowhere. Owners, times, other permissions, and which files are hard links of each other are not: a
    file that is also linked from elsewhere is copied, lest it be changed from there.

    Args:
        store: where to.
        ref: what was built.
        tree: the folder that was filled, on the store's file system.
        context: all that it rests on.
        inputs: its direct inputs.
        build: how it was built.
        links_to: realizations whose files it may share.
        code: what is behind the derivation, to be kept beside it.
        content: the content digest that it must have, as a copy of something.

    Raises:
        UnpublishableContent: the tree holds names or kinds of files that cannot be kept; each is named.
        DamagedFile: it has not the content that it must have.
        StoreUnusable: the store cannot be written; DiskFull if for lack of space.
    """
    beside: set[str] = set()
    if os.path.islink(tree) or not os.path.isdir(tree):
        raise hashing.UnpublishableContent(
            str(tree), ("the folder that was to be filled is gone, or something else now",)
        )
    with store.own_errors():
        entries = hashing.scan(
            tree,
            seal=True,
            shared=_inodes(map(store.layout.realization, links_to)) if links_to else (),
            longest_path_bytes=longest_path_bytes(store, ref),
            beside=beside,
        )
        reserved = sorted(RESERVED_NAMES & {*beside, *(entry.path for entry in entries)})
        if reserved:
            problems = (f"{name}: a reserved name; write the file under another one" for name in reserved)
            raise hashing.UnpublishableContent(str(tree), tuple(problems))
        found = hashing.content_digest(entries)
        if content is not None and content != found:
            raise DamagedFile(str(tree), f"it hashes to {found[:32]}, not to {content[:32]} as what it is copied from")
        context_text = context_json(context)
        digest = hashing.realization_digest(found, context_text)
        realization = hashing.realization_ref(ref, digest)
        known = Metadata(
            rref=str(realization),
            digest=digest,
            content=found,
            inputs={dref: tuple(rrefs) for dref, rrefs in inputs.items()},
            files=entries,
            builds=(build,),
        )
        install(store, realization, tree, context_text, known, code, beside=beside)
    store.remember_content(str(realization), found)
    return realization


def longest_path_bytes(store: Store, ref: DerivationRef) -> int:
    """How long a path in a realization of a derivation may be."""
    return _LONGEST_PATH_BYTES - len(os.fsencode(f"{store.storage_text}/{ref.folder}"))


def install(
    store: Store,
    realization: RealizationRef,
    tree: Path,
    context_text: str,
    known: Metadata | None,
    code: Code | None = None,
    *,
    beside: Collection[str] = UNHASHED,
) -> None:
    """Publish a tree that was hashed and sealed, under the name that follows from it, and claim it.

    Without metadata it is one that Pylightnix built. `beside` are the names at its top that are in no hash.
    """
    top = os.fspath(tree)
    atomic.write_over(f"{top}/{CONTEXT_FILE}", context_text.encode())
    for name in UNHASHED.intersection(beside):
        _seal(f"{top}/{name}")
    with store.publishing(realization.folder):
        final = f"{store.storage_text}/{realization.folder}/{realization.rhash}"
        there = os.path.lexists(final)
        if there and _digest(Path(final)) != (known.digest if known is not None else _digest(tree)):
            store.set_aside(realization)
            there = False
        if known is not None:
            place = f"{store.metadata_text}/{realization.folder}/{realization.rhash}.json"
            metadata.merge(place, known, durable=store.durable)
        if code is not None:
            store.keep_code(realization.derivation, code)
        if there:
            atomic.remove_tree(tree)
        else:
            temporary = f"{final}.tmp"
            _move(store, realization, top, temporary)
            os.chmod(temporary, 0o555)
            if store.durable:
                atomic.sync_file_system(Path(final).parent)
            os.rename(temporary, final)
            if store.durable:
                atomic.sync_folder(Path(final).parent)
        if known is not None:
            adoptions.offer(store, realization, known)
        store.claims.add([str(realization)])


def _move(store: Store, realization: RealizationRef, top: str, temporary: str) -> None:
    """Move a tree into its derivation's folder, which is made anew if it was collected since it was declared."""
    try:
        os.rename(top, temporary)
    except OSError:
        store.mend_config(realization.derivation)
        atomic.remove_tree(temporary)  # of an attempt that was killed
        os.rename(top, temporary)


def _seal(path: str) -> None:
    """Make a file or folder that is in no hash read-only, if it is there."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        atomic.make_read_only(Path(path))
    elif stat.S_ISREG(mode):
        os.chmod(path, 0o444)


def _digest(folder: Path) -> str | None:
    """What a realization's folder hashes to, all of it read; None where it cannot be."""
    if folder.is_symlink():
        return None
    try:
        content = hashing.content_digest(hashing.scan(folder))
        context_text = (folder / CONTEXT_FILE).read_text(encoding="utf-8")
    except (OSError, ValueError, hashing.UnpublishableContent):
        return None
    return hashing.realization_digest(content, context_text)


def _inodes(folders: Iterable[Path]) -> frozenset[tuple[int, int]]:
    statuses = (
        item.stat(follow_symlinks=False)
        for top in folders
        for _, others in atomic.folders_below(top)
        for item in others
    )
    return frozenset((status.st_dev, status.st_ino) for status in statuses)


def build_key(ref: DerivationRef, inputs: Context, instance: int) -> str:
    """What two builders must not do at once: the same derivation, direct inputs and instance."""
    text = json.dumps([str(ref), {dref: sorted(rrefs) for dref, rrefs in inputs.items()}, instance], sort_keys=True)
    return blake3(text.encode()).hexdigest()
