"""Calls of a network with every use of some layers handed over, and a survey of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.channels.trace import untouched
from secateur.surgery import readers
from secateur.surgery.examples import Call, output_tensors
from secateur.surgery.norm_statistics import Distance
from secateur.surgery.readers import Site
from secateur.surgery.replay import Replay

PLACES = 128
"""Places of a layer's output that are looked at, an input."""


@contextmanager
def passing(network: nn.Module) -> Iterator[None]:
    """Evaluation mode; what the network writes into itself meanwhile is undone afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with untouched(network.modules()):
        network.eval()
        try:
            yield
        finally:
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


class _Enough(BaseException):
    """Ends a call of a network once all that was asked for has been seen."""


Seen = Callable[[str, int, int, Any, Tensor, Tensor], None]
"""Called with a layer's name, the number of the call and of the use in it, the module, what it read
and what it gave."""


def watched(
    network: nn.Module,
    calls: Sequence[Call],
    names: Iterable[str],
    seen: Seen,
    last: Sequence[int] | None = None,
    done: Callable[[int, Any], object] = lambda *_: None,
    replay: Replay | None = None,
) -> None:
    """Run the calls and hand over every use of the named modules.

    With `last`, how many uses there are in each call, a call ends after the last of them; with
    `replay` what ran before the one module that is named in an earlier run is not computed again.
    """
    names = tuple(names)
    at, used = 0, dict.fromkeys(names, 0)
    located = {name: readers.located(network, name) for name in names}

    def note(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        reader = located[name][1]
        if (both := readers.seen_by(module, reader, args, kwargs, output)) is not None:
            seen(name, at, used[name], reader, *both)
        used[name] += 1
        if last is not None and sum(used.values()) == last[at]:
            raise _Enough

    with passing(network):
        if replay is not None:
            replay.watch(network, located[names[0]][0])
        for name, (module, _) in located.items():
            module.register_forward_hook(
                lambda m, a, k, out, name=name: note(name, m, a, k, out), with_kwargs=True
            )
        for at, call in enumerate(calls):
            used = dict.fromkeys(used, 0)
            with suppress(_Enough), replay.of_call(network, at) if replay else nullcontext():
                done(at, call.run(network))


@dataclass(frozen=True)
class Survey:
    """What is known of the uncut network after running it once.

    Attributes:
        uses: layers in the order they run -> how often each is used in each call.
        rows: places of their outputs that are looked at to fit.
        n_bytes: of their outputs at all places that are looked at.
        outputs: the network's on held-out inputs, by call.
        distance: of the inputs from the statistics of its batch norms.
        once: modules that run once in every call.
    """

    uses: Mapping[str, list[int]]
    rows: Mapping[str, int]
    n_bytes: Mapping[str, int]
    outputs: Mapping[int, list[Tensor]]
    distance: float | None
    once: Set[str]


def survey_of(full: nn.Module, calls: Sequence[Call], sites: Mapping[str, Site]) -> Survey:
    """Run the uncut network on all calls.

    Raises:
        SurgeryError: it does not run on them, or gives no finite numbers.
    """
    uses: dict[str, list[int]] = {}
    rows: dict[str, int] = {}
    n_bytes: dict[str, int] = {}
    outputs: dict[int, list[Tensor]] = {}

    def note(name: str, call: int, _: int, module: nn.Module, __: Tensor, out: Tensor) -> None:
        uses.setdefault(name, [0] * len(calls))[call] += 1
        n = readers.n_places(module, out, PLACES * calls[call].n)
        rows[name] = rows.get(name, 0) + n * (not calls[call].held)
        n_bytes[name] = n_bytes.get(name, 0) + n * out.element_size() * (
            out.numel() // readers.n_places(module, out, out.numel())
        )

    def answered(call: int, out: Any) -> None:
        found = output_tensors(out)
        if calls[call].held:
            outputs[call] = found

    distance, runs = Distance(), Counter[str]()
    counted = [
        module.register_forward_pre_hook(lambda *_, path=path: runs.update([path]))
        for path, module in full.named_modules()
    ]
    with distance.watching(full):
        watched(full, calls, sites, note, done=answered)
    for handle in counted:
        handle.remove()
    once = {path for path, n in runs.items() if path and n == len(calls)}
    return Survey(uses, rows, n_bytes, outputs, distance.value(), once)
