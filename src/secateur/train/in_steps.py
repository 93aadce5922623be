"""A network that is cut in steps while someone else's loop trains it: what callbacks share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from torch import nn
from torch.optim import Optimizer

from secateur.channels.trace import Example
from secateur.errors import PlanError, TrainingError, install
from secateur.plan.plan import PruningPlan
from secateur.pruning import prune_steps
from secateur.surgery.pruned import Pruned

_NOT_OF_THE_NETWORK = ("_trainer", "_fabric", "forward", "_original_forward", "on_load_checkpoint")
"""What trainers put on a module: it stays on the module and goes into no copy."""


def check_package(name: str) -> None:
    """Refuse to go on without a trainer's package.

    Raises:
        TrainingError: naming it and how to install it.
    """
    if find_spec(name) is None:
        raise TrainingError(
            f"this callback needs the package {name!r}, not installed here; run {install(name)}"
        )


class InSteps:
    """When a module's network is cut, the cuts so far, and how they are made in place.

    `network` is the name of the network in the module that is trained, or "" for the module.
    `words` are those of `prune_steps`.
    """

    def __init__(
        self,
        example_input: Example,
        steps: int,
        every_n_epochs: int,
        network: str,
        words: Mapping[str, Any],
    ) -> None:
        if not isinstance(every_n_epochs, int) or every_n_epochs < 1:
            raise TrainingError(
                f"every_n_epochs is {every_n_epochs!r}; give a whole number of epochs from 1"
            )
        self.example_input, self.n_steps, self.every = example_input, steps, every_n_epochs
        self.name, self.words = network, dict(words)
        self.pruned: Pruned | None = None
        self._coming: Iterator[Pruned] | None = None

    def check_end(self, n_epochs: int | None) -> None:
        """Refuse a training that ends before it comes to the last cut, or with it.

        Raises:
            TrainingError: naming both epochs.
        """
        last = self.n_steps * self.every
        if n_epochs is not None and 0 < n_epochs <= last:
            raise TrainingError(
                f"{self.n_steps} cuts, one every {self.every} epochs, need more than {last} epochs "
                f"and the training has {n_epochs}; cut more often, in fewer steps, or train longer"
            )

    def advance(self, module: nn.Module, epoch: int, optimizers: Iterable[Optimizer]) -> None:
        """Make the cuts that are due at the start of an epoch, counted from 0."""
        due = min(self.n_steps, epoch // self.every)
        while len(self.steps) < due:
            self._coming = self._coming or self._steps(self._found(module), None)
            self.pruned = next(self._coming)
            inside = {id(parameter) for parameter in self.pruned.model.parameters()}
            beside = [p for p in module.parameters() if id(p) not in inside]
            for optimizer in optimizers:
                self.pruned.take_along(optimizer, beside)
            self._put(module, self.pruned.network)

    @property
    def steps(self) -> tuple[Pruned, ...]:
        """The cuts so far."""
        return () if self.pruned is None else self.pruned.steps

    def plans(self) -> list[dict[str, Any]]:
        """The plans of all cuts so far, as plain data."""
        return [step.plan.plain() for step in self.steps]

    def rebuild(self, module: nn.Module, plans: Sequence[Mapping[str, Any]]) -> None:
        """Give a module the network that these plans leave, with weights of before the first cut.

        Raises:
            TrainingError: the plans are of another network.
        """
        if list(plans) == self.plans():
            return
        whole = self.steps[0].model if self.steps else self._found(module)
        self.pruned = self._coming = None
        if not plans:
            self._put(module, whole)
            return
        try:
            read = [PruningPlan.from_json(json.dumps(plan)) for plan in plans]
            self._coming = self._steps(whole, read)
            self.pruned = next(self._coming)
        except (PlanError, TypeError, ValueError) as error:
            raise TrainingError(
                f"the cuts in the checkpoint do not fit this network: {error}"
            ) from error
        self._put(module, self.pruned.network)

    def check_rebuilt(self, plans: Sequence[Mapping[str, Any]]) -> None:
        """Refuse to train on where the network is not the checkpoint's.

        Raises:
            TrainingError: saying how many cuts each has had.
        """
        if list(plans) != self.plans():
            raise TrainingError(
                f"the checkpoint is of a network after {len(plans)} cuts, this one has had "
                f"{len(self.steps)}; rebuild it by the callback before its weights are loaded"
            )

    def _steps(self, whole: nn.Module, plans: Sequence[PruningPlan] | None) -> Iterator[Pruned]:
        given = {"steps": self.n_steps, "resume": plans, **self.words}
        return prune_steps(whole, self.example_input, **given)

    def _found(self, module: nn.Module) -> nn.Module:
        """The network to be cut: of the module itself all that is not its trainer's."""
        if not self.name:
            shell: nn.Module = type(module).__new__(type(module))
            own = {k: v for k, v in vars(module).items() if k not in _NOT_OF_THE_NETWORK}
            vars(shell).update(
                own | {k: None for k in _NOT_OF_THE_NETWORK[:2] if k in vars(module)}
            )
            return shell
        try:
            return module.get_submodule(self.name)
        except AttributeError:
            names = [name for name, _ in module.named_children()]
            raise TrainingError(
                f"{type(module).__name__} has no network {self.name!r}; there are "
                f"{', '.join(names) or 'none'}, and '' for the whole module"
            ) from None

    def _put(self, module: nn.Module, network: nn.Module) -> None:
        """Put a network where the one before was; the module itself becomes it."""
        if self.name:
            where, _, name = self.name.rpartition(".")
            setattr(module.get_submodule(where), name, network)
            return
        stays = {k: v for k, v in vars(module).items() if k in _NOT_OF_THE_NETWORK}
        vars(module).update(vars(network) | stays)
