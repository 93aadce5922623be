"""Factories that the command line must cut rightly or refuse in words."""

import torch
from torch import Tensor, nn


class Mixing(nn.Module):
    """A softmax over channels between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.softmax(self.first(x), 1))


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def mixing() -> nn.Module:
    return Mixing()


def two_inputs() -> nn.Module:
    return TwoInputs()


def explodes() -> nn.Module:
    raise RuntimeError("no such size")


class HardCoded(nn.Module):
    """Its first width is written into the code; the second is free."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 16, 1)
        self.third = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.first(x).split([4, 4], 1)
        return self.third(self.second(torch.cat([two, one], 1)).relu())


def hard_coded() -> nn.Module:
    return HardCoded()


class EqualHalves(nn.Module):
    """Two halves of one width, which an attribute holds; the second layer is free."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 12
        self.first, self.second = nn.Conv2d(1, 24, 1), nn.Conv2d(24, 16, 3)
        self.third = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.first(x).split(self.width, 1)
        return self.third(self.second(torch.cat([two, one.relu()], 1)).relu())


def equal_halves() -> nn.Module:
    torch.manual_seed(0)
    return EqualHalves()
