"""Every measure of every cell with its interval, and methods paired on every measure.

A block holds the seeds in which all its cells are whole, so all methods are measured on the same
repetitions, and one set of bootstrap weights serves them all: the error of a difference is that of
paired resamples. A measure that cannot be had has its reason in words instead of a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from secateur.study import measures
from secateur.study.grid import COSTS, Block
from secateur.study.measures import Floats
from secateur.study.regression import ratios_of
from secateur.study.resampling import (
    MIN_SEEDS,
    bootstrap_error,
    draws,
    half_width,
    holm,
    p_value,
    verdict,
)

BUDGETS = (2, 4, 8)
"""Times fewer MACs, or parameters, of the budget table."""

AREA_UPTO = 4
"""Times fewer MACs, or parameters, up to which accuracy is averaged."""


class Name(NamedTuple):
    """A measure and the complexity it is taken over: `macs`, `params`, or none of them alone."""

    measure: str
    axis: str | None = None


@dataclass(frozen=True)
class Measured:
    """One measure of one cell; `missing` says why there is no value, or no interval.

    All are better when higher. Units: `study.measures`. Intervals of shares end at 0 and at 1,
    those of prunable ratios and knees at the largest ratio measured.
    """

    network: str
    strength: float
    criterion: str
    scope: str
    measure: str
    axis: str | None
    value: float | None
    low: float | None
    high: float | None
    n_seeds: int
    missing: str | None = None


@dataclass(frozen=True)
class MeasureDifference:
    """A measure of `criterion` minus that of `reference`, on the same seeds.

    `strength` is None where the strengths are averaged. The rest is as in `MethodDifference`; the
    family that `p_holm` corrects for is all pairs of one network, scope, strength and measure.
    """

    criterion: str
    reference: str
    network: str
    scope: str
    strength: float | None
    measure: str
    axis: str | None
    mean: float
    low: float | None
    high: float | None
    error: float | None
    p: float | None
    p_holm: float | None
    n_seeds: int
    verdict: str
    ratio: None = None


@dataclass(frozen=True)
class Sample:
    """All measures of a block, the estimate first and then its resamples.

    `values` maps a name to shape (criteria, strengths, 1 + resamples), NaN where undefined;
    `largest` maps an axis to the largest compression measured, (criteria, strengths).
    """

    block: Block
    values: Mapping[Name, Floats]
    largest: Mapping[str, Floats]
    chance: float | None


def sample(
    block: Block,
    chance: float | None,
    epsilons: Iterable[float] = (0.01, 0.02),
    beta: float = 1.0,
    seed: int = 0,
) -> Sample:
    """Take every measure of `block` and of its bootstrap resamples over seeds.

    `chance` is the accuracy of guessing, one over the number of classes; without it, and where the
    dense network does no better, `f_beta` is not defined. `beta` above 1 weighs accuracy above
    saving in it.
    """
    weights = draws(max(len(block.seeds), 1), seed=seed)
    if not block.seeds:
        return Sample(block, {}, {}, chance)
    accuracy = weights @ block.values["accuracy"]
    a0 = (weights @ block.dense["accuracy"])[:, None]
    found = {Name(f"prunable_{e:g}"): ratios_of(block, e, weights) for e in epsilons}
    levels = block.values["ratio_reached"].mean(axis=2)[:, :, None]
    found[Name("knee")] = measures.kneedle(levels, accuracy)
    cost = {axis: weights @ block.values[axis] for axis in COSTS}
    above = a0 - (np.nan if chance is None else chance)
    usable = above > measures.TOLERANCE
    quality = np.where(usable, (accuracy - a0) / np.where(usable, above, 1) + 1, np.nan)
    largest = {}
    for axis in COSTS:
        left = cost[axis] / (weights @ block.dense[axis])[:, None]
        found[Name("area", axis)] = measures.area(1 / left, accuracy, AREA_UPTO) / a0[:, 0]
        found[Name("f_beta", axis)] = measures.f_beta(quality, 1 - left, beta).max(axis=-1)
        found[Name("hypervolume", axis)] = measures.hypervolume(1 - left, accuracy)
        for times in BUDGETS:
            value = measures.at_compression(1 / left, accuracy, times)
            found[Name(f"at_{times}", axis)] = value
        largest[axis] = 1 / left[:, :, 0].min(axis=-1)
    netscore = measures.netscore(accuracy, cost["params"], cost["macs"])
    best = np.where(np.isfinite(netscore), netscore, -np.inf).max(axis=-1)
    found[Name("netscore")] = np.where(np.isfinite(best), best, np.nan)
    return Sample(block, found, largest, chance)


def measured(sampled: Sample) -> tuple[Measured, ...]:
    """Every measure of every cell of a block, with its interval over seeds."""
    block, n = sampled.block, len(sampled.block.seeds)
    rows = []
    for name, values in sampled.values.items():
        margin = half_width(bootstrap_error(values, n), n)
        least, most = _range(block, name)
        for i, criterion in enumerate(block.criteria):
            for k, strength in enumerate(block.strengths):
                value, half = float(values[i, k, 0]), float(margin[i, k])
                bounded = np.isfinite(value) and np.isfinite(half)
                rows.append(
                    Measured(
                        network=block.network,
                        strength=strength,
                        criterion=criterion,
                        scope=block.scope,
                        measure=name.measure,
                        axis=name.axis,
                        value=value if np.isfinite(value) else None,
                        low=max(least, value - half) if bounded else None,
                        high=min(most, value + half) if bounded else None,
                        n_seeds=n,
                        missing=None if bounded else _missing(sampled, name, i, k),
                    )
                )
    return tuple(rows)


def measure_differences(
    sampled: Sample, by_strength: bool = False
) -> tuple[MeasureDifference, ...]:
    """Differences of every two criteria on every measure; pairs without a value are left out."""
    block, n = sampled.block, len(sampled.block.seeds)
    pairs = list(combinations(range(len(block.criteria)), 2))
    if not pairs or not n:
        return ()
    one, other = map(list, zip(*pairs, strict=True))
    strengths: tuple[float | None, ...] = block.strengths if by_strength else (None,)
    rows = []
    for name, values in sampled.values.items():
        taken = values if by_strength else values.mean(axis=1, keepdims=True)
        gain = taken[one] - taken[other]
        error = bootstrap_error(gain, n)
        margin, p = half_width(error, n), p_value(gain[..., 0], error, n)
        p = np.where(n < MIN_SEEDS, np.nan, p)
        for k, strength in enumerate(strengths):
            corrected = holm(p[:, k])
            for j, (a, b) in enumerate(pairs):
                mean = float(gain[j, k, 0])
                if np.isfinite(mean):
                    rows.append(
                        MeasureDifference(
                            criterion=block.criteria[a],
                            reference=block.criteria[b],
                            network=block.network,
                            scope=block.scope,
                            strength=strength,
                            measure=name.measure,
                            axis=name.axis,
                            mean=mean,
                            low=_known(mean - margin[j, k]),
                            high=_known(mean + margin[j, k]),
                            error=_known(error[j, k]),
                            p=_known(p[j, k]),
                            p_holm=_known(corrected[j]),
                            n_seeds=n,
                            verdict=verdict(mean, float(corrected[j]), n),
                        )
                    )
    return tuple(rows)


def _range(block: Block, name: Name) -> tuple[float, float]:
    """The least and the most a measure can be; of prunable ratios, the most that was measured."""
    if name.measure == "knee" or name.measure.startswith("prunable_"):
        return 0.0, float(block.values["ratio_reached"].max())
    if name.measure == "hypervolume" or name.measure.startswith("at_"):
        return 0.0, 1.0
    return -np.inf, np.inf


def _missing(sampled: Sample, name: Name, i: int, k: int) -> str:
    values, n = sampled.values[name][i, k], len(sampled.block.seeds)
    if not np.isfinite(values[0]):
        if name.measure == "f_beta":
            if sampled.chance is None:
                return "the rows do not say how many classes there are"
            return f"the dense network is no better than guessing ({sampled.chance:.3f})"
        if name.axis is not None:
            least = sampled.largest[name.axis][i, k]
            return f"the smallest network measured has {least:.2f} times fewer {name.axis}"
        if name.measure == "knee":
            return "no bend sharper than the spacing of the ratios"
        return "its accuracy is 0"
    if n < 2:
        return "no interval: one seed"
    share = 1 - np.isfinite(values).mean()
    return f"no interval: undefined in {share:.0%} of the resamples"


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
