"""Blocks of random programs by what they compute: plain layers, norms, complex numbers, noise."""

from __future__ import annotations

import copy
import random

import torch
from torch import Tensor, nn

from program_block import WIDTHS, Block, Made, Signal, conv, layer

OWN = ("conv.weight", 0)


class Plain(Block):
    """A convolution, perhaps a norm, an activation function: what lies between the others."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv = conv(draw, x.n_places, x.width, out)
        norms = [layer("BatchNorm", x.n_places)(out), nn.Identity()]
        self.norm = draw.choice(norms)
        self.act = draw.choice([nn.ReLU, nn.Softplus, nn.Identity])()
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(self.act(self.norm(self.conv(x))), OWN)


class Tagged(torch.Tensor):
    """A tensor of another class."""


class Rewrapped(Block):
    """A layer's output, given on by another Python object."""

    ways = ("copy", "parameter", "subclass")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out, self.how = draw.choice(WIDTHS), way
        self.conv = conv(draw, x.n_places, x.width, out)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap(self.conv(x).sigmoid(), OWN)
        match self.how:
            case "copy":
                return copy.copy(x)
            case "parameter":
                return nn.Parameter(x, requires_grad=False)
        return x.as_subclass(Tagged).as_subclass(Tensor)


class RewrappedParts(Block):
    """A layer's output copied, and two parts of the copy taken by position."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        self.conv = conv(draw, x.n_places, x.width, 8)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = copy.copy(self.tap(self.conv(x).sigmoid(), OWN))
        one, two = x[:, :4].sum(1, keepdim=True), x[:, 4:].sum(1, keepdim=True)
        return torch.cat([one * two, one - two], 1)


class LayerNorm(Block):
    """A layer norm over channels."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv, self.norm = conv(draw, x.n_places, x.width, out), nn.LayerNorm(out)
        self.made = Made(gives=(OWN,), mixes=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x).movedim(1, -1)).movedim(-1, 1)
        return self.tap(x, OWN)


class GroupNorm(Block):
    """A group norm: of few large groups or of many small ones."""

    ways = ("few", "many")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        groups, out = (2, draw.choice([4, 6, 8])) if way == "few" else (4, 8)
        self.conv, self.norm = conv(draw, x.n_places, x.width, out), nn.GroupNorm(groups, out)
        self.made = Made(gives=(OWN,), mixes=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(self.norm(self.conv(x)).relu(), OWN)


class SoftmaxOverChannels(Block):
    """Channels that add up to one."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv = conv(draw, x.n_places, x.width, out)
        self.made = Made(gives=(OWN,), mixes=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(self.conv(x).softmax(1), OWN)


class MeanOverChannels(Block):
    """Every place gated by the mean, or the largest, of its channels."""

    ways = ("mean", "largest")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out, self.largest = draw.choice(WIDTHS), way == "largest"
        self.conv = conv(draw, x.n_places, x.width, out)
        self.made = Made(gives=(OWN,), mixes=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap(self.conv(x), OWN)
        return x * torch.sigmoid(x.amax(1, keepdim=True) if self.largest else x.mean(1)[:, None])


class SideNorm(Block):
    """A branch with a layer norm beside one without, added up at the end."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.a, self.t = (conv(draw, x.n_places, x.width, 4) for _ in range(2))
        self.norm = nn.LayerNorm(4)
        self.o, self.u = (conv(draw, x.n_places, 4, out) for _ in range(2))
        gives = tuple((f"{name}.weight", 0) for name in "atou")
        self.made = Made(gives, on_output=gives[2:], mixes=gives[1:2])

    def forward(self, x: Tensor) -> Tensor:
        one = self.tap(self.a(x).sigmoid(), ("a.weight", 0))
        two = self.norm(self.t(x).movedim(1, -1)).movedim(-1, 1)
        two = self.tap(two, ("t.weight", 0))
        return self.tap(self.o(one), ("o.weight", 0)) + self.tap(self.u(two), ("u.weight", 0))


class Noise(Block):
    """Numbers drawn in evaluation mode, one for every value."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.conv = conv(draw, x.n_places, x.width, out)
        self.made = Made(gives=(OWN,))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.tap(x + 1e-2 * torch.randn_like(x), OWN)


class ComplexProduct(Block):
    """Real and imaginary parts by two layers, turned by an angle for each channel."""

    ways = ("magnitude", "conjugate")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out, self.conjugate = draw.choice(WIDTHS), way == "conjugate"
        self.a, self.b = (conv(draw, x.n_places, x.width, out) for _ in range(2))
        self.p, self.q = (nn.Parameter(torch.zeros(out, *[1] * x.n_places)) for _ in range(2))
        self.made = Made(gives=(("a.weight", 0), ("b.weight", 0)))

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.tap(self.a(x), ("a.weight", 0)), self.tap(self.b(x), ("b.weight", 0))
        z = torch.complex(one, two) * torch.complex(self.p, self.q)
        return (z * z.conj()).real if self.conjugate else z.abs()


class ViewAsReal(Block):
    """Complex numbers as pairs, laid out along the last place."""

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.a, self.b = (conv(draw, x.n_places, x.width, out) for _ in range(2))
        gives = (("a.weight", 0), ("b.weight", 0))
        self.made = Made(gives, same_space=False)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.tap(self.a(x), ("a.weight", 0)), self.tap(self.b(x), ("b.weight", 0))
        return torch.view_as_real(torch.complex(one, two)).flatten(-2)


class TimeSpectrum(Block):
    """Through the spectrum over the last place, to magnitudes or filtered and back."""

    ways = ("magnitude", "filtered")

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        self.back = way == "filtered"
        self.made = Made(carries=1, same_space=self.back)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.fft.rfft(x, dim=-1)
        if not self.back:
            return z.abs()
        slope = torch.linspace(1, 0.5, z.shape[-1], dtype=x.dtype, device=x.device)
        return torch.fft.irfft(z * slope, n=x.shape[-1], dim=-1)


KINDS = (
    Plain,
    Rewrapped,
    RewrappedParts,
    LayerNorm,
    GroupNorm,
    SoftmaxOverChannels,
    MeanOverChannels,
    SideNorm,
    Noise,
    ComplexProduct,
    ViewAsReal,
    TimeSpectrum,
)
