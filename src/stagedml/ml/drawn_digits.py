"""Digits drawn by program, in MNIST's layout: something to tell apart that needs nothing from elsewhere.

Each digit is a few strokes in a square. A picture is these strokes turned, slanted, stretched, moved and waved a
little, drawn with a pen of some width. The same arguments give the same pictures: of chance, only `random()` is used,
the one method whose sequence is promised to stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from stagedml.ml.mnist import CLASSES, SIDE, Arrays

_Stroke = Sequence[tuple[float, float]]


def _arc(x: float, y: float, across: float, down: float, first: float, last: float) -> list[tuple[float, float]]:
    """A part of an ellipse around (x, y), between two angles in degrees; 0 is right, 90 below."""
    angles = [math.radians(first + (last - first) * place / 12) for place in range(13)]
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


# What each digit is drawn of, x to the right and y downwards, both from -1 to 1.
_DIGITS: tuple[tuple[_Stroke, ...], ...] = (
    (_arc(0, 0, 0.6, 1, 0, 360),),
    ([(-0.35, -0.6), (0.1, -1), (0.1, 1)],),
    ([*_arc(0, -0.45, 0.6, 0.55, 180, 390), (-0.6, 1), (0.65, 1)],),
    ([*_arc(-0.05, -0.5, 0.6, 0.5, 200, 450), *_arc(-0.05, 0.5, 0.65, 0.5, 270, 520)],),
    ([(0.1, -1), (-0.65, 0.3), (0.7, 0.3)], [(0.35, -0.3), (0.35, 1)]),
    ([(0.6, -1), (-0.45, -1), (-0.5, -0.1), *_arc(-0.05, 0.4, 0.65, 0.6, 230, 510)],),
    ([(0.35, -1), (-0.35, -0.3), *_arc(0, 0.4, 0.55, 0.6, 180, 540)],),
    ([(-0.6, -1), (0.6, -1), (-0.15, 1)],),
    (_arc(0, -0.5, 0.48, 0.5, 90, 450), _arc(0, 0.5, 0.6, 0.5, 270, 630)),
    ([*_arc(0, -0.4, 0.55, 0.6, 0, 360), (0.4, 1)],),
)
# From the middle of the picture to the ends of a digit.
_REACH = 8.5
_POINTS = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 1, 2) - (SIDE - 1) / 2


def draw_mnist(*, train: int, test: int, seed: int) -> Arrays:
    """Draw so many pictures of each split, of digits that chance chooses."""
    random = Random(seed)
    arrays: dict[str, NDArray[np.uint8]] = {}
    for split, rows in (("train", train), ("test", test)):
        labels = [int(random.random() * CLASSES) for _ in range(rows)]
        arrays[f"x_{split}"] = np.array([_draw(label, random) for label in labels], np.uint8).reshape(-1, SIDE, SIDE)
        arrays[f"y_{split}"] = np.array(labels, np.uint8)
    return arrays


def _draw(digit: int, random: Random) -> NDArray[np.uint8]:
    """One picture, (28, 28)."""

    def about(middle: float, give: float) -> float:
        return middle + give * (2 * random.random() - 1)

    turn, slant, width, height = about(0, 0.2), about(0.1, 0.25), about(0.9, 0.2), about(1, 0.15)
    right, down, wave, phase, pen = about(0, 2), about(0, 2), about(0, 0.12), about(0, math.pi), about(1.3, 0.5)
    turned = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    shaped = np.array([[width, 0], [-slant * height, height]]) @ turned * _REACH
    segments = []
    for stroke in _DIGITS[digit]:
        points = np.array(stroke)
        points[:, 0] += wave * np.sin(3 * points[:, 1] + phase)
        points = points @ shaped + (right, down)
        segments.append(np.stack([points[:-1], points[1:]], axis=1))
    start, end = np.concatenate(segments).transpose(1, 0, 2)
    along = end - start
    # How far along its segment the nearest of its points is to each point of the picture: (784, segments).
    share = np.clip(((_POINTS - start) * along).sum(axis=2) / np.maximum((along**2).sum(axis=1), 1e-9), 0, 1)
    distance = np.sqrt(((_POINTS - start - share[..., None] * along) ** 2).sum(axis=2).min(axis=1))
    ink: NDArray[np.uint8] = np.round(255 * np.clip(pen + 0.5 - distance, 0, 1)).astype(np.uint8)
    return ink.reshape(SIDE, SIDE)
