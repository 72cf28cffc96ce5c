"""The convolutional network: what it computes, that it repeats, and that it goes on after a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.numpy_convolutions import convolve, quarters
from ml.toy_training import Interrupted, Told
from stagedml.ml.drawn_digits import draw_mnist
from stagedml.ml.mnist import read_splits, write_mnist

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mnist") / "mnist.npz"
    write_mnist(path, draw_mnist(train=300, test=60, seed=1))
    return path


def trained(mnist: Path, output: Path, **options: Any) -> dict[str, bytes]:
    """What two epochs write."""
    from stagedml.ml.models.convnn import train_convnn
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings

    output.mkdir()
    settings = TrainSettings(OptimizerSettings(1e-3, warmup_share=0.0), epochs=2)
    train_convnn(mnist, training=settings, batch_size=32, seed=5, output=output, **options)
    return {path.name: path.read_bytes() for path in output.iterdir()}


@pytest.fixture(scope="module")
def unbroken(mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return trained(mnist, tmp_path_factory.mktemp("unbroken") / "out")


def test_a_training_that_is_interrupted_ends_in_the_same_bytes(
    mnist: Path, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    from stagedml.ml.train.resume import Checkpoints

    checkpoints = Checkpoints(tmp_path / "checkpoints", every_steps=4)
    with pytest.raises(Interrupted):
        trained(mnist, tmp_path / "first", progress=Told(end_at=14), checkpoints=checkpoints)
    told = Told()
    assert trained(mnist, tmp_path / "second", progress=told, checkpoints=checkpoints) == unbroken
    assert told.resumed_at in range(9, 15)


def test_its_weights_compute_in_plain_numpy_what_it_measured(
    mnist: Path, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    from safetensors.numpy import load

    from stagedml.ml.models.convnn import Convnn

    test = read_splits(mnist).test
    weights = load(unbroken["weights.safetensors"])
    layer = {name: (weights[f"{name}/kernel"], weights[f"{name}/bias"]) for name in ("conv_1", "conv_2")}
    hidden = test.images[..., None].astype(np.float64) / 255
    for name in ("conv_1", "conv_2"):
        hidden = np.maximum(convolve(hidden, *layer[name]), 0)
    flat = quarters(hidden).max(axis=-1).reshape(len(test), -1)
    dense = np.maximum(flat @ weights["hidden/kernel"] + weights["hidden/bias"], 0)
    logits = dense @ weights["output/kernel"] + weights["output/bias"]
    (tmp_path / "weights.safetensors").write_bytes(unbroken["weights.safetensors"])
    found = Convnn(tmp_path / "weights.safetensors").predict(test.images)
    assert found == pytest.approx(logits, abs=1e-4)  # float32 against float64
    metrics = json.loads(unbroken["metrics.json"])
    assert metrics["test_accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == test.labels))
    assert set(metrics) == {"train_loss", "eval_loss", "eval_accuracy", "test_loss", "test_accuracy"}


def test_its_protocol_tells_each_epoch(unbroken: dict[str, bytes]) -> None:
    protocol = json.loads(unbroken["protocol.json"])
    operations = [(entry["operation"], entry["epoch"], entry.get("split")) for entry in protocol]
    epochs = [(one, epoch, split) for epoch in (1, 2) for one, split in (("train", None), ("evaluate", "valid"))]
    assert operations == [*epochs, ("keep", 2, None), ("evaluate", 2, "test")]
