"""Rank groups: which methods can be told apart, which are tied, and what would have been seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.study.comparison import MeasureDifference
from secateur.study.methods import MethodDifference
from secateur.study.resampling import ALPHA, MIN_SEEDS, holm, visible_effect

Difference = MethodDifference | MeasureDifference
"""A paired difference of two methods; higher is better."""


@dataclass(frozen=True)
class Ranking:
    """Groups of tied methods, best first; none where ranking was `refused`, in words.

    Every method of a group is higher than every method of the groups after it, at 5 % for all pairs
    together. Inside a group two may still differ (`apart`), both being tied with a third.
    `advantage` is a method's mean difference from all others. `resolvable` is the smallest
    difference that would be found four times in five for the pair with the largest error, after
    correction.
    """

    groups: tuple[tuple[str, ...], ...]
    apart: tuple[tuple[str, str], ...]
    advantage: dict[str, float]
    resolvable: float | None
    n_seeds: int
    refused: str | None = None

    def words(self, unit: float = 1.0, of: str = "") -> str:
        """The groups and the resolvable difference, the latter times `unit`, followed by `of`.

        >>> Ranking((("a", "b"), ("c",)), (), {}, 0.012, 5).words(100, "points")
        'a, b tied; then c (5 seeds; differences from 1.2 points on would be found in any pair)'
        """
        if self.refused is not None:
            return self.refused
        parts = [", ".join(group) + " tied" * (len(group) > 1) for group in self.groups]
        told = f"{self.n_seeds} seeds"
        if self.resolvable is not None:
            least = f"{unit * self.resolvable:.2g} {of}".strip()
            told += f"; differences from {least} on would be found in any pair"
        return f"{'; then '.join(parts)} ({told})"


def ranking(differences: Sequence[Difference]) -> Ranking:
    """Rank the methods of one family of paired differences: one network, scope and measure.

    All pairs are tested together (Holm). Refused with fewer than three seeds, or where two methods
    were never paired or their difference has no error.
    """
    names = tuple(dict.fromkeys(n for d in differences for n in (d.criterion, d.reference)))
    n_seeds = min((d.n_seeds for d in differences), default=0)
    refused = _refusal(names, differences, n_seeds)
    if refused is not None:
        return Ranking((), (), {}, None, n_seeds, refused)
    place = {name: k for k, name in enumerate(names)}
    gain = np.zeros((len(names), len(names)))
    different = np.zeros(gain.shape, dtype=bool)
    corrected = holm([np.nan if d.p is None else d.p for d in differences])
    for d, p in zip(differences, corrected, strict=True):
        i, k = place[d.criterion], place[d.reference]
        gain[i, k], gain[k, i] = d.mean, -d.mean
        different[i, k] = different[k, i] = p < ALPHA
    advantage = gain.sum(axis=1) / (len(names) - 1)
    order = np.argsort(-advantage, kind="stable")
    groups = _groups(order, different & (gain > 0))
    apart = [
        (names[i], names[k])
        for group in groups
        for i in group
        for k in group
        if different[i, k] and gain[i, k] > 0
    ]
    errors = [d.error for d in differences if d.error is not None]
    return Ranking(
        groups=tuple(tuple(names[i] for i in group) for group in groups),
        apart=tuple(apart),
        advantage={names[i]: float(advantage[i]) for i in order},
        resolvable=visible_effect(max(errors), n_seeds, ALPHA / len(differences)),
        n_seeds=n_seeds,
    )


def _groups(order: NDArray[np.intp], higher: NDArray[np.bool_]) -> list[list[int]]:
    """Split `order` wherever all that stand before are higher than all that stand after.

    >>> _groups(np.array([1, 0]), np.array([[False, False], [True, False]]))
    [[1], [0]]
    """
    groups: list[list[int]] = [[]]
    for k, method in enumerate(order.tolist()):
        if k and higher[np.ix_(order[:k], order[k:])].all():
            groups.append([])
        groups[-1].append(method)
    return groups


def _refusal(names: Sequence[str], differences: Sequence[Difference], n_seeds: int) -> str | None:
    if len(names) < 2:
        return "not ranked: there are no two methods on the same base networks"
    if n_seeds < MIN_SEEDS:
        return (
            f"not ranked: {n_seeds} of the {MIN_SEEDS} seeds needed; with fewer, the order is "
            "mostly that of chance"
        )
    paired = {frozenset((d.criterion, d.reference)) for d in differences if d.p is not None}
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            if frozenset((one, other)) not in paired:
                return f"not ranked: {one} and {other} have no paired difference with an error"
    return None
