"""Metrics against scikit-learn's and SciPy's, and where a definition has a hole."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedml.ml.metrics import (
    CLASS_METRICS,
    METRICS,
    accuracy,
    confusion,
    cross_entropy,
    f1,
    f1_weighted,
    glue_score,
    matthews,
    measure,
    pearson,
    spearman,
)


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


def test_metrics_of_several_classes_are_scikit_learn_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(5)
    for classes in (2, 3, 7):
        true, noise = generator.integers(0, classes, (2, 400))
        predicted = np.where(generator.random(400) < 0.6, true, noise)
        assert matthews(predicted, true) == pytest.approx(metrics.matthews_corrcoef(true, predicted), abs=1e-12)
        weighted = metrics.f1_score(true, predicted, average="weighted", zero_division=0)
        assert f1_weighted(predicted, true) == pytest.approx(weighted)
        assert confusion(predicted, true, classes).tolist() == metrics.confusion_matrix(true, predicted).tolist()
    assert f1_weighted(np.array([0, 0, 2]), np.array([0, 1, 1])) == pytest.approx(2 / 3 / 3)
    assert matthews(np.array([0, 1, 2]), np.array([0, 1, 2])) == 1


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_correlations_equal_scipy_s(kind: type[np.floating[Any]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(6)
    for size in (2, 3, 50, 1500):
        for decimals in (0, 1, 6):  # with many ties, with some, with none
            true = generator.uniform(0, 5, size).round(decimals)
            true[:2] = 1, 4
            guessed = (true + generator.normal(0, 1, size)).round(decimals)
            guessed[:2] = 2, 3
            pair = guessed.astype(kind), true.astype(kind)
            exact = [scores.astype(np.float64) for scores in pair]
            assert pearson(*pair) == pytest.approx(stats.pearsonr(*exact).statistic, abs=1e-12)
            assert spearman(*pair) == pytest.approx(stats.spearmanr(*exact).statistic, abs=1e-12)


def test_equal_scores_share_the_mean_of_their_ranks() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    assert spearman(np.array([1.0, 2, 2, 9]), np.array([0.0, 1, 2, 3])) == pytest.approx(4.5 / 22.5**0.5)


@given(st.lists(st.floats(-1e150, 1e150), min_size=2, max_size=20, unique=True), st.randoms(use_true_random=False))
def test_correlations_stay_in_their_range(scores: list[float], shuffler: random.Random) -> None:
    one = np.array(scores)
    other = np.array(shuffler.sample(scores, len(scores)))
    for metric in (pearson, spearman):
        assert -1 <= metric(one, other) <= 1
        assert metric(one, one) == pytest.approx(1)
        assert metric(one, other) == pytest.approx(metric(other, one))
        assert metric(one, -one) == pytest.approx(-1)


def test_constant_scores_have_no_correlation() -> None:
    true, constant = np.array([0.1, 0.2, 0.3]), np.full(3, 0.1)
    for metric in (pearson, spearman):
        assert metric(constant, true) == metric(true, constant) == metric(constant, constant) == 0


def test_the_score_of_a_task_is_the_mean_of_its_metrics() -> None:
    assert glue_score({"accuracy": 0.8, "f1": 0.9}) == pytest.approx(0.85)


def test_every_metric_is_for_classes_or_for_scores() -> None:
    assert set(METRICS) == {"accuracy", "f1", "f1_weighted", "matthews", "pearson", "spearman"}


def test_the_majority_class_has_no_correlation_and_no_division_by_zero() -> None:
    true, ones, zeros = np.array([0, 1, 1]), np.ones(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    assert matthews(ones, true) == 0
    assert matthews(ones, ones) == 0
    assert f1(zeros, zeros) == 0
    assert f1(zeros, true) == 0
    assert f1(ones, true) == pytest.approx(0.8)


def test_several_metrics_are_measured_by_name() -> None:
    true = np.array([0, 1, 1, 0])
    assert measure(CLASS_METRICS, true, true) == dict.fromkeys(CLASS_METRICS, 1.0)


def test_predictions_for_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="rows"):
        measure(["accuracy"], np.array([1]), np.array([1, 0]))
    with pytest.raises(ValueError, match="rows"):
        measure(["accuracy"], np.array([], dtype=np.int64), np.array([], dtype=np.int64))


def test_cross_entropy_is_what_others_compute_also_of_huge_logits() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    true = np.arange(50) % 4
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert cross_entropy(logits, true) == pytest.approx(metrics.log_loss(true, shares), abs=1e-6)
    assert cross_entropy(np.array([[1e30, 0.0], [0.0, 1e4]]), np.array([0, 0])) == pytest.approx(5e3)
