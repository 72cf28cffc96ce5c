"""In which order the derivations of a run have their turns, and how many at once.

One after the other, in the calling thread; or each, once its inputs are settled, in a thread of its own that mostly
waits for a process. What must be built in this process has its turn in the calling thread all the same. A build that
fails takes with it what rests on it. Nothing new is begun then, unless the run is to keep going; what runs already
ends in peace. Who interrupts ends it all.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from stagedml.core.plan import PlanStep, Verdict
from stagedml.engine.failures import BuildsFailed, Cancelled, NotBegun
from stagedml.engine.handover import HandOver
from stagedml.engine.nodes import Node
from stagedml.engine.setting import Setting
from stagedml.engine.turn import Turn
from stagedml.errors import StagedmlError

#: Turns that may wait for a process at once; how many processes there are is counted by `Slots`.
_MOST_TURNS = 100
Work = tuple[Node, PlanStep]


def work_off(setting: Setting, work: Sequence[Work]) -> None:
    """Give each derivation its turn; `setting.chosen` tells what stands for it then.

    Args:
        work: derivations, each after its inputs, and what is planned for them.

    Raises:
        StagedmlError: what went wrong; BuildsFailed if several did, or something was left out.
    """
    progress = _Progress(setting)
    if setting.crew is None:
        for one in work:
            progress.have(one)
    else:
        _Parallel(setting, work, progress).run()
    progress.raise_failures()


def pausing(setting: Setting, work: Sequence[Work]) -> Iterator[HandOver]:
    """As `work_off`, one after the other up to the first failure; yields each build that a person may take over."""
    progress = _Progress(setting)
    for node, step in work:
        with setting.mutex:
            rrefs = step.rrefs
            if step.verdict is not Verdict.REUSE:
                rrefs = yield from Turn(setting, node, step).pausing()
            progress.settle(node, rrefs)


class _Progress:
    """What is settled, and what went wrong."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.keep_going = setting, setting.keep_going
        self.failures: list[BaseException] = []
        self.failed: dict[str, None] = {}
        self.skipped: dict[str, None] = {}

    @property
    def is_stopping(self) -> bool:
        return self.setting.is_stopping.is_set()

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
        self.setting.failed()
        self.failures.append(error)
        self.failed[node.dref] = None

    def skip(self, node: Node) -> None:
        self.failed[node.dref] = None
        self.skipped[node.dref] = None

    def raise_failures(self) -> None:
        skipped = tuple(self.skipped) if self.keep_going else ()
        if len(self.failures) > 1 or (self.failures and skipped):
            raise BuildsFailed(self.failures, skipped)
        if self.failures:
            raise self.failures[0]


class _Parallel:
    """Turns in threads."""

    def __init__(self, setting: Setting, work: Sequence[Work], progress: _Progress) -> None:
        self.setting, self.progress = setting, progress
        self.work = {node.dref: (node, step) for node, step in work}
        self.missing = {node.dref: {dref for dref in node.inputs if dref in self.work} for node, _ in work}
        self.consumers: dict[str, list[str]] = {}
        for node, _ in work:
            for dref in self.missing[node.dref]:
                self.consumers.setdefault(dref, []).append(node.dref)
        self.ready = dict.fromkeys(dref for dref, missing in self.missing.items() if not missing)
        self.running: dict[str, threading.Thread] = {}
        self.over: queue.SimpleQueue[tuple[str, tuple[str, ...] | BaseException]] = queue.SimpleQueue()
        for node, step in work:
            if step.verdict is not Verdict.REUSE and setting.slots is not None:
                setting.slots.check(node.ref.name, node.resources)

    def run(self) -> None:
        here: deque[str] = deque()  # what needs this thread
        try:
            while self.ready or self.running or here:
                while self.ready and len(self.running) < _MOST_TURNS:
                    self._begin(here)
                if here and not self.ready:
                    dref = here.popleft()
                    self._ended(dref, self._turn(dref))
                elif self.running:
                    self._ended(*self.over.get())
        except BaseException:
            self._cancel()
            raise

    def _begin(self, here: deque[str]) -> None:
        """Begin the next one that is ready."""
        dref = next(iter(self.ready))
        del self.ready[dref]
        node, step = self.work[dref]
        if self.progress.is_stopping or not self.progress.failed.keys().isdisjoint(node.inputs):
            self.progress.skip(node)
            self._release(dref)
        elif step.verdict is Verdict.REUSE:
            self._settle(dref, step.rrefs)
        elif node.is_bound_here:
            here.append(dref)
        else:
            self._start(dref)

    def _start(self, dref: str) -> None:
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
        self.running.pop(dref, None)
        if isinstance(outcome, tuple):
            self._settle(dref, outcome)
            return
        if isinstance(outcome, NotBegun):
            self.progress.skip(self.work[dref][0])
            self._release(dref)
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
                self.ready[consumer] = None

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
