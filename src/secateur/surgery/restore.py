"""What was cut can be put back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from secateur.channels.cost import kept_positions, owner_module
from secateur.channels.groups import ChannelMap
from secateur.channels.repaired import directions
from secateur.channels.walk import tensors_of
from secateur.errors import SurgeryError
from secateur.plan.plan import Numbers, PruningPlan, Rescaled
from secateur.surgery.numbers import set_numbers, whole_numbers
from secateur.surgery.readers import is_transposed, n_spatial
from secateur.surgery.rebuild import rebuild, rescaled, shrink


@dataclass(frozen=True)
class Removed:
    """What a cut takes away: with the cut network, enough to have the original back.

    Attributes:
        values: parameter or buffer -> its elements that go, flat, in the order of the original.
        shapes: parameter or buffer -> its shape before the cut.
        kept: parameter or buffer -> for every dimension that shrinks the positions that stay.
        widths: module -> its attributes that are whole numbers or rows of them, before the cut
            (`out_channels`, `groups`, …), since some cannot be read off the shapes.
        rescaled: parameter -> what of it the cut multiplied by a number; `whole` has it as it was.
        made_up: parts of computed weights that the cut gave other numbers: what stays of them, as
            it was and as it was cut.
        nested: whether encoders of torch's use nested tensors.
    """

    values: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    kept: Mapping[str, Mapping[int, tuple[int, ...]]]
    widths: Mapping[str, Mapping[str, Numbers]]
    rescaled: Rescaled = field(default_factory=dict)
    whole: Mapping[str, Tensor] = field(default_factory=dict)
    made_up: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    nested: Mapping[str, bool] = field(default_factory=dict)


def remember(model: nn.Module, plan: PruningPlan, channels: ChannelMap) -> Removed:
    """Keep what `cut` removes, so that `restore` can put it back; `model` is untouched.

    Raises:
        PlanError: the plan was made for another network.
    """
    plan.check(channels)
    kept: dict[str, dict[int, tuple[int, ...]]] = {}
    for (name, dim), positions in kept_positions(channels, plan.remove).items():
        if len(positions) < channels.shapes[name][dim]:
            kept.setdefault(name, {})[dim] = tuple(positions.tolist())
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return Removed(
        values={name: tensors[name].detach()[~_stays(tensors[name], kept[name])] for name in kept},
        shapes={name: channels.shapes[name] for name in kept},
        kept=kept,
        widths={name: found for name, m in model.named_modules() if (found := whole_numbers(m))},
        rescaled=plan.rescaled,
        whole={name: tensors[name].detach().clone() for name in plan.rescaled},
        made_up=_made_up_for(model, plan, channels, kept),
        nested={
            name: module.use_nested_tensor
            for name, module in model.named_modules()
            if isinstance(module, nn.TransformerEncoder)
        },
    )


def _made_up_for(
    model: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    kept: Mapping[str, Mapping[int, tuple[int, ...]]],
) -> dict[str, tuple[Tensor, Tensor]]:
    """What of computed weights' parts the cut gave other numbers: what stays as it was, and is."""
    if not (names := directions(model)):
        return {}
    whole, small = tensors_of(model), tensors_of(shrink(model, plan, channels))
    found = {}
    for name in sorted(names & small.keys()):
        was = whole[name].detach()
        was = was[_stays(was, kept.get(name, {}))].reshape(small[name].shape)
        if not torch.equal(was, small[name]):
            found[name] = was, small[name].detach()
    return found


def restore(small: nn.Module, removed: Removed) -> nn.Module:
    """Put back what was cut: a new module of the original's shapes; `small` is untouched.

    Right after the cut the answer equals the original bit for bit. After fine-tuning, the channels
    that stayed keep what they learned and the others return as they were; biases that a repair
    made are zero for these. The answer is on the devices and in the modes of `small`.

    Raises:
        SurgeryError: `small` is not the network these channels were cut from.
    """
    have = dict(small.named_parameters()) | dict(small.named_buffers())
    tensors = {}
    for name, values in removed.values.items():
        shape, kept = removed.shapes[name], removed.kept[name]
        left = tuple(len(kept[d]) if d in kept else size for d, size in enumerate(shape))
        if name not in have or tuple(have[name].shape) != left:
            found = tuple(have[name].shape) if name in have else "missing"
            raise SurgeryError(
                f"{name!r} is {found}, what was removed leaves {left} of {shape}; give the network "
                "that these channels were cut from"
            )
        part = _without_what_was_made_up(name, have[name].detach(), removed)
        full = part.new_empty(shape)
        stays = _stays(full, kept)
        full[stays] = part.flatten()
        full[~stays] = values.to(part)
        tensors[name] = _multiplied_back(full, stays, name, removed)
    for name in removed.made_up.keys() - tensors.keys() & have.keys():
        tensors[name] = _without_what_was_made_up(name, have[name].detach(), removed)
    tensors |= _made_biases(small, removed, have)
    made = rebuild(small, tensors)
    set_numbers(made, removed.widths)
    for name, nested in removed.nested.items():
        setattr(made.get_submodule(name), "use_nested_tensor", nested)  # noqa: B010
    return made


def _without_what_was_made_up(name: str, part: Tensor, removed: Removed) -> Tensor:
    """A magnitude, say, without the factor of the cut; bit for bit where it is as it was cut."""
    if name not in removed.made_up:
        return part
    was, cut = (one.to(part) for one in removed.made_up[name])
    factor = torch.where(cut != 0, was / cut, torch.ones_like(cut))
    return torch.where(part == cut, was, part * factor)


def _multiplied_back(full: Tensor, stays: Tensor, name: str, removed: Removed) -> Tensor:
    """A parameter without the factors that a cut gave it; bit for bit where it is as it was cut."""
    if (rows := removed.rescaled.get(name)) is None:
        return full
    whole = removed.whole[name].to(full)
    undone = torch.where(stays, rescaled(full, rows, back=True), full)
    return torch.where(stays & (full == rescaled(whole, rows)), whole, undone)


def _made_biases(
    small: nn.Module, removed: Removed, have: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Biases that a repair made, with zeros for the outputs that come back."""
    tensors = {}
    for weight, kept in removed.kept.items():
        name = owner_module(weight)
        module = dict(small.named_modules()).get(name)
        bias = f"{name}.bias"
        if module is None or n_spatial(module) is None or bias in removed.shapes:
            continue
        dim = int(is_transposed(module))
        if bias not in have or dim not in kept or weight.endswith("original0"):
            continue
        if len(removed.shapes[weight]) < 2:  # a vector beside the weight
            continue
        n = removed.shapes[weight][dim]
        each = have[bias].detach().view(-1, len(kept[dim]))
        full = each.new_zeros(len(each), n)
        full[:, list(kept[dim])] = each
        tensors[bias] = full.flatten()
    return tensors


def _stays(tensor: Tensor, kept: Mapping[int, tuple[int, ...]]) -> Tensor:
    """Which elements stay: those at kept positions along every dimension that shrinks."""
    stays = torch.ones(tensor.shape, dtype=torch.bool, device=tensor.device)
    for dim, positions in kept.items():
        gone = np.setdiff1d(np.arange(tensor.shape[dim]), positions)
        stays.index_fill_(dim, torch.from_numpy(gone).to(tensor.device), False)
    return stays
