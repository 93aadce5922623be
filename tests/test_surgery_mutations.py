"""What faults in proof, cut and verification would change, on toys with the answer on paper."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from contracts import plan_as_cut, plan_of, randomised
from secateur.channels.call import Call
from secateur.channels.rules import RULES
from secateur.channels.trace import trace
from secateur.errors import TraceError, VerificationError
from secateur.surgery.cut import cut
from secateur.surgery.dead import CONSTANT, NEGLIGIBLE, dead_channels
from secateur.surgery.in_turn import verified
from secateur.surgery.readers import sites_of
from secateur.surgery.rebuild import shrink
from toys import Net, between, conv, image, plain


def test_a_difference_of_a_millionth_is_one() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (0,)})
    small = cut(channels, plan).network
    with torch.no_grad():
        small.get_parameter("3.bias")[0] += 1e-6
    with pytest.raises(VerificationError, match="differs by"):
        verified(model, small, plan, channels, image())


def test_a_network_that_differs_at_another_size_only_is_refused() -> None:
    """The example is 6 by 6; pooling to 6 by 6 does nothing to it, and something to 3 by 3."""
    model = randomised(nn.Sequential(conv(1, 4), nn.Identity(), conv(4, 2)))
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (0,)})
    small = cut(channels, plan).network
    assert verified(model, small, plan, channels, image()).inputs == ("2x1x6x6", "3x1x3x3")
    small[1] = nn.AdaptiveAvgPool2d(6)
    with pytest.raises(VerificationError):
        verified(model, small, plan, channels, image())


def test_rows_that_the_example_does_not_name_are_tried() -> None:
    """The example names row 0 five times over; the cut network has another row 1, 2 and 3."""
    model = randomised(nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 3)))
    example = torch.zeros(2, 5, dtype=torch.long)
    channels = trace(model, example)
    plan = plan_of(channels, {"0": (1, 2)})
    small = cut(channels, plan).network
    with torch.no_grad():
        small.get_parameter("0.weight")[1:] += 1
    with pytest.raises(VerificationError):
        verified(model, small, plan, channels, example)


def test_a_network_that_draws_is_verified_with_the_same_numbers() -> None:
    model = randomised(between(lambda net, x: F.dropout(x, training=True)))
    channels = trace(model, image())
    plan = plan_of(channels, {"conv1": (0, 3)})
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert plan_as_cut(channels, plan) == plan
    assert torch.equal(torch.random.get_rng_state(), before)


def unmixed(call: Call) -> None:
    """A rule that is wrong: it says nothing of the channels that it reduces."""
    call.set_all({})


def test_those_that_make_a_difference_are_held_back_and_no_others() -> None:
    """exp(0) = 1: two groups of silent channels still count in a logsumexp, a third in nothing."""

    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = (layer(x).logsumexp(1, keepdim=True) for layer in (net.a, net.b))
        return net.last(net.c(x)) + a + b

    layers = {"a": conv(1, 4), "b": conv(1, 4), "c": conv(1, 4), "last": conv(4, 2)}
    model = randomised(Net(forward, **layers))
    channels = trace(model, image(), RULES | {"logsumexp": unmixed})
    assert set(channels.by_name) == {"a", "b", "c"} and not channels.mixing
    plan = plan_of(channels, {"a": (0,), "b": (1,), "c": (2,)})
    settled = plan_as_cut(channels, plan)
    assert set(settled.held_back) == {"a", "b"}
    assert settled.remove == {"c": (2,)}
    with pytest.warns(UserWarning, match="2 of 3 groups are held back, 'a' first"):
        small = cut(channels, plan).network
    assert [getattr(small, name).out_channels for name in "abc"] == [4, 4, 3]


def test_a_part_by_position_is_proved_with_the_map_too() -> None:
    """Of `x[:, :2]` one channel would be left; the code would take the next one as well."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        left, right = (half.sum(1, keepdim=True) for half in (x[:, :2], x[:, 2:]))
        return net.conv2(left * right)

    model = randomised(Net(forward, conv1=conv(1, 4), conv2=conv(1, 2)))
    channels = trace(model, image())
    plan = plan_of(channels, {"conv1": (0,)})
    (reason,) = plan_as_cut(channels, plan).held_back.values()
    assert "gives 2 channels, not the 1 that are left of its 2" in reason


