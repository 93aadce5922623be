"""One call of an operator, as a rule sees it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from secateur.channels.groups import Layer, Product
from secateur.channels.labels import Fields, Meeting, Pin
from secateur.channels.lines import calling_module, network_line, place
from secateur.channels.mixings import Across

if TYPE_CHECKING:
    from secateur.channels.run import Run


@dataclass
class Call:
    """An operator with its arguments and outputs; the only hand a rule has on the run."""

    run: Run
    function: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def argument(self, name: str, position: int) -> Any:
        """An argument by name or position, or None."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if len(self.args) > position else None

    def fields(self, tensor: Tensor) -> Fields:
        """The fields a tensor carries; parameters get theirs on first use."""
        return self.run.fields_of(tensor)

    def set(self, tensor: Tensor, fields: Fields) -> None:
        """Give a tensor its fields."""
        self.run.set_fields(tensor, fields)

    def set_all(self, fields: Fields) -> None:
        """Give every output of the fields' number of dimensions these fields."""
        for out in self.outputs:
            self.set(out, {d: labels for d, labels in fields.items() if labels.ndim == out.ndim})

    def decide(self, choice: int, *situation: int) -> int:
        """A choice that sizes suggest; the run on what is left repeats the first run's.

        `situation` tells apart what sizes cannot change: numbers of dimensions, say.
        """
        return self.run.decide((self.source, *situation), choice)

    @property
    def repeats(self) -> bool:
        """Whether this is a run on what is left, which repeats the original's."""
        return bool(self.run.given)

    def along(self, tensor: Tensor, dim: int) -> Tensor | None:
        """Labels along one dimension, (size,), or None where its size is fixed.

        A field that varies along other dimensions as well is united across them.
        """
        if (parameter := self.run.weights.shown(tensor)) is not None:
            return self.run.parameter_labels(*parameter, dim)
        labels = self.fields(tensor).get(dim)
        return None if labels is None else self.flat(labels, dim)

    def match(
        self, labels: Tensor | None, tensor: Tensor, dim: int, role: str | None = None
    ) -> Tensor | None:
        """A tensor's dimension takes in what `labels` runs along; gives the labels along it.

        A parameter without labels takes these over, if each stands for one channel of its own.
        """
        if (shown := self.run.weights.shown(tensor)) is None:
            own = self.along(tensor, dim)
            if role is not None:
                self.role(tensor, dim, role)
        else:
            own = self.run.parameter_labels(*shown, dim, labels)
            if role is not None and own is not None:
                self.run.notebook.roles.setdefault((shown[0], shown[1][dim]), role)
        if own is not labels or own is None:
            self.contract(labels, own)
        return own

    def flat(self, labels: Tensor, dim: int) -> Tensor:
        """One field as a vector along `dim`, united across the other dimensions."""
        return self.same_along(labels, [k for k in range(labels.ndim) if k != dim]).flatten()

    def same_along(self, labels: Tensor, dims: Iterable[int]) -> Tensor:
        """Unite a field across `dims`; the first slice stands for all."""
        first = labels
        for dim in dims:
            if labels.shape[dim] > 1:
                first = first.narrow(dim, 0, 1)
        if first is not labels:
            self.unite(first, labels)
        return first

    def unite(self, first: Tensor, second: Tensor) -> None:
        """Elements of two fields that can be broadcast together belong to the same channels."""
        if first is second or (first.shape == second.shape and torch.equal(first, second)):
            return
        one, two = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
        ends = one.reshape(-1), two.reshape(-1)
        meeting = Meeting(*ends, self.name, self.source, len(self.run.calls) - 1)
        self.run.notebook.meetings.append(meeting)

    def contract(self, first: Tensor | None, second: Tensor | None) -> None:
        """Two labelled dimensions are matched one to one, one of them perhaps fixed."""
        if first is not None and second is not None:
            if first.shape[-1] != second.shape[-1]:
                raise ValueError(f"{first.shape[-1]} channels meet {second.shape[-1]}")
            self.unite(first, second)
        elif first is not None or second is not None:
            known = first if second is None else second
            assert known is not None
            self.pin(known, "meets a dimension of fixed size")

    def same_in_every_group(self, labels: Tensor | None, groups: int) -> None:
        """Unite equal positions of the groups of a grouped convolution, or of a shuffle."""
        if labels is not None and groups > 1:
            rows = labels.view(groups, -1)
            self.unite(rows[:1], rows[1:])

    def pin(self, labels: Tensor, reason: str, *, silent: bool = False) -> None:
        """These labels cannot go."""
        flat = labels.reshape(-1)
        text = f"{reason} in {self.name}"
        self.run.notebook.pins.append(Pin(flat, text, self.source, silent, len(self.run.calls) - 1))

    def pin_others(
        self, tensor: Tensor, dims: Iterable[int], reason: str, *, silent: bool = False
    ) -> None:
        """Pin what can shrink along any other dimension than `dims`."""
        for dim, labels in self.fields(tensor).items():
            if dim not in dims:
                self.pin(labels, reason, silent=silent)

    def part(self, labels: Tensor, of: Tensor) -> None:
        """These labels were taken by their position: what else lay there is of another kind."""
        if labels.numel() < of.numel():
            self.run.notebook.parts.append(labels.reshape(-1))
            if all(map(self.is_weight, self.tensors)):
                self.run.notebook.sliced.append((of.reshape(-1), self.name, self.source))

    def fixed(self, size: int, reason: str) -> Tensor:
        """Labels for a stretch of fixed size, (size,): pinned from birth."""
        labels = self.run.notebook.fresh(size)
        self.pin(labels, reason)
        return labels

    def mixing(self, labels: Tensor, reason: str, *, silent: bool = False) -> None:
        """The operator works across these channels; `silent` ones add nothing to it, as in a sum.

        Where it is part of a weight norm or spectral norm of torch's, the cut makes up for it.
        """
        if self.run.weights.is_repaired(self.tensors, self.name):
            return
        weights = all(map(self.is_weight, self.tensors))
        across = Across(self.name, reason, self.source, silent, weights)
        for made in self.outputs[:1]:
            self.run.storages.note(made)
        self.run.mixings.note(self.outputs, labels, across)

    def numbers_of(self, tensor: Tensor, labels: Tensor) -> None:
        """A tensor holds the places of channels: they are pinned if anything reads it."""
        self.run.places_of[id(tensor)] = tensor, labels.reshape(-1)

    def role(self, tensor: Tensor, dim: int, role: str) -> None:
        """What the channels along a dimension of a weight are to the parameter it was made from."""
        labels = self.along(tensor, dim)
        if labels is not None:
            owner = self.run.owner(tensor, dim, int(labels[0]))
            self.run.notebook.roles.setdefault(owner, role)

    def is_parameter(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter itself, its dimensions turned perhaps."""
        return self.run.weights.shown(tensor) is not None

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is, or was made from, a parameter."""
        return tensor in self.run.weights

    def is_plain(self, weight: Tensor, dims: tuple[int, int]) -> bool:
        """Whether a weight, (out, in) along `dims`, shrinks as the parameter that it goes by.

        It is that parameter, or has as many elements, in whose place the parameter's own stand
        along both. Expanded, to be applied to every example, it has no more of its own.
        """
        if self.is_parameter(weight):
            return True
        name = self.run.weights.name(weight)
        own = [n for n, stride in zip(weight.shape, weight.stride(), strict=True) if stride]
        if name is None or prod(self.run.shapes[name]) != prod(own):
            return False
        for dim, own_dim in zip(dims, self._own_dims(weight, name, dims), strict=True):
            labels = self.fields(weight).get(dim)
            known = self.run.notebook.labels.get((name, own_dim))
            if labels is None:
                fits = weight.shape[dim] == 1 or not weight.stride(dim)
            else:
                fits = known is not None and torch.equal(labels.flatten(), known)
            if not fits:
                return False
        return True

    def is_lifted(self, tensor: Tensor) -> bool:
        """Whether a tensor was made from a parameter and is not zero where that is."""
        return id(tensor) in self.run.weights.lifted

    def layer(
        self,
        kind: Literal["convolution", "transposed", "linear"],
        weight: Tensor,
        dims: tuple[int, int],
        conv_groups: int,
        macs: int,
        rows: Tensor | None,
    ) -> None:
        """Note that a weight, (out, in) along `dims`, costs the batch `macs` here.

        `rows` are the labels of what it is applied to one by one, if that can shrink. Applied to
        other weights it costs the same for any number of examples.
        """
        name = self.run.weights.name(weight)
        if name is None:
            return
        examples = 1 if all(map(self.is_weight, self.tensors)) else self.run.batch_size
        positions = macs // prod(self.run.shapes[name]) // examples
        own = self._own_dims(weight, name, dims)
        self.run.producer[id(self.outputs[0])] = len(self.run.layers)
        if rows is not None:
            self.run.rows[len(self.run.layers)] = rows.flatten()
        self.run.layers.append(
            Layer(layer_name(name), kind, name, *own, conv_groups, positions, self.source)
        )

    def sources(
        self,
        kind: Literal["convolution", "transposed", "linear"],
        weight: Tensor,
        dims: tuple[int, int],
        conv_groups: int,
        positions: int,
    ) -> None:
        """Note the parameters whose filters a computed weight holds, which a product counts."""
        if not self.is_weight(weight):
            return
        examples = 1 if all(map(self.is_weight, self.tensors)) else self.run.batch_size
        read = dict(self._owners(weight, dims[1], "in"))
        makers = self._owners(weight, dims[0], "out")
        for name, dim in makers:
            shape = self.run.shapes[name]
            if len(shape) > 1:
                in_dim = read.get(name, 1 if dim == 0 else 0)
                own = layer_name(name), kind, name, dim, in_dim, conv_groups
                layer = Layer(*own, positions // examples, self.source, counted=False)
                if len(makers) == 1 and shape[dim] == weight.shape[dims[0]]:
                    self.run.producer[id(self.outputs[0])] = len(self.run.layers)
                self.run.layers.append(layer)

    def _owners(self, weight: Tensor, dim: int, role: str) -> list[tuple[str, int]]:
        """The parameters' dimensions whose labels run along one of a computed weight."""
        labels = self.along(weight, dim)
        found = dict.fromkeys(
            map(self.run.notebook.owner, [] if labels is None else labels.tolist())
        )
        own = [(name, at) for name, at in found if name]
        for key in own:
            self.run.notebook.roles.setdefault(key, role)
        return own

    def _own_dims(self, weight: Tensor, name: str, dims: tuple[int, int]) -> tuple[int, int]:
        """Which of the parameter's own dimensions lie along `dims` of a tensor made from it."""
        if (bare := self.run.weights.shown(weight)) is not None:
            return bare[1][dims[0]], bare[1][dims[1]]
        own: list[int | None] = []
        for dim in dims:
            labels = self.fields(weight).get(dim)
            found = None if labels is None else self.run.notebook.owner(int(labels.flatten()[0]))
            own.append(found[1] if found and found[0] == name else None)
        out_dim, in_dim = own
        if out_dim is None:
            out_dim = dims[0] if in_dim is None else 1 - in_dim
        return out_dim, 1 - out_dim if in_dim is None else in_dim

    def product(self, sizes: tuple[int, ...], along: tuple[Tensor | None, ...]) -> None:
        """Note a product of two feature maps, and the labels along each of its sizes.

        A product of two weights costs the same for any number of examples.
        """
        of_weights = all(map(self.is_weight, self.tensors))
        examples = 1 if of_weights else self.run.batch_size
        row = Product(self.module, self.name, sizes, ({},) * len(sizes), examples, self.source)
        self.run.products.append((row, along))

    def norm(self, x: Tensor, scale: Tensor | None) -> None:
        """Note that a batch norm follows the layer that made `x`."""
        made_by = self.run.producer.get(id(x))
        name = None if scale is None else self.run.weights.name(scale)
        if made_by is not None and name is not None:
            self.run.layers[made_by] = replace(
                self.run.layers[made_by], norm=name.rpartition(".")[0]
            )

    def reads_rows(self, n_rows: int) -> None:
        """Whole numbers pick rows of a table here: they lie below its length."""
        self.run.n_rows = min(n_rows, self.run.n_rows or n_rows)

    def list_unknown(self) -> None:
        """The operator has no rule: it stands in the answer."""
        self.run.unknown.setdefault(self.name, self.source)

    @cached_property
    def module(self) -> str:
        """The module that made this call."""
        return calling_module(self.run.module_names)

    @cached_property
    def source(self) -> str:
        """The line of the network's own code that made this call, `file.py:12`."""
        return network_line(self.run.module_names)

    def note_line(self) -> None:
        """Find `source` and `lines` now, while the network's code is on the stack, for later."""
        _ = self.source
        if self.repeats:
            _ = self.lines

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The innermost lines of the network's own code, the outer one first."""
        return place()


def layer_name(parameter: str) -> str:
    """The module of a parameter called `weight`; any other parameter is a layer of its own.

    >>> layer_name("stem.conv.weight"), layer_name("stem.kernel")
    ('stem.conv', 'stem.kernel')
    """
    module, _, leaf = parameter.rpartition(".")
    return module if module and leaf == "weight" else parameter
