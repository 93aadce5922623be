"""An ONNX file in ONNX Runtime, on one thread of the CPU: what it answers and how long it takes."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DeployError, brief, install

if TYPE_CHECKING:
    from secateur.deploy.device import Stored

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one example: the median and the quartiles of `repetitions` calls."""

    median_ms: float
    lower_quartile_ms: float
    upper_quartile_ms: float
    repetitions: int
    warm_up: int
    machine: str


def check_installed() -> None:
    """Refuse to go on without the packages of the extra `onnx`.

    Raises:
        DeployError: naming what is missing and how to install it.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise DeployError(
            f"export needs {', '.join(missing)}, not installed here; run {install('onnx')}"
        )


class Session:
    """A file that is ready to be called.

    Raises:
        DeployError: the file is none that ONNX Runtime can run.
    """

    def __init__(self, path: Path) -> None:
        check_installed()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base that is public
            raise DeployError(f"ONNX Runtime cannot run {path}: {brief(error)}") from error
        (given,) = self._session.get_inputs()
        self.input_name: str = given.name
        self._batch: int | None = given.shape[0] if isinstance(given.shape[0], int) else None

    @property
    def one_at_a_time(self) -> bool:
        """Whether the file takes one example a call and no other number."""
        return self._batch is not None

    def predict(self, x: Floats, batch_size: int = 64) -> Floats:
        """The first output for every example, (n, …) -> (n, …)."""
        step = self._batch or batch_size
        parts = [
            self._session.run(None, {self.input_name: x[k : k + step]})[0]
            for k in range(0, len(x), step)
        ]
        return np.concatenate(parts)

    def accuracy(self, x: Floats, classes: Classes) -> float:
        """The share of inputs (n, …) whose largest output is that of their class (n,).

        Raises:
            DeployError: the outputs are no row for each input, or there is none for a class.
        """
        answers = self.predict(x)
        if answers.ndim != 2 or not 0 <= classes.min() <= classes.max() < answers.shape[1]:
            raise DeployError(
                f"targets {classes.min()} to {classes.max()} do not fit outputs of shape "
                f"{answers.shape[1:]}; a class of its own for each output, from 0"
            )
        return float((answers.argmax(1) == classes).mean())

    def latency(self, example: Floats, repetitions: int = 50, warm_up: int = 10) -> Latency:
        """Time calls with one example, (1, …), by the thread's own clock.

        That is what a clock shows when nothing else runs.

        Raises:
            DeployError: the numbers of calls are not positive.
        """
        import onnxruntime

        if repetitions < 1 or warm_up < 0:
            raise DeployError(
                f"{repetitions} calls after {warm_up} to warm up cannot be timed; give at least "
                "1 and 0"
            )
        times = []
        for k in range(warm_up + repetitions):
            began = time.thread_time_ns()
            self._session.run(None, {self.input_name: example})
            if k >= warm_up:
                times.append((time.thread_time_ns() - began) * 1e-6)
        low, middle, high = (float(q) for q in np.percentile(times, (25, 50, 75)))
        machine = f"{platform.machine()}, ONNX Runtime {onnxruntime.__version__}, 1 thread"
        return Latency(middle, low, high, repetitions, warm_up, machine)


def stored(path: Path) -> Stored:
    """Parameters of an ONNX file, zeros included; whole numbers of 8 bytes are shapes, and none."""
    import onnx

    from secateur.deploy.device import Stored

    graph = onnx.load(str(path)).graph
    quantisers = {"QuantizeLinear", "DequantizeLinear"}
    scales = {name for node in graph.node if node.op_type in quantisers for name in node.input[1:]}
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    arrays = {name: array for name, array in arrays.items() if array.dtype != np.int64}
    weights = {
        array.dtype.name for name, array in arrays.items() if name not in scales and array.ndim > 1
    }
    return Stored(
        dtype=" and ".join(sorted(weights)) or "none",
        params=sum(array.size for name, array in arrays.items() if name not in scales),
        bytes=sum(array.nbytes for array in arrays.values()),
    )


def relative_error(found: Floats, wanted: Floats) -> float:
    """Max |found - wanted| / max |wanted|, in float64; infinite where a number is not finite.

    >>> round(relative_error(np.float32([1, 2.5]), np.float32([1, 2])), 6)
    0.25
    """
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    scale = float(np.abs(wanted.astype(np.float64)).max(initial=0.0)) or 1.0
    difference = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    return float(difference.max(initial=0.0)) / scale
