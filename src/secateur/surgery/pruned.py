"""The border value of surgery: a network that was cut, and all that is known of the cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from secateur.channels.cost import remaining_shapes
from secateur.channels.groups import ChannelMap
from secateur.channels.tabular import COLUMNS, shortened
from secateur.channels.trace import Example, trace
from secateur.plan import picture
from secateur.plan.history import Cuts
from secateur.plan.plan import PruningPlan
from secateur.surgery import account, package, restore
from secateur.surgery import optimizer as opt
from secateur.surgery.dead_removal import DeadRemoval
from secateur.surgery.rebuild import shrink
from secateur.surgery.reconstruction import Reconstruction
from secateur.surgery.verification import Verification
from secateur.surgery.widths import names_of_widths

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
        channels: the channel map of the network before this cut, which it knows as well; `plan`
            speaks of its groups.
        verification: what of this cut was verified, against what, as it was cut.
        earlier: the cut before this one, of which `model` is the network.
        optimizer: that of `network`, if one was carried along.
        reconstruction: how the cut was repaired, and what that bought, if it was.
        dead_removal: how far the outputs are from before, if dead channels went (`remove_dead`).
    """

    network: nn.Module
    plan: PruningPlan
    channels: ChannelMap
    verification: Verification
    earlier: Pruned | None = None
    optimizer: Optimizer | None = None
    reconstruction: Reconstruction | None = None
    dead_removal: DeadRemoval | None = None

    @property
    def model(self) -> nn.Module:
        """The network before this cut, not a copy."""
        return self.channels.network

    @property
    def example_input(self) -> Example:
        """What both networks were run on."""
        given: Example = self.channels.example_input
        return given

    @property
    def steps(self) -> tuple[Pruned, ...]:
        """Every cut, the first one first, this one last."""
        return (*(self.earlier.steps if self.earlier else ()), self)

    def save(self, path: str | Path) -> Path:
        """Write the network as it is now, with the plans of all its cuts; `load` reads it.

        Raises:
            StorageError: the file could not be written; an earlier one still stands.
        """
        return package.save(self.network, path, [step.plan for step in self.steps])

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
        return opt.cut_optimizer(of_model, *given)

    def take_along(self, optimizer: Optimizer, beside: Iterable[Tensor] = ()) -> None:
        """Make an optimizer of `model`, or of a network before it, one of `network`, in place.

        Settings and state come along, cut; schedulers and all else that hold the optimizer go on.

        Args:
            optimizer: what steps the network before the cut, or before one of the cuts before.
            beside: parameters of other modules that it steps too.

        Raises:
            SurgeryError: it is of no such network, or keeps state that cannot be cut.
        """
        stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
        steps = list(self.steps)
        while len(steps) > 1 and not any(id(p) in stepped for p in steps[0].model.parameters()):
            steps.pop(0)
        for step in steps:
            optimizer_of = step.model, step.network, step.plan, step.channels, beside
            opt.hand_over(optimizer, opt.cut_optimizer(optimizer, *optimizer_of))

    def cut_along(self, network: nn.Module) -> nn.Module:
        """Another network of the structure of `model` (an average of it, say) cut by this plan.

        Biases that a repair made are those of `network`. It is left as it was; nothing is verified,
        since this cut was.

        Raises:
            PlanError: it is of another structure.
        """
        self.plan.check(trace(network, self.example_input))
        made = shrink(network, self.plan, self.channels)
        package.add_biases(made, self.plan.made_biases)
        with torch.no_grad():
            for name in self.plan.made_biases:
                made.get_parameter(name).copy_(self.network.get_parameter(name))
        return made

    def picture(self) -> str:
        """Width and MACs of every group of the first network, before and now, as an SVG text."""
        return picture.picture(self._cuts())

    def __str__(self) -> str:
        """What was asked and reached, the width of every group before and after, what was checked.

        Of a network that was cut several times, costs and widths are those of the first network
        and of this one, with a line for every cut; what was left alone and why is of the last.
        """
        checked = [step.verification for step in self.steps]
        return "\n".join(account.lines(self._cuts(), checked, self._after()))

    def _repr_html_(self) -> str:
        """The same for a notebook, with the picture."""
        checked = [step.verification for step in self.steps]
        return account.html(self._cuts(), checked, self._after())

    def _after(self) -> list[str]:
        """What is to be known of the network after the last cut: stale numbers, what repair did."""
        shapes = remaining_shapes(self.channels, self.plan.remove)
        _, stale = names_of_widths(self.model, shapes)
        said = []
        if left := sorted(stale.keys() - self.plan.attributes.keys()):
            names = shortened((f"{name.lstrip(':')} = {stale[name]}" for name in left), COLUMNS)
            said.append(
                f"numbers that still hold a width from before the cut: {names}; code beside "
                "forward that reads them must be told"
            )
        for found in (self.dead_removal, self.reconstruction):
            said += [] if found is None else str(found).splitlines()
        if made := self.plan.made_biases:
            n = sum(self.network.get_parameter(name).numel() for name in made)
            said.append(f"{n:,} parameters more, in {len(made)} biases that there were not")
        return said

    def _cuts(self) -> Cuts:
        return [(step.channels, step.plan) for step in self.steps]
