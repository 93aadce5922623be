"""Whose labels they are: which groups of a plan stand behind what does not line up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.channels.call import Call
from secateur.channels.cost import Removal
from secateur.channels.groups import ChannelMap
from secateur.channels.run import Run

Labels = NDArray[np.int64]


class Witness:
    """Knows which group of a plan every label of the original belongs to."""

    def __init__(self, original: Run, channels: ChannelMap, remove: Removal) -> None:
        self.original = original
        self.roles = original.notebook.roles
        self.names = [name for name, gone in remove.items() if gone]
        self._channels = channels
        self._remove = remove

    @cached_property
    def group(self) -> Labels:
        """For every label its group's number, or -1."""
        return self._filled(-1, {name: (k, ...) for k, name in enumerate(self.names)})

    @cached_property
    def stays(self) -> NDArray[np.bool_]:
        """Whether a label survives the plan."""
        gone = {name: (0, list(self._remove[name])) for name in self.names}
        return self._filled(1, gone).astype(bool)

    def _filled(self, rest: int, values: Mapping[str, tuple[int, Any]]) -> Labels:
        """A number for every label: that of the named groups' rows, else `rest`."""
        book = self.original.notebook
        filled = np.full(book.n_labels, rest, dtype=np.int64)
        for name, (value, rows) in values.items():
            for member in self._channels.by_name[name].members:
                labels = book.labels[member.parameter, member.dim].numpy()
                filled[labels[member.index[rows].ravel()]] = value
        return filled

    def groups(self, labels: Labels) -> tuple[str, ...]:
        """Groups of the plan that some labels belong to."""
        numbers = np.unique(self.group[labels[labels < len(self.group)]])
        return tuple(self.names[k] for k in numbers if k >= 0)

    def last_groups(self, run: Run) -> tuple[str, ...]:
        """Groups at the call that failed; after an error in Python code, near the last one made."""
        if run.failed is not None:
            for whole in (False, True):
                if names := self._of_call(run, run.failed, whole=whole):
                    return names
        if len(run.calls) < len(self.original.calls):  # what would have come next
            following = self.original.calls[len(run.calls)].tensors
            if names := self._of_tensors(self.original, following, whole=False):
                return names
        if names := self._of_tensors(run, run.in_sight):
            return names
        return self.groups_before(run, len(run.calls))

    def groups_before(self, run: Run, number: int) -> tuple[str, ...]:
        """Groups of the nearest call up to this number that works on any; at last, all."""
        for call in reversed(run.calls[: number + 1]):
            if names := self._of_call(run, call):
                return names
        return tuple(self.names)

    def groups_at(self, run: Run, number: int) -> tuple[str, ...]:
        """Groups that a call works on, or the nearest one before it that works on any."""
        return self._of_call(run, run.calls[number]) or self.groups_before(run, number)

    def _of_call(self, run: Run, call: Call, *, whole: bool = True) -> tuple[str, ...]:
        """Groups that a call works on; of a weight only what meets the inputs, unless `whole`."""
        return self._of_tensors(run, call.tensors + call.outputs, whole=whole)

    def _of_tensors(
        self, run: Run, tensors: Iterable[Tensor], *, whole: bool = True
    ) -> tuple[str, ...]:
        found = [np.zeros(0, dtype=np.int64)]
        for tensor in tensors:
            for dim, field in run.fields_of(tensor).items():
                labels = field.reshape(-1).numpy()
                if not labels.size:
                    continue
                is_input = self.roles.get(run.owner(tensor, dim, int(labels[0]))) == "in"
                if whole or is_input or tensor not in run.weights:
                    found.append(labels)
        return self.groups(np.concatenate(found))
