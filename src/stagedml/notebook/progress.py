"""Showing a realize below a cell: what runs, with bars, and a line for each build that is over.

One output is made and then replaced, a few times a second at most. Builds that run apart tell from threads of their
own, so all is done under a lock; and since the last thing to be told may be followed by hours of silence, what came too
soon after the last drawing is drawn a moment later, by a timer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagedml.core import words
from stagedml.core.plan import Plan
from stagedml.core.refs import parse_rref
from stagedml.engine.console import Named, count
from stagedml.notebook.html import Markup, aside, element, page, table

_EVERY_S = 0.2
_MOST_OVER = 12
_MOST_MESSAGES = 5


@dataclass
class _Running:
    """A build that runs, or is waited for."""

    name: str
    told: str
    share: float | None = None

    def row(self) -> tuple[object, ...]:
        bar = element("progress", value=f"{self.share:.3f}", max="1") if self.share is not None else ""
        return element("strong", self.name), bar, self.told


class NotebookObserver(Named):
    """Shows a realize in one output of a notebook.

    Args:
        show: draws the output for the first time, and then anew: as HTML, and as text for whoever shows none.
    """

    def __init__(self, show: Callable[[Markup, str], None]) -> None:
        super().__init__()
        self._show = show
        self._running: dict[str, _Running] = {}
        self._over: list[tuple[str, str]] = []
        self._messages: list[str] = []
        self._reused = 0
        self._drawn = -_EVERY_S
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()

    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        self._reused = len(plan.steps) - len(plan.builds)

    def waiting(self, dref: str, owner: str) -> None:
        with self._changing():
            self._running[dref] = _Running(self.name_of(dref), f"waiting for {owner}, which builds it")

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        with self._changing():
            name = self.name_of(dref) + f", instance {instance}" * (instance > 0)
            self._running[dref] = _Running(name, f"building since {time.strftime('%H:%M:%S')}")

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        with self._changing():
            if (build := self._running.get(dref)) is not None:
                build.told = "  ".join(part for part in (label, count(done, total, unit), note) if part)
                build.share = min(max(done / total, 0.0), 1.0) if total else None

    def message(self, dref: str, text: str) -> None:
        with self._changing():
            self._messages = [*self._messages, f"{self.name_of(dref)}: {text}"][-_MOST_MESSAGES:]

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        self._ended(dref, f"built in {words.span(seconds)}")

    def adopted(self, dref: str, rref: str, source: str) -> None:
        self._ended(dref, f"adopted {parse_rref(source).rhash[:6]} instead of being built")

    def failed(self, dref: str, error: BaseException) -> None:
        self._ended(dref, f"failed: {type(error).__name__}")

    def ended(self) -> None:
        with self._lock:
            self._running.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._over or self._messages:
                self._draw()

    def _ended(self, dref: str, how: str) -> None:
        with self._changing():
            build = self._running.pop(dref, None)
            self._over.append((build.name if build else self.name_of(dref), how))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Change something, and draw; if that was done a moment ago, let a timer draw."""
        with self._lock:
            yield
            if self._timer is not None:
                return
            wait_s = self._drawn + _EVERY_S - time.monotonic()
            if wait_s <= 0:
                self._draw()
            else:
                self._timer = threading.Timer(wait_s, self._late)
                self._timer.daemon = True
                self._timer.start()

    def _late(self) -> None:
        with self._lock:
            if self._timer is not None:  # else all is over
                self._timer = None
                self._draw()

    def _draw(self) -> None:
        lines = [*self._over[-_MOST_OVER:], *((build.name, build.told) for build in self._running.values())]
        self._show(self._drawing(), "\n".join(f"{name}: {told}" for name, told in lines[: 2 * _MOST_OVER]))
        self._drawn = time.monotonic()

    def _drawing(self) -> Markup:
        before = len(self._over) - len(self._over[-_MOST_OVER:])
        sums = [f"{before:,} before these"] * (before > 0) + [f"{self._reused:,} reused"] * (self._reused > 0)
        return page(
            table(("", ""), self._over[-_MOST_OVER:], lambda line: line),
            table(("", "", ""), list(self._running.values()), _Running.row),
            table(("",), self._messages, lambda line: (line,)),
            element("div", aside(", ".join(sums))) if sums else "",
        )
