"""Dead channels: those that give nothing, or a constant that the next bias takes up."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import isfinite

import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.channels.trace import Example, trace
from secateur.errors import SurgeryError, VerificationError
from secateur.plan.plan import PruningPlan
from secateur.plan.select import manual
from secateur.surgery.constants import Place, Read, Reading, read_constants
from secateur.surgery.cut import cut
from secateur.surgery.dead_removal import DeadRemoval
from secateur.surgery.precise import difference
from secateur.surgery.precision import difference_in_own_precision, precision_of
from secateur.surgery.pruned import Pruned
from secateur.surgery.readers import shift, sites_of
from secateur.surgery.readers import shifted as shifted_tensor
from secateur.surgery.verification import TOLERANCE

SILENT = "it is zero wherever it is read"
UNREAD = "every weight that reads it is zero"
NOTHING = "it is zero, or the weights are, wherever it is read"
NEGLIGIBLE = "what it gives vanishes in the rounding wherever it is read"
_EXACT = {"silent": SILENT, "unread": UNREAD, "zero": NOTHING}
CONSTANT = "it is a constant that the next biases can take up"


@dataclass(frozen=True)
class DeadChannels:
    """Channels whose removal changes no output by more than rounding, whatever the input.

    `reasons` maps a group to its dead channels and why each is dead; `constant` to those among
    them that add a constant, so that the biases behind them must be shifted (`remove_dead` does).
    `shifts` holds these constants by the weight that reads them and the position along it, and
    `alone` names the weights whose output one operator reads. `tolerance` is the share of an output
    that all that is dropped of it may come to.
    """

    reasons: Mapping[str, Mapping[int, str]]
    constant: Mapping[str, tuple[int, ...]]
    shifts: Mapping[Place, Mapping[int, Tensor]] = field(repr=False, compare=False)
    alone: frozenset[str] = frozenset()
    tolerance: float = 0.0

    @property
    def n_channels(self) -> int:
        """How many there are."""
        return sum(map(len, self.reasons.values()))

    def among(self, plan: PruningPlan) -> tuple[int, int]:
        """How many channels of a plan give nothing, and how many a constant."""
        dead = [(name, j) for name, gone in plan.remove.items() for j in gone if j in self.of(name)]
        constant = sum(j in self.constant.get(name, ()) for name, j in dead)
        return len(dead) - constant, constant

    def of(self, group: str) -> Mapping[int, str]:
        """The dead channels of a group and why; none where there are none."""
        return self.reasons.get(group, {})


def dead_channels(channels: ChannelMap, *, tolerance: float | None = None) -> DeadChannels:
    """Find the channels that can go without any change beyond rounding.

    A channel is dead if nothing of it arrives anywhere: a batch norm whose scale and shift are
    zero, filters of zeros without bias, a negative shift before a ReLU, weights of zero in every
    layer that reads it; where branches are added, their sum must be zero. It is dead as well if
    it adds the same number wherever a layer reads it: a scale of zero leaves the shift, a constant,
    and the layer's bias takes it up. A constant that a zero-padded layer reads counts less at the
    border and does not make its channel dead.

    Small numbers count as zero where they vanish in rounding. In one run on seeded random input it
    is followed, through scales, activations and sums, how far any input can move each number:
    input for which no feature map grows beyond 1e6 times its largest value in this run (or 1, if
    that is more). A channel gives nothing if at every layer that reads n channels it comes to at
    most tolerance / n of the largest value of each output. So a batch-norm scale of 1e-41 is zero,
    but not where a later scale, weight or small running variance makes up for it. In a layer all of
    whose inputs are that small, outputs are as small as what is dropped, and only a bias hides it.

    In groups that a softmax, a norm over channels or a product of feature maps touches no channel
    is called dead, nor where a weight is computed before it is used.

    Args:
        channels: what `trace` found out about the network; what is constant at the border is judged
            at the size of the example it was traced with.
        tolerance: the share of an output that all that is dropped of it may come to; the rounding
            of the network's own precision if None (float32: 1.2e-7). At 0.0 only exact zeros count.

    Raises:
        SurgeryError: the tolerance is not a number in [0, 1).
        ChannelMapError: the map knows no network, or one of other shapes.
    """
    model, example_input = channels.network, channels.example_input
    tolerance = _tolerance(model, tolerance)
    reading = read_constants(model, example_input, tolerance)
    reasons: dict[str, dict[int, str]] = {}
    constant: dict[str, tuple[int, ...]] = {}
    if reading.opaque:
        return DeadChannels({}, {}, {}, tolerance=tolerance)
    biased = _with_a_bias(model, channels)
    touched = {name for mixing in channels.mixing for name in mixing.groups}
    touched |= {name for p in channels.products for along in p.per_channel for name in along}
    for group in channels.groups:
        if group.name in touched:
            continue
        if found := _dead_of(group, reading, biased):
            reasons[group.name] = found
            if constants := tuple(j for j, why in found.items() if why == CONSTANT):
                constant[group.name] = constants
    known = {place: read for place, read in reading.reads.items() if read.constants}
    shifts = {place: read.constants for place, read in known.items()}
    alone = frozenset(name for (name, _), read in known.items() if read.alone)
    return DeadChannels(reasons, constant, shifts, alone, tolerance)


def plan_dead(channels: ChannelMap, dead: DeadChannels, *, constants: bool = True) -> PruningPlan:
    """A plan of the dead channels; of a group that is dead altogether the first one stays.

    Cut a plan with constants by `remove_dead`; one without them leaves the outputs as they are
    with any cut.
    """
    remove = {}
    for name, found in dead.reasons.items():
        gone = [j for j in found if constants or j not in dead.constant.get(name, ())]
        remove[name] = gone[1:] if len(gone) == channels.by_name[name].n_channels else gone
    return replace(manual(channels, remove), how="dead channels")


def remove_dead(
    model: nn.Module | Pruned,
    example_input: Example,
    *,
    constants: bool = True,
    tolerance: float | None = None,
) -> Pruned:
    """Cut every dead channel and check that the outputs stay; `model` is left as it was.

    The outputs are compared on seeded random input in float64 and in the network's own precision:
    `dead_removal` of the answer. Should they differ by more than the tolerance, only channels that
    are exactly zero or constant go. Groups that the network's code cannot follow are held back, as
    by `cut`.

    Args:
        model: any network that runs, or what was cut before; `prune` takes the answer.
        example_input: as for `trace`.
        constants: whether channels go that add a constant, which the next biases take up.
        tolerance: as for `dead_channels`.

    Raises:
        SurgeryError: the tolerance is not a number in [0, 1).
        TraceError: the network cannot be traced.
        VerificationError: an output changed though only exact zeros and constants went.
    """
    earlier = model if isinstance(model, Pruned) else None
    network = model.network if isinstance(model, Pruned) else model
    channels = trace(network, example_input)
    tolerance = _tolerance(network, tolerance)
    if tolerance:
        dead = dead_channels(channels, tolerance=tolerance)
        with suppress(VerificationError):
            found, done = _removed(channels, dead, earlier, constants=constants)
            if _unchanged(done):
                return found
    dead = dead_channels(channels, tolerance=0.0)
    found, done = _removed(channels, dead, earlier, constants=constants)
    allowed = _allowed(done)
    if not done.relative_error <= allowed:
        raise VerificationError(
            f"the network without its dead channels differs by {done.relative_error:.2g} (allowed "
            f"{allowed:g}); the model that came in is untouched. Cut without constants, or report "
            "this network"
        )
    return found


def _tolerance(model: nn.Module, asked: float | None) -> float:
    if asked is None:
        return precision_of(model).rounding
    if not (isfinite(asked) and 0 <= asked < 1):
        raise SurgeryError(
            f"tolerance={asked!r} is no share of an output; give a number from 0 (only exact "
            "zeros) to below 1, or None for the rounding of the network's own precision"
        )
    return asked


def _removed(
    channels: ChannelMap, dead: DeadChannels, earlier: Pruned | None, *, constants: bool
) -> tuple[Pruned, DeadRemoval]:
    """Cut the dead channels, take up their constants, and compare."""
    model, example_input = channels.network, channels.example_input
    with warnings.catch_warnings():  # what is held back is in the plan
        warnings.filterwarnings("ignore", ".* groups are held back")
        found = cut(channels, plan_dead(channels, dead, constants=constants), earlier=earlier)
    shifted: tuple[str, ...] = ()
    errors: tuple[float, float | None] = 0.0, 0.0  # of a copy, even where it answers no number
    if found.plan.remove:
        shifted, made = _take_up(found, dead)
        given = model, found.network, example_input
        errors = difference(*given), difference_in_own_precision(*given)
        found = replace(found, plan=replace(found.plan, made_biases=made))
    done = DeadRemoval(dead.tolerance, *errors, precision_of(model), shifted)
    return replace(found, dead_removal=done), done


def _allowed(done: DeadRemoval) -> float:
    """How far outputs may be apart in float64: biases that took up constants are rounded."""
    rounding = 100 * done.precision.rounding if done.shifted else 0.0
    return max(done.tolerance, TOLERANCE, rounding)


def _unchanged(done: DeadRemoval) -> bool:
    """Whether outputs differ by rounding only, of which a network's own precision does more."""
    own = done.error_in_own_precision
    sums = max(1000 * done.precision.rounding, done.tolerance)
    return done.relative_error <= _allowed(done) and (own is None or own <= sums)


