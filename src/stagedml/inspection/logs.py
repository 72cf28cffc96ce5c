"""What builds and runs told while they ran: runs by their journals, builds by what they printed.

A build that had a process of its own printed into a file: beside its folder while it runs and after it failed, in the
realization's logs when it is published. Of a build in the session's process, which printed to the session's terminal,
the journal tells its progress and messages.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.core.refs import parse_dref, parse_rref
from stagedml.engine.journal import PastRun, events_of, past_runs
from stagedml.errors import UsageError
from stagedml.inspection.selectors import find
from stagedml.store import atomic, locks
from stagedml.store.layout import BUILD_LOG, LOG_FOLDER
from stagedml.store.objects import Store

RUNNING, KILLED = "running", "killed"


@dataclass(frozen=True, slots=True)
class RunLog:
    """What happened in a run.

    Attributes:
        journal: its file.
        began: seconds since the epoch.
        command: what was asked for, as of `sys.argv`.
        folder: where.
        state: `done`, `failed`, `interrupted`, `killed` or `running`.
        events: in order; each has `at`, seconds since the epoch, `event`, and what it tells.
    """

    journal: str
    began: float
    command: tuple[str, ...]
    folder: str
    state: str
    events: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class BuildLog:
    """What one build told.

    Attributes:
        ref: the realization; of what is not published, the derivation.
        state: `built`, `adopted`, `failed`, `killed` or `running`.
        folder: of the realization; of what is not published, the one that its builder fills or filled.
        path: the file that holds what it printed; "" where it had no process of its own.
        events: of the build, as of `RunLog`; none where its journal is gone.
    """

    ref: str
    state: str
    folder: str
    path: str
    events: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class RunningBuild:
    """A build that goes on.

    Attributes:
        dref: what is built.
        instance: which one of it.
        folder: the one that its builder fills.
        began: seconds since the epoch.
    """

    dref: str
    instance: int
    folder: str
    began: float


class RunningBuilds:
    """The builds that go on in a store, for who asks again and again: runs that are over are not read again."""

    def __init__(self, store: Store) -> None:
        self._layout = store.layout
        self._over: set[str] = set()

    def now(self) -> list[RunningBuild]:
        """Those that go on just now, of all processes on the store."""
        found: dict[str, RunningBuild] = {}
        for journal in atomic.paths_in(self._layout.runs):
            events = events_of(Path(journal)) if journal not in self._over else ()
            if events and state_of(events) != RUNNING:
                self._over.add(journal)
                continue
            for event in events:
                if event["event"] == "started":
                    folder = event["outpath"]
                    found[folder] = RunningBuild(event["dref"], event["instance"], folder, event["at"])
        return [build for build in found.values() if self._goes_on(Path(build.folder))]

    def _goes_on(self, folder: Path) -> bool:
        """Whether who builds in a folder is there: its scratch is locked, and the folder not yet published."""
        return folder.is_dir() and locks.is_held(self._layout.locks / f"{folder.parent.name}.lock")


def runs(store: Store) -> list[RunLog]:
    """The runs of a store that made something, or tried to, the latest first; without their events."""
    return [_run(run, ()) for run in past_runs(store.layout)]


def last_run(store: Store) -> RunLog:
    """The latest run. Raises UsageError where there is none."""
    run = next(past_runs(store.layout), None)
    if run is None:
        raise UsageError(f"nothing was built in {store.layout.storage} yet; `stagedml realize STAGE` builds")
    return _run(run, tuple(events_of(Path(run.path))))


def _run(run: PastRun, events: tuple[Mapping[str, Any], ...]) -> RunLog:
    state = run.how or state_of(events or events_of(Path(run.path)))
    return RunLog(run.path, run.began, run.command, run.folder, state, events)


def state_of(events: Sequence[Mapping[str, Any]]) -> str:
    """How a run is by its events: as it ended, or whether it still goes on."""
    last = events[-1] if events else {}
    if last.get("event") == "ended":
        return str(last["how"])
    return RUNNING if events and _is_alive(events[0]) else KILLED


def _is_alive(began: Mapping[str, Any]) -> bool:
    """Whether the process of a run is there; of one on another machine nobody here can tell, and it is taken to be."""
    if began.get("host") != socket.gethostname():
        return True
    with contextlib.suppress(ProcessLookupError, TypeError):
        with contextlib.suppress(PermissionError):
            os.kill(began["process"], 0)
        return True
    return False


def log_of(store: Store, text: str) -> BuildLog:
    """What a build told: of a realization; or of the last build of a stage, though it failed or still runs.

    Args:
        store: where.
        text: as of `selectors.find`; or the name of a stage, or a derivation, of which nothing is published yet.

    Raises:
        NotInStore: there is neither a realization nor a build of it.
        UsageError: as of `selectors.find`.
    """
    unfinished = _unfinished(store, text)
    if unfinished is not None:
        return unfinished
    ref = find(store, text)
    folder, known = store.path(ref), store.metadata(ref)
    log = folder / LOG_FOLDER / BUILD_LOG
    state = "adopted" if known is not None and known.builds[-1].adopted else "built"
    path = str(log) if log.is_file() else ""
    return BuildLog(str(ref), state, str(folder), path, _events_that_made(store, str(ref)))


def _unfinished(store: Store, text: str) -> BuildLog | None:
    """The last build of a stage, if nothing came of it."""
    for run in past_runs(store.layout):
        events = events_of(Path(run.path))
        for place in range(len(events) - 1, -1, -1):
            event = events[place]
            if "dref" not in event or text not in (event["dref"], parse_dref(event["dref"]).name):
                continue
            if event["event"] in ("finished", "adopted"):
                return None
            own = _of_build(events, event["dref"])
            started = next((one for one in reversed(own) if one["event"] == "started"), None)
            if started is None:
                return None
            failed = any(one["event"] == "failed" for one in own[own.index(started) :])
            state = "failed" if failed else RUNNING if state_of(events) == RUNNING else KILLED
            log = Path(started["outpath"]).with_name(BUILD_LOG)
            path = str(log) if log.is_file() else ""
            return BuildLog(event["dref"], state, started["outpath"], path, tuple(own))
    return None


def _events_that_made(store: Store, rref: str) -> tuple[Mapping[str, Any], ...]:
    """What the journals tell of the build that published a realization."""
    for run in past_runs(store.layout):
        events = events_of(Path(run.path))
        if any(event.get("rref") == rref for event in events):
            return tuple(_of_build(events, str(parse_rref(rref).derivation)))
    return ()


def _of_build(events: Sequence[dict[str, Any]], dref: str) -> list[dict[str, Any]]:
    return [event for event in events if event.get("dref") == dref]
