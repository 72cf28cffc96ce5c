"""What happens during a realize, for whoever wants to show or record it.

An observer overrides the methods it cares for; each does nothing here. They are called from the thread that realizes.
"""

from __future__ import annotations

from pathlib import Path

from stagedml.core.plan import Plan


class Observer:
    """Listens to one realize."""

    def planned(self, plan: Plan) -> None:
        """The plan is drawn; nothing was built yet."""

    def waiting(self, dref: str, owner: str) -> None:
        """Another builder holds the lock of this derivation."""

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        """A builder starts."""

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        """A builder says how far it is."""

    def message(self, dref: str, text: str) -> None:
        """A builder tells something that a person wants to know now."""

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        """A realization was published."""

    def adopted(self, dref: str, rref: str, source: str) -> None:
        """A realization was published whose files are those of another one, instead of being built."""

    def failed(self, dref: str, error: BaseException) -> None:
        """A builder failed or was interrupted."""

    def ended(self) -> None:
        """The realize is over, well or badly; if badly, what ends it is being handled (`sys.exc_info`)."""


class Observers(Observer):
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def planned(self, plan: Plan) -> None:
        for one in self._observers:
            one.planned(plan)

    def waiting(self, dref: str, owner: str) -> None:
        for one in self._observers:
            one.waiting(dref, owner)

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        for one in self._observers:
            one.started(dref, instance, outpath)

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        for one in self._observers:
            one.progress(dref, label, done, total, unit, note)

    def message(self, dref: str, text: str) -> None:
        for one in self._observers:
            one.message(dref, text)

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        for one in self._observers:
            one.finished(dref, rref, seconds)

    def adopted(self, dref: str, rref: str, source: str) -> None:
        for one in self._observers:
            one.adopted(dref, rref, source)

    def failed(self, dref: str, error: BaseException) -> None:
        for one in self._observers:
            one.failed(dref, error)

    def ended(self) -> None:
        for one in self._observers:
            one.ended()
