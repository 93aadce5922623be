"""Equations between the sizes that a network's code gives and the channels that are left.

Every place where the code gives a size is one equation: a term of attributes and widths equals a
number of labels. For a plan, `solved` finds the attributes that make it true; `Balance` gives
channels back where counts would have to be equal and are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.channels.cost import Removal
from secateur.channels.groups import ChannelMap
from secateur.channels.labels import Notebook
from secateur.surgery.origins import (
    Alive,
    Attribute,
    Term,
    attributes_of,
    extents_of,
    solved_for,
    survivors,
    value_of,
)


@dataclass(frozen=True, eq=False)
class Want:
    """What a size must be: one for every `per` labels that stay, or what it was.

    A size counted from the end has a negative `per`.
    """

    size: int
    labels: Tensor | None = None
    dim: int = 0
    per: int = 1

    def after(self, alive: Alive) -> int | None:
        """The size when only some labels are alive, or None if it is not the same all over."""
        if self.labels is None:
            return self.size
        n = survivors(self.labels, self.dim, alive)
        return None if n is None or n % self.per else n // self.per


@dataclass(frozen=True, eq=False)
class Use:
    """A place where the code gives a size: the number's origin, what it must be, and the line."""

    term: Term
    want: Want
    source: str = ""


Values = Mapping[Attribute, int]


def solved(uses: Sequence[Use], valued: Iterable[Attribute], alive: Alive) -> dict[Attribute, int]:
    """Attributes that have to change for the equations to hold; what cannot be, is left out.

    First the numbers used as they are; then, where a number was computed, the one attribute that
    can make it right. An attribute that is also used as a value, or that would need two values,
    stays.
    """
    highest, torn = _highest(uses, set(valued), alive)
    return {name: n for name, n in highest.items() if name not in torn and n != name.value}


def _highest(
    uses: Sequence[Use], valued: set[Attribute], alive: Alive
) -> tuple[dict[Attribute, int], set[Attribute]]:
    """The largest number that is wanted of each attribute, and those of which several are."""
    highest: dict[Attribute, int] = {name: name.value for name in valued}
    torn = set(valued)
    for use in uses:
        if isinstance(use.term, Attribute):
            _want(use.term, use.want.after(alive), highest, torn)
    direct = set(highest)
    for use in uses:
        own = set(attributes_of(use.term)) - direct
        wanted = use.want.after(alive)
        if wanted is None or not own or isinstance(use.term, Attribute):
            continue
        if value_of(use.term, highest, alive) == wanted:
            continue
        step = 1 if use.want.per > 0 else -1
        for near in range(wanted, wanted + _FAR * step, step):  # 3 * width is never 43, but 45
            answers = {name: solved_for(name, use.term, near, highest, alive) for name in own}
            possible = {name: n for name, n in answers.items() if n is not None and n > 0}
            if possible:
                break
        if len(possible) == 1:
            ((name, n),) = possible.items()
            _want(name, n, highest, torn)
            torn |= {name} if near != wanted else set()
    return highest, torn


_FAR = 16
"""How much further than what is wanted a number is looked for that the code can give."""


def _want(
    name: Attribute, wanted: int | None, highest: dict[Attribute, int], torn: set[Attribute]
) -> None:
    if wanted is None:
        torn.add(name)
    elif highest.setdefault(name, wanted) != wanted:
        torn.add(name)
        highest[name] = max(highest[name], wanted)


class Balance:
    """A removal from which channels are given back until sizes that must be equal are.

    `lines` says for every group that got some back which line of the code wanted it.
    """

    def __init__(self, book: Notebook, channels: ChannelMap, remove: Removal) -> None:
        self.alive: Alive = np.ones(book.n_labels, dtype=bool)
        self.lines: dict[str, str] = {}
        self._names = [name for name, gone in remove.items() if gone]
        self._gone = {name: set(remove[name]) for name in self._names}
        self._group = np.full(book.n_labels, -1, dtype=np.int64)
        self._channel = np.zeros(book.n_labels, dtype=np.int64)
        self._labels: dict[str, NDArray[np.int64]] = {}
        for k, name in enumerate(self._names):
            rows = []
            for member in channels.by_name[name].members:
                labels = book.labels[member.parameter, member.dim].numpy()[member.index]
                self._group[labels] = k
                self._channel[labels] = np.arange(len(labels))[:, None]
                rows.append(labels)
            self._labels[name] = np.concatenate(rows, axis=1)
            self.alive[self._labels[name][list(remove[name])]] = False

    @property
    def remove(self) -> dict[str, tuple[int, ...]]:
        """What still goes."""
        return {name: tuple(sorted(gone)) for name, gone in self._gone.items() if gone}

    def settle(self, uses: Sequence[Use], valued: set[Attribute]) -> None:
        """Give channels back until every equation holds or nothing more can be done for it."""
        changed = True
        while changed:
            changed = False
            highest, _ = _highest(uses, valued, self.alive)
            for use in uses:
                now, wanted = value_of(use.term, highest, self.alive), use.want.after(self.alive)
                if now is not None and wanted is not None and now != wanted:
                    changed |= self._repaired(use, now, wanted, uses, highest)

    def _repaired(
        self, use: Use, now: int, wanted: int, uses: Sequence[Use], highest: Values
    ) -> bool:
        """Raise the smaller side of an equation."""
        sign = 1 if use.want.per > 0 else -1
        if sign * now > sign * wanted:
            return self._raise(use.want, now, use)
        for extent in extents_of(use.term):
            n = solved_for(extent, use.term, wanted, highest, self.alive)
            if n is not None and self._raise(Want(0, extent.labels, extent.dim), n, use):
                return True
        for name in set(attributes_of(use.term)):
            n = solved_for(name, use.term, wanted, highest, self.alive)
            if n is None or n <= highest.get(name, name.value):
                continue
            raised = [self._raise(other.want, n, use) for other in uses if other.term == name]
            if any(raised):
                return True
        return False

    def _raise(self, want: Want, size: int, use: Use) -> bool:
        """Give back channels, first ones first, until this many are there; whether any came."""
        if want.labels is None:
            return False
        row = want.labels
        for dim in range(row.ndim):
            row = row if dim == want.dim else row.narrow(dim, 0, 1)
        labels = row.flatten().numpy()
        changed = False
        for label in labels[~self.alive[labels]].tolist():
            if self.alive[labels].sum() >= size * want.per:
                break
            if self.alive[label]:
                continue
            name, channel = self._names[self._group[label]], int(self._channel[label])
            self._gone[name].discard(channel)
            self.alive[self._labels[name][channel]] = True
            self.lines.setdefault(name, use.source)
            changed = True
        return changed
