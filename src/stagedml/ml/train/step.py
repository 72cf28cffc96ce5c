"""One step of a training: gradients of one or more batches, then one update of the weights. Compiled.

Rules this module keeps:
- What a step does to the weights depends on the rows of its batches, not on how they are cut into pieces: gradients
  are those of the mean over all rows, whether they come from one batch, from several one after the other
  (*accumulation*) or from several devices at once (*replicas*). A piece on a replica draws the dropout that the same
  piece would draw as one of several batches.
- Gradients are clipped once they are complete, to one global norm.
- The learning rate is told anew for each step; no schedule is compiled in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from stagedml.ml.framework import tf, tf_keras
from stagedml.ml.train.batching import Batch
from stagedml.ml.train.determinism import fix_dropout
from stagedml.ml.train.devices import strategy_of
from stagedml.ml.train.optimizer import OptimizerSettings, create_optimizer

Loss: TypeAlias = Callable[[Mapping[str, Any]], Any]

Compilation = Literal["open", "shapes", "xla"]


def rows_of(batch: Batch) -> int:
    """How many rows a batch has: the weight of a mean over rows."""
    return len(next(iter(batch.values())))


class Step:
    """The compiled step of one model, and all variables that it changes."""

    def __init__(
        self,
        model: Any,
        loss: Loss,
        optimizer: OptimizerSettings,
        example: Batch,
        *,
        seed: int,
        weigh: Callable[[Batch], float] = rows_of,
        accumulate: int = 1,
        average_decay: float | None = None,
        scale_loss: bool = False,
        compilation: Compilation = "open",
    ) -> None:
        """Make the variables and trace the step.

        Args:
            model: built in the scope of its strategy.
            loss: as for `loop.train`.
            optimizer: how weights follow their gradients.
            example: a batch; all have its names, types and ranks.
            seed: of the dropout.
            weigh: how much a batch, or a piece of one, counts beside others in the mean.
            accumulate: how many batches a step has, at most.
            average_decay: of the moving average of the weights; None for none.
            scale_loss: whether to multiply the loss with a scale that follows what float16 can hold.
            compilation: see `loop.TrainSettings`.
        """
        self._strategy = strategy_of(model)
        self._replicas: int = self._strategy.num_replicas_in_sync
        self._accumulate = accumulate
        self._loss = loss
        self._weigh = weigh
        self._weights = model.trainable_variables
        self._clip_norm = optimizer.clip_norm
        self._average_decay = average_decay
        self._scales = scale_loss
        with self._strategy.scope():
            self._rate = _variable(0.0)
            self._piece = _variable(np.int64(0))
            self.optimizer = create_optimizer(optimizer, self._rate)
            if self._scales:
                self.optimizer = tf_keras.mixed_precision.LossScaleOptimizer(self.optimizer)
            self._sums = [_sum_like(weight) for weight in self._weights] if accumulate > 1 else []
            self.averages = [_variable(weight) for weight in self._weights] if average_decay is not None else []
            # So that all of the optimizer's variables are there before the first step.
            inner = self.optimizer.inner_optimizer if self._scales else self.optimizer
            inner._create_all_weights(self._weights)
        fix_dropout(model, seed, self._piece)
        # No model here branches on tensors; to have TensorFlow look for it costs seconds.
        options: dict[str, Any] = {"autograph": False}
        if compilation == "xla":
            options["jit_compile"] = True
        if compilation == "open":
            batch = {name: tf.TensorSpec([None] * array.ndim, array.dtype) for name, array in example.items()}
            options["input_signature"] = [[batch] * self._replicas, tf.TensorSpec([self._replicas], tf.float32)]
        self._gather = tf.function(partial(self._run, complete=False), **options)
        self._finish = tf.function(partial(self._run, complete=True), **options)

    @property
    def variables(self) -> list[Any]:
        """What a step changes beside the model."""
        variables = [*self.optimizer.weights, *self.averages]
        if self._scales:
            # Keras counts them to no optimizer's weights.
            variables += [self.optimizer._loss_scale.current_loss_scale, self.optimizer.dynamic_counter]
        return variables

    def __call__(self, batches: Sequence[Batch], *, number: int, rate: float) -> Any:
        """Do it.

        Args:
            batches: one, or several whose gradients are put together.
            number: of the step, from 0: what its dropout follows from.
            rate: the learning rate.

        Returns:
            The weighted mean of the losses, a float32 scalar on the device.
        """
        self._rate.assign(rate)
        cuts = [_cut(batch, self._replicas) for batch in batches]
        weights = np.array([[self._weigh(piece) if counts else 0.0 for piece, counts in cut] for cut in cuts])
        shares = (weights / (weights.sum() or 1.0)).astype(np.float32)
        value: Any = 0.0
        for place, cut in enumerate(cuts):
            self._piece.assign((number * self._accumulate + place) * self._replicas)
            pieces = [{name: tf.constant(column) for name, column in piece.items()} for piece, _ in cut]
            run = self._finish if place == len(cuts) - 1 else self._gather
            value += run(pieces, tf.constant(shares[place]))
        return value

    def swap_averages(self) -> None:
        """Exchange the weights and their moving averages, if there are such."""
        for average, weight in zip(self.averages, self._weights, strict=False):
            kept = weight.numpy()
            weight.assign(average.numpy())
            average.assign(kept)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block, the model has its averaged weights, if there are such."""
        self.swap_averages()
        try:
            yield
        finally:
            self.swap_averages()

    def _run(self, pieces: Sequence[Batch], shares: Any, *, complete: bool) -> Any:
        losses = self._strategy.run(partial(self._replica, pieces, shares, complete))
        return self._strategy.reduce("SUM", losses, axis=None)

    def _replica(self, pieces: Sequence[Batch], shares: Any, complete: bool) -> Any:
        context = tf.distribute.get_replica_context()
        replica = tf.get_static_value(context.replica_id_in_sync_group) if self._replicas > 1 else 0
        with tf.GradientTape() as tape:
            value = self._loss(pieces[replica]) * shares[replica]
            objective = self.optimizer.get_scaled_loss(value) if self._scales else value
        gradients = tape.gradient(objective, self._weights)
        # A head may leave parts of an encoder unused, such as its pooler.
        used = [place for place, gradient in enumerate(gradients) if gradient is not None]
        # Adam goes through all rows of an embedding anyway, and is faster where it needs not look for those in use.
        gradients = [tf.convert_to_tensor(gradients[place]) for place in used]
        if self._sums:
            sums = [self._sums[place] for place in used]
            for total, gradient in zip(sums, gradients, strict=True):
                total.assign_add(gradient)
            if not complete:
                return value
            gradients = [total.read_value() for total in sums]
            with tf.control_dependencies(gradients):
                for total in sums:
                    total.assign(tf.zeros_like(total))
        if self._replicas > 1:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self._scales:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        if self._clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        pairs = list(zip(gradients, [self._weights[place] for place in used], strict=True))
        self.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)
        if self.averages:
            self._average()
        return value

    def _average(self) -> None:
        """Follow the weights, faster at the beginning: the average of few steps is one over few."""
        steps = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(self._average_decay, (1 + steps) / (10 + steps))
        for average, weight in zip(self.averages, self._weights, strict=True):
            average.assign_sub((1 - decay) * (average - weight))


def _variable(value: Any) -> Any:
    """One that all replicas share: the same value on each, told by the first."""
    return tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


def _sum_like(weight: Any) -> Any:
    """One of which each replica has its own."""
    return tf.Variable(tf.zeros_like(weight), trainable=False, synchronization=tf.VariableSynchronization.ON_READ)


def _cut(batch: Batch, replicas: int) -> list[tuple[Batch, bool]]:
    """The batch in as many pieces as there are replicas, and whether each counts.

    Where there are fewer rows than replicas, some get a row that others have, which does not count.
    """
    if replicas == 1:
        return [(batch, True)]
    rows = len(next(iter(batch.values())))
    bounds = [rows * place // replicas for place in range(replicas + 1)]
    return [
        ({name: column[start : max(end, start + 1)] for name, column in batch.items()}, end > start)
        for start, end in pairwise(bounds)
    ]
