"""A network as an ONNX file that is checked against it."""

from __future__ import annotations

import inspect
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from secateur.channels.admit import check_example
from secateur.channels.trace import Example, call_arguments, recorded
from secateur.deploy.leaves import leaves, outputs_of
from secateur.deploy.session import Input, Session, check_installed, relative_error
from secateur.errors import DeployError, ExportError, TraceError, brief, unknown_name
from secateur.files import write_bytes
from secateur.surgery.inputs import drawn, of_another_size, resized
from secateur.surgery.pruned import Pruned
from secateur.train.evaluate import modes_kept

TOLERANCE = 1e-4
"""How far an export's float32 answers may be from torch's, relative to the largest."""

Dynamic = str | Mapping[str, Iterable[int]]
"""Which axes of the inputs may have any size: "auto", "batch", "none", or input to axes."""

_WAYS = ("auto", "batch", "none")


@dataclass(frozen=True)
class Exported:
    """An ONNX file and how far its answers are from torch's: max |file - torch| / max |torch|.

    `relative_error` is the largest over all outputs, on random input of the example's size and,
    where axes may vary, of another. `inputs` says which axes of each may; `outputs` are names.
    """

    path: Path
    bytes: int
    relative_error: float
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]

    @property
    def any_batch(self) -> bool:
        """Whether the file takes any number of examples; otherwise that of the example."""
        return 0 in self.inputs[0].varies


