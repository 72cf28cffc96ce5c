"""`stagedml why`, `diff` and `bless`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from stagedml.authoring.session import store_initialize
from stagedml.core import words
from stagedml.core.refs import is_dref, is_rref
from stagedml.engine.blessing import bless
from stagedml.engine.catalogue import declared, knows_stage
from stagedml.inspection import compare, views
from stagedml.inspection.compare import Changed, Comparison
from stagedml.inspection.why import Event, Why, why
from stagedml.settings import read_settings
from stagedml.store.objects import Store

_MOST_LINES = 20


def run_why(arguments: argparse.Namespace) -> int:
    settings = read_settings(root=arguments.root)
    what = arguments.what
    if not (is_rref(what) or is_dref(what)) and knows_stage(what, settings.catalogue):
        store_initialize(arguments.root)
        found = why(declared(what, arguments.arguments, settings.catalogue))
    else:
        store = Store.open(settings, create=False)
        found = why(str(views.find(store, what)), store)
    print(json.dumps(found.to_json(), indent=2) if arguments.json else "\n".join(why_lines(found)))
    return 0


def why_lines(found: Why) -> list[str]:
    """The answer on one screen: a line for each event, the target last, and what it is compared with."""
    events: Sequence[Event] = found.events
    rows = [
        (event.verdict, event.name, views.hash_of(event.ref)[:6], _when(event), _reasons(event)) for event in events
    ]
    lines = words.table(("", "STAGE", "HASH", "WHEN", "WHY"), rows)
    if len(lines) > _MOST_LINES:
        half = _MOST_LINES // 2
        lines = [
            *lines[:half],
            f"... {words.count(len(lines) - 2 * half, 'event')} more, --json has them all",
            *lines[-half:],
        ]
    last = events[-1]
    if last.since:
        lines.append(f"compared with {last.since}")
    if last.source:
        lines.append(f"adopted from {last.source}")
    return lines


def _when(event: Event) -> str:
    if event.when is not None:
        return words.ago(time.time() - event.when)
    return f"~{words.span(event.seconds)}" if event.seconds is not None else ""


def _reasons(event: Event) -> str:
    if event.reasons:
        return ", ".join(map(str, event.reasons))
    return "nothing is recorded of it" if event.verdict in ("built", "adopted") else ""


def run_diff(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    found = compare.compare(store, views.find(store, arguments.old), views.find(store, arguments.new))
    print(json.dumps(found.to_json(), indent=2) if arguments.json else "\n".join(diff_lines(found)))
    return 0


def diff_lines(found: Comparison) -> Iterator[str]:
    """A comparison as text: sections of what differs."""
    yield f"- {found.old}"
    yield f"+ {found.new}"
    if found.same_contents:
        yield "the same contents"
    yield from _section("config", found.config)
    if found.code_differs:
        yield ""
        yield "code" if found.code else "code differs" + ("" if found.code_known else "; its source was not kept")
        for unit in found.code:
            yield f"  {unit.name}"
            yield from (f"    {line}" for line in unit.lines)
    yield from _section("packages", found.packages)
    if found.inputs:
        yield ""
        yield "inputs"
        rows = [
            (
                f"  {one.name}",
                views.hash_of(one.before)[:12] or "(none)",
                "->",
                views.hash_of(one.after)[:12] or "(none)",
                "the same contents" if one.same_contents else "",
            )
            for one in found.inputs
        ]
        yield from words.table(("", "", "", "", ""), rows)[1:]
    yield from _section("metrics", found.metrics)
    yield from _section("files (bytes)", found.files)


def _section(title: str, changes: Sequence[Changed]) -> Iterator[str]:
    if changes:
        yield ""
        yield title
        rows = [(f"  {one.name}", _text(one.before), "->", _text(one.after)) for one in changes]
        yield from words.table(("", "", "", ""), rows)[1:]


def _text(value: Any) -> str:
    if value is None:
        return "(none)"
    return f"{value:,}" if type(value) is int else json.dumps(value) if not isinstance(value, str) else value


def run_bless(arguments: argparse.Namespace) -> int:
    store_initialize(arguments.root)
    settings = read_settings(root=arguments.root)
    store = Store.open(settings, create=False)
    old = arguments.old if is_dref(arguments.old) else str(views.find(store, arguments.old))
    target = declared(arguments.stage, arguments.arguments, settings.catalogue)
    bless(old, target, reason=arguments.reason)
    print(json.dumps({"old": old, "new": str(target.result)}) if arguments.json else f"{target.result}")
    return 0
