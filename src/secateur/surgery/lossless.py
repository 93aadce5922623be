"""Lossless first: channels that give nothing, or a constant that the next bias takes up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.channels.trace import Example, trace
from secateur.errors import VerificationError
from secateur.plan.plan import PruningPlan
from secateur.plan.select import by_hand
from secateur.surgery.absorb import shift, sites_of
from secateur.surgery.constants import Place, Read, Reading, read_constants
from secateur.surgery.cut import cut
from secateur.surgery.prove import settle
from secateur.surgery.verify import TOLERANCE, difference

SILENT = "it is zero wherever it is read"
UNREAD = "every weight that reads it is zero"
NOTHING = "it is zero, or the weights are, wherever it is read"
CONSTANT = "it is a constant that the next biases can take up"


@dataclass(frozen=True)
class FreeChannels:
    """Channels whose removal leaves every output as it is, whatever the input.

    `reasons` maps a group to its free channels and why each is free; `constant` to those among
    them that add a constant, so that the biases behind them must be shifted (`cut_lossless` does).
    `shifts` holds these constants by the weight that reads them and the position along it, and
    `alone` names the weights whose output one operator reads.
    """

    reasons: Mapping[str, Mapping[int, str]]
    constant: Mapping[str, tuple[int, ...]]
    shifts: Mapping[Place, Mapping[int, Tensor]] = field(repr=False, compare=False)
    alone: frozenset[str] = frozenset()

    @property
    def n_channels(self) -> int:
        """How many there are."""
        return sum(map(len, self.reasons.values()))

    def among(self, plan: PruningPlan) -> tuple[int, int]:
        """How many channels of a plan give nothing, and how many a constant."""
        free = [(name, j) for name, gone in plan.remove.items() for j in gone if j in self.of(name)]
        constant = sum(j in self.constant.get(name, ()) for name, j in free)
        return len(free) - constant, constant

    def of(self, group: str) -> Mapping[int, str]:
        """The free channels of a group and why; none where there are none."""
        return self.reasons.get(group, {})


@dataclass(frozen=True)
class Lossless:
    """A smaller network with the same outputs, what was cut, and how far the outputs are apart.

    `relative_error` is max |after - before| / max |before| in float64 on random input; `shifted`
    names the layers whose bias took up constants.
    """

    network: nn.Module
    plan: PruningPlan
    relative_error: float
    shifted: tuple[str, ...]


def free_channels(model: nn.Module, channels: ChannelMap, example_input: Example) -> FreeChannels:
    """Find the channels that can go without any change, from the weights alone.

    A channel is free if nothing of it arrives anywhere: a batch norm whose scale and shift are
    zero, filters of zeros without bias, a negative shift before a ReLU, weights of zero in every
    layer that reads it; where branches are added, their sum must be zero. It is free as well if
    it adds the same number wherever a layer reads it: a scale of zero leaves the shift, a constant,
    and the layer's bias takes it up. A constant that a zero-padded layer reads counts less at the
    border and is not free.

    Only exact zeros count. In groups that a softmax, a norm over channels or a product of feature
    maps touches no channel is called free, nor where a weight is computed before it is used.

    Args:
        model: the network; only its weights are looked at, and it stays as it is.
        channels: its channel map.
        example_input: what the network was traced with; what is constant at the border is judged
            at this size.
    """
    reading = read_constants(model, example_input)
    reasons: dict[str, dict[int, str]] = {}
    constant: dict[str, tuple[int, ...]] = {}
    if reading.opaque:
        return FreeChannels({}, {}, {})
    biased = _with_a_bias(model, channels)
    touched = {name for mixing in channels.mixing for name in mixing.groups}
    touched |= {name for p in channels.products for along in p.per_channel for name in along}
    for group in channels.groups:
        if group.name in touched:
            continue
        if found := _free_of(group, reading, biased):
            reasons[group.name] = found
            if constants := tuple(j for j, why in found.items() if why == CONSTANT):
                constant[group.name] = constants
    known = {place: read for place, read in reading.reads.items() if read.constants}
    shifts = {place: read.constants for place, read in known.items()}
    alone = frozenset(name for (name, _), read in known.items() if read.alone)
    return FreeChannels(reasons, constant, shifts, alone)


def lossless(channels: ChannelMap, free: FreeChannels, *, constants: bool = True) -> PruningPlan:
    """A plan of the free channels; of a group that is free altogether the first one stays.

    Cut a plan with constants by `cut_lossless`; one without them leaves the outputs as they are
    with any cut.
    """
    remove = {}
    for name, found in free.reasons.items():
        gone = [j for j in found if constants or j not in free.constant.get(name, ())]
        remove[name] = gone[1:] if len(gone) == channels.by_name[name].n_channels else gone
    return replace(by_hand(channels, remove), how="lossless")


def cut_lossless(model: nn.Module, example_input: Example, *, constants: bool = True) -> Lossless:
    """Cut every free channel and check that the outputs stay; `model` is untouched.

    Groups that the network's code cannot follow are held back, as by `settle`.

    Raises:
        TraceError: the network cannot be traced.
        VerificationError: an output changed.
    """
    channels = trace(model, example_input)
    free = free_channels(model, channels, example_input)
    plan = settle(model, lossless(channels, free, constants=constants), example_input)
    small = cut(model, plan, example_input)
    shifted = _take_up(model, small, plan, channels, free)
    error = difference(model, small, example_input)
    precisions = [torch.finfo(p.dtype).eps for p in model.parameters() if p.is_floating_point()]
    allowed = 100 * max(precisions, default=0.0) if shifted else TOLERANCE
    if not error <= allowed:
        raise VerificationError(
            f"the network without its free channels differs by {error:.2g} (allowed {allowed:g}); "
            "the model that came in is untouched. Cut without constants, or report this network"
        )
    return Lossless(small, plan, error, shifted)


def _free_of(group: ChannelGroup, reading: Reading, biased: frozenset[str]) -> dict[int, str]:
    """The free channels of one group."""
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
        for why in ("silent", "unread", "nothing")
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
            found[j] = SILENT if every["silent"][j] else UNREAD if every["unread"][j] else NOTHING
        elif bool(constant[j]):
            found[j] = CONSTANT
    return found


def _with_a_bias(model: nn.Module, channels: ChannelMap) -> frozenset[str]:
    """Weights of modules that have a bias, or can be given one."""
    everything = {group.name: range(group.n_channels) for group in channels.groups}
    sites, _ = sites_of(model, everything, channels)
    return frozenset(f"{name}.weight" for name in sites)


def _take_up(
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    free: FreeChannels,
) -> tuple[str, ...]:
    """Shift the biases of a cut network, in place, by the constants that went."""
    lost: dict[str, Tensor] = {}
    for name, gone in plan.remove.items():
        for member in channels.by_name[name].members:
            constants = free.shifts.get((member.parameter, member.dim), {})
            for position in member.index[list(gone)].ravel().tolist():
                if position in constants:
                    before = lost.get(member.parameter, torch.zeros((), dtype=torch.float64))
                    lost[member.parameter] = before + constants[position]
    sites, _ = sites_of(model, plan.remove, channels)
    shifted = []
    for name, site in sites.items():
        given = lost.get(f"{name}.weight")
        if given is not None:
            stays = given if site.kept is None else given[site.kept]
            norm = site.norm if f"{name}.weight" in free.alone else None
            shift(small, name, replace(site, norm=norm), stays)
            shifted.append(name)
    return tuple(shifted)
