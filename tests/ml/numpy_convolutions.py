"""Convolutions in plain NumPy, written from their definition, to hold the frameworks' against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def convolve(images: Array, kernel: Array, bias: Array, padding: int = 0) -> Array:
    """Images (rows, height, width, channels), kernel (height, width, channels, filters)."""
    images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(images, kernel.shape[:2], axis=(1, 2))
    convolved: Array = np.einsum("bijcyx,yxcf->bijf", windows, kernel) + bias
    return convolved


def quarters(images: Array) -> Array:
    """Each four neighbours: (rows, height / 2, width / 2, channels, 4)."""
    rows, height, width, channels = images.shape
    split = images.reshape(rows, height // 2, 2, width // 2, 2, channels)
    return split.transpose(0, 1, 3, 5, 2, 4).reshape(rows, height // 2, width // 2, channels, 4)
