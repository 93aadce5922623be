"""CP-Mobile, winner of the DCASE challenge 2023, and the baseline of 2024 made of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.networks.layers import ConvBn, in_eights, initialise


class GlobalResponseNorm(nn.Module):
    """Every channel scaled by its norm over the mean norm of all channels: they compete.

    One scale and one shift for all channels, as CP-Mobile has them; both start at 0, where the norm
    does nothing. What is averaged over channels changes when one is cut.

    Reference: Woo et al. 2023 (2301.00808).
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.beta = nn.Parameter(torch.zeros(1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, h, w) -> the same."""
        response: Tensor = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        relative = response / (response.mean(1, keepdim=True) + self.eps)
        competing: Tensor = self.gamma * relative * x + self.beta
        return x + competing


class Block(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1, add the input, rectify the sum.

    Where the number of channels changes nothing is added; where the stride halves the map, the
    input is averaged to its size. `competing` puts a global response norm before the last ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: tuple[int, int],
        expansion: float,
        competing: bool,
    ) -> None:
        super().__init__()
        hidden = in_eights(expansion * in_channels)
        self.expand = ConvBn(in_channels, hidden, kernel=1)
        self.depthwise = ConvBn(hidden, hidden, stride=stride, conv_groups=hidden)
        self.project = ConvBn(hidden, out_channels, kernel=1, relu=False)
        self.residual = in_channels == out_channels
        self.shortcut: nn.Module = nn.Identity()
        if self.residual and stride != (1, 1):
            self.shortcut = nn.AvgPool2d(3, stride, padding=1)
        self.norm = GlobalResponseNorm() if competing else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, h, w) -> (batch, out, ceil(h / stride), ceil(w / stride))."""
        y = self.project(self.depthwise(self.expand(x)))
        total = y + self.shortcut(x) if self.residual else y
        return F.relu(self.norm(total))


class CpMobile(nn.Module):
    """Two strided convolutions; three, two and one block; 1x1 to the classes, average pooling.

    The stages have `width`, `width` x `multiplier` and `width` x `multiplier` squared channels.
    `strides` are those of the six blocks; the first axis is frequency.
    """

    def __init__(
        self,
        n_classes: int,
        width: int,
        in_channels: int,
        multiplier: float,
        expansion: float,
        strides: dict[int, tuple[int, int]],
        competing: bool,
    ) -> None:
        super().__init__()
        narrow = max(1, width // 4)
        self.stem = nn.Sequential(
            ConvBn(in_channels, narrow, stride=2), ConvBn(narrow, width, stride=2)
        )
        middle, wide = (in_eights(width * multiplier**stage) for stage in (1, 2))
        outputs = (width, width, width, middle, middle, wide)
        inputs = (width, *outputs[:-1])
        self.blocks = nn.Sequential(
            *(
                Block(n_in, n_out, strides.get(place, (1, 1)), expansion, competing)
                for place, (n_in, n_out) in enumerate(zip(inputs, outputs, strict=True), start=1)
            )
        )
        self.classifier = ConvBn(wide, n_classes, kernel=1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, n_mels, n_frames) -> (batch, n_classes)."""
        logits: Tensor = self.classifier(self.blocks(self.stem(x))).mean((2, 3))
        return logits


def dcase_baseline(
    n_classes: int = 10, width: int = 32, in_channels: int = 1, bn_init: float = 1.0
) -> nn.Module:
    """The baseline of DCASE 2024, task 1: CP-Mobile, simplified; inputs from 8 x 8 up.

    `width` is the channels of the first stage; the challenge's limits were 128 kB and 30 million
    multiply-accumulates at 1 x 256 x 65.

    Parameters at 10 classes: width 8: 5_722, width 16: 18_624, width 32: 61_148.

    Reference: Schmid et al. 2024 (2405.10018).
    """
    strides = {3: (1, 2), 4: (2, 1)}
    network = CpMobile(n_classes, width, in_channels, 1.8, 2.1, strides, competing=False)
    initialise(network, bn_init)
    return network


def cp_mobile(
    n_classes: int = 10, width: int = 32, in_channels: int = 1, bn_init: float = 1.0
) -> nn.Module:
    """CP-Mobile of 128 k parameters: wider than its baseline, with global response norms.

    `width` is the channels of the first stage; inputs from 8 x 8 up.

    Parameters at 10 classes: width 8: 13_942, width 16: 39_868, width 32: 126_952.

    Reference: Schmid et al. 2023, Distilling the knowledge of transformers and CNNs with CP-Mobile,
    DCASE workshop 2023.
    """
    strides = {2: (2, 2), 4: (2, 1)}
    network = CpMobile(n_classes, width, in_channels, 2.3, 3.0, strides, competing=True)
    initialise(network, bn_init)
    return network
