"""Run a network once on the meta device and let labels ride along."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_leaves, tree_map_only

from secateur.channels.arithmetic import keep, meet, restride
from secateur.channels.call import Call, place, raising_place
from secateur.channels.collect import collect
from secateur.channels.groups import ChannelMap, Layer
from secateur.channels.labels import Fields, Notebook, Pin, as_field
from secateur.channels.rules import RULES, Rule, unknown
from secateur.channels.shapes import SHAPES
from secateur.errors import TraceError

Situation = tuple[str | int, ...]
"""A line of the network's code, and numbers that tell calls on it apart."""

Example = Tensor | Sequence[Any] | Mapping[str, Any]
"""What the network is called with: a tensor, positional arguments, or keyword arguments."""


def trace(
    model: nn.Module, example_input: Example, rules: Mapping[str, Rule] = RULES
) -> ChannelMap:
    """Find out which channels of a network move together.

    The unmodified forward runs once, in evaluation mode, on the meta device: nothing is computed
    and the model is left as it was.

    Args:
        model: any network that runs.
        example_input: a tensor with a batch dimension, a tuple of arguments, or a dict of keyword
            arguments; only shapes and types are used.
        rules: what operators do to labels; add one with `RULES | {"name": rule}`.

    Raises:
        TraceError: the forward fails on shapes, or depends on the values of the data.
    """
    run = record(model, example_input, rules)
    return channel_map(run)


def channel_map(run: Run) -> ChannelMap:
    """The channel map of a recorded run."""
    digest = hashlib.sha256(json.dumps(sorted(run.shapes.items())).encode())
    return collect(run.notebook, run, digest)


def record(
    model: nn.Module,
    example_input: Example,
    rules: Mapping[str, Rule] = RULES,
    given: Given | None = None,
) -> Run:
    """Run the network on shapes and keep the notebook; `given` labels a network that was cut."""
    run = Run(model, rules, given)
    replay(run, model, example_input)
    return run


def replay(run: Run, model: nn.Module, example_input: Example) -> None:
    """Run the network that `run` was made for.

    Raises:
        TraceError: the forward fails on shapes; `run` then knows what went on until there.
    """
    args, kwargs = call_arguments(example_input)
    args, kwargs = tree_map_only(Tensor, run.input, (args, kwargs))
    with untouched(model), torch.no_grad(), run:
        model.eval()
        try:
            out = functional_call(model, run.slots, tuple(args), kwargs, tie_weights=False)
        except Exception as error:
            run.place, run.in_sight = raising_place(error)
            run.failed_at = run.failed_at or " ".join(run.place[-1:])
            raise _explain(model, error, run.failed_at) from error
    for tensor in tree_leaves(out):
        if isinstance(tensor, Tensor):
            for labels in run.fields_of(tensor).values():
                run.pin(labels, "is an output of the network")


