"""Contracts that every criterion keeps, ours or yours, for use in a test suite.

def test_mine() -> None:
    secateur.testing.check_criterion(mine)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import trace
from secateur.criteria.activation import mean_activation
from secateur.criteria.base import Criterion, Need
from secateur.criteria.calibrate import Calibration, calibrate, merge
from secateur.criteria.compensated import compensated
from secateur.criteria.gradient import taylor_gate, taylor_l1
from secateur.criteria.score import score
from secateur.criteria.scores import Scores
from secateur.criteria.weight import bn_scale, bn_shift, random

Batches = Sequence[tuple[Tensor, Tensor]]


def check_criterion(criterion: Criterion, seed: int = 0) -> None:
    """Put a criterion through its contracts on a small network in float64.

    One finite score a filter and a channel; scores follow a permutation of filters; the ranking
    stays when weights, activations or loss are multiplied by a positive factor; what two passes
    know, merged, is what one pass knows, and activations do not depend on the size of batches;
    zeros have finite scores; what says it goes by row gives a filter the same score in any part;
    the same seed gives the same scores; and the network, its gradients and hooks, the random
    state, and what other criteria are given are as before.

    Raises:
        AssertionError: saying which contract is broken, and how.
        CriterionError: its formula fails, or gives something else than one finite number a filter.
    """
    model = _network(seed)
    channels = trace(model, torch.zeros(1, 2, 8, 8, dtype=torch.float64))
    batches = _batches(seed)
    scores = _scores(criterion, model, channels, batches)
    _check_sizes(criterion, model, channels, scores)
    _check_untouched(criterion, model, channels, batches, scores)
    _check_neighbour(criterion, model, channels, batches)
    _check_zeros(criterion, model, channels, batches)
    if criterion.needs != "nothing":
        _check_permutation(criterion, model, channels, batches, scores)
        _check_factor(criterion, model, channels, batches, scores)
    if criterion.by_row:
        _check_rows(criterion, seed)
    if criterion.update is not None:
        _check_stream(criterion, model, channels, batches, scores)


def _check_rows(criterion: Criterion, seed: int) -> None:
    drawn = torch.randn(7, 11, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    whole = criterion.formula(drawn)
    parts = torch.cat([criterion.formula(drawn[:3]), criterion.formula(drawn[3:])])
    assert torch.equal(whole, parts), (
        f"criterion {criterion.name!r} says that it goes by row, but its scores depend on the "
        "other filters; leave by_row out"
    )


def _network(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        *(nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    ).double()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(drawn.abs() + 0.5 if "running_var" in name else drawn / 2)
    return model


def _batches(seed: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed + 1)
    return [
        (
            torch.randn(4, 2, 8, 8, generator=generator, dtype=torch.float64),
            torch.randint(0, 3, (4,), generator=generator),
        )
        for _ in range(3)
    ]


def _loss(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, target)


def _scores(
    criterion: Criterion, model: nn.Module, channels: ChannelMap, batches: Any, factor: float = 1.0
) -> Scores:
    found = score(
        channels.of(model),
        [criterion],
        calibration=batches,
        loss_fn=lambda output, target: factor * _loss(output, target),
    )
    return found[criterion.name]


def _hold(criterion: Criterion, condition: bool, broken: str) -> None:
    if not condition:
        raise AssertionError(f"criterion {criterion.name!r}: {broken}")


def _same(one: Scores, other: Scores, rtol: float = 1e-9) -> bool:
    scale = max((np.abs(v).max() for v in one.filters.values()), default=1.0)
    return all(
        np.allclose(values, other.filters[name], rtol=rtol, atol=rtol * scale)
        for name, values in one.filters.items()
    )


def _check_sizes(
    criterion: Criterion, model: nn.Module, channels: ChannelMap, scores: Scores
) -> None:
    for layer in ("0", "3"):
        weight = model.get_parameter(f"{layer}.weight")
        values, group = scores.filters.get(layer), scores.groups.get(layer)
        _hold(criterion, values is not None, f"layer {layer} has no scores")
        _hold(
            criterion,
            values is not None and values.shape == (len(weight),),
            f"{len(weight)} filters have scores of shape {getattr(values, 'shape', None)}",
        )
        _hold(
            criterion,
            group is not None and group.shape == (channels.by_name[layer].n_channels,),
            f"the channels of group {layer} have no score each",
        )


def _check_untouched(
    criterion: Criterion,
    model: nn.Module,
    channels: ChannelMap,
    batches: Batches,
    scores: Scores,
) -> None:
    model = copy.deepcopy(model).train()
    model[1].eval()  # type: ignore[index]
    first = model.get_parameter("0.weight")
    first.requires_grad_(False)
    model.get_parameter("3.weight").grad = torch.ones_like(model.get_parameter("3.weight"))

    def state() -> list[Any]:
        return [
            [(name, tensor.clone()) for name, tensor in model.state_dict().items()],
            [module.training for module in model.modules()],
            [parameter.requires_grad for parameter in model.parameters()],
            [None if p.grad is None else p.grad.clone() for p in model.parameters()],
            [
                len(hooks)
                for module in model.modules()
                for name, hooks in vars(module).items()
                if "hooks" in name and hooks is not None
            ],
            torch.get_rng_state(),
        ]

    before = state()
    again = _scores(criterion, model, channels, batches)
    words = ("weights or buffers", "modes", "requires_grad", "gradients", "hooks", "random state")
    for what, old, new in zip(words, before, state(), strict=True):
        _hold(criterion, _equal(old, new), f"it left the {what} of the network changed")
    _hold(criterion, _same(scores, again, 0), "the same seed gave other scores")


_NEIGHBOURS: Mapping[Need, Criterion] = {
    "filters": Criterion("", "filters", lambda filters: filters.sum(1), "signs count"),
    "pairs": Criterion("", "pairs", lambda pairs: pairs.filters.sum(1), "signs count"),
    "bn_scale": bn_scale,
    "bn_shift": bn_shift,
    "nothing": random,
    "gradients": taylor_l1,
    "gate_gradients": taylor_gate,
    "activations": mean_activation,
    "reads": compensated,
}


def _check_neighbour(
    criterion: Criterion, model: nn.Module, channels: ChannelMap, batches: Batches
) -> None:
    neighbour = replace(_NEIGHBOURS[criterion.needs], name="neighbour")

    def scored(criteria: Sequence[Criterion]) -> Scores:
        found = score(channels.of(model), criteria, calibration=batches, loss_fn=_loss)
        return found["neighbour"]

    alone, beside = scored([neighbour]), scored([criterion, neighbour])
    _hold(
        criterion,
        _same(alone, beside),
        "it writes into what it is given, which other criteria share; take a copy first",
    )


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _check_zeros(
    criterion: Criterion, model: nn.Module, channels: ChannelMap, batches: Batches
) -> None:
    dead = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in dead.parameters():
            parameter.zero_()
    scores = _scores(criterion, dead, channels, batches)
    finite = all(np.isfinite(values).all() for values in scores.filters.values())
    _hold(criterion, finite, "filters of zeros have scores that are not finite")


def _check_permutation(
    criterion: Criterion,
    model: nn.Module,
    channels: ChannelMap,
    batches: Batches,
    scores: Scores,
) -> None:
    permuted = copy.deepcopy(model)
    tensors = dict(permuted.named_parameters()) | dict(permuted.named_buffers())
    order = torch.tensor([2, 0, 5, 1, 4, 3])
    with torch.no_grad():
        for member in channels.by_name["0"].members:
            tensor = tensors[member.parameter]
            tensor.copy_(tensor.index_select(member.dim, order))
    found = _scores(criterion, permuted, channels, batches)
    scale = np.abs(scores.filters["0"]).max()
    _hold(
        criterion,
        np.allclose(found.filters["0"], scores.filters["0"][order.numpy()], atol=1e-9 * scale),
        "scores do not follow a permutation of filters",
    )


def _check_factor(
    criterion: Criterion,
    model: nn.Module,
    channels: ChannelMap,
    batches: Batches,
    scores: Scores,
) -> None:
    for factor in (0.3, 7.0):
        scaled = copy.deepcopy(model)
        gradients = "gradients" in criterion.needs
        if not gradients:
            with torch.no_grad():
                for name in ("3.weight", "4.weight", "4.bias"):
                    scaled.get_parameter(name).mul_(factor)
                if criterion.needs in ("activations", "reads"):
                    scaled.get_parameter("3.weight").div_(factor)
        found = _scores(criterion, scaled, channels, batches, factor if gradients else 1.0)
        kept = _ranks_agree(scores.filters["3"], found.filters["3"])
        _hold(criterion, kept, f"a factor of {factor} changes the ranking")


def _ranks_agree(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """No pair of filters is put the other way round, but for rounding."""
    first = np.subtract.outer(one, one) / (np.abs(one).max() or 1)
    second = np.subtract.outer(other, other) / (np.abs(other).max() or 1)
    return not ((first > 1e-9) & (second < -1e-9)).any()


def _check_stream(
    criterion: Criterion,
    model: nn.Module,
    channels: ChannelMap,
    batches: Batches,
    scores: Scores,
) -> None:
    def passed(some: Batches) -> Calibration:
        return calibrate(channels.of(model), [criterion], some, loss_fn=_loss)

    halves = merge(passed(batches[:1]), passed(batches[1:]))
    merged = _scores(criterion, model, channels, halves)
    _hold(criterion, _same(scores, merged), "two passes, merged, differ from one")
    if criterion.needs in ("activations", "reads"):
        whole = [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]
        found = _scores(criterion, model, channels, whole)
        _hold(criterion, _same(scores, found), "scores depend on the size of batches")
