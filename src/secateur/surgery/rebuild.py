"""The same module with other tensors in it: what cutting, masking and proving have in common."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from secateur.channels.cost import kept_positions
from secateur.channels.groups import ChannelMap
from secateur.channels.repaired import Site, sites
from secateur.channels.trace import without_collections
from secateur.channels.walk import laid_out, modules_of, tensors_of
from secateur.errors import SurgeryError
from secateur.plan.plan import Numbers, PruningPlan
from secateur.surgery.repair import repair
from secateur.surgery.widths import follow, mirror


@without_collections()
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
    for name, old in tensors_of(model).items():
        new = tensors.get(name)
        if new is None and type(old) in (Tensor, nn.Parameter) and old.grad is None:
            new = old.detach().clone()
        if new is not None:
            frozen = not old.requires_grad
            is_parameter = isinstance(old, nn.Parameter)
            memo[id(old)] = nn.Parameter(new, requires_grad=not frozen) if is_parameter else new
    mirrors = [mirror(module) for _, module in modules_of(model)]
    computed = [site for site in sites(model) if site.hook is not None]
    modules = dict(modules_of(model))
    for site in computed:  # what its hook computes before every call is no leaf, which is not copied
        memo[id(weight)] = (weight := getattr(modules[site.module], site.name)).detach()
    try:
        made = copied(model, memo)
    except (RuntimeError, TypeError) as error:
        raise SurgeryError(
            f"{type(model).__name__} cannot be copied: {str(error).splitlines()[0]}; take tensors "
            "that are not parameters or buffers out of its attributes"
        ) from error
    for site in computed:
        _compute_anew(site, made.get_submodule(site.module))
    follow(made, mirrors)
    set_attributes(made, attributes or {})
    return made


def _compute_anew(site: Site, module: nn.Module) -> None:
    """The weight that a hook computes before every call, from the tensors there are now."""
    with torch.no_grad():
        if site.kind == "weight norm":
            weight = site.hook.compute_weight(module)
        else:
            weight = site.hook.compute_weight(module, do_power_iteration=False)
    setattr(module, site.name, weight)


def copied(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy, as `copy.deepcopy` with this memo makes it, several times faster.

    Modules that have no way of their own to be copied are filled attribute by attribute.
    """
    plain = [module for _, module in modules_of(model) if _plain(type(module))]
    for module in plain:
        memo[id(module)] = object.__new__(type(module))
    for module in plain:
        own = memo[id(module)].__dict__
        for name, value in module.__dict__.items():
            own[name] = _copied(value, memo)
    made: nn.Module = copy.deepcopy(model, memo)
    return made


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of an attribute; most are numbers, empty tables of hooks, and tables of modules."""
    kind = type(value)
    if kind in _ATOMS or (kind is tuple and all(type(one) in _ATOMS for one in value)):
        return value
    if kind is FunctionType:
        return _rebound(value, memo)
    if kind in (dict, OrderedDict) and id(value) not in memo:
        memo[id(value)] = made = kind()
        for key, one in value.items():
            made[key] = memo.get(id(one)) if id(one) in memo else _copied(one, memo)
        return made
    return copy.deepcopy(value, memo)


def _rebound(function: Any, memo: dict[int, Any]) -> Any:
    """A function that has closed over a module or tensor of the network, over the copy of it."""

    def moved(cell: Any) -> Any:
        try:
            own = cell.cell_contents
        except ValueError:  # nothing in it yet
            return cell
        of_network = isinstance(own, nn.Module | Tensor) and id(own) in memo
        return CellType(memo[id(own)]) if of_network else cell

    before = function.__closure__ or ()
    cells = tuple(map(moved, before))
    if all(one is other for one, other in zip(cells, before, strict=True)):
        return function
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, cells
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__dict__.update(function.__dict__)
    return made


_ATOMS = {bool, int, float, str, type(None), torch.dtype, torch.device}
_OWN_WAYS = ("__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__new__")


def _plain(kind: Any) -> bool:
    """Whether a type of modules is copied by copying its attributes."""
    if any(getattr(kind, name, None) is not getattr(nn.Module, name, None) for name in _OWN_WAYS):
        return False
    # torch's own, or its compiler's in their place, fill in what older files lack; only a recurrent
    # layer's does more
    own_way = not kind.__setstate__.__module__.startswith("torch.")
    has_slots = any(vars(base).get("__slots__") for base in kind.__mro__)
    return not own_way and not has_slots and not issubclass(kind, nn.RNNBase)


def shrink(model: nn.Module, plan: PruningPlan, channels: ChannelMap) -> nn.Module:
    """A copy of a network without the channels of a plan; nothing is proved."""
    named = tensors_of(model)
    tensors: dict[str, Tensor] = {}
    kept = kept_positions(channels, plan.remove)
    for (name, dim), positions in kept.items():
        old = tensors.get(name, named[name].detach())
        part = old.index_select(dim, torch.from_numpy(positions).to(old.device))
        layout = laid_out(old)
        tensors[name] = part if layout is None else part.contiguous(memory_format=layout)
    repair(model, named, tensors, kept)
    return rebuild(model, tensors, plan.attributes)


def set_attributes(model: nn.Module, attributes: Mapping[str, Numbers]) -> None:
    """Give modules the numbers of a plan, `module:name` -> numbers, in place.

    Raises:
        SurgeryError: there is no such attribute.
    """
    modules = dict(model.named_modules()) if attributes else {}
    for key, numbers in attributes.items():
        path, _, name = key.partition(":")
        module = modules.get(path)
        if module is None or name not in vars(module):
            raise SurgeryError(
                f"{type(model).__name__} has no attribute {key!r}, which the plan changes; give "
                "the network that the plan was made for"
            )
        setattr(module, name, like(vars(module)[name], numbers))


def like(old: Any, numbers: Numbers) -> Any:
    """Numbers in rows of the kinds (list, tuple, …) that the old value has."""
    if not isinstance(numbers, tuple) or not isinstance(old, list | tuple):
        return numbers
    rows = [like(before, after) for before, after in zip(old, numbers, strict=True)]
    return torch.Size(rows) if isinstance(old, torch.Size) else type(old)(rows)
