"""What a network loses when channels of one group go, and ratios that follow. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secateur.channels.groups import ChannelMap
from secateur.errors import BudgetError, PlanError, ReadError, shown
from secateur.plan.budget import Budget
from secateur.plan.reach import reach
from secateur.reading import parse_json
from secateur.typed import as_type

FORMAT = "secateur.sensitivity/1"
_HALVINGS = 50

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Curve:
    """What the network is worth (`values`) without a share (`ratios`) of one group's channels.

    `ratios` ascend and are shares of whole channels, above 0 and below 1.

    Raises:
        PlanError: they do not, or there are other numbers of values.
    """

    group: str
    n_channels: int
    ratios: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise((0.0, *self.ratios, 1.0)))
        if not rising or len(self.ratios) != len(self.values) or self.n_channels < 1:
            raise PlanError(
                f"the curve of group {shown(self.group)} needs a value for each of its ratios, "
                f"which ascend between 0 and 1; got {shown(self.ratios)} of {self.n_channels} "
                f"channels with {shown(self.values)}"
            )


@dataclass(frozen=True)
class Sensitivity:
    """One curve a group, each measured with all other groups whole.

    `measure` names the values, of which `better` ones are higher or lower; `whole` is that of the
    untouched network. `not_prunable` maps layers whose filters cannot go to the reason: they were
    not measured, which is not the same as losing nothing.
    """

    measure: str
    better: Better
    whole: float
    curves: tuple[Curve, ...]
    not_prunable: Mapping[str, str]

    def losses(self, curve: Curve) -> NDArray[np.float64]:
        """How much worse than the whole network at each ratio; never less than at smaller ones."""
        values = np.asarray(curve.values, dtype=np.float64)
        worse = self.whole - values if self.better == "higher" else values - self.whole
        return np.maximum.accumulate(np.maximum(worse, 0.0))

    def insensitive(self, tolerance: float) -> tuple[str, ...]:
        """Groups that lose at most `tolerance` at every ratio that was measured."""
        return tuple(c.group for c in self.curves if self.losses(c).max(initial=0.0) <= tolerance)

    def to_json(self) -> str:
        """The curves as JSON text; `from_json` gives them back."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Sensitivity:
        """What `to_json` wrote.

        Raises:
            PlanError: the text is not that.
        """
        try:
            raw = parse_json(text)
            if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
                raise ReadError("", f"its format is not {FORMAT!r}")
            found: Sensitivity = as_type(cls, raw)
            names = [curve.group for curve in found.curves]
            if len(set(names)) < len(names):
                raise ReadError("", "two curves are of one group")
        except ReadError as error:
            raise PlanError(
                f"this is not a sensitivity analysis: {error}; write one with to_json()"
            ) from error
        return found

    def __str__(self) -> str:
        """A table: groups by how much they lose at most, then what cannot be pruned and why."""
        width = max([5, *(len(curve.group) for curve in self.curves)])
        lines = [
            f"{self.measure} of the whole network: {self.whole:.4g} ({self.better} is better)",
            f"{'group':<{width}}  channels  loss at the share of its channels that goes",
        ]
        for curve in sorted(self.curves, key=lambda c: -self.losses(c).max(initial=0.0)):
            at = zip(curve.ratios, self.losses(curve), strict=True)
            cells = "  ".join(f"{loss:.3g} at {ratio:.0%}" for ratio, loss in at)
            lines.append(f"{curve.group:<{width}}  {curve.n_channels:>8}  {cells}")
        lines += [f"not prunable: {name}: {why}" for name, why in self.not_prunable.items()]
        return "\n".join(lines)


def ratios_from(sensitivity: Sensitivity, tolerance: float) -> dict[str, float]:
    """For every group the largest share that loses at most `tolerance`, for `Budget.ratios`.

    Between measured shares the loss is taken as linear; no share is above the largest measured.

    Raises:
        BudgetError: the tolerance is negative or not a number.
    """
    if not tolerance >= 0:
        raise BudgetError(f"tolerance is a loss of {sensitivity.measure} from 0; got {tolerance!r}")
    return {
        curve.group: _share(curve.ratios, sensitivity.losses(curve), tolerance)
        for curve in sensitivity.curves
    }


def ratios_for(sensitivity: Sensitivity, channels: ChannelMap, budget: Budget) -> dict[str, float]:
    """The shares of `ratios_from` at the smallest tolerance that meets a budget's limits.

    Groups that were not measured stay whole; ratios that the budget has already stay as they are.
    Give them back as `replace(budget, ratios=...)`.

    Raises:
        BudgetError: the budget limits no cost, or the largest measured ratios do not meet it.
    """
    if not budget.limited:
        raise BudgetError(
            "ratios for a budget need a limit: give params, macs, bytes or latency_ms, or ask "
            "ratios_from for a tolerance"
        )
    others = dict.fromkeys(channels.by_name, 0.0)

    def at(tolerance: float) -> Budget:
        found = ratios_from(sensitivity, tolerance)
        clipped = {name: min(share, budget.max_ratio) for name, share in found.items()}
        ratios = {**others, **clipped, **budget.ratios}
        return replace(budget, pruning_ratio=None, ratios=ratios)

    losses = [sensitivity.losses(curve).max(initial=0.0) for curve in sensitivity.curves]
    low, high = 0.0, float(max(losses, default=0.0))
    missed = [row for row in reach(channels, at(high)) if not row.met]
    if missed:
        raise BudgetError(
            f"{missed[0]} with the largest ratios that were measured; measure larger ones, or more "
            "groups"
        )
    if all(row.met for row in reach(channels, at(low))):
        high = low
    for _ in range(_HALVINGS if high > low else 0):
        middle = (low + high) / 2
        if all(row.met for row in reach(channels, at(middle))):
            high = middle
        else:
            low = middle
    return dict(at(high).ratios)


def _share(ratios: tuple[float, ...], losses: NDArray[np.float64], tolerance: float) -> float:
    """The largest share whose loss is at most the tolerance, on the line through (0, 0)."""
    x, y = np.concatenate([[0.0], ratios]), np.concatenate([[0.0], losses])
    beyond = np.flatnonzero(y > tolerance)
    if not beyond.size:
        return float(x[-1])
    k = int(beyond[0])
    return float(x[k - 1] + (tolerance - y[k - 1]) / (y[k] - y[k - 1]) * (x[k] - x[k - 1]))
