"""Every module and every tensor of a network, in torch's order, without its recursion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def modules_of(model: nn.Module, *, shared: bool = False) -> list[tuple[str, nn.Module]]:
    """Modules with their paths, parents first, as `named_modules` gives them.

    One that stands in several places comes once, or with `shared` as often as it stands.

    >>> [path for path, _ in modules_of(nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU()))]
    ['', '0', '0.0', '1']
    """
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if not shared:
            if id(module) in seen:
                continue
            seen.add(id(module))
        found.append((path, module))
        if module._modules:
            prefix = f"{path}." if path else ""
            for name, child in reversed(module._modules.items()):
                if child is not None:
                    waiting.append((prefix + name, child))
    return found


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, then buffers, each once under its first name."""
    modules = modules_of(model)
    found: dict[str, Tensor] = {}
    for kind in KINDS:
        seen: set[int] = set()
        for name, tensor in tensors_at(modules, kind):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                found[name] = tensor
    return found


KINDS = ("_parameters", "_buffers")
"""Where a module keeps its tensors."""


def tensors_at(modules: Iterable[tuple[str, nn.Module]], kind: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors of one of `KINDS` that modules with their paths hold themselves, by full name."""
    for path, module in modules:
        for leaf, tensor in module.__dict__[kind].items():
            if tensor is not None:
                yield f"{path}.{leaf}" if path else leaf, tensor


def tensors_within(value: Any) -> list[Tensor]:
    """All tensors in a network's answer: in tuples, lists and dicts, and in attributes of objects.

    >>> from types import SimpleNamespace
    >>> len(tensors_within([Tensor(), {"hidden": SimpleNamespace(states=(Tensor(), 3))}]))
    2
    """
    found: list[Tensor] = []
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        for leaf in tree_leaves(waiting.pop(0)):
            if isinstance(leaf, Tensor):
                found.append(leaf)
            elif id(leaf) not in seen and not isinstance(leaf, type | FunctionType | nn.Module):
                seen.add(id(leaf))
                waiting += _attributes(leaf)
    return found


def _attributes(value: Any) -> list[Any]:
    """The values of an object's attributes, those in slots as well."""
    slots = [name for kind in type(value).__mro__ for name in vars(kind).get("__slots__", ())]
    in_slots = [getattr(value, name) for name in slots if hasattr(value, name)]
    return [*getattr(value, "__dict__", {}).values(), *in_slots]


def laid_out(tensor: Tensor) -> torch.memory_format | None:
    """Channels last, or None for tensors that lie in memory as they are indexed.

    As torch judges by strides: those of dimensions of size 1 count, and what could be both is not
    channels last.

    >>> laid_out(torch.empty(1, 64, 1, 3).transpose(1, 3)) is None
    True
    """
    if tensor.ndim not in (4, 5):
        return None
    sizes, strides = tensor.shape, tensor.stride()
    if strides[1] == 0:
        return None
    least = 0
    for dim in (1, *range(tensor.ndim - 1, 1, -1), 0):
        if sizes[dim] == 0 or strides[dim] < least or (dim == 0 and least == strides[1]):
            return None
        least = strides[dim] * max(sizes[dim], 1)
    return torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d
