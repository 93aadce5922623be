"""What weights read while a network runs, unfolded to rows, seen without hooks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from secateur.channels.receptive_fields import Kernel, read_at, rows_of_weight

PLACES = 128
"""Places of a layer's output that are looked at, an input."""

PRODUCTS = {
    "addmm": (1, 2, False),
    "mm": (0, 1, False),
    "bmm": (0, 1, False),
    "baddbmm": (1, 2, False),
    "linear": (0, 1, True),
    "mkldnn_rnn_layer": (0, 1, True),
    "_native_multi_head_attention": (0, 5, True),
}
"""Products with a matrix: where in their arguments the inputs and the weight stand, and whether the
weight has a row an output."""


@dataclass(frozen=True)
class Read:
    """One use of a weight in one batch.

    Attributes:
        rows: (conv_groups, n, d), what is read for n numbers of an output channel; d runs over the
            kernel's elements, and within each over the input channels of the group.
        weight: (conv_groups, outputs, d), as it was applied.
    """

    rows: Tensor
    weight: Tensor


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Calls `seen(name, read)` for every use of the weights in a convolution or a matrix product.

    `weights` maps a weight to its name and the number of its inputs. What a network computes of one
    weight alone, as a weight norm does, counts as that weight. At most `PLACES` rows an input are
    taken, drawn once for each weight and size of its output, so that no score depends on how inputs
    are put into batches.
    """

    def __init__(
        self,
        weights: Mapping[Tensor, tuple[str, int]],
        n_inputs: int,
        seen: Callable[[str, Read], None],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen, self._batch = seen, n_inputs
        self._made_of = {id(weight): name for weight, (name, _) in weights.items()}
        self._n_inputs = dict(weights.values())
        self._kept: list[Tensor] = list(weights)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator, and look at what it reads if it applies a weight."""
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::").removesuffix("_")
        if name == "convolution":
            stride, padding, dilation, transposed = args[3:7]
            along = stride, padding, dilation
            self._convolution(args[0], args[1], along, transposed, args[8], out)
        elif name in PRODUCTS:
            x_at, weight_at, turned = PRODUCTS[name]
            self._product(args[x_at], args[weight_at], turned)
        elif isinstance(first := out[0] if isinstance(out, tuple) and out else out, Tensor):
            tensors = (t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor))
            made = {self._made_of[id(t)] for t in tensors if id(t) in self._made_of}
            if len(made) == 1:
                self._made_of[id(first)] = made.pop()
                self._kept.append(first)
        return out

    def _convolution(
        self,
        x: Tensor,
        weight: Tensor,
        along: tuple[list[int], list[int], list[int]],
        transposed: bool,
        groups: int,
        out: Tensor,
    ) -> None:
        name = self._made_of.get(id(weight))
        if name is None or weight.shape[0 if transposed else 1] != self._n_inputs[name]:
            return
        n_dims, sizes = weight.ndim - 2, out.shape[2:]
        stride, before, dilation = (tuple(o) * (n_dims // len(o)) for o in along)
        kernel = Kernel(weight.shape[2:], stride, before, dilation, transposed, groups)
        with torch.no_grad():
            rows = read_at(
                kernel, x.detach(), sizes, self._places(name, len(x) * prod(sizes)).to(x.device)
            )
            applied = rows_of_weight(weight.detach(), groups, transposed=transposed)
            self._seen(name, Read(rows, applied))

    def _product(self, x: Tensor, weight: Tensor, turned: bool) -> None:
        name = self._made_of.get(id(weight))
        if weight.ndim == 3 and (len(weight) == 1 or weight.stride(0) == 0):
            weight = weight[0]  # the same one for everything in a batch
        if name is None or weight.ndim != 2 or weight.shape[int(turned)] != self._n_inputs[name]:
            return
        with torch.no_grad():
            rows = x.detach().reshape(-1, x.shape[-1])
            taken = rows[self._places(name, len(rows)).to(rows.device)]
            applied = weight.detach() if turned else weight.detach().t()
            self._seen(name, Read(taken[None], applied[None]))

    def _places(self, name: str, n: int) -> Tensor:
        """Numbers of the rows that are looked at, the same ones of every input."""
        size = n // self._batch if n % self._batch == 0 else n
        drawn = torch.arange(size)
        if size > PLACES:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {size}".encode()))
            drawn = torch.randperm(size, generator=generator)[:PLACES].sort().values
        return (torch.arange(0, n, size)[:, None] + drawn).flatten()
