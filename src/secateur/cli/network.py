"""What a command is told of a network: its factory, arguments, weights and inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.inputs import example_of
from secateur.errors import ReadError, SecateurError, TraceError, shown
from secateur.networks.factory import call_factory

if TYPE_CHECKING:
    from torch import Tensor, nn

    from secateur.channels.groups import ChannelMap
    from secateur.channels.trace import Example
    from secateur.plan.plan import PruningPlan

Factory = Annotated[
    str,
    typer.Argument(help="package.module:function, timm:NAME or hf:NAME", show_default=False),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", "-w", help="Its weights: .safetensors, .pth or .pt.")
]
Arguments = Annotated[
    list[str] | None, typer.Option("--arg", help="An argument of the factory, name=value.")
]


@dataclass(frozen=True)
class Given:
    """A network as a command was told of it, filled and evaluating, and what it is called with.

    `plans` are those of the cuts it has behind it, as its file of weights has them, and `uncut` is
    then the network before them, as the factory makes it.
    """

    model: nn.Module
    example: Example
    plans: tuple[PruningPlan, ...] = ()
    uncut: nn.Module | None = None

    def traced(self) -> ChannelMap:
        """Its channel map.

        Raises:
            TraceError: it cannot be traced with this example.
        """
        from secateur.channels.trace import trace
        from secateur.surgery.inputs import sizes_of

        try:
            return trace(self.model, self.example)
        except TraceError as error:
            raise TraceError(
                f"{error}. It was called with {sizes_of(self.example)}; --input gives one example "
                "without the batch"
            ) from error

    def one_tensor(self, what: str) -> Tensor:
        """The example, if it is one tensor of floating point numbers.

        Raises:
            SecateurError: it is not; `what` then cannot be done.
        """
        from torch import Tensor

        if isinstance(self.example, Tensor) and self.example.is_floating_point():
            return self.example
        raise SecateurError(
            f"{what} is for networks of one input of floating point numbers, and "
            f"{type(self.model).__name__} is called with others; use secateur from Python for it"
        )


def given_network(
    factory: str,
    weights: Path | None,
    arguments: list[str] | None,
    inputs: list[str] | None,
) -> Given:
    """Call the factory, fill the network with the weights, and make its example.

    A file that a cut network was written to with its plans is read as `secateur.load` does.

    Raises:
        SecateurError: the factory cannot be found or called, the weights do not fit, or the
            network is not called with such inputs.
    """
    from secateur.surgery.package import load, plans_in
    from secateur.surgery.weights import TORCH_FILES, load_weights

    model = call_factory(factory, keywords(arguments or []))
    plans: tuple[PruningPlan, ...] = ()
    uncut = None
    if weights is not None:
        plans = () if weights.suffix in TORCH_FILES else plans_in(weights)
        if plans:
            uncut = whole = model
            model = load(weights, lambda: whole)
        elif said := load_weights(model, weights):
            typer.echo(said, err=True)
    model = model.eval()
    return Given(model, example_of(inputs or (), model, factory), plans, uncut)


def keywords(arguments: Sequence[str], option: str = "--arg") -> dict[str, Any]:
    """Values by name from texts `name=value`, each value as YAML reads it.

    >>> keywords(["share=25", "test_on=test"])
    {'share': 25, 'test_on': 'test'}

    Raises:
        SecateurError: a text is not of this form; the option is named.
    """
    from secateur.reading import parse_yaml

    found = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name.isidentifier():
            raise SecateurError(f"{option} {shown(argument)} is not name=value")
        try:
            found[name] = parse_yaml(value)
        except ReadError as error:
            raise SecateurError(
                f"{option} {shown(argument)}: cannot read the value: {error.why}"
            ) from None
    return found
