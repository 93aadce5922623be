"""Plan in, smaller module out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.channels.cost import kept_positions
from secateur.channels.rules import RULES
from secateur.channels.trace import Example, channel_map, record
from secateur.plan.plan import PruningPlan
from secateur.surgery.prove import prove
from secateur.surgery.rebuild import rebuild
from secateur.surgery.verify import verify


def cut(model: nn.Module, plan: PruningPlan, example_input: Example) -> nn.Module:
    """Remove the channels of a plan and return a new, smaller module; `model` is untouched.

    The plan is proved on shapes before anything is cut, and the result is verified against the
    masked network in float64 afterwards.

    Raises:
        PlanError: the plan was made for another network.
        ProofError: the network's code would not line up after the cut.
        VerificationError: the cut network differs from the masked one.
    """
    run = record(model, example_input, RULES)
    channels = channel_map(run)
    plan.check(channels)
    prove(model, plan, example_input, run, channels)
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    tensors: dict[str, Tensor] = {}
    for (name, dim), positions in kept_positions(channels, plan.remove).items():
        old = tensors.get(name, named[name].detach())
        tensors[name] = old.index_select(dim, torch.from_numpy(positions).to(old.device))
    small = rebuild(model, tensors)
    verify(model, small, plan, channels, example_input)
    return small
