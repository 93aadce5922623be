"""Sizes in the network's code: which attributes hold them, and what a plan makes of them.

`survey` runs the network once more on shapes, with whole numbers in its modules' attributes that
remember where they are from. Every operator that is told a size this way gives one equation: the
number it is told equals the number of labels along that dimension. For a plan, `Survey.attributes`
solves the equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from secateur.channels.arithmetic import meet
from secateur.channels.call import Call
from secateur.channels.cost import Removal
from secateur.channels.groups import ChannelMap
from secateur.channels.lines import network_line
from secateur.channels.normalisation import groups_go_whole
from secateur.channels.notes import repeating
from secateur.channels.recurrent import NAMES, equal_widths, given_to
from secateur.channels.run import Run
from secateur.channels.trace import Example, replay, untouched
from secateur.errors import TraceError
from secateur.plan.plan import Numbers, as_numbers
from secateur.surgery.equations import Balance, Use, Want, solved
from secateur.surgery.origins import (
    Attribute,
    Extent,
    Size,
    attributes_of,
    sized,
)
from secateur.surgery.widths import mirrored


def _along(call: Call, tensor: Tensor, dim: int) -> Want:
    return Want(tensor.shape[dim], call.fields(tensor).get(dim), dim)


def _viewed(call: Call) -> list[Want]:
    out = call.outputs[0]
    return [_along(call, out, dim) for dim in range(out.ndim)]


def _pieces(call: Call) -> list[Want]:
    dim = call.argument("dim", 2) or 0
    return [_along(call, out, dim % out.ndim) for out in call.outputs]


def _ends(call: Call) -> list[Want]:
    """Start, end and length of a slice."""
    x = call.args[0]
    dim, start, end, step = (
        call.argument(name, 1 + k) for k, name in enumerate(("dim", "start", "end", "step"))
    )
    dim, start, end = (dim or 0) % x.ndim, start or 0, x.shape[dim or 0] if end is None else end
    labels = call.fields(x).get(dim)
    n = x.shape[dim]
    if labels is None or (step or 1) != 1:
        return [Want(start), Want(end), Want(end - start)]
    if labels.shape[dim] != n:
        return []
    first, last = (min(k + n, n) if k < 0 else min(k, n) for k in (start, end))

    def stretch(low: int, high: int, per: int = 1) -> Want:
        return Want((high - low) // per, labels.narrow(dim, low, high - low), dim, per)

    wants = [
        stretch(k, n, -1) if given < 0 else stretch(0, k)
        for given, k in ((start, first), (end, last))
    ]
    return [*wants, stretch(first, max(first, last))]


def _convolved(call: Call) -> list[Want]:
    x, groups = call.args[0], call.args[8]
    return [_along(call, x, 1) if groups > 1 and groups == x.shape[1] else Want(groups)]


def _normalised(call: Call) -> list[Want]:
    x, shape = call.args[:2]
    return [_along(call, x, dim) for dim in range(x.ndim - len(shape), x.ndim)]


def _normalised_groups(call: Call) -> list[Want]:
    x, n_channels, groups = call.args[0], call.args[4], call.args[6]
    if groups_go_whole(n_channels, groups):
        return [Want(groups, call.fields(x).get(1), 1, n_channels // groups)]
    return [Want(groups)]


def _units(call: Call) -> list[Want]:
    """Of all layers and directions, then of each state."""
    widths = equal_widths(call)
    wants = [Want(0 if u is None else len(u), u) for _, units in widths for u in units]
    return wants + [Want(0 if units[0] is None else len(units[0]), units[0]) for _, units in widths]


def _argument(args: Sequence[Any], named: Mapping[str, Any], name: str, position: int) -> Any:
    return named[name] if name in named else args[position] if len(args) > position else None


def _flat(*numbers: Any) -> list[Any]:
    return [leaf for leaf in tree_leaves(numbers) if isinstance(leaf, int)]


def _shape(_: Call, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    return _flat(args[1:], named)


def _unflattened(_: Call, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    before = _argument(args, named, "dim", 1) % args[0].ndim
    return [None] * before + _flat(_argument(args, named, "sizes", 2))


def _split(call: Call, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """One number is the size of all pieces but, perhaps, the last."""
    sizes = args[1] if len(args) > 1 else next(n for name, n in named.items() if name != "dim")
    if not isinstance(sizes, int):
        return list(sizes)
    dim = (call.argument("dim", 2) or 0) % call.args[0].ndim
    return [sizes] * sum(piece.shape[dim] == sizes for piece in call.outputs)


def _chunked(call: Call, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """The size of equal pieces is nowhere in the code: an attribute of no module.

    A last piece that is smaller keeps as many channels as the others, or all.
    """
    x = args[0]
    dim = (_argument(args, named, "dim", 2) or 0) % x.ndim
    sizes = [piece.shape[dim] for piece in call.outputs]
    one = Attribute("", f"chunk {id(x)}", (), sizes[0])
    return [Size(size, one, set()) for size in sizes]


def _indexed(call: Call, args: Sequence[Any], _: Mapping[str, Any]) -> list[Any]:
    """The slice of an index that this call of `slice` is for."""
    x, index = args
    entries = list(index) if isinstance(index, tuple) else [index]
    specified = sum(1 for entry in entries if entry is not None and entry is not Ellipsis)
    dim = 0
    for entry in entries:
        if isinstance(entry, slice) and dim == (call.argument("dim", 1) or 0):
            return [entry.start, entry.stop]
        dim += x.ndim - specified if entry is Ellipsis else not isinstance(entry, int)
    return []


def _narrowed(_: Call, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    return [_argument(args, named, "start", 2), None, _argument(args, named, "length", 3)]


def _groups(_: Call, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    return [_argument(args, named, "groups", 6)]


def _norm_shape(_: Call, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    return _flat(_argument(args, named, "normalized_shape", 1))


def _norm_groups(_: Call, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    return [_argument(args, named, "num_groups", 1)]


def _units_given(call: Call, _: Sequence[Any], __: Mapping[str, Any]) -> list[Any]:
    """Equal widths are attributes of no module here; a state of zeros has that of its zeros."""
    given: list[Any] = []
    for name, units in equal_widths(call):
        n = next((len(u) for u in units if u is not None), 0)
        given += [Size(n, Attribute("", name, (), n), set())] * len(units)
    states = given_to(call.args, cell=call.name.endswith("_cell")).states
    return given + [call.run.zeros.get(id(state), (None, None))[1] for state in states]


Given = Callable[[Call, Sequence[Any], Mapping[str, Any]], Sequence[Any]]
_CONVOLUTIONS = "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
_VIEWS: Mapping[str, Given] = {
    "view": _shape,
    "reshape": _shape,
    "expand": _shape,
    "unflatten": _unflattened,
}
TABLE: Mapping[str, tuple[Callable[[Call], list[Want]], Mapping[str, Given]]] = {
    "view": (_viewed, _VIEWS),
    "_unsafe_view": (_viewed, _VIEWS),
    "expand": (_viewed, _VIEWS),
    "split": (_pieces, {"split": _split, "chunk": _chunked}),
    "split_with_sizes": (_pieces, {"split": _split, "split_with_sizes": _split}),
    "slice": (_ends, {"__getitem__": _indexed, "narrow": _narrowed}),
    "convolution": (_convolved, dict.fromkeys(_CONVOLUTIONS.split(), _groups)),
    "native_layer_norm": (_normalised, {"layer_norm": _norm_shape}),
    "native_group_norm": (_normalised_groups, {"group_norm": _norm_groups}),
    **{name: (_units, {name: _units_given}) for name in NAMES},
}
"""Operator -> what its sizes must be, and for every function of torch's that calls it, where these
sizes stand in the function's arguments, in the same order."""


