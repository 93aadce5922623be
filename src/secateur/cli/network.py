"""From strings to a network: `package.module:factory`, its arguments, weights and input shape."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.errors import SecateurError, brief

if TYPE_CHECKING:
    from torch import Tensor, nn

Factory = Annotated[
    str, typer.Argument(help="The network's factory, package.module:function", show_default=False)
]
Weights = Annotated[
    Path | None, typer.Option("--weights", "-w", help="A .safetensors file that fits the factory.")
]
Arguments = Annotated[
    list[str] | None, typer.Option("--arg", help="An argument of the factory, name=value.")
]
InputShape = Annotated[
    str, typer.Option("--input", help="Shape of one example without the batch, 1x64x101.")
]


def build_network(factory: str, weights: Path | None, arguments: list[str] | None) -> nn.Module:
    """Call the factory and fill the network with the weights.

    Raises:
        SecateurError: the factory cannot be found or called, or the weights do not fit.
    """
    from secateur.surgery.package import load_weights

    model = call_factory(factory, keywords(arguments or []))
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def call_factory(factory: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network that package.module:factory makes of these arguments.

    Raises:
        SecateurError: the factory cannot be found or called, or makes no network of one input.
    """
    from torch import nn

    function = _find(factory)
    try:
        model = function(**arguments)
    except TypeError as error:
        raise SecateurError(f"{factory} cannot be called: {error}; see --arg name=value") from error
    except Exception as error:
        raise SecateurError(f"{factory} failed: {brief(error)}; --debug shows where") from error
    if not isinstance(model, nn.Module):
        raise SecateurError(f"{factory} gave a {type(model).__name__}; it must return an nn.Module")
    _check_one_input(model)
    return model


def _check_one_input(model: nn.Module) -> None:
    """Refuse a network that one tensor cannot call: the command line has no way to give more.

    Raises:
        SecateurError: naming the arguments it wants.
    """
    needed = [
        name
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) > 1:
        raise SecateurError(
            f"{type(model).__name__} wants {', '.join(needed)}; the command line gives one float "
            "tensor (--input). Call secateur.trace and secateur.cut from Python for others"
        )


def example_of(shape: str) -> Tensor:
    """One example of zeros, (1, …), from a text such as `1x64x101`.

    Raises:
        SecateurError: the text is not a shape.
    """
    import torch

    try:
        sizes = [int(size) for size in shape.lower().split("x")]
        if min(sizes) < 1:
            raise ValueError
    except ValueError:
        raise SecateurError(
            f"--input {shape!r} is not a shape; write sizes with x between, such as 1x64x101"
        ) from None
    return torch.zeros(1, *sizes)


def _find(factory: str) -> Any:
    function = find_object(factory, "a factory")
    if not callable(function):
        raise SecateurError(f"{factory} is no function; a factory returns the network")
    return function


def find_object(path: str, what: str) -> Any:
    """What stands at `package.module:name`; modules of the working folder are found as well.

    Raises:
        SecateurError: the path is none, or nothing stands there.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise SecateurError(f"{path!r} is not {what}; write package.module:function")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SecateurError(
            f"cannot import {module_name!r}: {error}; run from its folder or install it"
        ) from error
    except Exception as error:
        raise SecateurError(
            f"importing {module_name!r} failed: {brief(error)}; --debug shows where"
        ) from error
    if not hasattr(module, name):
        raise SecateurError(f"{module_name!r} has no function {name!r}")
    return getattr(module, name)


def keywords(arguments: Sequence[str], option: str = "--arg") -> dict[str, Any]:
    """Values by name from texts `name=value`, each value as YAML reads it.

    >>> keywords(["share=25", "test_on=test"])
    {'share': 25, 'test_on': 'test'}

    Raises:
        SecateurError: a text is not of this form; the option is named.
    """
    import yaml

    found = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name.isidentifier():
            raise SecateurError(f"{option} {argument!r} is not name=value")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise SecateurError(f"{option} {argument!r}: cannot read the value {value!r}") from None
    return found
