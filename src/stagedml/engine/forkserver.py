"""A process that forks builds, and the supervisor of each build.

    the session --- server --- supervisor --- builder --- programs that it starts

The server is started once for a session and a set of modules that it imports beforehand; it never runs code of the
user, has one thread, and forks in milliseconds, whatever the session holds. It ends with the session.

Each build has a supervisor, which
- leads a session of its own, so that a terminal's Ctrl-C reaches it only through the one who asked for the build;
- adopts what the builder leaves behind, so that at the end every process of a build is gone;
- writes what the builder and its programs print into the build's log;
- ends a build that is cancelled, runs for too long, takes too much memory or prints too much: SIGTERM first, and after
  a moment SIGKILL to all of it;
- ends it also when the session is gone, however that came; and tells the session how the builder ended.

The builder dies with its supervisor. Both keep the session's lock on the build open: until the last of them is gone,
nobody else takes the build for abandoned. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import io
import os
import pickle
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator

from stagedml.engine.orders import LARGEST_MESSAGE, Ending, Order, Usage

_START = "from stagedml.engine.forkserver import main"
#: How to start a server: with the numbers and texts that `main` takes, and where modules are looked for.
COMMAND = f"import json, sys; sys.path[:] = json.loads(sys.argv[3]); {_START}; main(int(sys.argv[1]), sys.argv[2])"

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LOOK_EVERY_S = 0.1  # at memory and time
_LOOK_AT_GPUS_EVERY_S = 2.0
_LEFT_S = 1.0  # how long what a builder left behind may take to end by itself
_KERNEL_VICTIM = b"500"  # of 1000: if memory runs out, the kernel is to take a build, not the session
_libc = ctypes.CDLL(None, use_errno=True)


def main(descriptor: int, modules: str) -> None:
    """Serve: import the modules, then fork a supervisor for each message, until the session is gone.

    Args:
        descriptor: of a sequenced-packet socket. A message holds nothing but descriptors: a socket for the build's
            messages, a file with a pickled `Order`, and, if there is one, the lock that the build holds.
        modules: names, separated by commas. One that cannot be imported is left to those who need it.
    """
    os.set_inheritable(descriptor, False)
    channel = socket.socket(fileno=descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in filter(None, modules.split(",")):
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # those are idle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for supervisors
    while True:
        _, descriptors, _, _ = socket.recv_fds(channel, 16, 3)
        if not descriptors:
            return
        if os.fork() == 0:
            channel.close()
            _become(functools.partial(_supervise, *descriptors))
        for one in descriptors:
            os.close(one)


def _become(work: Callable[[], None]) -> None:
    """Do some work in a process that was just forked, and end it."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


# -- the supervisor ---------------------------------------------------------------------------------------------------


def _supervise(channel_descriptor: int, order_descriptor: int, *locks: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.set_inheritable(channel_descriptor, False)
    os.setsid()
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with open(order_descriptor, "rb") as file:
        order: Order = pickle.load(file)
    log_out, log_in = os.pipe()
    started = time.monotonic()
    supervisor = os.getpid()
    builder = os.fork()
    if builder == 0:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(1)
        os.close(log_out)
        _become(functools.partial(_build, order, channel_descriptor, log_in))
    os.close(log_in)
    channel = socket.socket(fileno=channel_descriptor)
    ending = _Watch(order, channel, builder, log_out, started).ending()
    with contextlib.suppress(OSError):  # nobody listens any more
        channel.send(pickle.dumps(("ended", ending)))


class _Watch:
    """Looking after one builder."""

    def __init__(self, order: Order, channel: socket.socket, builder: int, log_out: int, started: float) -> None:
        self.limits, self.channel, self.builder, self.started = order.limits, channel, builder, started
        self.log_out = log_out
        self.log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.printed = 0
        self.peak = 0
        self.ended_for = ""
        self.kill_at: float | None = None
        self.look_at = 0.0
        self.gpus = _Gpus(order.gpu_query)

    def ending(self) -> Ending:
        """Watch until all processes of the build are gone."""
        handle = os.pidfd_open(self.builder)
        poll = select.poll()
        for descriptor in (handle, self.channel.fileno(), self.log_out):
            poll.register(descriptor, select.POLLIN)
        is_over = False
        while not is_over:
            for descriptor, _ in poll.poll(_LOOK_EVERY_S * 1000):
                if descriptor == handle:
                    is_over = True
                elif descriptor == self.log_out:
                    if not self._read_log():
                        poll.unregister(self.log_out)
                elif not self._read_channel():
                    poll.unregister(self.channel.fileno())
            self._look()
        _, status = os.waitpid(self.builder, 0)
        left = self._end_the_rest()
        self._drain_log()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime
        memory = max(self.peak, used.ru_maxrss * 1024)
        usage = Usage(time.monotonic() - self.started, cpu, memory, self.gpus.used_s, self.gpus.peak_bytes)
        return Ending(os.waitstatus_to_exitcode(status), usage, self.ended_for, left)

    def _look(self) -> None:
        """Look at time and memory, and end what goes beyond them."""
        now = time.monotonic()
        if now < self.look_at:
            return
        self.look_at = now + _LOOK_EVERY_S / 2
        if self.kill_at is not None:
            if now >= self.kill_at:
                kill_all()
            return
        held = sum(map(_private_bytes, _descendants()))
        self.peak = max(self.peak, held)
        self.gpus.look(now)
        limits = self.limits
        if limits.seconds is not None and now - self.started > limits.seconds:
            self._end(f"it ran for longer than {limits.seconds:g} s, which its stage allows")
        elif held > limits.memory_bytes:
            who = "its stage allows" if limits.is_declared else "this machine has for it"
            self._end(f"it took {held:,} bytes of memory, and {limits.memory_bytes:,} are what {who}", at_once=True)
        elif held > limits.memory_bytes // 8 and _is_memory_short():
            self._end(f"the memory of this machine ran out while it held {held:,} bytes", at_once=True)

    def _end(self, why: str, *, at_once: bool = False) -> None:
        self.ended_for = self.ended_for or why
        self.kill_at = time.monotonic() + (0.0 if at_once else self.limits.grace_s)
        if at_once:
            kill_all()
            return
        for process in _descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)

    def _read_channel(self) -> bool:
        """Hear of a wish to cancel, or of the end of the session, which wishes the same."""
        try:
            heard = self.channel.recv(LARGEST_MESSAGE)
        except OSError:
            heard = b""
        if self.kill_at is None:
            self._end("cancelled", at_once=not heard)
        return bool(heard)

    def _read_log(self) -> bool:
        """Take what was printed; False at its end."""
        try:
            text = os.read(self.log_out, 1 << 16)
        except OSError:
            return False
        if not text:
            return False
        room = self.limits.log_bytes - self.printed
        self.printed += len(text)
        with contextlib.suppress(OSError):  # a full disk: the builder will notice, too
            os.write(self.log, text[: max(room, 0)])
        if len(text) > room and self.kill_at is None:
            self._end(f"it printed more than {self.limits.log_bytes:,} bytes", at_once=True)
        return True

    def _drain_log(self) -> None:
        os.set_blocking(self.log_out, False)
        while self._read_log():
            pass
        os.close(self.log)

    def _end_the_rest(self) -> tuple[str, ...]:
        """End what the builder left behind; returns the command lines of what did not end by itself."""
        patience = time.monotonic() + (_LEFT_S if not self.ended_for else 0.0)
        while (alive := _descendants()) and time.monotonic() < patience:
            ready, _, _ = select.select([self.log_out], [], [], 0.02)
            if ready and not self._read_log():
                time.sleep(0.02)
        left = tuple(filter(None, map(_command_of, alive)))
        kill_all()
        with contextlib.suppress(ChildProcessError):  # there are none left
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        return left


