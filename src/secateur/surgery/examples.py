"""Inputs without labels, from batches of any loader: distinct ones, a fifth of them held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from secateur.channels.trace import call_arguments, same_generators
from secateur.channels.walk import tensors_within
from secateur.errors import SurgeryError, brief

_AT_ONCE = 64
"""Inputs that run through a network together at most."""


@dataclass(frozen=True)
class Call:
    """One call of a network: its arguments, how many inputs they hold, and whether held out."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    n: int
    held: bool
    batch: int

    def run(self, network: nn.Module) -> Any:
        """The network's outputs, the same random numbers drawn in every call.

        Raises:
            SurgeryError: it does not run on these inputs.
        """
        with same_generators(), torch.no_grad():
            torch.default_generator.manual_seed(0)
            try:
                return network(*self.args, **self.kwargs)
            except Exception as error:
                shapes = [tuple(t.shape) for t in tensors_in((self.args, self.kwargs))]
                raise SurgeryError(
                    f"the network failed on batch {self.batch} of the calibration, inputs of shape "
                    f"{', '.join(map(str, shapes))}: {brief(error)}. Give inputs as the network is "
                    "called with, alone or as (inputs, targets)"
                ) from error


def tensors_in(values: Any) -> list[Tensor]:
    """All tensors of a structure."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def inputs_of(batch: Any, number: int) -> Any:
    """The inputs of a batch: itself if a tensor or a mapping of keywords, the first of a pair.

    Raises:
        SurgeryError: it is none of these, or holds no tensor, none at all, NaN or infinite values.
    """
    inputs = batch
    if isinstance(batch, tuple | list):
        if len(batch) not in (1, 2):
            raise SurgeryError(
                f"batch {number} of the calibration is a {type(batch).__name__} of {len(batch)}; "
                "give inputs alone, or (inputs, targets), where inputs are a tensor, a tuple of "
                "arguments or a dict of keyword arguments"
            )
        inputs = batch[0]
    tensors = tensors_in(call_arguments(inputs)) if _callable_with(inputs) else []
    if not any(tensor.ndim for tensor in tensors):
        raise SurgeryError(
            f"the inputs of batch {number} of the calibration are a {type(inputs).__name__} "
            "without a tensor of examples; give tensors, such as torch.from_numpy makes of arrays"
        )
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta:
            raise SurgeryError(
                f"batch {number} of the calibration holds a sparse or nested tensor, or one on the "
                "meta device; give dense ones with numbers"
            )
        if tensor.numel() == 0:
            raise SurgeryError(
                f"batch {number} of the calibration is empty, shape {tuple(tensor.shape)}; "
                "leave it out"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise SurgeryError(
                f"batch {number} of the calibration holds NaN or infinite values; leave it out"
            )
    return inputs


def _callable_with(inputs: Any) -> bool:
    return isinstance(inputs, Tensor | Mapping | tuple | list)


def drawn(
    batches: Iterable[Any], device: torch.device, seed: int, most: int, share: float = 0.2
) -> tuple[list[Call], int]:
    """Calls with the first `most` distinct inputs of the batches, and how many these are.

    Inputs lie along the first dimension of a batch's first tensor and of all tensors as long; what
    else there is goes with every one of them. `share` of them, drawn by the seed, is held out.

    Raises:
        SurgeryError: these are no batches, or fewer than two of their inputs differ.
    """
    if isinstance(batches, Tensor | Mapping | str) or not isinstance(batches, Iterable):
        raise SurgeryError(
            f"calibration is a {type(batches).__name__}; give batches, such as a data loader or "
            "a list [inputs, ...]"
        )
    seen: set[bytes] = set()
    kept: list[tuple[Any, list[int]]] = []
    for number, batch in enumerate(batches, start=1):
        inputs = call_arguments(inputs_of(batch, number))
        fresh = []
        for j in range(_length(inputs)):
            name = _digest(inputs, j)
            if name not in seen and len(seen) < most:
                seen.add(name)
                fresh.append(j)
        kept.append((tree_map_only(Tensor, lambda t: t.to(device), inputs), fresh))
        if len(seen) >= most:
            break
    if len(seen) < 2:
        raise SurgeryError(
            f"calibration holds {len(seen)} distinct inputs, and nothing can be held out to see "
            "whether a repair is one; give at least 2, better 50 to 250"
        )
    order = torch.randperm(
        len(seen), generator=torch.Generator().manual_seed(seed % 2**63)
    ).tolist()
    held = set(order[: max(1, int(share * len(seen) + 1e-9))])
    calls: list[Call] = []
    first = 0
    for number, (inputs, fresh) in enumerate(kept, start=1):
        for out in (False, True):
            part = [j for k, j in enumerate(fresh, first) if (k in held) == out]
            calls += _calls(inputs, part, out, number)
        first += len(fresh)
    return sorted(calls, key=lambda call: call.held), len(seen)


def _calls(inputs: Any, part: list[int], held: bool, number: int) -> list[Call]:
    n, calls = _length(inputs), []
    pieces = torch.tensor(part, dtype=torch.long).tensor_split(max(1, -(-len(part) // _AT_ONCE)))
    for rows in pieces if part else ():

        def taken(tensor: Tensor, rows: Tensor = rows) -> Tensor:
            along = tensor.ndim and len(tensor) == n
            return tensor[rows.to(tensor.device)] if along else tensor

        args, kwargs = tree_map_only(Tensor, taken, inputs)
        calls.append(Call(args, kwargs, len(rows), held, number))
    return calls


def _length(inputs: Any) -> int:
    return len(next(tensor for tensor in tensors_in(inputs) if tensor.ndim))


def _digest(inputs: Any, j: int) -> bytes:
    """A fingerprint of the j-th input of a batch."""
    n, made = _length(inputs), hashlib.blake2b(digest_size=16)
    for tensor in tensors_in(inputs):
        one = tensor[j] if tensor.ndim and len(tensor) == n else tensor
        made.update(f"{one.dtype}{tuple(one.shape)}".encode())
        plain = one.detach().cpu().contiguous().reshape(-1)
        made.update(plain.view(torch.uint8).numpy().tobytes())
    return made.digest()


def output_tensors(out: Any) -> list[Tensor]:
    """A network's outputs in float64.

    Raises:
        SurgeryError: some are NaN or infinite.
    """
    found = [torch.view_as_real(t) if t.is_complex() else t for t in tensors_within(out)]
    tensors = [tensor.double().cpu() for tensor in found]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise SurgeryError(
            "the network gives NaN or infinite outputs on the calibration inputs; check the inputs "
            "and the weights"
        )
    return tensors
