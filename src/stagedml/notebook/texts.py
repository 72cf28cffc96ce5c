"""What a prompt shows of stages, plans and answers: a few lines of text. References stay as they are quoted."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from stagedml.authoring.instantiate import Instantiated
from stagedml.authoring.stage import Stage
from stagedml.core import words
from stagedml.core.differences import cut_to_difference
from stagedml.core.plan import Plan, PlanStep, Verdict
from stagedml.engine.check import Check
from stagedml.engine.console import from_here, plan_lines
from stagedml.inspection.compare import Changed, Comparison
from stagedml.inspection.listing import hash_of
from stagedml.inspection.metrics import list_of
from stagedml.inspection.why import Event, Why
from stagedml.notebook.html import cut

MOST_LINES = 40
_LONGEST = 60
_MOST_REASONS = 8
_FILE_OF_CELL = re.compile(r"(?<!\S)\S*?[/\\]ipykernel_\d+[/\\]\d+\.py:(\d+)")


def of_stage(stage: Stage[..., Any]) -> str:
    """A stage: what it makes, its first line of documentation, its parameters and its outputs."""
    head = f"stage {stage.__name__} -> {stage.artifact.__name__}, {stage.name_template!r}"
    doc = summary(stage)
    rows = [(f"  {name}", kind, default) for name, kind, default in parameters(stage)]
    lines = words.table(("  PARAMETER", "TYPE", "DEFAULT"), rows)
    lines += words.table(("  OUTPUT", "PATH"), [(f"  {name}", path) for name, path in outputs(stage)])
    return "\n".join([head, *([f"  {cut(doc, 100)}"] if doc else []), *_first(lines)])


def summary(stage: Stage[..., Any]) -> str:
    """The first line of a stage's documentation, if it has any."""
    return (stage.builder.__doc__ or "").strip().partition("\n")[0]


def parameters(stage: Stage[..., Any]) -> list[tuple[str, str, str]]:
    """The parameters of a stage: name, type, and default as it is written, "" if it must be given."""
    rows = [(name, stage.type_names[name], stage.defaults) for name in stage.checks]
    rows += [(name, "Exec", stage.exec_defaults) for name in stage.exec_checks]
    return [
        (name, cut(kind, _LONGEST), cut(repr(defaults[name]), _LONGEST) if name in defaults else "")
        for name, kind, defaults in rows
    ]


def outputs(stage: Stage[..., Any]) -> list[tuple[str, str]]:
    """The outputs of a stage: name, and path in the realization."""
    return [(name, "/".join(path[1:]) + ".*" * path.prefix) for name, path in stage.outputs.items()]


def of_plan(plan: Plan) -> str:
    """A plan: what is made, before what is reused, and what it comes to."""
    steps = shown_first(plan)
    lines = _first(map(in_cell, plan_lines(Plan(tuple(steps[:MOST_LINES]), plan.targets))), len(steps))
    return "\n".join([*lines, plan_sum(plan)])


def shown_first(plan: Plan) -> list[PlanStep]:
    """The steps in their order; of a plan that is too long to be shown, those first that are not plain reuse."""
    if len(plan.steps) <= MOST_LINES:
        return list(plan.steps)
    return [*plan.builds, *(step for step in plan.steps if step.verdict is Verdict.REUSE)]


def plan_sum(plan: Plan) -> str:
    """What a plan comes to, in a line."""
    reused = len(plan.steps) - len(plan.builds)
    parts = [f"{len(plan.builds):,} to make"] if plan.builds else ["nothing to make"]
    parts += [f"about {words.span(plan.seconds)}"] if plan.seconds >= 1 else []
    return ", ".join([*parts, *([f"{reused:,} reused"] if reused else [])])


def of_why(found: Why) -> str:
    """Why something was built, or would be: causes first."""
    lines = words.table(("", "STAGE", "HASH", "WHEN", "TAKES", "WHY"), [event_row(event) for event in found.events])
    return "\n".join([*_first(lines), *found.since(), *_first([blessed(event) for event in found.blessed])])


def blessed(event: Event) -> str:
    """What a person answers for."""
    return f"rests on {event.name} {hash_of(event.ref)[:12]}, {because(event.because)}"


def event_row(event: Event) -> tuple[str, str, str, str, str, str]:
    """One event in a table: verdict, stage, hash, when, how long it would take, why."""
    when = words.ago(time.time() - event.when) if event.when is not None else ""
    return event.verdict, cut(event.name, 40), hash_of(event.ref)[:6], when, event.takes, because(event.because)


def because(reasons: Sequence[str]) -> str:
    """Reasons in a line."""
    shown = ", ".join(reasons[:_MOST_REASONS])
    left = len(reasons) - _MOST_REASONS
    return cut(in_cell(shown), 200) + f", and {left} more" * (left > 0)


def in_cell(text: str) -> str:
    """A text with places of code in it, in which cells are not called by the files that a kernel invents for them."""
    return _FILE_OF_CELL.sub(r"cell, line \1", text)


def of_comparison(found: Comparison) -> str:
    """What differs between two realizations, part by part."""
    lines = [f"- {found.old}", f"+ {found.new}"]
    if found.same_contents:
        lines.append("the same contents")
    for title, rows in differing(found):
        table = words.table(("", "", "", ""), [(f"  {name}", old, "->", new) for name, old, new in rows])
        lines += ["", title, *_first(table[1:])]
    return "\n".join(lines)


def differing(found: Comparison) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The parts in which two realizations differ, and in each: what, before, after."""
    inputs = [
        (
            one.name,
            hash_of(one.before)[:12],
            hash_of(one.after)[:12] + ", the same contents" * one.same_contents,
        )
        for one in found.inputs
    ]
    parts = [
        ("config", [_changed(one) for one in found.config]),
        ("code", [(unit.name, "", in_cell(from_here(unit.place))) for unit in found.code]),
        ("packages", [_changed(one) for one in found.packages]),
        ("inputs", inputs),
        ("metrics", [_changed(one) for one in found.metrics if not list_of(one.name)]),
        ("files (bytes)", [_changed(one) for one in found.files]),
    ]
    if found.code_differs and not found.code:
        parts[1][1].append(("", "", "differs" if found.code_known else "differs; its source was not kept"))
    return [(title, rows) for title, rows in parts if rows]


def _changed(one: Changed) -> tuple[str, str, str]:
    before, after = ("(none)" if value is None else json_text(value) for value in (one.before, one.after))
    return (one.name, *cut_to_difference(before, after))


def json_text(value: Any) -> str:
    """A value of a config, texts without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def of_check(check: Check) -> str:
    """Whether rebuilds were the same, and where those are that were not."""
    return "\n".join([str(check), *(f"  kept: {folder}" for folder in check.kept)])


def of_instantiated(target: Instantiated[Any]) -> str:
    """What was instantiated, as its `repr` says it, but not at any length."""
    return (
        f"Instantiated({cut(repr(target.result), 500)}, {words.count(len(target.closure.derivations), 'derivation')})"
    )


def _first(lines: Iterable[str], total: int | None = None) -> list[str]:
    """The first lines, none too long, and how many more there are."""
    lines = list(lines)
    left = (total or len(lines)) - len(lines[:MOST_LINES])
    return [*(cut(line) for line in lines[:MOST_LINES]), *([f"... and {left:,} more"] if left > 0 else [])]
