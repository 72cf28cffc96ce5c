"""Plots of realizations: learning curves, and how results compare.

matplotlib draws them, by `Figure` and its canvases alone: no window, no pyplot, nobody's settings are used or changed.
The same input gives the same bytes. A figure can be changed before it is saved: `plot_curves(rref).figure.axes[0]`.
"""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.core.refs import is_rref, parse_rref
from stagedml.errors import UsageError
from stagedml.inspection import curves as curves_of
from stagedml.inspection.curves import OF_RUNNING, TEST, TRAIN, VALID, Curves, Series, curves
from stagedml.inspection.labels import differing, labels
from stagedml.inspection.libraries import imported
from stagedml.inspection.metrics import list_of, metrics_in, names
from stagedml.inspection.parameters import words_of
from stagedml.inspection.pictures import write_picture
from stagedml.inspection.sparks import thinned
from stagedml.store.objects import Store

#: Told apart by people who see colours otherwise, and in grey (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MANY = "viridis"  #: where there are more
_STYLES = {TRAIN: "-", VALID: "--", TEST: ":"}
_MOST_PANELS = 6
_MOST_POINTS = 1000
_NOISY = 100  #: points from which on a running mean is drawn
_PANEL_IN = (4.6, 3.1)
_BAR_IN = 0.32
_LINE_IN = 0.21
_LETTER_IN = 0.078
_LOG_FROM = 20  #: the ratio of the largest to the smallest parameter from which on its axis is logarithmic

_SETTINGS = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "legend.frameon": False,
    "svg.hashsalt": "stagedml",
    "svg.fonttype": "none",  # text stays text, to be found and read aloud
}


@dataclass(frozen=True, eq=False)
class Plot:
    """A plot, shown by notebooks, and written by `save`.

    Attributes:
        figure: a `matplotlib.figure.Figure`.
        left_out: what was measured, too, and is not drawn: of results all lists, and what there was no room for.
    """

    figure: Any
    left_out: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it; the ending of the path says the format: `.svg`, `.png` or `.pdf`. Raises UsageError."""
        return write_picture(
            path,
            {
                ".svg": lambda: self.svg().encode(),
                ".png": self._repr_png_,
                ".pdf": lambda: self._drawn("pdf", {"CreationDate": None, "Creator": None, "Producer": None}),
            },
        )

    def _drawn(self, format: str, metadata: dict[str, None]) -> bytes:
        figure = pickle.loads(pickle.dumps(self.figure))  # drawing moves the axes, each time a little
        buffer = io.BytesIO()
        with _style():
            figure.savefig(buffer, format=format, metadata=metadata, dpi=150)
        return buffer.getvalue()

    def svg(self) -> str:
        """The plot as SVG, to stand by itself or in a page."""
        text = self._drawn("svg", {"Date": None}).decode()
        return text[text.index("<svg") :]

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_png_(self) -> bytes:
        return self._drawn("png", {"Software": None})


def _style() -> Any:
    """Our settings of matplotlib and nobody else's, as long as the context lasts."""
    return imported("matplotlib.style", "a plot").context(["default", _SETTINGS])


def _figure(width_in: float, height_in: float) -> Any:
    return imported("matplotlib.figure", "a plot").Figure((width_in, height_in), layout="constrained")


# -- learning curves --------------------------------------------------------------------------------------------------


