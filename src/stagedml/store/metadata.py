"""What is known of a realization besides its bytes: one JSON file beside the storage, in no hash.

It is written before the realization is renamed into place, so a realization of ours always has it. One that was built
several times with the same outcome keeps a record of every build; instances with equal bytes share a realization, and
the records tell which instances it stands for.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagedml.core.reasons import Cause, Reason
from stagedml.errors import StoreError
from stagedml.store import atomic
from stagedml.store.hashing import Entry

logger = logging.getLogger(__name__)

FORMAT = 1
#: What a build has among its `reads` that a person made by hand.
A_PERSON = "a person"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class UnreadableMetadata(StoreError):
    """A metadata file is not what this version of StagedML writes."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: unreadable metadata ({self.reason}); remove the file to fall back on context.json"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A time at which a build that can go on after a crash was begun, or gone on with."""

    started: float  #: seconds since the epoch
    host: str
    process: int


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """One build that ended in a realization."""

    instance: int
    seed: int
    started: float  #: seconds since the epoch
    stopped: float  #: seconds since the epoch
    host: str
    user: str
    arguments: Mapping[str, Any] = field(default_factory=dict)  #: the `Exec` values it ran with
    environment: Mapping[str, Any] = field(default_factory=dict)  #: Python, platform, package versions
    deterministic: bool = True  #: whether the stage says that a rebuild gives the same bytes
    key: str = ""  #: of adoption; "" where it is not known
    reads: tuple[str, ...] = ()  #: what the builder read beyond the key
    adopted: str = ""  #: the realization that it was taken from instead of being built
    published: float = 0.0  #: when that was, seconds since the epoch
    reasons: tuple[Reason, ...] = ()  #: why it was built or adopted
    since: str = ""  #: the realization that the reasons compare with
    resources: Mapping[str, float] = field(
        default_factory=dict
    )  #: `wall_s`, `cpu_s`, `peak_memory_bytes`, `gpu_s`, ...
    attempts: tuple[Attempt, ...] = ()  #: of a build that can go on after a crash, the last one included

    @property
    def by_hand(self) -> bool:
        """Whether a person made it, and not the builder."""
        return A_PERSON in self.reads


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """What came of building a realization again and comparing."""

    at: float  #: seconds since the epoch
    host: str
    user: str
    times: int  #: how many rebuilds
    sameness: str  #: `identical`, `equal tensors`, `equal within tolerance` or `different`
    told: str  #: the same with the first difference


@dataclass(frozen=True, slots=True)
class Metadata:
    """Everything that is kept of a realization beside it."""

    rref: str
    digest: str  #: of the realization, 256 bits; its first half is spelt in the reference
    content: str  #: digest of the artifacts alone
    inputs: Mapping[str, tuple[str, ...]]  #: direct inputs: derivation -> realizations
    files: tuple[Entry, ...]
    builds: tuple[BuildRecord, ...]
    checks: tuple[CheckRecord, ...] = ()

    @property
    def is_repeatable(self) -> bool:
        """Whether a rebuild gives the same bytes, as far as its author says and checks have shown."""
        return all(build.deterministic for build in self.builds) and all(
            check.sameness == "identical" for check in self.checks
        )

    def checked(self) -> Metadata:
        """Itself, if it is what `to_text` writes. Raises ValueError."""
        texts = (self.rref, self.digest, self.content, *(text for rrefs in self.inputs.values() for text in rrefs))
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a reference or digest is no text")
        if not (_DIGEST.match(self.digest) and _DIGEST.match(self.content)):
            raise ValueError("a digest has not 64 hexadecimal digits")
        if not self.builds:
            raise ValueError("it tells of no build")
        for build in self.builds:
            if type(build.instance) is not int or not all(
                isinstance(moment, (int, float)) for moment in (build.started, build.stopped)
            ):
                raise ValueError("a build has no number or no times")
        return self

    @property
    def instances(self) -> tuple[int, ...]:
        return tuple(sorted({build.instance for build in self.builds}))

    @property
    def started(self) -> float:
        """When it was last built or adopted, seconds since the epoch."""
        return max((max(build.started, build.published) for build in self.builds), default=0.0)

    def output(self, path: str, is_prefix: bool) -> tuple[Entry, ...]:
        """What a declared output stands for: one file, folder or link, or all files `<path>.*`."""
        if not is_prefix:
            return tuple(entry for entry in self.files if entry.path == path)
        beginning = f"{path}."
        named = (entry for entry in self.files if entry.path.startswith(beginning))
        return tuple(entry for entry in named if "/" not in entry.path[len(beginning) :])

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.files)


def to_text(metadata: Metadata) -> str:
    """The JSON text of a metadata file."""
    document = {
        "format": FORMAT,
        "rref": metadata.rref,
        "digest": metadata.digest,
        "content": metadata.content,
        "inputs": {dref: list(rrefs) for dref, rrefs in metadata.inputs.items()},
        "builds": [_build_document(build) for build in metadata.builds],
        "files": [[entry.kind, entry.path, entry.size, entry.digest] for entry in metadata.files],
    }
    if metadata.checks:
        document["checks"] = [dataclasses.asdict(check) for check in metadata.checks]
    return json.dumps(document, sort_keys=True) + "\n"


def _build_document(build: BuildRecord) -> dict[str, Any]:
    """A build as it is written: what was added to this format later stands there only where it says something."""
    document: dict[str, Any] = {
        "instance": build.instance,
        "seed": build.seed,
        "started": build.started,
        "stopped": build.stopped,
        "host": build.host,
        "user": build.user,
        "arguments": build.arguments,
        "environment": build.environment,
        "deterministic": build.deterministic,
    }
    for name in ("key", "reads", "adopted", "published", "since", "resources"):
        if value := getattr(build, name):
            document[name] = value
    if build.attempts:
        document["attempts"] = [dataclasses.asdict(attempt) for attempt in build.attempts]
    if build.reasons:
        document["reasons"] = [
            {"cause": one.cause, "subject": one.subject, "before": one.before, "after": one.after}
            for one in build.reasons
        ]
    return document


def from_text(text: str, path: str) -> Metadata:
    """Read a metadata file's text. Raises UnreadableMetadata naming `path`."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise UnreadableMetadata(path, f"format {document['format']}, this version reads {FORMAT}")
        return Metadata(
            rref=document["rref"],
            digest=document["digest"],
            content=document["content"],
            inputs={dref: tuple(rrefs) for dref, rrefs in document["inputs"].items()},
            builds=tuple(_build(build) for build in document["builds"]),
            files=tuple(_entry(*entry) for entry in document["files"]),
            checks=tuple(CheckRecord(**check) for check in document.get("checks", ())),
        ).checked()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableMetadata(path, f"{type(error).__name__}: {error}") from error


