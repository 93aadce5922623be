"""Dead channels: found from the weights, and gone without a trace."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import difference, outputs, randomised, same_state, state_of
from random_networks import RandomNetwork
from secateur.channels.trace import trace
from secateur.networks.families import NETWORKS
from secateur.networks.vgg import vgg
from secateur.plan.select import manual
from secateur.pruning import prune
from secateur.surgery.cut import cut
from secateur.surgery.dead import (
    CONSTANT,
    NOTHING,
    SILENT,
    UNREAD,
    DeadChannels,
    dead_channels,
    plan_dead,
    remove_dead,
)
from secateur.surgery.package import load
from secateur.train.fit import fit
from secateur.train.penalty_scales import BnL1Proximal, prunable_scales
from secateur.train.schedule import Training
from toys import TOYS, Net, image


def found(model: nn.Module) -> DeadChannels:
    return dead_channels(trace(model, image()))


def behind(*layers: nn.Module) -> nn.Module:
    """1 -> 4 channels with random weights and no two shifts alike, then the layers."""
    stem = (nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    return randomised(nn.Sequential(*stem, *layers))


def set_norm(norm: Any, channel: int, scale: float, shift: float) -> None:
    with torch.no_grad():
        norm.weight[channel], norm.bias[channel] = scale, shift


def test_on_paper() -> None:
    model = behind(nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 2, 1))
    set_norm(model[1], 0, 0.0, 0.0)  # nothing
    set_norm(model[1], 1, 0.0, -2.0)  # a negative constant, of which the ReLU leaves nothing
    set_norm(model[1], 2, 0.0, 2.0)  # a constant, but another one at the padded border
    with torch.no_grad():
        model[4].weight[:, 1] = 0.0  # nothing reads channel 1 of the second group
    dead = found(model)
    assert dead.reasons == {"0": {0: SILENT, 1: SILENT}, "3": {1: UNREAD}}
    assert dead.constant == {} and dead.n_channels == 3


def test_constants_on_paper() -> None:
    # channel 2 is 2.0 after the ReLU; the reader's weights for it are 3 and -1
    model = behind(nn.Conv2d(4, 2, 1))
    set_norm(model[1], 2, 0.0, 2.0)
    with torch.no_grad():
        model[3].weight[:, 2, 0, 0] = torch.tensor([3.0, -1.0])
        model[3].bias.copy_(torch.tensor([1.0, 1.0]))
    dead = found(model)
    assert dead.reasons == {"0": {2: CONSTANT}} and dead.constant == {"0": (2,)}
    before = state_of(model)
    done = remove_dead(model, image())
    assert done.network[3].bias.tolist() == [7.0, -1.0]  # 1 + 2 * 3 and 1 - 2
    assert done.plan.remove == {"0": (2,)} and done.dead_removal.shifted == ("3",)
    assert done.dead_removal.relative_error < 1e-14
    assert same_state(model, before)
    assert remove_dead(model, image(), constants=False).plan.remove == {}


def test_filters_of_zeros() -> None:
    def model(bias: float) -> nn.Module:
        net = randomised(nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.Conv2d(3, 2, 3)))
        with torch.no_grad():
            net[0].weight[1], net[0].bias[1] = 0.0, bias
        return net

    assert found(model(0.0)).reasons == {"0": {1: CONSTANT}}  # sigmoid(0) is a half
    assert remove_dead(model(0.3), image()).dead_removal.relative_error < 1e-12
    net = model(0.0)
    net[1] = nn.Tanh()
    assert found(net).reasons == {"0": {1: SILENT}}


PADDED: dict[str, Callable[[], nn.Module]] = {
    "zeros": lambda: behind(nn.Conv2d(4, 3, 3, padding=1)),
    "a padding of its own": lambda: behind(nn.ZeroPad2d(1), nn.Conv2d(4, 3, 3)),
    "through depthwise": lambda: behind(
        nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
    ),
    "averages of zeros": lambda: behind(nn.AvgPool2d(3, 1, padding=1), nn.Conv2d(4, 3, 1)),
}
EXACT: dict[str, Callable[[], nn.Module]] = {
    "reflected": lambda: behind(nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect")),
    "averages of what is there": lambda: behind(
        nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), nn.Conv2d(4, 3, 1)
    ),
    "maxima": lambda: behind(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(4, 3, 1, bias=False)),
    "into a running mean": lambda: behind(
        nn.Conv2d(4, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)
    ),
    "grouped": lambda: behind(nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 2, 1)),
    "transposed": lambda: behind(nn.ConvTranspose2d(4, 3, 1), nn.Conv2d(3, 2, 1)),
    "flattened": lambda: behind(nn.Flatten(), nn.Linear(4 * 36, 3)),
    "pooled": lambda: behind(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    "in place": lambda: behind(nn.Conv2d(4, 3, 1), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 1)),
}


@pytest.mark.parametrize("name", PADDED)
def test_a_constant_that_counts_less_at_the_border_is_not_free(name: str) -> None:
    model = PADDED[name]()
    set_norm(model[1], 2, 0.0, 2.0)
    assert found(model).reasons == {}
    set_norm(model[1], 2, 0.0, 0.0)
    reasons = found(model).reasons
    assert name == "through depthwise" or reasons == {"0": {2: SILENT}}


@pytest.mark.parametrize("name", EXACT)
def test_a_constant_that_is_one_everywhere_is_free(name: str) -> None:
    model = EXACT[name]()
    # a group of a grouped convolution shares positions: channel 0 stands for 0 and 2
    set_norm(model[1], 0, 0.0, 2.0)
    set_norm(model[1], 2, 0.0, 0.5)
    channels = trace(model, image())
    dead = dead_channels(channels)
    wanted = (0,) if name == "grouped" else (0, 2)
    assert dead.constant == {channels.groups[0].name: wanted}
    done = remove_dead(model, image())
    assert done.plan.remove == {channels.groups[0].name: wanted}
    assert difference(outputs(done.network, image()), outputs(model, image())) < 1e-12


def test_of_a_sum_every_branch_must_be_dead() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem_bn(net.stem(x))
        return net.head(x + net.bn(net.branch(F.relu(x))))

    model = randomised(
        Net(
            forward,
            stem=nn.Conv2d(1, 3, 3),
            stem_bn=nn.BatchNorm2d(3),
            branch=nn.Conv2d(3, 3, 1, bias=False),
            bn=nn.BatchNorm2d(3),
            head=nn.Conv2d(3, 2, 1),
        )
    )
    set_norm(model.bn, 1, 0.0, 0.0)
    assert found(model).reasons == {}
    set_norm(model.stem_bn, 1, 0.0, 0.0)
    assert found(model).reasons == {"stem": {1: SILENT}}
    set_norm(model.stem_bn, 2, 0.0, 0.75)  # 0.75 - 0.75: constants of two branches that cancel …
    set_norm(model.bn, 2, 0.0, -0.75)
    with torch.no_grad():  # … once the branch does not read it
        model.branch.weight[:, 2] = 0.0
    assert found(model).reasons == {"stem": {1: SILENT, 2: NOTHING}}
    assert remove_dead(model, image()).dead_removal.relative_error < 1e-12


def test_an_output_that_two_read_gets_a_bias_of_its_own() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.reader(F.relu(net.bn(net.stem(x))))
        return net.head(net.norm(y)) + net.head(y)

    model = randomised(
        Net(
            forward,
            stem=nn.Conv2d(1, 3, 3),
            bn=nn.BatchNorm2d(3),
            reader=nn.Conv2d(3, 3, 1, bias=False),
            norm=nn.BatchNorm2d(3),
            head=nn.Conv2d(3, 2, 1),
        )
    )
    set_norm(model.bn, 1, 0.0, 1.5)
    done = remove_dead(model, image())
    assert done.plan.remove == {"stem": (1,)} and done.dead_removal.relative_error < 1e-12
    assert done.network.reader.bias is not None
    assert torch.equal(done.network.norm.running_mean, model.norm.running_mean)


def test_what_a_norm_over_channels_touches_is_not_free() -> None:
    model = behind(nn.GroupNorm(1, 4), nn.Conv2d(4, 3, 1))
    set_norm(model[1], 2, 0.0, 0.0)
    assert found(model).reasons == {}


def test_a_weight_that_is_computed_is_not_judged() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return F.conv2d(net.stem(x), net.weight - net.weight.mean())

    weight = nn.Parameter(torch.randn(2, 3, 1, 1))
    model = Net(forward, stem=nn.Conv2d(1, 3, 3), weight=weight).double()
    with torch.no_grad():
        model.stem.weight[1], model.stem.bias[1] = 0.0, 0.0
    assert found(model).reasons == {}


def test_one_channel_of_a_dead_group_stays() -> None:
    model = behind(nn.Conv2d(4, 3, 1))
    for channel in range(4):
        set_norm(model[1], channel, 0.0, 0.0)
    channels = trace(model, image())
    dead = dead_channels(channels)
    assert list(dead.of("0")) == [0, 1, 2, 3]
    assert plan_dead(channels, dead).remove == {"0": (1, 2, 3)}
    assert dead.among(manual(channels, {"0": [0, 2]})) == (2, 0)


def dead_by_chance(model: nn.Module, seed: int) -> nn.Module:
    """A third of the batch-norm scales and of the shifts, and some filters, exactly zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.Conv2d):
                for tensor in module.parameters(recurse=False):
                    tensor[torch.rand(len(tensor), generator=generator) < 0.35] = 0.0
    return model


