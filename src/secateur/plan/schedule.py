"""Pruning in steps: how much of a budget each of n steps asks for. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from secateur.channels.groups import ChannelMap
from secateur.errors import BudgetError
from secateur.plan.budget import Budget, stored
from secateur.plan.reach import limits

Schedule = Callable[[int, int], float]
"""Step t and number of steps n in, 1 <= t <= n; the share in (0, 1] of the way to the budget."""


def one_shot(step: int, n_steps: int) -> float:
    """Everything in the first step.

    >>> [one_shot(t, 2) for t in (1, 2)]
    [1.0, 1.0]
    """
    _check(step, n_steps)
    return 1.0


def linear(step: int, n_steps: int) -> float:
    """The same amount in every step: t / n.

    >>> [linear(t, 4) for t in (1, 2, 3, 4)]
    [0.25, 0.5, 0.75, 1.0]
    """
    _check(step, n_steps)
    return step / n_steps


def cubic(step: int, n_steps: int) -> float:
    """Much at first, little at the end: 1 - (1 - t / n)^3.

    Reference: Zhu & Gupta, To Prune, or Not to Prune, 2017, equation 1, from a sparsity of 0.

    >>> [cubic(t, 2) for t in (1, 2)]
    [0.875, 1.0]
    """
    _check(step, n_steps)
    return 1 - (1 - step / n_steps) ** 3


SCHEDULES: Mapping[str, Schedule] = {"one_shot": one_shot, "linear": linear, "cubic": cubic}


def scaled(budget: Budget, whole: ChannelMap, share: float, done: float = 0.0) -> Budget:
    """The budget of a step: `share` of the way from the whole network to `budget`.

    Limits become counts between those of the whole network and those asked for, so they hold for
    any network on the way. Shares of channels are of the network the step starts from: `done` is
    the share of the way it has come already, 0 for the whole network (with or without a mask).
    Rules are left as they are.

    Args:
        budget: what is asked for in the end.
        whole: the channel map of the network before the first step.
        share: how far along this step goes, in [0, 1].
        done: how far along the network is when the step begins, in [0, share].

    Raises:
        BudgetError: the shares are out of order, or `max_ratio` is given for a network that has
            been cut, whose groups' first widths are not known.
    """
    if not 0 <= done <= share <= 1:
        raise BudgetError(f"a step goes from done={done} to share={share}; 0 <= done <= share <= 1")
    if done and budget.max_ratio < 1:
        raise BudgetError(
            "max_ratio is a share of the first widths, which a network that has been cut no longer "
            "shows; use min_channels or ratios, or mask the whole network until the last step"
        )

    def ratio(final: float) -> float:
        return 1 - (1 - share * final) / (1 - done * final)

    at_most = {
        name: whole_size - share * (whole_size - asked)
        for name, (asked, whole_size) in limits(whole, budget).items()
    }
    size, dtype = None, stored(budget.bytes)[1] if budget.bytes is not None else "float32"
    if budget.bytes is not None:
        size = f"{int(at_most[f'bytes_{dtype}'])}B@{dtype}"
    return replace(
        budget,
        pruning_ratio=None if budget.pruning_ratio is None else ratio(budget.pruning_ratio),
        params=int(at_most["params"]) if "params" in at_most else None,
        macs=int(at_most["macs"]) if "macs" in at_most else None,
        bytes=size,
        latency_ms=at_most.get("latency_ms"),
        ratios={name: ratio(final) for name, final in budget.ratios.items()},
    )


def _check(step: int, n_steps: int) -> None:
    whole = isinstance(step, int) and isinstance(n_steps, int)
    if not whole or not 1 <= step <= n_steps:
        raise BudgetError(f"step {step!r} of {n_steps!r}; whole steps count from 1 to their number")
