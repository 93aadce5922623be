"""The optimizer goes on where it was: its state is sliced along with the parameters."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from secateur.channels.cost import kept_positions, owner_module
from secateur.channels.groups import ChannelMap
from secateur.errors import SurgeryError
from secateur.plan.plan import PruningPlan

Kept = Mapping[int, Tensor]
"""Dimension -> the positions along it that stay."""


def cut_optimizer(
    optimizer: Optimizer,
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    beside: Iterable[Tensor] = (),
) -> Optimizer:
    """A new optimizer of the same kind and settings over the cut network, with its state sliced.

    State tensors shaped like their parameter (momentum, first and second moments) lose the same
    positions as the parameter; a dimension of size 1 (factored moments) and plain numbers (step
    counts) are copied. A bias that a repair made goes with its weight. The optimizer that came in
    is left as it is. Hooks and learning-rate schedulers belong to the old one; `hand_over` lets the
    old one go on with this one's state.

    Args:
        optimizer: of `model`, before or between steps.
        model: the network before the cut.
        small: the network after the cut.
        plan: what was cut.
        channels: the map of `model`.
        beside: parameters of other modules that the optimizer steps too; they go on as they are.

    Raises:
        PlanError: the plan was made for another network.
        SurgeryError: a parameter of the optimizer is not the model's, `small` was not cut by this
            plan, or the state does not lie along the parameters (LBFGS keeps one flat vector).
    """
    plan.check(channels)
    kept: dict[str, dict[int, Tensor]] = {}
    for (name, dim), positions in kept_positions(channels, plan.remove).items():
        kept.setdefault(name, {})[dim] = torch.from_numpy(positions)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    after = dict(small.named_parameters())
    others = {id(parameter) for parameter in beside} - names.keys()
    made_new = {name: p for name, p in after.items() if name not in names.values()}
    made = _emptied(optimizer)
    for group in optimizer.param_groups:
        parameters: list[Tensor] = []
        its_names = list(group.get("param_names", ()))
        for old in group["params"]:
            if id(old) in others:
                name, new = "another module's", old
            else:
                name = _name(old, names)
                new = _fitting(name, old, after, kept.get(name, {}))
            parameters.append(new)
            if (new_bias := made_new.pop(f"{owner_module(name)}.bias", None)) is not None:
                parameters.append(new_bias)
                if its_names:
                    its_names.insert(len(parameters) - 1, f"{owner_module(name)}.bias")
            if old in optimizer.state:
                made.state[new] = {
                    key: _sliced(value, old, kept.get(name, {}), f"{key!r} of {name!r}")
                    for key, value in optimizer.state[old].items()
                }
        options = copy.deepcopy(_options(group)) | {"params": parameters}
        made.param_groups.append(options | ({"param_names": its_names} if its_names else {}))
    return made


def hand_over(optimizer: Optimizer, cut: Optimizer) -> None:
    """Let an optimizer go on in place with the parameters and the state of one that was cut of it.

    Whatever holds it (a learning-rate scheduler, a gradient scaler, a trainer) goes on too.
    """
    for mine, its in zip(optimizer.param_groups, cut.param_groups, strict=True):
        mine.update({key: its[key] for key in ("params", "param_names") if key in its})
    optimizer.state.clear()
    optimizer.state.update(cut.state)


def _emptied(optimizer: Optimizer) -> Optimizer:
    """The same optimizer without parameters and state."""
    made = copy.copy(optimizer)
    made.param_groups, made.state = [], defaultdict(dict)
    made.defaults = copy.deepcopy(optimizer.defaults)
    for name in optimizer.__dict__.keys() - made.__dict__.keys():
        value = optimizer.__dict__[name]
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(value)):
            raise SurgeryError(
                f"{type(optimizer).__name__} keeps tensors of its own in {name!r}, which have no "
                "channels to slice; make a new optimizer for the cut network"
            )
        if not callable(value):
            made.__dict__[name] = copy.copy(value)
    return made


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _name(parameter: Tensor, names: Mapping[int, str]) -> str:
    if (name := names.get(id(parameter))) is None:
        raise SurgeryError(
            f"the optimizer steps a parameter of shape {tuple(parameter.shape)} that is not the "
            "model's; give the model it was made for, before the cut"
        )
    return name


def _fitting(name: str, old: Tensor, after: Mapping[str, nn.Parameter], kept: Kept) -> nn.Parameter:
    shape = tuple(len(kept[d]) if d in kept else size for d, size in enumerate(old.shape))
    new = after.get(name)
    if new is None or tuple(new.shape) != shape:
        found = "missing" if new is None else str(tuple(new.shape))
        raise SurgeryError(
            f"{name!r} is {found} in the cut network, this plan leaves {shape}; give the network "
            "that this plan was cut into, and the plan as it was cut"
        )
    return new


def _sliced(value: Any, parameter: Tensor, kept: Kept, what: str) -> Any:
    if not isinstance(value, Tensor):
        return copy.deepcopy(value)
    if value.ndim == 0:
        return value.clone()
    same = value.ndim == parameter.ndim and all(
        mine in (1, its) for mine, its in zip(value.shape, parameter.shape, strict=True)
    )
    if not same:
        raise SurgeryError(
            f"the optimizer's {what} is {tuple(value.shape)}, the parameter "
            f"{tuple(parameter.shape)}; only state that lies along the parameter can be cut: make "
            "a new optimizer for the cut network"
        )
    made = value.clone()
    for dim, positions in kept.items():
        if value.shape[dim] == parameter.shape[dim]:
            made = made.index_select(dim, positions.to(made.device))
    return made
