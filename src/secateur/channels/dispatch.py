"""Operators on their way through a run: handed on, looked up, and what is among their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from secateur.channels.movement import TURNING
from secateur.channels.notes import Operator
from secateur.channels.recurrent import NAMES
from secateur.channels.rules import COUNTED, IN_PLACE, Rule, unknown
from secateur.channels.shapes import shape_rule
from secateur.channels.values import Values


class Dispatch:
    """Hands operators on.

    Torch wraps a mode's own `__torch_dispatch__` for its compiler, and loading that takes most of a
    second; an inherited one it leaves alone.
    """

    stand_ins: dict[int, Tensor]
    written: dict[int, Any]
    values: Values | None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator."""
        return self.dispatch(func, args, kwargs or {})

    def dispatch(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one operator with these arguments."""
        raise NotImplementedError

    def is_followed(self, tensor: Tensor) -> bool:
        """Whether a tensor with numbers has a stand-in, or shapes were written into it."""
        if id(tensor) in self.stand_ins:
            return True
        return bool(self.written) and id(tensor.untyped_storage()) in self.written

    def to_meta(self, tensor: Tensor) -> Tensor:
        """What stands in for a tensor, or a new one of its shape."""
        if tensor.is_meta:
            return tensor
        if (known := self.stand_ins.get(id(tensor))) is not None:  # kept in a list, say
            return known
        meta = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        if self.values is not None:
            self.values.note(meta, tensor)
        return meta


def operator_of(func: Any, rules: Mapping[str, Rule]) -> Operator:
    """What is known of an operator; what writes into its input has few rules that hold."""
    full = func._schema.name
    name = full.removeprefix("aten::").removesuffix("_")
    rule = rules.get(name, unknown)
    if full.endswith("_") and rule not in IN_PLACE:
        rule = unknown
    # a recurrent layer draws between its layers, when it trains
    draws = torch.Tag.nondeterministic_seeded in func.tags and name not in NAMES
    return Operator(name, rule, shape_rule(func), name in TURNING, name in COUNTED, draws)


def tensors_in(args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """All tensors among the arguments of an operator, those in lists as well."""
    found = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += [one for one in value if isinstance(one, Tensor)]
    return found


def numbers_in(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[float, ...]:
    """The numbers among the arguments of an operator; truth values are none."""
    given = (*args, *kwargs.values()) if kwargs else args
    return tuple(float(value) for value in given if type(value) in (int, float))
