"""Bytes from elsewhere: URLs, local files and folders, packages.

A fetch is known by the sum of what it brings. Its code is in no hash, and `STAGEDML_MIRRORS` is asked before the
network.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Literal, overload

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.core.refs import parse_dref
from stagedml.errors import UsageError
from stagedml.remotes.checksum import Checksum
from stagedml.remotes.download import download
from stagedml.remotes.mirrors import parse_mirrors
from stagedml.remotes.unpack import unpack as unpack_archive
from stagedml.remotes.urls import UrlNotUsable, checked_filename, filename_of, is_file_url, is_network_url
from stagedml.remotes.wheel import fetch_wheel
from stagedml.store.hashing import content_digest, hash_file, scan
from stagedml.types import File, Folder

#: A path on this machine.
Local = str | os.PathLike[str]


class LocalFileChanged(UsageError):
    """A local file or folder is not what it was when its stage was declared."""

    def __init__(self, path: str, declared: str, found: str) -> None:
        super().__init__(path, declared, found)
        self.path, self.declared, self.found = path, declared, found

    def __str__(self) -> str:
        return f"{self.path} changed since it was declared: {self.declared} then, {self.found} now; instantiate again"


@overload
def fetchurl(
    url: str,
    *,
    sha256: str | None = ...,
    sha1: str | None = ...,
    filename: str | None = ...,
    unpack: Literal[False] = ...,
) -> File: ...
@overload
def fetchurl(
    url: str, *, sha256: str | None = ..., sha1: str | None = ..., filename: str | None = ..., unpack: Literal[True]
) -> Folder: ...
def fetchurl(
    url: str,
    *,
    sha256: str | None = None,
    sha1: str | None = None,
    filename: str | None = None,
    unpack: bool = False,
) -> File | Folder:
    """Fetch a file by its URL and sum.

    Args:
        url: http, https or file.
        sha256, sha1: what the bytes hash to; exactly one.
        filename: what to call it, and what mirrors are asked for; default the last part of the URL.
        unpack: unpack the archive (zip, tar and its compressed forms, gz, bz2, xz).

    Returns:
        the file, or the folder with what was in the archive.

    Raises:
        ChecksumNotUsable, UrlNotUsable: when declared.
        FetchFailed, WrongChecksum, ArchiveError: when built.
    """
    checksum = Checksum.given(sha256=sha256, sha1=sha1)
    if not is_file_url(url) and not is_network_url(url):
        raise UrlNotUsable(url, "is not an http, https or file URL")
    name = filename_of(url) if filename is None else checked_filename(filename, of=url)
    fetch = fetch_archive if unpack else fetch_file
    return fetch(url=url, checksum=f"{checksum.algorithm}:{checksum.digits}", filename=name, label=_label(name))


@stage(File, name="fetch-{label}", fixed_output=("checksum",))
def fetch_file(
    build: Build, *, url: str, checksum: str, filename: str, label: str, file: RefPath = output("{filename}")
) -> None:
    """Fetch one file; see `fetchurl`."""
    _download(build, url, checksum, filename, build.path(file))


@stage(Folder, name="fetch-{label}", fixed_output=("checksum", "filename"))
def fetch_archive(
    build: Build, *, url: str, checksum: str, filename: str, label: str, folder: RefPath = output("contents")
) -> None:
    """Fetch an archive and unpack it; see `fetchurl`."""
    archive = build.scratch / "archive"
    _download(build, url, checksum, filename, archive)
    unpack_archive(archive, build.path(folder), name=filename, progress=build.progress)


def _download(build: Build, url: str, checksum: str, filename: str, destination: Path) -> None:
    algorithm, digits = checksum.split(":")
    parts = build.store.layout.downloads(parse_dref(build.dref))
    parts.mkdir(parents=True, exist_ok=True)
    download(
        url,
        destination,
        checksum=Checksum.given(**{algorithm: digits}),
        filename=filename,
        mirrors=parse_mirrors(build.mirrors),
        offline=build.offline,
        progress=build.progress,
        parts=parts,
    )
    shutil.rmtree(parts, ignore_errors=True)


def fetchpypi(name: str, version: str, sha256: str) -> Folder:
    """Fetch a wheel from the package index that pip is configured for, and unpack it. Nothing is installed.

    Args:
        name, version: of the package.
        sha256: of the wheel.
    """
    Checksum.given(sha256=sha256)
    return fetch_package(package=name, version=version, sha256=sha256, label=_label(f"{name}-{version}"))


@stage(Folder, name="fetch-{label}", fixed_output=("sha256",))
def fetch_package(
    build: Build, *, package: str, version: str, sha256: str, label: str, folder: RefPath = output("contents")
) -> None:
    """Fetch a wheel and unpack it; see `fetchpypi`."""
    wheel = build.scratch / "wheel.zip"
    fetch_wheel(
        package,
        version,
        wheel,
        sha256=sha256,
        mirrors=parse_mirrors(build.mirrors),
        offline=build.offline,
        progress=build.progress,
    )
    unpack_archive(wheel, build.path(folder), progress=build.progress)


@overload
def fetchlocal(path: str | os.PathLike[str], *, unpack: Literal[False] = ...) -> File: ...
@overload
def fetchlocal(path: str | os.PathLike[str], *, unpack: Literal[True]) -> Folder: ...
def fetchlocal(path: str | os.PathLike[str], *, unpack: bool = False) -> File | Folder:
    """Make a local file an input. It is known by its name and contents; where it lies is in no hash.

    Args:
        path: the file.
        unpack: it is an archive; unpack it.

    Raises:
        UsageError: there is no such file.
    """
    place = local_path("fetchlocal", path)
    if not place.is_file():
        raise UsageError(f"fetchlocal: {place} is no file; for a folder use `fetchfolder`")
    content, label = hash_file(place), _label(place.name)
    if unpack:
        return local_archive(content=content, filename=place.name, label=label, path=str(place))
    return local_file(content=content, filename=place.name, label=label, path=str(place))


def local_path(function: str, path: object) -> Path:
    """An argument of that function as an absolute path. Raises UsageError where it is none, or nothing is there."""
    if not isinstance(path, (str, os.PathLike)) or "\0" in str(path) or not os.fspath(path):
        raise UsageError(f"{function}({path!r}): give a path, as a str or a path object")
    place = Path(path).absolute()
    if not place.exists():
        raise UsageError(f"{function}: there is no {place}")
    return place


def fetchfolder(path: str | os.PathLike[str]) -> Folder:
    """Make a local folder an input. It is known by its name and contents; where it lies is in no hash."""
    place = local_path("fetchfolder", path)
    if not place.is_dir():
        raise UsageError(f"fetchfolder: {place} is no folder")
    return local_folder(content=content_digest(scan(place)), label=_label(place.name), path=str(place))


@stage(File, name="local-{label}", fixed_output=("content",))
def local_file(
    build: Build, *, content: str, filename: str, label: str, path: Exec[str] = "", file: RefPath = output("{filename}")
) -> None:
    """Copy a local file; see `fetchlocal`."""
    shutil.copy(path, build.path(file))
    _check_unchanged(path, content, hash_file(build.path(file)))


@stage(Folder, name="local-{label}", fixed_output=("content", "filename"))
def local_archive(
    build: Build, *, content: str, filename: str, label: str, path: Exec[str] = "", folder: RefPath = output("contents")
) -> None:
    """Unpack a local archive; see `fetchlocal`."""
    archive = build.scratch / "archive"  # a copy, which nobody changes while it is unpacked
    shutil.copy(path, archive)
    _check_unchanged(path, content, hash_file(archive))
    unpack_archive(archive, build.path(folder), name=filename, progress=build.progress)


@stage(Folder, name="local-{label}", fixed_output=("content",))
def local_folder(
    build: Build, *, content: str, label: str, path: Exec[str] = "", folder: RefPath = output("contents")
) -> None:
    """Copy a local folder; see `fetchfolder`."""
    shutil.copytree(path, build.path(folder), symlinks=True)
    for place, _, _ in os.walk(build.path(folder)):
        os.chmod(place, 0o755)
    _check_unchanged(path, content, content_digest(scan(build.path(folder))))


def _check_unchanged(path: str, declared: str, found: str) -> None:
    if declared != found:
        raise LocalFileChanged(path, declared, found)


def _label(name: str) -> str:
    """A file's name as a stage's name can hold it."""
    return re.sub(r"[^a-zA-Z0-9_-]+", "-", name).strip("-")[:64] or "file"
