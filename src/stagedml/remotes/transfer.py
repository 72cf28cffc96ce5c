"""One HTTP(S) URL into one file, across whatever breaks on the way.

Rules:
- The bytes gather in a part file that survives a failure or a crash, with a note beside it of where they are from and
  how the server names that version (strong ETag or Last-Modified). The next attempt asks for the rest of that version
  alone (Range with If-Range), and begins anew when the server has another one or cannot tell.
- Only what calls itself transient is tried again: connections that break or fall silent once there was one, and the
  statuses 408, 429 and 5xx (500, 502, 503, 504). A host that cannot be reached in the first place is given up after
  `Patience.connect_s`, name look-up included.
- Bytes are stored as they are sent, never decoded. Nothing is verified here: that is the caller's part.
- Proxies are those of the usual variables (http_proxy, https_proxy, all_proxy, no_proxy); certificates are checked
  against the system's, or the bundle that REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE or SSL_CERT_DIR names.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from stagedml.errors import RemoteError
from stagedml.remotes.progress import Meter, Progress
from stagedml.remotes.urls import is_network_url, without_secrets

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from urllib3 import BaseHTTPResponse, PoolManager

_LOGGER = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 1 << 18
_MOST_REDIRECTS: Final = 10
_TRANSIENT_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try again.

    connect_s: until a host that was never reached is given up; any live one answers in a fraction of it.
    read_s: silence on an open connection until it counts as broken.
    attempts: how many attempts in a row may bring no new bytes.
    backoff_s: the pause after the first failure; doubled after each further one.
    longest_pause_s: the longest pause that a server may ask for (Retry-After).
    """

    connect_s: float = 4.0
    read_s: float = 60.0
    attempts: int = 4
    backoff_s: float = 0.5
    longest_pause_s: float = 60.0

    def shared_among(self, hosts: int) -> Patience:
        """The same, with the time to reach a host divided by the hosts to ask, so that the whole still ends in it."""
        return replace(self, connect_s=self.connect_s / max(hosts, 1))


DEFAULT_PATIENCE: Final = Patience()


class TransferFailed(RemoteError):
    """A URL could not be copied into a file."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{without_secrets(self.url)}: {self.reason}"


class NotThere(TransferFailed):
    """The server answered, for good, that it does not give out this URL."""


class _Broken(Exception):
    """An attempt ended in a way that the next one may not."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason, pause_s)
        self.reason, self.pause_s = reason, pause_s


