"""The contracts of `channels` and `surgery`, as checks that any network can be put through."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from secateur.channels.cost import cost
from secateur.channels.groups import ChannelMap
from secateur.channels.trace import trace
from secateur.plan.plan import PruningPlan
from secateur.surgery.cut import cut
from secateur.surgery.mask import mask

EXACT = 1e-10


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, every parameter and statistic random, so that nothing agrees by accident."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                tensor.copy_(drawn + 0.5 if "running_var" in name else drawn * 1.5 - 0.7)
    return model


def plan_as_cut(channels: ChannelMap, plan: PruningPlan) -> PruningPlan:
    """What of a plan is cut; no warning of what is held back."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* groups are held back")
        return cut(channels, plan).plan


def random_plan(channels: ChannelMap, seed: int, least: int = 1) -> PruningPlan:
    """Remove a random number of random channels of every group, leaving at least `least`."""
    rng = np.random.default_rng(seed)
    remove = {}
    for group in channels.groups:
        most = group.n_channels - least
        if most > 0 and (n := int(rng.integers(0, most + 1))):
            gone = rng.choice(group.n_channels, n, replace=False)
            remove[group.name] = tuple(sorted(gone.tolist()))
    return plan_of(channels, remove)


def plan_of(
    channels: ChannelMap, remove: dict[str, tuple[int, ...]], ratio: float | None = None
) -> PruningPlan:
    before, after = cost(channels), cost(channels, remove)
    return PruningPlan(
        remove=remove,
        fingerprint=channels.fingerprint,
        before=before,
        after=after,
        asked={} if ratio is None else {"pruning_ratio": ratio},
        reached={"pruning_ratio": 1 - after.channels / max(before.channels, 1)},
        how="manual",
        held_back={},
    )


def numbered_on(
    channels: ChannelMap, remove: dict[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """A removal with the channels numbered on through `conv`, `conv:2`, …, the pieces of one layer.

    Names of groups as they are; where there is one piece the removal is as it was.
    """
    found: dict[str, tuple[int, ...]] = {}
    for group in channels.groups:
        layer, _, piece = group.name.partition(":")
        if piece.startswith(("heads", "widths")):
            continue
        first = 0
        for before in range(1, int(piece or 1)):
            first += channels.by_name[layer if before == 1 else f"{layer}:{before}"].n_channels
        numbers = (k - first for k in remove.get(layer, ()))
        if gone := tuple(k for k in numbers if 0 <= k < group.n_channels):
            found[group.name] = gone
    return found


def outputs(
    model: nn.Module, example: Any, seed: int = 0, *, gradients: bool = False
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64)

    drawn = tree_map_only(Tensor, draw, example)
    with torch.set_grad_enabled(gradients):
        if isinstance(drawn, dict):
            out = model(**drawn)
        else:
            out = model(drawn) if isinstance(drawn, Tensor) else model(*drawn)
    return tree_leaves(out)


def difference(one: list[Tensor], other: list[Tensor]) -> float:
    """Largest absolute difference over the largest absolute value."""
    assert [a.shape for a in one] == [b.shape for b in other]
    scale = max(float(b.abs().max()) for b in other)
    worst = max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))
    assert scale > 0, "the outputs are all zero: the test would see nothing"
    return worst / scale


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_state(model: nn.Module, before: dict[str, Tensor]) -> bool:
    now = model.state_dict()
    return now.keys() == before.keys() and all(torch.equal(now[k], before[k]) for k in now)


def check_twins(one: nn.Module, other: nn.Module, x: Tensor) -> None:
    """The same weights, bit by bit; answers may round by where in memory the weights lie."""
    assert same_state(one, other.state_dict())
    with torch.no_grad():
        a, b = one(x), other(x)
    torch.testing.assert_close(
        a, b, rtol=0, atol=64 * torch.finfo(b.dtype).eps * float(b.abs().max())
    )


def check_cut_equals_mask(
    model: nn.Module,
    example: Any,
    channels: ChannelMap,
    n: int,
    *,
    least: int = 1,
    costs: bool = True,
    hold_back: bool = False,
) -> None:
    """Contracts 1 and 3, and the cost: predicted, traced again, and counted.

    With `hold_back` the part of a plan that can be cut is; without, all of it must be.
    """
    assert any(group.n_channels > 1 for group in channels.groups), "nothing can be pruned"
    before = state_of(model)
    for seed in range(n):
        plan = random_plan(channels, seed, least)
        plan = plan_as_cut(channels, plan) if hold_back else plan
        small = cut(channels, plan).network
        assert same_state(model, before)
        masked = mask(channels, plan)
        error = difference(outputs(small, example), outputs(masked, example))
        assert error <= EXACT or mixes(channels, plan)
        if costs:
            check_cost(small, example, plan.after)


def mixes(channels: ChannelMap, plan: PruningPlan) -> bool:
    return any(name in plan.remove for mixing in channels.mixing for name in mixing.groups)


def check_cost(small: nn.Module, example: Any, predicted: Any) -> None:
    traced = cost(trace(small, example))
    assert (traced.params, traced.macs) == (predicted.params, predicted.macs)
    assert predicted.params == sum(p.numel() for p in small.parameters())
    one = tree_map_only(Tensor, lambda t: t[:1], example)
    # torch does not count what it takes together: an encoder without gradients, fused attention
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outputs(small, one, gradients=True)
    assert counter.get_total_flops() == 2 * predicted.macs


def check_permutation(model: nn.Module, example: Any, channels: ChannelMap, seed: int = 0) -> None:
    """Contract 2: permuting the channels of all groups, everywhere at once, changes nothing."""
    assert permutation_error(model, example, channels, seed) <= EXACT


def permutation_error(model: nn.Module, example: Any, channels: ChannelMap, seed: int = 0) -> float:
    """How far the outputs of a network in float64 are from those with all channels permuted."""
    moved = permuted(model, channels, random_orders(channels, seed))
    return difference(outputs(moved, example), outputs(model, example))


def random_orders(channels: ChannelMap, seed: int) -> dict[str, Any]:
    """An order of the channels of every group: where each one comes from."""
    rng = np.random.default_rng(seed)
    return {group.name: rng.permutation(group.n_channels) for group in channels.groups}


def permuted(model: nn.Module, channels: ChannelMap, orders: dict[str, Any]) -> nn.Module:
    """A copy of a network with the channels of every group in another order, everywhere."""
    moved = copy.deepcopy(model)
    tensors = dict(moved.named_parameters()) | dict(moved.named_buffers())
    for group in channels.groups:
        order = orders[group.name]
        for member in group.members:
            tensor = tensors[member.parameter]
            positions = np.arange(tensor.shape[member.dim])
            for target, source in _by_use(member.index, member.index[order]):
                positions[target] = source
            own = tensor.detach().index_select(member.dim, torch.from_numpy(positions))
            with torch.no_grad():
                tensor.copy_(own)
    return moved


def _by_use(targets: Any, sources: Any) -> Iterator[tuple[Any, Any]]:
    yield from zip(targets.T, sources.T, strict=True)
