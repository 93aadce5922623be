"""Torch's multi-head attention with any width of its heads, its inputs and its output.

`nn.MultiheadAttention` runs only if its heads together are as wide as what it is given, and some of
its callers hand its tensors to one kernel that asks for the same. So a run on shapes has its
forward written out, and where a cut leaves other widths the module becomes one of this class.
"""

from __future__ import annotations

from operator import index
from types import MethodType
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiheadAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` after a cut: the same parameters by the same names, and arguments.

    `num_heads` heads, each `head_dim` wide, of inputs of `embed_dim`, `kdim` and `vdim`. Products
    of queries and keys are multiplied by `scale`, which a cut leaves as it was.
    """

    scale: float

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As of `nn.MultiheadAttention`; `is_causal` says that `attn_mask` is a causal one.

        Raises:
            RuntimeError: it is said to be causal, and there is no `attn_mask`; or a mask is neither
                of truth values nor of floating point numbers, or of another shape than torch's.
        """
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint about attn_mask, which is missing; give one")
        causal = is_causal and key_padding_mask is None and not need_weights
        attn_mask = None if causal else attn_mask  # torch does not look at it then
        batched = query.dim() == 3
        if not batched or not self.batch_first:
            query, key, value = _batch_first(query, key, value, batched=batched)
        q, k, v = _projected(self, query, key, value)
        k, v, n_more = _longer(self, k, v)
        _check(self, attn_mask, key_padding_mask, q, k.shape[1] - n_more, batched=batched)
        mask = _mask(self, attn_mask, key_padding_mask, len(q), n_more, q.dtype, batched=batched)
        heads = self.num_heads, self.head_dim
        q, k, v = (_unflattened(x, -1, *heads).transpose(1, 2) for x in (q, k, v))
        dropout, weights = self.dropout if self.training else 0.0, None
        if need_weights:
            products = (q * self.scale) @ k.transpose(-2, -1)
            weights = (products if mask is None else products + mask).softmax(-1)
            out = F.dropout(weights, dropout, self.training) @ v
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        else:
            given = mask, dropout, causal
            out = F.scaled_dot_product_attention(q, k, v, *given, scale=self.scale)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if not batched:
            return out.squeeze(0), weights
        return out if self.batch_first else out.transpose(0, 1), weights


def _batch_first(*inputs: Tensor, batched: bool) -> list[Tensor]:
    """Inputs with the batch in front; what was one tensor is one afterwards."""
    moved = {id(x): x.transpose(0, 1) if batched else x.unsqueeze(0) for x in inputs}
    return [moved[id(x)] for x in inputs]


def _projected(
    own: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, ...]:
    """Queries, keys and values of all heads, each (batch, length, width)."""
    packed, bias = own.in_proj_weight, own.in_proj_bias
    if packed is not None and query is key is value:
        return tuple(_unflattened(F.linear(query, packed, bias), -1, 3, -1).unbind(-2))
    weights: tuple[Tensor, ...] = own.q_proj_weight, own.k_proj_weight, own.v_proj_weight
    if packed is not None:
        weights = _unflattened(packed, 0, 3, -1).unbind(0)
    biases = (None,) * 3 if bias is None else _unflattened(bias, 0, 3, -1).unbind(0)
    each = zip((query, key, value), weights, biases, strict=True)
    return tuple(F.linear(x, weight, b) for x, weight, b in each)


def _unflattened(x: Tensor, dim: int, *sizes: int) -> Tensor:
    """A dimension split into several; torch's own method has no types."""
    made: Tensor = torch.unflatten(x, dim, sizes)
    return made


def _longer(own: nn.MultiheadAttention, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
    """Keys and values with the learned ones, and with zeros, behind; and how many these are."""
    n_keys = k.shape[1]
    if own.bias_k is not None and own.bias_v is not None:
        more = [bias.expand(len(k), -1, -1) for bias in (own.bias_k, own.bias_v)]
        k, v = torch.cat([k, more[0]], 1), torch.cat([v, more[1]], 1)
    if own.add_zero_attn:
        k, v = (torch.cat([x, torch.zeros_like(x[:, :1])], 1) for x in (k, v))
    return k, v, k.shape[1] - n_keys


def _check(
    own: nn.MultiheadAttention,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    q: Tensor,
    n_keys: int,
    *,
    batched: bool,
) -> None:
    """Refuse masks that torch refuses: numbers would be added that were meant as truth values."""
    n_examples, n_queries = q.shape[:2]
    each = (n_queries, n_keys), (n_examples * own.num_heads, n_queries, n_keys)
    padding = ((n_examples, n_keys),) if batched else ((n_keys,),)
    for name, mask, shapes in (
        ("attn_mask", attn_mask, each),
        ("key_padding_mask", key_padding_mask, padding),
    ):
        if mask is None:
            continue
        if mask.dtype != torch.bool and not mask.is_floating_point():
            raise RuntimeError(f"{name} is of {mask.dtype}; give truth values, or numbers to add")
        if tuple(mask.shape) not in shapes:
            allowed = " or ".join(map(str, shapes))
            raise RuntimeError(f"{name} is of shape {tuple(mask.shape)}; it must be {allowed}")


def _mask(
    own: nn.MultiheadAttention,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    n_examples: int,
    n_more: int,
    dtype: torch.dtype,
    *,
    batched: bool,
) -> Tensor | None:
    """What is added to products of queries and keys, of up to (batch, heads, queries, keys)."""
    total = None
    if attn_mask is not None:
        total = _added(attn_mask, dtype)
        if total.dim() == 3:
            total = _unflattened(total, 0, n_examples, own.num_heads)
    if key_padding_mask is not None:
        padding = _added(key_padding_mask, dtype)
        padding = (padding if batched else padding.unsqueeze(0))[:, None, None]
        total = padding if total is None else total + padding
    return total if total is None or not n_more else F.pad(total, (0, n_more))


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of truth values, which hide, as numbers to be added."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))


def open_up(module: nn.Module) -> None:
    """Let torch's multi-head attention run as ours, by attributes of the module alone."""
    if type(module) is nn.MultiheadAttention and "forward" not in vars(module):
        own = cast("MultiheadAttention", module)
        own.__dict__.setdefault("scale", index(own.head_dim) ** -0.5)
        own.__dict__["forward"] = MethodType(MultiheadAttention.forward, own)


def converted(module: nn.Module) -> None:
    """Make torch's own multi-head attention one of ours, in place; it computes what it did."""
    if type(module) is nn.MultiheadAttention:
        module.__class__ = MultiheadAttention
        own = cast("MultiheadAttention", module)
        own.scale = own.head_dim**-0.5
        own._qkv_same_embed_dim = False  # torch's callers then leave its tensors alone


def converted_back(module: nn.Module) -> None:
    """Make ours torch's own again, in place, if torch's would compute the same."""
    if type(module) is not MultiheadAttention:
        return
    width = module.num_heads * module.head_dim
    out = module.out_proj.weight.shape[0]
    if width == module.embed_dim == out and module.scale == module.head_dim**-0.5:
        cast("nn.Module", module).__class__ = nn.MultiheadAttention
        module._qkv_same_embed_dim = module.in_proj_weight is not None
        del module.scale


def unnested(module: nn.Module) -> None:
    """Keep an encoder from nested tensors if an attention in it cannot take them, in place."""
    if isinstance(module, nn.TransformerEncoder) and module.use_nested_tensor:
        own = [one for one in module.modules() if isinstance(one, nn.MultiheadAttention)]
        if any(type(one) is MultiheadAttention or one.num_heads % 2 for one in own):
            module.use_nested_tensor = False
