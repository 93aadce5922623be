"""A training's state as a file: tensors and plain numbers, written whole, read without code."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.errors import TrainingError, brief
from secateur.files import write_bytes
from secateur.reading import check_file

FORMAT = "secateur.checkpoint/1"

Settings = Mapping[str, str | int | float | bool]
"""Everything a training's outcome depends on, by name; two trainings with equal ones are one."""


def write(path: Path, settings: Settings, state: Mapping[str, Any]) -> None:
    """Write `state` of the training described by `settings`, whole or not at all.

    Raises:
        StorageError: the file could not be written; the former checkpoint still stands.
    """
    content = io.BytesIO()  # torch's own writer hides a full disk behind a RuntimeError
    torch.save({"format": FORMAT, "settings": dict(settings), **state}, content)
    write_bytes(path, content.getvalue())


def read(path: Path, settings: Settings) -> dict[str, Any] | None:
    """The state at `path`, or None if there is no such file.

    Raises:
        TrainingError: the file is not a checkpoint, or is one of other settings, which it names.
    """
    if not path.exists():
        return None
    try:
        check_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no narrower family for a broken file
        raise TrainingError(
            f"{path} cannot be read as a checkpoint: {brief(error)}; "
            "remove it to train from the start"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise TrainingError(f"{path} is not a checkpoint of this version; name another file")
    theirs = state.get("settings")
    if not isinstance(theirs, dict) or not all(isinstance(name, str) for name in theirs):
        raise TrainingError(f"{path} says not of which training it is; name another file")
    differences = [
        f"{name} {_short(theirs.get(name))} there, {_short(settings.get(name))} here"
        for name in sorted(theirs.keys() | settings.keys())
        if not _same(theirs.get(name), settings.get(name))
    ]
    if differences:
        raise TrainingError(
            f"checkpoint {path} is of another training: {'; '.join(differences)}. "
            "Name another file, or remove it to train from the start"
        )
    return state


@contextmanager
def going_on(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the state of a checkpoint is said of its file.

    Raises:
        TrainingError: naming what was wrong.
    """
    try:
        yield
    except Exception as error:  # torch's own words for what does not fit are of many kinds
        raise TrainingError(
            f"{path} does not hold the state of this training: {brief(error)}; remove it to train "
            "from the start"
        ) from error


def check_state(saved: Mapping[str, Any], model: nn.Module, optimizer: Optimizer) -> None:
    """Hold a state against what it is to become: names, types and shapes of every tensor.

    Raises:
        ValueError: naming what is otherwise. Other errors where it is built otherwise.
    """
    own = model.state_dict()
    if own.keys() != saved["model"].keys():
        raise ValueError("its tensors have other names than the network's")
    for name, tensor in own.items():
        _check_like(saved["model"][name], tensor, name)
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for k, state in saved["optimizer"]["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim:
                _check_like(value, parameters[k], f"{name} of parameter {k}")
    groups = saved["optimizer"]["param_groups"]
    for theirs, ours in zip(groups, optimizer.state_dict()["param_groups"], strict=True):
        for name in ours.keys() & {"params", *theirs} - {"lr"}:
            if not _same(theirs[name], ours[name]):
                raise ValueError(f"its optimizer has {name} {_short(theirs[name])}")


def _check_like(found: Any, own: Tensor, name: str) -> None:
    if not isinstance(found, Tensor):
        raise ValueError(f"{name} is a {type(found).__name__}")
    kinds = [(t.dtype, tuple(t.shape), t.layout) for t in (found, own)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{name} is {kinds[0]}, not {kinds[1]}")


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of names, types, shapes and values, in hexadecimal, independent of memory format."""
    sha = hashlib.sha256()
    for name, tensor in tensors:
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        plain = tensor.detach().cpu().contiguous().flatten()
        sha.update(plain.view(torch.uint8).numpy().data)
    return sha.hexdigest()


def described(thing: object) -> str:
    """A function or value in words that are the same in every process: no memory addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"
