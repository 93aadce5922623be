"""What the cut of a random program must equal, by references that do not ask the label engine.

What a removed channel is, is looked up in the plan's groups (which positions of which parameters
go); where it is at zero, the program itself says by its taps. How channels travel through
operators is nowhere taken from the map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

import secateur as sc
from contracts import permuted
from program_block import Place
from random_programs import RandomProgram

Removal = Mapping[str, tuple[int, ...]]


def silenced_places(
    model: RandomProgram, channels: sc.ChannelMap, remove: Removal
) -> dict[Place, list[int]]:
    """The positions of the program's tapped places that go with a removal."""
    gone: dict[Place, list[int]] = {}
    for name, indices in remove.items():
        rows = np.asarray(indices, dtype=np.int64)
        members = channels.by_name[name].members
        own = [m for m in members if (m.parameter, m.dim) in model.gives]
        known = own or meets_operator_over_channels(model, channels, name)
        assert known, f"no layer of the program gives out what group {name!r} removes"
        for member in own:
            positions = member.index[rows].ravel().tolist()
            gone.setdefault((member.parameter, member.dim), []).extend(positions)
    return gone


def meets_operator_over_channels(model: RandomProgram, channels: sc.ChannelMap, name: str) -> bool:
    """Whether an operator of the program takes a group's channels together."""
    members = channels.by_name[name].members
    return any((member.parameter, member.dim) in model.over_channels for member in members)


def over_channels(
    model: RandomProgram, channels: sc.ChannelMap, remove: Removal
) -> dict[str, tuple[int, ...]]:
    """The part of a removal for which "removed" may differ from "silent".

    These groups meet an operator over channels in the program, and the map lists them for one.
    """
    listed = {name for mixing in channels.mixing for name in mixing.groups}
    return {
        name: gone
        for name, gone in remove.items()
        if name in listed and meets_operator_over_channels(model, channels, name)
    }


def silent_answers(
    model: RandomProgram, gone: Mapping[Place, list[int]], inputs: tuple[Tensor, ...]
) -> list[Tensor]:
    """What the whole network gives back with these positions silent."""
    model.silence(gone)
    try:
        return answers(model, inputs)
    finally:
        model.silence({})


def commuted(
    model: nn.Module, plan: sc.PruningPlan, channels: sc.ChannelMap, orders: Mapping[str, Any]
) -> tuple[nn.Module, sc.PruningPlan]:
    """The network with its channels in another order, and the plan that removes the same ones."""
    remove = {
        name: tuple(np.flatnonzero(np.isin(orders[name], gone)).tolist())
        for name, gone in plan.remove.items()
    }
    return permuted(model, channels, dict(orders)), replace(plan, remove=remove)


def answers(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """All tensors that a network gives back; what it draws is the same in every call."""
    torch.manual_seed(0)
    with torch.no_grad(), SameNoise():
        found = tree_leaves(model(*inputs))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found), "the answer is no number"
    return found


class SameNoise(TorchFunctionMode):
    """Noise as large as a signal is the same for all channels, however many there are."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.randn_like:
            return func(args[0][:, :1]).expand_as(args[0])
        return func(*args, **(kwargs or {}))
