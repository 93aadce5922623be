"""A network as files for a device, checked and measured, with a model card beside them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from secateur.channels.cost import cost
from secateur.channels.trace import trace
from secateur.deploy.card import Card, Cut, File, Origin
from secateur.deploy.device import DEVICES
from secateur.deploy.onnx import export_onnx
from secateur.deploy.quantise import quantise
from secateur.deploy.session import Classes, Floats, Session, check_installed, stored
from secateur.errors import DeployError
from secateur.files import write_bytes, write_json, write_text
from secateur.surgery.pruned import Pruned
from secateur.version import __version__

FLOAT32, INT8 = "model.onnx", "model.int8.onnx"


def export(
    model: nn.Module | Pruned,
    example_input: Tensor,
    folder: str | os.PathLike[str],
    *,
    calibration: Tensor | Floats | None = None,
    labelled: tuple[Tensor, Tensor] | tuple[Floats, Classes] | None = None,
    origin: Origin | None = None,
    tolerance: float = 1e-4,
    repetitions: int = 50,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Card:
    """Write model.onnx, model.int8.onnx if there are inputs to calibrate it, card.json and card.md.

    Each file is run by ONNX Runtime on one thread: its answers are compared with those of the
    network before it, it is timed, and it is held against every device. Nothing is written before
    all is measured.

    Args:
        model: takes one tensor and gives one; it is left as it was. Of what `prune` gave, the card
            tells every cut with how it was verified.
        example_input: one example, (1, …).
        folder: made if it is not there; files of these names are replaced.
        calibration: real inputs for the ranges of INT8's activations, (n, …) float32.
        labelled: inputs (n, …) and classes (n,) for the accuracy of each file.
        origin: what the card says of where the network comes from; all "unknown" without it.
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
    if isinstance(model, Pruned):
        origin = replace(origin, cuts=tuple(Cut(s.plan, s.verification) for s in model.steps))
        model = model.network
    if calibration is None:
        origin = replace(origin, calibration="none: there is no INT8 file")
    whole = cost(trace(model, example_input))

    def measured(path: Path, error: float, beside: str, same: float | None = None) -> File:
        on_progress(f"measuring {path.name}")
        session, found = Session(path), stored(path)
        right = None
        if labelled is not None:
            x, y = labelled
            right = session.accuracy(np.asarray(x), np.asarray(y))
        return File(
            name=path.name,
            bytes=path.stat().st_size,
            sha256=sha256(path.read_bytes()).hexdigest(),
            stored=found,
            relative_error=error,
            compared_with=beside,
            same_answer=same,
            accuracy=right,
            latency=session.latency(example_input.numpy(), repetitions),
            fits=tuple(device.hold(found, whole.macs) for device in DEVICES.values()),
        )

    with tempfile.TemporaryDirectory() as trial:
        on_progress("exporting")
        done = export_onnx(model, example_input, Path(trial) / FLOAT32, tolerance=tolerance)
        files = [measured(done.path, done.relative_error, "torch")]
        if calibration is not None:
            on_progress("quantising")
            small = quantise(done.path, Path(trial) / INT8, np.asarray(calibration))
            files.append(measured(small.path, small.relative_error, FLOAT32, small.same_answer))
        contents = {file.name: (Path(trial) / file.name).read_bytes() for file in files}
    card = Card(
        origin=origin,
        input_shape=tuple(example_input.shape[1:]),
        params=whole.params,
        macs=whole.macs,
        files=tuple(files),
        made_with={"secateur": __version__}
        | {name: version(name) for name in ("torch", "onnx", "onnxruntime")},
    )
    for name, content in contents.items():
        write_bytes(Path(folder) / name, content)
    write_json(Path(folder) / "card.json", card.as_json())
    write_text(Path(folder) / "card.md", card.as_markdown())
    return card
