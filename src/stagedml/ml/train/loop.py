"""The training loop: every model of the catalogue is trained by `train`.

Rules this module keeps:
- Bit for bit the same weights for the same model, data, settings and seed: in a fresh process, or after other trainings
  in this one. (Build the model within `TrainSettings.building`.)
- What holds a clock or a rate goes to the log folder, nowhere else.
- A loss that is not finite ends the training. It leaves no checkpoint: whoever tries the very same once more doubts the
  machine, and wants it from the beginning.
- A training that is interrupted and asked for once more goes on from its last checkpoint (see `resume`) and ends, on
  the same machine, in the same weights and reports, bit for bit, as if nothing had happened. So a checkpoint holds all
  variables of the model and of the step, the losses of the epoch so far, the reports, and the weights of the best
  epoch. Chance has no state (see `determinism`), what callbacks say follows from the reports, and of an epoch that was
  begun the data is skipped up to where it was. Steps keep their numbers, also in TensorBoard.
- While a step or an evaluation computes, the next batches are made; the loss of a step is looked at once the next one
  is under way.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.framework import tf
from stagedml.ml.progress import Progress, silent
from stagedml.ml.train.batching import Batch, Batches, ahead, grouped
from stagedml.ml.train.callbacks import Callback, EpochReport, KeepBest, Log, Shown, StepReport
from stagedml.ml.train.determinism import machine, seeded
from stagedml.ml.train.devices import Devices, strategy
from stagedml.ml.train.kept_events import KeptEvents
from stagedml.ml.train.optimizer import OptimizerSettings, learning_rate
from stagedml.ml.train.precision import Precision, precision
from stagedml.ml.train.results import LossNotFinite
from stagedml.ml.train.resume import CheckpointFolder, Checkpoints, Kept
from stagedml.ml.train.step import Compilation, Loss, Step, rows_of

logger = logging.getLogger(__name__)

_LOG_EVERY_STEPS = 10


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained, whatever it is.

    Attributes:
        optimizer: how weights follow their gradients, and the learning rate.
        epochs: how many there are, at most; after each of them the model is evaluated.
        steps_per_epoch: how many steps an epoch has, whatever share of the data, or how much more than all of it, they
            take: each epoch goes on where the one before it stopped. None for all of the data once.
        accumulate: how many batches make a step.
        average_decay: evaluate and hand over a moving average of the weights, which keeps that share of itself at each
            step (less in the beginning), in [0, 1); None for the weights themselves.
        precision: what the model computes in; with "float16" the loss is scaled.
        devices: "one", or "mirrored" for all GPUs at once.
        compilation: "open" to compile the step once, for batches of any size; "shapes" to compile it for each shape of
            batches; "xla" for the latter with XLA.
        deterministic: whether to repeat bit for bit.
    """

    optimizer: OptimizerSettings
    epochs: int = 3
    steps_per_epoch: int | None = None
    accumulate: int = 1
    average_decay: float | None = None
    precision: Precision = "float32"
    devices: Devices = "one"
    compilation: Compilation = "open"
    deterministic: bool = True

    def __post_init__(self) -> None:
        counts = {"epochs": self.epochs, "steps_per_epoch": self.steps_per_epoch, "accumulate": self.accumulate}
        problems = [f"{name} is {value}, below 1" for name, value in counts.items() if value is not None and value < 1]
        if self.average_decay is not None and not 0 <= self.average_decay < 1:
            problems.append(f"average_decay is {self.average_decay}, outside [0, 1)")
        for name, choices in (("precision", Precision), ("devices", Devices), ("compilation", Compilation)):
            if getattr(self, name) not in get_args(choices):
                problems.append(f"{name} is {getattr(self, name)!r}, none of {', '.join(get_args(choices))}")
        if problems:
            raise UsageError("settings of the training: " + "; ".join(problems))

    @contextmanager
    def building(self, seed: int) -> Iterator[None]:
        """Where the model is to be built: its fresh weights follow from the seed."""
        with seeded(seed, deterministic=self.deterministic), precision(self.precision), strategy(self.devices).scope():
            yield


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        reports: one for each epoch.
        epoch: from 1: the epoch at whose end the model had the weights that it has now.
        raw: where the model now has averaged weights, those that were averaged, in the order of `model.variables`; else
            None.
    """

    reports: tuple[EpochReport, ...]
    epoch: int
    raw: tuple[NDArray[Any], ...] | None


def train(
    model: Any,
    loss: Loss,
    batches: Batches,
    settings: TrainSettings,
    *,
    seed: int,
    weigh: Callable[[Batch], float] = rows_of,
    callbacks: Sequence[Callback] = (),
    after_epoch: Callable[[EpochReport], Mapping[str, float] | None] | None = None,
    label: str = "train",
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
    identity: Mapping[str, object] | None = None,
) -> Trained:
    """Train a model.

    Args:
        model: a Keras model or layer, built within `settings.building`; its trainable variables are trained, in place.
        loss: from a batch, as tensors, to the mean loss of its rows, a float32 scalar; calls the model with
            `training=True`.
        batches: the data. All batches have the same names, types and ranks.
        settings: how to train.
        seed: of the dropout.
        weigh: how much a batch counts where several make a step, if its loss is not a mean over its rows.
        callbacks: what may happen on the way; one `KeepBest` at most.
        after_epoch: called after each epoch, to evaluate, say; the model then has its averaged weights, if those are
            asked for. What it returns is kept in the report; it is not called again for epochs that were over when the
            training was interrupted.
        label: what `progress` and errors call this training; the folder of its TensorBoard events in `log_dir`.
        log_dir: TensorBoard events are written below it: loss, learning rate, examples and tokens per second. Where a
            training goes on, those up to its checkpoint are put there, too.
        progress: told after each step, and where the training goes on.
        checkpoints: where to keep what is needed to go on; None to keep nothing.
        identity: what tells this training from others beyond the other arguments, the initial weights and the first
            batch: JSON values and dataclasses. Checkpoints of other trainings are not used.

    Raises:
        LossNotFinite: the loss became infinite or not a number.
        MetricNotMeasured: a callback watches a metric that `after_epoch` does not return.
    """
    keepers = [callback for callback in callbacks if isinstance(callback, KeepBest)]
    if len(keepers) > 1:
        raise UsageError(f"{len(keepers)} callbacks keep the best weights; there can be one")
    example = next(iter(batches.epoch(0)))
    step = Step(
        model,
        loss,
        settings.optimizer,
        example,
        seed=seed,
        weigh=weigh,
        accumulate=settings.accumulate,
        average_decay=settings.average_decay,
        scale_loss=settings.precision == "float16",
        compilation=settings.compilation,
    )
    epoch_steps = settings.steps_per_epoch or -(-batches.steps_per_epoch // settings.accumulate)
    total = settings.epochs * epoch_steps
    best = _Best([*model.variables, *step.averages] if keepers else [])
    state = _State()
    saver = None
    if checkpoints:
        training = {"label": label, "seed": seed, "steps": total, "settings": settings}
        training["callbacks"] = [each for each in callbacks if not isinstance(each, Shown)]
        training |= {"identity": identity, "batch": _digest(example.items()), "machine": machine()}
        saver = _Saver(checkpoints, label, training, model.variables, step.variables, best, log_dir)
        state = saver.restore()
    if state.done:
        logger.info("%s: resumed at step %d of %d", label, state.done, total)
        progress(label, state.done, total, "steps", f"resumed at step {state.done}")

    with ExitStack() as stack:
        logs: list[Log] = []
        if log_dir:
            logs = [_Scalars(log_dir / label), *(callback.log(log_dir / label) for callback in callbacks)]
            for log in logs:
                stack.callback(log.close)

        def settle(value: Any, rate: float, group: Sequence[Batch]) -> None:
            """Wait for the loss of a step, and tell of it."""
            number, epoch, loss = state.done + 1, len(state.reports) + 1, float(value)
            if not math.isfinite(loss):
                if saver:
                    saver.discard()
                raise LossNotFinite(label, epoch, number, loss, rate)
            state.losses.append(loss)
            report = StepReport(number, loss, rate, sum(map(rows_of, group)), sum(map(_tokens, group)))
            for log in logs:
                log.step(report)
            progress(label, number, total, "steps", f"epoch {epoch}/{settings.epochs}, loss {loss:.4f}")

        groups = islice(_groups(batches, settings.accumulate, state.done), total - state.done)
        left = stack.enter_context(closing(ahead(groups)))
        while len(state.reports) < settings.epochs and not any(each.stops(state.reports) for each in callbacks):
            factor = math.prod(callback.rate(state.reports) for callback in callbacks)
            pending: list[tuple[Any, float, Sequence[Batch]]] = []
            for group in islice(left, epoch_steps - len(state.losses)):
                number = state.done + len(pending)
                rate = factor * learning_rate(settings.optimizer, number, total)
                pending.append((step(group, number=number, rate=rate), rate, group))
                is_due = saver is not None and saver.is_due(number + 1)
                while len(pending) > (0 if is_due else 1):
                    settle(*pending.pop(0))
                if saver and is_due:
                    saver.save(state, logs)
            while pending:
                settle(*pending.pop(0))
            report = EpochReport(len(state.reports) + 1, len(state.losses), math.fsum(state.losses) / len(state.losses))
            if after_epoch:
                with step.averaged():
                    report = replace(report, measured=dict(after_epoch(report) or {}))
            state = _State(reports=[*state.reports, report])
            for keeper in keepers:
                if keeper.keeps(state.reports):
                    best.take(report.epoch)
            for log in logs:
                log.epoch(report, model)
            if saver and saver.is_due(state.done, epoch_ended=True):
                saver.save(state, logs)

    best.give_back()
    if len(state.reports) < settings.epochs:
        note = f"stopped after epoch {len(state.reports)} of {settings.epochs}"
        progress(label, state.done, total, "steps", f"{note}, the best was {best.epoch}" if best.epoch else note)
    raw = None
    if step.averages:
        raw = tuple(variable.numpy() for variable in model.variables)
        step.swap_averages()
    return Trained(tuple(state.reports), best.epoch or len(state.reports), raw)


def _groups(batches: Batches, size: int, done: int) -> Iterator[Sequence[Batch]]:
    """The batches of each step after so many, without end: the data over and over, in another order each time."""
    number, begun = divmod(done, -(-batches.steps_per_epoch // size))
    for each in itertools.count(number):
        yield from islice(grouped(batches.epoch(each), size), begun, None)
        begun = 0


@dataclass
class _State:
    """How far a training is: the reports of the epochs that are over, and the losses of the one that is not."""

    reports: list[EpochReport] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many steps were done."""
        return sum(report.steps for report in self.reports) + len(self.losses)


