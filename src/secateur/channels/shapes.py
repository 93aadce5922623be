"""Shapes of the commonest operators' outputs, made with one `empty`.

Torch's own meta kernels are written in Python and take much of a trace; an operator without an
entry here falls back to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    """Element-wise: as the input."""
    return torch.empty_like(x)


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """As the input, and the saved statistics, which evaluation leaves empty."""
    for tensor in (weight, bias, running_mean, running_var):
        if tensor is not None and tensor.shape != x.shape[1:2]:
            raise ValueError(f"a batch norm of {len(tensor)} channels on {x.shape[1]}")
    empty = x.new_empty(0)
    return torch.empty_like(x), empty, empty


_ELEMENTWISE = ("relu", "hardswish", "hardtanh", "sigmoid", "silu", "gelu", "tanh")

SHAPES: Mapping[str, Callable[..., Any]] = {
    "aten::native_batch_norm": batch_norm,
    "aten::_native_batch_norm_legit_no_training": batch_norm,
    **{f"aten::{name}": same for name in _ELEMENTWISE},
}
