"""The same module with other tensors in it: what cutting, masking and proving have in common."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from secateur.channels.cost import kept_positions
from secateur.channels.groups import ChannelMap
from secateur.channels.normalisation import groups_go_whole
from secateur.errors import SurgeryError
from secateur.plan.plan import Numbers, PruningPlan


def rebuild(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    attributes: Mapping[str, Numbers] | None = None,
) -> nn.Module:
    """Copy a module, giving each named parameter or buffer the tensor in `tensors`.

    Tied parameters stay tied, frozen ones stay frozen, hooks and modes come along. Attributes that
    mirror a width (`out_channels`, `num_features`, …) are made true, and those in `attributes`
    (`module:name`) are set. The input is left as it is.

    Raises:
        SurgeryError: the module holds something that cannot be copied, or lacks an attribute.
    """
    memo: dict[int, object] = {}
    named = [*model.named_parameters(), *model.named_buffers()]
    for name, old in named:
        if (new := tensors.get(name)) is not None:
            frozen = not old.requires_grad
            is_parameter = isinstance(old, nn.Parameter)
            memo[id(old)] = nn.Parameter(new, requires_grad=not frozen) if is_parameter else new
    widths = {id(module): _widths(module) for module in model.modules()}
    try:
        made = copy.deepcopy(model, memo)
    except (RuntimeError, TypeError) as error:
        raise SurgeryError(
            f"{type(model).__name__} cannot be copied: {str(error).splitlines()[0]}; take tensors "
            "that are not parameters or buffers out of its attributes"
        ) from error
    for old_module, new_module in zip(model.modules(), made.modules(), strict=True):
        _set_groups(old_module, new_module)
        for attribute, value in _widths(new_module).items():
            if widths[id(old_module)].get(attribute) != value:
                setattr(new_module, attribute, value)
    for key, numbers in (attributes or {}).items():
        _set(made, key, numbers)
    return made


def shrink(model: nn.Module, plan: PruningPlan, channels: ChannelMap) -> nn.Module:
    """A copy of a network without the channels of a plan; nothing is proved."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    tensors: dict[str, Tensor] = {}
    for (name, dim), positions in kept_positions(channels, plan.remove).items():
        old = tensors.get(name, named[name].detach())
        tensors[name] = old.index_select(dim, torch.from_numpy(positions).to(old.device))
    return rebuild(model, tensors, plan.attributes)


def mirrored(module: nn.Module) -> Collection[str]:
    """Attributes that follow the shapes of the module's own tensors."""
    widths = _widths(module)
    return {*widths, "groups", "num_groups"} if widths else ()


def _set(made: nn.Module, key: str, numbers: Numbers) -> None:
    path, _, name = key.partition(":")
    module = dict(made.named_modules()).get(path)
    if module is None or name not in vars(module):
        raise SurgeryError(
            f"{type(made).__name__} has no attribute {key!r}, which the plan changes; give the "
            "network that the plan was made for"
        )
    setattr(module, name, like(vars(module)[name], numbers))


def like(old: Any, numbers: Numbers) -> Any:
    """Numbers in rows of the kinds (list, tuple, …) that the old value has."""
    if not isinstance(numbers, tuple) or not isinstance(old, list | tuple):
        return numbers
    rows = [like(before, after) for before, after in zip(old, numbers, strict=True)]
    return torch.Size(rows) if isinstance(old, torch.Size) else type(old)(rows)


def _convolution(shape: torch.Size, groups: int) -> dict[str, int]:
    return {"out_channels": shape[0], "in_channels": shape[1] * groups}


def _transposed(shape: torch.Size, groups: int) -> dict[str, int]:
    return {"in_channels": shape[0], "out_channels": shape[1] * groups}


def _linear(shape: torch.Size, _: int) -> dict[str, int]:
    return {"out_features": shape[0], "in_features": shape[1]}


def _norm(shape: torch.Size, _: int) -> dict[str, int]:
    return {"num_features": shape[0]}


def _group_norm(shape: torch.Size, _: int) -> dict[str, int]:
    return {"num_channels": shape[0]}


def _layer_norm(shape: torch.Size, _: int) -> dict[str, tuple[int, ...]]:
    return {"normalized_shape": tuple(shape)}


def _embedding(shape: torch.Size, _: int) -> dict[str, int]:
    return {"num_embeddings": shape[0], "embedding_dim": shape[1]}


def _recurrent(shape: torch.Size, _: int) -> dict[str, int]:
    return {"input_size": shape[1]}


def _prelu(shape: torch.Size, _: int) -> dict[str, int]:
    return {"num_parameters": shape[0]}


_WIDTHS: dict[type[nn.Module], Callable[[torch.Size, int], Mapping[str, Any]]] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.ConvTranspose1d: _transposed,
    nn.ConvTranspose2d: _transposed,
    nn.ConvTranspose3d: _transposed,
    nn.Linear: _linear,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm3d: _norm,
    nn.InstanceNorm1d: _norm,
    nn.InstanceNorm2d: _norm,
    nn.InstanceNorm3d: _norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _layer_norm,
    nn.Embedding: _embedding,
    nn.PReLU: _prelu,
    nn.RNNBase: _recurrent,
}
"""Attributes that mirror the shape of a module's weight. Add a line for a type of your own."""


def _weight(module: nn.Module) -> Tensor | None:
    """The tensor whose shape a module's attributes mirror."""
    for name in ("weight", "running_mean", "weight_ih_l0"):
        if isinstance(tensor := getattr(module, name, None), Tensor):
            return tensor
    return None


def _widths(module: nn.Module) -> Mapping[str, Any]:
    rule = next((_WIDTHS[kind] for kind in type(module).__mro__ if kind in _WIDTHS), None)
    weight = _weight(module)
    if rule is None or weight is None:
        return {}
    return rule(weight.shape, getattr(module, "groups", 1))


def _set_groups(old: nn.Module, new: nn.Module) -> None:
    """What is counted in groups and shrinks by whole ones has fewer of them afterwards.

    A depthwise convolution has as many groups as inputs; so has a group norm of many small groups.
    """
    before, after = _weight(old), _weight(new)
    if before is None or after is None:
        return
    n_groups = getattr(old, "groups", 1)
    if n_groups > 1 and _widths(old).get("in_channels") == n_groups:
        setattr(new, "groups", after.shape[0] // (before.shape[0] // n_groups))  # noqa: B010
    if isinstance(new, nn.GroupNorm) and groups_go_whole(before.shape[0], new.num_groups):
        new.num_groups = after.shape[0] // (before.shape[0] // new.num_groups)
