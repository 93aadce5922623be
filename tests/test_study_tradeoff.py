"""Numbers that compare methods: on paper, against naive loops, and on rows with known truth."""

import json
from dataclasses import asdict
from itertools import product

import numpy as np
import pytest
from scipy import stats

from secateur.errors import StudyError
from secateur.study.grid import tables
from secateur.study.tradeoff import (
    accuracy_at,
    bootstrap_interval,
    compression_area,
    curves,
    knee,
    prunable_ratio,
    prunable_rows,
)
from simulated_rows import DENSE_ACCURACY, SLOPE, dead_share, simulate

LEVELS = [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.8, 0.8, 0.8, 0.8], 0.75),  # holds everywhere: the last level measured
        ([0.7, 0.9, 0.9, 0.9], 0.0),  # the unpruned network is already below
        ([0.8, 0.8, 0.7, 0.6], 0.25 + 0.25 * 0.05 / 0.1),  # crosses inside an interval
        ([0.8, 0.7, 0.8, 0.8], 0.125),  # a recovery later does not count
        ([0.75, 0.75, 0.5, 0.8], 0.25),  # exactly at the threshold still holds
        ([0.8, 0.75, 0.75, 0.74], 0.5),
    ],
)
def test_prunable_ratio_on_paper(accuracies, expected):
    assert prunable_ratio(LEVELS, accuracies, 0.8, 0.05) == pytest.approx(expected, abs=1e-9)


def test_prunable_ratio_is_the_first_crossing_of_a_fine_scan():
    rng = np.random.default_rng(0)
    for _ in range(50):
        accuracies = 0.9 - np.cumsum(np.r_[0, rng.normal(0.05, 0.06, 5)])
        levels = np.r_[0, np.sort(rng.uniform(0.05, 0.95, 5))]
        scan = np.linspace(0, levels[-1], 200_001)
        holds = np.interp(scan, levels, accuracies) >= 0.88
        expected = scan[-1] if holds.all() else scan[max(holds.argmin() - 1, 0)]
        assert prunable_ratio(levels, accuracies, 0.9, 0.02) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("levels", [[0.1, 0.2], [0.0, 0.0], [0.0, np.nan], [0.2, 0.0]])
def test_levels_must_ascend_from_the_unpruned_network(levels):
    for function in (lambda: prunable_ratio(levels, [1, 1], 1, 0), lambda: knee(levels, [1, 1])):
        with pytest.raises(StudyError, match="ascend from 0"):
            function()


def test_levels_and_accuracies_must_match():
    with pytest.raises(StudyError, match="do not make a curve"):
        prunable_ratio([0, 0.5], [1.0], 1, 0.1)


def test_knee_on_paper():
    levels = [0, 0.2, 0.4, 0.6, 0.8]
    assert knee(levels, [0.9, 0.9, 0.9, 0.9, 0.1]) == 0.6
    weak = [0.9, 0.75, 0.55, 0.3, 0.1]  # .0625 above the chord, a quarter of the spacing
    assert knee(levels, weak) is None
    assert knee(levels, weak, sensitivity=0.1) == 0.2
    assert knee([0, 0.5, 1], [1.0, 0.5, 0.0]) is None  # straight
    assert knee([0, 0.5, 1], [1.0, 0.2, 0.0]) is None  # convex: falls at once
    assert knee([0, 0.5, 1], [0.5, 0.5, 0.5]) is None
    assert knee([0, 0.5, 1], [0.5, 0.6, 0.7]) is None
    assert knee([0, 1], [0.9, 0.1]) is None


def test_compression_area_and_accuracy_at_a_budget():
    compressions, accuracies = [1, 2, 8], [0.8, 0.8, 0.4]
    assert compression_area(compressions, accuracies, 0.8, 8) == pytest.approx((1 + 2 * 0.75) / 3)
    assert compression_area(compressions, accuracies, 0.8, 2) == pytest.approx(1.0)
    assert compression_area(compressions, accuracies, 0.8, 16) is None
    assert compression_area(compressions, accuracies, 0.8, 4) == pytest.approx((1 + 0.875) / 2)
    assert accuracy_at(compressions, accuracies, 4) == pytest.approx(0.6)
    assert accuracy_at(compressions, accuracies, 8) == pytest.approx(0.4)
    assert accuracy_at(compressions, accuracies, 9) is None


def test_the_interval_of_a_mean_is_students():
    values = np.random.default_rng(1).normal(5.0, 2.0, 8)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert bootstrap_interval(values) == pytest.approx(tuple(expected))
    assert bootstrap_interval([0.5]) is None
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_the_bootstrap_of_a_mean_comes_to_the_same():
    values = np.random.default_rng(2).normal(size=5)
    ours = bootstrap_interval(values, lambda means: means, n=20_000)
    assert ours == pytest.approx(bootstrap_interval(values), rel=0.03)
    assert ours == bootstrap_interval(values, lambda means: means, n=20_000)
    assert ours != bootstrap_interval(values, lambda means: means, n=20_000, seed=1)


def test_bootstrap_takes_any_statistic_of_means():
    values = np.random.default_rng(2).normal(size=(40, 3))
    low, high = bootstrap_interval(values, lambda means: np.ptp(means, axis=1), n=4000)
    error = stats.bootstrap(
        (np.arange(40),),
        lambda index: np.ptp(values[index].mean(axis=0)),
        vectorized=False,
        n_resamples=4000,
        rng=0,
    ).standard_error
    assert (low + high) / 2 == pytest.approx(np.ptp(values.mean(axis=0)))
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 39) * error, rel=0.05)


