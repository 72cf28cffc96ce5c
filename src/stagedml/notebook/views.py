"""What a notebook shows of references, stages, plans and answers: HTML that is bounded, and made by looking alone.

Nothing here builds, writes or asks the network. What cannot be shown, since its bytes are gone, its metadata is damaged
or there is no store, is told in a line: a person who looks at a value never gets an error instead.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from stagedml.authoring.instantiate import Instantiated
from stagedml.authoring.lens import Lens
from stagedml.authoring.session import current_store
from stagedml.authoring.stage import Stage
from stagedml.core import words
from stagedml.core.config import inputs_of, is_ref_path, resolve
from stagedml.core.plan import Plan, PlanStep, Verdict
from stagedml.core.refs import RealizationRef, is_rref, parse_dref, parse_rref
from stagedml.engine.check import Check
from stagedml.engine.console import told
from stagedml.inspection.compare import Comparison
from stagedml.inspection.curves import curves
from stagedml.inspection.metrics import metrics_in, single
from stagedml.inspection.sparks import curve_svg
from stagedml.inspection.views import RealizationView, show
from stagedml.inspection.why import Event, Why
from stagedml.notebook import texts
from stagedml.notebook.html import MOST_ROWS, Markup, aside, code, cut, element, joined, page, section, table, text
from stagedml.store.layout import LOG_FOLDER
from stagedml.store.metadata import UnreadableMetadata
from stagedml.store.objects import Store

T = TypeVar("T")

_METRICS = "metrics.json"
_LARGEST_METRICS_BYTES = 2**20
_LARGEST_LOG_BYTES = 2**25
_MOST_FILES_LOOKED_AT = 1_000
_MOST_COLUMNS = 8  #: of metrics
_MOST_CURVES = 4
_MOST_LINES_OF_CODE = 80
_LONGEST_FILE = 2_000  #: characters of a file
_FEW = 6  #: rows that need no folding
_BRIEF = 12  #: characters of a hash


def _careful(view: Callable[[T], Markup]) -> Callable[[T], Markup]:
    """A view that tells what goes wrong instead of raising it."""

    @functools.wraps(view)
    def careful(value: T) -> Markup:
        try:
            return page(view(value))
        except Exception as error:
            what = code(value) if isinstance(value, str) else type(value).__name__
            return page(element("div", what, " cannot be shown: ", str(error) or type(error).__name__))

    return careful


# -- references -------------------------------------------------------------------------------------------------------


@_careful
def of_rref(rref: str) -> Markup:
    """A realization: what it was made from, what it measured, what it holds."""
    return _realization(current_store(), parse_rref(rref))


def _realization(store: Store, ref: RealizationRef) -> Markup:
    seen = show(store, ref)
    size = words.size(sum(size for _, size in seen.files))
    about = [size, *_built(seen)]
    return joined(
        (
            _heading(ref.name, seen.rref, ", ".join(about)),
            section("metrics", _metrics(Path(seen.path))),
            _loss_curves(store, seen),
            section("config", _parameters(seen.config)),
            section("inputs", _inputs(seen)),
            _files(seen),
        )
    )


def _heading(name: str, ref: str, about: str) -> Markup:
    return joined((_titled(name, about), element("div", code(ref))))


def _titled(name: str, about: str) -> Markup:
    return element("div", element("strong", name), aside(f" \N{MIDDLE DOT} {about}"))


def _built(seen: RealizationView) -> list[str]:
    """When and how it was built last."""
    if not seen.builds:
        return ["built elsewhere"]
    build = max(seen.builds, key=lambda build: max(build.started, build.published))
    when = words.ago(time.time() - max(build.started, build.published))
    how = f"adopted {when}" if build.adopted else f"built {when} in {words.span(build.stopped - build.started)}"
    return [how, f"seed {build.seed}"]


def _parameters(config: Mapping[str, Any]) -> Markup:
    """The parameters in a config: neither its outputs nor its inputs."""
    rows = [
        (name, _value(value))
        for name, value in config.items()
        if name not in ("name", "stagedml") and not list(inputs_of({name: value}))
    ]
    return table(("", ""), rows, lambda row: row)


def _references(config: Mapping[str, Any], dref: str) -> list[tuple[str, str]]:
    """The fields that hold inputs, and each input; what names the derivation itself is an output."""
    return [
        (name, one)
        for name, value in config.items()
        if name != "stagedml"
        for one in inputs_of({name: value})
        if one != dref
    ]


def _inputs(seen: RealizationView) -> Markup:
    """The fields that hold inputs, and the realizations that they stood for."""
    rows = [
        (name, parse_rref(rref).name, rref)
        for name, dref in _references(seen.config, seen.dref)
        for rref in seen.inputs.get(dref, ())
    ]
    return table(("", "", ""), rows, lambda row: (row[0], row[1], code(row[2])))


def _value(value: Any) -> str:
    """A value of a config in a few words; no more of it is spelt out than can be shown."""
    return texts.json_text(_beginning(value))


def _beginning(value: Any, depth: int = 0) -> Any:
    """A value without what nobody reads of it."""
    if isinstance(value, str):
        return cut(value)
    if depth > 4 and isinstance(value, (dict, list)):
        return "..."
    if isinstance(value, dict):
        shown = {cut(key, 60): _beginning(item, depth + 1) for key, item in islice(value.items(), _FEW * 2)}
        return shown if len(value) <= _FEW * 2 else {**shown, "...": f"{len(value) - _FEW * 2:,} more"}
    if isinstance(value, list):
        items = [_beginning(item, depth + 1) for item in value[: _FEW * 2]]
        return items if len(value) <= _FEW * 2 else [*items, f"... {len(value) - _FEW * 2:,} more"]
    return value


def _metrics(folder: Path) -> Markup:
    measured = _measured(folder)
    if measured is None:
        return aside(f"{_METRICS} is too large to be shown")
    return table(("", ""), list(measured.items()), lambda row: row)


def _measured(folder: Path) -> dict[str, float] | None:
    """The numbers in a realization's metrics but for those in lists, which are histories; None if it is too large."""
    try:
        if os.stat(folder / _METRICS).st_size > _LARGEST_METRICS_BYTES:
            return None
    except OSError:
        return {}
    return single(metrics_in(folder))


