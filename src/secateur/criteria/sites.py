"""Where scores are taken: filters of layers, scales and shifts of norms, inputs of consumers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

import torch
from torch import Tensor

from secateur.channels.groups import ChannelMap, Layer, Member

Members = Literal["producer", "all"]
"""Whether a group's score is that of the filters which make its channels, or also that of the
weights which read them."""


@dataclass(frozen=True)
class Sites:
    """The places of a network that criteria score, by name.

    `layers` are the convolutions, and the linear layers whose outputs can go; `norms` the batch
    norms with scale and shift that touch a group or follow a layer; `inputs` the weights that read
    a group's channels, which count only with members "all".
    """

    channels: ChannelMap
    members: Members

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Layer by name; those whose weight is a buffer, such as a blur's, are no criterion's."""
        prunable = {m.parameter for g in self.channels.groups for m in g.members if m.role == "out"}
        buffers = set(self.channels.buffers)
        return {
            layer.name: layer
            for weight, layer in self.channels.by_weight.items()
            if weight not in buffers and (layer.kind != "linear" or weight in prunable)
        }

    def n_filters(self, layer: str) -> int:
        """How many filters a layer has."""
        use = self.layers[layer]
        return self.channels.shapes[use.weight][use.out_dim]

    @cached_property
    def layer_of(self) -> dict[str, str]:
        """Layer name by the name of its weight."""
        return {layer.weight: name for name, layer in self.layers.items()}

    @cached_property
    def norms(self) -> tuple[str, ...]:
        """Names of the norms, in order of the groups."""
        found = [layer.norm for layer in self.layers.values() if layer.norm]
        found += [
            norm
            for group in self.channels.groups
            for member in group.members
            if (norm := norm_of(member)) is not None
        ]
        known = self.channels.shapes
        return tuple(dict.fromkeys(norm for norm in found if f"{norm}.weight" in known))

    @cached_property
    def inputs(self) -> dict[str, Member]:
        """Members that read a group's channels, by site."""
        if self.members == "producer":
            return {}
        weights, buffers = self.channels.by_weight, set(self.channels.buffers)
        return {
            input_site(group.name, member): member
            for group in self.channels.groups
            for member in group.members
            if member.role == "in"
            and member.parameter in weights
            and member.parameter not in buffers
        }

    @cached_property
    def readers(self) -> dict[str, tuple[Member, ...]]:
        """Members that read a group's channels by a parameter, by group, whatever `members`."""
        buffers = set(self.channels.buffers)
        return {
            group.name: tuple(
                member
                for member in group.members
                if member.role == "in" and member.parameter not in buffers
            )
            for group in self.channels.groups
        }

    def sizes(self) -> dict[str, int]:
        """Numbers that one channel's filters hold, over all members that are scored, by group."""
        return {
            group.name: sum(
                member.index.shape[1]
                * prod(self.channels.shapes[member.parameter])
                // self.channels.shapes[member.parameter][member.dim]
                for member in group.members
                if (member.role == "out" and member.parameter in self.layer_of)
                or input_site(group.name, member) in self.inputs
            )
            for group in self.channels.groups
        }


def norm_of(member: Member) -> str | None:
    """Name of the norm whose scale a member is, or None."""
    name, _, leaf = member.parameter.rpartition(".")
    return name if member.role == "norm" and leaf == "weight" else None


def input_site(group: str, member: Member) -> str:
    """Name of the place where a weight reads a group's channels."""
    return f"{group} -> {member.parameter}"


def filter_rows(layer: Layer, tensor: Tensor) -> Tensor:
    """One row a filter, of a layer's weight or of anything of its shape, (n, d)."""
    return tensor.movedim(layer.out_dim, 0).flatten(1)


def input_rows(member: Member, tensor: Tensor) -> Tensor:
    """One row a channel that is read, of a weight or of anything of its shape, (n_channels, d)."""
    index = torch.tensor(member.index, device=tensor.device)
    return tensor.movedim(member.dim, 0)[index].flatten(1)
