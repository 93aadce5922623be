"""Rank correlations against scipy, the argsort trap, and the closed forms for Gaussian filters."""

import json
from dataclasses import asdict
from math import asin, pi, sqrt

import numpy as np
import pytest
from scipy import stats

from secateur.analysis.overlap import bottom_overlap
from secateur.analysis.similarity import rank_correlations, summary
from secateur.errors import CriterionError


def rho_of(a, b):
    layer, whole = rank_correlations({"a": {"x": np.asarray(a)}, "b": {"x": np.asarray(b)}})
    assert whole.rho == layer.rho
    return layer.rho


def norms(filters):
    """l1, l2 and gm scores of filters (n, d), by the formulas of their papers."""
    squared = (filters**2).sum(1)
    gram = filters @ filters.T
    distances = np.sqrt(np.maximum(squared[:, None] + squared[None] - 2 * gram, 0))
    return {"l1": np.abs(filters).sum(1), "l2": np.sqrt(squared), "gm": distances.sum(1)}


@pytest.mark.parametrize("ties", [False, True])
def test_rho_is_scipys_for_every_pair_and_layer_and_for_all_filters(ties):
    rng = np.random.default_rng(0)

    def draw(n):
        return rng.integers(0, 5, n).astype(float) if ties else rng.normal(size=n)

    scores = {c: {"a": draw(7), "b": draw(40), "c": draw(16)} for c in ("l1", "l2", "gm")}
    rows = rank_correlations(scores)
    assert len(rows) == 3 * 4
    for row in rows:
        layers = ["a", "b", "c"] if row.layer == "global" else [row.layer]
        first, second = (
            np.concatenate([scores[criterion][layer] for layer in layers])
            for criterion in (row.first, row.second)
        )
        assert row.n == len(first)
        assert row.rho == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)


def test_ranks_are_correlated_and_not_argsort_lists():
    rng = np.random.default_rng(1)
    score = rng.normal(10, 1, size=512)
    noisy = score + 0.01 * rng.normal(size=512)
    assert rho_of(score, noisy) > 0.999
    trap = stats.pearsonr(np.argsort(score), np.argsort(noisy)).statistic
    assert abs(trap) < 0.5


def test_rho_follows_order_alone():
    score = np.random.default_rng(2).gamma(2.0, size=30)
    assert rho_of(score, np.exp(score)) == pytest.approx(1.0)
    assert rho_of(score, -score) == pytest.approx(-1.0)


def test_gaussian_filters_give_the_closed_forms():
    filters = np.random.default_rng(3).normal(size=(256, 576))
    scores = {name: {"conv": value} for name, value in norms(filters).items()}
    rho = {(r.first, r.second): r.rho for r in rank_correlations(scores) if r.layer == "conv"}
    assert 0.90 < rho["l1", "l2"] < 0.95
    assert rho["l2", "gm"] > 0.99
    r = sqrt(1 / (pi - 2))  # correlation of |z| and z^2: 2/sqrt(2 pi) / sqrt(2 (1 - 2/pi))
    assert 6 / pi * asin(r / 2) == pytest.approx(0.930, abs=1e-3)
    assert rho["l1", "l2"] == pytest.approx(6 / pi * asin(r / 2), abs=0.03)


def test_gaussian_filters_are_as_hard_to_tell_apart_as_the_closed_forms_say():
    draws = [norms(np.random.default_rng(s).normal(size=(256, 576))) for s in range(10)]
    for name, constant in (("l1", 0.7555), ("l2", 0.7071), ("gm", 0.354)):
        variation = np.mean([draw[name].std() / draw[name].mean() for draw in draws])
        assert variation * sqrt(576) == pytest.approx(constant, rel=0.05)


def test_similarity_of_layers_vanishes_globally_when_fan_in_differs():
    rng = np.random.default_rng(4)
    shapes = [(64, 27), (128, 576), (256, 1152), (512, 2304), (512, 4608)]
    scores = {"l1": {}, "l2": {}}
    for k, (n, d) in enumerate(shapes):
        layer = norms(rng.normal(0, sqrt(2 / d), size=(n, d)))
        for name in scores:
            scores[name][f"conv{k}"] = layer[name]
    (pair,) = summary(rank_correlations(scores))
    assert pair.mean > 0.85
    assert pair.global_rho < 0.5


def test_a_constant_or_tiny_layer_is_undefined_and_left_out_of_the_mean():
    scores = {
        "l1": {"a": np.arange(5.0), "flat": np.ones(5), "two": np.array([1.0, 2])},
        "l2": {"a": np.arange(5.0)[::-1], "flat": np.arange(5.0), "two": np.array([1.0, 2])},
    }
    rows = {row.layer: row for row in rank_correlations(scores)}
    assert rows["flat"].rho is None and "l1 gives every filter" in rows["flat"].undefined
    assert rows["two"].rho is None and "2 filters" in rows["two"].undefined
    assert rows["global"].undefined is None
    json.dumps([asdict(row) for row in rows.values()], allow_nan=False)
    (pair,) = summary(rows.values())
    assert (pair.mean, pair.minimum, pair.minimum_layer) == (pytest.approx(-1.0),) * 2 + ("a",)
    assert (pair.n_layers, pair.n_undefined) == (1, 2)
    assert pair.global_rho == rows["global"].rho


def test_a_summary_of_nothing_defined_is_none():
    flat = {"l1": {"a": np.ones(4)}, "l2": {"a": np.ones(4)}}
    (pair,) = summary(rank_correlations(flat))
    assert pair.mean is pair.minimum is pair.minimum_layer is pair.global_rho is None
    assert summary([]) == ()
    assert rank_correlations({}) == ()
    assert rank_correlations({"l1": {}, "l2": {}}) == ()


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"b": np.arange(4.0)}, "layer 'a' is scored by only one"),
        ({"a": np.arange(5.0)}, r"layer 'a' has scores of shape \(5,\)"),
        ({"a": np.array([1.0, np.nan, 2, 3])}, "'l2' gives scores that are not finite"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused(second, said):
    with pytest.raises(CriterionError, match=said):
        rank_correlations({"l1": {"a": np.arange(4.0)}, "l2": second})


def test_a_layer_may_not_be_called_global():
    with pytest.raises(CriterionError, match="global"):
        rank_correlations({"l1": {"global": np.arange(4.0)}})


def test_high_correlation_does_not_mean_equal_bottom_sets():
    overlaps = []
    for seed in range(20):
        score = norms(np.random.default_rng(seed).normal(size=(256, 288)))
        overlaps.append(bottom_overlap(score["l1"], score["l2"], 0.3))
    assert np.mean(overlaps) == pytest.approx(0.83, abs=0.02)


def test_bottom_overlap_on_paper():
    a, b = np.array([5, 1, 2, 3, 4.0]), np.array([1, 2, 3, 4, 5.0])
    assert bottom_overlap(a, b, 0.4) == 0.5
    assert bottom_overlap(a, a, 0.9) == 1.0
    assert bottom_overlap(a, b, 0.1) is None
    assert bottom_overlap(np.ones(4), np.ones(4), 0.5) == 1.0
    with pytest.raises(CriterionError, match=r"\[0, 1\)"):
        bottom_overlap(a, b, 1.0)
    with pytest.raises(CriterionError, match="cannot be compared"):
        bottom_overlap(a, b[:3], 0.5)
