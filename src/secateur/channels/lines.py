"""Lines of the network's own code: where on the stack, or in a traceback, one stands."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)
_SURVEY = str(Path(__file__).parents[1] / "surgery" / "sizes.py")  # looks on while a network runs
_PASSED = (_TORCH, _HERE, _SURVEY, functools.__file__)


@functools.cache
def _own_file(path: str) -> str | None:
    """The name of a file of the network's code; torch's and this stage's are None."""
    return None if path.startswith(_PASSED) else Path(path).name


def network_line(module_names: Mapping[int, str], above: int = 0) -> str:
    """The innermost line on the stack that is neither torch's nor this stage's.

    Where there is none, as in a plain `nn.Sequential`, the innermost module, known by its id.
    `above` frames of the caller's are passed over.
    """
    module = "inside torch's own modules"
    found = False
    frame = sys._getframe(1 + above)
    while frame.f_back is not None:
        code = frame.f_code
        if (file := _own_file(code.co_filename)) is not None:
            return f"{file}:{frame.f_lineno}"
        if code.co_name == "replay" and code.co_filename.startswith(_HERE):
            break
        if not found and code.co_name == "forward":
            own = frame.f_locals.get("self")
            if found := id(own) in module_names:
                module = f"module {module_names[id(own)]} ({type(own).__name__})"
        frame = frame.f_back
    return module


def calling_module(module_names: Mapping[int, str]) -> str:
    """The innermost module on the stack; the outermost one goes by the name of its class."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        own = frame.f_locals.get("self") if frame.f_code.co_name == "forward" else None
        if id(own) in module_names:
            return module_names[id(own)] or type(own).__name__
        frame = frame.f_back
    return "outside of modules"


PLACE_DEPTH = 3
"""So many lines of the network's code, each calling the next, tell places in it apart."""


def place() -> tuple[str, ...]:
    """The innermost lines of the network's code on the stack, the outer one first."""
    lines: list[str] = []
    frame = sys._getframe(1)
    while frame.f_back is not None and len(lines) < PLACE_DEPTH:
        code = frame.f_code
        if (file := _own_file(code.co_filename)) is not None:
            lines.append(f"{file}:{frame.f_lineno}")
        elif code.co_name == "replay" and code.co_filename.startswith(_HERE):
            break
        frame = frame.f_back
    return tuple(reversed(lines))


def raising_place(error: BaseException) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    """The innermost lines of the network's code in an error's traceback, and tensors in sight."""
    lines: list[str] = []
    tensors: tuple[Tensor, ...] = ()
    inside = False
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if inside and not code.co_filename.startswith(_PASSED):
            lines.append(f"{Path(code.co_filename).name}:{traceback.tb_lineno}")
            own = traceback.tb_frame.f_locals.values()
            tensors = tuple(value for value in own if isinstance(value, Tensor))
        inside |= code.co_name == "replay" and code.co_filename.startswith(_HERE)
        traceback = traceback.tb_next
    return tuple(lines[-PLACE_DEPTH:]), tensors
