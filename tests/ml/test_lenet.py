"""LeNet in PyTorch: what it computes, that it repeats, and that it goes on after a crash."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.numpy_convolutions import convolve, quarters
from ml.toy_training import Interrupted, Told
from stagedml.errors import UsageError
from stagedml.ml.drawn_digits import draw_mnist
from stagedml.ml.mnist import read_splits, write_mnist
from stagedml.ml.train.results import LossNotFinite
from stagedml.ml.train.resume import Checkpoints

torch = pytest.importorskip("torch", reason="PyTorch is not installed; `make torch` installs it")


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mnist") / "mnist.npz"
    write_mnist(path, draw_mnist(train=300, test=60, seed=1))
    return path


def trained(mnist: Path, folder: Path, checkpoints: Checkpoints | None = None, **options: Any) -> dict[str, bytes]:
    """What two epochs write."""
    from stagedml.ml.models.lenet import train_lenet

    output = folder / "out"
    output.mkdir(parents=True)
    settings = {"learning_rate": 0.05, "momentum": 0.9, "batch_size": 32, "epochs": 2, "seed": 5, **options}
    train_lenet(mnist, output=output, checkpoints=checkpoints or Checkpoints(folder / "checkpoints"), **settings)
    return {path.name: path.read_bytes() for path in output.iterdir()}


@pytest.fixture(scope="module")
def unbroken(mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return trained(mnist, tmp_path_factory.mktemp("unbroken"))


@pytest.mark.parametrize("end_at", [3, 9, 14])
def test_a_training_that_is_interrupted_ends_in_the_same_bytes(
    mnist: Path, unbroken: dict[str, bytes], tmp_path: Path, end_at: int
) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", every_steps=2)
    with pytest.raises(Interrupted):
        trained(mnist, tmp_path / "first", checkpoints, progress=Told(end_at))
    told = Told()
    torch.rand(3)  # what else draws from PyTorch's generator changes nothing
    assert trained(mnist, tmp_path / "second", checkpoints, progress=told) == unbroken
    assert told.resumed_at == told.steps[0] - 1
    assert told.resumed_at in (end_at - 1, end_at - 2)


def test_another_seed_gives_another_network(mnist: Path, unbroken: dict[str, bytes], tmp_path: Path) -> None:
    assert trained(mnist, tmp_path, seed=6)["weights.safetensors"] != unbroken["weights.safetensors"]


_AFTER_TENSORFLOW = """
import sys
from pathlib import Path
from stagedml.ml.models.lenet import train_lenet
from stagedml.ml.train.resume import Checkpoints
mnist, folder = map(Path, sys.argv[1:])
settings = {"learning_rate": 0.05, "momentum": 0.9, "batch_size": 32, "epochs": 2, "seed": 5}
train_lenet(mnist, output=folder, checkpoints=Checkpoints(folder / "checkpoints"), **settings)
"""


@pytest.mark.tensorflow
@pytest.mark.parametrize("first", ["from stagedml.ml.framework import tf", "import tensorflow"])
def test_after_tensorflow_it_trains_likewise_or_says_what_to_do(
    mnist: Path, unbroken: dict[str, bytes], tmp_path: Path, first: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", first + _AFTER_TENSORFLOW, mnist, tmp_path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        assert "TooLateForTriton: TensorFlow was imported in this process before PyTorch" in done.stderr
        assert first == "import tensorflow"
    else:
        assert (tmp_path / "weights.safetensors").read_bytes() == unbroken["weights.safetensors"]


def test_the_process_is_left_as_it_was(mnist: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads(), torch.random.get_rng_state()
    trained(mnist, tmp_path)
    assert torch.get_num_threads() == before[0]
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.random.get_rng_state(), before[1])


def test_a_training_that_diverges_says_so_and_leaves_no_checkpoint(mnist: Path, tmp_path: Path) -> None:
    with pytest.raises(LossNotFinite, match="try a lower learning rate"):
        trained(mnist, tmp_path, Checkpoints(tmp_path / "checkpoints", every_steps=1), learning_rate=1e38)
    assert not [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()]


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"learning_rate": 0.0}, {"momentum": 1.0}])
def test_a_setting_out_of_its_range_is_refused(mnist: Path, tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be 1 at least, positive, and in"):
        trained(mnist, tmp_path, **setting)


def test_its_weights_compute_in_plain_numpy_what_it_measured(
    mnist: Path, unbroken: dict[str, bytes], tmp_path: Path
) -> None:
    from safetensors.numpy import load

    from stagedml.ml.models.lenet import build_lenet, predict

    test = read_splits(mnist).test
    weights = load(unbroken["weights.safetensors"])
    maps = test.images[..., None].astype(np.float64) / 255
    for number, padding in ((1, 2), (2, 0), (3, 0)):
        kernel = weights[f"conv_{number}.weight"].transpose(2, 3, 1, 0)
        maps = np.tanh(convolve(maps, kernel, weights[f"conv_{number}.bias"], padding))
        maps = quarters(maps).mean(axis=-1) if number < 3 else maps
    hidden = np.tanh(maps.reshape(len(test), 120) @ weights["hidden.weight"].T + weights["hidden.bias"])
    logits = hidden @ weights["output.weight"].T + weights["output.bias"]
    (tmp_path / "weights.safetensors").write_bytes(unbroken["weights.safetensors"])
    found = predict(build_lenet(tmp_path / "weights.safetensors"), test.images)
    assert found == pytest.approx(logits, abs=1e-5)  # float32 against float64
    metrics = json.loads(unbroken["metrics.json"])
    assert metrics["test_accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == test.labels))
    assert set(metrics) == {"train_loss", "eval_loss", "eval_accuracy", "test_loss", "test_accuracy"}
