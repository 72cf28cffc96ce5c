"""Mirrors: the folders and base URLs that are asked for a file before its own URL is.

How `STAGEDML_MIRRORS` is written: entries are separated as in PATH (by `:` on POSIX) and asked in order. An entry is a
folder (`~` is expanded) or a URL with `http://`, `https://` or `file://`. A `:` that belongs to a URL, after its
scheme, in `user:password@` or before a port number, does not separate; one in a URL's path must be written `%3A`.

    STAGEDML_MIRRORS=/data/mirror:https://mirror.example:8443/datasets:~/Downloads

Rules: a folder is walked once a process and indexed by file name at any depth, links to folders included; every look-up
compares the folders' times of change with those of the walk, so a file added later is found. A mirror's bytes are
trusted as little as anybody's: the caller verifies them.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from stagedml.errors import UsageError
from stagedml.remotes.urls import is_file_url, is_network_url, path_of_file_url, without_secrets

MIRRORS_VARIABLE: Final = "STAGEDML_MIRRORS"

_LOGGER = logging.getLogger(__name__)

# A URL up to the separator after it. The authority may hold colons (user:password@, [::1], :port); the path may not.
_URL_ENTRY: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@]*@)?(?:\[[^\]]*\]|[^/:@]*)(?::\d+)?(?:/[^:]*)?")

# Nothing tells two changes within one tick of a file system's clock apart; the coarsest clock in use ticks every 2 s.
_CLOCK_TICK_NS: Final = 2_000_000_000


class MirrorsNotUsable(UsageError):
    """The list of mirrors cannot be read."""

    def __init__(self, text: str, entry: str, reason: str) -> None:
        super().__init__(text, entry, reason)
        self.text, self.entry, self.reason = text, entry, reason

    def __str__(self) -> str:
        return (
            f"mirrors {self.text!r}: {self.entry!r} {self.reason}; write folders and http, https or file URLs, "
            f"separated by {os.pathsep!r} ({MIRRORS_VARIABLE})"
        )


@dataclass(frozen=True)
class Wanted:
    """The names under which a mirror may hold a file.

    names: exact file names, the best first: the file's own name, then its sum.
    pattern: further names that a folder may hold it under, matched as a whole.
    """

    names: tuple[str, ...]
    pattern: re.Pattern[str] | None = None

    def __str__(self) -> str:
        return " or ".join(self.names)


@dataclass(frozen=True)
class _FolderIndex:
    """What one walk of a folder saw. Immutable, so that threads may share it without a lock."""

    changed_ns: dict[str, int]
    paths: dict[str, tuple[Path, ...]]

    def is_current(self) -> bool:
        """Whether no folder changed since the walk: a file that came, went or was renamed changes its folder's time."""
        try:
            return all(os.stat(folder).st_mtime_ns == changed_ns for folder, changed_ns in self.changed_ns.items())
        except OSError:
            return False


@dataclass(eq=False)
class FolderMirror:
    """A folder that holds files by name, at any depth."""

    folder: Path
    _index: _FolderIndex | None = None

    def candidates(self, wanted: Wanted) -> Iterator[Path]:
        """Every file in the folder that may be the wanted one, best first."""
        index = self._index
        if index is None or not index.is_current():
            index = self._index = _walk(self.folder)
        seen: set[Path] = set()
        for name in (*wanted.names, *sorted(filter(wanted.pattern.fullmatch, index.paths) if wanted.pattern else ())):
            for path in index.paths.get(name, ()):
                if path not in seen:
                    seen.add(path)
                    yield path

    def nothing_found(self, wanted: Wanted) -> str:
        """Why `candidates` gave nothing, for an error message."""
        if not self.folder.is_dir():
            return "no such folder"
        return f"no file named {wanted}"

    def __str__(self) -> str:
        return str(self.folder)


@dataclass(frozen=True)
class UrlMirror:
    """A base URL below which files lie by name. A query (a signature, say) is kept."""

    base: str

    def candidates(self, wanted: Wanted) -> Iterator[str]:
        """The URLs under which the wanted file may lie, best first."""
        parts = urlsplit(self.base)
        for name in wanted.names:
            yield urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))

    def __str__(self) -> str:
        return without_secrets(self.base)


Mirror = FolderMirror | UrlMirror


def parse_mirrors(text: str, *, separator: str = os.pathsep) -> tuple[Mirror, ...]:
    """Read a list of mirrors, as `STAGEDML_MIRRORS` holds it; see the module's docstring for how it is written.

    Parsing the same text twice gives the same folders, already indexed. A folder need not exist (yet).

    Raises:
        MirrorsNotUsable: an entry is a URL of another scheme, or has no host.
    """
    mirrors: list[Mirror] = []
    position = 0
    while position < len(text):
        url = _URL_ENTRY.match(text, position)
        if url is None or text[url.end() : url.end() + 1] not in ("", separator):
            end = text.find(separator, position)
            entry = text[position : end if end >= 0 else len(text)]
        else:
            entry = url.group()
        position += len(entry) + len(separator)
        if entry.strip():
            mirrors.append(_parse_mirror(entry.strip(), text))
    return tuple(mirrors)


def _parse_mirror(entry: str, text: str) -> Mirror:
    if "://" not in entry:
        return _folder_mirror(Path(os.path.abspath(os.path.expanduser(entry))))
    if is_file_url(entry):
        return _folder_mirror(path_of_file_url(entry))
    if not is_network_url(entry):
        raise MirrorsNotUsable(text, entry, "is a URL of an unknown kind")
    if not urlsplit(entry).hostname:
        raise MirrorsNotUsable(text, entry, "names no host")
    return UrlMirror(entry)


@functools.cache
def _folder_mirror(folder: Path) -> FolderMirror:
    """The one mirror of a folder in this process, so that the folder is walked once."""
    return FolderMirror(folder)


def _walk(folder: Path) -> _FolderIndex:
    """Index a folder. What cannot be read is passed over with a warning; loops of links end where they began."""
    started_ns = time.time_ns()
    changed_ns: dict[str, int] = {}
    paths: dict[str, list[Path]] = {}
    visited: set[tuple[int, int]] = set()
    waiting = [str(folder)]
    while waiting:
        current = waiting.pop()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            # A folder that changed this moment may change again within the same tick: let the next look-up walk again.
            settled = status.st_mtime_ns < started_ns - _CLOCK_TICK_NS
            changed_ns[current] = status.st_mtime_ns if settled else -1
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append(entry.path)
                    elif entry.is_file():
                        paths.setdefault(entry.name, []).append(Path(entry.path))
        except OSError as error:
            changed_ns.setdefault(current, -1)
            _LOGGER.log(logging.DEBUG if current == str(folder) else logging.WARNING, "mirror %s: %s", folder, error)
    return _FolderIndex(changed_ns, {name: tuple(sorted(found)) for name, found in paths.items()})
