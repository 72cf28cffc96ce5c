"""The metrics of classification tasks, by the definitions that GLUE uses.

Each takes predicted and true class numbers, both (rows,) integers, and gives a float.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.integer[Any]]


def accuracy(predicted: Classes, true: Classes) -> float:
    """The share of rows that are predicted right, in [0, 1]."""
    return float(np.mean(predicted == true))


def f1(predicted: Classes, true: Classes) -> float:
    """The harmonic mean of precision and recall of class 1, in [0, 1]; 0 where class 1 is never predicted right."""
    hits = int(np.sum((predicted == 1) & (true == 1)))
    mentioned = int(np.sum(predicted == 1)) + int(np.sum(true == 1))
    return 2 * hits / mentioned if mentioned else 0.0


def matthews(predicted: Classes, true: Classes) -> float:
    """Matthews's correlation of two classes, in [-1, 1]; 0 where either side knows one class only."""
    both = int(np.sum((predicted == 1) & (true == 1)))
    neither = int(np.sum((predicted != 1) & (true != 1)))
    only_predicted = int(np.sum((predicted == 1) & (true != 1)))
    only_true = int(np.sum((predicted != 1) & (true == 1)))
    scale = (both + only_predicted) * (both + only_true) * (neither + only_predicted) * (neither + only_true)
    return (both * neither - only_predicted * only_true) / sqrt(scale) if scale else 0.0


METRICS: dict[str, Callable[[Classes, Classes], float]] = {"accuracy": accuracy, "f1": f1, "matthews": matthews}


def measure(names: Iterable[str], predicted: Classes, true: Classes) -> dict[str, float]:
    """Several metrics by name.

    Raises:
        ValueError: there are no rows, or predictions for other rows than there are.
    """
    if predicted.shape != true.shape or not true.size:
        raise ValueError(f"{predicted.shape} predictions for {true.shape} rows")
    return {name: METRICS[name](predicted, true) for name in names}
