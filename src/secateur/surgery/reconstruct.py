"""After a cut: layers behind it are refitted to give what they gave, on inputs without labels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from secateur.channels.cost import remaining_shapes
from secateur.channels.walk import tensors_of
from secateur.errors import SurgeryError, unknown_name
from secateur.surgery import readers
from secateur.surgery.examples import Call, drawn, output_tensors
from secateur.surgery.least_squares import ridges
from secateur.surgery.norm_statistics import batch_norms, estimate_anew
from secateur.surgery.pruned import Pruned
from secateur.surgery.rebuild import rebuild
from secateur.surgery.reconstruction import Kept, LayerRepair, Method, Reconstruction
from secateur.surgery.walk import Walk
from secateur.surgery.watching import Survey, passing, survey_of

_FAR = 0.3
"""From here on inputs are not like those that the batch norms were trained on."""

_Walked = tuple[nn.Module, list[LayerRepair], dict[str, str]]
"""A repaired network, what was done to its layers, and why others were left."""

_FEW = 100
"""With fewer distinct inputs, those that were held out are fitted as well in the end."""


def reconstruct(
    pruned: Pruned,
    batches: Iterable[Any],
    *,
    method: Method = "reconstruct",
    make_biases: bool = True,
    seed: int = 0,
    most: int = 512,
) -> Pruned:
    """Refit what reads cut channels, so that each layer gives what it gave in the uncut network.

    Layer by layer, in the order they run, from the first one that was cut: with X what the layer
    reads in the cut and so far repaired network and Y what it gave, where it stays, in the uncut
    one, both centred, its weights W become W + D, Dᵀ = (XᵀX + λ s I)⁻¹ Xᵀ(Y - XWᵀ), s being the
    mean of XᵀX's diagonal, and its bias, or the running mean of the batch norm that is its alone,
    is shifted by what is left on average; a bias is made where there is neither. Sums are taken
    over at most 128 places of an output an input. λ is the one that lacks least on held-out inputs,
    a fifth of the distinct ones; "the shift alone" and "leave it" are among the choices. Below
    twenty distinct inputs λ is max(0.1, 2.5 / n).

    At the end the outputs on held-out inputs are compared with the uncut network's: of the cut
    network, of the same with its batch-norm statistics estimated anew, and of the repaired one. The
    nearest is the answer, so it is never further off than the others there, and
    `reconstruction.kept` says which it is. With fewer than 100 inputs the repair that was judged so
    is then made once more with the held-out ones too, every λ as it was. Labels and gradients are
    not used. Do not estimate batch-norm statistics anew afterwards; fine-tune at a smaller rate
    than without a repair.

    Args:
        pruned: what `prune` gave; it and its networks are left as they are. An optimizer that it
            carries is of its own network and does not come along: cut one by `cut_optimizer`.
        batches: inputs alone or (inputs, targets), of which targets are not looked at; inputs are a
            tensor, a tuple of arguments or a dict of keyword arguments, examples along the first
            dimension. 50 to 250 different ones are enough. They are kept in memory meanwhile.
        method: "reconstruct"; "bias", shifts alone, all of them or those that lower the error of
            the outputs one by one, whichever is nearer; "batch_norm", statistics alone.
        make_biases: whether a layer may get a bias that had none, as one without a batch norm of
            its own needs; without, such a layer is left as it is.
        seed: of the inputs that are held out and the places that are looked at.
        most: how many distinct inputs are taken, the first ones.

    Raises:
        SurgeryError: there are fewer than two distinct inputs, the network does not run on them or
            gives no finite numbers, or its shapes changed since the cut.

    Reference: He, Zhang & Sun 2017 (1707.06168) and Luo, Wu & Lin 2017 (1707.06342) fit the layer
    behind a cut by least squares; here it is every layer behind, towards its weights.
    """
    methods = "batch_norm", "bias", "reconstruct"
    if method not in methods:
        raise SurgeryError(unknown_name("repair", str(method), methods))
    for name, number, least in (("seed", seed, 0), ("most", most, 2)):
        if type(number) is not int or number < least:
            raise SurgeryError(f"{name} is a whole number from {least}; got {number!r}")
    _check_shapes(pruned)
    device = next(iter(tensors_of(pruned.model).values())).device
    calls, n_inputs = drawn(batches, device, seed, most)
    full = rebuild(pruned.model, {})
    sites = readers.sites_of(pruned.model, pruned.plan.remove, pruned.channels)
    sites = readers.multiplied(sites, pruned.plan.rescaled)
    bare = [] if make_biases else readers.without_bias(full, sites)
    sites = {name: site for name, site in sites.items() if name not in bare}
    survey = survey_of(full, calls, sites)
    if survey.distance is not None and survey.distance > _FAR:
        warnings.warn(
            "the calibration inputs are not like those the network was trained on: what arrives at "
            f"its batch norms is {survey.distance:.2g} standard deviations off on the average "
            f"(below {_FAR} is usual); check how they are scaled and ordered",
            stacklevel=2,
        )
    candidates: dict[Kept, nn.Module] = {"cut": rebuild(pruned.network, {})}
    layers: list[LayerRepair] = []
    others = readers.others(sites, pruned.plan.remove, pruned.channels)
    left = dict.fromkeys(
        others, "it is no layer that is refitted, or has no bias where one would be"
    )
    left |= dict.fromkeys(bare, "it has no bias, and none may be made: it would be parameters more")
    if method != "bias" and batch_norms(pruned.network):
        again = rebuild(pruned.network, {})
        if _re_estimated(again, calls):
            candidates["batch_norm"] = again

    def walked(judge: Callable[[nn.Module], float] | None) -> _Walked:
        small = rebuild(pruned.network, {})
        done, reasons = Walk(full, small, calls, sites, survey, seed).repaired(
            lambda name: (
                (math.inf,)
                if method == "bias"
                else ridges(readers.located(full, name)[1].weight.dtype, n_inputs)
            ),
            judge,
        )
        return small, done, reasons

    if method != "batch_norm":
        best = walked(None)
        if method == "bias":  # shifts of all together may do harm that each alone would not
            judge = partial(output_error, calls=calls, survey=survey)
            best = min(best, walked(judge), key=lambda one: judge(one[0]))
        candidates[method], layers, reasons = best
        left |= reasons
    errors = {name: output_error(network, calls, survey) for name, network in candidates.items()}
    kept = min(errors, key=lambda name: errors[name])
    if kept == method and layers and n_inputs < _FEW:
        candidates[kept] = rebuild(pruned.network, {})
        every = [replace(call, held=False) for call in calls]
        chosen = {layer.name: (layer.ridge,) for layer in layers}
        Walk(full, candidates[kept], every, sites, survey, seed).repaired(lambda n: chosen.get(n))
    for module, was in zip(candidates[kept].modules(), pruned.network.modules(), strict=True):
        module.training = was.training
    n_held_out = sum(call.n for call in calls if call.held)
    found = Reconstruction(tuple(layers), left, errors, kept, n_inputs, n_held_out, survey.distance)
    before = dict(pruned.network.named_parameters()).keys()
    new = tuple(name for name, _ in candidates[kept].named_parameters() if name not in before)
    plan = replace(pruned.plan, made_biases=(*pruned.plan.made_biases, *new))
    return replace(
        pruned, network=candidates[kept], plan=plan, reconstruction=found, optimizer=None
    )


def _check_shapes(pruned: Pruned) -> None:
    """Refuse a network whose shapes are no more those of its cut."""
    left = remaining_shapes(pruned.channels, pruned.plan.remove)
    for name, tensor in tensors_of(pruned.network).items():
        if name in left and tuple(tensor.shape) != left[name]:
            raise SurgeryError(
                f"{name!r} is {tuple(tensor.shape)} in the cut network, its plan leaves "
                f"{left[name]}; the network was changed in its shapes since the cut"
            )


def _re_estimated(network: nn.Module, calls: Sequence[Call]) -> bool:
    """Estimate batch-norm statistics anew; whether that could be done."""
    try:
        estimate_anew(network, lambda: [call.run(network) for call in calls if not call.held])
    except SurgeryError:  # a batch norm over a single number, say
        return False
    return True


def output_error(network: nn.Module, calls: Sequence[Call], survey: Survey) -> float:
    """Root mean square difference of outputs on held-out inputs, over that of the uncut network's.

    Infinite where the network gives no finite numbers, or other sizes.
    """
    difference = scale = 0.0
    with passing(network):
        for at, wanted in survey.outputs.items():
            try:
                found = output_tensors(calls[at].run(network))
            except SurgeryError:
                return math.inf
            for one, other in zip(found, wanted, strict=True):
                if one.shape != other.shape:
                    return math.inf
                difference += float((one - other).square().sum())
                scale += float(other.square().sum())
    return math.sqrt(difference / (scale or 1.0))
