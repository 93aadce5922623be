"""An ONNX file in ONNX Runtime, on one thread of the CPU: what it answers and how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.deploy.leaves import leaves, parts
from secateur.deploy.turns import Latency, by_turns, on_this_machine
from secateur.errors import DeployError, brief, install

if TYPE_CHECKING:
    from secateur.deploy.device import Stored

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]


Inputs = Any
"""Arrays or tensors, one or in tuples, lists and mappings, as a network is called with them."""

_TYPES = {"float": "float32", "double": "float64"}
"""Types of numpy where ONNX Runtime has another word."""


@dataclass(frozen=True)
class Input:
    """One input of a file: its name, its sizes, None where an axis may have any, and its type."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def varies(self) -> tuple[int, ...]:
        """The axes that may have any size."""
        return tuple(axis for axis, size in enumerate(self.shape) if size is None)

    def __str__(self) -> str:
        """In words.

        >>> print(Input("x", (None, 1, 64, None), "float32"))
        x (any, 1, 64, any) float32
        """
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({sizes}) {self.dtype}"


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
        self.inputs = tuple(_input(given) for given in self._session.get_inputs())
        self.outputs = tuple(given.name for given in self._session.get_outputs())
        first = self.inputs[0]
        self._batch = None if 0 in first.varies or not first.shape else first.shape[0]

    @property
    def one_at_a_time(self) -> bool:
        """Whether the file takes the number of examples it was made with and no other."""
        return self._batch is not None

    def run(self, inputs: Inputs) -> dict[str, Floats]:
        """All outputs of one call by name.

        Raises:
            DeployError: the inputs do not fit the file.
        """
        given = self.named(inputs)
        try:
            return dict(zip(self.outputs, self._session.run(None, given), strict=True))
        except Exception as error:  # its errors share no base that is public
            sizes = ", ".join(f"{name} {array.shape}" for name, array in given.items())
            raise DeployError(
                f"the file does not run with {sizes}: {brief(error)}; it takes {self.described()}"
            ) from error

    def described(self) -> str:
        """The inputs in words."""
        return ", ".join(map(str, self.inputs))

    def named(self, inputs: Inputs) -> dict[str, Floats]:
        """Arrays or tensors, nested as the network is called with them, by the names of the file.

        Raises:
            DeployError: there is none for an input, or more than there are inputs.
        """
        names = [given.name for given in self.inputs]
        found = dict(leaves(inputs))
        if parts(inputs) is None or not isinstance(inputs, Mapping):
            found = (
                dict(zip(names, found.values(), strict=False)) if len(found) == len(names) else {}
            )
        if set(found) != set(names):
            raise DeployError(
                f"the file takes {self.described()}; give an array for each, by these names, or in "
                "this order in a tuple"
            )
        return {
            given.name: np.ascontiguousarray(np.asarray(found[given.name], given.dtype))
            for given in self.inputs
        }

    def batches(self, inputs: Inputs, batch_size: int = 64) -> Iterator[dict[str, Floats]]:
        """The inputs of many examples, as many a call as the file takes.

        What has another length than the first input is no row for each example: it goes in whole.
        """
        given = self.named(inputs)
        n = len(given[self.inputs[0].name])
        step = self._batch or batch_size
        for k in range(0, n, step):
            yield {
                name: array[k : k + step] if array.ndim and len(array) == n else array
                for name, array in given.items()
            }

    def answers(self, inputs: Inputs, batch_size: int = 64) -> dict[str, Floats]:
        """Every output for every example, (n, …), by name.

        Raises:
            DeployError: the inputs do not fit the file.
        """
        rows = [self.run(batch) for batch in self.batches(inputs, batch_size)]
        return {
            name: np.concatenate([np.atleast_1d(row[name]) for row in rows])
            for name in self.outputs
        }

    def predict(self, inputs: Inputs, batch_size: int = 64) -> Floats:
        """The first output for every example, (n, …) -> (n, …)."""
        return self.answers(inputs, batch_size)[self.outputs[0]]

    def accuracy(self, inputs: Inputs, classes: Classes) -> float:
        """The share of inputs (n, …) whose largest first output is that of their class (n,).

        Raises:
            DeployError: the outputs are no row for each input, or there is none for a class.
        """
        answers = self.predict(inputs)
        if answers.ndim != 2 or not 0 <= classes.min() <= classes.max() < answers.shape[1]:
            raise DeployError(
                f"targets {classes.min()} to {classes.max()} do not fit outputs of shape "
                f"{answers.shape[1:]}; a class of its own for each output, from 0"
            )
        return float((answers.argmax(1) == classes).mean())

    def latency(self, example: Inputs, repetitions: int = 50, warm_up: int = 10) -> Latency:
        """Time calls with one example, (1, …), by the thread's own clock.

        Raises:
            DeployError: the numbers of calls are not positive.
        """
        calls = {"": self.call(example)}
        return by_turns(calls, runtime(), repetitions, warm_up)[""]

    def call(self, example: Inputs) -> Callable[[], object]:
        """A call with one example, to be timed."""
        given = self.named(example)
        return lambda: self._session.run(None, given)


def runtime() -> str:
    """What runs a file, and where."""
    import onnxruntime

    return on_this_machine(f"ONNX Runtime {onnxruntime.__version__}")


def _input(given: Any) -> Input:
    """An input as ONNX Runtime describes it; an axis that may vary has a name for a size."""
    shape = tuple(size if isinstance(size, int) else None for size in given.shape)
    kind = given.type.removeprefix("tensor(").removesuffix(")")
    return Input(given.name, shape, _TYPES.get(kind, kind))


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

    Infinite numbers and NaN that stand in the same places in both are no difference.

    >>> round(relative_error(np.float32([1, 2.5]), np.float32([1, 2])), 6)
    0.25
    """
    if found.shape != wanted.shape:
        return float("inf")
    here, there = found.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(there)
    same = np.array_equal(here[~finite], there[~finite], equal_nan=True)
    if not same or not np.isfinite(here[finite]).all():
        return float("inf")
    here, there = here[finite], there[finite]
    scale = float(np.abs(there).max(initial=0.0)) or 1.0
    return float(np.abs(here - there).max(initial=0.0)) / scale
