"""Attention, recurrent layers, tables and sound: networks with their groups written beside them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toys import Net, between, conv, head, pooled
from toys_wiring import FOUR, SIX, THREE, THROUGH, TWO, Paper, wired


def sequence(x: Tensor) -> Tensor:
    """(batch, channels, h, w) -> (batch, places, channels)."""
    return x.flatten(2).transpose(1, 2)


def several_heads(net: Any, x: Tensor) -> Tensor:
    """Two heads, scaled by the square root of their width."""
    x = sequence(x)
    b, places = x.shape[:2]
    q, k, v = (part.view(b, places, 2, -1).transpose(1, 2) for part in net.qkv(x).chunk(3, dim=-1))
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
    x = net.proj((weights @ v).transpose(1, 2).reshape(b, places, -1))
    return x.transpose(1, 2).unflatten(2, (6, 6))


def fixed_heads(net: Any, x: Tensor) -> Tensor:
    """As `several_heads` with the sizes written as numbers, as most networks do."""
    x = sequence(x)
    b, places = x.shape[:2]
    qkv = net.qkv(x).reshape(b, places, 3, 2, 2).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    x = (q @ k.transpose(-2, -1) * 2**-0.5).softmax(-1) @ v
    x = net.proj(x.transpose(1, 2).reshape(b, places, 4))
    return x.transpose(1, 2).unflatten(2, (6, 6))


def channel_attention(net: Any, x: Tensor) -> Tensor:
    """Products of channels with channels, as in cross-covariance attention."""
    q, k, v = (layer(x).flatten(2) for layer in (net.q, net.k, net.v))
    return (torch.softmax(q @ k.transpose(1, 2), -1) @ v).unflatten(2, (6, 6))


def by_module(net: Any, x: Tensor) -> Tensor:
    x = sequence(x)
    return net.mix(x, x, x, need_weights=False)[0].transpose(1, 2).unflatten(2, (6, 6))


def by_encoder(net: Any, x: Tensor) -> Tensor:
    return net.mix(sequence(x)).transpose(1, 2).unflatten(2, (6, 6))


def recurrent(net: Any, x: Tensor) -> Tensor:
    return net.mix(x.mean(2).transpose(1, 2))[0].transpose(1, 2).unsqueeze(2)


def causal(net: Any, x: Tensor) -> Tensor:
    """A triangle over channels: the order of channels counts."""
    return torch.einsum("bchw,dc->bdhw", x, net.table.tril())


def embedded() -> nn.Module:
    def forward(net: Any, numbers: Tensor) -> Tensor:
        x = net.table(numbers).transpose(1, 2)
        return net.fc(F.relu(net.conv(x)).mean(2))

    return Net(forward, table=nn.Embedding(5, 4), conv=nn.Conv1d(4, 3, 3), fc=head(3))


def bilinear() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.fc(F.relu(net.both(pooled(net.a(x)), pooled(net.b(x)))))

    return Net(forward, a=conv(1, 3), b=conv(1, 2), both=nn.Bilinear(3, 2, 4), fc=head(4))


def sampled() -> nn.Module:
    """A small network says where to look, and the map is sampled there."""

    def forward(net: Any, x: Tensor) -> Tensor:
        where = net.where(F.relu(net.glance(x))).permute(0, 2, 3, 1)
        return net.conv2(F.grid_sample(net.conv1(x), where.tanh(), align_corners=False))

    return Net(forward, glance=conv(1, 3), where=conv(3, 2), conv1=conv(1, 4), conv2=conv(4, 2))


def heard() -> nn.Module:
    """A spectrogram made inside the network."""

    def forward(net: Any, wave: Tensor) -> Tensor:
        spectrum = torch.stft(wave, 8, window=net.window, return_complex=True)
        x = torch.log(torch.view_as_real(spectrum).square().sum(-1) + 1e-6).unsqueeze(1)
        return net.fc(pooled(F.relu(net.conv2(F.relu(net.conv1(x))))))

    return Net(
        forward,
        window=nn.Buffer(torch.hann_window(8)),
        conv1=conv(1, 4),
        conv2=conv(4, 3),
        fc=head(3),
    )


def heard_on_the_way() -> nn.Module:
    """A spectrum of what a convolution gives: complex numbers on the way."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv2(F.relu(net.conv1(x)))
        return net.conv3(torch.fft.rfft(x).abs())

    return Net(forward, conv1=conv(1, 3), conv2=conv(3, 4), conv3=conv(4, 2))


WIDTHS = {
    "mix.in_proj_weight 0": "0,2,4,6,8,10 1,3,5,7,9,11",
    "mix.out_proj.weight 1": "0,2 1,3",
}
"""The rows of queries, keys and values at one place in a head, and its columns."""

HEADS = {
    "mix.in_proj_weight 0": "0,1,4,5,8,9 2,3,6,7,10,11",
    "mix.out_proj.weight 1": "0,1 2,3",
}
"""Two heads of two: the rows of queries, keys and values of a head, and its columns."""
OF_MAPS = "a product of feature maps over channels"

