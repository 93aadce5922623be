"""On rows whose truth is known: how often verdicts are wrong, how often they find what is there.

Rates are held to binomial bands that a right rate leaves once in a thousand. The seeds are fixed,
so a run that passed passes again.
"""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from secateur.study.claims import (
    NOT_SUPPORTED,
    SUPPORTED,
    family_claim,
    methods_claim,
    sparsity_claim,
    ws_regression,
)
from secateur.study.comparison import measure_differences, measured, sample
from secateur.study.grid import blocks, tables
from secateur.study.methods import method_differences
from secateur.study.ranking import ranking
from secateur.study.regression import lines
from secateur.study.resampling import bootstrap_interval
from secateur.study.variance import variance_shares
from simulated_rows import linear_rows

FEW, MANY = 100, 2000
sizes = pytest.mark.parametrize(
    "n", [FEW, pytest.param(MANY, marks=pytest.mark.nightly)], ids=["few", "many"]
)


def at_most(n, rate):
    """Count that a true rate of at most `rate` exceeds once in a thousand."""
    return stats.binom.ppf(0.999, n, rate)


def at_least(n, rate):
    return stats.binom.ppf(0.001, n, rate)


def studies(n, slopes, **kwargs):
    for k in range(n):
        yield tables(linear_rows(np.random.default_rng([k, n]), slopes, **kwargs))


def fits(n, slopes, **kwargs):
    """Lines of every family of n simulated studies."""
    for cells in studies(n, slopes, methods=("l1", "random"), ratios=(0.4, 0.8), **kwargs):
        yield lines(blocks(cells), epsilon=0.02)


@sizes
@pytest.mark.parametrize("seeds", [3, 5])
def test_sparsity_without_an_effect_is_seldom_called_one(n, seeds):
    found = [
        ws_regression(line)
        for (line,) in fits(n, {"vgg": 0.0}, noise=0.05, seeds=range(1, seeds + 1))
    ]
    assert sum(fit.verdict == SUPPORTED for fit in found) <= at_most(n, 0.025)
    assert sum(fit.verdict == NOT_SUPPORTED for fit in found) <= at_most(n, 0.025)
    assert sum(fit.low <= 0 <= fit.high for fit in found) >= at_least(n, 0.95)


@sizes
def test_an_effect_of_sparsity_is_found_with_either_sign(n):
    for slope, verdict in ((0.05, SUPPORTED), (-0.05, NOT_SUPPORTED)):
        claims = [
            sparsity_claim([ws_regression(line)], ["vgg"])
            for (line,) in fits(n, {"vgg": slope}, noise=0.04)
        ]
        assert sum(claim.verdict == verdict for claim in claims) >= at_least(n, 0.9)


@sizes
def test_the_interval_of_a_slope_holds_it(n):
    found = [ws_regression(line) for (line,) in fits(n, {"vgg": 0.02}, noise=0.03)]
    assert sum(fit.low <= 0.02 <= fit.high for fit in found) >= at_least(n, 0.95)


@sizes
def test_families_that_gain_alike_are_seldom_called_different(n):
    alike = {"mobilenet": 0.03, "resnet": 0.03, "vgg": 0.03}
    claims = [family_claim(found, list(alike)) for found in fits(n, alike, noise=0.04)]
    assert sum(claim.verdict == SUPPORTED for claim in claims) <= at_most(n, 0.025)
    assert sum(claim.verdict == NOT_SUPPORTED for claim in claims) <= at_most(n, 0.05)


@sizes
def test_a_family_that_gains_more_is_found(n):
    apart = {"mobilenet": 0.08, "resnet": 0.01, "vgg": 0.01}
    claims = [family_claim(found, list(apart)) for found in fits(n, apart, noise=0.03)]
    assert sum(claim.verdict == SUPPORTED for claim in claims) >= at_least(n, 0.85)


def pairs(n, penalty, noise=0.01, methods=("l1", "l2", "random"), seeds=(1, 2, 3, 4, 5)):
    for cells in studies(
        n,
        {"vgg": 0.0},
        ws=(0.0, 1.0),
        ratios=(0.4,),
        methods=methods,
        penalty=penalty,
        accuracy_noise=noise,
        seeds=seeds,
    ):
        yield method_differences(cells)


@sizes
@pytest.mark.parametrize("seeds", [3, 6])
def test_methods_at_the_margin_are_called_alike_at_the_nominal_rate(n, seeds):
    claims = [
        methods_claim(found, margin=0.02)
        for found in pairs(n, {"l2": 0.02}, noise=0.005, seeds=range(1, seeds + 1))
    ]
    alike = sum(claim.verdict == SUPPORTED for claim in claims)
    apart = sum(claim.verdict == NOT_SUPPORTED for claim in claims)
    assert at_least(n, 0.05) <= alike <= at_most(n, 0.05)
    assert at_least(n, 0.05) <= apart <= at_most(n, 0.05)


