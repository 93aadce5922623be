"""Networks whose code reads sizes from its modules' attributes: these change with the cut."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import (
    difference,
    numbered_on,
    outputs,
    plan_as_cut,
    plan_of,
    randomised,
    same_state,
    state_of,
)
from secateur.channels.cost import cost
from secateur.channels.trace import record, trace
from secateur.errors import ProofError, SurgeryError
from secateur.plan.plan import PruningPlan
from secateur.surgery.cut import cut
from secateur.surgery.mask import mask
from secateur.surgery.memory import activation_peak
from secateur.surgery.origins import Size, sized, solved_for, value_of
from secateur.surgery.package import load, save
from secateur.surgery.restore import remember, restore
from secateur.surgery.sizes import survey
from toys import Net, conv, image

Remove = dict[str, tuple[int, ...]]


def net(forward: Any, attributes: dict[str, Any], **layers: nn.Module) -> nn.Module:
    made = Net(forward, **layers)
    for name, value in attributes.items():
        setattr(made, name, value)
    return randomised(made)


def check(
    model: nn.Module, remove: Remove, attributes: dict[str, Any], example: Any = None
) -> nn.Module:
    """The whole plan is cut, exactly, with these attributes; the model is left as it was."""
    example = image() if example is None else example
    before, held = state_of(model), {k: v for k, v in vars(model).items() if isinstance(v, int)}
    channels = trace(model, example)
    remove = numbered_on(channels, remove)
    plan = plan_as_cut(channels, plan_of(channels, remove))
    assert plan.remove == remove and not plan.held_back
    assert plan.attributes == attributes
    assert plan.after == cost(channels, remove)
    assert PruningPlan.from_json(plan.to_json()) == plan
    assert plan_as_cut(channels, plan) is plan
    small = cut(channels, plan, hold_back=False).network
    masked = mask(channels, plan)
    assert difference(outputs(small, example), outputs(masked, example)) <= 1e-10
    assert cost(trace(small, example)).params == plan.after.params
    assert same_state(model, before)
    assert held == {k: v for k, v in vars(model).items() if isinstance(v, int)}
    restored = restore(small, remember(model, plan, channels))
    assert same_state(restored, before)
    for key in attributes:
        path, _, name = key.partition(":")
        old = getattr(model.get_submodule(path), name)
        back = getattr(restored.get_submodule(path), name)
        assert back == old and type(back) is type(old)
    return small


def check_held_back(model: nn.Module, remove: Remove, held: set[str]) -> None:
    """These groups stay whole, no attribute changes, and the rest is cut exactly."""
    channels = trace(model, image())
    plan = plan_as_cut(channels, plan_of(channels, numbered_on(channels, remove)))
    assert {name.partition(":")[0] for name in plan.held_back} == held and not plan.attributes
    small = cut(channels, plan, hold_back=False).network
    assert difference(outputs(small, image()), outputs(mask(channels, plan), image())) <= 1e-10


def two_pieces(net: Any, x: Tensor) -> Tensor:
    a, b = net.conv1(x).split(net.sizes, 1)
    return net.conv2(torch.cat([b, torch.relu(a)], 1))


@pytest.mark.parametrize("kind", [list, tuple, torch.Size])
def test_split_sizes_follow_what_is_left_of_each_piece(kind: Any) -> None:
    model = net(two_pieces, {"sizes": kind([2, 4])}, conv1=conv(1, 6), conv2=conv(6, 2))
    small = check(model, {"conv1": (0, 2, 3)}, {":sizes": (1, 2)})
    assert small.sizes == kind([1, 2]) and type(small.sizes) is kind
    assert model.sizes == kind([2, 4])


def test_sizes_in_rows_of_rows() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        for layer, sizes in zip((net.conv1, net.conv2), net.sizes, strict=True):
            a, b = layer(x).split(sizes, 1)
            x = torch.cat([b, torch.relu(a)], 1)
        return net.conv3(x)

    layers = {"conv1": conv(1, 6), "conv2": conv(6, 5), "conv3": conv(5, 2)}
    model = net(forward, {"sizes": [[2, 4], (3, 2)]}, **layers)
    small = check(model, {"conv1": (0,), "conv2": (3,)}, {":sizes": ((1, 4), (3, 1))})
    assert small.sizes == [[1, 4], (3, 1)]


def equal_pieces(net: Any, x: Tensor) -> Tensor:
    pieces = torch.split(net.conv1(x), net.width, dim=1)
    return net.conv2(torch.cat([torch.relu(pieces[0]), *pieces[1:]], 1))


def test_one_size_of_all_pieces_changes_if_all_stay_equal() -> None:
    layers = {"conv1": conv(1, 6), "conv2": conv(6, 2)}
    check(net(equal_pieces, {"width": 2}, **layers), {"conv1": (0, 3, 4)}, {":width": 1})
    check_held_back(net(equal_pieces, {"width": 2}, **layers), {"conv1": (0,)}, {"conv1"})


def test_channels_stay_so_that_all_pieces_are_equal() -> None:
    model = net(equal_pieces, {"width": 3}, conv1=conv(1, 9), conv2=conv(9, 2))
    channels = trace(model, image())
    asked = numbered_on(channels, {"conv1": (0, 1, 3, 4, 8)})
    plan = plan_as_cut(channels, plan_of(channels, asked))
    assert plan.remove == numbered_on(channels, {"conv1": (1, 4, 8)})
    assert plan.attributes == {":width": 2} and not plan.held_back
    assert set(plan.limited) == {"conv1", "conv1:2"}
    assert re.match(
        r"1 of 2 channels stay, or sizes at test_surgery_sizes\.py:\d+ would not fit",
        plan.limited["conv1"],
    )
    check(model, {"conv1": (1, 4, 8)}, {":width": 2})


def test_chunks_are_kept_equal() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = net.conv1(x).chunk(2, 1)
        return net.conv2(torch.cat([b, torch.relu(a)], 1))

    model = net(forward, {}, conv1=conv(1, 6), conv2=conv(6, 2))
    channels = trace(model, image())
    asked = numbered_on(channels, {"conv1": (0, 1, 3)})
    plan = plan_as_cut(channels, plan_of(channels, asked))
    assert plan.remove == numbered_on(channels, {"conv1": (1, 3)}) and not plan.attributes
    check(model, {"conv1": (1, 3)}, {})


def test_a_smaller_last_chunk_keeps_as_many_as_the_others_or_all() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = net.conv1(x).chunk(2, 1)
        return net.conv2(torch.cat([b, torch.relu(a)], 1))

    model = net(forward, {}, conv1=conv(1, 7), conv2=conv(7, 2))
    channels = trace(model, image())
    for gone, left in (((0, 1, 4), (0, 1, 4)), ((0, 1), (1,)), ((0, 5, 6), (0,))):
        plan = plan_as_cut(channels, plan_of(channels, numbered_on(channels, {"conv1": gone})))
        assert plan.remove == numbered_on(channels, {"conv1": left})
        check(model, {"conv1": left}, {})


def test_a_width_from_another_tensor_and_the_width_of_a_head_are_made_to_agree() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        n, c, h, w = x.shape
        y = net.inner(x).view(n, net.heads, c // net.heads, h, w)
        return net.last(torch.relu(y).reshape(n, c, h, w))

    layers = {"stem": conv(1, 8), "inner": conv(8, 8), "last": conv(8, 2)}
    model = net(forward, {"heads": 2}, **layers)
    channels = trace(model, image())
    widths = {group.name: group.n_channels for group in channels.groups}
    assert widths == {"stem": 8, "inner": 4}
    for remove, left in (
        ({"stem": (0, 1, 2), "inner": (0,)}, {"stem": (1, 2), "inner": (0,)}),
        ({"stem": (0, 1), "inner": (0, 2)}, {"stem": (0, 1), "inner": (2,)}),
        ({"stem": (0, 1, 2, 3, 4), "inner": (3,)}, {"stem": (3, 4), "inner": (3,)}),
    ):
        plan = plan_as_cut(channels, plan_of(channels, remove))
        assert plan.remove == left and not plan.held_back and set(plan.limited) <= set(remove)
        check(model, left, {})
    check_held_back(model, {"stem": (0,)}, {"stem"})


def test_heads_stay_and_the_width_of_a_head_changes() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        q, k, v = net.qkv(x).reshape(n, 3, net.num_heads, net.head_dim, h * w).unbind(1)
        x = v @ torch.sigmoid(q.transpose(2, 3) @ k * net.scale)
        return net.proj(x.reshape(n, net.num_heads * net.head_dim, h, w))

    attributes = {"num_heads": 2, "head_dim": 4, "scale": 0.5}
    model = net(forward, attributes, qkv=conv(1, 24), proj=conv(8, 2))
    small = check(model, {"qkv": (1,)}, {":head_dim": 3})
    assert small.qkv.weight.shape[0] == 18 and small.proj.weight.shape[1] == 6


def test_the_width_of_a_head_is_the_same_for_queries_and_values_or_stays() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        q, k, v = (layer(x).view(n, net.heads, net.width, h * w) for layer in (net.q, net.k, net.v))
        x = v @ torch.sigmoid(q.transpose(2, 3) @ k * net.scale)
        return net.proj(x.flatten(1, 2).unflatten(2, (h, w)))

    layers = {"q": conv(1, 8), "k": conv(1, 8), "v": conv(1, 8), "proj": conv(8, 2)}
    model = net(forward, {"heads": 2, "width": 4, "scale": 0.5}, **layers)
    check(model, {"q": (1,), "v": (3,)}, {":width": 3})
    check_held_back(model, {"v": (1,)}, {"v"})


def test_as_many_groups_as_channels() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        return net.conv2(F.conv2d(x, net.kernel, groups=net.channels))

    model = net(forward, {"channels": 4}, conv1=conv(1, 4), conv2=conv(4, 2))
    model.register_buffer("kernel", torch.rand(4, 1, 3, 3, dtype=torch.float64))
    check(model, {"conv1": (1, 2)}, {":channels": 2})


def test_the_first_channels_get_a_shortcut() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        y = net.conv2(x)
        y = torch.cat([y[:, 0 : net.narrow] + x, y[:, net.narrow :]], 1)
        return net.conv3(y[:, -net.last :])

    layers = {"conv1": conv(1, 3), "conv2": conv(3, 7), "conv3": conv(5, 2)}
    model = net(forward, {"narrow": 3, "last": 5}, **layers)
    channels = trace(model, image())
    remove = {group.name: (0,) for group in channels.groups}
    plan = plan_as_cut(channels, plan_of(channels, remove))
    assert plan.remove == remove
    check(model, remove, dict(plan.attributes))
    assert plan.attributes[":narrow"] in (1, 2)


def test_a_number_that_is_computed_from_an_attribute() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = net.conv1(x).split([net.part, net.whole - net.part], 1)
        c, d = net.conv2(torch.cat([b, a], 1)).split(net.twice // 2, 1)
        return net.conv3(torch.cat([d, c], 1))

    layers = {"conv1": conv(1, 6), "conv2": conv(6, 4), "conv3": conv(4, 2)}
    model = net(forward, {"part": 2, "whole": 6, "twice": 4}, **layers)
    remove = {"conv1": (0, 4, 5), "conv2": (0, 2)}
    check(model, remove, {":part": 1, ":whole": 3, ":twice": 2})


def test_a_size_from_the_code_and_one_from_a_tensor() -> None:
    """The width of a head is computed from the input's: it fits if both lose the same share."""

    def forward(net: Any, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = net.inner(x).view(n, net.heads, c // net.heads, h, w)
        return net.last(torch.relu(y).reshape(n, c, h, w))

    model = net(
        lambda net, x: forward(net, net.stem(x)),
        {"heads": 2},
        stem=conv(1, 8),
        inner=conv(8, 8),
        last=conv(8, 2),
    )
    check(model, {"stem": (0, 1, 2, 3), "inner": (0, 2)}, {})


@pytest.mark.parametrize(
    "value",
    [
        lambda net: 1 / net.width,
        lambda net: net.width**-0.5,
        lambda net: float(net.width),
        lambda net: net.width * 0.25,
        lambda net: 0.25 / net.width,
    ],
)
def test_a_number_that_is_also_a_value_does_not_change(value: Any) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return equal_pieces(net, x) * value(net)

    model = net(forward, {"width": 3}, conv1=conv(1, 6), conv2=conv(6, 2))
    check_held_back(model, {"conv1": (0, 3)}, {"conv1"})
    with pytest.warns(UserWarning, match="held back"):
        channels = trace(model, image())
        remove = numbered_on(channels, {"conv1": (0, 3)})
        same = cut(channels, plan_of(channels, remove)).network
    assert same.width == 3 and same.conv1.out_channels == 6


@pytest.mark.parametrize("operate", [torch.mul, torch.add, torch.true_divide])
def test_a_number_that_meets_a_tensor_is_a_value(operate: Any) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return operate(equal_pieces(net, x), net.width)

    model = net(forward, {"width": 3}, conv1=conv(1, 6), conv2=conv(6, 2))
    check_held_back(model, {"conv1": (0, 3)}, {"conv1"})


def test_attributes_of_equal_value_are_told_apart() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = net.conv1(x).view(n, net.heads, net.width, h, w)
        return net.conv2(torch.relu(x).view(n, net.heads * net.width, h, w))

    model = net(forward, {"heads": 3, "width": 3, "other": 3}, conv1=conv(1, 9), conv2=conv(9, 2))
    check(model, {"conv1": (0,)}, {":width": 2})


def test_one_attribute_for_two_sizes_that_differ_after_the_cut() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = net.conv1(x).split(net.width, 1)
        c, d = net.conv2(torch.cat([b, a], 1)).split(net.width, 1)
        return net.conv3(torch.cat([d, c], 1))

    layers = {"conv1": conv(1, 6), "conv2": conv(6, 6), "conv3": conv(6, 2)}
    model = net(forward, {"width": 3}, **layers)
    check(model, {"conv1": (0, 3), "conv2": (1, 5)}, {":width": 2})
    check_held_back(model, {"conv1": (0, 3)}, {"conv1"})


def test_a_number_that_is_no_attribute_holds_back() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        a, b = net.conv1(x).split([2, 4], 1)
        return net.conv2(torch.cat([b, a], 1))

    model = net(forward, {"sizes": [2, 4], "two": 2}, conv1=conv(1, 6), conv2=conv(6, 2))
    check_held_back(model, {"conv1": (0, 2)}, {"conv1"})
    with pytest.raises(ProofError, match="ignore 'conv1'"):
        channels = trace(model, image())
        remove = numbered_on(channels, {"conv1": (0, 2)})
        cut(channels, plan_of(channels, remove), hold_back=False)


def test_sizes_in_blocks_and_in_modules_that_stand_twice() -> None:
    class Mix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = 2

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x[..., self.part :, :, :], torch.relu(x.narrow(1, 0, self.part))], 1)

    mix = Mix()
    layers = [conv(1, 4), mix, conv(4, 4), mix, conv(4, 4), Mix(), conv(4, 2)]
    model = randomised(nn.Sequential(*layers))
    small = check(model, {"0": (1,), "2": (0,), "4": (2,)}, {"1:part": 1})
    assert small[1] is small[3] and small[5].part == 2


