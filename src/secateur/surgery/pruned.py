"""The border value of surgery: a network that was cut, and all that is known of the cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from secateur.channels.cost import cost
from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.channels.trace import Example
from secateur.plan.plan import PruningPlan
from secateur.surgery import optimizer, package, restore
from secateur.surgery.reconstruction import Reconstruction
from secateur.surgery.verification import Verification

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network that was cut, the plan as it was cut, and how the cut was verified.

    A network that was cut several times is saved and restored like one that was cut once: every
    cut knows the one before it.

    Attributes:
        network: the cut network. Train it as any other.
        plan: what was really cut, with the sizes that changed and what was left alone and why.
        channels: the channel map of the network before this cut; `plan` speaks of its groups.
        verification: what of this cut was verified, against what, as it was cut.
        model: the network before this cut, not a copy.
        example_input: what both were run on.
        earlier: the cut before this one, of which `model` is the network.
        optimizer: that of `network`, if one was carried along.
        reconstruction: how the cut was repaired, and what that bought, if it was.
    """

    network: nn.Module
    plan: PruningPlan
    channels: ChannelMap
    verification: Verification
    model: nn.Module
    example_input: Example
    earlier: Pruned | None = None
    optimizer: Optimizer | None = None
    reconstruction: Reconstruction | None = None

    @property
    def steps(self) -> tuple[Pruned, ...]:
        """Every cut, the first one first, this one last."""
        return (*(self.earlier.steps if self.earlier else ()), self)

    def save(self, path: str | Path) -> Path:
        """Write the network as it is now, with the plans of all its cuts; `load` reads it.

        Raises:
            StorageError: the file could not be written; an earlier one still stands.
        """
        plans = [step.plan for step in self.steps]
        return package.save(self.network, path, plans, made=[s.made_biases for s in self.steps])

    @property
    def made_biases(self) -> tuple[str, ...]:
        """Biases that the repair of this cut made; `plan` does not count them."""
        before = dict(self.model.named_parameters()).keys()
        return tuple(n for n, _ in self.network.named_parameters() if n not in before)

    def restore(self) -> nn.Module:
        """The network before the first cut: what stayed as it is now, what went as it was.

        Before any training or repair this is the first network, bit for bit.

        Raises:
            SurgeryError: a network of these cuts was changed in its shapes since.
        """
        made = restore.restore(self.network, restore.remember(self.model, self.plan, self.channels))
        return made if self.earlier is None else replace(self.earlier, network=made).restore()

    def cut_optimizer(self, of_model: Optimizer) -> Optimizer:
        """An optimizer of `network` with the settings and the state of one of `model`.

        Raises:
            SurgeryError: it is not of `model`, or keeps state that cannot be cut.
        """
        given = self.model, self.network, self.plan, self.channels
        return optimizer.cut_optimizer(of_model, *given)

    def __str__(self) -> str:
        """What was asked and reached, the width of every group before and after, what was checked.

        Of a network that was cut several times, widths and costs are of the last cut.
        """
        checked = f"as it was cut, before any training: {self.verification}"
        lines = [str(self.plan), "", *self._widths(), "", checked]
        if self.reconstruction is not None:
            lines.append(str(self.reconstruction))
            if made := self.made_biases:
                n = sum(self.network.get_parameter(name).numel() for name in made)
                lines.append(f"{n:,} parameters more, in {len(made)} biases that there were not")
        if self.earlier is not None:
            first, now = cost(self.steps[0].channels), self.plan.after
            lines.append(
                f"cut {len(self.steps)} times: {now.params / first.params:.1%} of the first "
                f"network's parameters and {now.macs / max(first.macs, 1):.1%} of its MACs are left"
            )
        return "\n".join(lines)

    def _widths(self) -> list[str]:
        """A line a group: its width before and after, as numbers and as a bar."""
        groups = self.channels.groups
        shown = [group for group in groups if group.name in self.plan.remove][:_MOST]
        if not shown:
            return ["every group keeps its width"]
        widest = max(group.n_channels for group in shown)
        name_width = min(max(len(group.name) for group in shown), 40)
        lines = [self._line(group, name_width, widest) for group in shown]
        if more := len(self.plan.remove) - len(shown):
            lines.append(f"… and {more} more groups that were cut")
        if same := len(groups) - len(self.plan.remove):
            lines.append(f"{same} groups of {len(groups)} keep their width")
        return lines

    def _line(self, group: ChannelGroup, name_width: int, widest: int) -> str:
        before = group.n_channels
        after = before - len(self.plan.remove[group.name])
        name = group.name if len(group.name) <= name_width else f"…{group.name[1 - name_width :]}"
        whole, kept = (max(1, round(_CELLS * n / widest)) for n in (before, after))
        kept = min(kept, max(1, whole - 1))  # of what is cut, something is seen to be gone
        bar = "█" * kept + "░" * (whole - kept)
        return f"{name:<{name_width}} {before:>6} → {after:<6} {bar}"


_MOST = 40
"""How many groups are shown; a network of a thousand is no table to read."""

_CELLS = 30
"""How long the bar of the widest group is."""
