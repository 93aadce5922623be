"""Recipes that include others, values set by hand, and the schema that editors use."""

from __future__ import annotations

import json
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


def test_the_published_schema_is_that_of_the_code() -> None:
    published = (ROOT / "docs" / "recipe.schema.json").read_text()
    assert json.loads(published) == json.loads(json.dumps(recipe_schema())), (
        "run: secateur study schema > docs/recipe.schema.json"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_committed_recipes_are_read(path: Path) -> None:
    assert read_recipe(path).name == path.stem