def test_norms_without_weights_know_their_width() -> None:
    model = randomised(
        nn.Sequential(
            conv(1, 6),
            nn.BatchNorm2d(6, affine=False),
            conv(6, 4),
            nn.InstanceNorm2d(4),
            nn.Conv2d(4, 4, 1, groups=4),
            nn.BatchNorm2d(4, affine=False, track_running_stats=False),
            conv(4, 6),
            nn.GroupNorm(3, 6, affine=False),
            conv(6, 2),
        )
    )
    remove = {"0": (1, 2), "2": (0,), "6": (1,)}
    attributes = {"3:num_features": 3, "5:num_features": 3, "7:num_channels": 4, "7:num_groups": 2}
    small = check(model, remove, attributes)
    assert small[1].num_features == 4


def test_a_layer_norm_without_weights_has_a_true_shape() -> None:
    model = randomised(
        nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 2))
    )
    example = torch.zeros(2, 3, dtype=torch.float64)
    channels = trace(model, example)
    plan = plan_as_cut(channels, plan_of(channels, {"0": (1, 4)}))
    assert plan.attributes == {"1:normalized_shape": (4,)} and not plan.held_back
    small = cut(channels, plan).network
    assert small[1].normalized_shape == (4,) and small(example).shape == (2, 2)


