"""Layers that read channels: what they read at some places, the weights for it, and their bias."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.channels.cost import Removal, kept_positions, owner_module
from secateur.channels.groups import ChannelMap, Layer
from secateur.channels.receptive_fields import Kernel, read_at, rows_of_weight
from secateur.plan.plan import Rescaled

_N_SPATIAL: Mapping[type[nn.Module], int] = {
    nn.Linear: 0,
    nn.Conv1d: 1,
    nn.Conv2d: 2,
    nn.Conv3d: 3,
    nn.ConvTranspose1d: 1,
    nn.ConvTranspose2d: 2,
    nn.ConvTranspose3d: 3,
}
"""Modules that add their bias to their output, and how many dimensions follow the channels."""


def n_spatial(module: nn.Module) -> int | None:
    """How many dimensions follow the channels in what a module gives; None if it is no reader."""
    return next((_N_SPATIAL[kind] for kind in type(module).__mro__ if kind in _N_SPATIAL), None)


def is_transposed(module: nn.Module) -> bool:
    """Whether it is a transposed convolution, whose weight is (in, out / groups, ...)."""
    return isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)


_WITHIN: Mapping[type[nn.Module], Mapping[str, str]] = {
    nn.RNNBase: {
        "weight_ih_l0": "bias_ih_l0",
        "weight_ih_l0_reverse": "bias_ih_l0_reverse",
    },
    nn.MultiheadAttention: {"in_proj_weight": "in_proj_bias"},
}
"""Weights by which a module reads its input, as a linear layer would, and the bias of each."""


def located(network: nn.Module, name: str) -> tuple[nn.Module, Any]:
    """The module that is called, and the reader: itself, or a linear layer of its tensors."""
    path, _, weight = name.rpartition(".")
    if any(weight in names for names in _WITHIN.values()):
        module = network.get_submodule(path)
        bias = next(names[weight] for names in _WITHIN.values() if weight in names)
        given = getattr(module, weight), getattr(module, bias)
        n_out, n_in = given[0].shape
        layer = nn.Linear(n_in, n_out, device="meta")
        layer._parameters.update(weight=given[0], bias=given[1])
        return module, layer
    module = network.get_submodule(name)
    return module, module


def seen_by(module: nn.Module, reader: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
    """What a reader read and gave when its module was called; None where that is not known."""
    x = args[0] if args else kwargs.get("query" if "query" in kwargs else "input")
    if reader is not module:
        given = [*args[:3], *(kwargs[key] for key in ("query", "key", "value") if key in kwargs)]
        alike = isinstance(module, nn.RNNBase) or all(one is x for one in given)
        output = reader(x) if isinstance(x, Tensor) and alike else None
    return (x, output) if isinstance(x, Tensor) and isinstance(output, Tensor) else None


@dataclass(frozen=True)
class Site:
    """A reader of the uncut network: outputs that stay, whether inputs go, its own batch norm.

    `factor` is what the cut multiplies its outputs by, those that stay.
    """

    kept: Tensor | None
    lost: bool
    norm: str | None
    factor: Tensor | None = None


def sites_of(model: nn.Module, remove: Removal, channels: ChannelMap) -> dict[str, Site]:
    """All layers that read by a weight, and have a bias of their own or could have one."""
    lost = _weights_that_lose(remove, channels)
    kept = kept_positions(channels, remove)
    modules = dict(model.named_modules())
    first = {**{name: name for name in channels.shapes}, **channels.aliases}
    of_module: dict[str, list[str]] = {}
    for name in first:
        of_module.setdefault(owner_module(name), []).append(name)
    sites: dict[str, Site] = {}
    for name, module in modules.items():
        for kind, names in _WITHIN.items():
            for leaf, bias in names.items() if isinstance(module, kind) else ():
                weight = f"{name}.{leaf}"
                if isinstance(getattr(module, bias, None), Tensor) and weight in channels.shapes:
                    stays = kept.get((weight, 0))
                    outputs = None if stays is None else torch.from_numpy(stays)
                    sites[weight] = Site(outputs, weight in lost, None)
        if n_spatial(module) is None or "bias" not in module._parameters:
            continue
        weights = [first[w] for w in of_module.get(name, ()) if not w.endswith("bias")]
        weight = max(weights, key=lambda w: math.prod(channels.shapes[w]), default="")
        stays = kept.get((weight, 1 if is_transposed(module) else 0))
        outputs = None if stays is None else _outputs_kept(stays, weight, module, channels)
        norm = _own_norm(channels.by_weight.get(weight), modules, channels)
        sites[name] = Site(outputs, weight in lost, norm)
    return sites


def multiplied(sites: Mapping[str, Site], rescaled: Rescaled) -> dict[str, Site]:
    """The same with the factors by which a cut multiplies their outputs."""
    found = dict(sites)
    for name, site in sites.items():
        for dim, factor, at in rescaled.get(name, rescaled.get(f"{name}.weight", ())):
            if dim == 0 and site.kept is not None:
                own = torch.ones(len(site.kept)) if site.factor is None else site.factor
                mine = torch.isin(site.kept, torch.tensor(at))
                site = found[name] = replace(site, factor=torch.where(mine, own * factor, own))
    return found


def without_bias(network: nn.Module, sites: Mapping[str, Site]) -> list[str]:
    """Those whose outputs can be shifted only by a bias that is made."""
    return [
        name
        for name, site in sites.items()
        if site.norm is None and located(network, name)[1]._parameters["bias"] is None
    ]


def others(sites: Mapping[str, Site], remove: Removal, channels: ChannelMap) -> list[str]:
    """Modules that lose inputs and are none of the sites."""
    lost = {name: owner_module(name) for name in sorted(_weights_that_lose(remove, channels))}
    return [own for name, own in lost.items() if name not in sites and own not in sites]


def _weights_that_lose(remove: Removal, channels: ChannelMap) -> set[str]:
    return {
        member.parameter
        for name, gone in remove.items()
        for member in channels.by_name[name].members
        if gone and member.role == "in"
    }


def _outputs_kept(stays: Any, weight: str, module: Any, channels: ChannelMap) -> Tensor:
    """Positions of the output that stay; a grouped transposed one repeats its weight's."""
    positions = torch.from_numpy(stays)
    if not is_transposed(module):
        return positions
    size = channels.shapes[weight][1]
    return torch.cat([positions + k * size for k in range(module.groups)])


