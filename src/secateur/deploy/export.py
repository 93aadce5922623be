"""A network as files for a device, checked and measured, with a model card beside them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from secateur.channels.cost import cost
from secateur.channels.trace import Example, trace
from secateur.deploy.card import Card, Cut, File, Origin
from secateur.deploy.device import DEVICES
from secateur.deploy.latency import compare_latency
from secateur.deploy.onnx import Dynamic, Flat, export_onnx
from secateur.deploy.quantise import quantise
from secateur.deploy.session import Classes, Inputs, Session, check_installed, runtime, stored
from secateur.deploy.turns import Comparison, Latency, by_turns
from secateur.errors import DeployError
from secateur.files import write_bytes, write_json, write_text
from secateur.surgery.pruned import Pruned
from secateur.version import __version__

FLOAT32, INT8 = "model.onnx", "model.int8.onnx"


def export(
    model: nn.Module | Pruned,
    example_input: Example,
    folder: str | os.PathLike[str],
    *,
    calibration: Inputs | None = None,
    labelled: tuple[Inputs, Tensor | Classes] | None = None,
    uncut: nn.Module | None = None,
    origin: Origin | None = None,
    dynamic: Dynamic = "auto",
    tolerance: float = 1e-4,
    repetitions: int = 50,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Card:
    """Write model.onnx, model.int8.onnx if there are inputs to calibrate it, card.json and card.md.

    Each file is run by ONNX Runtime on one thread: its answers are compared with those of the
    network before it, it is timed, and it is held against every device. What `prune` gave is timed
    beside the network before the first cut, by turns, in torch and in ONNX Runtime. Nothing is
    written before all is measured.

    Args:
        model: a network, or what `prune` gave; it is left as it was. Of what `prune` gave, the card
            tells every cut with how it was verified.
        example_input: one example as the network is called, with tensors (1, …).
        folder: made if it is not there; files of these names are replaced.
        calibration: real inputs for the ranges of INT8's activations, tensors (n, …), as the
            network is called or by the names of the file's inputs.
        labelled: such inputs, and classes (n,) for the accuracy of each file's first output.
        uncut: a network to compare latencies with, if `model` does not know what it was cut from.
        origin: what the card says of where the network comes from; all "unknown" without it.
        dynamic: which axes may have another size, as for `export_onnx`.
        tolerance: the relative error from torch that is allowed in float32.
        repetitions: how often each file is timed.
        on_progress: called with what is being done.

    Raises:
        DeployError: the extra `onnx` is not installed, torch cannot export the network, a number is
            out of range, or the classes do not fit the outputs.
        ExportError: the answers of model.onnx are not the network's.
    """
    check_installed()
    if repetitions < 1 or not tolerance >= 0:
        raise DeployError(
            f"repetitions must be a whole number from 1 and the tolerance a number from 0; got "
            f"{repetitions} and {tolerance}"
        )
    origin = origin or Origin()
    if calibration is None:
        origin = replace(origin, calibration="none: there is no INT8 file")
    network = model.network if isinstance(model, Pruned) else model
    if isinstance(model, Pruned):
        uncut = uncut or model.steps[0].model
        cuts = (Cut(s.plan, s.verification, s.reconstruction) for s in model.steps)
        origin = replace(origin, cuts=tuple(cuts))
    whole = cost(trace(network, example_input))
    flat = Flat(network, example_input).inputs
    example = {name: tensor.detach().cpu().numpy() for name, tensor in flat.items()}

    def measured(path: Path, error: float, beside: str, same: float | None = None) -> File:
        on_progress(f"measuring {path.name}")
        session, found = Session(path), stored(path)
        right = None
        if labelled is not None:
            x, y = labelled
            right = session.accuracy(x, np.asarray(y))
        return File(
            name=path.name,
            bytes=path.stat().st_size,
            sha256=sha256(path.read_bytes()).hexdigest(),
            stored=found,
            relative_error=error,
            compared_with=beside,
            same_answer=same,
            accuracy=right,
            latency=session.latency(example, repetitions),
            fits=tuple(device.hold(found, whole.macs) for device in DEVICES.values()),
        )

    with tempfile.TemporaryDirectory() as trial:
        on_progress("exporting")
        path = Path(trial) / FLOAT32
        done = export_onnx(network, example_input, path, dynamic=dynamic, tolerance=tolerance)
        files = [measured(done.path, done.relative_error, "torch")]
        if calibration is not None:
            on_progress("quantising")
            small = quantise(done.path, Path(trial) / INT8, calibration)
            files.append(measured(small.path, small.relative_error, FLOAT32, small.same_answer))
        compared = None
        if uncut is not None:
            on_progress("exporting the uncut network, to compare latencies")
            before = Path(trial) / "uncut.onnx"
            export_onnx(uncut, example_input, before, dynamic=dynamic, tolerance=float("inf"))
            on_progress("comparing latencies")
            in_torch = dict(compare_latency(uncut, network, example_input, repetitions).rows)
            paths = {file.name: Path(trial) / file.name for file in files}
            compared = Comparison({**in_torch, **_in_runtime(before, paths, example, repetitions)})
        contents = {file.name: (Path(trial) / file.name).read_bytes() for file in files}
    card = Card(
        origin=origin,
        inputs=done.inputs,
        outputs=done.outputs,
        params=whole.params,
        macs=whole.macs,
        files=tuple(files),
        made_with={"secateur": __version__}
        | {name: version(name) for name in ("torch", "onnx", "onnxruntime")},
        latency=compared,
    )
    for name, content in contents.items():
        write_bytes(Path(folder) / name, content)
    write_json(Path(folder) / "card.json", card.as_json())
    write_text(Path(folder) / "card.md", card.as_markdown())
    return card


def _in_runtime(
    uncut: Path, files: Mapping[str, Path], example: Inputs, repetitions: int
) -> dict[str, tuple[Latency, Latency | None]]:
    """The uncut network's file and each of the cut one's, timed by turns."""
    sessions = {"": Session(uncut)} | {name: Session(path) for name, path in files.items()}
    calls = {name: session.call(example) for name, session in sessions.items()}
    times = by_turns(calls, runtime(), repetitions)
    return {f"ONNX Runtime, {name}": (times[""], times[name]) for name in files}
