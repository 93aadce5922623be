"""What a network computes whatever its input is: found from its weights, in one run.

The network runs once, in float64, on seeded random input. Every tensor carries, element by element,
how far another input can move it (`deviation`): nowhere, where what arrives is a constant; next to
nowhere, behind a batch norm with a scale of 1e-41. At every contraction it is noted which positions
of the weight give less than the rounding of what they are added to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

from secateur.channels import arithmetic, movement
from secateur.channels.rules import RULES, Rule
from secateur.channels.trace import Example, call_arguments
from secateur.surgery.deviation import LARGEST, Operation, deviation_of, limited, magnitude
from secateur.surgery.precise import in_float64

Place = tuple[str, int]
"""A parameter and the dimension along which it reads channels."""


@dataclass
class Read:
    """What arrives at the positions along which a weight reads channels, (n,) each.

    `silent` holds where what arrives is zero, `unread` where the weights are, `zero` where nothing
    is handed on for either reason, and `nothing` also where it vanishes in the rounding of every
    output that it is added to. `constants`
    maps positions to the constant that each adds to every output channel, (out,), the same wherever
    the weight is applied and whatever the input, to that rounding. `output` is the identity of what
    is put out, and `alone` says that one operator reads it.
    """

    silent: Tensor
    unread: Tensor
    zero: Tensor
    nothing: Tensor
    constants: dict[int, Tensor]
    output: int = 0
    alone: bool = False

    def and_again(self, other: Read) -> Read:
        """A weight that is used twice: what holds for both uses; no constant need be the same."""
        both = self.silent & other.silent, self.unread & other.unread, self.zero & other.zero
        return Read(*both, self.nothing & other.nothing, {})


@dataclass
class Reading:
    """Every weight's reads, and the parameters of which no more can be said.

    `derived` are parameters that were computed with before a contraction used them. If `opaque`,
    the network writes where its values cannot be followed, and nothing is known.
    """

    reads: dict[Place, Read] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)
    opaque: bool = False


def read_constants(model: nn.Module, example_input: Example, tolerance: float = 0.0) -> Reading:
    """Run the network once and note what every weight reads, whatever the input.

    Where a weight adds up n positions to an output whose largest value is m, a position gives
    nothing if no input makes it give more than tolerance * m / n: all that is dropped is then at
    most `tolerance` of that output. Inputs are such that no feature map grows beyond
    `deviation.BOUND` (1e6) times its largest value in this run, or 1 if that is more. With a
    tolerance of zero only exact zeros are nothing, and no bound is needed.

    Takes about three forward passes of one example, and the memory of all its feature maps twice.
    Numbers are taken to be finite: zero times anything is zero.
    """
    exact = in_float64(model)
    exact.eval()
    watch = _Watch(exact, tolerance)
    example = tree_map_only(Tensor, watch.unknown, example_input)
    args, kwargs = call_arguments(example)
    with torch.no_grad(), watch:
        exact(*args, **kwargs)
    for read in watch.reading.reads.values():
        read.alone = watch.times_read[read.output] == 1
    return watch.reading


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries along how far every element may deviate from its value in this run."""

    def __init__(self, model: nn.Module, tolerance: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reading = Reading()
        self.tolerance = tolerance
        self._deviations: dict[int, tuple[Tensor, Tensor]] = {}
        self._bare: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._made_of: dict[int, frozenset[str]] = {}
        self._generator = torch.Generator().manual_seed(0)
        self.times_read: Counter[int] = Counter()
        self._loose = False
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._bare[id(tensor)] = name, tuple(range(tensor.ndim))
            self._made_of[id(tensor)] = frozenset([name])
            none = torch.zeros((), dtype=torch.float64).expand(tensor.shape)
            self._deviations[id(tensor)] = tensor, none

    def unknown(self, tensor: Tensor) -> Tensor:
        """An input: random numbers, or the integers that were given, which may be any others."""
        if tensor.is_floating_point():
            held = torch.randn(tensor.shape, generator=self._generator, dtype=torch.float64)
        else:
            held = tensor.detach().to("cpu").clone()
        anything = torch.full_like(held, LARGEST, dtype=torch.float64)
        self._deviations[id(held)] = held, limited(anything, held)
        return held

    def deviation(self, tensor: Tensor) -> Tensor:
        """How far each element may deviate; a tensor not met before does not."""
        if id(tensor) not in self._deviations:
            self._deviations[id(tensor)] = tensor, torch.zeros_like(tensor, dtype=torch.float64)
        return self._deviations[id(tensor)][1]

    def varies(self, tensor: Tensor) -> bool:
        """Whether any input changes an element."""
        return bool(self.deviation(tensor).any())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator on the numbers, and move the deviations alike."""
        kwargs = kwargs or {}
        tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
        name = func._schema.name.removeprefix("aten::")
        rule = RULES.get(name.removesuffix("_"))
        self.times_read.update({id(t) for t in tensors})
        moved = name in _MOVES or (rule in _MOVED and name not in _NOT_MOVED)
        if moved and not func._schema.is_mutable:
            out = func(*args, **kwargs)
            deviations = func(*tree_map_only(Tensor, self.deviation, args), **kwargs)
            for one, deviation in zip(_leaves(out), _leaves(deviations), strict=True):
                self._deviations[id(one)] = one, deviation
        elif name == "transpose_":  # as recurrent layers turn their output round
            turned = self.deviation(args[0]).transpose(*args[1:])
            out = func(*args, **kwargs)
            self._deviations[id(args[0])] = args[0], turned
        else:
            out = self._computed(Operation(func, name, args, kwargs, self.deviation), rule)
        self._trace_parameters(name, args, tensors, out)
        return out

    def _computed(self, operation: Operation, rule: Rule | None) -> Any:
        """An operator that makes new numbers, or writes over its input."""
        func, tensors = operation.func, operation.tensors
        in_place = func._schema.is_mutable
        moving = any(map(self.varies, tensors))
        deviation: Tensor | None = None
        if in_place and (rule is not arithmetic.meet or self._loose):
            self.reading.opaque |= moving
        elif torch.Tag.nondeterministic_seeded in func.tags:
            pass
        elif not in_place and not moving:
            deviation = torch.zeros((), dtype=torch.float64)
        else:
            deviation = deviation_of(operation, rule)
        out = func(*operation.args, **operation.kwargs)
        if rule in _CONTRACTIONS:
            self._read(operation, rule, out)
        aliased = any(value.alias_info is not None for value in func._schema.returns)
        self._loose |= aliased and not in_place
        for k, one in enumerate(_leaves(out)):
            known = deviation if deviation is not None and (k == 0 or deviation.ndim == 0) else None
            self._set(one, known, fill=in_place or not aliased)
        return out

    def _set(self, out: Tensor, deviation: Tensor | None, *, fill: bool) -> None:
        new = torch.zeros_like(out, dtype=torch.float64)  # laid out alike: it is viewed alike
        if moves := deviation is None or bool(deviation.any()):
            new = limited(new.fill_(LARGEST) if deviation is None else new.copy_(deviation), out)
        known = self._deviations.get(id(out))
        if known is None or known[1].shape != out.shape:
            self._deviations[id(out)] = out, new
        elif 0 in known[1].stride():  # a parameter or buffer, written over
            self.reading.opaque |= moves
        else:
            known[1].copy_(new)  # written over: views of it see the new deviation as well
        if fill and moves and (out.is_floating_point() or out.is_complex()):
            out.masked_fill_((new > 0) & ~out.isfinite(), 0)

    def _trace_parameters(self, name: str, args: Any, tensors: list[Tensor], out: Any) -> None:
        """Follow parameters that are merely turned, and what is made of parameters alone."""
        known = [self._made_of.get(id(t)) for t in tensors]
        if not tensors or any(names is None for names in known):
            return
        for one in _leaves(out):
            self._made_of[id(one)] = frozenset().union(*(names or () for names in known))
        if (bare := self._bare.get(id(tensors[0]))) is None or len(tensors) > 1:
            return
        if name in movement.TURNING:
            order = movement.turned(name, args, tensors[0].ndim)
            self._bare[id(out)] = bare[0], tuple(bare[1][k] for k in order)

    def _read(self, operation: Operation, rule: Rule | None, out: Tensor) -> None:
        """Note what a bare weight reads."""
        convolves = rule is arithmetic.convolution
        x, weight = operation.args[:2] if convolves else operation.tensors[-2:]
        for operand in (x, weight):
            if id(operand) not in self._bare:
                self.reading.derived |= self._made_of.get(id(operand), frozenset())
        name, dims = self._bare.get(id(weight), ("", ()))
        if (
            not name
            or id(x) in self._made_of
            or x.ndim != len(dims)
            or (x.ndim, convolves) == (3, False)
        ):
            self.reading.derived |= {
                self._bare[id(t)][0] for t in (x, weight) if id(t) in self._bare
            }
            return
        dim = 1 if convolves and not operation.args[6] else 0
        read = self._read_by_convolution if convolves else self._read_by_matrix
        found, place = read(operation, x, weight, out), (name, dims[dim])
        found.output = id(out)
        known = self.reading.reads.get(place)
        self.reading.reads[place] = found if known is None else known.and_again(found)

    def _read_by_convolution(
        self, operation: Operation, x: Tensor, weight: Tensor, out: Tensor
    ) -> Read:
        """Rows of weights are (what one group reads, position, output of the group)."""
        rest, groups = operation.args[3:], operation.args[8]
        largest, change = (_largest_but(t, 1) for t in (operation.size(x), self.deviation(x)))
        drop = self._negligible(out, x.shape[1] // groups).view(groups, -1)
        taps = magnitude(weight).flatten(2).sum(2)
        if transposed := bool(operation.args[6]):
            each, taps = 1, taps.view(groups, -1, taps.shape[1])
            gains = _gains(taps, drop[:, None]).view(1, -1)
        else:
            each, taps = groups, taps.view(groups, -1, taps.shape[1]).transpose(1, 2)
            gains = _gains(taps, drop[:, None])
        read, known = _judged(largest.view(each, -1), change.view(each, -1), gains)
        size = len(read.nothing)
        for p in known.nonzero().flatten().tolist():
            rows = [g * size + p for g in range(each)]
            if transposed:
                group = p // (size // groups)
                part = [*rest[:-1], 1]
                given = operation.func(x[:, rows], weight[rows], None, *part)
                ours = drop[group]
            else:
                given = operation.func(x[:, rows], weight[:, [p]], None, *rest)
                ours, group = drop.flatten(), 0
            given = given.transpose(0, 1).flatten(1)
            if _alike(given, ours):
                whole = torch.zeros(drop.numel(), dtype=torch.float64)
                whole[group * len(ours) :][: len(ours)] = given.mean(1)
                read.constants[p] = whole
        return read

    def _read_by_matrix(self, operation: Operation, x: Tensor, weight: Tensor, out: Tensor) -> Read:
        factor = float(operation.kwargs.get("alpha", 1))
        largest, change = (_largest_but(t, 1) for t in (operation.size(x), self.deviation(x)))
        drop = self._negligible(out, len(weight))
        gains = _gains(magnitude(factor * weight), drop)
        read, known = _judged(largest[None], change[None], gains[None])
        for p in known.nonzero().flatten().tolist():
            given = factor * x[:, p, None] * weight[p]
            if _alike(given.T, drop):
                read.constants[p] = given.mean(0)
        return read

    def _negligible(self, out: Tensor, n: int) -> Tensor:
        """How much one of n positions may change an output and be nothing, (out,)."""
        largest = _largest_but(magnitude(out), 1)
        return torch.where(largest.isfinite(), largest, 0) * (self.tolerance / n)


def _judged(largest: Tensor, change: Tensor, gains: Tensor) -> tuple[Read, Tensor]:
    """What each position hands on, and which positions hand on a constant that is something.

    `largest` is the largest value that arrives and `change` its largest deviation; `gains` is what
    a value of one does at most, in multiples of what is negligible. (n groups, n positions) each.
    """
    nothing = (largest == 0) | (largest * gains <= 1)
    steady = (change == 0) | (change * gains <= 1)
    silent, unread = largest == 0, gains == 0
    read = Read(silent.all(0), unread.all(0), (silent | unread).all(0), nothing.all(0), {})
    return read, steady.all(0) & ~read.nothing


def _gains(weight: Tensor, negligible: Tensor) -> Tensor:
    """Weights in multiples of what is negligible to their outputs, the last dimension; the largest.

    A weight of zero is none of it, any other infinitely often nothing.
    """
    return (weight / negligible).where(weight != 0, 0).amax(-1)


def _largest_but(tensor: Tensor, dim: int) -> Tensor:
    """The largest along one dimension."""
    return tensor.transpose(0, dim).flatten(1).amax(1)


def _leaves(out: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_iter(out) if isinstance(leaf, Tensor))


def _alike(rows: Tensor, negligible: Tensor) -> bool:
    """Whether every row holds one number, to within what is negligible or float64's rounding."""
    spread = rows.amax(1) - rows.amin(1)
    return bool((spread <= 1e-13 * rows.abs().max() + negligible).all())


_CONTRACTIONS: tuple[Rule | None, ...] = (arithmetic.convolution, arithmetic.matrix_product)
_MOVED: tuple[Rule | None, ...] = (
    movement.view,
    movement.move,
    movement.squeeze,
    movement.expand,
    movement.repeat,
    movement.along_one,
    movement.pick,
    movement.concatenate,
    movement.stack,
    movement.shuffle_channels,
    movement.shuffle_pixels,
)
"""Rules of operators that put numbers elsewhere and change none."""

_MOVES = frozenset({"detach", "alias", "lift_fresh", "unsafe_split"})
"""Operators that move numbers nowhere, and share them."""

_NOT_MOVED = frozenset({"index_select"})
"""Operators of these rules that take more than numbers."""