def test_the_sizes_travel_with_the_plan(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return net(two_pieces, {"sizes": [2, 4]}, conv1=conv(1, 6), conv2=conv(6, 2))

    model = build()
    channels = trace(model, image())
    remove = numbered_on(channels, {"conv1": (0, 2, 3)})
    plan = plan_as_cut(channels, plan_of(channels, remove))
    small = cut(channels, plan).network
    path = save(small, tmp_path / "small.safetensors", plan)
    for again in (load(path, build), load(path, build, image())):
        assert again.sizes == [1, 2]
        assert difference(outputs(again, image()), outputs(small, image())) == 0
    peak = activation_peak(model, image(), plan, channels)
    assert peak.peak_bytes < activation_peak(model, image()).peak_bytes
    assert restore(small, remember(model, plan, channels)).sizes == [2, 4]

    def other() -> nn.Module:
        made = build()
        del made.sizes
        return made

    with pytest.raises(SurgeryError, match="no attribute ':sizes'"):
        load(path, other)


def test_an_old_plan_has_no_attributes() -> None:
    model = net(two_pieces, {"sizes": [2, 4]}, conv1=conv(1, 6), conv2=conv(6, 2))
    plan = plan_of(trace(model, image()), {"conv1": (0,)})
    text = plan.to_json().replace(' "attributes": {},\n', "")
    assert "attributes" not in text and PruningPlan.from_json(text) == plan


def test_numbers_hand_their_origin_on() -> None:
    valued: set[Any] = set()
    model = nn.Module()
    model.a, model.b = 12, 3
    from secateur.surgery.origins import Attribute

    def make(name: str, number: int) -> Size:
        return Size(number, Attribute("", name, (), number), valued)

    a, b = make("a", 12), make("b", 3)
    nothing = np.zeros(0, dtype=bool)
    for term, wanted, answer in (
        (a + b, 9, 6),
        (2 + a, 9, 7),
        (a - b, 4, 7),
        (20 - a, 4, 16),
        (a * 2, 8, 4),
        (5 * a, 10, 2),
        (a // b, 2, 6),
        (24 // a, 3, 8),
        (-a, -5, 5),
        (a * b // 6, 2, 4),
        (a * 2, 7, None),
        (a % 5, 1, None),
        (b + 1, 3, None),
    ):
        assert isinstance(term, Size)
        assert value_of(term.term, {}, nothing) == term
        assert solved_for(a.term, term.term, wanted, {}, nothing) == answer
    assert not valued and sized([True, 1, "x", 2], lambda n, at: (n, at)) == [
        True,
        1,
        "x",
        (2, (3,)),
    ]
    for use in (lambda: a / 2, lambda: 2 / a, lambda: b**2, lambda: a * 0.5, lambda: int(a)):
        valued.clear()
        assert not isinstance(use(), Size) and len(valued) == 1


def test_the_survey_leaves_the_network_as_it_was() -> None:
    model = net(two_pieces, {"sizes": [2, 4]}, conv1=conv(1, 6), conv2=conv(6, 2))
    model.norm = nn.InstanceNorm2d(6)
    found = survey(model, image(), record(model, image()))
    assert len(found.uses) == 2
    assert type(model.sizes[0]) is int and not model.norm._forward_pre_hooks
