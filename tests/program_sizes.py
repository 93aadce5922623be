"""Blocks of random programs with sizes in their code: parts by position, and branches."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from program_block import WIDTHS, Block, Made, Signal, conv, convolve, kernel

OWN = ("conv.weight", 0)


class LiteralView(Block):
    """Eight channels as two rows of four, by numbers in the code."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.conv = conv(draw, x.n_places, x.width, 8)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap(self.conv(x).relu(), OWN)
        places = x.shape[2:]
        return x.view(x.shape[0], 2, 4, *places).flip(1).reshape(x.shape[0], 8, *places)


class LiteralSplit(Block):
    """Two parts by numbers in the code, in the other order."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.conv = conv(draw, x.n_places, x.width, 6)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.tap(self.conv(x).sigmoid(), OWN).split([2, 4], 1)
        return torch.cat([torch.tanh(two), one], 1)


class AttributeSplit(Block):
    """Two parts by sizes that the module keeps."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.conv, self.sizes = conv(draw, x.n_places, x.width, 7), [3, 4]
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.tap(self.conv(x).sigmoid(), OWN).split(self.sizes, 1)
        return torch.cat([torch.tanh(two), one], 1)


class Chunk(Block):
    """Two halves, the second of which gates the first."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.conv = conv(draw, x.n_places, x.width, 6)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.tap(self.conv(x), OWN).chunk(2, 1)
        return torch.tanh(one) * torch.sigmoid(two)


class LiteralSlices(Block):
    """Two parts by position, each summed up, of which one gates all channels."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.conv = conv(draw, x.n_places, x.width, 6)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap(torch.tanh(self.conv(x)), OWN)
        one, two = x[:, :2].sum(1, keepdim=True), x[:, 2:].sum(1, keepdim=True)
        return x * torch.sigmoid(one - 0.5 * two)


class OneFilterOnEvery(Block):
    """A literal half, each channel of which is an image of its own for one filter."""

    takes = (1, 2)

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.conv, self.filter = conv(draw, x.n_places, x.width, 8), conv(draw, x.n_places, 1, 1)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        one, two = x[:, :4], x[:, 4:]
        n, width, *places = two.shape
        two = self.filter(two.reshape(n * width, 1, *places)).reshape(n, width, *places)
        return self.tap(torch.cat([one, two], 1), OWN)


class SizeBranch(Block):
    """A branch on the size of a place: any example takes the same way."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv, self.other = (conv(draw, x.n_places, x.width, out) for _ in range(2))
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        layer = self.conv if x.shape[-1] > 1 else self.other
        return self.tap(layer(x).relu(), OWN)


class WidthBranch(Block):
    """A branch on the number of channels: another number takes another way."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.conv = conv(draw, x.n_places, x.width, 6)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.tap(torch.relu(x) if x.shape[1] > 4 else torch.tanh(x), OWN)


class WidthAsValue(Block):
    """The number of channels is a factor."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv = conv(draw, x.n_places, x.width, out)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap(self.conv(x).relu(), OWN)
        return x * x.shape[1] ** -0.5


class EqualisedWeight(Block):
    """A weight over the root of how many numbers a filter has."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.w = kernel(draw, x.n_places, out, x.width)
        self.made = Made(gives=(("w", 0),))

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(convolve(x, self.w / self.w[0].numel() ** 0.5).relu(), ("w", 0))


class KnownMask(Block):
    """A branch on the values of a mask that no input reaches."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv = conv(draw, x.n_places, x.width, out)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[0], 1, *x.shape[2:], dtype=torch.bool, device=x.device)
        x = self.tap(self.conv(x).relu(), OWN)
        return x if mask.all() else x * mask


class KnownNumber(Block):
    """A branch on one number of a buffer, which no input reaches either."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv = conv(draw, x.n_places, x.width, out)
        self.register_buffer("steps", torch.tensor(3))
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.tap(x.relu() if int(self.steps) > 2 else x, OWN)


KINDS = (
    LiteralView,
    LiteralSplit,
    AttributeSplit,
    Chunk,
    LiteralSlices,
    OneFilterOnEvery,
    SizeBranch,
    WidthBranch,
    WidthAsValue,
    EqualisedWeight,
    KnownMask,
    KnownNumber,
)
