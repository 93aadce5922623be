"""Values out of files are held against themselves and against the network they are used with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from fuzz_values import EXAMPLE, build, network, planned, traced
from secateur.channels.groups import ChannelMap
from secateur.cli.calibration import read_calibration
from secateur.errors import (
    ChannelMapError,
    DataError,
    PackageError,
    PlanError,
    SurgeryError,
    TrainingError,
)
from secateur.plan.latency import LatencyTable
from secateur.plan.plan import PruningPlan
from secateur.plan.sensitivity import Curve, Sensitivity
from secateur.surgery.weights import load_weights
from secateur.train import checkpoint
from secateur.train.fit import fit
from secateur.train.schedule import Training

# Channel maps


def flipped(raw: Any, *path: Any, to: Any) -> None:
    for key in path[:-1]:
        raw = raw[key]
    raw[path[-1]] = to


@pytest.mark.parametrize(
    "path, to, words",
    [
        (("groups", 0, "members", 0, "parameter"), "0.9.weight", "there is no '0.9.weight'"),
        (("groups", 0, "members", 0, "dim"), 4, "has 4 dimensions and no dimension 4"),
        (("groups", 0, "members", 0, "dim"), True, "True is no whole number"),
        (("groups", 0, "members", 0, "role"), "our", "'our' is none of out, in, norm, free"),
        (("groups", 0, "members", 0, "index", 0, 0), 4, "positions 1 to 4 of '0.0.weight'"),
        (("groups", 0, "members", 0, "index", 0, 0), -1, "positions -1 to 3"),
        (("groups", 0, "members", 0, "index", 0, 0), 1, "two channels have the same position"),
        (("groups", 0, "members", 0, "index", 0), [0, 1], "no row of positions a channel"),
        (("groups", 0, "members", 0, "index", 0, 0), 0.0, "no row of positions a channel"),
        (("groups", 0, "members"), [], "has no members"),
        (("groups", 0, "n_channels"), 5, "has 5 channels, and 4 rows"),
        (("groups", 1, "name"), "0.0", "two groups have the same name"),
        (("layers", 0, "weight"), "other", "there is no 'other'"),
        (("layers", 0, "in_dim"), 7, "no dimension 7"),
        (("layers", 0, "kind"), "linaer", "'linaer' is none of"),
        (("layers", 0, "per_channel"), {"zero": 1}, "has group 'zero', which is not there"),
        (("layers", 0, "positions"), -1, "-1 positions"),
        (("shapes", "0.0.weight", 0), 10**9, "of at most 67,108,864 a dimension"),
        (("shapes", "0.0.weight", 3), 5, "its fingerprint is that of other shapes or groups"),
        (("buffers", 0), "nothing", "buffer 'nothing' has no shape"),
        (("pinned", 0, "parameter"), "none", "there is no 'none'"),
        (("fingerprint",), "0" * 64, "its fingerprint is that of other"),
        (("unknown",), {"a": 1}, "is no list"),
    ],
)
def test_a_map_that_contradicts_itself(path: tuple[Any, ...], to: Any, words: str) -> None:
    raw = json.loads(traced().to_json())
    assert ChannelMap.from_json(json.dumps(raw)).to_json() == traced().to_json()
    flipped(raw, *path, to=to)
    with pytest.raises(ChannelMapError, match=words):
        ChannelMap.from_json(json.dumps(raw))


def test_no_flipped_bit_of_a_map_goes_further_than_its_reader() -> None:
    """What is still a map after a flip is one in words alone: names of operators, reasons."""
    whole = traced()
    text = whole.to_json().encode()
    n_read = 0
    for bit in range(0, 8 * len(text), 5):
        content = bytearray(text)
        content[bit // 8] ^= 1 << bit % 8
        try:
            found = ChannelMap.from_json(content.decode(errors="replace"))
        except ChannelMapError:
            continue
        n_read += 1
        assert found.fingerprint == whole.fingerprint and found.shapes == whole.shapes
        sc.score(found.of(network(), EXAMPLE), [sc.l1])
    assert 0 < n_read < len(text)


def test_a_map_of_another_network_is_told_of_what_it_lacks() -> None:
    more = nn.Sequential(*network(), nn.Linear(2, 2))
    with pytest.raises(ChannelMapError, match=r"does not know '5.bias' of this Sequential"):
        traced().of(more)


def test_the_cost_of_an_unknown_group() -> None:
    with pytest.raises(PlanError, match=r"no channel group '0.00'; .* did you mean '0.0'"):
        sc.cost(traced(), {"0.00": [0]})


# Plans, tables, curves


@pytest.mark.parametrize(
    "path, to, words",
    [
        (("remove", "0.0"), ["0", "1"], r"remove.0\\?.0\[0\]: '0' is no whole number"),
        (("remove", "0.0"), [1.0], "1.0 is no whole number"),
        (("remove", "0.0"), [True], "True is no whole number"),
        (("remove", "0.0"), [1, 0], "do not ascend from 0"),
        (("remove", "0.0"), [0, 0], "do not ascend from 0"),
        (("remove", "0.0"), [-1], "do not ascend from 0"),
        (("before", "macs"), -1, "a cost is negative"),
        (("before", "macs"), "1", "'1' is no whole number"),
        (("before",), {"macs": 1}, "before lacks 'params'"),
        (("reached",), {}, "it does not say what is reached of 'pruning_ratio'"),
        (("asked", "pruning_ratio"), float("nan"), "nan is not finite"),
        (("attributes",), {":n": 1.5}, "1.5 is not a whole number"),
        (("rescaled",), {"0.0.weight": [[0, 0.5]]}, "no list of 3"),
        (("how",), 3, "3 is no text"),
        (("nothing",), 3, "there is no nothing"),
    ],
)
def test_a_plan_of_other_types(path: tuple[Any, ...], to: Any, words: str) -> None:
    raw = json.loads(planned().to_json())
    assert PruningPlan.from_json(json.dumps(raw)) == planned()
    flipped(raw, *path, to=to)
    with pytest.raises(PlanError, match=words):
        PruningPlan.from_json(json.dumps(raw))


@pytest.mark.parametrize(("when", "what"), [("before", "parameters"), ("after", "MACs")])
def test_a_plan_that_states_other_costs_than_the_network_has(
    when: str, what: str, tmp_path: Path
) -> None:
    changed = {what.lower().replace("parameters", "params"): 17}
    other = replace(planned(), **{when: replace(getattr(planned(), when), **changed)})
    with pytest.raises(PlanError, match=rf"17 {what}.* {when} the cut, and this network has"):
        sc.cut(traced(), other)
    path = tmp_path / "small.safetensors"
    sc.save(sc.cut(traced(), planned()).network, path, other)
    with pytest.raises(PackageError, match=f"17 {what}.* {when} the cut"):
        sc.load(path, build, EXAMPLE)
    with pytest.raises(PlanError, match=f"17 {what}"):
        next(sc.prune_steps(build(), EXAMPLE, steps=2, pruning_ratio=0.5, resume=[other]))


def test_a_plan_for_examples_of_another_size_is_cut_with_the_costs_of_this_one() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)).eval()
    small, large = (sc.trace(model, torch.zeros(1, 1, n, n)) for n in (8, 16))
    plan = sc.manual(small, {"0": [0]})
    found = sc.cut(large, PruningPlan.from_json(plan.to_json())).plan
    assert (plan.before.macs, plan.after.macs) == (36 * 36 + 16 * 72, 36 * 27 + 16 * 54)
    assert (found.before.macs, found.after.macs) == (196 * 36 + 144 * 72, 196 * 27 + 144 * 54)


def test_what_a_plan_multiplies_lies_in_the_network() -> None:
    for rows in ([(0, 0.5, (4,))], [(9, 0.5, (0,))], [(0, -0.5, (0,))], [(0, 0.5, ())]):
        with pytest.raises(PlanError, match=r"multiplies positions .* of '0.0.weight'"):
            replace(planned(), rescaled={"0.0.weight": tuple(rows)}).check(traced())
    replace(planned(), rescaled={"0.0.weight": ((0, 0.5, (3,)),)}).check(traced())


@pytest.mark.parametrize("key", ["0:training", "0:_modules", "0.0:kernel_size", "none:n", "0:n"])
def test_a_plan_sets_numbers_where_there_are_such(key: str) -> None:
    from secateur.surgery.numbers import set_attributes

    with pytest.raises(SurgeryError, match=f"no attribute '{key}' that can be 7"):
        set_attributes(build(), {key: 7})


TABLE: dict[str, Any] = {
    "format": "secateur.latency/1",
    "machine": "m",
    "timings": [
        {
            "kind": {"kind": "linear", "kernel": [], "grouping": "plain", "positions": 1},
            "in_widths": [1, 4],
            "out_widths": [2],
            "ms": [[0.1], [0.2]],
        }
    ],
    "rest_ms": 0.0,
    "rest_ns": 1,
}


@pytest.mark.parametrize(
    "path, to, words",
    [
        (("timings", 0, "ms"), [[0.1], [0.2, 0.3]], "a row of ms for each of its widths"),
        (("timings", 0, "ms", 0, 0), float("inf"), "inf is not finite"),
        (("timings", 0, "ms", 0, 0), "0.1", "'0.1' is no number"),
        (("timings", 0, "in_widths"), [4, 1], "ascending widths"),
        (("timings", 0, "kind", "kernel"), [[3]], "is no whole number"),
        (("timings",), TABLE["timings"] * 2, "two timings of one kind"),
        (("rest_ms",), -1, "from 0"),
        (("machine",), None, "None is no text"),
        (("format",), "secateur.latency/2", "its format is not"),
    ],
)
def test_a_latency_table_of_other_types(path: tuple[Any, ...], to: Any, words: str) -> None:
    raw = json.loads(json.dumps(TABLE))
    assert LatencyTable.from_json(json.dumps(raw)).timings[0].at(1, 2) == 0.1
    flipped(raw, *path, to=to)
    with pytest.raises(PlanError, match=words):
        LatencyTable.from_json(json.dumps(raw))


def test_a_sensitivity_of_other_types() -> None:
    good = Sensitivity("accuracy", "higher", 0.9, (Curve("a", 4, (0.25, 0.5), (0.8, 0.6)),), {})
    assert Sensitivity.from_json(good.to_json()) == good
    for path, to, words in (
        (("curves", 0, "ratios"), [0.5, 0.25], "which ascend between 0 and 1"),
        (("curves", 0, "ratios"), [0.5, 1.5], "which ascend between 0 and 1"),
        (("curves", 0, "values"), [0.5], "needs a value for each"),
        (("curves", 0, "values", 0), None, "None is no number"),
        (("better",), "more", "'more' is none of higher, lower"),
        (("curves",), [json.loads(good.to_json())["curves"][0]] * 2, "two curves are of one group"),
    ):
        raw = json.loads(good.to_json())
        flipped(raw, *path, to=to)
        with pytest.raises(PlanError, match=words):
            Sensitivity.from_json(json.dumps(raw))


# Weights


def saved_as(change: Callable[[nn.Module], nn.Module], path: Path) -> Path:
    return sc.save(change(build()), path)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_weights_of_another_precision_are_cast_and_said(kind: str, tmp_path: Path) -> None:
    path = saved_as(lambda model: model.to(getattr(torch, kind)), tmp_path / "w.safetensors")
    with pytest.warns(UserWarning, match=f"10 of 11 tensors are {kind} and the network's float32"):
        loaded = sc.load(path, build)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    loaded(EXAMPLE)
    with pytest.warns(UserWarning, match=f"{kind} .* cast"):
        load_weights(model := build(), path)
    pairs = zip(model.parameters(), loaded.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    torch.save(build().to(getattr(torch, kind)).state_dict(), tmp_path / "w.pth")
    with pytest.warns(UserWarning, match=f"{kind} .* cast"):
        load_weights(build(), tmp_path / "w.pth")


def test_whole_numbers_are_no_weights_nor_the_other_way_round(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for name, to, words in (
        ("0.0.weight", torch.int8, "is int8, the network's is float32"),
        ("0.0.weight", torch.bool, "is bool, the network's is float32"),
        ("0.0.weight", torch.complex64, "is complex64, the network's is float32"),
        ("0.1.num_batches_tracked", torch.float32, "is float32, the network's is int64"),
    ):
        tensors = dict(build().state_dict())
        tensors[name] = tensors[name].to(to)
        save_file(tensors, path := tmp_path / "w.safetensors")
        for read in (lambda p: sc.load(p, build), lambda p: load_weights(build(), p)):
            with pytest.raises(PackageError, match=f"'{name}' {words}"):
                read(path)


def test_numbers_beyond_the_network_s_type_are_refused(tmp_path: Path) -> None:
    model = build().double()
    with torch.no_grad():
        model[4].bias[0] = 1e300
    path = sc.save(model, tmp_path / "w.safetensors")
    with pytest.raises(PackageError, match=r"'4.bias' is float64 and holds numbers beyond float32"):
        sc.load(path, build)


def test_sparse_tensors_and_dicts_within_themselves(tmp_path: Path) -> None:
    tensors = dict(build().state_dict())
    tensors["4.weight"] = tensors["4.weight"].to_sparse()
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(PackageError, match="no plain tensor"):
        load_weights(build(), tmp_path / "w.pth")
    around: dict[str, Any] = {"state": dict(build().state_dict())}
    around["again"] = around
    torch.save(around, tmp_path / "w.pth")
    assert "'state'" in load_weights(build(), tmp_path / "w.pth")


# Checkpoints and calibration


def train(path: Path, on_epoch: Callable[[Any], None] | None = None) -> None:
    x = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    training = Training(epochs=2, batch_size=4, lr=0.01)
    words: dict[str, Any] = {"checkpoint": path, "checkpoint_seconds": 0.0}
    fit(build(), x, torch.arange(8) % 2, training, seed=0, on_epoch=on_epoch, **words)


class Killed(Exception):
    pass


def kill(_: Any) -> None:
    raise Killed


@pytest.mark.parametrize(
    "path, to, words",
    [
        (("model", "0.0.weight"), torch.zeros(4, 1, 3, 3, dtype=torch.int8), "int8"),
        (("model", "0.0.weight"), torch.zeros(4, 1, 3, 4), "0.0.weight is"),
        (("model", "0.0.weight"), 3, "0.0.weight is a int"),
        (("model",), {}, "other names"),
        (("optimizer", "state", 0, "momentum_buffer"), torch.zeros(3), "momentum_buffer"),
        (("optimizer", "param_groups", 0, "momentum"), 0.1, "its optimizer has momentum 0.1"),
        (("optimizer",), [], "list indices"),
        (("order generator",), torch.zeros(3), "TypeError|RuntimeError"),
        (("history", 0, "loss"), "low", r"history\[0\].loss: 'low' is no number"),
        (("history",), 3, "3 is no list"),
        (("settings",), [], "says not of which training"),
        (("settings", "seed"), 1, "seed 1 there, 0 here"),
        (("settings", "seed"), False, "seed False there, 0 here"),
        (("format",), "other", "no[t]? a checkpoint of this version"),
    ],
)
def test_a_checkpoint_of_another_state(
    path: tuple[Any, ...], to: Any, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "training.pt"
    with pytest.raises(Killed):
        train(file, kill)
    content = torch.load(file, weights_only=True)
    flipped(content, *path, to=to)
    torch.save(content, file)
    with pytest.raises(TrainingError, match=words):
        train(file)


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "training.pt"
    for content in (b"", b"text", b"PK\x03\x04", b"\x80\x02" + b"(" * 9):
        file.write_bytes(content)
        with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
            checkpoint.read(file, {})
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        checkpoint.read(tmp_path, {})


def test_an_array_that_claims_more_than_is_packed(tmp_path: Path) -> None:
    import io
    from zipfile import ZIP_DEFLATED, ZipFile

    def packed(shape: tuple[int, ...], n: int) -> Path:
        made = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(made, header)
        path = tmp_path / "c.npz"
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            archive.writestr("input.npy", made.getvalue() + bytes(4 * n))
        return path

    inputs, _, _ = read_calibration(str(packed((2, 1, 6, 6), 72)), EXAMPLE)
    assert inputs.shape == (2, 1, 6, 6)
    for shape in ((2**40, 1, 6, 6), (1, 1, 6, 6)):
        with pytest.raises(DataError, match="and its header claims"):
            read_calibration(str(packed(shape, 72)), EXAMPLE)
    np.savez(tmp_path / "c.npz", input=np.ones((1, 1, 6, 6)), target=np.array([2**63], np.uint64))
    with pytest.raises(DataError, match="beyond int64"):
        read_calibration(str(tmp_path / "c.npz"), EXAMPLE)