@dataclass(frozen=True)
class _PartNote:
    """What the bytes of a part file are the beginning of."""

    url: str
    version: str

    @staticmethod
    def path_for(part: Path) -> Path:
        return part.with_name(part.name + ".json")

    @classmethod
    def read(cls, part: Path) -> _PartNote | None:
        try:
            fields = json.loads(cls.path_for(part).read_text(encoding="utf-8"))
            return cls(str(fields["url"]), str(fields["version"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, part: Path) -> None:
        self.path_for(part).write_text(json.dumps({"url": self.url, "version": self.version}), encoding="utf-8")


def discard_part(part: Path) -> None:
    """Remove a part file and its note."""
    _PartNote.path_for(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def transfer(url: str, part: Path, *, patience: Patience, progress: Progress | None = None, label: str = "") -> bool:
    """Copy a URL into the part file, going on from what lies there already.

    On failure the part file stays for the next call; on success its note is removed.

    Returns:
        Whether some of the bytes are from an earlier response: if their sum is wrong, a fresh transfer is worth a try.

    Raises:
        NotThere: the server answered with a status that another attempt will not change.
        TransferFailed: anything else, with the reason of the last attempt.
    """
    resumed = False
    failures, farthest = 0, _size_of(part)
    with _Client(patience) as client:
        while True:
            try:
                resumed = _attempt(client, url, part, progress, label or without_secrets(url)) or resumed
                _PartNote.path_for(part).unlink(missing_ok=True)
                return resumed
            except _Broken as broken:
                reached = _size_of(part)
                failures = 1 if reached > farthest else failures + 1
                farthest = max(farthest, reached)
                if failures >= patience.attempts:
                    reason = f"{broken.reason} (given up after {failures} attempts in a row)"
                    raise TransferFailed(url, reason) from broken
                pause_s = max(broken.pause_s, patience.backoff_s * 2 ** (failures - 1))
                note = f"{broken.reason}; trying again in {pause_s:g} s"
                _LOGGER.info("%s: %s", without_secrets(url), note)
                Meter(progress, label, total=None, done=reached, note=note)
                time.sleep(pause_s)


def unreachable_reason(host: str, port: int, timeout_s: float) -> str | None:
    """Why no TCP connection to a host comes about within the time, or None if one does.

    Name look-up counts: all happens in a thread that is left behind when it takes too long; nothing can interrupt it.
    """
    outcome: list[str | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=timeout_s).close()
            outcome.append(None)
        except OSError as error:
            outcome.append(f"cannot connect to {host}:{port}: {error}")

    thread = threading.Thread(target=connect, name=f"reach-{host}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return outcome[0] if outcome else f"cannot connect to {host}:{port}: no answer within {timeout_s:g} s"


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _attempt(client: _Client, url: str, part: Path, progress: Progress | None, label: str) -> bool:
    """One request and its response, appended to the part file or written over it. Returns whether it was appended."""
    from urllib3.exceptions import HTTPError

    note = _PartNote.read(part)
    offset = _size_of(part) if note is not None and note.url == url else 0
    # Ranges are of the bytes as stored, and so is the promised sum: ask for no encoding.
    headers = {"Accept-Encoding": "identity", "User-Agent": "stagedml"}
    if note is not None and offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": note.version}
    response = client.get(url, headers)
    try:
        version = _version_of(response)
        total = _total_size(response)
        if response.status == 416 and offset and total == offset:
            return True  # all of it was here already
        if response.status == 206:
            if _range_start(response) != offset or note is None or version not in (None, note.version):
                discard_part(part)
                raise _Broken("the server sent another range or version than it was asked for")
        elif response.status == 200:
            discard_part(part)
            offset = 0
            if version is not None:
                _PartNote(url, version).write(part)
        else:
            _raise_for_status(client, url, response, part)
        meter = Meter(progress, label, total=total, done=offset, note=f"from {urlsplit(url).hostname}")
        try:
            with part.open("ab") as stream:
                while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
                    stream.write(chunk)
                    meter.add(len(chunk))
        except HTTPError as error:
            raise _Broken(f"broke off after {_size_of(part)} bytes: {_plain(error)}") from error
        meter.finish()
        if total is not None and _size_of(part) != total:
            raise _Broken(f"ended after {_size_of(part)} of {total} bytes")
        return offset > 0
    finally:
        response.close()


def _raise_for_status(client: _Client, url: str, response: BaseHTTPResponse, part: Path) -> None:
    from urllib3 import Retry
    from urllib3.exceptions import HTTPError

    reason = f"HTTP {response.status} {response.reason or ''}".rstrip()
    if response.status == 416:
        discard_part(part)
        raise _Broken(f"{reason}: what lies in {part} is not the beginning of it")
    if response.status not in _TRANSIENT_STATUSES:
        raise NotThere(url, reason)
    try:
        pause_s = float(Retry().parse_retry_after(response.headers.get("Retry-After", "0")))
    except HTTPError:
        pause_s = 0.0
    if pause_s > client.patience.longest_pause_s:
        raise TransferFailed(url, f"{reason}, asks to come back in {pause_s:.0f} s")
    raise _Broken(reason, pause_s)


def _version_of(response: BaseHTTPResponse) -> str | None:
    """What the server names this version of the file by, if a range may be asked for by that (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag")
    if etag is not None and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _range_start(response: BaseHTTPResponse) -> int | None:
    match = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", response.headers.get("Content-Range", "").strip())
    return int(match[1]) if match else None


def _total_size(response: BaseHTTPResponse) -> int | None:
    """The size of the whole file, where the server says it."""
    match = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", response.headers.get("Content-Range", "").strip())
    if match:
        return int(match[1])
    length = response.headers.get("Content-Length", "")
    return int(length) if response.status == 200 and length.isdigit() else None


def _plain(error: BaseException) -> str:
    """The message of a library's error without the addresses of its objects."""
    return re.sub(r"<[^<>]* object at 0x[0-9a-f]+>:? ?", "", str(error)) or type(error).__name__


class _Client:
    """The connections of one transfer: proxies by URL, certificates, redirects. Closed with the transfer."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._managers: dict[str | None, PoolManager] = {}
        self._reached: set[tuple[str, int]] = set()

    def __enter__(self) -> _Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for manager in self._managers.values():
            manager.clear()

    def get(self, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
        """The response to a GET, its body unread, at the end of all redirects.

        Raises:
            TransferFailed: for good.
            _Broken: worth another attempt.
        """
        current = url
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._get_one(url, current, headers)
            location = response.get_redirect_location()
            if not location:
                return response
            response.close()
            current = urljoin(current, location)
            if not is_network_url(current):
                raise TransferFailed(url, f"is redirected to {without_secrets(current)!r}, which is no http(s) URL")
        raise TransferFailed(url, f"is redirected more than {_MOST_REDIRECTS} times")

    def _get_one(self, asked: str, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
        import ssl

        from urllib3 import Timeout, make_headers
        from urllib3.exceptions import HTTPError, ProtocolError, SSLError, TimeoutError

        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme.lower()]
        except ValueError as error:
            raise TransferFailed(asked, f"{without_secrets(url)!r} cannot be read: {error}") from error
        proxy = _proxy_for(parts.scheme.lower(), f"{host}:{port}")
        self._reach(asked, *((host, port) if proxy is None else _address_of(proxy)))
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = headers | make_headers(basic_auth=credentials)
        try:
            return self._manager(asked, proxy).request(
                "GET",
                without_secrets(url).partition("#")[0],
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=Timeout(connect=self.patience.connect_s, read=self.patience.read_s),
            )
        except (TimeoutError, ProtocolError) as error:
            raise _Broken(_plain(error)) from error
        except SSLError as error:
            if isinstance(error.args[0] if error.args else None, ssl.SSLCertVerificationError):
                raise TransferFailed(asked, f"{_plain(error)}; name your CA bundle in SSL_CERT_FILE") from error
            raise _Broken(_plain(error)) from error
        except (HTTPError, ValueError) as error:
            raise TransferFailed(asked, _plain(error)) from error

    def _reach(self, asked: str, host: str, port: int) -> None:
        """Find out in time, once a host, whether there is a network at all."""
        if (host, port) not in self._reached:
            reason = unreachable_reason(host, port, self.patience.connect_s)
            if reason is not None:
                raise TransferFailed(asked, reason)
            self._reached.add((host, port))

    def _manager(self, asked: str, proxy: str | None) -> PoolManager:
        if proxy not in self._managers:
            self._managers[proxy] = _new_manager(asked, proxy)
        return self._managers[proxy]


def _new_manager(asked: str, proxy: str | None) -> PoolManager:
    from urllib3 import PoolManager, ProxyManager, make_headers

    if proxy is None:
        return PoolManager(ssl_context=_ssl_context())
    parts = urlsplit(proxy)
    if parts.scheme.startswith("socks"):
        try:
            from urllib3.contrib.socks import SOCKSProxyManager
        except ImportError as error:
            raise TransferFailed(asked, f"the proxy {without_secrets(proxy)} needs the package pysocks") from error
        return SOCKSProxyManager(proxy, ssl_context=_ssl_context())
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username is not None else None
    return ProxyManager(
        without_secrets(proxy), proxy_headers=make_headers(proxy_basic_auth=credentials), ssl_context=_ssl_context()
    )


def _proxy_for(scheme: str, address: str) -> str | None:
    """The proxy that the environment names for an address, as a URL."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(address):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _address_of(proxy: str) -> tuple[str, int]:
    parts = urlsplit(proxy)
    return parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 1080)


def _ssl_context() -> ssl.SSLContext:
    import ssl

    # OpenSSL itself reads SSL_CERT_FILE and SSL_CERT_DIR; the other two are known from requests and curl.
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if not bundle or not os.path.exists(bundle):
        return ssl.create_default_context()
    if os.path.isdir(bundle):
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)
