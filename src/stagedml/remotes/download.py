"""One file of a promised sum, from wherever it can be had.

Rules: mirrors are asked first, in order, then the file's own URL. Every source is verified alike: bytes of another sum
are reported, removed and passed over. The destination appears with one rename, whole and verified. Without a network
this ends within five seconds, with an error that says what was tried and which file to put where.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from stagedml.errors import RemoteError
from stagedml.remotes.checksum import Checksum
from stagedml.remotes.mirrors import MIRRORS_VARIABLE, FolderMirror, Mirror, UrlMirror, Wanted
from stagedml.remotes.progress import Meter, Progress
from stagedml.remotes.transfer import DEFAULT_PATIENCE, NotThere, Patience, TransferFailed, discard_part, transfer
from stagedml.remotes.urls import (
    UrlNotUsable,
    checked_filename,
    filename_of,
    is_file_url,
    is_network_url,
    path_of_file_url,
    without_secrets,
)

_LOGGER = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class SourceFailure:
    """Why one source did not give the file. `found` is the sum of what it gave, if it gave something else."""

    source: str
    reason: str
    found: Checksum | None = None

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class FetchFailed(RemoteError):
    """No source gave the promised bytes."""

    def __init__(self, what: str, checksum: Checksum, wanted: str, failures: tuple[SourceFailure, ...]) -> None:
        super().__init__(what, checksum, wanted, failures)
        self.what, self.checksum, self.wanted, self.failures = what, checksum, wanted, failures

    def __str__(self) -> str:
        return (
            f"cannot fetch {self.what} ({self.checksum}); tried:{_listed(self.failures)}\n"
            f"Without a network: put that file, named {self.wanted}, into a folder and name the folder in "
            f"{MIRRORS_VARIABLE}"
        )


class WrongChecksum(FetchFailed):
    """The file's own source gave other bytes than promised, and no mirror had the right ones."""

    def __str__(self) -> str:
        *before, last = self.failures
        return (
            f"{self.what}: expected {self.checksum}, {last.reason}\n"
            f"If its owners changed it, look at the new file and declare its sum; or put the old one, named "
            f"{self.wanted}, into a folder and name the folder in {MIRRORS_VARIABLE}"
            + (f"\nTried before:{_listed(before)}" if before else "")
        )


def _listed(failures: Sequence[SourceFailure]) -> str:
    return "".join(f"\n  {failure}" for failure in failures)


def download(
    url: str,
    destination: Path,
    *,
    checksum: Checksum,
    filename: str | None = None,
    mirrors: Sequence[Mirror] = (),
    offline: bool = False,
    progress: Progress | None = None,
    patience: Patience = DEFAULT_PATIENCE,
    parts: Path | None = None,
) -> Path:
    """Fetch a file, mirrors first, into `destination`.

    A destination that already holds the promised bytes is left as it is; any other file there is replaced.

    Args:
        url: http, https or file.
        destination: the file to write, in an existing folder.
        checksum: what the bytes must hash to.
        filename: the name to ask mirrors for, where the URL's last part is not it.
        mirrors: see `parse_mirrors`.
        offline: use folders and file URLs alone; no connection is attempted.
        progress: see `stagedml.remotes.progress`; called from this thread.
        patience: time-outs and attempts; all hosts that may be asked share its `connect_s`.
        parts: an existing folder, for this fetch alone, that keeps an unfinished download for the next attempt;
            default: the destination's.

    Returns:
        The destination.

    Raises:
        UrlNotUsable: the URL has another scheme, or neither it nor `filename` gives a file name.
        WrongChecksum: the URL was read and holds other bytes.
        FetchFailed: no source could be read.
    """
    if not is_file_url(url) and not is_network_url(url):
        raise UrlNotUsable(url, "is not an http, https or file URL")
    name = filename_of(url) if filename is None else checked_filename(filename, of=url)
    wanted = Wanted((name, checksum.digits))
    hosts = hosts_among(mirrors) + is_network_url(url)
    search = Search(destination, checksum, name, offline, progress, patience.shared_among(hosts), parts)
    if search.is_settled() or search.in_mirrors(mirrors, wanted) or search.at(url):
        return destination
    raise search.failed(without_secrets(url), wanted)


def hosts_among(mirrors: Sequence[Mirror]) -> int:
    """How many of the mirrors need a network."""
    return sum(isinstance(mirror, UrlMirror) for mirror in mirrors)


