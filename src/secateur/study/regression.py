"""Prunable ratio against channel sparsity, a line a family; and whether families' lines differ.

A point is a strength: the prunable ratio of the mean curve over seeds, averaged over criteria (the
control left out) and scopes, against the mean Weight Skewness of the base networks. Criteria and
scopes of a strength share their base networks, so counting them singly would narrow the interval.

Two things make a slope uncertain: other seeds would give other points, and the points do not lie on
a line. The first is the bootstrap's standard error over repetitions, with n - 1 degrees of freedom;
the second is Student's over the strengths, with 2 fewer than there are. The interval is the wider.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from secateur.study.grid import Block, is_control
from secateur.study.measures import TOLERANCE, Floats, first_crossing
from secateur.study.resampling import ALPHA, bootstrap_error, draws

Against = Literal["ws", "inactive"]

Reference = Literal["dense", "own"]
"""Whose accuracy a cut may fall below by epsilon: the dense network's, or the uncut one's."""


@dataclass(frozen=True)
class Line:
    """Points of one family and the line through them.

    `x` and `y` have shape (strengths,); `slopes` holds the slope and then that of every resample of
    `seeds`. `n_below` points have a base network that is itself below the accuracy allowed: their
    ratio is 0 for that reason, and they pull the line down at its sparse end. Without three points
    that differ in x, `slopes` is empty.
    """

    family: str
    against: Against
    strengths: tuple[float, ...]
    seeds: tuple[int, ...]
    n_below: int
    x: Floats
    y: Floats
    slopes: Floats

    @property
    def slope(self) -> float | None:
        """Least-squares slope, prunable ratio per unit of x; None where there is no line."""
        return float(self.slopes[0]) if len(self.slopes) else None

    @property
    def errors(self) -> tuple[tuple[float, float], ...]:
        """Standard error and degrees of freedom: over repetitions, over strengths."""
        centred = self.x - self.x.mean()
        residuals = self.y - self.y.mean() - self.slopes[0] * centred
        df = len(self.x) - 2
        over_strengths = np.sqrt((residuals @ residuals) / df / (centred @ centred))
        over_seeds = float(bootstrap_error(self.slopes, len(self.seeds)))
        return (over_seeds, len(self.seeds) - 1.0), (float(over_strengths), float(df))


@dataclass(frozen=True)
class SlopeDifference:
    """Slope of `family` minus that of `other`: the interaction of sparsity and family.

    `error` and `df` are those of the wider interval; `p` is two-sided.
    """

    family: str
    other: str
    difference: float
    low: float | None
    high: float | None
    error: float | None
    df: float | None
    p: float | None
    n_seeds: int


def lines(
    found: Iterable[Block],
    epsilon: float,
    against: Against = "ws",
    seed: int = 0,
    reference: Reference = "dense",
) -> tuple[Line, ...]:
    """The line of every family that has a block with seeds, by name.

    With the reference `own`, each strength is measured against its own accuracy before any cut: how
    much more can go once sparsification has cost what it cost. No claim is judged by it, for a
    network that sparsification broke has nothing left to lose and looks best.
    """
    families: dict[str, list[Block]] = {}
    for block in found:
        families.setdefault(block.network, []).append(block)
    return tuple(
        _line(name, families[name], epsilon, against, seed, reference) for name in sorted(families)
    )


def lines_by_method(
    found: Iterable[Block], epsilon: float, against: Against = "ws", seed: int = 0
) -> dict[tuple[str, str, str], Line]:
    """The line of every network, scope and criterion but the control, by these names.

    What the line of a family averages. As many looks as methods: no claim is judged by them.
    """
    return {
        (block.network, block.scope, name): _line(
            block.network, [_only(block, name)], epsilon, against, seed, "dense"
        )
        for block in found
        for name in block.criteria
        if not is_control(name)
    }


def interval(line: Line) -> tuple[float, float] | None:
    """95 % interval of the slope, the wider of both; None without a line or with one seed."""
    widest = _widest(line.errors) if line.slope is not None else None
    if widest is None or line.slope is None:
        return None
    margin = _margin(*widest)
    return line.slope - margin, line.slope + margin


def r_squared(line: Line) -> float | None:
    """Share of the points' variance that the line takes; None without a line or a variance."""
    if line.slope is None or np.ptp(line.y) < TOLERANCE:
        return None
    return float(np.corrcoef(line.x, line.y)[0, 1] ** 2)


def slope_difference(line: Line, other: Line) -> SlopeDifference | None:
    """Difference of two slopes; resamples are paired where both families have the same seeds."""
    if line.slope is None or other.slope is None:
        return None
    (seeds, df), (strengths, df_line) = line.errors
    (seeds_2, df_2), (strengths_2, df_line_2) = other.errors
    if line.seeds == other.seeds:
        over_seeds = (float(bootstrap_error(line.slopes - other.slopes, len(line.seeds))), df)
    else:
        over_seeds = _welch((seeds, df), (seeds_2, df_2))
    widest = _widest((over_seeds, _welch((strengths, df_line), (strengths_2, df_line_2))))
    difference = line.slope - other.slope
    low = high = p = None
    if widest is not None:
        margin = _margin(*widest)
        low, high = difference - margin, difference + margin
        error, degrees = widest
        p = float(2 * stats.t.sf(abs(difference) / error, degrees)) if error > 0 else None
    return SlopeDifference(
        family=line.family,
        other=other.family,
        difference=difference,
        low=low,
        high=high,
        error=widest[0] if widest else None,
        df=widest[1] if widest else None,
        p=p,
        n_seeds=min(len(line.seeds), len(other.seeds)),
    )


