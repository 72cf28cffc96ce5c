"""Small curves for where there is little room: a line of text, and a picture without any library.

However long a series is, what is drawn of it is bounded: neighbours are drawn as their mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from stagedml.ml.series import Series, thinned

_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_POINTS = 200
_MARGIN = 3.0
_LINE = "#3b82c4"  # seen on a light and on a dark background


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Values as a line of at most `width` blocks: the lowest is `▁`, the highest `█`, what is no number a space."""
    means = thinned(values, width)
    finite = [value for value in means if math.isfinite(value)]
    if not finite:
        return " " * len(means)
    low, high = min(finite), max(finite)
    return "".join(_BLOCKS[_level(value, low, high)] if math.isfinite(value) else " " for value in means)


def _level(value: float, low: float, high: float) -> int:
    return round(_share(value, low, high) * (len(_BLOCKS) - 1))


def _share(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, in [0, 1]; in the middle if these are one. Halved, lest they overflow."""
    return 0.5 if high == low else (value / 2 - low / 2) / (high / 2 - low / 2)


def curve_svg(series: Series, width: int = 240, height: int = 60) -> str:
    """A series as a small SVG picture: the curve, from its lowest to its highest value, told by a tooltip and to
    readers of screens.

    Args:
        series: what to draw; of more than about 200 points, neighbours are drawn as their mean.
        width, height: of the picture, pixels.
    """
    steps, values = thinned(series.at, _MOST_POINTS), thinned(series.values, _MOST_POINTS)
    points = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    title = escape(_told(series))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{title}">',
        f"<title>{title}</title>",
    ]
    if points:
        first, last = points[0][0], points[-1][0]
        low, high = min(value for _, value in points), max(value for _, value in points)
        places = [
            (
                _MARGIN + _share(step, first, last) * (width - 2 * _MARGIN),
                _MARGIN + (1 - _share(value, low, high)) * (height - 2 * _MARGIN),
            )
            for step, value in points
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines += [
            f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="1.5" stroke-linejoin="round"/>',
            f'<circle cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="2.5" fill="{_LINE}"/>',
        ]
    return "\n".join([*lines, "</svg>"])


def _told(series: Series) -> str:
    """A series in words: `train loss over 3,560 steps: 0.72 to 0.0113`."""
    what = f"{series.split} {series.name}".strip()
    if not series.at:
        return f"{what}: nothing"
    return f"{what} over {series.at[-1]:,} {series.over}: {series.values[0]:.4g} to {series.values[-1]:.4g}"
