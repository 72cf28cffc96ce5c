"""`stagedml why`, `diff` and `bless`."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from stagedml.authoring.session import store_initialize
from stagedml.cli.output import how_to_see, show, styled, width, with_verdict
from stagedml.cli.subject import subject
from stagedml.core import differences, words
from stagedml.core.reasons import Cause
from stagedml.core.refs import dref_of
from stagedml.engine.blessing import bless
from stagedml.engine.catalogue import declared
from stagedml.engine.console import from_here
from stagedml.inspection import compare
from stagedml.inspection.answers import Blessed
from stagedml.inspection.compare import Changed, Comparison
from stagedml.inspection.listing import hash_of
from stagedml.inspection.metrics import MOST_SHOWN, list_of
from stagedml.inspection.selectors import find
from stagedml.inspection.why import LONGEST_NAME, Event, Why, brief, why
from stagedml.settings import read_settings
from stagedml.store.objects import Store

_PAST = ("built", "adopted")
_NONE = "(none)"
_TAB, _SPACES = "\t", "    "
_WIDTH = 110  #: characters of a line where the output has none
_LEAST_ROOM = 20  #: of these for reasons
_MOST_LINES = 20
_MOST_REASONS = 8  #: of one event
_MOST_BLESSED = 3
_MOST_ROWS = 30  #: of a section


def run_why(arguments: argparse.Namespace) -> int:
    with subject(arguments.what, arguments.arguments, arguments.root) as (store, meant):
        found = why(meant, store)
    would_be = not isinstance(meant, str)
    if would_be and all(event.verdict in _PAST for event in found.events) and not arguments.json:
        print("nothing would be built; what is there was made so:", file=sys.stderr)
    show(arguments, found, why_lines)
    return 0


def why_lines(found: Why) -> list[str]:
    """The answer on one screen: each event and its reasons, the target last, and what it is compared with."""
    now = time.time()
    blocks = _blocks(found.events, now)
    if sum(map(len, blocks)) > _MOST_LINES:
        first, last = _ends(blocks[1:])
        left_out = words.count(len(blocks) - 1 - len(first) - len(last), "event")
        blocks = [blocks[0], *first, [f"... {left_out} more, --json has them all"], *last]
    lines = [line for block in blocks for line in block]
    lines += found.since()
    for event in found.blessed[:_MOST_BLESSED]:
        words_of_it = [str(reason) for reason in event.reasons if reason.cause in (Cause.BLESSED, Cause.BY_HAND)]
        text = f"rests on {brief(event.ref)}, {'; '.join(words_of_it)}"
        lines += textwrap.wrap(words.printable(text), width() or _WIDTH, subsequent_indent="  ")
    if len(found.blessed) > _MOST_BLESSED:
        lines.append(f"... and on {len(found.blessed) - _MOST_BLESSED} more that a person answers for")
    return lines


def _blocks(events: Sequence[Event], now: float) -> list[list[str]]:
    """The lines of a table: the head, then for each event one line or, where it has many reasons, a few."""
    rows = [
        (
            event.verdict,
            words.shortened(event.name, LONGEST_NAME),
            hash_of(event.ref)[:6],
            _when(event, now),
            event.takes,
        )
        for event in events
    ]
    head, *left = (line for line in words.table(("", "STAGE", "HASH", "WHEN", "TAKES"), rows))
    taken = max(map(len, (head, *left)))
    room = max((width() or _WIDTH) - taken - 2, _LEAST_ROOM)
    blocks = [[styled(f"{head:<{taken}}  WHY", "bold")]]
    for event, line in zip(events, left, strict=True):
        why_of_it = _wrapped(event, room)
        blocks.append(
            [
                with_verdict(f"{beginning:<{taken}}  {text}".rstrip())
                for beginning, text in zip_longest([line], why_of_it, fillvalue="")
            ]
        )
    return blocks


def _ends(blocks: list[list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """The first and the last events, as many as there is room for; the target and the first cause in any case."""
    first, last = [blocks[0]], [blocks[-1]]
    room = _MOST_LINES - len(blocks[0]) - len(blocks[-1])
    for place in range(1, len(blocks) // 2):
        for end, block in ((first, blocks[place]), (last, blocks[-1 - place])):
            if len(block) > room:
                return first, last[::-1]
            room -= len(block)
            end.append(block)
    return first, last[::-1]


def _wrapped(event: Event, room: int) -> list[str]:
    """The reasons of an event, as lines of limited length."""
    texts = [words.printable(reason) for reason in event.because]
    if not texts:
        return ["nothing is recorded of it"] if event.verdict in _PAST else [""]
    left_out = max(len(texts) - _MOST_REASONS, 0)
    text = ", ".join(texts[:_MOST_REASONS]) + f", and {left_out} more" * (left_out > 0)
    return textwrap.wrap(text, room)


def _when(event: Event, now: float) -> str:
    return words.ago(now - event.when) if event.when is not None else ""


def run_diff(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    found = compare.compare(store, find(store, arguments.old), find(store, arguments.new))
    show(arguments, found, lambda found: map(_styled, diff_lines(found)))
    return 0


def diff_lines(found: Comparison) -> Iterator[str]:
    """A comparison as text: sections of what differs."""
    yield f"- {found.old}"
    yield f"+ {found.new}"
    if found.old == found.new:
        yield "one and the same"
        return
    if found.same_contents:
        yield "the same contents"
    yield from _section("config", found.config, _json)
    if found.code_differs:
        yield ""
        yield "code" if found.code else "code differs" + ("" if found.code_known else "; its source was not kept")
        for unit in found.code:
            yield f"  {words.printable(unit.name)}"
            for line in unit.lines:
                shown = from_here(line) if line.startswith(("--- ", "+++ ")) else line
                yield f"    {words.printable(shown.replace(_TAB, _SPACES))}".rstrip()
    yield from _section("packages", found.packages, str)
    if found.inputs:
        yield ""
        yield "inputs"
        rows = [
            (
                f"  {one.name}",
                hash_of(one.before)[:12] or _NONE,
                "->",
                hash_of(one.after)[:12] or _NONE,
                "the same contents" if one.same_contents else "",
            )
            for one in found.inputs[:_MOST_ROWS]
        ]
        yield from words.table(("", "", "", "", ""), rows)[1:]
        yield from _left_out(found.inputs)
    yield from _metrics(found.metrics)
    yield from _section("files (bytes)", found.files, "{:,}".format)


def _styled(line: str) -> str:
    """A line of a comparison: what was and what is in their colours, titles bold."""
    begin = line.lstrip()[:1]
    if begin in "+-" and begin:
        return styled(line, "green" if begin == "+" else "red")
    return styled(line, "bold") if line and line == line.lstrip() else line


def _section(title: str, changes: Sequence[Changed], text_of: Callable[[Any], str]) -> Iterator[str]:
    if changes:
        yield ""
        yield title
        rows = []
        for one in changes[:_MOST_ROWS]:
            before, after = (_NONE if value is None else text_of(value) for value in (one.before, one.after))
            before, after = differences.cut_to_difference(before, after)
            rows.append((f"  {one.name}", before, "->", after))
        yield from words.table(("", "", "", ""), rows)[1:]
        yield from _left_out(changes)


def _metrics(changes: Sequence[Changed]) -> Iterator[str]:
    """The numbers that differ; of those in a long list, the last before and the last after."""
    lists: dict[str, list[Changed]] = {}
    for one in changes:
        lists.setdefault(list_of(one.name) or one.name, []).append(one)
    cut = [name for name, ones in lists.items() if len(ones) > MOST_SHOWN]
    rows: list[Changed] = []
    for name, ones in lists.items():
        rows += [_last(name, ones)] if name in cut else ones
    yield from _section("metrics", rows, _json)
    if cut:
        yield f"  ... of long lists the last number that differs; {how_to_see(cut)}"


def _last(name: str, ones: Sequence[Changed]) -> Changed:
    before, after = (
        next((value for value in reversed(values) if value is not None), None)
        for values in ([one.before for one in ones], [one.after for one in ones])
    )
    return Changed(f"{name}, last", before, after)


def _left_out(changes: Sequence[object]) -> Iterator[str]:
    if len(changes) > _MOST_ROWS:
        yield f"  ... {len(changes) - _MOST_ROWS:,} more, --json has them all"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def run_bless(arguments: argparse.Namespace) -> int:
    store_initialize(arguments.root)
    settings = read_settings(root=arguments.root)
    store = Store.open(settings, create=False)
    old = dref_of(str(find(store, arguments.old)))
    target = declared(arguments.stage, arguments.arguments, settings.catalogue)
    bless(old, target, reason=arguments.reason)
    show(arguments, Blessed(old, str(target.result)), lambda view: (view.new,))
    if not arguments.json:
        print(f"adopts what {old} made, where its inputs hold the same contents; realize it", file=sys.stderr)
    return 0
