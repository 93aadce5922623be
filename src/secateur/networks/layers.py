"""The one block all reference networks are made of, and their common start."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvBn(nn.Module):
    """Convolution without bias, batch norm, and a ReLU unless `relu` is false.

    (batch, in, h, w) -> (batch, out, ceil(h / stride), ceil(w / stride))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        conv_groups: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            padding=kernel // 2,
            groups=conv_groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Filter, normalise, rectify."""
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


def initialise(network: nn.Module, bn_init: float) -> None:
    """He-normal filters, batch-norm scales at `bn_init`, shifts at 0.

    Draws from torch's global generator: call `torch.manual_seed` first for a repeatable network.
    Network Slimming starts the scales at .5, so that a penalty has less far to push them.

    Reference: He et al. 2015 (1502.01852) eq. 10; Liu et al. 2017 (1708.06519) section 4.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, bn_init)
            nn.init.zeros_(module.bias)