class _Best:
    """The values of some variables at the end of the best epoch."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = variables
        self.arrays = [variable.numpy() for variable in variables]
        self.epoch = 0

    def take(self, epoch: int) -> None:
        """This is the best epoch so far."""
        self.arrays = [variable.numpy() for variable in self._variables]
        self.epoch = epoch

    def give_back(self) -> None:
        """Give the variables the values that they had then."""
        if self.epoch:
            assign(self._variables, self.arrays)


class _Saver:
    """What of a training goes into its checkpoints, and back."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        label: str,
        training: Mapping[str, object],
        weights: Sequence[Any],
        others: Sequence[Any],
        best: _Best,
        log_dir: Path | None,
    ) -> None:
        """Made before the first step: the weights are the initial ones, which tell one training from another.

        Variables are known by their places. Keras numbers its names through the life of a process, so that they differ
        after a crash.
        """
        self._variables = [*weights, *others]
        self._best = best
        self._kept = [
            Kept(tuple(variable.shape), np.dtype(variable.dtype.as_numpy_dtype), variable.numpy)
            for variable in self._variables
        ]
        shapes = hashlib.sha256(repr([(kept.shape, kept.dtype.name) for kept in self._kept]).encode()).hexdigest()
        initial = _digest(("", variable.numpy()) for variable in weights)
        training = {**training, "variables": shapes, "initial weights": initial}
        self._folder = CheckpointFolder(checkpoints, label, training)
        events = self._folder.folder.with_suffix(".events")
        self._events = KeptEvents(log_dir, events) if log_dir else None

    def restore(self) -> _State:
        """Set all variables to those of the newest checkpoint, if there is one."""
        found = self._folder.newest()
        if found is None:
            return _State()
        *values, losses = found.arrays
        count = len(self._variables)
        assign(self._variables, values[:count])
        self._best.arrays, self._best.epoch = values[count:], found.state["best"]
        self._folder.resumed(found.state["step"])
        if self._events:
            self._events.give_back(found.state["step"])
        return _State([EpochReport(**report) for report in found.state["reports"]], losses.tolist())

    def is_due(self, step: int, *, epoch_ended: bool = False) -> bool:
        """Whether a checkpoint is due after so many steps."""
        return self._folder.is_due(step, epoch_ended=epoch_ended)

    def save(self, state: _State, logs: Iterable[Log]) -> None:
        """Write a checkpoint."""
        if self._events:
            for log in logs:
                log.flush()
            self._events.keep(state.done)
        best = [_kept(array) for array in self._best.arrays]
        losses = _kept(np.array(state.losses, dtype=np.float64))
        reports = [asdict(report) for report in state.reports]
        self._folder.write(
            state.done,
            {"step": state.done, "reports": reports, "best": self._best.epoch},
            [*self._kept, *best, losses],
        )

    def discard(self) -> None:
        """Remove all checkpoints of the training."""
        self._folder.discard()
        if self._events:
            self._events.discard()


