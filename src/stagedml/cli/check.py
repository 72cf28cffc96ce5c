"""`stagedml check`."""

from __future__ import annotations

import argparse

from stagedml.authoring.session import store_initialize
from stagedml.cli.output import results_alone, show
from stagedml.engine import journal
from stagedml.engine.catalogue import declared
from stagedml.engine.check import check
from stagedml.engine.console import shown
from stagedml.inspection.answers import Checked
from stagedml.settings import read_settings


def run(arguments: argparse.Namespace) -> int:
    from stagedml.ml.sameness import Sameness, Tolerance

    store_initialize(arguments.root)
    given = {name: value for name in ("rtol", "atol") if (value := getattr(arguments, name)) is not None}
    with journal.asked_for(arguments.command), results_alone():
        found = check(
            declared(arguments.stage, arguments.arguments, read_settings().catalogue),
            times=arguments.times,
            tolerance=Tolerance(**given),
            offline=arguments.offline,
            observer=shown(show_plan=True),
        )
    told = [comparison.told() for comparison in found.comparisons]
    kept = [f"the rebuild is kept in {folder}" for folder in found.kept]
    show(arguments, Checked.of(found), lambda view: (view.rref, *told, *kept))
    return 1 if found.sameness == Sameness.DIFFERENT else 0
