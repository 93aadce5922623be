"""What the removed channels gave on average goes into the next bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.channels.cost import Removal, kept_positions, owner_module
from secateur.channels.groups import ChannelMap, Layer
from secateur.channels.trace import Example, call_arguments, untouched
from secateur.errors import SurgeryError
from secateur.plan.plan import PruningPlan
from secateur.surgery.rebuild import rebuild


@dataclass(frozen=True)
class Absorption:
    """A cut network whose biases took up what the removed channels gave, and what that was worth.

    `error_before` and `error_after` are the root mean square difference from the uncut network's
    outputs on the calibration data, over the root mean square of these outputs. `absorbed` names
    the layers that were shifted, `left_out` those that were not, with the reason.
    """

    network: nn.Module
    error_before: float
    error_after: float
    absorbed: tuple[str, ...]
    left_out: Mapping[str, str]


def absorb(
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    calibration: Example,
) -> Absorption:
    """Shift the bias of every layer that lost inputs by what it lost on average.

    A removed channel whose activation does not vary (a batch-norm scale of zero leaves its shift)
    is a constant to the layers that read it. For each of these layers, in the order they run, the
    mean of every output channel is measured on the calibration data in the uncut and in the cut
    network, and the difference is added to the bias. Without a bias it is taken from the running
    mean of the batch norm that follows, or a bias is made. Layers are shifted all in turn and, if
    the error rose anywhere on the way, once more keeping only what lowers it; the better of both
    is the answer, or the cut network as it was: the error on the calibration data never rises.

    Exact for constant channels into layers without padding. Where a layer pads with zeros, the
    removed constant counted less at the border, and a strided transposed convolution lays other
    weights at other positions; one bias cannot say that, and the mean over all positions is then
    the best constant, not an exact one. Estimating batch-norm statistics anew afterwards
    takes the place of shifts of running means. Takes two forward passes of the calibration batch
    for each layer at most. Neither `model` nor `small` is changed.

    Args:
        model: the uncut network.
        small: the network that `plan` was cut into.
        plan: what was cut.
        channels: the map of `model`.
        calibration: one batch of real inputs, as the network is called.

    Raises:
        PlanError: the plan was made for another network.
        SurgeryError: `small` was not cut by this plan, or the outputs are not finite.

    Reference: the mean shift is Nagel et al. 2019 (1906.04721) section 4.2, for channels.
    """
    plan.check(channels)
    sites, left_out = sites_of(model, plan.remove, channels)
    wanted = _observe(rebuild(model, {}), sites, calibration)
    left_out |= {
        name: "it is not called as a module, so there is no output to measure"
        for name in sites
        if name not in wanted.means
    }
    sites = {name: sites[name] for name in wanted.means}
    if missing := sites.keys() - dict(small.named_modules()).keys():
        raise SurgeryError(
            f"the cut network has no module {min(missing)!r}; give the network that this plan was "
            "cut into"
        )
    best = started = _Attempt(rebuild(small, {}), sites, wanted, calibration)
    for careful in (False, True):
        attempt = _Attempt(rebuild(small, {}), sites, wanted, calibration)
        rose = attempt.shift_in_turn(careful)
        best = attempt if attempt.error < best.error else best
        if not rose:
            break
    useless = "shifting it does not lower the error on the calibration data"
    left_out |= {name: useless for name in sites if name not in best.absorbed}
    return Absorption(best.network, started.error, best.error, tuple(best.absorbed), left_out)


@dataclass(frozen=True)
class Site:
    """A module that lost inputs: its outputs that stay, and the batch norm that is its alone."""

    kept: Tensor | None
    norm: str | None


@dataclass(frozen=True)
class _Seen:
    """Outputs of the network, and the mean of every output channel of each site, in float64."""

    outputs: list[Tensor]
    means: dict[str, Tensor]


class _Attempt:
    """A copy of the cut network that is being shifted, and its error."""

    def __init__(
        self, network: nn.Module, sites: Mapping[str, Site], wanted: _Seen, calibration: Example
    ) -> None:
        self.network = network
        self.absorbed: list[str] = []
        self._sites, self._wanted, self._calibration = sites, wanted, calibration
        self._look()

    def _look(self) -> None:
        self._seen = _observe(self.network, self._sites, self._calibration)
        self.error = _relative_error(self._seen.outputs, self._wanted.outputs)

    def shift_in_turn(self, careful: bool) -> bool:
        """Shift every site; whether the error rose at any (and, if careful, was taken back)."""
        rose = False
        for name, site in self._sites.items():
            before, seen = self.error, self._seen
            undo = shift(self.network, name, site, self._lost(name, site))
            self._look()
            if self.error < before or not careful:
                self.absorbed.append(name)
            else:
                undo()
                self.error, self._seen = before, seen
            rose |= not self.error < before
        return rose

    def _lost(self, name: str, site: Site) -> Tensor:
        full, now = self._wanted.means[name], self._seen.means.get(name)
        full = full if site.kept is None else full[site.kept]
        if now is None or now.shape != full.shape:
            found = "no" if now is None else str(len(now))
            raise SurgeryError(
                f"layer {name!r} of the cut network gives {found} channels, this plan leaves "
                f"{len(full)}; give the network that this plan was cut into, and the "
                "settled plan where groups were held back"
            )
        return full - now


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


def _n_spatial(module: nn.Module) -> int | None:
    return next((_N_SPATIAL[kind] for kind in type(module).__mro__ if kind in _N_SPATIAL), None)


def sites_of(
    model: nn.Module, remove: Removal, channels: ChannelMap
) -> tuple[dict[str, Site], dict[str, str]]:
    """The modules that lose inputs, and the layers that do but cannot be shifted."""
    lost = {
        member.parameter
        for name, gone in remove.items()
        for member in channels.by_name[name].members
        if gone and member.role == "in"
    }
    modules = dict(model.named_modules())
    names = {owner_module(alias): name for alias, name in channels.aliases.items() if name in lost}
    names |= {owner_module(name): name for name in channels.by_weight if name in lost}
    kept = kept_positions(channels, remove)
    sites, left_out = {}, {}
    for name, weight in names.items():
        module = modules.get(name)
        if module is None or _n_spatial(module) is None or "bias" not in module._parameters:
            left_out[name] = "it is not a convolution or linear layer with a bias of its own"
            continue
        layer = channels.by_weight[weight]
        stays = kept.get((weight, layer.out_dim))
        outputs = None if stays is None else _outputs_kept(stays, layer, channels)
        sites[name] = Site(outputs, _own_norm(layer, modules, channels))
    return sites, left_out


def _outputs_kept(stays: Any, layer: Layer, channels: ChannelMap) -> Tensor:
    """Positions of the output that stay; a grouped transposed one repeats its weight's."""
    positions = torch.from_numpy(stays)
    if layer.kind != "transposed":
        return positions
    size = channels.shapes[layer.weight][layer.out_dim]
    return torch.cat([positions + k * size for k in range(layer.conv_groups)])


