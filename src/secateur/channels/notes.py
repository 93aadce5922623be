"""What a run on shapes starts from, knows of operators, and writes down of single calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from secateur.channels.labels import Notebook
from secateur.channels.rules import Rule
from secateur.channels.splits import Choices

Situation = tuple[str | int, ...]
"""A line of the network's code, and numbers that tell calls on it apart."""


class Number(NamedTuple):
    """Numbers among the arguments of an element-wise operator that meets channels.

    Or what channels were reduced to. `call` is the run's call, or the one that reduced, `source`
    the line, where the numbers are not those that were expected.
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
    channels. `choices` are other ones than the original's, by a second run of it.
    """

    labels: Mapping[tuple[str, int], Tensor]
    kept: Mapping[tuple[str, int], NDArray[np.int64]]
    shapes: Mapping[str, tuple[int, ...]]
    change: Callable[[], None]
    notebook: Notebook
    decisions: Mapping[Situation, Sequence[int]]
    numbers: Sequence[Number]
    choices: Choices = field(default_factory=dict)


def repeating(
    decisions: Mapping[Situation, Sequence[int]], choices: Choices | None = None
) -> Given:
    """What a run starts from that makes these decisions, of a network as it is."""
    return Given({}, {}, {}, lambda: None, Notebook(), decisions, (), choices or {})


class Step(NamedTuple):
    """One operator of a run, with the line of the network's code and the module that called it."""

    operator: Operator
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: list[Tensor]
    out: Any
    source: str = ""
    module: str = ""


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
