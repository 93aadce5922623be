"""What a network lacks without half of one group, repaired: tried, group by group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import recorded
from secateur.channels.walk import tensors_of
from secateur.plan.balanced import Damage
from secateur.plan.select import manual
from secateur.surgery import readers
from secateur.surgery.examples import drawn
from secateur.surgery.least_squares import ridges
from secateur.surgery.prove import Proof, lined_up
from secateur.surgery.rebuild import rebuild, shrink
from secateur.surgery.reconstruct import output_error
from secateur.surgery.walk import Walk
from secateur.surgery.watching import survey_of

HELD_OUT = 0.4
"""Share of the inputs on which probes are judged."""

MOST = 128
"""Distinct inputs that probes take, the first ones."""


def probed(
    channels: ChannelMap,
    order: Mapping[str, Sequence[int]],
    losses: Mapping[str, Any],
    batches: Iterable[Any],
    *,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Damage:
    """Forecast what every group costs, from a repaired cut of half of it alone.

    Half of a group is cut, the layers behind it are refitted on 60 % of the inputs, and the outputs
    on the others are compared with the uncut network's: the square of their relative error is what
    half costs, and other numbers of channels cost in the proportion of `losses`. A group without
    these is cut by a quarter, a half and three quarters.

    Args:
        channels: what `trace` found out about the network.
        order: by group, its channels, the first to go first.
        losses: by group, for 1 to all of its channels gone in this order, what their readers lack.
        batches: of inputs, as for `reconstruct`.
        seed: of the inputs that are held out and the places that are looked at.
        on_progress: called with what is being done.

    Raises:
        SurgeryError: the inputs are of no use.
    """
    model = channels.network
    run, channels = recorded(model, channels.example_input, channels)
    proof = Proof(model, channels.example_input, run, channels)
    device = next(iter(tensors_of(model).values())).device
    calls, n_inputs = drawn(batches, device, seed, MOST, HELD_OUT)
    full = rebuild(model, {})
    survey = survey_of(full, calls, readers.sites_of(model, {}, channels))

    def error(name: str, n: int) -> float | str:
        """The squared error without n channels of a group, or why these cannot go."""
        plan = lined_up(proof, manual(channels, {name: order[name][:n]}))
        if name not in plan.remove:
            return plan.held_back.get(name, "its channels cannot go alone")
        sites = readers.sites_of(model, plan.remove, channels)
        small = shrink(model, plan, channels)
        Walk(full, small, calls, sites, survey, seed).repaired(
            lambda one: ridges(readers.located(full, one)[1].weight.dtype, n_inputs)
        )
        return output_error(small, calls, survey) ** 2

    squares, left_out = {}, {}
    for k, (name, channels_of) in enumerate(order.items(), start=1):
        on_progress(f"probing group {k} of {len(order)}")
        size = len(channels_of)
        tried = (size // 2,) if name in losses else (size // 4, size // 2, size * 3 // 4)
        found = {n: error(name, n) for n in dict.fromkeys(max(1, n) for n in tried) if n < size}
        why = [one for one in found.values() if isinstance(one, str)]
        if why or not found:
            left_out[name] = why[0] if why else "it has a single channel"
            continue
        at = {n: float(one) for n, one in found.items() if not isinstance(one, str)}
        squares[name] = _curve(size, at, losses.get(name))
    return Damage(squares, left_out)


def _curve(size: int, found: Mapping[int, float], losses: Any) -> Any:
    """Squared errors for 0 to all channels: like the losses, or along lines between those found."""
    if losses is not None:
        (n, square), *_ = found.items()
        running = np.concatenate([[0.0], losses])
        if running[n] > 0:
            return running * (square / running[n])
    counts, squares = [0, *found], [0.0, *found.values()]
    slope = max(0.0, (squares[-1] - squares[-2]) / (counts[-1] - counts[-2]))
    counts, squares = [*counts, size], [*squares, squares[-1] + slope * (size - counts[-1])]
    return np.maximum.accumulate(np.interp(np.arange(size + 1), counts, squares))
