"""Variance shares: sums of squares by hand, known components, and intervals that hold them."""

import numpy as np
import pytest
from scipy import stats

from secateur.study.equivalence import p_beyond, p_equivalent, passable_margin
from secateur.study.grid import blocks, tables
from secateur.study.resampling import holm, visible_effect
from secateur.study.variance import prunable_by_seed, variance_shares
from simulated_rows import linear_rows


def shares(y, factors=("family", "sparsity", "method", "scope")):
    return {share.effect: share for share in variance_shares(y, factors)}


def test_one_factor_is_the_anova_of_repeated_measures():
    y = np.random.default_rng(0).normal(size=(6, 4)) + np.array([0, 0.5, 1, 1])
    own = shares(y, ("method",))["method"]
    by_method = 6 * ((y.mean(axis=0) - y.mean()) ** 2).sum()
    residual = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
    f = (by_method / 3) / ((residual**2).sum() / 15)
    assert (own.df, own.df_error) == (3, 15)
    assert own.p == pytest.approx(stats.f.sf(f, 3, 15))
    assert own.low <= own.share <= own.high


def test_two_factors_agree_with_least_squares():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(5, 3, 4)) + np.arange(3)[:, None] + rng.normal(size=(5, 1, 1))
    own = shares(y, ("method", "scope"))["method x scope"]
    repetition, a, b = (index.ravel() for index in np.indices(y.shape))

    def residual(*columns):
        design = np.column_stack([np.equal.outer(c, np.unique(c)) for c in columns]).astype(float)
        fit, *_ = np.linalg.lstsq(design, y.ravel(), rcond=None)
        return ((y.ravel() - design @ fit) ** 2).sum()

    main, whole = residual(repetition, a, b), residual(repetition, a * 10 + b)
    f = ((main - whole) / 6) / (whole / (60 - 5 - 12 + 1))
    assert (own.df, own.df_error) == (6, 44)
    assert own.p == pytest.approx(stats.f.sf(f, 6, 44))


def test_base_networks_and_cuts_have_errors_of_their_own():
    y = np.random.default_rng(2).normal(size=(5, 3, 4, 6))
    found = shares(y, ("family", "sparsity", "method"))
    assert found["sparsity"].df_error == found["family x sparsity"].df_error == 4 * 11
    assert found["method"].df_error == found["sparsity x method"].df_error == 4 * 12 * 5
    assert sum(share.share for share in found.values()) == pytest.approx(1)
    assert list(found)[-4:] == ["more together", "repetition", "base network", "rest"]


def test_without_noise_shares_are_exact():
    family, sparsity = np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0])
    y = np.broadcast_to(family[:, None] + sparsity, (3, 2, 3))
    found = shares(y, ("family", "sparsity"))
    total = family.var() + sparsity.var()
    assert found["family"].share == pytest.approx(family.var() / total)
    assert found["sparsity"].share == pytest.approx(sparsity.var() / total)
    assert found["family x sparsity"].share == pytest.approx(0, abs=1e-12)


def test_nothing_varies_or_one_repetition_gives_nothing():
    assert variance_shares(np.zeros((3, 2, 2, 1, 1))) == ()
    assert variance_shares(np.arange(4.0).reshape(1, 2, 2, 1, 1)) == ()
    assert variance_shares(np.arange(3.0).reshape(3, 1, 1, 1, 1)) == ()


def test_clear_effects_do_not_defeat_the_noncentral_f():
    y = 1e-7 * np.random.default_rng(0).normal(size=(3, 4)) + np.arange(4.0)
    own = shares(y, ("method",))["method"]
    assert 0.999 < own.low <= own.share <= own.high <= 1


def test_prunable_ratios_of_single_seeds_are_the_known_ones():
    rng = np.random.default_rng(3)
    slopes = {"vgg": 0.02, "mobilenet": 0.08}
    rows = linear_rows(rng, slopes, noise=0.0, effect={"l2": 0.05}, scopes=("uniform", "global"))
    y, levels = prunable_by_seed(blocks(tables(rows)), epsilon=0.02)
    assert y.shape == (5, 2, 5, 2, 2)
    assert levels["family"] == ("mobilenet", "vgg") and levels["method"] == ("l1", "l2")
    assert y[0, 1, :, 0, 0] == pytest.approx(0.4 + 0.02 * np.arange(5))
    assert y[2, 0, 3, 1, 1] == pytest.approx(0.4 + 0.24 + 0.05)
    found = shares(y)
    assert found["sparsity"].share > found["method"].share > 0
    assert found["family x sparsity"].share > 0.1


def test_blocks_that_share_too_little_say_so():
    rng = np.random.default_rng(3)
    rows = linear_rows(rng, {"vgg": 0.02, "mobilenet": 0.08})
    one = [r for r in rows if r["seed"] == 1]
    assert "1 seed" in prunable_by_seed(blocks(tables(one)), 0.02)
    apart = [r for r in rows if r.get("criterion") != ("l1" if r["network"] == "vgg" else "l2")]
    assert "no criterion" in prunable_by_seed(blocks(tables(apart)), 0.02)
    two = linear_rows(rng, {"vgg": 0.02}, scopes=("uniform", "global"))
    three = two + linear_rows(rng, {"resnet": 0.02}, scopes=("uniform",))
    assert "every scope" in prunable_by_seed(blocks(tables(three)), 0.02)
    assert "nothing" in prunable_by_seed((), 0.02)


def test_two_one_sided_tests_are_the_ninety_percent_interval():
    rng = np.random.default_rng(4)
    for values in rng.normal(0.005, 0.01, (200, 5)):
        mean, error = values.mean(), stats.sem(values)
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        inside = low > -0.02 and high < 0.02
        assert (p_equivalent(mean, error, 5, 0.02) < 0.05) == inside
        assert (p_beyond(mean, error, 5, 0.02) < 0.05) == (low > 0.02 or high < -0.02)
    assert np.isnan(p_equivalent(0.0, np.nan, 1, 0.02))
    assert (p_equivalent(0.01, 0.0, 3, 0.02), p_beyond(0.01, 0.0, 3, 0.02)) == (0.0, 1.0)


def test_the_effect_called_visible_is_found_four_times_in_five():
    rng = np.random.default_rng(5)
    effect = visible_effect(1 / 5**0.5, 5)
    values = rng.normal(effect, 1, (4000, 5))
    found = stats.ttest_1samp(values, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)
    assert visible_effect(1.0, 1) is None
    assert visible_effect(1.0, 5, alpha=0.01) > visible_effect(1.0, 5)


def test_the_margin_called_passable_is_passed_by_equals_four_times_in_five():
    margin = passable_margin(1 / 8**0.5, 8)
    values = np.random.default_rng(6).normal(0, 1, (4000, 8))
    passed = p_equivalent(values.mean(axis=1), stats.sem(values, axis=1), 8, margin) < 0.05
    assert passed.mean() == pytest.approx(0.8, abs=0.06)  # the usual approximation
    assert passable_margin(1.0, 1) is None


def test_holm_is_the_step_down_of_the_book():
    rng = np.random.default_rng(7)
    for p in rng.uniform(0, 0.2, (50, 6)):
        rejected = set()
        for step, k in enumerate(np.argsort(p)):
            if p[k] > 0.05 / (6 - step):
                break
            rejected.add(int(k))
        assert set(np.flatnonzero(holm(p) <= 0.05).tolist()) == rejected
    corrected = holm([0.01, np.nan, 0.5])
    assert corrected[0] == 0.02 and np.isnan(corrected[1])
