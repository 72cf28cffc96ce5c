"""Building in processes of their own: the session's side of it.

`Crew` belongs to one realize. The servers that fork its builds (`forkserver`) belong to the session: they are started
when first asked for, one for each set of modules that builds import anyway, and end with it. So a build that does not
need TensorFlow never loads it, and those that do share one import.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from stagedml.authoring.resources import Resources
from stagedml.engine.forkserver import COMMAND
from stagedml.engine.orders import CANCEL, LARGEST_MESSAGE, Ending, Limits, Order
from stagedml.errors import BuildError

# In this order: after TensorFlow, Triton, which PyTorch brings, would end the process; see `ml.framework`.
_TENSORFLOW = ("triton", "tensorflow", "tf_keras")
#: What is imported beforehand for builds whose code imports a package: it takes seconds, and forks well.
_SLOW_IMPORTS = {"tensorflow": _TENSORFLOW, "tf_keras": _TENSORFLOW, "official": _TENSORFLOW}
_RECIPES = ("stagedml.stages", "stagedml.ml")
_LOG_BYTES = 1 << 26
_GRACE_S = 1.0
_SHARE_OF_MACHINE = 0.9
_TAIL_LINES, _TAIL_BYTES = 20, 4096

Tell = Callable[..., None]


class ServerFailed(BuildError):
    """The process that starts builds did not start, or is gone."""

    def __init__(self, printed: str) -> None:
        super().__init__(printed)
        self.printed = printed

    def __str__(self) -> str:
        return f"no process for builds can be started; realize with `jobs=1`\n{self.printed}".rstrip()


class SupervisorKilled(BuildError):
    """The process that looked after a build was killed, and the build with it."""

    def __str__(self) -> str:
        return "somebody killed the process that looked after the build; realize it again"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a build in a process of its own went.

    Attributes:
        message: what the builder told last: (`built`, what it made) or (`failed`, a `worker.Failure`); None if nothing.
        ending: how its process ended.
    """

    message: tuple[Any, ...] | None
    ending: Ending


class Crew:
    """The builds of one realize that run in processes of their own.

    With a `hash_seed` they order sets by it (`PYTHONHASHSEED`); else as the session or its environment has it.
    """

    def __init__(self, hash_seed: int | None = None) -> None:
        self._hash_seed = hash_seed
        self._channels: set[socket.socket] = set()
        self._mutex = threading.Lock()
        self.is_cancelled = False

    def run(
        self, order: Order, tell: Mapping[str, Tell], *, imports: Iterable[str] = (), lock: int | None = None
    ) -> Outcome:
        """Run a build, and wait for its end.

        Args:
            order: what to run.
            tell: called with what it reports, by kind of message.
            imports: the installed modules that its code imports.
            lock: a descriptor that its processes keep open.

        Raises:
            ServerFailed: no process could be started.
        """
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mine:
            with theirs, _in_memory(pickle.dumps(order)) as described:
                descriptors = [theirs.fileno(), described, *([lock] if lock is not None else [])]
                server = _send(_Kind(_modules_for(imports), self._hash_seed), descriptors)
            with self._mutex:
                self._channels.add(mine)
                if self.is_cancelled:
                    _cancel(mine)
            try:
                return _heard(mine, tell, server)
            finally:
                with self._mutex:
                    self._channels.discard(mine)

    def cancel(self) -> None:
        """End all builds, and those that begin later."""
        with self._mutex:
            self.is_cancelled = True
            for channel in self._channels:
                _cancel(channel)

    def close(self) -> None:
        """End the servers with its hash seed, if it has one; nobody else uses them."""
        if self._hash_seed is not None:
            with _starting:
                for key in [key for key in _servers if key[1].hash_seed == self._hash_seed]:
                    _servers.pop(key).close()


def _cancel(channel: socket.socket) -> None:
    with contextlib.suppress(OSError):
        channel.send(CANCEL)


def _heard(channel: socket.socket, tell: Mapping[str, Tell], server: _Server) -> Outcome:
    """Listen until the build has ended."""
    last: tuple[Any, ...] | None = None
    while text := channel.recv(LARGEST_MESSAGE):
        kind, *values = pickle.loads(text)
        if kind == "ended":
            return Outcome(last, values[0])
        if kind in tell:
            tell[kind](*values)
        else:
            last = (kind, *values)
    if not server.is_alive:
        raise ServerFailed(server.printed())
    raise SupervisorKilled


