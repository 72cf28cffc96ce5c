"""TensorBoard on the logs of realizations and of builds that run: started, shown, and ended with who started it.

TensorBoard runs in a process of its own, on a folder of links (`logtree`) which a thread of this process keeps up to
date. It is ended by `stop`, by leaving the `with` block, and at the end of the session; if that was killed, it ends by
itself. Nothing is looked for by name or port: only what was started here is ever ended here. The folder goes when it is
stopped; what a killed session left of it is swept by `gc`, as scratch.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import html
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from stagedml.errors import StagedmlError, UsageError
from stagedml.inspection.logs import RunningBuild
from stagedml.inspection.logtree import LogTree, Run
from stagedml.inspection.tensorboard_process import COMMAND
from stagedml.ml.libraries import imported
from stagedml.store import atomic, locks
from stagedml.store.layout import Layout
from stagedml.store.objects import Store

if TYPE_CHECKING:
    from stagedml.authoring.build import Build

logger = logging.getLogger(__name__)

_LOCAL = "127.0.0.1"
_LOOK_EVERY_S = 2  # for what is new: this process for logs, TensorBoard for events
_STARTS_WITHIN_S = 120.0
_ENDS_WITHIN_S = 5.0
_LAST_LINES = 10


class TensorBoardEnded(StagedmlError):
    """TensorBoard did not start, or did not go on."""

    def __init__(self, how: str, lines: Sequence[str]) -> None:
        super().__init__(how, tuple(lines))
        self.how, self.lines = how, tuple(lines)

    def __str__(self) -> str:
        return "\n  ".join([f"TensorBoard {self.how}", *self.lines])


class NoLogs(UsageError):
    """There is nothing that TensorBoard could show."""

    def __init__(self, storage: str, asked: Sequence[str]) -> None:
        super().__init__(storage, tuple(asked))
        self.storage, self.asked = storage, tuple(asked)

    def __str__(self) -> str:
        where = ", ".join(self.asked) or self.storage
        return f"{where}: there are no events of TensorBoard in any log; a builder writes them below `build.log_dir`"


@dataclass(frozen=True, slots=True)
class Served:
    """A TensorBoard that serves.

    Attributes:
        url: where.
        folder: with links to what is shown.
        runs: what is shown.
    """

    url: str
    folder: str
    runs: tuple[Run, ...]


class TensorBoard:
    """A TensorBoard that serves until it is stopped; also at the end of a `with` block, and of the session.

    Made by `runtb` and `serve`.
    """

    def __init__(
        self,
        url: str,
        tree: LogTree,
        process: subprocess.Popen[bytes],
        output: Path,
        ending: contextlib.ExitStack,
    ) -> None:
        self.url = url
        self._tree, self._process, self._output, self._ending = tree, process, output, ending
        self._owner = os.getpid()
        self._over = threading.Event()
        atexit.register(self._at_exit)

    @property
    def served(self) -> Served:
        """What it shows, and where."""
        return Served(self.url, str(self._tree.folder), self._tree.runs)

    @property
    def is_serving(self) -> bool:
        """Whether it still does."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> None:
        """Let it serve for a while. Raises TensorBoardEnded where it ends by itself meanwhile."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout_s)
            raise TensorBoardEnded(f"ended by itself, with {code}", _last_lines(self._output))

    def keep_up(self) -> None:
        """From now on, show also what is built later."""
        watcher = threading.Thread(target=self._watch, name="stagedml TensorBoard", daemon=True)
        watcher.start()
        self._ending.callback(watcher.join)
        self._ending.callback(self._over.set)

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            try:
                self._tree.refresh()
            except (StagedmlError, OSError) as error:  # a full disk, a store that is moved; it may be better next time
                logger.info("what is new in the logs is not shown: %s", error)

    def stop(self) -> None:
        """End it, and remove its folder of links. Once is enough, more do no harm."""
        atexit.unregister(self._at_exit)
        self._ending.close()

    def _at_exit(self) -> None:
        if os.getpid() == self._owner:  # a fork of the session has not started it
            self.stop()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<TensorBoard {self.url}, {self._told()}>"

    def _repr_html_(self) -> str:
        if not self.is_serving:
            return "TensorBoard, stopped"
        url = html.escape(self.url)
        return f'TensorBoard: <a href="{url}" target="_blank" rel="noopener">{url}</a>, {self._told()}'

    def _told(self) -> str:
        if not self.is_serving:
            return "stopped"
        count = len(self._tree.runs)
        return f"{count} run{'s' * (count != 1)}; stop() ends it"


def runtb(
    *of: str | os.PathLike[str] | Build, port: int | None = None, host: str = _LOCAL, store: Store | None = None
) -> TensorBoard:
    """Start a TensorBoard in the background; in a notebook, the last line of a cell shows the link to it.

        board = runtb("bert-finetune-mrpc")
        ...
        board.stop()

    Runs are named by stage and by the parameters that differ; the HParams tab has parameters and `metrics.json`. What
    is built later of a stage that was named comes in by itself.

    Args:
        of: realizations; names of stages, for all of each and for builds that run, also with `*` and `?`; whatever
            else the command line takes for a realization; a build, or the folder `build.log_dir` of one that runs.
            Default everything that has logs.
        port: default one that is free.
        host: the address to listen on. Whoever reaches it sees the logs.
        store: default the current store.

    Raises:
        NotInStore: one of them is not there.
        NoLogs: none of them has any.
        UsageError: there is no such address, or the port is in use.
        TensorBoardEnded: it did not start.
        LibraryMissing: it is not installed.
    """
    from stagedml.authoring.build import Build
    from stagedml.authoring.session import current_store

    builds, texts = [], []
    for one in of:
        passed: Any = one  # whoever checks no types passes other things, too
        if isinstance(passed, Build):
            builds.append(RunningBuild(passed.reference, passed.instance, str(passed.outpath), time.time()))
        elif isinstance(passed, str):
            texts.append(passed)
        elif isinstance(passed, os.PathLike):
            texts.append(os.path.abspath(os.fsdecode(passed)))
        else:
            raise UsageError(f"runtb({passed!r}): give realizations, names of stages, folders of logs, or a build")
    return serve(store or current_store(), texts, builds, port=port, host=host)


def serve(
    store: Store,
    texts: Sequence[str] = (),
    builds: Sequence[RunningBuild] = (),
    *,
    port: int | None = None,
    host: str = _LOCAL,
    once: bool = False,
) -> TensorBoard:
    """Start a TensorBoard; as `runtb`.

    Args:
        store: where the realizations are.
        texts: as of `LogTree`.
        builds: as of `LogTree`.
        port: as of `runtb`.
        host: as of `runtb`.
        once: show what is there now, and nothing that comes later.
    """
    _check_address(host, port)
    imported("tensorboard", "showing logs", "tf")
    with contextlib.ExitStack() as ending:
        folder = ending.enter_context(_folder(store.layout))
        tree = LogTree(store, texts, builds, folder / "logs")
        if not tree.runs:
            raise NoLogs(str(store.layout.storage), texts)
        output = folder / "output"
        process = _started(tree.folder, output, host, port or 0, 0 if once else _LOOK_EVERY_S)
        ending.callback(_end, process)
        url = _url(process, output)
        board = TensorBoard(url, tree, process, output, ending.pop_all())
    if not once:
        board.keep_up()
    return board


def _check_address(host: Any, port: Any) -> None:
    """Raises UsageError where nothing can listen there, which TensorBoard would not tell as well."""
    if port is not None and not (type(port) is int and 0 <= port < 1 << 16):
        raise UsageError(f"port={port!r}: give a number up to 65535; or nothing, for a free port")
    if not isinstance(host, str) or not host:
        raise UsageError(f"host={host!r}: give an address of this machine, such as {_LOCAL}")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as it will
            trial.bind(address)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use; give another one, or none for a free one") from None
        problem = error.strerror if isinstance(error, OSError) else "this is no address"
        raise UsageError(f"TensorBoard cannot serve on {host}, port {port or 'any'}: {problem}") from None


@contextlib.contextmanager
def _folder(layout: Layout) -> Iterator[Path]:
    """A folder of one's own: in the scratch of the store, locked; where that cannot be written to, somewhere else."""
    if not (os.access(layout.scratch, os.W_OK) and os.access(layout.locks, os.W_OK)):
        with tempfile.TemporaryDirectory(prefix="stagedml-tensorboard-") as folder:
            yield Path(folder)
        return
    own = layout.scratch / f"tensorboard-{atomic.unique(4)}"
    with locks.exclusive(layout.locks / f"{own.name}.lock"):
        own.mkdir()
        try:
            yield own
        finally:
            atomic.remove_tree(own)


