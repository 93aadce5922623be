"""What every block of a random program is made of, and how its channels are silenced."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Place = tuple[str, int]
"""A parameter and one of its dimensions."""

WIDTHS = (2, 3, 4, 6)


@dataclass(frozen=True)
class Signal:
    """A tensor (batch, `width`, *`sizes`) on its way.

    Signals of one `space` have places of the same sizes whatever the input's. `producers` are the
    places, in parameters of the whole network, that give its channels out.
    """

    width: int
    sizes: tuple[int, ...]
    space: int
    producers: frozenset[Place]

    @property
    def n_places(self) -> int:
        """How many dimensions there are behind the channels."""
        return len(self.sizes)


@dataclass(frozen=True)
class Made:
    """What a block says of itself.

    `gives` are places in its own parameters that give channels out, each tapped in its forward;
    `on_output` those of them that lie along its output (all, if none are named), where the channels
    of the first `carries` sources lie as well. An operator over channels takes those of its sources
    together if `mixes_sources`, and those of its own places `mixes`. `same_space` says that its
    output's places are its source's, `free_sizes` that it takes places of any sizes.
    """

    gives: tuple[Place, ...] = ()
    on_output: tuple[Place, ...] = ()
    carries: int = 0
    mixes_sources: bool = False
    mixes: tuple[Place, ...] = ()
    same_space: bool = True
    free_sizes: bool = True

    @property
    def producers(self) -> tuple[Place, ...]:
        """The block's own places along its output."""
        return self.on_output or self.gives


@dataclass
class Silenced:
    """Which positions of which of a block's places are at zero; none, usually."""

    positions: Mapping[Place, Sequence[int]] = field(default_factory=dict)


class Block(nn.Module):
    """One step of a program: `kind(draw, *signals)` is made for signals that it takes.

    A removed channel is at zero wherever a signal leaves a block: what makes channels is tapped
    after its activation function, and what carries them on leaves zero at zero.
    """

    takes: ClassVar[tuple[int, ...]] = (1, 2, 3)
    """How many dimensions of places a signal may have."""
    n_sources: ClassVar[int] = 1
    ways: ClassVar[tuple[str, ...]] = ()
    """What a kind can be made as, if there is a choice: `kind(draw, *signals, way=…)`."""
    made: Made

    def __init__(self) -> None:
        super().__init__()
        self.silenced = Silenced()

    def tap(self, x: Tensor, *places: Place, dim: int = 1) -> Tensor:
        """`x` itself, or zero where one of these places, which lie along `dim`, is silenced."""
        if not self.silenced.positions:
            return x
        gone: list[int] = []
        first = 0
        for name, own in places:
            gone += [first + k for k in self.silenced.positions.get((name, own), ())]
            first += self.get_parameter(name).shape[own]
        return x.index_fill(dim, torch.tensor(gone), 0) if gone else x

    def silent(self, module: nn.Module, rows: Mapping[str, Iterable[int]]) -> nn.Module:
        """A copy of a module whose parameters have zero along these rows."""
        quiet = copy.deepcopy(module)
        with torch.no_grad():
            for name, own in rows.items():
                quiet.get_parameter(name)[list(own)] = 0
        return quiet


def layer(name: str, n_places: int) -> Any:
    """`Conv` in two dimensions is `nn.Conv2d`."""
    return getattr(nn, f"{name}{n_places}d")


def conv(draw: random.Random, n_places: int, n_in: int, n_out: int) -> nn.Module:
    """A convolution that keeps the places."""
    kernel = draw.choice([1, 3])
    made: nn.Module = layer("Conv", n_places)(n_in, n_out, kernel, padding=kernel // 2)
    return made


def kernel(draw: random.Random, n_places: int, *sizes: int) -> nn.Parameter:
    """A weight for `convolve`."""
    return nn.Parameter(torch.zeros(*sizes, *[draw.choice([1, 3])] * n_places))


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution with a weight that is no layer's, places kept."""
    padding = [size // 2 for size in weight.shape[2:]]
    out: Tensor = getattr(F, f"conv{x.ndim - 2}d")(x, weight, bias, padding=padding)
    return out


def along_channels(weight: Tensor, per_channel: Tensor, dim: int) -> Tensor:
    """One number for each channel along `dim` of a weight."""
    shape = [1] * weight.ndim
    shape[dim] = -1
    return per_channel.view(shape)
