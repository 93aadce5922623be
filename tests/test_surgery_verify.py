"""What is called verified is so: against silent channels, on other inputs, and said in words."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

import secateur as sc
from contracts import (
    EXACT,
    difference,
    outputs,
    plan_as_cut,
    plan_of,
    randomised,
    same_state,
    state_of,
)
from secateur.errors import ProofError, VerificationError
from secateur.surgery.in_turn import verified

COMPUTED = "read by weights that the network computes"


class Computes(nn.Module):
    """A layer whose weight is made of its parameter by `how`; `silence` zeroes what it reads."""

    def __init__(self, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.how = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 3), how
        self.silence: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.a(x))
        if self.silence:
            x = x.index_fill(1, torch.tensor(self.silence), 0)
        return F.conv2d(x, self.how(self.b.weight), self.b.bias)


OVER_INPUTS = {
    "l2": lambda w: F.normalize(w.flatten(1), dim=1).view_as(w),
    "largest": lambda w: w / w.abs().amax((1, 2, 3), keepdim=True),
    "demodulated": lambda w: w * torch.rsqrt(w.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8),
    "softmax": lambda w: w.flatten(1).softmax(1).view_as(w),
    "centred": lambda w: w - w.mean(1, keepdim=True),
    "standardised": lambda w: (
        (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
    ),
}


@pytest.mark.parametrize("how", OVER_INPUTS)
def test_a_weight_computed_over_its_inputs_is_never_called_exact(how: str) -> None:
    model = randomised(Computes(OVER_INPUTS[how]))
    with torch.no_grad():
        model.b.weight[0, 2, 0, 0] = 1.5  # the largest is among those that go
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    channels = sc.trace(model, x)
    plan = sc.manual(channels, {"a": [0, 2, 5]})
    with pytest.warns(UserWarning, match=f"{COMPUTED} .* at test_surgery_verify.py:\\d+"):
        small = sc.cut(channels, plan).network
    found = verified(model, small, plan, channels, x)
    assert found.holds and not found.exact and found.groups == {"a": "computed weight"}
    silent = copy.deepcopy(model)
    silent.silence = [0, 2, 5]
    truly = difference(outputs(small, x), outputs(silent, x))
    assert truly > 1e-3 and found.silence_error > 1e-3
    # what is not read by it is exact, and said so
    plan = sc.manual(channels, {"a": []})
    assert verified(model, sc.cut(channels, plan).network, plan, channels, x).exact


@pytest.mark.parametrize("how", ["absolute", "scaled by a gate", "outer product"])
def test_a_weight_computed_element_by_element_is_exact(how: str) -> None:
    class Net(Computes):
        def __init__(self) -> None:
            super().__init__(torch.abs)
            self.gate, self.row = nn.Parameter(torch.ones(8)), nn.Parameter(torch.ones(4))
            if how == "scaled by a gate":
                self.how = lambda w: w * torch.sigmoid(self.gate)[:, None, None]
            elif how == "outer product":
                self.how = lambda w: w * self.row[:, None, None, None] * self.gate[:, None, None]

    model, x = randomised(Net()), torch.randn(2, 3, 7, 7, dtype=torch.float64)
    channels = sc.trace(model, x)
    plan = sc.manual(channels, {"a": [1, 2]})
    small = sc.cut(channels, plan).network
    assert verified(model, small, plan, channels, x).exact
    model.silence = [1, 2]
    assert difference(outputs(small, x), outputs(model, x)) <= EXACT


class SideNorm(nn.Module):
    """The halves of y are taken by position; the layer norm has nothing to do with it."""

    def __init__(self, *, lost: bool) -> None:
        super().__init__()
        self.a, self.o, self.lost = nn.Linear(3, 8), nn.Linear(1, 2), lost
        self.t, self.ln, self.u = nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = copy.copy(self.a(x)) if self.lost else self.a(x)
        y = y[..., :4].sum(-1, keepdim=True) * y[..., 4:].sum(-1, keepdim=True)
        return self.o(y) + self.u(self.ln(self.t(x)))


@pytest.mark.parametrize("lost", [False, True])
def test_a_norm_in_a_side_branch_excuses_nothing_but_itself(lost: bool) -> None:
    model, x = randomised(SideNorm(lost=lost)), torch.randn(2, 5, 3, dtype=torch.float64)
    channels = sc.trace(model, x)
    assert list(channels.by_name) == ["a", "a:2", "t"]
    plan = plan_as_cut(channels, sc.manual(channels, {"a": [0, 1, 2], "t": [0]}))
    assert "slice at test_surgery_verify.py" in plan.held_back["a"]
    small = sc.cut(channels, plan).network
    found = verified(model, small, plan, channels, x)
    assert found.groups == {"t": "kept statistics"} and found.holds
    assert found.operators[0].startswith("native_layer_norm at test_surgery_verify.py")
    # a wrong network beside a right norm is refused, whatever the norm does
    wrong = copy.deepcopy(small)
    with torch.no_grad():
        wrong.a.weight[0] += 1
    with pytest.raises(VerificationError, match="from the whole one with these channels silent"):
        verified(model, wrong, plan, channels, x)


class Attends(nn.Module):
    """Attention over five tokens whose temperature is a width."""

    def __init__(self, *, by_width: bool) -> None:
        super().__init__()
        self.e, self.by_width = nn.Embedding(10, 16), by_width
        self.q, self.k, self.v = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(16, 8)
        self.o = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.e(ids)
        q, k, v = self.q(x), self.k(x), self.v(x)
        scale = math.sqrt(q.shape[-1]) if self.by_width else 3.0
        return self.o(((q @ k.transpose(1, 2) / scale).softmax(-1) @ v).mean(1))


TOKENS = torch.zeros(1, 5, dtype=torch.long)


def test_whole_numbers_are_drawn_anew() -> None:
    model = randomised(Attends(by_width=False))
    channels = sc.trace(model, TOKENS)
    plan = sc.manual(channels, {"q": [0, 3], "v": [1], "e": [2]})
    small = sc.cut(channels, plan).network
    assert verified(model, small, plan, channels, TOKENS).exact
    wrong = copy.deepcopy(small)
    with torch.no_grad():
        wrong.q.weight *= 1.1  # of equal tokens attention is even, whatever the queries are
    assert difference(outputs(wrong, TOKENS), outputs(small, TOKENS)) <= EXACT
    with pytest.raises(VerificationError):
        verified(model, wrong, plan, channels, TOKENS)


def test_a_temperature_that_is_a_width_is_kept_by_the_rows_of_queries() -> None:
    model = randomised(Attends(by_width=True))
    channels = sc.trace(model, TOKENS)
    pruned = sc.cut(channels, sc.manual(channels, {"q": [0, 3], "v": [1], "e": [2]}))
    assert pruned.verification.exact and not pruned.plan.held_back
    kept = [1, 2, 4, 5, 6, 7]
    assert torch.allclose(pruned.network.q.bias, model.q.bias[kept] * math.sqrt(6 / 8))
    assert torch.equal(pruned.network.k.bias, model.k.bias[kept])


class WidthAsValue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.Conv2d(4, 6, 3)
        self.o = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.b(F.relu(self.a(x))))
        x = x * x.shape[1] ** -0.5
        return self.o(F.relu(self.c(x)))


class Equalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.w = nn.Conv2d(3, 4, 3), nn.Parameter(torch.randn(6, 4, 3, 3))
        self.c, self.o = nn.Conv2d(6, 5, 3), nn.Conv2d(5, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(F.relu(self.a(x)), self.w / self.w[0].numel() ** 0.5)
        return self.o(F.relu(self.c(F.relu(x))))


@pytest.mark.parametrize(
    ("build", "held", "says"),
    [
        (WidthAsValue, "b", "mul at .* computes with 0.57735, not 0.5: a width is used as a value"),
        (Equalised, "a", "div at .* computes with 5.19615, not 6: a width is used as a value"),
    ],
)
def test_a_width_that_is_a_value_stays_alone(build: Any, held: str, says: str) -> None:
    model, x = randomised(build()), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    channels = sc.trace(model, x)
    plan = plan_of(channels, dict.fromkeys(channels.by_name, (0,)))
    settled = plan_as_cut(channels, plan)
    assert list(settled.held_back) == [held] and re.search(says, settled.held_back[held])
    assert set(settled.remove) == set(channels.by_name) - {held}
    with pytest.warns(UserWarning, match=f"held back, '{held}' first"):
        small = sc.cut(channels, plan).network
    assert verified(model, small, settled, channels, x).exact
    with pytest.raises(ProofError, match="a width is used as a value"):
        sc.cut(channels, plan, hold_back=False)


def test_random_numbers_are_the_same_on_both_sides_and_outside_as_if_none_were_drawn() -> None:
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv1d(3, 8, 3), nn.Conv1d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.a(x))
            return self.b(h + torch.randn_like(h))

    model, x = randomised(Noise()), torch.randn(2, 3, 12, dtype=torch.float64)
    channels = sc.trace(model, x)
    plan = sc.manual(channels, {"a": [0, 4, 5]})
    torch.manual_seed(5)
    small = sc.cut(channels, plan).network
    assert verified(model, small, plan, channels, x).exact
    drawn = torch.rand(())
    torch.manual_seed(5)
    assert torch.equal(torch.rand(()), drawn)


def test_a_table_of_positions_is_a_length() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.o = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(6, 5)
            self.rows = nn.Parameter(torch.randn(10, 6))

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.a(x)).transpose(1, 2)
            return self.o((h + self.rows[: h.shape[1]]).mean(1))

    model, x = randomised(Positions()), torch.randn(2, 4, 7, dtype=torch.float64)
    channels = sc.trace(model, x)
    assert list(channels.by_name) == ["a"]
    pins = {(row.parameter, row.dim, row.n_channels): row.reason for row in channels.pinned}
    assert pins["rows", 0, 3] == "lies beyond what the example reaches in slice"
    assert pins["rows", 0, 7] == "meets a tensor of fixed size in add"
    plan = sc.manual(channels, {"a": [2]})
    small = sc.cut(channels, plan).network
    assert small.rows.shape == (10, 5)
    assert verified(model, small, plan, channels, x).inputs == ("2x4x7", "3x4x3")


@pytest.mark.parametrize(
    "again",
    [copy.copy, lambda t: nn.Parameter(t, requires_grad=False), lambda t: t.as_subclass(Tagged)],
    ids=["copy", "parameter", "subclass"],
)
def test_a_tensor_that_python_made_anew_keeps_its_labels(again: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return again(self.b(again(F.relu(self.a(x)))))

    model, x = randomised(Net()), torch.randn(2, 5, 3, dtype=torch.float64)
    channels = sc.trace(model, x)
    (group,) = channels.groups
    assert [(m.parameter, m.dim) for m in group.members if m.role in ("out", "in")] == [
        ("a.weight", 0),
        ("b.weight", 1),
    ]
    assert {row.reason for row in channels.pinned} == {"is an output of the network"}
    plan = sc.manual(channels, {"a": [1, 2]})
    assert verified(model, sc.cut(channels, plan).network, plan, channels, x).exact


class Tagged(Tensor):
    """A tensor of another class."""


def test_elements_seen_in_another_way_are_pinned() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.kept = nn.Linear(3, 4), nn.Linear(4, 2), None

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            with _disable_current_modes():  # no operator is seen to make this
                turned = y.transpose(0, 1)
            return self.b(turned)

    model, x = randomised(Net()), torch.randn(2, 5, 3, dtype=torch.float64)
    channels = sc.trace(model, x)
    assert not channels.groups
    assert any("a tensor that no operator made" in row.reason for row in channels.pinned)


def test_nothing_is_left_of_a_part_and_the_proof_ends() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.t = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)
            self.o = nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            one, two = x[:, :4], x[:, 4:]
            n, c, h, w = two.shape
            two = self.t(two.reshape(n * c, 1, h, w)).reshape(n, c, h, w)
            return self.o(torch.cat([one, two], 1))

    model, x = randomised(Net()), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    channels = sc.trace(model, x)
    plan = plan_of(channels, {"a": (0, 1), "a:2": (0, 1)})
    settled = plan_as_cut(channels, plan)
    assert settled.remove == {"a:2": (0, 1)}
    assert "gives 0 channels" in settled.held_back["a"]


def test_groups_that_differ_are_found_by_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five layers, of which two are followed by code that counts channels as numbers do not."""

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv1d(3 if k == 0 else 4, 4, 1) for k in range(5))
            self.o = nn.Conv1d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            for k, conv in enumerate(self.convs):
                x = F.relu(conv(x))
                if k in (1, 3):  # a number that no operator is told: a table of scales
                    x = x * SCALES.to(x.dtype)[x.shape[1]]
            return self.o(x)

    model, x = randomised(Counts()), torch.rand(2, 3, 6, dtype=torch.float64)
    channels = sc.trace(model, x)
    plan = plan_of(channels, dict.fromkeys(channels.by_name, (0,)))
    assert len(plan.remove) == 5
    before = state_of(model)
    settled = plan_as_cut(channels, plan)
    assert set(settled.held_back) == {"convs.1", "convs.3"}
    assert same_state(model, before)
    small = sc.cut(channels, settled).network
    assert verified(model, small, settled, channels, x).exact


