"""Verification after the cut: the smaller network against the whole one with channels silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from secateur.channels.groups import ChannelMap, Mixing
from secateur.channels.run import Run
from secateur.channels.trace import Example, call_arguments, recorded, untouched
from secateur.channels.walk import modules_of, tensors_of, tensors_within
from secateur.errors import VerificationError
from secateur.plan.plan import PruningPlan
from secateur.surgery.inputs import drawn, of_another_size, sizes_of
from secateur.surgery.mask import mask
from secateur.surgery.permute import permuted, permuted_plan
from secateur.surgery.rebuild import rebuild, shrink
from secateur.surgery.reference import Over, silent_answer

TOLERANCE = 1e-10

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
        relative_error: max |cut - reference| / max |reference| over all outputs and inputs, in
            float64. The reference is the whole network with the removed channels silent, and with
            what `groups` says of the others.
        groups: every group that lost channels -> against which reference it is verified.
        operators: operators across channels that these groups meet, with the line.
        silence_error: how far the cut network is from the whole one with silent channels that
            operators across channels, and computed weights, still count as zeros; None where no
            group meets one.
        permutation_error: how far it is from the network of which the channels of these groups were
            permuted everywhere before the same cut; None where none meets one, or their order
            counts.
        inputs: the sizes of the inputs that were tried, the example's first.
    """

    relative_error: float
    groups: Mapping[str, How] = field(default_factory=dict)
    operators: tuple[str, ...] = ()
    silence_error: float | None = None
    permutation_error: float | None = None
    inputs: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the cut network equals its reference within 1e-10."""
        return max(self.relative_error, self.permutation_error or 0.0) <= TOLERANCE

    @property
    def exact(self) -> bool:
        """Whether it equals the whole network with the removed channels silent, within 1e-10.

        What is taken over kept channels is not, even where the inputs that were tried hide it.
        """
        silent = "kept statistics" not in self.groups.values()
        return self.holds and silent and (self.silence_error or 0.0) <= TOLERANCE

    def __str__(self) -> str:
        """The same in words, a line for each kind of reference."""
        what = "equals" if self.holds else "DIFFERS from"
        lines = [
            f"the cut network {what} its reference within {self.relative_error:.1e} (allowed "
            f"{TOLERANCE:g}), in float64, on inputs of {', '.join(self.inputs) or 'no size'}"
        ]
        for how, n in Counter(self.groups.values()).items():
            lines.append(f"{n} group{'s' * (n > 1)}: {_WORDS[how]}")
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
            f"the cut network differs by {found.relative_error:.2g} (allowed {TOLERANCE:g}) from "
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
        with suppress(Exception), _Float64():
            return bool(_outputs(self._exact, example))
        return False

    def of(self, plan: PruningPlan, small: nn.Module) -> Verification:
        """What is verified of a cut; whether it holds is for the caller to say.

        Raises:
            VerificationError: the cut network does not run.
        """
        touched = [row for row in self.channels.mixing if _any_of(plan, row.groups)]
        groups = {name: _how(name, touched) for name, gone in plan.remove.items() if gone}
        if not groups:
            return Verification(0.0)
        statistics = [row for row in touched if row.weights or not row.silent]
        cut = in_float64(small)
        kept = self._apart(cut, self._references(plan, "kept"))
        silent = self._apart(cut, self._references(plan, "all")) if statistics else None
        moved = None
        if statistics and not self.original.draws and not _ordered(touched):
            moved = self._apart(cut, self._permuted(plan, statistics))
        return Verification(
            kept,
            groups,
            tuple(dict.fromkeys(f"{row.operator} at {row.source}" for row in statistics)),
            silent,
            moved,
            tuple(map(sizes_of, self.inputs)),
        )

    def _apart(self, cut: nn.Module, references: Sequence[Answers]) -> float:
        """How far the cut network is from the first reference that gives numbers, at the most.

        Where they differ, all is looked at again in float64, what the network casts to other types
        too.
        """
        errors = []
        for example in self.inputs:
            error = float("inf")
            for wide in (False, True):
                for reference in references:
                    with self._alone(), _Float64() if wide else nullcontext():
                        error = _compared(cut, reference, example, raises=wide)
                    if error == error:
                        break
                if error <= TOLERANCE:
                    break
            errors.append(error if error == error else float("inf"))
        return max(errors)

    def _references(self, plan: PruningPlan, over: Over) -> list[Answers]:
        """What the whole network answers with a plan's channels silent.

        Where no weight is computed, no operator works across channels and nothing is drawn, that is
        a network whose parameters are zero for these channels, or only those that read them, where
        a parameter of zero (the width of a filter, say) gives no number. Else labels tell.
        """
        computed = self.original.computed
        members = [m for name in plan.remove for m in self.channels.by_name[name].members]
        labelled = self.original.draws or any(m.parameter in computed for m in members)
        labelled |= any(_any_of(plan, row.groups) for row in self.channels.mixing)
        masked = mask(self._exact, plan, self.channels, leave=computed)
        if not labelled:
            readers = mask(self._exact, plan, self.channels, readers=True)
            return [partial(_outputs, masked), partial(_outputs, readers)]

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
        return [partial(_outputs, other)]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The network that came in is empty meanwhile: a copy that still reaches into it fails."""
        modules = [module for _, module in modules_of(self.model)]
        with untouched(modules):
            for module in modules:
                module.__dict__["_parameters"] = {}
                module.__dict__["_buffers"] = {}
            yield


