"""Blocks of random programs whose weights are no layer's own, or are computed before use."""

from __future__ import annotations

import random
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from program_block import WIDTHS, Block, Made, Signal, along_channels, conv, convolve, kernel

ORIGINAL = "conv.parametrizations.weight.original"


class FunctionalConv(Block):
    """F.conv with a parameter of the block."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.w = kernel(draw, x.n_places, out, x.width)
        self.b = nn.Parameter(torch.zeros(out))
        self.made = Made(gives=(("w", 0),))

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(F.silu(convolve(x, self.w, self.b)), ("w", 0))


class FunctionalLinear(Block):
    """A linear layer without a module, over channels that lie last."""

    ways = ("linear", "matmul")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out, self.how = draw.choice(WIDTHS), way
        self.w = nn.Parameter(torch.zeros(out, x.width))
        self.b = nn.Parameter(torch.zeros(out))
        self.made = Made(gives=(("w", 0),))

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(1, -1)
        x = F.linear(x, self.w, self.b) if self.how == "linear" else x @ self.w.t() + self.b
        return self.tap(F.sigmoid(x), ("w", 0), dim=-1).movedim(-1, 1)


class Einsum(Block):
    """A linear layer as an einsum."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(draw.choice(WIDTHS), x.width))
        self.made = Made(gives=(("w", 0),))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("ni...,oi->no...", x, self.w)
        return self.tap(torch.tanh(x), ("w", 0))


class StackedWeights(Block):
    """Two layers run as one: their filters one after the other."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        one, two = draw.choice(WIDTHS), draw.choice(WIDTHS)
        make = getattr(nn, f"Conv{x.n_places}d")
        self.a, self.b = make(x.width, one, 1), make(x.width, two, 1)
        self.made = Made(gives=(("a.weight", 0), ("b.weight", 0)))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([self.a.weight, self.b.weight])
        x = torch.tanh(convolve(x, weight, torch.cat([self.a.bias, self.b.bias])))
        return self.tap(x, ("a.weight", 0), ("b.weight", 0))


class StackedInputs(Block):
    """A weight in two pieces, each of which reads a part of the inputs."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out, first = draw.choice(WIDTHS), x.width // 2
        self.a = nn.Parameter(torch.zeros(out, first))
        self.b = nn.Parameter(torch.zeros(out, x.width - first))
        self.made = Made(gives=(("a", 0), ("b", 0)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x.movedim(1, -1), torch.cat([self.a, self.b], 1))
        return self.tap(x, ("a", 0), dim=-1).movedim(-1, 1)


class TiedWeights(Block):
    """Down by a weight and up again by the same weight, turned."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(draw.choice(WIDTHS), x.width))
        places = (("w", 0), ("w", 1))
        self.made = Made(places, on_output=(("w", 1),), carries=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.tap(F.linear(x.movedim(1, -1), self.w).relu(), ("w", 0), dim=-1)
        return self.tap(F.linear(hidden, self.w.t()), ("w", 1), dim=-1).movedim(-1, 1)


class OuterProductWeight(Block):
    """A weight of rank one: a vector over outputs times one over inputs."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.u, self.v = nn.Parameter(torch.zeros(out)), nn.Parameter(torch.zeros(x.width))
        self.made = Made(gives=(("u", 0),))

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x.movedim(1, -1), self.u[:, None] * self.v)
        return self.tap(torch.tanh(x), ("u", 0), dim=-1).movedim(-1, 1)


class GatedWeight(Block):
    """A weight scaled by a gate for every filter, or for every input."""

    ways = ("filters", "inputs")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.w = kernel(draw, x.n_places, out, x.width)
        self.side = 0 if way == "filters" else 1
        self.gate = nn.Parameter(torch.zeros(self.w.shape[self.side]))
        self.made = Made(gives=(("w", 0),))

    def forward(self, x: Tensor) -> Tensor:
        gate = along_channels(self.w, torch.sigmoid(self.gate), self.side)
        return self.tap(convolve(x, self.w * gate).relu(), ("w", 0))


