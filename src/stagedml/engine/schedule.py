"""In which order the derivations of a run have their turns, and how many at once.

One after the other, in the calling thread; or each, once its inputs are settled, in a thread of its own that mostly
waits for a process. What must be built in this process has its turn in the calling thread all the same. A build that
fails takes with it what rests on it. Nothing new is begun then, unless the run is to keep going; what runs already
ends in peace. Who interrupts ends it all.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stagedml.authoring.resources import Resources
from stagedml.core.plan import PlanStep, Verdict
from stagedml.engine.apart import gpus_here, memory_of_machine
from stagedml.engine.failures import BuildsFailed, Cancelled
from stagedml.engine.handover import HandOver
from stagedml.engine.nodes import Node
from stagedml.engine.setting import Setting
from stagedml.engine.turn import Turn
from stagedml.errors import StagedmlError, UsageError

Work = tuple[Node, PlanStep]


def work_off(setting: Setting, work: Sequence[Work], *, jobs: int, keep_going: bool) -> None:
    """Give each derivation its turn; `setting.chosen` tells what stands for it then.

    Args:
        work: derivations, each after its inputs, and what is planned for them.
        jobs: how many builds at once; if more than one, each in a process of its own.
        keep_going: after a failure, go on with what does not rest on it.

    Raises:
        StagedmlError: what went wrong; BuildsFailed if several did, or something was left out.
    """
    progress = _Progress(setting, work, keep_going)
    if setting.crew is None:
        for one in work:
            progress.have(one)
    else:
        _Parallel(setting, work, progress, jobs).run()
    progress.raise_failures()


def pausing(setting: Setting, work: Sequence[Work]) -> Iterator[HandOver]:
    """As `work_off`, one after the other up to the first failure; yields each build that a person may take over."""
    progress = _Progress(setting, work, keep_going=False)
    for node, step in work:
        with setting.mutex:
            rrefs = step.rrefs
            if step.verdict is not Verdict.REUSE:
                rrefs = yield from Turn(setting, node, step).pausing()
            progress.settle(node, rrefs)


class _Progress:
    """What is settled, and what went wrong."""

    def __init__(self, setting: Setting, work: Sequence[Work], keep_going: bool) -> None:
        self.setting, self.keep_going = setting, keep_going
        self.failures: list[BaseException] = []
        self.failed: dict[str, None] = {}
        self.skipped: dict[str, None] = {}

    @property
    def is_stopping(self) -> bool:
        return bool(self.failures) and not self.keep_going

    def have(self, one: Work) -> None:
        """Let a derivation have its turn in this thread, if what it rests on is there."""
        node, step = one
        if self.is_stopping or not self.failed.keys().isdisjoint(node.inputs):
            self.skip(node)
            return
        try:
            with self.setting.mutex:
                self.settle(node, step.rrefs if step.verdict is Verdict.REUSE else self.turn(one))
        except StagedmlError as error:
            self.fail(node, error)

    def turn(self, one: Work) -> tuple[str, ...]:
        """What stands for a derivation after its turn. The mutex is held."""
        return Turn(self.setting, *one).realize()

    def settle(self, node: Node, rrefs: tuple[str, ...]) -> None:
        self.setting.chosen[node.dref] = rrefs
        self.setting.contexts.used(node, self.setting.chosen)

    def fail(self, node: Node, error: BaseException) -> None:
        self.failures.append(error)
        self.failed[node.dref] = None

    def skip(self, node: Node) -> None:
        self.failed[node.dref] = None
        self.skipped[node.dref] = None

    def raise_failures(self) -> None:
        if not self.failures:
            return
        if self.keep_going or len(self.failures) > 1:
            skipped = tuple(self.skipped) if self.keep_going else ()
            if len(self.failures) > 1 or skipped:
                raise BuildsFailed(self.failures, skipped)
        raise self.failures[0]


class _Parallel:
    """Turns in threads."""

    def __init__(self, setting: Setting, work: Sequence[Work], progress: _Progress, jobs: int) -> None:
        self.setting, self.progress, self.jobs = setting, progress, jobs
        self.work = {node.dref: (node, step) for node, step in work}
        self.missing = {node.dref: {dref for dref in node.inputs if dref in self.work} for node, _ in work}
        self.consumers: dict[str, list[str]] = {}
        for node, _ in work:
            for dref in self.missing[node.dref]:
                self.consumers.setdefault(dref, []).append(node.dref)
        self.ready = [dref for dref, missing in self.missing.items() if not missing]
        self.running: dict[str, threading.Thread] = {}
        self.slots = Slots()
        self.over: queue.SimpleQueue[tuple[str, tuple[str, ...] | BaseException]] = queue.SimpleQueue()
        for node, step in work:
            if step.verdict is not Verdict.REUSE:
                self.slots.check(node.ref.name, node.resources)

    def run(self) -> None:
        try:
            while self.ready or self.running:
                self._begin()
                if self.running:
                    dref, outcome = self.over.get()
                    self._ended(dref, outcome)
        except BaseException:
            self._cancel()
            raise

    def _begin(self) -> None:
        """Begin what can be begun; what needs this thread comes last, and alone holds it up."""
        here: str | None = None
        for dref in list(self.ready):
            node, step = self.work[dref]
            if self.progress.is_stopping or not self.progress.failed.keys().isdisjoint(node.inputs):
                self._done(dref)
                self.progress.skip(node)
                self._release(dref)
            elif step.verdict is Verdict.REUSE:
                self._done(dref)
                self._settle(dref, step.rrefs)
            elif node.is_bound_here:
                here = here or dref
            elif len(self.running) < self.jobs:
                gpus = self.slots.take(dref, node.resources, alone=not self.running)
                if gpus is not None:
                    self._done(dref)
                    self._start(dref, gpus)
        if here is not None and here in self.ready:
            self._done(here)
            self._ended(here, self._turn(here))

    def _done(self, dref: str) -> None:
        self.ready.remove(dref)

    def _start(self, dref: str, gpus: tuple[int, ...]) -> None:
        if self.work[dref][0].resources.gpus is not None:
            self.setting.gpus[dref] = gpus
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=lambda: self.over.put((dref, context.run(self._turn, dref))), name=f"stagedml {dref}", daemon=True
        )
        self.running[dref] = thread
        thread.start()

    def _turn(self, dref: str) -> tuple[str, ...] | BaseException:
        try:
            with self.setting.mutex:
                return self.progress.turn(self.work[dref])
        except BaseException as error:
            if threading.current_thread() is threading.main_thread() and not isinstance(error, Exception):
                raise
            return error

    def _ended(self, dref: str, outcome: tuple[str, ...] | BaseException) -> None:
        if self.running.pop(dref, None) is not None:
            self.slots.give_back(dref)
        if isinstance(outcome, tuple):
            self._settle(dref, outcome)
            return
        if not isinstance(outcome, StagedmlError):
            raise outcome
        self.progress.fail(self.work[dref][0], outcome)
        self._release(dref)

    def _settle(self, dref: str, rrefs: tuple[str, ...]) -> None:
        with self.setting.mutex:
            self.progress.settle(self.work[dref][0], rrefs)
        self._release(dref)

    def _release(self, dref: str) -> None:
        for consumer in self.consumers.get(dref, ()):
            self.missing[consumer].discard(dref)
            if not self.missing[consumer]:
                self.ready.append(consumer)

    def _cancel(self) -> None:
        """End all builds, and wait until their processes are gone."""
        assert self.setting.crew is not None
        self.setting.crew.cancel()
        while self.running:
            with contextlib.suppress(KeyboardInterrupt):  # it ends soon anyway
                dref, outcome = self.over.get()
                self.running.pop(dref)
                if isinstance(outcome, BaseException) and not isinstance(outcome, Cancelled):
                    self.progress.fail(self.work[dref][0], outcome)


@dataclass
class Slots:
    """What of the machine is taken by the builds that run."""

    cpus: float = field(default_factory=lambda: float(len(os.sched_getaffinity(0))))
    memory_bytes: int = field(default_factory=memory_of_machine)
    gpus: tuple[int, ...] = field(default_factory=gpus_here)
    _taken: dict[str, tuple[Resources, tuple[int, ...]]] = field(default_factory=dict)

    def check(self, name: str, wanted: Resources) -> None:
        """Refuse what this machine will never have. Raises UsageError."""
        if wanted.gpus is not None and wanted.gpus > len(self.gpus):
            raise UsageError(f"{name} wants {wanted.gpus} GPUs, and {len(self.gpus)} are here")

    def take(self, key: str, wanted: Resources, *, alone: bool) -> tuple[int, ...] | None:
        """Take what a build wants; None if that is not free. Who is `alone` has all, even if that is too little."""
        used = [resources for resources, _ in self._taken.values()]
        free_gpus = [gpu for gpu in self.gpus if not any(gpu in gpus for _, gpus in self._taken.values())]
        cpus = sum(resources.cpus for resources in used)
        memory = sum(resources.memory_bytes or 0 for resources in used)
        fits = cpus + wanted.cpus <= self.cpus and memory + (wanted.memory_bytes or 0) <= self.memory_bytes
        if not (fits or alone) or len(free_gpus) < (wanted.gpus or 0):
            return None
        gpus = tuple(free_gpus[: wanted.gpus or 0])
        self._taken[key] = (wanted, gpus)
        return gpus

    def give_back(self, key: str) -> None:
        self._taken.pop(key)
