"""Looking for what is wrong in a store, and putting it out of the way.

`verify` reads everything and changes nothing. `repair` deletes nothing, either: what is damaged, and what belongs to
nothing, goes to quarantine, so that the next realize builds anew; write bits are taken away again. A realization that
Pylightnix published has no digests to compare with; it is compared with Pylightnix's own hash, where that can be told.

Both may run while others read, build and publish: what looks half done is looked at again under the lock that
publishing holds, and so is everything before it is moved.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from pathlib import Path

from stagedml.core.refs import DerivationRef, RealizationRef, is_dref, is_folder, is_rref, parse_dref, parse_rref
from stagedml.store import atomic, hashing
from stagedml.store.hashing import Entry
from stagedml.store.layout import CODE_FILE, CONTEXT_FILE
from stagedml.store.metadata import UnreadableMetadata
from stagedml.store.objects import DamagedFile, NotInStore, Store, StoreUnusable


class Kind(Enum):
    """What is wrong."""

    DAMAGED = "damaged"  #: other bytes, another kind of file, or unreadable
    MISSING = "missing"  #: was published and is gone
    EXTRA = "extra"  #: was not published
    WRITABLE = "writable"  #: has write bits
    METADATA = "metadata"  #: cannot be read, or is another realization's
    CONTEXT = "context"  #: rests on realizations that are not in the store
    CONFIG = "config"  #: is gone or does not hash to the derivation's name
    ORPHAN = "orphan"  #: belongs to no realization: what a crash left


#: What makes a realization unfit to be used.
UNFIT = frozenset({Kind.DAMAGED, Kind.MISSING, Kind.EXTRA})


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: what.
        ref: the realization or derivation concerned; empty for an orphan.
        path: the file or folder, absolute.
        detail: in words.
    """

    kind: Kind
    ref: str
    path: str
    detail: str


@dataclass(frozen=True)
class Report:
    """What `verify` looked at and found.

    Attributes:
        realizations: how many were looked at.
        untracked: how many of them Pylightnix published and cannot be compared with its hash.
        size_bytes: of all files that were read.
        findings: what is wrong; in the order of references and paths.
    """

    realizations: int
    untracked: int
    size_bytes: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Checked:
    findings: tuple[Finding, ...]
    size_bytes: int
    tracked: bool


