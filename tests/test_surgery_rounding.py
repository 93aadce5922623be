"""Dead channels in a network's own precision: what vanishes in its rounding, and what does not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts import randomised, same_state, state_of
from secateur.channels.rules import RULES
from secateur.channels.trace import trace
from secateur.errors import SurgeryError
from secateur.networks.families import NETWORKS
from secateur.surgery.constants import read_constants
from secateur.surgery.dead import CONSTANT, NEGLIGIBLE, DeadChannels, dead_channels, remove_dead
from secateur.surgery.deviation import SLOPES, Operation, deviation_of
from secateur.surgery.precision import Precision, difference_in_own_precision, precision_of
from toys import Net, image

FLOAT32 = 2.0**-23
TINY = 1e-41
"""What weight decay leaves of a float32 scale: a smaller step rounds back to it."""


def behind(*layers: nn.Module, scale: float = TINY, dtype: torch.dtype = torch.float32) -> Any:
    """1 -> 4 channels, of which the first two have a batch norm of this scale, then the layers."""
    stem = (nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    model = randomised(nn.Sequential(*stem, *layers)).to(dtype)
    with torch.no_grad():
        model[1].weight[:2], model[1].bias[:2] = scale, -scale
    return model


def found(model: nn.Module, tolerance: float | None = None) -> DeadChannels:
    x = example(model)
    return dead_channels(trace(model, x), tolerance=tolerance)


def example(model: nn.Module) -> Tensor:
    return image().to(next(model.parameters()).dtype)


def test_denormal_scales_are_dead() -> None:
    """Of the running variance nothing is asked: a dead filter's is a denormal, too."""
    model = behind(nn.Conv2d(4, 2, 1))
    model[1].running_var[:2] = 5e-45
    before = state_of(model)
    assert found(model).reasons == {"0": {0: NEGLIGIBLE, 1: NEGLIGIBLE}}
    assert found(model, tolerance=0.0).reasons == {}
    done = remove_dead(model, example(model))
    assert done.plan.remove == {"0": (0, 1)} and done.dead_removal.tolerance == FLOAT32
    assert done.dead_removal.relative_error < 1e-15
    assert (done.dead_removal.error_in_own_precision or 0.0) <= 2 * FLOAT32
    assert str(done.dead_removal) == (
        f"outputs unchanged within {done.dead_removal.relative_error:.1e} in float64 "
        "(the rounding of float32 is 1.2e-07)"
    )
    assert same_state(model, before)


def test_a_constant_behind_a_denormal_scale_is_taken_up() -> None:
    # 2.0 after the ReLU, give or take 1e-35; the reader's weights for it are 3 and -1
    model = behind(nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[1].bias[1] = 2.0
        model[3].weight[:, 1, 0, 0] = torch.tensor([3.0, -1.0])
        model[3].bias.fill_(1.0)
    assert found(model).reasons == {"0": {0: NEGLIGIBLE, 1: CONSTANT}}
    done = remove_dead(model, example(model))
    assert done.network[3].bias.tolist() == [7.0, -1.0] and done.dead_removal.shifted == ("3",)


AMPLIFIED = {
    "a scale": {"scale": 1 / TINY},
    "a variance of zero": {"variance": 0.0},
    "a small variance": {"variance": TINY**2},
}


@pytest.mark.parametrize("how", AMPLIFIED)
@pytest.mark.parametrize("where", ["of its own", "through a depthwise convolution"])
def test_what_a_later_norm_makes_up_for_is_not_dead(how: str, where: str) -> None:
    depthwise = [nn.Conv2d(4, 4, 3, groups=4, bias=False)] if "depthwise" in where else []
    layers = [*depthwise, nn.BatchNorm2d(4, eps=0.0), nn.Conv2d(4, 2, 1)]
    model = behind(*layers, dtype=torch.float64)
    norm, given = model[-2], AMPLIFIED[how]
    with torch.no_grad():
        norm.running_mean[:2], norm.bias[:2] = 0.0, 0.0
    assert found(model).reasons == {"0": {0: NEGLIGIBLE, 1: NEGLIGIBLE}}
    with torch.no_grad():  # of channel 1 only
        norm.weight[1] = given.get("scale", norm.weight[1])
        norm.running_var[1] = given.get("variance", norm.running_var[1])
    assert found(model).reasons == {"0": {0: NEGLIGIBLE}}
    assert remove_dead(model, example(model)).plan.remove == ({} if "zero" in how else {"0": (0,)})


def test_what_a_huge_weight_reads_is_not_dead() -> None:
    model = behind(nn.Conv2d(4, 2, 1), dtype=torch.float64)
    with torch.no_grad():
        model[3].weight[1, 1] = 1 / TINY  # of one output; the other reads it as ever
    assert found(model).reasons == {"0": {0: NEGLIGIBLE}}


def test_where_all_inputs_are_tiny_they_are_what_there_is() -> None:
    """Every scale is 1e-41, and the reader's own norm brings its outputs back to size."""
    model = behind(nn.Conv2d(4, 2, 1, bias=False), nn.BatchNorm2d(2, eps=0.0), nn.Conv2d(2, 2, 1))
    model.double()
    with torch.no_grad():
        model[1].weight.fill_(TINY)
        model[1].bias.fill_(0.0)
        model[4].running_mean.fill_(0.0)
        model[4].running_var.fill_(TINY**2)
    assert "0" not in found(model).reasons
    model[3].bias = nn.Parameter(torch.ones(2, dtype=torch.float64))  # beside which they vanish
    assert list(found(model).of("0")) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("dtype", "scale", "dead"),
    [
        (torch.float32, 1e-6, False),  # its contribution is of the order of float32's rounding
        (torch.float32, 1e-9, False),  # and would be, were its input a thousand times as large
        (torch.float32, 1e-18, True),
        (torch.float64, 1e-18, False),
        (torch.float64, 1e-30, True),
        (torch.bfloat16, 1e-12, True),
    ],
)
def test_the_tolerance_is_that_of_the_type(dtype: torch.dtype, scale: float, dead: bool) -> None:
    model = behind(nn.Conv2d(4, 2, 1), scale=scale, dtype=dtype)
    free = found(model)
    assert free.tolerance == torch.finfo(dtype).eps
    assert list(free.of("0")) == ([0, 1] if dead else [])