def _dead_of(group: ChannelGroup, reading: Reading, biased: frozenset[str]) -> dict[int, str]:
    """The dead channels of one group."""
    reads: list[tuple[str, Read, Tensor]] = []
    for member in group.members:
        read = reading.reads.get((member.parameter, member.dim))
        if member.parameter in reading.derived or (read is None and member.role == "in"):
            return {}
        if read is not None:
            reads.append((member.parameter, read, torch.tensor(member.index)))
    if not reads:
        return {}
    every = {
        why: torch.stack([getattr(read, why)[index].all(1) for _, read, index in reads]).all(0)
        for why in ("silent", "unread", "zero", "nothing")
    }
    constant = torch.ones(group.n_channels, dtype=torch.bool)
    for parameter, read, index in reads:
        takes = read.nothing.clone()
        if parameter in biased:
            takes[list(read.constants)] = True
        constant &= takes[index].all(1)
    found = {}
    for j in range(group.n_channels):
        if bool(every["nothing"][j]):
            found[j] = next((why for key, why in _EXACT.items() if every[key][j]), NEGLIGIBLE)
        elif bool(constant[j]):
            found[j] = CONSTANT
    return found


def _with_a_bias(model: nn.Module, channels: ChannelMap) -> frozenset[str]:
    """Weights of modules that have a bias, or can be given one."""
    everything = {group.name: range(group.n_channels) for group in channels.groups}
    sites = sites_of(model, everything, channels)
    return frozenset(f"{name}.weight" for name, site in sites.items() if site.lost)


def _take_up(cut: Pruned, dead: DeadChannels) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Shift the biases of a cut network, in place, by the constants that went.

    Gives the layers whose biases are shifted, and the names of those biases that were made new.
    """
    channels, plan, small = cut.channels, cut.plan, cut.network
    lost: dict[str, Tensor] = {}
    for name, gone in plan.remove.items():
        for member in channels.by_name[name].members:
            constants = dead.shifts.get((member.parameter, member.dim), {})
            for position in member.index[list(gone)].ravel().tolist():
                if position in constants:
                    before = lost.get(member.parameter, torch.zeros((), dtype=torch.float64))
                    lost[member.parameter] = before + constants[position]
    shifted, made = [], []
    for name, site in sites_of(cut.model, plan.remove, channels).items():
        given = lost.get(f"{name}.weight")
        if given is not None:
            stays = given if site.kept is None else given[site.kept]
            norm = site.norm if f"{name}.weight" in dead.alone else None
            had_bias = shifted_tensor(small, name, norm) is not None
            shift(small, name, norm, stays)
            shifted.append(name)
            made += [] if had_bias else [f"{name}.bias"]
    return tuple(shifted), tuple(made)
