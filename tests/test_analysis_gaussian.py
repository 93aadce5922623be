"""Closed forms for iid Gaussian filters, each against simulation."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from filter_scores import as_layers, by_criterion, norms
from secateur.analysis.gaussian import (
    CLOSED_FORMS,
    DISPERSION,
    expected_correlation,
    expected_global_rho,
    expected_overlap,
    expected_rho,
    expected_tau,
    expected_variation,
    rho_of_correlation,
)
from secateur.analysis.overlap import bottom_overlap
from secateur.analysis.similarity import rank_correlations
from secateur.analysis.weights import LayerWeights, kind_of, layer_shapes, norm_variation
from secateur.errors import CriterionError

PAIRS = list(combinations(CLOSED_FORMS, 2))


def drawn(n: int, d: int, times: int, tau: float = 0.0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    scales = np.exp(tau * rng.normal(size=(times, n, 1)))
    return [norms(scales[k] * rng.normal(size=(n, d))) for k in range(times)]


@pytest.mark.parametrize(("n", "d"), [(256, 576), (16, 144)])
def test_expected_rho_is_what_gaussian_filters_show(n: int, d: int) -> None:
    scores = drawn(n, d, 8 if n > 100 else 150)
    for first, second in PAIRS:
        shown = [stats.spearmanr(one[first], one[second]).statistic for one in scores]
        error = np.std(shown) / sqrt(len(shown))
        assert np.mean(shown) == pytest.approx(
            expected_rho(first, second, n), abs=0.005 + 3 * error
        )


def test_the_small_sample_formula_holds_for_any_correlation() -> None:
    rng = np.random.default_rng(0)
    for n, r in ((5, 0.3), (8, 0.9), (30, -0.5)):
        x, e = rng.normal(size=(2, 4000, n))
        y = r * x + sqrt(1 - r**2) * e
        ranks = [stats.rankdata(values, axis=1) - (n + 1) / 2 for values in (x, y)]
        shown = (ranks[0] * ranks[1]).sum(1) / (ranks[0] ** 2).sum(1)
        assert shown.mean() == pytest.approx(rho_of_correlation(r, n), abs=0.02)


@pytest.mark.parametrize("tau", [0.02, 0.1])
def test_scales_that_differ_raise_the_correlation_as_the_formula_says(tau: float) -> None:
    shown = [np.corrcoef(one["l1"], one["l2"])[0, 1] for one in drawn(512, 288, 6, tau)]
    expected = expected_correlation("l1", "l2", 512, 288, tau)
    assert expected is not None and expected > 0.94
    assert np.mean(shown) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("criterion", CLOSED_FORMS)
@pytest.mark.parametrize("n", [256, 16])
def test_variation_of_scores_by_closed_form(criterion: str, n: int) -> None:
    squares = [
        one[criterion].var(ddof=1) / one[criterion].mean() ** 2
        for one in drawn(n, 576, 8 if n > 100 else 150)
    ]
    assert sqrt(np.mean(squares)) == pytest.approx(expected_variation(criterion, n, 576), rel=0.05)
    assert expected_variation(criterion, 10**9, 576) * 24 == pytest.approx(
        {"l1": 0.7555, "l2": 0.7071, "fermat": 0.7071, "gm": 0.354}[criterion], abs=5e-4
    )


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.7])
def test_expected_overlap_is_what_gaussian_filters_show(ratio: float) -> None:
    scores = drawn(256, 144, 12)
    for first, second in (("l1", "l2"), ("l2", "gm"), ("gm", "fermat")):
        shown = [bottom_overlap(one[first], one[second], ratio) for one in scores]
        assert np.mean(shown) == pytest.approx(
            expected_overlap(first, second, 256, ratio), abs=0.04
        )


def test_expected_overlap_is_the_bivariate_integral() -> None:
    r = expected_correlation("l1", "l2", 10**9)
    for ratio in (0.1, 0.3, 0.5, 0.7):
        q = stats.norm.ppf(ratio)
        both = stats.multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf([q, q])
        assert expected_overlap("l1", "l2", 10**9, ratio) == pytest.approx(both / ratio, abs=1e-5)


def test_expected_tau_is_what_gaussian_filters_show() -> None:
    shown = [stats.kendalltau(one["l1"], one["l2"]).statistic for one in drawn(128, 288, 10)]
    assert np.mean(shown) == pytest.approx(expected_tau("l1", "l2", 128), abs=0.03)


def test_global_expectation_is_what_whole_networks_of_gaussian_filters_show() -> None:
    rng = np.random.default_rng(1)
    shapes = [(64, 27), (64, 576), (128, 576), (128, 1152), (256, 1152)]
    layers = {f"c{k}": rng.normal(0, sqrt(2 / d), (n, d)) for k, (n, d) in enumerate(shapes)}
    rows = rank_correlations(by_criterion(layers), shapes=layer_shapes(as_layers(layers)))
    whole = [row for row in rows if row.layer == "global"]
    assert len(whole) == 6
    for row in whole:
        assert row.expected == pytest.approx(row.rho, abs=0.05)
    assert next(r for r in whole if r.second == "l2").rho < 0.6


def test_there_is_no_expectation_without_closed_form() -> None:
    assert expected_rho("l1", "apoz", 9) is None
    assert expected_correlation("l2", "gm", 9, 9, 0.1) is None
    assert expected_overlap("l1", "l2", 9, 0.0) is None
    assert expected_variation("bn_scale", 9, 9) is None
    assert expected_global_rho([], ["l1", "l2"]) == {}
    assert expected_rho("gm", "fermat", 9) == expected_rho("l1", "l1", 9) == 1.0
    assert set(DISPERSION) == set(CLOSED_FORMS)


@pytest.mark.parametrize("d", [2, 9, 576])
def test_variation_of_a_norm_is_chis(d: int) -> None:
    mean, variance = stats.chi(d).stats("mv")
    assert norm_variation(d) == pytest.approx(sqrt(variance) / mean, rel=1e-6)


def test_layer_shapes_tell_scale_spread_and_tails_apart() -> None:
    rng = np.random.default_rng(2)
    plain = rng.normal(0, 0.1, (256, 32, 9))
    scaled = plain * np.exp(0.3 * rng.normal(size=(256, 1, 1)))
    heavy = 0.1 * rng.laplace(size=(256, 32, 9))
    peaked = np.concatenate([heavy[:128], plain[128:]])
    shapes = {
        name: layer_shapes([LayerWeights(name, values)])[0]
        for name, values in (
            *(("plain", plain), ("scaled", scaled)),
            *(("heavy", heavy), ("peaked", peaked)),
        )
    }
    assert shapes["plain"].scale == pytest.approx(0.1, rel=0.02)
    assert shapes["plain"].spread == pytest.approx(1.0, abs=0.15)
    assert shapes["plain"].tails == pytest.approx(0.0, abs=0.05)
    assert shapes["plain"].shapes == pytest.approx(1.0, abs=0.15)
    assert shapes["scaled"].spread > 5 and abs(shapes["scaled"].tails) < 0.05
    assert shapes["heavy"].tails > 2.5
    assert shapes["peaked"].shapes > 2 * shapes["heavy"].shapes


def test_tails_of_small_gaussian_filters_are_zero_too() -> None:
    small = np.random.default_rng(3).normal(size=(20000, 1, 9))
    assert layer_shapes([LayerWeights("dw", small)])[0].tails == pytest.approx(0.0, abs=0.05)


def test_layers_without_a_spread_say_why() -> None:
    zero, two, one = layer_shapes(
        [
            LayerWeights("zero", np.zeros((8, 2, 3))),
            LayerWeights("two", np.ones((2, 2, 3))),
            LayerWeights("one", np.arange(1.0, 9).reshape(8, 1, 1)),
        ]
    )
    assert zero.spread is None and zero.tails is None and "zero" in zero.undefined
    assert two.spread is None and "2 filters" in two.undefined
    assert one.tails is None and one.spread is not None and "one number" in one.undefined


def test_weights_that_are_none_are_refused() -> None:
    with pytest.raises(CriterionError, match="'a' has weights of shape"):
        LayerWeights("a", np.ones(3))
    with pytest.raises(CriterionError, match="'a' holds NaN"):
        LayerWeights("a", np.full((2, 2), np.nan))
    assert kind_of((64, 4, 3, 3), 4) == "ordinary"