SCALES = torch.tensor([0.0, 1.0, 1.5, 2.0, 2.5])


def test_plain_weights_are_cut_exactly() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight / weight.abs().sum((1, 2), keepdim=True)

    model = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Conv1d(6, 3, 3))
    nn.utils.parametrize.register_parametrization(model[2], "weight", Doubled())
    model, x = randomised(model), torch.randn(2, 2, 9, dtype=torch.float64)
    plain = sc.plain_weights(model)
    assert difference(outputs(plain, x), outputs(model, x)) == 0
    assert "parametrizations" not in " ".join(plain.state_dict())
    for network, exact in ((model, False), (plain, True)):
        channels = sc.trace(network, x)
        plan = sc.manual(channels, {"0": [0, 1]})
        if exact:
            small = sc.cut(channels, plan).network
        else:
            with pytest.warns(UserWarning, match=COMPUTED):
                small = sc.cut(channels, plan).network
        assert verified(network, small, plan, channels, x).exact is exact


def test_the_words_say_what_was_verified_and_what_not() -> None:
    model = nn.Sequential(nn.Conv1d(1, 4, 1), nn.Softmax(1), nn.Conv1d(4, 4, 1), nn.ReLU())
    model = randomised(nn.Sequential(model, nn.Conv1d(4, 2, 1)))
    x = torch.randn(2, 1, 6, dtype=torch.float64)
    channels = sc.trace(model, x)
    plan = sc.manual(channels, {"0.0": [1], "0.2": [0]})
    text = str(verified(model, sc.cut(channels, plan).network, plan, channels, x))
    assert "in float64, on inputs of 2x1x6 and 3x1x3" in text
    assert "1 group: the whole network with these channels silent\n" in text
    assert "1 group: the whole network with these channels silent, operators across" in text
    assert "_softmax at" in text and "counted as zeros it differs by" in text
    assert "DIFFERS" not in text


def test_a_network_that_was_trained_since_is_told_so() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    pruned = sc.prune(model, torch.zeros(1, 1, 8, 8).double(), ratio=0.5)
    assert sc.verify(pruned).exact
    with torch.no_grad():
        pruned.network[2].bias += 1.0
    with pytest.raises(VerificationError, match=r"'2.bias' holds other numbers: it was repaired"):
        sc.verify(pruned)
