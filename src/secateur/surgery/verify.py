"""Verification after the cut: the smaller network against the whole one with channels silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Literal

import numpy as np
from torch import Tensor, nn

from secateur.channels.cost import owner_module
from secateur.channels.groups import ChannelMap, Mixing
from secateur.channels.run import Run
from secateur.channels.trace import Example, recorded, untouched
from secateur.channels.walk import modules_of
from secateur.errors import VerificationError
from secateur.plan.plan import PruningPlan
from secateur.surgery.inputs import drawn, nearby, of_another_size, sizes_of
from secateur.surgery.mask import mask
from secateur.surgery.permute import permuted, permuted_plan
from secateur.surgery.precise import Float64, apart, in_float64, one_seed, outputs
from secateur.surgery.rebuild import shrink
from secateur.surgery.reference import Over, silent_answer

TOLERANCE = 1e-10

_NO_ROUNDING = 1e-5
"""A difference above this is none of float32's rounding."""

Answers = Callable[[Example], list[Tensor]]

How = Literal["silent", "kept statistics", "computed weight"]
"""Against which reference a group is verified.

`silent`: the whole network with the group's removed channels at zero. `kept statistics`: the same,
with every operator across channels (a layer norm, a softmax) over the channels that are kept.
`computed weight`: the same, with a weight that the network computes from others computed from what
is kept of it; it is then another weight than it was.
"""


@dataclass(frozen=True)
class Verification:
    """What of a cut was verified, against what, and how far apart the two are.

    Attributes:
        relative_error: the largest difference over the median of the numbers that differ, of all
            outputs and inputs, in float64. The reference is the whole network with the removed
            channels silent, and with what `groups` says of the others.
        groups: every group that lost channels -> against which reference it is verified.
        operators: operators across channels that these groups meet, with the line.
        silence_error: how far the cut network is from the whole one with silent channels that
            operators across channels, and computed weights, still count as zeros; None where no
            group meets one.
        permutation_error: how far it is from the network of which the channels of these groups were
            permuted everywhere before the same cut; None where none meets one, or their order
            counts.
        inputs: the sizes of the inputs that were tried, the example's first.
        tells: whether the outputs can tell: not if all are whole numbers, truth values or zeros.
        unreached: modules whose parameters the example does not reach (a head for training only, a
            branch for longer inputs): they stay as they are, and nothing is known of them.
    """

    relative_error: float
    groups: Mapping[str, How] = field(default_factory=dict)
    operators: tuple[str, ...] = ()
    silence_error: float | None = None
    permutation_error: float | None = None
    inputs: tuple[str, ...] = ()
    tells: bool = True
    unreached: tuple[str, ...] = ()

    @property
    def largest_error(self) -> float:
        """How far the cut network is from its reference, or from itself after a permutation."""
        return max(self.relative_error, self.permutation_error or 0.0)

    @property
    def holds(self) -> bool:
        """Whether both are within 1e-10."""
        return self.largest_error <= TOLERANCE

    @property
    def exact(self) -> bool:
        """Whether it equals the whole network with the removed channels silent, within 1e-10.

        What is taken over kept channels is not, even where the inputs that were tried hide it; nor
        is that known where the outputs tell nothing.
        """
        silent = "kept statistics" not in self.groups.values()
        return self.holds and self.tells and silent and (self.silence_error or 0.0) <= TOLERANCE

    def __str__(self) -> str:
        """The same in words, a line for each kind of reference."""
        if not self.groups:
            return "no channel went, and nothing was compared"
        what = "is as its references say"
        if self.exact:
            what = "is the whole network with the removed channels silent"
        elif not self.holds:
            what = "DIFFERS from its references"
        lines = [
            f"the cut network {what}: largest difference {self.largest_error:.1e} (allowed "
            f"{TOLERANCE:g}), in float64, on inputs of {' and '.join(self.inputs)}"
        ]
        if not self.tells:
            lines.append("the outputs are all whole numbers or zeros, and tell little of a cut")
        for how, n in Counter(self.groups.values()).items() if not self.exact else ():
            lines.append(f"{n} group{'s' * (n > 1)}: {_WORDS[how]}")
        if self.unreached:
            names = ", ".join(self.unreached[:5]) + " …" * (len(self.unreached) > 5)
            lines.append(f"not reached by the example, held against nothing: {names}")
        if self.operators:
            lines.append(f"operators across channels: {', '.join(self.operators)}")
        if self.permutation_error is not None:
            lines.append(
                "permuting these groups' channels before the cut changes the outputs by "
                f"{self.permutation_error:.1e}"
            )
        if self.silence_error is not None:
            lines.append(
                f"from the whole network with silent channels counted as zeros it differs by "
                f"{self.silence_error:.1e}"
            )
        return "\n".join(lines)


_WORDS: Mapping[How, str] = {
    "silent": "the whole network with these channels silent",
    "kept statistics": (
        "the whole network with these channels silent, operators across channels taken over those "
        "that are kept"
    ),
    "computed weight": (
        "the whole network with these channels silent, weights computed from what is kept; they "
        "are other weights than before"
    ),
}