def _own_norm(
    layer: Layer | None, modules: Mapping[str, nn.Module], channels: ChannelMap
) -> str | None:
    """The batch norm that follows this use of the weight and nothing else."""
    if layer is None or layer.norm is None:
        return None
    alike = [la for la in channels.layers if la.weight == layer.weight or la.norm == layer.norm]
    running = getattr(modules.get(layer.norm), "running_mean", None)
    return layer.norm if len(alike) == 1 and isinstance(running, Tensor) else None


def shifted(network: nn.Module, name: str, norm: str | None) -> Tensor | None:
    """A copy of what `shift` changes, a bias or a batch norm's mean; None if there is neither."""
    bias = located(network, name)[1]._parameters["bias"]
    if bias is None and norm is not None:
        bias = network.get_submodule(norm).get_buffer("running_mean")
    return None if bias is None else bias.detach().clone()


def shift_back(network: nn.Module, name: str, norm: str | None, was: Tensor | None) -> None:
    """Undo `shift`; `was` is what `shifted` gave before it."""
    module = located(network, name)[1]
    if was is None:
        module.register_parameter("bias", None)
    elif module._parameters["bias"] is not None:
        module._parameters["bias"].detach().copy_(was)
    else:
        network.get_submodule(norm or "").get_buffer("running_mean").copy_(was)


def shift(network: nn.Module, name: str, norm: str | None, by: Tensor) -> None:
    """Add numbers to a layer's outputs: in its bias, its batch norm's mean, or a bias made new."""
    _, module = located(network, name)
    bias = module._parameters["bias"]
    if bias is None and norm is None:
        weight = next(module.parameters())
        made = nn.Parameter(by.to(weight), requires_grad=weight.requires_grad)
        module.register_parameter("bias", made)
    elif bias is not None:
        bias.detach().add_(by.to(bias))
    else:
        mean = network.get_submodule(norm or "").get_buffer("running_mean")
        mean.sub_(by.to(mean))


