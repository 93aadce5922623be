"""Networks that are wired in unusual ways: cut right, or refused in one clear sentence."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import secateur as sc
from contracts import (
    check_cost,
    check_cut_equals_mask,
    plan_as_cut,
    plan_of,
    randomised,
    same_state,
    state_of,
)
from secateur.channels.rules import RULES
from secateur.errors import PlanError, TraceError, VerificationError
from secateur.surgery.in_turn import verified
from toys import Net, between, conv, head, image, pooled


def first_gone(model: nn.Module, example: Any) -> sc.PruningPlan:
    """A plan that removes channel 0 of the first group."""
    channels = sc.trace(model, example)
    return plan_of(channels, {channels.groups[0].name: (0,)})


@dataclass
class Answer:
    logits: Tensor


class Slotted:
    __slots__ = ("logits",)

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize("answer", [Answer, Slotted, lambda x: SimpleNamespace(of=[x])])
def test_outputs_inside_objects_are_outputs(answer: Any) -> None:
    model = Net(lambda net, x: answer(net.b(F.relu(net.a(x)))), a=conv(1, 4), b=conv(4, 3))
    channels = sc.trace(model, image().float())
    assert [group.name for group in channels.groups] == ["a"]
    assert [(row.parameter, row.n_channels) for row in channels.pinned] == [
        ("b.weight", 3),
        ("b.bias", 3),
    ]


def test_an_answer_without_tensors_is_refused() -> None:
    model = Net(lambda net, x: net.a(x).shape[1] and None, a=conv(1, 4))
    with pytest.raises(TraceError, match="gives back NoneType 'None'"):
        sc.trace(model, image().float())


def test_caches_and_lists_in_attributes_are_left_as_they_were() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.a(x)
        net.seen.append(x)
        if x.shape[-1] not in net.cache["ones"]:
            net.cache["ones"][x.shape[-1]] = torch.ones(1, 1, 1, 1, dtype=x.dtype, device=x.device)
        return net.b(x * net.cache["ones"][x.shape[-1]])

    model = randomised(Net(forward, a=conv(1, 4), b=conv(4, 3)))
    model.seen, model.cache = [], {"ones": {}}
    seen, cache = model.seen, model.cache
    sc.cut(sc.trace(model, image()), first_gone(model, image()))
    assert model.seen is seen and model.cache is cache
    assert seen == [] and cache == {"ones": {}}


def test_a_spectral_norm_in_training_mode_is_not_trained() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(parametrizations.spectral_norm(conv(1, 4)), conv(4, 3), conv(3, 2))
    model.double().train()
    before = state_of(model)
    small = sc.cut(sc.trace(model, image()), first_gone(model, image())).network
    assert same_state(model, before) and model.training
    assert small[0].out_channels == 3 and small[1].in_channels == 3


def cast(net: Any, x: Tensor) -> Tensor:
    return net.b(F.relu(net.a(x.float() / 255)))


def mixed_precision(net: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = net.a(x)
    return net.b(F.relu(x.float()))


def softmax_in_float32(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.b(x * x.flatten(2).softmax(2, dtype=torch.float32).view_as(x).to(x.dtype))


@pytest.mark.parametrize("forward", [cast, mixed_precision, softmax_in_float32])
def test_networks_that_cast_are_verified_in_float64(forward: Any) -> None:
    torch.manual_seed(0)
    model = Net(forward, a=conv(1, 6), b=conv(6, 3))
    example = torch.zeros(2, 1, 6, 6)
    channels = sc.trace(model, example)
    plan = plan_of(channels, {"a": (0, 3)})
    small = sc.cut(channels, plan).network
    assert small.a.out_channels == 4
    assert verified(model, small, plan, channels, example).exact
    with torch.no_grad():
        small.b.weight += 1e-3
    with pytest.raises(VerificationError):
        verified(model, small, plan, channels, example)


def test_a_function_that_closed_over_the_network_is_made_for_the_copy() -> None:
    model = Net(lambda net, x: net.through(x), a=conv(1, 4), b=conv(4, 3))
    model.through = lambda x: model.b(F.relu(model.a(x)))
    model = randomised(model)
    small = sc.cut(sc.trace(model, image()), first_gone(model, image())).network
    assert small.a.out_channels == 3
    with torch.no_grad():
        small.b.weight.zero_()
        small.b.bias.fill_(5)
    assert torch.equal(small(image()), torch.full((2, 3, 6, 6), 5, dtype=torch.float64))


def test_a_copy_that_reaches_into_the_original_is_refused() -> None:
    model = Net(lambda net, x: net.me().b(F.relu(net.me().a(x))), a=conv(1, 4), b=conv(4, 3))
    model.me = weakref.ref(model)
    model = randomised(model)
    before = state_of(model)
    with pytest.raises(VerificationError, match="hold on to the network that came in"):
        sc.cut(sc.trace(model, image()), first_gone(model, image()))
    assert same_state(model, before)


def test_a_filter_whose_width_may_not_be_zero_is_cut() -> None:
    """Gaussian filters: the mask gives 0 / 0, so the weights that read are masked alone."""

    def forward(net: Any, x: Tensor) -> Tensor:
        place = torch.arange(-2, 3, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-(place**2) / net.width[:, None] ** 2)
        return net.b(F.conv1d(x, kernel.unsqueeze(1)))

    model = Net(forward, width=nn.Parameter(torch.ones(4)), b=nn.Conv1d(4, 2, 1))
    model = randomised(model)
    example = torch.zeros(2, 1, 9, dtype=torch.float64)
    channels = sc.trace(model, example)
    plan = plan_of(channels, {channels.groups[0].name: (1, 2)})
    small = sc.cut(channels, plan).network
    assert small.width.shape == (2,) and verified(model, small, plan, channels, example).exact


def test_weights_that_are_not_zero_where_their_parameter_is_are_listed() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return F.linear(torch.sigmoid(pooled(net.a(x))), net.raw.exp())

    model = randomised(Net(forward, a=conv(1, 4), raw=nn.Parameter(torch.ones(2, 4))))
    channels = sc.trace(model, image())
    assert [(row.operator, row.groups) for row in channels.mixing] == [("linear", ("a",))]
    assert sc.cut(channels, plan_of(channels, {"a": (1,)})).network.raw.shape == (2, 3)


def test_a_piece_of_what_is_pinned_is_held_back() -> None:
    """What goes lies before the piece, and all that is in the piece is pinned: who is to blame?"""

    def forward(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        y[:, :3] += net.b(x)[:, 3:]
        return net.c(y * torch.ones(1, 6, 1, 1, dtype=x.dtype, device=x.device))

    model = randomised(Net(forward, a=conv(1, 6), b=conv(1, 6), c=conv(6, 2)))
    plan = plan_as_cut(sc.trace(model, image()), plan_of(sc.trace(model, image()), {"b": (0, 1)}))
    assert plan.remove == {} and "slice" in plan.held_back["b"]


def test_a_layer_applied_to_a_parameter_costs_the_same_for_any_batch() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        queries = F.relu(net.of_queries(net.queries))
        return net.fc(net.a(x).mean((2, 3)) @ queries.t())

    model = randomised(
        Net(
            forward,
            a=conv(1, 6),
            queries=nn.Parameter(torch.ones(5, 8)),
            of_queries=nn.Linear(8, 6),
            fc=head(5),
        )
    )
    channels = sc.trace(model, image(batch=3))
    assert len(channels.groups) == 3
    check_cut_equals_mask(model, image(batch=3), channels, 4)


def test_attention_to_something_else_is_counted() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        places = net.a(x).flatten(2).transpose(1, 2)
        found, _ = net.attend(places[:, :5], places, places, need_weights=False)
        return net.fc(found.mean(1))

    attend = nn.MultiheadAttention(4, 2, batch_first=True)
    model = randomised(Net(forward, a=conv(1, 4), attend=attend, fc=head(4)))
    channels = sc.trace(model, image())
    check_cost(model, image(), sc.cost(channels))


def channels_last_view(net: Any, x: Tensor) -> Tensor:
    y = F.relu(net.a(x)).permute(0, 2, 3, 1)
    return net.fc(y.view(y.shape[0], -1, y.shape[-1]).mean(1))


@pytest.mark.parametrize("of", ["input", "weights"])
def test_channels_last_lies_in_memory_as_in_torch(of: str) -> None:
    """A view that only channels last allows, by the layout of the input or of the weights."""
    model, example = randomised(Net(channels_last_view, a=conv(3, 6), fc=head(6))), image(3)
    if of == "input":
        example = example.contiguous(memory_format=torch.channels_last)
    else:
        model = model.to(memory_format=torch.channels_last)
    small = sc.cut(sc.trace(model, example), first_gone(model, example)).network
    assert small.a.out_channels == 5
    if of == "weights":
        assert small.a.weight.is_contiguous(memory_format=torch.channels_last)


def test_bounds_that_are_tensors_are_broadcast() -> None:
    def step(net: Any, x: Tensor) -> Tensor:
        return torch.clamp(net.low, min=x)  # (1, 4, 1, 1) and (n, 4, h, w)

    model = randomised(between(step, low=nn.Parameter(torch.zeros(1, 4, 1, 1))))
    check_cut_equals_mask(model, image(), sc.trace(model, image()), 3)


def test_gathering_fewer_places_than_there_are_pins() -> None:
    def step(_: Any, x: Tensor) -> Tensor:
        return x.gather(2, torch.zeros(len(x), 2, 6, 6, dtype=torch.long, device=x.device))

    channels = sc.trace(between(step, n_out=2), image().float())
    assert not channels.groups
    assert any("picked by its position in gather" in row.reason for row in channels.pinned)


def test_rules_of_ones_own_reach_the_cut(tmp_path: Any) -> None:
    def bessel() -> nn.Module:
        return between(lambda _, x: torch.special.i0(x))

    model = randomised(bessel())
    rules = RULES | {"i0": RULES["relu"]}
    channels = sc.trace(model, image(), rules)
    plan = plan_of(channels, {channels.groups[0].name: (0,)})
    with pytest.raises(PlanError):
        sc.cut(sc.trace(model, image()), plan)
    assert plan_as_cut(channels, plan) == plan
    # i0(0) is 1: the removed channel is read with weights of zero
    small = sc.cut(channels, plan).network
    path = sc.save(small, tmp_path / "small.safetensors", plan)
    again = sc.load(path, lambda: bessel().double(), image(), rules=rules)
    assert same_state(again, state_of(small))


def test_the_largest_along_the_first_dimension_keeps_channels() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.c(torch.stack([net.a(x), net.b(x)]).max(0).values)

    model = randomised(Net(forward, a=conv(1, 4), b=conv(1, 4), c=conv(4, 2)))
    channels = sc.trace(model, image())
    assert not channels.mixing
    check_cut_equals_mask(model, image(), channels, 3)


@pytest.mark.parametrize(
    "pick",
    [
        lambda x: x.sort(0).values,
        lambda x: x.topk(2, 0).values.mean(0, keepdim=True),
    ],
)
def test_sorting_along_the_first_dimension_keeps_channels(pick: Any) -> None:
    model = randomised(between(lambda _, x: pick(x)))
    channels = sc.trace(model, image())
    assert [group.n_channels for group in channels.groups] == [4] and not channels.mixing
    check_cut_equals_mask(model, image(), channels, 3, costs=False)
