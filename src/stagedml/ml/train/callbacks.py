"""What may happen to a training on its way: values that look at the reports of its epochs and say what to do.

Rules this module keeps:
- A callback is frozen and holds no state: what it says follows from the reports so far. So a training that goes on
  after a crash, whose reports were kept, decides as it would have done.
- The loop asks and acts; a callback touches neither model nor optimizer. What is to be written for TensorBoard beyond
  the usual numbers is the affair of the `Log` that it makes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagedml.errors import UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochReport:
    """What an epoch did.

    Attributes:
        epoch: from 1.
        steps: of the optimizer.
        loss: mean over the steps.
        measured: what `after_epoch` returned.
    """

    epoch: int
    steps: int
    loss: float
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StepReport:
    """What a step did.

    Attributes:
        step: from 1.
        loss: the weighted mean over its batches.
        rate: the learning rate.
        rows: of its batches.
        tokens: of its batches, padding left out; 0 where they hold none.
    """

    step: int
    loss: float
    rate: float
    rows: int
    tokens: int


class MetricNotMeasured(UsageError):
    """A callback watches what is not measured."""

    def __init__(self, metric: str, measured: tuple[str, ...]) -> None:
        super().__init__(metric, measured)
        self.metric, self.measured = metric, measured

    def __str__(self) -> str:
        return f"no {self.metric!r} is measured after an epoch; there are {', '.join(self.measured) or 'none'}"


@dataclass(frozen=True)
class Callback:
    """The base of all: it asks for nothing."""

    def stops(self, reports: Sequence[EpochReport]) -> bool:
        """Whether the last of these epochs is the last of all."""
        return False

    def rate(self, reports: Sequence[EpochReport]) -> float:
        """What the learning rate is multiplied with after these epochs."""
        return 1.0

    def log(self, folder: Path) -> Log:
        """What writes into a training's folder for TensorBoard, while the training runs."""
        return Log()


class Log:
    """Is told where a training is; writes nothing."""

    def step(self, report: StepReport) -> None:
        """After a step."""

    def epoch(self, report: EpochReport, model: Any) -> None:
        """After an epoch."""

    def flush(self) -> None:
        """Before a checkpoint is written, which keeps the files that there are then."""

    def close(self) -> None:
        """After all of them, or an error."""


@dataclass(frozen=True)
class Watch(Callback):
    """The base of those that watch one metric.

    Attributes:
        metric: its name in what is measured after each epoch.
        higher: whether more of it is better.
        least_change: what is not better by more than that is no better. What is not a number is never better.
    """

    metric: str
    higher: bool = True
    least_change: float = 0.0

    def best(self, reports: Sequence[EpochReport]) -> int | None:
        """The index of the first epoch that none after it was better than; None where no epoch gave a number.

        Raises:
            MetricNotMeasured: the metric is not among what is measured.
        """
        best: int | None = None
        highest = -math.inf
        for index, report in enumerate(reports):
            if self.metric not in report.measured:
                raise MetricNotMeasured(self.metric, tuple(sorted(report.measured)))
            value = report.measured[self.metric] * (1 if self.higher else -1)
            if value > highest + (self.least_change if best is not None else 0):
                best, highest = index, value
        return best

    def waited(self, reports: Sequence[EpochReport]) -> int:
        """How many epochs went by since the best one."""
        best = self.best(reports)
        return len(reports) if best is None else len(reports) - 1 - best


@dataclass(frozen=True)
class KeepBest(Watch):
    """Keep the weights of the best epoch instead of those of the last one.

    Attributes:
        patience: stop after so many epochs without a better one; None never to stop early.
    """

    patience: int | None = None

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"patience is {self.patience} epochs; it takes at least 1, or None never to stop early")

    def keeps(self, reports: Sequence[EpochReport]) -> bool:
        """Whether the last epoch is the best so far; the first one is, whatever it gave."""
        return len(reports) == 1 or self.best(reports) == len(reports) - 1

    def stops(self, reports: Sequence[EpochReport]) -> bool:
        """Whether patience is over."""
        return self.patience is not None and self.waited(reports) >= self.patience