def n_places(module: nn.Module, output: Tensor, most: int) -> int:
    """How many places of an output are looked at: all, at most so many."""
    return min(math.prod(without_channels(module, output)), most)


def places(module: nn.Module, output: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """At most so many places of an output, as numbers of its rows, ascending."""
    n = math.prod(without_channels(module, output))
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=generator)[:most].sort().values


def without_channels(module: nn.Module, output: Tensor) -> torch.Size:
    """The sizes of an output but for its channels."""
    dim = _channel_dim(module, output)
    return torch.Size((*output.shape[:dim], *output.shape[dim + 1 :]))


def _channel_dim(module: nn.Module, output: Tensor) -> int:
    return output.ndim - 1 - (n_spatial(module) or 0)


def outputs_at(module: nn.Module, output: Tensor, at: Tensor) -> Tensor:
    """A copy of the outputs at these places, (places, channels), and no less than float32."""
    dim = _channel_dim(module, output)
    rows = output.detach().movedim(dim, -1).reshape(-1, output.shape[dim])
    return widened(rows[at.to(rows.device)])


def widened(values: Tensor) -> Tensor:
    """Numbers as float64 if they are, else as float32."""
    return values if values.dtype == torch.float64 else values.float()


def inputs_at(module: Any, x: Tensor, output: Tensor, at: Tensor) -> Tensor:
    """What a layer reads to give its output at these places, (conv_groups, places, d).

    d runs over the kernel's elements, and within each over the input channels of the group.
    """
    n_dims = n_spatial(module) or 0
    x, at = x.detach(), at.to(x.device)
    if n_dims == 0:
        return widened(x.reshape(-1, x.shape[-1])[at])[None]
    if x.ndim == n_dims + 1:
        x = x[None]
    before = _padding(module)
    if getattr(module, "padding_mode", "zeros") != "zeros":
        pads = [pad for pair in reversed(before) for pad in pair]
        x, before = F.pad(x, pads, mode=module.padding_mode), [(0, 0)] * n_dims
    kernel = Kernel(
        module.kernel_size,
        module.stride,
        [pad for pad, _ in before],
        module.dilation,
        is_transposed(module),
        module.groups,
    )
    return widened(read_at(kernel, x, output.shape[-n_dims:], at))


def _padding(module: Any) -> list[tuple[int, int]]:
    """What is added before and behind along every dimension."""
    if module.padding == "valid":
        return [(0, 0)] * len(module.kernel_size)
    if module.padding == "same":
        totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(pad, pad) for pad in module.padding]


def weights_of(module: Any) -> Tensor:
    """The weights, (conv_groups, outputs, d), with d as in `inputs_at`."""
    weight: Any = module.weight.detach()
    made: Tensor = weight[None]
    if n_spatial(module) == 0:
        return made
    return rows_of_weight(weight, module.groups, transposed=is_transposed(module))


def weight_of(module: Any, weights: Any) -> Tensor:
    """The weight whose `weights_of` these are, in the module's own shape and type."""
    weight: Tensor = module.weight.detach()
    made: Tensor = weights[0].to(weight)
    if n_spatial(module) == 0:
        return made
    parts = weights.unflatten(2, (math.prod(weight.shape[2:]), -1))
    parts = parts.permute((0, 3, 1, 2) if is_transposed(module) else (0, 1, 3, 2))
    return torch.reshape(parts.flatten(0, 1), weight.shape).to(weight)


def set_weight(module: Any, new: Tensor) -> bool:
    """Give a layer another weight, through its parametrisation if it has one.

    False, with the layer left as it was, if what computes the weight cannot give this one.
    """
    if "weight" in module._parameters:
        module.weight.detach().copy_(new)
        return True
    before = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    try:
        with torch.no_grad():
            module.weight = new
        close = torch.allclose(
            module.weight.detach(), new, rtol=1e-4, atol=1e-5 * float(new.abs().max())
        )
    except (NotImplementedError, RuntimeError, ValueError, AttributeError):
        close = False
    if not close:
        module.load_state_dict(before)
    return close
