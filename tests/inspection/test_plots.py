"""Plots: what is drawn, by what names, in which formats, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inspection.event_files import write_events
from stagedml import (
    Artifact,
    Build,
    RefPath,
    UsageError,
    instantiate,
    output,
    plot_compare,
    plot_curves,
    realize,
    realize_many,
    stage,
)
from stagedml.inspection.labels import labels
from stagedml.store.objects import Store
from stagedml.testing import toys


class Trained(Artifact):
    metrics: RefPath
    protocol: RefPath


@stage(Trained, name="trained-{task}")
def trained(
    build: Build,
    *,
    task: str = "a",
    learning_rate: float = 0.1,
    batch_size: int = 8,
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
) -> None:
    """Leaves what a training leaves."""
    accuracy = 1 - learning_rate - batch_size / 1000 + build.instance / 100
    build.path(metrics).write_text(json.dumps({"eval_accuracy": accuracy, "eval_loss": 1 - accuracy, "task": task}))
    measured = {"operation": "evaluate", "split": "valid", "accuracy": accuracy}
    tested = {"operation": "evaluate", "split": "test", "accuracy": accuracy, "epoch": 2}
    build.path(protocol).write_text(json.dumps([{**measured, "epoch": 1}, {**measured, "epoch": 2}, tested]))
    steps = range(10, 2000, 10)
    losses = {step: 100 / step for step in steps}
    write_events(build.log_dir / "train", {"loss": losses, "learning_rate": dict.fromkeys(steps, learning_rate)})


def run(**parameters: Any) -> str:
    return str(realize(instantiate(lambda: trained(**parameters))))


def titles(plot: Any) -> list[tuple[str, str]]:
    return [(axes.get_title(), axes.get_xlabel()) for axes in plot.figure.axes]


def legend(plot: Any) -> list[str]:
    return [text.get_text() for one in plot.figure.legends for text in one.get_texts()]


# -- labels -----------------------------------------------------------------------------------------------------------


def test_labels_tell_what_differs_and_nothing_else(store: Store) -> None:
    one, two, three = run(), run(learning_rate=0.2), run(learning_rate=0.2, batch_size=16)
    assert labels(store, [one]) == ["trained-a"]
    assert labels(store, [one, two]) == ["learning_rate=0.1", "learning_rate=0.2"]
    assert labels(store, [one, two, three]) == [
        "batch_size=8, learning_rate=0.1",
        "batch_size=8, learning_rate=0.2",
        "batch_size=16, learning_rate=0.2",
    ]


def test_labels_of_several_stages_begin_with_their_names(store: Store) -> None:
    other, one, two = run(task="b"), run(), run(learning_rate=0.2)
    assert labels(store, [other, one, two]) == [
        "trained-b",
        "trained-a, learning_rate=0.1",
        "trained-a, learning_rate=0.2",
    ]


def test_instances_are_told_by_their_numbers(store: Store) -> None:
    rrefs = [str(rref) for rref in realize_many(instantiate(toys.sample), instances=3)]
    assert sorted(labels(store, rrefs)) == ["sample, instance 0", "sample, instance 1", "sample, instance 2"]


def test_realizations_that_differ_in_their_inputs_alone_are_told_by_these(store: Store) -> None:
    one, two = (str(realize(instantiate(toys.all_counted, content))) for content in ("one", "two"))
    found = labels(store, [one, two])
    assert all(label.startswith("upper=") for label in found)
    assert len(set(found)) == 2


def test_one_realization_twice_has_one_label(store: Store) -> None:
    one = run()
    assert labels(store, [one, one]) == ["trained-a", "trained-a"]


# -- learning curves --------------------------------------------------------------------------------------------------


def test_each_quantity_has_its_panel_and_each_realization_its_line(store: Store) -> None:
    plot = plot_curves(run(), run(learning_rate=0.2))
    assert titles(plot) == [("loss", "step"), ("accuracy", "epoch")]
    assert legend(plot) == ["learning_rate=0.1", "learning_rate=0.2", "train", "valid", "test"]
    loss, accuracy = plot.figure.axes
    assert [len(line.get_xdata()) for line in loss.lines] == [199] * 4  # each with its running mean
    drawn = {(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in accuracy.lines}
    assert ((1.0, 2.0), (0.892, 0.892)) in drawn
    assert ((2.0,), (0.792,)) in drawn


def test_one_metric_can_be_asked_for(store: Store) -> None:
    assert titles(plot_curves(run(), metric="learning_rate")) == [("learning_rate", "step")]
    with pytest.raises(
        UsageError, match=r"metric='los': there is no such curve; there are loss, accuracy, learning_rate"
    ):
        plot_curves(run(), metric="los")


def test_the_log_of_a_training_that_runs_can_be_drawn_beside_a_realization(store: Store, tmp_path: Path) -> None:
    write_events(tmp_path / "log" / "train", {"loss": {1: 0.5, 2: math.nan, 3: 0.25}, "learning_rate": {1: 0.1}})
    plot = plot_curves(run(), str(tmp_path / "log"), metric="loss")
    assert legend(plot)[:2] == ["trained-a", "log"]


def test_many_realizations_have_a_colour_each_and_a_legend_with_room(store: Store) -> None:
    plot = plot_curves(*(run(learning_rate=rate / 100) for rate in range(1, 13)), metric="accuracy")
    colours = [tuple(handle.get_color()) for handle in plot.figure.legends[0].legend_handles][:12]
    assert len(set(colours)) == 12
    height = plot.figure.get_size_inches()[1]
    assert height > plot_curves(run(), metric="accuracy").figure.get_size_inches()[1]


# -- results ----------------------------------------------------------------------------------------------------------


def test_results_are_bars_with_their_values(store: Store) -> None:
    plot = plot_compare(run(), run(learning_rate=0.2))
    assert titles(plot) == [("eval_accuracy", ""), ("eval_loss", "")]
    axes = plot.figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.892, 0.792])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["learning_rate=0.1", "learning_rate=0.2"]
    assert {text.get_text() for text in axes.texts} == {"0.892", "0.792"}


def test_results_over_a_parameter_are_joined_where_all_else_is_equal(store: Store) -> None:
    rrefs = [run(learning_rate=rate, batch_size=size) for size in (8, 16) for rate in (0.4, 0.001, 0.01)]
    plot = plot_compare(*rrefs, metric="eval_accuracy", by="learning_rate")
    (axes,) = plot.figure.axes
    assert (axes.get_xlabel(), axes.get_xscale()) == ("learning_rate", "log")
    assert legend(plot) == ["batch_size=8", "batch_size=16"]
    assert list(axes.lines[0].get_xdata()) == [0.001, 0.01, 0.4]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.991, 0.982, 0.592])


def test_instances_are_points_and_their_mean_is_the_line(store: Store) -> None:
    def varied(rate: float) -> Trained:
        return trained(learning_rate=rate)

    rrefs = [str(rref) for rate in (0.1, 0.2) for rref in realize_many(instantiate(varied, rate), instances=2)]
    (axes,) = plot_compare(*rrefs, metric="eval_accuracy", by="learning_rate").figure.axes
    line, points = axes.lines
    assert list(line.get_ydata()) == pytest.approx([0.897, 0.797])
    assert len(points.get_xdata()) == 4
    assert axes.get_xscale() == "linear"


# -- files and notebooks ----------------------------------------------------------------------------------------------


def test_plots_are_written_in_the_format_that_the_path_ends_in(store: Store, tmp_path: Path) -> None:
    plot = plot_curves(run(), path=tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text() == plot._repr_svg_()
    assert plot._repr_svg_().startswith("<svg ")
    assert plot.save(tmp_path / "a.png").read_bytes() == plot._repr_png_()
    assert plot.save(tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(UsageError, match=r"names no picture: let it end in \.svg or \.png or \.pdf"):
        plot.save(tmp_path / "a.jpg")


def test_the_same_realizations_give_the_same_bytes_whatever_the_settings_are(store: Store) -> None:
    import matplotlib

    rref = run()
    plot = plot_curves(rref)
    before = plot._repr_svg_(), plot._repr_png_()
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.grid": False}):
        assert (plot._repr_svg_(), plot._repr_png_()) == before
        assert (plot_curves(rref)._repr_svg_(), plot_curves(rref)._repr_png_()) == before
        assert matplotlib.rcParams["font.size"] == 20


def test_a_figure_can_be_changed_before_it_is_saved(store: Store) -> None:
    plot = plot_compare(run())
    plot.figure.axes[0].set_title("a title of mine")
    assert "a title of mine" in plot._repr_svg_()


def test_plotting_loads_no_pyplot_and_no_tensorflow(store: Store) -> None:
    rref = run()
    program = (
        "import sys; from stagedml import plot_compare, plot_curves, store_initialize\n"
        f"store_initialize({str(store.layout.root)!r})\n"
        f"assert plot_curves({rref!r})._repr_svg_() and plot_compare({rref!r})._repr_png_()\n"
        "assert not {'matplotlib.pyplot', 'tensorflow'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_drawn_is_refused_with_what_can(store: Store) -> None:
    rref, sample, counted = run(), str(realize(instantiate(toys.sample))), str(realize(instantiate(toys.all_counted)))
    cases: list[tuple[Any, str]] = [
        (lambda: plot_curves(), "plot_curves: pass one realization or several"),
        (lambda: plot_compare(), "plot_compare: pass one realization or several"),
        (lambda: plot_curves(rref, "nothing"), "'nothing' is neither a realization nor a folder"),
        (lambda: plot_curves(rref, counted), f"{counted} keeps no history of numbers"),
        (lambda: plot_compare("nothing"), "'nothing' is no realization"),
        (lambda: plot_compare(rref, counted), f"{counted}: nothing is measured of it"),
        (lambda: plot_compare(rref, sample), "have no metric in common"),
        (lambda: plot_compare(rref, metric="f1"), "has eval_accuracy, eval_loss"),
        (
            lambda: plot_compare(rref, by="task"),
            "no such parameter that is a number; there are batch_size, learning_rate",
        ),
    ]
    for call, complaint in cases:
        with pytest.raises(UsageError) as caught:
            call()
        assert complaint in str(caught.value)
