"""Plan in, smaller module out."""

from __future__ import annotations

import warnings

from torch import nn

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import Example, recorded
from secateur.channels.walk import tensors_of
from secateur.errors import SurgeryError
from secateur.plan.plan import PruningPlan
from secateur.surgery.prove import prove, settled
from secateur.surgery.rebuild import shrink
from secateur.surgery.verification import Verification
from secateur.surgery.verify import verify


def cut(
    model: nn.Module,
    plan: PruningPlan,
    example_input: Example,
    *,
    channels: ChannelMap | None = None,
    hold_back: bool = True,
) -> nn.Module:
    """Remove the channels of a plan and return a new, smaller module; `model` is untouched.

    The plan is proved on shapes before anything is cut, and the result is verified in float64
    against the whole network with these channels silent (`verify` says how). Groups that do not
    line up, or that make the cut network differ, are left whole with a warning (`settle` gives the
    plan that is cut then), or refused if not `hold_back`. A warning names groups that are read by
    weights which the network computes, where what stays of these is not what it was. Sizes that
    the network's code reads from its modules' attributes are changed with the shapes.

    `channels`, the map that `trace` made of this network, spares tracing it again and brings the
    rules it was traced by.

    Raises:
        PlanError: the plan was made for another network.
        SurgeryError: a parameter holds NaN or has no values.
        TraceError: the network cannot be traced.
        ProofError: the network's code would not line up after the cut, and nothing is held back.
        VerificationError: the cut network differs from its reference.
    """
    run, channels = recorded(model, example_input, channels)
    check_values(model)
    plan.check(channels)
    if hold_back:
        found = settled(model, plan, example_input, run, channels)
        _say_held_back(plan, found.plan)
        small, plan, checked = found.network, found.plan, found.verification
    else:
        plan = prove(model, plan, example_input, run, channels)
        small = shrink(model, plan, channels)
        checked = verify(model, small, plan, channels, example_input)
    warn_of_computed_weights(checked, channels, plan)
    return small


def _say_held_back(asked: PruningPlan, plan: PruningPlan) -> None:
    if new := [name for name in plan.held_back if name not in asked.held_back]:
        warnings.warn(
            f"{len(new)} of {len(asked.remove)} groups are held back, {new[0]!r} first: "
            f"{plan.held_back[new[0]]}; secateur.settle gives the plan that is cut",
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
