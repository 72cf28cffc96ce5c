"""The training loop: every model of the catalogue is trained by `train`.

Rules this module keeps:
- Bit for bit the same weights for the same model, data, settings and seed: in a fresh process, or after other trainings
  in this one. (Build the model within `determinism.seeded`.)
- The step is compiled once, for batches of any number of rows and any length.
- What holds a clock or a rate goes to the log folder, nowhere else.
- A loss that is not finite ends the training at once. It leaves no checkpoint: whoever tries the very same once more
  doubts the machine, and wants it from the beginning.
- A training that is interrupted and asked for once more goes on from its last checkpoint (see `resume`) and ends, on
  the same machine, in the same weights and reports, bit for bit, as if nothing had happened. So a checkpoint holds all
  variables of model and optimizer (bfloat16 needs no loss scaling, whose state would be kept, too), the losses of the
  epoch so far, and the reports. Chance has no state (see `determinism`), and of an epoch that was begun the data is
  skipped up to where it was. Steps keep their numbers, also in TensorBoard.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import BuildError
from stagedml.ml.framework import tf
from stagedml.ml.progress import Progress, silent
from stagedml.ml.train.batching import Batch, Batches
from stagedml.ml.train.determinism import fix_dropout, machine
from stagedml.ml.train.resume import CheckpointFolder, Checkpoints, Kept

logger = logging.getLogger(__name__)

_LOG_EVERY_STEPS = 10


class LossNotFinite(BuildError):
    """The loss of a training became infinite or not a number."""

    def __init__(self, label: str, epoch: int, step: int, loss: float, learning_rate: float) -> None:
        super().__init__(label, epoch, step, loss, learning_rate)
        self.label, self.epoch, self.step = label, epoch, step
        self.loss, self.learning_rate = loss, learning_rate

    def __str__(self) -> str:
        return (
            f"{self.label}: the loss is {self.loss} at step {self.step} (epoch {self.epoch}, learning rate "
            f"{self.learning_rate:.3g}); try a lower learning rate, a longer warm-up or float32, and look at the data"
        )


@dataclass(frozen=True)
class EpochReport:
    """What an epoch did.

    Attributes:
        epoch: from 1.
        steps: batches.
        loss: mean over the batches.
        measured: what `after_epoch` returned.
    """

    epoch: int
    steps: int
    loss: float
    measured: Mapping[str, float] = field(default_factory=dict)


def train(
    model: Any,
    loss: Callable[[Mapping[str, Any]], Any],
    optimizer: Any,
    batches: Batches,
    *,
    epochs: int,
    seed: int,
    label: str = "train",
    log_dir: Path | None = None,
    progress: Progress = silent,
    after_epoch: Callable[[EpochReport], Mapping[str, float] | None] | None = None,
    checkpoints: Checkpoints | None = None,
    settings: Mapping[str, object] | None = None,
) -> list[EpochReport]:
    """Train a model.

    Args:
        model: a Keras model or layer whose variables exist; its trainable ones are trained, in place.
        loss: from a batch, as tensors, to the mean loss of its rows, a float32 scalar; calls the model with
            `training=True`.
        optimizer: from `optimizer.create_optimizer`, fresh, for `epochs * batches.steps_per_epoch` steps.
        batches: the data. All batches have the same names, types and ranks.
        epochs: how often the data is gone through.
        seed: of the dropout.
        label: what `progress` and errors call this training; the folder of its TensorBoard events in `log_dir`.
        log_dir: TensorBoard events are written below it: loss, learning rate, rows per second. Where it goes on,
            those of the steps that were left; the earlier ones are where they were written.
        progress: told after each step, and where the training goes on.
        after_epoch: called after each epoch, to evaluate, say. What it returns is kept in the report; it is not called
            again for epochs that were over when the training was interrupted.
        checkpoints: where to keep what is needed to go on; None to keep nothing.
        settings: what tells this training from others beyond the other arguments, the initial weights and the first
            batch: JSON values and dataclasses. Checkpoints of other trainings are not used.

    Returns:
        A report for each epoch.

    Raises:
        LossNotFinite: the loss became infinite or not a number.
    """
    fix_dropout(model, seed, optimizer.iterations)
    example = next(iter(batches.epoch(0)))
    step = _compile_step(model, loss, optimizer, example)
    total = epochs * batches.steps_per_epoch
    reports: list[EpochReport] = []
    losses: list[float] = []
    saver = None
    if checkpoints:
        step.get_concrete_function()  # from here on the optimizer has all its variables
        training = {"label": label, "seed": seed, "epochs": epochs, "steps": total, "settings": settings}
        training |= {"optimizer": optimizer, "batch": _digest(example.items()), "machine": machine()}
        saver = _Saver(checkpoints, label, training, model.variables, optimizer.weights)
        reports, losses = saver.restore()
    done = sum(report.steps for report in reports) + len(losses)
    if done:
        logger.info("%s: resumed at step %d of %d", label, done, total)
        progress(label, done, total, "steps", f"resumed at step {done}")
    with _Scalars(log_dir / label) if log_dir else nullcontext() as scalars:
        for epoch in range(len(reports), epochs):
            for batch in islice(batches.epoch(epoch), len(losses), None):
                value = float(step(dict(batch)))
                if not math.isfinite(value):
                    if saver:
                        saver.discard()
                    raise LossNotFinite(label, epoch + 1, done + 1, value, _learning_rate(optimizer, done))
                losses.append(value)
                done += 1
                if scalars:
                    scalars.step(done, value, optimizer, rows=len(next(iter(batch.values()))))
                progress(label, done, total, "steps", f"epoch {epoch + 1}/{epochs}, loss {value:.4f}")
                if saver:
                    saver.save(done, reports, losses)
            report = EpochReport(epoch + 1, len(losses), math.fsum(losses) / len(losses))
            if after_epoch:
                report = replace(report, measured=dict(after_epoch(report) or {}))
            reports.append(report)
            losses = []
            if saver:
                saver.save(done, reports, losses, epoch_ended=True)
    return reports


class _Saver:
    """What of a training goes into its checkpoints, and back."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        label: str,
        training: Mapping[str, object],
        weights: Sequence[Any],
        optimizer_weights: Sequence[Any],
    ) -> None:
        """Made before the first step: the weights are the initial ones, which tell one training from another.

        Variables are known by their places. Keras numbers its names through the life of a process, so that they differ
        after a crash.
        """
        self._variables = [*weights, *optimizer_weights]
        self._kept = [
            Kept(tuple(variable.shape), np.dtype(variable.dtype.as_numpy_dtype), variable.numpy)
            for variable in self._variables
        ]
        shapes = hashlib.sha256(repr([(kept.shape, kept.dtype.name) for kept in self._kept]).encode()).hexdigest()
        initial = _digest(("", variable.numpy()) for variable in weights)
        training = {**training, "variables": shapes, "initial weights": initial}
        self._folder = CheckpointFolder(checkpoints, label, training)

    def restore(self) -> tuple[list[EpochReport], list[float]]:
        """Set all variables to those of the newest checkpoint, if there is one.

        Returns:
            The reports of the epochs that are over, and the losses of the one that is not.
        """
        found = self._folder.newest()
        if found is None:
            return [], []
        *values, losses = found.arrays
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
        self._folder.resumed(found.state["step"])
        return [EpochReport(**report) for report in found.state["reports"]], losses.tolist()

    def save(
        self, step: int, reports: Sequence[EpochReport], losses: Sequence[float], *, epoch_ended: bool = False
    ) -> None:
        """Write a checkpoint if one is due."""
        if not self._folder.is_due(step, epoch_ended=epoch_ended):
            return
        array = np.array(losses, dtype=np.float64)
        state = {"step": step, "reports": [asdict(report) for report in reports]}
        self._folder.write(step, state, [*self._kept, Kept(array.shape, array.dtype, array.copy)])

    def discard(self) -> None:
        """Remove all checkpoints of the training."""
        self._folder.discard()


