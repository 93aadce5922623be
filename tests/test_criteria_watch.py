"""Where a layer's activation is found: on paper, for every way a network may be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from contracts import randomised
from secateur.channels.trace import trace
from secateur.criteria.sites import Sites
from secateur.criteria.watch import Watch
from toys import (
    TOYS,
    Net,
    channels_last,
    conv,
    dense,
    depthwise,
    folded_into_batch,
    head,
    image,
    one_dimensional,
    plain,
    pooled,
    preactivation,
    residual,
    reused,
    squeeze_excite,
    tied,
    transposed_grouped,
)

Seen = dict[str, list[Tensor]]


def seen(network: nn.Module, x: Any, example: Any = None) -> Seen:
    channels = trace(network, x if example is None else example)
    found: Seen = {}

    def keep(layer: str, maps: Tensor) -> None:
        found.setdefault(layer, []).append(maps.clone())

    weights = {
        network.get_parameter(layer.weight): (name, channels.shapes[layer.weight][layer.out_dim])
        for name, layer in Sites(channels, "producer").layers.items()
    }
    with Watch(weights, keep), torch.no_grad():
        network(*x) if isinstance(x, tuple) else network(x)
    return found


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def same(found: Seen, expected: dict[str, Tensor | list[Tensor]]) -> None:
    assert found.keys() == expected.keys()
    for name, maps in expected.items():
        for one, other in zip(found[name], maps if isinstance(maps, list) else [maps], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def check(make: Callable[[], nn.Module], paper: Callable[[Any, Tensor], dict[str, Any]]) -> None:
    network = randomised(make())
    x = drawn(3, 1, 6, 6)
    with torch.no_grad():
        expected = paper(network, x)
    same(seen(network, x), expected)


def test_after_norm_and_activation() -> None:
    def paper(net: Any, x: Tensor) -> dict[str, Tensor]:
        first = F.relu(net[1](net[0](x)))
        return {"0": first, "3": net[3](first)}

    check(plain, paper)


def test_after_the_residual_sum() -> None:
    def paper(net: Any, x: Tensor) -> dict[str, Tensor]:
        stem = F.relu(net.bn(net.stem(x)))
        inner = F.relu(net.bn1(net.conv1(stem)))
        return {"stem": stem, "conv1": inner, "conv2": F.relu(stem + net.bn2(net.conv2(inner)))}

    check(residual, paper)


def test_before_the_next_convolution_of_a_preactivated_block() -> None:
    def paper(net: Any, x: Tensor) -> dict[str, Tensor]:
        stem = net.stem(x)
        first = F.relu(net.bn1(stem))
        second = F.relu(net.bn2(net.conv1(first)))
        return {
            "stem": first,
            "conv1": second,
            "conv2": F.relu(net.bn3(stem + net.conv2(second))),
        }

    check(preactivation, paper)


def test_at_its_place_in_a_concatenation() -> None:
    def paper(net: Any, x: Tensor) -> dict[str, Tensor]:
        a = net.conv1(x)
        b = torch.cat([a, net.conv2(F.relu(a))], 1)
        second = F.relu(net.bn(b))
        c = F.relu(torch.cat([b, net.conv3(second)], 1))
        return {
            "conv1": F.relu(a),
            "conv2": second[:, 2:5],
            "conv3": c[:, 5:],
            "conv4": net.conv4(c),
        }

    check(dense, paper)


def test_a_gate_is_seen_open_and_what_it_gates_behind_it() -> None:
    def paper(net: Any, x: Tensor) -> dict[str, Tensor]:
        x = net.stem(x)
        down = F.relu(net.down(x.mean((2, 3), keepdim=True)))
        gate = torch.sigmoid(net.up(down))
        return {"stem": x * gate, "down": down, "up": gate}

    check(squeeze_excite, paper)


def test_layers_without_an_activation_are_seen_as_they_are_read() -> None:
    def paper(net: Any, x: Tensor) -> dict[str, Tensor]:
        first = net[0](x)
        second = F.relu6(net[2](net[1](first)))
        third = F.relu(net[4](second))
        return {"0": first, "1": second, "4": third, "6": net[6](third)}

    check(lambda: depthwise(2), paper)


def test_every_use_of_a_layer_is_seen() -> None:
    def paper(net: Any, x: Tensor) -> dict[str, Any]:
        stem = F.relu(net.stem(x))
        once = F.relu(net.twice(stem))
        twice = F.relu(net.twice(once))
        return {"stem": stem, "twice": [once, twice], "last": net.last(twice)}

    check(reused, paper)

    def paper_of_tied(net: Any, x: Tensor) -> dict[str, Any]:
        first = net[0](x)
        second = F.relu(net[1](first))
        return {"0": first, "1": [second, net[3](second)], "4": net[4](net[3](second))}

    check(tied, paper_of_tied)


def test_linear_layers_over_channels_last() -> None:
    def paper(net: Any, x: Tensor) -> dict[str, Tensor]:
        x = net.conv1(x)
        up = F.gelu(net.up(x.permute(0, 2, 3, 1)))
        down = net.down(up).permute(0, 3, 1, 2)
        return {"conv1": x, "up": up.permute(0, 3, 1, 2), "down": down, "conv2": net.conv2(down)}

    network = randomised(channels_last())
    x = drawn(3, 1, 6, 6)
    with torch.no_grad():
        expected = paper(network, x)
    found = seen(network, x)
    # what a linear layer is applied to lies in rows, one for every place, when it is read
    for name in ("conv1", "up"):
        assert found[name][0].numel() == expected[name].numel()
    for name in ("down", "conv2"):
        same({name: found[name]}, {name: expected[name]})
    same({"up": found["up"]}, {"up": expected["up"]})


def test_groups_of_a_transposed_convolution_are_so_many_images() -> None:
    network = randomised(transposed_grouped())
    x = drawn(3, 1, 6, 6)
    with torch.no_grad():
        expected = F.relu(network[2](F.relu(network[0](x))))
    found = seen(network, x)["2"]
    torch.testing.assert_close(found[0], expected.reshape(6, 3, *expected.shape[2:]))


def test_a_batch_that_holds_channels() -> None:
    network = randomised(folded_into_batch())
    found = seen(network, drawn(3, 1, 6, 6))
    assert found["blur"][0].shape == (12, 1, 6, 6)


def test_one_dimension_of_space_and_pooling_after_the_activation() -> None:
    network = randomised(one_dimensional())
    x = drawn(2, 1, 12)
    with torch.no_grad():
        first = F.relu(network[1](network[0](x)))
        second = network[4](network[3](first))
    same(seen(network, x), {"0": first, "4": second})


MADE_BY_HAND: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "swish": (lambda x: x * torch.sigmoid(x), F.silu),
    "swish in place": (lambda x: torch.sigmoid(x).mul_(x), F.silu),
    "mish": (lambda x: x * torch.tanh(F.softplus(x)), F.mish),
    "sigmoid": (torch.sigmoid, torch.sigmoid),
    "tanh": (torch.tanh, torch.tanh),
    "clamp": (lambda x: x.clamp(0, 6), F.relu6),
    "in place": (F.relu_, F.relu),
    "scaled": (lambda x: F.leaky_relu(2 * x + 1), lambda x: F.leaky_relu(2 * x + 1)),
    "pooled first": (
        lambda x: F.relu(F.max_pool2d(x, 2)),
        lambda x: F.relu(F.max_pool2d(x, 2)),
    ),
    "padded": (lambda x: F.relu(F.pad(x, (1, 1, 1, 1))), lambda x: F.relu(F.pad(x, (1, 1, 1, 1)))),
    "spoilt afterwards": (lambda x: F.relu(x).add_(0).mul_(0), F.relu),
    "upsampled": (
        lambda x: F.relu(F.interpolate(x, scale_factor=2) + 1),
        lambda x: F.relu(F.interpolate(x, scale_factor=2) + 1),
    ),
    "dropped": (lambda x: F.dropout(F.elu(x), training=False), F.elu),
    "half precision": (lambda x: F.relu(x.float()).double(), lambda x: F.relu(x.float())),
    "none": (lambda x: x, lambda x: x),
    "unknown operator": (torch.special.i0, lambda x: x),
}


@pytest.mark.parametrize("name", MADE_BY_HAND)
def test_activations_however_they_are_written(name: str) -> None:
    written, meant = MADE_BY_HAND[name]
    network = randomised(
        Net(lambda net, x: net.conv2(written(net.conv1(x))), conv1=conv(1, 4), conv2=conv(4, 2))
    )
    x = drawn(3, 1, 6, 6)
    with torch.no_grad():
        expected = meant(network.conv1(x))
    torch.testing.assert_close(seen(network, x)["conv1"][0], expected, check_dtype=False)


def test_a_gate_for_another_is_not_taken_for_a_swish() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.fc(pooled(net.conv1(x) * torch.sigmoid(net.conv2(x))))

    network = randomised(Net(forward, conv1=conv(1, 4), conv2=conv(1, 4), fc=head(4)))
    x = drawn(3, 1, 6, 6)
    with torch.no_grad():
        gate = torch.sigmoid(network.conv2(x))
        expected = {"conv1": network.conv1(x) * gate, "conv2": gate}
    same(seen(network, x), expected)


def test_weights_made_of_parameters_are_followed() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), padding=1)

    network = randomised(nn.Sequential(Standardised(1, 4, 3), nn.ReLU(), conv(4, 2)))
    x = drawn(3, 1, 6, 6)
    with torch.no_grad():
        expected = F.relu(network[0](x))
    torch.testing.assert_close(seen(network, x)["0"][0], expected)


@pytest.mark.parametrize("toy", TOYS)
def test_every_layer_of_every_toy_that_runs_is_seen(toy: str) -> None:
    make, example = TOYS[toy]
    network = randomised(make())
    x = tree_map_only(Tensor, lambda t: drawn(*t.shape), example)
    channels = trace(network, example)
    if isinstance(x, dict):
        return
    found = seen(network, x, example)
    sites = Sites(channels, "producer")
    assert found.keys() == sites.layers.keys()
    for name, maps in found.items():
        layer = sites.layers[name]
        assert all(one.shape[1] == channels.shapes[layer.weight][layer.out_dim] for one in maps)
        assert all(torch.isfinite(one).all() for one in tree_leaves(maps))


def test_nothing_is_read_after_an_exception_and_gradients_flow() -> None:
    network = randomised(plain())
    weights = {network.get_parameter("0.weight"): ("0", 4)}
    found: list[Tensor] = []
    with pytest.raises(ZeroDivisionError), Watch(weights, lambda _, maps: found.append(maps)):
        network[0](image())
        raise ZeroDivisionError
    assert not found
    with Watch(weights, lambda _, maps: found.append(maps)):
        out = network(drawn(2, 1, 6, 6))
    out.sum().backward()
    assert len(found) == 1 and not found[0].requires_grad
    assert network.get_parameter("0.weight").grad is not None
