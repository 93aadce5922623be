"""Run a network once on the meta device and let labels ride along."""

from __future__ import annotations

import copy
import copyreg
import gc
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from secateur.channels.admit import (
    asks_for_values,
    check_example,
    check_network,
    explained,
)
from secateur.channels.collect import collect
from secateur.channels.groups import ChannelMap
from secateur.channels.labels import Pin
from secateur.channels.lines import raising_place
from secateur.channels.notes import Given, repeating
from secateur.channels.recurrent import is_recurrent, unchecked
from secateur.channels.rules import RULES, Rule
from secateur.channels.run import Run
from secateur.channels.splits import agreeing, other_choices
from secateur.channels.together import together
from secateur.channels.values import ListsAsTensors
from secateur.channels.walk import tensors_of, tensors_within
from secateur.channels.whole import WholeFunctions
from secateur.errors import TraceError

Example = Tensor | Sequence[Any] | Mapping[str, Any]
"""What the network is called with: a tensor, positional arguments, or keyword arguments."""


def trace(
    model: nn.Module, example_input: Example, rules: Mapping[str, Rule] = RULES
) -> ChannelMap:
    """Find out which channels of a network move together.

    The unmodified forward runs once, in evaluation mode, on the meta device: nothing is computed
    and the model is left as it was. The map remembers both, for `score`, `cut` and the like.

    Args:
        model: any network that runs.
        example_input: a tensor with a batch dimension, a tuple of arguments, or a dict of keyword
            arguments; only shapes and types are used.
        rules: what operators do to labels; add one with `RULES | {"name": rule}`.

    Raises:
        TraceError: the forward fails on shapes or depends on the values of the data, or the
            network is compiled, quantised, wrapped, lazy or masked by hooks.
    """
    with without_collections():
        run = record(model, example_input, rules)
        channels = mapped(run, model, example_input)
        run.forget()
        if run.second is not None:
            run.second.forget()
    return replace(channels, recording=run, model=model, example_input=example_input)


def mapped(run: Run, model: nn.Module, example_input: Example) -> ChannelMap:
    """The channel map of a recorded run, in which heads are channels and so are their widths.

    Where views split channels into both, labels go the same way once more, by the other of the two.
    """
    channels = collect(run)
    if not (choices := other_choices(run.splits, run.crossings)):
        return channels
    given = repeating({}, {**run.choices, **choices})
    if run.steps is None:
        run.second = record(model, example_input, run.rules, given)
    else:
        run.second = labelled_again(run, model, given)
    return together(channels, collect(run.second))


def labelled_again(run: Run, model: nn.Module, given: Given) -> Run:
    """What another run would write down, of the operators of the first: nothing runs."""
    other = Run(model, run.rules, given, like=run)
    for step in run.steps or ():
        other.follow(step)
    finish(other, run.answer)
    return other


def record(
    model: nn.Module,
    example_input: Example,
    rules: Mapping[str, Rule] = RULES,
    given: Given | None = None,
) -> Run:
    """Run the network on shapes and keep the notebook; `given` labels a network that was cut."""
    check_network(model)
    check_example(example_input)
    run = Run(model, rules, given)
    try:
        replay(run, model, example_input)
    except TraceError:
        if not run.wants_values:
            raise
        run = Run(model, rules, given, with_values=True)
        replay(run, model, example_input)
    if run.steps is not None and (choices := agreeing(run.splits, run.clashes)):
        other = labelled_again(run, model, repeating({}, choices))
        if len(other.clashes) < len(run.clashes):
            other.steps = run.steps
            run, other = other, run
        other.calls.clear()  # calls know their run: without them it goes at once
    return run


def recorded(
    model: nn.Module, example_input: Example, channels: ChannelMap | None = None
) -> tuple[Run, ChannelMap]:
    """The run behind a network's channel map: the one it was made from if that will do, or anew."""
    known = None if channels is None else channels.recording
    if isinstance(known, Run) and channels is not None:
        now = {name: tuple(tensor.shape) for name, tensor in tensors_of(model).items()}
        if not known.takes_parts and now == known.shapes:
            return known, channels
    run = record(model, example_input, known.rules if isinstance(known, Run) else RULES)
    channels = mapped(run, model, example_input)
    return run, replace(channels, recording=run, model=model, example_input=example_input)