class NormalisedWeight(Block):
    """A weight over its own norm, largest value or sum, taken over inputs."""

    ways = ("l2", "max", "demodulate", "softmax", "centred")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.w, self.how = kernel(draw, x.n_places, out, x.width), way
        self.made = Made(gives=(("w", 0),), mixes_sources=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(convolve(x, self.weight()).relu(), ("w", 0))

    def weight(self) -> Tensor:
        w, inputs = self.w, list(range(1, self.w.ndim))
        match self.how:
            case "l2":
                return F.normalize(w.flatten(1), dim=1).view_as(w)
            case "max":
                return w / w.abs().amax(inputs, keepdim=True)
            case "demodulate":
                return w * torch.rsqrt(w.pow(2).sum(inputs, keepdim=True) + 1e-8)
            case "softmax":
                return w.flatten(1).softmax(1).view_as(w)
        return w - w.mean(1, keepdim=True)


class StandardisedWeight(Block):
    """Weight standardisation: every filter has mean zero and variance one."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv = conv(draw, x.n_places, x.width, out)
        self.made = Made(gives=(("conv.weight", 0),), mixes_sources=True)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.conv.weight.flatten(1)
        flat = (flat - flat.mean(1, keepdim=True)) / (
            flat.std(1, correction=0, keepdim=True) + 1e-5
        )
        weight = flat.view_as(self.conv.weight)
        return self.tap(convolve(x, weight, self.conv.bias).relu(), ("conv.weight", 0))


class MixedWeights(Block):
    """Three kernels, mixed by the softmax of three numbers."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.w = kernel(draw, x.n_places, 3, out, x.width)
        self.mixing = nn.Parameter(torch.zeros(3))
        # a kernel that goes is a share of the mixing that goes
        mixes = (("mixing", 0), ("w", 0))
        self.made = Made(gives=(("w", 1),), mixes=mixes)

    def forward(self, x: Tensor) -> Tensor:
        share = along_channels(self.w, self.mixing.softmax(0), 0)
        return self.tap(convolve(x, (share * self.w).sum(0)).relu(), ("w", 1))


class WeightNorm(Block):
    """torch's weight norm, a magnitude for every filter, every input, or for all."""

    ways = ("filters", "inputs", "all")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out, dim = draw.choice(WIDTHS), {"filters": 0, "inputs": 1, "all": None}[way]
        self.conv = parametrizations.weight_norm(conv(draw, x.n_places, x.width, out), dim=dim)
        own = ((ORIGINAL + "1", 0),)
        mixes = () if dim == 0 else own
        self.made = Made(own, mixes=mixes, mixes_sources=dim != 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(self.conv(x).relu(), (ORIGINAL + "1", 0))


class SpectralNorm(Block):
    """torch's spectral norm: a weight over its largest singular value, as last estimated."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv = parametrizations.spectral_norm(conv(draw, x.n_places, x.width, out))
        own = ((ORIGINAL, 0),)
        self.made = Made(own, mixes=own, mixes_sources=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(self.conv(x).relu(), (ORIGINAL, 0))


class OldWeightNorm(Block):
    """torch's older weight norm, whose hook makes the weight anew before every call."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it is deprecated, and much used
            self.conv = nn.utils.weight_norm(conv(draw, x.n_places, x.width, out))
        self.made = Made((("conv.weight_v", 0),), mixes_sources=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(self.conv(x).relu(), ("conv.weight_v", 0))


KINDS = (
    FunctionalConv,
    FunctionalLinear,
    Einsum,
    StackedWeights,
    StackedInputs,
    TiedWeights,
    OuterProductWeight,
    GatedWeight,
    NormalisedWeight,
    StandardisedWeight,
    MixedWeights,
    WeightNorm,
    SpectralNorm,
    OldWeightNorm,
)
