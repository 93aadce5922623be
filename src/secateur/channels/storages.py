"""Tensors by the storage that they lie in, to know one again that Python made anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class Storages:
    """Tensors that were noted, by their storage.

    `copy.copy`, `nn.Parameter(x)` and `as_subclass` give another object over the same elements,
    which no operator made.
    """

    def __init__(self) -> None:
        self._of: dict[int, tuple[Any, list[Tensor]]] = {}  # storages are kept: identities stay

    def note(self, tensor: Tensor) -> None:
        """Remember where a tensor lies."""
        storage = tensor.untyped_storage()
        self._of.setdefault(id(storage), (storage, []))[1].append(tensor)

    def sharing(self, tensor: Tensor) -> Sequence[Tensor]:
        """The tensors noted that lie in the same storage."""
        return self._of.get(id(tensor.untyped_storage()), (None, ()))[1]

    def alike(self, tensor: Tensor) -> Tensor | None:
        """The one among them that shows the same elements in the same order."""
        return next((other for other in self.sharing(tensor) if _lie_alike(tensor, other)), None)

    def forget(self) -> None:
        """Let go of all tensors."""
        self._of.clear()


def _lie_alike(one: Tensor, other: Tensor) -> bool:
    return (
        one.shape == other.shape
        and one.stride() == other.stride()
        and one.storage_offset() == other.storage_offset()
    )
