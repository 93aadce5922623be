"""What a network computes whatever its input is: found from the weights alone, in one run.

The network runs once, in float64, on an input of which nothing is known. Every tensor carries a
mask of the elements that depend on the input; these are held at zero, all others are true. Masks
are moved by the operators that move the numbers, so that what is known is known element by element:
a constant behind a zero-padded convolution is another number at the border.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

from secateur.channels import arithmetic, movement
from secateur.channels.normalisation import batch_norm
from secateur.channels.rules import RULES, Rule
from secateur.channels.trace import Example, call_arguments
from secateur.surgery.verify import in_float64

Place = tuple[str, int]
"""A parameter and the dimension along which it reads channels."""


@dataclass
class Read:
    """What arrives at the positions along which a weight reads channels, (n,) each.

    `silent` holds where what arrives is zero, `unread` where the weights are, `nothing` where
    nothing is handed on for either reason. `constants` maps positions to the constant that each
    adds to every output channel, (out,), the same wherever the weight is applied. `output` is the
    identity of what is put out, and `alone` says that one operator reads it.
    """

    silent: Tensor
    unread: Tensor
    nothing: Tensor
    constants: dict[int, Tensor]
    output: int = 0
    alone: bool = False

    def and_again(self, other: Read) -> Read:
        """A weight that is used twice: what holds for both uses; no constant need be the same."""
        both = (self.silent & other.silent, self.unread & other.unread)
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


def read_constants(model: nn.Module, example_input: Example) -> Reading:
    """Run the network on an unknown input of the example's shape.

    Takes about three forward passes of one example, and the memory of all its feature maps.
    Numbers are taken to be finite: zero times anything is zero.
    """
    exact = in_float64(model)
    exact.eval()
    watch = _Watch(exact)
    example = tree_map_only(Tensor, watch.unknown, example_input)
    args, kwargs = call_arguments(example)
    with torch.no_grad(), watch:
        exact(*args, **kwargs)
    for read in watch.reading.reads.values():
        read.alone = watch.times_read[read.output] == 1
    return watch.reading


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Carries along which elements depend on the input (True in a mask)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reading = Reading()
        self._masks: dict[int, tuple[Tensor, Tensor]] = {}
        self._bare: dict[int, tuple[str, tuple[int, ...]]] = {}
        self._made_of: dict[int, frozenset[str]] = {}
        self.times_read: Counter[int] = Counter()
        self._loose = False
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._bare[id(tensor)] = name, tuple(range(tensor.ndim))
            self._made_of[id(tensor)] = frozenset([name])

    def unknown(self, tensor: Tensor) -> Tensor:
        """An input: zeros of which nothing is known."""
        dtype = torch.float64 if tensor.is_floating_point() else tensor.dtype
        held = torch.zeros(tensor.shape, dtype=dtype)
        self._masks[id(held)] = held, torch.ones_like(held, dtype=torch.bool)
        return held

    def mask(self, tensor: Tensor) -> Tensor:
        """Which elements depend on the input; of a tensor not met before none do."""
        if id(tensor) not in self._masks:
            self._masks[id(tensor)] = tensor, torch.zeros_like(tensor, dtype=torch.bool)
        return self._masks[id(tensor)][1]

    def live(self, tensor: Tensor) -> Tensor:
        """1.0 where an element is or may be other than zero."""
        return (self.mask(tensor) | (tensor != 0)).double()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator on the numbers and its rule on the masks."""
        kwargs = kwargs or {}
        tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
        name = func._schema.name.removeprefix("aten::")
        rule = RULES.get(name.removesuffix("_"))
        self.times_read.update({id(t) for t in tensors})
        moved = name in _MOVES or (rule in _MOVED and name not in _NOT_MOVED)
        if moved and not func._schema.is_mutable:
            out = func(*args, **kwargs)
            masks = func(*tree_map_only(Tensor, self.mask, args), **kwargs)
            for one, mask in zip(_leaves(out), _leaves(masks), strict=True):
                self._masks[id(one)] = one, mask
        else:
            out = self._computed(func, name, rule, args, kwargs, tensors)
        self._trace_parameters(name, args, tensors, out)
        return out

    def _computed(
        self,
        func: Any,
        name: str,
        rule: Rule | None,
        args: Any,
        kwargs: dict[str, Any],
        tensors: list[Tensor],
    ) -> Any:
        """An operator that makes new numbers, or writes over its input."""
        in_place = func._schema.is_mutable
        masks: Tensor | None = None
        if in_place and (rule is not arithmetic.meet or self._loose):
            self.reading.opaque |= any(bool(self.mask(t).any()) for t in tensors)
        elif torch.Tag.nondeterministic_seeded in func.tags:
            pass
        elif not in_place and not any(bool(self.mask(t).any()) for t in tensors):
            masks = torch.zeros((), dtype=torch.bool)
        elif name.removesuffix("_") == "mul" and len(tensors) == 2:
            masks = self._product(torch.mul, *tensors)
        elif rule in (arithmetic.meet, arithmetic.keep):
            masks = self.mask(tensors[0])
            for other in tensors[1:]:
                masks = masks | self.mask(other)
        elif rule is movement.pad:
            masks = func(self.mask(args[0]), args[1])
        elif (rule is arithmetic.pool and "bicubic" not in name) or name in ("mean", "sum", "amax"):
            masks = next(_leaves(func(self.mask(args[0]).double(), *args[1:], **kwargs))) > 0
        elif rule is batch_norm:
            masks = self._norm(args, training=name == "native_batch_norm" and bool(args[5]))
        elif rule is arithmetic.convolution:
            masks = self._product(lambda x, w: func(x, w, None, *args[3:]), args[0], args[1])
        elif rule is arithmetic.matrix_product:
            one, other = tensors[-2:]
            masks = self._product(torch.matmul, one, other)
            if len(tensors) == 3:
                masks = masks | self.mask(tensors[0])
        read = None
        if rule in _CONTRACTIONS:
            read = self._read(func, rule, args, kwargs, tensors)
        out = func(*args, **kwargs)
        if read is not None:
            read.output = id(out)
        aliased = any(value.alias_info is not None for value in func._schema.returns)
        self._loose |= aliased and not in_place
        for k, one in enumerate(_leaves(out)):
            known = masks if masks is not None and (k == 0 or masks.ndim == 0) else None
            self._set(one, known, fill=in_place or not aliased)
        return out

    def _set(self, out: Tensor, mask: Tensor | None, *, fill: bool) -> None:
        new = torch.ones((), dtype=torch.bool) if mask is None else mask
        known = self._masks.get(id(out))
        if known is not None and known[1].shape == out.shape:
            known[1].copy_(new)  # written over: views of it see the new mask as well
        else:
            self._masks[id(out)] = out, torch.empty_like(out, dtype=torch.bool).copy_(new)
        if fill:
            out.masked_fill_(self._masks[id(out)][1], 0)

    def _product(self, multiply: Callable[..., Tensor], one: Tensor, other: Tensor) -> Tensor:
        """Unknown where an unknown factor meets one that may be other than zero."""
        found = multiply(self.mask(one).double(), self.live(other))
        if bool(self.mask(other).any()):
            found = found + multiply(self.live(one), self.mask(other).double())
        return found > 0.5

    def _norm(self, args: Sequence[Any], *, training: bool) -> Tensor:
        """A scale of zero leaves the shift; with statistics of its input, channels are alike."""
        x, scale = args[:2]
        mask = self.mask(x)
        channels = (1, -1) + (1,) * (x.ndim - 2)
        if training:
            mask = mask.transpose(0, 1).flatten(1).any(1).view(channels).expand_as(mask)
        return mask if scale is None else mask & (self.live(scale) > 0).view(channels)

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

    def _read(
        self,
        func: Any,
        rule: Rule | None,
        args: Any,
        kwargs: dict[str, Any],
        tensors: list[Tensor],
    ) -> Read | None:
        """Note what a bare weight reads."""
        convolves = rule is arithmetic.convolution
        x, weight = args[:2] if convolves else tensors[-2:]
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
            return None
        if convolves:
            read, dim = self._read_by_convolution(func, args)
        else:
            read, dim = self._read_by_matrix(x, weight, float(kwargs.get("alpha", 1))), 0
        place, reads = (name, dims[dim]), self.reading.reads
        reads[place] = reads[place].and_again(read) if place in reads else read
        return read

    def _read_by_convolution(self, func: Any, args: Any) -> tuple[Read, int]:
        x, weight, transposed, groups = args[0], args[1], args[6], args[8]
        dim = 0 if transposed else 1
        n = weight.shape[dim]
        each = 1 if transposed else groups  # groups that share a position along the weight
        arrives = _any_but(self.live(x), 1).view(each, n)
        unknown = _any_but(self.mask(x), 1).view(each, n)
        split = weight.reshape(each, -1, *weight.shape[1:]) if not transposed else weight[None]
        used = split.transpose(1, dim + 1).flatten(2).ne(0).any(2)
        silent, unread = ~arrives.any(0), ~used.any(0)
        nothing = ~(arrives & used).any(0)
        known = ~(unknown & used).any(0) & ~nothing
        constants = {}
        for p in known.nonzero().flatten().tolist():
            only = torch.zeros_like(x)
            rows = [g * n + p for g in range(each)]
            only[:, rows] = x[:, rows]
            given = func(only, weight, None, *args[3:]).transpose(0, 1).flatten(1)
            if _alike(given):
                constants[p] = given.mean(1)
        return Read(silent, unread, nothing, constants), dim

    def _read_by_matrix(self, x: Tensor, weight: Tensor, factor: float) -> Read:
        arrives, used = _any_but(self.live(x), 1), weight.ne(0).any(1)
        nothing = ~(arrives & used)
        known = ~_any_but(self.mask(x), 1) & ~nothing
        constants = {
            p: factor * x[0, p] * weight[p]
            for p in known.nonzero().flatten().tolist()
            if _alike(x[:, p][None])
        }
        return Read(~arrives, ~used, nothing, constants)


def _leaves(out: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_iter(out) if isinstance(leaf, Tensor))


def _any_but(tensor: Tensor, dim: int) -> Tensor:
    return tensor.ne(0).transpose(0, dim).flatten(1).any(1)


def _alike(rows: Tensor) -> bool:
    """Whether every row holds one number, to within float64's rounding."""
    spread = rows.amax(1) - rows.amin(1)
    return bool((spread <= 1e-13 * rows.abs().max()).all())


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

_MOVES = frozenset({"detach", "alias", "lift_fresh"})
"""Operators that move numbers nowhere, and share them."""

_NOT_MOVED = frozenset({"index_select"})
"""Operators of these rules that take more than numbers."""
