"""What the shape functions make lies in memory as what torch computes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.channels.shapes import SHAPES, shape_rule
from secateur.channels.walk import laid_out
from secateur.errors import TraceError
from test_channels_shapes import DRAWN, on_meta

ATEN = torch.ops.aten

SIZES = [
    *[(4,), (2, 3), (1, 3), (3, 1), (2, 3, 4), (1, 3, 4), (1, 1, 4), (2, 3, 1)],
    *[(2, 3, 4, 5), (1, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 1), (1, 3, 1, 1), (1, 3, 1, 5)],
    *[(2, 3, 4, 1), (2, 3, 2, 4, 5), (1, 3, 2, 4, 5), (1, 1, 2, 4, 5)],
]


def layouts(sizes: tuple[int, ...]) -> Iterator[Tensor]:
    """Contiguous, channels last, turned, expanded, and parts of something larger."""
    x = torch.ones(sizes)
    yield x
    if x.ndim in (4, 5):
        last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        yield torch.empty(sizes, memory_format=last).fill_(1)
    for one, other in ((0, 1), (-1, -2), (1, 2), (1, -1)):
        if max(one, other) < x.ndim and x.ndim > 1:
            yield x.transpose(one, other).contiguous().transpose(one, other)
    if x.ndim > 1:
        yield x[:1].expand(sizes)
        yield x[..., :1].expand(sizes)
        yield torch.ones([n + 1 for n in sizes])[tuple(slice(0, n) for n in sizes)]
        yield torch.ones([2 * n for n in sizes])[tuple(slice(0, None, 2) for n in sizes)]


def elementwise(name: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    for x in layouts(sizes):
        yield getattr(ATEN, name).default, [x]


def clamped(name: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    for x in layouts(sizes):
        yield getattr(ATEN, name).default, [x, 0.5]


def rounded(name: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    scale, zero = torch.ones(sizes[-1]), torch.zeros(sizes[-1], dtype=torch.int32)
    for x in layouts(sizes):
        if "per_channel" in name:
            yield getattr(ATEN, name).default, [x, scale, zero, x.ndim - 1, -8, 7]
        elif "qparams" in name:
            yield getattr(ATEN, name).default, [x, scale[:1], zero[:1], scale[:1], -8, 7]
        else:
            yield getattr(ATEN, name).default, [x, 0.1, 0, -8, 7]


def of_two(name: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    shorter = {(1,) * len(sizes), tuple(n if k == 1 else 1 for k, n in enumerate(sizes)), sizes}
    for x in layouts(sizes):
        yield getattr(ATEN, name).Scalar, [x, 0.5]
        for y in (y for other in shorter for y in layouts(other)):
            yield getattr(ATEN, name).Tensor, [x, y]
            yield getattr(ATEN, name).Tensor, [y, x]


def convolutions(_: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    """Of 3D ones on channels last it depends on threads and sizes which kernel is taken."""
    n = len(sizes) - 2
    if n not in (1, 2):
        return
    for transposed, groups, kernel, stride in product((0, 1), {1, sizes[1]}, (1, 2), (1, 2)):
        if kernel > min(sizes[2:]) and not transposed:
            continue
        own = (sizes[1], 2) if transposed else (2 * groups, sizes[1] // groups)
        weights = list(layouts((*own, *[kernel] * n)))
        for x, weight in product(layouts(sizes), weights if n == 2 else weights[:1]):
            numbers = [stride] * n, [0] * n, [1] * n, bool(transposed), [0] * n, groups
            yield ATEN.convolution.default, [x, weight, None, *numbers]


def batch_norms(name: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    for x in layouts(sizes) if len(sizes) > 1 else ():
        one = [torch.ones(sizes[1]) for _ in range(4)]
        rest: list[Any] = [0.1, 1e-5] if "no_training" in name else [False, 0.1, 1e-5]
        yield getattr(ATEN, name).default, [x, *one, *rest]


def layer_norms(name: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    for x in layouts(sizes):
        for n in range(1, len(sizes)):
            yield getattr(ATEN, name).default, [x, list(sizes[-n:]), None, None, 1e-5]


def means(_: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    for x, keep in product(layouts(sizes), (False, True)):
        for dims in ([0], [-1], [1], [0, 1], [-1, -2], [2, 3]):
            if max(dims) < len(sizes) >= len(dims):
                yield ATEN.mean.dim, [x, dims, keep]


def joins(_: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    for x, y, dim in product(layouts(sizes), layouts(sizes), range(len(sizes))):
        yield ATEN.cat.default, [[x, y], dim]


def products(name: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    if len(sizes) == 2:
        for x, weight in product(layouts(sizes), layouts((sizes[1], 4))):
            bias = [] if name == "mm" else [torch.ones(4)]
            yield getattr(ATEN, name).default, [*bias, x, weight]


def recurrences(name: str, sizes: tuple[int, ...]) -> Iterator[tuple[Any, list[Any]]]:
    """Layers over frames or examples first, in one direction or two; or a cell."""
    if len(sizes) != (2 if name.endswith("cell") else 3):
        return
    gates = {"lstm": 4, "gru": 3}.get(name.removesuffix("_cell"), 1)
    for x, both, first in product(layouts(sizes), (False, True), (False, True)):
        own = [torch.ones(gates * 5, sizes[-1]), torch.ones(gates * 5, 5)]
        if name.endswith("cell"):
            state: Any = torch.ones(sizes[0], 5)
            yield getattr(ATEN, name).default, [x, [state] * 2 if gates == 4 else state, *own]
            continue
        state = torch.ones(1 + both, x.shape[0 if first else 1], 5)
        rest = [own * (1 + both), False, 1, 0.0, False, both, first]
        yield getattr(ATEN, name).input, [x, [state] * 2 if gates == 4 else state, *rest]


def drawn(name: str) -> Any:
    """What calls a shape function, by the operator's name."""
    of_name: dict[str, Any] = {"convolution": convolutions, "mean": means, "cat": joins}
    of_name |= {"mm": products, "addmm": products, "native_layer_norm": layer_norms}
    of_name |= dict.fromkeys(("add", "sub", "mul", "div"), of_two)
    if name.removesuffix("_cell") in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        return recurrences
    if "batch_norm" in name:
        return batch_norms
    if "fake_quantize" in name:
        return rounded
    return of_name.get(name, clamped if name.startswith("clamp") else elementwise)


