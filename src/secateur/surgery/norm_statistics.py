"""Running statistics of batch norms: estimated anew, and how far inputs are from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Every batch norm that keeps running statistics."""
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]


def estimate_anew(network: nn.Module, run: Callable[[], object]) -> None:
    """Replace running statistics by their average over the batches that `run` runs through.

    Each batch counts alike, its variance being the unbiased one about its own mean. Weights and
    momenta stay as they were; after an error the former statistics stand too. The network is left
    in evaluation mode.
    """
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    former = [{name: b.clone() for name, b in norm.named_buffers()} for norm in norms]
    done = False
    try:
        with torch.no_grad():
            network.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
            run()
        done = True
    finally:
        for norm, momentum, buffers in zip(norms, momenta, former, strict=True):
            norm.momentum = momentum
            norm.eval()
            if not done:
                norm.load_state_dict(buffers, strict=False)


class Distance:
    """How far what arrives at batch norms is, on the average, from their running statistics."""

    def __init__(self) -> None:
        self._seen: dict[nn.Module, tuple[Tensor, int]] = {}

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Inside, what the batch norms of a network read is summed."""
        handles = [norm.register_forward_pre_hook(self._note) for norm in batch_norms(network)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, norm: nn.Module, given: tuple[Any, ...]) -> None:
        x = given[0].detach().double()
        x = x.movedim(1, -1).flatten(0, -2) if x.ndim > 1 else x[None]
        total, n = self._seen.get(norm, (0.0, 0))
        self._seen[norm] = total + x.sum(0), n + len(x)

    def value(self) -> float | None:
        """Mean over batch norms of |mean - running mean| / running sd; None without any."""
        found = [float(_distance(norm, total / n)) for norm, (total, n) in self._seen.items()]
        return sum(found) / len(found) if found else None


def _distance(norm: Any, mean: Tensor) -> Tensor:
    sd = (norm.running_var.double() + norm.eps).sqrt()
    off: Tensor = (mean - norm.running_mean.double()).abs() / sd
    return off.mean()
