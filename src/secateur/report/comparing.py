"""Methods beside each other, computed once from the rows: ranks, controls, budgets, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.study.claims import LITTLE_PRUNABLE, Claim, methods_claim
from secateur.study.comparison import (
    Measured,
    MeasureDifference,
    measure_differences,
    measured,
    sample,
)
from secateur.study.fairness import Fairness, fairness
from secateur.study.grid import Block, Table
from secateur.study.methods import MethodDifference, scratch_differences
from secateur.study.ranking import Difference, Ranking, ranking
from secateur.study.tradeoff import Row
from secateur.study.variance import VarianceShare, prunable_by_seed, variance_shares

OVER_LEVELS, PRUNABLE = "accuracy over all levels", "prunable ratio"
"""What methods are ranked by."""


@dataclass(frozen=True)
class Ranked:
    """The ranking of the methods of one network and scope by one measure."""

    network: str
    scope: str
    by: str
    ranking: Ranking


@dataclass(frozen=True)
class Comparison:
    """What is said of methods against each other, on the seeds that hold every cell.

    `scratch` are differences from training from scratch, over all levels and at each; `measured`
    are all measures but F-beta. `no_shares` says why there are no
    shares of variance.
    """

    fairness: Fairness
    rankings: tuple[Ranked, ...]
    scratch: tuple[MethodDifference, ...]
    measured: tuple[Measured, ...]
    prunable: tuple[MeasureDifference, ...]
    claim: Claim
    shares: tuple[VarianceShare, ...]
    no_shares: str | None


def compare(
    recipe: Mapping[str, Any],
    rows: Sequence[Row],
    cells: Sequence[Table],
    fair: Sequence[Block],
    differences: Sequence[MethodDifference],
    epsilon: float,
) -> Comparison:
    """Compare the methods of a study; `differences` are those over all levels.

    The prunable ratio is that at an accepted loss of `epsilon`.
    """
    found: list[Measured] = []
    gains: list[MeasureDifference] = []
    for block in fair:
        # F-beta alone needs the chance level, which former rows do not hold; it is not shown.
        sampled = sample(block, chance=0.0, epsilons=(epsilon,))
        found += [row for row in measured(sampled) if row.measure != "f_beta"]
        own = measure_differences(sampled)
        gains += [row for row in own if row.measure == f"prunable_{epsilon:g}"]
    by_seed = prunable_by_seed(fair, epsilon)
    shares = () if isinstance(by_seed, str) else variance_shares(by_seed[0])
    no_shares = by_seed if isinstance(by_seed, str) else None
    if not shares and no_shares is None:
        no_shares = "the prunable ratio does not vary"
    return Comparison(
        fairness=fairness(rows, recipe),
        rankings=_rankings(fair, differences, gains),
        scratch=(*scratch_differences(cells), *scratch_differences(cells, per_ratio=True)),
        measured=tuple(found),
        prunable=tuple(gains),
        claim=methods_claim(gains, LITTLE_PRUNABLE, PRUNABLE),
        shares=shares,
        no_shares=no_shares,
    )


def _rankings(
    fair: Sequence[Block],
    differences: Sequence[MethodDifference],
    gains: Sequence[MeasureDifference],
) -> tuple[Ranked, ...]:
    by: Mapping[str, Sequence[Difference]] = {OVER_LEVELS: differences, PRUNABLE: gains}
    return tuple(
        Ranked(block.network, block.scope, name, ranking(_of(found, block)))
        for name, found in by.items()
        for block in fair
    )


def _of(found: Sequence[Difference], block: Block) -> list[Difference]:
    return [d for d in found if (d.network, d.scope) == (block.network, block.scope)]