class Survey(TorchFunctionMode):
    """One run of a network that notes where its code gives sizes, and where they are from."""

    def __init__(self, model: nn.Module, original: Run) -> None:
        super().__init__()
        given = repeating(original.decisions)
        self.run = Run(model, original.rules, given, with_values=original.with_values)
        self.uses: list[Use] = []
        self.values: dict[tuple[str, str], Any] = {}
        self.valued: set[Attribute] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch's and compare what it was given with what its operators need."""
        kwargs = kwargs or {}
        n_calls = len(self.run.calls)
        out = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if isinstance(out, torch.Size):
            return torch.Size([self._extent(args[0], dim, n) for dim, n in enumerate(out)])
        if name == "size" and isinstance(out, int):
            return self._extent(args[0], args[1] % args[0].ndim, out)
        for call in self.run.calls[n_calls:]:
            wants, givers = TABLE.get(call.name, (None, {}))
            if wants is not None and name in givers:
                for given, want in zip(givers[name](call, args, kwargs), wants(call), strict=False):
                    if isinstance(given, Size) and given == want.size:
                        line = network_line(self.run.module_names, above=1)
                        self.uses.append(Use(given.term, want, line))
            elif self.run.rules.get(call.name) is meet:
                for given in tree_leaves((args, kwargs)):
                    if isinstance(given, Size):
                        self.valued.update(attributes_of(given.term))
        return out

    def _extent(self, tensor: Tensor, dim: int, size: int) -> int:
        labels = self.run.fields_of(tensor).get(dim)
        return size if labels is None else Size(size, Extent(labels, dim), self.valued)

    def mark(self, model: nn.Module) -> None:
        """Put numbers with an origin into the modules' attributes."""
        for path, module in model.named_modules():
            handled = mirrored(module)
            for name, value in list(vars(module).items()):
                if name in handled:
                    continue
                marked = sized(value, partial(self._from_attribute, path, name))
                if any(isinstance(number, Size) for number in tree_leaves(marked)):
                    self.values[path, name] = value
                    vars(module)[name] = marked

    def _from_attribute(self, path: str, name: str, number: int, at: tuple[int, ...]) -> Size:
        return Size(number, Attribute(path, name, at, number), self.valued)

    def watch(self, path: str, name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Note that a module without weights is told the width of its input."""
        x, value = inputs[0], self.values.get((path, name))
        dim = min(1, x.ndim - 1)
        if isinstance(value, int) and x.shape[dim] == value:
            want = Want(value, self.run.fields_of(x).get(dim), dim)
            self.uses.append(Use(Attribute(path, name, (), value), want, f"module {path}"))

    def attributes(
        self, channels: ChannelMap, remove: Removal, *, values: bool = False
    ) -> Mapping[str, Numbers]:
        """The attributes that a plan changes, `module:name` -> their values after it.

        With `values` those too that are computed with.
        """
        alive = Balance(self.run.notebook, channels, remove).alive
        assigned = solved(self.uses, set() if values else self.valued, alive)
        found: dict[str, Numbers] = {}
        for (path, name), value in self.values.items():
            changed = sized(value, partial(_after, assigned, path, name))
            if changed != value:
                found[f"{path}:{name}"] = as_numbers(changed)
        return found

    def balanced(
        self, channels: ChannelMap, remove: Removal, *, values: bool = False
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
        """What is left of a removal when sizes that must be equal are, and for which lines.

        With `values` attributes may change that are computed with.
        """
        balance = Balance(self.run.notebook, channels, remove)
        balance.settle(self.uses, set() if values else self.valued)
        return balance.remove, balance.lines


def _after(
    assigned: Mapping[Attribute, int], path: str, name: str, number: int, at: tuple[int, ...]
) -> int:
    return assigned.get(Attribute(path, name, at, number), number)


def survey(model: nn.Module, example_input: Example, original: Run) -> Survey:
    """Find out which attributes of a network its code uses as sizes; the model is untouched.

    Where the network cannot run with marked numbers, nothing is found.

    Args:
        model: the network.
        example_input: what it is called with.
        original: a recorded run of it, whose choices are made again.
    """
    found = Survey(model, original)
    with untouched(model.modules()):
        found.mark(model)
        hooks = [
            module.register_forward_pre_hook(partial(found.watch, path, name))
            for path, module, name in _weightless(model)
        ]
        try:
            with found:
                replay(found.run, model, example_input)
        except TraceError:
            found.uses.clear()
        finally:
            for hook in hooks:
                hook.remove()
    return found


def told_its_width(model: nn.Module) -> bool:
    """Whether a norm without weights holds its width, which nothing else would make true."""
    return next(_weightless(model), None) is not None


_CHANNEL_ATTRIBUTES = ("num_features", "num_channels")


def _weightless(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    for path, module in model.named_modules():
        for name in _CHANNEL_ATTRIBUTES:
            is_norm = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm)
            if is_norm and name in vars(module) and name not in mirrored(module):
                yield path, module, name