def verify(
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    example_input: Example,
) -> Verification:
    """Compare `small` with the whole `model` in which the channels of a plan are silent.

    Both run in float64 with one seed, on numbers drawn in the example's range and, where the
    network runs with other sizes than the example's, on one of those as well.

    Raises:
        PlanError: the plan was made for another network.
        VerificationError: they differ.
    """
    original, channels = recorded(model, example_input, channels)
    plan.check(channels)
    found = Check(model, channels, original, example_input).of(plan, small)
    if not found.holds:
        raise VerificationError(
            f"the cut network differs by {found.largest_error:.2g} (allowed {TOLERANCE:g}) from "
            "the whole one with these channels silent; the model that came in is untouched. Let "
            "cut hold back the groups that are to blame, or ignore them"
        )
    return found


@dataclass
class Check:
    """What cuts of one network are verified with."""

    model: nn.Module
    channels: ChannelMap
    original: Run
    example: Example
    _near: bool = False

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
            run.of_another_size = of_another_size(self.model, self.example, run, self.channels)
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
        cut = in_float64(small)
        kept = self._apart(cut, references := self._references(plan, "kept"))
        if kept != kept and not self._near:  # no number came of what was drawn
            self.inputs, self._near = [nearby(self.example)], True
            kept = self._apart(cut, references)
        silent = self._apart(cut, self._references(plan, "all")) if statistics else None
        moved = None
        if statistics and not self.original.draws and not _ordered(touched):
            moved = self._apart(cut, self._permuted(plan, statistics))
        with self._alone(), Float64():
            answers = outputs(cut, self.inputs[0])
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
        return not self._apart(in_float64(small), found, quick=True) <= TOLERANCE

    def _apart(
        self, cut: nn.Module, references: Sequence[Answers], *, quick: bool = False
    ) -> float:
        """How far the cut network is from the first reference that gives numbers, at the most.

        Where they differ, all is looked at again in float64, what the network casts to other types
        too; not if a `quick` answer is wanted and the difference is no matter of rounding. NaN if
        no reference gives numbers.
        """
        errors = []
        for example in self.inputs:
            error = float("inf")
            for wide in (False, True):
                for reference in references:
                    with self._alone(), Float64() if wide else nullcontext():
                        error = _compared(cut, reference, example, raises=wide)
                    if error == error:
                        break
                if error <= TOLERANCE or (quick and error > _NO_ROUNDING):
                    break
            errors.append(error)
            if quick and not error <= TOLERANCE:
                break
        return float(np.max(errors))

    def _references(self, plan: PruningPlan, over: Over) -> list[Answers]:
        """What the whole network answers with a plan's channels silent.

        Where no weight is computed, no operator works across channels and nothing is drawn, that is
        a network whose parameters are zero for these channels, or only those that read them, where
        a parameter of zero (the width of a filter, say) gives no number. Else labels tell.
        """
        computed = self.original.computed
        members = [m for name in plan.remove for m in self.channels.by_name[name].members]
        labelled = self.original.draws or any(m.parameter in computed for m in members)
        labelled |= bool(self._met(plan)[0])
        masked = mask(self._exact, plan, self.channels, leave=computed)
        if not labelled:
            readers = mask(self._exact, plan, self.channels, readers=True)
            return [partial(outputs, masked), partial(outputs, readers)]

        def answer(example: Example) -> list[Tensor]:
            given = masked, plan.remove, self.channels, example, self.original
            with one_seed():
                return silent_answer(*given, over)

        return [answer]

    def _permuted(self, plan: PruningPlan, rows: Sequence[Mixing]) -> list[Answers]:
        """What is answered after the same cut of a network whose channels stand the other way."""
        order = {
            name: list(reversed(range(self.channels.by_name[name].n_channels)))
            for name in dict.fromkeys(name for row in rows for name in row.groups)
        }
        turned = permuted(self._exact, self.channels, order)
        other = shrink(turned, permuted_plan(plan, order), self.channels)
        return [partial(outputs, other)]

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


def _compared(cut: nn.Module, reference: Answers, example: Example, *, raises: bool) -> float:
    """How far two answers are apart; NaN where the reference is no number or, at first, fails."""
    try:
        return apart(outputs(cut, example), reference(example))
    except Exception as problem:
        if not raises:  # of another type somewhere, it may be
            return float("nan")
        said = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise VerificationError(
            f"the cut network cannot be compared with the whole one in float64: {said}; every "
            "module and tensor must be reached through attributes, not through functions, weak "
            "references or helpers that hold on to the network that came in"
        ) from problem


def _how(name: str, touched: Sequence[Mixing]) -> How:
    own = [row for row in touched if name in row.groups]
    if any(row.weights for row in own):
        return "computed weight"
    return "silent" if all(row.silent for row in own) else "kept statistics"


_IN_ORDER = {"cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"}


def _ordered(touched: Sequence[Mixing]) -> bool:
    """Whether the order of channels counts, so that permuting them changes the network."""
    return any(row.operator in _IN_ORDER for row in touched)
