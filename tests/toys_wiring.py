"""Networks of two to six channels, each with its groups and what is pinned written beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from toys import Net, between, conv, head, image, pooled


@dataclass(frozen=True)
class Paper:
    """A network and what one finds out about it on paper.

    `groups` maps a group's name to its members, parameter and dimension to positions, for weights
    of layers and parameters outside of layers. `pinned` are reasons that must be given for
    parameters, `mixing` all reasons why removed differs from zeroed. `held` are groups whose sizes
    the code may hold: plans that touch them may be held back. Torch counts the products of an
    einsum if `counted_from` channels are left.
    """

    build: Callable[[], nn.Module]
    groups: Mapping[str, Mapping[str, str]]
    pinned: Mapping[str, str] = field(default_factory=dict)
    mixing: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    example: Any = field(default_factory=image)
    counted_from: int = 1


TWO, THREE, FOUR, SIX = "0 1", "0 1 2", "0 1 2 3", "0 1 2 3 4 5"
THROUGH = {"conv1": {"conv1.weight 0": FOUR, "conv2.weight 1": FOUR}}
PAIRS = {"conv1": {"conv1.weight 0": "0,3 1,4 2,5", "conv2.weight 1": THREE}}


def u_net() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        wide = F.relu(net.enter(x))
        deep = F.relu(net.deep(F.max_pool2d(wide, 2)))
        up = F.interpolate(net.up(deep), scale_factor=2)
        return net.leave(torch.cat([wide, up], 1))

    return Net(forward, enter=conv(1, 3), deep=conv(3, 4), up=conv(4, 2), leave=conv(5, 2))


def pyramid() -> nn.Module:
    """Two levels that are added after 1x1 convolutions, and one head applied to both."""

    def forward(net: Any, x: Tensor) -> list[Tensor]:
        fine = F.relu(net.fine(x))
        coarse = F.relu(net.coarse(fine))
        top = net.from_coarse(coarse)
        below = net.from_fine(fine) + F.interpolate(top, size=fine.shape[2:], mode="nearest")
        return [net.head(F.relu(level)) for level in (below, top)]

    return Net(
        forward,
        fine=conv(1, 3),
        coarse=conv(3, 4, stride=2),
        from_fine=nn.Conv2d(3, 2, 1),
        from_coarse=nn.Conv2d(4, 2, 1),
        head=conv(2, 2),
    )


def channel_convolution(net: Any, x: Tensor) -> Tensor:
    """A convolution over the channels' means: neighbours in the order of channels meet."""
    gate = net.gate(x.mean((2, 3)).unsqueeze(1))
    return x * torch.sigmoid(gate).transpose(1, 2).unsqueeze(3)


def attended_twice(net: Any, x: Tensor) -> Tensor:
    """Gates a channel from mean and maximum over places, then a place from those over channels."""
    ends = (F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1))
    x = x * torch.sigmoid(sum(net.up(F.relu(net.down(end))) for end in ends))
    both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
    return x * torch.sigmoid(net.gate(both))


def inception(net: Any, x: Tensor) -> Tensor:
    pooled = net.c(F.max_pool2d(x, 3, stride=1, padding=1))
    return torch.cat([net.a(x), net.b2(F.relu(net.b1(x))), pooled], 1)


def two_groupings() -> nn.Module:
    """Twelve channels read in two groups and in three: those that lie 6 or 4 apart go together.

    The six of the sum lie 3 and 2 apart: all go together.
    """

    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        return net.last(net.halves(x) + net.thirds(x))

    return Net(
        forward,
        stem=conv(1, 12),
        halves=conv(12, 6, groups=2),
        thirds=conv(12, 6, groups=3),
        last=conv(6, 2),
    )


def two_flattened() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        a = F.adaptive_avg_pool2d(net.a(x), 2).flatten(1)
        b = F.adaptive_max_pool2d(net.b(x), (1, 2)).flatten(1)
        return net.fc(torch.cat([a, b], 1))

    return Net(forward, a=conv(1, 2), b=conv(1, 3), fc=head(14))


