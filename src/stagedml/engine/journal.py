"""What happened in a run, readable afterwards: one JSON object a line, in `<storage>.stagedml/runs/`.

A run has a journal as soon as it is about to make something. Its first line says who ran what, the last one how that
ended; a journal without such a line is of a run that was killed, or still goes on. What cannot be written is left out:
no run fails for its journal.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stagedml.core.plan import Plan, Verdict
from stagedml.engine.events import Observer
from stagedml.engine.failures import reason_of
from stagedml.engine.records import host_name, user_name
from stagedml.errors import StagedmlError
from stagedml.store.layout import BUILD_LOG, Layout

_PROGRESS_EVERY_S = 10.0
_command: ContextVar[Sequence[str] | None] = ContextVar("stagedml_command", default=None)


@contextlib.contextmanager
def asked_for(command: Sequence[str]) -> Iterator[None]:
    """Let journals that are begun inside the block tell these words, which can be repeated, instead of `sys.argv`."""
    token = _command.set(command)
    try:
        yield
    finally:
        _command.reset(token)


class Journal(Observer):
    """Writes down what happens in one run."""

    def __init__(self, layout: Layout) -> None:
        self._folder = layout.runs
        self._file: IO[str] | None = None
        self._told: dict[tuple[str, str], float] = {}

    def _note(self, event: str, **what: Any) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.write(json.dumps({"at": time.time(), "event": event, **what}, default=str) + "\n")
                self._file.flush()

    def planned(self, plan: Plan) -> None:
        if not plan.builds:
            return
        seconds, rest = divmod(time.time_ns(), 10**9)
        when = time.strftime("%Y%m%d-%H%M%S", time.gmtime(seconds))
        name = f"{when}.{rest // 1000:06d}-{uuid.uuid4().hex[:6]}"
        with contextlib.suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            self._file = open(self._folder / f"{name}.jsonl", "x", encoding="utf-8")  # noqa: SIM115 - as long as the run
        who = {"host": host_name(), "process": os.getpid(), "user": user_name()}
        self._note("began", **who, folder=_folder(), command=_command.get() or sys.argv)
        steps = [step for step in plan.steps if step.verdict is not Verdict.REUSE]
        self._note(
            "planned",
            targets=plan.targets,
            reused=len(plan.steps) - len(steps),
            steps=[{"dref": s.dref, "verdict": s.verdict.value, "reasons": list(map(str, s.reasons))} for s in steps],
        )

    def waiting(self, dref: str, owner: str) -> None:
        self._note("waiting", dref=dref, owner=owner)

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        log = outpath.with_name(BUILD_LOG)
        kept = str(log) if log.is_file() else ""  # a builder in the session's process prints into none
        self._note("started", dref=dref, instance=instance, outpath=str(outpath), log=kept)

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        now = time.monotonic()
        if now - self._told.get((dref, label), -_PROGRESS_EVERY_S) >= _PROGRESS_EVERY_S or done == total:
            self._told[dref, label] = now
            self._note("progress", dref=dref, label=label, done=done, total=total, unit=unit, note=note)

    def message(self, dref: str, text: str) -> None:
        self._note("message", dref=dref, text=text)

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        self._note("finished", dref=dref, rref=rref, seconds=seconds)

    def adopted(self, dref: str, rref: str, source: str) -> None:
        self._note("adopted", dref=dref, rref=rref, source=source)

    def failed(self, dref: str, error: BaseException) -> None:
        self._note("failed", dref=dref, error=reason_of(error))

    def ended(self) -> None:
        error = sys.exc_info()[1]  # what ends the run, if it ends badly
        if error is None or isinstance(error, KeyboardInterrupt):
            self._note("ended", how="done" if error is None else "interrupted")
        else:
            kind = f"{type(error).__name__}: " if isinstance(error, StagedmlError) else ""
            self._note("ended", how="failed", error=f"{kind}{reason_of(error)}")
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run that has a journal.

    Attributes:
        path: of the journal.
        began: seconds since the epoch.
        command: what was asked for, as of `sys.argv`.
        folder: where.
        how: `done`, `failed`, `interrupted`; "" of one that was killed or still goes on.
        made: the derivations that it was to make.
        targets: those of them that were asked for.
    """

    path: str
    began: float
    command: tuple[str, ...]
    folder: str
    how: str
    made: tuple[str, ...]
    targets: tuple[str, ...]


def past_runs(layout: Layout) -> Iterator[PastRun]:
    """The runs of a store, the latest first."""
    try:
        names = sorted(os.listdir(layout.runs), reverse=True)
    except OSError:
        return
    for name in names:
        path = layout.runs / name
        lines = events_of(path)
        if lines and lines[0].get("event") == "began":
            first, last = lines[0], lines[-1]
            how = str(last.get("how", "")) if last.get("event") == "ended" else ""
            plans = [line for line in lines if line.get("event") == "planned"]
            made = tuple(step["dref"] for plan in plans for step in plan["steps"])
            targets = tuple(dref for plan in plans for dref in plan["targets"])
            asked = tuple(first["command"])
            yield PastRun(str(path), float(first["at"]), asked, str(first["folder"]), how, made, targets)


def events_of(path: Path) -> Sequence[dict[str, Any]]:
    """The lines of a journal, those that a crash cut off left out."""
    found = []
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found
