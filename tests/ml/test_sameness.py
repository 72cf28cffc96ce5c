"""Comparing two builds: the verdict, and that what differs first is found and named, in every format."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import pickle
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from stagedml.ml import compare
from stagedml.ml.compare import UnreadableTree, compare_trees
from stagedml.ml.sameness import (
    ATOL,
    RTOL,
    ByteDiffers,
    Comparison,
    EntryDiffers,
    InvalidTolerance,
    LineDiffers,
    RecordDiffers,
    Sameness,
    TensorDiffers,
    Tolerance,
    ValueDiffers,
)
from stagedml.ml.tensors import PIECE_BYTES
from stagedml.ml.tfrecord import write_records
from unprivileged import as_nobody

IDENTICAL, EQUAL, CLOSE, DIFFERENT = Sameness
Arrays = Mapping[str, NDArray[Any]]
Contents = str | bytes


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    found = tmp_path / "before", tmp_path / "after"
    for tree in found:
        tree.mkdir()
    return found


def compared(before: Path, after: Path, tolerance: Tolerance | None = None) -> Comparison:
    """Both ways round: the verdict is one."""
    found = compare_trees(before, after, tolerance=tolerance)
    back = compare_trees(after, before, tolerance=tolerance)
    assert (found.sameness, found.files, found.differing) == (back.sameness, back.files, back.differing)
    assert (found.first and found.first.path) == (back.first and back.first.path)
    assert (found.epoch and found.epoch.epoch) == (back.epoch and back.epoch.epoch)
    for one in (found, back):
        assert "\n" not in one.told()
        assert pickle.loads(pickle.dumps(one)) == one
        json.dumps(one.to_json(), allow_nan=False)
    return found


def files(trees: tuple[Path, Path], name: str, before: Contents, after: Contents) -> Comparison:
    """The comparison of two trees of one file."""
    for tree, contents in zip(trees, (before, after), strict=True):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return compared(*trees)


def values(trees: tuple[Path, Path], before: Any, after: Any, name: str = "metrics.json") -> Comparison:
    return files(trees, name, json.dumps(before), json.dumps(after))


# -- trees -----------------------------------------------------------------------------------------------------------


def test_equal_trees_are_identical(trees: tuple[Path, Path]) -> None:
    for tree in trees:
        (tree / "folder" / "empty").mkdir(parents=True)
        (tree / "folder" / "file").write_text("text")
        (tree / "link").symlink_to("folder/file")
    assert compared(*trees) == Comparison(IDENTICAL, files=4, differing=0)
    assert compared(*trees).told() == "identical"
    assert compared(trees[0], trees[0]).sameness is IDENTICAL


def test_names_that_are_left_out_are_so_at_the_top_alone(trees: tuple[Path, Path]) -> None:
    for tree in trees:
        (tree / "log").mkdir()
        (tree / "log" / "time").write_text(tree.name)
    assert compare_trees(*trees, left_out={"log"}) == Comparison(IDENTICAL, files=0, differing=0)
    for tree in trees:
        (tree / "sub" / "log").mkdir(parents=True)
        (tree / "sub" / "log" / "time").write_text(tree.name)
    found = compare_trees(*trees, left_out={"log"})
    assert found.first is not None
    assert found.first.path == "sub/log/time"


def make_executable(path: Path) -> None:
    path.write_text("text")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (None, "(none)"),
        (Path.mkdir, "a folder"),
        (make_executable, "an executable file"),
        (lambda path: path.symlink_to("elsewhere"), "a link to elsewhere"),
    ],
)
def test_another_kind_of_file_is_different(
    trees: tuple[Path, Path], make: Callable[[Path], None] | None, told: str
) -> None:
    (trees[0] / "x").write_text("text")
    if make:
        make(trees[1] / "x")
    found = compared(*trees)
    assert found.told() == f"different: x: a file -> {told}"
    assert found.first is not None
    assert isinstance(found.first.place, EntryDiffers)


def test_links_are_compared_by_where_they_lead(trees: tuple[Path, Path]) -> None:
    for tree in trees:
        (tree / "a").write_text("text")
        (tree / "b").write_text("text")
        (tree / "link").symlink_to("a" if tree is trees[0] else "b")
    assert compared(*trees).told() == "different: link: a link to a -> a link to b"


def test_the_first_of_the_worst_files_is_named(trees: tuple[Path, Path]) -> None:
    for tree, number, space in zip(trees, ("0.1", "0.10000001"), ("", " "), strict=True):
        (tree / "a.json").write_text(f"{space}1")
        (tree / "b.json").write_text(number)
    assert compared(*trees).told() == "equal within tolerance: b.json: 0.1 -> 0.10000001"
    for tree, text in zip(trees, "xy", strict=True):
        (tree / "c").mkdir()
        (tree / "c" / "1").write_text(text)
        (tree / "c.txt").write_text(text)
    found = compared(*trees)
    assert found.told() == 'different: c.txt: line 1: "x" -> "y"'
    assert (found.files, found.differing) == (5, 4)


def test_what_cannot_be_read_is_a_clear_error(trees: tuple[Path, Path]) -> None:
    with pytest.raises(UnreadableTree, match=r"gone: cannot be compared \(No such file"):
        compare_trees(trees[0], trees[1] / "gone")
    os.mkfifo(trees[0] / "pipe")
    with pytest.raises(UnreadableTree, match=r"pipe: cannot be compared \(it is no file, folder or symbolic link\)"):
        compare_trees(*trees)


@pytest.mark.unprivileged
def test_a_file_that_one_may_not_read_is_a_clear_error(nobody_path: Path) -> None:
    def check() -> None:
        for name in ("before", "after"):
            (nobody_path / name).mkdir()
            (nobody_path / name / "weights.npz").write_text("text")
        (nobody_path / "after" / "weights.npz").chmod(0)
        with pytest.raises(UnreadableTree, match=r"weights\.npz: cannot be compared \(Permission denied\)"):
            compare_trees(nobody_path / "before", nobody_path / "after")

    as_nobody(check)


# -- texts and bytes -------------------------------------------------------------------------------------------------


def test_of_texts_the_first_line_that_differs_is_named(trees: tuple[Path, Path]) -> None:
    found = files(trees, "words", "one\ntwo\nthree\n", "one\ntwö\nfour\n")
    assert found.first is not None
    assert found.first.place == LineDiffers(2, "two\n", "twö\n")
    assert found.told() == r'different: words: line 2: "two\n" -> "twö\n"'.replace(r"\n", "\\n")
    shorter = files(trees, "words", "one\ntwo\n", "one\n")
    assert shorter.first is not None
    assert shorter.first.place == LineDiffers(2, "two\n", None)


def test_of_a_long_line_the_part_that_differs_is_shown(trees: tuple[Path, Path]) -> None:
    start = "ä" * 3_000_000
    found = files(trees, "words", f"first\n{start}x{start}", f"first\n{start}y{start}").first
    assert found is not None
    assert isinstance(found.place, LineDiffers)
    assert found.place.number == 2
    for text, letter in ((found.place.before, "x"), (found.place.after, "y")):
        assert text is not None
        assert len(text) <= 80
        assert set(text) == {"ä", letter}


def test_of_bytes_the_first_that_differs_is_named(trees: tuple[Path, Path]) -> None:
    data = bytes(3_000_000)
    found = files(trees, "data.bin", data + b"\1" + data, data + b"\2" + data).first
    assert found is not None
    assert found.place == ByteDiffers(3_000_000, 6_000_001, 6_000_001)
    longer = files(trees, "data.bin", data, data + b"\1")
    assert longer.told() == "different: data.bin: byte 3000000 (3000000 bytes -> 3000001 bytes)"


def test_of_records_the_first_that_differs_is_named(trees: tuple[Path, Path]) -> None:
    rows = [{"ids": [number, 2, 3]} for number in range(5)]
    for tree, changed in zip(trees, (7, 8), strict=True):
        write_records(tree / "train.tfrecord", [*rows, {"ids": [changed]}, *rows])
    found = compared(*trees).first
    assert found is not None
    assert isinstance(found.place, RecordDiffers)
    assert found.place.number == 6
    write_records(trees[1] / "train.tfrecord", [*rows, {"ids": [7]}])
    assert compared(*trees).told().startswith("different: train.tfrecord: record 7: ")
    assert compared(*trees).told().endswith(" bytes -> (none)")


def test_damaged_records_are_compared_by_bytes(trees: tuple[Path, Path]) -> None:
    write_records(trees[0] / "train.tfrecord", [{"ids": [1]}])
    whole = (trees[0] / "train.tfrecord").read_bytes()
    (trees[1] / "train.tfrecord").write_bytes(whole[:-1])
    found = compared(*trees).first
    assert found is not None
    assert isinstance(found.place, ByteDiffers)
    assert found.note == "compared by bytes: after, the file ends within a record"


# -- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "sameness"),
    [
        ('{"a": 1, "b": [2]}', '{"b":[2],\n"a":1}', EQUAL),
        ("[NaN, 1e400, -Infinity]", "[NaN,Infinity,-1e400]", EQUAL),
        ("0.0", "-0.0", EQUAL),
        ("1", "1.0", EQUAL),
        ("1", "true", DIFFERENT),
        ("1", '"1"', DIFFERENT),
        ("null", "0", DIFFERENT),
        ("1", "2", DIFFERENT),
        ("1000000000", "1000000001", DIFFERENT),
        ("1000000000", "1000000001.0", CLOSE),
        ("1.0", "1.000001", CLOSE),
        ("1.0", "1.0001", DIFFERENT),
        ("0.0", "1e-8", CLOSE),
        ("0.0", "1e-6", DIFFERENT),
        ("NaN", "1.0", DIFFERENT),
        ("Infinity", "1e308", DIFFERENT),
        ("Infinity", "-Infinity", DIFFERENT),
        ("-1e308", "1e308", DIFFERENT),
        ("1" + "0" * 400, "1.0", DIFFERENT),
        ("[1]", "[1, 1]", DIFFERENT),
        ('{"a": null}', "{}", DIFFERENT),
    ],
)
def test_json_is_compared_by_its_values(trees: tuple[Path, Path], before: str, after: str, sameness: Sameness) -> None:
    assert files(trees, "metrics.json", before, after).sameness is sameness


def test_the_first_value_that_differs_is_named_with_both_values(trees: tuple[Path, Path]) -> None:
    found = values(trees, {"eval_accuracy": 0.81, "loss": 1.0}, {"eval_accuracy": 0.79, "loss": 2.0})
    assert found.first is not None
    assert found.first.place == ValueDiffers("eval_accuracy", "0.81", "0.79")
    assert found.told() == "different: metrics.json: eval_accuracy 0.81 -> 0.79"
    assert values(trees, {"a": [{"b.c": [1, 2]}]}, {"a": [{"b.c": [1, 3]}]}).told().endswith('a[0]["b.c"][1] 2 -> 3')
    assert values(trees, {"a": 1}, {"a": 1, "b": None}).told() == "different: metrics.json: b (none) -> null"


def test_values_beyond_the_tolerance_come_before_those_within(trees: tuple[Path, Path]) -> None:
    found = values(trees, {"a": 1.0, "b": 1.0}, {"a": 1.0000001, "b": 2.0})
    assert found.told() == "different: metrics.json: b 1.0 -> 2.0"


def test_the_tolerance_is_what_one_says(trees: tuple[Path, Path]) -> None:
    values(trees, [1.0, 0.0], [1.5, 0.25])
    exact, loose, looser = Tolerance(0, 0), Tolerance(0.4, 0.14), Tolerance(0.4, 0.15)
    assert [compared(*trees, tolerance).sameness for tolerance in (exact, loose, looser)] == [
        DIFFERENT,
        DIFFERENT,
        CLOSE,
    ]
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidTolerance, match=r"atol=.*: give a finite number"):
            Tolerance(atol=wrong)


def test_large_values_are_shortened_around_what_differs(trees: tuple[Path, Path]) -> None:
    found = values(trees, {"text": "a" * 10_000 + "b"}, {"text": "a" * 10_000 + "c"}).first
    assert found is not None
    assert isinstance(found.place, ValueDiffers)
    assert found.place.before is not None
    assert found.place.after is not None
    assert found.place.before.endswith('ab"')
    assert found.place.after.endswith('ac"')
    assert len(found.place.before) < 90


@pytest.mark.parametrize(
    "broken",
    ["{", "", '{"a": 1, "a": 2}', "[" * 100_000 + "]" * 100_000, "\0", "1" * 5000, b"\xff\xfe\xff"],
    ids=["open", "empty", "twins", "deep", "zero", "long", "bytes"],
)
def test_what_is_no_json_is_compared_by_bytes(trees: tuple[Path, Path], broken: Contents) -> None:
    found = files(trees, "metrics.json", '{"a": 1}', broken)
    assert found.sameness is DIFFERENT
    assert found.first is not None
    assert isinstance(found.first.place, (LineDiffers, ByteDiffers))
    assert found.first.note.startswith("compared by bytes: not JSON: ")


def test_json_that_is_too_large_is_compared_by_bytes(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "LARGEST_JSON_BYTES", 100)
    assert files(trees, "metrics.json", "[1]" + " " * 100, "[1]").sameness is DIFFERENT
    assert files(trees, "metrics.json", "[1]" + " " * 50, "[1]").sameness is EQUAL


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any, shuffle: Callable[[list[Any]], None]) -> Any:
    if isinstance(value, dict):
        names = list(value)
        shuffle(names)
        return {name: shuffled(value[name], shuffle) for name in names}
    return [shuffled(item, shuffle) for item in value] if isinstance(value, list) else value


@given(value=json_values, random=st.randoms(), indent=st.sampled_from([None, 1]))
@settings(max_examples=100, deadline=None)
def test_the_order_of_names_and_the_spaces_do_not_count(value: Any, random: Any, indent: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder, "before"), Path(folder, "after")
        found = files(pair, "x.json", json.dumps(value), json.dumps(shuffled(value, random.shuffle), indent=indent))
    assert found.sameness in (IDENTICAL, EQUAL)


@given(before=json_values, after=json_values)
@settings(max_examples=100, deadline=None)
def test_two_values_have_one_verdict_both_ways_round(before: Any, after: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder, "before"), Path(folder, "after")
        assert values(pair, before, before).sameness is IDENTICAL
        found = values(pair, before, after)
    if json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True):
        assert found.sameness in (IDENTICAL, EQUAL)


def leaves(value: Any, steps: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for step, item in items for leaf in leaves(item, (*steps, step))]
    return found or [steps]


@given(value=st.lists(json_values, min_size=1) | st.dictionaries(st.text(), json_values, min_size=1), data=st.data())
@settings(max_examples=100, deadline=None)
def test_one_changed_value_is_found_where_it_is(value: Any, data: st.DataObject) -> None:
    steps = data.draw(st.sampled_from(leaves(value)))
    changed = copy.deepcopy(value)
    owner = changed
    for step in steps[:-1]:
        owner = owner[step]
    owner[steps[-1]] = {"something": "else"}
    with tempfile.TemporaryDirectory() as folder:
        found = values((Path(folder, "before"), Path(folder, "after")), value, changed)
    assert found.sameness is DIFFERENT
    assert found.first is not None
    assert isinstance(found.first.place, ValueDiffers)
    place = found.first.place.place
    if owner_was_container(value, steps):  # an empty one: what is in the new one is what differs
        assert place.startswith(told(steps))
    else:
        assert place == told(steps)


def owner_was_container(value: Any, steps: Sequence[Any]) -> bool:
    for step in steps:
        value = value[step]
    return isinstance(value, dict)


def told(steps: Sequence[Any]) -> str:
    return compare._told(tuple(steps))


# -- protocols -------------------------------------------------------------------------------------------------------


def protocol(*losses: float) -> list[dict[str, Any]]:
    return [
        entry
        for epoch, loss in enumerate(losses, start=1)
        for entry in (
            {"operation": "train", "epoch": epoch, "loss": loss},
            {"operation": "evaluate", "epoch": epoch, "accuracy": {"valid": [loss / 2]}},
        )
    ]


def test_the_first_epoch_that_differs_is_named(trees: tuple[Path, Path]) -> None:
    values(trees, {"eval_accuracy": 0.81}, {"eval_accuracy": 0.79})
    found = values(trees, protocol(1, 0.5, 0.25), protocol(1, 0.75, 0.125), "protocol.json")
    assert found.told() == (
        "different: metrics.json: eval_accuracy 0.81 -> 0.79 "
        "(first differs in protocol.json at epoch 2: loss 0.5 -> 0.75)"
    )
    assert found.to_json()["epoch"]["epoch"] == 2
    for tree in trees:
        (tree / "metrics.json").unlink()
    assert compared(*trees).told() == (
        "different: protocol.json: [2].loss 0.5 -> 0.75 (first differs at epoch 2: loss 0.5 -> 0.75)"
    )


def test_the_first_epoch_is_the_smallest_in_whatever_order_they_are_told(trees: tuple[Path, Path]) -> None:
    before, after = protocol(1, 2, 3), protocol(1, 4, 5)
    found = values(trees, before[::-1], after[::-1], "protocol.json")
    assert found.epoch is not None
    assert (found.epoch.epoch, found.epoch.key) == (2, "accuracy.valid[0]")


def test_noise_within_the_tolerance_is_told_where_it_begins(trees: tuple[Path, Path]) -> None:
    found = values(trees, protocol(1, 2, 3, 4), protocol(1, 2.000001, 3, 5), "protocol.json")
    assert found.epoch is not None
    assert (found.epoch.epoch, found.epoch.since) == (4, 2)
    assert found.told().endswith("at epoch 4: loss 4 -> 5, within tolerance since epoch 2)")
    noise = values(trees, protocol(1, 2), protocol(1, 2.000001), "protocol.json")
    assert noise.told() == (
        "equal within tolerance: protocol.json: [2].loss 2 -> 2.000001 "
        "(first differs at epoch 2: loss 2 -> 2.000001, within tolerance)"
    )


def test_an_epoch_that_one_side_lacks_is_named(trees: tuple[Path, Path]) -> None:
    found = values(trees, protocol(1, 2), protocol(1, 2, 3), "protocol.json")
    assert found.epoch is not None
    assert (found.epoch.epoch, found.epoch.key, found.epoch.before) == (3, "", None)


def test_the_earliest_epoch_of_several_protocols_is_named(trees: tuple[Path, Path]) -> None:
    values(trees, protocol(1, 2, 3), protocol(1, 2, 4), "a/protocol.json")
    found = values(trees, protocol(1, 2, 3), protocol(1, 4, 4), "b/protocol.json")
    assert found.first is not None
    assert found.epoch is not None
    assert (found.first.path, found.epoch.file, found.epoch.epoch) == ("a/protocol.json", "b/protocol.json", 2)


@pytest.mark.parametrize("name", ["history.jsonl", "history.ndjson", "history.json"])
def test_json_lines_are_protocols_too(trees: tuple[Path, Path], name: str) -> None:
    before, after = ("\n".join(json.dumps(entry) for entry in protocol(*losses)) for losses in ((1, 2, 3), (1, 2, 3.5)))
    found = files(trees, name, before + "\n", after)
    assert found.told() == f"different: {name}: [4].loss 3 -> 3.5 (first differs at epoch 3: loss 3 -> 3.5)"
    assert files(trees, name, before, "\n" + before.replace(", ", " , ") + "\n").sameness is EQUAL
    broken = files(trees, name, before, before + "\n{")
    assert broken.first is not None
    assert isinstance(broken.first.place, LineDiffers)


def test_entries_without_an_epoch_have_none(trees: tuple[Path, Path]) -> None:
    assert values(trees, [{"loss": 1, "epoch": True}], [{"loss": 2, "epoch": True}], "protocol.json").epoch is None
    assert values(trees, [1, {"epoch": 1}], [2, {"epoch": 1}], "protocol.json").epoch is None


@given(losses=st.lists(st.floats(0.1, 10), min_size=1, max_size=6), data=st.data())
@settings(max_examples=50, deadline=None)
def test_whatever_epoch_begins_to_differ_is_found(losses: list[float], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(losses) - 1))
    changed = [*losses[:first], *(loss * 2 for loss in losses[first:])]
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder, "before"), Path(folder, "after")
        found = values(pair, protocol(*losses), protocol(*changed), "protocol.json")
    assert found.epoch is not None
    assert (found.epoch.epoch, found.epoch.key) == (first + 1, "loss")


# -- tensors ---------------------------------------------------------------------------------------------------------


def write_npz(path: Path, tensors: Arrays) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in tensors.items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1990 + len(path.parts[-2]), 1, 1, 0, 0, 0)), file.getvalue()
            )


def write_npy(path: Path, tensors: Arrays) -> None:
    """The first alone, under the empty name."""
    np.save(path, next(iter(tensors.values())))


def write_safetensors(path: Path, tensors: Arrays) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)


WRITERS: dict[str, Callable[[Path, Arrays], None]] = {
    "weights.npz": write_npz,
    "weights.npy": write_npy,
    "model.safetensors": write_safetensors,
}


def tensors(trees: tuple[Path, Path], name: str, before: Arrays, after: Arrays) -> Comparison:
    for tree, written in zip(trees, (before, after), strict=True):
        tree.mkdir(exist_ok=True)
        WRITERS[name](tree / name, written)
    return compared(*trees)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("dtype", "change", "sameness"),
    [
        ("float32", 2e-6, CLOSE),
        ("float32", 1e-3, DIFFERENT),
        ("float64", 1e-15, CLOSE),
        ("float64", math.nan, DIFFERENT),
        ("float64", math.inf, DIFFERENT),
        ("float16", 1e-3, DIFFERENT),
        ("complex64", 2e-6, CLOSE),
        ("int64", 1, DIFFERENT),
        ("uint8", 255, DIFFERENT),
        ("bool", 1, DIFFERENT),
    ],
)
def test_a_changed_element_is_found_and_measured(
    trees: tuple[Path, Path], name: str, dtype: str, change: Any, sameness: Sameness
) -> None:
    before = {"layer_10": np.ones((3, 4)).astype(dtype), "layer_2": np.zeros((2,), dtype)}
    after = {key: array.copy() for key, array in before.items()}
    with np.errstate(over="ignore"):
        after["layer_10"][1, 2] += np.array(change).astype(dtype)
    if dtype == "bool":
        after["layer_10"][1, 2] = False
    found = tensors(trees, name, before, after)
    assert found.sameness is sameness
    assert found.first is not None
    place = found.first.place
    assert isinstance(place, TensorDiffers)
    assert place.name == ("" if name.endswith("npy") else "layer_10")
    assert (place.before, place.after, place.elements, place.differing) == (f"{dtype}[3,4]", f"{dtype}[3,4]", 12, 1)
    if dtype == "bool":
        assert place.largest_absolute is None
    else:
        one, other = (complex(side["layer_10"][1, 2]) for side in (before, after))
        gap = abs(one - other) if np.isfinite(other) else math.inf
        assert place.largest_absolute == pytest.approx(gap)
        assert place.largest_relative == pytest.approx(gap / max(abs(one), abs(other)) if np.isfinite(other) else gap)


@pytest.mark.parametrize("name", ["weights.npz", "model.safetensors"])
def test_other_names_shapes_and_types_are_told(trees: tuple[Path, Path], name: str) -> None:
    base = {"a": np.zeros(3, np.float32), "b": np.zeros((2, 3), np.float32)}
    cases: list[tuple[Arrays, str]] = [
        ({"a": base["a"]}, "b float32[2,3] -> (none)"),
        ({**base, "b": np.zeros((3, 2), np.float32)}, "b float32[2,3] -> float32[3,2]"),
        ({**base, "a": np.zeros(3, np.float64)}, "a float32[3] -> float64[3]"),
    ]
    for after, expected in cases:
        assert tensors(trees, name, base, after).told() == f"different: {name}: {expected}"


def test_one_line_tells_of_a_tensor(trees: tuple[Path, Path]) -> None:
    base = np.ones((3, 4), np.float32)
    found = tensors(trees, "weights.npz", {"a/kernel": base}, {"a/kernel": base * 2})
    assert found.told() == (
        "different: weights.npz: a/kernel float32[3,4]: 12 of 12 elements differ, by up to 1 (relative 0.5)"
    )
    assert found.to_json()["first"]["place"]["kind"] == "tensor"


def test_layers_are_in_the_order_of_their_numbers(trees: tuple[Path, Path]) -> None:
    before = {f"layer_{number}/kernel": np.zeros(2) for number in range(12)}
    after = before | {name: np.ones(2) for name in ("layer_10/kernel", "layer_9/kernel")}
    assert tensors(trees, "weights.npz", before, after).told().startswith("different: weights.npz: layer_9/kernel ")


def test_equal_tensors_in_other_bytes_are_equal(trees: tuple[Path, Path]) -> None:
    base = {"a": np.array([0.0, np.nan, np.inf, 1]), "b": np.zeros((0, 3)), "c": np.array(["x", "yy"])}
    other = {"c": base["c"], "b": base["b"], "a": np.array([-0.0, -np.nan, np.inf, 1])}
    found = tensors(trees, "weights.npz", base, other)
    assert found.told() == "equal tensors: weights.npz: same values in other bytes"


@pytest.mark.parametrize("change", [0, 1])
def test_order_of_bytes_and_of_axes_do_not_count(trees: tuple[Path, Path], change: int) -> None:
    base = np.arange(6.0).reshape(2, 3)
    for other in (base.astype(">f8"), np.asfortranarray(base)):
        changed = other.copy(order="K")
        changed[1, 0] += change
        found = tensors(trees, "weights.npy", {"": base}, {"": changed})
        assert found.sameness is (DIFFERENT if change else EQUAL)
        if change:
            assert found.first is not None
            assert isinstance(found.first.place, TensorDiffers)
            assert found.first.place.differing == 1


def test_other_kinds_of_elements_are_compared_exactly(trees: tuple[Path, Path]) -> None:
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = [
        (np.array(["ab", "c"]), np.array(["ab", "d"])),
        (np.array([b"ab", b"c"]), np.array([b"ab", b"d"])),
        (np.array(["2020", "NaT"], "M8[s]"), np.array(["2021", "NaT"], "M8[s]")),
        (np.array([(1, 2.0)], "i4,f8"), np.array([(1, 3.0)], "i4,f8")),
        (np.array([2**63, 2**64 - 1], np.uint64), np.array([2**63, 0], np.uint64)),
        (np.array([-(2**63), 5]), np.array([2**63 - 1, 5])),
    ]
    for before, after in pairs:
        found = tensors(trees, "weights.npy", {"": before}, {"": after})
        assert found.first is not None
        assert isinstance(found.first.place, TensorDiffers)
        assert (found.sameness, found.first.place.differing) == (DIFFERENT, 1)


def test_large_tensors_are_read_in_pieces(trees: tuple[Path, Path]) -> None:
    base = np.zeros(3 * PIECE_BYTES // 8 + 5, np.float64)
    changed = base.copy()
    changed[[0, PIECE_BYTES // 8, -1]] = [1e-9, 2e-9, 3e-9]
    for name in WRITERS:
        found = tensors(trees, name, {"a": base}, {"a": changed})
        assert found.sameness is CLOSE
        assert found.first is not None
        assert isinstance(found.first.place, TensorDiffers)
        assert (found.first.place.differing, found.first.place.largest_absolute) == (3, 3e-9)
        for tree in trees:
            (tree / name).unlink()


def test_what_is_no_tensor_in_an_npz_file_is_compared_as_bytes(trees: tuple[Path, Path]) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    same = tensors(trees, "weights.npz", {"a": np.zeros(2), "o": objects}, {"o": objects, "a": np.zeros(2)})
    assert same.sameness is EQUAL
    other = tensors(trees, "weights.npz", {"o": objects}, {"o": np.array([{"a": 2}], dtype=object)})
    assert other.told().startswith("different: weights.npz: o bytes[")


def raw_safetensors(header: Any, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("kind", "before", "after", "sameness"),
    [
        ("BF16", b"\x80\x3f", b"\x81\x3f", DIFFERENT),
        ("BF16", b"\x00\x00", b"\x00\x80", EQUAL),
        ("BF16", b"\x80\x2f", b"\x81\x2f", CLOSE),
        ("F8_E4M3", b"\x01\x02", b"\x01\x03", DIFFERENT),
    ],
)
def test_kinds_that_numpy_does_not_know(
    trees: tuple[Path, Path], kind: str, before: bytes, after: bytes, sameness: Sameness
) -> None:
    shape = [1] if kind == "BF16" else [2]
    header = {"a": {"dtype": kind, "shape": shape, "data_offsets": [0, 2]}}
    found = files(trees, "x.safetensors", *(raw_safetensors(header, data) for data in (before, after)))
    assert found.sameness is sameness
    if sameness is not EQUAL:
        assert found.first is not None
        assert isinstance(found.first.place, TensorDiffers)


def test_what_a_safetensors_file_tells_of_itself_counts(trees: tuple[Path, Path]) -> None:
    entry = {"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}
    before, after = (raw_safetensors({**entry, "__metadata__": {"at": at}}, b"ab") for at in ("1", "2"))
    found = files(trees, "x.safetensors", before, after)
    assert found.told() == 'different: x.safetensors: __metadata__.at "1" -> "2"'
    spaced = before[:8] + before[8:].replace(b'"U8", "shape"', b'"U8" ,"shape"')
    assert files(trees, "x.safetensors", before, spaced).sameness is EQUAL


def broken_files() -> dict[str, list[bytes]]:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(400.0), b=np.zeros(2))
    archive = buffer.getvalue()
    middle = bytearray(archive)
    middle[1000] ^= 1
    buffer = io.BytesIO()
    np.save(buffer, np.arange(4.0))
    array = buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object))
    objects = buffer.getvalue()
    entry = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
    return {
        "x.npz": [b"", b"PK\3\4", archive[:-30], archive[:500], bytes(middle), b"no zip"],
        "x.npy": [b"", array[:50], array[:-1], array + array, b"\x93NUMPY\x09\x00", objects],
        "x.safetensors": [
            b"",
            struct.pack("<Q", 2**62),
            raw_safetensors([], b""),
            raw_safetensors("text", b""),
            raw_safetensors({"a": entry}, b"a"),
            raw_safetensors({"a": entry}, b"abc"),
            raw_safetensors({"a": entry | {"shape": [3]}}, b"ab"),
            raw_safetensors({"a": entry | {"shape": ["x"]}}, b"ab"),
            raw_safetensors({"a": entry | {"shape": [-1, -2]}}, b"ab"),
            raw_safetensors({"a": entry | {"dtype": "F4"}, "b": entry}, b"ab"),
            raw_safetensors({"a": entry | {"dtype": 5}}, b"ab"),
            raw_safetensors({"a": {}}, b"ab"),
            raw_safetensors({"a": entry, "__metadata__": [1]}, b"ab"),
        ],
    }


@pytest.mark.parametrize(("name", "broken"), [(name, data) for name, some in broken_files().items() for data in some])
def test_what_holds_no_tensors_is_compared_by_bytes(trees: tuple[Path, Path], name: str, broken: bytes) -> None:
    sound = {"x.npz": write_npz, "x.npy": write_npy}.get(
        name, lambda path, _: path.write_bytes(raw_safetensors({}, b""))
    )
    trees[0].mkdir(exist_ok=True)
    sound(trees[0] / name, {"a": np.arange(400.0), "b": np.zeros(2)})
    for contents in ((trees[0] / name).read_bytes(), broken + b"!"):
        found = files(trees, name, contents, broken)
        assert found.sameness is DIFFERENT
        assert found.first is not None


@given(name=st.sampled_from(sorted(WRITERS)), data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_is_never_a_crash_and_never_identical(name: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder, "before"), Path(folder, "after")
        same: Arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.int16)}
        tensors(pair, name, same, same)
        whole = bytearray((pair[0] / name).read_bytes())
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        (pair[1] / name).write_bytes(whole)
        assert compared(*pair).sameness is not IDENTICAL


numbers = st.sampled_from([np.float32, np.float64, np.int32, np.uint64, np.bool_, np.float16])


@given(
    name=st.sampled_from(sorted(WRITERS)),
    array=numbers.flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=3, max_side=4))),
    data=st.data(),
)
@settings(max_examples=100, deadline=None)
def test_one_changed_element_of_any_array_is_found(name: str, array: NDArray[Any], data: st.DataObject) -> None:
    place = tuple(data.draw(st.integers(0, extent - 1)) for extent in array.shape)
    changed = array.copy()
    changed[place] = data.draw(arrays.from_dtype(array.dtype))
    rest: dict[str, NDArray[Any]] = {} if name.endswith("npy") else {"other": np.zeros(2)}
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder, "before"), Path(folder, "after")
        found = tensors(pair, name, rest | {"kernel": array}, rest | {"kernel": changed})
    one, other = array[place], changed[place]
    if one == other or (one != one and other != other):
        assert found.sameness in (IDENTICAL, EQUAL)
        return
    assert found.first is not None
    assert isinstance(found.first.place, TensorDiffers)
    assert found.first.place.differing == 1
    close = False
    if array.dtype.kind == "f" and np.isfinite(one) and np.isfinite(other):
        one, other = float(one), float(other)
        close = abs(one - other) <= ATOL + RTOL * max(abs(one), abs(other))
    assert found.sameness is (CLOSE if close else DIFFERENT)


# -- TensorFlow checkpoints ------------------------------------------------------------------------------------------


def write_checkpoint(prefix: Path, written: Mapping[str, Any], shards: int = 1) -> None:
    from stagedml.ml.framework import tf

    names = sorted(written)
    parts = []
    for shard in range(shards):
        some = names[shard::shards]
        part = f"{prefix}.part{shard}"
        tf.raw_ops.SaveV2(
            prefix=part,
            tensor_names=some,
            shape_and_slices=[""] * len(some),
            tensors=[tf.constant(written[name]) for name in some],
        )
        parts.append(part)
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(prefix))


@pytest.mark.tensorflow
def test_checkpoints_are_compared_tensor_by_tensor(trees: tuple[Path, Path]) -> None:
    from stagedml.ml.framework import tf

    base: dict[str, Any] = {
        "layer_10/kernel": np.ones((2, 3), np.float32),
        "layer_2/kernel": np.ones(3, np.float32),
        "graph": b"text\0",
        "half": tf.constant([1, 2], tf.bfloat16),
        "step": np.int64(3),
    }
    (trees[0] / "model").mkdir()
    write_checkpoint(trees[0] / "model" / "x.ckpt", base)

    def other(changed: Mapping[str, Any], shards: int = 1) -> str:
        shutil.rmtree(trees[1])
        (trees[1] / "model").mkdir(parents=True)
        write_checkpoint(trees[1] / "model" / "x.ckpt", {**base, **changed}, shards)
        return compared(*trees).told()

    file = "model/x.ckpt.data-00000-of-00001"
    assert other({}) == "identical"
    assert other({}, shards=2) == f"equal tensors: {file}: same values in other bytes"
    assert other({"step": np.int64(4)}) == (
        f"different: {file}: step int64[]: 1 of 1 elements differ, by up to 1 (relative 0.25)"
    )
    assert other({"graph": b"text"}).startswith(f"different: {file}: graph string[]: 1 of 1 elements differ")
    assert other({"half": tf.constant([1, 3], tf.bfloat16)}).startswith(f"different: {file}: half bfloat16[2]: 1 of 2")
    close = {name: base[name] * np.float32(1.000001) for name in ("layer_2/kernel", "layer_10/kernel")}
    assert other(close).startswith(f"equal within tolerance: {file}: layer_2/kernel float32[3]: 3 of 3 elements")
    assert other({"more": np.zeros(2)}) == f"different: {file}: more (none) -> float64[2]"

    other({})
    damaged = trees[1] / "model" / "x.ckpt.index"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    found = compared(*trees).first
    assert found is not None
    assert found.path == "model/x.ckpt.index"
    assert found.note.startswith("compared by bytes: after, ")
    damaged.unlink()
    assert compared(*trees).told() == "different: model/x.ckpt.index: a file -> (none)"


def test_what_is_only_named_like_a_checkpoint_is_compared_by_bytes(trees: tuple[Path, Path]) -> None:
    found = files(trees, "book.index", "one\n", "two\n")
    assert found.told() == r'different: book.index: line 1: "one\n" -> "two\n"'
