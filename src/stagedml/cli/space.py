"""`stagedml du` and `dedup`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import Any

from stagedml.core import words
from stagedml.core.refs import parse_rref
from stagedml.inspection import du, views
from stagedml.settings import read_settings
from stagedml.store.dedup import SMALLEST_BYTES, DedupPlan, Link, Reason, Skipped, StoredFile, dedup, plan_dedup
from stagedml.store.objects import Store

_ROWS = 40
_SKIPPED_LINES = 20


def run_du(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    usage = du.usage(store, [views.find(store, text) for text in arguments.refs] or None)
    if arguments.json:
        print(json.dumps(usage.to_json(), indent=2))
        return 0
    rows = [
        (
            row.name,
            parse_rref(row.rref).rhash[:12],
            words.size(row.apparent_bytes),
            words.size(row.real_bytes),
            words.size(row.shared_bytes) if row.shared_bytes else "",
        )
        for row in usage.realizations
    ]
    for line in words.table(("NAME", "HASH", "SIZE", "ON DISK", "SHARED"), rows):
        print(line)
    totals = [
        (words.count(len(rows), "realization"), words.size(usage.apparent_bytes), words.size(usage.real_bytes)),
        *((other.kind, words.size(other.apparent_bytes), words.size(other.real_bytes)) for other in usage.others),
    ]
    for line in words.table(("TOTAL", "SIZE", "ON DISK"), totals):
        print(line)
    return 0


def run_dedup(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    smallest = SMALLEST_BYTES if arguments.smallest is None else words.parse_size(arguments.smallest)
    plan = plan_dedup(store, smallest_bytes=smallest)
    if arguments.dry_run:
        _print_plan(plan, as_json=arguments.json)
        return 0
    done = dedup(store, plan, on_progress=_show_progress if sys.stderr.isatty() else None)
    if arguments.json:
        found = {
            "files": done.files,
            "saved_bytes": done.saved_bytes,
            "skipped": _skipped_json(done.skipped),
            "refused": done.refused,
        }
        print(json.dumps(found, indent=2))
        return 0
    if done.refused:
        begin = "stopped" if done.files else "nothing was changed"
        print(f"{begin}: the file system of {plan.storage} makes no hard links ({done.refused})")
    if done.files or not done.refused:
        skipped = f", {words.count(len(done.skipped), 'file')} skipped" if done.skipped else ""
        print(f"{words.count(done.files, 'file')} linked, {words.size(done.saved_bytes)} saved{skipped}")
    _print_skipped(done.skipped)
    return 0


def _print_plan(plan: DedupPlan, *, as_json: bool) -> None:
    if as_json:
        links = [
            {"file": link.file._asdict(), "to": link.to._asdict(), "size_bytes": link.size_bytes} for link in plan.links
        ]
        found = {"links": links, "saves_bytes": plan.saves_bytes, "skipped": _skipped_json(plan.skipped)}
        print(json.dumps(found, indent=2))
        return
    copies: dict[StoredFile, list[Link]] = {}
    for link in plan.links:
        copies.setdefault(link.to, []).append(link)
    largest = sorted(copies, key=lambda file: (-sum(link.size_bytes for link in copies[file]), file))
    rows = [(str(len(copies[file])), words.size(copies[file][0].size_bytes), _text(file)) for file in largest[:_ROWS]]
    for line in words.table(("COPIES", "SIZE", "OF"), rows):
        print(line)
    if len(largest) > _ROWS:
        print(f"... and of {words.count(len(largest) - _ROWS, 'other file')}")
    skipped = f", {words.count(len(plan.skipped), 'file')} skipped" if plan.skipped else ""
    print(f"{words.count(len(plan.links), 'file')} would be linked, {words.size(plan.saves_bytes)} saved{skipped}")
    _print_skipped(plan.skipped)


def _skipped_json(skipped: Iterable[Skipped]) -> list[dict[str, Any]]:
    return [{**one.file._asdict(), "reason": one.reason.value, "detail": one.detail} for one in skipped]


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
