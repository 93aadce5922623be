"""A training's state as a file: tensors and plain numbers, written whole, read without code."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secateur.errors import TrainingError, brief
from secateur.files import write_bytes

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
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no narrower family for a broken file
        raise TrainingError(
            f"{path} cannot be read as a checkpoint: {brief(error)}; "
            "remove it to train from the start"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise TrainingError(f"{path} is not a checkpoint of this version; name another file")
    theirs = state["settings"]
    differences = [
        f"{name} {_short(theirs.get(name))} there, {_short(settings.get(name))} here"
        for name in sorted(theirs.keys() | settings.keys())
        if theirs.get(name) != settings.get(name)
    ]
    if differences:
        raise TrainingError(
            f"checkpoint {path} is of another training: {'; '.join(differences)}. "
            "Name another file, or remove it to train from the start"
        )
    return state


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
