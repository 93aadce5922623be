"""What is known of a network whose dead channels went: how far its outputs are from before."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.channels.tabular import COLUMNS, shortened
from secateur.surgery.precision import Precision


@dataclass(frozen=True)
class DeadRemoval:
    """How far the outputs of a network are from those it had with its dead channels.

    `relative_error` is max |after - before| / max |before| in float64 on seeded random input;
    `error_in_own_precision` the same as the network is run, where sums in another order round
    otherwise (None if it cannot be run so here). `tolerance` is what the channels were found with:
    zero if only exact zeros and constants went. `shifted` names the layers whose bias took up
    constants.
    """

    tolerance: float
    relative_error: float
    error_in_own_precision: float | None
    precision: Precision
    shifted: tuple[str, ...]

    def __str__(self) -> str:
        rounding = f"the rounding of {self.precision.name} is {self.precision.rounding:.1e}"
        said = f"outputs unchanged within {self.relative_error:.1e} in float64 ({rounding})"
        if self.shifted:
            said += f"\nconstants went into the biases of {shortened(self.shifted, COLUMNS)}"
        return said
