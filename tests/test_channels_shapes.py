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
        kind = self.random.random()
        if made.ndim in (2, 3, 4) and kind < 0.2:  # in any order
            order = self.random.sample(range(made.ndim), made.ndim)
            back = [order.index(k) for k in range(made.ndim)]
            return made.permute(order).contiguous().permute(back)
        if made.ndim > 1 and kind < 0.3:  # part of a larger one
            large = torch.ones([n + 1 for n in sizes], dtype=dtype)
            return large[tuple(slice(0, n) for n in sizes)]
        if made.ndim > 1 and kind < 0.35 and min(sizes):  # broadcast
            return made.narrow(self.random.randrange(made.ndim), 0, 1).expand(sizes)
        return self.channels_last(made) if kind < 0.6 else made

    @staticmethod
    def channels_last(made: Tensor) -> Tensor:
        if made.ndim not in (4, 5):
            return made
        last = torch.channels_last if made.ndim == 4 else torch.channels_last_3d
        return made.contiguous(memory_format=last)

    def places(self, n: int) -> list[int]:
        return [self.random.randint(1, 4) for _ in range(n)]

    def dims(self, x: Tensor) -> list[int]:
        return [self.random.randint(-x.ndim - 1, x.ndim) for _ in range(self.random.randint(0, 2))]

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
    turned = draw.random.random() < 0.3
    # what is channels last in three dimensions stays so by how large it is
    made = draw.tensor if n < 3 else lambda sizes, dtype: torch.ones(sizes, dtype=dtype)
    x = made([2, n_in * groups, *[draw.random.randint(1, 5) for _ in range(n)]], dtype)
    sides = (n_in * groups, n_out // groups) if turned else (n_out, n_in)
    weight = made([*sides, *[draw.random.randint(1, 3) for _ in range(n)]], dtype)
    bias = draw.random.choice((None, torch.ones(n_out, dtype=dtype), torch.ones(n_out + 1)))
    yield ATEN.convolution.default, [x, weight, bias, *numbers, turned, [0] * n, groups]


def reductions(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes())
    operator = {"mean": ATEN.mean.dim, "sum": ATEN.sum.dim_IntList}.get(name)
    order = [2] * (name == "linalg_vector_norm")
    operator = operator or getattr(ATEN, name).default
    yield operator, [x, *order, draw.dims(x), draw.random.random() < 0.5]


def softmaxes(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes())
    dim = draw.random.randint(-x.ndim - 1, x.ndim)
    yield getattr(ATEN, name).default, [x, dim, *[False] * (name != "_safe_softmax")]


def group_norms(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor([draw.random.randint(1, 2), 4, *draw.places(draw.random.randint(0, 3))])
    weight = draw.random.choice((None, torch.ones(4), torch.ones(3)))
    n, c, area = *x.shape[:2], x[0, 0].numel()
    groups = draw.random.choice((1, 2, 3, 4))
    yield ATEN.native_group_norm.default, [x, weight, None, n, c, area, groups, 1e-5]


def upsampled(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    n = int(name.removesuffix("_aa")[-2])
    x = draw.tensor([*draw.places(2), *draw.places(n)], draw.random.choice(FLOATS[:3]))
    aligned = [] if "nearest" in name else [False]
    yield getattr(ATEN, name).default, [x, draw.places(n), *aligned, *[None] * n]


def of_batches(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    b, n, k, m = draw.places(4)
    x, y = draw.tensor([b, n, k]), draw.tensor([b, draw.random.choice((k, k, k, 1)), m])
    yield ATEN.bmm.default, [x, y]


def clones(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    yield ATEN.clone.default, [draw.tensor(draw.sizes())]


def rolls(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes())
    dims = draw.dims(x)
    yield ATEN.roll.default, [x, [1] * (len(dims) + draw.random.choice((0, 0, 0, 1))), dims]


def in_other_sizes(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes())
    yield ATEN._unsafe_view.default, [x, [draw.random.choice((x.numel(), -1, x.numel() + 1)), 1]]


def stacks(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    sizes, dtype = draw.sizes(), draw.random.choice(FLOATS + OTHERS)
    other = draw.random.choice((sizes, sizes, sizes, [*sizes, 1]))
    pieces = [draw.tensor(sizes, dtype), draw.tensor(other, dtype)]
    yield ATEN.stack.default, [pieces, draw.random.randint(-len(sizes) - 2, len(sizes) + 1)]


def gates(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor([draw.random.choice((n, 2 * n, 2 * n)) for n in draw.sizes(1)])
    yield ATEN.glu.default, [x, draw.random.randint(-x.ndim - 1, x.ndim)]


def comparisons(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    x, y = draw.pair()
    yield getattr(ATEN, name).Tensor, [x, y]
    yield getattr(ATEN, name).Scalar, [x, 0.5]


def powers(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    yield ATEN.pow.Tensor_Scalar, [draw.tensor(draw.sizes()), draw.random.choice((2, 0.5))]
    yield ATEN.pow.Scalar, [2.0, draw.tensor(draw.sizes())]
    yield ATEN.pow.Tensor_Tensor, [*draw.pair()]


def larger(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    yield getattr(ATEN, name).default, [*draw.pair()]


def kernels_of_prelu(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes(2), draw.random.choice(FLOATS[:3]))
    sizes = [n if k == 1 else 1 for k, n in enumerate(x.shape)]
    yield ATEN._prelu_kernel.default, [x, torch.ones(sizes, dtype=x.dtype)]


def hidden(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    sizes = draw.sizes()
    mask = draw.tensor(draw.near(sizes), draw.random.choice((torch.bool, torch.bool, None)))
    yield ATEN.masked_fill.Scalar, [draw.tensor(sizes), mask, draw.random.choice((0, -1e9))]


def weight_norms(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    v = draw.tensor(draw.places(draw.random.randint(1, 3)), draw.random.choice(FLOATS[:3]))
    dim = draw.random.randint(0, v.ndim - 1)
    g = torch.ones([n if k == dim else 1 for k, n in enumerate(v.shape)], dtype=v.dtype)
    yield ATEN._weight_norm_interface.default, [v, g, dim]


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


def linears(draw: Draw, name: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes(2), draw.random.choice(FLOATS))
    weight = draw.tensor([draw.random.randint(1, 3), draw.random.choice((x.shape[-1], 2))], x.dtype)
    bias = [draw.tensor([len(weight)], x.dtype)] if draw.random.random() < 0.5 else []
    yield ATEN.linear.default, [x, weight, *bias]


def batches_of_products(draw: Draw, _: str) -> Iterator[tuple[Any, list[Any]]]:
    x = draw.tensor(draw.sizes(3), draw.random.choice(FLOATS))
    sizes = [*x.shape[:-2], draw.random.choice((x.shape[-1], 2)), draw.random.randint(1, 3)]
    yield ATEN.matmul.default, [x, draw.tensor(sizes, x.dtype)]


KINDS = {
    elementwise: """relu hardswish sigmoid silu gelu leaky_relu neg abs exp rsqrt relu_ sigmoid_
        silu_ exp_""",
    clamps: "clamp clamp_min clamp_max clamp_ clamp_min_ clamp_max_",
    of_two: "add sub mul div rsub add_ sub_ mul_ div_",
    comparisons: "eq ne lt le gt ge",
    reductions: "mean sum linalg_vector_norm",
    softmaxes: "_softmax _log_softmax _safe_softmax",
    larger: "maximum minimum",
    upsampled: """upsample_nearest1d upsample_linear1d _upsample_nearest_exact1d upsample_nearest2d
        upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d _upsample_bilinear2d_aa
        _upsample_bicubic2d_aa upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact3d""",
}
DRAWN = {
    **{name: drawn for drawn, names in KINDS.items() for name in names.split()},
    "convolution": convolutions,
    "native_group_norm": group_norms,
    "bmm": of_batches,
    "clone": clones,
    "roll": rolls,
    "_unsafe_view": in_other_sizes,
    "stack": stacks,
    "glu": gates,
    "pow": powers,
    "_prelu_kernel": kernels_of_prelu,
    "masked_fill": hidden,
    "_weight_norm_interface": weight_norms,
    "cat": joins,
    "mm": products,
    "addmm": products,
    "linear": linears,
    "matmul": batches_of_products,
}


def on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return [on_meta(one) for one in value] if isinstance(value, list) else value


def lies(tensor: Tensor) -> list[tuple[int, int]]:
    """Sizes and strides; of a size of 1 no stride counts, and of no elements none."""
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return [(n, stride) for n, stride in pairs if n > 1 and tensor.numel()]


@pytest.mark.parametrize("name", DRAWN)
def test_shapes_are_torchs_own(name: str) -> None:
    draw, n_made = Draw(sum(map(ord, name))), 0
    for _ in range(150):
        for operator, args in DRAWN[name](draw, name):
            rule = shape_rule(operator)
            assert rule is not None
            if name.endswith("_") and 0 in args[0].stride():  # torch writes into no broadcast
                args[0] = args[0].clone()
            made = rule(*map(on_meta, args))
            if made is NotImplemented:
                continue
            n_made += 1
            real = operator(*args)  # fails if torch refuses what the rule took
            for one, other in zip(as_row(made), as_row(real), strict=True):
                assert (one.shape, one.dtype) == (other.shape, other.dtype), args
                assert lies(one) == lies(other), args
    assert n_made > 10


def as_row(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def test_what_has_a_shape_is_known() -> None:
    assert {f"aten::{name}" for name in DRAWN} <= SHAPES.keys()


def test_a_dimension_that_is_not_there_is_left_to_torch() -> None:
    for x, dims in ((torch.ones(()), [-1]), (torch.ones(2, 3), [2]), (torch.ones(2, 3), [0, -2])):
        assert SHAPES["aten::mean"](on_meta(x), dims) is NotImplemented