def ratios_of(
    block: Block, epsilon: float, weights: Floats, reference: Reference = "dense"
) -> Floats:
    """Prunable ratios of resampled mean curves: (criteria, strengths, resamples)."""
    levels = block.values["ratio_reached"].mean(axis=2)
    accuracy = block.values["accuracy"].copy()
    for k in range(1, levels.shape[-1]):  # a cut that removed nothing more repeats the one before
        same = levels[..., k] <= levels[..., k - 1] + TOLERANCE
        levels[..., k] = np.where(same, levels[..., k - 1], levels[..., k])
        accuracy[..., k] = np.where(same[..., None], accuracy[..., k - 1], accuracy[..., k])
    mean = weights @ accuracy
    whole = mean[..., 0] if reference == "own" else weights @ block.dense["accuracy"]
    threshold = whole - epsilon
    return first_crossing(levels[:, :, None], mean, np.broadcast_to(threshold, mean.shape[:-1]))


def _line(
    family: str,
    own: Sequence[Block],
    epsilon: float,
    against: Against,
    seed: int,
    reference: Reference,
) -> Line:
    seeds = tuple(sorted(set.intersection(*(set(block.seeds) for block in own))))
    strengths = tuple(sorted(set.intersection(*(set(block.strengths) for block in own))))
    empty = np.zeros(0)
    chosen = [name for block in own for name in block.criteria if not is_control(name)]
    if not seeds or not chosen:
        return Line(family, against, (), seeds, 0, empty, empty, empty)
    weights = draws(len(seeds), seed=seed)
    found, below = [], np.zeros(len(strengths), dtype=bool)
    for block in own:
        part = narrow(block, seeds, strengths)
        kept = [k for k, name in enumerate(part.criteria) if not is_control(name)]
        if kept:
            found.append(ratios_of(part, epsilon, weights, reference)[kept])
        base = part.values["accuracy"][0, :, :, 0].mean(axis=1)
        below |= base < part.dense["accuracy"].mean() - epsilon - TOLERANCE
    y = np.concatenate(found).mean(axis=0)
    x = _means(getattr(part, against), weights)
    known = np.isfinite(x[:, 0])
    x, y, below = x[known], y[known], below[known]
    centred = x - x.mean(axis=0) if len(x) else x
    spread = (centred**2).sum(axis=0)
    fits = len(x) >= 3 and np.ptp(x[:, 0]) >= TOLERANCE
    slopes = (centred * y).sum(axis=0) / np.where(spread > 0, spread, np.nan) if fits else empty
    return Line(
        family=family,
        against=against,
        strengths=tuple(s for s, good in zip(strengths, known, strict=True) if good),
        seeds=seeds,
        n_below=int(below.sum()),
        x=x[:, 0],
        y=y[:, 0],
        slopes=slopes,
    )


def narrow(block: Block, seeds: Sequence[int], strengths: Sequence[float]) -> Block:
    """The same block on fewer seeds and strengths."""
    line = [block.seeds.index(seed) for seed in seeds]
    place = [block.strengths.index(strength) for strength in strengths]
    return Block(
        network=block.network,
        scope=block.scope,
        criteria=block.criteria,
        strengths=tuple(strengths),
        ratios=block.ratios,
        seeds=tuple(seeds),
        left_out=block.left_out,
        values={name: a[:, place][:, :, line] for name, a in block.values.items()},
        dense={name: a[line] for name, a in block.dense.items()},
        ws=block.ws[place][:, line],
        inactive=block.inactive[place][:, line],
    )


def _only(block: Block, criterion: str) -> Block:
    k = block.criteria.index(criterion)
    own = {name: values[k : k + 1] for name, values in block.values.items()}
    return replace(block, criteria=(criterion,), values=own)


def _means(values: Floats, weights: Floats) -> Floats:
    """Weighted means of what is known: (strengths, seeds), (resamples, seeds) -> (strengths, r)."""
    known = np.isfinite(values)
    weight = known.astype(float) @ weights.T
    total = np.where(known, values, 0) @ weights.T
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)


def _widest(errors: Iterable[tuple[float, float]]) -> tuple[float, float] | None:
    """The error and degrees of freedom that make the widest interval; None if one is unknown."""
    known = list(errors)
    if any(df < 1 or not np.isfinite(error) for error, df in known):
        return None
    return max(known, key=lambda pair: _margin(*pair))


def _margin(error: float, df: float) -> float:
    return error * float(stats.t.ppf(1 - ALPHA / 2, df))


def _welch(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Error and Satterthwaite's degrees of freedom of a difference of independent estimates."""
    squares = [error**2 for error, _ in (one, other)]
    error = float(np.sqrt(sum(squares)))
    below = sum(s**2 / df for s, (_, df) in zip(squares, (one, other), strict=True) if df >= 1)
    if min(one[1], other[1]) < 1:
        return error, 0.0
    return error, error**4 / below if below > 0 else min(one[1], other[1])
