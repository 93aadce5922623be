"""MobileNetV1 for log-mels: each 3x3 convolution taken apart into one by channel and a 1x1."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.networks.layers import ConvBn, initialise


class SeparableConv(nn.Module):
    """Filter each channel on its own by 3x3, then mix channels by 1x1, a ReLU after both."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvBn(in_channels, in_channels, stride=stride, conv_groups=in_channels)
        self.mix = ConvBn(in_channels, out_channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, h, w) -> (batch, out, ceil(h / stride), ceil(w / stride))."""
        mixed: Tensor = self.mix(self.depthwise(x))
        return mixed


class MobileNetV1(nn.Module):
    """A strided stem, seven separable convolutions up to 8 `width` channels, average, linear."""

    def __init__(self, n_classes: int, width: int, in_channels: int) -> None:
        super().__init__()
        self.stem = ConvBn(in_channels, width, stride=2)
        self.block1 = SeparableConv(width, 2 * width, stride=1)
        self.block2 = SeparableConv(2 * width, 2 * width, stride=2)
        self.block3 = SeparableConv(2 * width, 4 * width, stride=1)
        self.block4 = SeparableConv(4 * width, 4 * width, stride=2)
        self.block5 = SeparableConv(4 * width, 8 * width, stride=1)
        self.block6 = SeparableConv(8 * width, 8 * width, stride=2)
        self.block7 = SeparableConv(8 * width, 8 * width, stride=1)
        self.classifier = nn.Linear(8 * width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, n_mels, n_frames) -> (batch, n_classes)."""
        x = self.block2(self.block1(self.stem(x)))
        x = self.block4(self.block3(x))
        x = self.block7(self.block6(self.block5(x)))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def mobilenet_v1(
    n_classes: int = 10, width: int = 16, in_channels: int = 1, bn_init: float = 1.0
) -> nn.Module:
    """A small MobileNetV1, no residuals; inputs from 16 x 16 up.

    Parameters at 10 classes: width 8: 16_026, width 16: 56_362, width 48: 460_906.

    Reference: Howard et al. 2017 (1704.04861).
    """
    network = MobileNetV1(n_classes, width, in_channels)
    initialise(network, bn_init)
    return network
