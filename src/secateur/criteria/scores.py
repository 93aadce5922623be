"""The border value of this stage: what every channel is worth. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
