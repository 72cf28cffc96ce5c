"""Plots of realizations: learning curves, and how results compare.

`stagedml.ml.figures` draws them, the same bytes for the same input. A figure can be changed before it is saved:
`plot_curves(rref).figure.axes[0]`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.core.refs import is_rref, parse_rref
from stagedml.errors import UsageError
from stagedml.inspection.curves import Curves, curves
from stagedml.inspection.labels import differing, labels
from stagedml.inspection.metrics import list_of, metrics_in, names
from stagedml.inspection.parameters import words_of
from stagedml.inspection.pictures import write_picture
from stagedml.ml.figures import bars_figure, curves_figure, drawn, parameter_figure, svg
from stagedml.ml.series import OF_RUNNING, STEPS
from stagedml.store.objects import Store

_MOST_PANELS = 6


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
                ".pdf": lambda: drawn(self.figure, "pdf"),
            },
        )

    def svg(self) -> str:
        """The plot as SVG, to stand by itself or in a page."""
        return svg(self.figure)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_png_(self) -> bytes:
        return drawn(self.figure, "png")


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
    figure = curves_figure([one.series for one in found], panels, named)
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
    ordered = sorted(pairs, key=lambda pair: (wanted.index(pair[0]), pair[1] != STEPS))
    drawn = ordered[:_MOST_PANELS]
    return drawn, tuple(dict.fromkeys(pair[0] for pair in ordered[_MOST_PANELS:]))


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
    if by is None:
        figure = bars_figure(values, labels(place, rrefs))
    else:
        at = _parameter(place, rrefs, by)
        groups = [
            words_of({name: value for name, value in own.items() if name != by}) for own in differing(place, rrefs)
        ]
        figure = parameter_figure(values, by, at, groups)
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
