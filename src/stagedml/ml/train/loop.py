"""The training loop: every model of the catalogue is trained by `train`.

Rules this module keeps:
- Bit for bit the same weights for the same model, data, settings and seed: in a fresh process, or after other trainings
  in this one. (Build the model within `determinism.seeded`.)
- The step is compiled once, for batches of any number of rows and any length.
- What holds a clock or a rate goes to the log folder, nowhere else.
- A loss that is not finite ends the training at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.errors import BuildError
from stagedml.ml.framework import tf
from stagedml.ml.progress import Progress, silent
from stagedml.ml.train.batching import Batch, Batches
from stagedml.ml.train.determinism import fix_dropout

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
    """

    epoch: int
    steps: int
    loss: float


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
    after_epoch: Callable[[EpochReport], None] | None = None,
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
        log_dir: TensorBoard events are written below it: loss, learning rate, rows per second.
        progress: told after each step.
        after_epoch: called after each epoch, to evaluate, say.

    Returns:
        A report for each epoch.

    Raises:
        LossNotFinite: the loss became infinite or not a number.
    """
    fix_dropout(model, seed, optimizer.iterations)
    step = _compile_step(model, loss, optimizer, next(iter(batches.epoch(0))))
    total = epochs * batches.steps_per_epoch
    done = 0
    reports = []
    with _Scalars(log_dir / label) if log_dir else nullcontext() as scalars:
        for epoch in range(epochs):
            losses = []
            for batch in batches.epoch(epoch):
                value = float(step(dict(batch)))
                if not math.isfinite(value):
                    raise LossNotFinite(label, epoch + 1, done + 1, value, _learning_rate(optimizer, done))
                losses.append(value)
                done += 1
                if scalars:
                    scalars.step(done, value, optimizer, rows=len(next(iter(batch.values()))))
                progress(label, done, total, "steps", f"epoch {epoch + 1}/{epochs}, loss {value:.4f}")
            reports.append(EpochReport(epoch + 1, len(losses), math.fsum(losses) / len(losses)))
            if after_epoch:
                after_epoch(reports[-1])
    return reports


def _compile_step(
    model: Any, loss: Callable[[Mapping[str, Any]], Any], optimizer: Any, example: Batch
) -> Callable[[Batch], Any]:
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

    compiled: Callable[[Batch], Any] = tf.function(step, input_signature=[signature])
    return compiled


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
