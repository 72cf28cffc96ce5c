"""Showing a realize on standard error: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from stagedml.core import words
from stagedml.core.plan import Plan, PlanStep, Verdict
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import parse_dref, parse_rref
from stagedml.engine.events import Observer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


_WORTH_TELLING_S = 1.0


def plan_lines(plan: Plan) -> list[str]:
    """A plan as aligned lines: verdict, stage, the start of its hash, why, and about how long it takes."""
    width = max((len(step.name) for step in plan.steps), default=0)
    return [
        f"{step.verdict.value:<7}  {step.name:<{width}}  {parse_dref(step.dref).dhash[:6]}  {_why(step)}".rstrip()
        for step in plan.steps
    ]


def _why(step: PlanStep) -> str:
    if step.verdict is Verdict.REUSE:
        return ", ".join(parse_rref(rref).rhash[:6] for rref in step.rrefs)
    estimate = f"  (about {words.span(step.seconds)})" if step.seconds and step.seconds >= _WORTH_TELLING_S else ""
    return ", ".join(map(told, step.reasons)) + estimate


def told(reason: Reason) -> str:
    """A reason as a person reads it here: a file below the working directory is named from there."""
    return from_here(str(reason)) if reason.cause is Cause.CODE else str(reason)


def from_here(text: str) -> str:
    """A text with a path in it, told from the working directory if it lies below."""
    with contextlib.suppress(OSError):  # the working directory is gone
        text = text.replace(f"{os.getcwd()}{os.sep}", "", 1)
    return text


class Named(Observer):
    """Calls stages by their names, with the start of the hash where a plan has several of one name."""

    def __init__(self, *, show_plan: bool = False) -> None:
        self._show_plan = show_plan
        self._shared: set[str] = set()

    def planned(self, plan: Plan) -> None:
        names = Counter(step.name for step in plan.steps if step.verdict is not Verdict.REUSE)
        self._shared = {name for name, times in names.items() if times > 1}

    def name_of(self, dref: str) -> str:
        """What a derivation is called."""
        ref = parse_dref(dref)
        return f"{ref.name} {ref.dhash[:6]}" if ref.name in self._shared else ref.name


class LineObserver(Named):
    """Plain lines on a stream: for pipes, logs and tests."""

    def __init__(self, stream: TextIO | None = None, *, show_plan: bool = False) -> None:
        super().__init__(show_plan=show_plan)
        self._stream = stream or sys.stderr
        self._last: dict[tuple[str, str], float] = {}

    def _say(self, dref: str, text: str) -> None:
        self._stream.write(f"{self.name_of(dref)}: {text}\n")
        self._stream.flush()

    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        if self._show_plan and plan.builds:
            self._stream.write("\n".join(plan_lines(plan)) + "\n")

    def waiting(self, dref: str, owner: str) -> None:
        self._say(dref, f"waiting for {owner}, which builds it")

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self._say(dref, "building" + f" instance {instance}" * (instance > 0))

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        now = time.monotonic()
        if done != total and now - self._last.get((dref, label), 0.0) < 5.0:
            return
        self._last[dref, label] = now
        self._say(dref, " ".join(part for part in (label, count(done, total, unit), note) if part))

    def message(self, dref: str, text: str) -> None:
        self._say(dref, text)

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        self._say(dref, f"done in {seconds:.1f} s")

    def adopted(self, dref: str, rref: str, source: str) -> None:
        self._say(dref, f"adopted {parse_rref(source).rhash[:6]} instead of being built")

    def failed(self, dref: str, error: BaseException) -> None:
        self._say(dref, f"failed: {type(error).__name__}")


def count(done: int, total: int | None, unit: str) -> str:
    """`3/10 steps`, or `1.5/80.0 MiB` where the unit is bytes."""
    if unit in ("B", "bytes"):
        megabytes = f"{done / 2**20:.1f}"
        return f"{megabytes}/{total / 2**20:.1f} MiB" if total else f"{megabytes} MiB"
    return f"{done}/{total} {unit}".rstrip() if total else f"{done} {unit}".rstrip()


class TerminalObserver(Named):
    """One line for each build that runs, redrawn in place and gone when it is over."""

    def __init__(self, *, show_plan: bool = False) -> None:
        super().__init__(show_plan=show_plan)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def _display(self) -> Progress:
        if self._progress is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[count]}"),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                refresh_per_second=4,
            )
            self._progress.start()
        return self._progress

    def _task(self, dref: str) -> TaskID:
        if dref not in self._tasks:
            self._tasks[dref] = self._display().add_task(self.name_of(dref), total=None, count="", note="")
        return self._tasks[dref]

    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        if self._show_plan and plan.builds:
            sys.stderr.write("\n".join(plan_lines(plan)) + "\n")

    def waiting(self, dref: str, owner: str) -> None:
        self._display().console.print(f"{self.name_of(dref)}: waiting for {owner}, which builds it", markup=False)

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self._task(dref)

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        description = f"{self.name_of(dref)} {label}".rstrip()
        told = count(done, total, unit)
        self._display().update(
            self._task(dref), description=description, completed=done, total=total, count=told, note=note
        )

    def message(self, dref: str, text: str) -> None:
        self._display().console.print(f"{self.name_of(dref)}: {text}", markup=False, highlight=False, soft_wrap=True)

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        self._forget(dref)

    def adopted(self, dref: str, rref: str, source: str) -> None:
        text = f"{self.name_of(dref)}: adopted {parse_rref(source).rhash[:6]} instead of being built"
        self._display().console.print(text, markup=False, highlight=False)

    def failed(self, dref: str, error: BaseException) -> None:
        self._forget(dref)

    def _forget(self, dref: str) -> None:
        if dref in self._tasks:
            self._display().remove_task(self._tasks.pop(dref))

    def ended(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()  # a daemon may have none


def shown(*, show_plan: bool) -> Observer:
    """A display on standard error: live on a terminal, lines elsewhere; the plan first, unless all of it is reuse."""
    return TerminalObserver(show_plan=show_plan) if _is_terminal() else LineObserver(show_plan=show_plan)


#: What shows a realize in this process, if a face said so: a kernel's output is no terminal.
_display: Callable[[], Observer] | None = None


def show_with(display: Callable[[], Observer] | None) -> None:
    """Let realizes be shown by observers made so, unless they are given one; None: on standard error again."""
    global _display
    _display = display


def default_observer() -> Observer:
    """What a face asked for; else a display on standard error where that is a terminal, else nothing."""
    if _display is not None:
        return _display()
    return TerminalObserver() if _is_terminal() else Observer()
