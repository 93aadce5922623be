"""Shapes made without torch's meta kernels against the operators themselves, at random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from secateur.channels.shapes import SHAPES, shape_rule

ATEN = torch.ops.aten
FLOATS = (torch.float32, torch.float32, torch.float64, torch.bfloat16)
OTHERS = (torch.int64, torch.uint8, torch.bool, torch.complex64)


class Draw:
    """Random tensors: sizes 0 to 3, any type, in any order in memory."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def sizes(self, least: int = 0, most: int = 4) -> list[int]:
        return [
            self.random.choice((0, 1, 1, 2, 3)) for _ in range(self.random.randint(least, most))
        ]

    def near(self, sizes: list[int]) -> list[int]:
        """Sizes that can often be broadcast to these."""
        found = [self.random.choice((n, n, n, 1, 2)) for n in sizes]
        return found[self.random.choice((0, 0, 0, 1)) :]

    def tensor(self, sizes: list[int], dtype: torch.dtype | None = None) -> Tensor:
        dtype = dtype or self.random.choice(FLOATS * 2 + OTHERS)
        made = torch.ones(sizes, dtype=dtype)
        if made.ndim == 4 and self.random.random() < 0.3:
            return made.contiguous(memory_format=torch.channels_last)
        if made.ndim > 1 and self.random.random() < 0.2:
            return made.transpose(-1, -2).contiguous().transpose(-1, -2)
        return made

    def pair(self) -> tuple[Tensor, Tensor]:
        sizes = self.sizes()
        first = self.tensor(sizes)
        second = self.tensor(self.near(sizes), self.random.choice((first.dtype, first.dtype, None)))
        return (first, second) if self.random.random() < 0.5 else (second, first)


def elementwise(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    yield getattr(ATEN, name).default, [draw.tensor(draw.sizes())]


def clamps(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    yield getattr(ATEN, name).default, [draw.tensor(draw.sizes()), 0.5]
    first, second = draw.pair()
    yield getattr(ATEN, name).Tensor, [first, second]


def of_two(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    yield getattr(ATEN, name).Tensor, [*draw.pair()]
    number = draw.random.choice((2, 0.5, True))
    yield getattr(ATEN, name).Scalar, [draw.tensor(draw.sizes()), number]


def convolutions(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    n, groups = draw.random.randint(1, 3), draw.random.choice((1, 1, 2))
    numbers = [[draw.random.randint(low, 2) for _ in range(n)] for low in (1, 0, 1)]
    dtype = draw.random.choice(FLOATS[:3])
    n_in, n_out = draw.random.randint(1, 2), groups * draw.random.randint(1, 2)
    x = draw.tensor([2, n_in * groups, *[draw.random.randint(1, 5) for _ in range(n)]], dtype)
    weight = draw.tensor([n_out, n_in, *[draw.random.randint(1, 3) for _ in range(n)]], dtype)
    bias = draw.random.choice((None, torch.ones(n_out, dtype=dtype), torch.ones(n_out + 1)))
    yield ATEN.convolution.default, [x, weight, bias, *numbers, False, [0] * n, groups]


def means(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes())
    dims = [draw.random.randint(-x.ndim - 1, x.ndim) for _ in range(draw.random.randint(0, 2))]
    yield ATEN.mean.dim, [x, dims, draw.random.random() < 0.5]


def joins(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    sizes, dtype = draw.sizes(), draw.random.choice(FLOATS + OTHERS)
    dim = draw.random.randint(-len(sizes) - 1, len(sizes))
    pieces = []
    for _piece in range(draw.random.randint(1, 3)):
        own = list(sizes)
        if -len(sizes) <= dim < len(sizes):
            own[dim] = draw.random.randint(0, 3)
        pieces.append(draw.tensor(own, dtype))
    yield ATEN.cat.default, [pieces, dim]


def products(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes(2, 2), draw.random.choice(FLOATS))
    n = draw.random.randint(1, 3)
    weight = draw.tensor([draw.random.choice((x.shape[1], 2)), n], x.dtype)
    bias = draw.tensor(draw.random.choice(([n], [1], [x.shape[0], n])), x.dtype)
    yield getattr(ATEN, name).default, [x, weight] if name == "mm" else [bias, x, weight]


KINDS = {
    elementwise: """relu hardswish sigmoid silu gelu leaky_relu neg abs exp rsqrt relu_ sigmoid_
        silu_ exp_""",
    clamps: "clamp clamp_min clamp_max clamp_ clamp_min_ clamp_max_",
    of_two: "add sub mul div add_ sub_ mul_ div_",
}
DRAWN = {
    **{name: drawn for drawn, names in KINDS.items() for name in names.split()},
    "convolution": convolutions,
    "mean": means,
    "cat": joins,
    "mm": products,
    "addmm": products,
}


def on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return [on_meta(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", DRAWN)
def test_shapes_are_torchs_own(name: str) -> None:
    draw, n_made = Draw(sum(map(ord, name))), 0
    for _ in range(120):
        for operator, args in DRAWN[name](draw, name):
            rule = shape_rule(operator)
            assert rule is not None
            made = rule(*map(on_meta, args))
            if made is NotImplemented:
                continue
            n_made += 1
            real = operator(*args)  # fails if torch refuses what the rule took
            assert (made.shape, made.dtype) == (real.shape, real.dtype), args
    assert n_made > 10


def test_what_has_a_shape_is_known() -> None:
    assert {f"aten::{name}" for name in DRAWN} <= SHAPES.keys()


def test_a_dimension_that_is_not_there_is_left_to_torch() -> None:
    for x, dims in ((torch.ones(()), [-1]), (torch.ones(2, 3), [2]), (torch.ones(2, 3), [0, -2])):
        assert SHAPES["aten::mean"](on_meta(x), dims) is NotImplemented
