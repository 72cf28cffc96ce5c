"""Which devices a training runs on."""

from __future__ import annotations

from typing import Any, Literal, get_args

from stagedml.errors import UsageError
from stagedml.ml.framework import tf

Devices = Literal["one", "mirrored"]


def strategy(devices: Devices) -> Any:
    """The `tf.distribute.Strategy` in whose scope a model is to be built.

    Args:
        devices: "one" for TensorFlow's choice, the first GPU if there is one; "mirrored" for a copy of the weights on
            each GPU, or on each logical CPU device where there is none, each of which does its share of every batch.

    Raises:
        UsageError: there is no such choice.
    """
    if devices not in get_args(Devices):
        raise UsageError(f"devices is {devices!r}, none of {', '.join(get_args(Devices))}")
    if devices == "one":
        return tf.distribute.get_strategy()
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices(kind)])


def strategy_of(model: Any) -> Any:
    """The strategy in whose scope a model was built."""
    return getattr(model.variables[0], "distribute_strategy", None) or tf.distribute.get_strategy()