def decoder() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.fc(pooled(F.relu(net.stem(x))))
        return net.last(F.relu(net.up(x.view(len(x), -1, 2, 2))))

    return Net(
        forward,
        stem=conv(1, 3),
        fc=nn.Linear(3, 16),
        up=nn.ConvTranspose2d(4, 2, 2, stride=2),
        last=conv(2, 2),
    )


def blurred(net: Any, x: Tensor) -> Tensor:
    return F.conv2d(x, net.kernel, stride=2, padding=1, groups=x.shape[1])


def blurred_by_one(net: Any, x: Tensor) -> Tensor:
    """One kernel for all channels, laid out for as many as there are."""
    return F.conv2d(x, net.kernel.expand(x.shape[1], 1, 3, 3), groups=x.shape[1])


def standardised(net: Any, x: Tensor) -> Tensor:
    weight = net.w.weight
    mean = weight.mean((1, 2, 3), keepdim=True)
    spread = weight.var((1, 2, 3), keepdim=True, unbiased=False)
    return F.conv2d(x, (weight - mean) / (spread + 1e-5).sqrt(), net.w.bias, padding=1)


def response_norm(net: Any, x: Tensor) -> Tensor:
    """Global response normalisation: the mean over channels divides."""
    strength = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
    return net.scale * x * (strength / (strength.mean(1, keepdim=True) + 1e-6)) + x


def re_parameterised() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.stem(x))
        x = F.relu(net.bn3(net.conv3(x)) + net.bn1(net.conv1(x)) + net.bn0(x))
        return net.last(x)

    return Net(
        forward,
        stem=conv(1, 4),
        conv3=conv(4, 4, bias=False),
        bn3=nn.BatchNorm2d(4),
        conv1=nn.Conv2d(4, 4, 1, bias=False),
        bn1=nn.BatchNorm2d(4),
        bn0=nn.BatchNorm2d(4),
        last=conv(4, 2),
    )


