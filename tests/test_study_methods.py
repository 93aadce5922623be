"""Methods in pairs on the same base networks: known differences, controls, ties, corrections."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from secateur.study.grid import tables
from secateur.study.methods import SCRATCH, method_differences, scratch_differences
from simulated_rows import PENALTY, linear_rows, simulate


def test_differences_are_paired_and_find_the_known_ones():
    rows = simulate(networks=["vgg", "resnet"])
    found = {
        (d.criterion, d.reference, d.network, d.scope): d for d in method_differences(tables(rows))
    }
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
    for one, other in zip(
        method_differences(tables(calm)), method_differences(tables(wild)), strict=True
    ):
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
    (difference,) = method_differences(tables(rows))
    assert difference.high - difference.mean == pytest.approx(
        stats.t.ppf(0.975, 2) * stats.sem([0.02, -0.01, 0.01])
    )
    assert difference.verdict == "tie"


def test_equal_criteria_tie_at_zero():
    rows = simulate(networks=["vgg"], criteria=["l1", "random"], scopes=["uniform"], noise=0)
    for row in rows:
        row["accuracy"] = 0.5
    (difference,) = method_differences(tables(rows))
    assert (difference.mean, difference.verdict) == (0.0, "tie")


def test_fewer_than_three_seeds_rank_nothing():
    for seeds in ((1,), (1, 2)):
        found = method_differences(tables(simulate(networks=["vgg"], seeds=seeds)))
        assert {d.verdict for d in found} == {f"not ranked: {len(seeds)} of the 3 seeds needed"}


def test_differences_by_ratio_and_before_fine_tuning():
    rows = simulate(networks=["vgg"], criteria=["l1", "random"], scopes=["uniform"])
    by_ratio = method_differences(tables(rows), measure="accuracy_cut", per_ratio=True)
    assert [d.ratio for d in by_ratio] == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert np.mean([d.mean for d in by_ratio]) == pytest.approx(
        method_differences(tables(rows), measure="accuracy_cut")[0].mean
    )


def test_a_ratio_tried_by_one_criterion_alone_is_no_pair():
    rows = simulate(networks=["vgg"], criteria=["l1", "random"], scopes=["uniform"])
    kept = [r for r in rows if r.get("criterion") != "random" or r["ratio_asked"] < 0.5]
    (difference,) = method_differences(tables(kept))
    assert difference.n_pairs == 3 * 4 * 2
    assert method_differences([]) == ()


def test_the_correction_is_holms_over_the_pairs_of_one_network_and_scope():
    rng = np.random.default_rng(4)
    found = method_differences(
        tables(linear_rows(rng, {"vgg": 0.0}, accuracy_noise=0.01, penalty={"random": 0.01}))
    )
    p = sorted(d.p for d in found)
    expected = np.minimum(np.maximum.accumulate(np.array(p) * [3, 2, 1]), 1)
    assert sorted(d.p_holm for d in found) == pytest.approx(expected)
    assert all((d.verdict == "tie") == (d.p_holm >= 0.05) for d in found)
    one = found[0]
    assert one.p == pytest.approx(2 * stats.t.sf(abs(one.mean) / one.error, 4))


def test_networks_trained_from_scratch_are_a_control_of_every_uniform_cut():
    rng = np.random.default_rng(1)
    rows = linear_rows(rng, {"vgg": 0.0}, noise=0.0, scratch=0.05, scopes=("uniform", "global"))
    found = scratch_differences(tables(rows))
    assert {(d.criterion, d.reference, d.scope) for d in found} == {
        (name, SCRATCH, "uniform") for name in ("l1", "l2", "random")
    }
    # a cut to ratio r loses .02 r / .4, that is .025 on average; from scratch .05 is lost
    assert all(d.mean == pytest.approx(0.025) and d.verdict == "higher" for d in found)
    assert {d.n_pairs for d in found} == {5 * 5 * 4}
    some = [r for r in rows if r["kind"] != "scratch" or r["ratio_asked"] == 0.4]
    assert {d.ratio for d in scratch_differences(tables(some), per_ratio=True)} == {0.4}
    assert scratch_differences(tables(r for r in rows if r["kind"] != "scratch")) == ()
