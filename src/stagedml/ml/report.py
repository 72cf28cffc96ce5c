"""Reports that compare trained models: tables, charts and learning curves, as Markdown, HTML and JSON.

Rules this module keeps:
- A run is told by its *labels*: task, learning rate, seed, ... Runs that differ in `seed` alone are one *setting*, told
  by mean and standard deviation.
- The best of a metric is the highest, of a loss the lowest, among the settings of one `task`; where none is worse, none
  is called the best.
- The same runs give the same bytes: no clock, no host, no random name. A page needs nothing beside it, and whatever
  stands in a title, a text or a label is text, never markup.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from stagedml.errors import UsageError
from stagedml.ml.figures import bars_figure, curves_figure, parameter_figure, svg
from stagedml.ml.series import OF_RUNNING, Series, is_number, of_protocol

Label = str | int | float | bool | None
Labels = Mapping[str, Label]

SEED, TASK = "seed", "task"
#: Metrics whose name ends so are better when they are lower.
_LOWER_IS_BETTER = ("loss",)


class CannotCompare(UsageError):
    """Runs, labels and metrics do not make a report."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"no report: {self.problem}"


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        labels: what tells it from the others.
        metrics: what it came to; may hold NaN.
        series: what was measured on the way.
        confusions: by split, of more than two classes: `labels`, and `counts`, a row for each true one.
    """

    labels: Labels
    metrics: Mapping[str, float]
    series: tuple[Series, ...] = ()
    confusions: Mapping[str, Any] = field(default_factory=dict)


def read_run(labels: Labels, metrics: Path, protocol: Path) -> Run:
    """A run, from its `metrics.json`, of which numbers in lists are left out, and its `protocol.json`."""
    numbers = json.loads(metrics.read_text(encoding="utf-8"))
    done = json.loads(protocol.read_text(encoding="utf-8"))
    confusions = {
        str(entry.get("split")): entry["confusion"]
        for entry in done
        if isinstance(entry, dict) and len(entry.get("confusion", {}).get("labels", ())) > 2
    }
    numbers = {name: float(value) for name, value in numbers.items() if is_number(value)}
    return Run(labels, numbers, tuple(of_protocol(done)), confusions)


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed alone."""

    labels: Labels
    runs: tuple[Run, ...]

    def values(self, metric: str) -> list[float]:
        """The numbers of those runs that have them."""
        return [run.metrics[metric] for run in self.runs if metric in run.metrics]

    def mean(self, metric: str) -> float:
        """NaN where no run has a number."""
        values = self.values(metric)
        return math.fsum(values) / len(values) if values else math.nan

    def deviation(self, metric: str) -> float:
        """The sample's standard deviation; NaN of fewer than two runs."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


@dataclass(frozen=True)
class Comparison:
    """Some runs, compared.

    Attributes:
        title: of the report.
        text: paragraphs in front, parted by empty lines.
        runs: what is compared.
        metrics: the names of those that are looked at.
    """

    title: str
    text: str
    runs: tuple[Run, ...]
    metrics: tuple[str, ...]

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """The runs by what they have in common, in their order."""
        found: dict[tuple[tuple[str, Any], ...], list[Run]] = {}
        for run in self.runs:
            found.setdefault(_key(_without(run.labels, SEED)), []).append(run)
        return tuple(Setting(_without(runs[0].labels, SEED), tuple(runs)) for runs in found.values())

    @property
    def is_repeated(self) -> bool:
        """Whether a setting has several runs."""
        return len(self.settings) < len(self.runs)

    def best(self, metric: str) -> list[Setting]:
        """The best settings of each task, of equals all; none where none is worse."""
        by_task: dict[Label, list[Setting]] = {}
        for setting in self.settings:
            if math.isfinite(setting.mean(metric)):
                by_task.setdefault(setting.labels.get(TASK), []).append(setting)
        choose = min if metric.endswith(_LOWER_IS_BETTER) else max
        found = []
        for rivals in by_task.values():
            top = choose(setting.mean(metric) for setting in rivals)
            winners = [setting for setting in rivals if setting.mean(metric) == top]
            found += winners if len(winners) < len(rivals) else []
        return found


def compare(title: str, text: str, runs: Sequence[Run], metrics: Sequence[str]) -> Comparison:
    """Compare runs.

    Args:
        title: of the report.
        text: paragraphs in front, parted by empty lines.
        runs: at least one, no two with the same labels.
        metrics: which ones; a run need not have all. None of them stands for those that all runs have.

    Raises:
        CannotCompare: there is nothing to compare, or it cannot be told apart.
    """
    if not runs:
        raise CannotCompare("there are no runs")
    numbers: dict[tuple[tuple[str, Any], ...], int] = {}
    for number, run in enumerate(runs):
        if (other := numbers.setdefault(_key(run.labels), number)) != number:
            raise CannotCompare(
                f"runs {other} and {number} have the same labels, {dict(run.labels)}; say what tells them apart, as "
                "`seed` does where nothing else does"
            )
    known = list(dict.fromkeys(name for run in runs for name in run.metrics))
    if unknown := [name for name in metrics if name not in known]:
        raise CannotCompare(f"no run has measured {', '.join(unknown)}; there are {', '.join(known) or 'no metrics'}")
    wanted = list(metrics) or [name for name in known if all(name in run.metrics for run in runs)]
    if not wanted:
        raise CannotCompare(f"the runs share no metric; name some of {', '.join(known) or 'none'}")
    return Comparison(title, text, tuple(runs), tuple(dict.fromkeys(wanted)))


def _key(labels: Labels) -> tuple[tuple[str, Any], ...]:
    """Labels as something to look them up by; 1 and True are two."""
    return tuple(sorted((name, (type(value).__name__, value)) for name, value in labels.items()))


def _without(labels: Labels, *names: str) -> Labels:
    return {name: value for name, value in labels.items() if name not in names}


# -- charts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chart:
    """A picture, and what it shows."""

    name: str
    caption: str
    svg: str


def charts(comparison: Comparison) -> list[Chart]:
    """The metrics over each label that is a number, as bars where other labels differ, and learning curves."""
    runs, settings = comparison.runs, comparison.settings
    differing = _differing(runs)
    told = [name for name in differing if name != SEED]
    numeric = [name for name in told if all(is_number(run.labels.get(name)) for run in runs)]
    values = {name: [run.metrics.get(name, math.nan) for run in runs] for name in comparison.metrics}
    found = []
    for by in numeric:
        others = [name for name in told if name != by]
        at = [float(run.labels[by] or 0) for run in runs]
        figure = parameter_figure(values, by, at, [_words(run.labels, others) for run in runs])
        found.append(Chart(f"over {by}", f"Metrics over {by}.", svg(figure)))
    if len(told) > len(numeric):
        means = {name: [setting.mean(name) for setting in settings] for name in comparison.metrics}
        spreads = {name: [setting.deviation(name) for setting in settings] for name in comparison.metrics}
        named = [_words(setting.labels, told) for setting in settings]
        figure = bars_figure(means, named, spreads if comparison.is_repeated else None)
        spread = " Whiskers are standard deviations over seeds." if comparison.is_repeated else ""
        found.append(Chart("by setting", f"Metrics by {_enumerated(told)}.{spread}", svg(figure)))
    panels = {
        (series.name, series.over): None for run in runs for series in run.series if series.name not in OF_RUNNING
    }
    if panels:
        named = [_words(run.labels, differing) or comparison.title for run in runs]
        figure = curves_figure([run.series for run in runs], list(panels), named)
        found.append(Chart("learning curves", "Learning curves; a diamond is measured once.", svg(figure)))
    return found


def _differing(runs: Sequence[Run]) -> list[str]:
    """The labels that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.labels)
    return [name for name in names if len({_key({name: run.labels.get(name)}) for run in runs}) > 1]


