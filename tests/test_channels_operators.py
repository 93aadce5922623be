"""Operators one by one, each in a small network whose groups are written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import (
    EXACT,
    check_cost,
    check_cut_equals_mask,
    check_permutation,
    plan_of,
    randomised,
)
from secateur.channels.cost import cost
from secateur.channels.trace import trace
from secateur.surgery.cut import cut
from secateur.surgery.in_turn import verified
from toys import Net, between, conv, head, image, pooled


def sequence(net: Any, x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def attention(net: Any, x: Tensor) -> Tensor:
    """One head, as matrix products; the head's width is read from the tensors."""
    b, _, h, w = x.shape
    q, k = net.q(x).flatten(2), net.k(x).flatten(2)
    weights = torch.softmax(q.transpose(1, 2) @ k, -1)
    return (net.v(x).flatten(2) @ weights.transpose(1, 2)).reshape(b, -1, h, w)


def scaled_attention(net: Any, x: Tensor) -> Tensor:
    h = x.shape[2]
    q, k, v = (sequence(net, layer(x))[:, None] for layer in (net.q, net.k, net.v))
    out = F.scaled_dot_product_attention(q, k, v, scale=0.5)
    return out[:, 0].transpose(1, 2).unflatten(2, (h, -1))


def by_einsum(net: Any, x: Tensor) -> Tensor:
    return torch.einsum("bchw,dc->bdhw", x, net.table)


def windows(net: Any, x: Tensor) -> Tensor:
    places = F.unfold(x, 3, padding=1)
    return places.unflatten(2, (6, 6))


def folded(net: Any, x: Tensor) -> Tensor:
    return F.fold(x.flatten(2), (12, 12), 2, stride=2)


def local(net: Any, x: Tensor) -> Tensor:
    return x.unfold(2, 3, 1).mean(-1)


def by_table(net: Any, x: Tensor) -> Tensor:
    bias = net.table[:, net.numbers]  # channels are not indexed
    return x + bias[None, :, :, None]


def gathered(net: Any, x: Tensor) -> Tensor:
    numbers = torch.zeros(1, 1, 1, 2, dtype=torch.long).expand(*x.shape[:3], 2)
    return x.gather(3, numbers)


def gated(net: Any, x: Tensor) -> Tensor:
    return x * F.hardsigmoid(x) + F.hardswish(x) * F.mish(x) - F.softplus(x)


def attended(**layers: Any) -> dict[str, Any]:
    widths = {"q": 3, "k": 3, "v": 5} | layers
    return {name: nn.Conv2d(4, width, 1) for name, width in widths.items()}


ALL4 = "0 1 2 3"
THROUGH = {"conv1": {"conv1.weight 0": ALL4, "conv2.weight 1": ALL4}}
ATTENTION = {
    "conv1": {
        "conv1.weight 0": ALL4,
        "q.weight 1": ALL4,
        "k.weight 1": ALL4,
        "v.weight 1": ALL4,
    },
    "q": {"q.weight 0": "0 1 2", "k.weight 0": "0 1 2"},
    "v": {"v.weight 0": "0 1 2 3 4", "conv2.weight 1": "0 1 2 3 4"},
}

Case = tuple[Callable[[], nn.Module], dict[str, dict[str, str]], tuple[str, ...]]

