"""Blocks of random programs over time: recurrence, attention, tokens, tables of positions."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from program_block import WIDTHS, Block, Made, Signal

N_TOKENS = 11


class Tokens(Block):
    """The stem of whole numbers: an embedding."""

    takes = (0,)

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.table = nn.Embedding(N_TOKENS, out)
        self.made = Made(gives=(("table.weight", 1),))

    def forward(self, ids: Tensor) -> Tensor:
        return self.tap(self.table(ids), ("table.weight", 1), dim=-1).transpose(1, 2)


class Recurrent(Block):
    """GRU, LSTM or RNN, of one or two layers, in one or both directions."""

    ways = ("GRU", "LSTM", "RNN")
    takes = (1,)

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out, self.both = draw.choice([2, 3]), draw.random() < 0.5
        make = getattr(nn, way)
        n_layers = draw.choice([1, 2])
        self.rnn = make(x.width, out, n_layers, batch_first=True, bidirectional=self.both)
        ends = ("", "_reverse") if self.both else ("",)
        gives = tuple((f"rnn.weight_ih_l{k}{end}", 0) for k in range(n_layers) for end in ends)
        last = gives[-len(ends) :]
        self.made = Made(gives, on_output=last)

    def forward(self, x: Tensor) -> Tensor:
        rnn = self.rnn
        if self.silenced.positions:
            rnn = self.silent(rnn, self.candidate_rows())
        return rnn(x.transpose(1, 2))[0].transpose(1, 2)

    def candidate_rows(self) -> dict[str, list[int]]:
        """Rows of the silenced units' candidates: a state that starts at zero then stays there."""
        n, first = self.rnn.hidden_size, 0 if self.rnn.mode.startswith("RNN") else 2
        rows = {}
        for (name, _), positions in self.silenced.positions.items():
            own = [first * n + unit for unit in {k % n for k in positions}]
            for leaf in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                rows[name.removeprefix("rnn.").replace("weight_ih", leaf)] = own
        return rows


class HandAttention(Block):
    """Attention written out: linear layers, heads by a view, one constant scale."""

    ways = ("attributes", "rest", "literals")
    takes = (1,)

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out, self.how = draw.choice(WIDTHS), way
        self.heads, self.head_width = 2, 3
        self.q, self.k, self.v = (nn.Linear(x.width, 6) for _ in range(3))
        self.o = nn.Linear(6, out)
        gives = tuple((f"{name}.weight", 0) for name in "qkvo")
        self.made = Made(gives, on_output=gives[3:])

    def in_heads(self, x: Tensor) -> Tensor:
        match self.how:
            case "attributes":
                x = x.view(x.shape[0], x.shape[1], self.heads, self.head_width)
            case "rest":
                x = x.view(x.shape[0], x.shape[1], 2, -1)
            case "literals":
                x = x.view(x.shape[0], x.shape[1], 2, 3)
        return x.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        q, k, v = (
            self.in_heads(self.tap(part(x), (f"{name}.weight", 0), dim=-1))
            for name, part in (("q", self.q), ("k", self.k), ("v", self.v))
        )
        x = (q @ k.transpose(-2, -1) * 0.6).softmax(-1) @ v
        x = self.o(x.transpose(1, 2).flatten(2))
        return self.tap(x, ("o.weight", 0), dim=-1).transpose(1, 2)


