"""What builds and runs told while they ran: runs by their journals, builds by what they printed.

A build that had a process of its own printed into a file: beside its folder while it runs and after it failed, in the
realization's logs when it is published; where the same bytes were there already, the log stays that of the build that
first made them. Of a build in the session's process, which printed to the session's terminal, the journal tells its
progress and messages.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.core.refs import RealizationRef, parse_dref, parse_rref
from stagedml.engine.journal import PastRun, events_of, past_runs
from stagedml.errors import UsageError
from stagedml.inspection.selectors import NoSuchRealization, find
from stagedml.store import atomic, locks
from stagedml.store.layout import BUILD_LOG, LOG_FOLDER, Layout
from stagedml.store.metadata import Metadata
from stagedml.store.objects import NotInStore, Store

RUNNING, KILLED = "running", "killed"
_ENDINGS = ("finished", "adopted", "failed")
#: Options of a command that say how something is built and told, and not what.
_HOW = frozenset({"--force", "--keep-going", "--offline", "--json", "-v", "--verbose"})
_HOW_WITH_VALUE = frozenset({"--root", "-j", "--jobs"})
_IN_SESSION = (
    "its builder ran in the session's process, so what it printed went to the session and is not kept; with `--jobs 2` "
    "builds have processes of their own, and their logs are"
)


@dataclass(frozen=True, slots=True)
class RunLog:
    """What happened in a run.

    Attributes:
        journal: its file.
        began: seconds since the epoch.
        command: what was asked for, as of `sys.argv`.
        folder: where.
        state: `done`, `failed`, `interrupted`, `killed` or `running`.
        mended: whether a later run came to a good end that was asked for the same.
        events: in order; each has `at`, seconds since the epoch, `event`, and what it tells.
    """

    journal: str
    began: float
    command: tuple[str, ...]
    folder: str
    state: str
    mended: bool
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
        note: why what it printed is not there, or is of an earlier build; "" where nothing is to be said.
    """

    ref: str
    state: str
    folder: str
    path: str
    events: tuple[Mapping[str, Any], ...]
    note: str


@dataclass(frozen=True, slots=True)
class RunningBuild:
    """A build that goes on.

    Attributes:
        dref: what is built.
        instance: which one of it.
        folder: the one that its builder fills.
        began: seconds since the epoch.
        log: the file that it prints into; "" where it has no process of its own.
        journal: of its run.
    """

    dref: str
    instance: int
    folder: str
    began: float
    log: str = ""
    journal: str = ""


class RunningBuilds:
    """The builds that go on in a store, for who asks again and again: runs that are over are not read again."""

    def __init__(self, store: Store) -> None:
        self._layout = store.layout
        self._over: set[str] = set()

    def now(self) -> list[RunningBuild]:
        """Those that go on just now, of all processes on the store."""
        found: dict[str, RunningBuild] = {}
        for journal, events in self._runs():
            for build in _begun(journal, events):
                if build.folder not in found or found[build.folder].began < build.began:
                    found[build.folder] = build
        return [build for build in found.values() if _goes_on(self._layout, build)]

    def ahead(self) -> set[str]:
        """The derivations that runs which go on are still to make, or are making."""
        found = set()
        for _, events in self._runs():
            planned = [step["dref"] for event in events if event["event"] == "planned" for step in event["steps"]]
            found |= set(planned).difference(event["dref"] for event in events if event["event"] in _ENDINGS)
        return found

    def _runs(self) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
        """The journals of runs that go on."""
        for journal in atomic.paths_in(self._layout.runs):
            events = events_of(Path(journal)) if journal not in self._over else ()
            if events and state_of(events) != RUNNING:
                self._over.add(journal)
            elif events:
                yield journal, events


def _begun(journal: str, events: Iterable[Mapping[str, Any]]) -> Iterator[RunningBuild]:
    """The builds that a run began."""
    for event in events:
        if event["event"] == "started":
            log = event.get("log", str(Path(event["outpath"]).with_name(BUILD_LOG)))  # earlier versions told of none
            yield RunningBuild(event["dref"], event["instance"], event["outpath"], event["at"], log, journal)


def _goes_on(layout: Layout, build: RunningBuild) -> bool:
    """Whether who builds in a folder is there: its scratch is locked, and the folder not yet published."""
    folder = Path(build.folder)
    return folder.is_dir() and locks.is_held(layout.locks / f"{folder.parent.name}.lock")


def meant(store: Store, text: str, drefs: Iterable[str]) -> set[str]:
    """Those of some derivations that a person means: by their name or enough of it, or by a realization of them."""
    among = {dref: parse_dref(dref).name for dref in drefs}
    if exact := {dref for dref, name in among.items() if text in (dref, name)}:
        return exact
    try:
        ref = find(store, text)
    except (NotInStore, UsageError):
        return {dref for dref, name in among.items() if name.startswith(text)}
    named = ref.name if ref.name.startswith(text) else ""
    return {dref for dref, name in among.items() if name == named or dref == str(ref.derivation)}


def running_build(store: Store, builds: RunningBuilds, text: str) -> RunningBuild | None:
    """The build that began last of those that go on and that a person means, as of `meant`."""
    now = builds.now()
    of = meant(store, text, (build.dref for build in now))
    return max((build for build in now if build.dref in of), key=lambda build: build.began, default=None)


