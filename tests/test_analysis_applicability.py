"""Can criteria choose, do they agree with themselves, and what global pruning would wipe out."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from filter_scores import as_layers, by_criterion
from secateur.analysis.applicability import applicability, close_pairs, tied_pairs
from secateur.analysis.ceiling import attainable_rho, noise_ceilings
from secateur.analysis.global_pruning import global_pruning, layer_gaps
from secateur.analysis.weights import layer_shapes
from secateur.errors import CriterionError


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("distance", [0.0, 0.3, 1.0, 100.0])
def test_close_and_tied_pairs_are_the_naive_counts(ties: bool, distance: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, 40) / 2 if ties else rng.normal(size=40)
    pairs = list(combinations(scores, 2))
    assert close_pairs(scores, distance) == np.mean([abs(a - b) < distance for a, b in pairs])
    assert tied_pairs(scores) == pytest.approx(np.mean([a == b for a, b in pairs]))


def test_spread_on_paper() -> None:
    (row,) = applicability({"l1": {"conv": np.array([1.0, 2.0, 2.005, 3.0])}})
    values = [1.0, 2.0, 2.005, 3.0]
    assert row.cv == pytest.approx(stats.variation(values, ddof=1))
    assert row.relative_range == pytest.approx(2 / np.mean(values))
    assert row.close_pairs == pytest.approx(1 / 6)
    assert row.tied_pairs == 0 and row.flag is None and row.over_dispersion is None


def test_gaussian_filters_are_neither_over_dispersed_nor_told_apart() -> None:
    rng = np.random.default_rng(1)
    layers = {"plain": rng.normal(size=(256, 576))}
    layers["scaled"] = layers["plain"] * np.exp(0.3 * rng.normal(size=(256, 1)))
    shapes = layer_shapes(as_layers(layers))
    for row in applicability(by_criterion(layers), shapes=shapes):
        if row.layer == "plain":
            assert row.over_dispersion == pytest.approx(1.0, abs=0.15)
            assert row.flag is not None and "'plain'" in row.flag and row.criterion in row.flag
        else:
            assert row.over_dispersion > 4
            assert row.flag is None


def test_what_cannot_choose_is_flagged_in_words() -> None:
    rows = {
        row.layer: row
        for row in applicability(
            {
                "bn_scale": {
                    "flat": np.full(8, 0.3),
                    "dead": np.zeros(8),
                    "close": np.linspace(1.0, 1.02, 8),
                    "fine": np.linspace(1.0, 3.0, 8),
                    "one": np.ones(1),
                    "centred": np.array([-1.0, 1.0]),
                }
            }
        )
    }
    assert "same score" in rows["flat"].flag and rows["flat"].cv == 0
    assert "same score" in rows["dead"].flag and "mean 0" in rows["dead"].undefined
    assert "'close'" in rows["close"].flag and "less than 5%" in rows["close"].flag
    assert rows["fine"].flag is None
    assert rows["one"].cv is None and "needs 2" in rows["one"].undefined
    assert rows["centred"].flag is None and "mean 0" in rows["centred"].undefined
    json.dumps([asdict(row) for row in rows.values()], allow_nan=False)
    strict = applicability({"l1": {"fine": np.linspace(1.0, 3.0, 8)}}, least_cv=0.5)
    assert "less than 50%" in strict[0].flag
    with pytest.raises(CriterionError, match="'l1' gives layer 'a'"):
        applicability({"l1": {"a": np.array([np.inf, 1.0])}})


def test_a_criterion_below_its_own_noise_is_flagged() -> None:
    rng = np.random.default_rng(2)
    halves = [{"apoz": {"noise": 1 + 0.2 * rng.normal(size=64)}} for _ in range(2)]
    signal = np.linspace(1, 3, 64)
    for half in halves:
        half["apoz"]["signal"] = signal + 0.05 * rng.normal(size=64)
    whole = {
        "apoz": {
            name: (halves[0]["apoz"][name] + halves[1]["apoz"][name]) / 2
            for name in ("noise", "signal")
        }
    }
    rows = {r.layer: r for r in applicability(whole, ceilings=noise_ceilings(*halves))}
    assert rows["noise"].cv > 0.05 and "two calibration sets" in rows["noise"].flag
    assert rows["noise"].noise_cv == pytest.approx(0.2, rel=0.25)
    assert rows["signal"].flag is None


def test_ceiling_is_the_rank_correlation_of_the_halves() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(10, 1, size=400)
    halves = [{"fisher": {"a": truth + 0.7 * rng.normal(size=400)}} for _ in range(2)]
    rows = {row.layer: row for row in noise_ceilings(*halves)}
    first, second = (half["fisher"]["a"] for half in halves)
    rho = stats.spearmanr(first, second).statistic
    assert rows["a"].rho == pytest.approx(rho)
    assert rows["a"].noise_cv == pytest.approx(0.07, rel=0.1)
    both = stats.spearmanr(
        truth + 0.7 * rng.normal(size=400) / sqrt(2), truth + 0.7 * rng.normal(size=400) / sqrt(2)
    ).statistic
    assert rows["a"].whole_rho == pytest.approx(both, abs=0.06)
    reached = stats.spearmanr((first + second) / 2, truth).statistic
    assert attainable_rho(rows["a"], None) == pytest.approx(reached, abs=0.03)
    assert rows["global"].noise_cv is None and rows["global"].rho == pytest.approx(rho)


def test_ceilings_that_nothing_defines() -> None:
    rows = noise_ceilings({"apoz": {"a": np.ones(5)}}, {"apoz": {"a": np.arange(5.0)}})
    assert all(row.rho is None and "same score" in row.undefined for row in rows)
    assert attainable_rho(rows[0], None) is None
    against = noise_ceilings({"x": {"a": np.arange(5.0)}}, {"x": {"a": -np.arange(5.0)}})
    assert against[0].whole_rho == -1.0 and attainable_rho(against[0], against[0]) == 0.0
    json.dumps([asdict(row) for row in (*rows, *against)], allow_nan=False)
    with pytest.raises(CriterionError, match="'chip' was scored over one half"):
        noise_ceilings({"chip": {}}, {})


def test_global_pruning_on_paper() -> None:
    scores = {"l1": {"a": np.array([1.0, 2, 3]), "b": np.array([10.0, 20, 90]), "c": np.ones(1)}}
    rows = {(r.normalisation, r.ratio): r for r in global_pruning(scores, ratios=[0.5, 0.6])}
    half = rows["none", 0.5]
    assert (half.wiped, half.n_wiped, half.n_layers, half.untouched) == (("c",), 1, 3, 1)
    assert rows["none", 0.6].wiped == ("a", "c")
    # over the mean: a .5 1 1.5, b .25 .5 2.25, c 1
    assert rows["mean", 0.6].wiped == ()
    by_size = global_pruning(
        scores,
        normalisations={"per number": lambda values, size: values / size},
        sizes={"b": 100},
        ratios=[0.5],
    )
    assert by_size[0].wiped == ("b",) and by_size[0].normalisation == "per number"
    with pytest.raises(CriterionError, match=r"\[0, 1\)"):
        global_pruning(scores, ratios=[1.0])
    assert global_pruning({"l1": {}}, ratios=[0.5])[0].n_layers == 0


def test_normalisations_of_plans_fit() -> None:
    from secateur.plan.normalise import NORMALISATIONS

    scores = {"l1": {"a": np.array([1.0, 2]), "b": np.array([8.0, 9])}}
    rows = global_pruning(scores, normalisations=NORMALISATIONS, sizes={"a": 9, "b": 16})
    assert [row.normalisation for row in rows[::3]] == list(NORMALISATIONS)


def test_layer_gap_on_paper() -> None:
    scores = {"l1": {"a": np.array([1.0, 3]), "b": np.array([30.0, 10])}, "l2": {"a": np.zeros(2)}}
    gap, none = layer_gaps(scores)
    assert (gap.gap, gap.largest_layer, gap.smallest_layer) == (10.0, "b", "a")
    assert none.gap is None and "mean 0" in none.undefined
    assert layer_gaps({"l1": {}})[0].undefined == "undefined because no layer is scored"
