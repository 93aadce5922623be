"""A cut network repaired layer by layer, towards what the uncut one gives on the same inputs."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secateur.surgery import readers
from secateur.surgery.examples import Call
from secateur.surgery.least_squares import Gram, Moments, Rows, fit
from secateur.surgery.readers import Site
from secateur.surgery.reconstruction import LayerRepair
from secateur.surgery.replay import Replay
from secateur.surgery.watching import PLACES, Survey, watched

_TARGETS = 2**28
"""Bytes of the uncut network's outputs that are kept at a time."""

_SAME = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Outputs this close, relatively, differ by rounding; 1e-2 in shorter types."""


class _LeftError(BaseException):
    """Why a layer is left as it is; of no kind that code within a network catches."""


class Walk:
    """A cut network that is repaired layer by layer."""

    def __init__(
        self,
        full: nn.Module,
        small: nn.Module,
        calls: Sequence[Call],
        sites: Mapping[str, Site],
        survey: Survey,
        seed: int,
    ) -> None:
        self.full, self.small, self.calls, self.sites = full, small, calls, sites
        self.survey, self.seed = survey, seed
        self.replay = Replay(survey.once)
        self.targets: dict[tuple[str, int, int], tuple[torch.Size, Tensor]] = {}

    def repaired(
        self,
        tried: Callable[[str], Sequence[float] | None],
        judge: Callable[[nn.Module], float] | None = None,
    ) -> tuple[list[LayerRepair], dict[str, str]]:
        """Repair every layer behind the first cut that can be, in the order they run.

        `tried` gives the regularisations to choose from, one if no input is held out, or None for a
        layer that is to be left. With `judge`, the error of a network, shifts that raise it are
        taken back; it is for repairs that are shifts alone.
        """
        best = math.inf if judge is None else judge(self.small)
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
            was = readers.shifted(self.small, name, self.sites[name].norm)
            try:
                done = self._repair(name, tried(name) or ())
                if judge is not None and not (now := judge(self.small)) < best:
                    readers.shift_back(self.small, name, self.sites[name].norm, was)
                    raise _LeftError("a shift of it raises the error of the outputs")
                best = best if judge is None else now
                layers.append(done)
            except _LeftError as why:
                left[name] = str(why)
            self.targets = {key: rows for key, rows in self.targets.items() if key[0] != name}
        return layers, left

    def _hindrance(self, name: str) -> str | None:
        called, module = readers.located(self.small, name)
        groups = getattr(module, "groups", 1)
        if groups > 1 and groups == module.in_channels:
            return "it reads one channel an output, and passes on what it lacks"
        if "weight" not in module._parameters and not hasattr(module, "parametrizations"):
            return "a hook computes its weight"
        mine = {id(parameter) for parameter in module.parameters()}
        for other, one in self.small.named_modules():
            apart = one is not called and not other.startswith(f"{name}.")
            if apart and mine & {id(p) for p in one._parameters.values()}:
                return f"it shares its weight or bias with {other!r}"
        return None

    def _take_targets(self, names: Sequence[str]) -> None:
        """Keep the uncut network's outputs of as many layers as fit."""
        taken: list[str] = []
        n_bytes = 0
        for name in names:
            n_bytes += self.survey.n_bytes[name]
            if taken and n_bytes > _TARGETS:
                break
            taken.append(name)

        def note(name: str, call: int, use: int, module: Any, _: Tensor, out: Tensor) -> None:
            rows = readers.outputs_at(module, out, self._places(name, call, use, module, out))
            kept = self.sites[name].kept
            rows = rows if kept is None else rows[:, kept.to(rows.device)]
            if (factor := self.sites[name].factor) is not None:
                rows = rows * factor.to(rows)
            self.targets[name, call, use] = readers.without_channels(module, out), rows

        last = [sum(self.survey.uses[name][k] for name in taken) for k in range(len(self.calls))]
        watched(self.full, self.calls, taken, note, last)

    def _places(self, name: str, call: int, use: int, module: nn.Module, out: Tensor) -> Tensor:
        number = zlib.crc32(f"{self.seed} {name} {call} {use}".encode())
        generator = torch.Generator().manual_seed(number)
        return readers.places(module, out, PLACES * self.calls[call].n, generator)

    def _repair(self, name: str, tried: Sequence[float]) -> LayerRepair:
        """Solve a layer, and change it."""
        _, module = readers.located(self.small, name)
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

        watched(self.small, self.calls, [name], note, self.survey.uses[name], replay=self.replay)
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
        lacks = (wanted - given).reshape(len(wanted), len(self.weights), -1).movedim(1, 0)
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
