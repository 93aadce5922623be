"""Recurrent layers and cells: gates, hidden units and states, in one call however many frames.

A run on shapes sees a recurrent layer whole (see `whole`). A hidden unit is a row of every gate in
the weights of its layer and direction, and a column of what reads it: the recurrent weight, the
projection, the next layer, and whoever reads the output or the last state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from secateur.channels.call import Call
from secateur.channels.labels import as_field
from secateur.channels.walk import modules_of

GATES: Mapping[str, int] = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""How many gates a hidden unit has, by torch's name of the layer; a cell's is the same."""

NAMES = (*GATES, *(f"{name}_cell" for name in GATES))


class Weights(NamedTuple):
    """The weights of one layer in one direction: (gates * units, in), ..., (projected, units)."""

    ih: Tensor
    hh: Tensor
    biases: tuple[Tensor, ...]
    hr: Tensor | None


class Given(NamedTuple):
    """What a recurrent operator is called with.

    `states` are (layers * directions, batch, width) of the hidden units and, of an LSTM, of the
    cells; of a single cell (batch, width). `step` is the dimension of x along which frames follow
    each other, None in a cell and where they are packed with the examples; `batch` is that of
    examples alone, if there is one.
    """

    x: Tensor
    states: Sequence[Tensor]
    weights: Sequence[Weights]
    directions: int
    step: int | None
    batch: int | None


def given_to(args: Sequence[Any], *, cell: bool) -> Given:
    """The arguments of a recurrent operator of torch's by their meaning."""
    if cell:
        x, states, ih, hh, *biases = args
        own = Weights(ih, hh, tuple(b for b in biases if b is not None), None)
        return Given(x, _row(states), [own], 1, None, 0)
    packed = isinstance(args[3], list | tuple)
    states, tensors, biased, n_layers, _, _, both = args[1 + packed : 8 + packed]
    directions = 2 if both else 1
    size, n = len(tensors) // (n_layers * directions), 4 if biased else 2
    each = [tensors[k : k + size] for k in range(0, len(tensors), size)]
    weights = [
        Weights(one[0], one[1], tuple(one[2:n]), one[n] if len(one) > n else None) for one in each
    ]
    first = None if packed else int(bool(args[8]))
    batch = None if first is None else 1 - first
    return Given(args[0], _row(states), weights, directions, first, batch)


