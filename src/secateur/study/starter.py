"""A first recipe for a folder per class, with a word on every line. Loads no torch."""

from __future__ import annotations

import json
import os
import statistics
from importlib.resources import files
from pathlib import Path
from string import Template

from secateur.errors import RecipeError
from secateur.files import write_text
from secateur.reading import parse_yaml
from secateur.scenes.audio import duration
from secateur.scenes.datasets import SceneSet
from secateur.scenes.folders import folder_per_class
from secateur.study.recipe import recipe_from

ROOT, FACTORY, SECONDS = "recordings", "my_net:build", 1.0
"""What stands in the recipe where nothing is said: to be put right by hand."""


def write_starter(
    file: Path, root: Path | None = None, factory: str | None = None
) -> SceneSet | None:
    """Write a recipe that is not there yet; of recordings, give what they are.

    Args:
        file: the recipe; its name without the suffix is that of the study.
        root: the recordings, a folder per class. Their median length becomes that of the features.
        factory: module:function of the network, which is named after the module.

    Raises:
        RecipeError: there is a file already, or the factory is none.
        DataError: the recordings are no folder per class.
        StorageError: it cannot be written.
    """
    if file.exists():
        raise RecipeError(f"{file} is there already; name another file, or remove this one")
    scenes = None if root is None else folder_per_class(root)
    factory = factory or FACTORY
    text = Template((files("secateur.study") / "starter.yaml").read_text(encoding="utf-8"))
    made = text.substitute(
        name=json.dumps(file.stem),
        root=json.dumps(ROOT if root is None else _from(file.parent, root)),
        seconds=f"{SECONDS if scenes is None else _seconds(scenes):g}",
        network=json.dumps(factory.partition(":")[0].rpartition(".")[2]),
        factory=factory,
    )
    recipe_from(parse_yaml(made), folder=file.parent, where=str(file))
    write_text(file, made)
    return scenes


def _from(folder: Path, root: Path) -> str:
    """The path as the recipe may write it: from its folder on, unless it was given whole."""
    return str(root) if root.is_absolute() else Path(os.path.relpath(root, folder)).as_posix()


def _seconds(scenes: SceneSet) -> float:
    """Median length of the recordings, to a tenth of a second."""
    lengths = [duration(scenes.path(c) if scenes.path else Path(c.name)) for c in scenes.clips]
    return max(0.1, round(float(statistics.median(lengths)), 1))
