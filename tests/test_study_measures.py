"""Formulas of accuracy against complexity: on paper, against naive loops, and as invariances."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from secateur.study import measures
from secateur.study.bd_rate import bd_rate, front
from secateur.study.measures import (
    area,
    at_compression,
    f_beta,
    first_crossing,
    hypervolume,
    kneedle,
    netscore,
)


@pytest.fixture
def curves():
    """Falling accuracies of 40 random curves, compressions and savings at six levels."""
    rng = np.random.default_rng(0)
    accuracy = 0.9 - np.cumsum(rng.normal(0.05, 0.05, (40, 6)), axis=1)
    left = np.cumprod(np.r_[1.0, rng.uniform(0.4, 0.9, 5)])
    return accuracy, 1 / left, 1 - left


@pytest.mark.parametrize(
    "measure",
    [
        lambda a, c, s: first_crossing(s, a, 0.8),
        lambda a, c, s: kneedle(s, a, 0.2),
        lambda a, c, s: area(c, a, 2),
        lambda a, c, s: at_compression(c, a, 2),
        lambda a, c, s: hypervolume(s, a),
        lambda a, c, s: f_beta(a / 0.9, s, 2.0).max(axis=-1),
    ],
)
def test_many_curves_at_once_are_the_single_ones(measure, curves):
    accuracy, compression, saving = curves
    whole = measure(accuracy, compression, saving)
    single = [measure(a, compression, saving) for a in accuracy]
    np.testing.assert_array_equal(whole, single)
    np.testing.assert_array_equal(
        measure(accuracy.reshape(4, 10, 6), compression, saving), whole.reshape(4, 10)
    )


def test_area_and_budget_are_those_of_a_fine_grid(curves):
    accuracy, compression, _ = curves
    grid = np.linspace(0, np.log2(3), 20_001)
    for a in accuracy:
        line = np.interp(grid, np.log2(compression), a)
        assert area(compression, a, 3) == pytest.approx(line.mean(), abs=1e-5)
        assert at_compression(compression, a, 3) == pytest.approx(line[-1])


def test_levels_may_come_in_any_order(curves):
    accuracy, compression, saving = curves
    order = np.random.default_rng(1).permutation(6)
    for measure, x in ((at_compression, compression), (area, compression)):
        mixed = measure(x[order], accuracy[:, order], 2)
        np.testing.assert_allclose(mixed, measure(x, accuracy, 2), rtol=1e-12)
    np.testing.assert_allclose(
        hypervolume(saving[order], accuracy[:, order]), hypervolume(saving, accuracy)
    )


def test_hypervolume_is_the_share_of_points_below_the_front(curves):
    accuracy, _, saving = curves
    x, y = np.random.default_rng(2).uniform(size=(2, 200_000))
    for a in accuracy[:5]:
        below = ((x[:, None] < saving) & (y[:, None] < a)).any(axis=1)
        assert hypervolume(saving, a) == pytest.approx(below.mean(), abs=0.005)
    worse = np.minimum(accuracy, accuracy[:, ::-1])
    assert (hypervolume(saving, worse) <= hypervolume(saving, accuracy) + 1e-12).all()


def test_beyond_what_was_measured_nothing_is_known():
    assert np.isnan(at_compression([1, 2], [0.9, 0.8], 4))
    assert np.isnan(area([1, 2], [0.9, 0.8], 4))
    assert at_compression([1, 2], [0.9, 0.8], 2) == pytest.approx(0.8)


def test_f_beta_is_a_harmonic_mean_that_leans_as_asked():
    q, s = 0.9, 0.5
    assert f_beta(q, s) == pytest.approx(2 / (1 / q + 1 / s))
    assert f_beta(q, s, 1e6) == pytest.approx(q) and f_beta(q, s, 1e-6) == pytest.approx(s)
    assert f_beta(0.0, 0.0) == f_beta(0.5, -0.1) == 0.0


def test_netscore_on_paper():
    assert netscore(1.0, 1e6, 1e6) == pytest.approx(80.0)
    assert netscore(1.0, 1e8, 1e6) == pytest.approx(60.0)  # a tenth of a hundred times: sqrt
    assert np.isnan(netscore(0.0, 1e6, 1e6))


def test_bd_rate_on_paper_and_by_a_fine_sum():
    costs, accuracies = [10, 20, 40, 80], [0.5, 0.6, 0.7, 0.75]
    assert bd_rate(costs, accuracies, costs, accuracies).value == 0
    thrice = bd_rate(np.multiply(costs, 3), accuracies, costs, accuracies)
    assert thrice.value == pytest.approx(2.0)
    assert (thrice.low_accuracy, thrice.high_accuracy) == (0.5, 0.75)
    other = [0.55, 0.58, 0.72, 0.8]
    grid = np.linspace(0.55, 0.75, 100_001)
    gap = PchipInterpolator(accuracies, np.log(costs))(grid)
    gap -= PchipInterpolator(other, np.log(costs))(grid)
    found = bd_rate(costs, accuracies, costs, other)
    assert found.value == pytest.approx(np.expm1(gap.mean()), abs=1e-5)
    back = bd_rate(costs, other, costs, accuracies)
    assert (1 + found.value) * (1 + back.value) == pytest.approx(1)


def test_bd_rate_refuses_in_words():
    high = bd_rate([1, 2], [0.8, 0.9], [1, 2], [0.3, 0.4])
    assert high.value is None
    assert high.undefined == ("the accuracies do not overlap (0.800 to 0.900 and 0.300 to 0.400)")
    falls = bd_rate([1, 2, 3], [0.9, 0.8, 0.7], [1, 2], [0.3, 0.4])
    assert falls.undefined == "its front has 1 network of the 2 a curve needs"
    assert "the reference's" in bd_rate([1, 2], [0.3, 0.4], [1], [0.5]).undefined


def test_the_front_leaves_out_what_another_beats():
    cost, accuracy = front([4, 1, 2, 3, 3], [0.9, 0.5, 0.4, 0.8, 0.7])
    assert cost.tolist() == [1, 3, 4] and accuracy.tolist() == [0.5, 0.8, 0.9]


def test_every_measure_says_its_formula_direction_and_source():
    for function in (first_crossing, kneedle, area, at_compression, f_beta, hypervolume, netscore):
        assert "Reference:" in function.__doc__ and ">>>" in function.__doc__
        assert "better" in function.__doc__
    assert measures.__doc__
