"""Tensors of a run that are parameters, show one, or were made from parameters alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from secateur.channels.movement import turned
from secateur.channels.notes import Operator
from secateur.channels.repaired import directions
from secateur.channels.rules import MOVES
from secateur.channels.storages import Storages

_LIFTING = {"exp", "exp2", "sigmoid", "hardsigmoid", "softplus", "log_sigmoid_forward", "cos"}
_LIFTING |= {"cosh", "acos", "_softmax"}
"""Functions that make of zero something else."""


class Weights:
    """Parameters and what is made from them alone, by the identity of tensors.

    `bare` are those that are a parameter still: its name, and its dimensions in order. `lifted` are
    not zero where their parameter is; `computed` are names of parameters that were computed with
    before they were used.
    """

    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor], storages: Storages) -> None:
        self.bare: dict[int, tuple[str, tuple[int, ...]]] = {}
        self.lifted: set[int] = set()
        self.computed: set[str] = set()
        self._repaired = directions(model)
        self._names: dict[int, str] = {}
        self._shown: list[Tensor] = []  # so that their identity stays their own
        self._moved: set[int] = set()
        for name, meta in tensors.items():
            self._names[id(meta)] = name
            self.bare[id(meta)] = name, tuple(range(meta.ndim))
            storages.note(meta)

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._names

    def name(self, tensor: Tensor) -> str | None:
        """The parameter that a tensor is or was made from alone, or None."""
        return self._names.get(id(tensor))

    def shown(self, tensor: Tensor) -> tuple[str, tuple[int, ...]] | None:
        """The parameter that a tensor still is, and its dimensions in order, or None."""
        return self.bare.get(id(tensor))

    def show(self, operator: str, tensor: Tensor, args: Sequence[Any], out: Tensor) -> bool:
        """Whether the output of an operator is a parameter again, turned perhaps; it is one now."""
        if (bare := self.shown(tensor)) is None:
            return False
        parameter, dims = bare
        order = turned(operator, args, len(dims))
        self.bare[id(out)] = parameter, tuple(dims[k] for k in order)
        self._names[id(out)] = parameter
        self._shown.append(out)
        return True

    def again(self, tensor: Tensor, known: Tensor) -> None:
        """A tensor shows the same elements as one that is known."""
        if (name := self._names.get(id(known))) is not None:
            self._names[id(tensor)] = name
        if (bare := self.shown(known)) is not None:
            self.bare[id(tensor)] = bare
            self._shown.append(tensor)

    def made(
        self, operator: Operator, tensors: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> None:
        """An operator makes something from these, all of which were made from parameters."""
        if operator.rule in MOVES:
            if all(id(t) in self.bare or id(t) in self._moved for t in tensors):
                self._moved.update(map(id, outputs))
        else:
            self.computed.update(self._names[id(t)] for t in tensors)
        lifted = [id(t) in self.lifted for t in tensors]
        kept = all(lifted) if operator.name == "mul" else any(lifted)
        for made in outputs:
            self._names.setdefault(id(made), self._names[id(tensors[0])])
            if kept or operator.name in _LIFTING:
                self.lifted.add(id(made))

    def is_repaired(self, tensors: Sequence[Tensor], operator: str) -> bool:
        """Whether an operator is part of a weight norm or spectral norm of torch's.

        It takes what these compute from, moved perhaps; or it is the last of a spectral norm's.
        """
        of_norm = all(self._names.get(id(tensor)) in self._repaired for tensor in tensors)
        if not of_norm or operator in ("dot", "vdot"):
            return of_norm
        return all(id(t) in self.bare or id(t) in self._moved for t in tensors)

    def forget(self) -> None:
        """Let go of all tensors."""
        for table in (self.bare, self._names, self._shown, self._moved):
            table.clear()
