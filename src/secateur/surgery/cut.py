"""Plan in, smaller network out, and all that is known of the cut."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import recorded
from secateur.channels.walk import tensors_of
from secateur.errors import SurgeryError, VerificationError
from secateur.plan.plan import PruningPlan
from secateur.surgery import in_turn
from secateur.surgery.prove import Settled
from secateur.surgery.pruned import Pruned
from secateur.surgery.rebuild import shrink
from secateur.surgery.verification import Verification


def cut(
    channels: ChannelMap,
    plan: PruningPlan,
    *,
    hold_back: bool = True,
    earlier: Pruned | None = None,
) -> Pruned:
    """Remove the channels of a plan from the network that was traced, which is left as it was.

    The plan is proved on shapes before anything is cut, and the result is verified in float64
    against the whole network with these channels silent (`verify` says how). Groups that do not
    line up, or that make the cut network differ, are left whole with a warning, or refused if not
    `hold_back`; the answer's plan is what was really cut. A warning names groups that are read by
    weights which the network computes, where what stays of these is not what it was. Sizes that
    the network's code reads from its modules' attributes are changed with the shapes.

    Args:
        channels: what `trace` found out about the network.
        plan: which channels go.
        hold_back: whether groups that cannot be cut rightly are left whole.
        earlier: the cut that made this network, if it was cut before: files then hold both plans.

    Raises:
        PlanError: the plan was made for another network, or states other costs than it has.
        ChannelMapError: the map knows no network, or one of other shapes.
        SurgeryError: a parameter holds NaN or has no values, or `earlier` made another network.
        TraceError: the network cannot be traced, as it can with a map from a file first here.
        ProofError: the network's code would not line up after the cut, and nothing is held back.
        VerificationError: the cut network differs from its reference.
    """
    model, example_input = channels.network, channels.example_input
    run, channels = recorded(model, example_input, channels)
    check_values(model)
    plan.check(channels)
    plan = plan.restated(channels)
    if hold_back:
        found = in_turn.settled(model, plan, example_input, run, channels)
        _say_held_back(plan, found.plan)
    else:
        proved = in_turn.proved(model, plan, example_input, run, channels)
        small = shrink(model, proved, channels)
        checked = in_turn.verified(model, small, proved, channels, example_input)
        found = Settled(proved, small, checked)
    return as_pruned(found, channels, earlier)


def as_pruned(found: Settled, channels: ChannelMap, earlier: Pruned | None) -> Pruned:
    """The border value of a cut that was made; warns where it is not the silent network.

    Raises:
        SurgeryError: `earlier` made another network.
    """
    if earlier is not None and earlier.network is not channels.model:
        raise SurgeryError(
            "earlier is a cut that made another network than the one that was traced; trace "
            "earlier.network"
        )
    warn_of_computed_weights(found.verification, channels, found.plan)
    return Pruned(found.network, found.plan, channels, found.verification, earlier)


def verify(pruned: Pruned) -> Verification:
    """Compare a cut network as it is now with the whole one in which these channels are silent.

    Both run in float64 with one seed, on numbers drawn in the example's range and, where the
    network runs with other sizes than the example's, on one of those as well. A network that was
    repaired or trained since the cut differs, as it should, and the error says so.

    Raises:
        VerificationError: they differ.
    """
    whole, small, plan = pruned.model, pruned.network, pruned.plan
    try:
        return in_turn.verified(whole, small, plan, pruned.channels, pruned.example_input)
    except VerificationError as error:
        was = tensors_of(shrink(whole, plan, pruned.channels))
        changed = [name for name, t in tensors_of(small).items() if not _same(was.get(name), t)]
        if not changed:
            raise
        raise VerificationError(
            f"the network is not as it was cut, {changed[0]!r} holds other numbers: it was "
            "repaired or trained since, so it is not the whole one with these channels silent; "
            "what was verified of the cut itself is in its verification"
        ) from error


def _same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape and torch.equal(one, other.to(one.device))


def _say_held_back(asked: PruningPlan, plan: PruningPlan) -> None:
    if new := [name for name in plan.held_back if name not in asked.held_back]:
        warnings.warn(
            f"{len(new)} of {len(asked.remove)} groups are held back, {new[0]!r} first: "
            f"{plan.held_back[new[0]]}; the plan of what cut gives says what was cut",
            stacklevel=3,
        )


def warn_of_computed_weights(
    checked: Verification, channels: ChannelMap, plan: PruningPlan
) -> None:
    """Say aloud where the cut is not the whole network with these channels silent."""
    names = [name for name, how in checked.groups.items() if how == "computed weight"]
    if names and not checked.exact:
        row = next(row for row in channels.mixing if row.weights and names[0] in row.groups)
        warnings.warn(
            f"{len(names)} of {len(plan.remove)} groups are read by weights that the network "
            f"computes ({row.operator} at {row.source}), {names[0]!r} first: what stays of these "
            "weights is computed anew, and the outputs are not those with silent channels (they "
            f"differ by {checked.silence_error:.2g}); ignore these groups, or fine-tune",
            stacklevel=3,
        )


def check_values(model: nn.Module) -> None:
    """Refuse a network whose answers mean nothing.

    Raises:
        SurgeryError: a parameter or buffer holds NaN, or is on the meta device.
    """
    for name, tensor in tensors_of(model).items():
        if tensor.is_meta:
            raise SurgeryError(
                f"{name!r} is on the meta device and has no values to keep; load weights first"
            )
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise SurgeryError(
                f"{name!r} holds NaN, so no answer of the network can be verified; train again or "
                "load other weights"
            )