def _words(labels: Labels, names: Sequence[str]) -> str:
    """Some labels in a few words; a single one that is a word speaks for itself."""
    if len(names) == 1 and isinstance(alone := labels.get(names[0]), str):
        return alone
    return ", ".join(f"{name} {_value(labels[name])}" for name in names if name in labels)


def _enumerated(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


# -- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """What stands in a table."""

    text: str
    is_number: bool = False
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """A table, with a heading and a note."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def tables(comparison: Comparison) -> list[Table]:
    """A row for each setting; where one has several runs, another table with a row for each run; and which class was
    taken for which.
    """
    names = list(dict.fromkeys(name for run in comparison.runs for name in run.labels))
    told = [name for name in names if name != SEED] if comparison.is_repeated else names
    best = {metric: comparison.best(metric) for metric in comparison.metrics}
    rows = []
    for setting in comparison.settings:
        cells = _cells(setting.runs[0].labels, told)
        cells += [Cell(str(len(setting.runs)), is_number=True)] if comparison.is_repeated else []
        for metric in comparison.metrics:
            is_best = any(setting is one for one in best[metric])
            cells.append(Cell(_mean_and_deviation(setting, metric), is_number=True, is_best=is_best))
        rows.append(tuple(cells))
    notes = [f"Bold: the best{' of a task' if TASK in names else ''}."] if any(best.values()) else []
    notes += ["Means over seeds, ± the standard deviation."] if comparison.is_repeated else []
    columns = (*told, *(["runs"] if comparison.is_repeated else []), *comparison.metrics)
    found = [Table("Results", columns, tuple(rows), " ".join(notes))]
    if comparison.is_repeated:
        rows = [(*_cells(run.labels, names), *_numbers(run, comparison.metrics)) for run in comparison.runs]
        found.append(Table("Runs", (*names, *comparison.metrics), tuple(rows)))
    for run in comparison.runs:
        named = _words(run.labels, _differing(comparison.runs))
        found += [_confusion_table(split, named, told) for split, told in run.confusions.items()]
    return found


def _confusion_table(split: str, named: str, confusion: Any) -> Table:
    rows = [
        (Cell(label), *(Cell(str(count), is_number=True) for count in counts))
        for label, counts in zip(confusion["labels"], confusion["counts"], strict=True)
    ]
    heading = f"Classes taken for each other: {named + ', ' if named else ''}{split}"
    return Table(heading, ("true", *confusion["labels"]), tuple(rows), "A column for each class that was predicted.")


def _cells(labels: Labels, names: Sequence[str]) -> list[Cell]:
    return [Cell(_value(labels[name]) if name in labels else "", is_number(labels.get(name))) for name in names]


def _numbers(run: Run, metrics: Sequence[str]) -> list[Cell]:
    return [Cell(_number(run.metrics[name]) if name in run.metrics else "", is_number=True) for name in metrics]


def _mean_and_deviation(setting: Setting, metric: str) -> str:
    if not setting.values(metric):
        return ""
    deviation = setting.deviation(metric)
    return f"{_number(setting.mean(metric))}{'' if math.isnan(deviation) else f' ± {_number(deviation)}'}"


def _value(value: Label) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.5g}"


def as_json(comparison: Comparison) -> dict[str, object]:
    """The numbers, in full; null for what is no finite one."""
    best = {metric: comparison.best(metric) for metric in comparison.metrics}
    return {
        "title": comparison.title,
        "metrics": list(comparison.metrics),
        "runs": [
            {
                "labels": dict(run.labels),
                "metrics": _finite((name, run.metrics[name]) for name in comparison.metrics if name in run.metrics),
                **({"confusions": dict(run.confusions)} if run.confusions else {}),
            }
            for run in comparison.runs
        ],
        "settings": [
            {
                "labels": dict(setting.labels),
                "runs": len(setting.runs),
                "mean": _finite((name, setting.mean(name)) for name in comparison.metrics if setting.values(name)),
                "standard_deviation": _finite(
                    (name, setting.deviation(name)) for name in comparison.metrics if len(setting.values(name)) > 1
                ),
                "best": [name for name in comparison.metrics if any(setting is one for one in best[name])],
            }
            for setting in comparison.settings
        ],
    }


def _finite(numbers: Iterable[tuple[str, float]]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers}


# -- pages ------------------------------------------------------------------------------------------------------------


def write_report(comparison: Comparison, *, markdown: Path, html: Path, table: Path, pictures: Path) -> None:
    """Write a report.

    Args:
        comparison: what it tells.
        markdown: the file; it shows the pictures, and lies beside their folder.
        html: the file; the pictures are in it.
        table: the file with the numbers.
        pictures: a folder, which is made.

    Raises:
        LibraryMissing: the extra `plot` is not installed.
    """
    drawn, shown = charts(comparison), tables(comparison)
    pictures.mkdir()
    paths = []
    for number, chart in enumerate(drawn, start=1):
        paths.append(pictures / f"{number}-{re.sub('[^a-z0-9]+', '-', chart.name.lower()).strip('-')}.svg")
        paths[-1].write_text(chart.svg, encoding="utf-8")
    table.write_text(json.dumps(as_json(comparison), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    links = [f"{pictures.name}/{path.name}" for path in paths]
    markdown.write_text(_markdown(comparison, shown, drawn, links), encoding="utf-8")
    html.write_text(_html(comparison, shown, drawn), encoding="utf-8")


def _paragraphs(comparison: Comparison) -> list[str]:
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", comparison.text) if part.strip()]


def _markdown(comparison: Comparison, shown: Sequence[Table], drawn: Sequence[Chart], links: Sequence[str]) -> str:
    parts = [f"# {_plain(comparison.title)}", *map(_plain, _paragraphs(comparison))]
    for table in shown:
        parts.append(f"## {_plain(table.heading)}")
        aligned = ["---:" if cell.is_number else "---" for cell in table.rows[0]]
        lines = [map(_plain, table.columns), aligned, *(map(_marked, row) for row in table.rows)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        parts += [table.note] if table.note else []
    for chart, link in zip(drawn, links, strict=True):
        parts += [f"## {_plain(chart.name.capitalize())}", f"![{_plain(chart.caption)}]({link})"]
    return "\n\n".join(parts) + "\n"


def _marked(cell: Cell) -> str:
    return f"**{_plain(cell.text)}**" if cell.is_best else _plain(cell.text)


def _plain(text: str) -> str:
    """A text that Markdown takes for nothing else. An underscore inside of a word is one."""
    return re.sub(r"([\\`*{}\[\]|#~]|(?<!\w)_|_(?!\w))", r"\\\1", escape(" ".join(text.split()), quote=False))


_CSS = """
:root {
  color-scheme: light dark;
  --text: #1f2328; --faint: #59636e; --line: #d1d9e0; --back: #ffffff; --best: #ddf4e4;
}
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --faint: #9198a1; --line: #3d444d; --back: #0d1117; --best: #12361f; }
}
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
.number { text-align: right; }
.best { background: var(--best); font-weight: 600; }
.note, figcaption { color: var(--faint); font-size: 0.875rem; }
figure { margin: 0; }
figcaption { margin-top: 0.5rem; }
figure svg { box-sizing: border-box; display: block; max-width: 100%; height: auto; padding: 0.75rem; }
figure svg { background: #ffffff; border-radius: 6px; }
""".strip()


def _html(comparison: Comparison, shown: Sequence[Table], drawn: Sequence[Chart]) -> str:
    title = escape(comparison.title)
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8"/>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        f"<title>{title}</title>",
        f"<style>\n{_CSS}\n</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{title}</h1>",
        *(f"<p>{escape(paragraph)}</p>" for paragraph in _paragraphs(comparison)),
    ]
    for table in shown:
        lines += [f"<h2>{escape(table.heading)}</h2>", '<div class="wide">', "<table>"]
        heads = (
            _tagged("th", Cell(name, cell.is_number)) for name, cell in zip(table.columns, table.rows[0], strict=True)
        )
        lines += [f"<thead><tr>{''.join(heads)}</tr></thead>", "<tbody>"]
        lines += [f"<tr>{''.join(_tagged('td', cell) for cell in row)}</tr>" for row in table.rows]
        lines += ["</tbody>", "</table>", "</div>"]
        lines += [f'<p class="note">{escape(table.note)}</p>'] if table.note else []
    for number, chart in enumerate(drawn, start=1):
        lines += [f"<h2>{escape(chart.name.capitalize())}</h2>", "<figure>", _own_names(chart.svg.strip(), number)]
        lines += [f"<figcaption>{escape(chart.caption)}</figcaption>", "</figure>"]
    return "\n".join([*lines, "</main>", "</body>", "</html>"]) + "\n"


def _tagged(tag: str, cell: Cell) -> str:
    classes = [*(["number"] if cell.is_number else []), *(["best"] if cell.is_best else [])]
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f"<{tag}{attribute}>{escape(cell.text)}</{tag}>"


def _own_names(picture: str, number: int) -> str:
    """A picture whose names are no other picture's: in a page they share one space."""
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>chart{number}-", picture)