def _digest(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _compile_step(model: Any, loss: Callable[[Mapping[str, Any]], Any], optimizer: Any, example: Batch) -> Any:
    """The step, for batches like the example but for their sizes, which stay open: on a CPU, compiling once for each
    size takes longer than it saves."""
    signature = {name: tf.TensorSpec([None] * array.ndim, array.dtype) for name, array in example.items()}
    variables = model.trainable_variables

    def step(batch: Mapping[str, Any]) -> Any:
        with tf.GradientTape() as tape:
            value = loss(batch)
        gradients = tape.gradient(value, variables)
        # A head may leave parts of an encoder unused, such as its pooler.
        optimizer.apply_gradients([pair for pair in zip(gradients, variables, strict=True) if pair[0] is not None])
        return value

    return tf.function(step, input_signature=[signature])


def _learning_rate(optimizer: Any, step: int) -> float:
    rate = optimizer.learning_rate
    return float(rate(step) if callable(rate) else rate)


class _Scalars:
    """TensorBoard events of one training."""

    def __init__(self, folder: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))
        self._rows = 0
        self._since = time.perf_counter()

    def __enter__(self) -> _Scalars:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def step(self, done: int, loss: float, optimizer: Any, *, rows: int) -> None:
        """Note a step; every few of them are written."""
        self._rows += rows
        if done % _LOG_EVERY_STEPS:
            return
        now = time.perf_counter()
        with self._writer.as_default(step=done):
            tf.summary.scalar("loss", loss)
            tf.summary.scalar("learning_rate", _learning_rate(optimizer, done - 1))
            tf.summary.scalar("rows_per_second", self._rows / (now - self._since))
        self._rows, self._since = 0, now
