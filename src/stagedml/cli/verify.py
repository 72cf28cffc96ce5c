"""`stagedml verify`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from stagedml.core import words
from stagedml.inspection import views
from stagedml.settings import read_settings
from stagedml.store.objects import Store
from stagedml.store.verify import UNFIT, Kind, Report, repair, verify


def run(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    refs = [views.find(store, text) for text in arguments.refs] or None
    report = verify(store, refs, on_progress=_show_progress if sys.stderr.isatty() else None)
    done = repair(store, report) if arguments.repair else []
    if arguments.json:
        findings = [{**asdict(finding), "kind": finding.kind.value} for finding in report.findings]
        print(json.dumps({**asdict(report), "findings": findings, "repaired": done}, indent=2))
    else:
        _print(report, done, repaired=arguments.repair)
    return 1 if report.findings else 0


def _print(report: Report, done: list[str], *, repaired: bool) -> None:
    for finding in report.findings:
        print(f"{finding.kind.value:<9} {finding.path}: {finding.detail}")
    for line in done:
        print(f"{'repaired':<9} {line}")
    untracked = (
        f", of which {report.untracked} built by Pylightnix, whose hash cannot be told" if report.untracked else ""
    )
    problems = len(report.findings)
    print(
        f"{words.count(report.realizations, 'realization')}{untracked}, {words.size(report.size_bytes)} read; "
        f"{words.count(problems, 'problem')}",
        file=sys.stderr,
    )
    kinds = {finding.kind for finding in report.findings}
    if kinds - {Kind.CONFIG, Kind.CONTEXT} and not repaired:
        print("`stagedml verify --repair` moves what is damaged to quarantine and deletes nothing", file=sys.stderr)
    elif kinds & (UNFIT | {Kind.CONFIG, Kind.CONTEXT}):
        print("realize the stages concerned once more to build what is gone", file=sys.stderr)


def _show_progress(done: int, total: int) -> None:
    sys.stderr.write(f"\rverify {done}/{total}" + ("\r\033[K" if done == total else ""))
    sys.stderr.flush()