def check(model: nn.Module, example: Any) -> int:
    """Remove what is dead, and find the same outputs; how many channels went."""
    before = state_of(model)
    done = remove_dead(model, example)
    assert done.dead_removal.relative_error < 1e-10
    zero_only = remove_dead(model, example, constants=False).dead_removal
    assert zero_only.relative_error <= 1e-10 and not zero_only.shifted
    assert same_state(model, before)
    return sum(map(len, done.plan.remove.values()))


@pytest.mark.parametrize("name", TOYS)
def test_toys(name: str) -> None:
    build, example = TOYS[name]
    check(dead_by_chance(randomised(build()), 1), example)


@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed: int) -> None:
    model = RandomNetwork(seed)
    check(dead_by_chance(randomised(model), seed), model.example().double())


@pytest.mark.parametrize("name", NETWORKS)
def test_families(name: str) -> None:
    torch.manual_seed(0)
    model = dead_by_chance(randomised(NETWORKS[name](width=4)), 3)
    removed = check(model, image(size=16, batch=1))
    assert (removed > 0) == (name != "tf_sepnet")  # where every channel is averaged with others


def test_every_channel_that_is_not_called_free_matters() -> None:
    """Nothing is overlooked: cut alone, a channel that is not dead changes the outputs."""
    widths = (1, 6, 6, 6)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.Tanh()]
    model = dead_by_chance(randomised(nn.Sequential(*layers, nn.Conv2d(6, 2, 1))), 5)
    channels = trace(model, image())
    dead = dead_channels(channels)
    wanted = outputs(model, image())
    judged = set()
    for group in channels.groups:
        for j in range(group.n_channels):
            small = cut(channels, manual(channels, {group.name: [j]})).network
            nothing = dead.of(group.name).get(j, CONSTANT) != CONSTANT
            changed = difference(outputs(small, image()), wanted) > 1e-12
            assert changed != nothing
            judged.add(nothing)
    assert judged == {True, False}


