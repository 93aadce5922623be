"""What explains how well l1 and l2 (or any two criteria) agree, layer by layer.

Two properties of a layer do most of it: how far its filters differ in scale, which raises the
agreement, and how heavy the tails of its weights are, which lowers it. For l1 and l2 both enter a
first-order formula; with M_k the mean of |w|^k within filters and τ the spread of log scales,

    r(l1, l2) = (τ² + (M_3 / (M_1 M_2) - 1) / 2d)
                / sqrt((τ² + (M_2 / M_1² - 1) / d) (τ² + (M_4 / M_2² - 1) / 4d))

which for Gaussian weights is the closed form of `gaussian.py`. Derived here, for weights that are
independent within a filter and have one distribution in all. Where measured rho is far below it,
filters differ in shape: some are peaked and others flat (`shapes`), so l1 over l2 differs; or
weights within a filter go together, as in small smooth kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

import numpy as np

from secateur.analysis.gaussian import rho_of_correlation
from secateur.analysis.ranks import spearman
from secateur.analysis.similarity import RankCorrelation
from secateur.analysis.weights import LayerShape, LayerWeights

Measured = tuple[float, float, float, float | None]
"""rho, spread, tails and shapes of one layer."""

LEAST_LAYERS = 5
"""Layers a correlation over layers needs."""


@dataclass(frozen=True)
class Explanation:
    """How one pair's rho goes with the spread of filter norms and with tails, over layers.

    `with_spread`, `with_tails` and `with_shapes` are rank correlations over `n_layers` layers, and
    `..._alone` the same with the other of the first two held fixed (partial rank correlations).
    Where `undefined` holds a reason, the numbers it concerns are None.
    """

    first: str
    second: str
    n_layers: int
    with_spread: float | None
    with_tails: float | None
    spread_alone: float | None
    tails_alone: float | None
    undefined: str | None
    with_shapes: float | None = None


@dataclass(frozen=True)
class Prediction:
    """rho(l1, l2) of a layer as its spread of norms and its tails predict it, to first order."""

    layer: str
    n: int
    rho: float | None
    undefined: str | None


def explain(
    rows: Iterable[RankCorrelation], shapes: Iterable[LayerShape]
) -> tuple[Explanation, ...]:
    """Rank correlation over layers of every pair's rho with spread and tails of the layers.

    >>> shapes = [LayerShape(f"l{k}", "ordinary", 8, 9, 1.0, 1.0 + k, -k, None) for k in range(5)]
    >>> rhos = [RankCorrelation("l1", "l2", f"l{k}", 8, 0.1 * k, None) for k in range(5)]
    >>> (row,) = explain(rhos, shapes)
    >>> round(row.with_spread, 9), round(row.with_tails, 9)
    (1.0, -1.0)
    """
    by_layer = {shape.layer: shape for shape in shapes}
    pairs: dict[tuple[str, str], list[Measured]] = {}
    for row in rows:
        found = pairs.setdefault((row.first, row.second), [])
        shape = by_layer.get(row.layer)
        if (
            row.rho is not None
            and shape is not None
            and shape.spread is not None
            and shape.tails is not None
        ):
            found.append((row.rho, shape.spread, shape.tails, shape.shapes))
    return tuple(_explanation(*pair, found) for pair, found in pairs.items())


def predicted_rho(weights: Iterable[LayerWeights]) -> tuple[Prediction, ...]:
    """rho(l1, l2) of every layer by the formula of this module, for its number of filters.

    >>> flat = np.random.default_rng(0).normal(size=(64, 32, 3, 3))
    >>> (row,) = predicted_rho([LayerWeights("conv", flat)])
    >>> round(row.rho, 1)
    0.9
    """
    return tuple(_prediction(one) for one in weights)


def _explanation(first: str, second: str, found: list[Measured]) -> Explanation:
    if len(found) < LEAST_LAYERS:
        few = f"undefined because {len(found)} layers are comparable and this needs {LEAST_LAYERS}"
        return Explanation(first, second, len(found), None, None, None, None, few)
    r = spearman(np.array([row[:3] for row in found]).T)
    shapes = np.array([(row[0], row[3]) for row in found if row[3] is not None])
    enough = len(shapes) >= LEAST_LAYERS
    spread, tails, between = (_number(r[i, j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    why = None
    if spread is None or tails is None:
        why = "undefined because a property, or rho, is the same in every layer"
    return Explanation(
        first=first,
        second=second,
        n_layers=len(found),
        with_spread=spread,
        with_tails=tails,
        spread_alone=_partial(spread, tails, between),
        tails_alone=_partial(tails, spread, between),
        undefined=why,
        with_shapes=_number(spearman(shapes.T)[0, 1]) if enough else None,
    )


def _partial(own: float | None, other: float | None, between: float | None) -> float | None:
    if own is None or other is None or between is None:
        return None
    left = (1 - other**2) * (1 - between**2)
    return (own - other * between) / sqrt(left) if left > 1e-12 else None


def _prediction(one: LayerWeights) -> Prediction:
    filters = one.filters
    n, d = filters.shape
    norms = np.sqrt((filters**2).mean(axis=1))
    if n < 3 or not norms.any() or d < 2:
        why = f"undefined for {n} filters of {d} numbers" if norms.any() else "undefined: all zero"
        return Prediction(one.layer, n, None, why)
    own = np.abs(filters[norms > 0] / norms[norms > 0, None])
    m1, m2, m3, m4 = ((own**k).mean() for k in (1, 2, 3, 4))
    of_l1, of_l2 = (m2 / m1**2 - 1) / d, (m4 / m2**2 - 1) / (4 * d)
    shared = (m3 / (m1 * m2) - 1) / (2 * d)
    tau = max(0.0, float(norms.var(ddof=1) / norms.mean() ** 2 - of_l2))
    total = (tau + of_l1) * (tau + of_l2)
    if total <= 0:
        return Prediction(one.layer, n, None, "undefined because all weights are equal")
    r = min(1.0, (tau + shared) / sqrt(total))
    return Prediction(one.layer, n, rho_of_correlation(r, n), None)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