def export_onnx(
    model: nn.Module | Pruned,
    example_input: Example,
    path: str | Path,
    *,
    dynamic: Dynamic = "auto",
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write a network, cut or not, as ONNX, once ONNX Runtime gives the same answers.

    Torch folds batch norms into the convolutions before them. `model` comes back in its modes.
    Inputs are named as the parameters of `forward` or the keywords they are given by, outputs by
    their keys where the network gives a dict, else `output`, or `output.0`, `output.1`, …; what is
    nested is `a.b`. An output that has the name of an input gets `_output` behind it.

    Args:
        model: a network, or what `prune` gave.
        example_input: what it is called with: a tensor, a tuple of arguments, or a dict of keyword
            arguments, with whatever is nested in them.
        path: the file; an earlier one stands until the new one is complete and checked.
        dynamic: which axes may have another size than the example's: "auto", all that the network
            runs with another size of, the batch among them, as far as torch can follow; "batch",
            the first axis; "none"; or, for each input by name, axes that have to.
        tolerance: the relative error that is allowed.

    Raises:
        DeployError: the extra `onnx` is not installed, torch cannot export the network, something
            other than tensors comes out, or an axis that is asked for cannot vary.
        ExportError: the answers differ by more than the tolerance; nothing is written.
        StorageError: the file could not be written.
    """
    check_installed()
    path = Path(path)
    network = model.network if isinstance(model, Pruned) else model
    if isinstance(example_input, Mapping):
        example_input = dict(example_input)
    with modes_kept(network), torch.no_grad():
        network.eval()
        flat = Flat(network, example_input)
        own = flat.drawn(example_input)
        flat.check_answers(own, path)
        attempts = list(_attempts(flat, example_input, own, dynamic))
        for number, other in enumerate(attempts):
            last = number == len(attempts) - 1
            try:
                content = _exported(flat, own, other)
            except Exception as failed:  # whatever the network's code or a converter raises
                if last:
                    raise _cannot(flat, failed, dynamic) from failed
                continue
            with tempfile.TemporaryDirectory() as folder:
                trial = Path(folder) / "model.onnx"
                trial.write_bytes(content)
                session = Session(trial)
                apart, worst = flat.error(session, own)
                if apart <= tolerance and other is not None:
                    apart, worst = max((apart, worst), flat.error(session, other))
            if not apart <= tolerance:
                if not last:  # fewer axes vary in the next
                    continue
                raise ExportError(
                    f"ONNX Runtime's answers for {flat.name} differ from torch's by {apart:.2g} of "
                    f"the largest in {worst!r} (allowed {tolerance:g}), so {path} is not written; "
                    "check that the network does the same in evaluation mode each time, or allow "
                    "more"
                )
            break
    _check_varies(session.inputs, dynamic, flat)
    write_bytes(path, content)
    return Exported(path, len(content), apart, session.inputs, session.outputs)


class Flat(nn.Module):
    """A network that takes its tensors one by one and gives them one by one, with their names."""

    def __init__(self, network: nn.Module, example_input: Example) -> None:
        super().__init__()
        check_example(example_input)
        self.network, self.name = network, type(network).__name__
        args, kwargs = call_arguments(example_input)
        self._called = [*zip(positional(network, len(args)), args, strict=True), *kwargs.items()]
        self._n_args = len(args)
        named = [pair for name, value in self._called for pair in leaves(value, name)]
        self.inputs = {name: leaf for name, leaf in named if isinstance(leaf, Tensor)}
        for name, tensor in self.inputs.items():
            _check_type(f"input {name!r}", tensor)
        self.outputs: tuple[str, ...] = ()

    def drawn(self, example_input: Example) -> tuple[Tensor, ...]:
        """Random numbers within an example's range, of its sizes and types."""
        named = Flat(self.network, drawn(example_input, None)).inputs
        like = Flat(self.network, example_input).inputs
        pairs = zip(named.values(), like.values(), strict=True)
        return tuple(new.to(old.device, old.dtype) for new, old in pairs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The network's answer as a row of tensors."""
        return tuple(self.answers(tensors).values())

    def answers(self, tensors: Sequence[Tensor]) -> dict[str, Any]:
        """The network's answer by name."""
        given = iter(tensors)
        called = [(name, _refilled(value, given)) for name, value in self._called]
        args = [value for _, value in called[: self._n_args]]
        return outputs_of(self.network(*args, **dict(called[self._n_args :])))

    def check_answers(self, tensors: Sequence[Tensor], path: Path) -> None:
        """Refuse at once what would fail after long work.

        Raises:
            DeployError: the network fails, or gives something other than tensors.
            ExportError: it gives another answer at every call.
        """
        try:
            first, again = self.answers(tensors), self.answers(tensors)
        except Exception as error:  # whatever the network's code raises
            raise DeployError(
                f"{self.name}.forward failed on random input of the example's size: "
                f"{brief(error)}; check that the example has the shapes, types and range that the "
                "network is called with"
            ) from error
        if not first:
            raise DeployError(f"{self.name}.forward gives nothing; return what it computes")
        for name, answer in first.items():
            if not isinstance(answer, Tensor):
                raise DeployError(
                    f"{self.name}.forward gives {type(answer).__name__} as {name!r}, and an ONNX "
                    "file gives tensors only, in tuples, lists, dicts or data classes; leave it out"
                )
            _check_type(f"output {name!r}", answer)
            if not torch.equal(answer.nan_to_num(), again[name].nan_to_num()):
                raise ExportError(
                    f"{self.name} gives another {name!r} each time it is called with the same, so "
                    f"nothing can be compared and {path} is not written; answers that no file can "
                    "repeat differ from torch's by chance: take the random numbers out of forward"
                )
        taken = set(self.inputs)
        self.outputs = tuple(f"{name}_output" if name in taken else name for name in first)

    def error(self, session: Session, tensors: Sequence[Tensor]) -> tuple[float, str]:
        """The largest relative error over the outputs, and in which it is."""
        given = zip(self.inputs, tensors, strict=True)
        try:
            found = session.run({name: tensor.cpu().numpy() for name, tensor in given})
        except DeployError:
            return float("inf"), self.outputs[0]
        wanted = self.answers(tensors).values()
        errors = [
            (relative_error(found[name], tensor.cpu().numpy()), name)
            for name, tensor in zip(self.outputs, wanted, strict=True)
        ]
        return max(errors, key=lambda pair: pair[0])


def positional(network: nn.Module, n: int) -> list[str]:
    """The names of the first n arguments of a network's forward."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return [f"input.{k}" for k in range(n)]
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "input")
    return [names[k] if k < len(names) else f"{rest}.{k - len(names)}" for k in range(n)]


def _check_type(what: str, tensor: Tensor) -> None:
    if tensor.is_complex() or tensor.is_sparse or tensor.is_quantized:
        kind = "sparse" if tensor.is_sparse else str(tensor.dtype).removeprefix("torch.")
        raise DeployError(
            f"{what} is a {kind} tensor, which no ONNX file takes or gives; give real and "
            "imaginary parts, or dense numbers"
        )


def _refilled(value: Any, tensors: Iterator[Tensor]) -> Any:
    """A structure with other tensors in the places of its own."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, Mapping):
        return {key: _refilled(part, tensors) for key, part in value.items()}
    if isinstance(value, list | tuple):
        made = [_refilled(part, tensors) for part in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return value


def _attempts(
    flat: Flat, example_input: Example, own: Sequence[Tensor], dynamic: Dynamic
) -> Iterator[tuple[Tensor, ...] | None]:
    """Input of another size along all axes to vary, then along fewer; None where none shall."""
    if isinstance(dynamic, str) and dynamic not in _WAYS:
        raise DeployError(unknown_name("way to choose the dynamic axes", dynamic, _WAYS))
    names, shapes = list(flat.inputs), [tensor.shape for tensor in own]
    if not isinstance(dynamic, str):
        places = _asked(dynamic, flat)
        if not places:
            yield None
            return
        yield _running(flat, example_input, places) or _cannot_vary(flat, dynamic)
        return
    found: tuple[Tensor, ...] | None = None
    if dynamic == "auto":
        try:
            run, _ = recorded(flat.network, example_input)
            other = of_another_size(flat.network, example_input, run)
        except TraceError:
            other = None
        if other is not None and (found := _runs(flat, other)) is not None:
            yield found
    if dynamic != "none":
        batch = {(k, 0) for k in range(len(names)) if shapes[k] and shapes[k][0] == shapes[0][0]}
        only = _running(flat, example_input, batch)
        if only is not None and (found is None or _shapes(only) != _shapes(found)):
            yield only
    yield None


def _asked(dynamic: Mapping[str, Iterable[int]], flat: Flat) -> set[tuple[int, int]]:
    names = list(flat.inputs)
    places = set()
    for name, axes in dynamic.items():
        if name not in names:
            raise DeployError(unknown_name("input", name, names))
        ndim = flat.inputs[name].ndim
        for axis in axes:
            if not 0 <= axis < ndim:
                raise DeployError(
                    f"dynamic asks for axis {axis} of input {name!r}, which has axes 0 to "
                    f"{ndim - 1}"
                )
            places.add((names.index(name), axis))
    return places


def _runs(flat: Flat, example: Example) -> tuple[Tensor, ...] | None:
    """Random input of an example's size, if the network runs with it."""
    tensors = flat.drawn(example)
    try:
        flat.answers(tensors)
    except Exception:  # whatever the network's code raises
        return None
    return tensors


def _running(
    flat: Flat, example_input: Example, places: set[tuple[int, int]]
) -> tuple[Tensor, ...] | None:
    """The first size of these axes with which the network runs."""
    numbers = [k for k, leaf in enumerate(tree_leaves(example_input)) if isinstance(leaf, Tensor)]
    of_all = {(numbers[k], dim) for k, dim in places}
    found = (_runs(flat, other) for other in resized(example_input, of_all))
    return next((tensors for tensors in found if tensors is not None), None)


def _shapes(tensors: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors]


def _exported(flat: Flat, own: Sequence[Tensor], other: Sequence[Tensor] | None) -> bytes:
    """The file's content; axes in which `other` differs may vary as far as torch can follow."""
    given = tuple(own if other is None else other)
    axes = [
        {d: torch.export.Dim.AUTO for d in range(a.ndim) if a.shape[d] != b.shape[d]}
        for a, b in zip(own, given, strict=True)
    ]
    with _quiet():
        program = torch.export.export(
            flat, given, dynamic_shapes={"tensors": tuple(axes)}, strict=False
        )
        made = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=list(flat.inputs),
            output_names=list(flat.outputs),
        )
        assert made is not None
        content: bytes = made.model_proto.SerializeToString()
    return content


def _cannot(flat: Flat, error: Exception, dynamic: Dynamic) -> DeployError:
    more = "" if isinstance(dynamic, str) else ", or ask for fewer dynamic axes"
    return DeployError(
        f"torch cannot export {flat.name} to ONNX: {brief(error)}; torch.export must be able to "
        f"follow its forward{more}"
    )


def _cannot_vary(flat: Flat, dynamic: Mapping[str, Iterable[int]]) -> NoReturn:
    asked = ", ".join(f"{name} {tuple(axes)}" for name, axes in dynamic.items())
    raise DeployError(
        f"{flat.name}.forward fails with every other size tried along the dynamic axes {asked}; "
        'ask for fewer, or for dynamic="auto", which finds those that may vary'
    )


def _check_varies(inputs: Sequence[Input], dynamic: Dynamic, flat: Flat) -> None:
    for asked in () if isinstance(dynamic, str) else _asked(dynamic, flat):
        given = inputs[asked[0]]
        if asked[1] not in given.varies:
            raise DeployError(
                f"torch.export makes axis {asked[1]} of input {given.name!r} a fixed size of "
                f"{given.shape[asked[1]]}: the forward of {flat.name} turns it into a number; "
                "write sizes from the tensors' own shapes, or do not ask for this axis"
            )


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