def verify(
    store: Store,
    refs: Iterable[RealizationRef] | None = None,
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read realizations and compare them with what was published.

    Args:
        store: the store.
        refs: which; default all, and then derivations without any and what belongs to nothing, too.
        workers: how many are read at once; default as many as there are processors.
        on_progress: told how many of how many are done.
    """
    if refs is None:
        derivations = store.derivations()
        findings = []
        chosen = []
        for derivation in derivations:
            try:
                chosen += store.realizations(derivation)
            except StoreUnusable as error:
                path = str(store.layout.derivation(derivation))
                findings.append(Finding(Kind.CONFIG, str(derivation), path, f"cannot be read: {error.reason}"))
        findings += _all_orphans(store)
    else:
        chosen = sorted(set(refs), key=str)
        derivations = sorted({ref.derivation for ref in chosen}, key=str)
        findings = []
    for derivation in derivations:
        findings += _check_config(store, derivation)
    checked: list[_Checked] = []
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for result in pool.map(lambda ref: _check(store, ref), chosen):
            checked.append(result)
            if on_progress is not None:
                on_progress(len(checked), len(chosen))
    for result in checked:
        findings += result.findings
    findings = _still_writable(store, findings)
    if refs is None:
        findings = [finding for finding in findings if not _was_collected(store, finding)]
    return Report(
        realizations=len(checked),
        untracked=sum(not result.tracked for result in checked),
        size_bytes=sum(result.size_bytes for result in checked),
        findings=tuple(sorted(findings, key=lambda finding: (finding.ref, finding.path, finding.kind.value))),
    )


def repair(store: Store, report: Report) -> list[str]:
    """Put what `verify` found out of the way.

    Realizations with damaged, missing or extra files go to quarantine, and so do orphans and metadata that is of no
    use; write bits are taken away. Configs, and contexts that rest on what is gone, are left alone: realizing the stage
    again mends both.

    Returns:
        what was done, a line each.
    """
    done = []
    unfit = sorted({finding.ref for finding in report.findings if finding.kind in UNFIT and is_rref(finding.ref)})
    for text in unfit:
        ref = parse_rref(text)
        with store.publishing(ref.folder):
            found = {finding.kind for finding in _check(store, ref).findings}
            if found & UNFIT and os.path.lexists(store.layout.realization(ref)):
                done.append(f"{ref}: moved to {store.set_aside(ref)}")
                if (metadata := store.layout.metadata_of(ref)).exists():
                    done.append(f"{metadata}: moved to {store.quarantine(metadata)}")
    for finding in report.findings:
        if finding.ref in unfit:
            continue
        path = Path(finding.path)
        if finding.kind is Kind.WRITABLE:
            with store.publishing(parse_rref(finding.ref).folder), contextlib.suppress(FileNotFoundError):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
                done.append(f"{path}: made read-only")
        elif finding.kind is Kind.EXTRA:
            with store.changing():
                if os.path.lexists(path):
                    done.append(f"{path}: moved to {store.quarantine(path)}")
        elif finding.kind in (Kind.ORPHAN, Kind.METADATA):
            folder = path.parent.name
            with store.publishing(folder):
                orphan = finding.kind is Kind.ORPHAN
                now = _orphans(store, folder) if orphan else _check(store, parse_rref(finding.ref)).findings
                collected = orphan and path.parent in (store.layout.storage, store.layout.metadata)
                if finding in now or (collected and path.exists()):
                    done.append(f"{path}: moved to {store.quarantine(path)}")
    return done


def _still_writable(store: Store, findings: Iterable[Finding]) -> list[Finding]:
    """Findings without the folders that were writable for a moment, while equal files in them were linked."""
    kept = []
    for ref, group in groupby(findings, key=lambda finding: finding.ref):
        found = list(group)
        if any(finding.kind is Kind.WRITABLE for finding in found):
            with contextlib.suppress(StoreUnusable), store.publishing(parse_rref(ref).folder):
                found = [one for one in found if one.kind is not Kind.WRITABLE or _is_writable(one.path)]
        kept += found
    return kept


def _is_writable(path: str) -> bool:
    try:
        return bool(os.lstat(path).st_mode & 0o222)
    except FileNotFoundError:
        return False


def _was_collected(store: Store, finding: Finding) -> bool:
    """Whether what was found is about something that was deleted as a whole meanwhile."""
    if is_rref(finding.ref):
        return not os.path.lexists(store.layout.realization(parse_rref(finding.ref)))
    return is_dref(finding.ref) and not os.path.lexists(store.layout.derivation(parse_dref(finding.ref)))


_LEFT = "was not published, or not deleted, to the end"


def _check_config(store: Store, ref: DerivationRef) -> Iterator[Finding]:
    path = str(store.layout.config(ref))
    folder = store.layout.derivation(ref)
    if folder.is_symlink():
        yield Finding(Kind.CONFIG, str(ref), str(folder), "is a link; the folder itself belongs here")
        return
    try:
        store.read_config(ref)
    except NotInStore:
        yield Finding(Kind.CONFIG, str(ref), path, "is gone")
    except DamagedFile as error:
        yield Finding(Kind.CONFIG, str(ref), path, error.reason)
    except OSError as error:
        yield Finding(Kind.CONFIG, str(ref), path, f"cannot be read: {error.strerror}")


def _check(store: Store, ref: RealizationRef) -> _Checked:
    """Compare one realization with what was published."""
    folder = store.layout.realization(ref)
    findings: list[Finding] = []

    def found(kind: Kind, path: Path, detail: str) -> None:
        findings.append(Finding(kind, str(ref), str(path), detail))

    if not os.path.lexists(folder):
        found(Kind.MISSING, folder, "the whole realization is gone")
        return _Checked(tuple(findings), 0, True)
    if folder.is_symlink() or not folder.is_dir():
        found(Kind.DAMAGED, folder, "is no folder any more")
        return _Checked(tuple(findings), 0, True)
    known = None
    unreadable = False
    try:
        known = store.metadata(ref)
        if known is not None and (known.rref != str(ref) or known.digest[:32] != ref.rhash):
            found(Kind.METADATA, store.layout.metadata_of(ref), f"is that of {known.rref}, digest {known.digest}")
            known, unreadable = None, True
    except UnreadableMetadata as error:
        unreadable = True
        found(Kind.METADATA, store.layout.metadata_of(ref), error.reason)

    context = folder / CONTEXT_FILE
    context_text = None
    try:
        context_text = context.read_bytes().decode()
        _check_context(store, json.loads(context_text), lambda detail: found(Kind.CONTEXT, context, detail))
    except FileNotFoundError:
        found(Kind.MISSING, context, "is gone")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        found(Kind.DAMAGED, context, f"cannot be read: {error}")

    entries: tuple[Entry, ...] = ()
    try:
        entries = hashing.scan(folder)
    except hashing.UnpublishableContent as error:
        for problem in error.problems:
            found(Kind.DAMAGED, folder, problem)
    except OSError as error:
        found(Kind.DAMAGED, Path(error.filename or folder), f"cannot be read: {error.strerror}")
    whole = not any(finding.kind in UNFIT for finding in findings)
    if whole and known is not None:
        _compare(known.files, entries, lambda kind, path, detail: found(kind, folder / path, detail))
    if whole and context_text is not None and not any(finding.kind in UNFIT for finding in findings):
        digest = hashing.realization_digest(hashing.content_digest(entries), context_text)
        if known is not None and digest != known.digest:
            found(Kind.DAMAGED, context, "was changed")
        elif known is None and digest[:32] != ref.rhash:
            if not unreadable:  # no metadata at all: Pylightnix published it
                by_its_rule = pylightnix_whole(folder, ref.rhash)
                if by_its_rule is None and _is_ours(store, ref):
                    found(Kind.DAMAGED, folder, "has no metadata, and does not hash to its name")
                elif by_its_rule is False:
                    found(Kind.DAMAGED, folder, "does not hash to its name by Pylightnix's rule")
                return _Checked(tuple(findings), sum(entry.size for entry in entries), by_its_rule is not None)
            found(Kind.DAMAGED, folder, f"hashes to {digest[:32]}, and no metadata tells what was changed")
    for path in _writable(folder):
        found(Kind.WRITABLE, path, "has write bits")
    return _Checked(tuple(findings), sum(entry.size for entry in entries), True)


def _is_ours(store: Store, ref: RealizationRef) -> bool:
    """Whether a stage of ours was realized; seldom by Pylightnix, mostly by us."""
    try:
        return "stagedml" in store.config(ref.derivation)
    except (NotInStore, DamagedFile):
        return False


def pylightnix_whole(folder: Path, rhash: str) -> bool | None:
    """Whether a realization that Pylightnix published is as it was, as far as its own hash tells; None if it cannot.

    That hash is SHA-256 over the contents of all files one after the other, those left out whose names begin with `_`.
    The names do not enter it, and of several folders in one folder, which came first is not known any more.
    """
    hasher = hashlib.sha256()
    certain = True
    for top, folders, files in os.walk(folder):
        certain = certain and len(folders) < 2
        for name in sorted(files):
            path = os.path.join(top, name)
            if not name.startswith("_"):
                if os.path.islink(path):
                    hasher.update(os.fsencode(os.readlink(path)))
                with open(path, "rb") as file:
                    while data := file.read(1 << 20):
                        hasher.update(data)
    if hasher.hexdigest()[:32] == rhash:
        return True
    return False if certain else None


def _check_context(store: Store, context: Mapping[str, list[str]], found: Callable[[str], None]) -> None:
    for rrefs in context.values():
        for rref in rrefs:
            if not store.layout.realization(parse_rref(rref)).is_dir():
                found(f"rests on {rref}, which is not in the store")


def _compare(published: Iterable[Entry], present: Iterable[Entry], found: Callable[[Kind, str, str], None]) -> None:
    before, now = ({entry.path: entry for entry in entries} for entries in (published, present))
    for path in sorted(before.keys() - now.keys()):
        found(Kind.MISSING, path, "is gone")
    for path in sorted(now.keys() - before.keys()):
        found(Kind.EXTRA, path, "was not published")
    for path in sorted(before.keys() & now.keys()):
        old, new = before[path], now[path]
        if old.kind != new.kind:
            found(Kind.DAMAGED, path, f"was {_KINDS[old.kind]}, is {_KINDS[new.kind]}")
        elif old.size != new.size:
            found(Kind.DAMAGED, path, f"had {old.size} bytes, has {new.size}")
        elif old.digest != new.digest:
            found(Kind.DAMAGED, path, f"hashed to {old.digest}, hashes to {new.digest}")


_KINDS = {"d": "a folder", "f": "a file", "x": "an executable file", "l": "a link"}


def _writable(folder: Path) -> Iterator[Path]:
    for top, others in atomic.folders_below(folder):
        for path in (top, *(item.path for item in others)):
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode) and mode & 0o222:
                yield Path(path)


def _all_orphans(store: Store) -> list[Finding]:
    """What belongs to no realization. What looks so while it is being published is looked at again when it is not."""
    layout = store.layout
    names = {entry.name for top in (layout.storage, layout.metadata) if top.is_dir() for entry in os.scandir(top)}
    findings: list[Finding] = []
    for name in sorted(names):
        if name.endswith(".tmp"):  # of a collection
            places = (layout.storage / name, layout.metadata / name)
            findings += [Finding(Kind.ORPHAN, "", str(place), _LEFT) for place in places if place.exists()]
        elif not is_folder(name):
            place = layout.storage / name
            findings += [Finding(Kind.EXTRA, "", str(place), "is no part of a store")] if place.exists() else []
        elif _orphans(store, name):
            with store.publishing(name):
                findings += _orphans(store, name)
    return findings


def _orphans(store: Store, folder: str) -> list[Finding]:
    """The orphans of one derivation, given as the name of its folder."""
    realizations, metadata = (_names(top / folder) for top in (store.layout.storage, store.layout.metadata))
    left = [name for name in realizations if name.endswith(".tmp")]
    named = {name.removesuffix(".json"): name for name in metadata if name != CODE_FILE or not realizations}
    unused = [name for stem, name in named.items() if stem not in realizations]
    return [
        Finding(Kind.ORPHAN, "", str(top / folder / name), detail)
        for top, names, detail in (
            (store.layout.storage, left, _LEFT),
            (store.layout.metadata, unused, "is metadata of a realization that is not there"),
        )
        for name in names
    ]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