OPERATORS: dict[str, Case] = {
    "layer norm over channels last": (
        lambda: between(
            lambda net, x: net.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
            norm=nn.LayerNorm(4),
        ),
        THROUGH,
        ("native_layer_norm over channels",),
    ),
    "layer norm over everything": (
        lambda: between(lambda net, x: net.norm(x), norm=nn.LayerNorm([4, 6, 6])),
        THROUGH,
        ("native_layer_norm over channels",),
    ),
    "group norm, one group": (
        lambda: between(lambda net, x: net.norm(x), norm=nn.GroupNorm(1, 4)),
        THROUGH,
        ("native_group_norm over channels",),
    ),
    "group norm, few groups": (
        lambda: between(lambda net, x: net.norm(x), 6, 6, norm=nn.GroupNorm(2, 6)),
        {"conv1": {"conv1.weight 0": "0,3 1,4 2,5", "conv2.weight 1": "0,3 1,4 2,5"}},
        ("native_group_norm over channels",),
    ),
    "group norm, many groups": (
        lambda: between(lambda net, x: net.norm(x), 6, 6, norm=nn.GroupNorm(3, 6)),
        {"conv1": {"conv1.weight 0": "0,1 2,3 4,5", "conv2.weight 1": "0,1 2,3 4,5"}},
        (),
    ),
    "group norm, a group a channel": (
        lambda: between(lambda net, x: net.norm(x), norm=nn.GroupNorm(4, 4)),
        THROUGH,
        (),
    ),
    "instance norm with statistics": (
        lambda: between(
            lambda net, x: net.norm(x),
            norm=nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        ),
        THROUGH,
        (),
    ),
    "attention": (
        lambda: between(attention, n_out=5, **attended()),
        ATTENTION,
        ("a product of feature maps over channels",),
    ),
    "scaled dot product attention": (
        lambda: between(scaled_attention, n_out=5, **attended()),
        ATTENTION,
        ("a product of feature maps over channels",),
    ),
    "einsum": (
        lambda: between(by_einsum, 4, 3, table=nn.Parameter(torch.ones(3, 4))),
        {
            "conv1": {"conv1.weight 0": ALL4, "table 1": ALL4},
            "table": {"table 0": "0 1 2", "conv2.weight 1": "0 1 2"},
        },
        (),
    ),
    "unfold": (
        lambda: between(windows, 2, 18),
        {
            "conv1": {
                "conv1.weight 0": "0 1",
                "conv2.weight 1": "0,1,2,3,4,5,6,7,8 9,10,11,12,13,14,15,16,17",
            }
        },
        (),
    ),
    "fold": (
        lambda: between(folded, 8, 2),
        {"conv1": {"conv1.weight 0": "0,1,2,3 4,5,6,7", "conv2.weight 1": "0 1"}},
        (),
    ),
    "windows along a row": (lambda: between(local), THROUGH, ()),
    "indexing a table": (
        lambda: between(
            by_table,
            table=nn.Parameter(torch.ones(4, 3)),
            numbers=nn.Buffer(torch.tensor([0, 2, 1, 1, 0, 2])),
        ),
        {"conv1": {"conv1.weight 0": ALL4, "table 0": ALL4, "conv2.weight 1": ALL4}},
        (),
    ),
    "gather": (lambda: between(gathered), THROUGH, ()),
    "hard activations": (lambda: between(gated), THROUGH, ()),
    "roll of places": (lambda: between(lambda net, x: x.roll((1, 2), (2, 3))), THROUGH, ()),
    "unbind and stack": (
        lambda: between(lambda net, x: torch.stack(x.unbind(3)[::-1], 3)),
        THROUGH,
        (),
    ),
    "upsampling": (
        lambda: between(
            lambda net, x: F.interpolate(x, scale_factor=2, mode="bilinear", antialias=True)
        ),
        THROUGH,
        (),
    ),
    "space to depth": (
        lambda: between(lambda net, x: F.pixel_unshuffle(x, 2), 2, 8),
        {"conv1": {"conv1.weight 0": "0 1", "conv2.weight 1": "0,1,2,3 4,5,6,7"}},
        (),
    ),
    "running sum over channels": (
        lambda: between(lambda net, x: x.cumsum(1)),
        THROUGH,
        ("cumsum over channels",),
    ),
    "two channels of zeros behind": (
        lambda: between(lambda net, x: F.pad(x, (0, 0, 0, 0, 0, 2)), 4, 6),
        {"conv1": {"conv1.weight 0": ALL4, "conv2.weight 1": ALL4}},
        (),
    ),
    "two channels of zeros in front, one behind": (
        lambda: between(lambda net, x: F.pad(x, (0, 0, 0, 0, 2, 1)), 4, 7),
        {"conv1": {"conv1.weight 0": ALL4, "conv2.weight 1": "2 3 4 5"}},
        (),
    ),
    "two places picked before the channels": (
        lambda: between(
            lambda net, x: x.permute(0, 2, 3, 1)[:, [0, 1], [1, 2]].transpose(1, 2).unsqueeze(3)
        ),
        THROUGH,
        (),
    ),
}
each = pytest.mark.parametrize("name", OPERATORS)


@each
def test_the_groups_on_paper(name: str) -> None:
    build, groups, mixing = OPERATORS[name]
    channels = trace(build().double(), image())
    assert not channels.unknown
    assert {
        group.name: {
            f"{m.parameter} {m.dim}": " ".join(",".join(map(str, row)) for row in m.index.tolist())
            for m in group.members
            if (m.parameter.endswith("weight") and "norm" not in m.parameter)
            or "table" in m.parameter
        }
        for group in channels.groups
    } == groups
    assert {m.reason for m in channels.mixing} == set(mixing)