def call_arguments(example_input: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of one call of the network."""
    if isinstance(example_input, Tensor):
        return (example_input,), {}
    if isinstance(example_input, Mapping):
        return (), dict(example_input)
    return tuple(example_input), {}


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Whatever is set on a module inside, its mode among it, is as before afterwards."""
    before = [(module, dict(module.__dict__)) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)


@dataclass(frozen=True)
class Given:
    """Labels for a network that was cut: those that survive, along (parameter, dim).

    `notebook` knows the owners of the original's labels and is otherwise empty; `decisions` are
    the original's, in order for each situation.
    """

    labels: Mapping[tuple[str, int], Tensor]
    notebook: Notebook
    decisions: Mapping[Situation, Sequence[int]]


class Run(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """One run of a network: tensors' fields by identity, and the notebook."""

    def __init__(
        self,
        model: nn.Module,
        rules: Mapping[str, Rule],
        given: Given | None,
        *,
        note_places: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.rules = rules
        self.given = given.labels if given else {}
        self.notebook = given.notebook if given else Notebook()
        self.decided: Mapping[Situation, Sequence[int]] = given.decisions if given else {}
        self.decisions: dict[Situation, list[int]] = {}
        self.module_names = {id(module): name for name, module in model.named_modules()}
        self.failed_at = ""
        self.failed: Call | None = None
        self.in_sight: tuple[Tensor, ...] = ()
        self.place: tuple[str, ...] = ()
        self.places: list[tuple[str, ...]] = []
        self.calls: list[Call] = []
        self._note_places = note_places
        self.layers: list[Layer] = []
        self.producer: dict[int, int] = {}
        self.rows: dict[int, Tensor] = {}
        self.mixings: list[tuple[Tensor, str, str, str]] = []
        self.unknown: dict[str, str] = {}
        self.batch_size = 1
        self._has_input = False
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.buffers: list[str] = []
        self.aliases: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self.slots: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}
        self._fields: dict[int, tuple[Tensor, Fields]] = {}
        self._meta_parameters(model)

    def _meta_parameters(self, model: nn.Module) -> None:
        first: dict[int, str] = {}
        buffers = dict(model.named_buffers(remove_duplicate=False))
        for name, tensor in [*model.named_parameters(remove_duplicate=False), *buffers.items()]:
            if (known := first.setdefault(id(tensor), name)) != name:
                self.aliases[name] = known
                continue
            meta = torch.empty_like(tensor, device="meta", requires_grad=False)
            self.tensors[name] = meta
            self._names[id(meta)] = name
            self.shapes[name] = tuple(tensor.shape)
            if name in buffers:
                self.buffers.append(name)
        # a module that stands in several places has its tensors swapped once, or torch would not
        # find the way back
        for path, module in model.named_modules():
            prefix = f"{path}." if path else ""
            for leaf, own in [*module._parameters.items(), *module._buffers.items()]:
                if own is not None:
                    self.slots[prefix + leaf] = self.tensors[first[id(own)]]

    def input(self, tensor: Tensor) -> Tensor:
        """The network's input on the meta device; its channels are pinned."""
        meta = tensor.detach().to("meta")
        self._fields[id(meta)] = (meta, {})
        if tensor.ndim and not self._has_input:
            self.batch_size, self._has_input = max(1, tensor.shape[0]), True
        return meta

    def fields_of(self, tensor: Tensor) -> Fields:
        """The fields a tensor carries; a parameter gets labels for every dimension on first use."""
        if (known := self._fields.get(id(tensor))) is not None:
            return known[1]
        name = self._names.get(id(tensor))
        if name is None or name not in self.shapes:
            return {}
        fields = {}
        for dim, size in enumerate(tensor.shape):
            if (labels := self.given.get((name, dim))) is None and size > 1:
                labels = self.notebook.label(name, dim, size)
            if labels is not None:
                fields[dim] = as_field(labels, dim, tensor.ndim)
        self._fields[id(tensor)] = (tensor, fields)
        return fields

    def decide(self, situation: Situation, choice: int) -> int:
        """Note a choice, or repeat the one made as often met in the original's run."""
        made = self.decisions.setdefault(situation, [])
        before = self.decided.get(situation, ())
        made.append(before[len(made)] if len(made) < len(before) else choice)
        return made[-1]

    def set_fields(self, tensor: Tensor, fields: Fields) -> None:
        """Remember a tensor's fields (and the tensor, so that its identity stays its own)."""
        self._fields[id(tensor)] = (tensor, fields)

    def weight_name(self, tensor: Tensor) -> str | None:
        """The parameter that a tensor is or was made from alone, or None."""
        return self._names.get(id(tensor))

    def own_dims(self, weight: Tensor, name: str, dims: tuple[int, int]) -> tuple[int, int]:
        """Which of the parameter's own dimensions lie along `dims` of a tensor made from it."""
        own: list[int | None] = []
        for dim in dims:
            labels = self.fields_of(weight).get(dim)
            found = None if labels is None else self.notebook.owner(int(labels.flatten()[0]))
            own.append(found[1] if found and found[0] == name else None)
        out_dim, in_dim = own
        if out_dim is None:
            out_dim = dims[0] if in_dim is None else 1 - in_dim
        return out_dim, 1 - out_dim if in_dim is None else in_dim

    def pin(self, labels: Tensor, reason: str, source: str = "the network's interface") -> None:
        """Pin labels for a reason that is no operator's."""
        self.notebook.pins.append(Pin(labels.reshape(-1), reason, source))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operator on shapes, then apply its rule."""
        kwargs = kwargs or {}
        tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
        if any(t.is_meta for t in tensors) and not all(t.is_meta for t in tensors):
            args, kwargs = tree_map_only(Tensor, self._to_meta, (args, kwargs))
            tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
        try:
            return self._one(func, args, kwargs, tensors)
        except Exception:
            self.failed = Call(self, func, func._schema.name, args, kwargs, tuple(tensors), ())
            self.failed_at = f"{func._schema.name} at {self.failed.source}"
            raise

    def _one(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]
    ) -> Any:
        on_meta = bool(tensors) and tensors[0].is_meta
        make = SHAPES.get(func._schema.name, func) if on_meta else func
        out = make(*args, **kwargs)
        if any(id(t) in self._names or self.fields_of(t) for t in tensors):
            outputs = tuple(t for t in tree_iter(out) if isinstance(t, Tensor))
            name = func._schema.name.removeprefix("aten::").removesuffix("_")
            call = Call(self, func, name, args, kwargs, tuple(tensors), outputs)
            rule = self.rules.get(name, unknown)
            self.calls.append(call)
            if self._note_places:
                self.places.append(place())
            in_place = func._schema.name.endswith("_")
            (unknown if in_place and rule not in (meet, keep, restride) else rule)(call)
            if all(id(t) in self._names for t in tensors):
                for made in outputs:
                    self._names.setdefault(id(made), self._names[id(tensors[0])])
                    self._fields.setdefault(id(made), (made, {}))
        return out

    def _to_meta(self, tensor: Tensor) -> Tensor:
        if tensor.is_meta:
            return tensor
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _explain(model: nn.Module, error: Exception, where: str) -> TraceError:
    name = type(model).__name__
    where = f" ({where})" if where else ""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "meta tensor" in text or "data-dependent" in text or "_local_scalar_dense" in text:
        return TraceError(
            f"{name}.forward depends on the values of its data, not only on shapes: {text}; "
            "take that part out of the traced network"
        )
    return TraceError(
        f"{name}.forward failed on shapes{where}: {text}; check that example_input has the "
        "shape and type the network is called with"
    )
