"""Weights that are computed before every call, made plain: parameters with the values they have."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

from secateur.channels.repaired import sites
from secateur.channels.walk import modules_of
from secateur.surgery.rebuild import rebuild


def plain_weights(model: nn.Module) -> nn.Module:
    """A copy of a network whose parametrised weights are parameters of their present values.

    Parametrisations (`torch.nn.utils.parametrize`) and the hooks of torch's older weight norm and
    spectral norm go; the values are those of evaluation mode, and the copy answers as the network
    does in it. Trace, plan and cut the copy where `cut` says that weights are computed over the
    channels that go: what stays of a plain weight stays as it was.

    A weight that a forward computes by its own code cannot be made plain.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    >>> [name for name, _ in plain_weights(layer).named_parameters()]
    ['bias', 'weight']
    """
    made = rebuild(model, {})
    training = {id(module) for _, module in modules_of(made) if module.training}
    made.eval()
    with torch.no_grad():
        for site in sites(made):
            if site.hook is not None:
                remove = remove_weight_norm if site.kind == "weight norm" else remove_spectral_norm
                remove(made.get_submodule(site.module), site.name)
        for _, module in modules_of(made):
            if parametrize.is_parametrized(module):
                _without_parametrisations(module)
    for _, module in modules_of(made):
        module.training = id(module) in training
    return made


def _without_parametrisations(module: nn.Module) -> None:
    """Make a module's computed tensors its own.

    Torch's own way takes them out of the module's class, which copies of the module share.
    """
    chains = module._modules["parametrizations"]
    assert isinstance(chains, nn.ModuleDict)
    values = {name: getattr(module, name).detach().clone() for name in chains}
    trained = {name for name, chain in chains.items() if any(True for _ in chain.parameters())}
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        if name in trained:
            module.register_parameter(name, nn.Parameter(value))
        else:
            module.register_buffer(name, value)
