"""`stagedml show`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stagedml.cli.output import how_to_see, show, styled
from stagedml.core import words
from stagedml.core.config import is_ref_path
from stagedml.core.refs import parse_dref
from stagedml.engine.console import told
from stagedml.inspection import views
from stagedml.inspection.logs import find_or_tell
from stagedml.inspection.metrics import MOST_SHOWN, list_of
from stagedml.settings import read_settings
from stagedml.store.layout import BUILD_LOG, LOG_FOLDER
from stagedml.store.metadata import BuildRecord
from stagedml.store.objects import Store


def _ago(moment: float | None) -> str:
    return words.ago(None if moment is None else time.time() - moment)


def _used(resources: Mapping[str, float]) -> str:
    """What a build used, in words."""
    told = [f"{resources['cpu_s']:.1f} s of CPU time"] if "cpu_s" in resources else []
    told += [f"{words.size(int(resources['peak_memory_bytes']))} of memory"] if "peak_memory_bytes" in resources else []
    told += [f"{resources['gpu_s']:.0f} s of GPUs"] if "gpu_s" in resources else []
    return ", ".join(told)


def run(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    show(arguments, views.show(store, find_or_tell(store, arguments.ref)), _lines)
    return 0


def _lines(view: views.RealizationView) -> Iterator[str]:
    yield styled(view.rref, "bold")
    yield f"path      {view.path}"
    if view.content:
        yield f"content   {view.content}"
    for build in view.builds:
        yield from _build_lines(build)
    log = Path(view.path, LOG_FOLDER, BUILD_LOG)
    if log.is_file():
        yield f"log       {log}"
    for check in view.checks:
        yield f"checked   {_ago(check.at)}, {words.count(check.times, 'rebuild')}: {check.told}"
    fields = [
        (name, _text(value, view.dref)) for name, value in view.config.items() if name not in ("name", "stagedml")
    ]
    yield from _section("config", fields)
    yield from _metrics(view)
    yield styled("inputs" if view.inputs else "no inputs", "bold")
    for rrefs in view.inputs.values():
        yield from (f"  {rref}" for rref in rrefs)
    yield styled("files", "bold")
    suspect = dict(view.suspect)
    for path, count in view.files:
        wrong = f"  {styled(suspect[path], 'red')}" if path in suspect else ""
        yield f"  {words.size(count):>10}  {words.printable(path)}{wrong}"
    if suspect:
        yield f"not all is as it was published: `stagedml verify {view.rref[5:17]}` tells more"


def _build_lines(build: BuildRecord) -> Iterator[str]:
    """What is recorded of one build."""
    where = f" on {build.host}" if build.host else ", elsewhere"
    yield f"built     {_ago(build.started)} in {build.stopped - build.started:.1f} s{where}, seed {build.seed}"
    if used := _used(build.resources):
        yield f"used      {used}"
    if len(build.attempts) > 1:
        yield f"attempts  {len(build.attempts)}, the first {_ago(build.attempts[0].started)}"
    if git := build.environment.get("git"):
        yield f"code      commit {git['commit'][:12]}{', with changes' if git['dirty'] else ''}"
    if build.adopted:
        yield f"adopted   {_ago(build.published)} from {build.adopted}"
    if build.reasons:
        yield f"why       {', '.join(map(told, build.reasons))}"


def _metrics(view: views.RealizationView) -> Iterator[str]:
    """What was measured, each list in one line."""
    measured: dict[str, list[str]] = {}
    for name, value in view.metrics.items():
        measured.setdefault(list_of(name) or name, []).append(f"{value:.6g}")
    cut = [name for name, texts in measured.items() if len(texts) > MOST_SHOWN]
    yield from _section(
        "metrics",
        [
            (name, f"{len(texts):,} values, last {texts[-1]}" if name in cut else ", ".join(texts))
            for name, texts in measured.items()
        ],
    )
    if cut:
        yield f"  ... of long lists the last number; {how_to_see(cut)}"


def _section(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield styled(title, "bold")
        yield from (words.brief(words.printable(f"  {name}: {text}")) for name, text in rows)


def _text(value: Any, dref: str) -> str:
    """A value of a config; a path of an output without the reference that it begins with."""
    if is_ref_path(value):
        own = value[0] == dref
        return "/".join(value[1:] if own else [parse_dref(value[0]).name, *value[1:]])
    return value if isinstance(value, str) else json.dumps(value)