def strides(tensor: Tensor) -> list[tuple[int, int]]:
    """Sizes and strides of all dimensions that have a stride to speak of."""
    own = zip(tensor.shape, tensor.stride(), strict=True)
    return [(size, stride) for size, stride in own if size > 1]


AT_RANDOM = [
    *["_log_softmax", "_prelu_kernel", "_safe_softmax", "_softmax", "_unsafe_view"],
    *["_weight_norm_interface", "bmm", "clone", "eq", "ge", "glu", "gt", "le", "linear"],
    *[
        "lt",
        "matmul",
        "ne",
        "linalg_vector_norm",
        "masked_fill",
        "maximum",
        "minimum",
        "native_group_norm",
        "pow",
    ],
    *["roll", "rsub", "stack", "sum"],
]
"""Held to torch's strides at random, in test_channels_shapes.py; so is all that resizes."""

NAMES = sorted(name.removeprefix("aten::") for name in SHAPES if not name.endswith("_"))
NAMES = [name for name in NAMES if name not in AT_RANDOM and "upsample" not in name]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_lie_in_memory_as_torchs_own(name: str) -> None:
    n_made = 0
    for sizes in SIZES:
        for operator, args in drawn(name)(name, sizes):
            rule = shape_rule(operator)
            assert rule is not None
            if (made := rule(*map(on_meta, args))) is NotImplemented:
                continue
            n_made += 1
            made, real = (
                out if isinstance(out, Tensor) else out[0] for out in (made, operator(*args))
            )
            assert strides(made) == strides(real), [on_meta(arg) for arg in args]
    assert n_made > 10


def test_the_others_are_held_to_torch_elsewhere() -> None:
    assert {*AT_RANDOM} <= DRAWN.keys() and {n for n in DRAWN if "upsample" in n}


@pytest.mark.parametrize("sizes", [size for size in SIZES if len(size) in (4, 5)])
def test_channels_last_is_what_torch_takes_for_it(sizes: tuple[int, ...]) -> None:
    """Torch's own judgement has a Python twin, which its meta kernels use."""
    for x in layouts(sizes):
        taken = torch._prims_common.suggest_memory_format(x)
        assert (laid_out(x) or torch.contiguous_format) == taken, (x.shape, x.stride())


class TokensToMap(nn.Module):
    """Tokens laid out as a map, which torch takes for contiguous if there is one example only."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv = nn.Linear(3, 4), nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6 * 16, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens).transpose(1, 2).view(len(tokens), 4, 4, 4)
        return self.head(self.conv(x).view(len(tokens), -1))


def test_tokens_laid_out_as_a_map_are_viewed_as_in_torch() -> None:
    model, one, two = TokensToMap(), torch.zeros(1, 16, 3), torch.zeros(2, 16, 3)
    model(one)
    channels = sc.trace(model, one)
    assert [(group.name, group.n_channels) for group in channels.groups] == [
        ("embed", 4),
        ("conv", 6),
    ]
    small = sc.cut(channels, sc.manual(channels, {"conv": [1, 4]})).network
    assert small.head.in_features == 64
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        model(two)
    with pytest.raises(TraceError, match="view size is not compatible"):
        sc.trace(model, two)


def test_a_cut_leaves_weights_of_one_place_channels_last() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)).to(
        memory_format=torch.channels_last
    )
    x = torch.zeros(1, 3, 5, 5)
    channels = sc.trace(model, x)
    small = sc.cut(channels, sc.manual(channels, {"0": [1]})).network
    assert small[0].weight.stride() == (3, 1, 3, 3) and small[1].weight.stride() == (3, 1, 3, 3)
    assert small(x).stride() == model(x).stride()
