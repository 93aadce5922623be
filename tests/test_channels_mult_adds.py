"""Multiply-adds in torchinfo's convention: on paper, and the totals published for three systems."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.channels.cost import cost
from secateur.channels.mult_adds import torchinfo_mult_adds
from secateur.channels.trace import trace
from secateur.errors import TraceError
from secateur.networks.families import NETWORKS

PUBLISHED = {
    "dcase_baseline": ((256, 65), 61_148, 29_419_156),
    "tf_sepnet": ((512, 64), 126_858, 29_419_648),
    "cp_mobile": ((256, 64), 126_952, 28_893_268),
}
"""Input, parameters and multiply-adds at one channel and ten classes."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_totals(name: str) -> None:
    size, params, mult_adds = PUBLISHED[name]
    model, example = NETWORKS[name](), torch.zeros(1, 1, *size)
    assert sum(p.numel() for p in model.parameters()) == params
    assert torchinfo_mult_adds(model, example) == mult_adds
    traced = cost(trace(model, example))
    bare = sum(m.weight.numel() * 2 for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    if name == "tf_sepnet":
        bare += 10 * 16 * 2  # the classifier's biases at its 16 x 2 places
    assert (traced.params, traced.macs) == (params, mult_adds - bare)


def test_layers_of_the_published_baseline() -> None:
    """The table that was published with it: parameters and multiply-adds of some of its parts."""
    model, example = NETWORKS["dcase_baseline"](), torch.zeros(1, 1, 256, 65)
    block = model.blocks[2]
    assert torchinfo_mult_adds(model.stem[0], example) == 304_144
    assert torchinfo_mult_adds(block.depthwise, torch.zeros(1, 64, 64, 17)) == 331_904
    assert torchinfo_mult_adds(block.project, torch.zeros(1, 64, 64, 9)) == 1_179_712
    assert torchinfo_mult_adds(model.blocks[5].project, torch.zeros(1, 120, 32, 9)) == 3_594_448


class Twice(nn.Module):
    """A convolution that is used twice, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, groups=2)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        return scale * self.weight * self.conv(self.conv(x))


def test_on_paper() -> None:
    # a convolution counts weight and bias at every place, once a call; examples multiply all
    assert torchinfo_mult_adds(Twice(), torch.zeros(1, 2, 4, 4)) == 2 * (18 + 2) * 16
    assert torchinfo_mult_adds(Twice(), torch.zeros(3, 2, 4, 4)) == 3 * 2 * (18 + 2) * 16
    assert torchinfo_mult_adds(Twice(), {"x": torch.zeros(1, 2, 4, 4)}) == 640
    # a linear layer and a norm count once an example, whatever else the input has
    net = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(7, 3), nn.ReLU())
    assert torchinfo_mult_adds(net, torch.zeros(2, 5, 7)) == 2 * (10 + 24)


def test_the_network_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert torchinfo_mult_adds(model, torch.randn(4, 1, 5, 5)) == 4 * (20 * 9 + 4)
    assert all(torch.equal(before[k], tensor) for k, tensor in model.state_dict().items())
    assert model.training and not any(m._forward_hooks for m in model.modules())


def test_what_is_no_example_is_refused() -> None:
    with pytest.raises(TraceError, match="give a tensor"):
        torchinfo_mult_adds(Twice(), 3)  # type: ignore[arg-type]
