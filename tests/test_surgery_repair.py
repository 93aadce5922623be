"""Weight norms and spectral norms keep what stays of a weight as it was."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import EXACT, difference, outputs, randomised
from secateur.channels.repaired import sites
from secateur.surgery.in_turn import verified

new_norm = nn.utils.parametrizations.weight_norm
new_spectral = nn.utils.parametrizations.spectral_norm


def old_norm(layer: nn.Module, dim: int | None = 0) -> nn.Module:
    with warnings.catch_warnings():  # torch deprecates it; most published vocoders have it
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer, dim=dim)


KINDS: dict[str, Any] = {
    "weight norm, filters": new_norm,
    "weight norm, inputs": lambda layer: new_norm(layer, dim=1),
    "weight norm, all": lambda layer: new_norm(layer, dim=None),
    "old weight norm, filters": old_norm,
    "old weight norm, inputs": lambda layer: old_norm(layer, 1),
    "old weight norm, all": lambda layer: old_norm(layer, None),
    "spectral norm": new_spectral,
    "old spectral norm": nn.utils.spectral_norm,
}


def chain(kind: str, transposed: bool = False) -> nn.Module:
    make = nn.ConvTranspose1d if transposed else nn.Conv1d
    layers = [make(4, 8, 3), nn.Sigmoid(), make(8, 6, 3), nn.Tanh(), make(6, 2, 3)]
    return nn.Sequential(*(KINDS[kind](la) if isinstance(la, make) else la for la in layers))


def silent(model: nn.Module, gone: dict[int, list[int]], x: Tensor) -> Tensor:
    """What the network answers with channels zeroed where the next layer reads them."""
    for k, layer in enumerate(model):
        x = layer(x)
        if k in gone:
            x = x.index_fill(1, torch.tensor(gone[k], dtype=torch.long), 0)
    return x


@torch.no_grad()
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cut_is_the_network_with_silent_channels(kind: str, transposed: bool) -> None:
    model = randomised(chain(kind, transposed))
    x = torch.randn(2, 4, 12, dtype=torch.float64)
    model(x)  # the hooks of the older kind have made their weights then
    channels = sc.trace(model, x)
    assert not channels.mixing and not channels.unknown
    first, second = (group.name for group in channels.groups)
    for gone in ({first: [0, 3, 7]}, {second: [2, 5]}, {first: [1], second: [0, 1, 2, 3, 4]}):
        plan = sc.manual(channels, gone)
        small = sc.cut(channels, plan).network
        assert verified(model, small, plan, channels, x).exact
        after = {1: gone.get(first, []), 3: gone.get(second, [])}
        assert difference([small(x)], [silent(model, after, x)]) <= EXACT
        masked = sc.mask(channels, plan)
        assert difference(outputs(masked, x), outputs(small, x)) <= EXACT or "spectral" in kind


def test_magnitudes_on_paper() -> None:
    """v = (3, 4) has norm 5 and g = 10: w = (6, 8). Without the first, v = 4, so g must be 8."""
    model = nn.Sequential(nn.Linear(1, 2), new_norm(nn.Linear(2, 1)))
    with torch.no_grad():
        model[1].parametrizations.weight.original0.fill_(10)
        model[1].parametrizations.weight.original1.copy_(torch.tensor([[3.0, 4.0]]))
    x = torch.zeros(1, 1)
    channels = sc.trace(model, x)
    (group,) = channels.groups
    small = sc.cut(channels, sc.manual(channels, {group.name: [0]})).network
    assert small[1].weight.tolist() == [[8.0]]
    assert small[1].parametrizations.weight.original0.item() == 8
    assert small[1].parametrizations.weight.original1.item() == 4


def test_a_direction_of_which_nothing_is_left_gives_zeros() -> None:
    model = nn.Sequential(nn.Linear(1, 3), new_norm(nn.Linear(3, 2))).double()
    with torch.no_grad():
        model[1].parametrizations.weight.original1[0, 1:] = 0
    x = torch.randn(4, 1, dtype=torch.float64)
    channels = sc.trace(model, x)
    (group,) = channels.groups
    plan = sc.manual(channels, {group.name: [0]})
    small = sc.cut(channels, plan).network
    assert small[1].weight[0].tolist() == [0, 0]
    assert verified(model, small, plan, channels, x).exact


def test_a_small_network_trains_on_as_it_is_built() -> None:
    model = randomised(chain("old weight norm, filters"))
    x = torch.randn(2, 4, 12, dtype=torch.float64)
    channels = sc.trace(model, x)
    small = sc.cut(channels, sc.manual(channels, {channels.groups[0].name: [0]})).network
    small.train()(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())
    assert {site.kind for site in sites(small)} == {"weight norm"}
    spectral = randomised(chain("spectral norm"))
    channels = sc.trace(spectral, x)
    small = sc.cut(channels, sc.manual(channels, {channels.groups[0].name: [0]})).network.train()
    for _ in range(400):  # power iterations find the largest singular value of what is left
        small(x)
    weight = small.eval()[2].weight.flatten(1)
    assert abs(float(torch.linalg.matrix_norm(weight.detach(), 2)) - 1) < 1e-3


class Functional(nn.Module):
    """torch's own weight norm as a function, which no module repairs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.v, self.g = (
            nn.Linear(3, 4),
            nn.Parameter(torch.randn(2, 4)),
            nn.Parameter(torch.ones(2, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(self.a(x)), torch._weight_norm(self.v, self.g, 0))


def test_a_weight_norm_in_a_forward_is_listed() -> None:
    model, x = randomised(Functional()), torch.randn(2, 3, dtype=torch.float64)
    channels = sc.trace(model, x)
    assert [(row.reason, row.weights) for row in channels.mixing] == [
        ("a weight over its norm", True)
    ]
    plan = sc.manual(channels, {"a": [0]})
    with pytest.warns(UserWarning, match="read by weights that the network computes"):
        small = sc.cut(channels, plan).network
    found = verified(model, small, plan, channels, x)
    assert found.holds and not found.exact