def _build(document: Mapping[str, Any]) -> BuildRecord:
    reads = tuple(map(str, document.get("reads", ())))
    reasons = tuple(
        Reason(Cause(one["cause"]), one["subject"], one["before"], one["after"]) for one in document.get("reasons", ())
    )
    attempts = tuple(Attempt(**attempt) for attempt in document.get("attempts", ()))
    return BuildRecord(**{**document, "reads": reads, "reasons": reasons, "attempts": attempts})


def _entry(kind: Any, path: Any, size: Any, digest: Any) -> Entry:
    if not (isinstance(path, str) and isinstance(digest, str) and type(size) is int and kind in ("d", "f", "x", "l")):
        raise ValueError("a file is told wrongly")
    if kind in ("f", "x") and not _DIGEST.match(digest):
        raise ValueError(f"the digest of {path} has not 64 hexadecimal digits")
    return Entry(kind, path, size, digest)


def read(path: str | Path) -> Metadata | None:
    """The metadata at a path, None where there is none."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UnreadableMetadata(str(path), str(error)) from error
    return from_text(text, str(path))


def merge(path: str | Path, metadata: Metadata, *, durable: bool) -> None:
    """Write metadata; the builds that are recorded there already are kept. The caller holds the publish lock.

    What was unreadable is replaced. With `durable`, what replaces other metadata is synced here, so that a power
    failure leaves either; the first metadata of a realization is synced with its bytes.
    """
    folder = os.path.dirname(path)
    earlier = None
    try:
        os.mkdir(folder)
    except FileExistsError:
        try:
            earlier = read(path)
        except UnreadableMetadata as error:
            logger.warning("%s; it is written anew", error)
        if earlier is not None and earlier.digest == metadata.digest:
            checks = (*earlier.checks, *(check for check in metadata.checks if check not in earlier.checks))
            metadata = dataclasses.replace(metadata, builds=(*earlier.builds, *metadata.builds), checks=checks)
        for name in os.listdir(folder):
            if name.endswith(".tmp"):  # of a process that was killed
                os.unlink(f"{folder}/{name}")
    atomic.write_file(path, to_text(metadata), durable=durable and earlier is not None)
