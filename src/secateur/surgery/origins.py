"""Whole numbers that remember which attribute of the network, or which tensor, they came from."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Alive = NDArray[np.bool_]
"""For every label whether it survives, (n_labels,)."""


@dataclass(frozen=True)
class Attribute:
    """A whole number in a module's attribute; `index` finds it in a row, or in rows of rows."""

    module: str
    name: str
    index: tuple[int, ...]
    value: int


@dataclass(frozen=True, eq=False)
class Extent:
    """The size of a tensor along a dimension that can shrink."""

    labels: Tensor
    dim: int


@dataclass(frozen=True, eq=False)
class Result:
    """What came of arithmetic with whole numbers."""

    operate: Callable[..., int]
    operands: tuple[Term | int, ...]


Term = Attribute | Extent | Result


def value_of(term: Term | int, assigned: Mapping[Attribute, int], alive: Alive) -> int | None:
    """What a number would be with other attributes and fewer labels, or None if that is unclear."""
    if isinstance(term, Attribute):
        return assigned.get(term, term.value)
    if isinstance(term, Extent):
        return survivors(term.labels, term.dim, alive)
    if isinstance(term, int):
        return int(term)
    operands = [value_of(part, assigned, alive) for part in term.operands]
    try:
        return None if None in operands else term.operate(*operands)
    except ZeroDivisionError:
        return None


def solved_for(
    unknown: Attribute | Extent,
    term: Term | int,
    wanted: int,
    assigned: Mapping[Attribute, int],
    alive: Alive,
) -> int | None:
    """What one part of a term must be for it to have a value, or None if nothing is found."""
    found = _inverted(unknown, term, wanted, assigned, alive)
    if found is None or isinstance(unknown, Extent):
        return found
    return found if value_of(term, {**assigned, unknown: found}, alive) == wanted else None


def _inverted(
    unknown: Attribute | Extent,
    term: Term | int,
    wanted: int,
    assigned: Mapping[Attribute, int],
    alive: Alive,
) -> int | None:
    if term == unknown:
        return wanted
    if not isinstance(term, Result):
        return None
    at = next((k for k, part in enumerate(term.operands) if unknown in _leaves(part)), None)
    undo = _UNDO.get((term.operate, at))
    if at is None or undo is None:
        return None
    others = [value_of(part, assigned, alive) for k, part in enumerate(term.operands) if k != at]
    if None in others:
        return None
    try:
        inner = undo(wanted, *others)
    except ZeroDivisionError:
        return None
    return _inverted(unknown, term.operands[at], inner, assigned, alive)


_UNDO: Mapping[tuple[Callable[..., int], int | None], Callable[..., int]] = {
    (operator.add, 0): operator.sub,
    (operator.add, 1): operator.sub,
    (operator.sub, 0): operator.add,
    (operator.sub, 1): lambda wanted, whole: whole - wanted,
    (operator.mul, 0): operator.floordiv,
    (operator.mul, 1): operator.floordiv,
    (operator.floordiv, 0): operator.mul,
    (operator.floordiv, 1): lambda wanted, whole: whole // wanted,
    (operator.neg, 0): operator.neg,
}
"""Operator, which operand is sought -> that operand from the result and the other one."""


def attributes_of(term: Term | int) -> Iterator[Attribute]:
    """The attributes a number was made from."""
    return (leaf for leaf in _leaves(term) if isinstance(leaf, Attribute))


def extents_of(term: Term | int) -> Iterator[Extent]:
    """The sizes of tensors that a number was made from."""
    return (leaf for leaf in _leaves(term) if isinstance(leaf, Extent))


def _leaves(term: Term | int) -> Iterator[Attribute | Extent]:
    if isinstance(term, Result):
        for part in term.operands:
            yield from _leaves(part)
    elif not isinstance(term, int):
        yield term


def survivors(labels: Tensor, dim: int, alive: Alive) -> int | None:
    """How many labels of a field stay along its dimension; None if not equally many everywhere.

    >>> survivors(torch.tensor([[0, 1, 2], [3, 4, 5]]), 1, np.array([1, 0, 1, 1, 1, 0], bool))
    2
    >>> survivors(torch.tensor([[0, 1, 2], [3, 4, 5]]), 0, np.array([1, 0, 1, 1, 1, 0], bool))
    """
    counts = alive[labels.numpy()].sum(axis=dim)
    first = int(counts.flat[0])
    return first if (counts == first).all() else None


class Size(int):
    """A whole number with its origin, which sums, products and quotients hand on.

    Where it becomes a value and not a size (a division, a root, a float), the attributes it came
    from are added to `valued`.
    """

    term: Term
    valued: set[Attribute]

    def __new__(cls, value: int, term: Term, valued: set[Attribute]) -> Size:
        """A number as it stands in the code, its origin, and where values are noted."""
        made = super().__new__(cls, value)
        made.term, made.valued = term, valued
        return made


def sized(value: Any, make: Callable[[int, tuple[int, ...]], Any], at: tuple[int, ...] = ()) -> Any:
    """An attribute with every whole number of at least 2 in it, also in rows, made by `make`.

    >>> sized([4, (1, 6)], lambda number, at: (number, at))
    [(4, (0,)), (1, (6, (1, 1)))]
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return make(value, at) if value > 1 else value
    if type(value) in (list, tuple):
        return type(value)(sized(part, make, (*at, k)) for k, part in enumerate(value))
    if type(value) is torch.Size:
        return torch.Size([sized(part, make, (*at, k)) for k, part in enumerate(value)])
    return value


def _traced(name: str, reflected: bool) -> Callable[[Size, Any], Any]:
    plain = getattr(int, f"__r{name}__" if reflected else f"__{name}__")
    operate = getattr(operator, name)

    def method(self: Size, other: Any) -> Any:
        value = plain(self, other)
        if value is NotImplemented:
            self.valued.update(attributes_of(self.term))
            return value
        terms = self.term, other.term if isinstance(other, Size) else int.__index__(other)
        return Size(value, Result(operate, terms[::-1] if reflected else terms), self.valued)

    return method


def _valued(name: str) -> Callable[..., Any]:
    plain = getattr(int, name)

    def method(self: Size, *others: Any) -> Any:
        self.valued.update(attributes_of(self.term))
        return plain(self, *others)

    return method


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    setattr(Size, f"__{_name}__", _traced(_name, reflected=False))
    setattr(Size, f"__r{_name}__", _traced(_name, reflected=True))
for _name in ("float", "int", "truediv", "rtruediv", "pow", "rpow", "divmod", "round", "trunc"):
    setattr(Size, f"__{_name}__", _valued(f"__{_name}__"))


def _negated(self: Size) -> Size:
    return Size(-int.__index__(self), Result(operator.neg, (self.term,)), self.valued)


setattr(Size, "__neg__", _negated)  # noqa: B010
