"""TF-SepNet: one half of the channels is filtered along frequency, the other half along time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.networks.layers import ConvBn, ResidualNorm, frequency_normalised, initialise


class AdaptiveResidualNorm(nn.Module):
    """A residual norm that learns, channel by channel, how much of what came in stays.

    Scales and shifts start at 1 and 0, the shares that stay at one half.
    """

    def __init__(self, n_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.full((1, n_channels, 1, 1), 0.5))
        self.weight = nn.Parameter(torch.ones(1, n_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, n_channels, 1, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frequency, time) -> the same."""
        normalised = frequency_normalised(x, self.eps)
        return self.weight * torch.lerp(normalised, x, self.share) + self.bias


class SeparateConvs(nn.Module):
    """Channels shuffled and halved; each half filtered along one axis, averaged, mixed, added back.

    What is averaged over an axis is added to all of it: a broadcast residual. A 1x1 convolution
    comes first where the number of channels changes.
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        half = out_channels // 2
        self.transition: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.transition = ConvBn(in_channels, out_channels, kernel=1)
        self.along_frequency = ConvBn(half, half, kernel=(3, 1), conv_groups=half)
        self.mix_frequency = ConvBn(half, half, kernel=1)
        self.along_time = ConvBn(half, half, kernel=(1, 3), conv_groups=half)
        self.mix_time = ConvBn(half, half, kernel=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, frequency, time) -> (batch, out, frequency, time)."""
        x = self.transition(x)
        batch, channels, high, wide = x.shape
        pairs = x.reshape(batch, 2, channels // 2, high, wide).transpose(1, 2)
        one, other = pairs.reshape(x.shape).chunk(2, dim=1)
        of_time = self.mix_frequency(self.along_frequency(one).mean(2, keepdim=True))
        of_frequency = self.mix_time(self.along_time(other).mean(3, keepdim=True))
        return torch.cat((one + self.dropout(of_time), other + self.dropout(of_frequency)), 1)


class TfSepNet(nn.Module):
    """Two strided convolutions, nine blocks of separate convolutions, 1x1 to the classes.

    The stages have 1, 1.5, 2 and 2.5 times `width` channels, made even. Maps are halved between
    them by max pooling, which keeps what is left over at an edge. Residual norms stand between.
    """

    def __init__(
        self, n_classes: int, width: int, in_channels: int, dropout: float, adaptive: bool
    ) -> None:
        super().__init__()

        def norm(n_channels: int) -> nn.Module:
            return AdaptiveResidualNorm(n_channels) if adaptive else ResidualNorm()

        stem = max(1, width // 2)
        first, second, third, fourth = (2 * max(1, width * k // 4) for k in (2, 3, 4, 5))
        self.stem1 = ConvBn(in_channels, stem, stride=2)
        self.stem2 = ConvBn(stem, 4 * stem, stride=2, conv_groups=stem)
        self.norm0 = norm(4 * stem)
        self.block1 = SeparateConvs(4 * stem, first, dropout)
        self.block2 = SeparateConvs(first, first, dropout)
        self.norm1 = norm(first)
        self.block3 = SeparateConvs(first, second, dropout)
        self.block4 = SeparateConvs(second, second, dropout)
        self.norm2 = norm(second)
        self.block5 = SeparateConvs(second, third, dropout)
        self.block6 = SeparateConvs(third, third, dropout)
        self.norm3 = norm(third)
        self.block7 = SeparateConvs(third, fourth, dropout)
        self.block8 = SeparateConvs(fourth, fourth, dropout)
        self.block9 = SeparateConvs(fourth, fourth, dropout)
        self.norm4 = norm(fourth)
        self.classifier = nn.Conv2d(fourth, n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, n_mels, n_frames) -> (batch, n_classes)."""
        x = self.norm0(self.stem2(self.stem1(x)))
        x = self.norm1(self.block2(self.block1(x)))
        x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.norm2(self.block4(self.block3(x)))
        x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.norm3(self.block6(self.block5(x)))
        x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.norm4(self.block9(self.block8(self.block7(x))))
        logits: Tensor = self.classifier(x).mean((2, 3))
        return logits


def tf_sepnet(
    n_classes: int = 10,
    width: int = 64,
    in_channels: int = 1,
    bn_init: float = 1.0,
    dropout: float = 0.1,
    adaptive: bool = False,
) -> nn.Module:
    """TF-SepNet of depth 17; at width 64 the system of DCASE 2024, task 1. Inputs from 2 x 2 up.

    `width` is the channels of the first stage. Shuffling ties channels in fours, in eights in the
    last stage: at multiples of 32 all can be cut, at some widths between many cannot. `adaptive`
    makes the residual norms adaptive, as in the paper; the system of the challenge has them fixed.

    Parameters at 10 classes: width 32: 34_634, width 64: 126_858, width 96: 276_682.

    Reference: Cai et al. 2024 (2309.08200); Cai et al. 2024, DCASE 2024 challenge, task 1.
    """
    network = TfSepNet(n_classes, width, in_channels, dropout, adaptive)
    initialise(network, bn_init)
    return network
