"""What the reference networks share: the block they are made of, a norm, and their common start."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Size = int | tuple[int, int]
"""One number for both axes, or one for frequency and one for time."""


class ConvBn(nn.Module):
    """Convolution without bias, batch norm, and a ReLU unless `relu` is false.

    (batch, in, h, w) -> (batch, out, ceil(h / stride), ceil(w / stride))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Size = 3,
        stride: Size = 1,
        conv_groups: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            padding=(high // 2, wide // 2),
            groups=conv_groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Filter, normalise, rectify."""
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


def frequency_normalised(x: Tensor, eps: float) -> Tensor:
    """Mean 0 and variance 1 over channels and time, for every frequency of every example.

    (batch, channels, frequency, time) -> the same.
    """
    centred = x - x.mean((1, 3), keepdim=True)
    return centred / (centred.square().mean((1, 3), keepdim=True) + eps).sqrt()


class ResidualNorm(nn.Module):
    """Every frequency normalised over channels and time, plus `share` of what came in.

    A recording device shifts and scales frequencies; this goes, all but the share. What is averaged
    over channels changes when one is cut. The shape stays.

    Reference: Kim et al. 2021 (2111.06531).
    """

    def __init__(self, share: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.share, self.eps = share, eps

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frequency, time) -> the same."""
        return self.share * x + frequency_normalised(x, self.eps)


def in_eights(n_channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below, at least 8.

    >>> in_eights(57.6), in_eights(3), in_eights(11)
    (56, 8, 16)

    Reference: Sandler et al. 2018 (1801.04381), the authors' implementation.
    """
    nearest = max(8, int(n_channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * n_channels else nearest


def initialise(network: nn.Module, bn_init: float) -> None:
    """He-normal filters, batch-norm scales at `bn_init`, shifts at 0.

    Draws from torch's global generator: call `torch.manual_seed` first for a repeatable network.
    Network Slimming starts the scales at .5, so that a penalty has less far to push them.

    Reference: He et al. 2015 (1502.01852) eq. 10; Liu et al. 2017 (1708.06519) section 4.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    start_norms(network, bn_init)


def start_norms(network: nn.Module, bn_init: float) -> None:
    """Set the scales of all batch norms that have some to `bn_init`, their shifts to 0."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.affine:
            nn.init.constant_(module.weight, bn_init)
            nn.init.zeros_(module.bias)
