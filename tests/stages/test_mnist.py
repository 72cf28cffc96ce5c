"""MNIST through the catalogue: from files in either layout to a network that tells digits apart."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.test_mnist import write_idx
from stagedml import (
    BuildError,
    RRef,
    UsageError,
    current_store,
    instantiate,
    mklens,
    plan,
    realize,
    realize_many,
    store_initialize,
)
from stagedml.core.plan import Verdict
from stagedml.engine.events import Observer
from stagedml.ml.drawn_digits import draw_mnist
from stagedml.ml.mnist import IDX_FILES
from stagedml.stages.all import (
    all_convnn_mnist,
    all_fetchmnist,
    all_lenet_mnist,
    dryrun_convnn_mnist,
    dryrun_lenet_mnist,
)
from stagedml.stages.datasets.mnist import Layout


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same digits in the layouts that there are."""
    root = tmp_path_factory.mktemp("mnist")
    arrays = dict(draw_mnist(train=300, test=60, seed=1))
    found = {layout: root / layout for layout in ("idx", "plain", "npz")}
    for folder in found.values():
        folder.mkdir()
    for name, path in write_idx(found["idx"], arrays).items():
        (found["plain"] / IDX_FILES[name]).write_bytes(gzip.decompress(path.read_bytes()))
    np.savez_compressed(found["npz"] / "mnist.npz", **arrays)  # type: ignore[arg-type]
    return found


@pytest.fixture
def store(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is filled bit by bit."""
    return tmp_path_factory.mktemp("store")


class Started(Observer):
    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.names.append(dref.split("-", 1)[1])


def test_a_local_folder_of_any_layout_gives_the_same_file(store: None, folders: dict[str, Path]) -> None:
    contents = {}
    for layout, folder in folders.items():
        rref = realize(instantiate(all_fetchmnist, folder))
        contents[layout] = mklens(rref).mnist.syspath.read_bytes()
    assert contents["idx"] == contents["plain"] == contents["npz"]


@pytest.mark.tensorflow
def test_the_same_digits_from_files_of_another_layout_train_nothing_again(
    store: None, folders: dict[str, Path]
) -> None:
    first, second = Started(), Started()
    realize(instantiate(all_convnn_mnist, folders["idx"], epochs=1), observer=first)
    rref = realize(instantiate(all_convnn_mnist, folders["npz"], epochs=1), observer=second)
    assert first.names[-1] == "convnn-mnist"
    assert second.names == ["local-mnist-npz", "mnist"]
    assert mklens(rref).metrics.test_accuracy.val > 0


@pytest.mark.parametrize("layout", ["idx", "npz"])
def test_without_a_network_the_files_to_provide_are_named(store: None, layout: Layout) -> None:
    with pytest.raises(BuildError) as caught:
        realize(instantiate(all_fetchmnist, layout=layout), offline=True)
    name = {"idx": "train-images-idx3-ubyte.gz", "npz": "mnist.npz"}[layout]
    assert f"put that file, named {name} or " in str(caught.value)
    assert "STAGEDML_MIRRORS" in str(caught.value)


def test_a_folder_without_the_files_is_refused_with_their_names(store: None, tmp_path: Path) -> None:
    (tmp_path / IDX_FILES["x_train"]).write_bytes(b"")
    with pytest.raises(UsageError, match=r"holds neither mnist.npz nor all of train-images-idx3-ubyte\[.gz\], train-"):
        instantiate(all_fetchmnist, tmp_path)


def test_a_layout_that_there_is_not_is_refused(store: None) -> None:
    with pytest.raises(UsageError, match="layout is 'csv', none of idx, npz"):
        instantiate(all_fetchmnist, layout="csv")  # type: ignore[arg-type]


def test_damaged_files_name_themselves(store: None, folders: dict[str, Path], tmp_path: Path) -> None:
    for path in folders["plain"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / IDX_FILES["y_test"]).write_bytes(b"\0\0\x08\1\0\0\0\x3c")
    with pytest.raises(BuildError, match="t10k-labels-idx1-ubyte: it announces 60 bytes, and only 0 follow"):
        realize(instantiate(all_fetchmnist, tmp_path))


@pytest.mark.tensorflow
def test_of_several_networks_the_one_that_is_best_on_held_out_rows_is_chosen(shared_store: Path) -> None:
    store_initialize(shared_store)
    chosen = realize(instantiate(dryrun_convnn_mnist, 3))
    all_three = realize_many(instantiate(dryrun_convnn_mnist, 3), instances=3)
    metrics = {rref: json.loads(mklens(rref).metrics.contents) for rref in all_three}
    assert len(metrics) == 3
    assert metrics[chosen]["eval_accuracy"] == max(measured["eval_accuracy"] for measured in metrics.values())
    assert {step.verdict for step in plan(instantiate(dryrun_convnn_mnist, 3)).steps} == {Verdict.REUSE}


@pytest.mark.tensorflow
def test_what_was_measured_is_there_for_reports_and_tensorboard(shared_store: Path) -> None:
    store_initialize(shared_store)
    rref = realize(instantiate(dryrun_convnn_mnist))
    assert list((mklens(rref).metrics.syspath.parent / "__log__").rglob("events.out.tfevents.*"))


@pytest.fixture
def lenet(shared_store: Path) -> RRef:
    pytest.importorskip("torch", reason="PyTorch is not installed; `make torch` installs it")
    store_initialize(shared_store)
    return realize(instantiate(dryrun_lenet_mnist))


def test_a_stage_of_another_framework_is_nothing_special(lenet: RRef, tmp_path: Path) -> None:
    assert {step.verdict for step in plan(instantiate(dryrun_lenet_mnist)).steps} == {Verdict.REUSE}
    packages = mklens(lenet).stagedml.packages.val
    assert {"numpy", "safetensors", "torch"} <= set(packages)
    assert "tensorflow" not in packages
    before = current_store().layout.root
    store_initialize(tmp_path / "another")
    try:
        assert realize(instantiate(dryrun_lenet_mnist)) == lenet
    finally:
        store_initialize(before)


def test_where_pytorch_is_missing_the_extra_that_brings_it_is_named(
    shared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "stagedml.ml.models.lenet", raising=False)
    store_initialize(shared_store)
    with pytest.raises(BuildError, match=r"torch is not installed, .*: pip install 'stagedml\[torch\]'"):
        realize(instantiate(dryrun_lenet_mnist, learning_rate=0.01))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_official_digits_are_told_apart_better_than_99_in_100_times(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEDML_MIRRORS", str(shared_data))
    store_initialize(tmp_path)
    rref = realize(instantiate(all_convnn_mnist), offline=True)
    assert mklens(rref).metrics.test_accuracy.val > 0.99


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed; see `make torch`")
def test_lenet_is_about_as_good_as_in_its_paper(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEDML_MIRRORS", str(shared_data))
    store_initialize(tmp_path)
    rref = realize(instantiate(all_lenet_mnist), offline=True)
    assert mklens(rref).metrics.test_accuracy.val > 0.985  # the paper: 99.05 % after 20 epochs
