"""A web server on this machine whose answers a test scripts, and which remembers what it was asked."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stagedml.remotes.checksum import Checksum


@dataclass(frozen=True)
class Request:
    """What the server was asked."""

    path: str
    headers: dict[str, str]

    def range_start(self) -> int | None:
        """The first byte asked for, if it is not the whole."""
        text = self.headers.get("range")
        return None if text is None else int(text.removeprefix("bytes=").removesuffix("-"))


@dataclass(frozen=True)
class Answer:
    """What the server sends. `claimed_bytes` is a content length other than the true one: the connection is cut."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    claimed_bytes: int | None = None


Script = Callable[[Request], Answer]


def whole(body: bytes, **headers: str) -> Script:
    """A server that knows nothing of ranges."""
    return lambda request: Answer(body, headers=headers)


def with_ranges(body: bytes, *, version: str, cut_at: int | None = None) -> Script:
    """A server that serves ranges of one version; with `cut_at`, the connection breaks there when it starts before."""

    def answer(request: Request) -> Answer:
        start = request.range_start()
        headers = {"ETag": version}
        if start is None or request.headers.get("if-range") != version:
            start, status = 0, 200
        elif start >= len(body):
            return Answer(status=416, headers=headers | {"Content-Range": f"bytes */{len(body)}"})
        else:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        rest = body[start:cut_at] if cut_at is not None and start < cut_at else body[start:]
        return Answer(rest, status, headers, claimed_bytes=len(body) - start)

    return answer


class Web:
    """The server: scripts by path, the last of a path's scripts serving all later requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Request] = []
        self._scripts: dict[str, list[Script]] = {}

    def serve(self, path: str, *scripts: Script) -> str:
        """Answer requests for a path by these scripts in turn; the path's URL."""
        self._scripts[path.partition("?")[0]] = list(scripts)
        return self.url + path

    def asked(self, path: str) -> list[Request]:
        """The requests for one path, in order."""
        return [request for request in self.requests if request.path.partition("?")[0] == path]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        scripts = self._scripts.get(request.path.partition("?")[0])
        if not scripts:
            return Answer(b"nothing here", 404)
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return script(request)


@contextmanager
def local_web() -> Iterator[Web]:
    """A server on a free port of the loopback interface, gone at the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = web.answer(Request(self.path, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            if answer.status != 304:
                size = len(answer.body) if answer.claimed_bytes is None else answer.claimed_bytes
                self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(answer.body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused_url(path: str) -> str:
    """A URL on a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"http://127.0.0.1:{port}{path}"


@contextmanager
def silent_url(path: str) -> Iterator[str]:
    """A URL whose host never completes a connection: a listening queue that is full, as good as an unroutable host."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            yield f"http://127.0.0.1:{address[1]}{path}"
        finally:
            for filler in fillers:
                filler.close()


def sha256_of(body: bytes) -> Checksum:
    return Checksum.given(sha256=hashlib.sha256(body).hexdigest())
