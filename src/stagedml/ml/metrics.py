"""The metrics of GLUE's tasks, by the definitions that GLUE uses, those of others, and what classifiers learn by.

A metric takes what was predicted and what is true, both (rows,), and gives a float. Class numbers are integers, scores
are floats. Where a definition divides by zero, as with predictions that are all the same, the metric is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.integer[Any]]
Scores = NDArray[np.floating[Any]]
Metric = Callable[[NDArray[Any], NDArray[Any]], float]


def accuracy(predicted: Classes, true: Classes) -> float:
    """The share of rows that are predicted right, in [0, 1]."""
    return float(np.mean(predicted == true))


def f1(predicted: Classes, true: Classes) -> float:
    """The harmonic mean of precision and recall of class 1, in [0, 1]; 0 where class 1 is never predicted right."""
    hits = int(np.sum((predicted == 1) & (true == 1)))
    mentioned = int(np.sum(predicted == 1)) + int(np.sum(true == 1))
    return 2 * hits / mentioned if mentioned else 0.0


def f1_weighted(predicted: Classes, true: Classes) -> float:
    """The mean of each class's F1, weighted by how many rows truly are of it, in [0, 1]."""
    table = confusion(predicted, true, 1 + max(int(predicted.max()), int(true.max())))
    said, is_so = table.sum(axis=0), table.sum(axis=1)
    scores = 2 * np.diag(table) / np.maximum(said + is_so, 1)
    return float(scores @ is_so / len(true))


def confusion(predicted: Classes, true: Classes, classes: int) -> NDArray[np.int64]:
    """How many rows of each class are taken for each: (classes, classes), a row for each true one."""
    counts: NDArray[np.int64] = np.bincount(true * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def matthews(predicted: Classes, true: Classes) -> float:
    """Matthews's correlation, in [-1, 1], of any number of classes; 0 where either side knows one class only.

    Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient.
    """
    rows, right = len(true), int(np.sum(predicted == true))
    classes = 1 + max(int(predicted.max()), int(true.max()))
    said, is_so = (np.bincount(column, minlength=classes).tolist() for column in (predicted, true))
    joint = right * rows - sum(one * other for one, other in zip(said, is_so, strict=True))
    scale = (rows**2 - sum(count**2 for count in said)) * (rows**2 - sum(count**2 for count in is_so))
    return joint / sqrt(scale) if scale else 0.0


def pearson(predicted: Scores, true: Scores) -> float:
    """Pearson's correlation, in [-1, 1]; 0 where either side is constant."""
    one, other = (_centred(column.astype(np.float64)) for column in (predicted, true))
    return float(np.clip(one @ other, -1, 1))


def spearman(predicted: Scores, true: Scores) -> float:
    """Spearman's rank correlation, in [-1, 1]; equal scores share the mean of their ranks. 0 as for `pearson`."""
    return pearson(_ranks(predicted), _ranks(true))


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values less their mean, as a vector of length 1; zeros if they are all the same."""
    if np.all(values == values[0]):
        return np.zeros_like(values)
    centred = values - values.mean()
    # First by the largest, so that no square is beyond what a float can hold.
    centred /= np.abs(centred).max()
    scaled: NDArray[np.float64] = centred / np.sqrt(centred @ centred)
    return scaled


def _ranks(values: Scores) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def cross_entropy(logits: NDArray[np.floating[Any]], true: Classes) -> float:
    """The mean over rows of how unlikely the true class is by its logits, (rows, classes), in natural logarithms."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    likelihoods = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -float(np.mean(likelihoods[np.arange(len(true)), true]))


CLASS_METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "f1_weighted": f1_weighted,
    "matthews": matthews,
}
SCORE_METRICS: dict[str, Metric] = {"pearson": pearson, "spearman": spearman}
METRICS = CLASS_METRICS | SCORE_METRICS


def measure(names: Iterable[str], predicted: NDArray[Any], true: NDArray[Any]) -> dict[str, float]:
    """Several metrics by name.

    Raises:
        ValueError: there are no rows, or predictions for other rows than there are.
    """
    if predicted.shape != true.shape or not true.size:
        raise ValueError(f"{predicted.shape} predictions for {true.shape} rows")
    return {name: METRICS[name](predicted, true) for name in names}


def glue_score(measured: Mapping[str, float]) -> float:
    """What counts for a task in GLUE's average: the mean of its metrics, and of MNLI's two tests."""
    return sum(measured.values()) / len(measured)
