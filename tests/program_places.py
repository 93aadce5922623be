"""Blocks of random programs that join signals, or make another number of places of them."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from program_block import Block, Made, Signal, conv


class FlattenPlaces(Block):
    """All places of an image or a volume in a row."""

    takes = (2, 3)

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.made = Made(carries=1, same_space=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)


class FoldPlaces(Block):
    """The rows of an image become channels: five of each."""

    takes = (2,)

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.made = Made(carries=1, same_space=False, free_sizes=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2)


class Upright(Block):
    """A sequence as an image of one row."""

    takes = (1,)

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.made = Made(carries=1, same_space=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(2)


class DropDepth(Block):
    """The first place of a volume or an image goes, by a mean or by the largest."""

    ways = ("mean", "largest")
    takes = (2, 3)

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        self.largest = way == "largest"
        self.made = Made(carries=1, same_space=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(2) if self.largest else x.mean(2)


class Join(Block):
    """The channels of two signals side by side."""

    n_sources = 2

    def __init__(self, draw: random.Random, x: Signal, y: Signal) -> None:
        super().__init__()
        self.made = Made(carries=2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, y], 1)


class Add(Block):
    """One signal added to another, through a layer that gives it as many channels."""

    n_sources = 2

    def __init__(self, draw: random.Random, x: Signal, y: Signal) -> None:
        super().__init__()
        self.conv = conv(draw, x.n_places, y.width, x.width)
        self.made = Made(gives=(("conv.weight", 0),), carries=1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + self.tap(self.conv(y), ("conv.weight", 0))


class GateBy(Block):
    """One signal gated by what a layer makes of another."""

    n_sources = 2

    def __init__(self, draw: random.Random, x: Signal, y: Signal) -> None:
        super().__init__()
        self.conv = conv(draw, x.n_places, y.width, x.width)
        self.made = Made(gives=(("conv.weight", 0),), carries=1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * self.tap(self.conv(y).sigmoid(), ("conv.weight", 0))


KINDS = (FlattenPlaces, FoldPlaces, Upright, DropDepth, Join, Add, GateBy)
