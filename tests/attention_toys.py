"""Attention as people write it, small enough to cut in a second; in float64, in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    """`nn.TransformerEncoder` over patches: the case `encoder` of a transformer in the wild."""

    def __init__(self, norm_first: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=norm_first)
        self.patch = nn.Conv2d(1, 32, 8, 8)
        self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.enc(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(6, 16)
        self.d = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 32, batch_first=True), 1)
        self.o = nn.Linear(16, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.o(self.d(self.a(x), self.b(y)))


class Module(nn.Module):
    """`nn.MultiheadAttention` alone, with more keys or without biases, and its weights unused."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.a, self.o = nn.Linear(6, 16), nn.Linear(16, 3)
        self.m = nn.MultiheadAttention(16, 4, **settings)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.o(self.m(h, h, h)[0])


class Cross(nn.Module):
    def __init__(self, kdim: int, vdim: int) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(6, kdim), nn.Linear(6, vdim)
        self.m = nn.MultiheadAttention(16, 4, batch_first=True, kdim=kdim, vdim=vdim)
        self.o = nn.Linear(16, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.o(self.m(self.a(x), self.b(y), self.c(y), need_weights=False)[0])


class Packed(nn.Module):
    """Queries, keys and values by one layer, heads by a view, as in most vision transformers."""

    def __init__(self, scaled: str) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.scaled = 4, 4, scaled
        self.scale = self.head_dim**-0.5
        self.a, self.qkv, self.proj = nn.Linear(6, 16), nn.Linear(16, 48), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        n, t, _ = x.shape
        qkv = self.qkv(x).reshape(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.scaled == "by torch":
            y = F.scaled_dot_product_attention(q, k, v)
        elif self.scaled == "by an attribute":
            y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            y = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(n, t, -1))


class Apart(nn.Module):
    """A layer each; the scale is a root of an attribute. The queries' view may leave heads open."""

    def __init__(self, *, leaves_open: bool = False) -> None:
        super().__init__()
        self.h, self.d, self.leaves_open = 4, 4, leaves_open
        self.a, self.z = nn.Linear(6, 16), nn.Linear(16, 3)
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        n, t, _ = x.shape
        heads = -1 if self.leaves_open else self.h
        q, k, v = (
            layer(x).view(n, t, h, self.d).transpose(1, 2)
            for layer, h in ((self.q, heads), (self.k, self.h), (self.v, self.h))
        )
        y = (q @ k.transpose(2, 3) / math.sqrt(self.d)).softmax(-1) @ v
        return self.z(self.o(y.transpose(1, 2).reshape(n, t, self.h * self.d)))


class Grouped(nn.Module):
    """Eight heads of queries, two of keys and values."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.d, self.how = 4, how
        self.a, self.z = nn.Linear(6, 16), nn.Linear(16, 3)
        self.q, self.k, self.v = nn.Linear(16, 32), nn.Linear(16, 8), nn.Linear(16, 8)
        self.o = nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        n, t, _ = x.shape
        q, k, v = (f(x).view(n, t, -1, self.d).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.how == "repeated":
            k, v = k.repeat_interleave(4, 1), v.repeat_interleave(4, 1)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.how == "by torch")
        return self.z(self.o(y.transpose(1, 2).reshape(n, t, -1)))


class Windows(nn.Module):
    """Attention in windows of 2 x 2, with a table of relative positions, a column a head.

    The table is a parameter, or what two layers make of coordinates.
    """

    def __init__(self, *, of_coordinates: bool = False) -> None:
        super().__init__()
        self.num_heads, self.scale = 4, 0.5
        self.patch, self.z = nn.Conv2d(1, 16, 2, 2), nn.Linear(16, 3)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.table = nn.Parameter(torch.randn(9, 4))
        self.made = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4, bias=False))
        if of_coordinates:
            del self.table
            self.register_buffer("places", torch.randn(9, 2))
        else:
            del self.made
        at = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
        apart = at[:, None] - at[None] + 1
        self.register_buffer("index", apart[..., 0] * 3 + apart[..., 1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        x = x.view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(-1, 4, c)
        q, k, v = self.qkv(x).reshape(len(x), 4, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        table = self.made(self.places) if hasattr(self, "made") else self.table
        bias = table[self.index.view(-1)].view(4, 4, -1).permute(2, 0, 1)
        y = ((q * self.scale) @ k.transpose(-2, -1) + bias).softmax(-1) @ v
        return self.z(self.proj(y.transpose(1, 2).reshape(len(x), 4, -1)).mean(1))


def made(build: Callable[..., nn.Module], *args: Any, **named: Any) -> Callable[[], nn.Module]:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return build(*args, **named).double().eval()

    return network


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


TOKENS = drawn(2, 7, 6)
TOYS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "encoder": (made(Encoder), drawn(2, 1, 32, 32)),
    "encoder, norm first": (made(Encoder, norm_first=True), drawn(2, 1, 32, 32)),
    "decoder": (made(Decoder), (TOKENS, drawn(2, 5, 6))),
    "module": (made(Module, batch_first=True), TOKENS),
    "module with more keys": (made(Module, add_bias_kv=True, add_zero_attn=True), TOKENS),
    "module without biases": (made(Module, bias=False), TOKENS),
    "cross": (made(Cross, 16, 16), (TOKENS, drawn(2, 5, 6))),
    "cross of other widths": (made(Cross, 12, 10), (TOKENS, drawn(2, 5, 6))),
    **{
        f"packed, scaled {how}": (made(Packed, how), TOKENS)
        for how in ("by torch", "by an attribute", "by a root")
    },
    "apart": (made(Apart), TOKENS),
    "apart, heads left open": (made(Apart, leaves_open=True), TOKENS),
    **{f"grouped, {how}": (made(Grouped, how), TOKENS) for how in ("repeated", "by torch")},
    "windows": (made(Windows), drawn(2, 1, 8, 8)),
    "windows, a table made": (made(Windows, of_coordinates=True), drawn(2, 1, 8, 8)),
}
"""Name -> (factory, example)."""