def _loss_curves(store: Store, seen: RealizationView) -> Markup:
    """The first few learning curves, as far as they can be read in a moment."""
    if _log_bytes(Path(seen.path)) > _LARGEST_LOG_BYTES or _measured(Path(seen.path)) is None:
        return Markup()
    drawn = [
        element("figure", Markup(curve_svg(one)), element("figcaption", f"{one.split} {one.name}"))
        for one in islice((one for one in curves(seen.rref, store).series if len(one.at) > 1), _MOST_CURVES)
    ]
    return element("div", joined(drawn)) if drawn else Markup()


def _log_bytes(folder: Path) -> int:
    """The size of a log, as far as it is looked at."""
    log = folder / LOG_FOLDER
    files = (Path(below, name) for below, _, names in os.walk(log) for name in names)
    return sum(file.lstat().st_size for file in islice(files, _MOST_FILES_LOOKED_AT))


def _files(seen: RealizationView) -> Markup:
    content = table(("", ""), seen.files, lambda row: (row[0], words.size(row[1])))
    return section(words.count(len(seen.files), "file"), content, folded=len(seen.files) > _FEW)


@_careful
def of_dref(dref: str) -> Markup:
    """A derivation: its config, and what there is of it."""
    ref = parse_dref(dref)
    store = current_store()
    config = resolve(dict(store.config(ref)), dref)
    made = store.realizations(ref)
    inputs = table(("", ""), _references(config, str(ref)), lambda row: (row[0], code(row[1])))
    kind = type(dref).__name__
    about = words.count(len(made), "realization") if made else "not realized"
    return joined(
        (
            _heading(f"{ref.name} ({kind})" if kind != "str" else ref.name, str(dref), about),
            section("config", _parameters(config)),
            section("inputs", inputs),
            section("realizations", _realizations(store, made)),
        )
    )


def of_list(values: list[Any]) -> Markup | None:
    """A list of realizations as a table; None of any other list, which is shown as lists are."""
    return _of_rrefs(values) if values and all(map(is_rref, values)) else None


@_careful
def _of_rrefs(rrefs: Sequence[str]) -> Markup:
    return _realizations(current_store(), [parse_rref(rref) for rref in rrefs])


def _realizations(store: Store, refs: Sequence[RealizationRef]) -> Markup:
    """Realizations side by side, with what they measured."""
    measured = {ref: _measured(store.layout.realization(ref)) or {} for ref in refs[:MOST_ROWS]}
    names = list(dict.fromkeys(name for numbers in measured.values() for name in numbers))[:_MOST_COLUMNS]
    return table(
        ("stage", "hash", "instance", "seed", "built", *names),
        refs,
        lambda ref: (
            ref.name,
            code(ref.rhash[:_BRIEF]),
            *_made(store, ref),
            *(measured[ref].get(name, "") for name in names),
        ),
    )


def _made(store: Store, ref: RealizationRef) -> tuple[str, str, str]:
    """Instance, seed, and when it was built, as far as that is known."""
    if not store.layout.realization(ref).is_dir():
        return "", "", "gone"
    try:
        known = store.metadata(ref)
    except UnreadableMetadata:
        return "", "", "its metadata is damaged"
    if known is None:
        return "", "", "elsewhere"
    seeds = ", ".join(str(build.seed) for build in {build.instance: build for build in known.builds}.values())
    return ", ".join(map(str, known.instances)), cut(seeds, 60), words.ago(time.time() - known.started)


