"""MobileNetV2 for log-mels: inverted residuals, whose depthwise step ties three layers together."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.networks.layers import ConvBn, initialise


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel on its own by 3x3, narrow by 1x1 without a ReLU.

    The input is added where the shape stays; an expansion of 1 leaves the widening out.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.expand: nn.Module = nn.Identity()
        if expansion != 1:
            self.expand = ConvBn(in_channels, hidden, kernel=1)
        self.depthwise = ConvBn(hidden, hidden, stride=stride, conv_groups=hidden)
        self.project = ConvBn(hidden, out_channels, kernel=1, relu=False)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, h, w) -> (batch, out, ceil(h / stride), ceil(w / stride))."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class MobileNet(nn.Module):
    """A strided stem, three pairs of inverted residuals, a 1x1 head, average pooling, linear.

    The first block, where maps are large, does not widen.
    """

    def __init__(self, n_classes: int, width: int, in_channels: int, expansion: int) -> None:
        super().__init__()
        self.stem = ConvBn(in_channels, width, stride=2)
        self.block1 = InvertedResidual(width, width, 2, 1)
        self.block2 = InvertedResidual(width, width, 1, expansion)
        self.block3 = InvertedResidual(width, 2 * width, 2, expansion)
        self.block4 = InvertedResidual(2 * width, 2 * width, 1, expansion)
        self.block5 = InvertedResidual(2 * width, 3 * width, 2, expansion)
        self.block6 = InvertedResidual(3 * width, 3 * width, 1, expansion)
        self.head = ConvBn(3 * width, 6 * width, kernel=1)
        self.classifier = nn.Linear(6 * width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, n_mels, n_frames) -> (batch, n_classes)."""
        x = self.block2(self.block1(self.stem(x)))
        x = self.block4(self.block3(x))
        x = self.block6(self.block5(x))
        x = self.head(x)
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def mobilenet(
    n_classes: int = 10, width: int = 16, in_channels: int = 1, bn_init: float = 1.0
) -> nn.Module:
    """A small MobileNetV2 of expansion 4; inputs from 16 x 16 up.

    Parameters at 10 classes: width 8: 16_410, width 16: 56_234, width 48: 449_770.

    Reference: Sandler et al. 2018 (1801.04381).
    """
    network = MobileNet(n_classes, width, in_channels, expansion=4)
    initialise(network, bn_init)
    return network
