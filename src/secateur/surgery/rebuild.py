"""The same module with other tensors in it: what cutting, masking and proving have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from secateur.channels.attention import converted, converted_back, unnested
from secateur.channels.cost import kept_positions
from secateur.channels.groups import ChannelMap
from secateur.channels.repaired import Site, sites
from secateur.channels.trace import without_collections
from secateur.channels.walk import laid_out, modules_of, tensors_of
from secateur.errors import SurgeryError, brief
from secateur.plan.plan import Numbers, PruningPlan
from secateur.surgery.copying import copied
from secateur.surgery.numbers import set_attributes
from secateur.surgery.repair import repair
from secateur.surgery.widths import follow, mirror


@without_collections()
def rebuild(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    attributes: Mapping[str, Numbers] | None = None,
) -> nn.Module:
    """Copy a module, giving each named parameter or buffer the tensor in `tensors`.

    Tied parameters stay tied, frozen ones stay frozen, hooks and modes come along. What is no
    tensor and cannot be copied, such as a lock or an open file, is shared. Attributes that
    mirror a width (`out_channels`, `num_features`, …) are made true, and those in `attributes`
    (`module:name`) are set. The input is left as it is.

    Raises:
        SurgeryError: a module within copies itself in a way that fails, or lacks an attribute.
    """
    memo: dict[int, object] = {}
    for name, old in tensors_of(model).items():
        new = tensors.get(name)
        ordinary = type(old) in (Tensor, nn.Parameter)
        if new is None and ordinary and (not old.is_leaf or old.grad is None):
            new = old.detach().clone()
        if new is not None:
            frozen = not old.requires_grad
            is_parameter = isinstance(old, nn.Parameter)
            memo[id(old)] = nn.Parameter(new, requires_grad=not frozen) if is_parameter else new
    mirrors = [mirror(module) for _, module in modules_of(model)]
    computed = [site for site in sites(model) if site.hook is not None]
    try:
        made = copied(model, memo)
    except Exception as error:
        raise SurgeryError(
            f"{type(model).__name__} cannot be copied: {brief(error)}; make copy.deepcopy(model) "
            "work, or take out what stands in its way"
        ) from error
    for site in computed:
        _compute_anew(site, made.get_submodule(site.module))
    for path, module in modules_of(made):
        if _changed(model.get_submodule(path), module):
            converted(module)
    follow(made, mirrors)
    set_attributes(made, attributes or {})
    for _, module in modules_of(made):
        converted_back(module)
    for _, module in modules_of(made):
        unnested(module)
    return made


def _changed(before: nn.Module, after: nn.Module) -> bool:
    """Whether an attention's own tensors, or its output's, have other shapes than before."""
    if not isinstance(before, nn.MultiheadAttention):
        return False
    shapes = [[tensor.shape for tensor in module.parameters()] for module in (before, after)]
    return shapes[0] != shapes[1]


def _compute_anew(site: Site, module: nn.Module) -> None:
    """The weight that a hook computes before every call, from the tensors there are now."""
    with torch.no_grad():
        if site.kind == "weight norm":
            weight = site.hook.compute_weight(module)
        else:
            weight = site.hook.compute_weight(module, do_power_iteration=False)
    setattr(module, site.name, weight)


def rescaled(
    tensor: Tensor, rows: Sequence[tuple[int, float, tuple[int, ...]]], *, back: bool = False
) -> Tensor:
    """A copy, parts of which are multiplied by a number, or divided by it."""
    made = tensor.double()
    for dim, factor, at in rows:
        scale = torch.ones(made.shape[dim], dtype=torch.float64, device=made.device)
        scale[list(at)] = 1 / factor if back else factor
        made = made * scale.view([-1 if k == dim else 1 for k in range(made.ndim)])
    return made.to(tensor.dtype)


def shrink(model: nn.Module, plan: PruningPlan, channels: ChannelMap) -> nn.Module:
    """A copy of a network without the channels of a plan; nothing is proved."""
    named = tensors_of(model)
    tensors: dict[str, Tensor] = {}
    kept = kept_positions(channels, plan.remove)
    for name, rows in plan.rescaled.items():
        tensors[name] = rescaled(named[name].detach(), rows)
    for (name, dim), positions in kept.items():
        old = tensors.get(name, named[name].detach())
        part = old.index_select(dim, torch.from_numpy(positions).to(old.device))
        layout = laid_out(old)
        tensors[name] = part if layout is None else part.clone(memory_format=layout)
    repair(model, named, tensors, kept)
    return rebuild(model, tensors, plan.attributes)
