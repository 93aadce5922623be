"""What criteria would do if filters were iid Gaussian: closed forms to show beside measurements.

Filters F_1 ... F_n of d numbers each are taken as iid N(0, s² I). Then, to first order in
1 / sqrt(d), the scores of `l1`, `l2`, `gm` and `fermat` are Gaussian and the correlation of any two
follows from how each goes with the filter's own l2 norm:

* r(l1, l2) = sqrt((1/2) / (π/2 - 1)) = .936 for every d. If filters also differ in scale, with a
  standard deviation τ of log s, it is sqrt((τ² + 1/2d) / (τ² + (π/2 - 1)/d)): training, which
  makes scales differ, raises it.
* r(l2, gm) = r(l2, fermat) = sqrt(1 - 2/n), for many filters 1 / sqrt(1 + 2/n), and
  r(fermat, gm) is about 1.

The expected rank correlation of n pairs with correlation r is
6 / (π (n + 1)) · (asin r + (n - 2) asin(r / 2)), for many pairs 6/π · asin(r / 2). Other criteria
have no closed form here, and get None.

Derived here and held against simulation in `tests/test_analysis_gaussian.py`; the last formula is
Moran 1948 (Biometrika 35, 203).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import asin, pi, sqrt

import numpy as np
from scipy import special, stats

from secateur.analysis.weights import LayerShape, norm_mean

CLOSED_FORMS = ("l1", "l2", "gm", "fermat")
"""Criteria whose scores of Gaussian filters are known in closed form."""

_FAMILY = {"gm", "fermat"}

DISPERSION = {"l1": sqrt(pi / 2 - 1), "l2": sqrt(0.5), "fermat": sqrt(0.5), "gm": sqrt(0.125)}
"""Coefficient of variation times sqrt(d), for many filters: .7555, .7071, .7071, .354."""


def expected_correlation(
    first: str, second: str, n: int, d: int | None = None, tau: float = 0.0
) -> float | None:
    """Pearson's r of two criteria's scores over n iid Gaussian filters; None without closed form.

    `tau`, the spread of log scales between filters, needs the filter size `d` and is known for l1
    and l2 alone.

    >>> round(expected_correlation("l1", "l2", 256), 3)
    0.936
    """
    if {first, second} - set(CLOSED_FORMS):
        return None
    if first == second or {first, second} == _FAMILY:
        return 1.0
    if tau:
        if d is None or {first, second} != {"l1", "l2"}:
            return None
        return sqrt((tau**2 + 0.5 / d) / (tau**2 + (pi / 2 - 1) / d))
    return _with_norm(first, n) * _with_norm(second, n)


def expected_rho(
    first: str, second: str, n: int, d: int | None = None, tau: float = 0.0
) -> float | None:
    """Expected Spearman's rho over n iid Gaussian filters; None without closed form.

    >>> round(expected_rho("l1", "l2", 10**6), 3), round(expected_rho("l1", "l2", 16), 3)
    (0.93, 0.902)
    """
    r = expected_correlation(first, second, n, d, tau)
    return None if r is None or n < 2 else rho_of_correlation(r, n)


def rho_of_correlation(r: float, n: int) -> float:
    """Expected Spearman's rho of n pairs from a bivariate Gaussian with Pearson correlation r.

    >>> rho_of_correlation(1.0, 5)
    1.0
    """
    return 6 / (pi * (n + 1)) * (asin(r) + (n - 2) * asin(r / 2))


def expected_tau(first: str, second: str, n: int) -> float | None:
    """Expected Kendall's tau over n iid Gaussian filters, 2/π · asin r; None without closed form.

    >>> round(expected_tau("l1", "l2", 256), 3)
    0.771
    """
    r = expected_correlation(first, second, n)
    return None if r is None else 2 / pi * asin(r)


def expected_overlap(first: str, second: str, n: int, ratio: float) -> float | None:
    """Expected share of the bottom set that two criteria share, `ratio` of n Gaussian filters.

    P(X < q, Y < q) / ratio of a bivariate Gaussian, by Owen's T; for many filters.

    >>> round(expected_overlap("l1", "l2", 10**6, 0.3), 2)
    0.83
    """
    r = expected_correlation(first, second, n)
    if r is None or not 0 < ratio < 1:
        return None
    q = stats.norm.ppf(ratio)
    both = ratio - 2 * special.owens_t(q, sqrt((1 - r) / (1 + r)))
    return float(both / ratio)


def expected_variation(criterion: str, n: int, d: int) -> float | None:
    """Coefficient of variation of a criterion's scores over n iid Gaussian filters of size d.

    >>> round(expected_variation("l1", 256, 576) * 24, 4)
    0.7555
    """
    if criterion not in DISPERSION or n < 2:
        return None
    # the Fermat point leans towards the short filters, the more the fewer there are
    widening = 1 / _with_norm(criterion, n) if criterion == "fermat" and n > 2 else 1.0
    return DISPERSION[criterion] * widening / sqrt(d)


def expected_global_rho(
    shapes: Iterable[LayerShape], criteria: Sequence[str], draws: int = 8, seed: int = 0
) -> dict[tuple[str, str], float]:
    """Expected rho over the filters of all layers, for pairs with closed forms, by simulation.

    Scores, not filters, are drawn: a layer's mean is s·d·sqrt(2/π) for l1, about s·sqrt(d) for l2
    and fermat, (n - 1)·s·sqrt(2d) for gm, its spread and correlations as above. So layers of
    unequal d put criteria into different orders although each layer agrees.
    """
    layers = [shape for shape in shapes if shape.n > 1]
    known = [name for name in criteria if name in CLOSED_FORMS]
    if not layers or len(known) < 2:
        return {}
    rng = np.random.default_rng(seed)
    total = np.zeros((len(known), len(known)))
    for _ in range(draws):
        drawn = [_draw(shape, rng) for shape in layers]
        table = np.array([np.concatenate([one[name] for one in drawn]) for name in known])
        total += np.corrcoef(stats.rankdata(table, axis=1))
    mean = total / draws
    return {
        (first, second): float(mean[i, j])
        for i, first in enumerate(known)
        for j, second in enumerate(known)
        if i < j
    }


def _with_norm(criterion: str, n: int) -> float:
    """Correlation of a criterion's score with the filter's own l2 norm."""
    if criterion in _FAMILY:
        return sqrt(1 - 2 / max(n, 2))
    return DISPERSION["l2"] / DISPERSION["l1"] if criterion == "l1" else 1.0


def _draw(shape: LayerShape, rng: np.random.Generator) -> dict[str, np.ndarray]:
    norm, own, shared = rng.normal(size=(3, shape.n))
    n, length = shape.n, norm_mean(shape.d)
    means = {
        "l1": shape.d * sqrt(2 / pi),
        "l2": length,
        "fermat": length * sqrt(1 - 1 / n),
        "gm": (n - 1) * length * sqrt(2),
    }
    noise = {"l1": own, "l2": own, "fermat": shared, "gm": shared}
    scores = {}
    for name, mean in means.items():
        r = _with_norm(name, n)
        deviation = r * norm + sqrt(1 - r**2) * noise[name]
        variation = expected_variation(name, n, shape.d) or 0.0
        scores[name] = shape.scale * mean * (1 + variation * deviation)
    return scores
