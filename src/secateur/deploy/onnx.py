"""A network as an ONNX file that is checked against it."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secateur.deploy.session import Session, check_installed, relative_error
from secateur.errors import DeployError, ExportError, brief
from secateur.files import write_bytes
from secateur.train.evaluate import modes_kept

TOLERANCE = 1e-4
"""How far an export's float32 answers may be from torch's, relative to the largest."""


@dataclass(frozen=True)
class Exported:
    """An ONNX file and max |its answers - torch's| / max |torch's| on random input.

    `any_batch` says whether it takes any number of examples; otherwise one at a time.
    """

    path: Path
    bytes: int
    relative_error: float
    any_batch: bool


def export_onnx(
    model: nn.Module, example_input: Tensor, path: str | Path, *, tolerance: float = TOLERANCE
) -> Exported:
    """Write a network, cut or not, as ONNX, once ONNX Runtime gives the same answers.

    Torch folds batch norms into the convolutions before them. `model` comes back in its modes.

    Args:
        model: a network with one float tensor in and one tensor out.
        example_input: (1, …), what it is called with; only its shape is used.
        path: the file; an earlier one stands until the new one is complete and checked.
        tolerance: the relative error that is allowed.

    Raises:
        DeployError: the extra `onnx` is not installed, or torch cannot export the network.
        ExportError: the answers differ by more than the tolerance; nothing is written.
        StorageError: the file could not be written.
    """
    check_installed()
    path = Path(path)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, *example_input.shape[1:], generator=generator)
    with modes_kept(model), torch.no_grad():
        model.eval()
        content, any_batch = _exported(model, x)
        wanted = torch.cat([model(one) for one in torch.split(x, 1)])
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "model.onnx"
        trial.write_bytes(content)
        found = Session(trial).predict(x.numpy())
    error = relative_error(found, wanted.numpy())
    if not error <= tolerance:
        raise ExportError(
            f"ONNX Runtime's answers for {type(model).__name__} differ from torch's by {error:.2g} "
            f"of the largest (allowed {tolerance:g}), so {path} is not written; check that the "
            "network does the same in evaluation mode each time, or allow more"
        )
    write_bytes(path, content)
    return Exported(path, len(content), error, any_batch)


def _exported(model: nn.Module, x: Tensor) -> tuple[bytes, bool]:
    """The file's content, for any number of examples if the network's code allows that."""
    failed: Exception | None = None
    for any_batch in (True, False):
        options: dict[str, Any] = {}
        if any_batch:
            options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
        try:
            with _quiet():
                program = torch.onnx.export(
                    model, (x if any_batch else x[:1],), dynamo=True, verbose=False, **options
                )
                assert program is not None
                return program.model_proto.SerializeToString(), any_batch
        except Exception as error:  # whatever the network's code or a converter raises
            failed = error
    assert failed is not None
    raise DeployError(
        f"torch cannot export {type(model).__name__} to ONNX: {brief(failed)}; torch.export must "
        "be able to follow its forward, which takes one tensor and gives one"
    ) from failed


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says about itself: none of it is about the network."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it misses torchvision, of which no operator is used
    try:
        # some versions of onnxscript print what their optimiser did
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            # torch's own use of tree specifications, while it copies the exported program
            warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
            # converters of onnxscript and torch.onnx use names that torch and Python retire
            warnings.filterwarnings(
                "ignore", category=DeprecationWarning, module=r"(torch|onnx|onnxscript|onnx_ir)\."
            )
            yield
    finally:
        log.setLevel(level)
