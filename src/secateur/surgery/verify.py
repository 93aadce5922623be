"""Verification after the cut: the smaller network against the whole one with channels silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from secateur.channels.cost import Removal, owner_module
from secateur.channels.groups import ChannelMap, Mixing
from secateur.channels.repaired import sites
from secateur.channels.run import Run
from secateur.channels.trace import Example, untouched
from secateur.channels.walk import modules_of, tensors_of
from secateur.errors import VerificationError
from secateur.plan.plan import PruningPlan
from secateur.surgery.inputs import drawn, nearby, of_another_size, sizes_of
from secateur.surgery.mask import masked
from secateur.surgery.permute import permuted, permuted_plan
from secateur.surgery.precise import Float64, apart, in_float64, one_seed, outputs
from secateur.surgery.rebuild import rebuild, shrink
from secateur.surgery.reference import Over, silent_answer
from secateur.surgery.verification import TOLERANCE, How, Verification

_NO_ROUNDING = 1e-5
"""A difference above this is none of float32's rounding."""

Answers = Callable[[Example], list[Tensor]]


def verified(
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    example_input: Example,
    original: Run,
) -> Verification:
    """Compare `small` with the whole `model` in which the channels of a plan are silent.

    Both run in float64 with one seed, on numbers drawn in the example's range and, where the
    network runs with other sizes than the example's, on one of those as well.

    `original` is a recorded run of the model, of the reading that the plan's groups are of.

    Raises:
        VerificationError: they differ.
    """
    found = Check(model, channels, original, example_input).of(plan, small)
    if not found.holds:
        raise VerificationError(
            f"the cut network differs by {found.largest_error:.2g} (allowed {TOLERANCE:g}) from "
            "the whole one with these channels silent; the model that came in is untouched. Let "
            "cut hold back the groups that are to blame, or ignore them"
        )
    return found


