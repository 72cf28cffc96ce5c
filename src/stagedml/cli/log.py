"""`stagedml log`: what runs and builds told."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stagedml.cli.output import show, styled, table
from stagedml.core import words
from stagedml.core.refs import parse_dref, parse_rref
from stagedml.engine.journal import events_of
from stagedml.errors import UsageError
from stagedml.inspection import logs
from stagedml.inspection.logs import BuildLog, RunLog
from stagedml.settings import read_settings
from stagedml.store.objects import Store

_LOOK_EVERY_S = 0.2
_RUNS = 30


def run(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    if arguments.follow and (arguments.json or arguments.runs):
        raise UsageError("-f follows what one build or run tells, as text")
    if arguments.runs:
        show(arguments, tuple(logs.runs(store)), _runs_lines)
    elif arguments.ref is None:
        _run(arguments, logs.last_run(store))
    else:
        _build(arguments, store, logs.log_of(store, arguments.ref))
    return 0


def _runs_lines(runs: tuple[RunLog, ...]) -> Iterator[str]:
    now = time.time()
    rows = [(words.ago(now - run.began), run.state, shlex.join(run.command), run.folder) for run in runs[:_RUNS]]
    yield from table(("BEGAN", "ENDED", "COMMAND", "IN"), rows)
    if len(runs) > _RUNS:
        yield f"... and {len(runs) - _RUNS} before, --json has them all"


# -- a run ------------------------------------------------------------------------------------------------------------


def _run(arguments: argparse.Namespace, run: RunLog) -> None:
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
    return f"{styled(when, 'dim')}  {words.printable(name + told)}"


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


def _build(arguments: argparse.Namespace, store: Store, log: BuildLog) -> None:
    show(arguments, log, partial(_build_lines, is_followed=arguments.follow))
    if arguments.json:
        return
    if arguments.follow and log.state == logs.RUNNING:
        log = _followed(store, log)
    if not log.path:
        print("it ran in the session's process, which got what it printed", file=sys.stderr)
    if log.state not in ("built", "adopted"):
        print(f"this build {_ended(log.state)}", file=sys.stderr)


def _build_lines(log: BuildLog, *, is_followed: bool) -> Iterator[str]:
    if not log.path:
        yield from filter(None, map(event_line, log.events))
    elif not (is_followed and log.state == logs.RUNNING):
        yield from Path(log.path).read_text(encoding="utf-8", errors="replace").splitlines()


def _followed(store: Store, log: BuildLog) -> BuildLog:
    """Print what a build prints until it is over; returns how it is then."""
    seen, now = 0, log
    while True:
        if now.path:
            seen = _copied(now.path, seen)
        else:
            for event in now.events[seen:]:
                _say(event_line(event))
            seen = len(now.events)
        if now.state != logs.RUNNING:
            return now
        time.sleep(_LOOK_EVERY_S)
        now = logs.log_of(store, log.ref)


def _copied(path: str, start: int) -> int:
    """Print a file from some byte on; returns where it ends."""
    with open(path, "rb") as file:
        file.seek(start)
        text = file.read()
    sys.stdout.flush()
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    return start + len(text)


def _ended(state: str) -> str:
    return {logs.RUNNING: "still goes on", "failed": "failed"}.get(state, f"was {state}")


def _say(line: str) -> None:
    if line:
        print(line, flush=True)