def plot_curves(
    *rrefs: str, metric: str | None = None, path: str | os.PathLike[str] | None = None, store: Store | None = None
) -> Plot:
    """The learning curves of one or several realizations, each labelled by what tells it from the others.

    There is a panel for each quantity that was measured, by step or by epoch. Of a long series, the running mean is
    drawn, and its points faintly behind.

    Args:
        rrefs: realizations; or folders with events of TensorBoard in them, such as `build.log_dir` of a training that
            runs.
        metric: the one that is wanted, such as `loss`, `accuracy`, `learning_rate`; None for all but the learning rate
            and the speed.
        path: where to write the plot, too, as of `Plot.save`.
        store: where the realizations are; default the current store.

    Raises:
        UsageError: there is nothing to draw.
        NotInStore: there is no such realization.
        LibraryMissing: the extra `plot` is not installed.
    """
    _at_least_one(rrefs, "plot_curves")
    found = [curves(rref, store) for rref in rrefs]
    panels, left_out = _panels(found, metric)
    named = _labels(_store(store), rrefs)
    with _style():
        columns = min(2, len(panels))
        rows = math.ceil(len(panels) / columns)
        colours = _colours(len(found))
        figure = _figure(_PANEL_IN[0] * columns, _PANEL_IN[1] * rows)
        for place, (name, over) in enumerate(panels):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.set_title(name)
            axes.set_xlabel(over.removesuffix("s"))
            for one, colour in zip(found, colours, strict=True):
                for series in one.series:
                    if (series.name, series.over) == (name, over):
                        _draw(axes, series, colour)
            axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(figure, _handles(named, colours, found, panels))
        return _done(Plot(figure, left_out), path)


def _panels(found: Sequence[Curves], metric: str | None) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """What is drawn: names, and what is counted on the axis; and the names of what is left out for lack of room."""
    names = tuple(dict.fromkeys(name for one in found for name in one.names))
    for one in found:
        if not one.series:
            raise UsageError(
                f"{one.of} keeps no history of numbers, which curves are drawn from: let its builder write one "
                'into metrics.json, {"history": {"loss": [0.9, 0.5, 0.4]}}, or events of TensorBoard into '
                "build.log_dir; `stagedml plot --results`, plot_compare in Python, draws single numbers"
            )
    if metric is not None and metric not in names:
        raise UsageError(f"metric={metric!r}: there is no such curve; there are {', '.join(names)}")
    wanted = [metric] if metric is not None else [name for name in names if name not in OF_RUNNING] or list(names)
    pairs = {(series.name, series.over): None for one in found for series in one.series if series.name in wanted}
    ordered = sorted(pairs, key=lambda pair: (wanted.index(pair[0]), pair[1] != curves_of.STEPS))
    drawn = ordered[:_MOST_PANELS]
    return drawn, tuple(dict.fromkeys(pair[0] for pair in ordered[_MOST_PANELS:]))


def _colours(count: int) -> Sequence[Any]:
    if count <= len(_COLOURS):
        return _COLOURS[:count]
    colour_map = imported("matplotlib", "a plot").colormaps[_MANY]
    return [colour_map(place / (count - 1) * 0.92) for place in range(count)]


