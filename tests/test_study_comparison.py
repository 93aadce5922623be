"""All measures of all cells, methods paired and ranked on them, and how fair that is."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from secateur.study.bd_rate import bd_rate
from secateur.study.cheaper import bd_rates
from secateur.study.claims import LITTLE_PRUNABLE, NOT_SUPPORTED, SUPPORTED, methods_claim
from secateur.study.comparison import measure_differences, measured, sample
from secateur.study.fairness import FULL, LIKE, NONE, PARTLY, fairness
from secateur.study.grid import blocks, tables
from secateur.study.methods import method_differences, scratch_differences
from secateur.study.ranking import ranking
from secateur.study.tradeoff import curves, prunable_rows
from simulated_rows import linear_rows, recipe, simulate


@pytest.fixture(scope="module")
def rows():
    return simulate(networks=["vgg"])


@pytest.fixture(scope="module")
def block(rows):
    return next(b for b in blocks(tables(rows)) if b.scope == "uniform")


@pytest.fixture(scope="module")
def sampled(block):
    return sample(block, chance=0.1)


def only(found, **wanted):
    own = [f for f in found if all(getattr(f, key) == value for key, value in wanted.items())]
    assert len(own) == 1, own
    return own[0]


def test_a_block_holds_what_all_methods_share(rows, block):
    assert block.criteria == ("gm", "l1", "l2", "random")  # the control last
    assert (block.seeds, block.left_out) == ((1, 2, 3), ())
    lacking = [r for r in rows if r["id"] != "vgg-0.8-2-l1-uniform-0.5"]
    uniform, global_ = sorted(blocks(tables(lacking)), key=lambda b: b.scope, reverse=True)
    assert (uniform.seeds, uniform.left_out) == ((1, 3), (2,))
    assert global_.seeds == (1, 2, 3)
    gone = [r for r in rows if r.get("criterion") != "l1" or r["strength"] != 0.8]
    assert all(b.seeds == () for b in blocks(tables(gone)))
    assert measured(sample(blocks(tables(gone))[0], chance=0.1)) == ()


def test_measures_agree_with_the_tables(rows, sampled):
    found = measured(sampled)
    for row in prunable_rows(tables(rows), epsilon=0.02):
        if row.scope == "uniform":
            where = {"strength": row.strength, "criterion": row.criterion}
            one = only(found, measure="prunable_0.02", **where)
            assert one.value == pytest.approx(row.ratio, abs=1e-9)
            assert only(found, measure="knee", **where).value == row.knee
    json.dumps([asdict(row) for row in found], allow_nan=False)


def test_measures_on_paper(sampled):
    found = measured(sampled)
    where = {"strength": 1.6, "criterion": "l1"}
    # accuracy holds to half of the channels, a quarter of the costs, and falls after
    at = only(found, measure="at_4", axis="macs", **where)
    assert at.value == pytest.approx(0.8, abs=0.01) and at.low < at.value < at.high
    assert only(found, measure="area", axis="params", **where).value == pytest.approx(1, abs=0.01)
    best = only(found, measure="f_beta", axis="macs", **where).value
    quality, saving = (0.7 - 0.1) / 0.7, 1 - 0.3**2  # at 70 % of the channels
    assert best == pytest.approx(2 * quality * saving / (quality + saving), abs=0.01)
    volume = only(found, measure="hypervolume", axis="macs", **where).value
    assert volume == pytest.approx(0.8 * 0.75 + 0.7 * 0.16 + 0.6 * 0.08, abs=0.01)


def test_intervals_of_shares_end_where_shares_do():
    rows = simulate(networks=["vgg"], noise=0.2)
    (block, _) = blocks(tables(rows))
    found = measured(sample(block, chance=0.1))
    own = [f for f in found if f.measure == "prunable_0.02"]
    assert min(f.low for f in own) == 0.0 and max(f.high for f in own) == 0.9
    shares = [f for f in found if f.measure in ("at_2", "hypervolume")]
    assert all(0 <= f.low <= f.value <= f.high <= 1 for f in shares)


def test_what_is_missing_has_a_reason(rows):
    few = [r for r in rows if r["seed"] == 1 and r.get("ratio_asked", 0) < 0.4]
    found = measured(sample(blocks(tables(few))[0], chance=0.1))
    far = only(found, measure="at_8", axis="macs", strength=0.0, criterion="l1")
    assert far.value is None and "1.90 times fewer macs" in far.missing
    near = only(found, measure="hypervolume", axis="macs", strength=0.0, criterion="l1")
    assert near.value is not None and near.missing == "no interval: one seed"
    knees = [f for f in found if f.measure == "knee" and f.value is None]
    assert knees and {f.missing for f in knees} == {
        "no bend sharper than the spacing of the ratios"
    }


def test_f_beta_needs_the_chance_level_and_a_network_above_it(block):
    unknown, idle = measured(sample(block, None)), measured(sample(block, chance=0.9))
    for found, words in ((unknown, "how many classes"), (idle, "no better than guessing")):
        f_beta = [row for row in found if row.measure == "f_beta"]
        assert f_beta and all(row.value is None and words in row.missing for row in f_beta)
        rest = [row for row in found if row.measure not in ("f_beta", "knee")]
        assert all(row.missing is None for row in rest)


def test_the_interval_of_a_linear_measure_is_students():
    rows = linear_rows(np.random.default_rng(0), {"vgg": 0.05}, seed_noise=0.02)

    def at_2(own):
        (block,) = blocks(tables(own))
        where = {"measure": "at_2", "axis": "macs", "strength": 1.0, "criterion": "l1"}
        return only(measured(sample(block, chance=0.1)), **where)

    alone = [at_2([r for r in rows if r["seed"] == seed]).value for seed in range(1, 6)]
    expected = stats.ttest_1samp(alone, 0).confidence_interval()
    found = at_2(rows)
    assert found.value == pytest.approx(np.mean(alone))
    assert found.low == pytest.approx(expected.low, abs=0.1 * (expected.high - expected.low))


def test_differences_of_measures_are_paired():
    rng = np.random.default_rng(2)
    rows = linear_rows(rng, {"vgg": 0.0}, noise=0.1, effect={"l2": 0.06}, methods=("l1", "l2"))
    (block,) = blocks(tables(rows))
    found = measure_differences(sample(block, chance=0.1))
    one = only(found, measure="prunable_0.02")
    # base networks vary by .1, but pairs share them: the difference is sharp
    assert one.mean == pytest.approx(-0.06, abs=0.01) and one.error < 0.01
    assert one.verdict == "lower" and one.p_holm == one.p
    by_strength = measure_differences(sample(block, chance=0.1), by_strength=True)
    own = [d.mean for d in by_strength if d.measure == "prunable_0.02"]
    assert len(own) == 5 and np.mean(own) == pytest.approx(one.mean)
    apart = [d for d in found if d.measure == "prunable_0.02"]
    assert methods_claim(apart, 0.01, "prunable ratio").verdict == NOT_SUPPORTED
    close = [d for d in found if d.measure == "hypervolume" and d.axis == "macs"]
    claim = methods_claim(close, LITTLE_PRUNABLE, "hypervolume")
    assert claim.verdict == SUPPORTED and "points of hypervolume" in claim.statement


def test_bd_rates_of_a_block_are_those_of_its_mean_curves(block):
    found = bd_rates(block)
    assert {d.reference for d in found} == {"random"} and len(found) == 3 * 4 * 2
    one = only(found, criterion="l1", strength=1.2, axis="macs")
    k, i, base = block.strengths.index(1.2), block.criteria.index("l1"), 3
    macs, accuracy = (block.values[f].mean(axis=2) for f in ("macs", "accuracy"))
    expected = bd_rate(macs[i, k], accuracy[i, k], macs[base, k], accuracy[base, k])
    assert one.value == expected.value < 0  # cheaper than random at equal accuracy
    assert one.low < one.value < one.high
    json.dumps([asdict(row) for row in found], allow_nan=False)
    assert bd_rates(block, reference="none") == ()


def test_a_bd_rate_that_cannot_be_had_is_listed_with_its_reason(rows):
    flat = [r | {"accuracy": 0.95} if r.get("criterion") == "l1" else r for r in rows]
    block = next(b for b in blocks(tables(flat)) if b.scope == "uniform")
    own = [row for row in bd_rates(block) if row.criterion == "l1"]
    assert {row.missing for row in own} == {"its front has 1 network of the 2 a curve needs"}
    assert all(row.value is row.low is row.low_accuracy is None for row in own)
    one = [r for r in rows if r["seed"] == 1]
    alone = bd_rates(next(b for b in blocks(tables(one)) if b.scope == "uniform"))
    assert {row.missing for row in alone} == {"no interval: one seed"}


def test_ranks_are_groups_of_ties(rows):
    found = method_differences(tables(rows))
    ranked = ranking([d for d in found if d.scope == "uniform"])
    assert [set(group) for group in ranked.groups] == [{"l1", "l2"}, {"gm"}, {"random"}]
    assert " tied; then gm; then random (3 seeds; differences from " in ranked.words(100, "points")
    assert ranked.advantage["random"] == pytest.approx(-0.15 + 0.01 / 3, abs=0.003)
    assert ranked.resolvable > 0 and ranked.refused is None


def test_a_tie_with_a_third_keeps_two_in_a_group(rows):
    some = method_differences(tables(rows))[0]
    pairs = [("a", "b", 0.01, 0.5), ("b", "c", 0.01, 0.5), ("a", "c", 0.02, 0.001)]
    ranked = ranking(
        [
            replace(some, criterion=one, reference=other, mean=mean, p=p)
            for one, other, mean, p in pairs
        ]
    )
    assert ranked.groups == (("a", "b", "c"),) and ranked.apart == (("a", "c"),)


def test_ranking_is_refused_in_words(rows):
    few = method_differences(tables(simulate(networks=["vgg"], seeds=(1, 2))))
    assert "2 of the 3 seeds needed" in ranking([d for d in few if d.scope == "global"]).words()
    found = [d for d in method_differences(tables(rows)) if d.scope == "global"]
    assert (
        "gm and l2 have no paired difference"
        in ranking([d for d in found if {d.criterion, d.reference} != {"gm", "l2"}]).words()
    )
    assert "no two methods" in ranking([]).words()


def test_the_controls_take_part_in_a_ranking():
    rng = np.random.default_rng(0)
    cells = tables(linear_rows(rng, {"vgg": 0.0}, noise=0.0, scratch=0.1, penalty={"random": 0.02}))
    ranked = ranking([*method_differences(cells), *scratch_differences(cells)])
    assert ranked.groups[1:] == (("random",), ("from scratch",))


def test_a_whole_study_with_both_controls_is_like_for_like():
    rng = np.random.default_rng(0)
    rows = linear_rows(rng, {"vgg": 0.0}, scratch=0.03)
    found = fairness(rows, recipe())
    assert (found.level, found.differs, found.missing) == (FULL, (), ())
    said = " ".join(found.same)
    assert "the same 25 base networks" in said and "3 epochs, lr 0.01" in said
    assert "5 seeds" in said and "training from scratch" in said
    assert "at the same 4 ratios" in said
    budgets = fairness(rows, recipe() | {"pruning": {"fewer_macs": [2, 4, 8, 16]}})
    assert "at the same 4 budgets of MACs" in " ".join(budgets.same)


def test_what_is_unfair_is_said():
    rows = simulate(networks=["vgg"], seeds=(1, 2))
    found = fairness(rows)
    assert found.level == LIKE
    said = " ".join(found.differs)
    for words in ("fine-tuning are not known", "2 seeds", "without the control of training from"):
        assert words in said
    without = fairness([r for r in rows if r.get("criterion") != "random"])
    assert "without the control of random pruning" in without.differs
    lacking = fairness([r for r in rows if r["id"] != "vgg-0.8-2-l1-uniform-0.5"], recipe())
    assert lacking.level == PARTLY
    assert lacking.missing == (("vgg", 0.8, 2, 2, "l1", "uniform", 0.5),)
    assert "1 of 320 cuts are missing, of l1; 8 of 8 base networks" in " ".join(lacking.differs)
    apart = [r for r in rows if r.get("criterion") != ("l1" if r["seed"] == 1 else "gm")]
    assert fairness([r for r in apart if r.get("criterion") in (None, "l1", "gm")]).level == NONE
    assert fairness([]).level == NONE


def test_curves_and_blocks_read_any_iterable(rows):
    assert len(curves(tables(iter(rows)))) == 4 * 4 * 2


def test_the_benchmark_runs_every_step_of_a_comparison():
    script = Path(__file__).parents[1] / "benchmarks" / "comparison.py"
    ran = subprocess.run(
        [sys.executable, script, "--print", "3", "3"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("2,277 rows: 3 criteria, 3 seeds")
    assert ran.stdout.count("|\n") == 2 + 13 + 1
    assert float(ran.stdout.split("| all | ")[1].split()[0]) < 10