@dataclass
class Search:
    """The search for one file over several sources. Each method says whether the destination now holds the file."""

    destination: Path
    checksum: Checksum
    label: str
    offline: bool
    progress: Progress | None
    patience: Patience
    parts: Path | None = None
    failures: list[SourceFailure] = field(default_factory=list)

    def is_settled(self) -> bool:
        """Without asking anybody."""
        return self.destination.is_file() and self.checksum.of(self.destination) == self.checksum

    def in_mirrors(self, mirrors: Sequence[Mirror], wanted: Wanted) -> bool:
        """Ask every mirror in order, each for every name it may hold the file under."""
        return any(self._in_mirror(mirror, wanted) for mirror in mirrors)

    def at(self, url: str) -> bool:
        """Ask one URL."""
        try:
            return self._try(path_of_file_url(url) if is_file_url(url) else url)
        except TransferFailed as error:
            self.fail(without_secrets(url), error.reason)
            return False

    def accept(self, path: Path, source: str, fate: str) -> bool:
        """Move a file of ours to the destination if it is the promised one, and remove it if not."""
        found = self.checksum.of(path)
        if found == self.checksum:
            if path.stat().st_dev == self.destination.parent.stat().st_dev:
                os.replace(path, self.destination)
            else:
                shutil.move(path, self.destination)
            _LOGGER.info("%s: from %s, verified", self.label, source)
            return True
        self.fail(source, f"found {found} instead ({path.stat().st_size} bytes{_looks(path)}; {fate})", found)
        path.unlink()
        return False

    def fail(self, source: str, reason: str, found: Checksum | None = None) -> None:
        """Note why a source did not give the file."""
        self.failures.append(SourceFailure(source, reason, found))
        # Other bytes under the right name are somebody's mistake; a mirror that lacks a file is no news.
        _LOGGER.log(logging.INFO if found is None else logging.WARNING, "%s: %s: %s", self.label, source, reason)

    def failed(self, what: str, wanted: Wanted) -> FetchFailed:
        """The error for a search whose last source was the file's own."""
        kind = FetchFailed if self.failures[-1].found is None else WrongChecksum
        return kind(what, self.checksum, str(wanted), tuple(self.failures))

    def _in_mirror(self, mirror: Mirror, wanted: Wanted) -> bool:
        found_any = False
        candidates: Iterator[Path | str] = mirror.candidates(wanted)
        for candidate in candidates:
            found_any = True
            try:
                if self._try(candidate):
                    return True
            except TransferFailed as error:
                self.fail(without_secrets(str(candidate)), error.reason)
                if not isinstance(error, NotThere):
                    return False  # the host is not well: another name will fare no better
        if isinstance(mirror, FolderMirror) and not found_any:
            self.fail(str(mirror), mirror.nothing_found(wanted))
        return False

    def _try(self, candidate: Path | str) -> bool:
        if isinstance(candidate, Path):
            return self._copy(candidate)
        if self.offline:
            raise TransferFailed(candidate, "not tried: offline")
        part = (self.parts or self.destination.parent) / f"{self.checksum.digits}.part"
        resumed = self._transfer(candidate, part)
        if resumed and self.checksum.of(part) != self.checksum:
            # The server may have let two versions be joined: see what one response alone holds.
            discard_part(part)
            self._transfer(candidate, part)
        return self.accept(part, without_secrets(candidate), "the download was removed")

    def _transfer(self, url: str, part: Path) -> bool:
        return transfer(url, part, patience=self.patience, progress=self.progress, label=self.label)

    def _copy(self, path: Path) -> bool:
        """Copy a file of this machine: through a link, a later edit of the original would reach what is published."""
        copy = self.destination.with_name(f"{self.checksum.digits}.copy")
        try:
            original = path.open("rb")
        except OSError as error:
            self.fail(str(path), error.strerror or str(error))
            return False
        with original, copy.open("wb") as stream:
            meter = Meter(self.progress, self.label, total=path.stat().st_size, note=f"from {path}")
            for chunk in _chunks(original):
                stream.write(chunk)
                meter.add(len(chunk))
            meter.finish()
        return self.accept(copy, str(path), "left where it is")


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


def _looks(path: Path) -> str:
    """A word on what the bytes look like, where that explains a wrong sum."""
    with path.open("rb") as stream:
        start = stream.read(512).lstrip().lower()
    return ", a web page" if start.startswith((b"<!doctype html", b"<html")) else ""