def replay(run: Run, model: nn.Module, example_input: Example) -> list[Tensor]:
    """Run the network that `run` was made for; gives the tensors of its answer.

    Raises:
        TraceError: the forward fails on shapes; `run` then knows what went on until there.
    """
    args, kwargs = call_arguments(example_input)
    modules = run.modules.values()
    with same_generators(), untouched(modules), torch.inference_mode(False), torch.no_grad():
        args, kwargs = tree_map_only(Tensor, run.input, (args, kwargs))
        if any(module.training for module in modules):
            model.eval()
        run.put_in_place()
        if run.given:
            unchecked(modules)
        try:
            indices = ListsAsTensors() if run.with_values else nullcontext()
            whole = WholeFunctions(run, recurrent=is_recurrent(modules))
            run.steps = None if is_recurrent(modules) else run.steps  # what is zero is not in them
            with run, _copied_as_views(), indices, whole:
                out = model(*args, **kwargs)
        except Exception as error:
            run.place, run.in_sight = raising_place(error)
            run.failed_at = run.failed_at or " ".join(run.place[-1:])
            run.wants_values = not run.with_values and asks_for_values(error)
            raise explained(model, error, run.failed_at, run.failed) from error
    if not (answer := tensors_within(out)):
        raise TraceError(
            f"{type(model).__name__}.forward gives back {type(out).__name__} {str(out)[:40]!r}, in "
            "which there is no tensor; give a network that returns what it computes"
        )
    finish(run, answer)
    return answer


def finish(run: Run, answer: Sequence[Tensor]) -> None:
    """Write down what is known once all operators are."""
    run.answer = answer
    run.pin_places(answer)
    for tensor in answer:
        run.recognise(tensor)
        for labels in run.fields_of(tensor).values():
            run.pin(labels, "is an output of the network")
    run.mixings.read(answer)
    run.mixings.settle()
    _pin_kernels(run)
    run.notebook.pin_unreached()


def _pin_kernels(run: Run) -> None:
    """Pin the sizes of kernels, which have labels where code looks at a weight itself."""
    for layer in run.layers:
        for dim in range(2, len(run.shapes[layer.weight])):
            if (labels := run.notebook.labels.get((layer.weight, dim))) is not None:
                run.notebook.pins.append(Pin(labels, "is a kernel size", layer.source, True))


@contextmanager
def _copied_as_views() -> Iterator[None]:
    """`copy.copy` of a tensor shares its elements; of one on shapes torch makes another."""
    before = copyreg.dispatch_table.copy()
    copyreg.dispatch_table[Tensor] = lambda tensor: (_view_of, (tensor,))
    copyreg.dispatch_table[nn.Parameter] = lambda tensor: (nn.Parameter, (_view_of(tensor), False))
    try:
        yield
    finally:
        copyreg.dispatch_table.clear()
        copyreg.dispatch_table.update(before)


def _view_of(tensor: Tensor) -> Tensor:
    return tensor.detach()


def call_arguments(example_input: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of one call of the network."""
    if isinstance(example_input, Tensor):
        return (example_input,), {}
    if isinstance(example_input, Mapping):
        return (), dict(example_input)
    return tuple(example_input), {}


@contextmanager
def without_collections() -> Iterator[None]:
    """No search for cyclic garbage meanwhile: there is little, and much to be searched."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def untouched(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Whatever is set on a module inside, its mode among it, is as before afterwards.

    So is what is written into its attributes that are lists, dicts and sets: caches, say, and the
    tables of its hooks.
    """
    before = [(module, dict(module.__dict__)) for module in modules]
    tables: list[tuple[Any, Any]] = []
    seen: set[int] = set()
    for _, attributes in before:
        for name in _TORCH_TABLES:
            table = attributes[name]
            tables.append((table, table.copy()))
        for name in _HOOK_TABLES:
            if table := attributes.get(name):
                tables.append((table, table.copy()))
        for name in attributes.keys() - _TORCH_NAMES:
            _remember(attributes[name], tables, seen)
    try:
        yield
    finally:
        for module, attributes in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for name in _HOOK_TABLES:
                if table := attributes.get(name):
                    table.clear()
        for table, contents in tables:
            table.clear()
            is_row = isinstance(table, list | deque)
            table.extend(contents) if is_row else table.update(contents)


@contextmanager
def same_generators() -> Iterator[None]:
    """Whatever a network draws inside, random numbers go on outside as if it had not."""
    plain, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(of_numpy)  # noqa: NPY002


_TORCH_TABLES = ("_parameters", "_buffers", "_modules")
_OF_TORCH = vars(nn.Module())
_TORCH_NAMES = frozenset(_OF_TORCH)
"""What every module has, of which these three tables always hold something or may soon."""

_HOOK_TABLES = tuple(
    name
    for name, table in _OF_TORCH.items()
    if isinstance(table, dict | set) and name not in _TORCH_TABLES
)
"""Tables of hooks and the like, most of them empty: only those that are not need to be copied."""


def _remember(value: Any, tables: list[tuple[Any, Any]], seen: set[int]) -> None:
    """Note what is in a list, dict, set or plain object, and in those within it, each once."""
    if type(value) in _ATOMS or id(value) in seen:
        return
    table: Any = value
    if not isinstance(value, list | dict | set | deque):
        known = isinstance(value, Tensor | nn.Module | type | ModuleType) or callable(value)
        table = None if known else getattr(value, "__dict__", None)
        if not isinstance(table, dict):
            return
    seen.add(id(value))
    tables.append((table, copy.copy(table)))
    for inner in table.values() if isinstance(table, dict) else table:
        _remember(inner, tables, seen)


_ATOMS = frozenset((bool, int, float, str, bytes, tuple, type(None), torch.dtype, torch.device))
