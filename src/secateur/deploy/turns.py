"""Calls timed by turns, so that what else the machine does meets all alike. Loads no torch."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from secateur.errors import DeployError

_FEWEST, _SECONDS = 5, 5.0
"""After this many seconds no call is timed more often than this."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one example: the median and the quartiles of `repetitions` calls."""

    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    repetitions: int
    warm_up: int
    machine: str

    def __str__(self) -> str:
        return f"{self.median_ms:.3g} ({self.lower_quartile_ms:.3g}–{self.upper_quartile_ms:.3g})"


@dataclass(frozen=True)
class Comparison:
    """What one example takes before a cut and after it, in milliseconds, measured by turns.

    `rows` maps what ran it to both times; the second is None where it was not measured.
    """

    rows: Mapping[str, tuple[Latency, Latency | None]]

    def __str__(self) -> str:
        """The table: medians, with quartiles in brackets."""
        lines = [f"{'latency, ms':<30}{'before':>22}{'after':>22}{'left':>8}"]
        for name, (before, after) in self.rows.items():
            left = "" if after is None else f"{after.median_ms / before.median_ms:.0%}"
            shown = "" if after is None else str(after)
            lines.append(f"{name:<30}{before!s:>22}{shown:>22}{left:>8}")
        return "\n".join(lines)


def by_turns(
    calls: Mapping[str, Callable[[], object]],
    machine: str,
    repetitions: int = 50,
    warm_up: int = 10,
) -> dict[str, Latency]:
    """Time calls one after the other, round by round, by the thread's own clock.

    That is what a clock shows when nothing else runs. Where all rounds would take longer than five
    seconds fewer are made, five at least.

    Raises:
        DeployError: the numbers of calls are not positive.
    """
    if repetitions < 1 or warm_up < 0:
        raise DeployError(
            f"{repetitions} calls after {warm_up} to warm up cannot be timed; give at least 1 and 0"
        )
    times: dict[str, list[float]] = {name: [] for name in calls}
    warmed, spent = 0, 0.0
    for _ in range(warm_up):
        if spent < _SECONDS:
            spent += sum(_ms(call) for call in calls.values()) / 1000
            warmed += 1
    spent = 0.0
    for k in range(repetitions):
        if k >= _FEWEST and spent > _SECONDS:
            break
        for name, call in calls.items():
            times[name].append(_ms(call))
            spent += times[name][-1] / 1000
    return {name: _latency(found, warmed, machine) for name, found in times.items()}


def on_this_machine(what: str) -> str:
    """What runs, on what, in words."""
    return f"{platform.machine()}, {what}, 1 thread"


def _ms(call: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - began) * 1e-6


def _latency(times: list[float], warm_up: int, machine: str) -> Latency:
    low, middle, high = (float(q) for q in np.percentile(times, (25, 50, 75)))
    return Latency(middle, low, high, len(times), warm_up, machine)
