"""Which method is cheaper at equal accuracy: BD-rates of a block's criteria, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secateur.study.bd_rate import BdRate, CostCurve, compare, cost_curve
from secateur.study.grid import CONTROL, COSTS, Block
from secateur.study.resampling import half_width

MAX_FOLDS = 10
"""The jackknife leaves out each seed in turn, or each of this many groups of seeds."""


@dataclass(frozen=True)
class BdRow:
    """BD-rate of `criterion` against `reference`: a share, negative is cheaper at equal accuracy.

    `low_accuracy` and `high_accuracy` bound the accuracies both reach. `missing` says why there is
    no value, or no interval.
    """

    criterion: str
    reference: str
    network: str
    scope: str
    strength: float
    axis: str
    value: float | None
    low: float | None
    high: float | None
    low_accuracy: float | None
    high_accuracy: float | None
    n_seeds: int
    missing: str | None = None


def bd_rates(block: Block, reference: str = CONTROL) -> tuple[BdRow, ...]:
    """BD-rate of every other criterion against `reference`, over MACs and over parameters.

    The curves are means over seeds. The interval is the jackknife's over seeds, taken on the log of
    the cost ratio: leaving one out costs as many splines as there are seeds, a bootstrap hundreds.
    """
    if reference not in block.criteria or not block.seeds:
        return ()
    n, base = len(block.seeds), block.criteria.index(reference)
    folds = np.array_split(np.arange(n), min(n, MAX_FOLDS)) if n > 1 else []
    kept = [list(range(n)), *([k for k in range(n) if k not in fold] for fold in folds)]
    rows = []
    for axis in COSTS:
        curves = [_curves(block, axis, seeds) for seeds in kept]
        for k in range(len(block.strengths)):
            for i in range(len(block.criteria)):
                if i != base:
                    rates = [compare(own[i][k], own[base][k]) for own in curves]
                    rows.append(_row(block, (i, base, k), axis, rates))
    return tuple(rows)


def _curves(block: Block, axis: str, seeds: Sequence[int]) -> list[list[CostCurve]]:
    """The curve of every criterion and strength, means over `seeds`."""
    cost = block.values[axis][:, :, seeds].mean(axis=2)
    accuracy = block.values["accuracy"][:, :, seeds].mean(axis=2)
    return [
        [cost_curve(*pair) for pair in zip(*own, strict=True)]
        for own in zip(cost, accuracy, strict=True)
    ]


def _row(block: Block, place: tuple[int, int, int], axis: str, rates: Sequence[BdRate]) -> BdRow:
    i, base, k = place
    whole, parts = rates[0], rates[1:]
    low = high = None
    missing = whole.undefined
    if whole.value is not None:
        logs = np.array([np.nan if p.value is None else np.log1p(p.value) for p in parts])
        g = len(parts)
        if not g:
            missing = "no interval: one seed"
        elif not np.isfinite(logs).all():
            missing = "no interval: without one of the seeds the accuracies do not overlap"
        else:
            error = np.sqrt((g - 1) / g * ((logs - logs.mean()) ** 2).sum())
            margin = float(half_width(error, g))
            centre = float(np.log1p(whole.value))
            low, high = float(np.expm1(centre - margin)), float(np.expm1(centre + margin))
    return BdRow(
        criterion=block.criteria[i],
        reference=block.criteria[base],
        network=block.network,
        scope=block.scope,
        strength=block.strengths[k],
        axis=axis,
        value=whole.value,
        low=low,
        high=high,
        low_accuracy=whole.low_accuracy,
        high_accuracy=whole.high_accuracy,
        n_seeds=len(block.seeds),
        missing=missing,
    )