SEQUENCES: dict[str, Paper] = {
    "heads": Paper(
        wired(several_heads, qkv=nn.Linear(4, 12), proj=nn.Linear(4, 4)),
        {
            "conv1": {"conv1.weight 0": FOUR, "qkv.weight 1": FOUR},
            "qkv": {"qkv.weight 0": "0,2,4,6 1,3,5,7"},
            "qkv:2": {"qkv.weight 0": "8,10 9,11", "proj.weight 1": "0,2 1,3"},
            "qkv:heads": {
                "qkv.weight 0": "0,1,4,5,8,9 2,3,6,7,10,11",
                "proj.weight 1": "0,1 2,3",
            },
            "proj": {"proj.weight 0": FOUR, "conv2.weight 1": FOUR},
        },
        mixing=(OF_MAPS,),
        held=("qkv", "qkv:2", "qkv:heads"),
    ),
    "heads of fixed size": Paper(
        wired(fixed_heads, qkv=nn.Linear(4, 12), proj=nn.Linear(4, 4)),
        {
            "conv1": {"conv1.weight 0": FOUR, "qkv.weight 1": FOUR},
            "proj": {"proj.weight 0": FOUR, "conv2.weight 1": FOUR},
        },
        {"qkv.weight": "is picked by its position in unbind"},
    ),
    "channels attend to channels": Paper(
        lambda: between(channel_attention, n_out=3, **{k: nn.Conv2d(4, 3, 1) for k in "qkv"}),
        {
            "conv1": {
                "conv1.weight 0": FOUR,
                "q.weight 1": FOUR,
                "k.weight 1": FOUR,
                "v.weight 1": FOUR,
            },
            "q": {"q.weight 0": THREE, "conv2.weight 1": THREE},
            "k": {"k.weight 0": THREE, "v.weight 0": THREE},
        },
        mixing=("_softmax over channels", OF_MAPS),
    ),
    "multi-head attention": Paper(
        wired(by_module, mix=nn.MultiheadAttention(4, 2, batch_first=True)),
        {
            "conv1": {"conv1.weight 0": FOUR, "mix.in_proj_weight 1": FOUR},
            "mix.in_proj_weight": WIDTHS,
            "mix.in_proj_weight:heads": HEADS,
            "mix.out_proj": {"mix.out_proj.weight 0": FOUR, "conv2.weight 1": FOUR},
        },
        mixing=(OF_MAPS,),
        held=("mix.in_proj_weight:heads",),  # where widths go too, down to one
    ),
    "encoder layer": Paper(
        wired(by_encoder, mix=nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)),
        {
            "conv1": {
                "conv1.weight 0": FOUR,
                "mix.self_attn.in_proj_weight 1": FOUR,
                "mix.self_attn.out_proj.weight 0": FOUR,
                "mix.linear1.weight 1": FOUR,
                "mix.linear2.weight 0": FOUR,
                "conv2.weight 1": FOUR,
            },
            **{
                f"mix.self_attn.in_proj_weight{which}": {
                    name.replace("mix.", "mix.self_attn."): rows for name, rows in own.items()
                }
                for which, own in (("", WIDTHS), (":heads", HEADS))
            },
            "mix.linear1": {"mix.linear1.weight 0": SIX, "mix.linear2.weight 1": SIX},
        },
        mixing=(OF_MAPS, "native_layer_norm over channels"),
        held=("mix.self_attn.in_proj_weight:heads",),
    ),
    **{
        kind.__name__: Paper(
            wired(recurrent, mix=kind(4, 4, batch_first=True)),
            {
                "conv1": {"conv1.weight 0": FOUR, "mix.weight_ih_l0 1": FOUR},
                "mix.weight_ih_l0": {
                    "mix.weight_ih_l0 0": gates,
                    "mix.weight_hh_l0 0": gates,
                    "mix.bias_ih_l0 0": gates,
                    "mix.bias_hh_l0 0": gates,
                    "mix.weight_hh_l0 1": FOUR,
                    "conv2.weight 1": FOUR,
                },
            },
        )
        for kind, gates in (
            (nn.LSTM, "0,4,8,12 1,5,9,13 2,6,10,14 3,7,11,15"),
            (nn.GRU, "0,4,8 1,5,9 2,6,10 3,7,11"),
            (nn.RNN, FOUR),
        )
    },
    "triangle": Paper(
        wired(causal, table=nn.Parameter(torch.ones(4, 4))),
        {},
        {"table": "has its place in a triangle in tril"},
    ),
    "embedding": Paper(
        embedded,
        {
            "table": {"table.weight 1": FOUR, "conv.weight 1": FOUR},
            "conv": {"conv.weight 0": THREE, "fc.weight 1": THREE},
        },
        example=torch.tensor([[0, 1, 2, 3, 4], [4, 2, 0, 1, 3]]),
    ),
    "bilinear": Paper(
        bilinear,
        {
            "a": {"a.weight 0": THREE, "both.weight 1": THREE},
            "b": {"b.weight 0": TWO, "both.weight 2": TWO},
            "both": {"both.weight 0": FOUR, "fc.weight 1": FOUR},
        },
    ),
    "sampled": Paper(
        sampled,
        {
            "glance": {"glance.weight 0": THREE, "where.weight 1": THREE},
            **THROUGH,
        },
    ),
    "heard": Paper(
        heard,
        {
            "conv1": {"conv1.weight 0": FOUR, "conv2.weight 1": FOUR},
            "conv2": {"conv2.weight 0": THREE, "fc.weight 1": THREE},
        },
        example=torch.zeros(2, 32, dtype=torch.float64),
    ),
    "heard on the way": Paper(
        heard_on_the_way,
        {
            "conv1": {"conv1.weight 0": THREE, "conv2.weight 1": THREE},
            "conv2": {"conv2.weight 0": FOUR, "conv3.weight 1": FOUR},
        },
    ),
}
"""Name -> network and answer."""