def _kept(array: NDArray[Any]) -> Kept:
    return Kept(array.shape, array.dtype, lambda: array)


def assign(variables: Sequence[Any], values: Sequence[NDArray[Any]]) -> None:
    """Set variables, such as `model.variables`, to values, such as `Trained.raw`."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _digest(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _tokens(batch: Batch) -> int:
    """How many entries of the first column of integers with two dimensions are no padding."""
    columns = (column for column in batch.values() if column.ndim == 2 and column.dtype.kind == "i")
    return int(np.count_nonzero(next(columns, ())))


class _Scalars(Log):
    """TensorBoard's numbers of one training."""

    def __init__(self, folder: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))
        self._rows = self._tokens = 0
        self._since = time.perf_counter()

    def step(self, report: StepReport) -> None:
        """Note a step; every few of them are written."""
        self._rows += report.rows
        self._tokens += report.tokens
        if report.step % _LOG_EVERY_STEPS:
            return
        now = time.perf_counter()
        with self._writer.as_default(step=report.step):
            tf.summary.scalar("loss", report.loss)
            tf.summary.scalar("learning_rate", report.rate)
            tf.summary.scalar("examples_per_second", self._rows / (now - self._since))
            if self._tokens:
                tf.summary.scalar("tokens_per_second", self._tokens / (now - self._since))
        self._rows = self._tokens = 0
        self._since = now

    def flush(self) -> None:
        """Write what there is."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
