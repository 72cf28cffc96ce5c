"""Running a builder for a turn: in this process, so that a debugger works, or in one of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from stagedml.authoring.build import BuildListener
from stagedml.authoring.stage import StageRealizer
from stagedml.engine import apart
from stagedml.engine.failures import Cancelled, NotBegun
from stagedml.engine.nodes import Node
from stagedml.engine.setting import Setting
from stagedml.engine.task import Task
from stagedml.errors import BuildError
from stagedml.store.layout import BUILD_LOG, LOG_FOLDER
from stagedml.store.metadata import BuildRecord

#: The folders that were filled, and what is to be recorded of each.
Built = list[tuple[Path, BuildRecord]]


def perform(setting: Setting, node: Node, task: Task, log: Path, lock: int | None) -> Built:
    """Run a builder; returns what it made.

    Args:
        task: what to run.
        log: where what it prints is to be kept, if it has a process of its own.
        lock: a descriptor that its processes keep open, if there is one.

    Raises:
        FailedApart, CannotBeSent, ServerFailed: it failed in a process of its own, or got none.
        Cancelled: the run is over.
    """
    if setting.crew is None or node.is_bound_here:
        setting.observer.started(node.dref, task.instance, task.outpath)
        with setting.outside():
            built, used = _measured(lambda: task.perform(setting.store, Relay(node.dref, setting)))
    else:
        built, used = _perform_apart(setting, node, task, log, lock)
    more = setting.surroundings.of(node)
    return [
        (tree, dataclasses.replace(record, environment={**record.environment, **more}, resources=used))
        for tree, record in built
    ]


def _slot(setting: Setting, node: Node) -> AbstractContextManager[tuple[int, ...] | None]:
    """Wait for what a build declares to need. Raises Cancelled, NotBegun."""

    def look() -> None:
        if setting.crew is not None and setting.crew.is_cancelled:
            raise Cancelled(node.dref)
        if setting.is_stopping.is_set():
            raise NotBegun(node.dref)

    return setting.slots.held(node.resources, look) if setting.slots is not None else nullcontext()


def _measured(work: Callable[[], Built]) -> tuple[Built, dict[str, float]]:
    """What some work in this process gives, and what it used."""
    before, children, started = _usage(resource.RUSAGE_SELF), _usage(resource.RUSAGE_CHILDREN), time.monotonic()
    built = work()
    after, later = _usage(resource.RUSAGE_SELF), _usage(resource.RUSAGE_CHILDREN)
    used = {"wall_s": time.monotonic() - started, "cpu_s": after[0] + later[0] - before[0] - children[0]}
    if after[1] > before[1]:  # else what came before used more, and the kernel does not tell how much this did
        used["peak_memory_bytes"] = after[1]
    return built, used


def _usage(who: int) -> tuple[float, int]:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


class Relay(BuildListener):
    """Passes on what a build reports, with the name of its derivation."""

    def __init__(self, dref: str, setting: Setting) -> None:
        self.dref, self.setting = dref, setting

    def progress(self, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        with self.setting.mutex:
            self.setting.observer.progress(self.dref, label, done, total, unit, note)

    def message(self, text: str) -> None:
        with self.setting.mutex:
            self.setting.observer.message(self.dref, text)


class FailedApart(Exception):
    """A builder failed in a process of its own.

    Attributes:
        raised: what it raised; itself if that could not be sent, or if its process ended otherwise.
        frames: the traceback there.
    """

    def __init__(self, reason: str, raised: BaseException | None = None, frames: str = "") -> None:
        super().__init__(reason)
        self.raised: BaseException = raised if raised is not None else BuildError(reason)
        self.frames = frames


def _perform_apart(
    setting: Setting, node: Node, task: Task, log: Path, lock: int | None
) -> tuple[Built, dict[str, float]]:
    """Run a builder in a process of its own. Raises FailedApart, Cancelled, CannotBeSent, ServerFailed."""
    from stagedml.authoring import shipping  # its pickler is loaded only where something is sent
    from stagedml.engine.worker import written

    assert setting.crew is not None
    realizer = node.derivation.realizer
    if isinstance(realizer, StageRealizer):
        task = dataclasses.replace(task, builder=shipping.sent(realizer))
    text = written(node.ref.name, task, setting.store)
    relay = Relay(node.dref, setting)
    heard: dict[str, apart.Tell] = {"progress": relay.progress, "message": relay.message}
    with setting.outside(), _slot(setting, node) as gpus:
        log.touch(0o644)  # who is told of the start finds it
        with setting.mutex:
            setting.observer.started(node.dref, task.instance, task.outpath)
        order = apart.order_for(text, log, node.resources, gpus)
        outcome = setting.crew.run(order, heard, imports=task.imports, lock=lock)
    if setting.crew.is_cancelled:
        raise Cancelled(node.dref)
    kind, value = outcome.message or ("", None)
    if kind == "failed" and not outcome.ending.ended_for:
        error = value.error if isinstance(value.error, BaseException) else None
        raise FailedApart(value.reason, error, value.frames)
    if kind != "built" or outcome.ending.ended_for or outcome.ending.left:
        raise FailedApart(apart.told(outcome.ending))
    used = dataclasses.asdict(outcome.ending.usage)
    return value, {name: amount for name, amount in used.items() if amount}


def keep_log(log: Path, tree: Path) -> None:
    """Make what a builder printed part of what is kept of it, in no hash."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size:
            (tree / LOG_FOLDER).mkdir(exist_ok=True)
            os.replace(log, tree / LOG_FOLDER / BUILD_LOG)
