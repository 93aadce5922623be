"""A copy of a network with all that it holds; what is no tensor and has no copy is shared."""

from __future__ import annotations

import copy
from collections import OrderedDict
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from secateur.channels.walk import modules_of


def copied(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy, as `copy.deepcopy` with this memo makes it, several times faster.

    Modules that have no way of their own to be copied are filled attribute by attribute.
    """
    plain = [module for _, module in modules_of(model) if _is_plain(type(module))]
    for module in plain:
        memo[id(module)] = object.__new__(type(module))
    for module in plain:
        _fill(memo[id(module)], module, memo)
    made: nn.Module = _copied(model, memo)
    return made


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of an attribute; most are numbers, empty tables of hooks, and tables of modules."""
    kind = type(value)
    if kind in _ATOMS or (kind is tuple and all(type(one) in _ATOMS for one in value)):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind is FunctionType:
        return _rebound(value, memo)
    if kind in _CONTAINERS:
        return _container(value, memo)
    if isinstance(value, Tensor) and (kind is Tensor or not value.is_leaf):
        memo[id(value)] = new = value.detach().clone()
        return new.requires_grad_() if value.is_leaf and value.requires_grad else new
    return _object(value, memo)


def _container(value: Any, memo: dict[int, Any]) -> Any:
    """A list, dict, set or tuple of copies; one that holds itself does so again."""
    kind = type(value)
    if kind is tuple:
        parts = tuple(_copied(one, memo) for one in value)
        if id(value) in memo:  # made meanwhile, by what is in it
            return memo[id(value)]
        same = all(one is other for one, other in zip(parts, value, strict=True))
        return value if same else parts
    memo[id(value)] = made = kind()
    if kind is list:
        made.extend(_copied(one, memo) for one in value)
    elif kind is set:
        made.update(_copied(one, memo) for one in value)
    else:
        for key, one in value.items():
            made[_copied(key, memo)] = _copied(one, memo)
    return made


def _object(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; where there is none, an object filled attribute by attribute, or the same."""
    n_known = len(memo)
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # whatever stands in the way, a lock or a tensor that is no leaf, say
        while len(memo) > n_known:  # half of a copy is none
            memo.popitem()
        if _is_plain(type(value)) and hasattr(value, "__dict__"):
            memo[id(value)] = made = object.__new__(type(value))
            _fill(made, value, memo)
            return made
        if isinstance(value, nn.Module | Tensor):
            raise
    memo[id(value)] = value
    return value


def _fill(made: Any, value: Any, memo: dict[int, Any]) -> None:
    own = made.__dict__
    for name, one in value.__dict__.items():
        own[name] = _copied(one, memo)


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
_CONTAINERS = {dict, OrderedDict, list, set, tuple}
_OWN_WAYS = ("__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__new__")


def _is_plain(kind: Any) -> bool:
    """Whether objects of a type, modules among them, are copied by copying their attributes."""
    base = nn.Module if issubclass(kind, nn.Module) else object
    if any(getattr(kind, name, None) is not getattr(base, name, None) for name in _OWN_WAYS):
        return False
    # torch's own, or its compiler's in their place, fill in what older files lack; only a recurrent
    # layer's does more
    way = getattr(kind, "__setstate__", None)
    own_way = way is not None and not way.__module__.startswith("torch.")
    has_slots = any(vars(one).get("__slots__") for one in kind.__mro__)
    return not own_way and not has_slots and not issubclass(kind, nn.RNNBase)
