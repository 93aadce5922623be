"""After a cut: layers behind it are refitted to give what they gave, on inputs without labels."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from secateur.channels.cost import remaining_shapes
from secateur.channels.trace import untouched
from secateur.channels.walk import tensors_of
from secateur.errors import SurgeryError, unknown_name
from secateur.surgery import readers
from secateur.surgery.examples import Call, drawn, output_tensors
from secateur.surgery.least_squares import Gram, Moments, Rows, fit, ridges
from secateur.surgery.norm_statistics import Distance, batch_norms, estimate_anew
from secateur.surgery.pruned import Pruned
from secateur.surgery.readers import Site
from secateur.surgery.rebuild import rebuild
from secateur.surgery.reconstruction import Kept, LayerRepair, Method, Reconstruction

_PLACES = 128
"""Places of a layer's output that are looked at, an input."""

_TARGETS = 2**29
"""Bytes of the uncut network's outputs that are kept at a time."""

_FAR = 0.3
"""From here on inputs are not like those that the batch norms were trained on."""

_FEW = 100
"""With fewer distinct inputs, those that were held out are fitted as well in the end."""

_SAME = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Outputs this close, relatively, differ by rounding; 1e-2 in shorter types."""


def reconstruct(
    pruned: Pruned,
    batches: Iterable[Any],
    *,
    method: Method = "reconstruct",
    seed: int = 0,
    most: int = 512,
) -> Pruned:
    """Refit what reads cut channels, so that each layer gives what it gave in the uncut network.

    Layer by layer, in the order they run, from the first one that was cut: with X what the layer
    reads in the cut and so far repaired network and Y what it gave, where it stays, in the uncut
    one, both centred, its weights W become W + D, Dᵀ = (XᵀX + λ s I)⁻¹ Xᵀ(Y - XWᵀ), s being the mean
    of XᵀX's diagonal, and its bias, or the running mean of the batch norm that is its alone, is
    shifted by what is left on average; a bias is made where there is neither. Sums are taken over
    at most 128 places of an output an input. λ is the one that lacks least on held-out inputs, a
    fifth of the distinct ones; "the shift alone" and "leave it" are among the choices. Below
    twenty distinct inputs λ is max(0.1, 2.5 / n).

    At the end the outputs on held-out inputs are compared with the uncut network's: of the cut
    network, of the same with its batch-norm statistics estimated anew, and of the repaired one. The
    nearest is the answer, so it is never further off than the others there, and
    `reconstruction.kept` says which it is. With fewer than 100 inputs the repair that was judged so
    is then made once more with the held-out ones too, every λ as it was. Labels and gradients are
    not used. Do not estimate batch-norm statistics anew afterwards; fine-tune at a smaller rate
    than without a repair.

    Args:
        pruned: what `prune` gave; it and its networks are left as they are.
        batches: inputs alone or (inputs, targets), of which targets are not looked at; inputs are a
            tensor, a tuple of arguments or a dict of keyword arguments, examples along the first
            dimension. 50 to 250 different ones are enough. They are kept in memory meanwhile.
        method: "reconstruct"; "bias", shifts alone; "batch_norm", statistics alone.
        seed: of the inputs that are held out and the places that are looked at.
        most: how many distinct inputs are taken, the first ones.

    Raises:
        SurgeryError: there are fewer than two distinct inputs, the network does not run on them or
            gives no finite numbers, or its shapes changed since the cut.

    Reference: He, Zhang & Sun 2017 (1707.06168) section 3.1 and Luo et al. 2017 (1707.06342)
    section 3.3 fit the layer behind; here all layers behind, towards their weights, label-free.
    """
    methods = "batch_norm", "bias", "reconstruct"
    if method not in methods:
        raise SurgeryError(unknown_name("repair", method, methods))
    _check_shapes(pruned)
    device = next(iter(tensors_of(pruned.model).values())).device
    calls, n_inputs = drawn(batches, device, seed, most)
    full = rebuild(pruned.model, {})
    sites = readers.sites_of(pruned.model, pruned.plan.remove, pruned.channels)
    survey = _survey(full, calls, sites)
    if survey.distance is not None and survey.distance > _FAR:
        warnings.warn(
            "the calibration inputs are not like those the network was trained on: what arrives at "
            f"its batch norms is {survey.distance:.2g} standard deviations off on the average "
            f"(below {_FAR} is usual); check how they are scaled and ordered",
            stacklevel=2,
        )
    candidates: dict[Kept, nn.Module] = {"cut": rebuild(pruned.network, {})}
    layers: list[LayerRepair] = []
    left: dict[str, str] = {}
    if method != "bias" and batch_norms(pruned.network):
        again = rebuild(pruned.network, {})
        if _re_estimated(again, calls):
            candidates["batch_norm"] = again
    if method != "batch_norm":
        candidates[method] = rebuild(pruned.network, {})
        walk = _Walk(full, candidates[method], calls, sites, survey, seed)
        layers, left = walk.repaired(
            lambda name: (
                (math.inf,)
                if method == "bias"
                else ridges(full.get_submodule(name).weight.dtype, n_inputs)
            )
        )
    errors = {name: _error(network, calls, survey) for name, network in candidates.items()}
    kept = min(errors, key=lambda name: errors[name])
    if kept == method and layers and n_inputs < _FEW:
        candidates[kept] = rebuild(pruned.network, {})
        every = [replace(call, held=False) for call in calls]
        chosen = {layer.name: (layer.ridge,) for layer in layers}
        _Walk(full, candidates[kept], every, sites, survey, seed).repaired(lambda n: chosen.get(n))
    for module, was in zip(candidates[kept].modules(), pruned.network.modules(), strict=True):
        module.training = was.training
    n_held_out = sum(call.n for call in calls if call.held)
    found = Reconstruction(tuple(layers), left, errors, kept, n_inputs, n_held_out, survey.distance)
    return replace(pruned, network=candidates[kept], reconstruction=found)


def _check_shapes(pruned: Pruned) -> None:
    """Refuse a network whose shapes are no more those of its cut."""
    left = remaining_shapes(pruned.channels, pruned.plan.remove)
    for name, tensor in tensors_of(pruned.network).items():
        if name in left and tuple(tensor.shape) != left[name]:
            raise SurgeryError(
                f"{name!r} is {tuple(tensor.shape)} in the cut network, its plan leaves "
                f"{left[name]}; the network was changed in its shapes since the cut"
            )


@contextmanager
def _passing(network: nn.Module) -> Iterator[None]:
    """Evaluation mode; what the network writes into itself meanwhile is undone afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with untouched(network.modules()):
        network.eval()
        try:
            yield
        finally:
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