@dataclass(frozen=True)
class ReduceOnPlateau(Watch):
    """Lower the learning rate, on top of its schedule, each time a number of epochs brought nothing better.

    Attributes:
        factor: what the rate is multiplied with, in (0, 1).
        patience: how many epochs it takes; counted anew after each reduction.
    """

    factor: float = 0.5
    patience: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1 or self.patience < 1:
            raise UsageError(
                f"a plateau's factor is {self.factor} and its patience {self.patience}; "
                "they must lie in (0, 1), and be 1 at least"
            )

    def rate(self, reports: Sequence[EpochReport]) -> float:
        """The product of all reductions so far."""
        rate, since = 1.0, 0
        for end in range(1, len(reports) + 1):
            if min(self.waited(reports[:end]), end - since) >= self.patience:
                rate, since = rate * self.factor, end
        return rate


def watching(
    metrics: Sequence[str], keep_best: str | None, patience: int | None, plateau_factor: float | None
) -> tuple[Callback, ...]:
    """Callbacks that watch a metric of a task.

    Args:
        metrics: of the task; the loss is measured, too.
        keep_best: which one to keep the best epoch by; None to keep the last epoch, whatever it gave.
        patience: stop after so many epochs without a better one.
        plateau_factor: lower the learning rate after each epoch without a better one.

    Raises:
        MetricNotMeasured: the task has no such metric.
        UsageError: patience, or a factor, and no metric to watch.
    """
    if keep_best is None:
        if patience is not None or plateau_factor is not None:
            raise UsageError("patience and plateau_factor watch the metric of keep_best; name one there")
        return ()
    if keep_best not in ("loss", *metrics):
        raise MetricNotMeasured(keep_best, ("loss", *metrics))
    higher = keep_best != "loss"
    callbacks: list[Callback] = [KeepBest(keep_best, higher=higher, patience=patience)]
    if plateau_factor is not None:
        callbacks.append(ReduceOnPlateau(keep_best, higher=higher, factor=plateau_factor))
    return tuple(callbacks)


@dataclass(frozen=True)
class Shown(Callback):
    """The base of those that write for TensorBoard alone: what comes out of a training is the same without them."""


@dataclass(frozen=True)
class Histograms(Shown):
    """Show the distribution of each trained weight after each epoch in TensorBoard."""

    def log(self, folder: Path) -> Log:
        """Write into the training's folder."""
        return _Histograms(folder)


class _Histograms(Log):
    def __init__(self, folder: Path) -> None:
        from stagedml.ml.framework import tf

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(folder))

    def epoch(self, report: EpochReport, model: Any) -> None:
        with self._writer.as_default(step=report.epoch):
            for variable in model.trainable_variables:
                self._summary.histogram(variable.name, variable)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


@dataclass(frozen=True)
class Profile(Shown):
    """Record with TensorFlow's profiler what some steps spend their time on, for TensorBoard.

    Attributes:
        after: so many steps of a run of the training come before, in which TensorFlow settles.
        steps: so many are recorded.
    """

    after: int = 10
    steps: int = 5

    def log(self, folder: Path) -> Log:
        """Write into the training's folder."""
        return _Profile(folder, self)


def shown(*, histograms: bool, profile_steps: int) -> tuple[Callback, ...]:
    """What is shown in TensorBoard beside the usual numbers.

    Args:
        histograms: of the weights.
        profile_steps: how many steps are recorded with the profiler; 0 for none.
    """
    if profile_steps < 0:
        raise UsageError(f"profile_steps is {profile_steps}; give how many steps to record, or 0 for none")
    return (*([Histograms()] * histograms), *([Profile(steps=profile_steps)] if profile_steps else []))


class _Profile(Log):
    def __init__(self, folder: Path, settings: Profile) -> None:
        from stagedml.ml.framework import tf

        self._profiler = tf.profiler.experimental
        self._folder, self._settings = str(folder), settings
        self._seen = 0
        self._records = False

    def step(self, report: StepReport) -> None:
        self._seen += 1
        if self._seen == self._settings.after:
            self._profiler.start(self._folder)
            self._records = True
        elif self._seen == self._settings.after + self._settings.steps:
            self.close()

    def close(self) -> None:
        if self._records:
            self._records = False
            self._profiler.stop()
        elif self._seen < self._settings.after:
            logger.warning("no profile: it begins after %d steps, and there were %d", self._settings.after, self._seen)
