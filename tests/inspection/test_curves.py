"""Learning curves: what is read of logs and of what a training tells, and the small drawings of them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.event_files import scalar, text, write_events
from stagedml import Artifact, Build, RefPath, UsageError, instantiate, output, realize, stage
from stagedml.inspection.curves import curves
from stagedml.inspection.plain import as_json
from stagedml.inspection.sparks import curve_svg, sparkline
from stagedml.ml.libraries import LibraryMissing, imported
from stagedml.ml.series import Series
from stagedml.store.objects import Store

LOSSES = {10: 0.75, 20: 0.5, 30: 0.25}
PROTOCOL = [
    {"operation": "train", "epoch": 1, "steps": 15, "loss": 0.6},
    {"operation": "evaluate", "split": "valid", "epoch": 1, "rows": 7, "loss": 0.5, "accuracy": 0.7},
    {"operation": "train", "epoch": 2, "steps": 15, "loss": 0.3},
    {"operation": "evaluate", "split": "valid", "epoch": 2, "rows": 7, "loss": 0.4, "accuracy": 0.8},
    {"operation": "evaluate", "split": "test", "epoch": 2, "rows": 9, "loss": 0.45, "accuracy": 0.75},
]


class Trained(Artifact):
    protocol: RefPath


@stage(Trained, name="trained")
def trained(build: Build, *, rate: float = 0.5, protocol: RefPath = output("protocol.json")) -> None:
    """Leaves what a training leaves."""
    build.path(protocol).write_text(json.dumps(PROTOCOL))
    write_events(build.log_dir / "train", {"loss": LOSSES, "learning_rate": {10: rate, 20: rate, 30: 0.0}})
    write_events(build.log_dir / "valid", {"loss": {1: 0.5, 2: 0.4}})


def told(folder: Any, store: Store | None = None) -> dict[tuple[str, str, str], dict[int, float]]:
    found = curves(folder, store).series
    return {(one.name, one.split, one.over): dict(zip(one.at, one.values, strict=True)) for one in found}


def test_a_realization_tells_its_losses_by_step_and_by_epoch_and_what_was_measured(store: Store) -> None:
    rref = realize(instantiate(trained))
    assert told(rref, store) == {
        ("loss", "train", "steps"): LOSSES,
        ("loss", "train", "epochs"): {1: 0.6, 2: 0.3},
        ("loss", "valid", "epochs"): {1: 0.5, 2: pytest.approx(0.4)},
        ("loss", "test", "epochs"): {2: 0.45},
        ("accuracy", "valid", "epochs"): {1: 0.7, 2: 0.8},
        ("accuracy", "test", "epochs"): {2: 0.75},
        ("learning_rate", "train", "steps"): {10: 0.5, 20: 0.5, 30: 0.0},
    }
    assert curves(rref).names == ("loss", "accuracy", "learning_rate")
    assert curves(rref).of == rref


def test_the_one_training_in_a_log_is_train_whatever_its_folder_is_called(tmp_path: Path) -> None:
    write_events(tmp_path / "pretrain", {"loss": LOSSES, "learning_rate": {10: 0.1}})
    write_events(tmp_path / "held_out", {"loss": {1: 0.5}})
    assert {key[1:] for key in told(tmp_path)} == {("train", "steps"), ("held_out", "epochs")}


def test_in_a_log_without_any_learning_rate_all_numbers_are_steps(tmp_path: Path) -> None:
    write_events(tmp_path / "a" / "b", {"reward": {5: 1.0}})
    assert told(tmp_path) == {("reward", "a/b", "steps"): {5: 1.0}}


def test_numbers_of_the_first_tensorflow_are_read_and_texts_left_out(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(scalar(3, "loss", 0.5, old=True) + text(3, "note", "hello"))
    assert told(tmp_path) == {("loss", ".", "steps"): {3: 0.5}}


@pytest.mark.parametrize("left", [1, 7, 11, 20, -1])
def test_of_a_log_that_is_being_written_all_whole_records_are_read(tmp_path: Path, left: int) -> None:
    file = write_events(tmp_path / "train", {"loss": LOSSES})
    file.write_bytes(file.read_bytes() + scalar(40, "loss", 0.1)[:left])
    assert told(tmp_path) == {("loss", "train", "steps"): LOSSES}


def test_of_a_damaged_log_what_is_before_the_damage_is_read(tmp_path: Path) -> None:
    file = write_events(tmp_path / "train", {"loss": LOSSES})
    garbled = bytearray(scalar(40, "loss", 0.1))
    garbled[12:-4] = b"\xff" * len(garbled[12:-4])  # the length is good, what it is the length of is not
    file.write_bytes(file.read_bytes() + bytes(garbled) + scalar(50, "loss", 0.0))
    assert told(tmp_path) == {("loss", "train", "steps"): LOSSES}


def test_of_a_training_that_went_on_the_later_file_counts(tmp_path: Path) -> None:
    write_events(tmp_path / "train", {"loss": {10: 0.9, 20: 0.8}}, "1")
    write_events(tmp_path / "train", {"loss": {20: 0.7, 30: 0.6}}, "2")
    assert told(tmp_path)["loss", "train", "steps"] == pytest.approx({10: 0.9, 20: 0.7, 30: 0.6})


def test_a_history_in_metrics_json_is_read_where_there_is_one(tmp_path: Path) -> None:
    history = {"loss": [3, 2.5], "val_loss": [4, 3.5], "notes": ["a", "b"], "empty": []}
    (tmp_path / "metrics.json").write_text(json.dumps({"accuracy": 0.5, "history": history}))
    assert told(tmp_path) == {("loss", "train", "epochs"): {1: 3, 2: 2.5}, ("loss", "valid", "epochs"): {1: 4, 2: 3.5}}


@pytest.mark.parametrize("content", ["", "{", "3", '{"epoch": 1}', '[3, {"epoch": "x"}, {"epoch": 1, "loss": "low"}]'])
def test_other_files_of_these_names_tell_nothing(tmp_path: Path, content: str) -> None:
    for name in ("protocol.json", "metrics.json"):
        (tmp_path / name).write_text(content)
    assert told(tmp_path) == {}


def test_losses_that_are_no_numbers_are_texts_in_json(tmp_path: Path) -> None:
    write_events(tmp_path, {"loss": {1: 0.5, 2: math.nan, 3: math.inf}})
    assert json.loads(as_json(curves(tmp_path)))["series"][0]["values"] == [
        0.5,
        "NaN",
        "Infinity",
    ]


def test_what_is_neither_realization_nor_folder_is_refused(store: Store, tmp_path: Path) -> None:
    wrong: Any
    for wrong in (5, None, "nothing-here", "rref:short", tmp_path / "gone"):
        with pytest.raises(UsageError, match="is neither a realization nor a folder"):
            curves(wrong)


def test_reading_a_log_imports_no_tensorflow(tmp_path: Path) -> None:
    write_events(tmp_path / "train", {"loss": LOSSES})
    program = (
        "import sys; from stagedml.inspection.curves import curves\n"
        "assert not {'numpy', 'tensorboard', 'matplotlib'} & sys.modules.keys()\n"
        f"assert curves({str(tmp_path)!r}).series\n"
        "assert not {'tensorflow', 'pylightnix'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_not_installed_is_told_with_what_installs_it() -> None:
    with pytest.raises(LibraryMissing, match=r"no_such_library is not installed.*pip install 'stagedml\[plot\]'"):
        imported("no_such_library.part", "drawing")


# -- small drawings ---------------------------------------------------------------------------------------------------


def test_a_sparkline_rises_where_its_values_do() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([1, 0, math.nan, 1]) == "█▁ █"
    assert sparkline([]) == ""
    assert sparkline([3, 3]) == "▅▅"
    assert sparkline([math.nan, math.inf]) == "  "


@given(st.lists(st.floats(width=64)), st.integers(1, 60))
def test_a_sparkline_is_never_longer_than_its_width(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(len(values), width)
    assert set(line) <= set("▁▂▃▄▅▆▇█ ")


@given(st.lists(st.floats(width=64), max_size=1000))
def test_a_small_picture_is_bounded_and_stays_inside_of_itself(values: list[float]) -> None:
    series = Series("loss", '<train> & "more"', "steps", tuple(range(len(values))), tuple(values))
    picture = curve_svg(series, 100, 40)
    assert len(picture) < 5_000
    tree = ElementTree.fromstring(picture)
    for line in tree.iter("{http://www.w3.org/2000/svg}polyline"):
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert len(points) <= 200
        assert all(0 <= x <= 100 and 0 <= y <= 40 for x, y in points)


def test_a_small_picture_says_in_words_what_it_shows() -> None:
    picture = curve_svg(Series("loss", "train", "steps", (10, 3560), (0.72, 0.0113)))
    (title,) = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}title")
    assert title.text == "train loss over 3,560 steps: 0.72 to 0.0113"
