"""VGG for log-mels: plain 3x3 convolutions, two a stage, halved by max pooling between stages."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from secateur.networks.layers import ConvBn, initialise


class Vgg(nn.Module):
    """Pairs of convolutions of `width`, 2 `width`, 4 `width` channels, average pooling, linear."""

    def __init__(self, n_classes: int, width: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBn(in_channels, width, stride=2)
        self.conv2 = ConvBn(width, width)
        self.conv3 = ConvBn(width, 2 * width)
        self.conv4 = ConvBn(2 * width, 2 * width)
        self.conv5 = ConvBn(2 * width, 4 * width)
        self.conv6 = ConvBn(4 * width, 4 * width)
        self.classifier = nn.Linear(4 * width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, n_mels, n_frames) -> (batch, n_classes)."""
        x = self.conv2(self.conv1(x))
        x = F.max_pool2d(x, 2)
        x = self.conv4(self.conv3(x))
        x = F.max_pool2d(x, 2)
        x = self.conv6(self.conv5(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def vgg(
    n_classes: int = 10, width: int = 16, in_channels: int = 1, bn_init: float = 1.0
) -> nn.Module:
    """A VGG of six convolutions; inputs from 8 x 8 up.

    Parameters at 10 classes: width 8: 18_482, width 16: 72_666, width 40: 449_490.

    Reference: Simonyan & Zisserman 2015 (1409.1556).
    """
    network = Vgg(n_classes, width, in_channels)
    initialise(network, bn_init)
    return network
