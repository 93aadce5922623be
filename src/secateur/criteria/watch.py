"""What a network's channels are after the activation, seen while it runs, without hooks.

A layer's output is followed through what keeps its channels in place (norms, sums, concatenation)
to the first activation function. Where none comes before the next layer reads it, as in a linear
bottleneck, what that layer reads counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ACTIVATIONS = _names(
    """
    relu leaky_relu rrelu_with_noise elu celu selu gelu silu mish hardswish hardtanh threshold
    clamp clamp_min _prelu_kernel prelu log_sigmoid_forward
    """
)
"""Activation functions: what comes out is what is wanted."""

GATES = _names("sigmoid hardsigmoid tanh softplus")
"""Activation functions too, unless their input is multiplied by what comes out (x * sigmoid(x))."""

CARRIERS = _names(
    """
    native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    _batch_norm_no_update cudnn_batch_norm native_group_norm native_layer_norm native_dropout
    add sub mul div neg clone _to_copy
    """
)
"""What leaves every number's place as it is: the output is followed if its shape is the same."""

RESIZERS = _names(
    """
    max_pool2d max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d
    upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d constant_pad_nd
    """
)
"""What leaves every channel's place as it is, but not its size."""

PASSED_BY = _names(
    """
    detach mean sum amax amin var std var_mean adaptive_avg_pool1d _adaptive_avg_pool2d
    _adaptive_avg_pool3d adaptive_max_pool2d empty_like zeros_like ones_like rand_like new_empty
    """
)
"""What looks at a tensor without being the way on, as the pooling of squeeze-and-excite."""

MOVES = ("cat", "permute", "transpose", "view", "_unsafe_view")
"""What moves channels to another place in the tensor."""

WEIGHT_AT = {"convolution": 1, "linear": 1, "addmm": 2, "mm": 1, "bmm": 1, "baddbmm": 2}
"""Contractions, and where in their arguments the weight stands."""


@dataclass(frozen=True)
class Trail:
    """Where a layer's channels are now: `n` from `start` on, along `dim` of a tensor.

    `ungated` is what the tensor is the gate of, if that is what it is multiplied by next.
    """

    layer: str
    tensor: Tensor
    dim: int
    start: int
    n: int
    ungated: Tensor | None = None


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Calls `seen(layer, maps)` for every use of a layer, maps being (images, n, ...).

    `weights` maps a weight to its layer's name and number of filters. Maps are good for the time
    of the call only: what runs next may overwrite them.
    """

    def __init__(
        self, weights: Mapping[Tensor, tuple[str, int]], seen: Callable[[str, Tensor], None]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = seen
        self._made_of = {id(weight): layer for weight, (layer, _) in weights.items()}
        self._n_filters = dict(weights.values())
        self._kept: list[Tensor] = list(weights)
        self._trails: dict[int, list[Trail]] = {}

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        trails, self._trails = self._trails, {}
        if error[0] is None:
            for trail in (trail for here in trails.values() for trail in here):
                self._read(trail)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator and follow what goes through it."""
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::").removesuffix("_")
        tensors = {id(t): t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)}
        arriving = []
        if name not in PASSED_BY:
            arriving = [t for key in tensors for t in self._trails.pop(key, ())]
        places = [(trail, _place(name, trail, args)) for trail in arriving]
        for trail, place in places:
            if place is None:
                self._read(trail)
        out = func(*args, **kwargs)
        first = out[0] if isinstance(out, (tuple, list)) and out else out
        if isinstance(first, Tensor):
            for trail, place in places:
                if place is not None:
                    self._follow(name, trail, place, first)
            if not arriving or name in WEIGHT_AT:
                self._begin(name, args, tensors, first)
        return out

    def _begin(
        self, name: str, args: tuple[Any, ...], tensors: Mapping[int, Tensor], out: Tensor
    ) -> None:
        """Start a trail where a weight is applied; know what else is made of weights."""
        if name in WEIGHT_AT:
            layer = self._made_of.get(id(args[WEIGHT_AT[name]]))
            dim = 1 if name == "convolution" else out.ndim - 1
            if layer is not None and out.shape[dim] % self._n_filters[layer] == 0:
                trail = Trail(layer, out, dim, 0, out.shape[dim])
                self._trails.setdefault(id(out), []).append(trail)
            return
        layers = {self._made_of[key] for key in tensors if key in self._made_of}
        if len(layers) == 1:
            self._made_of[id(out)] = layers.pop()
            self._kept.append(out)

    def _follow(self, name: str, trail: Trail, place: tuple[int, int], out: Tensor) -> None:
        """Move a trail to an operator's output; read it there if that was an activation.

        Where the shape says that the output is something else, it is read where it was.
        """
        dim, start = place
        kept = 2 if name in RESIZERS else None
        if name not in MOVES and out.shape[:kept] != trail.tensor.shape[:kept]:
            self._read(trail)
            return
        moved = replace(trail, tensor=out, dim=dim, start=start, ungated=None)
        if name in ACTIVATIONS or (name == "mul" and trail.ungated is not None):
            self._read(moved)
            return
        if name in GATES:
            source = trail.tensor if trail.ungated is None else trail.ungated
            moved = replace(moved, ungated=source)
        self._trails.setdefault(id(out), []).append(moved)

    def _read(self, trail: Trail) -> None:
        """Hand over what a trail points at.

        A grouped transposed convolution's filter makes one channel in every group: the groups'
        maps are then so many images.
        """
        n = self._n_filters[trail.layer]
        with torch.no_grad():
            maps = trail.tensor.detach().narrow(trail.dim, trail.start, trail.n)
            maps = maps.movedim(trail.dim, 1)
            if trail.n != n:
                maps = maps.reshape(-1, n, *maps.shape[2:])
            self._seen(trail.layer, maps)


def _place(name: str, trail: Trail, args: tuple[Any, ...]) -> tuple[int, int] | None:
    """Dimension and start of a trail behind an operator, or None where it ends before it."""
    tensor, dim = trail.tensor, trail.dim
    if trail.ungated is not None:
        goes_on = name in GATES or (name == "mul" and any(a is trail.ungated for a in args))
        return (dim, trail.start) if goes_on else None
    if name in ACTIVATIONS or name in GATES or name in CARRIERS or name in RESIZERS:
        return dim, trail.start
    match name:
        case "cat":
            along = (args[1] if len(args) > 1 else 0) % tensor.ndim
            at = next(k for k, part in enumerate(args[0]) if part is tensor)
            before = sum(part.shape[along] for part in args[0][:at])
            return dim, trail.start + (before if along == dim else 0)
        case "permute":
            return [d % tensor.ndim for d in args[1]].index(dim), trail.start
        case "transpose":
            one, other = args[1] % tensor.ndim, args[2] % tensor.ndim
            return {one: other, other: one}.get(dim, dim), trail.start
        case "view" | "_unsafe_view" if dim == tensor.ndim - 1 and args[1][-1] == tensor.shape[-1]:
            return len(args[1]) - 1, trail.start
        case "view" | "_unsafe_view" if dim == 1 and tuple(args[1][:2]) == tensor.shape[:2]:
            return dim, trail.start
    return None