class _Gpus:
    """How much of which GPUs the processes of a build use."""

    def __init__(self, query: tuple[str, ...]) -> None:
        self._query = query
        self._last = 0.0
        self.used_s = 0.0
        self.peak_bytes = 0

    def look(self, now: float) -> None:
        """Ask, if there are some and it is time to; what cannot be asked is not asked again."""
        if not self._query or now - self._last < _LOOK_AT_GPUS_EVERY_S:
            return
        since, self._last = (now - self._last if self._last else 0.0), now
        own = set(_descendants())
        try:
            told = subprocess.run(self._query, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL)
            rows = [line.split(",") for line in told.stdout.splitlines()]
            mine = [(gpu.strip(), int(size)) for gpu, process, size in rows if int(process) in own]
        except (OSError, subprocess.SubprocessError, ValueError):
            self._query = ()
            return
        self.used_s += since * len({gpu for gpu, _ in mine})
        self.peak_bytes = max(self.peak_bytes, sum(size for _, size in mine) << 20)


def _descendants() -> list[int]:
    """The processes below this one that run."""
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        for child in _children(pending.pop()):
            found.append(child)
            pending.append(child)
    return [process for process in found if _state_of(process) not in ("Z", "X", "")]


def _children(process: int) -> Iterator[int]:
    try:
        tasks = os.listdir(f"/proc/{process}/task")
    except OSError:
        return
    for task in tasks:
        with contextlib.suppress(OSError), open(f"/proc/{process}/task/{task}/children") as file:
            yield from map(int, file.read().split())


def _state_of(process: int) -> str:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _private_bytes(process: int) -> int:
    """The memory of a process that is in no file: what limits speak of."""
    total = 0
    with contextlib.suppress(OSError), open(f"/proc/{process}/status") as file:
        for line in file:
            if line.startswith(("RssAnon:", "RssShmem:")):
                total += int(line.split()[1]) * 1024
    return total


def _is_memory_short() -> bool:
    """Whether less than 2 % of the machine's memory can still be had."""
    sizes = {}
    with contextlib.suppress(OSError), open("/proc/meminfo") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                sizes[name] = int(rest.split()[0])
    return len(sizes) == 2 and sizes["MemAvailable"] < sizes["MemTotal"] // 50


def _command_of(process: int) -> str:
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""
    return f"{process}: a fork of the builder" if _START in words else f"{process}: {words[:120]}"


def kill_all() -> None:
    """Kill everything below this process that it may, what is reparented meanwhile included."""
    out_of_reach: set[int] = set()  # of another user, as `sudo` starts
    while alive := set(_descendants()) - out_of_reach:
        for process in alive:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
            except PermissionError:
                out_of_reach.add(process)
        time.sleep(0.002)


# -- the builder ------------------------------------------------------------------------------------------------------


def _build(order: Order, channel: int, log: int) -> None:
    """Become a builder: print into the log, look like the session, and run the task."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL if number != signal.SIGPIPE else signal.SIG_IGN)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as file:
        file.write(_KERNEL_VICTIM)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # so that its lines and those of its programs are in order
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    with contextlib.suppress(OSError):
        os.chdir(order.folder)
    sys.path[:] = order.path
    sys.argv[:] = order.arguments
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    from stagedml.engine import worker

    worker.run(order.task, socket.socket(fileno=channel))
