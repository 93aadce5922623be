"""The Gaussian picture: tests against scipy and their size, controls, verdicts, pictures."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import pi, sqrt

import numpy as np
import pytest
from scipy import stats

from secateur.analysis.controls import control_weights, covariance_blocks, qq_plots
from secateur.analysis.distribution import (
    chosen_coordinates,
    chosen_kernels,
    distribution,
    distribution_summary,
)
from secateur.analysis.normality import (
    bartlett,
    brown_forsythe,
    lilliefors,
    mean_zero,
    shapiro_wilk,
)
from secateur.analysis.verdicts import benjamini_hochberg, holm, pass_rate, wilson
from secateur.analysis.weights import LayerWeights
from secateur.errors import CriterionError


@pytest.mark.parametrize("n", [4, 5, 8, 11, 12, 20, 64, 257, 2048])
def test_shapiro_wilk_is_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    samples = np.stack(
        [rng.normal(size=n), rng.laplace(size=n), rng.random(n), rng.gamma(1.0, size=n)], axis=1
    )
    w, p = shapiro_wilk(samples)
    for k in range(4):
        reference = stats.shapiro(samples[:, k])
        assert w[k] == pytest.approx(reference.statistic, abs=1e-5)
        assert p[k] == pytest.approx(reference.pvalue, rel=2e-3, abs=1e-8)


def test_t_levene_and_bartlett_are_scipys() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0.1, rng.uniform(0.8, 1.2, 12), size=(31, 12))
    assert mean_zero(samples) == pytest.approx(stats.ttest_1samp(samples, 0).pvalue)
    reference = stats.levene(*samples.T, center="median").pvalue
    assert brown_forsythe(samples) == pytest.approx(reference)
    assert bartlett(samples) == pytest.approx(stats.bartlett(*samples.T).pvalue)


@pytest.mark.parametrize("n", [8, 16, 64, 256])
def test_lilliefors_has_its_size_and_power(n: int) -> None:
    samples = np.random.default_rng(1).normal(3, 2, size=(n, 8000))
    distance, p = lilliefors(samples)
    reference = [
        stats.kstest(x, "norm", (x.mean(), x.std(ddof=1))).statistic for x in samples.T[:20]
    ]
    assert distance[:20] == pytest.approx(reference)
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.012)
    assert (p < 0.01).mean() == pytest.approx(0.01, abs=0.006)
    heavy = lilliefors(np.random.default_rng(2).standard_t(2, size=(256, 200)))[1]
    assert (heavy < 0.05).mean() > 0.9


def test_a_plain_kolmogorov_smirnov_test_never_rejects_fitted_samples() -> None:
    samples = np.random.default_rng(3).normal(size=(64, 1000))
    fitted = (samples - samples.mean(0)) / samples.std(0, ddof=1)
    trap = stats.kstest(fitted, "norm", axis=0).pvalue
    assert (trap < 0.05).mean() < 0.005
    assert 0.04 <= (lilliefors(samples)[1] < 0.05).mean() <= 0.06


def test_wilson_is_scipys() -> None:
    for passed, tested in ((0, 5), (5, 5), (190, 200), (1, 3)):
        interval = stats.binomtest(passed, tested).proportion_ci(method="wilson")
        assert wilson(passed, tested) == pytest.approx((interval.low, interval.high))


def test_corrections_are_the_textbooks() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        p = rng.random(30) ** 3
        assert benjamini_hochberg(p).tolist() == (stats.false_discovery_control(p) <= 0.05).tolist()
        ordered = sorted(range(30), key=lambda k, p=p: p[k])
        rejected = set()
        for step, k in enumerate(ordered):
            if p[k] > 0.05 / (30 - step):
                break
            rejected.add(k)
        assert set(np.flatnonzero(holm(p))) == rejected
    assert pass_rate(np.empty(0)) is None
    found = pass_rate(rng.random(200))
    assert found.as_nominal and found.holm == 0 and 0.9 < found.rate <= 1


def gaussian(seed: int, *shapes: tuple[int, ...]) -> list[LayerWeights]:
    rng = np.random.default_rng(seed)
    return [LayerWeights(f"conv{k}", rng.normal(0, 0.1, s)) for k, s in enumerate(shapes)]


@pytest.mark.parametrize("test", ["shapiro", "lilliefors"])
def test_gaussian_weights_pass_at_the_nominal_rate(test: str) -> None:
    weights = gaussian(5, *[(64, 32, 3, 3)] * 10)
    rows = distribution(weights, test=test)
    for row in rows:
        assert row.n_coordinates == 200 and row.test == test
        assert row.mean_over_sd == pytest.approx(row.mean_over_sd_iid, rel=0.2)
        assert row.sd_variation == pytest.approx(row.sd_variation_iid, rel=0.2)
        assert row.corr_inside == pytest.approx(row.corr_independent, rel=0.1)
        assert row.corr_across == pytest.approx(row.corr_independent, rel=0.05)
        assert row.corr_independent == pytest.approx(sqrt(2 / pi / 63))
        assert abs(row.excess_kurtosis) < 0.2
    whole = distribution_summary(rows)
    assert whole.normal == pytest.approx(0.95, abs=0.015)
    assert whole.zero_mean == pytest.approx(0.95, abs=0.015)
    assert whole.equal_variance_share >= 0.7 and whole.n_unequal_holm == 0
    assert whole.verdict.startswith("normal: passes")


def test_departures_are_seen_and_told_apart() -> None:
    rng = np.random.default_rng(6)
    plain = rng.normal(0, 0.1, (128, 32, 3, 3))
    kernel = rng.normal(0, 0.1, (128, 32, 1, 1))
    scales = np.exp(0.3 * rng.normal(size=(1, 32, 3, 3)))
    rows = {
        row.layer: row
        for row in distribution(
            [
                LayerWeights("uniform", rng.uniform(-1, 1, plain.shape)),
                LayerWeights("shifted", plain + 0.04),
                LayerWeights("unequal", plain * scales),
                LayerWeights("blocks", plain + kernel),
            ]
        )
    }
    assert rows["uniform"].normal.rate < 0.3 and rows["uniform"].normal.holm > 0
    assert rows["uniform"].zero_mean.as_nominal and rows["uniform"].equal_variances
    assert "normal: fails" in rows["uniform"].verdict
    assert rows["shifted"].normal.as_nominal and rows["shifted"].zero_mean.rate < 0.1
    assert rows["shifted"].mean_over_sd == pytest.approx(0.4, abs=0.05)
    assert rows["unequal"].normal.as_nominal and not rows["unequal"].equal_variances
    assert rows["unequal"].bartlett_p < 1e-6 and "variances differ" in rows["unequal"].verdict
    assert rows["unequal"].sd_variation > 3 * rows["unequal"].sd_variation_iid
    assert rows["blocks"].corr_inside == pytest.approx(0.5, abs=0.05)
    assert rows["blocks"].corr_across == pytest.approx(rows["blocks"].corr_independent, rel=0.1)


def test_effect_sizes_are_scipys() -> None:
    (one,) = gaussian(7, (32, 4, 3, 3))
    (row,) = distribution([one])
    samples = one.filters
    assert row.n_coordinates == 36
    assert row.excess_kurtosis == pytest.approx(stats.kurtosis(samples, bias=False).mean())
    sd = samples.std(axis=0, ddof=1)
    assert row.mean_over_sd == pytest.approx(np.mean(np.abs(samples.mean(axis=0)) / sd))
    assert row.sd_variation == pytest.approx(stats.variation(sd, ddof=1))
    r = np.abs(np.corrcoef(samples.T))
    inside = [r[i, j] for i in range(36) for j in range(i) if i // 9 == j // 9]
    across = [r[i, j] for i in range(36) for j in range(i) if i // 9 != j // 9]
    assert row.corr_inside == pytest.approx(np.mean(inside))
    assert row.corr_across == pytest.approx(np.mean(across))


def test_small_special_and_dead_layers_are_marked() -> None:
    rng = np.random.default_rng(8)
    half_dead = rng.normal(size=(16, 4, 3, 3))
    half_dead[:, :2] = 0
    rows = {
        row.layer: row
        for row in distribution(
            [
                LayerWeights("small", rng.normal(size=(7, 4, 3, 3))),
                LayerWeights("depthwise", rng.normal(size=(32, 1, 3, 3)), "depthwise"),
                LayerWeights("pointwise", rng.normal(size=(32, 8, 1, 1)), "pointwise"),
                LayerWeights("dead", np.zeros((16, 4, 3, 3))),
                LayerWeights("half", half_dead),
                LayerWeights("one", rng.normal(size=(32, 1, 1, 1)), "pointwise"),
            ]
        )
    }
    assert rows["small"].undefined == rows["small"].verdict == "too small: 7 filters, tests need 8"
    assert rows["small"].normal is None and rows["small"].corr_inside is None
    assert rows["depthwise"].special and rows["depthwise"].corr_across is None
    assert rows["depthwise"].n_coordinates == 9 and rows["depthwise"].corr_inside is not None
    assert rows["pointwise"].special and rows["pointwise"].corr_inside is None
    assert "same in all filters" in rows["dead"].undefined and rows["dead"].n_constant == 36
    assert (rows["half"].n_coordinates, rows["half"].n_constant) == (18, 18)
    assert rows["one"].brown_forsythe_p is None and rows["one"].equal_variances is None
    whole = distribution_summary(rows.values())
    assert whole.too_small == ("small",)
    assert set(whole.special) == {"depthwise", "pointwise", "one"}
    json.dumps([asdict(row) for row in rows.values()] + [asdict(whole)], allow_nan=False)
    nothing = distribution_summary([rows["small"]])
    assert nothing.normal is None and nothing.verdict == "no layer could be tested"


def test_the_choice_of_coordinates_is_seeded_and_holds_whole_kernels() -> None:
    (one,) = gaussian(9, (16, 64, 3, 3))
    first = chosen_coordinates(one, 200, 0)
    assert len(set(first)) == 200 and first.max() < 576
    assert first.tolist() == chosen_coordinates(one, 200, 0).tolist()
    assert first.tolist() != chosen_coordinates(one, 200, 1).tolist()
    kernels = chosen_kernels(one, 200, 0)
    assert kernels.shape == (22, 9)
    assert (kernels // 9 == (kernels // 9)[:, :1]).all()
    (long,) = gaussian(9, (16, 3, 512, 1))
    assert chosen_kernels(long, 200, 0).shape == (2, 100)
    (alone,) = gaussian(9, (16, 1, 512, 1))
    assert chosen_kernels(alone, 200, 0).shape == (1, 200)


def test_wrong_names_and_numbers_are_refused() -> None:
    with pytest.raises(CriterionError, match="did you mean 'shapiro'"):
        distribution([], test="shapirot")
    with pytest.raises(CriterionError, match="at least 2"):
        distribution([], coordinates=1)
    with pytest.raises(CriterionError, match="no control 'normal'"):
        control_weights([], "normal")


def test_controls_do_what_they_are_for() -> None:
    rng = np.random.default_rng(10)
    real = [
        LayerWeights(
            f"c{k}", rng.laplace(size=(64, 16, 3, 3)) * np.exp(rng.normal(size=(16, 3, 3)))
        )
        for k in range(6)
    ]
    summaries = {
        control: distribution_summary(distribution(control_weights(real, control)))
        for control in ("gaussian", "uniform", "shuffled")
    }
    assert summaries["gaussian"].normal == pytest.approx(0.95, abs=0.02)
    assert summaries["uniform"].normal < 0.7
    assert summaries["shuffled"].normal < 0.5
    assert distribution_summary(distribution(real)).equal_variance_share == 0
    assert summaries["shuffled"].equal_variance_share >= 0.5
    shuffled = control_weights(real, "shuffled")
    assert sorted(shuffled[0].values.ravel()) == sorted(real[0].values.ravel())
    drawn = control_weights(real, "gaussian")[0].values
    assert np.sqrt((drawn**2).mean()) == pytest.approx(
        np.sqrt((real[0].values ** 2).mean()), rel=0.05
    )


def test_qq_plots_are_of_the_worst_and_the_best_layer() -> None:
    rng = np.random.default_rng(11)
    weights = [
        *gaussian(11, (128, 16, 3, 3)),
        LayerWeights("heavy", rng.laplace(size=(128, 16, 9))),
    ]
    worst, best = qq_plots(weights, distribution(weights))
    assert (worst.layer, best.layer) == ("heavy", "conv0")
    assert len(best.theoretical) == 64
    assert np.array(best.observed) == pytest.approx(np.array(best.theoretical), abs=0.1)
    assert worst.observed[-1] > worst.theoretical[-1] + 0.5
    assert all(a <= b <= c for a, b, c in zip(best.low, best.observed, best.high, strict=True))
    assert qq_plots(weights, []) == ()
    json.dumps(asdict(worst), allow_nan=False)


def test_covariance_blocks_are_the_correlations_of_whole_kernels() -> None:
    rng = np.random.default_rng(12)
    values = rng.normal(size=(256, 8, 3, 3)) + 2 * rng.normal(size=(256, 8, 1, 1))
    found = covariance_blocks(LayerWeights("conv", values))
    matrix = np.array(found.correlation)
    assert (found.n_channels, found.kernel, matrix.shape) == (6, 9, (54, 54))
    block = np.kron(np.eye(6), np.ones((9, 9))) > 0
    assert matrix[block].mean() > 0.75 and np.abs(matrix[~block]).mean() < 0.1
    assert np.diag(matrix) == pytest.approx(np.ones(54))
    assert covariance_blocks(LayerWeights("two", values[:2])) is None
