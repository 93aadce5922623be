"""Milliseconds measured on this machine: of a network, and of its layers over widths."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import Example, call_arguments
from secateur.errors import PlanError
from secateur.plan.latency import Kind, LatencyTable, Timing, grouping_of, kind_of, numbers_put_out
from secateur.plan.select import manual
from secateur.surgery.cut import cut
from secateur.surgery.prove import settle
from secateur.train.evaluate import modes_kept

_SHARES = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
"""Widths at which a layer is measured, as shares of its own; and one channel."""


def measured_latency_ms(model: nn.Module, example_input: Example, repetitions: int = 30) -> float:
    """Median milliseconds of one call in evaluation mode on one thread of the CPU, when warm.

    It is the thread's own time, which is what a clock shows when nothing else runs.

    Args:
        model: any network; it comes back in the modes it had.
        example_input: (1, …), what it is called with.
        repetitions: how many calls are timed, after three to warm up.
    """
    with modes_kept(model), _one_thread(), torch.inference_mode():
        model.eval()
        args, kwargs = call_arguments(example_input)
        return _median_ms(lambda: model(*args, **kwargs), repetitions)


def measure_latencies(
    model: nn.Module,
    channels: ChannelMap,
    example_input: Example,
    *,
    repetitions: int = 15,
    on_progress: Callable[[int, int], None] | None = None,
) -> LatencyTable:
    """Time every kind of layer of a network over widths; torch on the CPU, eager, one thread.

    Layers are timed alone, with random numbers, at 1/8, 1/4, 3/8, 1/2, 3/4 and all of their widths
    and at one channel. The rest is taken from the times of the whole network and of half of it.

    Args:
        model: the network that `channels` was traced from; it comes back in the modes it had.
        channels: its channel map.
        example_input: (1, …), what it is called with.
        repetitions: how many calls of each layer and width are timed.
        on_progress: called with the kinds of layers done and in all.

    Raises:
        PlanError: the example is not one, or a layer's convolution does not run with it.
        SurgeryError: half of the network cannot be cut.
    """
    first = next(t for t in tree_leaves(example_input) if isinstance(t, Tensor))
    if len(first) != 1:
        raise PlanError(
            f"latency is that of one example; give an example_input of shape (1, …), not "
            f"{tuple(first.shape)}"
        )
    settings = _convolutions(model, example_input)
    widest: dict[Kind, tuple[int, int]] = {}
    for layer in channels.layers:
        shape = channels.shapes[layer.weight]
        kind = kind_of(layer, channels)
        known = widest.get(kind, (0, 0))
        widest[kind] = max(known[0], shape[layer.in_dim]), max(known[1], shape[layer.out_dim])
    timings = []
    with _one_thread(), torch.inference_mode():
        for k, (kind, (n_in, n_out)) in enumerate(widest.items()):
            if on_progress is not None:
                on_progress(k, len(widest))
            timings.append(_timing(kind, n_in, n_out, settings, repetitions))
    if on_progress is not None:
        on_progress(len(widest), len(widest))
    machine = f"{platform.machine()}, torch {torch.__version__} eager, float32, 1 thread"
    layers = LatencyTable(machine, tuple(timings), 0.0, 0.0)
    rest_ms, rest_ns = _rest(model, channels, example_input, layers, repetitions)
    return replace(layers, rest_ms=rest_ms, rest_ns=rest_ns)


def _rest(
    model: nn.Module,
    channels: ChannelMap,
    example_input: Example,
    layers: LatencyTable,
    repetitions: int,
) -> tuple[float, float]:
    """What the network takes beyond its layers: ms, and ns for every number that layers put out.

    Both come from its time whole and with half of its channels.
    """
    remove = {group.name: range(group.n_channels // 2) for group in channels.groups}
    plan = settle(model, manual(channels, remove), example_input)
    half = cut(model, plan, example_input)
    n_whole, n_half = numbers_put_out(channels), numbers_put_out(channels, plan.remove)
    whole_ms = measured_latency_ms(model, example_input, 2 * repetitions)
    half_ms = measured_latency_ms(half, example_input, 2 * repetitions)
    rest_whole = max(whole_ms - layers.estimate(channels), 0.0)
    rest_half = min(max(half_ms - layers.estimate(channels, plan.remove), 0.0), rest_whole)
    slope = (rest_whole - rest_half) / (n_whole - n_half) if n_whole > n_half else 0.0
    slope = min(slope, rest_whole / max(n_whole, 1))
    return max(rest_whole - slope * n_whole, 0.0), 1e6 * slope


@dataclass(frozen=True)
class _Convolution:
    """How a convolution was called: the size of its input in space, and its settings."""

    batch: int
    space: tuple[int, ...]
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    transposed: bool
    output_padding: list[int]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes how every kind of convolution is called; of several ways the first."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: dict[Kind, _Convolution] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            x, weight, _, stride, padding, dilation, transposed, output_padding, groups = args[:9]
            counted = x if transposed else out
            kind = Kind(
                "transposed" if transposed else "convolution",
                tuple(weight.shape[2:]),
                grouping_of(groups, weight.shape[1], weight.shape[0]),
                counted.shape[0] * prod(counted.shape[2:]),
            )
            called = (stride, padding, dilation, transposed, output_padding)
            self.seen.setdefault(kind, _Convolution(x.shape[0], tuple(x.shape[2:]), *called))
        return out


def _convolutions(model: nn.Module, example_input: Example) -> dict[Kind, _Convolution]:
    watch = _Watch()
    with modes_kept(model), torch.no_grad(), watch:
        model.eval()
        args, kwargs = call_arguments(example_input)
        model(*args, **kwargs)
    return watch.seen


def _timing(
    kind: Kind,
    n_in: int,
    n_out: int,
    settings: dict[Kind, _Convolution],
    repetitions: int,
) -> Timing:
    if kind.kind != "linear" and kind not in settings:
        raise PlanError(
            f"no {kind} runs with this example; measure the network with the example it was "
            "traced with"
        )
    transposed = kind.kind == "transposed"
    filters, per_group = (n_in, n_out) if transposed else (n_out, n_in)
    grouping, _, number = kind.grouping.partition(" ")
    along_filters = _widths(filters, int(number or 1))
    along_group = (per_group,) if grouping == "depthwise" else _widths(per_group, 1)
    ins, outs = (along_filters, along_group) if transposed else (along_group, along_filters)
    ms = tuple(
        tuple(_layer_ms(kind, a, b, settings.get(kind), repetitions) for b in outs) for a in ins
    )
    return Timing(kind, ins, outs, ms)


def _layer_ms(
    kind: Kind, n_in: int, n_out: int, called: _Convolution | None, repetitions: int
) -> float:
    if called is None:
        x, weight = torch.randn(kind.positions, n_in), torch.randn(n_out, n_in)
        bias = torch.randn(n_out)
        return _median_ms(lambda: F.linear(x, weight, bias), repetitions)
    filters, per_group = (n_in, n_out) if called.transposed else (n_out, n_in)
    grouping, _, number = kind.grouping.partition(" ")
    groups = {
        "plain": 1,
        "depthwise": filters // int(number or 1),
        "groups": int(number or 1),
    }[grouping]
    weight = torch.randn(filters, per_group, *kind.kernel)
    n_inputs = filters if called.transposed else per_group * groups
    x = torch.randn(called.batch, n_inputs, *called.space)
    rest = (called.stride, called.padding, called.dilation, called.transposed)
    return _median_ms(
        lambda: torch.convolution(x, weight, None, *rest, called.output_padding, groups),
        repetitions,
    )


def _widths(n: int, step: int) -> tuple[int, ...]:
    """Ascending multiples of `step` up to n."""
    shares = {max(step, int(share * n) // step * step) for share in _SHARES}
    return tuple(sorted({step, *shares, n}))


def _median_ms(call: Callable[[], object], repetitions: int) -> float:
    for _ in range(3):
        call()
    times = []
    for _ in range(repetitions):
        began = time.thread_time_ns()
        call()
        times.append((time.thread_time_ns() - began) * 1e-6)
    return median(times)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
