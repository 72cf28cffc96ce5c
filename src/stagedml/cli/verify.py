"""`stagedml verify`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from stagedml.cli.output import show, styled
from stagedml.core import words
from stagedml.inspection.answers import Verified
from stagedml.inspection.selectors import find_all
from stagedml.settings import read_settings
from stagedml.store.objects import Store
from stagedml.store.verify import UNFIT, Kind, repair, verify


def run(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    refs = find_all(store, arguments.refs) or None
    report = verify(store, refs, on_progress=_show_progress if sys.stderr.isatty() else None)
    done = repair(store, report) if arguments.repair else []
    view = Verified.of(report, done)
    show(arguments, view, _lines)
    if not arguments.json:
        _sum_up(view, repaired=arguments.repair)
    return 1 if report.findings else 0


def _lines(view: Verified) -> Iterator[str]:
    for finding in view.findings:
        kind = f"{finding.kind.value:<9}"
        yield f"{styled(kind, 'red')} {words.printable(finding.path)}: {finding.detail}"
    for line in view.repaired:
        yield f"{'repaired':<9} {line}"


def _sum_up(report: Verified, *, repaired: bool) -> None:
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
