"""What a repair did, layer by layer, and what it bought: a value and its words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Method = Literal["batch_norm", "bias", "reconstruct"]
"""Statistics estimated anew; shifts alone; weights and shifts."""

Kept = Literal["cut", "batch_norm", "bias", "reconstruct"]
"""Which network is the answer: the cut one as it was, or a repaired one."""


@dataclass(frozen=True)
class LayerRepair:
    """A layer that was refitted.

    Attributes:
        name: of the module.
        ridge: the regularisation, a multiple of the mean variance of what it reads; infinite where
            its outputs were shifted and its weights left.
        error_before: how far its outputs were from the uncut network's on held-out inputs, root
            mean square over their standard deviation, the layers before it being repaired.
        error_after: how far they are then.
        reads: how many numbers it reads for an output, over all groups.
        rank: how many of these are independent of each other.
        constant: how many never vary.
    """

    name: str
    ridge: float
    error_before: float
    error_after: float
    reads: int
    rank: int
    constant: int


@dataclass(frozen=True)
class Reconstruction:
    """What a repair did, and what it bought.

    Attributes:
        layers: those that were refitted, in the order they run.
        left: layers behind the first cut that were not, and why.
        errors: of the cut network and of each repair that was tried, how far its outputs on
            held-out inputs are from the uncut network's, root mean square over that of the latter.
        kept: which of them is the answer.
        n_inputs: distinct inputs that were taken.
        n_held_out: how many of these were only looked at to judge.
        distance: of the inputs from the batch norms' running statistics in the uncut network, mean
            of |mean - running mean| / running sd; None without batch norms.
        forecast: what the error of a repair was forecast to be before anything was cut, by probes
            of every group; None if it was not.
    """

    layers: tuple[LayerRepair, ...]
    left: Mapping[str, str]
    errors: Mapping[Kept, float]
    kept: Kept
    n_inputs: int
    n_held_out: int
    distance: float | None = None
    forecast: float | None = None

    @property
    def error_before(self) -> float:
        """Of the cut network."""
        return self.errors["cut"]

    @property
    def error_after(self) -> float:
        """Of the one that is kept."""
        return self.errors[self.kept]

    def __str__(self) -> str:
        """In words: what was kept, against what, and what was left alone."""
        others = ", ".join(
            f"{_WORDS[name]} {error:.3g}"
            for name, error in self.errors.items()
            if name != self.kept
        )
        said = f"on {self.n_inputs - self.n_held_out} inputs without labels"
        if self.kept == "cut" and not self.layers:
            said = f"(no layer could be refitted) {said}"
        lines = [
            f"then {_DONE[self.kept]} {said}: on {self.n_held_out} others the outputs differ from "
            f"the uncut network's by {self.error_after:.3g}" + (f" ({others})" if others else "")
        ]
        if self.forecast is not None:
            lines.append(f"before the cut {self.forecast:.3g} was forecast")
        if self.n_held_out < _FEW_JUDGES and self.kept != "cut":
            lines.append(
                f"{self.n_held_out} inputs are few to judge by: real ones may fare worse; give 50 "
                "to 250"
            )
        if self.kept in ("bias", "reconstruct"):
            shifted = sum(math.isinf(layer.ridge) for layer in self.layers)
            lines.append(
                f"{len(self.layers)} layers changed, {shifted} of them by a shift alone; "
                f"{len(self.left)} left as they were"
            )
            if short := [la for la in self.layers if la.rank < la.reads - la.constant]:
                lines.append(
                    f"{len(short)} layers read what depends on itself, {short[0].name!r} first: "
                    f"{short[0].rank} independent numbers of {short[0].reads}"
                )
            if dead := [layer for layer in self.layers if layer.constant]:
                lines.append(
                    f"{len(dead)} layers read what never varies, {dead[0].name!r} first: "
                    f"{dead[0].constant} numbers of {dead[0].reads}"
                )
        return "\n".join(lines)


_FEW_JUDGES = 10
"""Below so many held-out inputs a verdict is said to hang on few."""

_WORDS: Mapping[Kept, str] = {
    "cut": "as it was cut",
    "batch_norm": "batch-norm statistics estimated anew",
    "bias": "biases shifted",
    "reconstruct": "layers refitted",
}

_DONE: Mapping[Kept, str] = {
    "cut": "no repair helped, and it is left as it was cut, judged",
    "batch_norm": "batch-norm statistics were estimated anew",
    "bias": "biases were shifted",
    "reconstruct": "layers were refitted",
}
