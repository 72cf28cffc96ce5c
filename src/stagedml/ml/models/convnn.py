"""A convolutional network that tells digits apart: the one of the first StagedML, which took it from Keras's examples.

Two convolutions, the largest of each four neighbours, a dense layer, and dropout before and after that. Weights are
kept as safetensors, called by layer and kind: `conv_1/kernel`, ...
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.ml.framework import tf, tf_keras
from stagedml.ml.mnist import CLASSES, SIDE, read_splits
from stagedml.ml.progress import Progress, silent
from stagedml.ml.train.batching import ShuffledBatches
from stagedml.ml.train.callbacks import EpochReport
from stagedml.ml.train.loop import TrainSettings, train
from stagedml.ml.train.results import Evaluation, log_scalars, write_results
from stagedml.ml.train.resume import Checkpoints, digest_of

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.safetensors"

_EVALUATION_ROWS = 500


def train_convnn(
    mnist: Path,
    *,
    training: TrainSettings,
    batch_size: int,
    seed: int,
    output: Path,
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """Train the network, and measure it: on `valid` after each epoch, on `test` at the end.

    Writes `weights.safetensors` and what `results.write_results` does into `output`, the same bytes for the same
    arguments.

    Args:
        mnist: a file that `ml.mnist` reads.
        training: how the network is trained.
        batch_size: rows a batch.
        seed: of the weights, the order of the data and the dropout.
        output: a folder that exists.
        log_dir: for TensorBoard; holds clocks and rates.
        progress: told of the training.
        checkpoints: where to keep what is needed to go on after a crash; what comes out is the same.

    Returns:
        What is in `metrics.json`: loss and accuracy.

    Raises:
        NotMnist: the file is another.
        LossNotFinite: the training diverged.
    """
    splits = read_splits(mnist)
    with training.building(seed):
        network = Convnn()

    def after_epoch(report: EpochReport) -> dict[str, float]:
        measured = splits.valid.measure(network.predict(splits.valid.images))
        log_scalars(log_dir, "valid", report.epoch, measured)
        logger.info("epoch %d: %s", report.epoch, measured)
        return measured

    trained = train(
        network.model,
        network.loss,
        ShuffledBatches(splits.train.columns, batch_size=batch_size, seed=seed),
        training,
        seed=seed,
        after_epoch=after_epoch,
        log_dir=log_dir,
        progress=progress,
        checkpoints=checkpoints,
        identity={"batch_size": batch_size, "data": digest_of(mnist)},
    )
    network.save(output / WEIGHTS_FILE)
    measured = splits.test.measure(network.predict(splits.test.images))
    log_scalars(log_dir, "test", trained.epoch, measured)
    tests = {"test": Evaluation(len(splits.test), measured)}
    return write_results(output, trained.reports, trained.epoch, valid_rows=len(splits.valid), others=tests)


class Convnn:
    """The network."""

    def __init__(self, weights: Path | None = None) -> None:
        """Build it, with the weights of a file, or else with fresh ones, drawn from Keras's global generator."""
        layers = tf_keras.layers
        self.model = tf_keras.Sequential(
            [
                layers.Conv2D(32, 3, activation="relu", name="conv_1"),
                layers.Conv2D(64, 3, activation="relu", name="conv_2"),
                layers.MaxPool2D(2),
                layers.Dropout(0.25),
                layers.Flatten(),
                layers.Dense(128, activation="relu", name="hidden"),
                layers.Dropout(0.5),
                layers.Dense(CLASSES, name="output"),
            ]
        )
        self.model.build((None, SIDE, SIDE, 1))
        self._infer = tf.function(
            lambda images: self.logits(images, training=False),
            input_signature=[tf.TensorSpec([None, None, None], tf.uint8)],
        )
        if weights is not None:
            from safetensors.numpy import load_file

            arrays = load_file(weights)
            self.model.set_weights([arrays[_name(variable)] for variable in self.model.weights])

    def logits(self, images: Any, *, training: bool) -> Any:
        """What speaks for each digit: (rows, 10) float32, of pictures (rows, 28, 28) uint8."""
        ink = tf.cast(tf.reshape(images, (-1, SIDE, SIDE, 1)), tf.float32) / 255
        return tf.cast(self.model(ink, training=training), tf.float32)

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """The mean cross-entropy of a batch, with dropout, for `loop.train`."""
        logits = self.logits(batch["image"], training=True)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits))

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The logits of pictures, (rows, 10)."""
        starts = range(0, len(images), _EVALUATION_ROWS)
        return np.concatenate([self._infer(images[start : start + _EVALUATION_ROWS]).numpy() for start in starts])

    def save(self, path: Path) -> None:
        """Write the weights."""
        from safetensors.numpy import save_file

        save_file({_name(variable): variable.numpy() for variable in self.model.weights}, path)


def _name(variable: Any) -> str:
    return str(variable.name).removesuffix(":0")
