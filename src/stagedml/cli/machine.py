"""`stagedml init`, `config` and `doctor`: the store's place, the settings, and whether all is well."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator

from stagedml.authoring.session import store_initialize
from stagedml.cli.output import show, styled, table
from stagedml.inspection.answers import Opened
from stagedml.inspection.configuration import SettingView, experiments_of_another, settings_in_use
from stagedml.inspection.doctor import PROBLEM, WARNING, Diagnosis, diagnose
from stagedml.settings import VARIABLES, Settings, read_settings

_STATES = {PROBLEM: "red", WARNING: "yellow"}


def run_init(arguments: argparse.Namespace) -> int:
    folder = arguments.root if arguments.folder is None else arguments.folder
    settings = read_settings(root=folder)
    was_there = settings.storage.is_dir()
    store_initialize(folder)
    opened = Opened(str(settings.root), str(settings.storage), str(settings.experiments), is_new=not was_there)
    show(arguments, opened, _init_lines)
    if not arguments.json and (variables := _to_work_in(settings)):
        print(f"to work in it: export {' '.join(variables)}", file=sys.stderr)
    return 0


def _to_work_in(settings: Settings) -> list[str]:
    """What a shell has to be told to work in a store: the variables that lead elsewhere, as they should be."""
    found = []
    for name in ("root", "storage", "tmp", "experiments"):
        folder = getattr(settings, name)
        if getattr(read_settings(), name) != folder:
            names, _ = VARIABLES[name]
            told = next((variable for variable in names if os.environ.get(variable)), "")
            if told or name == "root":  # the others follow from the root
                found.append(f"{told or 'STAGEDML_ROOT'}={shlex.quote(str(folder))}")
    return found


def _init_lines(view: Opened) -> Iterator[str]:
    yield f"{'made a' if view.is_new else 'there is a'} store in {view.root}"
    yield f"realizations lie in {view.storage}, and what has a link in {view.experiments} stays"


def run_config(arguments: argparse.Namespace) -> int:
    show(arguments, settings_in_use(arguments.root), _config_lines)
    if not arguments.json and (told := experiments_of_another(read_settings(root=arguments.root))):
        print(f"{told}; `stagedml doctor` says what to do", file=sys.stderr)
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
