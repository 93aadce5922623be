"""One run of a network on shapes, operator by operator, and what is written down on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import is_not
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from secateur.channels.arithmetic import meet
from secateur.channels.attention import open_up
from secateur.channels.call import Call
from secateur.channels.dispatch import Dispatch, numbers_in, operator_of, tensors_in
from secateur.channels.groups import Layer, Product
from secateur.channels.labels import Fields, Notebook, Pin, as_field
from secateur.channels.lines import calling_module, network_line, place
from secateur.channels.mixings import Mixings
from secateur.channels.notes import Given, Number, Operator, Situation, Step
from secateur.channels.rules import MOVES, Rule
from secateur.channels.splits import Choices, Split
from secateur.channels.stand_ins import StandIns
from secateur.channels.storages import Storages
from secateur.channels.values import Values
from secateur.channels.weights import Weights
from secateur.channels.whole import WHOLE

TAKES_PARTS = {"split", "split_with_sizes", "slice"}
"""Operators that take a part by position, in which other channels can come to lie unnoticed."""


class Run(Dispatch, TorchDispatchMode):  # type: ignore[no-untyped-call]
    """One run of a network: tensors' fields by identity, and the notebook."""

    def __init__(
        self,
        model: nn.Module,
        rules: Mapping[str, Rule],
        given: Given | None,
        *,
        note_places: bool = False,
        with_values: bool = False,
        like: Run | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # what it is made with; `decided` are the original's decisions, `decisions` its own
        self.rules = rules
        self.given = given.labels if given else {}
        self._kept = given.kept if given else {}
        self._expected: Sequence[Number] = given.numbers if given else ()
        self.values = Values(self.own_values) if with_values else None
        self.with_values = with_values
        self._change = given.change if given else None
        self.decided: Mapping[Situation, Sequence[int]] = given.decisions if given else {}
        self.choices: Choices = given.choices if given else {}
        self._note_places = note_places
        # the network: modules by path and paths by identity, tensors and what stands in for them
        with torch.inference_mode(False):  # in it operators would not be taken apart
            shapes = given.shapes if given else {}
            self._network: StandIns = like._network if like else StandIns(model, shapes)
        known = self._network
        self.modules, self.module_names, self.tensors = (
            known.modules,
            known.module_names,
            known.tensors,
        )
        self.shapes, self.buffers, self.aliases = known.shapes, known.buffers, known.aliases
        self.stand_ins = known.by_identity
        self.batch_size = 1
        self._inputs: list[Tensor] = []
        # tensors by identity: fields, what was made from parameters alone, and the layer that puts
        # each out; and what lies in one storage, to know a tensor again that Python made anew
        self._fields: dict[int, tuple[Tensor, Fields]] = {}
        self.storages = Storages()
        self.weights = Weights(model, self.tensors, self.storages)
        self._bare = self.weights.bare
        self._reduced: dict[int, tuple[Tensor, int]] = {}  # of channels, and by which call
        self.written: dict[int, Any] = {}  # storages of numbers that shapes were written into
        self.zeros: dict[int, tuple[Tensor, Any]] = {}  # and the last size they were made with
        self.producer: dict[int, int] = {}
        # what is written down; `rows` are labels that a layer's weight is applied to one by one
        self.notebook = given.notebook if given else Notebook()
        self.decisions: dict[Situation, list[int]] = {}
        self.layers: list[Layer] = []
        self.rows: dict[int, Tensor] = {}
        self.products: list[tuple[Product, tuple[Tensor | None, ...]]] = []
        self.mixings = Mixings()
        self.unknown: dict[str, str] = {}
        self.equally_many: list[tuple[list[Tensor], str]] = []  # labels, and the line
        self.places_of: dict[int, tuple[Tensor, Tensor]] = {}
        # views that split channels, what varied in products too, and what these could not pair;
        # and the run for that
        self.n_operators = 0
        self.splits: list[Split] = []
        self.crossings: list[Tensor] = []
        self.clashes: list[Tensor] = []
        self.second: Run | None = None
        # whether channels were drawn at random, and the numbers that met channels
        self.draws = False
        self.n_rows: int | None = None  # of the shortest table that whole numbers pick from
        self.looked_for_size = False  # whether an example of another size has been looked for
        self.of_another_size: Any = None
        self.numbers: list[Number] = []
        # the way it went: calls, whether one took a part by its position (a proof looks at it
        # again), the lines they came from if these are noted, and where and how it failed: perhaps
        # for want of values, which are not followed unless they must be
        self.calls: list[Call] = []
        self.takes_parts = False
        self.places: list[tuple[str, ...]] = []
        self.failed: Call | None = None
        self.failed_at = ""
        self.wants_values = False
        self.place: tuple[str, ...] = ()
        self.in_sight: tuple[Tensor, ...] = ()
        self._operators: dict[Any, Operator] = {}
        # all operators with what they made, as long as another run may be read off them
        self.steps: list[Step] | None = None if with_values or given else []
        self.answer: Sequence[Tensor] = ()
        if like is not None:
            self._inputs, self.batch_size = like._inputs, like.batch_size
            self._fields |= {id(meta): (meta, {}) for meta in like._inputs}
            self.decisions |= {key: list(made) for key, made in like.whole.items()}

    def forget(self) -> None:
        """Let go of the network and of all that went through it; labels and meetings stay."""
        self.calls.clear()  # calls know their run: without them it goes at once
        kept: tuple[Any, ...] = self._fields, self.places_of, self.splits, self.crossings
        kept += (self.clashes,)
        kept += self._reduced, self.zeros, self.written, self._inputs, self.steps or []
        for table in (*kept, self._operators):
            table.clear()
        self.answer = ()
        self.weights.forget()
        self._network.forget()
        self.storages.forget()
        if self.values is not None:
            self.values.forget()

    def put_in_place(self) -> None:
        """Give the modules their stand-ins; `untouched` gives them their own tensors back."""
        self._network.put_in_place()
        for module in self.modules.values():
            open_up(module)
        if self._change is not None:
            self._change()

    def input(self, tensor: Tensor) -> Tensor:
        """The network's input on the meta device; its channels are pinned."""
        meta = tensor.detach().as_subclass(Tensor).to("meta")
        self._fields[id(meta)] = (meta, {})
        if self.values is not None:
            self.values.given(meta, tensor)
        if tensor.ndim and not any(known.ndim for known in self._inputs):
            self.batch_size = max(1, tensor.shape[0])
        self._inputs.append(meta)
        return meta

    def fields_of(self, tensor: Tensor) -> Fields:
        """The fields a tensor carries; a parameter gets labels for every dimension on first use."""
        if (known := self._fields.get(id(tensor))) is not None:
            return known[1]
        if (bare := self._bare.get(id(tensor))) is None:
            return {}
        fields = {}
        for dim in range(tensor.ndim):
            if (labels := self.parameter_labels(*bare, dim)) is not None:
                fields[dim] = as_field(labels, dim, tensor.ndim)
        self._fields[id(tensor)] = (tensor, fields)
        return fields

    def parameter_labels(
        self, name: str, dims: tuple[int, ...], at: int, offered: Tensor | None = None
    ) -> Tensor | None:
        """Labels along dimension `dims[at]` of a parameter; None of size 1.

        On first use they are what was given, or what is offered if that is as long and all
        different, or fresh.
        """
        key = name, dims[at]
        if (labels := self.notebook.labels.get(key)) is not None:
            return labels
        size = self.tensors[name].shape[dims[at]]
        if (labels := self.given.get(key)) is None and size > 1:
            if offered is None or offered.numel() != size or not self.notebook.distinct(offered):
                return self.notebook.fresh(size, *key)
            labels = offered
        if labels is not None:
            self.notebook.labels[key] = labels
        return labels

    @property
    def whole(self) -> dict[Situation, list[int]]:
        """Which functions were handed on whole, each time they were called."""
        return {key: made for key, made in self.decisions.items() if key[0] == WHOLE}

    def decide(self, situation: Situation, choice: int) -> int:
        """Note a choice, or repeat the one made as often met in the original's run."""
        made = self.decisions.setdefault(situation, [])
        before = self.decided.get(situation, ())
        made.append(before[len(made)] if len(made) < len(before) else choice)
        return made[-1]

    def set_fields(self, tensor: Tensor, fields: Fields) -> None:
        """Remember a tensor's fields (and the tensor, so that its identity stays its own)."""
        self._fields[id(tensor)] = (tensor, fields)
        if fields:
            self.storages.note(tensor)

    def recognise(self, tensor: Tensor) -> None:
        """Know a tensor again that no operator made: another object over the same elements.

        `copy.copy`, `nn.Parameter(x)` and `as_subclass` make such ones. Where the same storage is
        seen in another way, what lies in it is pinned.
        """
        if id(tensor) in self._fields or id(tensor) in self._bare or not tensor.is_meta:
            return
        self.mixings.read(self.storages.sharing(tensor))
        if (other := self.storages.alike(tensor)) is not None:
            self.weights.again(tensor, other)
            if (known := self._fields.get(id(other))) is not None:
                self._fields[id(tensor)] = tensor, known[1]
            return
        for other in (others := self.storages.sharing(tensor)):
            for labels in self.fields_of(other).values():
                self.pin(labels, "is reached through a tensor that no operator made")
        if others:
            self._fields[id(tensor)] = tensor, {}

    def own_values(self, tensor: Tensor) -> Tensor | None:
        """The numbers of a stand-in, at the positions that are left."""
        if (bare := self._bare.get(id(tensor))) is None:
            return None
        real = self._network.own(bare[0], self._kept)
        return None if real is None else real.permute(bare[1])

    def pin_places(self, tensors: Iterable[Tensor]) -> None:
        """Pin channels whose places among others are read, as numbers."""
        for tensor in tensors:
            if (known := self.places_of.get(id(tensor))) is not None:
                self.pin(known[1], "is numbered")

    def owner(self, tensor: Tensor, dim: int, label: int) -> tuple[str, int]:
        """The parameter and dimension behind a tensor's dimension, which has this label."""
        if (bare := self._bare.get(id(tensor))) is not None:
            return bare[0], bare[1][dim]
        return self.notebook.owner(label)

    def pin(self, labels: Tensor, reason: str) -> None:
        """Pin labels for a reason that is no operator's but the network's interface."""
        self.notebook.pins.append(Pin(labels.reshape(-1), reason, "the network's interface"))

    def dispatch(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one operator on shapes, then apply its rule."""
        tensors = tensors_in(args, kwargs)
        real = [t for t in tensors if not t.is_meta]
        if real and (len(real) < len(tensors) or any(map(self.is_followed, real))):
            if func._schema.is_mutable and not tensors[0].is_meta:
                storage = tensors[0].untyped_storage()
                self.written[id(storage)] = storage
            args, kwargs = tree_map_only(Tensor, self.to_meta, (args, kwargs))
            tensors = tensors_in(args, kwargs)
        if (operator := self._operators.get(func)) is None:
            operator = self._operators[func] = operator_of(func, self.rules)
        try:
            if not (tensors and tensors[0].is_meta):
                out = func(*args, **kwargs)
                if self.values is not None:
                    self.values.made(func, args, kwargs, out)
                return out
            return self._one(operator, func, args, kwargs, tensors)
        except Exception:
            self.failed = Call(self, func, operator.name, args, kwargs, tuple(tensors), ())
            self.failed_at = f"{func._schema.name} at {self.failed.source}"
            raise

    def _one(
        self,
        operator: Operator,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: list[Tensor],
    ) -> Any:
        self._meet(tensors)
        if self.values is not None:
            args = self.values.without_masks(operator.name, args)
            masks, tensors = tensors, tensors_in(args, kwargs)
            if len(masks) != len(tensors) or any(map(is_not, masks, tensors)):
                self.notebook.pin_silently(map(self.fields_of, masks[1:]), "is an index")
        out = NotImplemented
        if self.values is not None:
            out = self.values.answer(func, operator.name, args, kwargs, tensors)
            if not isinstance(out, Tensor | tuple | list | type(NotImplemented)) or (
                isinstance(out, Tensor) and not out.is_meta
            ):
                self.notebook.pin_silently(map(self.fields_of, tensors), "is read as a number")
                return out
        answered = out is not NotImplemented
        if not answered and operator.shape is not None:
            out = operator.shape(*args, **kwargs)
        if out is NotImplemented:
            out = func(*args, **kwargs)
        step = Step(operator, func, args, kwargs, tensors, out)
        self._label(step if self.steps is None else self._noted(step))
        if self.values is not None and not answered:
            self.values.follow(func, operator.name, args, kwargs, tensors, out)
        return out

    def follow(self, step: Step) -> None:
        """Go on by an operator of another run of the network."""
        self._meet(step.tensors)
        self._label(step)

    def _meet(self, tensors: list[Tensor]) -> None:
        """An operator takes these tensors in."""
        self.n_operators += 1
        self.mixings.read(tensors)
        for tensor in tensors:
            if id(tensor) not in self._fields and id(tensor) not in self._bare:
                self.recognise(tensor)
        if self.places_of:
            self.pin_places(tensors)

    def _noted(self, step: Step) -> Step:
        """An operator that has run, kept with where; none are if it changed a tensor's shape."""
        source = network_line(self.module_names)
        module = calling_module(self.module_names) if step.operator.counts else ""
        step = step._replace(source=source, module=module)
        if step.function._schema.is_mutable and step.operator.rule in MOVES:
            self.steps = None
        elif self.steps is not None:
            self.steps.append(step)
        return step

    def _label(self, step: Step) -> None:
        """Apply an operator's rule, if anything that it takes or costs is of channels."""
        operator, func, args, kwargs, tensors, out = step[:6]
        if (
            operator.shows
            and id(tensors[0]) not in self._fields
            and self.weights.show(operator.name, tensors[0], args, out)
        ):
            return
        named = [t in self.weights for t in tensors]
        if operator.counts or any(named) or any(self.fields_of(t) for t in tensors):
            outputs = (out,) if isinstance(out, Tensor) else tuple(tensors_in((out,), {}))
            call = Call(self, func, operator.name, args, kwargs, tuple(tensors), outputs)
            if step.source:
                call.source, call.module = step.source, step.module
            self.calls.append(call)
            self.takes_parts |= operator.name in TAKES_PARTS
            self.draws |= operator.draws
            if operator.rule is meet:
                self._note_numbers(operator.name, args, kwargs)
            if self._note_places:
                self.places.append(place())
            operator.rule(call)
            if all(named):
                self.weights.made(operator, tensors, outputs)
                for made in outputs:
                    self._fields.setdefault(id(made), (made, {}))
            if any(map(self.fields_of, tensors)) and not any(map(self.fields_of, outputs)):
                self._reduced.update({id(made): (made, len(self.calls) - 1) for made in outputs})
        elif operator.rule is meet or operator.rule in MOVES:
            known = [self._reduced[id(t)][1] for t in tensors if id(t) in self._reduced]
            if known:
                if operator.rule is meet:
                    self._note_numbers(operator.name, args, kwargs, known[0])
                self._reduced.update(
                    {id(made): (made, known[0]) for made in tensors_in((out,), {})}
                )

    def _note_numbers(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], call: int = -1
    ) -> None:
        """Note numbers that met channels, and the line where the original's were others."""
        if numbers := numbers_in(args, kwargs):
            at, source = len(self.numbers), ""
            if self._expected[at : at + 1] and self._expected[at].numbers != numbers:
                source = network_line(self.module_names)
            call = call if call >= 0 else len(self.calls) - 1
            self.numbers.append(Number(name, numbers, call, source))
