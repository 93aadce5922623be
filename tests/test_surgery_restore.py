"""What was cut comes back bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts import outputs, plan_as_cut, plan_of, random_plan, randomised, same_state, state_of
from secateur.channels.trace import trace
from secateur.errors import PlanError, SurgeryError
from secateur.networks.families import NETWORKS
from secateur.pruning import prune
from secateur.surgery.cut import cut
from secateur.surgery.restore import remember, restore
from toys import TOYS, Net, conv, depthwise, image, plain, tied


def numbers(model: nn.Module) -> list[dict[str, object]]:
    return [
        {k: v for k, v in vars(m).items() if isinstance(v, int | tuple)} for m in model.modules()
    ]


@pytest.mark.parametrize("name", TOYS)
def test_every_toy_comes_back(name: str) -> None:
    build, example = TOYS[name]
    model = randomised(build())
    channels = trace(model, example)
    plan = random_plan(channels, seed=5)
    before = state_of(model)
    removed = remember(model, plan, channels)
    small = cut(channels, plan).network
    state = state_of(small)
    again = restore(small, removed)
    assert same_state(model, before) and same_state(small, state)
    assert same_state(again, before)
    assert numbers(again) == numbers(model)
    for one, other in zip(outputs(again, example), outputs(model, example), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_scenes_come_back(name: str) -> None:
    model, example = randomised(NETWORKS[name](width=4)).float(), torch.zeros(1, 1, 32, 40)
    channels = trace(model, example)
    again = cut(channels, random_plan(channels, seed=5)).restore()
    assert same_state(again, state_of(model))
    assert trace(again, example).fingerprint == channels.fingerprint


def test_one_channel_left_of_a_depthwise_convolution_grows_again() -> None:
    model = randomised(depthwise())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (0, 1, 3)})
    small = cut(channels, plan).network
    assert small[1].groups == 1
    again = restore(small, remember(model, plan, channels))
    assert again[1].groups == 4
    assert same_state(again, state_of(model))


def test_what_was_learned_meanwhile_stays() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (1,)})
    small = cut(channels, plan).network
    with torch.no_grad():
        small[0].bias += 1.0
    again = restore(small, remember(model, plan, channels))
    grown = again[0].bias - model[0].bias
    torch.testing.assert_close(grown.detach(), torch.tensor([1.0, 0.0, 1.0, 1.0]).double())


def test_tied_weights_stay_tied_and_modes_stay() -> None:
    model = randomised(tied())
    channels = trace(model, image())
    plan = random_plan(channels, seed=1)
    assert plan.remove
    small = cut(channels, plan).network.train()
    small[1].requires_grad_(False)
    again = restore(small, remember(model, plan, channels))
    assert again[3].weight is again[1].weight
    assert again.training and not again[1].weight.requires_grad


def test_what_does_not_fit_is_refused() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (1,)})
    removed = remember(model, plan, channels)
    with pytest.raises(SurgeryError, match=r"'0.weight' is \(4, 1, 3, 3\), what was removed"):
        restore(model, removed)
    with pytest.raises(PlanError, match="made for network"):
        remember(model, plan, trace(depthwise().double(), image()))


def test_where_groups_were_held_back_the_settled_plan_counts() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        first, second = net.conv1(torch.relu(net.stem(x))).split(3, 1)
        return net.conv2(first + second)

    model = randomised(Net(forward, stem=conv(1, 4), conv1=conv(4, 6), conv2=conv(3, 2)))
    channels = trace(model, image())
    asked = plan_of(channels, {"stem": (1,), "conv1": (0, 1)})
    settled = plan_as_cut(channels, asked)
    assert set(settled.remove) == {"stem"}
    with pytest.warns(UserWarning, match="held back"):
        small = cut(channels, asked).network
    again = restore(small, remember(model, settled, channels))
    assert same_state(again, state_of(model))
    with pytest.raises(SurgeryError, match="give the network that these channels were cut from"):
        restore(small, remember(model, asked, channels))


def test_an_empty_plan_removes_nothing() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    removed = remember(model, plan_of(channels, {}), channels)
    assert not removed.values
    again = restore(model, removed)
    assert same_state(again, state_of(model))


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.weight_norm,
        nn.utils.parametrizations.spectral_norm,
    ],
)
def test_what_made_up_for_channels_of_a_computed_weight_is_undone(norm: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), norm(nn.Linear(8, 3))).eval()
    pruned = prune(model, torch.randn(2, 4), ratio=0.5)
    assert same_state(pruned.restore(), state_of(model))
    # trained since: a magnitude that was doubled is twice what it was
    name = next((n for n, _ in model.named_parameters() if n.endswith(("original0", "_g"))), None)
    if name is not None:
        with torch.no_grad():
            pruned.network.get_parameter(name).mul_(2)
        grown = pruned.restore().get_parameter(name)
        torch.testing.assert_close(grown, 2 * model.get_parameter(name))