def _own_norm(layer: Layer, modules: Mapping[str, nn.Module], channels: ChannelMap) -> str | None:
    """The batch norm that follows this use of the weight and nothing else."""
    alike = [la for la in channels.layers if la.weight == layer.weight or la.norm == layer.norm]
    running = getattr(modules.get(layer.norm or ""), "running_mean", None)
    return layer.norm if layer.norm and len(alike) == 1 and isinstance(running, Tensor) else None


def shift(network: nn.Module, name: str, site: Site, lost: Tensor) -> Callable[[], None]:
    """Add `lost` to a layer's outputs; gives back how to undo it."""
    module = network.get_submodule(name)
    bias = module._parameters["bias"]
    if bias is None and site.norm is None:
        weight = next(module.parameters())
        made = nn.Parameter(lost.to(weight), requires_grad=weight.requires_grad)
        module.register_parameter("bias", made)
        return lambda: module.register_parameter("bias", None)
    if bias is not None:
        target, sign = bias.detach(), 1
    else:
        target, sign = network.get_submodule(site.norm or "").get_buffer("running_mean"), -1
    before = target.clone()
    target.add_(lost.to(target), alpha=sign)

    def undo() -> None:
        target.copy_(before)

    return undo


def _observe(network: nn.Module, sites: Mapping[str, Site], calibration: Example) -> _Seen:
    """Run the network in evaluation mode and note the means of the sites, in the order they run."""
    args, kwargs = call_arguments(calibration)
    sums: dict[str, tuple[Tensor, int]] = {}
    with untouched(network.modules()), torch.no_grad(), _measured(network, sites, sums):
        network.eval()
        out = network(*args, **kwargs)
    tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
    outputs = [(torch.view_as_real(t) if t.is_complex() else t).double() for t in tensors]
    if not all(bool(leaf.isfinite().all()) for leaf in outputs):
        raise SurgeryError(
            f"{type(network).__name__} gives NaN or infinite outputs on the calibration data; "
            "check the data and the weights"
        )
    return _Seen(outputs, {name: total / count for name, (total, count) in sums.items()})


@contextmanager
def _measured(
    network: nn.Module, sites: Mapping[str, Site], sums: dict[str, tuple[Tensor, int]]
) -> Iterator[None]:
    """Inside, every call of a site adds its output, summed over all but channels, to `sums`."""

    def note(name: str, n_spatial: int, _: nn.Module, __: Any, output: Tensor) -> None:
        rows = output.detach().movedim(-1 - n_spatial, 0).flatten(1).double()
        total, count = sums.get(name, (torch.zeros(()), 0))
        sums[name] = (total.to(rows.device) + rows.sum(1), count + rows.shape[1])

    modules = {name: network.get_submodule(name) for name in sites}
    handles = [
        module.register_forward_hook(partial(note, name, _n_spatial(module) or 0))
        for name, module in modules.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _relative_error(outputs: list[Tensor], wanted: list[Tensor]) -> float:
    if [a.shape for a in outputs] != [b.shape for b in wanted]:
        raise SurgeryError(
            "the cut network's outputs differ in shape from the uncut one's; give the network "
            "that this plan was cut into"
        )
    pairs = list(zip(outputs, wanted, strict=True))
    difference = sum(float((a - b).square().sum()) for a, b in pairs)
    scale = sum(float(b.square().sum()) for b in wanted)
    return math.sqrt(difference / (scale or 1.0))