class Asked:
    """A network that is asked every example once, as it is or in float64 throughout (`wide`)."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._known: dict[tuple[int, bool], tuple[Example, list[Tensor]]] = {}

    def __call__(self, example: Example, wide: bool) -> list[Tensor]:
        """The tensors of its answer."""
        key = id(example), wide
        if key not in self._known:  # with the example, so that its identity stays its own
            self._known[key] = example, outputs(self._network, example)
        return self._known[key][1]

    def answered(self, example: Example) -> list[Tensor]:
        """What it has answered before, one way or the other."""
        return next(answer for (one, _), (_, answer) in self._known.items() if one == id(example))


@dataclass
class Check:
    """What cuts of one network are verified with."""

    model: nn.Module
    channels: ChannelMap
    original: Run
    example: Example
    _near: bool = False
    _as_torch: dict[int, bool] = field(default_factory=dict)

    @cached_property
    def inputs(self) -> list[Example]:
        """Numbers to call the network with: of the example's size, and of another if one runs."""
        n_rows = self.original.n_rows
        other = self._of_another_size
        found = [drawn(self.example, n_rows)]
        if n_rows is not None and not self._runs(found[0]):  # numbers of the example's range, then
            n_rows = None
            found = [drawn(self.example, n_rows)]
        if other is not None and self._runs(again := drawn(other, n_rows, seed=1)):
            found.append(again)
        return found

    @property
    def _of_another_size(self) -> Example | None:
        """An example of another size, looked for once for a recorded run."""
        run = self.original
        if not run.looked_for_size:
            run.of_another_size = of_another_size(self.model, self.example, run)
            run.looked_for_size = True
        other: Example | None = run.of_another_size
        return other

    @cached_property
    def _exact(self) -> nn.Module:
        return in_float64(self.model)

    def _runs(self, example: Example) -> bool:
        with suppress(Exception), Float64():
            return bool(outputs(self._exact, example))
        return False

    def of(self, plan: PruningPlan, small: nn.Module) -> Verification:
        """What is verified of a cut; whether it holds is for the caller to say.

        Raises:
            VerificationError: the cut network does not run.
        """
        touched, statistics = self._met(plan)
        groups = {name: _how(name, touched) for name, gone in plan.remove.items() if gone}
        if not groups:
            return Verification(0.0)
        cut = Asked(self._in_float64(plan, small))
        kept = self._apart(cut, references := self._references(plan, "kept"))
        if kept != kept and not self._near:  # no number came of what was drawn
            self.inputs, self._near = [nearby(self.example)], True
            kept = self._apart(cut, references)
        silent = self._silence_error(cut, plan) if statistics else None
        moved = None
        if statistics and not self.original.draws and not _ordered(touched):
            moved = self._apart(cut, self._permuted(plan, statistics))
        answers = cut.answered(self.inputs[0])
        return Verification(
            _or_infinite(kept),
            groups,
            tuple(dict.fromkeys(f"{row.operator} at {row.source}" for row in statistics)),
            None if silent is None else _or_infinite(silent),
            None if moved is None else _or_infinite(moved),
            tuple(map(sizes_of, self.inputs)),
            unreached=self._unreached(),
            tells=any(t.is_floating_point() or t.is_complex() for t in answers if bool(t.any())),
        )

    def _in_float64(self, plan: PruningPlan, small: nn.Module) -> nn.Module:
        """The cut network in float64, with what a cut scales as it was before rounding.

        So where they differ from that by no more than their own precision rounds.
        """
        cut, own = in_float64(small), tensors_of(small)
        scales = [name for site in sites(self.model) for name in site.scales] + [*plan.rescaled]
        if not scales:
            return cut
        exact = tensors_of(shrink(self._exact, plan, self.channels))
        unrounded = {}
        for name in scales:
            if name in own and own[name].shape == exact[name].shape:
                rounding = 4 * torch.finfo(own[name].dtype).eps
                if torch.allclose(own[name].detach().cpu().double(), exact[name], rounding, 0.0):
                    unrounded[name] = exact[name].detach()
        return rebuild(cut, unrounded)

    def _met(self, plan: PruningPlan) -> tuple[list[Mixing], list[Mixing]]:
        """Operators across channels of which some go; and those to which zeros still count."""
        met = [row for row in self.channels.mixing if any(map(plan.remove.get, row.groups))]
        return met, [row for row in met if row.weights or not row.silent]

    def _unreached(self) -> tuple[str, ...]:
        """Modules with parameters of which no operator made use, in the network's order."""
        reached = {name for name, _ in self.original.notebook.labels}
        found = [
            owner_module(name)
            for name, shape in self.channels.shapes.items()
            if max(shape, default=1) > 1 and name not in {*reached, *self.channels.buffers}
        ]
        return tuple(dict.fromkeys(found))

    def differs(self, plan: PruningPlan, small: nn.Module, *, permuted: bool) -> bool:
        """Whether a cut is not as it should be: as soon as one input shows it.

        By its reference, or after channels were `permuted`.
        """
        _, statistics = self._met(plan)
        if permuted and not statistics:
            return False
        found = self._permuted(plan, statistics) if permuted else self._references(plan, "kept")
        errors = self._errors(Asked(self._in_float64(plan, small)), found, quick=True)
        return any(not error <= TOLERANCE for error in errors)

    def _apart(self, cut: Asked, references: Sequence[Answers]) -> float:
        """How far the cut network is from the first reference that gives numbers, at the most."""
        return float(np.max(list(self._errors(cut, references))))

    def _silence_error(self, cut: Asked, plan: PruningPlan) -> float:
        """How far it is from the whole network with silent channels counted as zeros, at the most.

        They may well differ, so that no difference is looked at again.
        """
        references = self._references(plan, "all")
        errors = []
        for example in self.inputs:
            error = self._compared(cut, references[-1], example, wide=False)
            if error != error:
                error = self._compared(cut, references[-1], example, wide=True)
            errors.append(error)
        return float(np.max(errors))

    def _errors(
        self, cut: Asked, references: Sequence[Answers], *, quick: bool = False
    ) -> Iterator[float]:
        """Input by input, how far the cut network is from the first reference that gives numbers.

        Where they differ, all is looked at again in float64, what the network casts to other types
        too; not if a `quick` answer is wanted and the difference is no matter of rounding. NaN if
        no reference gives numbers.
        """
        for example in self.inputs:
            error = float("inf")
            for wide in (False, True):
                for reference in references:
                    error = self._compared(cut, reference, example, wide)
                    if error == error:
                        break
                if error <= TOLERANCE or (quick and error > _NO_ROUNDING):
                    break
            if TOLERANCE < error < float("inf"):
                with self._alone(), Float64():
                    error = min(error, _beyond_rounding(cut, reference, example))
            yield error

    def _references(self, plan: PruningPlan, over: Over) -> list[Answers]:
        """What the whole network answers with a plan's channels silent.

        Where no weight is computed, no operator works across channels and nothing is drawn, that is
        a network whose parameters are zero for these channels, or only those that read them, where
        a parameter of zero (the width of a filter, say) gives no number. Else labels tell.
        """
        computed = self.original.weights.computed
        members = [m for name in plan.remove for m in self.channels.by_name[name].members]
        labelled = self.original.draws or any(m.parameter in computed for m in members)
        labelled |= bool(self._met(plan)[0])
        silent = masked(self._exact, plan, self.channels, leave=computed)
        if not labelled:
            readers = masked(self._exact, plan, self.channels, readers=True)
            return [partial(outputs, silent), partial(outputs, readers)]

        def answer(example: Example) -> list[Tensor]:
            found = self._answer(silent, plan.remove, example, over)
            if not self._runs_as_torch(example):
                return [torch.full_like(tensor.double(), torch.nan) for tensor in found]
            return found

        return [answer]

    def _runs_as_torch(self, example: Example) -> bool:
        """Whether attention written out answers as torch's own, which a run with labels is not."""
        attention = (m for m in self._exact.modules() if type(m) is nn.MultiheadAttention)
        if not any(example is one for one in self.inputs) or next(attention, None) is None:
            return True
        if id(example) not in self._as_torch:
            found = self._answer(self._exact, {}, example, "all")
            close = apart(found, outputs(self._exact, example)) <= TOLERANCE
            self._as_torch[id(example)] = close
        return self._as_torch[id(example)]

    def _answer(
        self, network: nn.Module, remove: Removal, example: Example, over: Over
    ) -> list[Tensor]:
        """What a run with labels answers with channels silent."""
        with one_seed():
            return silent_answer(network, remove, self.channels, example, self.original, over)

    def _permuted(self, plan: PruningPlan, rows: Sequence[Mixing]) -> list[Answers]:
        """What is answered after the same cut of a network whose channels stand the other way."""
        order = {
            name: list(reversed(range(self.channels.by_name[name].n_channels)))
            for name in dict.fromkeys(name for row in rows for name in row.groups)
        }
        turned = permuted(self._exact, self.channels, order)
        other = shrink(turned, permuted_plan(plan, order), self.channels)
        return [partial(outputs, other)]

    def _compared(self, cut: Asked, reference: Answers, example: Example, wide: bool) -> float:
        """How far two answers are apart; NaN where the reference is no number or does not run.

        Raises:
            VerificationError: one does not run in float64 throughout (`wide`).
        """
        try:
            with self._alone(), Float64() if wide else nullcontext():
                return apart(cut(example, wide), reference(example))
        except Exception as problem:
            if not wide:  # of another type somewhere, it may be
                return float("nan")
            said = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            raise VerificationError(
                f"the cut network cannot be compared with the whole one in float64: {said}; every "
                "module and tensor must be reached through attributes, not through functions, weak "
                "references or helpers that hold on to the network that came in"
            ) from problem

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The network that came in is empty meanwhile: a copy that still reaches into it fails."""
        modules = [module for _, module in modules_of(self.model)]
        with untouched(modules):
            for module in modules:
                module.__dict__["_parameters"] = {}
                module.__dict__["_buffers"] = {}
            yield


def _or_infinite(error: float) -> float:
    return error if error == error else float("inf")


_ROUNDINGS = 1000
"""So many times as far as a nudge of its inputs moves it may rounding move an output."""


def _beyond_rounding(cut: Asked, reference: Answers, example: Example) -> float:
    """How far two answers are apart beyond what rounding moves, where numbers cancel out.

    That is measured by the reference itself, its inputs nudged by their last digits.
    """
    wanted, moved = reference(example), reference(nearby(example, 2.0**-50))
    noise = [
        (_ROUNDINGS * (one - other).abs()).nan_to_num(0.0, 0.0)
        if one.is_floating_point() and one.shape == other.shape
        else None
        for one, other in zip(moved, wanted, strict=True)
    ]
    return apart(cut(example, wide=True), wanted, noise)


def _how(name: str, touched: Sequence[Mixing]) -> How:
    own = [row for row in touched if name in row.groups]
    if any(row.weights for row in own):
        return "computed weight"
    return "silent" if all(row.silent for row in own) else "kept statistics"


_IN_ORDER = {"cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"}


def _ordered(touched: Sequence[Mixing]) -> bool:
    """Whether the order of channels counts, so that permuting them changes the network."""
    return any(row.operator in _IN_ORDER for row in touched)
