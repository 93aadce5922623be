"""From comparisons to claims: what a study supports, refutes or leaves undecided, with numbers.

A verdict follows from an interval and is never a fixed sentence. A percentile bootstrap over three
seeds is their range, so a shared sign means a difference; three seeds share it by luck once in
four, and the report says so.

Reference: Cai and Li, arXiv 2210.15960 (the claims).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import stats

from secateur.study.tradeoff import PrunableRatio, Row, bootstrap_interval, seed_means

MIN_SEEDS = 3
"""Criteria are not ranked on fewer seeds than this."""

CONTROL = "random"
"""The criterion that knows nothing; every other one is compared with it."""

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
UNDECIDED = "undecided at this sample size"


@dataclass(frozen=True)
class Regression:
    """Straight line of prunable ratio on sparsity, one point a strength, with a 95 % interval."""

    family: str
    against: str
    n: int
    slope: float | None
    low: float | None
    high: float | None
    intercept: float | None
    r2: float | None
    verdict: str


@dataclass(frozen=True)
class MethodDifference:
    """Accuracy of `criterion` minus that of `reference`, paired by base network, scope and ratio.

    `ratio` is None where all ratios are averaged. `macs_ratio` is the criterion's MACs over the
    reference's: at an equal share of channels a global scope cuts different layers. `verdict` is
    `higher`, `lower`, `tie`, or says why there is no ranking.
    """

    criterion: str
    reference: str
    network: str
    scope: str
    ratio: float | None
    mean: float
    low: float | None
    high: float | None
    macs_ratio: float
    n_seeds: int
    n_pairs: int
    verdict: str


def ws_regression(
    prunable: Iterable[PrunableRatio],
    family: str,
    against: Literal["ws", "inactive"] = "ws",
) -> Regression:
    """Straight line of prunable ratio on Weight Skewness (or inactive share) of one family.

    Criteria and scopes of one strength share their base networks, so they are averaged to one point
    first (the control `random` left out); counted singly they would make the interval too narrow.
    The interval is Student's. More sparsity, more prunable: `supported` when it lies above 0.
    """
    by_strength: dict[float, list[tuple[float, float]]] = {}
    for row in prunable:
        x = row.ws if against == "ws" else row.inactive
        counts = row.network == family and row.criterion != CONTROL
        if counts and x is not None and row.ratio is not None:
            by_strength.setdefault(row.strength, []).append((x, row.ratio))
    points = np.array([np.mean(pairs, axis=0) for pairs in by_strength.values()]).reshape(-1, 2)
    n = len(points)
    if n < 3 or np.ptp(points[:, 0]) < 1e-9:
        return Regression(family, against, n, None, None, None, None, None, UNDECIDED)
    if np.ptp(points[:, 1]) < 1e-9:
        level = float(points[0, 1])
        return Regression(family, against, n, 0.0, 0.0, 0.0, level, None, UNDECIDED)
    fit = stats.linregress(points[:, 0], points[:, 1])
    margin = float(stats.t.ppf(0.975, n - 2) * fit.stderr)
    low, high = float(fit.slope) - margin, float(fit.slope) + margin
    verdict = SUPPORTED if low > 0 else NOT_SUPPORTED if high < 0 else UNDECIDED
    slope, intercept, r2 = float(fit.slope), float(fit.intercept), float(fit.rvalue) ** 2
    return Regression(family, against, n, slope, low, high, intercept, r2, verdict)


def method_differences(
    rows: Iterable[Row],
    measure: Literal["accuracy", "accuracy_cut"] = "accuracy",
    per_ratio: bool = False,
) -> tuple[MethodDifference, ...]:
    """Differences between every two criteria, per network and scope; the control is the reference.

    Pairs share their base network, scope and ratio asked. They are averaged inside a seed, then
    seeds are resampled. An interval that covers 0 is a tie; fewer than three seeds rank nothing.
    """
    pairs: dict[tuple[str, str, float], dict[str, Row]] = {}
    for row in rows:
        if row["kind"] == "pruned":
            key = (row["base"], row["scope"], row["ratio_asked"])
            pairs.setdefault(key, {})[row["criterion"]] = row
    groups: dict[tuple[str, str, str, str, float | None], list[tuple[Row, Row]]] = {}
    for (_, scope, asked), tried in pairs.items():
        for one, other in combinations(sorted(tried, key=lambda name: (name == CONTROL, name)), 2):
            ratio = asked if per_ratio else None
            cell = (one, other, tried[one]["network"], scope, ratio)
            groups.setdefault(cell, []).append((tried[one], tried[other]))
    return tuple(_difference(cell, members, measure) for cell, members in sorted(groups.items()))


def _difference(
    cell: tuple[str, str, str, str, float | None], members: list[tuple[Row, Row]], measure: str
) -> MethodDifference:
    bases = [one for one, _ in members]
    differences = np.array([one[measure] - other[measure] for one, other in members])
    seeds = seed_means(bases, differences)
    interval = bootstrap_interval(seeds)
    if interval is None or len(seeds) < MIN_SEEDS:
        verdict = f"not ranked: {len(seeds)} seeds, {MIN_SEEDS} needed"
    else:
        verdict = "higher" if interval[0] > 0 else "lower" if interval[1] < 0 else "tie"
    low, high = interval or (None, None)
    return MethodDifference(
        *cell,
        mean=float(seeds.mean()),
        low=low,
        high=high,
        macs_ratio=float(np.mean([one["macs"] / other["macs"] for one, other in members])),
        n_seeds=len(seeds),
        n_pairs=len(members),
        verdict=verdict,
    )
