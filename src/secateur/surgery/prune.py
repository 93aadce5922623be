"""Plan to a budget, prove, cut and verify in one: what `prune` does after scoring."""

from __future__ import annotations

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import recorded
from secateur.plan.budget import Budget
from secateur.surgery.cut import as_pruned, check_values
from secateur.surgery.pruned import Pruned
from secateur.surgery.replan import Selection, settled_to_budget


def prune_to_budget(
    channels: ChannelMap, budget: Budget, select: Selection, *, earlier: Pruned | None = None
) -> Pruned:
    """What `prune` does after scoring, for a selection of one's own.

    `select` makes a plan of a channel map and a budget. Groups that the proof holds back are
    ignored and the rest is planned again, until nothing is held back; where channels stay so that
    sizes in the network's code fit, the rest is planned to a tighter budget, as little tighter as
    will do. Where that meets no budget, groups that were held back in one plan may yet be cut in a
    tighter one, as those are of which as many channels must go as of another.

    Args:
        channels: what `trace` found out about the network.
        budget: what to meet.
        select: such as `functools.partial(secateur.uniform, scores)`.
        earlier: the cut that made this network, if it was cut before.

    Raises:
        BudgetError: the budget cannot be met, at all or without the groups that are held back.
        ChannelMapError: the map knows no network, or one of other shapes.
        SurgeryError: a parameter holds NaN or has no values, or `earlier` made another network.
        VerificationError: the cut network does not run.
    """
    model, example_input = channels.network, channels.example_input
    check_values(model)
    run, channels = recorded(model, example_input, channels)
    found = settled_to_budget(model, example_input, budget, select, run, channels)
    return as_pruned(found, channels, earlier)
