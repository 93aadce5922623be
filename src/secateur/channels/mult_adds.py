"""Multiply-adds as torchinfo counts them, for comparison with figures published with its help.

`secateur.channels.cost` counts the multiply-accumulates of filters, and what a plan leaves of them.
Challenges in acoustic scenes compare another number: torchinfo's `total_mult_adds`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.channels.admit import check_example
from secateur.channels.trace import Example, call_arguments


def torchinfo_mult_adds(model: nn.Module, example_input: Example) -> int:
    """The number that torchinfo 1.8 gives for one run on the example.

    Every call of a module without children counts its own `weight` and `bias`: times the places of
    its output (examples times positions) if it is a convolution, otherwise times the examples. So
    biases count, a batch norm counts its scales and shifts once, a linear layer applied to several
    tokens counts once, and operators that are no modules, or parameters of other names, count
    nothing. Recurrent layers, which torchinfo counts differently, count nothing here.

    >>> torchinfo_mult_adds(nn.Conv2d(1, 2, 3), torch.zeros(1, 1, 4, 4))  # (18 + 2) x 2 x 2
    80

    Raises:
        TraceError: the example is not a tensor, a tuple or list of them, or a dict of keywords.
    """
    check_example(example_input)
    counted = 0

    def count(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        nonlocal counted
        if isinstance(output, Tensor):
            places = len(output)
            if isinstance(module, _ConvNd):
                places *= output[0, 0].numel()
            own = dict(module.named_parameters(recurse=False))
            counted += places * sum(own[k].numel() for k in ("weight", "bias") if k in own)

    runs = copy.deepcopy(model).eval()
    for module in runs.modules():
        if not any(module.children()):
            module.register_forward_hook(count)
    positional, keywords = call_arguments(example_input)
    with torch.no_grad():
        runs(*positional, **keywords)
    return counted
