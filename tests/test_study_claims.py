"""Verdicts follow from intervals: on rows with known truth, and never from a fixed sentence."""

import json
from dataclasses import asdict, replace

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
    method_differences,
    methods_claim,
    networks_with_inactive_channels,
    sparsity_claim,
    ws_regression,
)
from secateur.study.tradeoff import prunable_rows
from simulated_rows import PENALTY, simulate


@pytest.fixture(scope="module")
def prunable():
    return prunable_rows(simulate(networks=["vgg"]), epsilon=0.02)


def with_ratios(prunable, slope, noise=(0.0, 0.0, 0.0, 0.0)):
    strengths = sorted({row.strength for row in prunable})
    return [
        replace(row, ratio=0.5 + slope * row.ws + noise[strengths.index(row.strength)])
        for row in prunable
    ]


def test_sparser_networks_with_more_to_prune_support_the_claim(prunable):
    fit = ws_regression(prunable, "vgg", against="inactive")
    assert fit.verdict == SUPPORTED
    assert fit.low <= 1.0 <= fit.high  # every dead channel can go
    assert fit.n == 4 and fit.r2 > 0.95


def test_the_fit_is_scipys_over_one_point_a_strength(prunable):
    rows = with_ratios(prunable, 0.1, noise=(0.02, -0.01, 0.0, 0.01))
    ws = [next(r.ws for r in rows if r.strength == s) for s in (0.0, 0.8, 1.2, 1.6)]
    ratio = [next(r.ratio for r in rows if r.strength == s) for s in (0.0, 0.8, 1.2, 1.6)]
    expected = stats.linregress(ws, ratio)
    fit = ws_regression(rows, "vgg")
    assert fit.slope == pytest.approx(expected.slope)
    assert fit.intercept == pytest.approx(expected.intercept)
    assert fit.r2 == pytest.approx(expected.rvalue**2)
    assert fit.high - fit.slope == pytest.approx(stats.t.ppf(0.975, 2) * expected.stderr)


def test_the_verdict_turns_with_the_numbers(prunable):
    assert ws_regression(with_ratios(prunable, 0.1), "vgg").verdict == SUPPORTED
    assert ws_regression(with_ratios(prunable, -0.1), "vgg").verdict == NOT_SUPPORTED
    noisy = with_ratios(prunable, 0.0, noise=(0.1, -0.1, 0.1, -0.1))
    assert ws_regression(noisy, "vgg").verdict == UNDECIDED


def test_too_few_or_equal_strengths_are_undecided(prunable):
    two = [row for row in prunable if row.strength < 1]
    same = [replace(row, ws=1.0) for row in prunable]
    other = ws_regression(prunable, "resnet")
    control = ws_regression([r for r in prunable if r.criterion == "random"], "vgg")
    unmeasured = ws_regression([replace(row, ws=None) for row in prunable], "vgg")
    for fit in (ws_regression(two, "vgg"), ws_regression(same, "vgg"), other, control, unmeasured):
        assert fit.verdict == UNDECIDED and fit.slope is fit.low is fit.r2 is None
    flat = ws_regression([replace(row, ratio=0.0) for row in prunable], "vgg")
    assert (flat.slope, flat.r2, flat.verdict) == (0.0, None, UNDECIDED)
    json.dumps(asdict(flat), allow_nan=False)


def test_differences_are_paired_and_find_the_known_ones():
    rows = simulate(networks=["vgg", "resnet"])
    found = {(d.criterion, d.reference, d.network, d.scope): d for d in method_differences(rows)}
    assert len(found) == 6 * 2 * 2
    worse = found["l1", "random", "vgg", "uniform"]
    assert worse.mean == pytest.approx(PENALTY["random"], abs=0.002)
    assert worse.low <= worse.mean <= worse.high
    assert (worse.verdict, worse.n_seeds, worse.n_pairs) == ("higher", 3, 3 * 4 * 5)
    assert found["gm", "l1", "vgg", "global"].verdict == "lower"
    assert worse.macs_ratio == 1.0
    json.dumps([asdict(d) for d in found.values()], allow_nan=False)


def test_the_shift_of_a_seed_cancels_in_pairs():
    calm, wild = (simulate(networks=["vgg"], noise=0.004) for _ in range(2))
    for row in wild:
        row["accuracy"] += 0.1 * row["seed"]
    for one, other in zip(method_differences(calm), method_differences(wild), strict=True):
        assert (one.mean, one.low, one.verdict) == (
            pytest.approx(other.mean),
            pytest.approx(other.low),
            other.verdict,
        )


