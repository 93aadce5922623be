"""From many p-values to few verdicts: pass rates with intervals, and corrected rejections."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from secateur.analysis.tables import Floats


@dataclass(frozen=True)
class PassRate:
    """Share of `tested` tests that did not reject, its Wilson interval, and what it should be.

    `holm` and `bh` count rejections after correction for the number of tests: `holm` > 0 says that
    some coordinate departs for certain, `bh` about how many do.
    """

    tested: int
    passed: int
    rate: float
    low: float
    high: float
    nominal: float
    holm: int
    bh: int

    @property
    def as_nominal(self) -> bool:
        """Whether the nominal rate, or more, lies in the interval."""
        return self.high >= self.nominal


def pass_rate(p_values: Floats, alpha: float = 0.05) -> PassRate | None:
    """Pass rate of tests at level `alpha`, with their corrected rejections; None without tests.

    >>> found = pass_rate(np.array([0.5, 0.01, 0.2, 0.9]))
    >>> found.rate, found.passed, found.holm
    (0.75, 3, 1)
    """
    tested = len(p_values)
    if not tested:
        return None
    passed = int((p_values >= alpha).sum())
    low, high = wilson(passed, tested)
    return PassRate(
        tested=tested,
        passed=passed,
        rate=passed / tested,
        low=low,
        high=high,
        nominal=1 - alpha,
        holm=int(holm(p_values, alpha).sum()),
        bh=int(benjamini_hochberg(p_values, alpha).sum()),
    )


def wilson(passed: int, tested: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share.

    >>> tuple(round(bound, 3) for bound in wilson(8, 10))
    (0.49, 0.943)

    Reference: Wilson 1927 (JASA 22, 209).
    """
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    share = passed / tested
    centre = (share + z**2 / (2 * tested)) / (1 + z**2 / tested)
    half = z / (1 + z**2 / tested) * sqrt(share * (1 - share) / tested + z**2 / (4 * tested**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def holm(p_values: Floats, alpha: float = 0.05) -> NDArray[np.bool_]:
    """Which hypotheses Holm's step-down rejects: not one falsely, with probability 1 - alpha.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [True, False, False]
    """
    n = len(p_values)
    order = np.argsort(p_values)
    below = p_values[order] <= alpha / (n - np.arange(n))
    rejected = np.zeros(n, dtype=bool)
    rejected[order] = np.logical_and.accumulate(below)
    return rejected


def benjamini_hochberg(p_values: Floats, alpha: float = 0.05) -> NDArray[np.bool_]:
    """Which hypotheses are rejected with a share alpha of false ones among them, on average.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).tolist()
    [True, True, True]
    """
    n = len(p_values)
    order = np.argsort(p_values)
    below = p_values[order] <= alpha * np.arange(1, n + 1) / n
    rejected = np.zeros(n, dtype=bool)
    rejected[order] = np.logical_or.accumulate(below[::-1])[::-1]
    return rejected
