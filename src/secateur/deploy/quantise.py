"""INT8 after training: an ONNX file with quantised weights and activations."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur.deploy.session import Floats, Session, check_installed, relative_error
from secateur.errors import DeployError, brief
from secateur.files import write_bytes

_BATCH = 32


@dataclass(frozen=True)
class Quantised:
    """An INT8 file beside the float32 one it was made from, on the calibration inputs.

    `relative_error` is max |int8 - float32| / max |float32|, `same_answer` the share of examples
    whose largest output is the same, None where the output is no row of numbers for each example.
    """

    path: Path
    bytes: int
    relative_error: float
    same_answer: float | None
    n_calibration: int


def quantise(source: str | Path, path: str | Path, calibration: Floats) -> Quantised:
    """Quantise an ONNX file: int8 weights, a scale for each filter; uint8 activations.

    Ranges of activations are the least and largest seen on the calibration inputs. Which operators
    are quantised is ONNX Runtime's choice; a quantiser stands before and after each (QDQ).

    Args:
        source: a float32 file, as `export_onnx` writes it.
        path: the INT8 file; an earlier one stands until the new one is complete.
        calibration: real inputs, (n, …).

    Raises:
        DeployError: there is no data, or ONNX Runtime cannot quantise the file.
        StorageError: the file could not be written.

    Reference: the affine scheme of Jacob et al. 2018 (1712.05877) section 2.
    """
    check_installed()
    source, path = Path(source), Path(path)
    if not len(calibration):
        raise DeployError("quantising needs calibration inputs and there are 0; give at least one")
    reference = Session(source)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "int8.onnx"
        try:
            _quantised(source, made, calibration, 1 if reference.one_at_a_time else _BATCH)
        except Exception as error:  # its errors share no base
            raise DeployError(
                f"ONNX Runtime cannot quantise {source}: {brief(error)}; deploy the float32 file"
            ) from error
        content = made.read_bytes()
        found = Session(made).predict(calibration)
    wanted = reference.predict(calibration)
    same = None
    if wanted.ndim == 2 and wanted.shape == found.shape:
        same = float((wanted.argmax(1) == found.argmax(1)).mean())
    write_bytes(path, content)
    apart = relative_error(found, wanted)
    return Quantised(path, len(content), apart, same, len(calibration))


def _quantised(source: Path, made: Path, calibration: Floats, batch: int) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            starts = range(0, len(calibration), batch)
            self._batches: Iterator[dict[str, Floats]] = iter(
                {name: np.ascontiguousarray(calibration[k : k + batch])} for k in starts
            )

        def get_next(self) -> dict[str, Floats] | None:
            return next(self._batches, None)

    prepared = made.with_name("prepared.onnx")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises by the root logger, whatever was done
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(made),
            Reader(Session(source).input_name),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    finally:
        root.setLevel(level)
