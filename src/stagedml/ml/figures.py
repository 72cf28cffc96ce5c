"""Figures of numbers: learning curves, and how results compare. `inspection.plots` and `report` say of what.

matplotlib draws them, by `Figure` and its canvases alone: no window, no pyplot, nobody's settings are used or changed.
The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from stagedml.ml.libraries import importing
from stagedml.ml.series import TEST, TRAIN, VALID, Series, thinned

#: Told apart by people who see colours otherwise, and in grey (Okabe and Ito 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MANY = "viridis"  #: where there are more
_STYLES = {TRAIN: "-", VALID: "--", TEST: ":"}
_MOST_POINTS = 1000
_NOISY = 100  #: points from which on a running mean is drawn
_PANEL_IN = (4.6, 3.1)
_BAR_IN = 0.32
_GAP_IN = 0.08
_LINE_IN = 0.21
_LETTER_IN = 0.078
_MOST_TICKS = 6  #: values of a parameter, up to which its axis tells each of them
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
#: Of bars whose numbers vary.
_WHISKERS = {"error_kw": {"elinewidth": 1.0, "capsize": 2.5, "ecolor": "#57606a"}}

#: Of each format, what would tell when, and by what, a picture was drawn.
_WITHOUT: Mapping[str, dict[str, None]] = {
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def drawn(figure: Any, format: str) -> bytes:
    """A figure as `svg`, `png` or `pdf`; the figure stays as it is."""
    figure = pickle.loads(pickle.dumps(figure))  # drawing moves the axes, each time a little
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format=format, metadata=_WITHOUT[format], dpi=150)
    return buffer.getvalue()


def svg(figure: Any) -> str:
    """A figure as SVG, to stand by itself or in a page."""
    text = drawn(figure, "svg").decode()
    return text[text.index("<svg") :]


def _style() -> Any:
    """Our settings of matplotlib and nobody else's, as long as the context lasts. Raises LibraryMissing."""
    with importing("matplotlib", "a plot"):
        from matplotlib import style
    return style.context(["default", _SETTINGS])


def _figure(width_in: float, height_in: float) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # The gap is between panels, too, whose titles stand below the names of other axes.
    return Figure((width_in, height_in), layout=ConstrainedLayoutEngine(h_pad=_GAP_IN))


# -- learning curves --------------------------------------------------------------------------------------------------


def curves_figure(runs: Sequence[Sequence[Series]], panels: Sequence[tuple[str, str]], named: Sequence[str]) -> Any:
    """The learning curves of some runs.

    Of a long series, the running mean is drawn, and its points faintly behind.

    Args:
        runs: what was measured of each.
        panels: of what there is a panel: the name of a series, and what is counted on its axis.
        named: a label for each run.
    """
    with _style():
        columns = min(2, len(panels))
        rows = math.ceil(len(panels) / columns)
        colours = _colours(len(runs))
        figure = _figure(_PANEL_IN[0] * columns, _PANEL_IN[1] * rows)
        for place, (name, over) in enumerate(panels):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.set_title(name)
            axes.set_xlabel(over.removesuffix("s"))
            for one, colour in zip(runs, colours, strict=True):
                for series in one:
                    if (series.name, series.over) == (name, over):
                        _draw(axes, series, colour)
            axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(figure, _handles(named, colours, runs, panels))
        return figure


def _colours(count: int) -> Sequence[Any]:
    if count <= len(_COLOURS):
        return _COLOURS[:count]
    from matplotlib import colormaps

    return [colormaps[_MANY](place / (count - 1) * 0.92) for place in range(count)]


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
    named: Sequence[str], colours: Sequence[Any], runs: Sequence[Sequence[Series]], panels: Sequence[tuple[str, str]]
) -> list[Any]:
    """Which colour is which realization, and which line is which split."""
    from matplotlib.lines import Line2D

    is_point: dict[str, bool] = {}
    for series in (series for one in runs for series in one if (series.name, series.over) in panels):
        is_point[series.split] = is_point.get(series.split, True) and len(series.at) == 1
    handles = [
        Line2D([], [], color=colour, linewidth=3, label=name) for name, colour in zip(named, colours, strict=True)
    ]
    for split, point in is_point.items():
        look: dict[str, Any] = {"marker": "D", "linestyle": ""} if point else {"linestyle": _STYLES.get(split, "-.")}
        handles.append(Line2D([], [], color="#57606a", label=split, markersize=5, **look))
    return handles


def _legend(figure: Any, handles: Sequence[Any]) -> None:
    """A legend below the panels, with room of its own, in as many columns as go beside each other."""
    width_in, height_in = figure.get_size_inches()
    entry_in = _LETTER_IN * max(len(handle.get_label()) for handle in handles) + 0.7
    columns = min(max(int(width_in / entry_in), 1), len(handles))
    figure.set_size_inches(max(width_in, entry_in), height_in + _LINE_IN * math.ceil(len(handles) / columns))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


# -- results ----------------------------------------------------------------------------------------------------------


def bars_figure(
    values: Mapping[str, Sequence[float]],
    named: Sequence[str],
    spreads: Mapping[str, Sequence[float]] | None = None,
) -> Any:
    """Bars, a panel for each metric.

    Args:
        values: of each metric, a number for each result; NaN where it has none.
        named: a label for each result.
        spreads: how far the numbers are known to vary, each way, in the same shape.
    """
    with _style():
        columns = min(3, len(values))
        rows = math.ceil(len(values) / columns)
        label_in = _LETTER_IN * max(map(len, named))
        figure = _figure(2.6 * columns + label_in, (_BAR_IN * len(named) + 0.7) * rows)
        first = None
        for place, (name, numbers) in enumerate(values.items()):
            axes = first = figure.add_subplot(rows, columns, place + 1, sharey=first)
            axes.set_title(name)
            spread = None if spreads is None else spreads[name]
            bars = axes.barh(range(len(numbers)), numbers, xerr=spread, color=_COLOURS[0], height=0.62, **_WHISKERS)
            axes.bar_label(bars, ["" if math.isnan(value) else f"{value:.4g}" for value in numbers], padding=3)
            axes.set_yticks(range(len(named)), named)
            axes.tick_params(axis="y", length=0, labelleft=place % columns == 0)
            axes.grid(visible=False, axis="y")
            axes.margins(x=0.28)
            axes.locator_params(axis="x", nbins=4)
        if first is not None:
            first.invert_yaxis()
        return figure


def parameter_figure(values: Mapping[str, Sequence[float]], by: str, at: Sequence[float], groups: Sequence[str]) -> Any:
    """Results over a parameter, a panel for each metric.

    Args:
        values: of each metric, a number for each result; NaN where it has none.
        by: the name of the parameter.
        at: its value for each result.
        groups: of each result; those of one are joined by a line, through the mean where several have one value.
    """
    with _style():
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
            is_log = min(at) > 0 and max(at) / min(at) >= _LOG_FROM
            if is_log:
                axes.set_xscale("log")
            if len(ticks := sorted(set(at))) <= _MOST_TICKS:
                axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                axes.minorticks_off()
            elif not is_log:
                axes.ticklabel_format(axis="x", scilimits=(-3, 5))
        if len(distinct) > 1:
            _legend(figure, figure.axes[0].get_legend_handles_labels()[0])
        return figure


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
