"""Cost of one method beside another's at equal accuracy: Bjontegaard's mean difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from secateur.study.measures import TOLERANCE, Floats


@dataclass(frozen=True)
class BdRate:
    """Mean relative difference of cost over the accuracies that both methods reach.

    `value` -0.2 says 20 % cheaper at equal accuracy: lower is better. `low_accuracy` and
    `high_accuracy` bound the overlap; `undefined` says in words why there is no value.
    """

    value: float | None
    low_accuracy: float | None
    high_accuracy: float | None
    undefined: str | None = None


def bd_rate(
    costs: ArrayLike,
    accuracies: ArrayLike,
    reference_costs: ArrayLike,
    reference_accuracies: ArrayLike,
) -> BdRate:
    """Mean difference of log cost at equal accuracy, as a share: exp(mean(log M - log M_ref)) - 1.

    Shapes (n,) and (m,). Each method counts by its front (no other of its networks is as cheap and
    as accurate); log cost is interpolated over accuracy by monotone cubics and integrated exactly
    over the overlap of both ranges. Without an overlap there is a reason and no number.

    >>> bd_rate([50, 100], [0.6, 0.8], [100, 200], [0.6, 0.8])
    BdRate(value=-0.5, low_accuracy=0.6, high_accuracy=0.8, undefined=None)

    Reference: Bjontegaard, VCEG-M33, 2001; PCHIP as in JCTVC practice (Fritsch and Carlson 1980).
    """
    return compare(cost_curve(costs, accuracies), cost_curve(reference_costs, reference_accuracies))


@dataclass(frozen=True)
class CostCurve:
    """Log cost over the accuracies of a front, from `low` to `high`; no spline below 2 networks."""

    low: float
    high: float
    log_cost: PchipInterpolator | None


def cost_curve(costs: ArrayLike, accuracies: ArrayLike) -> CostCurve:
    """Log cost of a method as a function of accuracy, by monotone cubics through its front."""
    cost, accuracy = front(costs, accuracies)
    spline = PchipInterpolator(accuracy, np.log(cost)) if len(cost) > 1 else None
    return CostCurve(float(accuracy[0]), float(accuracy[-1]), spline)


def compare(own: CostCurve, other: CostCurve) -> BdRate:
    """BD-rate of two curves; of many methods each curve is made once."""
    splines = [curve.log_cost for curve in (own, other) if curve.log_cost is not None]
    if len(splines) < 2:
        whose = "its" if own.log_cost is None else "the reference's"
        return _refused(f"{whose} front has 1 network of the 2 a curve needs")
    low, high = max(own.low, other.low), min(own.high, other.high)
    if high - low < TOLERANCE:
        ranges = " and ".join(f"{c.low:.3f} to {c.high:.3f}" for c in (own, other))
        return _refused(f"the accuracies do not overlap ({ranges})")
    mean = [float(spline.integrate(low, high)) / (high - low) for spline in splines]
    return BdRate(round(float(np.expm1(mean[0] - mean[1])), 12), low, high)


def _refused(reason: str) -> BdRate:
    return BdRate(None, None, None, reason)


def front(costs: ArrayLike, accuracies: ArrayLike) -> tuple[Floats, Floats]:
    """Costs and accuracies of the networks that no other beats at both, both ascending.

    >>> front([3, 1, 2], [0.9, 0.5, 0.4])
    (array([1., 3.]), array([0.5, 0.9]))
    """
    cost, accuracy = np.asarray(costs, dtype=float), np.asarray(accuracies, dtype=float)
    order = np.lexsort((-accuracy, cost))
    cost, accuracy = cost[order], accuracy[order]
    best = np.maximum.accumulate(np.append(-np.inf, accuracy[:-1]))
    kept = accuracy > best + TOLERANCE
    return cost[kept], accuracy[kept]