def test_an_interval_that_covers_zero_is_a_tie():
    rows = simulate(networks=["vgg"], criteria=["l1", "random"], scopes=["uniform"], noise=0)
    for row in rows:
        if row["kind"] == "pruned":
            gain = {1: 0.02, 2: -0.01, 3: 0.01}[row["seed"]] if row["criterion"] == "l1" else 0
            row["accuracy"] = 0.5 + gain
    (difference,) = method_differences(rows)
    assert (difference.low, difference.high) == pytest.approx((-0.01, 0.02))
    assert difference.verdict == "tie"


def test_equal_criteria_tie_at_zero():
    rows = simulate(networks=["vgg"], criteria=["l1", "random"], scopes=["uniform"], noise=0)
    for row in rows:
        row["accuracy"] = 0.5
    (difference,) = method_differences(rows)
    assert (difference.mean, difference.verdict) == (0.0, "tie")


def test_fewer_than_three_seeds_rank_nothing():
    for seeds in ((1,), (1, 2)):
        found = method_differences(simulate(networks=["vgg"], seeds=seeds))
        assert {d.verdict for d in found} == {f"not ranked: {len(seeds)} of the 3 seeds needed"}


def test_differences_by_ratio_and_before_fine_tuning():
    rows = simulate(networks=["vgg"], criteria=["l1", "random"], scopes=["uniform"])
    by_ratio = method_differences(rows, measure="accuracy_cut", per_ratio=True)
    assert [d.ratio for d in by_ratio] == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert np.mean([d.mean for d in by_ratio]) == pytest.approx(
        method_differences(rows, measure="accuracy_cut")[0].mean
    )


def test_a_ratio_tried_by_one_criterion_alone_is_no_pair():
    rows = simulate(networks=["vgg"], criteria=["l1", "random"], scopes=["uniform"])
    kept = [r for r in rows if r.get("criterion") != "random" or r["ratio_asked"] < 0.5]
    (difference,) = method_differences(kept)
    assert difference.n_pairs == 3 * 4 * 2
    assert method_differences([]) == ()


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
    [
        (line("mobilenet", 0.5, 0.7), line("vgg", 0.1, 0.3), SUPPORTED),
        (line("mobilenet", 0.1, 0.2), line("vgg", 0.3, 0.4), NOT_SUPPORTED),
        (line("mobilenet", 0.2, 0.4), line("vgg", 0.1, 0.3), UNDECIDED),
        (line("mobilenet", 0.5, 0.7), replace(UNKNOWN, family="vgg"), UNDECIDED),
        (replace(UNKNOWN, family="mobilenet"), line("vgg", 0.1, 0.3), UNDECIDED),
    ],
)
def test_the_claim_on_families_needs_intervals_apart(mobilenet, vgg, verdict):
    assert family_claim([mobilenet, vgg], ["mobilenet", "vgg"]).verdict == verdict
    assert family_claim([mobilenet, vgg], ["vgg"]).verdict == NOT_TESTED
    assert family_claim([mobilenet], ["mobilenet"]).verdict == NOT_TESTED


def test_the_claim_on_methods_is_an_equivalence_and_not_a_lack_of_difference():
    found = method_differences(simulate(networks=["vgg"]))
    assert methods_claim(found, margin=0.02).verdict == SUPPORTED  # gm is 1 point below l1
    assert methods_claim(found, margin=0.005).verdict == NOT_SUPPORTED
    noisy = [replace(d, low=-0.1, high=0.1, verdict="tie") for d in found]
    assert methods_claim(noisy).verdict == UNDECIDED
    few = method_differences(simulate(networks=["vgg"], seeds=(1, 2)))
    assert methods_claim(few).verdict == UNDECIDED
    by_ratio = method_differences(simulate(networks=["vgg"]), per_ratio=True)
    last = max(d.ratio for d in by_ratio)
    apart = [replace(d, mean=0.3, low=0.2, high=0.4) if d.ratio == last else d for d in by_ratio]
    assert methods_claim(apart).verdict == NOT_SUPPORTED
    assert f"at ratio {last:g}" in methods_claim(apart).because
    control = [d for d in found if d.reference == "random"]
    assert methods_claim(control).verdict == NOT_TESTED
