"""What can be read off a URL without opening it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from stagedml.errors import UsageError


class UrlNotUsable(UsageError):
    """A URL that cannot be fetched as it stands."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{without_secrets(self.url)!r} {self.reason}"


def is_network_url(url: str) -> bool:
    """Whether a network is needed to open it."""
    return urlsplit(url).scheme.lower() in ("http", "https")


def is_file_url(url: str) -> bool:
    """Whether it names a file of this machine."""
    return urlsplit(url).scheme.lower() == "file"


def path_of_file_url(url: str) -> Path:
    """The path that a `file:` URL names.

    Raises:
        UrlNotUsable: it names a file on another host.
    """
    parts = urlsplit(url)
    if parts.hostname not in (None, "localhost"):
        raise UrlNotUsable(url, "names a file of another host; write file:///absolute/path")
    return Path(unquote(parts.path))


def filename_of(url: str) -> str:
    """The file name that a URL ends in: the last part of its decoded path, without query and fragment.

    A storage URL that escapes its object's whole name, `.../o/data%2Fids.tsv?alt=media`, ends in `ids.tsv`.

    Raises:
        UrlNotUsable: the path has no last part that can be a file name.
    """
    parts = [part for part in unquote(urlsplit(url).path).split("/") if part]
    name = parts[-1] if parts else ""
    return checked_filename(name, of=url)


def checked_filename(name: str, *, of: str) -> str:
    """The name itself, if it can name a file in a folder.

    Raises:
        UrlNotUsable: it cannot.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UrlNotUsable(of, f"gives no usable file name (found {name!r}); give one as filename=")
    return name


def without_secrets(url: str) -> str:
    """The URL without user and password, to be shown and logged."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
