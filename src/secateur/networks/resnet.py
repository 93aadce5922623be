"""ResNet for log-mels: basic blocks whose sums couple the channels of a stage."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from secateur.networks.layers import ConvBn, initialise


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBn(in_channels, out_channels, stride=stride)
        self.conv2 = ConvBn(out_channels, out_channels, relu=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvBn(in_channels, out_channels, kernel=1, stride=stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, h, w) -> (batch, out, ceil(h / stride), ceil(w / stride))."""
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class ResNet(nn.Module):
    """A stem, blocks of `width`, 2 `width`, 4 `width` channels, average pooling, linear."""

    def __init__(self, n_classes: int, width: int, in_channels: int) -> None:
        super().__init__()
        self.stem = ConvBn(in_channels, width, stride=2)
        self.block1 = BasicBlock(width, width, stride=1)
        self.block2 = BasicBlock(width, 2 * width, stride=2)
        self.block3 = BasicBlock(2 * width, 4 * width, stride=2)
        self.classifier = nn.Linear(4 * width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, n_mels, n_frames) -> (batch, n_classes)."""
        x = F.max_pool2d(self.stem(x), 2)
        x = self.block3(self.block2(self.block1(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def resnet(
    n_classes: int = 10, width: int = 16, in_channels: int = 1, bn_init: float = 1.0
) -> nn.Module:
    """A ResNet of seven 3x3 convolutions; inputs from 16 x 16 up.

    Parameters at 10 classes: width 8: 19_810, width 16: 77_754, width 40: 480_450.

    Reference: He et al. 2016 (1512.03385): their stem, then one basic block a stage.
    """
    network = ResNet(n_classes, width, in_channels)
    initialise(network, bn_init)
    return network
