"""Whole numbers in modules' attributes, rows of them too: read, and set again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from secateur.channels.attention import converted_back
from secateur.channels.walk import modules_of
from secateur.errors import SurgeryError, shown
from secateur.plan.plan import Numbers, as_numbers
from secateur.surgery.widths import mirrored

_OF_KERNELS = {"kernel_size", "stride", "padding", "dilation", "output_padding"}
_OF_KERNELS |= {"_reversed_padding_repeated_twice"}
"""Attributes of torch's layers that say nothing of channels."""


def whole_numbers(module: nn.Module) -> dict[str, Numbers]:
    """A module's own attributes that are whole numbers or rows of them."""
    found: dict[str, Numbers] = {}
    for name, value in vars(module).items():
        if isinstance(value, int | tuple | list) and not isinstance(value, bool):
            with suppress(TypeError):  # a row of something else
                found[name] = as_numbers(value)
    return found


def sizes(model: nn.Module) -> dict[str, dict[str, Numbers]]:
    """Module -> its whole numbers that may be sizes and that its tensors do not show."""
    found = {}
    for path, module in modules_of(model):
        shown = {*_OF_KERNELS, *mirrored(module)}
        own = {n: v for n, v in whole_numbers(module).items() if n not in shown and v not in (0, 1)}
        if own:
            found[path] = own
    return found


def set_numbers(model: nn.Module, numbers: Mapping[str, Mapping[str, Numbers]]) -> None:
    """Give modules their whole numbers again, in place, where they have such attributes still."""
    modules = dict(model.named_modules())
    for path, attributes in numbers.items():
        own = vars(modules[path]) if path in modules else {}
        for name, value in attributes.items():
            if name in own and as_numbers(own[name]) != value:
                setattr(modules[path], name, like(own[name], value))
    for module in modules.values():
        converted_back(module)


def set_attributes(model: nn.Module, attributes: Mapping[str, Numbers]) -> None:
    """Give modules the numbers of a plan, `module:name` -> numbers, in place.

    Raises:
        SurgeryError: there is no such attribute.
    """
    modules = dict(model.named_modules()) if attributes else {}
    for key, numbers in attributes.items():
        path, _, name = key.partition(":")
        module = modules.get(path)
        try:
            old = vars(module)[name]
            as_numbers(old)
            new = like(old, numbers)
        except (TypeError, KeyError, ValueError):
            raise SurgeryError(
                f"{type(model).__name__} has no attribute {shown(key)} that can be "
                f"{shown(numbers)}, as the plan has it; give the network that the plan was made for"
            ) from None
        setattr(module, name, new)


def like(old: Any, numbers: Numbers) -> Any:
    """Numbers in rows of the kinds (list, tuple, …) that the old value has.

    Raises:
        ValueError: they are other rows than the old value's.
    """
    if isinstance(numbers, tuple) != isinstance(old, list | tuple):
        raise ValueError(f"{shown(numbers)} stands for {shown(old)}")
    if not isinstance(numbers, tuple):
        return numbers
    rows = [like(before, after) for before, after in zip(old, numbers, strict=True)]
    return torch.Size(rows) if isinstance(old, torch.Size) else type(old)(rows)
