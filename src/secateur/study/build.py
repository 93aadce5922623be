"""Make the network of a cell, a reference one or the reader's own. Imports torch when called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.study.cells import BaseCell
from secateur.study.networks import OwnNetwork

if TYPE_CHECKING:
    from torch import nn

FIRST_ANSWERS = "first_answers"
"""In the row of an own network: what it answered before it was trained."""


def build(cell: BaseCell, n_classes: int) -> nn.Module:
    """The network of a cell with new weights, drawn by its seed.

    Whatever an own factory made of its batch norms, their scales start at the recipe's `bn_init`
    and their shifts at 0, as those of the reference networks do.

    Raises:
        SecateurError: an own factory cannot be found or called, or gives no network.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        if isinstance(cell.network, OwnNetwork):
            return _own(cell.network, n_classes, cell.bn_init)
        from secateur.networks.families import NETWORKS

        factory = NETWORKS[cell.network.kind]
        return factory(n_classes, cell.network.width, bn_init=cell.bn_init)


def _own(network: OwnNetwork, n_classes: int, bn_init: float) -> nn.Module:
    from secateur.networks.factory import (
        call_factory,
        check_one_input,
        find_factory,
        with_classes,
    )
    from secateur.networks.layers import start_norms

    function = find_factory(network.factory, network.folder)
    arguments = with_classes(function, network.arguments, n_classes)
    see = "the recipe's arguments; the number of classes is given as n_classes or num_classes"
    model = call_factory(network.factory, arguments, network.folder, see)
    check_one_input(model)
    start_norms(model, bn_init)
    return model


def draw_anew(model: nn.Module, cell: BaseCell) -> None:
    """Draw all weights by the cell's seed again, in place, for the sizes the network has now.

    An own network is initialised as its modules' `reset_parameters` do it, parts before the whole:
    what its factory did would be for the sizes before the cut. Batch norms start as in `build`.
    """
    import torch

    from secateur.networks.layers import initialise, start_norms

    own = isinstance(cell.network, OwnNetwork)
    modules = [*model.modules()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        for module in reversed(modules) if own else modules:
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
        if own:
            start_norms(model, cell.bn_init)
        else:
            initialise(model, cell.bn_init)


def first_answers(model: nn.Module, shape: tuple[int, ...]) -> list[list[float]]:
    """Logits of a network for two inputs of noise that are always the same."""
    import torch

    from secateur.train.evaluate import predict

    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    found: list[list[float]] = predict(model, x).tolist()
    return found
