"""The whole network with removed channels silent: what a cut network is held against.

The network runs once with labels and numbers side by side. Wherever channels are summed up with
weights (a convolution, a matrix product), those that a plan removes are zero; weights that were
computed from parameters are zeroed after they were computed, never before. An operator across
channels (a layer norm, a softmax) works on those that stay, or on all, the silent ones at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from secateur.channels.arithmetic import (
    convolution,
    linear,
    matrix_product,
    trilinear,
    vector_product,
)
from secateur.channels.cost import Removal
from secateur.channels.groups import ChannelMap
from secateur.channels.notes import repeating
from secateur.channels.recurrent import recurrent
from secateur.channels.run import Run
from secateur.channels.trace import Example, replay
from secateur.channels.values import Values, on_cpu, tensors_among

Over = Literal["kept", "all"]
"""What operators across channels work on: the channels that are kept, or all of them."""

_SUMS_WITH_WEIGHTS = (convolution, linear, matrix_product, vector_product, trilinear, recurrent)


def silent_answer(
    model: nn.Module,
    remove: Removal,
    channels: ChannelMap,
    example: Example,
    original: Run,
    over: Over,
) -> list[Tensor]:
    """What a network answers with some of its channels silent, in the precision of its tensors.

    Args:
        model: the whole network.
        remove: group -> channels that are silent.
        channels: the network's channel map.
        example: numbers to call it with.
        original: a recorded run of the network.
        over: what a computed weight, and an operator across channels, is computed from. "all" keeps
            every weight as it was, and takes silent channels for zeros; "kept" does as a network
            does that has no more than what is kept.

    Raises:
        TraceError: the network does not run on this example.
    """
    run = Run(model, original.rules, repeating(original.decisions), with_values=True)
    run.values = numbers = _Silent(run, removed_positions(channels, remove), over)
    answer = replay(run, model, example)
    found = [numbers.known(tensor) for tensor in answer]
    run.forget()
    return found


def removed_positions(channels: ChannelMap, remove: Removal) -> dict[tuple[str, int], list[int]]:
    """For every (parameter, dimension) the positions along it that go."""
    gone: dict[tuple[str, int], list[int]] = {}
    for name, indices in remove.items():
        for member in channels.by_name[name].members:
            positions = member.index[list(indices)].ravel().tolist()
            gone.setdefault((member.parameter, member.dim), []).extend(positions)
    return gone


class _Silent(Values):
    """The numbers of every tensor in a run, in which what a plan removes is silent."""

    def __init__(self, run: Run, gone: Mapping[tuple[str, int], list[int]], over: Over) -> None:
        super().__init__(run.own_values)
        self._run, self._gone, self._over = run, gone, over
        self._dead = np.zeros(0, dtype=bool)
        self._n_owners = 0
        self._n_mixings = 0

    def known(self, tensor: Tensor) -> Tensor:
        """The numbers of a tensor, which are all known here."""
        if (numbers := self.of(tensor)) is None:
            raise RuntimeError("a tensor whose numbers no operator made")
        return numbers

    def given(self, tensor: Tensor, numbers: Tensor) -> None:
        """An input holds what the network is called with."""
        self.note(tensor, numbers)

    def made(self, function: Any, args: Any, kwargs: Mapping[str, Any], out: Any) -> None:
        """Out of no tensor, drawn numbers too."""
        if any(tensor.is_meta for tensor in tensors_among(out)):
            self._note_all(out, function(*args, **on_cpu(kwargs)))

    def answer(
        self, function: Any, name: str, args: Any, kwargs: Mapping[str, Any], tensors: list[Tensor]
    ) -> Any:
        """Only what shapes do not tell; all else is made when its labels are known."""
        to_cpu = name == "_to_copy" and torch.device(kwargs.get("device") or "meta").type == "cpu"
        if not to_cpu and name not in _UNKNOWN_TO_SHAPES:
            return NotImplemented
        return super().answer(function, name, args, kwargs, tensors)

    def follow(
        self,
        function: Any,
        name: str,
        args: Any,
        kwargs: Mapping[str, Any],
        tensors: list[Tensor],
        out: Any,
    ) -> None:
        """Run an operator on numbers, as a network does that has no more than what is kept."""
        across = self._run.mixings[self._n_mixings :]
        self._n_mixings = len(self._run.mixings)
        rule = self._run.rules.get(name)
        weights = any(row.weights for _, row in across)
        drawn = torch.Tag.nondeterministic_seeded in function.tags
        if tensors and self._run.weights.is_repaired(tensors, name):
            # as it was: the cut makes up for what goes
            made = self._run_on(self.known, function, args, kwargs)
        elif rule in _SUMS_WITH_WEIGHTS:
            made = self._run_on(self._zeroed, function, args, kwargs)
        elif (across and not (weights and self._over == "all")) or drawn:
            silent = all(row.silent for _, row in across)
            if self._over == "all" and not silent:
                made = self._run_on(self._zeroed, function, args, kwargs)
            else:
                picked = tree_map_only(Tensor, self._picked, (args, dict(kwargs)))
                made = function(*_with_sizes(name, picked[0]), **on_cpu(picked[1]))
                made = self._laid_back(out, made)
        else:
            made = self._run_on(self.known, function, args, kwargs)
        in_place = function._schema.is_mutable or any(
            value.alias_info is not None for value in function._schema.returns
        )
        self._note_all(out, made if in_place else _laid_like(out, made))

    def _run_on(self, numbers: Any, function: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        real = tree_map_only(Tensor, numbers, (args, dict(kwargs)))
        return function(*real[0], **on_cpu(real[1]))

    def _alive(self, labels: Tensor) -> NDArray[np.bool_]:
        """Which labels of a field stay."""
        book = self._run.notebook
        if len(self._dead) < book.n_labels:
            grown = np.zeros(book.n_labels - len(self._dead), dtype=bool)
            self._dead = np.concatenate([self._dead, grown])
        if len(book.labels) > self._n_owners:
            for owner, own in islice(book.labels.items(), self._n_owners, None):
                if (gone := self._gone.get(owner)) is not None:
                    self._dead[own.numpy()[gone]] = True
            self._n_owners = len(book.labels)
        alive: NDArray[np.bool_] = ~self._dead[labels.numpy()]
        return alive

    def _zeroed(self, tensor: Tensor) -> Tensor:
        """The numbers of a tensor with silent channels at zero."""
        numbers = self.known(tensor)
        for labels in self._run.fields_of(tensor).values():
            alive = self._alive(labels)
            if not alive.all():
                numbers = numbers.masked_fill(torch.from_numpy(~alive), 0)
        return numbers

    def _rows(self, tensor: Tensor) -> dict[int, Tensor]:
        """For every dimension that shrinks which of its positions stay, (size,)."""
        rows = {}
        for dim, labels in self._run.fields_of(tensor).items():
            alive = np.moveaxis(self._alive(labels), dim, -1).reshape(-1, labels.shape[dim])
            if not (alive == alive[:1]).all():
                raise RuntimeError("channels that stay here and go there along one dimension")
            if not alive[0].all():
                rows[dim] = torch.from_numpy(alive[0])
        return rows

    def _picked(self, tensor: Tensor) -> Tensor:
        """The numbers of a tensor at the positions that stay."""
        numbers = self.known(tensor)
        for dim, stays in self._rows(tensor).items():
            numbers = numbers.index_select(dim, stays.nonzero().flatten())
        return numbers

    def _laid_back(self, out: Any, made: Any) -> Any:
        """Outputs in their full size, zero where channels went."""
        full = []
        for shape, numbers in zip(tensors_among(out), tensors_among(made), strict=True):
            stays = torch.ones(shape.shape, dtype=torch.bool)
            for dim, row in self._rows(shape).items():
                stays &= row.view([-1 if k == dim else 1 for k in range(shape.ndim)])
            blank = torch.zeros(shape.shape, dtype=numbers.dtype)
            full.append(blank.masked_scatter(stays, numbers))
        return full[0] if isinstance(made, Tensor) else full


_UNKNOWN_TO_SHAPES = {
    "_local_scalar_dense",
    "equal",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "repeat_interleave",
}
"""Operators whose answer, or its shape, is a matter of numbers."""


def _with_sizes(name: str, args: Any) -> Any:
    """Arguments that say a width, as they are when fewer channels come in."""
    if name == "native_layer_norm":
        x, shape, *rest = args
        return (x, list(x.shape[x.ndim - len(shape) :]), *rest)
    if name == "native_group_norm":
        return (*args[:4], args[0].shape[1], *args[5:])
    return args


def _laid_like(out: Any, made: Any) -> Any:
    """Numbers that lie in memory as shapes say, so that views of them are views here too."""
    laid = [
        numbers
        if numbers.stride() == shape.stride() or numbers.shape != shape.shape
        else torch.empty_strided(shape.shape, shape.stride(), dtype=numbers.dtype).copy_(numbers)
        for shape, numbers in zip(tensors_among(out), tensors_among(made), strict=True)
    ]
    return laid[0] if isinstance(made, Tensor) else laid