def test_after_training_with_the_proximal_penalty() -> None:
    torch.manual_seed(0)
    model = vgg(width=6, bn_init=0.5)
    example = torch.zeros(1, 1, 16, 17)
    channels = trace(model, example)
    x, y = torch.randn(48, 1, 16, 17), torch.randint(0, 10, (48,))
    penalty = BnL1Proximal(strength=1.2, scales=prunable_scales(channels), ramp=0.0)
    fit(model, x, y, Training(epochs=4, batch_size=16), seed=0, penalty=penalty)
    model.eval()
    dead = dead_channels(channels)
    assert 0 < dead.n_channels < sum(group.n_channels for group in channels.groups)
    done = remove_dead(model, example)
    assert done.dead_removal.relative_error < 1e-5
    with torch.no_grad():
        torch.testing.assert_close(done.network(x), model(x), rtol=1e-4, atol=1e-5)


def test_what_is_turned_computed_and_turned_back_can_be_viewed() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 2)

        def forward(self, x: Tensor) -> Tensor:
            turned = self.conv(x).transpose(2, 3) * 2  # laid out as before it was turned
            return self.last(turned.transpose(2, 3).view(len(x), -1))

    model = Turned()
    model.conv.weight.data[1] = 0
    model.conv.bias.data[1] = 0
    x = torch.zeros(1, 1, 8, 8)
    assert dead_channels(trace(model, x)).n_channels == 1


def test_what_is_left_is_cut_further_and_saved_as_one(tmp_path: Path) -> None:
    """Constants go into a bias that there was not, which the file tells of."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 1, bias=False), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ).double()
    with torch.no_grad():
        model[0].weight[:2] = 0.0
        model[0].bias[:2] = torch.tensor([-1.0, 3.0])  # nothing, and a constant
    first = remove_dead(model, image())
    assert first.plan.remove == {"0": (0, 1)} and first.plan.made_biases == ("2.bias",)
    assert "constants went into the biases of 2" in str(first)
    then = prune(first, image(), macs="60%")
    assert then.earlier is first and len(then.steps) == 2
    for pruned in (first, then):
        path = pruned.save(tmp_path / "small.safetensors")
        again = load(path, lambda: copy.deepcopy(model))
        assert torch.equal(again(image()), pruned.network(image()))
    assert "2.bias" in dict(then.network.named_parameters())
