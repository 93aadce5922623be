"""Verdicts follow from tests: on rows with known truth, and never from a fixed sentence."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from secateur.study.claims import (
    NOT_SUPPORTED,
    NOT_TESTED,
    SUPPORTED,
    UNDECIDED,
    Regression,
    family_claim,
    methods_claim,
    networks_with_inactive_channels,
    sparsity_claim,
    ws_regression,
)
from secateur.study.grid import blocks, tables
from secateur.study.methods import method_differences
from secateur.study.regression import lines
from simulated_rows import linear_rows, simulate


def fitted(rows, epsilon=0.02, against="ws"):
    return {line.family: line for line in lines(blocks(tables(rows)), epsilon, against)}


def straight(slopes, noise=0.0, **kwargs):
    return fitted(linear_rows(np.random.default_rng(0), slopes, noise=noise, **kwargs))


def test_sparser_networks_with_more_to_prune_support_the_claim():
    fit = ws_regression(fitted(simulate(networks=["vgg"]), against="inactive")["vgg"])
    assert fit.verdict == SUPPORTED
    assert fit.low <= 1.0 <= fit.high  # every dead channel can go
    assert (fit.n, fit.n_seeds) == (4, 3) and fit.r2 > 0.95


def test_the_verdict_turns_with_the_numbers():
    for slope, verdict in ((0.1, SUPPORTED), (-0.08, NOT_SUPPORTED)):
        fit = ws_regression(straight({"vgg": slope})["vgg"])
        assert fit.slope == pytest.approx(slope)
        assert fit.verdict == verdict and fit.r2 == pytest.approx(1.0)
    assert ws_regression(straight({"vgg": 0.0}, noise=0.1)["vgg"]).verdict == UNDECIDED


def test_the_interval_is_the_wider_of_seeds_and_strengths():
    line = straight({"vgg": 0.05}, noise=0.05)["vgg"]
    fit = ws_regression(line)
    expected = stats.linregress(line.x, line.y)
    assert fit.slope == pytest.approx(expected.slope)
    assert fit.intercept == pytest.approx(expected.intercept)
    assert fit.r2 == pytest.approx(expected.rvalue**2)
    over_strengths = stats.t.ppf(0.975, 3) * expected.stderr
    over_seeds = stats.t.ppf(0.975, 4) * line.slopes[1:].std() * (5 / 4) ** 0.5
    assert fit.high - fit.slope == pytest.approx(max(over_strengths, over_seeds))


def test_bootstrapped_slopes_spread_like_those_of_single_seeds():
    rows = linear_rows(np.random.default_rng(3), {"vgg": 0.02}, noise=0.02, seeds=range(1, 21))
    line = fitted(rows)["vgg"]
    alone = [fitted([r for r in rows if r["seed"] == seed])["vgg"].slope for seed in range(1, 21)]
    assert line.errors[0][0] == pytest.approx(stats.sem(alone), rel=0.15)


def test_too_few_or_equal_strengths_or_seeds_are_undecided():
    few = straight({"vgg": 0.1}, ws=(0.0, 1.0))["vgg"]
    same = straight({"vgg": 0.1}, ws=(1.0, 1.0, 1.0))["vgg"]
    control = straight({"vgg": 0.1}, methods=("random",))["vgg"]
    for fit in map(ws_regression, (few, same, control)):
        assert fit.verdict == UNDECIDED and fit.slope is fit.low is fit.r2 is None
    one = ws_regression(straight({"vgg": 0.1}, seeds=(1,))["vgg"])
    assert (one.low, one.verdict) == (None, UNDECIDED) and one.slope == pytest.approx(0.1)
    assert "one seed" in sparsity_claim([one], ["vgg"]).because
    flat = ws_regression(straight({"vgg": 0.0})["vgg"])
    assert (flat.r2, flat.verdict) == (None, UNDECIDED) and flat.slope == pytest.approx(0)


def test_a_strength_without_skewness_is_left_out():
    rows = linear_rows(np.random.default_rng(0), {"vgg": 0.1}, noise=0.0)
    for row in rows:
        if row["kind"] == "base" and row["strength"] == 2.0:
            row["skewness"] = []
    line = fitted(rows)["vgg"]
    assert line.strengths == (0.0, 1.0, 3.0, 4.0) and line.slope == pytest.approx(0.1)


def test_strengths_that_broke_the_network_are_counted():
    rows = linear_rows(np.random.default_rng(0), {"vgg": 0.1}, noise=0.0)
    for row in rows:
        if row["strength"] == 4.0:
            row["accuracy"] -= 0.3
    fit = ws_regression(fitted(rows)["vgg"])
    assert fit.n_below == 1 and "1 of 5 strengths too inaccurate" in _because([fit])


def _because(fits):
    return sparsity_claim(fits, [fit.family for fit in fits]).because


def line(family, low, high, verdict=SUPPORTED):
    slope = (low + high) / 2
    return Regression(family, "ws", 4, 0, slope, low, high, 0.0, 0.9, verdict)


UNKNOWN = Regression("resnet", "ws", 2, 0, None, None, None, None, None, UNDECIDED)


def test_only_networks_with_inactive_channels_are_tested():
    rows = simulate(networks=["vgg"]) + simulate(networks=["resnet"], dead=lambda _: 0.0)
    assert networks_with_inactive_channels(rows) == ("vgg",)
    assert networks_with_inactive_channels(simulate(strengths=[0.0])) == ()


@pytest.mark.parametrize(
    ("fits", "verdict"),
    [
        ([line("vgg", 0.1, 0.3), line("resnet", 0.1, 0.2)], SUPPORTED),
        ([line("vgg", 0.1, 0.3), line("resnet", -0.1, 0.2, UNDECIDED)], UNDECIDED),
        ([line("vgg", 0.1, 0.3), line("resnet", -0.3, -0.2, NOT_SUPPORTED)], NOT_SUPPORTED),
        ([line("vgg", 0.1, 0.3), UNKNOWN], UNDECIDED),
        ([line("mobilenet", 0.1, 0.3)], NOT_TESTED),
        ([], NOT_TESTED),
    ],
)
def test_the_claim_on_sparsity_needs_every_tested_family(fits, verdict):
    assert sparsity_claim(fits, ["vgg", "resnet"]).verdict == verdict


@pytest.mark.parametrize(
    ("mobilenet", "vgg", "verdict"),
    [(0.10, 0.02, SUPPORTED), (0.02, 0.10, NOT_SUPPORTED), (0.05, 0.05, UNDECIDED)],
)
def test_the_claim_on_families_is_an_interaction(mobilenet, vgg, verdict):
    found = straight({"mobilenet": mobilenet, "vgg": vgg, "resnet": 0.01}, noise=0.01)
    claim = family_claim(found.values(), ["mobilenet", "vgg", "resnet"])
    assert claim.verdict == verdict
    assert "mobilenet less vgg" in claim.because and "to resnet" in claim.visible
    assert family_claim(found.values(), ["vgg", "resnet"]).verdict == NOT_TESTED
    assert family_claim(found.values(), ["mobilenet"]).verdict == NOT_TESTED


def test_the_claim_on_families_needs_every_slope():
    short = straight({"vgg": 0.1}, ws=(0.0, 1.0))
    found = straight({"mobilenet": 0.1}) | short
    assert family_claim(found.values(), ["mobilenet", "vgg"]).verdict == UNDECIDED


def test_families_with_the_same_seeds_are_paired_and_others_are_not():
    rows = linear_rows(np.random.default_rng(5), {"mobilenet": 0.03, "vgg": 0.01}, noise=0.02)
    both = fitted(rows)
    apart = fitted([r for r in rows if r["network"] == "vgg" or r["seed"] < 5])
    known = ["mobilenet", "vgg"]
    assert both["vgg"].seeds == (1, 2, 3, 4, 5) and apart["mobilenet"].seeds == (1, 2, 3, 4)
    for found in (both, apart):
        assert "mobilenet less vgg" in family_claim(found.values(), known).because


def test_the_claim_on_methods_is_an_equivalence_and_not_a_lack_of_difference():
    found = method_differences(tables(simulate(networks=["vgg"])))
    assert methods_claim(found, margin=0.02).verdict == SUPPORTED  # gm is 1 point below l1
    assert methods_claim(found, margin=0.005).verdict == NOT_SUPPORTED
    noisy = [replace(d, error=0.02, verdict="tie") for d in found]
    assert methods_claim(noisy).verdict == UNDECIDED
    assert "points" in methods_claim(noisy).visible
    few = method_differences(tables(simulate(networks=["vgg"], seeds=(1, 2))))
    assert methods_claim(few).verdict == UNDECIDED
    by_ratio = method_differences(tables(simulate(networks=["vgg"])), per_ratio=True)
    last = max(d.ratio for d in by_ratio)
    apart = [replace(d, mean=0.3) if d.ratio == last else d for d in by_ratio]
    assert methods_claim(apart).verdict == NOT_SUPPORTED
    assert f"at ratio {last:g}" in methods_claim(apart).because
    control = [d for d in found if d.reference == "random"]
    assert methods_claim(control).verdict == NOT_TESTED
