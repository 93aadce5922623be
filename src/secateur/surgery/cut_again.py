"""Cuts that were made before, made again on the uncut network: what resuming stands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from secateur.channels.rules import RULES, Rule
from secateur.channels.trace import Example, trace
from secateur.errors import PlanError
from secateur.plan.plan import PruningPlan
from secateur.surgery.in_turn import verified
from secateur.surgery.package import add_biases
from secateur.surgery.pruned import Pruned
from secateur.surgery.rebuild import shrink


def replayed(
    model: nn.Module,
    plans: Sequence[PruningPlan],
    example_input: Example,
    rules: Mapping[str, Rule] = RULES,
) -> Pruned:
    """Cut a network by plans one after the other, each verified; the weights are those of `model`.

    Load the weights that were trained since into the answer's `network`.

    Args:
        model: the network before the first cut; it is left as it was.
        plans: as they were cut, the first one first.
        example_input: as for `prune`.
        rules: what operators do to channels, if not only the library's own.

    Raises:
        PlanError: there is no plan, or one is of another network.
        VerificationError: a cut network differs from its reference.
    """
    if not plans:
        raise PlanError("there is no plan to cut by again; give those of one cut at least")
    found: Pruned | None = None
    for plan in plans:
        network = model if found is None else found.network
        channels = trace(network, example_input, rules)
        plan.check(channels)
        plan = plan.restated(channels)
        small = shrink(network, plan, channels)
        checked = verified(network, small, plan, channels, example_input)
        add_biases(small, plan.made_biases)
        found = Pruned(small, plan, channels, checked, found)
    assert found is not None
    return found
