"""Metrics against naive loops."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from secateur.errors import DataError
from secateur.scenes.metrics import confusion, log_loss, macro_accuracy


@pytest.mark.parametrize("seed", range(5))
def test_against_naive_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_classes = int(rng.integers(2, 7))
    labels = rng.integers(0, n_classes, 50)
    predictions = np.where(rng.random(50) < 0.6, labels, rng.integers(0, n_classes, 50))
    counts = [[0] * n_classes for _ in range(n_classes)]
    for label, prediction in zip(labels, predictions, strict=True):
        counts[label][prediction] += 1
    assert confusion(labels, predictions, n_classes).tolist() == counts
    shares = [row[k] / sum(row) for k, row in enumerate(counts) if sum(row)]
    expected = sum(shares) / len(shares)
    assert macro_accuracy(labels, predictions, n_classes) == pytest.approx(expected)

    probabilities = rng.dirichlet(np.ones(n_classes), 50)
    naive = -sum(log(p[k]) for p, k in zip(probabilities, labels, strict=True)) / 50
    assert log_loss(labels, np.log(probabilities)) == pytest.approx(naive)


def test_every_class_counts_the_same_and_an_absent_one_not() -> None:
    labels = np.array([0] * 98 + [1, 1])
    assert macro_accuracy(labels, np.zeros(100, int), 2) == 0.5
    assert macro_accuracy(labels, np.zeros(100, int), 7) == 0.5
    assert macro_accuracy(np.array([1]), np.array([1]), 3) == 1.0


def test_a_sure_mistake_costs_infinitely_much() -> None:
    with np.errstate(divide="ignore"):
        assert log_loss(np.array([1]), np.log(np.array([[1.0, 0.0]]))) == float("inf")


def test_bad_input_is_refused() -> None:
    two, none = np.array([0, 1]), np.array([], dtype=int)
    with pytest.raises(DataError, match=r"labels \(2,\) and predictions \(1,\)"):
        confusion(two, np.array([0]), 2)
    with pytest.raises(DataError, match="predictions go from 0 to 2; with 2 classes"):
        confusion(two, np.array([0, 2]), 2)
    with pytest.raises(DataError, match="labels go from -1"):
        confusion(np.array([-1, 0]), two, 2)
    with pytest.raises(DataError, match="no clips"):
        macro_accuracy(none, none, 2)
    with pytest.raises(DataError, match="no clips"):
        log_loss(none, np.zeros((0, 2)))
    with pytest.raises(DataError, match=r"give \(n,\) and \(n, n_classes\)"):
        log_loss(two, np.zeros((3, 2)))
    with pytest.raises(DataError, match="labels go from 0 to 2"):
        log_loss(np.array([0, 2]), np.log(np.full((2, 2), 0.5)))
    with pytest.raises(DataError, match="sums to 2 instead of 1; give log-softmax"):
        log_loss(two, np.zeros((2, 2)))
