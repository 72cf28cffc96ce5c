"""LeNet-5 in PyTorch, which tells digits apart.

LeCun, Bottou, Bengio and Haffner 1998, Gradient-Based Learning Applied to Document Recognition, section II.B, as it is
built today: its second convolution sees all maps of the first, pooling has no weights, and the outputs are logits.

`ml.train.loop` trains models of TensorFlow, so the loop here is PyTorch's own; data, checkpoints and what is told of
the training are those of all. Rules this module keeps:
- Bit for bit the same weights for the same data, settings and seed, on machines with the same kind of processor: all is
  computed on it, in one thread, so that it does not matter how many there are.
- A training that is interrupted and asked for once more goes on from its last checkpoint, and ends in the same weights.
- What PyTorch's process-wide switches were before a training, they are after it.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.libraries import importing
from stagedml.ml.mnist import CLASSES, read_splits
from stagedml.ml.progress import Progress, silent
from stagedml.ml.train.batching import ShuffledBatches
from stagedml.ml.train.callbacks import EpochReport
from stagedml.ml.train.results import Evaluation, LossNotFinite, write_results
from stagedml.ml.train.resume import CheckpointFolder, Checkpoints, Kept, digest_of

with importing("torch", "LeNet", extra="torch"):
    import torch

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.safetensors"

_EVALUATION_ROWS = 500
_LABEL = "train"


class TooLateForTriton(UsageError):
    """TensorFlow is in this process already, and would end it once PyTorch loads Triton; see `ml.framework`."""

    def __str__(self) -> str:
        return (
            "TensorFlow was imported in this process before PyTorch loaded Triton, which would end the process: "
            "realize with `jobs=2`, or restart Python and let StagedML import TensorFlow, or `import triton` before it"
        )


def train_lenet(
    mnist: Path,
    *,
    learning_rate: float,
    momentum: float,
    batch_size: int,
    epochs: int,
    seed: int,
    output: Path,
    checkpoints: Checkpoints,
    progress: Progress = silent,
) -> dict[str, float]:
    """Train LeNet by stochastic gradient descent at a rate that falls linearly to 0; else as `convnn.train_convnn`.

    Raises:
        LibraryMissing: PyTorch is not installed.
        NotMnist: the file is another.
        LossNotFinite: the training diverged.
        UsageError: a setting is out of its range.
    """
    if epochs < 1 or not learning_rate > 0 or not 0 <= momentum < 1:
        raise UsageError(
            f"settings of the training: epochs is {epochs}, learning_rate {learning_rate}, momentum {momentum}; "
            "they must be 1 at least, positive, and in [0, 1)"
        )
    splits = read_splits(mnist)
    batches = ShuffledBatches(splits.train.columns, batch_size=batch_size, seed=seed)
    total = epochs * batches.steps_per_epoch
    with _repeating(seed):
        model = build_lenet()
        optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum)
        for weight in model.parameters():  # there from the beginning, so that every checkpoint has them
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        folder = CheckpointFolder(
            checkpoints,
            _LABEL,
            {
                "settings": [learning_rate, momentum, batch_size, epochs, seed],
                "data": digest_of(mnist),
                "machine": [torch.__version__, torch.backends.cpu.get_cpu_capability(), np.__version__],
            },
        )
        kept = [*model.parameters(), *(state["momentum_buffer"] for state in optimizer.state.values())]
        reports, losses = _restored(folder, kept)
        done = sum(report.steps for report in reports) + len(losses)
        if done:
            progress(_LABEL, done, total, "steps", f"resumed at step {done}")

        def save() -> None:
            state = {"reports": [asdict(report) for report in reports], "losses": losses}
            folder.write(done, state, [_kept(tensor) for tensor in kept])

        while len(reports) < epochs:
            for batch in islice(batches.epoch(len(reports)), len(losses), None):
                rate = learning_rate * (1 - done / total)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad()
                logits = model(_ink(batch["image"]))
                loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch["label"]).long())
                loss.backward()
                optimizer.step()
                done += 1
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    folder.discard()
                    raise LossNotFinite(_LABEL, len(reports) + 1, done, losses[-1], rate)
                progress(_LABEL, done, total, "steps", f"epoch {len(reports) + 1}/{epochs}, loss {losses[-1]:.4f}")
                if folder.is_due(done, epoch_ended=False):
                    save()
            measured = splits.valid.measure(predict(model, splits.valid.images))
            logger.info("epoch %d: %s", len(reports) + 1, measured)
            reports.append(EpochReport(len(reports) + 1, len(losses), math.fsum(losses) / len(losses), measured))
            losses.clear()
            if folder.is_due(done, epoch_ended=True):
                save()
        _write_weights(output / WEIGHTS_FILE, model)
        tests = {"test": Evaluation(len(splits.test), splits.test.measure(predict(model, splits.test.images)))}
    return write_results(output, reports, epochs, valid_rows=len(splits.valid), others=tests)


def build_lenet(weights: Path | None = None) -> Any:
    """The network, with the weights of a file, or else with fresh ones, drawn from PyTorch's global generator.

    It takes ink, (rows, 1, 28, 28) from 0 to 1, and gives logits, (rows, 10).
    """
    nn = torch.nn
    layers: list[tuple[str, Any]] = [
        ("conv_1", nn.Conv2d(1, 6, 5, padding=2)),
        ("squash_1", nn.Tanh()),
        ("pool_1", nn.AvgPool2d(2)),
        ("conv_2", nn.Conv2d(6, 16, 5)),
        ("squash_2", nn.Tanh()),
        ("pool_2", nn.AvgPool2d(2)),
        ("conv_3", nn.Conv2d(16, 120, 5)),
        ("squash_3", nn.Tanh()),
        ("flat", nn.Flatten()),
        ("hidden", nn.Linear(120, 84)),
        ("squash_4", nn.Tanh()),
        ("output", nn.Linear(84, CLASSES)),
    ]
    model = nn.Sequential(OrderedDict(layers))
    if weights is not None:
        from safetensors.numpy import load_file

        model.load_state_dict({name: torch.from_numpy(array) for name, array in load_file(weights).items()})
    return model


def predict(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The logits of pictures, (rows, 10), of pictures (rows, 28, 28)."""
    starts = range(0, len(images), _EVALUATION_ROWS)
    with torch.no_grad():
        return np.concatenate([model(_ink(images[start : start + _EVALUATION_ROWS])).numpy() for start in starts])


