"""Functions of torch's that a run on shapes sees whole, not taken apart into their operators.

Torch takes a recurrent layer apart frame by frame, and a linear layer or a product of batches into
changes of shape around one of matrices: many operators for what one rule says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from secateur.channels.recurrent import NAMES

if TYPE_CHECKING:
    from secateur.channels.run import Run

WHOLE = "whole"
"""What decisions about functions have in place of a line."""


class WholeFunctions(TorchFunctionMode):
    """Hands some functions on whole, and with recurrent layers knows what is zero from birth.

    States of zeros are of any size.
    """

    def __init__(self, run: Run, *, recurrent: bool) -> None:
        super().__init__()
        self._run, self._recurrent = run, recurrent
        self._zeros = run.zeros
        self._whole: Mapping[Any, Callable[..., Any]] = {
            torch._C._nn.linear: self._linear,
            torch._C._nn.scaled_dot_product_attention: self._attention,
            **dict.fromkeys(_PRODUCTS, self._product),
        }

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch's."""
        kwargs = kwargs or {}
        if (whole := self._whole.get(func)) is not None:
            out = whole(*args, **kwargs)
            if out is not NotImplemented:
                return out
        if not self._recurrent:
            return func(*args, **kwargs)
        if func in _LAYERS:
            args = tree_map_only(Tensor, self._on_shapes, args)
            with _undivided():
                return func(*args, **kwargs)
        out = func(*args, **kwargs)
        self._follow_zeros(getattr(func, "__name__", ""), args, kwargs, out)
        return out

    def _linear(self, x: Any = None, weight: Any = None, bias: Any = None, **named: Any) -> Any:
        """A linear layer whose weight is a parameter or was made from one.

        What goes in is no parameter; it may be made from a buffer alone, as of coordinates.
        """
        x = named.pop("input", x)
        if named or not isinstance(x, Tensor) or not isinstance(weight, Tensor):
            return NotImplemented
        if x.ndim < 2 or weight.ndim != 2 or not x.is_meta or not weight.is_meta:
            return NotImplemented
        if bias is not None and (bias.shape != weight.shape[:1] or not bias.is_meta):
            return NotImplemented
        weights = self._run.weights
        fits = x.shape[-1] == weight.shape[1] and weight in weights
        fits = fits and (x not in weights or weights.name(x) in self._run.buffers)
        fits = fits and sum(dim < x.ndim - 1 for dim in self._run.fields_of(x)) <= 1
        if not self._run.decide((WHOLE, "linear"), int(fits)):
            return NotImplemented
        with _undivided():
            return torch._C._nn.linear(x, weight, bias)

    def _product(self, x: Any, y: Any = None, **named: Any) -> Any:
        """A product of two batches of matrices, neither of which was made from a weight."""
        y = named.pop("other", y)
        if named or not isinstance(x, Tensor) or not isinstance(y, Tensor):
            return NotImplemented
        if x.ndim < 3 or x.ndim != y.ndim or not x.is_meta or not y.is_meta:
            return NotImplemented
        fits = x.shape[:-2] == y.shape[:-2] and x.shape[-1] == y.shape[-2]
        fits = fits and x not in self._run.weights and y not in self._run.weights
        if not self._run.decide((WHOLE, "product", x.ndim), int(fits)):
            return NotImplemented
        with _undivided():
            return torch.matmul(x, y)

    def _attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        """Attention as what it computes: products, scaled between; a mask is added."""
        if dropout_p or is_causal or enable_gqa:
            return NotImplemented
        if isinstance(attn_mask, Tensor) and not attn_mask.is_floating_point():
            return NotImplemented
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        products = self._times(query, key.transpose(-2, -1)) * scale
        if attn_mask is not None:
            products = products + attn_mask
        return self._times(torch._safe_softmax(products, -1), value)

    def _times(self, x: Tensor, y: Tensor) -> Tensor:
        out = self._product(x, y)
        return x @ y if out is NotImplemented else out

    def _follow_zeros(self, name: str, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        """Note what is zero, and no longer what was written into."""
        if name in ("zeros", "new_zeros"):
            sizes = [*args[name == "new_zeros" :], kwargs.get("size")]
            numbers = [size for size in tree_leaves(sizes) if isinstance(size, int)]
            self._note(out, numbers[-1] if numbers else None)
        elif args and id(args[0]) in self._zeros:
            if name in _STILL_ZERO:
                for one in tree_leaves(out):
                    self._note(one, self._zeros[id(args[0])][1])
            elif name.endswith("_"):  # written into; what shares its elements is not known
                self._zeros.clear()

    def _note(self, tensor: Any, width: Any) -> None:
        if isinstance(tensor, Tensor) and tensor.ndim:
            self._zeros[id(tensor)] = tensor, width

    def _on_shapes(self, tensor: Tensor) -> Tensor:
        """Zeros on the meta device, still known as such."""
        if tensor.is_meta or id(tensor) not in self._zeros:
            return tensor
        meta: Tensor = self._run.to_meta(tensor)
        self._note(meta, self._zeros[id(tensor)][1])
        return meta


@contextmanager
def _undivided() -> Iterator[None]:
    """A function called inside reaches the run as one operator."""
    with torch._C._AutoDispatchBelowAutograd():
        yield


_LAYERS = frozenset(getattr(torch, name) for name in NAMES)
_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)

_OF_ZEROS = """to type type_as float double half bfloat16 cuda cpu clone detach detach_ contiguous
    requires_grad_ expand expand_as repeat view reshape unsqueeze squeeze transpose permute select
    index_select zeros_like __getitem__ __get__"""
_STILL_ZERO = frozenset(_OF_ZEROS.split())
"""Functions that make zeros of zeros, of the same last dimension."""
