"""BC-ResNet: most of the work is done on averages over frequency, which are added back to all."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from secateur.networks.layers import ConvBn, ResidualNorm, initialise


class SubSpectralNorm(nn.Module):
    """A batch norm with statistics, scales and shifts of its own for each band of frequencies.

    The number of frequencies must be a multiple of `bands`. Scales and shifts lie channel by
    channel, the bands of each together.

    Reference: Chang et al. 2021 (2103.13620).
    """

    def __init__(self, n_channels: int, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.bn = nn.BatchNorm2d(n_channels * bands)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frequency, time) -> the same."""
        batch, channels, high, wide = x.shape
        bands = x.reshape(batch, channels * self.bands, high // self.bands, wide)
        normalised: Tensor = self.bn(bands)
        return normalised.reshape(x.shape)


class BroadcastBlock(nn.Module):
    """Filter along frequency; average it away, filter along time, mix; add all of this up.

    What has no frequency axis any more is added to every frequency: the broadcast residual. The
    input is added too, except where a 1x1 convolution first changes the number of channels.
    """

    def __init__(self, in_channels: int, out_channels: int, bands: int, dropout: float) -> None:
        super().__init__()
        self.residual = in_channels == out_channels
        self.transition: nn.Module = nn.Identity()
        if not self.residual:
            self.transition = ConvBn(in_channels, out_channels, kernel=1)
        self.along_frequency = nn.Conv2d(
            out_channels, out_channels, (3, 1), padding=(1, 0), groups=out_channels, bias=False
        )
        self.bands = SubSpectralNorm(out_channels, bands)
        self.along_time = ConvBn(
            out_channels, out_channels, kernel=(1, 3), conv_groups=out_channels, relu=False
        )
        self.mix = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, frequency, time) -> (batch, out, frequency, time)."""
        filtered = self.bands(self.along_frequency(self.transition(x)))
        average = filtered.mean(2, keepdim=True)
        mixed = self.dropout(self.mix(F.silu(self.along_time(average))))
        return F.relu(x + filtered + mixed if self.residual else filtered + mixed)


class BcResNet(nn.Module):
    """A strided convolution, nine blocks in three sizes of map, 1x1 to the classes, average.

    The stages have 1, 1.5, 2 and 2.5 times `width` channels. Sub-bands must divide the map at
    every stage: an input whose frequencies are no multiple of 8 x `bands` is continued upwards
    with its topmost one.
    """

    def __init__(
        self,
        n_classes: int,
        width: int,
        in_channels: int,
        bands: int,
        dropout: float,
        residual_norm: bool,
    ) -> None:
        super().__init__()
        self.multiple = 8 * bands
        first, second, third, fourth = (width * k // 2 for k in (2, 3, 4, 5))
        self.norm = ResidualNorm() if residual_norm else nn.Identity()
        self.stem = ConvBn(in_channels, 2 * width, kernel=5, stride=2)
        self.block1 = BroadcastBlock(2 * width, first, bands, dropout)
        self.block2 = BroadcastBlock(first, first, bands, dropout)
        self.block3 = BroadcastBlock(first, second, bands, dropout)
        self.block4 = BroadcastBlock(second, second, bands, dropout)
        self.block5 = BroadcastBlock(second, third, bands, dropout)
        self.block6 = BroadcastBlock(third, third, bands, dropout)
        self.block7 = BroadcastBlock(third, fourth, bands, dropout)
        self.block8 = BroadcastBlock(fourth, fourth, bands, dropout)
        self.block9 = BroadcastBlock(fourth, fourth, bands, dropout)
        self.classifier = nn.Conv2d(fourth, n_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, n_mels, n_frames) -> (batch, n_classes)."""
        if missing := -x.shape[2] % self.multiple:
            x = F.pad(x, (0, 0, 0, missing), mode="replicate")
        x = self.norm(self.stem(x))
        x = self.norm(self.block2(self.block1(x)))
        x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.norm(self.block4(self.block3(x)))
        x = F.max_pool2d(x, 2, ceil_mode=True)
        x = self.norm(self.block6(self.block5(x)))
        x = self.norm(self.block9(self.block8(self.block7(x))))
        logits: Tensor = self.classifier(x).mean((2, 3))
        return logits


def bc_resnet(
    n_classes: int = 10,
    width: int = 10,
    in_channels: int = 1,
    bn_init: float = 1.0,
    bands: int = 4,
    dropout: float = 0.1,
    residual_norm: bool = False,
) -> nn.Module:
    """BC-ResNet in the shape of BC-ResNet-Mod for scenes; width 10, 20, 30, 80: sizes 1, 2, 3, 8.

    `bands` are the sub-bands of a norm. `residual_norm` adds the residual norms that the scene
    network has between its stages; without them no channel depends on the others. Inputs from
    2 x 2 up; the published size 8 has 315 k parameters.

    Parameters at 10 classes: width 10: 8_055, width 20: 25_050, width 30: 50_995,
    width 80: 314_970.

    Reference: Kim et al. 2021 (2106.04140); its shape for scenes, Kim et al. 2021 (2111.06531).
    """
    network = BcResNet(n_classes, width, in_channels, bands, dropout, residual_norm)
    initialise(network, bn_init)
    return network