def test_the_tolerance_can_be_given() -> None:
    model = behind(nn.Conv2d(4, 2, 1), scale=1e-9)
    assert found(model).n_channels == 0 and found(model, tolerance=0.1).n_channels == 2
    done = remove_dead(model, example(model), tolerance=0.1)
    assert done.dead_removal.tolerance == 0.1 and done.dead_removal.relative_error < 1e-8
    assert precision_of(model) == Precision("float32", FLOAT32)


def test_where_outputs_change_only_exact_zeros_go() -> None:
    """The bound is of each layer: of two outputs that cancel, the difference shows what went."""

    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(net.bn(net.stem(x))) - 1e9

    model: Any = randomised(
        Net(
            forward,
            stem=nn.Conv2d(1, 4, 1, bias=False),
            bn=nn.BatchNorm2d(4),
            head=nn.Conv2d(4, 1, 1),
        )
    )
    with torch.no_grad():
        model.bn.weight[:] = torch.tensor([5e-3, 0.0, 5e-3, 1.0])
        model.bn.bias.zero_()
        model.head.bias.fill_(1e9)
    given = {"tolerance": 1e-4}
    assert set(found(model, **given).of("stem")) == {0, 1, 2}
    done = remove_dead(model, example(model), **given)
    assert done.plan.remove == {"stem": (1,)} and done.dead_removal.tolerance == 0.0


@pytest.mark.parametrize("tolerance", [-1e-9, 1.0, math.nan, math.inf])
def test_a_tolerance_is_a_share(tolerance: float) -> None:
    model = behind(nn.Conv2d(4, 2, 1))
    with pytest.raises(SurgeryError, match="is no share of an output; give a number from 0"):
        remove_dead(model, example(model), tolerance=tolerance)


