"""Weight Skewness and its companions, against scipy, closed forms and naive loops."""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from secateur.analysis.skewness import (
    LIMITS,
    gini,
    hoyer,
    pq_index,
    skewness_rows,
    skewness_summary,
)
from secateur.errors import CriterionError


def rows_by_layer(weights, definition="bn_scale"):
    return {row.layer: row for row in skewness_rows(weights, definition)}


def gamma(seed, *sizes):
    rng = np.random.default_rng(seed)
    return {f"bn{k}": rng.gamma(2.0, 0.3 * (k + 1), n) for k, n in enumerate(sizes)}


def test_ws_is_scipys_adjusted_skewness_per_layer_and_pooled():
    weights = gamma(0, 8, 16, 32)
    rows = rows_by_layer(weights)
    assert list(rows) == ["bn0", "bn1", "bn2", "pooled"]
    for layer, values in weights.items():
        assert rows[layer].ws == pytest.approx(stats.skew(values, bias=False), rel=1e-12)
        assert rows[layer].ws_se == pytest.approx((6 / len(values)) ** 0.5)
    pool = np.concatenate(list(weights.values()))
    assert rows["pooled"].ws == pytest.approx(stats.skew(pool, bias=False), rel=1e-12)
    assert rows["pooled"].n == 56


def test_filter_l1_divides_by_the_layer_mean():
    weights = gamma(1, 9, 20)
    rows = rows_by_layer(weights, "filter_l1")
    pool = np.concatenate([w / w.mean() for w in weights.values()])
    assert rows["pooled"].ws == pytest.approx(stats.skew(pool, bias=False), rel=1e-12)
    wider = {"bn0": weights["bn0"], "bn1": weights["bn1"] * 1000}
    assert rows_by_layer(wider, "filter_l1")["pooled"].ws == pytest.approx(rows["pooled"].ws)
    assert rows_by_layer(wider)["pooled"].ws != pytest.approx(rows_by_layer(weights)["pooled"].ws)


@pytest.mark.parametrize("dead", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_a_dead_share_gives_the_closed_form_negative_below_one_half(dead):
    n = 4000
    values = np.where(np.arange(n) < dead * n, 0.0, 1.0)
    (row, _) = skewness_rows({"a": values}, "bn_scale")
    assert row.ws == pytest.approx((2 * dead - 1) / (dead * (1 - dead)) ** 0.5, abs=5e-3)
    assert row.inactive_share == dead
    assert row.gini == pytest.approx(dead)


def test_ws_is_blind_to_a_shift_and_its_companions_are_not():
    values = gamma(2, 64)["bn0"]
    before, after = (rows_by_layer({"a": v})["a"] for v in (values, values + 5))
    assert after.ws == pytest.approx(before.ws)
    assert after.gini < before.gini / 2


def test_pooled_and_layer_values_may_differ_in_sign():
    rng = np.random.default_rng(3)
    left_skewed = {
        f"a{k}": scale * (4 - rng.gamma(2.0, 0.3, 64).clip(max=3.9))
        for k, scale in enumerate([1, 1, 1, 10])
    }
    rows = rows_by_layer(left_skewed)
    assert rows["pooled"].ws > 0
    assert all(rows[layer].ws < 0 for layer in left_skewed)


def test_inactive_is_measured_against_the_largest_weight_of_the_pool():
    rows = rows_by_layer({"small": np.array([0.02, 0.03, 0.04]), "large": np.array([3.0, 9, 10])})
    assert rows["small"].inactive_share == 1.0
    assert rows["large"].inactive_share == 0.0
    assert rows["pooled"].inactive_share == 0.5


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e300])
def test_every_index_ignores_the_scale(scale):
    values = gamma(4, 50)["bn0"]
    (row, _), (scaled, _) = (skewness_rows({"a": v}, "bn_scale") for v in (values, values * scale))
    for name in ("ws", "gini", "hoyer", "pq_index"):
        assert getattr(scaled, name) == pytest.approx(getattr(row, name), rel=1e-9)


def test_gini_is_the_mean_difference_of_all_pairs():
    values = gamma(5, 30)["bn0"]
    naive = sum(abs(a - b) for a in values for b in values) / (2 * 30**2 * values.mean())
    assert gini(values) == pytest.approx(naive)


def test_hoyer_and_pq_index_by_their_definitions():
    values = gamma(6, 30)["bn0"]
    l1, l2 = np.linalg.norm(values, 1), np.linalg.norm(values, 2)
    assert hoyer(values) == pytest.approx((30**0.5 - l1 / l2) / (30**0.5 - 1))
    assert pq_index(values, 1, 2) == pytest.approx(1 - 30 ** (1 / 2 - 1) * l1 / l2)
    half = np.sum(np.sqrt(values)) ** 2
    assert pq_index(values) == pytest.approx(1 - half / 30 / l1)


