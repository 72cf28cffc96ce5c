"""What makes a training repeat bit for bit, in whatever process and after whatever else ran in it.

Chance enters a training at three places, and at each of them it is a pure function of the seed:
- fresh weights: drawn while a model is built, within `seeded`;
- the order of the data: computed from (seed, epoch) by whoever makes the batches (`batching.epoch_generator`);
- dropout: computed from (seed, layer, piece of data); `fix_dropout` replaces the generators with a state of their own.

So no generator has a state that a checkpoint would have to hold, and a training that goes on at step n behaves as if
it had never stopped. Beyond chance, some of TensorFlow's kernels add up floats in an order that varies: `seeded` turns
those off, for the whole process and for good, since TensorFlow knows no way back. What remains is the machine: how a
sum is split over threads depends on their number (TF_NUM_INTRAOP_THREADS; by default as many as there are cores) and on
the device, and the last bits of the weights with it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from stagedml.ml.framework import tf, tf_keras


@contextmanager
def seeded(seed: int, *, deterministic: bool = True) -> Iterator[None]:
    """Run a block with every global generator of Python, NumPy, TensorFlow and Keras at a seed.

    The generators of Python and NumPy are put back after the block; those of TensorFlow and Keras cannot be.

    Args:
        seed: not negative; 32 bits of it count.
        deterministic: turn off the kernels that do not repeat, from now on in this process.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    tf_keras.utils.set_random_seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


def fix_dropout(model: Any, seed: int, piece: Any) -> int:
    """Let each dropout layer of a model draw its noise from (seed, its place in the model, piece).

    Args:
        model: a Keras model or layer whose layers are built.
        seed: of the training.
        piece: an int64 variable, the number of the piece of data that the model is called with; who trains counts it
            up. A replica adds its own number.

    Returns:
        The number of dropout layers.
    """
    # `submodules` walks attributes in the order of their names, which is the same in every process.
    layers = [layer for layer in model.submodules if isinstance(layer, tf_keras.layers.Dropout)]
    for place, layer in enumerate(layers):
        key = np.random.SeedSequence((seed, place)).generate_state(1, np.uint64).astype(np.int64)[0]
        # Keras 2 asks this attribute for its noise; it offers no public way to say where noise comes from.
        layer._random_generator = _PieceNoise(key, piece)
    return len(layers)


def machine() -> dict[str, object]:
    """What the last bits of a training hang on beside its code, data and seed, as far as TensorFlow tells."""
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.environ.get("TF_NUM_INTRAOP_THREADS", cores)
    return {
        "tensorflow": tf.__version__,
        "tf_keras": tf_keras.__version__,
        "numpy": np.__version__,
        "devices": gpus or [f"CPU, {threads} threads"],
    }


class _PieceNoise:
    """Stands in for `tf_keras.backend.RandomGenerator`, without a state."""

    def __init__(self, key: np.int64, piece: Any) -> None:
        self._key = key
        self._piece = piece

    def _maybe_init(self) -> None:
        """Called when a layer is built after all; there is nothing to make."""

    def dropout(self, inputs: Any, rate: float, noise_shape: Any = None) -> Any:
        """Zero a share `rate` of the inputs and scale up the others."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.stack([tf.constant(self._key, tf.int64), self._piece + tf.cast(replica, tf.int64)])
        # Named, since the default differs from device to device.
        return tf.nn.experimental.stateless_dropout(inputs, rate, seed=seed, noise_shape=noise_shape, rng_alg="philox")
