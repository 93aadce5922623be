"""Operators across channels that a run has met, and those of which nothing came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor


class Across(NamedTuple):
    """An operator across channels: see `groups.Mixing`."""

    operator: str
    reason: str
    source: str
    silent: bool
    weights: bool


class Mixings(list[tuple[Tensor, Across]]):
    """Labels that an operator works across, and what is known of it, in the order of calls."""

    def __init__(self) -> None:
        super().__init__()
        self._unread: dict[int, tuple[Tensor, int]] = {}  # what one put out, and its number

    def note(self, outputs: Sequence[Tensor], labels: Tensor, across: Across) -> None:
        """Note an operator."""
        if len(outputs) == 1:
            self._unread[id(outputs[0])] = outputs[0], len(self)
        self.append((labels.reshape(-1), across))

    def read(self, tensors: Iterable[Tensor]) -> None:
        """Something takes these tensors in."""
        if self._unread:
            for tensor in tensors:
                self._unread.pop(id(tensor), None)

    def settle(self) -> None:
        """Forget operators of which nothing came, neither a number nor an answer.

        As the mean of attention's weights over heads, which is often made and not used.
        """
        for _, at in self._unread.values():
            self[at] = self[at][0][:0], self[at][1]
        self._unread.clear()