@sizes
def test_equal_methods_pass_and_far_ones_fail(n):
    equal = [methods_claim(found, margin=0.02) for found in pairs(n, {}, noise=0.008)]
    assert sum(claim.verdict == SUPPORTED for claim in equal) >= at_least(n, 0.9)
    far = [methods_claim(found, margin=0.02) for found in pairs(n, {"l2": 0.05}, noise=0.008)]
    assert sum(claim.verdict == NOT_SUPPORTED for claim in far) >= at_least(n, 0.95)


@sizes
def test_a_small_sample_neither_supports_nor_refutes(n):
    claims = [
        methods_claim(found, margin=0.02)
        for found in pairs(n, {"l2": 0.01}, noise=0.03, seeds=(1, 2, 3))
    ]
    assert sum(claim.verdict in (SUPPORTED, NOT_SUPPORTED) for claim in claims) <= at_most(n, 0.1)


@sizes
def test_a_pair_of_equals_differs_at_the_nominal_rate_and_a_family_no_more_often(n):
    one = sum(found[0].p < 0.05 for found in pairs(n, {}, methods=("l1", "l2")))
    assert at_least(n, 0.05) <= one <= at_most(n, 0.05)
    four = pairs(n, {}, methods=("gm", "l1", "l2", "random"))
    assert sum(any(d.verdict != "tie" for d in found) for found in four) <= at_most(n, 0.05)


@sizes
def test_rank_groups_are_the_true_ones(n):
    penalty = {"gm": 0.0, "l1": 0.0, "l2": 0.04, "random": 0.08}
    found = [
        ranking(own)
        for own in pairs(n, penalty, noise=0.008, methods=tuple(penalty), seeds=range(1, 9))
    ]
    true = [{"gm", "l1"}, {"l2"}, {"random"}]
    assert sum([set(g) for g in one.groups] == true for one in found) >= at_least(n, 0.9)


RANDOM = {"noise": 0.03, "seed_noise": 0.02, "accuracy_noise": 0.002, "ws": (0.0,)}


@cache
def mean_of_many():
    """Measures of the mean curve of 3000 seeds."""
    rng = np.random.default_rng(99)
    rows = linear_rows(rng, {"vgg": 0.0}, methods=("l1",), seeds=range(3000), **RANDOM)
    (block,) = blocks(tables(rows))
    found = measured(sample(block, chance=0.1))
    return {row.measure: row.value for row in found if row.axis in (None, "macs")}


@sizes
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_of_measures_hold_the_truth(n, seeds):
    true = mean_of_many()
    held = {"prunable_0.02": 0, "hypervolume": 0, "at_2": 0, "difference": 0}
    for cells in studies(
        n,
        {"vgg": 0.0},
        methods=("l1", "l2"),
        seeds=range(1, seeds + 1),
        **RANDOM,
    ):
        (block,) = blocks(cells)
        sampled = sample(block, chance=0.1)
        for row in measured(sampled):
            own = (row.criterion, row.axis) in (("l1", None), ("l1", "macs"))
            if own and row.measure in held:
                held[row.measure] += row.low <= true[row.measure] <= row.high
        for d in measure_differences(sampled):
            if d.measure == "area" and d.axis == "macs":
                held["difference"] += d.low <= 0 <= d.high
    # the mean of crossings is not the crossing of the mean: a little is lost where n is small
    assert min(held.values()) >= at_least(n, 0.93), held


@sizes
def test_three_repetitions_have_intervals_that_hold_the_mean(n):
    """Student's do; the range of the three, a percentile bootstrap's interval, holds it .75."""
    values = np.random.default_rng(1).normal(size=(n, 3))
    own = [bootstrap_interval(one) for one in values]
    held = sum(low <= 0 <= high for low, high in own)
    assert at_least(n, 0.95) <= held <= at_most(n, 0.95)
    assert np.mean((values.min(axis=1) <= 0) & (values.max(axis=1) >= 0)) < 0.85


@sizes
def test_variance_shares_are_unbiased_and_their_intervals_hold_them(n):
    n = min(n, 1000)  # each share takes two roots of a noncentral F
    rng = np.random.default_rng(2)
    family, sparsity = np.array([-0.05, 0.0, 0.05]), np.linspace(-0.15, 0.15, 5)
    method = np.array([0.02, 0.0, -0.02, 0.0])
    parts = {"family": family.var(), "sparsity": sparsity.var(), "method": method.var()}
    total = sum(parts.values()) + 0.05**2 + 0.03**2
    held, shares, false = dict.fromkeys(parts, 0), [], 0
    for _ in range(n):
        y = family[:, None, None] + sparsity[:, None] + method
        y = y + 0.05 * rng.normal(size=(5, 3, 5, 1)) + 0.03 * rng.normal(size=(5, 3, 5, 4))
        found = {own.effect: own for own in variance_shares(y, ("family", "sparsity", "method"))}
        for name, part in parts.items():
            held[name] += found[name].low <= part / total <= found[name].high
        shares.append([found[name].share for name in parts])
        false += found["sparsity x method"].p < 0.05
    assert min(held.values()) >= at_least(n, 0.95), held
    assert at_least(n, 0.05) <= false <= at_most(n, 0.05)
    expected = np.array(list(parts.values())) / total
    assert np.mean(shares, axis=0) == pytest.approx(expected, abs=0.02)