def _draw(axes: Any, series: Series, colour: Any) -> None:
    at = thinned(series.at, _MOST_POINTS)
    values = thinned([value if math.isfinite(value) else math.nan for value in series.values], _MOST_POINTS)
    if len(at) == 1:
        axes.plot(at, values, "D", color=colour, markersize=5)
        return
    if len(at) > _NOISY:
        axes.plot(at, values, color=colour, linewidth=0.6, alpha=0.3)
        values = _running_mean(values, len(values) // 25)
    marker = "o" if len(at) <= 20 else ""
    axes.plot(at, values, _STYLES.get(series.split, "-."), color=colour, linewidth=1.5, marker=marker, markersize=3.5)


def _running_mean(values: Sequence[float], reach: int) -> list[float]:
    """The mean of each value and those around it, up to `reach` on each side; at both ends of fewer, and as many before
    as after, lest the mean be drawn to one side, but for the last few, which would be as noisy as the values."""
    sums, counts = [0.0], [0]
    for value in values:
        is_number = math.isfinite(value)
        sums.append(sums[-1] + (value if is_number else 0.0))
        counts.append(counts[-1] + is_number)
    means = []
    for place in range(len(values)):
        own = max(min(reach, place, len(values) - 1 - place), reach // 4)
        start, stop = max(place - own, 0), min(place + own + 1, len(values))
        count = counts[stop] - counts[start]
        means.append((sums[stop] - sums[start]) / count if count else math.nan)
    return means


def _handles(
    named: Sequence[str], colours: Sequence[Any], found: Sequence[Curves], panels: Sequence[tuple[str, str]]
) -> list[Any]:
    """Which colour is which realization, and which line is which split."""
    line = imported("matplotlib.lines", "a plot").Line2D
    is_point: dict[str, bool] = {}
    for series in (series for one in found for series in one.series if (series.name, series.over) in panels):
        is_point[series.split] = is_point.get(series.split, True) and len(series.at) == 1
    handles = [line([], [], color=colour, linewidth=3, label=name) for name, colour in zip(named, colours, strict=True)]
    for split, point in is_point.items():
        style = {"marker": "D", "linestyle": ""} if point else {"linestyle": _STYLES.get(split, "-.")}
        handles.append(line([], [], color="#57606a", label=split, markersize=5, **style))
    return handles


def _legend(figure: Any, handles: Sequence[Any]) -> None:
    """A legend below the panels, with room of its own, in as many columns as go beside each other."""
    width_in, height_in = figure.get_size_inches()
    entry_in = _LETTER_IN * max(len(handle.get_label()) for handle in handles) + 0.7
    columns = min(max(int(width_in / entry_in), 1), len(handles))
    figure.set_size_inches(max(width_in, entry_in), height_in + _LINE_IN * math.ceil(len(handles) / columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


# -- results ----------------------------------------------------------------------------------------------------------


def plot_compare(
    *rrefs: str,
    metric: str | None = None,
    by: str | None = None,
    path: str | os.PathLike[str] | None = None,
    store: Store | None = None,
) -> Plot:
    """How the results of realizations compare: bars; or with `by`, the results over a parameter, as of a grid.

    Args:
        rrefs: realizations.
        metric: a number in their `metrics.json`; None for all that they have in common, six at most. Those in lists,
            such as a history, are drawn where they are asked for, as `history.loss[3]`; `plot_curves` draws histories.
        by: a parameter of theirs, a number, for the axis. Those that are equal in all others are joined by a line,
            through the mean where several have one value, such as instances.
        path: where to write the plot, too, as of `Plot.save`.
        store: where they are; default the current store.

    Raises:
        UsageError: there is nothing to compare.
        NotInStore: there is no such realization.
        LibraryMissing: the extra `plot` is not installed.
    """
    _at_least_one(rrefs, "plot_compare")
    if wrong := [rref for rref in rrefs if not is_rref(rref)]:
        raise UsageError(f"plot_compare: {wrong[0]!r} is no realization")
    place = _store(store)
    measured = [metrics_in(place.path(parse_rref(rref))) for rref in rrefs]
    drawn, left_out = _metrics(rrefs, measured, metric)
    values = {name: [one[name] for one in measured] for name in drawn}
    at = _parameter(place, rrefs, by) if by is not None else None
    with _style():
        if by is not None and at is not None:
            groups = [
                words_of({name: value for name, value in own.items() if name != by}) for own in differing(place, rrefs)
            ]
            figure = _by_parameter(values, by, at, groups)
        else:
            figure = _bars(values, labels(place, rrefs))
        return _done(Plot(figure, left_out), path)


def _metrics(
    rrefs: Sequence[str], measured: Sequence[dict[str, float]], metric: str | None
) -> tuple[list[str], tuple[str, ...]]:
    """The metric that is wanted, or those that all have and that stand in no list; and what is left out."""
    for rref, one in zip(rrefs, measured, strict=True):
        if not one:
            raise UsageError(f"{rref}: nothing is measured of it, there are no numbers in a metrics.json")
        if metric is not None and metric not in one:
            raise UsageError(f"metric={metric!r}: {rref} has {', '.join(names(one))}")
    if metric is not None:
        return [metric], ()
    common = [name for name in measured[0] if all(name in one for one in measured)]
    if not common:
        raise UsageError(f"{', '.join(rrefs)} have no metric in common")
    lists = tuple(dict.fromkeys(list_of(name) for name in common if list_of(name)))
    singles = [name for name in common if not list_of(name)]
    if not singles:
        raise UsageError(
            f"{', '.join(rrefs)} have only lists in common: {', '.join(lists)}; `plot_curves` draws histories, "
            f"metric={common[0]!r} one number"
        )
    return singles[:_MOST_PANELS], (*singles[_MOST_PANELS:], *lists)


def _parameter(store: Store, rrefs: Sequence[str], by: str) -> list[float]:
    """The values of a parameter."""
    values = []
    for rref in rrefs:
        numbers = {
            name: value
            for name, value in store.config(parse_rref(rref).derivation).items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        if by not in numbers:
            there = ", ".join(sorted(numbers)) or "none"
            raise UsageError(f"by={by!r}: {rref} has no such parameter that is a number; there are {there}")
        values.append(float(numbers[by]))
    return values


def _bars(values: dict[str, list[float]], named: Sequence[str]) -> Any:
    columns = min(3, len(values))
    rows = math.ceil(len(values) / columns)
    label_in = _LETTER_IN * max(map(len, named))
    figure = _figure(2.6 * columns + label_in, (_BAR_IN * len(named) + 0.7) * rows)
    first = None
    for place, (name, numbers) in enumerate(values.items()):
        axes = first = figure.add_subplot(rows, columns, place + 1, sharey=first)
        axes.set_title(name)
        bars = axes.barh(range(len(numbers)), numbers, color=_COLOURS[0], height=0.62)
        axes.bar_label(bars, fmt="%.4g", padding=3)
        axes.set_yticks(range(len(named)), named)
        axes.tick_params(axis="y", length=0, labelleft=place % columns == 0)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.28)
        axes.locator_params(axis="x", nbins=4)
    if first is not None:
        first.invert_yaxis()
    return figure


def _by_parameter(values: dict[str, list[float]], by: str, at: Sequence[float], groups: Sequence[str]) -> Any:
    columns = min(2, len(values))
    rows = math.ceil(len(values) / columns)
    figure = _figure(_PANEL_IN[0] * columns, _PANEL_IN[1] * rows)
    distinct = list(dict.fromkeys(groups))
    colours = dict(zip(distinct, _colours(len(distinct)), strict=True))
    for place, (name, numbers) in enumerate(values.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        axes.set_title(name)
        axes.set_xlabel(by)
        for group in distinct:
            points = [(x, y) for x, y, own in zip(at, numbers, groups, strict=True) if own == group]
            xs = sorted({x for x, _ in points})
            means = [_mean([y for x, y in points if x == there]) for there in xs]
            axes.plot(xs, means, color=colours[group], linewidth=1.5, label=group)
            axes.plot(*zip(*points, strict=True), "o", color=colours[group], markersize=4.5)
        if min(at) > 0 and max(at) / min(at) >= _LOG_FROM:
            axes.set_xscale("log")
    if len(distinct) > 1:
        _legend(figure, figure.axes[0].get_legend_handles_labels()[0])
    return figure


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


# -- both -------------------------------------------------------------------------------------------------------------


def _at_least_one(rrefs: Sequence[str], function: str) -> None:
    if not rrefs:
        raise UsageError(f"{function}: pass one realization or several")


def _store(store: Store | None) -> Store:
    from stagedml.authoring.session import current_store

    return store or current_store()


def _labels(store: Store, of: Sequence[str]) -> list[str]:
    """A label for each realization, or folder."""
    if all(map(is_rref, of)):
        return labels(store, of)
    return [parse_rref(one).name if is_rref(one) else Path(one).name for one in of]


def _done(plot: Plot, path: str | os.PathLike[str] | None) -> Plot:
    if path is not None:
        plot.save(path)
    return plot
