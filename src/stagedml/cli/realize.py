"""`stagedml realize` and `plan`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from stagedml.authoring.lens import rref2path
from stagedml.authoring.session import store_initialize
from stagedml.core.plan import Plan
from stagedml.engine import journal
from stagedml.engine.catalogue import assignment, declared
from stagedml.engine.console import plan_lines, shown
from stagedml.engine.realize import plan, realize_many
from stagedml.settings import read_settings


def run_plan(arguments: argparse.Namespace) -> int:
    store_initialize(arguments.root)
    drawn = plan(declared(arguments.stage, arguments.arguments, read_settings().catalogue), force=arguments.force)
    if arguments.json:
        print(json.dumps(_plan_json(drawn), indent=2))
    else:
        print("\n".join(plan_lines(drawn)))
    return 0


def _plan_json(drawn: Plan) -> dict[str, Any]:
    return {"targets": drawn.targets, "steps": [dataclasses.asdict(step) for step in drawn.steps]}


def run(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        return run_plan(arguments)
    store_initialize(arguments.root)
    with journal.asked_for(arguments.command):
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
    rrefs = _leaves(realized)
    if arguments.json:
        print(json.dumps([{"rref": rref, "path": rref2path(rref)} for rref in rrefs], indent=2))
    else:
        for rref in rrefs:
            print(rref)
            print(rref2path(rref))
    return 0


def _leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [str(value)]
    items = value.values() if isinstance(value, dict) else value
    return [leaf for item in items for leaf in _leaves(item)]
