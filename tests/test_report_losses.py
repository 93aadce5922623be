"""Does a verdict hang on the accepted loss; and slopes relative to the sparse network itself."""

import numpy as np
import pytest

from secateur.report.digest import digest, lines
from secateur.report.findings import EPSILONS, MAIN_EPSILON, find
from secateur.report.losses import RELATIVE, at_other_losses, by_method, hangs_on_loss, relative
from secateur.report.page import render
from secateur.study.claims import NOT_TESTED, SUPPORTED, UNDECIDED, ws_regression
from secateur.study.grid import blocks, tables
from secateur.study.regression import lines as fitted
from secateur.study.regression import lines_by_method
from simulated_rows import dead_share, linear_rows, recipe, simulate


@pytest.fixture(scope="module")
def steady():
    return find(recipe(), simulate())


def dropped(rows, points):
    """The rows with every network of a strength less accurate by `points` of that strength."""
    return [row | {"accuracy": row["accuracy"] - points(row["strength"])} for row in rows]


@pytest.fixture(scope="module")
def torn():
    """Sparser networks allow more pruning, but the sparsest lie three points below the dense."""
    rows = simulate(networks=["vgg"])
    for row in rows:
        for sparsity in row.get("skewness", ()):
            sparsity["ws"] = 10 * dead_share(row["strength"])  # monotone, so a slope can be seen
    return find(recipe(), dropped(rows, lambda strength: 0.03 if strength > 1 else 0.0))


def test_claims_that_depend_on_the_loss_are_judged_at_every_loss(steady):
    assert set(steady.claims_at) == set(EPSILONS)
    assert {claim.statement for claim in steady.claims_at[MAIN_EPSILON]} == {
        steady.claims[k].statement for k in (0, 2, 3)
    }
    assert all(claim in steady.claims for claim in steady.claims_at[MAIN_EPSILON])


def test_the_sentence_holds_the_slopes_of_the_table(steady):
    said = at_other_losses(steady, steady.claims[0])
    assert said.startswith("The verdict does not hang on the accepted loss of 2 points: at 1 point")
    for epsilon in (0.01, 0.05):
        for fit in steady.regressions[epsilon, "ws"]:
            assert f"{fit.family} {fit.slope:+.2f} ({fit.low:+.2f} to {fit.high:+.2f})" in said
    assert said.count("at 5 points") == 1 and "2 points it" not in said


def test_what_does_not_depend_on_the_loss_says_nothing_of_it(steady):
    assert at_other_losses(steady, steady.claims[1]) == ""
    idle = find(recipe(), simulate(networks=["vgg"], dead=lambda strength: 0.0))
    assert idle.claims[0].verdict == NOT_TESTED
    assert at_other_losses(idle, idle.claims[0]) == ""


def test_a_verdict_that_hangs_on_the_loss_is_told_so(torn):
    claim = torn.claims[0]
    assert claim.verdict == UNDECIDED
    assert torn.claims_at[0.05][0].verdict == SUPPORTED
    said = at_other_losses(torn, claim)
    assert said.startswith("The verdict hangs on the accepted loss")
    assert "with 2 of 4 strengths too inaccurate before any cut" in said
    assert "at 5 points supported" in said and said.count("with 2 of 4") == 1
    assert hangs_on_loss(torn, claim) and "The verdict hangs on" in render(torn)
    told = next(line for line in lines(torn) if line.startswith(claim.statement))
    assert "Another accepted loss of accuracy gives another verdict" in told
    assert digest(torn)["claims"][0]["at_other_losses"] == said


def slope(rows, reference, epsilon=0.02):
    (line,) = fitted(blocks(tables(rows)), epsilon, reference=reference)
    return ws_regression(line)


def test_relative_to_itself_what_sparsification_cost_does_not_count():
    rows = linear_rows(np.random.default_rng(0), {"vgg": 0.05}, noise=0.0)
    assert slope(rows, "own").slope == pytest.approx(0.05)
    costly = dropped(rows, lambda strength: 0.002 * strength)
    assert slope(costly, "own").slope == pytest.approx(0.05)
    # from the dense network: R (0.02 - drop) / 0.02, R = 0.4 + 0.05 ws
    expected = [(0.4 + 0.05 * k) * (1 - 0.1 * k) for k in range(5)]
    found = slope(costly, "dense")
    assert found.slope == pytest.approx(np.polyfit(range(5), expected, 1)[0])
    assert found.n_below == slope(costly, "own").n_below == 0


def test_a_broken_network_looks_best_by_itself_and_worst_by_the_dense_one():
    rows = linear_rows(np.random.default_rng(0), {"vgg": 0.0}, noise=0.0)
    broken = [row | {"accuracy": 0.1} if row["strength"] == 4 else row for row in rows]
    own, dense = slope(broken, "own"), slope(broken, "dense")
    assert own.slope > 0.05 and dense.slope < -0.05
    assert own.n_below == dense.n_below == 1


def test_the_secondary_analysis_has_a_warning_and_no_verdict(steady):
    table = relative(steady)
    assert "secondary" in table.caption and "Verdict" not in table.columns
    assert len(table.rows) == 3 * len(EPSILONS)
    page = render(steady)
    assert RELATIVE in page and "it looks best" in RELATIVE
    assert page.index(RELATIVE) < page.index("Relative to the sparse network itself (secondary)")
    told = digest(steady)["slopes_relative_to_own_accuracy"]
    assert [row["epsilon"] for row in told] == sorted(EPSILONS * 3)


def test_a_method_has_the_slope_of_its_own_rows(steady):
    rows = linear_rows(np.random.default_rng(0), {"vgg": 0.05}, noise=0.0)
    other = [row | {"accuracy": 0.1} if row.get("criterion") == "l2" else row for row in rows]
    found = lines_by_method(blocks(tables(other)), 0.02)
    slopes = {name: ws_regression(line).slope for (_, _, name), line in found.items()}
    assert slopes.pop("l2") == pytest.approx(0.0, abs=0.01)
    assert slopes == {"l1": pytest.approx(0.05)}
    table = by_method(steady)
    assert "secondary" in table.caption and "Verdict" not in table.columns
    told = digest(steady)["slopes_by_method"]
    assert len(told) == len(table.rows) == len({tuple(row[:3]) for row in table.rows})
