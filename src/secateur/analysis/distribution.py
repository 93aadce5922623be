"""Is the Gaussian picture true of this network's weights? Tests, effect sizes, and their limits.

Huang et al. assume that in a well-trained layer filters are drawn independently from one Gaussian
of mean 0, with nearly equal variances, correlated only inside one input channel's kernel. The
protocol here is ours, and follows from what such filters license: the sample is one weight
coordinate across the layer's filters. A layer's weights are never pooled into one test, which
rejects everything.

* Up to 200 coordinates a layer, chosen by a seed, are each tested for normality (Shapiro-Wilk or
  Lilliefors) and for mean 0 (t). The pass rate stands beside its nominal .95 with Wilson's
  interval, which takes the coordinates as independent, and beside corrected rejections.
* Equal variances over coordinates: Brown-Forsythe, and Bartlett, one test a layer each.
* Effect sizes, which do not grow with the number of filters as rejections do.

A layer with fewer than 8 filters is too small. Depthwise and 1x1 layers and linear ones are
special: their filters are not several kernels. Controls are in `controls.py`.

Reference: Huang et al., arXiv 2004.11627 (the assumption).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import pi, sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from secateur.analysis.normality import (
    LEAST_SAMPLES,
    bartlett,
    brown_forsythe,
    lilliefors,
    mean_zero,
    shapiro_wilk,
)
from secateur.analysis.tables import Floats
from secateur.analysis.verdicts import PassRate, holm, pass_rate
from secateur.analysis.weights import Kind, LayerWeights
from secateur.errors import CriterionError, unknown_name

NormalityTest = Literal["shapiro", "lilliefors"]

COORDINATES = 200
"""Coordinates of a layer that are tested, at most."""

ALPHA = 0.05

GOOD_FROM = 0.8
"""Pass rate from which a picture that is rejected is still called a good approximation (ours)."""

SPECIAL = {
    "depthwise": "depthwise: a filter is one kernel, there are no other input channels",
    "pointwise": "1x1: a kernel is one number, there is nothing inside it",
    "linear": "linear: there are no kernels",
}


@dataclass(frozen=True)
class LayerDistribution:
    """How Gaussian one layer's coordinates are, across its filters.

    `normal` and `zero_mean` are pass rates over `n_coordinates`; `n_constant` coordinates had no
    spread and were left out. `equal_variances` is Brown-Forsythe's verdict. Effect sizes:
    `excess_kurtosis` (mean over coordinates, unbiased, 0 if Gaussian), `mean_over_sd` (mean of
    |mean| / sd; `mean_over_sd_iid` if the mean is 0), `sd_variation` (coefficient of variation of
    coordinates' sd; `sd_variation_iid` if all are equal), mean absolute correlation of two
    coordinates in one kernel (`corr_inside`) and in kernels of different input channels
    (`corr_across`), `corr_independent` if there is none. A number that nothing defines is None;
    where the whole row is empty, `undefined` says why. `special` says what limits it.
    """

    layer: str
    kind: Kind
    n: int
    d: int
    test: NormalityTest
    n_coordinates: int
    n_constant: int
    verdict: str
    special: str | None
    undefined: str | None
    normal: PassRate | None = None
    zero_mean: PassRate | None = None
    brown_forsythe_p: float | None = None
    bartlett_p: float | None = None
    equal_variances: bool | None = None
    excess_kurtosis: float | None = None
    mean_over_sd: float | None = None
    mean_over_sd_iid: float | None = None
    sd_variation: float | None = None
    sd_variation_iid: float | None = None
    corr_inside: float | None = None
    corr_across: float | None = None
    corr_independent: float | None = None


@dataclass(frozen=True)
class DistributionSummary:
    """The Gaussian picture over a network's layers that could be tested.

    Rates and effect sizes are means over layers; `normal_lowest` is the pass rate of the layer
    `normal_lowest_layer`. `equal_variance_share` is the share of layers that pass Brown-Forsythe,
    and `n_unequal_holm` how many fail after Holm's correction over layers. `too_small` and
    `special` name layers; special ones are counted in.
    """

    n_layers: int
    too_small: tuple[str, ...]
    special: tuple[str, ...]
    normal: float | None
    normal_lowest: float | None
    normal_lowest_layer: str | None
    zero_mean: float | None
    equal_variance_share: float | None
    n_unequal_holm: int
    excess_kurtosis: float | None
    corr_inside: float | None
    corr_across: float | None
    corr_independent: float | None
    verdict: str


def distribution(
    weights: Iterable[LayerWeights],
    *,
    test: NormalityTest = "shapiro",
    coordinates: int = COORDINATES,
    alpha: float = ALPHA,
    seed: int = 0,
) -> tuple[LayerDistribution, ...]:
    """Test every layer's coordinates, as the head of this module says.

    Raises:
        CriterionError: the test is not known or there are no coordinates to choose.
    """
    if test not in get_args(NormalityTest):
        raise CriterionError(unknown_name("normality test", str(test), get_args(NormalityTest)))
    if coordinates < 2:
        raise CriterionError(f"coordinates is {coordinates}; test at least 2 of a layer")
    return tuple(_layer(one, test, coordinates, alpha, seed) for one in weights)


def distribution_summary(
    rows: Iterable[LayerDistribution], alpha: float = ALPHA
) -> DistributionSummary:
    """Means over the layers that could be tested, and one verdict in words."""
    rows = list(rows)
    tested = [row for row in rows if row.normal is not None]
    p_values = np.array([r.brown_forsythe_p for r in tested if r.brown_forsythe_p is not None])
    rates = [(row.normal.rate, row.layer) for row in tested if row.normal is not None]
    lowest, lowest_layer = min(rates, default=(None, None))
    normal = _mean(rate for rate, _ in rates)
    equal = float((p_values >= alpha).mean()) if len(p_values) else None
    zero_mean = _mean(row.zero_mean.rate for row in tested if row.zero_mean is not None)
    return DistributionSummary(
        n_layers=len(tested),
        too_small=tuple(row.layer for row in rows if row.n < LEAST_SAMPLES),
        special=tuple(row.layer for row in tested if row.special),
        normal=normal,
        normal_lowest=lowest,
        normal_lowest_layer=lowest_layer,
        zero_mean=zero_mean,
        equal_variance_share=equal,
        n_unequal_holm=int(holm(p_values, alpha).sum()),
        excess_kurtosis=_mean(row.excess_kurtosis for row in tested),
        corr_inside=_mean(row.corr_inside for row in tested),
        corr_across=_mean(row.corr_across for row in tested),
        corr_independent=_mean(row.corr_independent for row in tested),
        verdict=_network_verdict(normal, zero_mean, equal, 1 - alpha),
    )


def chosen_coordinates(one: LayerWeights, coordinates: int, seed: int) -> NDArray[np.intp]:
    """Positions in a flattened filter that are tested, ascending; all where there are few."""
    d = one.values[0].size
    if d <= coordinates:
        return np.arange(d)
    return np.sort(np.random.default_rng(seed).choice(d, coordinates, replace=False))


def chosen_kernels(one: LayerWeights, coordinates: int, seed: int) -> NDArray[np.intp]:
    """Positions (n_channels, n_inside) of about `coordinates` in whole kernels, seeded.

    Of large kernels a part is taken, so that two input channels can be compared.
    """
    n_inputs, size = one.values.shape[1], one.kernel_size
    rng = np.random.default_rng(seed)
    n_channels = min(n_inputs, max(2, coordinates // size))
    n_inside = min(size, coordinates // n_channels)
    channels = np.sort(rng.choice(n_inputs, n_channels, replace=False))
    inside = np.sort(rng.choice(size, n_inside, replace=False))
    return np.asarray(channels[:, None] * size + inside)


def correlations(samples: Floats) -> Floats:
    """Correlation of columns, (n, k) -> (k, k); 0 where a column is constant."""
    centred = samples - samples.mean(axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    scaled = centred / np.where(norms > 0, norms, 1.0)
    return np.asarray(scaled.T @ scaled)


def _layer(
    one: LayerWeights, test: NormalityTest, coordinates: int, alpha: float, seed: int
) -> LayerDistribution:
    filters = one.filters
    n, d = filters.shape
    chosen = filters[:, chosen_coordinates(one, coordinates, seed)]
    alive = np.ptp(chosen, axis=0) > 0
    samples = chosen[:, alive]
    n_constant = int((~alive).sum())
    special = SPECIAL.get(one.kind)
    if n < LEAST_SAMPLES or not alive.any():
        why = (
            f"too small: {n} filters, tests need {LEAST_SAMPLES}"
            if n < LEAST_SAMPLES
            else "undefined because every coordinate is the same in all filters"
        )
        return LayerDistribution(
            one.layer, one.kind, n, d, test, 0, n_constant, why, special, undefined=why
        )
    p_normal = (shapiro_wilk if test == "shapiro" else lilliefors)(samples)[1]
    normal, zero = pass_rate(p_normal, alpha), pass_rate(mean_zero(samples), alpha)
    several = samples.shape[1] > 1
    equal_p = brown_forsythe(samples) if several else None
    equal = None if equal_p is None else equal_p >= alpha
    sd = samples.std(axis=0, ddof=1)
    inside, across = _mean_correlations(one, filters, coordinates, seed)
    return LayerDistribution(
        layer=one.layer,
        kind=one.kind,
        n=n,
        d=d,
        test=test,
        n_coordinates=samples.shape[1],
        n_constant=n_constant,
        normal=normal,
        zero_mean=zero,
        brown_forsythe_p=equal_p,
        bartlett_p=bartlett(samples) if several else None,
        equal_variances=equal,
        excess_kurtosis=float(_kurtosis(samples).mean()),
        mean_over_sd=float((np.abs(samples.mean(axis=0)) / sd).mean()),
        mean_over_sd_iid=sqrt(2 / (pi * n)),
        sd_variation=float(sd.std(ddof=1) / sd.mean()) if several else None,
        sd_variation_iid=1 / sqrt(2 * (n - 1)),
        corr_inside=inside,
        corr_across=across,
        corr_independent=sqrt(2 / pi) / sqrt(n - 1),
        verdict=_layer_verdict(normal, zero, equal),
        special=special,
        undefined=None,
    )


def _kurtosis(samples: Floats) -> Floats:
    """Unbiased excess kurtosis G2 of every column."""
    n = len(samples)
    centred = samples - samples.mean(axis=0)
    g2 = (centred**4).mean(axis=0) / (centred**2).mean(axis=0) ** 2 - 3
    return np.asarray((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * g2 + 6))


def _mean_correlations(
    one: LayerWeights, filters: Floats, coordinates: int, seed: int
) -> tuple[float | None, float | None]:
    """Mean |correlation| inside kernels and between kernels of different input channels."""
    positions = chosen_kernels(one, coordinates, seed)
    found = np.abs(correlations(filters[:, positions.ravel()]))
    constant = np.ptp(filters[:, positions.ravel()], axis=0) == 0
    channel = np.repeat(np.arange(len(positions)), positions.shape[1])
    pairs = np.triu(~(constant[:, None] | constant), k=1)
    same = channel[:, None] == channel
    means = [
        float(found[pairs & where].mean()) if (pairs & where).any() else None
        for where in (same, ~same)
    ]
    return means[0], means[1]


def _layer_verdict(
    normal: PassRate | None, zero: PassRate | None, equal_variances: bool | None
) -> str:
    if normal is None or zero is None:
        return "not tested"
    words = [_words("normal", normal.rate, normal.as_nominal), *_departures(normal)]
    words += [_words("mean 0", zero.rate, zero.as_nominal), *_departures(zero)]
    if equal_variances is not None:
        words.append("variances equal" if equal_variances else "variances differ")
    return "; ".join(words)


def _words(what: str, rate: float, as_nominal: bool) -> str:
    if as_nominal:
        return f"{what}: passes, {rate:.2f}"
    good = "a good approximation, not passed" if rate >= GOOD_FROM else "fails"
    return f"{what}: {good}, {rate:.2f}"


def _departures(rate: PassRate) -> list[str]:
    if not rate.holm:
        return []
    return [f"{rate.holm} coordinates depart for certain (Holm), {rate.bh} by BH"]


def _network_verdict(
    normal: float | None, zero: float | None, equal: float | None, nominal: float
) -> str:
    if normal is None or zero is None:
        return "no layer could be tested"
    words = [
        _words(what, rate, rate >= nominal - 0.01)
        for what, rate in (("normal", normal), ("mean 0", zero))
    ]
    if equal is not None:
        words.append(f"equal variances in {equal:.0%} of layers")
    return "; ".join(words)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
