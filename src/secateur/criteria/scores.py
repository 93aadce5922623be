"""The border value of this stage: what every channel is worth. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secateur.channels.tabular import (
    COLUMNS,
    MOST,
    Table,
    by_reason,
    clipped,
    notebook,
    paragraph,
    shortened,
    wrapped,
)
from secateur.errors import CriterionError

Reduction = Literal["sum", "mean", "max", "first"]
"""How the scores of coupled filters become one score a channel."""


@dataclass(frozen=True)
class Scores:
    """One criterion's scores, higher = keep.

    `filters` maps a layer's name to one score a filter, shape (n_filters,), for analysis.
    `groups` maps a channel group's name to one score a channel, shape (n_channels,), for planning;
    `reduction` says how coupled filters were made one. `sizes` maps a group's name to the numbers
    that the filters of one of its channels hold, all coupled layers together. `constant` names the
    layers whose filters all score the same: there the criterion cannot choose. `left_out` maps the
    name of a group that the criterion cannot score to the reason; a plan leaves it alone.
    """

    criterion: str
    reduction: Reduction
    filters: Mapping[str, NDArray[np.float64]]
    groups: Mapping[str, NDArray[np.float64]]
    sizes: Mapping[str, int] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def of(self, group: str) -> NDArray[np.float64]:
        """The scores of a group's channels, (n_channels,); empty if the group is not known.

        Raises:
            CriterionError: the criterion cannot score the group.
        """
        if (why := self.left_out.get(group)) is not None:
            raise CriterionError(
                f"criterion {self.criterion!r} cannot score group {group!r}: {why}; "
                "choose another criterion"
            )
        return self.groups.get(group, np.empty(0))

    def __str__(self) -> str:
        """A row a group: its channels, their lowest, median and highest score, and how many tie."""
        title = f"{self._title()}: higher = keep"
        return "\n".join(wrapped([title, *self._table().lines(), *self._rest()]))

    def _repr_html_(self) -> str:
        """The same table for a notebook."""
        rest = "\n".join(self._rest())
        return notebook(self._table().html(), paragraph(rest) if rest else "")

    def _title(self) -> str:
        coupled = "the first" if self.reduction == "first" else f"the {self.reduction}"
        return f"{self.criterion}, {coupled} of coupled filters"

    def _table(self) -> Table:
        more = len(self.groups) - MOST
        return Table(
            f"{self._title()} (higher = keep)",
            ("group", "channels", "lowest", "median", "highest", "tied"),
            [_row(name, scores) for name, scores in list(self.groups.items())[:MOST]],
            below=f"… and {more} more groups: scores.groups holds all" if more > 0 else "",
        )

    def _rest(self) -> list[str]:
        lines = by_reason("left out", self.left_out)
        if self.constant:
            names = shortened(self.constant, COLUMNS // 2)
            lines.append(f"cannot choose, all filters score the same: {names}")
        return lines


def _row(name: str, scores: NDArray[np.float64]) -> tuple[str, ...]:
    """`tied` counts the channels whose score another channel of the group has too.

    >>> _row("stem", np.array([1.0, 3.0, 3.0, 0.5]))
    ('stem', '4', '0.5000', '2.000', '3.000', '2')
    """
    times = np.unique(scores, return_counts=True)[1]
    low, middle, high = np.quantile(scores, (0, 0.5, 1)) if scores.size else (np.nan,) * 3
    numbers = tuple(f"{value:#.4g}".rstrip(".") for value in (low, middle, high))
    return (clipped(name, MOST), f"{scores.size:,}", *numbers, f"{times[times > 1].sum():,}")
