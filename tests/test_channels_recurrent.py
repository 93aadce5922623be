"""Recurrent layers and cells: hidden units are channels, and a trace does not grow with frames."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import secateur as sc
from contracts import (
    EXACT,
    check_cost,
    check_cut_equals_mask,
    check_permutation,
    check_twins,
    difference,
    outputs,
    plan_as_cut,
    plan_of,
    randomised,
    same_state,
    state_of,
)
from secateur.channels.cost import cost
from secateur.channels.trace import trace
from secateur.errors import TraceError
from secateur.surgery.cut import cut
from secateur.surgery.restore import remember, restore

FRAMES = torch.zeros(2, 1, 4, 6, dtype=torch.float64)
KINDS = ("RNN", "GRU", "LSTM")


class Crnn(nn.Module):
    """Convolution, a view of channels and places as one dimension, recurrence, a linear layer.

    `start` is how the first state is made, `reads` what the linear layer reads.
    """

    def __init__(self, kind: str, start: str = "none", reads: str = "mean", **given: Any) -> None:
        super().__init__()
        self.start, self.reads, self.hidden = start, reads, 5
        self.width = given.get("proj_size") or 5
        self.n_rows = given.get("num_layers", 1) * (1 + given.get("bidirectional", False))
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.rnn = getattr(nn, kind)(12, 5, batch_first=True, **given)
        width = {"all": self.n_rows, "last": 1}.get(reads, 1 + given.get("bidirectional", False))
        self.fc = nn.Linear(width * self.width, 2)
        if start == "learned":
            self.h0 = nn.Parameter(torch.zeros(self.n_rows, 1, self.width))
            if kind == "LSTM":
                self.c0 = nn.Parameter(torch.zeros(self.n_rows, 1, 5))

    def states(self, x: Tensor) -> Any:
        n, both = len(x), isinstance(self.rnn, nn.LSTM)
        if self.start == "none":
            return None
        if self.start == "attribute":
            h = torch.zeros(self.n_rows, n, self.hidden).to(x)
            return (h, torch.zeros_like(h)) if both else h
        if self.start == "module":
            h = x.new_zeros(self.n_rows, n, self.rnn.hidden_size)
            return (h, h.clone()) if both else h
        if self.start == "learned":
            h = self.h0.expand(-1, n, -1).contiguous()
            return (h, self.c0.expand(-1, n, -1).contiguous()) if both else h
        h = x.new_zeros(self.n_rows, n, 5) if self.start == "literal" else x.new_ones(1, n, 5)
        return (h, h) if both else h

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x)).permute(0, 3, 1, 2).flatten(2)
        y, last = self.rnn(x, self.states(x))
        last = last[0] if isinstance(last, tuple) else last
        if self.reads == "all":
            return self.fc(last.transpose(0, 1).flatten(1))
        return self.fc(last[-1]) if self.reads == "last" else self.fc(y.mean(1))


class Cells(nn.Module):
    """Two cells in a loop over frames, (batch, frames, 3)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first, self.second = (getattr(nn, f"{kind}Cell")(n, 4) for n in (3, 4))
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = k = None
        found = []
        for frame in x.unbind(1):
            h = self.first(frame, h)
            k = self.second(h[0] if isinstance(h, tuple) else h, k)
            found.append(k[0] if isinstance(k, tuple) else k)
        return self.fc(torch.stack(found, 1))


SHAPES = [
    (kind, {"num_layers": n, "bidirectional": both, **projected})
    for kind in KINDS
    for n in (1, 2)
    for both in (False, True)
    for projected in ({}, *([{"proj_size": 3}] if kind == "LSTM" else []))
]


