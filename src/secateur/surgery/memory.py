"""How much memory activations take at most, before and after a plan, without cutting anything."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from secateur.channels.cost import remaining_shapes
from secateur.channels.groups import ChannelMap
from secateur.channels.trace import Example, call_arguments, untouched
from secateur.errors import TraceError
from secateur.plan.plan import PruningPlan
from secateur.surgery.rebuild import rebuild


@dataclass(frozen=True)
class ActivationPeak:
    """The most bytes of activations alive at once, and the operator and module where that is."""

    peak_bytes: int
    operator: str
    module: str


def activation_peak(
    model: nn.Module,
    example_input: Example,
    plan: PruningPlan | None = None,
    channels: ChannelMap | None = None,
) -> ActivationPeak:
    """Peak memory of one inference of `example_input`, in the types the network runs in.

    The forward runs once on the meta device: nothing is computed. Counted is every tensor that is
    alive after an operator, the input among them, as the network's own code keeps and drops them;
    parameters, buffers and what kernels use inside are not. With a plan, and the map it was made
    on, the answer is that of the network after the cut.

    Raises:
        PlanError: the plan was made for another network.
        TraceError: the forward fails on these shapes.
    """
    shapes: Mapping[str, Sequence[int]] = {}
    if plan is not None and channels is not None:
        plan.check(channels)
        shapes = remaining_shapes(channels, plan.remove)
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    meta = {
        name: torch.empty(shapes.get(name, old.shape), dtype=old.dtype, device="meta")
        for name, old in named.items()
    }
    made = rebuild(model, meta, plan.attributes if plan is not None else None)
    args, kwargs = call_arguments(
        tree_map_only(Tensor, lambda tensor: tensor.detach().to("meta"), example_input)
    )
    storages = Storages(made)
    storages.note(tree_leaves((args, kwargs)), "input")
    with untouched(made.modules()), torch.no_grad(), torch.device("meta"), storages:
        made.eval()
        try:
            made(*args, **kwargs)
        except Exception as error:
            raise TraceError(
                f"{type(model).__name__}.forward failed on these shapes: "
                f"{str(error).splitlines()[0]}; cut by the plan first, and check example_input"
            ) from error
    return storages.peak


_SAVES_STATISTICS = {
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "native_group_norm",
    "native_layer_norm",
}
"""Operators whose further outputs are for a backward pass, and empty or dropped at once here."""


class Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, the storages that operators make are counted for as long as they live."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = ActivationPeak(0, "", "")
        self._own = {_key(t) for t in [*model.parameters(), *model.buffers()]}
        self._names = {id(module): name for name, module in model.named_modules()}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def note(self, values: Sequence[Any], operator: str) -> None:
        """Count the tensors among `values` if they are new, and forget those that are gone."""
        self._alive = {key: kept for key, kept in self._alive.items() if not _gone(kept[0])}
        for tensor in values:
            if isinstance(tensor, Tensor) and _key(tensor) not in self._own:
                storage = tensor.untyped_storage()
                self._alive[_key(tensor)] = (_reference(storage), storage.nbytes())
        total = sum(n_bytes for _, n_bytes in self._alive.values())
        if total > self.peak.peak_bytes:
            self.peak = ActivationPeak(total, operator, self._module())

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run the operator and count what it made."""
        out = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.")
        kept = out[0] if name.partition(".")[0] in _SAVES_STATISTICS else out
        self.note(tree_leaves(kept), name)
        return out

    def _module(self) -> str:
        """The innermost module whose forward is running; empty for the network itself."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            found: str | None = self._names.get(id(frame.f_locals.get("self")))
            if found is not None:
                return found
            frame = frame.f_back
        return ""


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _reference(storage: torch.UntypedStorage) -> StorageWeakRef:
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]


def _gone(reference: StorageWeakRef) -> bool:
    return bool(reference.expired())  # type: ignore[no-untyped-call]
