"""The contracts over all toys: exact cuts, exact permutations, exact costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from contracts import check_cost, check_cut_equals_mask, check_permutation, randomised
from secateur.channels.cost import cost
from secateur.channels.trace import trace
from secateur.channels.walk import modules_of, tensors_of
from toys import TOYS, image, plain

each = pytest.mark.parametrize("name", TOYS)


def _made(name: str) -> tuple[nn.Module, Any]:
    build, example = TOYS[name]
    torch.manual_seed(0)
    return randomised(build()), example


@each
def test_a_cut_network_equals_the_masked_one(name: str) -> None:
    model, example = _made(name)
    check_cut_equals_mask(model, example, trace(model, example), n=6)


@each
def test_permuting_channels_everywhere_changes_nothing(name: str) -> None:
    model, example = _made(name)
    channels = trace(model, example)
    check_permutation(model, example, channels)


@each
def test_the_cost_of_the_whole_network_is_right(name: str) -> None:
    model, example = _made(name)
    check_cost(model, example, cost(trace(model, example)))


def test_inference_mode_changes_nothing() -> None:
    model = plain().double()
    expected = trace(model, image())
    with torch.inference_mode():
        assert trace(model, image()).to_json() == expected.to_json()


@each
def test_the_walk_is_torch_s(name: str) -> None:
    model, _ = _made(name)
    assert modules_of(model) == list(model.named_modules())
    assert modules_of(model, shared=True) == list(model.named_modules(remove_duplicate=False))
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    assert list(tensors_of(model)) == list(named)
    assert all(tensor is named[key] for key, tensor in tensors_of(model).items())