class ScaledDotProduct(Block):
    """torch's own attention; without a scale it takes the width of a head."""

    ways = ("scaled", "by_width")
    takes = (1,)

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        out, self.scale = draw.choice(WIDTHS), 0.6 if way == "scaled" else None
        self.causal = draw.random() < 0.5
        self.q, self.k, self.v = (nn.Linear(x.width, 6) for _ in range(3))
        self.o = nn.Linear(6, out)
        gives = tuple((f"{name}.weight", 0) for name in "qkvo")
        mixes = gives[:2] if self.scale is None else ()
        self.made = Made(gives, on_output=gives[3:], mixes=mixes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        q, k, v = (
            self.tap(part(x), (f"{name}.weight", 0), dim=-1).unflatten(-1, (2, -1)).transpose(1, 2)
            for name, part in (("q", self.q), ("k", self.k), ("v", self.v))
        )
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        x = self.o(x.transpose(1, 2).flatten(2))
        return self.tap(x, ("o.weight", 0), dim=-1).transpose(1, 2)


class MultiheadModule(Block):
    """nn.MultiheadAttention over what a linear layer gives, with that added or not."""

    ways = ("alone", "residual")
    takes = (1,)

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        self.inner, self.weights = nn.Linear(x.width, 4), draw.random() < 0.5
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.past = way == "residual"
        names = ("inner.weight", "attention.in_proj_weight", "attention.out_proj.weight")
        gives = tuple((name, 0) for name in names)
        on_output = (gives[0], gives[2]) if self.past else gives[2:]
        # its scale is the width of a head
        self.made = Made(gives, on_output=on_output, mixes=gives[1:2])

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap(self.inner(x.transpose(1, 2)), ("inner.weight", 0), dim=-1)
        attention = self.attention
        if rows := self.silenced.positions.get(("attention.in_proj_weight", 0)):
            attention = self.silent(attention, {"in_proj_weight": rows, "in_proj_bias": rows})
        out = attention(x, x, x, need_weights=self.weights)[0]
        out = self.tap(out, ("attention.out_proj.weight", 0), dim=-1)
        return (x + out if self.past else out).transpose(1, 2)


class EncoderLayer(Block):
    """nn.TransformerEncoderLayer over what a linear layer gives."""

    ways = ("norm_first", "norm_last")
    takes = (1,)

    def __init__(self, draw: random.Random, x: Signal, way: str) -> None:
        super().__init__()
        self.inner, first = nn.Linear(x.width, 4), way == "norm_first"
        self.layer = nn.TransformerEncoderLayer(4, 2, 5, batch_first=True, norm_first=first)
        names = ("inner.weight", "layer.self_attn.in_proj_weight", "layer.linear1.weight")
        gives = tuple((name, 0) for name in names)
        # what is added up passes a norm over channels, and the scale is the width of a head
        self.made = Made(gives, on_output=gives[:1], mixes=gives[:2])

    def forward(self, x: Tensor) -> Tensor:
        x = self.tap(self.inner(x.transpose(1, 2)), ("inner.weight", 0), dim=-1)
        layer = self.layer
        if self.silenced.positions:
            layer = self.silent(layer, self.inner_rows())
        return self.tap(layer(x), ("inner.weight", 0), dim=-1).transpose(1, 2)

    def inner_rows(self) -> dict[str, list[int]]:
        """Rows of the silenced channels between the layer's own parts, biases as well."""
        rows = {}
        for (name, _), positions in self.silenced.positions.items():
            if name.startswith("layer."):
                own = name.removeprefix("layer.")
                rows[own] = rows[own.removesuffix("weight") + "bias"] = list(positions)
        return rows


class PositionTable(Block):
    """A row for every place, more of them than there are places."""

    takes = (1,)

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.a, self.rows = nn.Linear(x.width, out), nn.Parameter(torch.zeros(100, out))
        self.made = Made(gives=(("a.weight", 0),))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x.transpose(1, 2))
        x = x + self.rows[: x.shape[1]]
        return self.tap(x, ("a.weight", 0), dim=-1).transpose(1, 2)


class TimeInBatch(Block):
    """Every moment an example of its own, for one linear layer."""

    takes = (1,)

    def __init__(self, draw: random.Random, x: Signal) -> None:
        super().__init__()
        out = draw.choice(WIDTHS)
        self.a = nn.Linear(x.width, out)
        self.made = Made(gives=(("a.weight", 0),))

    def forward(self, x: Tensor) -> Tensor:
        n, _, time = x.shape
        x = self.a(x.transpose(1, 2).reshape(n * time, -1)).sigmoid()
        return self.tap(x, ("a.weight", 0)).view(n, time, -1).transpose(1, 2)


KINDS = (
    Recurrent,
    HandAttention,
    ScaledDotProduct,
    MultiheadModule,
    EncoderLayer,
    PositionTable,
    TimeInBatch,
)
