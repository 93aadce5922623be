"""Random convolutional networks from a seed: every layer drawn, every kind of wiring possible."""

from __future__ import annotations

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RandomNetwork(nn.Module):
    """A stem, a few random steps on a growing list of feature maps of one size, and a head.

    Each step takes one or two earlier maps and appends one, so that maps are used several times
    and wired at random. All maps keep their spatial size, in one to three dimensions.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.draw = random.Random(seed)
        self.n_spatial = self.draw.choices([1, 2, 3], [1, 4, 1])[0]
        self.widths = [self.draw.choice([4, 6, 8])]
        self.stem = self._conv(1, self.widths[0])
        self.layers = nn.ModuleDict()
        self.scales = nn.ParameterDict()
        self.steps: list[tuple[str, tuple[int, ...], Any]] = []
        kinds = self.kinds()
        for _ in range(self.draw.randint(3, 7)):
            kind = self.draw.choice(kinds)
            # the newest map is used more often, so that networks are deep and not only wide
            n = len(self.widths)
            source = n - 1 if self.draw.random() < 0.6 else self.draw.randrange(n)
            getattr(self, f"make_{kind}")(source)
        self.flat = self.draw.random() < 0.3
        used = {source for _, sources, _ in self.steps for source in sources}
        self.last = [k for k in range(len(self.widths)) if k not in used]
        width = sum(self.widths[k] for k in self.last)
        self.head = nn.Linear(width * (2**self.n_spatial if self.flat else 1), 3)

    @classmethod
    def kinds(cls) -> list[str]:
        return [name.removeprefix("make_") for name in dir(cls) if name.startswith("make_")]

    def example(self) -> Tensor:
        return torch.zeros(2, 1, *(6, 6, 4)[: self.n_spatial])

    def _in_dimensions(self, name: str) -> Any:
        """`Conv` is Conv2d, in other networks Conv1d or Conv3d."""
        return getattr(nn, f"{name}{self.n_spatial}d")

    def _norm(self, width: int) -> nn.Module:
        return self._in_dimensions("BatchNorm")(width)

    def _conv(self, n_in: int, n_out: int, **options: Any) -> nn.Module:
        kernel = self.draw.choice([1, 3])
        bias = self.draw.random() < 0.5
        make = self._in_dimensions("Conv")
        return make(n_in, n_out, kernel, padding=kernel // 2, bias=bias, **options)

    def _add(self, kind: str, sources: tuple[int, ...], width: int, *layers: nn.Module) -> None:
        name = f"{kind}{len(self.steps)}"
        self.layers[name] = nn.ModuleList(layers)
        self.steps.append((name, sources, None))
        self.widths.append(width)

    def make_plain(self, source: int) -> None:
        width = self.draw.choice([2, 3, 4, 6, 8])
        layers = [self._conv(self.widths[source], width)]
        norm = self._norm(width) if self.draw.random() < 0.7 else nn.Identity()
        act = self.draw.choice([nn.ReLU, nn.Hardswish, nn.Sigmoid, nn.GELU, nn.Identity])()
        self._add("plain", (source,), width, *layers, norm, act)

    def make_residual(self, source: int) -> None:
        width = self.widths[source]
        inner = self.draw.choice([2, 3, 5])
        self._add(
            "residual",
            (source,),
            width,
            self._conv(width, inner),
            self._norm(inner),
            self._conv(inner, width),
        )

    def make_preactivation(self, source: int) -> None:
        width = self.widths[source]
        self._add("preactivation", (source,), width, self._norm(width), self._conv(width, width))

    def make_concat(self, source: int) -> None:
        other = self.draw.randrange(len(self.widths))
        self._add("concat", (source, other), self.widths[source] + self.widths[other])

    def make_add(self, source: int) -> None:
        width = self.widths[source]
        same = [k for k, n in enumerate(self.widths) if n == width]
        self._add("add", (source, self.draw.choice(same)), width)

    def make_depthwise(self, source: int) -> None:
        width = self.widths[source]
        wide = width * self.draw.choice([1, 1, 2])
        self._add(
            "depthwise",
            (source,),
            wide,
            self._conv(width, wide, groups=width),
            self._norm(wide),
        )

    def make_grouped(self, source: int) -> None:
        width = self.widths[source]
        groups = 2 if width % 2 == 0 else 1
        out = self.draw.choice([4, 6])
        self._add("grouped", (source,), out, self._conv(width, out, groups=groups))

    def make_excite(self, source: int) -> None:
        width = self.widths[source]
        self._add("excite", (source,), width, nn.Linear(width, 2), nn.Linear(2, width))

    def make_gated(self, source: int) -> None:
        width = self.draw.choice([2, 3, 4])
        self._add("gated", (source,), width, self._conv(self.widths[source], 2 * width))

    def make_branches(self, source: int) -> None:
        width = self.widths[source]
        widths = [self.draw.choice([1, 2, 3]) for _ in range(3)]
        self._add("branches", (source,), sum(widths), *(self._conv(width, n) for n in widths))

    def make_shuffle(self, source: int) -> None:
        width = self.widths[source]
        self._add("shuffle" if width % 2 == 0 else "add", (source, source), width)

    def make_twice(self, source: int) -> None:
        width = self.widths[source]
        self._add("twice", (source,), width, self._conv(width, width), nn.PReLU(width))

    def make_up_and_down(self, source: int) -> None:
        width, out = self.widths[source], self.draw.choice([3, 4])
        groups = self.draw.choice([1, 1, 2]) if width % 2 == 0 else 1
        out *= groups
        up = self._in_dimensions("ConvTranspose")(width, out, 2, stride=2, groups=groups)
        self._add("up_and_down", (source,), out, up, self._in_dimensions("AvgPool")(2))

    def make_split(self, source: int) -> None:
        """One half goes through a convolution, the other past it."""
        half = self.widths[source] // 2
        if half == 0:
            return self.make_plain(source)
        layers = (self._conv(self.widths[source], 2 * half), self._conv(half, half))
        return self._add("split", (source,), 2 * half, *layers)

    def make_scaled(self, source: int) -> None:
        width = self.widths[source]
        scale = torch.ones(width, *(1,) * self.n_spatial)
        self.scales[f"scaled{len(self.steps)}"] = nn.Parameter(scale)
        self._add("scaled", (source,), width)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for name, sources, _ in self.steps:
            layers = self.layers[name]
            inputs = [maps[k] for k in sources]
            maps.append(self._step(name, layers, *inputs))
        x = F.relu(torch.cat([maps[k] for k in self.last], 1))
        if self.flat:
            pool = getattr(F, f"adaptive_max_pool{self.n_spatial}d")
            return self.head(pool(x, 2).flatten(1))
        return self.head(x.flatten(2).mean(2))

    def _step(self, name: str, layers: Any, x: Tensor, other: Tensor | None = None) -> Tensor:
        match name.rstrip("0123456789"):
            case "plain" | "depthwise" | "grouped" | "up_and_down":
                for layer in layers:
                    x = layer(x)
                return x
            case "residual":
                return F.relu(x + layers[2](F.relu(layers[1](layers[0](x)))))
            case "preactivation":
                return x + layers[1](F.relu(layers[0](x)))
            case "concat":
                assert other is not None
                return torch.cat([x, other], dim=1)
            case "add":
                assert other is not None
                return x + 0.5 * other
            case "excite":
                gate = torch.sigmoid(layers[1](F.relu(layers[0](x.flatten(2).mean(2)))))
                return x * gate.view(*gate.shape, *(1,) * self.n_spatial)
            case "gated":
                a, b = layers[0](x).chunk(2, dim=1)
                return torch.tanh(a) * torch.sigmoid(b)
            case "branches":
                return torch.cat([F.silu(layer(x)) for layer in layers], dim=1)
            case "shuffle":
                b, c, *places = x.shape
                return x.view(b, 2, c // 2, *places).transpose(1, 2).reshape(b, c, *places)
            case "split":
                a, b = layers[0](x).chunk(2, dim=1)
                return torch.cat([b, layers[1](F.relu(a))], dim=1)
            case "twice":
                return layers[1](layers[0](layers[1](layers[0](x))))
            case "scaled":
                return x + self.scales[name] * torch.relu(x)
        raise AssertionError(name)
