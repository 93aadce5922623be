"""The network families by name, for the command line and the recipe reader only."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from secateur.networks.bc_resnet import bc_resnet
from secateur.networks.cp_mobile import cp_mobile, dcase_baseline
from secateur.networks.mobilenet import mobilenet
from secateur.networks.mobilenet_v1 import mobilenet_v1
from secateur.networks.resnet import resnet
from secateur.networks.tf_sepnet import tf_sepnet
from secateur.networks.vgg import vgg

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "vgg": vgg,
    "resnet": resnet,
    "mobilenet": mobilenet,
    "mobilenet_v1": mobilenet_v1,
    "dcase_baseline": dcase_baseline,
    "cp_mobile": cp_mobile,
    "tf_sepnet": tf_sepnet,
    "bc_resnet": bc_resnet,
}

SIZES: dict[str, dict[str, int]] = {
    "vgg": {"small": 8, "medium": 16, "large": 40},
    "resnet": {"small": 8, "medium": 16, "large": 40},
    "mobilenet": {"small": 8, "medium": 16, "large": 48},
    "mobilenet_v1": {"small": 8, "medium": 16, "large": 48},
    "dcase_baseline": {"small": 8, "medium": 16, "large": 32},
    "cp_mobile": {"small": 8, "medium": 16, "large": 32},
    "tf_sepnet": {"small": 32, "medium": 64, "large": 96},
    "bc_resnet": {"small": 10, "medium": 20, "large": 80},
}
"""Three widths of each family; docs/networks.md has what they cost."""
