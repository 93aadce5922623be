"""Borders of values and tensors: maps, plans, tables, curves, weights, checkpoints."""

from __future__ import annotations

import copy
import io
import json
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save as as_safetensors
from torch import Tensor, nn

import secateur as sc
from fuzz import Reader, border
from secateur.channels.groups import ChannelMap
from secateur.cli.calibration import read_calibration
from secateur.plan.latency import LatencyTable, Timing, kind_of
from secateur.plan.plan import PruningPlan
from secateur.plan.sensitivity import Curve, Sensitivity, ratios_from
from secateur.surgery.weights import load_weights
from secateur.train.fit import fit
from secateur.train.schedule import Training

EXAMPLE = torch.zeros(1, 1, 6, 6)


def build() -> nn.Module:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(first, nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))


@cache
def network() -> nn.Module:
    return build()


@cache
def traced() -> ChannelMap:
    return sc.trace(network(), EXAMPLE)


@cache
def planned() -> PruningPlan:
    scores = sc.score(traced(), [sc.l1])["l1"]
    return sc.uniform(scores, traced(), sc.Budget(pruning_ratio=0.5))


def quietly(read: Reader) -> Reader:
    """What is cast or held back is said in warnings."""

    def inner(content: bytes) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(content)

    return inner


def text_of(content: bytes) -> str:
    return content.decode(errors="replace")


@border
def channel_map(folder: Path) -> tuple[bytes, Reader]:
    def read(content: bytes) -> object:
        channels = ChannelMap.from_json(text_of(content))
        assert ChannelMap.from_json(channels.to_json()).to_json() == channels.to_json()
        of_network = channels.of(network(), EXAMPLE)
        scores = sc.score(of_network, [sc.l1])["l1"]
        plan = sc.uniform(scores, channels, sc.Budget(pruning_ratio=0.5))
        sc.cost(channels, plan.remove)
        return str(channels), channels._repr_html_(), sc.cut(of_network, plan)

    return traced().to_json().encode(), quietly(read)


@border
def plan(folder: Path) -> tuple[bytes, Reader]:
    def read(content: bytes) -> object:
        found = PruningPlan.from_json(text_of(content))
        assert PruningPlan.from_json(found.to_json()) == found
        return str(found), found._repr_html_(), sc.cut(traced(), found)

    return planned().to_json().encode(), quietly(read)


@border
def latency_table(folder: Path) -> tuple[bytes, Reader]:
    kinds = dict.fromkeys(kind_of(layer, traced()) for layer in traced().layers)
    timings = tuple(Timing(kind, (1, 16), (1, 8), ((0.1, 0.2), (0.2, 0.4))) for kind in kinds)

    def read(content: bytes) -> object:
        table = LatencyTable.from_json(text_of(content))
        assert LatencyTable.from_json(table.to_json()) == table
        assert table.estimate(traced(), planned().remove) <= table.estimate(traced())
        return table

    return LatencyTable("a machine", timings, 0.1, 2.0).to_json().encode(), read


@border
def sensitivity(folder: Path) -> tuple[bytes, Reader]:
    curves = tuple(Curve(g.name, g.n_channels, (0.25, 0.5), (0.8, 0.6)) for g in traced().groups)
    good = Sensitivity("accuracy", "higher", 0.9, curves, {"4": "is an output"})

    def read(content: bytes) -> object:
        found = Sensitivity.from_json(text_of(content))
        assert all(0 <= share < 1 for share in ratios_from(found, 0.1).values())
        return str(found), found.insensitive(0.1)

    return good.to_json().encode(), read


def _loaded(path: Path) -> Reader:
    def read(content: bytes) -> Tensor:
        path.write_bytes(content)
        return sc.load(path, build)(EXAMPLE)

    return quietly(read)


@border
def cut_network(folder: Path) -> tuple[bytes, Reader]:
    path = sc.cut(traced(), planned()).save(folder / "cut.safetensors")
    return path.read_bytes(), _loaded(path)


@border
def cut_network_with_its_plan(folder: Path) -> tuple[bytes, Reader]:
    path = sc.cut(traced(), planned()).save(folder / "cut.safetensors")

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return sc.load(path, build, EXAMPLE)(EXAMPLE)

    return path.read_bytes(), quietly(read)


@border
def weights_safetensors(folder: Path) -> tuple[bytes, Reader]:
    path = sc.save(network(), folder / "w.safetensors")

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return load_weights(model := build(), path), model(EXAMPLE)

    return path.read_bytes(), quietly(read)


@border
def weights_pth(folder: Path) -> tuple[bytes, Reader]:
    made = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": network().state_dict()}, made)
    path = folder / "w.pth"

    def read(content: bytes) -> object:
        path.write_bytes(content)
        return load_weights(model := build(), path), model(EXAMPLE)

    return made.getvalue(), quietly(read)


@border
def checkpoint(folder: Path) -> tuple[bytes, Reader]:
    x = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(8) % 2
    path = folder / "training.pt"

    class Stop(Exception):
        pass

    def stop(_: object) -> None:
        raise Stop

    training = Training(epochs=2, batch_size=4, lr=0.01)
    words = {"seed": 0, "checkpoint": path, "checkpoint_seconds": 0.0}
    try:
        fit(build(), x, y, training, on_epoch=stop, **words)
    except Stop:
        good = path.read_bytes()

    def read(content: bytes) -> object:
        path.write_bytes(content)
        history = fit(build(), x, y, training, **words)
        assert [row.epoch for row in history.epochs][-1] == 2
        return history

    return good, read


@border
def calibration_npz(folder: Path) -> tuple[bytes, Reader]:
    made = io.BytesIO()
    np.savez(made, input=np.ones((3, 1, 6, 6), np.float32), target=np.array([0, 1, 0]))
    return made.getvalue(), _calibrated(folder / "c.npz")


@border
def calibration_npy(folder: Path) -> tuple[bytes, Reader]:
    made = io.BytesIO()
    np.save(made, np.ones((2, 1, 6, 6), np.float32))
    return made.getvalue(), _calibrated(folder / "c.npy")


@border
def calibration_safetensors(folder: Path) -> tuple[bytes, Reader]:
    arrays = {"input": np.ones((2, 1, 6, 6), np.float32), "target": np.array([0, 1])}
    return as_safetensors(arrays), _calibrated(folder / "c.safetensors")


def _calibrated(path: Path) -> Reader:
    def read(content: bytes) -> object:
        path.write_bytes(content)
        inputs, _, _ = read_calibration(str(path), EXAMPLE)
        assert inputs.shape[1:] == EXAMPLE.shape[1:] and bool(torch.isfinite(inputs).all())
        return sc.score(traced(), [sc.apoz], calibration=[inputs])

    return quietly(read)


if find_spec("transformers") is not None:

    @border
    def trainer_state(folder: Path) -> tuple[bytes, Reader]:
        from secateur.train.transformers import PruneCallback

        plans = [json.loads(planned().to_json())]
        state = {"args": {}, "attributes": {"plans": plans}}
        path = folder / "trainer_state.json"

        def read(content: bytes) -> object:
            path.write_bytes(content)
            callback = PruneCallback(EXAMPLE, pruning_ratio=0.5, criterion=sc.l1)
            model = copy.deepcopy(network())
            callback.resume(model, folder)
            return callback.pruned

        return json.dumps({"stateful_callbacks": {"PruneCallback": state}}).encode(), quietly(read)
