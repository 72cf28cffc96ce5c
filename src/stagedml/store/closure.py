"""What a store holds of some realizations and of all that they rest on.

A *closure* is some realizations, all in their contexts, the sources that pinned derivations among them keep, and the
configs of all their derivations. Configs, contexts and metadata are checked against the references here; the bytes of
files are not, which is for whoever reads them. Nothing is changed, and what is asked for is claimed, so that collectors
spare it as long as the `Store` lives.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from stagedml.core import config as configs
from stagedml.core.refs import DerivationRef, RealizationRef, is_dref, is_rref, parse_dref, parse_rref
from stagedml.store import atomic, hashing
from stagedml.store.hashing import Entry
from stagedml.store.layout import CONTEXT_FILE, LOG_FOLDER, UNHASHED
from stagedml.store.metadata import Metadata
from stagedml.store.objects import DamagedFile, NotInStore, Store
from stagedml.store.verify import pylightnix_whole


@dataclass(frozen=True)
class Contents:
    """All of a realization.

    Attributes:
        known: its metadata; None where Pylightnix built it.
        context: what it rests on.
        entries: what lies in its folder, in the order of the bytes of the paths; those of files that are in no hash
            have no digest.
    """

    known: Metadata | None
    context: dict[str, list[str]]
    entries: tuple[Entry, ...]

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True)
class Closure:
    """Some realizations and all that they rest on.

    Attributes:
        asked: sorted.
        realizations: with the bytes of their files, inputs before what rests on them.
        configs: the texts of the configs of all their derivations, and of what these are made of, that first.
    """

    asked: tuple[str, ...]
    realizations: dict[RealizationRef, int]
    configs: dict[DerivationRef, bytes]

    @property
    def size_bytes(self) -> int:
        return sum(self.realizations.values())


class Holdings:
    """The realizations of a store. With `records` their logs count, too."""

    def __init__(self, store: Store, *, records: bool) -> None:
        self.store = store
        self.records = records
        self._plain: dict[RealizationRef, tuple[Entry, ...]] = {}  # Pylightnix's have to be read to be known

    def closure(self, refs: Iterable[RealizationRef]) -> Closure:
        """The closure of some realizations, which are claimed. Raises NotInStore and DamagedFile."""
        asked = sorted({str(ref) for ref in refs})
        self.store.claiming(lambda: [self.store.path(parse_rref(text)) for text in asked], lambda _: asked)
        sizes: dict[str, int] = {}
        inputs: dict[str, list[str]] = {}
        texts: dict[str, bytes] = {}
        made_of: dict[str, tuple[str, ...]] = {}
        pending, seen = list(asked), set(asked)
        while pending:
            text = pending.pop()
            ref = parse_rref(text)
            contents = self.contents(ref)
            sizes[text] = contents.size_bytes
            self._add_configs((str(ref.derivation), *contents.context), texts, made_of)
            config = json.loads(texts[str(ref.derivation)])
            inputs[text] = [rref for dref in configs.inputs_of(config) for rref in contents.context.get(dref, ())]
            source = configs.pinned_by(config)
            if source is not None and self.store.layout.realization(parse_rref(source)).is_dir():
                inputs[text].append(source)
            behind = {*inputs[text], *(rref for rrefs in contents.context.values() for rref in rrefs)}
            pending += behind - seen
            seen |= behind
        ordered = [parse_rref(text) for text in _inputs_first(inputs)]
        assert len(ordered) == len(inputs), "a config holds the hashes of its inputs', so there are no circles"
        return Closure(
            asked=tuple(asked),
            realizations={ref: sizes[str(ref)] for ref in ordered},
            configs={parse_dref(dref): texts[dref] for dref in _inputs_first(made_of)},
        )

    def _add_configs(self, drefs: Iterable[str], texts: dict[str, bytes], made_of: dict[str, tuple[str, ...]]) -> None:
        """Read the configs of derivations, and of what these are made of, as far as they are not read yet."""
        pending = [dref for dref in drefs if dref not in texts]
        while pending:
            dref = pending.pop()
            texts[dref] = self._config(parse_dref(dref))
            made_of[dref] = configs.inputs_of(json.loads(texts[dref]))
            pending += (other for other in made_of[dref] if other not in texts)

    def contents(self, ref: RealizationRef) -> Contents:
        """What there is of a realization. Raises NotInStore, DamagedFile and UnreadableMetadata."""
        layout = self.store.layout
        folder = self.store.path(ref)
        known = self.store.metadata(ref)
        try:
            text = layout.context(ref).read_bytes()
        except FileNotFoundError:
            raise DamagedFile(str(layout.context(ref)), "is gone") from None
        context = parsed_context(text)
        if context is None or (known is not None and not belongs(known, ref, text)):
            raise DamagedFile(str(layout.context(ref)), f"it or {layout.metadata_of(ref)} was changed")
        entries = [*(known.files if known is not None else self._scanned(ref, folder, text))]
        entries.append(Entry("f", CONTEXT_FILE, len(text), blake3(text).hexdigest()))
        entries += (entry for entry in _unhashed(folder) if self.records or is_hashed_by_pylightnix(entry, known))
        return Contents(known, context, tuple(sorted(entries, key=lambda entry: entry.path.encode())))

    def _scanned(self, ref: RealizationRef, folder: Path, context: bytes) -> tuple[Entry, ...]:
        if ref not in self._plain:
            entries = hashing.scan(folder)
            is_ours = "stagedml" in json.loads(self._config(ref.derivation))
            if not hashes_to_name(folder, ref, entries, context, is_ours=is_ours):
                raise DamagedFile(str(folder), "it does not hash to its name")
            self._plain[ref] = entries
        return self._plain[ref]

    def _config(self, ref: DerivationRef) -> bytes:
        path = self.store.layout.config(ref)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotInStore(str(ref), str(self.store.layout.storage)) from None
        problem = config_problem(data, ref)
        if problem is not None:
            raise DamagedFile(str(path), problem)
        return data


def _inputs_first(inputs: Mapping[str, Iterable[str]]) -> list[str]:
    """One order for one graph: each after its inputs, and of those that could be next the least."""
    waiting = {text: len(set(before)) for text, before in inputs.items()}
    dependents: dict[str, list[str]] = {}
    for text, before in inputs.items():
        for other in set(before):
            dependents.setdefault(other, []).append(text)
    ready = [text for text, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered = []
    while ready:
        text = heapq.heappop(ready)
        ordered.append(text)
        for other in dependents.get(text, ()):
            waiting[other] -= 1
            if waiting[other] == 0:
                heapq.heappush(ready, other)
    return ordered


def belongs(known: Metadata, ref: RealizationRef, context: bytes) -> bool:
    """Whether metadata and a context are those of a realization."""
    try:
        content = hashing.content_digest(known.files)
        digest = hashing.realization_digest(content, context.decode())
    except (ValueError, TypeError, AttributeError):
        return False
    return (known.rref, known.content, known.digest, known.digest[:32]) == (str(ref), content, digest, ref.rhash)


def hashes_to_name(
    folder: Path, ref: RealizationRef, entries: Iterable[Entry], context: bytes, *, is_ours: bool
) -> bool:
    """Whether a realization without metadata has the hash in its name, by our rule or by Pylightnix's.

    Where Pylightnix's cannot be told, a realization of a stage of ours is not believed. The links in it have been
    looked at; they do not lead out.
    """
    if hashing.realization_digest(hashing.content_digest(entries), context.decode())[:32] == ref.rhash:
        return True
    try:
        whole = pylightnix_whole(folder, ref.rhash)
        return whole or (whole is None and not is_ours)
    except OSError:  # such as a link to nothing, which Pylightnix cannot hash, either
        return False


def parsed_context(text: bytes) -> dict[str, list[str]] | None:
    """The context in a text; None if it holds none."""
    try:
        context = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(context, dict):
        return None
    for dref, rrefs in context.items():
        if not is_dref(dref) or not isinstance(rrefs, list):
            return None
        if not all(is_rref(rref) and rref[38:] == dref[5:] for rref in rrefs):
            return None
    return context


def config_problem(data: bytes, ref: DerivationRef) -> str | None:
    """What is wrong with the bytes of a config."""
    digest = hashlib.sha256(data).hexdigest()
    if digest[:32] != ref.dhash:
        return f"it hashes to {digest[:32]}, not to {ref.dhash}"
    try:
        config = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        return f"it cannot be read: {error}"
    if not isinstance(config, dict) or str(config.get("name", "unnamed")) != ref.name:
        return f"it is no config of {ref.name}"
    source = configs.pinned_by(config)
    return None if source is None or is_rref(source) else f"it pins {source!r}"


def _unhashed(folder: Path) -> Iterator[Entry]:
    """Logs and times: the files and folders among what is in no hash. Anything else there is left out."""
    for name in sorted(UNHASHED):
        try:
            status = os.lstat(folder / name)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield _unhashed_file(name, status)
        if not stat.S_ISDIR(status.st_mode):
            continue
        for inner, others in atomic.folders_below(folder / name):
            path = os.path.relpath(inner, folder)
            if hashing.is_utf8(path):
                yield Entry("d", path)
                for item in others:
                    if item.is_file(follow_symlinks=False) and hashing.is_utf8(item.name):
                        yield _unhashed_file(f"{path}/{item.name}", item.stat(follow_symlinks=False))


def is_hashed_by_pylightnix(entry: Entry, known: Metadata | None) -> bool:
    """Whether an entry in a folder that our hash leaves out is in that of Pylightnix, which built the realization."""
    return known is None and entry.path.partition("/")[0] == LOG_FOLDER


def _unhashed_file(path: str, status: os.stat_result) -> Entry:
    return Entry("x" if status.st_mode & stat.S_IXUSR else "f", path, status.st_size)


def is_hashed(entry: Entry) -> bool:
    """Whether an entry of a realization's folder is one of its artifacts."""
    return entry.path != CONTEXT_FILE and entry.path.partition("/")[0] not in UNHASHED
