"""`stagedml ls`, `show` and `path`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stagedml.core import words
from stagedml.core.plan import Reason
from stagedml.engine.console import told
from stagedml.inspection import views
from stagedml.settings import read_settings
from stagedml.store.layout import BUILD_LOG, LOG_FOLDER
from stagedml.store.objects import Store


def _store(arguments: argparse.Namespace) -> Store:
    return Store.open(read_settings(root=arguments.root), create=False)


def _ago(moment: float | None) -> str:
    return words.ago(None if moment is None else time.time() - moment)


def run_ls(arguments: argparse.Namespace) -> int:
    lines = views.ls(_store(arguments), arguments.name)
    if arguments.json:
        print(json.dumps([line.to_json() for line in lines], indent=2))
        return 0
    hashes = views.short_hashes([line.rref for line in lines])
    rows = [
        (
            line.name,
            hashes[line.rref],
            _ago(line.built),
            words.size(line.size_bytes),
            ",".join(map(str, line.instances)) if line.instances not in ((), (0,)) else "",
        )
        for line in lines
    ]
    for text in words.table(("NAME", "HASH", "BUILT", "SIZE", "INSTANCES"), rows):
        print(text)
    return 0


def _used(resources: Mapping[str, float]) -> str:
    """What a build used, in words."""
    told = [f"{resources['cpu_s']:.1f} s of CPU time"] if "cpu_s" in resources else []
    told += [f"{words.size(int(resources['peak_memory_bytes']))} of memory"] if "peak_memory_bytes" in resources else []
    told += [f"{resources['gpu_s']:.0f} s of GPUs"] if "gpu_s" in resources else []
    return ", ".join(told)


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
        where = f" on {build['host']}" if build["host"] else ", elsewhere"
        print(f"built     {_ago(build['started'])} in {taken:.1f} s{where}, seed {build['seed']}")
        if used := _used(build["resources"]):
            print(f"used      {used}")
        if len(build["attempts"]) > 1:
            print(f"attempts  {len(build['attempts'])}, the first {_ago(build['attempts'][0]['started'])}")
        if git := build["environment"].get("git"):
            print(f"code      commit {git['commit'][:12]}{', with changes' if git['dirty'] else ''}")
        if build["adopted"]:
            print(f"adopted   {_ago(build['published'])} from {build['adopted']}")
        if build["reasons"]:
            print(f"why       {', '.join(told(Reason(**reason)) for reason in build['reasons'])}")
    log = Path(view.path, LOG_FOLDER, BUILD_LOG)
    if log.is_file():
        print(f"log       {log}")
    for check in view.checks:
        print(f"checked   {_ago(check['at'])}, {words.count(check['times'], 'rebuild')}: {check['told']}")
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
        print(f"  {words.size(count):>10}  {words.printable(path)}")
    return 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def run_path(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    path = str(store.path(views.find(store, arguments.ref)))
    print(json.dumps({"path": path}) if arguments.json else path)
    return 0
