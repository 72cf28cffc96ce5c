"""What of the machine is taken by the builds of a run, and waiting until there is enough of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from stagedml.authoring.resources import Resources
from stagedml.engine.apart import gpus_here, memory_of_machine
from stagedml.errors import UsageError

_LOOK_EVERY_S = 0.2
_Taken: TypeAlias = tuple[Resources, tuple[int, ...]]  # what a build has, with the numbers of its GPUs
_Ticket: TypeAlias = tuple[int, Resources]  # who waits, in the order of coming


@dataclass
class Slots:
    """Counts builds, and what they declare to need.

    Attributes:
        builds: how many may run at once.
    """

    builds: int
    cpus: float = field(default_factory=lambda: float(len(os.sched_getaffinity(0))))
    memory_bytes: int = field(default_factory=memory_of_machine)
    gpus: tuple[int, ...] = field(default_factory=gpus_here)
    _taken: list[_Taken] = field(default_factory=list)
    _waiting: list[_Ticket] = field(default_factory=list)
    _tickets: Iterator[int] = field(default_factory=itertools.count)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def check(self, name: str, wanted: Resources) -> None:
        """Refuse what this machine will never have. Raises UsageError."""
        if wanted.gpus is not None and wanted.gpus > len(self.gpus):
            raise UsageError(f"{name} wants {wanted.gpus} GPUs, and {len(self.gpus)} are here")

    @contextlib.contextmanager
    def held(self, wanted: Resources, look: Callable[[], None]) -> Iterator[tuple[int, ...] | None]:
        """Wait until there is what a build wants, and have it for the length of the block.

        Args:
            wanted: what it declares; if it is more cores or memory than there are, it waits until it is alone.
            look: called now and then while waiting; what it raises ends that.

        Yields the numbers of its GPUs; None where it declares nothing of them.
        """
        with self._changed:
            ticket = (next(self._tickets), wanted)
            self._waiting.append(ticket)
            try:
                while (taken := self._take(ticket)) is None:
                    look()
                    self._changed.wait(_LOOK_EVERY_S)
            finally:
                self._waiting.remove(ticket)
        try:
            look()
            yield taken[1] if wanted.gpus is not None else None
        finally:
            with self._changed:
                self._taken.remove(taken)
                self._changed.notify_all()

    def _take(self, ticket: _Ticket) -> _Taken | None:
        """What a build gets if there is enough, and nobody who came before it could have it."""
        found = self._fitting(ticket[1])
        if found is None or any(self._fitting(wanted) for number, wanted in self._waiting if number < ticket[0]):
            return None
        self._taken.append(found)
        return found

    def _fitting(self, wanted: Resources) -> _Taken | None:
        used = [resources for resources, _ in self._taken]
        free = [gpu for gpu in self.gpus if not any(gpu in gpus for _, gpus in self._taken)]
        cpus = sum(resources.cpus or 0 for resources in used)
        memory = sum(resources.memory_bytes or 0 for resources in used)
        fits = cpus + (wanted.cpus or 0) <= self.cpus and memory + (wanted.memory_bytes or 0) <= self.memory_bytes
        if len(used) >= self.builds or (used and not fits) or len(free) < (wanted.gpus or 0):
            return None
        return wanted, tuple(free[: wanted.gpus or 0])