def told_by(store: Store, build: RunningBuild) -> BuildLog:
    """What a build that began has told so far, and how it is.

    What tells of it are the lines of its derivation in its journal; of several instances at once, these are of all.
    """
    goes_on = _goes_on(store.layout, build)  # before the journal is read, which tells of an end before the lock is free
    events = events_of(Path(build.journal))
    own = tuple(event for event in events if event.get("dref") == build.dref and event["at"] >= build.began)
    ending = next((event for event in reversed(own) if event["event"] in _ENDINGS), None)
    ref = build.dref
    if goes_on or (ending is None and state_of(events) == RUNNING):
        state = RUNNING
    elif ending is None:
        state = KILLED
    else:
        state = "failed" if ending["event"] == "failed" else "built"
        ref = ending.get("rref", ref)
    path = build.log if build.log and os.path.isfile(build.log) else ""
    return BuildLog(ref, state, build.folder, path, own, "" if build.log else _IN_SESSION)


def runs(store: Store, text: str | None = None) -> list[RunLog]:
    """The runs of a store that made something, or tried to, the latest first; without their events.

    Args:
        store: where.
        text: only those that were to make what it means, as of `meant`.
    """
    found: list[tuple[PastRun, bool]] = []
    done: list[PastRun] = []
    for run in past_runs(store.layout):
        found.append((run, any(_asks_the_same(run, later) for later in done)))
        if run.how == "done":
            done.append(run)
    if text is not None:
        of = meant(store, text, (dref for run, _ in found for dref in run.made))
        found = [(run, mended) for run, mended in found if not of.isdisjoint(run.made)]
    return [_run(run, (), mended=mended) for run, mended in found]


def _asks_the_same(run: PastRun, later: PastRun) -> bool:
    """Whether a later run was for the same: the same derivations, or, its code mended, by the same command."""
    if run.targets and run.targets == later.targets:
        return True
    is_verb = run.command[:1] == ("stagedml",)  # other programs do many things by one command
    return is_verb and run.folder == later.folder and _essence(run.command) == _essence(later.command)


def _essence(command: Sequence[str]) -> list[str]:
    """A command without what is no part of what it asks for: where the store is, and how it is built."""
    left = iter(command)
    kept = []
    for word in left:
        if word in _HOW_WITH_VALUE:
            next(left, None)
        elif word not in _HOW and word.partition("=")[0] not in _HOW_WITH_VALUE:
            kept.append(word)
    return kept


def last_run(store: Store) -> RunLog:
    """The latest run. Raises UsageError where there is none."""
    run = next(past_runs(store.layout), None)
    if run is None:
        raise UsageError(f"nothing was built in {store.layout.storage} yet; `stagedml realize STAGE` builds")
    return _run(run, tuple(events_of(Path(run.path))))


def _run(run: PastRun, events: tuple[Mapping[str, Any], ...], *, mended: bool = False) -> RunLog:
    state = run.how or state_of(events or events_of(Path(run.path)))
    return RunLog(run.path, run.began, run.command, run.folder, state, mended, events)


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
    path = str(log) if log.is_file() else ""
    state = "adopted" if known is not None and known.builds[-1].adopted else "built"
    events = _events_that_made(store, str(ref))
    return BuildLog(str(ref), state, str(folder), path, events, _note(path, events, known))


def find_or_tell(store: Store, text: str) -> RealizationRef:
    """As `selectors.find`; where nothing came of the last build of a stage, the error says so."""
    try:
        return find(store, text)
    except NoSuchRealization as error:
        unfinished = _unfinished(store, text)
        if unfinished is None:
            raise
        how = {RUNNING: "still goes on", "failed": "failed"}.get(unfinished.state, f"was {unfinished.state}")
        hint = f"its last build {how}; `stagedml log {parse_dref(unfinished.ref).name}` tells more"
        raise NoSuchRealization(text, error.storage, hint) from None


def _note(path: str, events: Sequence[Mapping[str, Any]], known: Metadata | None) -> str:
    """What is to be said of a log that is there, or is not."""
    times = sum(not build.adopted for build in known.builds) if known is not None else 1
    if path:
        first = f"it was built {times} times, to the same bytes; this log is the first build's, the one that is kept"
        return first if times > 1 else ""
    log = next((event.get("log") for event in reversed(events) if event["event"] == "started"), None)
    if log == "":
        return _IN_SESSION
    if log and times > 1:
        return "what the last build printed is not kept, since it came to the bytes that were there already"
    return "its builder printed nothing" if log else "nothing is kept of what its builder printed"


def _unfinished(store: Store, text: str) -> BuildLog | None:
    """The build of a stage that goes on; else the last one, if nothing came of it."""
    now = [build for build in RunningBuilds(store).now() if text in (build.dref, parse_dref(build.dref).name)]
    if now:
        return told_by(store, max(now, key=lambda build: build.began))
    for run in past_runs(store.layout):
        own = [
            event
            for event in events_of(Path(run.path))
            if "dref" in event and text in (event["dref"], parse_dref(event["dref"]).name)
        ]
        last = next((event for event in reversed(own) if event["event"] in ("started", *_ENDINGS)), None)
        if last is not None:
            begun = list(_begun(run.path, own))
            return told_by(store, begun[-1]) if begun and last["event"] in ("started", "failed") else None
    return None


def _events_that_made(store: Store, rref: str) -> tuple[Mapping[str, Any], ...]:
    """What the journals tell of the build that published a realization last."""
    for run in past_runs(store.layout):
        events = events_of(Path(run.path))
        if any(event.get("rref") == rref for event in events):
            dref = str(parse_rref(rref).derivation)
            return tuple(event for event in events if event.get("dref") == dref)
    return ()
