"""Milliseconds measured on this machine: of a network, and of its layers over widths."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.channels.cost import remaining_shapes
from secateur.channels.groups import ChannelMap
from secateur.errors import PlanError
from secateur.plan.latency import Kind, LatencyTable, Timing, grouping_of, kind_of
from secateur.train.evaluate import modes_kept

_SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Widths at which a layer is measured, as shares of its own; and one channel."""


def measured_latency_ms(
    model: nn.Module, example_input: Tensor, repetitions: int = 30, threads: int = 1
) -> float:
    """Median milliseconds of one call in evaluation mode on the CPU, after three calls to warm up.

    Args:
        model: any network; it comes back in the modes it had.
        example_input: (1, …), what it is called with.
        repetitions: how many calls are timed.
        threads: how many threads torch may use.
    """
    with modes_kept(model), _threads(threads), torch.inference_mode():
        model.eval()
        return _median_ms(lambda: model(example_input), repetitions)


def measure_latencies(
    model: nn.Module,
    channels: ChannelMap,
    example_input: Tensor,
    *,
    repetitions: int = 15,
    on_progress: Callable[[int, int], None] | None = None,
) -> LatencyTable:
    """Time every kind of layer of a network over widths; torch on the CPU, eager, one thread.

    Layers are timed alone, with random numbers, at 1/8, 1/4, 1/2, 3/4 and all of their widths and
    at one channel. What the whole network takes beyond its layers is spread evenly over the numbers
    that layers put out.

    Raises:
        PlanError: a layer's convolution does not run with the example.
    """
    settings = _convolutions(model, example_input)
    widest: dict[Kind, tuple[int, int]] = {}
    for layer in channels.layers:
        shape = channels.shapes[layer.weight]
        kind = kind_of(layer, channels)
        known = widest.get(kind, (0, 0))
        widest[kind] = max(known[0], shape[layer.in_dim]), max(known[1], shape[layer.out_dim])
    timings = []
    with _threads(1), torch.inference_mode():
        for k, (kind, (n_in, n_out)) in enumerate(widest.items()):
            if on_progress is not None:
                on_progress(k, len(widest))
            timings.append(_timing(kind, n_in, n_out, settings, repetitions))
    if on_progress is not None:
        on_progress(len(widest), len(widest))
    whole = measured_latency_ms(model, example_input, 2 * repetitions)
    machine = f"{platform.machine()}, torch {torch.__version__} eager, float32, 1 thread"
    layers_only = LatencyTable(machine, tuple(timings), 0.0)
    shapes = remaining_shapes(channels, {})
    numbers = sum(la.positions * shapes[la.weight][la.out_dim] for la in channels.layers)
    rest_ms = max(whole - layers_only.estimate(channels), 0.0)
    return LatencyTable(machine, tuple(timings), 1e6 * rest_ms / max(numbers, 1))


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


def _convolutions(model: nn.Module, example_input: Tensor) -> dict[Kind, _Convolution]:
    watch = _Watch()
    with modes_kept(model), torch.no_grad(), watch:
        model.eval()
        model(example_input)
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
        began = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - began) * 1e-6)
    return median(times)


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
