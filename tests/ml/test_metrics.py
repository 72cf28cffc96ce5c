"""Metrics against scikit-learn's, and where a definition has a hole."""

from __future__ import annotations

import numpy as np
import pytest

from stagedml.ml.metrics import METRICS, accuracy, f1, matthews, measure


def test_metrics_equal_an_independent_computation() -> None:
    generator = np.random.default_rng(3)
    for size in (2, 10, 1000):
        true = generator.integers(0, 2, size)
        true[:2] = 0, 1
        predicted = np.where(generator.random(size) < 0.7, true, 1 - true)
        assert accuracy(predicted, true) == pytest.approx(
            sum(p == t for p, t in zip(predicted, true, strict=True)) / size
        )
        precision = true[predicted == 1].mean() if (predicted == 1).any() else 0.0
        recall = predicted[true == 1].mean()
        harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert f1(predicted, true) == pytest.approx(harmonic)
        correlation = np.corrcoef(predicted, true)[0, 1] if len(set(predicted.tolist())) == 2 else 0.0
        assert matthews(predicted, true) == pytest.approx(correlation)


def test_metrics_equal_scikit_learn_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(4)
    for share in (0.0, 0.1, 0.5, 1.0):
        true, predicted = generator.random((2, 300)) < np.array([[0.6], [share]])
        assert accuracy(predicted * 1, true * 1) == pytest.approx(metrics.accuracy_score(true, predicted))
        assert f1(predicted * 1, true * 1) == pytest.approx(metrics.f1_score(true, predicted, zero_division=0))
        assert matthews(predicted * 1, true * 1) == pytest.approx(metrics.matthews_corrcoef(true, predicted))


def test_the_majority_class_has_no_correlation_and_no_division_by_zero() -> None:
    true, ones, zeros = np.array([0, 1, 1]), np.ones(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    assert matthews(ones, true) == 0
    assert matthews(ones, ones) == 0
    assert f1(zeros, zeros) == 0
    assert f1(zeros, true) == 0
    assert f1(ones, true) == pytest.approx(0.8)


def test_several_metrics_are_measured_by_name() -> None:
    true = np.array([0, 1, 1, 0])
    assert measure(METRICS, true, true) == {"accuracy": 1.0, "f1": 1.0, "matthews": 1.0}


def test_predictions_for_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="rows"):
        measure(["accuracy"], np.array([1]), np.array([1, 0]))
    with pytest.raises(ValueError, match="rows"):
        measure(["accuracy"], np.array([], dtype=np.int64), np.array([], dtype=np.int64))
