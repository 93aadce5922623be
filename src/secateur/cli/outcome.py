"""What `secateur prune` says and writes about a plan: in lines, and layer by layer as CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur.channels.groups import ChannelMap
    from secateur.deploy.device import Fit
    from secateur.deploy.turns import Comparison
    from secateur.plan.plan import PruningPlan
    from secateur.surgery.dead import DeadChannels
    from secateur.surgery.pruned import Pruned
    from secateur.surgery.reconstruction import Reconstruction
    from secateur.surgery.verification import Verification


@dataclass(frozen=True)
class Cut:
    """A network that was cut, and how its channels were chosen.

    `calibrated_on` says which data the criterion took, if any; `alike` are layers in which it
    scores all filters the same.
    """

    pruned: Pruned
    calibrated_on: str | None = None
    alike: tuple[str, ...] = ()

    @property
    def verified(self) -> dict[str, Any]:
        """How it was checked, for JSON."""
        removal = self.pruned.dead_removal
        return (
            verified_outcome(self.pruned.verification)
            if removal is None
            else (asdict(removal) | {"against": "the uncut network"})
        )

    @property
    def checks(self) -> list[str]:
        """How it was checked, in lines."""
        removal = self.pruned.dead_removal
        return str(self.pruned.verification if removal is None else removal).splitlines()


@dataclass(frozen=True)
class Outcome:
    """All that a prune came to. Latencies are measured; `table_of` is the budget's machine."""

    cut: Cut
    criterion: str
    dead: Mapping[str, Any]
    fit: Fit | None
    latency: Comparison
    table_of: str | None
    costs: Sequence[Mapping[str, Any]]
    files: tuple[Path, ...]

    def as_json(self) -> str:
        """The outcome as JSON text."""
        pruned = self.cut.pruned
        answer = {
            "plan": pruned.plan.plain(),
            "verified": self.cut.verified,
            "dead": self.dead,
            "repair": pruned.reconstruction and as_plain(pruned.reconstruction),
            "device": self.fit and asdict(self.fit) | {"fits": self.fit.fits},
            "latency": asdict(self.latency)["rows"],
            "calibration": self.cut.calibrated_on,
            "costs": self.costs,
            "files": [str(file) for file in self.files],
        }
        return json.dumps(answer, allow_nan=False)

    def lines(self) -> list[str]:
        """The outcome in lines."""
        from secateur.channels.tabular import shortened

        pruned = self.cut.pruned
        lines = [*str(pruned.plan).splitlines(), *self.cut.checks, dead_line(self.dead)]
        if self.cut.alike:
            names = shortened(self.cut.alike, 60)
            lines.append(
                f"{self.criterion} scores all filters the same, and cannot choose, in {names}"
            )
        if self.cut.calibrated_on is not None:
            lines.append(f"calibrated on {self.cut.calibrated_on}")
        if self.table_of is not None:
            lines.append(f"milliseconds by the table of {self.table_of}")
        lines += str(self.latency).splitlines()
        if pruned.reconstruction is not None:
            lines += str(pruned.reconstruction).splitlines()
        lines += [str(self.fit)] if self.fit is not None else []
        return [*lines, f"wrote {', '.join(map(str, self.files))}"]


def as_plain(repair: Reconstruction) -> dict[str, Any]:
    """A repair for JSON, where infinite numbers are none."""
    raw = asdict(repair)
    for layer in raw["layers"]:
        layer["ridge"] = layer["ridge"] if isfinite(layer["ridge"]) else None
    raw["errors"] = {k: error if isfinite(error) else None for k, error in raw["errors"].items()}
    return raw


def cost_rows(channels: ChannelMap, plan: PruningPlan) -> list[dict[str, Any]]:
    """Parameters and MACs of every layer before and after the plan."""
    from secateur.channels.cost import layer_costs

    return [
        {
            "layer": old.name,
            "params_before": old.params,
            "params_after": new.params,
            "macs_before": old.macs,
            "macs_after": new.macs,
        }
        for old, new in zip(layer_costs(channels), layer_costs(channels, plan.remove), strict=True)
    ]


def verified_outcome(checked: Verification) -> dict[str, Any]:
    """What was verified, for JSON."""
    return asdict(checked) | {"holds": checked.holds, "exact": checked.exact}


def dead_outcome(dead: DeadChannels, plan: PruningPlan) -> dict[str, Any]:
    """How many channels went, how many of them gave nothing or a constant, and how many do."""
    nothing, constant = dead.among(plan)
    removed = sum(map(len, plan.remove.values()))
    return {
        "removed": removed,
        "nothing": nothing,
        "constant": constant,
        "in_network": dead.n_channels,
        "tolerance": dead.tolerance,
    }


def dead_line(dead: Mapping[str, Any]) -> str:
    """The same in words."""
    return (
        f"dead: of {dead['removed']} channels that went, {dead['nothing']} gave nothing and "
        f"{dead['constant']} a constant; the network had {dead['in_network']} of these"
    )
