"""What a run on shapes starts from, knows of operators, and writes down of single calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.channels.labels import Notebook
from secateur.channels.rules import Rule

Situation = tuple[str | int, ...]
"""A line of the network's code, and numbers that tell calls on it apart."""


class Number(NamedTuple):
    """Numbers among the arguments of an element-wise operator that meets channels.

    Or what channels were reduced to. `call` is the run's latest call then, `source` the line, where
    the numbers are not those that were expected.
    """

    operator: str
    numbers: tuple[float, ...]
    call: int
    source: str


@dataclass(frozen=True)
class Given:
    """What a run of a network on the shapes that a plan leaves starts from.

    `labels` are those that survive, along (parameter, dim), `kept` their positions where some go,
    and `shapes` the parameters' own. What else has to change with them, `change` changes in place
    before the run. `notebook` knows the owners of the original's labels and is otherwise empty;
    `decisions` are the original's, in order for each situation, and so are the `numbers` that met
    channels.
    """

    labels: Mapping[tuple[str, int], Tensor]
    kept: Mapping[tuple[str, int], NDArray[np.int64]]
    shapes: Mapping[str, tuple[int, ...]]
    change: Callable[[], None]
    notebook: Notebook
    decisions: Mapping[Situation, Sequence[int]]
    numbers: Sequence[Number]


class Across(NamedTuple):
    """An operator across channels: see `groups.Mixing`."""

    operator: str
    reason: str
    source: str
    silent: bool
    weights: bool


class Operator(NamedTuple):
    """What is known of an operator: its name without overload, and what it does to labels.

    `shows` says that a parameter is still itself afterwards, `counts` that it costs MACs.
    """

    name: str
    rule: Rule
    shape: Callable[..., Any] | None
    shows: bool
    counts: bool
    draws: bool
