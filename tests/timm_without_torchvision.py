"""Import timm where torchvision is absent: its imports are satisfied, nothing of it is used.

timm needs torchvision and Pillow for data and for converting models, never for building or running
one. Any name asked of them is an empty class here.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import nn

ABSENT = ("torchvision", "PIL")


class _AnyAttribute(type):
    """A class whose attributes are classes of the same kind."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _AnyAttribute(name, (), {})
        setattr(cls, name, made)
        return made


class _Empty(ModuleType):
    """A package in which every name is an empty module of a network."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return "11.0"
        if name.startswith("__"):
            raise AttributeError(name)
        made = _AnyAttribute(name, (nn.Module,), {})
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def import_timm() -> ModuleType:
    """The package timm.

    Raises:
        ImportError: timm itself is not installed.
    """
    if "timm" not in sys.modules:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
        try:
            importlib.import_module("timm")
        finally:
            sys.meta_path.remove(finder)
    return sys.modules["timm"]
