"""What a command says of a network: its factory, arguments, weights and input shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.errors import SecateurError
from secateur.networks.factory import call_factory

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
    from secateur.surgery.weights import load_weights

    model = call_factory(factory, keywords(arguments or []))
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


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