def test_numbers_of_the_network_are_those_of_what_stays() -> None:
    """Signs 1, 2, −1, −2 add up to 0; of the last two, −3; of the first two, 3."""

    def forward(net: Any, x: Tensor) -> Tensor:
        signs = net.signs
        return net.conv2(net.conv1(x) * signs.view(1, -1, 1, 1) * float(signs.sum()))

    model = randomised(Net(forward, conv1=conv(1, 4), conv2=conv(4, 2)))
    model.register_buffer("signs", torch.tensor([1.0, 2.0, -1.0, -2.0], dtype=torch.float64))
    channels = trace(model, image())
    plan = plan_of(channels, {"conv1": (0, 1)})
    (reason,) = plan_as_cut(channels, plan).held_back.values()
    assert "computes with -3, not 0: a width is used as a value there" in reason


def test_a_size_that_grows_as_channels_go_is_objected_to() -> None:
    """4 // 4 = 1 number is broadcast along four channels; 4 // 2 = 2 numbers meet two."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        factors = torch.arange(4 // x.shape[1], dtype=x.dtype, device=x.device) + 1
        return net.conv2(x * factors.view(1, -1, 1, 1))

    model = randomised(Net(forward, conv1=conv(1, 4), conv2=conv(4, 2)))
    channels = trace(model, image())
    (reason,) = plan_as_cut(channels, plan_of(channels, {"conv1": (0, 1)})).held_back.values()
    assert "after the cut a prunable dimension meets a tensor of fixed size in mul" in reason
    assert plan_as_cut(channels, one := plan_of(channels, {"conv1": (0,)})) == one  # 4 // 3 = 1


def test_rows_beyond_the_example_are_pinned() -> None:
    """Of a table of 8 positions an example of length 3 meets the first three."""

    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.first(x) + net.table[: x.shape[1]])

    table = nn.Parameter(torch.zeros(8, 4))
    model = randomised(Net(forward, first=nn.Linear(2, 4), last=nn.Linear(4, 2), table=table))
    channels = trace(model, torch.zeros(2, 3, 2, dtype=torch.float64))
    assert {g.name: g.n_channels for g in channels.groups} == {"first": 4}
    beyond = [p for p in channels.pinned if (p.parameter, p.dim) == ("table", 0)]
    assert ("lies beyond what the example reaches in slice", 5) in {
        (p.reason, p.n_channels) for p in beyond
    }


def test_numbers_that_the_input_overwrote_are_not_known() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        seen = x.new_zeros(2)
        seen[0] = x.sum()
        return net.conv1(x).relu() if bool(seen.sum() > 0) else net.conv1(x)

    with pytest.raises(TraceError, match="depends on the values of its data"):
        trace(Net(forward, conv1=conv(1, 4)).double(), image())


def test_a_magnitude_takes_up_what_its_direction_loses() -> None:
    """5 · (3, 4) / 5 is (3, 4); without the second 3 · (3) / 3 is 3 still, with 5 it would be 5."""
    model = nn.Sequential(nn.Linear(1, 2), weight_norm(nn.Linear(2, 1))).double()
    scale, direction = "parametrizations.weight.original0", "parametrizations.weight.original1"
    with torch.no_grad():
        model[1].get_parameter(direction).copy_(torch.tensor([[3.0, 4.0]]))
        model[1].get_parameter(scale).fill_(5.0)
    example = torch.zeros(2, 1, dtype=torch.float64)
    small = cut(trace(model, example), plan_of(trace(model, example), {"0": (1,)})).network
    assert torch.allclose(small[1].get_parameter(scale), torch.tensor([[3.0]]).double())
    assert torch.allclose(small[1].weight, torch.tensor([[3.0]]).double())


def test_what_stays_of_a_weight_under_a_spectral_norm_is_what_it_was() -> None:
    model = randomised(nn.Sequential(nn.Linear(1, 4), spectral_norm(nn.Linear(4, 3))))
    example = torch.zeros(2, 1, dtype=torch.float64)
    small = cut(trace(model, example), plan_of(trace(model, example), {"0": (0, 2)})).network
    assert small[1].weight.shape == (3, 2)
    assert torch.allclose(small[1].weight, model[1].weight[:, [1, 3]], rtol=1e-12)


def test_silence_is_measured_against_weights_as_they_were() -> None:
    """1, 3, 8 less their mean are −3, −1, 4; the output reads −1. Of 3, 8 it would be −2.5."""

    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(F.linear(x, net.weights - net.weights.mean(0, keepdim=True)))

    weights = nn.Parameter(torch.tensor([[1.0], [3.0], [8.0]]))
    model = Net(forward, last=nn.Linear(3, 1, bias=False), weights=weights).double()
    with torch.no_grad():
        model.last.weight.copy_(torch.tensor([[0.0, 1.0, 0.0]]))
    example = torch.zeros(2, 1, dtype=torch.float64)
    channels = trace(model, example)
    plan = plan_of(channels, {"weights": (0,)})
    found = verified(model, shrink(model, plan, channels), plan, channels, example)
    assert found.groups == {"weights": "computed weight"}
    assert found.silence_error == pytest.approx(1.5)  # by the median answer


class Centred(nn.Module):
    """Every filter less its mean: computed over its inputs."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight - weight.mean((1, 2, 3), keepdim=True)


