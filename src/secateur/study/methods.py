"""Methods beside each other on the same base networks: paired differences, controls, ties.

Two criteria are paired where they cut the same base network in the same scope at the same ratio;
pairs are averaged inside a seed, and seeds are the repetitions. All pairs of one network, scope and
ratio are one family of tests, corrected by Holm: what is `higher` or `lower` holds for the whole
family at 5 %, and everything else is a tie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from secateur.study.grid import Table, is_control
from secateur.study.measures import Floats
from secateur.study.resampling import (
    MIN_SEEDS,
    half_width,
    holm,
    mean_and_error,
    p_value,
    seed_means,
    verdict,
)

SCRATCH = "from scratch"
"""The control that has the cut network's size and new weights."""

Measure = Literal["accuracy", "accuracy_cut"]


@dataclass(frozen=True)
class MethodDifference:
    """Accuracy of `criterion` minus that of `reference`, paired by base network, scope and ratio.

    `ratio` is None where all ratios are averaged. `macs_ratio` is the criterion's MACs over the
    reference's: at an equal share of channels a global scope cuts different layers. `low` and
    `high` bound the mean at 95 %, this pair alone; `error` is its standard error; `p_holm` is p
    corrected for all pairs of the same network, scope and ratio. `verdict` is `higher`, `lower`,
    `tie` (by `p_holm`), or says why there is no ranking.
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
    error: float | None = None
    p: float | None = None
    p_holm: float | None = None


def method_differences(
    cells: Iterable[Table], measure: Measure = "accuracy", per_ratio: bool = False
) -> tuple[MethodDifference, ...]:
    """Differences between every two criteria, per network and scope; the control is the reference.

    Fewer than three seeds rank nothing.
    """
    found: list[MethodDifference] = []
    for (network, scope), own in _by_scope(cells).items():
        stack = _stack(own, measure)
        names = sorted(stack.accuracy, key=lambda name: (is_control(name), name))
        pairs = list(combinations(names, 2))
        if pairs:
            gains = np.stack([stack.accuracy[one] - stack.accuracy[other] for one, other in pairs])
            macs = np.stack([stack.macs[one] / stack.macs[other] for one, other in pairs])
            found += _differences(pairs, network, scope, gains, macs, stack, per_ratio)
    return _sorted(found)


def scratch_differences(
    cells: Iterable[Table], measure: Measure = "accuracy", per_ratio: bool = False
) -> tuple[MethodDifference, ...]:
    """Every criterion against the same size trained from scratch, where that was done.

    The reference is `from scratch`; uniform cuts alone have one, of equal size: `macs_ratio` is 1.

    Reference: Liu et al., "Rethinking the Value of Network Pruning", arXiv 1810.05270.
    """
    found: list[MethodDifference] = []
    for (network, scope), own in _by_scope(cells).items():
        stack = _stack(own, measure)
        names = sorted(name for name, a in stack.scratch.items() if np.isfinite(a).any())
        if names:
            gains = np.stack([stack.accuracy[name] - stack.scratch[name] for name in names])
            pairs = [(name, SCRATCH) for name in names]
            found += _differences(
                pairs, network, scope, gains, np.ones_like(gains), stack, per_ratio
            )
    return _sorted(found)


@dataclass(frozen=True)
class _Stack:
    """All base networks of one network and scope: each mapping goes to (bases, ratios)."""

    seeds: Sequence[int]
    ratios: tuple[float, ...]
    accuracy: Mapping[str, Floats]
    macs: Mapping[str, Floats]
    scratch: Mapping[str, Floats]


def _by_scope(cells: Iterable[Table]) -> dict[tuple[str, str], list[Table]]:
    groups: dict[tuple[str, str], list[Table]] = {}
    for table in cells:
        groups.setdefault((table.cell.network, table.cell.scope), []).append(table)
    return groups


def _stack(own: Sequence[Table], measure: Measure) -> _Stack:
    bases = {base["id"]: base["seed"] for table in own for base in table.bases}
    line = {name: k for k, name in enumerate(bases)}
    ratios = tuple(sorted({ratio for table in own for ratio in table.ratios if ratio > 0}))
    place = {ratio: k for k, ratio in enumerate(ratios)}
    filled: tuple[dict[str, Floats], ...] = ({}, {}, {})
    for table in own:
        index = np.ix_(
            [line[base["id"]] for base in table.bases], [place[r] for r in table.ratios[1:]]
        )
        sources = (table.values[measure], table.values["macs"], table.scratch)
        for target, source in zip(filled, sources, strict=True):
            array = target.setdefault(
                table.cell.criterion, np.full((len(bases), len(ratios)), np.nan)
            )
            array[index] = source[:, 1:]
    return _Stack(list(bases.values()), ratios, *filled)


def _differences(
    pairs: Sequence[tuple[str, str]],
    network: str,
    scope: str,
    gains: Floats,
    macs: Floats,
    stack: _Stack,
    per_ratio: bool,
) -> list[MethodDifference]:
    """`gains` and `macs` have shape (pairs, bases, ratios), NaN where there is no pair."""
    known = np.isfinite(gains)
    if not per_ratio:
        gains, macs, known = (a.reshape(len(pairs), -1, 1) for a in (gains, macs, known))
    seeds = np.repeat(stack.seeds, gains.shape[1] // len(stack.seeds))
    by_seed = seed_means(seeds, gains.transpose(1, 0, 2))
    mean, error, n_seeds = mean_and_error(by_seed)
    margin, p = half_width(error, n_seeds), p_value(mean, error, n_seeds)
    p = np.where(n_seeds < MIN_SEEDS, np.nan, p)
    n_pairs = known.sum(axis=1)
    size = np.where(known, macs, 0).sum(axis=1) / np.maximum(n_pairs, 1)
    found = []
    for k in range(gains.shape[2]):
        corrected = holm(p[:, k])
        for i, (one, other) in enumerate(pairs):
            if n_pairs[i, k]:
                found.append(
                    MethodDifference(
                        criterion=one,
                        reference=other,
                        network=network,
                        scope=scope,
                        ratio=stack.ratios[k] if per_ratio else None,
                        mean=float(mean[i, k]),
                        low=_known(mean[i, k] - margin[i, k]),
                        high=_known(mean[i, k] + margin[i, k]),
                        macs_ratio=float(size[i, k]),
                        n_seeds=int(n_seeds[i, k]),
                        n_pairs=int(n_pairs[i, k]),
                        verdict=verdict(float(mean[i, k]), corrected[i], int(n_seeds[i, k])),
                        error=_known(error[i, k]),
                        p=_known(p[i, k]),
                        p_holm=_known(corrected[i]),
                    )
                )
    return found


def _sorted(found: list[MethodDifference]) -> tuple[MethodDifference, ...]:
    def place(d: MethodDifference) -> tuple[object, ...]:
        return (d.criterion, d.reference, d.network, d.scope, d.ratio or 0.0)

    return tuple(sorted(found, key=place))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
