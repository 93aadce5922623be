"""Try the reader's own networks before any work, and see that code has not changed since.

What is wrong with a network is one error at the start, not a failure in every cell an hour later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secateur.errors import RecipeError, SecateurError, StudyError, brief
from secateur.study.build import FIRST_ANSWERS, build, first_answers
from secateur.study.cells import BaseCell, units
from secateur.study.cuts import budget_of
from secateur.study.networks import OwnNetwork
from secateur.study.recipe import NEED_DATA, Recipe
from secateur.study.store import Row, Store

if TYPE_CHECKING:
    from torch import nn

    from secateur.channels.groups import ChannelMap


def check_networks(recipe: Recipe, store: Store | None = None) -> None:
    """Build every own network of a recipe and try what a study will do with it, but for training.

    Loads torch and reads the list of recordings only if there is one. With a store, networks that
    have rows there must still be those the rows are of.

    Raises:
        RecipeError: naming the network, what is wrong with it and what is wanted.
        StudyError: the store holds rows of other code.
    """
    if not any(isinstance(network, OwnNetwork) for network in recipe.networks):
        return
    bases: dict[str, list[BaseCell]] = {}
    for unit in units(recipe):
        if isinstance(unit.base.network, OwnNetwork):
            bases.setdefault(unit.base.network.name, []).append(unit.base)
    from secateur.study.data import scene_set

    n_classes = len(scene_set(recipe).classes)
    shape = recipe.features.settings().shape
    for name, own in bases.items():
        try:
            _check(recipe, own, n_classes, shape)
        except SecateurError as error:
            raise RecipeError(f"network {name!r} of the recipe: {error}") from error
        finished = [base for base in own if store is not None and store.has(base.id)]
        if store is not None and finished:
            check_same_code(store.row(finished[0].id), finished[0], n_classes, shape)


def check_same_code(row: Row, base: BaseCell, n_classes: int, shape: tuple[int, ...]) -> None:
    """See that a cell's own network is, untrained, still the one that the cell's row is of.

    Raises:
        StudyError: it is not.
    """
    if not isinstance(base.network, OwnNetwork) or FIRST_ANSWERS not in row:
        return
    import numpy as np

    there = np.array(row[FIRST_ANSWERS])
    here = np.array(first_answers(build(base, n_classes), shape))
    if there.shape != here.shape or not np.allclose(there, here, rtol=1e-3, atol=1e-5):
        raise StudyError(
            f"network {base.network.name!r}: {base.network.factory} makes another network than "
            "the one the rows there are of: its code has changed, or torch draws otherwise. Put "
            "it back, or name another folder"
        )


def _check(recipe: Recipe, bases: list[BaseCell], n_classes: int, shape: tuple[int, ...]) -> None:
    """Raise a SecateurError that says what a study cannot do with the network."""
    from secateur.channels.trace import trace

    base = bases[0]
    model, again = build(base, n_classes), build(base, n_classes)
    _check_drawn_by_the_seed(model, again)
    _check_answers(model, n_classes, shape)
    _check_trains(model, n_classes, shape)
    import torch

    example = torch.zeros(1, *shape)
    channels = trace(again, example)
    if not channels.groups:
        why = [f"{p.parameter}: {p.reason} ({p.source})" for p in channels.pinned[:1]]
        raise RecipeError(f"it has no channel that can be pruned; {', '.join(why) or 'no layer'}")
    _check_methods(recipe, channels, any(one.total_shrink for one in bases))
    _check_cut(recipe, channels)


def _check_drawn_by_the_seed(model: nn.Module, again: nn.Module) -> None:
    one, other = model.state_dict(), again.state_dict()
    for name, tensor in one.items():
        if name not in other or not tensor.equal(other[name]):
            raise RecipeError(
                f"its factory gave other values of {name!r} for the same seed; draw weights with "
                "torch's own generator only, which the seed sets"
            )


def _check_answers(model: nn.Module, n_classes: int, shape: tuple[int, ...]) -> None:
    import torch

    model.eval()
    wanted = f"a float tensor (2, {n_classes}), one logit a class"
    given = f"an input of shape (2, {', '.join(map(str, shape))})"
    try:
        with torch.no_grad():
            logits: Any = model(torch.zeros(2, *shape))
    except Exception as error:
        raise RecipeError(
            f"its forward failed on {given}: {brief(error)}; it is given (batch, 1, bands, "
            "frames) as the recipe's features make them"
        ) from error
    if not isinstance(logits, torch.Tensor):
        raise RecipeError(f"it gave a {type(logits).__name__} for {given}; wanted is {wanted}")
    if tuple(logits.shape) != (2, n_classes) or not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise RecipeError(
            f"it gave {kind} of shape {tuple(logits.shape)} for {given}; the data has {n_classes} "
            f"classes, so that wanted is {wanted}"
        )


def _check_trains(model: nn.Module, n_classes: int, shape: tuple[int, ...]) -> None:
    import torch
    import torch.nn.functional as F

    model.train()
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    try:
        F.cross_entropy(model(x), torch.arange(4) % n_classes).backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise RecipeError(f"a step of training failed: {brief(error)}") from error


def _check_methods(recipe: Recipe, channels: ChannelMap, sparse: bool) -> None:
    from secateur.criteria.score import score
    from secateur.criteria.table import CRITERIA
    from secateur.train.penalties import PENALTIES

    criteria = [CRITERIA[c] for c in recipe.pruning.criteria if c not in NEED_DATA]
    for scores in score(channels, criteria).values():
        for group in channels.groups:
            scores.of(group.name)
    name = recipe.sparsity.penalty
    penalty = PENALTIES[name](1.0, channels, recipe.sparsity.ramp)
    if sparse and not getattr(penalty, "scales", True):
        raise RecipeError(
            f"penalty {name} pushes scales of batch norms, and it has none that follow what can be "
            "pruned; take a penalty on filters, such as group_lasso_proximal, or give this network "
            "total_shrink: [0]"
        )


def _check_cut(recipe: Recipe, channels: ChannelMap) -> None:
    from functools import partial

    from secateur.criteria.score import score
    from secateur.criteria.weight import l1
    from secateur.plan.select import uniform
    from secateur.surgery.prune import prune_to_budget

    gentlest = min(recipe.pruning.levels(), key=lambda level: level.asked)
    scores = score(channels, [l1])["l1"]
    try:
        budget = budget_of(gentlest, channels)
        prune_to_budget(channels, budget, partial(uniform, scores))
    except SecateurError as error:
        raise RecipeError(f"not even the gentlest cut ({gentlest}) can be made: {error}") from error
