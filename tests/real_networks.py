"""Published networks, written so that their published weights load by name."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]
DATA = ROOT / os.environ.get("SECATEUR_DATA", "../shared/data")


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A of He et al. 2015)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.wider = n_out - n_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.wider:
            half = self.wider // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet-(6n + 2) for 32x32 images."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, n, 1)
        self.layer2 = self._stage(16, 32, n, 2)
        self.layer3 = self._stage(32, 64, n, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(n_in: int, n_out: int, n: int, stride: int) -> nn.Sequential:
        first = CifarBlock(n_in, n_out, stride)
        return nn.Sequential(first, *(CifarBlock(n_out, n_out, 1) for _ in range(n - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def _name(stem: str, k: int) -> str:
    return f"{stem}_{k}" if k else stem


class TinyResNet8(nn.Module):
    """ResNet-8 of MLPerf Tiny under its Keras names; "same" padding is uneven at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(3, 16, 3, 1), (16, 16, 3, 1), (16, 16, 3, 1), (16, 32, 3, 2), (32, 32, 3, 1)]
        shapes += [(16, 32, 1, 2), (32, 64, 3, 2), (64, 64, 3, 1), (32, 64, 1, 2)]
        for k, (n_in, n_out, kernel, stride) in enumerate(shapes):
            self.add_module(_name("conv2d", k), nn.Conv2d(n_in, n_out, kernel, stride))
        for k, width in enumerate([16, 16, 16, 32, 32, 64, 64]):
            self.add_module(_name("batch_normalization", k), nn.BatchNorm2d(width, eps=1e-3))
        self.dense = nn.Linear(64, 10)

    def _conv(self, k: int, x: Tensor) -> Tensor:
        layer = self.get_submodule(_name("conv2d", k))
        return layer(same_padded(x, layer.kernel_size[0], layer.stride[0]))

    def _bn(self, k: int, x: Tensor) -> Tensor:
        return self.get_submodule(_name("batch_normalization", k))(x)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self._bn(0, self._conv(0, x)))
        y = F.relu(self._bn(1, self._conv(1, x)))
        x = F.relu(x + self._bn(2, self._conv(2, y)))
        y = F.relu(self._bn(3, self._conv(3, x)))
        x = F.relu(self._conv(5, x) + self._bn(4, self._conv(4, y)))
        y = F.relu(self._bn(5, self._conv(6, x)))
        x = F.relu(self._conv(8, x) + self._bn(6, self._conv(7, y)))
        return self.dense(x.mean((2, 3)))


def same_padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding as TensorFlow's "same": what is odd goes to the right and below."""
    pads: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class MobileNetV1Quarter(nn.Module):
    """MobileNetV1 x0.25 of MLPerf Tiny under its Keras names, 96x96 RGB, two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(3, 8, 3, 2)
        widths = [8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]
        self.strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        norms = [8]
        for k, stride in enumerate(self.strides):
            n_in, n_out = widths[k], widths[k + 1]
            depthwise = nn.Conv2d(n_in, n_in, 3, stride, groups=n_in)
            self.add_module(_name("depthwise_conv2d", k), depthwise)
            self.add_module(_name("conv2d", k + 1), nn.Conv2d(n_in, n_out, 1))
            norms += [n_in, n_out]
        for k, width in enumerate(norms):
            self.add_module(_name("batch_normalization", k), nn.BatchNorm2d(width, eps=1e-3))
        self.dense = nn.Linear(256, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.batch_normalization(self.conv2d(same_padded(x, 3, 2))))
        for k, stride in enumerate(self.strides):
            depthwise = self.get_submodule(_name("depthwise_conv2d", k))
            x = depthwise(same_padded(x, 3, stride))
            x = F.relu(self.get_submodule(_name("batch_normalization", 2 * k + 1))(x))
            x = self.get_submodule(_name("conv2d", k + 1))(x)
            x = F.relu(self.get_submodule(_name("batch_normalization", 2 * k + 2))(x))
        return self.dense(F.avg_pool2d(x, x.shape[2:]).flatten(1))


class CrepeTiny(nn.Module):
    """CREPE tiny: 1024 samples of audio in, 360 pitches out; batch norm stands after the ReLU."""

    def __init__(self) -> None:
        super().__init__()
        n_in = 1
        for k, width in enumerate([128, 16, 16, 16, 32, 64], start=1):
            kernel, stride = (512, 4) if k == 1 else (64, 1)
            self.add_module(f"conv{k}", nn.Conv2d(n_in, width, (kernel, 1), (stride, 1)))
            self.add_module(f"conv{k}_BN", nn.BatchNorm2d(width, eps=0.0010000000474974513))
            n_in = width
        self.classifier = nn.Linear(256, 360)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None, :, None]
        for k in range(1, 7):
            pad = (0, 0, 254, 254) if k == 1 else (0, 0, 31, 32)
            x = F.relu(self.get_submodule(f"conv{k}")(F.pad(x, pad)))
            x = F.max_pool2d(self.get_submodule(f"conv{k}_BN")(x), (2, 1), (2, 1))
        x = x.permute(0, 2, 1, 3).reshape(len(x), -1)
        return torch.sigmoid(self.classifier(x))


REAL = {
    "cifar10_resnet20": (lambda: CifarResNet(3), (3, 32, 32)),
    "cifar10_resnet56": (lambda: CifarResNet(9), (3, 32, 32)),
    "cifar10_resnet8": (TinyResNet8, (3, 32, 32)),
    "visual_wake_words_mobilenet_v1_025": (MobileNetV1Quarter, (3, 96, 96)),
    "pitch_crepe_tiny": (CrepeTiny, (1024,)),
}
"""File name -> factory and shape of one example."""
