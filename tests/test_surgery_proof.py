"""Networks whose code holds sizes: the proof names the operator and the line, nothing is cut."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import (
    check_cut_equals_mask,
    difference,
    outputs,
    plan_as_cut,
    plan_of,
    randomised,
    same_state,
    state_of,
)
from secateur.channels.cost import cost
from secateur.channels.trace import trace
from secateur.errors import ProofError, VerificationError
from secateur.surgery import prove as prove_module
from secateur.surgery.cut import cut
from secateur.surgery.in_turn import verified
from secateur.surgery.mask import mask
from toys import Net, conv, image, plain, residual


def fixed_split(net: Any, x: Tensor) -> Tensor:
    a, b = torch.split(net.conv1(x), [2, 4], dim=1)  # here
    return net.conv2(torch.cat([a, torch.relu(b)], 1))


def fixed_view(net: Any, x: Tensor) -> Tensor:
    x = F.adaptive_avg_pool2d(net.conv1(x), 1)
    return net.conv2(x.view(-1, 6, 1, 1))  # here


def fixed_groups(net: Any, x: Tensor) -> Tensor:
    x = net.conv1(x)
    x = x.view(2, 2, 3, 6, 6).transpose(1, 2).reshape(2, 6, 6, 6)  # here
    return net.conv2(x)


def fixed_halves(net: Any, x: Tensor) -> Tensor:
    x = net.conv1(x)
    return net.conv2(torch.cat([x[:, 3:], x[:, :3]], 1))  # here


def unequal_halves(net: Any, x: Tensor) -> Tensor:
    x = net.conv1(x)
    half = x.shape[1] // 2 + 1
    a, b = x[:, :half], x[:, half:]
    return net.conv2(torch.cat([b, a], 1))  # here


def fixed_roll(net: Any, x: Tensor) -> Tensor:
    return net.conv2(net.conv1(x).roll(2, 1))  # here


def fixed_expand(net: Any, x: Tensor) -> Tensor:
    return net.conv2(net.conv1(x).expand(-1, 6, -1, -1))  # here


def fixed_thirds(net: Any, x: Tensor) -> Tensor:
    x = net.conv1(x)
    total = x[:, :2] + x[:, 2:4] + x[:, 4:6]  # here
    return net.conv2(torch.cat([total, total, total], 1))


def fixed_norm(net: Any, x: Tensor) -> Tensor:
    x = net.conv1(x)
    mean, var = x.new_zeros(6), x.new_ones(6)
    return net.conv2(F.batch_norm(x, mean, var))


HARD_CODED = {
    fixed_split: (0,),
    fixed_view: (0,),
    fixed_groups: (1,),
    fixed_halves: (0,),
    unequal_halves: (0, 1),
    fixed_roll: (5,),
    fixed_expand: (0, 1, 2, 3, 4),
    fixed_thirds: (1,),
}
each = pytest.mark.parametrize("forward", HARD_CODED, ids=lambda f: f.__name__)


def _line(forward: Any) -> int:
    lines, first = inspect.getsourcelines(forward)
    return first + next(k for k, line in enumerate(lines) if "# here" in line)


@each
def test_it_ends_in_a_proof_error_that_names_operator_and_line(forward: Any) -> None:
    model = randomised(Net(forward, conv1=conv(1, 6), conv2=conv(6, 2)))
    channels = trace(model, image())
    assert channels.groups
    before = state_of(model)
    plan = plan_of(channels, {channels.groups[0].name: HARD_CODED[forward]})
    with pytest.raises(ProofError) as failure:
        cut(channels, plan, hold_back=False)
    message = str(failure.value)
    lines = [int(n) for n in re.findall(r"test_surgery_proof\.py:(\d+)", message)]
    assert lines and all(abs(n - _line(forward)) <= 1 for n in lines), message
    assert re.search(r"split|view|convolution|cat|expand|add|slice", message)
    assert same_state(model, before)
    if "did not meet before" in message:
        assert f"ignore {channels.groups[0].name!r}" in message


@each
def test_any_plan_is_cut_exactly_or_refused(forward: Any) -> None:
    """All plans of the network: never silently wrong."""
    model = randomised(Net(forward, conv1=conv(1, 6), conv2=conv(6, 2)))
    channels = trace(model, image())
    (first, *rest) = channels.groups
    refused = 0
    for bits in range(1, 2**first.n_channels - 1):
        gone = tuple(k for k in range(first.n_channels) if bits >> k & 1)
        remove = {first.name: gone} | {g.name: (0,) for g in rest if g.n_channels > 1}
        plan = plan_of(channels, remove)
        try:
            small = cut(channels, plan, hold_back=False).network
        except ProofError:
            refused += 1
            continue
        masked = mask(channels, plan)
        assert difference(outputs(small, image()), outputs(masked, image())) <= 1e-10
    assert refused


@pytest.mark.parametrize(
    "forward", [f for f in HARD_CODED if f is not unequal_halves], ids=lambda f: f.__name__
)
def test_what_does_not_line_up_is_held_back_and_the_rest_is_cut(forward: Any) -> None:
    def three(net: Any, x: Tensor) -> Tensor:
        x = forward(net, torch.relu(net.before(x)))
        return net.after(torch.relu(x))

    layers = {"conv1": conv(4, 6), "conv2": conv(6, 4)}
    model = randomised(Net(three, before=conv(1, 4), after=conv(4, 2), **layers))
    channels = trace(model, image())
    guilty = next(g.name for g in channels.groups if g.name.startswith("conv1"))
    asked = plan_of(
        channels, {guilty: HARD_CODED[forward], "before": (1, 2), "conv2": (0,)}, ratio=0.5
    )
    settled = plan_as_cut(channels, asked)
    assert set(settled.held_back) == {guilty} and set(settled.remove) == {"before", "conv2"}
    assert re.search(r"test_surgery_proof\.py:\d+", settled.held_back[guilty])
    assert settled.after == cost(channels, settled.remove)
    assert settled.asked == asked.asked
    assert settled.reached["pruning_ratio"] < asked.reached["pruning_ratio"]
    assert plan_as_cut(channels, settled) is settled
    small = cut(channels, settled, hold_back=False).network
    assert small.before.out_channels == 2 and small.conv1.out_channels == 6
    with pytest.warns(UserWarning, match="1 of 3 groups are held back, 'conv1"):
        same = cut(channels, asked).network
    assert difference(outputs(same, image()), outputs(small, image())) == 0
    masked = mask(channels, settled)
    assert difference(outputs(small, image()), outputs(masked, image())) <= 1e-10


def test_a_size_from_a_shape_keeps_as_many_channels_as_it_needs() -> None:
    """Half of what is left and one: of four and two channels, one can go, or one of each."""
    model = randomised(Net(unequal_halves, conv1=conv(1, 6), conv2=conv(6, 2)))
    channels = trace(model, image())
    plan = plan_as_cut(channels, plan_of(channels, {"conv1": (0, 1)}))
    assert plan.remove == {"conv1": (1,)} and not plan.held_back
    assert re.match(r"1 of 2 channels stay, .* test_surgery_proof\.py:58", plan.limited["conv1"])
    plan = plan_as_cut(channels, plan_of(channels, {"conv1:2": (0,)}))
    assert not plan.remove and "all of its channels are needed" in plan.held_back["conv1:2"]


def test_an_error_in_python_code_blames_the_tensors_made_last() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        first, second = net.conv1(x).split(3, 1)  # of three channels there is one piece only
        return net.conv2(first + second)

    model = randomised(Net(forward, conv1=conv(1, 6), conv2=conv(3, 2)))
    channels = trace(model, image())
    settled = plan_as_cut(channels, plan_of(channels, {"conv1": (0, 1)}))
    assert list(settled.held_back) == ["conv1"] and not settled.remove


def test_what_a_failed_run_never_reached_is_not_to_blame() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        first, second = net.conv1(x).split(3, 1)  # of three channels there is one piece only
        x = net.conv2(first + second)
        first, second = x.chunk(2, 1)
        return net.conv3(torch.relu(first) + torch.sigmoid(second))

    model = randomised(Net(forward, conv1=conv(1, 6), conv2=conv(3, 4), conv3=conv(2, 2)))
    channels = trace(model, image())
    settled = plan_as_cut(channels, plan_of(channels, {"conv1": (0, 1), "conv2": (1,)}))
    assert list(settled.held_back) == ["conv1"] and settled.remove == {"conv2": (1,)}


def test_a_line_that_fails_in_two_blocks_is_left_alone_in_all() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = conv(4, 6), conv(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            one, two = self.a(x).split([2, 4], 1)
            return x + self.b(torch.cat([two, one], 1))

    model = randomised(nn.Sequential(conv(1, 4), *(Block() for _ in range(12)), conv(4, 2)))
    channels = trace(model, image())
    plan = plan_of(channels, {g.name: (0,) for g in channels.groups})
    tried = []
    with pytest.MonkeyPatch.context() as patch:
        counted = prove_module.objections
        patch.setattr(prove_module, "objections", lambda *args: tried.append(1) or counted(*args))
        settled = plan_as_cut(channels, plan)
    assert set(settled.remove) == {"0"}
    assert len(tried) <= 5


def test_a_tensor_of_fixed_size_pins_instead() -> None:
    model = randomised(Net(fixed_norm, conv1=conv(1, 6), conv2=conv(6, 2)))
    channels = trace(model, image())
    assert not channels.groups
    assert {(p.parameter, p.reason) for p in channels.pinned} >= {
        ("conv1.weight", "meets a dimension of fixed size in native_batch_norm")
    }


def test_a_difference_that_nothing_explains_is_an_error() -> None:
    model = randomised(residual())
    channels = trace(model, image())
    plan = plan_of(channels, {"stem": (0,)})
    small = cut(channels, plan).network
    with torch.no_grad():
        small.get_parameter("conv1.weight")[0, 0, 0, 0] += 1e-6
    with pytest.raises(
        VerificationError, match=r"differs by .* from the whole one with these channels silent"
    ):
        verified(model, small, plan, channels, image())


def test_verification_sees_a_wrong_shape_and_not_a_number() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (0,)})
    wide = randomised(nn.Sequential(conv(1, 3), conv(3, 4)))
    with pytest.raises(VerificationError, match="inf"):
        verified(model, wide, plan, channels, image())
    small = cut(channels, plan).network
    with torch.no_grad():
        small.get_parameter("3.bias")[0] = torch.nan
    with pytest.raises(VerificationError, match="inf"):
        verified(model, small, plan, channels, image())


def test_a_network_in_single_precision_is_verified_in_double() -> None:
    model = randomised(residual()).float()
    channels = trace(model, image().float())
    plan = plan_of(channels, {"stem": (0, 2), "conv1": (1,)})
    small = cut(channels, plan).network
    assert verified(model, small, plan, channels, image().float()).relative_error <= 1e-10
    assert {p.dtype for p in small.parameters()} == {torch.float32}


def test_cutting_down_to_one_channel_is_proved_like_any_other() -> None:
    for build in (residual, plain):
        model = randomised(build())
        channels = trace(model, image())
        remove = {g.name: tuple(range(1, g.n_channels)) for g in channels.groups}
        small = cut(channels, plan_of(channels, remove)).network
        assert max(p.shape[0] for p in small.parameters()) <= 3
        check_cut_equals_mask(model, image(), channels, n=1)


def test_a_module_in_several_places_is_left_as_it_was() -> None:
    class Block(nn.Module):
        def __init__(self, shared: nn.Module) -> None:
            super().__init__()
            self.shared = shared

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.shared(x))

    shared = conv(4, 4)
    model = randomised(nn.Sequential(conv(1, 4), Block(shared), Block(shared), conv(4, 2)))
    before = state_of(model)
    channels = trace(model, image())
    assert same_state(model, before) and not any(p.is_meta for p in model.parameters())
    small = cut(channels, plan_of(channels, {"0": (1, 3)})).network
    assert small[1].shared is small[2].shared and small[1].shared.weight.shape[:2] == (2, 2)
    check_cut_equals_mask(model, image(), channels, n=2)
