"""From comparisons to claims: what a study supports, refutes or leaves undecided, with numbers.

A verdict follows from an interval and is never a fixed sentence. A percentile bootstrap over three
seeds is their range, so a shared sign means a difference; three seeds share it by luck once in
four, and the report says so.

Reference: Cai and Li, arXiv 2210.15960 (the claims).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
NOT_TESTED = "not tested"

LITTLE = 0.02
"""Two criteria whose accuracies differ by less than this make little difference."""

INACTIVE_AT_LEAST = 0.01
"""A strength produced inactive channels when their mean share reaches this."""

_PER_UNIT = "prunable ratio per unit of skewness: "


@dataclass(frozen=True)
class Regression:
    """Straight line of prunable ratio on sparsity, one point a strength, with a 95 % interval.

    `n_below` of the `n` points have a base network that is itself below the accuracy allowed: their
    ratio is 0 for that reason, and they pull the line down at its sparse end.
    """

    family: str
    against: str
    n: int
    n_below: int
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


@dataclass(frozen=True)
class Claim:
    """A claim of the literature, what this study says of it, and the numbers that say so."""

    statement: str
    verdict: str
    because: str


def networks_with_inactive_channels(rows: Iterable[Row]) -> tuple[str, ...]:
    """Networks in which some strength above 0 produced inactive channels, averaged over seeds.

    For any other network the study has tested nothing about sparsity.
    """
    shares: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        if row["kind"] == "base" and row["strength"] > 0 and row["inactive"] is not None:
            shares.setdefault((row["network"], row["strength"]), []).append(row["inactive"])
    sparse = {name for (name, _), own in shares.items() if np.mean(own) >= INACTIVE_AT_LEAST}
    return tuple(sorted(sparse))


def sparsity_claim(regressions: Iterable[Regression], tested: Collection[str]) -> Claim:
    """Sparser channels allow more pruning: supported when every tested family rises."""
    fits = [fit for fit in regressions if fit.family in tested]
    if not fits:
        verdict, because = NOT_TESTED, "no strength produced inactive channels"
    else:
        verdict = _together([fit.verdict for fit in fits])
        because = _PER_UNIT + "; ".join(map(_slope, fits))
    return Claim("Sparser channels allow more pruning at acceptable accuracy", verdict, because)


def methods_claim(differences: Iterable[MethodDifference], margin: float = LITTLE) -> Claim:
    """The criterion matters little: supported when every interval lies inside ± `margin`.

    Given differences for each ratio, it is judged at each: a mean over ratios would hide that
    criteria part where much is cut. The control is left out. One interval that lies outside on one
    side refutes the claim.
    """
    statement = f"The criterion matters little (less than {100 * margin:g} points of accuracy)"
    pairs = [d for d in differences if CONTROL not in (d.criterion, d.reference)]
    ranked = [d for d in pairs if d.low is not None and d.n_seeds >= MIN_SEEDS]
    if not pairs:
        return Claim(statement, NOT_TESTED, "no two criteria were tried on the same base networks")
    if not ranked:
        return Claim(statement, UNDECIDED, f"{pairs[0].verdict}")
    widest = max(ranked, key=lambda d: abs(d.mean))
    inside = [-margin < (d.low or 0.0) and (d.high or 0.0) < margin for d in ranked]
    outside = [(d.low or 0.0) >= margin or (d.high or 0.0) <= -margin for d in ranked]
    verdict = NOT_SUPPORTED if any(outside) else SUPPORTED if all(inside) else UNDECIDED
    at = "" if widest.ratio is None else f" at ratio {widest.ratio:g}"
    ties = sum(d.verdict == "tie" for d in ranked)
    because = (
        f"{ties} of {len(ranked)} comparisons are ties; the widest is {widest.criterion} against "
        f"{widest.reference} in {widest.network}, {widest.scope}{at}: "
        f"{100 * widest.mean:+.1f} points "
        f"({100 * (widest.low or 0.0):+.1f} to {100 * (widest.high or 0.0):+.1f})"
    )
    return Claim(statement, verdict, because)


def family_claim(regressions: Iterable[Regression], tested: Collection[str]) -> Claim:
    """MobileNets gain more than the others: supported when its slope lies above all of theirs."""
    statement = "MobileNets gain more from sparsity than the other families"
    fits = {fit.family: fit for fit in regressions if fit.family in tested}
    ours = fits.pop("mobilenet", None)
    if ours is None or not fits:
        return Claim(statement, NOT_TESTED, "it needs a MobileNet and another family, both sparse")
    because = _PER_UNIT + "; ".join(map(_slope, [ours, *fits.values()]))
    if ours.low is None or ours.high is None:
        return Claim(statement, UNDECIDED, because)
    lows = [fit.low for fit in fits.values() if fit.low is not None]
    highs = [fit.high for fit in fits.values() if fit.high is not None]
    if any(low > ours.high for low in lows):
        return Claim(statement, NOT_SUPPORTED, because)
    above_all = len(highs) == len(fits) and all(ours.low > high for high in highs)
    return Claim(statement, SUPPORTED if above_all else UNDECIDED, because)


def _together(verdicts: list[str]) -> str:
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if set(verdicts) == {SUPPORTED} else UNDECIDED


def _slope(fit: Regression) -> str:
    if fit.slope is None:
        return f"{fit.family} has {fit.n} strengths that differ in it, 3 needed"
    text = f"{fit.family} {fit.slope:+.2f} ({fit.low:+.2f} to {fit.high:+.2f})"
    if fit.n_below:
        text += f" with {fit.n_below} of {fit.n} strengths too inaccurate before any cut"
    return text


def ws_regression(
    prunable: Iterable[PrunableRatio],
    family: str,
    against: Literal["ws", "inactive"] = "ws",
) -> Regression:
    """Straight line of prunable ratio on Weight Skewness (or inactive share) of one family.

    Criteria and scopes of one strength share their base networks, so they are averaged to one point
    first (the control `random` left out); counted singly they would make the interval too narrow.
    Strengths whose base network is too inaccurate by itself count, with ratio 0, and are told.
    The interval is Student's. More sparsity, more prunable: `supported` when it lies above 0.
    """
    by_strength: dict[float, list[tuple[float, float]]] = {}
    below: set[float] = set()
    for row in prunable:
        x = row.ws if against == "ws" else row.inactive
        counts = row.network == family and row.criterion != CONTROL
        if counts and x is not None and row.ratio is not None:
            by_strength.setdefault(row.strength, []).append((x, row.ratio))
            below |= {row.strength} if row.base_below else set()
    points = np.array([np.mean(pairs, axis=0) for pairs in by_strength.values()]).reshape(-1, 2)
    n, n_below = len(points), len(below)
    if n < 3 or np.ptp(points[:, 0]) < 1e-9:
        return Regression(family, against, n, n_below, None, None, None, None, None, UNDECIDED)
    if np.ptp(points[:, 1]) < 1e-9:
        level = float(points[0, 1])
        return Regression(family, against, n, n_below, 0.0, 0.0, 0.0, level, None, UNDECIDED)
    fit = stats.linregress(points[:, 0], points[:, 1])
    margin = float(stats.t.ppf(0.975, n - 2) * fit.stderr)
    low, high = float(fit.slope) - margin, float(fit.slope) + margin
    verdict = SUPPORTED if low > 0 else NOT_SUPPORTED if high < 0 else UNDECIDED
    slope, intercept, r2 = float(fit.slope), float(fit.intercept), float(fit.rvalue) ** 2
    return Regression(family, against, n, n_below, slope, low, high, intercept, r2, verdict)


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
        verdict = f"not ranked: {len(seeds)} of the {MIN_SEEDS} seeds needed"
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
