"""What `secateur prune` says and writes about a plan: in lines, and layer by layer as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from secateur.channels.groups import ChannelMap
    from secateur.deploy.device import Fit
    from secateur.deploy.turns import Comparison
    from secateur.plan.plan import PruningPlan
    from secateur.surgery.dead import DeadChannels, DeadRemoval
    from secateur.surgery.pruned import Pruned
    from secateur.surgery.reconstruction import Reconstruction
    from secateur.surgery.verification import Verification

_MOST = 5
"""How many groups with one reason are named."""


@dataclass(frozen=True)
class Cut:
    """A network that was cut, and how it was checked: for JSON, and in lines.

    `calibrated_on` says which data the criterion took, if any; `alike` are layers in which it
    scores all filters the same. `pruned` knows how the cut was repaired, if it was.
    """

    plan: PruningPlan
    network: nn.Module
    verified: Mapping[str, Any]
    checks: Sequence[str]
    calibrated_on: str | None = None
    alike: tuple[str, ...] = ()
    pruned: Pruned | None = None

    @property
    def repair(self) -> Reconstruction | None:
        """How it was repaired."""
        return None if self.pruned is None else self.pruned.reconstruction


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
        answer = {
            "plan": json.loads(self.cut.plan.to_json()),
            "verified": self.cut.verified,
            "dead": self.dead,
            "repair": self.cut.repair and as_plain(self.cut.repair),
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

        lines = [*str(self.cut.plan).splitlines(), *self.cut.checks, dead_line(self.dead)]
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
        if self.cut.repair is not None:
            lines += str(self.cut.repair).splitlines()
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


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as CSV text with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def verified_outcome(checked: Verification) -> tuple[dict[str, Any], list[str]]:
    """What was verified, for JSON and in lines."""
    answer = asdict(checked) | {"holds": checked.holds, "exact": checked.exact}
    return answer, str(checked).splitlines()


def removal_outcome(done: DeadRemoval) -> tuple[dict[str, Any], list[str]]:
    """The check against the network as it was, for JSON and in lines."""
    lines = [str(done)]
    if done.shifted:
        n = len(done.shifted)
        more = f" and {n - _MOST} more" if n > _MOST else ""
        lines.append(f"constants went into the biases of {', '.join(done.shifted[:_MOST])}{more}")
    answer = {
        "relative_error": done.relative_error,
        "error_in_own_precision": done.error_in_own_precision,
        "tolerance": done.tolerance,
        "precision": asdict(done.precision),
        "against": "the uncut network",
        "shifted": list(done.shifted),
    }
    return answer, lines


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
