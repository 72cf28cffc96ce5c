"""`stagedml init`, `config` and `doctor`: the store's place, the settings, and whether all is well."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from stagedml.authoring.session import store_initialize
from stagedml.cli.output import show, styled, table
from stagedml.inspection.answers import Opened
from stagedml.inspection.configuration import SettingView, settings_in_use
from stagedml.inspection.doctor import PROBLEM, WARNING, Diagnosis, diagnose
from stagedml.settings import read_settings

_STATES = {PROBLEM: "red", WARNING: "yellow"}


def run_init(arguments: argparse.Namespace) -> int:
    folder = arguments.root if arguments.folder is None else arguments.folder
    settings = read_settings(root=folder)
    was_there = settings.storage.is_dir()
    store_initialize(folder)
    opened = Opened(str(settings.root), str(settings.storage), str(settings.experiments), is_new=not was_there)
    show(arguments, opened, _init_lines)
    if not arguments.json and read_settings().root != settings.root:
        print(f"to work in it: export STAGEDML_ROOT={settings.root}", file=sys.stderr)
    return 0


def _init_lines(view: Opened) -> Iterator[str]:
    yield f"{'made a' if view.is_new else 'there is a'} store in {view.root}"
    yield f"realizations lie in {view.storage}, and what has a link in {view.experiments} stays"


def run_config(arguments: argparse.Namespace) -> int:
    show(arguments, settings_in_use(arguments.root), _config_lines)
    return 0


def _config_lines(settings: tuple[SettingView, ...]) -> Iterator[str]:
    rows = [(one.name, one.value or "(none)", one.source, " or ".join(one.variables)) for one in settings]
    yield from table(("SETTING", "VALUE", "FROM", "VARIABLE"), rows)


def run_doctor(arguments: argparse.Namespace) -> int:
    found = diagnose(arguments.root)
    show(arguments, found, _doctor_lines)
    return 1 if any(one.state == PROBLEM for one in found) else 0


def _doctor_lines(found: tuple[Diagnosis, ...]) -> Iterator[str]:
    for one in found:
        state = f"{one.state:<8}"
        yield f"{styled(state, _STATES.get(one.state, 'green'))} {one.subject:<9} {one.told}"
        if one.remedy:
            yield f"{'':18} -> {one.remedy}"