def _started(folder: Path, output: Path, host: str, port: int, load_every_s: int) -> subprocess.Popen[bytes]:
    """TensorBoard's process, which no Ctrl-C at the terminal reaches; what it prints goes to a file."""
    path = json.dumps(sys.path)
    options = {"folder": str(folder), "host": host, "port": port, "load_every_s": load_every_s, "parent": os.getpid()}
    with open(output, "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, path, json.dumps(options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )


def _url(process: subprocess.Popen[bytes], output: Path) -> str:
    """Where it serves, as soon as it does."""
    assert process.stdout is not None
    with process.stdout as stream:
        line = _line(stream)
    if not line.endswith(b"\n"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        how = f"did not start within {_STARTS_WITHIN_S:.0f} s" if process.poll() is None else "ended while it started"
        raise TensorBoardEnded(how, _last_lines(output))
    return line.decode().strip()


def _line(stream: IO[bytes]) -> bytes:
    """A line that a process prints, or as much of it as comes in time."""
    deadline = time.monotonic() + _STARTS_WITHIN_S
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(deadline - time.monotonic()):
            text = os.read(stream.fileno(), 1 << 16)
            if not text:
                break
            line += text
    return line


def _last_lines(output: Path) -> list[str]:
    """The end of what it printed."""
    with contextlib.suppress(OSError):
        return output.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    return []


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours, and its data server."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:  # until it is waited for, the kernel gives its number to nobody else
            os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ENDS_WITHIN_S)
