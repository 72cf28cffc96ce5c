"""`stagedml schema`: of which form the JSON of each verb is, made from its views."""

from __future__ import annotations

import argparse
import difflib
import json
from typing import Any

from stagedml.errors import UsageError
from stagedml.inspection.plain import schema_of


def views() -> dict[str, tuple[Any, ...]]:
    """The types of views that each verb prints with `--json`: one, or several where that depends on its options."""
    from stagedml.core.plan import Plan
    from stagedml.inspection.answers import Blessed, Checked, Collection, KeptBy, Opened, Realized, Verified
    from stagedml.inspection.compare import Comparison
    from stagedml.inspection.configuration import SettingView
    from stagedml.inspection.curves import Curves
    from stagedml.inspection.doctor import Diagnosis
    from stagedml.inspection.du import Usage
    from stagedml.inspection.graph import Graph
    from stagedml.inspection.listing import RealizationLine
    from stagedml.inspection.logs import BuildLog, RunLog
    from stagedml.inspection.metrics import Measured
    from stagedml.inspection.stages import StageView
    from stagedml.inspection.tensorboard import Served
    from stagedml.inspection.views import Place, RealizationView
    from stagedml.inspection.why import Why
    from stagedml.store.archive import Exported, Imported
    from stagedml.store.dedup import Deduped, DedupPlan
    from stagedml.store.roots import Link

    return {
        "bless": (Blessed,),
        "check": (Checked,),
        "config": (tuple[SettingView, ...],),
        "copy": (Imported,),
        "dedup": (Deduped, DedupPlan),
        "diff": (Comparison,),
        "doctor": (tuple[Diagnosis, ...],),
        "du": (Usage,),
        "export": (Exported,),
        "gc": (Collection,),
        "import": (Imported,),
        "init": (Opened,),
        "log": (RunLog, BuildLog, tuple[RunLog, ...]),
        "ls": (tuple[RealizationLine, ...],),
        "path": (Place,),
        "plan": (Plan,),
        "plot": (tuple[Curves, ...], tuple[Measured, ...]),
        "realize": (tuple[Realized, ...], Plan),
        "roots": (tuple[Link, ...],),
        "show": (RealizationView,),
        "stages": (tuple[StageView, ...],),
        "tensorboard": (Served,),
        "tree": (Graph,),
        "verify": (Verified,),
        "why": (Why,),
        "why-alive": (tuple[KeptBy, ...],),
    }


def schema(verb: str) -> dict[str, Any]:
    """The JSON schema of what a verb prints with `--json`. Raises UsageError where it prints none."""
    known = views()
    if verb not in known:
        close = difflib.get_close_matches(verb, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"these do: {', '.join(known)}"
        raise UsageError(f"no verb {verb!r} prints JSON; {hint}")
    return {"title": f"stagedml {verb} --json", **schema_of(*known[verb])}


def run(arguments: argparse.Namespace) -> int:
    found = schema(arguments.of) if arguments.of is not None else {verb: schema(verb) for verb in views()}
    print(json.dumps(found, indent=2))
    return 0
