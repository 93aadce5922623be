"""The network families by name, for the command line and the recipe reader only."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from secateur.networks.mobilenet import mobilenet
from secateur.networks.resnet import resnet
from secateur.networks.vgg import vgg

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "vgg": vgg,
    "resnet": resnet,
    "mobilenet": mobilenet,
}
