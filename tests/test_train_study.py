"""What a study asks of training: every penalty by its name, its course, distilled fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from secateur.channels.trace import trace
from secateur.errors import RecipeError
from secateur.scenes.split import Split
from secateur.study.bases import NETWORK, load_network, train_base
from secateur.study.cells import units
from secateur.study.cuts import prune_and_tune
from secateur.study.data import split
from secateur.study.recipe import Recipe, Sparsity, recipe_from
from secateur.train.penalties import PENALTIES


def recipe(penalty: str = "bn_l1", **changes: Any) -> Recipe:
    return recipe_from(
        {
            "name": "tiny",
            "data": {
                "kind": "synthetic",
                "n_locations": 4,
                "clips_per_location": 1,
                "seconds": 1.0,
                "rate": 16000,
                "n_folds": 2,
            },
            "features": {"rate": 16000, "n_fft": 1024, "hop": 512, "n_mels": 32, "seconds": 1.0},
            "networks": [{"kind": "vgg", "width": 4}],
            "sparsity": {"penalty": penalty, "total_shrink": [0, 1]},
            "training": {"epochs": 6, "batch_size": 10},
            "pruning": {"criteria": ["l1"], "scopes": ["uniform"], "ratios": [0.5]},
            "fine_tuning": {"epochs": 2},
            "seeds": 1,
        }
        | changes
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return split(recipe(), tmp_path_factory.mktemp("features"), 1)


@pytest.fixture(scope="module")
def dense(data: Split, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("dense")
    return train_base(units(recipe())[0].base, data, folder), folder


def test_a_recipe_knows_every_penalty() -> None:
    schema = Sparsity.model_json_schema()
    assert set(schema["properties"]["penalty"]["enum"]) == set(PENALTIES)


def test_a_dense_base_tells_its_course(dense: tuple[dict[str, Any], Path]) -> None:
    row, _ = dense
    assert [e["epoch"] for e in row["epochs"]] == [1, 2, 3, 4, 5, 6]
    assert all(
        e.keys() == {"epoch", "loss", "accuracy", "lr", "ws", "inactive", "gini"}
        for e in row["epochs"]
    )
    pooled = next(
        r for r in row["skewness"] if (r["layer"], r["definition"]) == ("pooled", "bn_scale")
    )
    last = row["epochs"][-1]
    assert (last["ws"], last["inactive"]) == (pooled["ws"], pooled["inactive_share"])
    assert row["epochs"][-1]["accuracy"] == row["train_accuracy"]


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_pushes_what_it_is_for(
    name: str, data: Split, dense: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    cell = units(recipe(name))[1].base
    row = train_base(cell, data, tmp_path)
    assert row["penalty"] == name
    assert row["bn_lambda"] > 0
    definition = "bn_scale" if name.startswith(("bn", "pol")) else "filter_l1"

    def sparse(of: dict[str, Any]) -> float:
        found = next(
            r["gini"]
            for r in of["skewness"]
            if (r["layer"], r["definition"]) == ("pooled", definition)
        )
        return float(found)

    assert sparse(row) > 1.05 * sparse(dense[0])


def test_fine_tuning_distils_from_the_base_it_was_cut_from(
    data: Split, dense: tuple[dict[str, Any], Path]
) -> None:
    tuning = {"epochs": 2, "distil": {"temperature": 2.0, "weight": 1.0}}
    plain, distilled = (units(made)[0] for made in (recipe(), recipe(fine_tuning=tuning)))
    assert distilled.base.id == plain.base.id
    (alone,), (pulled,) = plain.pruned, distilled.pruned
    assert alone.id != pulled.id
    assert "distil" not in str(alone.content())
    base = load_network(plain.base, data, dense[1] / NETWORK)
    before = {name: t.clone() for name, t in base.state_dict().items()}
    channels = trace(base, data.x_train[:1])
    rows = [prune_and_tune(cell, plain.base, base, channels, data) for cell in (alone, pulled)]
    again = prune_and_tune(pulled, plain.base, base, channels, data)
    assert rows[0]["accuracy_cut"] == rows[1]["accuracy_cut"]
    assert again["accuracy"] == rows[1]["accuracy"]
    assert all(torch.equal(t, before[name]) for name, t in base.state_dict().items())


@pytest.mark.parametrize(
    ("distil", "words"),
    [({"temperature": 0}, "temperature"), ({"weight": 1.5}, "weight"), ({"wieght": 1}, "wieght")],
)
def test_wrong_distillation_is_refused_with_its_path(distil: Any, words: str) -> None:
    with pytest.raises(RecipeError, match=rf"fine_tuning\.distil.*{words}"):
        recipe(fine_tuning={"distil": distil})
