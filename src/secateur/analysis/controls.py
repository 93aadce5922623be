"""Weights on which the outcome is known, to run beside real ones, and pictures of both as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

import numpy as np
from scipy import stats

from secateur.analysis.distribution import (
    COORDINATES,
    LayerDistribution,
    chosen_coordinates,
    chosen_kernels,
    correlations,
)
from secateur.analysis.weights import LayerWeights
from secateur.errors import CriterionError, unknown_name

Control = Literal["gaussian", "uniform", "shuffled"]
"""Fresh Gaussian weights (pass at .95), fresh uniform ones (normality fails), or the layer's own
weights shuffled over all its positions (variances become equal, tails stay)."""

_POINTS = 64


@dataclass(frozen=True)
class QQPlot:
    """Quantiles of a layer's standardised coordinates against a Gaussian's.

    For each normal score in `theoretical`, `observed` is the mean over coordinates of the filter
    of that rank, `low` and `high` hold nine coordinates in ten.
    """

    layer: str
    rate: float
    theoretical: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class CovarianceBlocks:
    """Correlations of a layer's coordinates, kernel after kernel, row by row.

    `kernel` coordinates of each of `n_channels` input channels; if the picture of Huang et al.
    holds, only the blocks on the diagonal differ from `independent`, the mean |r| of noise.
    """

    layer: str
    n_channels: int
    kernel: int
    correlation: tuple[tuple[float, ...], ...]
    independent: float


def control_weights(
    weights: Iterable[LayerWeights], control: Control, seed: int = 0
) -> tuple[LayerWeights, ...]:
    """Layers of the same names, shapes, kinds and scales, with weights of a known distribution.

    Raises:
        CriterionError: there is no such control.
    """
    if control not in get_args(Control):
        raise CriterionError(unknown_name("control", str(control), get_args(Control)))
    rng = np.random.default_rng(seed)
    return tuple(
        LayerWeights(one.layer, _draw(one.values, control, rng), one.kind) for one in weights
    )


def qq_plots(
    weights: Iterable[LayerWeights],
    rows: Iterable[LayerDistribution],
    coordinates: int = COORDINATES,
    seed: int = 0,
) -> tuple[QQPlot, ...]:
    """Q-Q plots of the layers with the lowest and the highest normality pass rate, in this order.

    Give `coordinates` and `seed` as to `distribution`. Empty where no layer was tested.
    """
    rates = {row.layer: row.normal.rate for row in rows if row.normal is not None}
    if not rates:
        return ()
    by_layer = {one.layer: one for one in weights}
    ends = dict.fromkeys((min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)))
    return tuple(_qq(by_layer[layer], rates[layer], coordinates, seed) for layer in ends)


def covariance_blocks(
    one: LayerWeights, coordinates: int = 54, seed: int = 0
) -> CovarianceBlocks | None:
    """Correlations of about `coordinates` coordinates in whole kernels; None below 3 filters."""
    n = len(one.values)
    if n < 3:
        return None
    positions = chosen_kernels(one, coordinates, seed)
    found = correlations(one.filters[:, positions.ravel()])
    rows = tuple(tuple(round(float(r), 4) for r in row) for row in found)
    return CovarianceBlocks(
        one.layer, len(positions), positions.shape[1], rows, sqrt(2 / np.pi) / sqrt(n - 1)
    )


def _draw(values: np.ndarray, control: Control, rng: np.random.Generator) -> np.ndarray:
    if control == "shuffled":
        return rng.permutation(values.ravel()).reshape(values.shape)
    scale = float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) or 1.0
    if control == "gaussian":
        return rng.normal(0, scale, values.shape)
    return rng.uniform(-sqrt(3) * scale, sqrt(3) * scale, values.shape)


def _qq(one: LayerWeights, rate: float, coordinates: int, seed: int) -> QQPlot:
    samples = one.filters[:, chosen_coordinates(one, coordinates, seed)]
    samples = samples[:, np.ptp(samples, axis=0) > 0]
    n = len(samples)
    ordered = np.sort((samples - samples.mean(axis=0)) / samples.std(axis=0, ddof=1), axis=0)
    shown = np.unique(np.linspace(0, n - 1, min(n, _POINTS)).round().astype(int))
    low, high = np.percentile(ordered[shown], [5, 95], axis=1)
    theoretical = stats.norm.ppf((shown + 1 - 0.375) / (n + 0.25))
    numbers = (theoretical, ordered[shown].mean(axis=1), low, high)
    return QQPlot(one.layer, rate, *(tuple(map(float, values)) for values in numbers))
