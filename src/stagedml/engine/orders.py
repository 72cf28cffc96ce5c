"""What session, supervisor and builder tell each other of a build apart.

The session sends an `Order`, and `CANCEL` if it is to end before its time. The builder sends what `worker` says; the
supervisor's last word is (`ended`, an `Ending`). All of it but the order are messages of one socket.
"""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_MESSAGE = 1 << 17
CANCEL = b"cancel"


@dataclass(frozen=True, slots=True)
class Limits:
    """When a supervisor ends a build.

    Attributes:
        seconds: how long it may take; None for ever.
        memory_bytes: how much its processes together may hold that is in no file.
        is_declared: whether the stage says so; else it is what the machine has.
        log_bytes: how much it may print.
        grace_s: how long it may take to end by itself when it is told to.
    """

    seconds: float | None
    memory_bytes: int
    is_declared: bool
    log_bytes: int
    grace_s: float


@dataclass(frozen=True, slots=True)
class Order:
    """What a supervisor needs to know to start a build.

    Attributes:
        environment, folder, path, arguments: what the builder finds itself in, as the session does.
        log: the file that it prints into.
        task: for `worker.run`.
        gpu_query: a command that tells who uses GPUs: lines of GPU, process, MiB; () where none are.
    """

    limits: Limits
    environment: dict[str, str]
    folder: str
    path: list[str]
    arguments: list[str]
    log: str
    task: bytes
    gpu_query: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a build used."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    gpu_s: float = 0.0  #: for how long it had GPUs in use, summed up over them
    peak_gpu_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a builder ended.

    Attributes:
        code: its exit code, or minus the number of the signal that it died of.
        usage: what it used, with all of its programs.
        ended_for: why the supervisor ended it; "" if it did not.
        left: the command lines of what the builder left running.
    """

    code: int
    usage: Usage
    ended_for: str
    left: tuple[str, ...]
