"""Shapes of what layers put out: convolutions, norms, matrix products, resizing.

As in `shapes`: where a function does not see at once that the arguments fit, it answers
`NotImplemented`, and torch's meta kernel runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from secateur.channels.walk import laid_out


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """Any number of spatial dimensions; plain, grouped and transposed.

    Channels last where the input or the weight is. Torch's meta kernel does not see that of a
    transposed one, nor where there is one input channel.
    """
    n_out, n_in = weight.shape[:2]
    if n_out % groups or x.dtype != weight.dtype or weight.ndim != x.ndim:
        return NotImplemented
    if x.ndim == 3 and not weight.is_contiguous():
        return NotImplemented
    n_out, n_in = (n_in * groups, n_out) if transposed else (n_out, n_in * groups)
    if x.shape[1] != n_in or (
        bias is not None and (bias.shape != (n_out,) or bias.dtype != x.dtype)
    ):
        return NotImplemented
    sizes = [x.shape[0], n_out]
    for k in range(x.ndim - 2):
        s, p, d, more = (
            v[k] if len(v) > 1 else v[0] for v in (stride, padding, dilation, output_padding)
        )
        before, reach = x.shape[2 + k], d * (weight.shape[2 + k] - 1)
        size = (before + 2 * p - reach - 1) // s + 1
        if transposed:
            size = (before - 1) * s - 2 * p + reach + more + 1
        if size < 1 or (transposed and more >= max(s, d)):
            return NotImplemented
        sizes.append(size)
    layout = laid_out(x) or laid_out(weight) or torch.contiguous_format
    return torch.empty(sizes, dtype=x.dtype, device="meta", memory_format=layout)


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """As the input, and the saved statistics, which evaluation leaves empty.

    In memory it is channels last or contiguous, as on a CPU; torch's meta kernel says otherwise.
    """
    for tensor in (weight, bias, running_mean, running_var):
        if tensor is not None and tensor.shape != x.shape[1:2]:
            raise ValueError(f"a batch norm of {len(tensor)} channels on {x.shape[1]}")
    empty = torch.empty(0, dtype=x.dtype, device="meta")
    return _laid_as(x, x.shape), empty, empty


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, *_: Any
) -> Any:
    """As the input, and the statistics of every place."""
    last = x.shape[x.ndim - len(shape) :]
    if tuple(shape) != tuple(last) or any(
        t is not None and (t.shape != last or t.dtype != x.dtype) for t in (weight, bias)
    ):
        return NotImplemented
    sizes = [*x.shape[: x.ndim - len(shape)], *[1] * len(shape)]
    statistics = torch.empty(sizes, dtype=x.dtype, device="meta")
    return torch.empty(x.shape, dtype=x.dtype, device="meta"), statistics, statistics


def group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    c: int,
    hw: int,
    groups: int,
    *_: Any,
) -> Any:
    """As the input, and the statistics of every group; channels last or contiguous."""
    if x.numel() != n * c * hw or not x.numel() or x.shape[:2] != (n, c) or c % groups:
        return NotImplemented
    if not x.is_floating_point() or not (x.is_contiguous() or laid_out(x)):
        return NotImplemented
    if any(t is not None and (t.shape != (c,) or t.dtype != x.dtype) for t in (weight, bias)):
        return NotImplemented
    statistics = torch.empty((n, groups), dtype=x.dtype, device="meta")
    return _laid_as(x, x.shape), statistics, statistics


def upsampled(n_dims: int) -> Callable[..., Any]:
    """To the size that is asked for; channels last or contiguous."""

    def rule(x: Tensor, size: Sequence[int], *_: Any) -> Any:
        if x.ndim != n_dims + 2 or len(size) != n_dims or min(*size, *x.shape) < 1:
            return NotImplemented
        if not x.is_floating_point():
            return NotImplemented
        layout = laid_out(x) or torch.contiguous_format
        sizes = (*x.shape[:2], *size)
        return torch.empty(sizes, dtype=x.dtype, device="meta", memory_format=layout)

    return rule


def _laid_as(x: Tensor, sizes: Sequence[int]) -> Tensor:
    """Channels last where the input is and cannot be said to be contiguous, else contiguous."""
    layout = torch.contiguous_format
    if x.ndim in (4, 5) and not x.is_contiguous():
        last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        layout = last if x.is_contiguous(memory_format=last) else layout
    return torch.empty(sizes, dtype=x.dtype, device="meta", memory_format=layout)


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Any:
    """A weight of these directions and magnitudes, and the norms of the directions."""
    sizes = [n if k == dim else 1 for k, n in enumerate(v.shape)]
    if v.dtype != g.dtype or list(g.shape) != sizes or dim not in (0, v.ndim - 1):
        return NotImplemented
    if not v.is_contiguous() or not g.is_contiguous():
        return NotImplemented
    return torch.empty_like(v), torch.empty(sizes, dtype=v.dtype, device="meta")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """(..., k) times (m, k), plus m."""
    if x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return NotImplemented
    if bias is not None and bias.dtype != x.dtype:
        return NotImplemented
    return torch.empty((*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device="meta")


def matmul(x: Tensor, y: Tensor) -> Any:
    """(..., n, k) times (..., k, m), of as many batches."""
    if x.shape[:-2] != y.shape[:-2] or x.shape[-1] != y.shape[-2] or x.dtype != y.dtype:
        return NotImplemented
    return torch.empty((*x.shape[:-1], y.shape[-1]), dtype=x.dtype, device="meta")


def mm(x: Tensor, weight: Tensor) -> Any:
    """(n, k) times (k, m)."""
    if x.shape[1] != weight.shape[0] or x.dtype != weight.dtype:
        return NotImplemented
    return torch.empty((x.shape[0], weight.shape[1]), dtype=x.dtype, device="meta")


def addmm(bias: Tensor, x: Tensor, weight: Tensor, **kwargs: Any) -> Any:
    """(n, k) times (k, m), plus m."""
    if kwargs or x.shape[1] != weight.shape[0] or bias.shape != weight.shape[1:]:
        return NotImplemented
    if not x.dtype == weight.dtype == bias.dtype:
        return NotImplemented
    return torch.empty((x.shape[0], weight.shape[1]), dtype=x.dtype, device="meta")


def bmm(x: Tensor, y: Tensor) -> Any:
    """(b, n, k) times (b, k, m)."""
    if x.ndim != 3 or y.ndim != 3 or x.shape[0] != y.shape[0] or x.shape[2] != y.shape[1]:
        return NotImplemented
    if x.dtype != y.dtype:
        return NotImplemented
    return torch.empty((*x.shape[:2], y.shape[2]), dtype=x.dtype, device="meta")
