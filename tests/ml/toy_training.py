"""A training of a second or less, for tests of the training core."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def rows(count: int, seed: int = 0) -> tuple[dict[str, list[NDArray[Any]]], dict[str, NDArray[Any]]]:
    generator = np.random.default_rng(seed)
    ragged = {"ids": [generator.integers(1, 9, generator.integers(1, 60)) for _ in range(count)]}
    return ragged, {"row": np.arange(count, dtype=np.int32)}


class Regression:
    """A small network with dropout that learns the sum of its inputs."""

    def __init__(self, dropout: float = 0.2) -> None:
        from stagedml.ml.framework import tf_keras

        layers = tf_keras.layers
        self.model = tf_keras.Sequential(
            [layers.Dense(16, activation="tanh"), layers.Dropout(dropout), layers.Dense(16), layers.Dropout(dropout)]
        )
        self.model.add(layers.Dense(1))
        self.model.build((None, 4))

    def loss(self, batch: Mapping[str, Any]) -> Any:
        from stagedml.ml.framework import tf

        predicted = tf.cast(self.model(batch["x"], training=True)[:, 0], tf.float32)
        return tf.reduce_mean((predicted - batch["y"]) ** 2)


class Points:
    """Random inputs and their sums."""

    def __init__(self, scale: float = 1.0, sizes: Sequence[int] = (16, 16, 9, 16, 16, 16, 16, 3)) -> None:
        self._scale = scale
        self._sizes = sizes
        self.steps_per_epoch = len(sizes)

    def epoch(self, number: int) -> Iterator[dict[str, NDArray[Any]]]:
        generator = np.random.default_rng((5, number))
        for size in self._sizes:
            x = (generator.normal(size=(size, 4)) * self._scale).astype(np.float32)
            yield {"x": x, "y": x.sum(axis=1)}


def run(
    seed: int = 1, *, learning_rate: float = 1e-2, dropout: float = 0.2, data: Any = None, **options: Any
) -> tuple[Any, Any]:
    """A training of a small network, with any settings and arguments: the model, and what the training came to.

    `after` takes the model and gives the `after_epoch` of the training.
    """
    from stagedml.ml.train.loop import TrainSettings, train
    from stagedml.ml.train.optimizer import OptimizerSettings

    names = [field.name for field in dataclasses.fields(TrainSettings)]
    settings = TrainSettings(
        OptimizerSettings(learning_rate), **{name: options.pop(name) for name in names if name in options}
    )
    with settings.building(seed):
        network = Regression(dropout)
    if "after" in options:
        options["after_epoch"] = options.pop("after")(network.model)
    return network.model, train(network.model, network.loss, data or Points(), settings, seed=seed, **options)


def bits(model: Any) -> list[bytes]:
    """All weights, to the last bit."""
    return [variable.numpy().tobytes() for variable in model.variables]


class Interrupted(Exception):
    """Stands for whatever ends a process."""


class Told:
    """Progress that remembers where a training went on and what it did, and ends it at a step."""

    def __init__(self, end_at: int | None = None) -> None:
        self.end_at = end_at
        self.resumed_at = 0
        self.steps: list[int] = []

    def __call__(self, label: str, done: int, total: int | None, unit: str, note: str = "") -> None:
        if note == f"resumed at step {done}":
            self.resumed_at = done
            return
        self.steps.append(done)
        if done == self.end_at:
            raise Interrupted


def weights(model: Any) -> NDArray[np.float32]:
    """All weights in one row."""
    return np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables])