class _Enough(BaseException):
    """Ends a call of a network once all that was asked for has been seen."""


Seen = Callable[[str, int, int, Any, Tensor, Tensor], None]
"""Called with a layer's name, the number of the call and of the use in it, the module, what it read
and what it gave."""


def _watch(
    network: nn.Module,
    calls: Sequence[Call],
    names: Iterable[str],
    seen: Seen,
    last: Sequence[int] | None = None,
    done: Callable[[int, Any], None] = lambda call, out: None,
) -> None:
    """Run the calls and hand over every use of the named modules.

    With `last`, how many uses there are in each call, a call ends after the last of them.
    """
    at, used = 0, dict.fromkeys(names, 0)

    def note(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        x = args[0] if args else kwargs.get("input")
        if isinstance(x, Tensor) and isinstance(output, Tensor):
            seen(name, at, used[name], module, x, output)
        used[name] += 1
        if last is not None and sum(used.values()) == last[at]:
            raise _Enough

    with _passing(network):
        for name in used:
            network.get_submodule(name).register_forward_hook(
                lambda m, a, k, out, name=name: note(name, m, a, k, out), with_kwargs=True
            )
        for at, call in enumerate(calls):
            used = dict.fromkeys(used, 0)
            try:
                done(at, call.run(network))
            except _Enough:
                pass


@dataclass(frozen=True)
class _Survey:
    """Of the uncut network: layers in the order they run, uses of each in each call, rows to look
    at for repair, bytes of targets, outputs on held-out inputs, distance from its statistics."""

    uses: Mapping[str, list[int]]
    rows: Mapping[str, int]
    n_bytes: Mapping[str, int]
    outputs: Mapping[int, list[Tensor]]
    distance: float | None


def _survey(full: nn.Module, calls: Sequence[Call], sites: Mapping[str, Site]) -> _Survey:
    uses: dict[str, list[int]] = {}
    rows: dict[str, int] = {}
    n_bytes: dict[str, int] = {}
    outputs: dict[int, list[Tensor]] = {}

    def note(name: str, call: int, use: int, module: nn.Module, x: Tensor, out: Tensor) -> None:
        uses.setdefault(name, [0] * len(calls))[call] += 1
        n = readers.n_places(module, out, _PLACES * calls[call].n)
        rows[name] = rows.get(name, 0) + n * (not calls[call].held)
        n_bytes[name] = n_bytes.get(name, 0) + n * out.element_size() * (
            out.numel() // readers.n_places(module, out, out.numel())
        )

    def answered(call: int, out: Any) -> None:
        found = output_tensors(out)
        if calls[call].held:
            outputs[call] = found

    distance = Distance()
    with distance.watching(full):
        _watch(full, calls, sites, note, done=answered)
    return _Survey(uses, rows, n_bytes, outputs, distance.value())


def _re_estimated(network: nn.Module, calls: Sequence[Call]) -> bool:
    """Estimate batch-norm statistics anew; whether that could be done."""
    try:
        estimate_anew(network, lambda: [call.run(network) for call in calls if not call.held])
    except SurgeryError:  # a batch norm over a single number, say
        return False
    return True


def _error(network: nn.Module, calls: Sequence[Call], survey: _Survey) -> float:
    """Root mean square difference of outputs on held-out inputs, over that of the uncut network's.

    Infinite where the network gives no finite numbers, or other sizes.
    """
    difference = scale = 0.0
    with _passing(network):
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


class _LeftError(BaseException):
    """Why a layer is left as it is; of no kind that code within a network catches."""


class _Walk:
    """A cut network that is repaired layer by layer."""

    def __init__(
        self,
        full: nn.Module,
        small: nn.Module,
        calls: Sequence[Call],
        sites: Mapping[str, Site],
        survey: _Survey,
        seed: int,
    ) -> None:
        self.full, self.small, self.calls, self.sites = full, small, calls, sites
        self.survey, self.seed = survey, seed
        self.targets: dict[tuple[str, int, int], tuple[torch.Size, Tensor]] = {}

    def repaired(
        self, tried: Callable[[str], Sequence[float] | None]
    ) -> tuple[list[LayerRepair], dict[str, str]]:
        """Repair every layer behind the first cut that can be, in the order they run.

        `tried` gives the regularisations to choose from, one if no input is held out, or None for a
        layer that is to be left.
        """
        order = list(self.survey.uses)
        touched = [n for n, s in self.sites.items() if s.lost or s.kept is not None]
        left = {n: "it is not called as a module" for n in touched if n not in self.survey.uses}
        first = min((order.index(n) for n in touched if n in self.survey.uses), default=len(order))
        layers: list[LayerRepair] = []
        behind = []
        for name in order[first:]:
            if why := self._hindrance(name):
                left[name] = why
            elif tried(name):
                behind.append(name)
        for k, name in enumerate(behind):
            if (name, 0, 0) not in self.targets:
                self._take_targets(behind[k:])
            try:
                layers.append(self._repair(name, tried(name) or ()))
            except _LeftError as why:
                left[name] = str(why)
            self.targets = {key: rows for key, rows in self.targets.items() if key[0] != name}
        return layers, left

    def _hindrance(self, name: str) -> str | None:
        module = dict(self.small.named_modules()).get(name)
        if module is None or readers.n_spatial(module) is None:
            return "it is not in the cut network"
        groups = getattr(module, "groups", 1)
        if groups > 1 and groups == module.in_channels:
            return "it reads one channel an output, and passes on what it lacks"
        if "weight" not in module._parameters and not hasattr(module, "parametrizations"):
            return "a hook computes its weight"
        mine = {id(parameter) for parameter in module.parameters()} - {id(module.bias)}
        for other, one in self.small.named_modules():
            if one is not module and mine & {id(p) for p in one._parameters.values()}:
                if not other.startswith(f"{name}."):
                    return f"it shares its weight with {other!r}"
        return None

    def _take_targets(self, names: Sequence[str]) -> None:
        """Keep the uncut network's outputs of as many layers as fit."""
        taken, n_bytes = [], 0
        for name in names:
            n_bytes += self.survey.n_bytes[name]
            if taken and n_bytes > _TARGETS:
                break
            taken.append(name)

        def note(name: str, call: int, use: int, module: Any, x: Tensor, out: Tensor) -> None:
            rows = readers.outputs_at(module, out, self._places(name, call, use, module, out))
            kept = self.sites[name].kept
            rows = rows if kept is None else rows[:, kept.to(rows.device)]
            self.targets[name, call, use] = readers.without_channels(module, out), rows

        last = [sum(self.survey.uses[name][k] for name in taken) for k in range(len(self.calls))]
        _watch(self.full, self.calls, taken, note, last)

    def _places(self, name: str, call: int, use: int, module: nn.Module, out: Tensor) -> Tensor:
        number = zlib.crc32(f"{self.seed} {name} {call} {use}".encode())
        generator = torch.Generator().manual_seed(number)
        return readers.places(module, out, _PLACES * self.calls[call].n, generator)

    def _repair(self, name: str, tried: Sequence[float]) -> LayerRepair:
        """Solve a layer, and change it."""
        module: Any = self.small.get_submodule(name)
        weights = readers.weights_of(module)
        groups, n_out, d = weights.shape
        sums = _Sums(Rows if self.survey.rows[name] < d else Gram, module)

        def note(_: str, call: int, use: int, module: Any, x: Tensor, out: Tensor) -> None:
            if (name, call, use) not in self.targets:
                raise _LeftError("it is called otherwise than in the uncut network")
            shape, wanted = self.targets[name, call, use]
            if shape != readers.without_channels(module, out) or wanted.shape[1] != groups * n_out:
                raise _LeftError("its outputs have other places than in the uncut network")
            at = self._places(name, call, use, module, out)
            sums.add(x, out, at, wanted, self.calls[call].held)

        _watch(self.small, self.calls, [name], note, self.survey.uses[name])
        fitted, held = sums.of[False], sums.of[True]
        if fitted.raw + held.raw <= _SAME.get(module.weight.dtype, 1e-2) ** 2 * sums.scale():
            raise _LeftError("it gives what it gave")
        found = fit(fitted, held, sums.origin, tried)
        if found.ridge is None:
            raise _LeftError("no step lowers its error on held-out inputs")
        if not math.isinf(found.ridge):
            new = readers.weight_of(module, weights.double() + found.change.to(weights.device))
            if not readers.set_weight(module, new):
                raise _LeftError("what computes its weight cannot give another one")
        readers.shift(self.small, name, self.sites[name].norm, found.shift.flatten())
        scale = sums.held_scale() or 1.0
        before, after = (math.sqrt(error / scale) for error in (found.before, found.after))
        return LayerRepair(name, found.ridge, before, after, groups * d, found.rank, found.constant)


class _Sums:
    """Moments of what a layer reads and lacks, of inputs that are fitted and of those held out."""

    def __init__(self, kind: type[Gram] | type[Rows], module: Any) -> None:
        self.kind, self.module = kind, module
        self.weights = readers.weights_of(module)
        self.of: dict[bool, Moments] = {}
        self.origin: tuple[Tensor, Tensor] = (torch.zeros(()), torch.zeros(()))
        self._wanted: dict[bool, list[Tensor]] = {False: [], True: []}

    def add(self, x: Tensor, out: Tensor, at: Tensor, wanted: Tensor, held: bool) -> None:
        """Take rows in of one use of the layer."""
        read = readers.inputs_at(self.module, x, out, at)
        given = readers.outputs_at(self.module, out, at)
        lacks = (wanted - given).unflatten(1, (len(self.weights), -1)).movedim(1, 0)
        if not bool(lacks.isfinite().all() and read.isfinite().all()):
            raise _LeftError("it reads or gives numbers that are not finite")
        if not self.of:
            self._check(read, given)
            self.origin = read.mean(1, keepdim=True), lacks.mean(1, keepdim=True)
            self.of = {out: self.kind(self.origin) for out in (False, True)}
        self.of[held].add(read, lacks)
        sums = torch.stack([torch.ones_like(wanted).sum(0), wanted.sum(0), wanted.square().sum(0)])
        self._wanted[held].append(sums.double())

    def _check(self, read: Tensor, given: Tensor) -> None:
        """That the layer gives its weights times what it reads, and its bias, and no more."""
        few = slice(0, 64)
        made = (read[:, few].double() @ self.weights.double().mT).movedim(0, 1).flatten(1)
        if self.module.bias is not None:
            made = made + self.module.bias.detach().double()
        allowed = 1e-3 if self.weights.dtype in (torch.float32, torch.float64) else 5e-2
        if float((made - given[few]).abs().max()) > allowed * (float(made.abs().max()) or 1.0):
            raise _LeftError("it computes otherwise than by its weight and bias")

    def scale(self) -> float:
        """Sum of squares of what the layer is to give."""
        return sum(float(sums[2].sum()) for part in self._wanted.values() for sums in part)

    def held_scale(self) -> float:
        """The same about its mean, on held-out inputs."""
        if not self._wanted[True]:
            return 0.0
        n, total, squares = torch.stack(self._wanted[True]).sum(0)
        return float((squares - total.square() / n).clamp(min=0).sum())
