"""What a process of its own does for one build: it runs the task that it was sent, and tells how that went.

Messages are pickled tuples, of which the first item says what they are: `progress` and `message`, as of
`BuildListener`; then `built`, with what `Task.perform` returns, or `failed`, with a `Failure`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pickle
import socket

from stagedml.authoring import pickling
from stagedml.authoring.build import BuildListener
from stagedml.authoring.shipping import CannotBeSent
from stagedml.engine.failures import Failure, failure_of
from stagedml.engine.orders import LARGEST_MESSAGE
from stagedml.engine.task import Task
from stagedml.store.layout import Layout
from stagedml.store.objects import Store


def run(order: bytes, channel: socket.socket) -> None:
    """Run a task as `written` made it."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)
    try:
        task, layout, durable = _read(order)
        assert isinstance(task, Task)
        outcome = ("built", task.perform(Store(layout, durable=durable), _Teller(channel)))
    except BaseException as error:  # SystemExit too: who exits must not end as if all had gone well
        channel.send(_failed(failure_of(error)))
        return
    channel.send(pickle.dumps(outcome))


def _read(order: bytes) -> tuple[Task, Layout, bool]:
    try:
        task, layout, durable = pickling.loads(order)
    except ImportError as error:
        raise CannotBeSent("the stage", f"{error}, here where only what `sys.path` tells is found") from error
    return task, layout, durable


def written(name: str, task: Task, store: Store) -> bytes:
    """A task for another process. Raises CannotBeSent, which speaks of `name`."""
    return pickling.dumps(name, (dataclasses.replace(task, context=dict(task.context)), store.layout, store.durable))


def _failed(failure: Failure) -> bytes:
    """The message that tells of a failure, with the error if it survives."""
    room = LARGEST_MESSAGE // 4
    short = Failure(None, failure.reason[:room], failure.frames[-room:])
    with contextlib.suppress(Exception):
        text = pickling.dumps("error", ("failed", Failure(failure.error, short.reason, short.frames)))
        pickling.loads(text)  # not all that can be written can be read
        if len(text) <= LARGEST_MESSAGE:
            return text
    return pickle.dumps(("failed", short))


class _Teller(BuildListener):
    """Tells the session what a build reports. Of progress it tells what there is room for."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def progress(self, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(pickle.dumps(("progress", label, done, total, unit, note)), socket.MSG_DONTWAIT)

    def message(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._channel.send(pickle.dumps(("message", text[: LARGEST_MESSAGE // 2])))
