"""`stagedml realize` and `plan`."""

from __future__ import annotations

import argparse
from typing import Any

from stagedml.authoring.lens import rref2path
from stagedml.authoring.session import store_initialize
from stagedml.cli.output import results_alone, show, with_verdict
from stagedml.cli.subject import looked_at
from stagedml.engine import journal
from stagedml.engine.catalogue import assignment, declared
from stagedml.engine.console import plan_lines, shown
from stagedml.engine.realize import plan, realize_many
from stagedml.inspection.answers import Realized
from stagedml.settings import read_settings


def run_plan(arguments: argparse.Namespace) -> int:
    with looked_at(arguments.root), results_alone():
        drawn = plan(
            declared(arguments.stage, arguments.arguments, read_settings().catalogue),
            instances=arguments.instances,
            force=arguments.force,
            args=dict(map(assignment, arguments.exec_values)),
        )
    show(arguments, drawn, lambda drawn: map(with_verdict, plan_lines(drawn)))
    return 0


def run(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return run_plan(arguments)
    store_initialize(arguments.root)
    with journal.asked_for(arguments.command), results_alone():
        realized = realize_many(
            declared(arguments.stage, arguments.arguments, read_settings().catalogue),
            instances=arguments.instances,
            force=arguments.force,
            args=dict(map(assignment, arguments.exec_values)),
            offline=arguments.offline,
            link=arguments.out_link,
            jobs=arguments.jobs,
            keep_going=arguments.keep_going,
            observer=shown(show_plan=True),
        )
    found = tuple(Realized(rref, rref2path(rref)) for rref in _leaves(realized))
    show(arguments, found, lambda found: (line for one in found for line in (one.rref, one.path)))
    return 0


def _leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [str(value)]
    items = value.values() if isinstance(value, dict) else value
    return [leaf for item in items for leaf in _leaves(item)]
