"""`stagedml ls`, `show` and `path`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from stagedml.inspection import views
from stagedml.settings import read_settings
from stagedml.store.objects import Store


def _store(arguments: argparse.Namespace) -> Store:
    return Store.open(read_settings(root=arguments.root), create=False)


def run_ls(arguments: argparse.Namespace) -> int:
    lines = views.ls(_store(arguments), arguments.name)
    if arguments.json:
        print(json.dumps([line.to_json() for line in lines], indent=2))
        return 0
    rows = [
        (
            line.name,
            line.rref.removeprefix("rref:")[:12],
            views.age(line.built),
            views.size(line.size_bytes),
            ",".join(map(str, line.instances)) if line.instances not in ((), (0,)) else "",
        )
        for line in lines
    ]
    _print_table(("NAME", "HASH", "BUILT", "SIZE", "INSTANCES"), rows)
    return 0


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    widths = {column: max(len(row[column]) for row in (header, *rows)) for column in used}
    for row in (header, *rows) if rows else ():
        print("  ".join(f"{row[column]:<{widths[column]}}" for column in used).rstrip())


def run_show(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    view = views.show(store, views.find(store, arguments.ref))
    if arguments.json:
        print(json.dumps(view.to_json(), indent=2))
        return 0
    print(view.rref)
    print(f"path      {view.path}")
    if view.content:
        print(f"content   {view.content}")
    for build in view.builds:
        taken = build["stopped"] - build["started"]
        print(f"built     {views.age(build['started'])} in {taken:.1f} s on {build['host']}, seed {build['seed']}")
    print("config")
    for field, value in view.config.items():
        if field not in ("name", "stagedml"):
            print(f"  {field}: {_text(value)}")
    print("inputs" if view.inputs else "no inputs")
    for rrefs in view.inputs.values():
        for rref in rrefs:
            print(f"  {rref}")
    print("files")
    for path, count in view.files:
        print(f"  {views.size(count):>10}  {path}")
    return 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def run_path(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    path = str(store.path(views.find(store, arguments.ref)))
    print(json.dumps({"path": path}) if arguments.json else path)
    return 0