def places_to_channels(net: Any, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(b, -1, h // 2, w // 2)


def checkpointed(net: Any, x: Tensor) -> Tensor:
    return checkpoint(net.mid, x, use_reentrant=False)


def without_gradient(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net.mid(x)


class DropPath(nn.Module):
    """Leaves out a branch for whole examples; in evaluation it does nothing."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(0.5)


def returned_on_the_way() -> nn.Module:
    def forward(net: Any, x: Tensor) -> dict[str, Any]:
        x = F.relu(net.conv1(x))
        hidden = net.conv2(x)
        return {"maps": [hidden], "scores": net.fc(pooled(F.relu(net.conv3(F.relu(hidden)))))}

    return Net(forward, conv1=conv(1, 4), conv2=conv(4, 3), conv3=conv(3, 4), fc=head(4))


def residual_to_the_input() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.fc(pooled(F.relu(x + net.back(F.relu(net.conv1(x))))))

    return Net(forward, conv1=conv(2, 4), back=conv(4, 2), fc=head(2))


def put(net: Any, x: Tensor) -> Tensor:
    """Two channels are written anew, by their numbers."""
    x = x.clone()
    x[:, [0, 2]] = 0.5
    return x


def exchanged(net: Any, x: Tensor) -> Tensor:
    """Channels are picked at some places and written at others."""
    x = x.clone()
    rows = torch.tensor([0, 2])
    x[:, [0, 2]] = x[:, [1, 3]]
    x[:, :, rows] = x[:, :, rows + 1] * 2
    return x


def cleared(net: Any, x: Tensor) -> Tensor:
    """Places are written, by their numbers, in all channels."""
    x = x.clone()
    x[:, :, [0, 2]] = 0.5
    return x


def turned(net: Any, x: Tensor) -> Tensor:
    return x.transpose_(2, 3).clamp_(-1, 1)


def put_in_a_slice(net: Any, x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[:, :, 1:] = x[:, :, :-1]
    return out


def mirrored(net: Any, x: Tensor) -> Tensor:
    return torch.cat([x, x.flip(1)], 1)


def own_statistics(net: Any, x: Tensor) -> Tensor:
    """A batch norm that takes the statistics of its batch in evaluation as well."""
    return F.batch_norm(x, None, None, net.scale, None, training=True)


def interpolated(mode: str) -> Callable[[Any, Tensor], Tensor]:
    return lambda net, x: F.interpolate(x, size=(4, 5), mode=mode)


def wired(
    step: Callable[[Any, Tensor], Tensor], n_in: int = 4, n_out: int = 4, **layers: Any
) -> Callable[[], nn.Module]:
    return lambda: between(step, n_in, n_out, **layers)


WIRING: dict[str, Paper] = {
    "U-Net": Paper(
        u_net,
        {
            "enter": {"enter.weight 0": THREE, "deep.weight 1": THREE, "leave.weight 1": THREE},
            "deep": {"deep.weight 0": FOUR, "up.weight 1": FOUR},
            "up": {"up.weight 0": TWO, "leave.weight 1": "3 4"},
        },
    ),
    "feature pyramid": Paper(
        pyramid,
        {
            "fine": {"fine.weight 0": THREE, "coarse.weight 1": THREE, "from_fine.weight 1": THREE},
            "coarse": {"coarse.weight 0": FOUR, "from_coarse.weight 1": FOUR},
            "from_coarse": {
                "from_coarse.weight 0": TWO,
                "from_fine.weight 0": TWO,
                "head.weight 1": TWO,
            },
        },
        {"head.weight": "is an output of the network"},
    ),
    "convolution over channels": Paper(
        wired(channel_convolution, gate=nn.Conv1d(1, 1, 3, padding=1)),
        {},
        {"conv1.weight": "is a place in an image in convolution"},
    ),
    "attended twice": Paper(
        wired(
            attended_twice,
            down=nn.Conv2d(4, 2, 1),
            up=nn.Conv2d(2, 4, 1),
            gate=conv(2, 1),
        ),
        {
            "conv1": {
                "conv1.weight 0": FOUR,
                "down.weight 1": FOUR,
                "up.weight 0": FOUR,
                "conv2.weight 1": FOUR,
            },
            "down": {"down.weight 0": TWO, "up.weight 1": TWO},
        },
        mixing=("mean over channels", "max over channels"),
    ),
    "inception": Paper(
        wired(
            inception,
            n_out=7,
            a=nn.Conv2d(4, 2, 1),
            b1=nn.Conv2d(4, 2, 1),
            b2=conv(2, 3),
            c=nn.Conv2d(4, 2, 1),
        ),
        {
            "conv1": {
                "conv1.weight 0": FOUR,
                "a.weight 1": FOUR,
                "b1.weight 1": FOUR,
                "c.weight 1": FOUR,
            },
            "a": {"a.weight 0": TWO, "conv2.weight 1": "0 1"},
            "b1": {"b1.weight 0": TWO, "b2.weight 1": TWO},
            "b2": {"b2.weight 0": THREE, "conv2.weight 1": "2 3 4"},
            "c": {"c.weight 0": TWO, "conv2.weight 1": "5 6"},
        },
    ),
    "concat with a constant": Paper(
        wired(lambda net, x: torch.cat([x.new_ones(x.shape[0], 1, 6, 6), x], 1), n_out=5),
        {"conv1": {"conv1.weight 0": FOUR, "conv2.weight 1": "1 2 3 4"}},
    ),
    "concat with places": Paper(
        wired(
            lambda net, x: torch.cat([x, net.places.expand(len(x), -1, -1, -1)], 1),
            n_out=6,
            places=nn.Parameter(torch.ones(1, 2, 6, 6)),
        ),
        {
            "conv1": {"conv1.weight 0": FOUR, "conv2.weight 1": FOUR},
            "places": {"places 1": TWO, "conv2.weight 1": "4 5"},
        },
    ),
    "a bias at every place": Paper(
        wired(lambda net, x: x + net.places, places=nn.Parameter(torch.ones(4, 6, 6))),
        {"conv1": {"conv1.weight 0": FOUR, "places 0": FOUR, "conv2.weight 1": FOUR}},
    ),
    "a scale a channel": Paper(
        wired(lambda net, x: x * net.scale[:, None, None], scale=nn.Parameter(torch.ones(4))),
        {"conv1": {"conv1.weight 0": FOUR, "scale 0": FOUR, "conv2.weight 1": FOUR}},
    ),
    "one scale for all": Paper(
        wired(lambda net, x: x * net.scale, scale=nn.Parameter(torch.ones(1))), THROUGH
    ),
    "maxout": Paper(
        wired(lambda net, x: x.view(len(x), -1, 2, 6, 6).amax(2), n_in=6, n_out=3),
        {"conv1": {"conv1.weight 0": "0,1 2,3 4,5", "conv2.weight 1": THREE}},
    ),
    "maxout of halves": Paper(
        wired(lambda net, x: torch.maximum(*x.chunk(2, 1)), n_in=6, n_out=3), PAIRS
    ),
    "the first half": Paper(
        wired(lambda net, x: x[:, : x.shape[1] // 2] * x[:, x.shape[1] // 2 :], 6, 3), PAIRS
    ),
    "a number of first ones": Paper(
        wired(lambda net, x: torch.cat([x[:, :2] * 2, x[:, 2:]], 1)),
        {
            "conv1": {"conv1.weight 0": "0 1", "conv2.weight 1": "0 1"},
            "conv1:2": {"conv1.weight 0": "2 3", "conv2.weight 1": "2 3"},
        },
        held=("conv1", "conv1:2"),
    ),
    "negative slices": Paper(
        wired(lambda net, x: x[:, :-1], n_out=3),
        {"conv1": {"conv1.weight 0": THREE, "conv2.weight 1": THREE}},
        {"conv1.weight": "all move together, and one must stay"},
    ),
    "the other way round": Paper(
        wired(mirrored, n_out=8),
        {"conv1": {"conv1.weight 0": FOUR, "conv2.weight 1": "0,7 1,6 2,5 3,4"}},
    ),
    "another order": Paper(
        wired(lambda net, x: net.mid(x[:, [2, 0, 1]]), n_in=3, mid=conv(3, 4)),
        {"mid": {"mid.weight 0": FOUR, "conv2.weight 1": FOUR}},
        {"conv1.weight": "is picked by its position in index"},
    ),
    "repeated": Paper(
        wired(lambda net, x: x.repeat(1, 2, 1, 1), n_in=3, n_out=6),
        {"conv1": {"conv1.weight 0": THREE, "conv2.weight 1": "0,3 1,4 2,5"}},
    ),
    "each repeated": Paper(
        wired(lambda net, x: x.repeat_interleave(2, 1), n_in=3, n_out=6),
        {"conv1": {"conv1.weight 0": THREE, "conv2.weight 1": "0,1 2,3 4,5"}},
    ),
    "places to channels by hand": Paper(
        wired(places_to_channels, 2, 8),
        {"conv1": {"conv1.weight 0": TWO, "conv2.weight 1": "0,2,4,6 1,3,5,7"}},
    ),
    "flattened with channels last": Paper(
        lambda: Net(
            lambda net, x: net.fc(net.conv1(x).permute(0, 2, 3, 1).flatten(1)),
            conv1=conv(1, 2),
            fc=head(8),
        ),
        {"conv1": {"conv1.weight 0": TWO, "fc.weight 1": "0,2,4,6 1,3,5,7"}},
        example=image(size=2),
    ),
    "two flattened": Paper(
        two_flattened,
        {
            "a": {"a.weight 0": TWO, "fc.weight 1": "0,1,2,3 4,5,6,7"},
            "b": {"b.weight 0": THREE, "fc.weight 1": "8,9 10,11 12,13"},
        },
    ),
    "decoder": Paper(
        decoder,
        {
            "stem": {"stem.weight 0": THREE, "fc.weight 1": THREE},
            "fc": {
                "fc.weight 0": "0,1,2,3 4,5,6,7 8,9,10,11 12,13,14,15",
                "up.weight 0": FOUR,
            },
            "up": {"up.weight 1": TWO, "last.weight 1": TWO},
        },
    ),
    "one channel into many": Paper(
        wired(lambda net, x: net.wide(net.narrow(x)), narrow=conv(4, 1), wide=conv(1, 4)),
        {
            "conv1": {"conv1.weight 0": FOUR, "narrow.weight 1": FOUR},
            "wide": {"wide.weight 0": FOUR, "conv2.weight 1": FOUR},
        },
    ),
    "two groupings": Paper(
        two_groupings,
        {
            "stem": {
                "stem.weight 0": "0,2,4,6,8,10 1,3,5,7,9,11",
                "halves.weight 1": "0,2,4 1,3,5",
                "thirds.weight 1": "0,2 1,3",
            }
        },
        {"halves.weight": "all move together, and one must stay"},
    ),
    "buffers a channel": Paper(
        wired(
            lambda net, x: (x - net.mean) / net.spread,
            mean=nn.Buffer(torch.ones(1, 4, 1, 1)),
            spread=nn.Buffer(torch.ones(4, 1, 1)),
        ),
        {
            "conv1": {
                "conv1.weight 0": FOUR,
                "mean 1": FOUR,
                "spread 0": FOUR,
                "conv2.weight 1": FOUR,
            }
        },
    ),
    "blur": Paper(
        wired(blurred, kernel=nn.Buffer(torch.ones(4, 1, 3, 3))),
        {"conv1": {"conv1.weight 0": FOUR, "kernel 0": FOUR, "conv2.weight 1": FOUR}},
    ),
    "blur by one kernel": Paper(
        wired(blurred_by_one, kernel=nn.Buffer(torch.ones(1, 1, 3, 3))), THROUGH
    ),
    "weight standardisation": Paper(
        wired(standardised, n_out=3, w=conv(4, 3)),
        {
            "conv1": {"conv1.weight 0": FOUR, "w.weight 1": FOUR},
            "w": {"w.weight 0": THREE, "conv2.weight 1": THREE},
        },
        mixing=("mean over channels", "var over channels"),
    ),
    "weight norm": Paper(
        wired(lambda net, x: net.w(x), n_out=3, w=parametrizations.weight_norm(conv(4, 3))),
        {
            "conv1": {
                "conv1.weight 0": FOUR,
                "w.parametrizations.weight.original1 1": FOUR,
            },
            "w.parametrizations.weight.original1": {
                "w.parametrizations.weight.original0 0": THREE,
                "w.parametrizations.weight.original1 0": THREE,
                "conv2.weight 1": THREE,
            },
        },
    ),
    "functional weights": Paper(
        wired(
            lambda net, x: F.conv2d(x, net.kernel, net.shift, padding=1),
            n_out=3,
            kernel=nn.Parameter(torch.ones(3, 4, 3, 3)),
            shift=nn.Parameter(torch.ones(3)),
        ),
        {
            "conv1": {"conv1.weight 0": FOUR, "kernel 1": FOUR},
            "kernel": {"kernel 0": THREE, "shift 0": THREE, "conv2.weight 1": THREE},
        },
    ),
    "channels times channels": Paper(
        wired(
            lambda net, x: x + torch.einsum("bchw,dc->bdhw", x, net.table),
            table=nn.Parameter(torch.ones(4, 4)),
        ),
        {
            "conv1": {
                "conv1.weight 0": FOUR,
                "table 0": FOUR,
                "table 1": FOUR,
                "conv2.weight 1": FOUR,
            }
        },
        counted_from=2,
    ),
    "response norm": Paper(
        wired(response_norm, scale=nn.Parameter(torch.ones(1, 4, 1, 1))),
        {"conv1": {"conv1.weight 0": FOUR, "scale 1": FOUR, "conv2.weight 1": FOUR}},
        mixing=("mean over channels",),
    ),
    "softmax over channels": Paper(
        wired(lambda net, x: x.softmax(1)), THROUGH, mixing=("_softmax over channels",)
    ),
    "re-parameterised": Paper(
        re_parameterised,
        {
            "stem": {
                "stem.weight 0": FOUR,
                "conv3.weight 0": FOUR,
                "conv3.weight 1": FOUR,
                "conv1.weight 0": FOUR,
                "conv1.weight 1": FOUR,
                "last.weight 1": FOUR,
            }
        },
    ),
    "checkpointed": Paper(
        wired(checkpointed, n_out=3, mid=conv(4, 3)),
        {
            "conv1": {"conv1.weight 0": FOUR, "mid.weight 1": FOUR},
            "mid": {"mid.weight 0": THREE, "conv2.weight 1": THREE},
        },
    ),
    "without gradient": Paper(
        wired(without_gradient, n_out=3, mid=conv(4, 3)),
        {
            "conv1": {"conv1.weight 0": FOUR, "mid.weight 1": FOUR},
            "mid": {"mid.weight 0": THREE, "conv2.weight 1": THREE},
        },
    ),
    "drop path": Paper(wired(lambda net, x: x + net.drop(F.relu(x)), drop=DropPath()), THROUGH),
    "its own statistics": Paper(
        wired(own_statistics, scale=nn.Parameter(torch.ones(4))),
        {"conv1": {"conv1.weight 0": FOUR, "scale 0": FOUR, "conv2.weight 1": FOUR}},
    ),
    "returned on the way": Paper(
        returned_on_the_way,
        {
            "conv1": {"conv1.weight 0": FOUR, "conv2.weight 1": FOUR},
            "conv3": {"conv3.weight 0": FOUR, "fc.weight 1": FOUR},
        },
        {"conv2.weight": "is an output of the network"},
    ),
    "residual to the input": Paper(
        residual_to_the_input,
        {"conv1": {"conv1.weight 0": FOUR, "back.weight 1": FOUR}},
        {"back.weight": "meets a tensor of fixed size in add"},
        example=image(2),
    ),
    "written by number": Paper(
        wired(lambda net, x: put(net, net.mid(x)), mid=conv(4, 4)),
        {"conv1": {"conv1.weight 0": FOUR, "mid.weight 1": FOUR}},
        {"mid.weight": "is written by its position in index_put"},
    ),
    "exchanged by number": Paper(
        wired(lambda net, x: exchanged(net, net.mid(x)), mid=conv(4, 4)),
        {"conv1": {"conv1.weight 0": FOUR, "mid.weight 1": FOUR}},
        {"mid.weight": "is picked by its position in index"},
    ),
    "places written by number": Paper(wired(cleared), THROUGH),
    "turned in place": Paper(wired(turned), THROUGH),
    "local response norm": Paper(
        wired(lambda net, x: F.local_response_norm(net.mid(x), 3), mid=conv(4, 4)),
        {"conv1": {"conv1.weight 0": FOUR, "mid.weight 1": FOUR}},
        {"mid.weight": "is a place in an image in avg_pool3d"},
    ),
    "places written": Paper(wired(put_in_a_slice), THROUGH),
    **{
        f"interpolated, {mode}": Paper(wired(interpolated(mode)), THROUGH)
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")
    },
}
"""Name -> network and answer."""
