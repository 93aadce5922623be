"""Making the scores of different groups comparable before they are sorted together. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from secateur.errors import PlanError, unknown_name

Values = NDArray[np.float64]
Normalisation = Literal["none", "mean", "max", "gaussian", "sqrt_d"]


def over_mean(scores: Values, size: int) -> Values:
    """Divided by the mean magnitude of the group.

    >>> over_mean(np.array([1.0, 3.0]), 9)
    array([0.5, 1.5])
    """
    del size
    return scores / (np.abs(scores).mean() or 1.0)


def over_max(scores: Values, size: int) -> Values:
    """Divided by the largest magnitude of the group.

    >>> over_max(np.array([1.0, 4.0]), 9)
    array([0.25, 1.  ])
    """
    del size
    return scores / (np.abs(scores).max() or 1.0)


def standardised(scores: Values, size: int) -> Values:
    """Less the mean, over the standard deviation of the group; all 0 where every score is equal.

    >>> standardised(np.array([1.0, 3.0]), 9)
    array([-1.,  1.])
    """
    del size
    if np.ptp(scores) == 0:
        return np.zeros_like(scores)
    centred = scores - scores.mean()
    return cast(Values, centred / (centred.std() or 1.0))


def over_sqrt_size(scores: Values, size: int) -> Values:
    """Divided by the square root of d, the numbers in the filters of one channel.

    >>> over_sqrt_size(np.array([3.0, 6.0]), 9)
    array([1., 2.])
    """
    return scores / sqrt(max(size, 1))


NORMALISATIONS: Mapping[Normalisation, Callable[[Values, int], Values]] = {
    "none": lambda scores, _: scores,
    "mean": over_mean,
    "max": over_max,
    "gaussian": standardised,
    "sqrt_d": over_sqrt_size,
}
"""By name: the scores of a group and the size d of its filters in, comparable scores out. None
changes the order within a group."""


def normalised(scores: Values, size: int, normalisation: Normalisation) -> Values:
    """One group's scores, made comparable with other groups' scores.

    Raises:
        PlanError: there is no such normalisation.
    """
    if normalisation not in get_args(Normalisation):
        raise PlanError(unknown_name("normalisation", str(normalisation), NORMALISATIONS))
    return NORMALISATIONS[normalisation](scores, size)
