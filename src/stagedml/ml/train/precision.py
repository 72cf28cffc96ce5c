"""In which floats a model computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from stagedml.errors import UsageError
from stagedml.ml.framework import tf_keras

Precision = Literal["float32", "bfloat16", "float16"]

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextmanager
def precision(name: Precision) -> Iterator[None]:
    """Within the block, new Keras layers compute in such floats; their weights are float32 always.

    "bfloat16" is fast on GPUs and on processors with AMX or AVX-512 BF16, and many times slower than "float32" on
    others, where it is emulated. "float16" is for GPUs without bfloat16; its numbers end at 65,504, so whoever trains
    with it scales the loss (see `step`).

    Raises:
        UsageError: there is no such precision.
    """
    if name not in _POLICIES:
        raise UsageError(f"precision is {name!r}, none of {', '.join(get_args(Precision))}")
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(_POLICIES[name])
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
