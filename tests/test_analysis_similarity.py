"""Rank correlations against scipy, the argsort trap, and the closed forms for Gaussian filters."""

import json
from dataclasses import asdict
from math import asin, pi, sqrt

import numpy as np
import pytest
from scipy import stats

from filter_scores import norms
from secateur.analysis.overlap import bottom_overlap, bottom_overlaps, overlap_summary
from secateur.analysis.ranks import kendall, resampled_spearman
from secateur.analysis.similarity import rank_correlations, summary
from secateur.errors import CriterionError


def rho_of(a, b):
    layer, whole = rank_correlations({"a": {"x": np.asarray(a)}, "b": {"x": np.asarray(b)}})
    assert whole.rho == layer.rho
    return layer.rho


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
    traps = []
    for seed in range(10):
        score, noise = np.random.default_rng(seed).normal(size=(2, 4096))
        noisy = score + 0.01 * noise
        assert round(rho_of(score, noisy), 3) == 1.0
        traps.append(stats.pearsonr(np.argsort(score), np.argsort(noisy)).statistic)
    assert np.mean(traps) == pytest.approx(0.07, abs=0.04)


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


@pytest.mark.parametrize("ties", [False, True])
def test_kendall_is_scipys_tau_b_by_pairs_and_by_sorting(ties, monkeypatch):
    rng = np.random.default_rng(5)
    table = rng.integers(0, 6, (4, 90)).astype(float) if ties else rng.normal(size=(4, 90))
    expected = [[stats.kendalltau(a, b).statistic for a in table] for b in table]
    monkeypatch.setattr("secateur.analysis.ranks._BLOCK", 1000)
    assert kendall(table) == pytest.approx(np.array(expected), abs=1e-9)
    monkeypatch.setattr("secateur.analysis.ranks._PAIRWISE_UPTO", 10)
    assert kendall(table) == pytest.approx(np.array(expected), abs=1e-9)


def test_kendall_is_an_option_of_the_rows():
    scores = {"l1": {"a": np.array([1.0, 2, 3])}, "l2": {"a": np.array([1.0, 4, 2])}}
    layer, _ = rank_correlations(scores, method="kendall")
    assert (layer.rho, layer.method) == (pytest.approx(1 / 3), "kendall")
    with pytest.raises(CriterionError, match="did you mean 'kendall'"):
        rank_correlations(scores, method="kendal")
    with pytest.raises(CriterionError, match="no intervals for kendall"):
        rank_correlations(scores, method="kendall", resamples=10)


@pytest.mark.parametrize("ties", [False, True])
def test_resampled_rho_is_scipys_on_the_resample(ties, monkeypatch):
    rng = np.random.default_rng(6)
    table = rng.integers(0, 5, (3, 40)).astype(float) if ties else rng.normal(size=(3, 40))
    monkeypatch.setattr("secateur.analysis.ranks._BLOCK", 3 * 40 * 4)  # several blocks
    found = np.concatenate(list(resampled_spearman(table, 10, np.random.default_rng(1))))
    assert found.shape == (10, 3, 3)
    again = np.random.default_rng(1)
    draws = np.concatenate([again.integers(40, size=(some, 40)) for some in (4, 4, 2)])
    for rho, draw in zip(found, draws, strict=True):
        assert rho == pytest.approx(stats.spearmanr(table[:, draw], axis=1).statistic, abs=1e-12)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    truth = 6 / pi * asin(0.8 / 2)
    rng = np.random.default_rng(8)
    covered = []
    for k in range(120):
        x, e = rng.normal(size=(2, 100))
        scores = {"a": {"x": x}, "b": {"x": 0.8 * x + 0.6 * e}}
        row = rank_correlations(scores, resamples=200, seed=k)[0]
        assert row.low <= row.rho + 0.02 and row.high >= row.rho - 0.02
        covered.append(row.low <= truth <= row.high)
    assert 0.88 <= np.mean(covered) <= 1.0


def test_intervals_are_seeded_and_none_where_nothing_is_defined():
    scores = {
        "l1": {"a": np.arange(9.0), "flat": np.ones(9), "two": np.arange(2.0)},
        "l2": {"a": np.arange(9.0) ** 2, "flat": np.arange(9.0), "two": np.arange(2.0)},
    }
    rows = {row.layer: row for row in rank_correlations(scores, resamples=50, seed=3)}
    assert rank_correlations(scores, resamples=50, seed=3) == tuple(rows.values())
    assert rows["a"].low == rows["a"].high == 1.0
    assert rows["flat"].low is rows["flat"].high is rows["two"].low is None
    assert rows["global"].low is not None
    json.dumps([asdict(row) for row in rows.values()], allow_nan=False)


def test_rows_hold_the_expected_value_where_there_is_one():
    filters = np.random.default_rng(3).normal(size=(64, 100))
    scores = {name: {"conv": values} for name, values in norms(filters).items()}
    scores["bn_scale"] = {"conv": np.arange(64.0)}
    rows = {(r.first, r.second): r for r in rank_correlations(scores) if r.layer == "conv"}
    assert rows["l1", "l2"].expected == pytest.approx(0.93, abs=0.01)
    assert rows["l1", "bn_scale"].expected is None
    (pair,) = [p for p in summary(rows.values()) if (p.first, p.second) == ("l1", "l2")]
    assert pair.expected_mean == rows["l1", "l2"].expected


def test_bottom_overlaps_are_the_naive_intersections():
    rng = np.random.default_rng(9)
    scores = {c: {"a": rng.normal(size=30), "b": rng.normal(size=7)} for c in ("x", "y", "z")}
    rows = bottom_overlaps(scores)
    assert len(rows) == 3 * 3 * 4
    for row in rows:
        layers = ["a", "b"] if row.layer == "global" else [row.layer]
        values = [np.concatenate([scores[c][k] for k in layers]) for c in (row.first, row.second)]
        size = int(row.ratio * len(values[0]) + 1e-9)
        assert row.size == size
        lowest = [set(sorted(range(len(v)), key=lambda k, v=v: v[k])[:size]) for v in values]
        if size:
            assert row.overlap == len(lowest[0] & lowest[1]) / size
            assert row.overlap == bottom_overlap(*values, row.ratio)
        else:
            assert row.overlap is None and "less than one" in row.undefined
    pair = next(s for s in overlap_summary(rows) if (s.first, s.second, s.ratio) == ("x", "y", 0.1))
    assert (pair.n_layers, pair.n_undefined) == (1, 1)
    assert pair.minimum_layer == "a"
    json.dumps([asdict(row) for row in rows], allow_nan=False)


def test_bottom_sets_of_a_constant_criterion_mean_nothing():
    rows = bottom_overlaps({"l1": {"a": np.ones(9)}, "l2": {"a": np.arange(9.0)}}, [0.5])
    assert all(row.overlap is None and "same score" in row.undefined for row in rows)
    with pytest.raises(CriterionError, match=r"\[0, 1\)"):
        bottom_overlaps({}, [1.5])