def _any_of(plan: PruningPlan, groups: Sequence[str]) -> bool:
    return any(plan.remove.get(name) for name in groups)


def _compared(cut: nn.Module, reference: Answers, example: Example, *, raises: bool) -> float:
    """How far two answers are apart; NaN where the reference is no number or, at first, fails."""
    try:
        return _difference(_outputs(cut, example), reference(example))
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


_IN_ORDER = {"cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "argmax", "argmin"}


def _ordered(touched: Sequence[Mixing]) -> bool:
    """Whether the order of channels counts, so that permuting them changes the network."""
    return any(row.operator in _IN_ORDER for row in touched)


def difference(model: nn.Module, other: nn.Module, example_input: Example) -> float:
    """Max |other - model| / max |model| over all outputs, in float64 on seeded random input."""
    example = drawn(example_input, None)
    with _Float64():
        found, wanted = (_outputs(in_float64(network), example) for network in (other, model))
    return _difference(found, wanted)


def _difference(cut: list[Tensor], reference: list[Tensor]) -> float:
    if len(cut) != len(reference):
        return float("inf")
    errors = [_relative_error(one, other) for one, other in zip(cut, reference, strict=True)]
    return float(np.max(errors, initial=0.0))  # of which NaN is the largest


class _Float64(TorchFunctionMode):
    """Every floating point number is of 64 bits, whatever the network casts to."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch's on float64, and where it would cast, to float64."""
        name = getattr(func, "__name__", "")
        if name in _ONLY_IN_FLOAT32:
            rest, named = tree_map(_in_32_bits, (args, kwargs or {}))
            return tree_map(_in_64_bits, func(*rest, **named))
        if name in ("float", "half", "bfloat16"):
            func = Tensor.double
        n_kept = int((name.endswith("_") and not name.endswith("__")) or name == "__setitem__")
        rest, named = tree_map(_in_64_bits, (args[n_kept:], kwargs or {}))
        return func(*args[:n_kept], *rest, **named)


_WIDE = {torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64}
_WIDE |= {torch.complex64: torch.complex128, torch.complex32: torch.complex128}


_ONLY_IN_FLOAT32 = {"fused_moving_avg_obs_fake_quant"}
"""Functions that have no kernel in float64."""


def _in_32_bits(value: Any) -> Any:
    is_wide = isinstance(value, Tensor) and value.dtype == torch.float64
    return value.float() if is_wide else value


def _in_64_bits(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in _WIDE:
        return value.to(_WIDE[value.dtype])
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


def in_float64(model: nn.Module) -> nn.Module:
    """A copy on the CPU in float64."""
    named = tensors_of(model)
    wide = {n: t.detach().to("cpu", _WIDE.get(t.dtype, t.dtype)) for n, t in named.items()}
    return rebuild(model, wide).to("cpu")


@contextmanager
def one_seed() -> Iterator[None]:
    """The same random numbers every time, and those outside as if none had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _outputs(model: nn.Module, example: Example) -> list[Tensor]:
    args, kwargs = call_arguments(example)
    model.eval()
    with torch.no_grad(), one_seed():
        out: Any = model(*args, **kwargs)
    return tensors_within(out)


def _relative_error(one: Tensor, other: Tensor) -> float:
    """The largest difference over the largest number.

    Infinite where only one of them is finite, NaN where the second is not anywhere.
    """
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    one, other = (torch.view_as_real(t) if t.is_complex() else t.double() for t in (one, other))
    if not bool((finite := torch.isfinite(other)).all()):
        same = finite | (one == other) | (one.isnan() & other.isnan())
        if not bool(finite.any()):
            return float("nan")
        if not bool((torch.isfinite(one) == finite).all() and same.all()):
            return float("inf")
        one, other = one[finite], other[finite]
    scale = float(other.abs().max()) or 1.0
    error = float((one - other).abs().max()) / scale
    return error if error == error else float("inf")