def order_for(task: bytes, log: Path, resources: Resources, gpus: Iterable[int] | None) -> Order:
    """The order for a build: it finds itself where this process is, with the same environment."""
    environment = _environment()
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus)) or "-1"
    declared = resources.memory_bytes
    return Order(
        limits=Limits(
            seconds=resources.timeout_s,
            memory_bytes=declared or int(memory_of_machine() * _SHARE_OF_MACHINE),
            is_declared=declared is not None,
            log_bytes=_LOG_BYTES,
            grace_s=_GRACE_S,
        ),
        environment=environment,
        folder=_here(),
        path=_paths(),
        arguments=list(sys.argv),
        log=str(log),
        task=task,
        gpu_query=_gpu_query(resources),
    )


def _gpu_query(resources: Resources) -> tuple[str, ...]:
    command = shutil.which("nvidia-smi") if resources.gpus != 0 and gpus_here() else None
    asked = ("--query-compute-apps=gpu_uuid,pid,used_memory", "--format=csv,noheader,nounits")
    return (command, *asked) if command else ()


def gpus_here() -> tuple[int, ...]:
    """The numbers of the GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(int(number) for number in visible.split(",") if number.strip().isdigit())
    try:
        return tuple(range(len(os.listdir("/proc/driver/nvidia/gpus"))))
    except OSError:
        return ()


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return "/"


@functools.lru_cache(maxsize=1)
def memory_of_machine() -> int:
    """How many bytes of memory there are, for this process's group if it has a limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(path).read_text()))
    return total


def told(ending: Ending) -> str:
    """Why a builder ended that said nothing, or that was ended; "" if it ended well."""
    if ending.ended_for:
        return ending.ended_for
    if ending.left:
        left = ", ".join(ending.left)
        return f"it left processes running, which were ended: {left}; let the builder wait for what it starts"
    if ending.code < 0:
        name = signal.Signals(-ending.code).name
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with exit code {ending.code} before the builder did"


def tail_of(log: Path) -> str:
    """The last lines of a log."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_TAIL_LINES:])


# -- servers ----------------------------------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """What makes one server different from another."""

    modules: tuple[str, ...]
    hash_seed: int | None


class _Server:
    """One server process."""

    def __init__(self, kind: _Kind) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
        seeded = {} if kind.hash_seed is None else {"PYTHONHASHSEED": str(kind.hash_seed)}
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    COMMAND,
                    str(theirs.fileno()),
                    ",".join([*_ours(), *kind.modules]),
                    json.dumps(_paths()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env={**_environment(), **seeded},
                start_new_session=True,
            )
        self._channel = mine
        self._mutex = threading.Lock()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, descriptors: list[int]) -> None:
        with self._mutex:
            socket.send_fds(self._channel, [b"build"], descriptors)

    def close(self) -> None:
        """Let it end."""
        self._channel.close()
        self._process.wait()
        self._output.close()

    def printed(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")[-2000:]


def _environment() -> dict[str, str]:
    """That of the server and of all builds: the session's, and which Keras TensorFlow takes when it is imported."""
    return {"TF_USE_LEGACY_KERAS": "1", **os.environ}


def _paths() -> list[str]:
    return [path if path else _here() for path in sys.path]


_servers: dict[tuple[int, _Kind], _Server] = {}
_starting = threading.Lock()


def _send(kind: _Kind, descriptors: list[int]) -> _Server:
    """Have a server of a kind start a build; one that is gone is replaced, once."""
    for _ in range(2):
        server = _started(kind)
        try:
            server.send(descriptors)
        except OSError:
            continue
        return server
    raise ServerFailed(server.printed())


def _started(kind: _Kind) -> _Server:
    """The server of a kind, started if there is none."""
    with _starting:
        key = (os.getpid(), kind)  # a fork of the session needs servers of its own
        server = _servers.get(key)
        if server is None or not server.is_alive:
            server = _servers[key] = _Server(kind)
        return server


def _modules_for(imports: Iterable[str]) -> tuple[str, ...]:
    wanted = sorted({name.partition(".")[0] for name in imports})
    return tuple(dict.fromkeys(slow for name in wanted for slow in _SLOW_IMPORTS.get(name, ())))


def _ours() -> list[str]:
    """What every build imports of StagedML, and what else this session has loaded, but for recipes: they may change."""
    loaded = (name for name in sys.modules if name.startswith("stagedml.") and not name.startswith(_RECIPES))
    return ["stagedml.engine.worker", "stagedml.authoring.pickling", *sorted(loaded)]


@contextlib.contextmanager
def _in_memory(text: bytes) -> Iterator[int]:
    """A descriptor of a file without a name that holds a text."""
    descriptor = os.memfd_create("stagedml-order")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
