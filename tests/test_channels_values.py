"""A network may look into what no input reaches; what depends on its data is refused in words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import EXACT, difference, outputs, randomised, same_state, state_of
from secateur.errors import TraceError
from secateur.surgery.in_turn import verified


class Looks(nn.Module):
    """Two layers, and between them code that looks into tensors."""

    def __init__(self, look: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.look = nn.Conv1d(3, 6, 3, padding=1), nn.Conv1d(6, 2, 1), look
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("seen", torch.tensor([True, False, True, True]))
        self.register_buffer("rates", torch.tensor([1, 2]))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.look(self, F.relu(self.a(x))))


def mask_of_ones(net: nn.Module, x: Tensor) -> Tensor:
    mask = torch.ones(x.shape[0], x.shape[2], dtype=torch.bool, device=x.device)
    return x if mask.all() else x * mask[:, None]


def mask_like(net: nn.Module, x: Tensor) -> Tensor:
    mask = x.new_zeros(x.shape[0], x.shape[2], dtype=torch.bool)
    mask[:, :2] = True
    return x[:, :, mask[0]]


def a_number_of_a_buffer(net: nn.Module, x: Tensor) -> Tensor:
    for _ in range(int(net.steps)):
        x = x + 1
    return x


def a_row_of_a_buffer(net: nn.Module, x: Tensor) -> Tensor:
    return x[..., net.seen.repeat(2)[: x.shape[2]]]


def a_list(net: nn.Module, x: Tensor) -> Tensor:
    return sum(x / rate for rate in net.rates.tolist())


def a_count(net: nn.Module, x: Tensor) -> Tensor:
    mask = torch.arange(x.shape[2], device=x.device) < 5
    return x[:, :, : int(mask.sum())]


def places(net: nn.Module, x: Tensor) -> Tensor:
    return x[:, :, torch.ones(x.shape[2], device=x.device).nonzero().flatten()]


def equal(net: nn.Module, x: Tensor) -> Tensor:
    same = torch.equal(torch.zeros(3, device=x.device), x.new_zeros(3))
    return x if same else x[:, :1]


def on_the_cpu(net: nn.Module, x: Tensor) -> Tensor:
    return x * float(net.rates.cpu().numpy()[1])


def by_a_list(net: nn.Module, x: Tensor) -> Tensor:
    return x[:, :, [3, 1, 0, 7]]


def by_a_list_of_truths(net: nn.Module, x: Tensor) -> Tensor:
    x[:, :, [0, 5]] = 1.5
    return x[:, :, [True, False] * 4]


KNOWN = [
    by_a_list,
    by_a_list_of_truths,
    mask_of_ones,
    mask_like,
    a_number_of_a_buffer,
    a_row_of_a_buffer,
    a_list,
    a_count,
    places,
    equal,
    on_the_cpu,
]


@pytest.mark.parametrize("look", KNOWN)
def test_what_no_input_reaches_is_computed(look: Callable[..., Tensor]) -> None:
    model = randomised(Looks(look))
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    before = state_of(model)
    channels = sc.trace(model, x)
    assert same_state(model, before)
    (group,) = channels.groups
    assert group.name == "a" and group.n_channels == 6
    plan = sc.manual(channels, {"a": [0, 5]})
    small = sc.cut(channels, plan).network
    assert verified(model, small, plan, channels, x).exact
    masked = sc.mask(channels, plan)
    masked.b.weight.data[:, [0, 5]] = 0
    assert difference(outputs(small, x), outputs(masked, x)) <= EXACT


@pytest.mark.parametrize("places", [[3, 1, 0, 7], [[2, 1], [4, 4]], np.array([6, 2])])
def test_the_whole_network_with_silent_channels_knows_lists_of_places(places: object) -> None:
    def look(net: nn.Module, x: Tensor) -> Tensor:
        x = F.layer_norm(x.transpose(1, 2), x.shape[1:2]).transpose(1, 2)
        return x[:, :, places].flatten(2)

    model, x = randomised(Looks(look)), torch.randn(2, 3, 8, dtype=torch.float64)
    channels = sc.trace(model, x)
    plan = sc.manual(channels, {"a": [0, 5]})
    checked = verified(model, sc.cut(channels, plan).network, plan, channels, x)
    assert checked.holds and checked.groups == {"a": "kept statistics"}


def the_data(net: nn.Module, x: Tensor) -> Tensor:
    return x if x.mean() > 0 else -x


def written_by_data(net: nn.Module, x: Tensor) -> Tensor:
    scores = torch.zeros(x.shape[0], device=x.device)
    scores += x.mean((1, 2))
    return x if bool(scores.max() > 0) else -x


def drawn(net: nn.Module, x: Tensor) -> Tensor:
    return x if bool(torch.rand((), device=x.device) > 0.5) else -x


def written_into_numbers(net: nn.Module, x: Tensor) -> Tensor:
    seen = torch.zeros(2, dtype=x.dtype)
    seen[0] = x.sum()
    return x if bool(seen.sum() > 0) else -x


@pytest.mark.parametrize("look", [the_data, written_by_data, written_into_numbers, drawn])
def test_what_depends_on_data_is_refused_with_its_line(look: Callable[..., Tensor]) -> None:
    model = Looks(look)
    before = state_of(model)
    with pytest.raises(TraceError) as refused:
        sc.trace(model, torch.zeros(2, 3, 8))
    text = str(refused.value)
    assert "depends on the values of its data" in text and "test_channels_values.py:" in text
    assert "_local_scalar_dense" in text and "move it out of forward" in text
    assert same_state(model, before)


def test_a_counter_in_a_buffer_is_as_before() -> None:
    class Counts(Looks):
        def forward(self, x: Tensor) -> Tensor:
            self.steps += 1
            return super().forward(x) if int(self.steps) == 4 else self.b(x)

    model = randomised(Counts(lambda net, x: x))
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    channels = sc.trace(model, x)
    assert int(model.steps) == 3 and list(channels.by_name) == ["a"]
