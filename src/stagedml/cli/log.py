"""`stagedml log`: what runs and builds told."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from stagedml.cli.output import show, styled, table, width
from stagedml.core import words
from stagedml.core.refs import parse_dref, parse_rref
from stagedml.engine.journal import events_of
from stagedml.errors import UsageError
from stagedml.inspection import logs
from stagedml.inspection.logs import BuildLog, RunLog, RunningBuild, RunningBuilds
from stagedml.settings import read_settings
from stagedml.store.objects import Store

_LOOK_EVERY_S = 0.2
_RUNS = 30
_LONGEST_COMMAND = 200
_WIDE = 100  #: characters of a line that has room for folders


def run(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    if arguments.follow and (arguments.json or arguments.runs):
        raise UsageError("-f follows what one build or run tells, as text")
    if arguments.runs:
        _runs(arguments, store)
    elif arguments.ref is None:
        _run(arguments, logs.last_run(store))
    elif arguments.follow:
        _ended_build(_followed(store, arguments.ref))
    else:
        log = logs.log_of(store, arguments.ref)
        show(arguments, log, _build_lines)
        if not arguments.json:
            _ended_build(log)
    return 0


def _runs(arguments: argparse.Namespace, store: Store) -> None:
    found = tuple(logs.runs(store, arguments.ref))
    show(arguments, found, _runs_lines)
    if not found and not arguments.json:
        what = "nothing was built" if arguments.ref is None else f"no run was to build {arguments.ref}"
        print(f"{what} in {store.layout.storage} yet; `stagedml realize STAGE` builds", file=sys.stderr)


def _runs_lines(runs: tuple[RunLog, ...]) -> Iterator[str]:
    now = time.time()
    folders = {run.folder for run in runs[:_RUNS]}
    room = width()
    told = room is None or (room >= _WIDE and len(folders) > 1)
    rows = [
        (
            words.ago(now - run.began),
            run.state,
            run.folder if told else "",
            words.shortened(shlex.join(run.command), _LONGEST_COMMAND, at_end=True),
        )
        for run in runs[:_RUNS]
    ]
    yield from table(("BEGAN", "ENDED", "IN", "COMMAND"), rows)
    if rows and not told:
        yield f"all in {folders.pop()}" if len(folders) == 1 else "in several folders, which a wider terminal tells"
    if len(runs) > _RUNS:
        yield f"... and {len(runs) - _RUNS} before, --json has them all"


# -- a run ------------------------------------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace, run: RunLog) -> None:
    if arguments.follow and run.state != logs.RUNNING:
        print("nothing runs just now; the last run:", file=sys.stderr)
    show(arguments, run, lambda run: filter(None, map(event_line, run.events)))
    seen, state = len(run.events), run.state
    while arguments.follow and state == logs.RUNNING:
        time.sleep(_LOOK_EVERY_S)
        events = events_of(Path(run.journal))
        state = logs.state_of(events)
        for event in events[seen:]:
            _say(event_line(event))
        seen = len(events)
    if state != "done" and not arguments.json:
        print(f"this run {_ended(state)}", file=sys.stderr)


def event_line(event: Mapping[str, Any]) -> str:
    """An event in one line; "" for what a person need not know."""
    told = _told(event)
    if not told:
        return ""
    when = time.strftime("%H:%M:%S", time.localtime(event["at"]))
    name = f"{parse_dref(event['dref']).name}: " if "dref" in event else ""
    return f"{styled(when, 'dim')}  {words.brief(words.printable(name + told))}"


def _told(event: Mapping[str, Any]) -> str:
    match event["event"]:
        case "began":
            return f"{shlex.join(event['command'])}  in {event['folder']} on {event['host']}"
        case "planned":
            return f"{words.count(len(event['steps']), 'stage')} to make, {event['reused']} reused"
        case "waiting":
            return f"waiting for {event['owner']}"
        case "started":
            return f"building instance {event['instance']}" if event["instance"] else "building"
        case "progress":
            done = f"{event['done']}/{event['total']}" if event["total"] else str(event["done"])
            return " ".join(part for part in (event["label"], done, event["unit"], event["note"]) if part)
        case "message":
            return str(event["text"])
        case "finished":
            return f"done in {words.span(event['seconds'])}, {parse_rref(event['rref']).rhash[:12]}"
        case "adopted":
            return f"adopted {parse_rref(event['source']).rhash[:12]}"
        case "failed":
            return f"failed: {event['error']}"
        case "ended":
            error = str(event.get("error", "")).partition("\n")[0]
            return f"{event['how']}; {error}" if error else str(event["how"])
    return ""


# -- a build ----------------------------------------------------------------------------------------------------------


def _build_lines(log: BuildLog) -> Iterator[str]:
    if log.path:
        yield from Path(log.path).read_text(encoding="utf-8", errors="replace").splitlines()
    else:
        yield from filter(None, map(event_line, log.events))


def _ended_build(log: BuildLog) -> None:
    """Say, beside what a build told, what is not there, and how it ended if not well."""
    if log.note:
        print(log.note, file=sys.stderr)
    if log.state not in ("built", "adopted"):
        print(f"this build {_ended(log.state)}", file=sys.stderr)


def _followed(store: Store, ref: str) -> BuildLog:
    """Print what the build that goes on tells until it is over, or, where none does, what the last one told."""
    build = _awaited(store, ref)
    with contextlib.ExitStack() as stack:
        printed = None
        if build is not None and build.log:
            # One descriptor for all of it: the file moves when the build is published.
            try:
                printed = stack.enter_context(open(build.log, "rb"))
            except FileNotFoundError:  # as just now
                build = None
        if build is None:
            log = logs.log_of(store, ref)
            for line in _build_lines(log):
                print(line)
            return log
        seen = 0
        while True:
            log = logs.told_by(store, build)  # before the rest is read, which is all of it if the build is over
            if printed is not None:
                _copy(printed)
            else:
                for event in log.events[seen:]:
                    _say(event_line(event))
                seen = len(log.events)
            if log.state != logs.RUNNING:
                return log
            time.sleep(_LOOK_EVERY_S)


def _awaited(store: Store, ref: str) -> RunningBuild | None:
    """The build that goes on, once it has begun if a run has it ahead; None where there is none."""
    builds = RunningBuilds(store)
    is_told = False
    while (build := logs.running_build(store, builds, ref)) is None and logs.meant(store, ref, builds.ahead()):
        if not is_told:
            print(f"{ref} is yet to be built; waiting", file=sys.stderr)
            is_told = True
        time.sleep(_LOOK_EVERY_S)
    return build


def _copy(file: IO[bytes]) -> None:
    """Print what there is more of a file."""
    sys.stdout.flush()
    shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _ended(state: str) -> str:
    return {logs.RUNNING: "still goes on", "failed": "failed"}.get(state, f"was {state}")


def _say(line: str) -> None:
    if line:
        print(line, flush=True)