class Bounded(nn.Module):
    """Every number on its own."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.tanh()


@pytest.mark.parametrize(("then", "left"), [(Bounded, set()), (Centred, {"mean over channels"})])
def test_a_weight_norm_is_made_up_for_whatever_follows_it(
    then: type[nn.Module], left: set[str]
) -> None:
    chained = weight_norm(conv(4, 3))
    parametrize.register_parametrization(chained, "weight", then())
    model = nn.Sequential(conv(1, 4), chained, conv(3, 2)).double()
    channels = trace(model, image())
    assert {row.reason for row in channels.mixing} == left
    plan = plan_of(channels, {"0": (1, 2)})
    found = verified(model, shrink(model, plan, channels), plan, channels, image())
    assert found.holds and found.exact == (not left)


def test_outputs_of_a_grouped_transposed_convolution_that_stay() -> None:
    """Two groups of two outputs: 0 1 and 2 3; without the first of each 1 and 3 are left."""
    grouped = nn.ConvTranspose2d(4, 2 * 2, 1, groups=2)
    model = nn.Sequential(conv(1, 4), nn.ReLU(), grouped, conv(4, 2)).double()
    channels = trace(model, image())
    assert {g.name: g.n_channels for g in channels.groups} == {"0": 2, "2": 2}
    sites = sites_of(model, {"0": (0,), "2": (0,)}, channels)
    assert {name for name, site in sites.items() if site.lost} == {"2", "3"}
    assert sites["2"].kept is not None and sites["2"].kept.tolist() == [1, 3]


@pytest.mark.parametrize(("given", "why"), [(0.2, CONSTANT), (0.05, NEGLIGIBLE)])
def test_the_tolerance_is_shared_among_the_inputs(given: float, why: str) -> None:
    """Four constants add up to 3 + c; a tenth of that, shared by four, is 0.08 or 0.076."""
    model = nn.Sequential(nn.Linear(1, 4), nn.Linear(4, 1)).double()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([given, 1.0, 1.0, 1.0]))
        model[1].weight.fill_(1.0)
        model[1].bias.zero_()
    example = torch.zeros(2, 1, dtype=torch.float64)
    assert math.isclose(float(model(example)[0].detach()), 3 + given)
    found = dead_channels(trace(model, example), tolerance=0.1)
    assert found.of("0") == {0: why, 1: CONSTANT, 2: CONSTANT, 3: CONSTANT}
