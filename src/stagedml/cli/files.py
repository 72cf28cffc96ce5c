"""`stagedml path`, `cat` and `shell`: into the folder of a realization."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from stagedml.cli.output import show
from stagedml.errors import UsageError
from stagedml.inspection import views
from stagedml.inspection.browse import NoSuchFile, place_of, run_in
from stagedml.inspection.selectors import find
from stagedml.settings import read_settings
from stagedml.store.objects import Store


def run_path(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    ref = find(store, arguments.ref)
    place = store.path(ref) if arguments.file is None else place_of(store, ref, arguments.file)
    show(arguments, views.Place(str(place)), lambda view: (view.path,))
    return 0


def run_cat(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    ref = find(store, arguments.ref)
    place = place_of(store, ref, arguments.file)
    try:
        with open(place, "rb") as file:
            sys.stdout.flush()
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except (IsADirectoryError, FileNotFoundError):
        there = ", ".join(sorted(path.name for path in place.parent.glob(f"{place.name}*")))
        if place.is_dir():
            there = ", ".join(sorted(os.listdir(place)))
        raise NoSuchFile(str(ref), arguments.file, f"is no single file; there are: {there}") from None
    return 0


def run_shell(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    from stagedml.inspection.logs import log_of

    log = log_of(store, arguments.ref)
    if not os.path.isdir(log.folder):
        raise UsageError(f"{log.ref}: what its builder wrote is gone; realize it again")
    published = log.state in ("built", "adopted")
    if not arguments.command_line:
        told = "its files are read-only" if published else f"of a build that is {log.state}, nothing is published"
        print(f"{log.folder}: {told}; `exit` leads back", file=sys.stderr)
    return run_in(
        Path(log.folder), {"STAGEDML_RREF" if published else "STAGEDML_DREF": log.ref}, arguments.command_line
    )