@pytest.mark.parametrize(
    ("values", "why", "inactive"),
    [
        ([], "0 channels", None),
        ([0.1, 0.2], "2 channels", 0.0),
        ([0.5] * 6, "equal", 0.0),
        ([0.5, 0.5, np.nextafter(0.5, 1)], "equal", 0.0),
        ([0.0] * 4, "zero", 1.0),
    ],
)
def test_what_is_undefined_is_none_with_a_reason(values, why, inactive):
    for definition in ("bn_scale", "filter_l1"):
        for row in skewness_rows({"a": np.array(values)}, definition):
            assert row.undefined.startswith("undefined because") and why in row.undefined
            assert row.ws is row.ws_se is row.gini is row.hoyer is row.pq_index is None
            assert row.inactive_share == inactive
            json.dumps(asdict(row), allow_nan=False)


def test_a_network_without_batch_norm_still_gives_the_pooled_row():
    (row,) = skewness_rows({}, "bn_scale")
    assert (row.layer, row.n) == ("pooled", 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_a_bad_weight_is_refused_by_the_name_of_its_layer(bad):
    with pytest.raises(CriterionError, match=r"layer 'features\.3'"):
        skewness_rows({"features.3": np.array([1.0, bad, 2.0])}, "bn_scale")


def test_wrong_shapes_and_names_are_refused():
    with pytest.raises(CriterionError, match="one number a channel"):
        skewness_rows({"a": np.ones((2, 3))}, "bn_scale")
    with pytest.raises(CriterionError, match="pooled"):
        skewness_rows({"pooled": np.ones(3)}, "bn_scale")
    with pytest.raises(CriterionError, match="did you mean 'bn_scale'"):
        skewness_rows({}, "bn_scales")


def test_standard_errors_are_the_naive_jackknife():
    values = gamma(7, 25)["bn0"] / 3
    (row, _) = skewness_rows({"a": values}, "bn_scale")
    for name, index in (
        ("ws_jackknife_se", lambda x: stats.skew(x, bias=False)),
        ("gini_se", gini),
        ("hoyer_se", hoyer),
        ("pq_index_se", pq_index),
    ):
        without = np.array([index(np.delete(values, k)) for k in range(25)])
        naive = np.sqrt(24 / 25 * ((without - without.mean()) ** 2).sum())
        assert getattr(row, name) == pytest.approx(naive, rel=1e-9)


def test_standard_error_of_skewness_is_its_spread_over_samples():
    rng = np.random.default_rng(8)
    rows = [skewness_rows({"a": 10 + rng.normal(size=300)}, "bn_scale")[0] for _ in range(300)]
    spread = np.std([row.ws for row in rows])
    assert rows[0].ws_se == pytest.approx(spread, rel=0.15)
    assert np.mean([row.ws_jackknife_se for row in rows]) == pytest.approx(spread, rel=0.15)


def test_one_weight_that_decides_all_leaves_no_standard_error():
    (row, _) = skewness_rows({"a": np.array([0.0, 0.0, 0.0, 2.0])}, "bn_scale")
    assert row.gini == 0.75
    assert row.ws_jackknife_se is row.gini_se is row.hoyer_se is row.pq_index_se is None
    json.dumps(asdict(row), allow_nan=False)


def test_the_summary_says_which_limits_bite():
    rng = np.random.default_rng(9)
    left = {
        f"a{k}": scale * (4 - rng.gamma(2.0, 0.3, 64).clip(max=3.9))
        for k, scale in enumerate([1, 1, 1, 10])
    }
    (found,) = skewness_summary(skewness_rows(left, "bn_scale"))
    assert found.pooled_ws > 0 > found.mean_ws and found.n_layers == 4
    assert "0% of the channels are inactive" in found.cautions[0]
    assert "layers differ in scale" in found.cautions[-1]
    sparse = np.concatenate([np.zeros(60), rng.gamma(2.0, size=4)])
    (clear,) = skewness_summary(skewness_rows({"a": sparse}, "bn_scale"))
    assert clear.cautions == () and clear.inactive_share > 0.9
    (empty,) = skewness_summary(skewness_rows({}, "bn_scale"))
    assert empty.pooled_ws is None and "0 channels" in empty.cautions[0]
    assert len(LIMITS) == 3


def test_one_threshold_of_inactive_channels_and_no_scipy_stats_in_the_trainer():
    code = "import sys, secateur.train.penalties; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
