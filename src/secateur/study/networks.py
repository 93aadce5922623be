"""The networks of a recipe: reference families, and the reader's own. Loads no torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

from secateur.errors import ReadError, shown
from secateur.reading import parse_json
from secateur.study.part import Count, Folder, NotNegative, Part, Positive, Strengths

Family = Literal[
    "vgg",
    "resnet",
    "mobilenet",
    "mobilenet_v1",
    "dcase_baseline",
    "cp_mobile",
    "tf_sepnet",
    "bc_resnet",
]

_TAKEN = (*get_args(Family), "all")
"""Names that mean something else where networks are named."""


class ReferenceNetwork(Part):
    """A family and its size: `width` is the channels of the first stage.

    `lr` and `weight_decay`, where given, stand in for those of `training` when this network's base
    is trained, and `total_shrink` for that of `sparsity`: families learn best at different rates
    and grow sparse at different strengths. Fine-tuning is the same for all.
    """

    kind: Family
    width: Count = 16
    lr: Positive | None = None
    weight_decay: NotNegative | None = None
    total_shrink: Strengths | None = None

    @property
    def name(self) -> str:
        """What rows call it."""
        return self.kind

    def identity(self) -> dict[str, Any]:
        """Family and size alone: how it is trained stands in the cell's training."""
        return self.model_dump(include={"kind", "width"})


def _not_taken(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"{name!r} is no name; give letters, digits, and any of _ . - after one")
    if name in _TAKEN:
        raise ValueError(f"{name!r} means something else already; give another name")
    return name


def _module_and_function(path: str) -> str:
    module, _, function = path.partition(":")
    if module.endswith(".py") or not (
        function.isidentifier() and all(map(str.isidentifier, module.split(".")))
    ):
        raise ValueError(
            f"{path!r} is no factory; write module:function, as in my_net:build for the function "
            "build of my_net.py"
        )
    return path


def _json_values(arguments: dict[str, Any]) -> dict[str, Any]:
    for name, value in arguments.items():
        try:
            same = parse_json(json.dumps(value, allow_nan=False)) == value
        except (ReadError, TypeError, ValueError, RecursionError):
            same = False
        if not same:
            raise ValueError(
                f"{name} is {shown(value)}; give a finite number, text, true, false, null, or a "
                "list or mapping of these"
            )
    return arguments


class OwnNetwork(Part):
    """A network of the reader's own: what the function `factory` returns.

    It is called with `arguments`, and with the number of classes if it has an argument `n_classes`
    or `num_classes`. Its module is installed, or lies in `folder`, by default that of the recipe.
    Rows name the network by `name`. `lr`, `weight_decay` and `total_shrink` are as those of a
    reference network.
    """

    kind: Literal["own"]
    name: Annotated[str, AfterValidator(_not_taken)]
    factory: Annotated[str, AfterValidator(_module_and_function)]
    arguments: Annotated[dict[str, Any], AfterValidator(_json_values)] = Field(default_factory=dict)
    folder: Folder = Field(default=Path(), validate_default=True)
    lr: Positive | None = None
    weight_decay: NotNegative | None = None
    total_shrink: Strengths | None = None

    def identity(self) -> dict[str, Any]:
        """What is called, how, and what rows name it: not where its module lies."""
        return self.model_dump(include={"kind", "name", "factory", "arguments"})

    def __hash__(self) -> int:
        """Of the identity: arguments are a dict, which has no hash of its own."""
        return hash(json.dumps(self.identity(), sort_keys=True))


Network = Annotated[ReferenceNetwork | OwnNetwork, Field(discriminator="kind")]


def names_once(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    """The networks as they are; a ValueError says that rows could not tell two of them apart."""
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise ValueError(
            f"{', '.join(names)}: rows name a network by its kind, or by its name if its kind is "
            "own; give each once, and other widths in a recipe of their own"
        )
    return networks
