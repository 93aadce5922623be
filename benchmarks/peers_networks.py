"""Ten small networks, one for each way in which channels hang together; needs torch alone.

Each is built by its hidden width, so that the network of half the width says what "half of the
channels" is; each is pruned from width 64, takes 2x3x16x16 and gives ten classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 64
CLASSES = 10
INPUT = (2, 3, 16, 16)
HEADS = 4


@dataclass(frozen=True)
class Network:
    """What is hard about it, how it is built, and which attention layers a peer has to be told of.

    `heads` maps the name of a layer that makes queries, keys and values to its number of heads.
    """

    what: str
    build: Callable[[int], nn.Module]
    heads: dict[str, int] = field(default_factory=dict)


def conv(n_in: int, n_out: int, size: int = 3, **options: int) -> nn.Sequential:
    """A convolution that keeps the size of the map, batch norm and ReLU."""
    made = nn.Conv2d(n_in, n_out, size, padding=size // 2, bias=False, **options)
    return nn.Sequential(made, nn.BatchNorm2d(n_out), nn.ReLU())


class Pooled(nn.Module):
    """A mean over positions, then the classifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a map."""
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits


def plain(width: int) -> nn.Module:
    """Convolutions and ReLUs in a row, without batch norm."""
    layers = [nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, width, 3), *Pooled(width).children())


class Residual(nn.Module):
    """A stem, a block whose output is added to it, and a convolution that reads the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv(3, width)
        self.conv1 = conv(width, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, width)
        self.head = Pooled(width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        x = self.stem(x)
        logits: Tensor = self.head(self.conv3(F.relu(x + self.bn2(self.conv2(self.conv1(x))))))
        return logits


def depthwise(width: int) -> nn.Module:
    """Pointwise, depthwise, pointwise, as in MobileNets."""
    middle = conv(width, width, groups=width)
    return nn.Sequential(conv(3, width), middle, conv(width, width, 1), Pooled(width))


class Concat(nn.Module):
    """Two maps side by side, normalised together, as in DenseNets."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv(3, width)
        self.conv2 = conv(width, width)
        self.bn = nn.BatchNorm2d(2 * width)
        self.conv3 = conv(2 * width, width)
        self.head = Pooled(width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        a = self.conv1(x)
        logits: Tensor = self.head(self.conv3(self.bn(torch.cat([a, self.conv2(a)], 1))))
        return logits


def grouped(width: int) -> nn.Module:
    """A convolution of four groups between two others, as in ResNeXts."""
    middle = conv(width, width, groups=4)
    return nn.Sequential(conv(3, width), middle, conv(width, width), Pooled(width))


class Shuffle(nn.Module):
    """Channels of a grouped convolution shuffled before the next, as in ShuffleNets."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv(3, width)
        self.conv1 = conv(width, width, 1, groups=4)
        self.conv2 = conv(width, width, groups=4)
        self.head = Pooled(width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        x = self.conv1(self.stem(x))
        n, c, h, w = x.shape
        x = x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        logits: Tensor = self.head(self.conv2(x))
        return logits


class Chunk(nn.Module):
    """A map in two halves, one the gate of the other, as in gated linear units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv(3, width)
        self.both = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.conv = conv(width, width)
        self.head = Pooled(width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        value, gate = self.both(self.stem(x)).chunk(2, 1)
        logits: Tensor = self.head(self.conv(value * torch.sigmoid(gate)))
        return logits


class Attention(nn.Module):
    """Patches, self-attention of four heads and a perceptron, each with its residual sum.

    There is no layer norm: it mixes channels, so that a right cut would differ from the mask.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.head_dim = width // HEADS
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        n, t, _ = x.shape
        qkv = self.qkv(x).reshape(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = (q @ k.transpose(-2, -1) * 0.25).softmax(-1)
        x = x + self.proj((weights @ v).transpose(1, 2).flatten(2))
        x = x + self.fc2(F.gelu(self.fc1(x)))
        logits: Tensor = self.fc(x.mean(1))
        return logits


def transposed(width: int) -> nn.Module:
    """Down by a stride and up by a transposed convolution, as in decoders."""
    up = nn.ConvTranspose2d(width, width, 2, stride=2)
    down = conv(3, width, stride=2)
    return nn.Sequential(
        down, up, nn.BatchNorm2d(width), nn.ReLU(), conv(width, width), Pooled(width)
    )


class Shared(nn.Module):
    """One convolution called twice, its output coupled with its own input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = conv(3, width)
        self.again = nn.Conv2d(width, width, 3, padding=1)
        self.conv = conv(width, width)
        self.head = Pooled(width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        x = F.relu(self.again(self.stem(x)))
        logits: Tensor = self.head(self.conv(F.relu(self.again(x))))
        return logits


NETWORKS = {
    "plain": Network("convolutions in a row, no batch norm", plain),
    "residual": Network("a residual sum, batch norm", Residual),
    "depthwise": Network("a depthwise convolution", depthwise),
    "concat": Network("a concatenation, one batch norm over it", Concat),
    "grouped": Network("a convolution of four groups", grouped),
    "shuffle": Network("a channel shuffle between grouped convolutions", Shuffle),
    "chunk": Network("`chunk(2)`, one half the gate of the other", Chunk),
    "attention": Network("attention of four heads, a perceptron", Attention, {"qkv": HEADS}),
    "transposed": Network("a transposed convolution", transposed),
    "shared": Network("one convolution called twice", Shared),
}


def with_distinct_weights(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with weights no two of which are the same number, exact in float32.

    A number m·2^e has its own m in [1/2, 1), so that what is left of a weight tells which elements
    of the original it is made of. Statistics of batch norms are moved away from 0 and 1.
    """
    generator = torch.Generator().manual_seed(seed)
    fractions = torch.randperm(2**22, generator=generator)
    start = 0
    with torch.no_grad():
        for parameter in model.parameters():
            mine = fractions[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
            size = parameter[0].numel() if parameter.ndim > 1 else 1
            exponent = round(-torch.tensor(float(size)).log2().item() / 2)
            sign = 2 * torch.randint(2, mine.shape, generator=generator) - 1
            parameter.copy_((0.5 + mine / 2**23) * 2.0**exponent * sign)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
                module.weight.abs_()
    return model
