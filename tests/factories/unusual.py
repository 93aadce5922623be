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