def _row(states: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [states] if isinstance(states, Tensor) else states


def layer_shape(*args: Any) -> tuple[Tensor, ...]:
    """Output and last states of all layers, laid out as torch does.

    Raises:
        ValueError: the weights do not fit each other or what comes in.
    """
    given = given_to(args, cell=False)
    x, widths = given.x, _widths(given)
    if given.step is None:
        out = torch.empty((x.shape[0], widths[0] * given.directions), dtype=x.dtype, device="meta")
    else:
        sizes = x.shape[given.step], x.shape[1 - given.step], widths[0] * given.directions
        out = torch.empty(sizes, dtype=x.dtype, device="meta")
        out = out.transpose(0, 1) if given.step else out
    last = [
        torch.empty((*state.shape[:2], width), dtype=x.dtype, device="meta")
        for state, width in zip(given.states, widths, strict=False)
    ]
    return out, *last


def cell_shape(*args: Any) -> Any:
    """The new states of one frame.

    Raises:
        ValueError: the weights do not fit each other or what comes in.
    """
    given = given_to(args, cell=True)
    sizes = len(given.x), _widths(given)[0]
    made = [torch.empty(sizes, dtype=given.x.dtype, device="meta") for _ in given.states]
    return tuple(made) if isinstance(args[1], list | tuple) else made[0]


def _widths(given: Given) -> tuple[int, int]:
    """How much a layer puts out in one direction, and how many units it has, which are as many.

    Or fewer, where there is a projection. A state need not be as wide here: `recurrent` sees to it.
    """
    first = given.weights[0]
    units = first.hh.shape[1] if first.hr is None else first.hr.shape[1]
    put_out, rows = first.hh.shape[1], len(first.ih)
    for k, own in enumerate(given.weights):
        read = given.x.shape[-1] if k < given.directions else put_out * given.directions
        fits = tuple(own.ih.shape) == (rows, read) and tuple(own.hh.shape) == (rows, put_out)
        fits = fits and all(tuple(bias.shape) == (rows,) for bias in own.biases)
        if not fits or (own.hr is not None and tuple(own.hr.shape) != (put_out, units)):
            raise ValueError(
                f"a recurrent layer reads {read} inputs with weights of {tuple(own.ih.shape)}, and "
                f"its {put_out} hidden units with {tuple(own.hh.shape)}, beside {rows} rows of its "
                "first weight: all layers and directions have equally many units"
            )
    return put_out, units


def recurrent(call: Call) -> None:
    """A recurrent layer of torch's, all its layers and directions, or a cell.

    The rows of a unit's gates are united. Its states of fixed size stay as they are, and it with
    them, unless they are zeros that the network makes anew.
    """
    cell = call.name.endswith("_cell")
    given = given_to(call.args, cell=cell)
    x, last = given.x, given.x.ndim - 1
    follow = (last,) if given.batch is None else (last, given.batch)
    call.pin_others(x, follow, "is a step of a recurrent layer")
    examples = None if given.batch is None else call.along(x, given.batch)
    arriving, times = call.along(x, last), prod(x.shape[:last])
    hidden: list[Tensor | None] = []
    cells: list[Tensor | None] = []
    for own in given.weights:
        if len(hidden) and len(hidden) % given.directions == 0:
            arriving = _joined(call, hidden[-given.directions :], given)
        units, put_out = _units(call, own, arriving)
        hidden.append(put_out)
        cells.append(units)
        for weight in (own.ih, own.hh, *(() if own.hr is None else (own.hr,))):
            _count(call, weight, times, examples)
    for put_out, units in zip(hidden, cells, strict=True):
        if put_out is units or put_out is None or units is None:
            continue
        if len(put_out) >= len(units):  # torch knows projections by their width
            call.pin(torch.cat([put_out, units]), "is projected to as many as before")
    call.run.producer.pop(id(call.outputs[0]), None)  # no norm's scales are its gates' rows
    for rows in (hidden, cells) if len(given.states) == 2 else (hidden,):
        call.run.equally_many.append(([one for one in rows if one is not None], call.source))
    outputs = list(call.outputs)
    if not cell:
        out, labels = outputs.pop(0), _joined(call, hidden[-given.directions :], given)
        field = None if labels is None else as_field(labels, out.ndim - 1, out.ndim)
        _set(call, out, field, given.batch, examples)
    for k, state in enumerate(given.states):
        field = _of_state(call, state, (hidden, cells)[k], examples)
        if k < len(outputs):
            _set(call, outputs[k], field, state.ndim - 2, examples)


def _set(
    call: Call, out: Tensor, units: Tensor | None, batch: int | None, examples: Tensor | None
) -> None:
    """Give an output the field of its units, and the labels of its examples along `batch`."""
    fields = {} if units is None else {out.ndim - 1: units}
    if batch is not None and examples is not None:
        fields[batch] = as_field(examples, batch, out.ndim)
    call.set(out, fields)


def _units(
    call: Call, own: Weights, arriving: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Labels of the hidden units of one layer and direction, and of what it puts out."""
    rows = call.along(own.ih, 0)
    call.role(own.ih, 0, "out")
    _reads(call, arriving, own.ih)
    call.match(rows, own.hh, 0, "out")
    for bias in own.biases:
        call.match(rows, bias, 0)
    n_units = own.hh.shape[1] if own.hr is None else own.hr.shape[1]
    units = rows
    if rows is not None:
        gates = rows.view(-1, n_units)
        if len(gates) > 1:
            call.unite(gates[:1], gates[1:])
        units = gates[0]
    put_out = units
    if own.hr is not None:
        _reads(call, units, own.hr)
        call.role(own.hr, 0, "out")
        put_out = call.along(own.hr, 0)
    _reads(call, put_out, own.hh)
    return units, put_out


def _reads(call: Call, labels: Tensor | None, weight: Tensor) -> None:
    """A weight's inputs, along dimension 1, are what `labels` runs along."""
    call.match(labels, weight, 1, "in")
    if labels is not None and call.is_lifted(weight):
        call.mixing(labels, "a weight that is not zero where its parameter is", silent=True)


def _joined(call: Call, parts: Sequence[Tensor | None], given: Given) -> Tensor | None:
    """What both directions put out, one after the other; None where nothing of it can shrink."""
    if all(labels is None for labels in parts):
        return None
    width = given.weights[0].hh.shape[1]
    text = "is joined with units of fixed number"
    return torch.cat([call.fixed(width, text) if one is None else one for one in parts])


def _of_state(
    call: Call, state: Tensor, labels: Sequence[Tensor | None], examples: Tensor | None
) -> Tensor | None:
    """The field of all layers' units in a state, after they met those of the one that came in."""
    last = state.ndim - 1
    known = call.fields(state)
    rows = [row for row in labels if row is not None]
    field = None
    if len(rows) == len(labels):
        size = (len(rows), 1, -1) if state.ndim == 3 else (1, -1)
        field = torch.stack(rows).view(size)
    if id(state) in call.run.zeros:
        if field is not None and state.shape[last] != field.shape[last]:
            call.pin(field, f"meets a state of {state.shape[last]} zeros")
    else:
        for at, own in ((last, field), (last - 1, examples)):
            wide = None if own is None else own if at == last else as_field(own, at, state.ndim)
            there = known.get(at)
            if wide is not None and there is not None:
                call.unite(wide, there)
            elif wide is not None or there is not None:
                one = there if wide is None else wide
                assert one is not None
                call.pin(one, "meets a state of fixed size")
        call.pin_others(state, (last, last - 1), "is the place of a layer", silent=True)
    return field


def _count(call: Call, weight: Tensor, times: int, examples: Tensor | None) -> None:
    """Note that a weight is applied so many times."""
    if call.is_plain(weight, (0, 1)):
        call.layer("linear", weight, (0, 1), 1, times * weight.numel(), examples)
    else:
        along = examples, call.along(weight, 0), call.along(weight, 1)
        call.product((times, *weight.shape), along)
        call.sources("linear", weight, (0, 1), 1, times)


def equal_widths(call: Call) -> list[tuple[str, list[Tensor | None]]]:
    """Labels whose numbers are equal in all layers and directions, and a name for what they are.

    In the order of the states: what is put out, and the hidden units where that is projected.
    """
    weights = given_to(call.args, cell=call.name.endswith("_cell")).weights
    name = call.run.weights.name(weights[0].ih) or ""
    units: list[Tensor | None] = []
    for own in weights:
        rows = call.along(own.ih, 0)
        n = (own.hh if own.hr is None else own.hr).shape[1]
        units.append(None if rows is None else rows[:n])
    if weights[0].hr is None:
        return [(f"{name} units", units)] * 2
    projections = [call.along(own.hr, 0) for own in weights if own.hr is not None]
    return [(f"{name} projections", projections), (f"{name} units", units)]


def is_recurrent(modules: Iterable[nn.Module]) -> bool:
    """Whether any module is a recurrent layer or cell of torch's."""
    return any(isinstance(module, nn.RNNBase | nn.RNNCellBase) for module in modules)


def weights_within(model: nn.Module) -> frozenset[str]:
    """The parameters of all recurrent layers and cells of torch's."""
    return frozenset(
        f"{path}.{name}" if path else name
        for path, module in modules_of(model)
        if is_recurrent([module])
        for name in module._parameters
    )


def unchecked(modules: Iterable[nn.Module]) -> None:
    """Leave it to `recurrent` to say that a state is of another width than a layer's units."""
    for module in modules:
        if isinstance(module, nn.RNNBase):
            module.__dict__["check_forward_args"] = lambda *_: None
