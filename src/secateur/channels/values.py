"""What tensors on shapes hold, where no input reaches: masks of ones, buffers, constants.

A network may look into what it made itself: `if mask.all():`, `sizes.tolist()`, `x[:, mask]`.
Beside every such tensor of a run on shapes there is one with its numbers, made by the same
operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from secateur.channels.storages import Storages

_FILLED = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}
"""Operators that take no more than the shape and type of their input."""

_BY_MASK = {"index", "index_put", "_index_put_impl", "_unsafe_index"}
"""Operators that take masks of booleans, whose number of elements shapes do not tell."""


class Values:
    """The numbers of tensors on shapes that depend on no input.

    `own` gives those of a stand-in for a parameter or buffer, or None.
    """

    def __init__(self, own: Callable[[Tensor], Tensor | None]) -> None:
        self._own = own
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        self._storages = Storages()
        self._lost: dict[int, Any] = {}

    def of(self, tensor: Tensor) -> Tensor | None:
        """The numbers of a tensor, or None where they are not known."""
        if not tensor.is_meta:
            return tensor
        if id(tensor) not in self._known:
            if (other := self._storages.alike(tensor)) is not None:
                numbers = self._known[id(other)][1]
            elif (own := self._own(tensor)) is not None:
                numbers = own.detach().cpu().clone()
            else:
                return None
            self.note(tensor, numbers)
        numbers = self._known[id(tensor)][1]
        return None if id(numbers.untyped_storage()) in self._lost else numbers

    def note(self, tensor: Tensor, numbers: Tensor) -> None:
        """Remember what a tensor holds."""
        self._known[id(tensor)] = tensor, numbers
        self._storages.note(tensor)

    def given(self, tensor: Tensor, numbers: Tensor) -> None:
        """A tensor is an input of the network: what it holds is not looked at."""

    def forget(self) -> None:
        """Let go of all tensors."""
        self._known.clear()
        self._lost.clear()
        self._storages.forget()

    def made(self, function: Any, args: Any, kwargs: Mapping[str, Any], out: Any) -> None:
        """A tensor on shapes was made of none: its numbers are made too, unless they are drawn."""
        if _is_drawn(function) or function._schema.name.startswith("aten::empty"):
            return
        if not any(tensor.is_meta for tensor in tensors_among(out)):
            return
        self._note_all(out, function(*args, **on_cpu(kwargs)))

    def answer(
        self, function: Any, name: str, args: Any, kwargs: Mapping[str, Any], tensors: list[Tensor]
    ) -> Any:
        """What an operator gives that shapes do not tell; NotImplemented where they do.

        Where all of its inputs are known, the answer's numbers are known as well.
        """
        if name in _FILLED:
            blank = torch.empty(args[0].shape, dtype=args[0].dtype)
            return self._on_meta(function(blank, *args[1:], **on_cpu(kwargs)))
        if _is_drawn(function) or not all(self.of(t) is not None for t in _quick_first(tensors)):
            return NotImplemented
        if any(value.alias_info is not None for value in function._schema.returns):
            return NotImplemented  # a view: `follow` has its numbers
        real = tree_map_only(Tensor, self.of, args)
        if name == "_to_copy" and torch.device(kwargs.get("device") or "meta").type == "cpu":
            return function(*real, **kwargs)
        named = on_cpu(tree_map_only(Tensor, self.of, dict(kwargs)))
        return self._on_meta(function(*real, **named))

    def follow(
        self,
        function: Any,
        name: str,
        args: Any,
        kwargs: Mapping[str, Any],
        tensors: list[Tensor],
        out: Any,
    ) -> None:
        """After operator `name`, which `answer` left to shapes: a view, or one that writes."""
        del name  # of use to those that look at labels as well
        if all(self.of(t) is not None for t in tensors) and not _is_drawn(function):
            real = tree_map_only(Tensor, self.of, (args, dict(kwargs)))
            self._note_all(out, function(*real[0], **real[1]))
        elif function._schema.is_mutable and tensors and (first := self.of(tensors[0])) is not None:
            storage = first.untyped_storage()
            self._lost[id(storage)] = storage

    def without_masks(self, name: str, args: Any) -> Any:
        """An index by masks as an index by whole numbers, whose count is known."""
        if name not in _BY_MASK:
            return args
        x, indices, *rest = args
        found: list[Tensor | None] = []
        for index in indices:
            numbers = None if index is None or index.dtype != torch.bool else self.of(index)
            if numbers is None:
                found.append(index)
            else:
                found += [self._on_meta(one) for one in numbers.nonzero(as_tuple=True)]
        return (x, found, *rest)

    def _on_meta(self, out: Any) -> Any:
        def moved(real: Tensor) -> Tensor:
            meta = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device="meta")
            self.note(meta, real)
            return meta

        return tree_map_only(Tensor, moved, out)

    def _note_all(self, out: Any, real: Any) -> None:
        for one, numbers in zip(tensors_among(out), tensors_among(real), strict=True):
            if one.is_meta:
                self.note(one, numbers)


class ListsAsTensors(TorchFunctionMode):
    """`x[:, [2, 0, 1]]` is indexed by a tensor on the CPU, whose numbers are known.

    Of a list torch makes a tensor on the device of x, and before any operator is seen.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch's, an index or a write at one with tensors for lists."""
        if getattr(func, "__name__", "") in ("__getitem__", "__setitem__"):
            x, where, *rest = args
            several = tuple(map(_tensor_of_list, where)) if isinstance(where, tuple) else where
            args = (x, _tensor_of_list(several), *rest)
        return func(*args, **(kwargs or {}))


def _tensor_of_list(index: Any) -> Any:
    """A tensor for a list of numbers or truth values, whole or nested, or an array of numpy's."""
    if not isinstance(index, list | np.ndarray):
        return index
    numbers = np.asarray(index)
    return torch.from_numpy(numbers.copy()) if numbers.dtype.kind in "biu" else index


def tensors_among(value: Any) -> Sequence[Tensor]:
    """The tensors that an operator gives: one, or those in a row of them."""
    if isinstance(value, Tensor):
        return [value]
    return [t for t in value if isinstance(t, Tensor)] if isinstance(value, tuple | list) else []


def _quick_first(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Small tensors first: one of them is unknown more often than a weight."""
    return sorted(tensors, key=lambda tensor: tensor.numel())


def _is_drawn(function: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in function.tags


def on_cpu(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of an operator that is to run on numbers."""
    return {k: torch.device("cpu") if k == "device" and v else v for k, v in kwargs.items()}