@pytest.mark.parametrize(("kind", "given"), SHAPES)
def test_layers_of_every_shape_keep_the_contracts(
    kind: str, given: dict[str, Any], tmp_path: Path
) -> None:
    build = partial(Crnn, kind, reads="all", **given)
    check_contracts(lambda: build().double(), FRAMES, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_in_a_loop_keep_the_contracts(kind: str, tmp_path: Path) -> None:
    x = torch.zeros(2, 3, 3, dtype=torch.float64)
    check_contracts(lambda: Cells(kind).double(), x, tmp_path)


@pytest.mark.parametrize("start", ["attribute", "module", "learned"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_first_state_follows(kind: str, start: str, tmp_path: Path) -> None:
    build = partial(Crnn, kind, start, num_layers=2, bidirectional=True)
    check_contracts(lambda: build().double(), FRAMES, tmp_path)


def check_contracts(build: Any, example: Tensor, folder: Path) -> None:
    model = randomised(build())
    channels = trace(model, example)
    assert not channels.unknown and not channels.mixing
    assert {pin.reason for pin in channels.pinned} == {"is an output of the network"}
    check_cost(model, example, cost(channels))
    check_permutation(model, example, channels)
    check_cut_equals_mask(model, example, channels, n=1, hold_back=True)
    rng = np.random.default_rng(1)  # of every group of one size equally many, and not the same
    n_gone = {group.name: group.n_channels // 2 for group in channels.groups}
    gone = {
        group.name: tuple(sorted(rng.permutation(group.n_channels)[: n_gone[group.name]].tolist()))
        for group in channels.groups
    }
    plan = cut(channels, plan_of(channels, gone)).plan
    assert plan.remove == gone
    pruned = cut(channels, plan)
    small = pruned.network
    assert pruned.verification.exact and not pruned.plan.held_back
    check_cost(small, example, pruned.plan.after)
    assert same_state(restore(small, remember(model, plan, channels)), state_of(model))
    x = torch.randn(3, *example.shape[1:], dtype=torch.float64)
    check_twins(copy.deepcopy(small), small, x)
    if "rnn.weight_hr_l0" not in channels.by_name:  # of which two are left
        pruned = sc.prune(pruned, example, ratio=0.3)  # a second step
    again = sc.load(pruned.save(folder / "small.safetensors"), build=build).eval()
    check_twins(again, pruned.network, x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_is_a_row_of_every_gate(kind: str) -> None:
    """Two units of five go from the forward direction, other two from the other; by hand."""
    model = randomised(Crnn(kind, bidirectional=True))
    channels = trace(model, FRAMES)
    gone = {"rnn.weight_ih_l0": (1, 4), "rnn.weight_ih_l0_reverse": (0, 2)}
    small = cut(channels, plan_of(channels, gone)).network
    assert (small.rnn.input_size, small.rnn.hidden_size, small.fc.in_features) == (12, 3, 6)
    by_hand = getattr(nn, kind)(12, 3, batch_first=True, bidirectional=True).double()
    gates = len(model.rnn.weight_ih_l0) // 5
    for name, tensor in by_hand.named_parameters():
        units = [1, 3, 4] if name.endswith("reverse") else [0, 2, 3]
        rows = [5 * gate + unit for gate in range(gates) for unit in units]
        own = model.rnn.get_parameter(name).detach()[rows]
        tensor.data.copy_(own[:, units] if "weight_hh" in name else own)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    torch.testing.assert_close(small.rnn(x)[0], by_hand(x)[0], rtol=1e-12, atol=1e-12)
    kept = [0, 2, 3, 5 + 1, 5 + 3, 5 + 4]
    assert torch.equal(small.fc.weight, model.fc.weight[:, kept])


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_a_literal_size_holds_its_units_back_and_no_others(kind: str) -> None:
    model = randomised(Crnn(kind, "literal"))
    channels = trace(model, FRAMES)
    plan = plan_as_cut(channels, plan_of(channels, {"conv": (0,), "rnn.weight_ih_l0": (1, 2)}))
    assert plan.remove == {"conv": (0,)}
    assert "meets a state of 5 zeros" in plan.held_back["rnn.weight_ih_l0"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_numbers_pins_its_units(kind: str) -> None:
    channels = trace(randomised(Crnn(kind, "ones")), FRAMES)
    assert [group.name for group in channels.groups] == ["conv"]
    reasons = {pin.reason for pin in channels.pinned if pin.parameter == "rnn.weight_ih_l0"}
    assert len(reasons) == 1 and reasons.pop().startswith("meets a state of fixed size in")


def test_zeros_that_are_written_into_are_no_zeros() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.fc = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(1, len(x), self.gru.hidden_size)
            h[:, :, 0] = 1
            return self.fc(self.gru(x, h)[0])

    channels = trace(randomised(Written()), torch.zeros(2, 5, 3, dtype=torch.float64))
    assert not channels.groups


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_state_is_read(kind: str) -> None:
    """Of the last layer; the other layers' units are read by the next one alone."""
    model = randomised(Crnn(kind, reads="last", num_layers=2))
    channels = trace(model, FRAMES)
    readers = {
        group.name: {m.parameter for m in group.members if m.role == "in"}
        for group in channels.groups
    }
    assert readers == {
        "conv": {"rnn.weight_ih_l0"},
        "rnn.weight_ih_l0": {"rnn.weight_hh_l0", "rnn.weight_ih_l1"},
        "rnn.weight_ih_l1": {"rnn.weight_hh_l1", "fc.weight"},
    }


def test_layers_and_directions_keep_equally_many_units() -> None:
    model = randomised(Crnn("LSTM", bidirectional=True))
    channels = trace(model, FRAMES)
    gone = {"rnn.weight_ih_l0": (0, 2, 4), "rnn.weight_ih_l0_reverse": (1,)}
    pruned = cut(channels, plan_of(channels, gone))
    assert pruned.network.rnn.hidden_size == 4
    assert {name: len(gone) for name, gone in pruned.plan.remove.items()} == dict.fromkeys(gone, 1)
    assert pruned.plan.limited["rnn.weight_ih_l0"].startswith("2 of 3 channels stay, or sizes at")


def test_a_layer_is_as_wide_as_one_that_is_an_output() -> None:
    class Output(nn.GRU):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[0]

    model = Output(3, 4, num_layers=2, batch_first=True).double()
    channels = trace(model, torch.zeros(2, 5, 3, dtype=torch.float64))
    assert not channels.groups
    reasons = {pin.parameter: pin.reason for pin in channels.pinned}
    assert reasons["weight_ih_l1"] == "is an output of the network"
    assert reasons["weight_ih_l0"] == (
        "is as many as in another layer or direction, of which none can go"
    )


def test_a_projection_stays_narrower_than_what_it_projects() -> None:
    """Torch takes a layer whose projection is as wide as its state for one without."""
    model = randomised(Crnn("LSTM", proj_size=3))
    channels = trace(model, FRAMES)
    gone = {"rnn.weight_ih_l0": (0, 1), "conv": (0,)}
    pruned = cut(channels, plan_as_cut(channels, plan_of(channels, gone)))
    assert pruned.plan.remove["conv"] == (0,)
    assert pruned.network.rnn.proj_size < pruned.network.rnn.hidden_size
    assert pruned.plan.held_back
    gone["rnn.weight_hr_l0"] = (1,)
    small = cut(channels, plan_of(channels, gone)).network
    assert (small.rnn.hidden_size, small.rnn.proj_size) == (3, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_does_not_grow_with_frames(kind: str) -> None:
    model = randomised(Crnn(kind, num_layers=2, bidirectional=True))
    short, long = (trace(model, torch.zeros(2, 1, 4, n).double()) for n in (6, 60))
    assert short.groups[0].name == long.groups[0].name
    assert len(short.layers) == len(long.layers) == 1 + 8 + 1
    assert len(short.recording.calls) == len(long.recording.calls)
    fixed = 2 * 10
    assert cost(long).macs - fixed == 10 * (cost(short).macs - fixed)


def test_channels_that_are_frames_stay_and_those_that_are_examples_may_go() -> None:
    class Turned(nn.Module):
        def __init__(self, frames: bool) -> None:
            super().__init__()
            self.frames, self.conv = frames, nn.Conv1d(1, 4, 1)
            self.gru, self.fc = nn.GRU(5 if frames else 1, 3, batch_first=True), nn.Conv1d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            if self.frames:
                return self.gru(x)[0].sum((1, 2))
            y, _ = self.gru(x.reshape(-1, 5, 1))
            return self.fc(y.reshape(len(x), -1, 15))

    x = torch.zeros(2, 1, 5, dtype=torch.float64)
    frames, examples = (trace(randomised(Turned(frames)), x) for frames in (True, False))
    assert "conv" not in frames.by_name
    reasons = {pin.reason for pin in frames.pinned if pin.parameter == "conv.weight"}
    assert reasons == {"is a step of a recurrent layer in gru"}
    pruned = cut(examples, plan_of(examples, {"conv": (0, 3)}))
    check_cost(pruned.network, x, pruned.plan.after)
    assert pruned.network.fc.in_channels == 2 and pruned.verification.exact


def test_a_unit_s_score_is_that_of_all_its_rows() -> None:
    model = randomised(Crnn("GRU"))
    scores = sc.score(trace(model, FRAMES), [sc.l1])["l1"]
    rows = torch.cat([model.rnn.weight_ih_l0, model.rnn.weight_hh_l0], 1).detach().abs().sum(1)
    expected = rows.view(3, 5).sum(0).numpy()
    assert np.allclose(scores.groups["rnn.weight_ih_l0"], expected)


def test_activations_are_of_no_gate() -> None:
    model = randomised(Crnn("GRU"))
    batches = [torch.randn(2, 1, 4, 6, dtype=torch.float64)]
    scores = sc.score(trace(model, FRAMES), [sc.apoz], calibration=batches)["apoz"]
    assert list(scores.groups) == ["conv"] and "rnn.weight_ih_l0" in scores.left_out


@pytest.mark.parametrize("kind", KINDS)
def test_dead_units_are_found(kind: str) -> None:
    model = randomised(Crnn(kind, bidirectional=True))
    with torch.no_grad():
        for name, tensor in model.rnn.named_parameters():
            tensor.view(-1, 5, *tensor.shape[1:])[:, 3 if name.endswith("reverse") else 1] = 0
    done = sc.remove_dead(model, FRAMES)
    assert done.plan.remove == {"rnn.weight_ih_l0": (1,), "rnn.weight_ih_l0_reverse": (3,)}
    assert done.network.rnn.hidden_size == 4
    assert difference(outputs(done.network, FRAMES), outputs(model, FRAMES)) <= EXACT


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_of_a_layer_is_repaired(kind: str) -> None:
    """The weights that read its input are refitted, and those of its own state are left."""
    model = randomised(Crnn(kind, bidirectional=True))
    inputs = [torch.randn(8, 1, 4, 6, dtype=torch.float64)]
    channels = trace(model, FRAMES)
    gone = {"conv": (1,), "rnn.weight_ih_l0": (1,), "rnn.weight_ih_l0_reverse": (3,)}
    found = sc.reconstruct(cut(channels, plan_of(channels, gone)), inputs).reconstruction
    assert found is not None and "rnn" in found.left
    assert {layer.name for layer in found.layers} <= {
        "rnn.weight_ih_l0",
        "rnn.weight_ih_l0_reverse",
        "fc",
    }
    assert found.error_after <= found.error_before


def test_packed_sequences_are_refused_with_a_way_out() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.fc = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
            if lengths is None:
                return self.fc(self.gru(x)[0])
            packed = pack_padded_sequence(x, lengths, batch_first=True)
            return self.fc(pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0])

    model, x = randomised(Packed()), torch.zeros(2, 5, 3, dtype=torch.float64)
    lengths = torch.tensor([5, 3])
    with pytest.raises(TraceError, match=r"packs a sequence .* call it without lengths"):
        trace(model, (x, lengths))
    channels = trace(model, x)
    gone = {"gru.weight_ih_l0": (0, 3)}
    small = cut(channels, plan_of(channels, gone)).network
    silent = sc.mask(channels, plan_of(channels, gone))
    x = torch.randn_like(x)
    assert torch.allclose(small(x, lengths), silent(x, lengths), rtol=0, atol=EXACT)
