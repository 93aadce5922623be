"""A study's networks as files for a device: ONNX and INT8, and what they answer there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.scenes.split import Split
from secateur.study.cells import BaseCell, DeployedCell
from secateur.study.data import drawn
from secateur.study.store import Row

if TYPE_CHECKING:
    from torch import nn

FLOAT32, INT8 = "model.onnx", "model.int8.onnx"
"""Names of the files in the folder of a deployed cell."""


def deploy(
    cell: DeployedCell, base: BaseCell, of: Row, network: nn.Module, data: Split, folder: Path
) -> dict[str, Any]:
    """Write both files, and give the accuracy of both in ONNX Runtime.

    The ranges of activations are those of `cell.calibration` clips of the training part, drawn by
    the seed. Speed is not measured here, where other runs share the machine.

    Raises:
        DeployError: the extra `onnx` is not installed, or the network cannot be exported.
        ExportError: the file's answers are not the network's.
    """
    from secateur.deploy.onnx import export_onnx
    from secateur.deploy.quantise import quantise
    from secateur.deploy.session import Session, stored

    started = time.perf_counter()
    calibration = data.x_train[drawn(data, cell.calibration, base.seed)]
    exported = export_onnx(network, data.x_train[:1], folder / FLOAT32, dynamic="batch")
    small = quantise(exported.path, folder / INT8, calibration.numpy())
    row: dict[str, Any] = {
        "kind": "deployed",
        "id": cell.id,
        "of": cell.of,
        "network": base.network.name,
        "strength": base.total_shrink,
        "seed": base.seed,
        "fold": base.fold,
        "macs": of["macs"],
        "relative_error": exported.relative_error,
    }
    for name, file in (("float32", exported.path), ("int8", small.path)):
        found = stored(file)
        row[name] = {
            "accuracy": Session(file).accuracy(data.x_test.numpy(), data.y_test.numpy()),
            "params": found.params,
            "param_bytes": found.bytes,
            "file_bytes": file.stat().st_size,
        }
    return row | {"seconds": {"deploy": time.perf_counter() - started}}
