"""One batch of a calibration, checked: its input and target, where they lie, and its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter, tree_map_only

from secateur.errors import CriterionError, brief

LossFunction = Callable[[Any, Any], Tensor]
"""From the network's output and the batch's target to one number."""


def divided(batch: Any, number: int) -> tuple[Any, Any]:
    """Input and target of a batch.

    Raises:
        CriterionError: it is neither an input nor a pair.
    """
    if isinstance(batch, (Tensor, Mapping)):
        return batch, None
    if isinstance(batch, (tuple, list)) and len(batch) in (1, 2):
        return batch[0], batch[1] if len(batch) == 2 else None
    size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
    raise CriterionError(
        f"batch {number} of the calibration is a {type(batch).__name__}{size}; "
        "give (input, target), or an input alone"
    )


def moved(batch: tuple[Any, Any], device: torch.device | str) -> Any:
    """The batch on the device.

    Raises:
        CriterionError: there is no such device here.
    """
    try:
        return tree_map_only(Tensor, lambda t: t.to(device), batch)
    except (RuntimeError, AssertionError) as error:
        raise CriterionError(
            f"cannot move a batch to device {str(device)!r}: {brief(error)}; give the network's"
        ) from error


def check_inputs(inputs: Any, named: Mapping[str, Tensor], number: int) -> None:
    """Refuse inputs that are no tensors, not on the network's device, empty or not finite.

    Raises:
        CriterionError: naming the batch.
    """
    if not any(isinstance(tensor, Tensor) for tensor in tree_iter(inputs)):
        raise CriterionError(
            f"the input of batch {number} of the calibration is a {type(inputs).__name__} without "
            "a tensor; give tensors, such as torch.from_numpy makes of arrays"
        )
    homes = {parameter.device for parameter in named.values()}
    for tensor in tree_iter(inputs):
        if not isinstance(tensor, Tensor):
            continue
        if tensor.device not in homes:
            raise CriterionError(
                f"batch {number} of the calibration is on {tensor.device} and the network on "
                f"{', '.join(sorted(map(str, homes)))}; pass device= to move batches there"
            )
        if tensor.numel() == 0:
            raise CriterionError(
                f"batch {number} of the calibration is empty, shape {tuple(tensor.shape)}; "
                "leave it out"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CriterionError(
                f"batch {number} of the calibration holds NaN or infinite values; leave it out"
            )


def loss_of(loss_fn: LossFunction, output: Any, target: Any, number: int) -> Tensor:
    """The loss of a batch.

    Raises:
        CriterionError: it cannot be computed, or is not one finite number.
    """
    try:
        loss = loss_fn(output, target)
    except Exception as error:
        missing = "; the batch has no target" if target is None else ""
        raise CriterionError(
            f"loss_fn failed on batch {number} of the calibration: {brief(error)}{missing}. "
            "It is called with the network's output and the batch's target"
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.is_complex():
        got = type(loss).__name__
        if isinstance(loss, Tensor):
            got = f"a {loss.dtype} of shape {tuple(loss.shape)}"
        raise CriterionError(
            f"loss_fn gave {got} on batch {number}; it must give a real scalar tensor: take the "
            "mean over examples"
        )
    if not bool(torch.isfinite(loss)):
        raise CriterionError(
            f"the loss of batch {number} is {float(loss.detach()):g}; such a batch says nothing "
            "about weights. Leave it out, or look at the network's output"
        )
    return loss.reshape(())