@_careful
def of_lens(lens: Lens) -> Markup:
    """Where a lens stands: a reference, a file, or a value."""
    value = lens.optval
    if is_rref(value):
        return _realization(current_store(), parse_rref(value))
    if is_ref_path(value):
        return _file(lens.syspath)
    return element("pre", text(texts.json_text(_beginning(value)), _LONGEST_FILE))


def _file(path: Path) -> Markup:
    """A file and how it begins, or what is in a folder."""
    if path.is_dir():
        names = sorted(os.listdir(path))
        return joined((code(path), table(("",), names, lambda name: (name,))))
    if not path.exists():
        return joined((code(path), " is not there"))
    with open(path, "rb") as file:
        begin = file.read(_LONGEST_FILE)
    try:
        read = begin.decode("utf-8", "strict" if len(begin) < _LONGEST_FILE else "ignore")
    except UnicodeDecodeError:
        read = "\0"
    shown = element("pre", text(read, _LONGEST_FILE)) if "\0" not in read else ""
    about = words.size(path.stat().st_size)
    return joined((element("div", code(path), aside(f" \N{MIDDLE DOT} {about}")), shown))


# -- stages and plans -------------------------------------------------------------------------------------------------


@_careful
def of_stage(stage: Stage[..., Any]) -> Markup:
    """A stage: what it makes, of what, and what for."""
    about = f"{stage.name_template} -> {stage.artifact.__name__}"
    return joined(
        (
            _titled(stage.__name__, about),
            element("div", texts.summary(stage)),
            table(("parameter", "type", "default"), texts.parameters(stage), lambda row: row),
            table(("output", "path"), texts.outputs(stage), lambda row: row),
        )
    )


@_careful
def of_instantiated(target: Instantiated[Any]) -> Markup:
    """What was instantiated: its results and all that has to be realized for them."""
    store = current_store()
    targets = set(map(str, target.closure.targets))
    drefs = [str(one.dref) for one in reversed(target.closure.derivations)]

    def row(dref: str) -> tuple[object, ...]:
        ref = parse_dref(dref)
        name = element("strong", ref.name) if dref in targets else ref.name
        made = len(store.realizations(ref))
        return name, code(ref.dhash[:_BRIEF]), words.count(made, "realization") if made else aside("not realized")

    return joined(
        (
            element("div", cut(repr(target.result), 500)),
            table(("stage", "hash", ""), sorted(drefs, key=lambda dref: dref not in targets), row),
        )
    )


@_careful
def of_plan(plan: Plan) -> Markup:
    """A plan as a table: what would be done, and why."""
    head = ("", "stage", "hash", "why", "takes about")
    return joined((table(head, texts.shown_first(plan), _step), element("div", aside(texts.plan_sum(plan)))))


def _step(step: PlanStep) -> tuple[object, ...]:
    hash_ = code(parse_dref(step.dref).dhash[:6])
    if step.verdict is Verdict.REUSE:
        reused = ", ".join(parse_rref(rref).rhash[:6] for rref in step.rrefs)
        return aside(step.verdict.value), aside(step.name), aside(hash_), aside(cut(reused)), ""
    takes = words.span(step.seconds) if step.seconds and step.seconds >= 1 else ""
    return element("strong", step.verdict.value), step.name, hash_, texts.because(list(map(told, step.reasons))), takes


# -- answers ----------------------------------------------------------------------------------------------------------


@_careful
def of_why(found: Why) -> Markup:
    """Why something was built: a table of events, causes first."""

    def row(event: Event) -> tuple[object, ...]:
        verdict, name, hash_, when, takes, why = texts.event_row(event)
        return element("strong", verdict), name, code(hash_), when, takes, why

    blessed = table(("",), found.blessed, lambda event: (texts.blessed(event),))
    events = table(("", "stage", "hash", "when", "takes about", "why"), found.events, row)
    return joined((events, *(element("div", line) for line in found.since()), blessed))


@_careful
def of_comparison(found: Comparison) -> Markup:
    """What differs between two realizations, part by part."""
    sections = [
        section(title, table(("", "before", "after"), rows, lambda row: row)) for title, rows in texts.differing(found)
    ]
    same = [element("div", "the same contents")] if found.same_contents else []
    return joined((element("div", code(found.old), " -> ", code(found.new)), *same, *sections, _code(found)))


def _code(found: Comparison) -> Markup:
    """The lines of code that differ, folded away."""
    lines = [line for unit in found.code for line in unit.lines]
    shown = "\n".join(map(cut, lines[:_MOST_LINES_OF_CODE]))
    left = f"\n... and {len(lines) - _MOST_LINES_OF_CODE:,} more lines" if len(lines) > _MOST_LINES_OF_CODE else ""
    content = element("pre", text(shown, len(shown)), aside(left)) if lines else Markup()
    return section("code, line by line", content, folded=True)


@_careful
def of_check(check: Check) -> Markup:
    """Whether rebuilds were the same."""
    return element("pre", text(texts.of_check(check), _LONGEST_FILE))
