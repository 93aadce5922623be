"""From `package.module:factory` to a network: the reader's own. Loads no torch before a call.

So are `folder/file.py:factory`, and networks of other packages, `timm:NAME` and `hf:NAME`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.errors import SecateurError, brief
from secateur.networks.packages import PACKAGES

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

CLASSES = ("n_classes", "num_classes")
"""Arguments by which a factory is given the number of classes: the one it has."""


def call_factory(
    factory: str,
    arguments: Mapping[str, Any],
    folder: Path | None = None,
    see: str = "--arg name=value",
) -> nn.Module:
    """The network that package.module:factory makes of these arguments.

    Args:
        factory: a function, or a class of network; or a network of another package by name.
        arguments: what it is called with, by name.
        folder: where its module is looked for first; the working folder by default.
        see: how whoever reads an error gives arguments.

    Raises:
        SecateurError: the factory cannot be found or called, or makes no network.
    """
    from torch import nn

    function = find_factory(factory, folder)
    try:
        model = function(**arguments)
    except SecateurError:
        raise
    except TypeError as error:
        raise SecateurError(f"{factory} cannot be called: {error}; see {see}") from error
    except Exception as error:
        raise SecateurError(f"{factory} failed: {brief(error)}; --debug shows where") from error
    if not isinstance(model, nn.Module):
        raise SecateurError(f"{factory} gave a {type(model).__name__}; it must return an nn.Module")
    return model


def with_classes(
    function: Callable[..., Any], arguments: Mapping[str, Any], n_classes: int
) -> dict[str, Any]:
    """The arguments, with the number of classes if the function has an argument for it.

    >>> with_classes(lambda n_classes, width: None, {"width": 8}, 3)
    {'width': 8, 'n_classes': 3}
    """
    try:
        takes = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return dict(arguments)
    given = {name: n_classes for name in CLASSES if name in takes and name not in arguments}
    return {**arguments, **given}


def find_factory(factory: str, folder: Path | None = None) -> Callable[..., Any]:
    """The function or class at `package.module:name`; or what makes a network of another package.

    Raises:
        SecateurError: there is none.
    """
    package, _, name = factory.partition(":")
    if package in PACKAGES and name:
        return PACKAGES[package](name)
    function = find_object(factory, "a factory", folder)
    if not callable(function):
        raise SecateurError(f"{factory} is no function; a factory returns the network")
    found: Callable[..., Any] = function
    return found


def find_object(path: str, what: str, folder: Path | None = None) -> Any:
    """What stands at `package.module:name`, or at `path/module.py:name`.

    Modules in `folder`, or else in the working folder, are found as well as those installed.

    Raises:
        SecateurError: the path is none, or nothing stands there.
    """
    module_name, _, name = path.rpartition(":")
    if not module_name or not name:
        raise SecateurError(f"{path!r} is not {what}; write package.module:function")
    if module_name.endswith(".py"):
        file = (folder or Path.cwd()) / module_name
        if not file.is_file():
            raise SecateurError(f"no file {file}; {what} is package.module:function or file.py:…")
        folder, module_name = file.resolve().parent, file.stem
    place = str(folder or Path.cwd())
    if place not in sys.path and not (folder is None and "" in sys.path):
        sys.path.insert(0, place)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        there = f"put it into {folder}" if folder else "run from its folder"
        raise SecateurError(
            f"cannot import {module_name!r}: {error}; {there} or install it"
        ) from error
    except Exception as error:
        raise SecateurError(
            f"importing {module_name!r} failed: {brief(error)}; --debug shows where"
        ) from error
    if folder is not None:
        _check_not_another(module, folder)
    if not hasattr(module, name):
        raise SecateurError(f"{module_name!r} has no function {name!r}")
    return getattr(module, name)


def _check_not_another(module: ModuleType, folder: Path) -> None:
    """Refuse a module of the name of a file in the folder that is not this file.

    Raises:
        SecateurError: naming both.
    """
    path = folder.joinpath(*module.__name__.split("."))
    own = next((f for f in (path / "__init__.py", path.with_suffix(".py")) if f.is_file()), None)
    loaded = getattr(module, "__file__", None)
    if own is not None and (loaded is None or Path(loaded).resolve() != own.resolve()):
        raise SecateurError(
            f"{module.__name__!r} is {loaded or 'built into Python'}, not {own}: the name is "
            "taken; rename the file"
        )


def check_one_input(model: nn.Module) -> None:
    """Refuse a network that one tensor cannot call, where there is nothing else to call it with.

    Raises:
        SecateurError: naming the arguments it wants.
    """
    needed = needed_inputs(model)
    if len(needed) > 1:
        raise SecateurError(
            f"{type(model).__name__} wants {', '.join(needed)}; studies and scenes give one float "
            "tensor. Give each by --input to the commands of one network, or use Python"
        )


def needed_inputs(model: nn.Module) -> list[str]:
    """The arguments of a network's forward that have no default."""
    return [
        name
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