def test_curves_average_seeds_and_begin_at_the_unpruned_network():
    rows = simulate(networks=["vgg"], seeds=(1, 2, 3))
    curve = next(
        c
        for c in curves(tables(rows))
        if (c.network, c.strength, c.criterion, c.scope) == ("vgg", 1.2, "l1", "uniform")
    )
    assert [p.ratio_asked for p in curve.points] == [0.0, 0.1, 0.3, 0.5, 0.7, 0.9]
    own = [r for r in rows if r["kind"] == "pruned" and r["strength"] == 1.2]
    at_half = [
        r["accuracy"]
        for r in own
        if (r["criterion"], r["scope"], r["ratio_asked"]) == ("l1", "uniform", 0.5)
    ]
    point = curve.points[3]
    assert point.accuracy == pytest.approx(np.mean(at_half))
    margin = stats.t.ppf(0.975, 2) * stats.sem(at_half)
    assert (point.high - point.low) / 2 == pytest.approx(margin)
    assert point.macs == pytest.approx(10_000_000 * 0.25)
    assert point.n_seeds == 3
    unpruned = curve.points[0]
    assert unpruned.macs == 10_000_000
    assert unpruned.accuracy == unpruned.accuracy_cut


def test_folds_of_one_seed_are_one_unit():
    rows = simulate(networks=["vgg"], strengths=[0.0], seeds=(1, 2))
    for row in rows:
        row["seed"] = 1
    point = curves(tables(rows))[0].points[0]
    assert (point.n_seeds, point.low) == (1, None)


def test_prunable_ratio_of_simulated_rows_is_the_known_one():
    rows = simulate(networks=["vgg"], noise=0.0)
    found = {
        (r.strength, r.criterion, r.scope): r for r in prunable_rows(tables(rows), epsilon=0.02)
    }
    for strength in (0.8, 1.2, 1.6):
        row = found[strength, "l1", "uniform"]
        assert row.ratio == pytest.approx(dead_share(strength) + 0.02 / SLOPE)
        assert (row.low, row.high) == pytest.approx((row.ratio, row.ratio))
        assert row.reference == pytest.approx(DENSE_ACCURACY)
        assert row.n_seeds == 3 and not row.beyond
        assert row.inactive == pytest.approx(dead_share(strength), abs=0.03)
    assert found[1.6, "random", "uniform"].ratio < 0.05
    json.dumps([asdict(row) for row in found.values()], allow_nan=False)


def test_the_interval_resamples_seeds_by_hand():
    rows = simulate(networks=["vgg"], strengths=[0.0], criteria=["l1"], scopes=["uniform"])
    (row,) = prunable_rows(tables(rows), epsilon=0.02)
    by_seed = {}
    for r in rows:
        by_seed.setdefault(r["seed"], {})[r.get("ratio_asked", 0.0)] = r["accuracy"]
    curve = np.array([[own[ratio] for ratio in sorted(own)] for own in by_seed.values()])
    levels = [0, 0.1, 0.3, 0.5, 0.7, 0.9]
    every = product(range(3), repeat=3)  # the 27 resamples there are
    ratios = [
        prunable_ratio(levels, curve[list(draw)].mean(axis=0), curve[list(draw), 0].mean(), 0.02)
        for draw in every
    ]
    margin = stats.t.ppf(0.975, 2) * np.std(ratios) * (3 / 2) ** 0.5
    assert (row.high - row.low) / 2 == pytest.approx(margin, rel=0.1)
    assert row.low < row.ratio < row.high


def test_a_sparse_network_is_measured_against_the_dense_one():
    rows = simulate(networks=["vgg"], noise=0.0)
    for row in rows:
        if row["strength"] == 1.6:  # sparsification broke it, and pruning costs it nothing more
            row["accuracy"] = 0.5
    broken = [r for r in prunable_rows(tables(rows)) if r.strength == 1.6]
    assert all(row.ratio == 0.0 and row.reference == pytest.approx(0.8) for row in broken)


def test_a_ratio_that_always_holds_is_a_lower_bound():
    rows = simulate(networks=["vgg"], strengths=[0.0], criteria=["l1"], ratios=[0.01], noise=0)
    row, _ = prunable_rows(tables(rows), epsilon=0.02)
    assert row.ratio == 0.01 and row.beyond


def test_without_the_dense_network_or_whole_seeds_it_is_undefined():
    sparse = [r for r in simulate(networks=["vgg"]) if r["strength"] > 0]
    assert all("no vgg of strength 0" in row.undefined for row in prunable_rows(tables(sparse)))
    rows = simulate(networks=["vgg"], strengths=[0.0], criteria=["l1"], scopes=["uniform"])
    missing_one = [r for r in rows if not (r["seed"] == 2 and r.get("ratio_asked") == 0.5)]
    (row,) = prunable_rows(tables(missing_one))
    assert (row.n_seeds, row.n_left_out, row.undefined) == (2, 1, None)
    torn = [r for r in rows if r.get("ratio_asked", 0) != {1: 0.1, 2: 0.3, 3: 0.5}[r["seed"]]]
    (row,) = prunable_rows(tables(torn))
    assert row.ratio is None and "every ratio" in row.undefined


def test_a_ratio_that_removed_nothing_does_not_replace_the_unpruned_network():
    rows = simulate(networks=["vgg"], strengths=[0.0], criteria=["l1"], scopes=["uniform"], noise=0)
    for row in rows:
        if row.get("ratio_asked") == 0.1:
            row["ratio_reached"], row["accuracy"] = 0.0, 0.1
    (row,) = prunable_rows(tables(rows), epsilon=0.01)
    assert row.ratio == pytest.approx(0.02)


def test_no_rows_give_no_numbers():
    assert curves([]) == prunable_rows([]) == ()