class Block(nn.Module):
    """Widen, each channel by itself, gate, narrow, and add: a block of a mobile network."""

    def __init__(self, width: int, inside: int) -> None:
        super().__init__()
        self.widen, self.bn1 = nn.Conv2d(width, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.each = nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False)
        self.bn2, self.bn3 = nn.BatchNorm2d(inside), nn.BatchNorm2d(width)
        self.gate, self.narrow = nn.Conv2d(inside, inside, 1), nn.Conv2d(inside, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu(self.bn1(self.widen(x)))
        y = nn.functional.hardswish(self.bn2(self.each(y)))
        y = y * self.gate(y.mean((2, 3), keepdim=True)).sigmoid()
        return x + self.bn3(self.narrow(y))


def scene_classifier() -> Any:
    torch.manual_seed(0)
    stem = (nn.Conv2d(1, 24, 3, bias=False), nn.BatchNorm2d(24), nn.ReLU())
    blocks = (Block(24, 40), Block(24, 40))
    head = (nn.Conv2d(24, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return randomised(nn.Sequential(*stem, *blocks, *head)).float()


def test_sixty_one_of_many_through_sums_and_depthwise_convolutions() -> None:
    model = scene_classifier()
    norms = {"sum": [model[1], model[3].bn3, model[4].bn3]}
    norms |= {f"block {k}": [model[k].bn1, model[k].bn2] for k in (3, 4)}
    n_dead = {"sum": 9, "block 3": 20, "block 4": 32}
    with torch.no_grad():
        for name, n in n_dead.items():  # 61 in all
            for norm in norms[name]:
                norm.weight[:n], norm.bias[:n], norm.running_mean[:n] = TINY, -TINY, TINY
                norm.running_var[:n] = 5e-45
    channels = trace(model, example(model))
    reasons = dead_channels(channels).reasons
    assert sorted(len(found) for found in reasons.values()) == [9, 20, 32]
    assert {why for found in reasons.values() for why in found.values()} == {NEGLIGIBLE}
    done = remove_dead(model, example(model))
    assert sum(map(len, done.plan.remove.values())) == 61
    assert done.dead_removal.relative_error < 1e-12
    assert done.dead_removal.error_in_own_precision is not None
    assert done.dead_removal.error_in_own_precision < 1e-5
    with torch.no_grad():  # one branch lives: then so does the sum
        model[4].bn3.weight[0] = 1e-3
    assert dead_channels(channels).n_channels == 60


@pytest.mark.parametrize("name", NETWORKS)
def test_families_lose_as_many_as_if_scales_were_zero(name: str) -> None:
    torch.manual_seed(0)
    model, x = NETWORKS[name](width=8).eval(), image(size=16, batch=1).float()
    counts = []
    for scale in (TINY, 0.0):
        with torch.no_grad():
            for norm in model.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    n = norm.num_features // 4
                    norm.weight[:n], norm.bias[:n], norm.running_var[:n] = scale, -scale, 5e-45
        counts.append(dead_channels(trace(model, x)).n_channels)
        assert remove_dead(model, x).dead_removal.relative_error < 1e-12
    assert counts[0] == counts[1]
    assert (counts[0] > 0) == (name != "tf_sepnet")  # where every channel is averaged with others


@pytest.mark.parametrize("seed", range(8))
def test_no_input_moves_a_number_further_than_is_said(seed: int) -> None:
    """What a reading calls nothing changes no output of that layer, on inputs up to a thousand."""
    torch.manual_seed(seed)
    model: Any = scene_classifier().double()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight *= 10.0 ** torch.randint(-30, 1, module.weight.shape)
    tolerance = 1e-7
    reads = read_constants(model, image(), tolerance).reads
    judged = 0
    for name in ("3.widen", "4.widen", "5"):
        layer = model.get_submodule(name)
        nothing = reads[f"{name}.weight", 1].nothing
        judged += int(nothing.sum())
        for size in (1e-3, 1.0, 1e3):
            arrives = _input_of(layer, model, size * torch.randn(2, 1, 6, 6, dtype=torch.float64))
            usual = _input_of(layer, model, torch.randn(1, 1, 6, 6, dtype=torch.float64))
            gives = layer(arrives * nothing.view(1, -1, 1, 1)) - layer(arrives * 0)
            assert gives.abs().amax() <= tolerance * layer(usual).abs().amax()
    assert judged > 0


STEEP: dict[str, tuple[Any, ...]] = {
    "hardtanh": (-0.5, 0.25),
    "clamp": (-0.5, 0.25),
    "clamp_min": (-0.5,),
    "clamp_max": (0.5,),
    "elu": (1.5, 2.0, 3.0),
    "leaky_relu": (-3.0,),
    "softplus": (4.0,),
}


@pytest.mark.parametrize("name", sorted(SLOPES))
@pytest.mark.parametrize("far", [1e-6, 0.01, 1.0])
def test_no_function_is_steeper_than_is_said(name: str, far: float) -> None:
    operator = getattr(torch.ops.aten, name).default
    x = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    arguments = STEEP.get(name, ())
    moved = Operation(operator, name, (x, *arguments), {}, lambda t: torch.full_like(t, far))
    bound = deviation_of(moved, RULES[name])
    assert bound is not None
    for step in (-far, far, far / 3):
        change = operator(x + step, *arguments) - operator(x, *arguments)
        assert bool((change.abs() <= bound + 1e-12).all())


def test_a_prelu_and_a_choice_keep_what_is_tiny() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.prelu(net.bn(net.stem(x)))
        return net.head(torch.where(net.mask, x, 0.5 * x))

    model: Any = randomised(
        Net(
            forward,
            stem=nn.Conv2d(1, 4, 1, bias=False),
            bn=nn.BatchNorm2d(4),
            prelu=nn.PReLU(4),
            head=nn.Conv2d(4, 2, 1),
        )
    )
    model.register_buffer("mask", torch.arange(6) > 2)
    with torch.no_grad():
        model.bn.weight[1], model.bn.bias[1] = TINY, -TINY
    assert found(model).reasons == {"stem": {1: NEGLIGIBLE}}
    with torch.no_grad():
        model.prelu.weight[1] = 1 / TINY
    assert found(model).reasons == {}


def _input_of(layer: nn.Module, model: nn.Module, x: Tensor) -> Tensor:
    seen: list[Tensor] = []
    with torch.no_grad():
        hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        model(x)
        hook.remove()
    return seen[0]


def test_two_networks_in_their_own_precision() -> None:
    one = nn.Linear(2, 1, bias=False)
    other = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        one.weight.fill_(1.0)
        other.weight.fill_(1.25)
    assert difference_in_own_precision(one, other, torch.zeros(3, 2)) == pytest.approx(0.25)
    with torch.no_grad():
        one.weight.fill_(math.inf)
    assert difference_in_own_precision(one, other, torch.zeros(3, 2)) is None
