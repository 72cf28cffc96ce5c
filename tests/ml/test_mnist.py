"""MNIST's files in both layouts, and digits that are drawn."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stagedml.ml.drawn_digits import draw_mnist
from stagedml.ml.held_out import is_held_out
from stagedml.ml.mnist import IDX_FILES, NotMnist, read_mnist, read_mnist_idx, read_splits, write_mnist
from stagedml.ml.tensors import UnreadableTensors


def write_idx(folder: Path, arrays: dict[str, NDArray[np.uint8]]) -> dict[str, Path]:
    """Arrays in MNIST's own files."""
    paths = {name: folder / f"{file}.gz" for name, file in IDX_FILES.items()}
    for name, path in paths.items():
        array = arrays[name]
        data = struct.pack(f">2xBB{array.ndim}I", 8, array.ndim, *array.shape) + array.tobytes()
        path.write_bytes(gzip.compress(data, 1))
    return paths


@pytest.fixture(scope="module")
def drawn() -> dict[str, NDArray[np.uint8]]:
    return dict(draw_mnist(train=400, test=100, seed=3))


def test_both_layouts_give_one_file_which_others_read(tmp_path: Path, drawn: dict[str, NDArray[np.uint8]]) -> None:
    np.savez_compressed(tmp_path / "theirs.npz", **{name: drawn[name] for name in reversed(IDX_FILES)})  # type: ignore[arg-type]
    write_mnist(tmp_path / "a.npz", read_mnist(tmp_path / "theirs.npz"))
    write_mnist(tmp_path / "b.npz", read_mnist_idx(write_idx(tmp_path, drawn)))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:  # as Keras's `load_data` reads it
        assert list(archive) == list(IDX_FILES)
        for name, array in drawn.items():
            assert archive[name].dtype == np.uint8
            assert np.array_equal(archive[name], array)


SPOILT: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"y_test": None}, "there is no y_test"),
    "floats": ({"x_train": np.zeros((400, 28, 28))}, r"x_train is float64\[400,28,28\]"),
    "flat": ({"x_train": np.zeros((400, 784), np.uint8)}, r"x_train is uint8\[400,784\]"),
    "other points": (
        {"x_test": np.zeros((100, 28, 27), np.uint8)},
        "pictures of test have 28 x 27 points, not 28 x 28",
    ),
    "other rows": ({"y_train": np.zeros(399, np.uint8)}, "train has 400 pictures and 399 labels"),
    "other classes": ({"y_test": np.full(100, 10, np.uint8)}, "test has a label 10"),
    "none": ({"x_test": np.zeros((0, 28, 28), np.uint8), "y_test": np.zeros(0, np.uint8)}, "test has no rows"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_not_in_the_layout_is_refused_and_named(
    tmp_path: Path, drawn: dict[str, NDArray[np.uint8]], case: str
) -> None:
    change, complaint = SPOILT[case]
    arrays = {name: array for name, array in {**drawn, **change}.items() if array is not None}
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(NotMnist, match=complaint) as caught:
        read_mnist(tmp_path / "mnist.npz")
    assert "give MNIST's four idx files, or Keras's mnist.npz" in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path, drawn: dict[str, NDArray[np.uint8]]) -> None:
    paths = write_idx(tmp_path, {**drawn, "y_train": drawn["y_test"], "y_test": np.full(100, 11, np.uint8)})
    with pytest.raises(NotMnist, match="train has 400 pictures and 100 labels; test has a label 11"):
        read_mnist_idx(paths)


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(UnreadableTensors):
        read_mnist(tmp_path / "mnist.npz")


def test_the_held_out_rows_are_those_of_the_fixed_rule(tmp_path: Path, drawn: dict[str, NDArray[np.uint8]]) -> None:
    write_mnist(tmp_path / "mnist.npz", drawn)
    splits = read_splits(tmp_path / "mnist.npz")
    held_out = [row for row in range(400) if is_held_out(row)]
    assert np.array_equal(splits.valid.images, drawn["x_train"][held_out])
    assert np.array_equal(splits.valid.labels, drawn["y_train"][held_out])
    assert len(splits.train) + len(splits.valid) == 400
    assert np.array_equal(splits.test.labels, drawn["y_test"])


def test_too_few_rows_to_hold_one_out_are_an_error(tmp_path: Path, drawn: dict[str, NDArray[np.uint8]]) -> None:
    few = {name: array[:10] for name, array in drawn.items()}
    write_mnist(tmp_path / "mnist.npz", few)
    with pytest.raises(NotMnist, match="of 10 rows of train none can be held out"):
        read_splits(tmp_path / "mnist.npz")


def test_the_same_seed_draws_the_same_digits_and_another_one_others(drawn: dict[str, NDArray[np.uint8]]) -> None:
    again, other = (draw_mnist(train=400, test=100, seed=seed) for seed in (3, 4))
    assert all(np.array_equal(again[name], drawn[name]) for name in drawn)
    assert not np.array_equal(other["x_train"], drawn["x_train"])


def test_drawn_digits_can_be_told_apart(drawn: dict[str, NDArray[np.uint8]]) -> None:
    flat = {name: drawn[name].reshape(-1, 784).astype(np.float32) for name in ("x_train", "x_test")}
    distances = (
        (flat["x_test"] ** 2).sum(1)[:, None] - 2 * flat["x_test"] @ flat["x_train"].T + (flat["x_train"] ** 2).sum(1)
    )
    nearest = drawn["y_train"][distances.argmin(axis=1)]
    assert set(drawn["y_train"].tolist()) == set(range(10))
    assert np.mean(nearest == drawn["y_test"]) > 0.7


def test_the_official_files_hold_what_is_known_of_them(shared_data: Path) -> None:
    arrays = read_mnist_idx({name: shared_data / "mnist" / f"{file}.gz" for name, file in IDX_FILES.items()})
    assert (arrays["x_train"].shape, arrays["x_test"].shape) == ((60_000, 28, 28), (10_000, 28, 28))
    # How many there are of each digit, as the data set's page counts them.
    assert np.bincount(arrays["y_train"]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(arrays["y_test"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
