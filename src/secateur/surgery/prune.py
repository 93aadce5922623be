"""Plan to a budget, prove, cut and verify in one: what `prune` does after scoring."""

from __future__ import annotations

from torch import nn

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import Example, recorded
from secateur.plan.budget import Budget
from secateur.surgery.cut import check_values, warn_of_computed_weights
from secateur.surgery.pruned import Pruned
from secateur.surgery.replan import Selection, settled_to_budget


def prune_to_budget(
    model: nn.Module | Pruned,
    example_input: Example,
    budget: Budget,
    select: Selection,
    *,
    channels: ChannelMap | None = None,
) -> Pruned:
    """What `prune` does after scoring, for a selection of one's own.

    `select` makes a plan of a channel map and a budget. `channels`, the map that `trace` made of
    this network, spares tracing it again and brings the rules it was traced by.

    Raises:
        BudgetError: the budget cannot be met.
        SurgeryError: a parameter holds NaN or has no values.
        VerificationError: the cut network does not run.
    """
    network = model.network if isinstance(model, Pruned) else model
    check_values(network)
    run, channels = recorded(network, example_input, channels)
    found = settled_to_budget(network, example_input, budget, select, run, channels)
    warn_of_computed_weights(found.verification, channels, found.plan)
    return Pruned(
        found.network,
        found.plan,
        channels,
        found.verification,
        network,
        example_input,
        model if isinstance(model, Pruned) else None,
    )