@each
def test_the_contracts(name: str) -> None:
    build, _, mixing = OPERATORS[name]
    model = randomised(build())
    channels = trace(model, image())
    # torch.einsum multiplies instead where one channel is left, which torch does not count
    least = 2 if name == "einsum" else 1
    check_cut_equals_mask(model, image(), channels, n=4, least=least)
    if least > 1:
        check_cut_equals_mask(model, image(), channels, n=4, costs=False)
    if mixing != ("cumsum over channels",):
        check_permutation(model, image(), channels)


def test_what_mixes_is_not_exact_and_is_not_refused() -> None:
    build, _, _ = OPERATORS["layer norm over channels last"]
    model = randomised(build())
    channels = trace(model, image())
    plan = plan_of(channels, {"conv1": (1, 2)})
    small = cut(channels, plan).network
    assert small.norm.normalized_shape == (2,)
    found = verified(model, small, plan, channels, image())
    assert (
        found.holds
        and found.relative_error <= EXACT
        and found.groups == {"conv1": "kept statistics"}
    )
    assert not found.exact and found.silence_error > 1e-3 and found.permutation_error <= EXACT
    assert found.operators[0].startswith("native_layer_norm at test_channels_op")
    assert "over those that are kept" in " ".join(str(found).split())


def test_group_norms_keep_the_size_of_their_groups_or_their_number() -> None:
    few, _, _ = OPERATORS["group norm, few groups"]
    many, _, _ = OPERATORS["group norm, many groups"]
    for build, groups in ((few, (2, 4)), (many, (2, 4))):
        model = randomised(build())
        small = cut(trace(model, image()), plan_of(trace(model, image()), {"conv1": (1,)})).network
        assert (small.norm.num_groups, small.norm.num_channels) == groups


def test_pooling_a_channels_last_image_sets_strides_only() -> None:
    model = between(
        lambda net, x: F.adaptive_avg_pool2d(x.contiguous(memory_format=torch.channels_last), 1)
    )
    channels = trace(model.double(), image())
    assert not channels.unknown and set(channels.by_name) == {"conv1"}


def test_an_index_along_channels_pins_them() -> None:
    model = between(lambda net, x: x[:, [0, 2, 1]], 4, 3).double()
    channels = trace(model, image())
    assert not channels.groups
    assert "is picked by its position in index" in {p.reason for p in channels.pinned}


def test_a_plain_sequential_names_the_module() -> None:
    model = nn.Sequential(conv(1, 4), nn.LayerNorm([4, 6, 6]), conv(4, 2))
    (mixing,) = trace(model, image().float()).mixing
    assert mixing.source == "module 1 (LayerNorm)"


def test_weight_standardisation_is_followed_to_the_weight() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        weight = net.conv.weight
        flat = F.batch_norm(
            weight.reshape(1, net.conv.out_channels, -1), None, None, net.gain, training=True
        )
        return net.fc(pooled(F.conv2d(x, flat.reshape_as(weight), net.conv.bias)))

    model = randomised(
        Net(
            forward,
            stem=conv(1, 4),
            conv=nn.Conv2d(4, 3, 3),
            gain=nn.Parameter(torch.ones(3)),
            fc=head(3),
        )
    )
    channels = trace(model, image())
    assert set(channels.by_name) == {"stem", "conv"}
    assert {name for m in channels.mixing for name in m.groups} == {"stem"}
    check_cost(model, image(), cost(channels))
    with pytest.warns(UserWarning, match="read by weights that the network computes"):
        check_cut_equals_mask(model, image(), channels, n=4)
    plan = plan_of(channels, {"conv": (1,)})
    assert verified(model, cut(channels, plan).network, plan, channels, image()).exact


def test_of_two_dimensions_that_become_one_the_free_one_can_shrink() -> None:
    """Heads with a bias each are pinned by it; the width of a head is not."""

    def forward(net: Any, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = net.conv1(x).view(n, 2, 3, h * w) + net.bias
        return net.conv2(x.reshape(n, 6, h, w))

    bias = nn.Parameter(torch.zeros(2, 1, 1))
    model = randomised(Net(forward, conv1=conv(1, 6), conv2=conv(6, 2), bias=bias))
    channels = trace(model, image())
    (group,) = channels.groups
    assert (group.name, group.n_channels) == ("conv1", 3)
    assert group.members[0].index.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert ("bias", 2) in {(pinned.parameter, pinned.n_channels) for pinned in channels.pinned}
