"""The border value of this stage: what every channel is worth. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reduction = Literal["sum", "mean", "max", "first"]
"""How the scores of coupled filters become one score a channel."""


@dataclass(frozen=True)
class Scores:
    """One criterion's scores, higher = keep.

    `filters` maps a layer's name to one score a filter, shape (n_filters,), for analysis.
    `groups` maps a channel group's name to one score a channel, shape (n_channels,), for planning;
    `reduction` says how coupled filters were made one. `sizes` maps a group's name to the numbers
    that the filters of one of its channels hold, all coupled layers together. `constant` names the
    layers whose filters all score the same: there the criterion cannot choose.
    """

    criterion: str
    reduction: Reduction
    filters: Mapping[str, NDArray[np.float64]]
    groups: Mapping[str, NDArray[np.float64]]
    sizes: Mapping[str, int] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
