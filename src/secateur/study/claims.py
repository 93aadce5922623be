"""From comparisons to claims: what a study supports, refutes or leaves undecided, with numbers.

A verdict follows from tests at 5 % by the rule its function states, and is never a fixed sentence.
Each comes with the smallest effect that this many repetitions could have shown.

Reference: Cai and Li, arXiv 2210.15960 (the claims).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.study.equivalence import p_beyond, p_equivalent, passable_margin
from secateur.study.grid import CONTROL as CONTROL
from secateur.study.grid import Row, is_control, repair_of
from secateur.study.methods import SCRATCH
from secateur.study.ranking import Difference
from secateur.study.regression import (
    Against,
    Line,
    SlopeDifference,
    interval,
    r_squared,
    slope_difference,
)
from secateur.study.resampling import ALPHA, holm, visible_effect
from secateur.study.resampling import MIN_SEEDS as MIN_SEEDS

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
UNDECIDED = "undecided at this sample size"
NOT_TESTED = "not tested"

LITTLE = 0.02
"""Two criteria whose accuracies differ by less than this make little difference."""

LITTLE_PRUNABLE = 0.05
"""Two criteria whose prunable ratios differ by less than this make little difference to it."""

INACTIVE_AT_LEAST = 0.01
"""A strength produced inactive channels when their mean share reaches this."""

GAINS_MOST = "mobilenet"
"""The family that is claimed to gain most from sparsity."""

_PER_UNIT = "prunable ratio per unit of skewness: "


@dataclass(frozen=True)
class Regression:
    """Straight line of prunable ratio on sparsity, one point a strength, with a 95 % interval.

    `n` points (strengths), means over `n_seeds`. `n_below` of them have a base network that is
    itself below the accuracy allowed: their ratio is 0 for that reason, and they pull the line down
    at its sparse end. `visible` is the smallest slope that would be found four times in five.
    """

    family: str
    against: Against
    n: int
    n_below: int
    slope: float | None
    low: float | None
    high: float | None
    intercept: float | None
    r2: float | None
    verdict: str
    n_seeds: int = 0
    visible: float | None = None


@dataclass(frozen=True)
class Claim:
    """A claim of the literature, what this study says of it, and the numbers that say so.

    `visible` says in words the smallest effect that this sample could have shown; `numbers` are
    those of `because` that the verdict rests on, in short.
    """

    statement: str
    verdict: str
    because: str
    visible: str = ""
    numbers: str = ""


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


def ws_regression(line: Line) -> Regression:
    """The line in numbers; `supported` when its interval lies above 0: more sparsity, more to cut.

    A line whose points all have the same ratio is undecided: nothing rose or fell.
    """
    slope, bounds = line.slope, interval(line)
    low, high = bounds or (None, None)
    flat = slope is not None and r_squared(line) is None
    if low is None or high is None or flat:
        verdict = UNDECIDED
    else:
        verdict = SUPPORTED if low > 0 else NOT_SUPPORTED if high < 0 else UNDECIDED
    visible = None
    if slope is not None and bounds is not None:
        visible = max(visible_effect(error, round(df) + 1) or 0.0 for error, df in line.errors)
    return Regression(
        family=line.family,
        against=line.against,
        n=len(line.x),
        n_below=line.n_below,
        slope=slope,
        low=low,
        high=high,
        intercept=None if slope is None else float(line.y.mean() - slope * line.x.mean()),
        r2=r_squared(line),
        verdict=verdict,
        n_seeds=len(line.seeds),
        visible=visible,
    )


def sparsity_claim(regressions: Iterable[Regression], tested: Collection[str]) -> Claim:
    """Sparser channels allow more pruning: supported when every tested family rises.

    Not supported when one of them falls, its interval wholly below 0.
    """
    fits = [fit for fit in regressions if fit.family in tested]
    numbers = "; ".join(map(_slope, fits))
    if not fits:
        verdict, because = NOT_TESTED, "no strength produced inactive channels"
    else:
        verdict = _together([fit.verdict for fit in fits])
        because = _PER_UNIT + numbers
    visible = [f"{fit.family} {fit.visible:.2f}" for fit in fits if fit.visible is not None]
    return Claim(
        "Sparser channels allow more pruning at acceptable accuracy",
        verdict,
        because,
        f"smallest slope that would be found four times in five: {', '.join(visible)}"
        if visible
        else "",
        numbers,
    )


def methods_claim(
    differences: Iterable[Difference], margin: float = LITTLE, of: str = "accuracy"
) -> Claim:
    """The criterion matters little: supported when every pair is equivalent within `margin`.

    Two one-sided tests a pair at 5 %: every 90 % interval inside +- margin. Not supported when one
    pair differs by more than `margin`, at 5 % corrected by Holm over all pairs. Given differences
    for each ratio, it is judged at each: a mean over ratios would hide that criteria part where
    much is cut. The controls are left out, and so are pairs that differ in their repair.
    """
    statement = f"The criterion matters little (less than {100 * margin:g} points of {of})"
    pairs = [
        d
        for d in differences
        if not any(is_control(name) or name == SCRATCH for name in (d.criterion, d.reference))
        and repair_of(d.criterion) == repair_of(d.reference)
    ]
    ranked = [d for d in pairs if d.error is not None and d.n_seeds >= MIN_SEEDS]
    if not pairs:
        return Claim(statement, NOT_TESTED, "no two criteria were tried on the same base networks")
    if not ranked:
        return Claim(statement, UNDECIDED, f"{pairs[0].verdict}")
    mean, error, n = np.array([(d.mean, d.error, d.n_seeds) for d in ranked], dtype=float).T
    equal = p_equivalent(mean, error, n, margin) < ALPHA
    apart = holm(p_beyond(mean, error, n, margin)) < ALPHA
    verdict = NOT_SUPPORTED if apart.any() else SUPPORTED if equal.all() else UNDECIDED
    ties = sum(d.verdict == "tie" for d in ranked)
    because = (
        f"{ties} of {len(ranked)} comparisons are ties, {equal.sum()} are equivalent; "
        f"{_widest(ranked)}"
    )
    needed = [passable_margin(d.error or 0.0, d.n_seeds) or 0.0 for d in ranked]
    return Claim(
        statement,
        verdict,
        because,
        "smallest margin in which equal criteria would pass four times in five, in every pair: "
        f"{100 * max(needed):.1f} points",
        f"{equal.sum()} of {len(ranked)} comparisons equivalent",
    )


def family_claim(found: Iterable[Line], tested: Collection[str], family: str = GAINS_MOST) -> Claim:
    """MobileNets gain more than the others: the interaction of sparsity and family.

    Supported when the family's slope exceeds every other's, each difference with its 95 % interval
    above 0. Not supported when one other slope is steeper, at 5 % corrected by Holm.
    """
    statement = "MobileNets gain more from sparsity than the other families"
    own = {line.family: line for line in found if line.family in tested}
    ours = own.pop(family, None)
    if ours is None or not own:
        return Claim(statement, NOT_TESTED, "it needs a MobileNet and another family, both sparse")
    slopes = _PER_UNIT + "; ".join(_slope(ws_regression(line)) for line in (ours, *own.values()))
    differences = [slope_difference(ours, other) for other in own.values()]
    known = [d for d in differences if d is not None and d.low is not None]
    numbers = "; ".join(map(_difference, known))
    because = f"{slopes}; {numbers}" if numbers else slopes
    corrected = holm([np.nan if d.p is None else d.p for d in known])
    less = [d.difference < 0 and p < ALPHA for d, p in zip(known, corrected, strict=True)]
    more = [(d.low or 0.0) > 0 for d in known]
    if any(less):
        verdict = NOT_SUPPORTED
    else:
        verdict = SUPPORTED if all(more) and len(known) == len(own) else UNDECIDED
    seen = [
        f"to {d.other} {visible_effect(d.error, round(d.df) + 1) or 0.0:.2f}"
        for d in known
        if d.error is not None and d.df is not None
    ]
    return Claim(
        statement,
        verdict,
        because,
        f"smallest difference of slopes that would be found four times in five: {', '.join(seen)}"
        if seen
        else "",
        numbers,
    )


def _together(verdicts: list[str]) -> str:
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return SUPPORTED if set(verdicts) == {SUPPORTED} else UNDECIDED


def _slope(fit: Regression) -> str:
    if fit.slope is None:
        return f"{fit.family} has {fit.n} strengths that differ in it, 3 needed"
    text = f"{fit.family} {fit.slope:+.2f}"
    text += (
        " (one seed: no interval)" if fit.low is None else f" ({fit.low:+.2f} to {fit.high:+.2f})"
    )
    if fit.n_below:
        text += f" with {fit.n_below} of {fit.n} strengths too inaccurate before any cut"
    return text


def _difference(d: SlopeDifference) -> str:
    return f"{d.family} less {d.other} {d.difference:+.2f} ({d.low:+.2f} to {d.high:+.2f})"


def _widest(ranked: Sequence[Difference]) -> str:
    widest = max(ranked, key=lambda d: abs(d.mean))
    at = "" if widest.ratio is None else f" at ratio {widest.ratio:g}"
    return (
        f"the widest is {widest.criterion} against {widest.reference} in {widest.network}, "
        f"{widest.scope}{at}: {100 * widest.mean:+.1f} points "
        f"({100 * (widest.low or 0.0):+.1f} to {100 * (widest.high or 0.0):+.1f})"
    )
