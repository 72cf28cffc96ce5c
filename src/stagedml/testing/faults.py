"""Faults on purpose: at the n-th call that changes the file system, the process dies or the call fails.

    calls = count_calls(work)                                   # in a process of its own
    for number in range(len(calls)):
        outcome = with_fault(work, number, Fault.KILL_BEFORE)

So every rename, link, sync, unlink, ... of a piece of work is a point at which it is interrupted, none is forgotten,
and no code under test knows of it. Each piece of work runs in a forked process; what it needs should be imported
before.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from stagedml.store import atomic

#: The calls of `os` that change names, modes or contents.
_CALLS = (
    "chmod",
    "fchmod",
    "fsync",
    "ftruncate",
    "link",
    "mkdir",
    "pwrite",
    "rename",
    "replace",
    "rmdir",
    "symlink",
    "unlink",
    "write",
)


class Fault(Enum):
    """What happens at the chosen call."""

    KILL_BEFORE = "killed before"
    KILL_AFTER = "killed after"
    EIO = "input/output error"
    ENOSPC = "no space left"


_ERRNO = {Fault.EIO: errno.EIO, Fault.ENOSPC: errno.ENOSPC}


@dataclass(frozen=True)
class Outcome:
    """How a piece of work ended.

    Attributes:
        killed: whether it was.
        error: the exception that it raised, as text; None if it returned.
        family: the names of the exception's class and of those it derives from.
        calls: the calls that it made, each with its first argument.
    """

    killed: bool
    error: str | None
    family: tuple[str, ...]
    calls: tuple[str, ...]


def with_fault(work: Callable[[], object], number: int, fault: Fault) -> Outcome:
    """Run `work` in a forked process; its call `number`, counted from 0, meets a fault."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run(work, number, fault, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Outcome(True, None, (), ())
    outcome: Outcome = pickle.loads(answer)
    return outcome


def count_calls(work: Callable[[], object]) -> tuple[str, ...]:
    """The calls that `work` makes when nothing goes wrong; it does run. Raises RuntimeError if it raises."""
    outcome = with_fault(work, -1, Fault.EIO)
    if outcome.error is not None:
        raise RuntimeError(outcome.error)
    return outcome.calls


def _run(work: Callable[[], object], number: int, fault: Fault, writer: int) -> None:
    calls: list[str] = []
    error: BaseException | None = None
    write = os.write  # the real one
    for name in _CALLS:
        setattr(os, name, _wrapped(name, getattr(os, name), calls, number, fault))
    sync = _wrapped("syncfs", atomic.sync_file_system, calls, number, fault)
    atomic.sync_file_system = sync
    try:
        work()
    except BaseException as raised:
        error = raised
    family = tuple(base.__name__ for base in type(error).__mro__) if error is not None else ()
    text = None if error is None else f"{type(error).__name__}: {error}"
    answer = memoryview(pickle.dumps(Outcome(False, text, family, tuple(calls))))
    while answer:
        answer = answer[write(writer, answer) :]
    os._exit(0)


def _wrapped(name: str, call: Callable[..., Any], calls: list[str], number: int, fault: Fault) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        here = len(calls) == number
        calls.append(f"{name} {arguments[0]}")
        if here and fault is Fault.KILL_BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        if here and fault in _ERRNO:
            raise OSError(_ERRNO[fault], os.strerror(_ERRNO[fault]), arguments[0])
        try:
            return call(*arguments, **keywords)
        finally:
            if here and fault is Fault.KILL_AFTER:
                os.kill(os.getpid(), signal.SIGKILL)

    return wrapper
