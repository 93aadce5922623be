"""Recipes that include others, values set by hand, and the schema that editors use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from textwrap import dedent

import pytest

from secateur.errors import RecipeError
from secateur.study.compose import compose
from secateur.study.recipe import read_recipe, recipe_schema

ROOT = Path(__file__).parents[1]

BASE = """
name: base
data: {kind: esc10, root: clips}
networks: [{kind: vgg, width: 8}]
sparsity: {total_shrink: [0, 1]}
training: {epochs: 40, lr: 0.1}
pruning: {criteria: [l1, l2], ratios: [0.5]}
seeds: 3
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def test_what_a_recipe_says_counts_over_what_it_includes(tmp_path: Path) -> None:
    write(tmp_path / "below" / "base.yaml", BASE)
    write(tmp_path / "short.yaml", "training: {epochs: 2, batch_size: 8}\nseeds: 1\n")
    own = write(
        tmp_path / "own.yaml",
        """
        include: [below/base.yaml, short.yaml]
        name: own
        training: {epochs: 5}
        pruning: {criteria: [gm]}
        """,
    )
    recipe = read_recipe(own)
    assert (recipe.name, recipe.seeds, recipe.pruning.criteria) == ("own", 1, ("gm",))
    assert recipe.pruning.ratios == (0.5,)
    training = recipe.training
    assert (training.epochs, training.batch_size, training.lr) == (5, 8, 0.1)
    assert recipe.data.root == (tmp_path / "below" / "clips").resolve()  # type: ignore[union-attr]


def test_another_kind_is_not_mixed_with_the_one_it_replaces(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", BASE)
    own = write(tmp_path / "own.yaml", "include: base.yaml\ndata: {kind: synthetic}\n")
    assert compose(own)["data"] == {"kind": "synthetic"}


def test_values_are_set_by_path(tmp_path: Path) -> None:
    path = write(tmp_path / "base.yaml", BASE)
    changes = [
        "training.epochs=2",
        "networks.0.width=16",
        "pruning.criteria=[gm, random]",
        "fine_tuning.lr=1e-3",
        "name=a name = another",
    ]
    recipe = read_recipe(path, changes)
    assert (recipe.training.epochs, recipe.networks[0].width) == (2, 16)
    assert recipe.pruning.criteria == ("gm", "random")
    assert recipe.fine_tuning.lr == 0.001
    assert recipe.name == "a name = another"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("training.epochs", "write key.key=value"),
        (".=2", "write key.key=value"),
        ("networks.1.width=2", "'1' is no place in a list of 1; give 0 to 0"),
        ("networks.first.width=2", "'first' is no place in a list of 1"),
        ("name.first=2", "there is no 'first' in 'base'"),
        ("seeds=[1", "its value: line 1, column 3 is not YAML"),
        ("seeds=2020-13-45", "its value: it is not YAML: month must be in 1..12"),
        ("seeds=!!timestamp x", "its value: it is not YAML"),
        ("seeds=" + "9" * 5000, "its value: it holds a number of 5000 digits"),
        ("seeds=" + "[" * 5000, "its value: it is nested deeper than 64"),
        ("seeds=9999999999", "the grid has 99,999,999,990 cells; give fewer seeds"),
        ("seeds=" + "9" * 99, "is not allowed; give a number up to 2^53"),
        ("a." * 5000 + "a=2", "write key.key=value"),
        ("networks." + "9" * 5000 + ".width=2", "is no place in a list of 1"),
        ("name=\ud800", "its value: it is not YAML"),
        ("training.epoch=2", "training.epoch: no key 'epoch'"),
        ("training.epochs=none", "training.epochs: 'none' is not allowed; give a whole number"),
    ],
)
def test_a_change_that_cannot_be_made_is_one_clear_error(
    tmp_path: Path, change: str, says: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(write(tmp_path / "base.yaml", BASE), [change])
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.yaml": "include: a.yaml"}, "includes itself: a.yaml includes a.yaml"),
        (
            {"a.yaml": "include: b.yaml", "b.yaml": "include: a.yaml"},
            "includes itself: a.yaml includes b.yaml includes a.yaml",
        ),
        ({"a.yaml": "include: gone.yaml"}, "cannot read recipe"),
        ({"a.yaml": "include: {b: c}"}, "give the path of a recipe, or a list of paths"),
    ],
)
def test_what_cannot_be_included_is_one_clear_error(
    tmp_path: Path, files: dict[str, str], says: str
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(RecipeError) as caught:
        compose(tmp_path / "a.yaml")
    assert says in str(caught.value)


def test_recipes_that_include_each_other_come_to_an_end(tmp_path: Path) -> None:
    """Each of seventeen includes the next twice, which is 131,072 files to read."""
    for k in range(17):
        write(tmp_path / f"{k}.yaml", f"include: [{k + 1}.yaml, {k + 1}.yaml]")
    write(tmp_path / "17.yaml", BASE)
    with pytest.raises(RecipeError, match="comes to more than 100 recipes"):
        compose(tmp_path / "0.yaml")
    assert read_recipe(tmp_path / "13.yaml").name == "base", "31 files are a recipe"


@pytest.mark.parametrize("name", ["a\\0b", "~nobody-of-this-name/a.yaml"])
def test_a_path_that_is_none_is_one_clear_error(tmp_path: Path, name: str) -> None:
    for key, text in (("include", f'"{name}"'), ("data", f'{{kind: esc10, root: "{name}"}}')):
        with pytest.raises(RecipeError):
            compose(write(tmp_path / "a.yaml", f"{key}: {text}"))


def test_links_that_go_round_and_pipes_are_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(RecipeError, match="loop"):
        read_recipe(tmp_path / "loop.yaml")
    with pytest.raises(RecipeError, match="a pipe, socket or device"):
        read_recipe(tmp_path / "pipe.yaml")


def test_the_published_schema_is_that_of_the_code() -> None:
    published = (ROOT / "docs" / "recipe.schema.json").read_text()
    assert json.loads(published) == json.loads(json.dumps(recipe_schema())), (
        "run: secateur study schema > docs/recipe.schema.json"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_committed_recipes_are_read(path: Path) -> None:
    assert read_recipe(path).name == path.stem
