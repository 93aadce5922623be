"""INT8 after training: an ONNX file with quantised weights and activations."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from secateur.deploy.leaves import leaves
from secateur.deploy.session import Floats, Inputs, Session, check_installed, relative_error
from secateur.errors import DeployError, brief
from secateur.files import write_bytes

_BATCH = 32


@dataclass(frozen=True)
class Quantised:
    """An INT8 file beside the float32 one it was made from, on the calibration inputs.

    `relative_error` is max |int8 - float32| / max |float32|, the largest over all outputs,
    `same_answer` the share of examples whose largest number in the first output is the same, None
    where that output is no row of numbers for each example.
    """

    path: Path
    bytes: int
    relative_error: float
    same_answer: float | None
    n_calibration: int


def quantise(source: str | Path, path: str | Path, calibration: Inputs) -> Quantised:
    """Quantise an ONNX file: int8 weights, a scale for each filter; uint8 activations.

    Ranges of activations are the least and largest seen on the calibration inputs. Which operators
    are quantised is ONNX Runtime's choice; a quantiser stands before and after each (QDQ).

    Args:
        source: a float32 file, as `export_onnx` writes it.
        path: the INT8 file; an earlier one stands until the new one is complete.
        calibration: real inputs, (n, …), as the network is called: an array or tensor, or several
            in a tuple in the order of the file's inputs, or in a dict by their names.

    Raises:
        DeployError: there is no data, or ONNX Runtime cannot quantise the file.
        StorageError: the file could not be written.

    Reference: the affine scheme of Jacob et al. 2018 (1712.05877) section 2.
    """
    check_installed()
    source, path = Path(source), Path(path)
    if not _n_examples(calibration):
        raise DeployError("quantising needs calibration inputs and there are 0; give at least one")
    reference = Session(source)
    try:
        given = reference.named(calibration)
    except DeployError as error:
        raise DeployError(f"calibration inputs do not fit {source}: {error}") from None
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "int8.onnx"
        try:
            _quantised(source, made, reference, given)
        except Exception as error:  # its errors share no base
            raise DeployError(
                f"ONNX Runtime cannot quantise {source}: {brief(error)}; deploy the float32 file"
            ) from error
        content = made.read_bytes()
        found = Session(made).answers(given)
    wanted = reference.answers(given)
    apart = max(relative_error(found[name], wanted[name]) for name in reference.outputs)
    first, same = reference.outputs[0], None
    if wanted[first].ndim == 2 and wanted[first].shape == found[first].shape:
        same = float((wanted[first].argmax(1) == found[first].argmax(1)).mean())
    write_bytes(path, content)
    return Quantised(path, len(content), apart, same, _n_examples(given))


def _n_examples(inputs: Inputs) -> int:
    """The length of the first array."""
    return next((len(array) for _, array in leaves(inputs)), 0)


def _quantised(source: Path, made: Path, session: Session, given: dict[str, Floats]) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = session.batches(given, _BATCH)

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
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    finally:
        root.setLevel(level)
