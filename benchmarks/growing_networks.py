"""Plain networks of any depth and width, to see how time grows with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn


class Block(nn.Module):
    """A basic block: two 3x3 convolutions and a shortcut, which is a 1x1 convolution at a step."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = nn.Sequential()
        if n_in != n_out:
            self.shortcut.append(nn.Conv2d(n_in, n_out, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Body and shortcut, added."""
        out: Tensor = self.body(x) + self.shortcut(x)
        return out.relu()


class Network(nn.Module):
    """Features, their mean over positions, and a linear layer of ten outputs."""

    def __init__(self, features: nn.Module, width: int) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, height, width) -> (batch, 10)."""
        out: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return out


def residual(depth: int, times: int = 1) -> Network:
    """A residual network for small images of 6n + 2 layers, (16, 32, 64) channels wide, `times`."""
    widths = [16 * times, 32 * times, 64 * times]
    layers = [nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    n_in = widths[0]
    for width in widths:
        for _ in range((depth - 2) // 6):
            layers.append(Block(n_in, width, 1 if width == n_in else 2))
            n_in = width
    return Network(nn.Sequential(*layers), n_in)


def chain(length: int) -> Network:
    """Plain convolutions of 16 channels, one after the other, with a ReLU after each."""
    layers: list[nn.Module] = []
    for k in range(length):
        layers += [nn.Conv2d(16 if k else 3, 16, 3, 1, 1), nn.ReLU()]
    return Network(nn.Sequential(*layers), 16)


BUILT: Mapping[str, Callable[[int], Network]] = {
    "depth": residual,
    "width": lambda times: residual(20, times),
    "chain": chain,
}
"""Family -> network of a size."""

SERIES: Mapping[str, tuple[int, ...]] = {
    "depth": (20, 56, 110, 302, 602, 998),
    "width": (1, 2, 4, 8),
    "chain": (40, 80, 160, 320),
}
"""The sizes of each family, ascending."""
