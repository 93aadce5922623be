"""Attention that is scaled by the width of its heads keeps its temperature.

`scaled_dot_product_attention` without `scale`, or a division by the root of a width, computes with
another number once widths are gone. What it multiplies then makes up for it: the rows of the weight
that makes queries (or keys), and of its bias, are multiplied by the number before over that after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.channels.arithmetic import convolution, keep, linear, matrix_product, meet
from secateur.channels.call import Call
from secateur.channels.normalisation import batch_norm, layer_norm
from secateur.channels.notes import Number
from secateur.channels.rules import MOVES
from secateur.channels.run import Run

_CHAIN = 200
"""So many operators are followed back at the most."""


class Rescaling(NamedTuple):
    """Positions along a parameter's dimension, as they are after the cut, times a factor."""

    parameter: str
    dim: int
    positions: NDArray[np.int64]
    factor: float


def remedy(run: Run, now: Number, before: Number) -> tuple[Rescaling, ...]:
    """What makes up for a number of attention's that has changed, or nothing.

    Args:
        run: of the network on the shapes that a plan leaves.
        now: a number that channels, or products of them, are multiplied with or divided by.
        before: what it was before the cut.
    """
    if now.operator not in ("mul", "div") or len(now.numbers) != 1 or 0 in now.numbers:
        return ()
    factor = before.numbers[0] / now.numbers[0]
    factor = factor if now.operator == "mul" else 1 / factor
    call = run.calls[now.call]
    walk = _Walk(run)
    tensors = call.tensors if call.name == now.operator else call.outputs
    sources = walk.sources(tensors[0], _labels(run, tensors[0]))
    if sources is None or not (walk.crossed or walk.feeds_a_product(now.call)):
        return ()
    found = []
    for parameter, dim, labels in sources:
        own = run.notebook.labels.get((parameter, dim))
        at = np.flatnonzero(np.isin([] if own is None else own.numpy(), labels))
        if not len(at):
            return ()
        found.append(Rescaling(parameter, dim, at, factor))
    return tuple(found)


Source = tuple[str, int, NDArray[np.int64]]
"""A parameter, the dimension along which labels run, and which of them."""


class _Walk:
    """Follows tensors of a run back to the parameters that they are proportional to."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._made = {id(out): call for call in run.calls for out in call.outputs}
        self._steps = 0
        self.crossed = False  # a product of two feature maps was on the way

    def feeds_a_product(self, number: int) -> bool:
        """Whether what a call makes goes, moved perhaps, into a product of two feature maps."""
        reached = {id(out) for out in self._run.calls[number].outputs}
        for later in self._run.calls[number + 1 :]:
            if any(id(tensor) in reached for tensor in later.tensors):
                if _is_product(self._run, later):
                    return True
                if self._run.rules.get(later.name) in (*MOVES, meet):
                    reached |= {id(out) for out in later.outputs}
        return False

    def sources(self, tensor: Tensor, labels: NDArray[np.int64]) -> list[Source] | None:
        """Parameters that, times a number, make a tensor's channels times that; or None."""
        self._steps += 1
        call = self._made.get(id(tensor))
        if call is None or self._steps > _CHAIN:
            return None
        rule = self._run.rules.get(call.name)
        if rule in MOVES or rule is keep or call.name in ("neg", "add", "sub"):
            return self._all(call.tensors, labels)
        if call.name in ("mul", "div"):
            factors = call.tensors if call.name == "mul" else call.args[:1]
            return self._any([one for one in factors if call.fields(one)], labels)
        if _is_product(self._run, call):
            return self._of_product(call)
        if rule is convolution or rule is linear:
            return _of_parameters(call, call.args[1:3], labels)
        if rule is matrix_product:
            return _of_matrices(call, labels)
        if rule is layer_norm or rule is batch_norm:
            at = 2 if rule is layer_norm else 1
            return _of_parameters(call, call.args[at : at + 2], labels)
        return None

    def _all(self, tensors: Sequence[Tensor], labels: NDArray[np.int64]) -> list[Source] | None:
        found: list[Source] = []
        for tensor in tensors:
            if (own := self.sources(tensor, labels)) is None:
                return None
            found += [one for one in own if not any(_same(one, other) for other in found)]
        return found

    def _any(self, tensors: Sequence[Tensor], labels: NDArray[np.int64]) -> list[Source] | None:
        found = (self.sources(tensor, labels) for tensor in tensors)
        return next((own for own in found if own is not None), None)

    def _of_product(self, call: Call) -> list[Source] | None:
        self.crossed = True
        for tensor in call.args[-2:]:
            if (own := self.sources(tensor, _labels(self._run, tensor))) is not None:
                return own
        return None


def _of_matrices(call: Call, labels: NDArray[np.int64]) -> list[Source] | None:
    """The filters of a product with a weight that have these labels, and what a bias adds."""
    weights = [tensor for tensor in call.args[-2:] if call.is_weight(tensor)]
    return _of_parameters(call, [*weights, *call.args[:-2]], labels)


def _of_parameters(
    call: Call, parameters: Sequence[Tensor | None], labels: NDArray[np.int64]
) -> list[Source] | None:
    """The dimension of each of some parameters along which some labels run."""
    found: list[Source] = []
    for parameter in parameters:
        if parameter is None:
            continue
        if (bare := call.run.weights.shown(parameter)) is None:
            return None
        name = bare[0]
        for (owner, dim), own in call.run.notebook.labels.items():
            if owner == name and np.isin(own.numpy(), labels).any():
                found.append((name, dim, labels))
                break
        else:
            return None
    return found or None


def _is_product(run: Run, call: Call) -> bool:
    """Whether a call multiplies two feature maps."""
    if run.rules.get(call.name) is not matrix_product:
        return False
    return not any(call.is_weight(tensor) for tensor in call.args[-2:])


def _labels(run: Run, tensor: Tensor) -> NDArray[np.int64]:
    """All labels of a tensor."""
    found = [labels.reshape(-1).numpy() for labels in run.fields_of(tensor).values()]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)


def _same(one: Source, other: Source) -> bool:
    return one[:2] == other[:2]


def factors(remedies: Sequence[Rescaling]) -> Iterator[Rescaling] | None:
    """Each rescaling once; None where the same positions would get two factors.

    A layer that is called twice makes two products, and is to be scaled once.
    """
    known: dict[tuple[str, int, int], float] = {}
    for one in remedies:
        for at in one.positions.tolist():
            before = known.setdefault((one.parameter, one.dim, at), one.factor)
            if abs(before / one.factor - 1) > 1e-9:
                return None
    merged: dict[tuple[str, int, float], list[int]] = {}
    for (parameter, dim, at), factor in known.items():
        merged.setdefault((parameter, dim, factor), []).append(at)
    return (
        Rescaling(parameter, dim, np.array(at), factor)
        for (parameter, dim, factor), at in merged.items()
    )
