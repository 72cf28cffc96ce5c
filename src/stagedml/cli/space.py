"""`stagedml du` and `dedup`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial

from stagedml.cli.output import show, table, width
from stagedml.core import words
from stagedml.core.refs import parse_rref
from stagedml.inspection import du
from stagedml.inspection.selectors import find_all
from stagedml.settings import read_settings
from stagedml.store.dedup import (
    SMALLEST_BYTES,
    Deduped,
    DedupPlan,
    Link,
    Reason,
    Skipped,
    StoredFile,
    dedup,
    plan_dedup,
)
from stagedml.store.objects import Store

_ROWS = 40
_SKIPPED_LINES = 20


def run_du(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    usage = du.usage(store, find_all(store, arguments.refs) or None)
    show(arguments, usage, lambda usage: usage.lines(most=None, width=width()))
    return 0


def run_dedup(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    smallest = SMALLEST_BYTES if arguments.smallest is None else words.parse_size(arguments.smallest)
    plan = plan_dedup(store, smallest_bytes=smallest)
    if arguments.dry_run:
        show(arguments, plan, _plan_lines)
        skipped = plan.skipped
    else:
        done = dedup(store, plan, on_progress=_show_progress if sys.stderr.isatty() else None)
        show(arguments, done, partial(_done_lines, plan.storage))
        skipped = done.skipped
    if not arguments.json:
        _print_skipped(skipped)
    return 0


def _done_lines(storage: str, done: Deduped) -> Iterator[str]:
    if done.refused:
        begin = "stopped" if done.files else "nothing was changed"
        yield f"{begin}: the file system of {storage} makes no hard links ({done.refused})"
    if done.files or not done.refused:
        skipped = f", {words.count(len(done.skipped), 'file')} skipped" if done.skipped else ""
        yield f"{words.count(done.files, 'file')} linked, {words.size(done.saved_bytes)} saved{skipped}"


def _plan_lines(plan: DedupPlan) -> Iterator[str]:
    copies: dict[StoredFile, list[Link]] = {}
    for link in plan.links:
        copies.setdefault(link.to, []).append(link)
    largest = sorted(copies, key=lambda file: (-sum(link.size_bytes for link in copies[file]), file))
    rows = [(str(len(copies[file])), words.size(copies[file][0].size_bytes), _text(file)) for file in largest[:_ROWS]]
    yield from table(("COPIES", "SIZE", "OF"), rows)
    if len(largest) > _ROWS:
        yield f"... and of {words.count(len(largest) - _ROWS, 'other file')}"
    skipped = f", {words.count(len(plan.skipped), 'file')} skipped" if plan.skipped else ""
    yield f"{words.count(len(plan.links), 'file')} would be linked, {words.size(plan.saves_bytes)} saved{skipped}"


def _print_skipped(skipped: tuple[Skipped, ...]) -> None:
    for one in skipped[:_SKIPPED_LINES]:
        print(f"skipped  {_text(one.file)}: {one.detail}", file=sys.stderr)
    if len(skipped) > _SKIPPED_LINES:
        print(f"... and {words.count(len(skipped) - _SKIPPED_LINES, 'other file')}", file=sys.stderr)
    if any(one.reason is not Reason.FOREIGN for one in skipped):
        print("`stagedml verify` says what is damaged", file=sys.stderr)


def _text(file: StoredFile) -> str:
    ref = parse_rref(file.rref)
    return f"{ref.folder}/{ref.rhash}/{file.path}"


def _show_progress(done: int, total: int) -> None:
    sys.stderr.write(f"\rdedup {done}/{total}" + ("\r\033[K" if done == total else ""))
    sys.stderr.flush()