def _ink(images: NDArray[np.uint8]) -> Any:
    return torch.from_numpy(images[:, None].astype(np.float32) / np.float32(255))


def _write_weights(path: Path, model: Any) -> None:
    from safetensors.numpy import save_file

    save_file({name: tensor.numpy() for name, tensor in model.state_dict().items()}, path)


@contextmanager
def _repeating(seed: int) -> Iterator[None]:
    """A block in which PyTorch repeats itself, its global generator at a seed."""
    if "tensorflow" in sys.modules and "triton" not in sys.modules and find_spec("triton"):
        raise TooLateForTriton()
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.set_num_threads(threads)


def _restored(folder: CheckpointFolder, kept: list[Any]) -> tuple[list[EpochReport], list[float]]:
    """Set tensors to those of the newest checkpoint; gives the reports, and the losses of the epoch that had begun."""
    found = folder.newest()
    if found is None:
        return [], []
    with torch.no_grad():
        for tensor, array in zip(kept, found.arrays, strict=True):
            tensor.copy_(torch.from_numpy(array.copy()))
    reports = [EpochReport(**report) for report in found.state["reports"]]
    losses = list(found.state["losses"])
    folder.resumed(sum(report.steps for report in reports) + len(losses))
    return reports, losses


def _kept(tensor: Any) -> Kept:
    return Kept(tuple(tensor.shape), np.dtype(np.float32), tensor.detach().numpy)
