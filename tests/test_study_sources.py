"""Every kind of data a recipe can name, read and divided; augmentations that reach the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from secateur.errors import DataError
from secateur.scenes.tau import SCENES
from secateur.study.bases import augment_of, train_base
from secateur.study.cells import units
from secateur.study.data import scene_set, split
from secateur.study.recipe import Recipe, recipe_from

TINY = {"rate": 8000, "n_fft": 512, "hop": 200, "n_mels": 16, "seconds": 0.2}


def recipe(data: dict[str, Any], **changes: Any) -> Recipe:
    mapping: dict[str, Any] = {
        "name": "sources",
        "data": data,
        "features": TINY,
        "networks": [{"kind": "vgg", "width": 4}],
        "sparsity": {"total_shrink": [0]},
        "training": {"epochs": 1},
        "pruning": {"criteria": ["l1"], "ratios": [0.5]},
        "seeds": 1,
    }
    return recipe_from(mapping | changes)


def tone(path: Path, k: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(1600) / 8000
    noise = np.random.default_rng(k).normal(0, 0.01, 1600)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 150 * (k % 10)) * t) + noise, 8000)


def tau(root: Path, edition: str) -> Path:
    """Four locations of every scene, three of them in the training list."""
    part = "-0" if edition == "tau2022" else ""
    lists: dict[str, list[str]] = {"fold1_train": [], "fold1_evaluate": []}
    for k, scene in enumerate(SCENES):
        for place in range(4):
            name = f"audio/{scene}-oslo-{10 * k + place}-7{part}-a.wav"
            tone(root / name, k)
            lists["fold1_train" if place < 3 else "fold1_evaluate"].append(f"{name}\t{scene}")
    for listing in (*lists, "split5"):
        rows = lists.get(listing) or lists["fold1_train"][:-1]
        (root / "evaluation_setup").mkdir(exist_ok=True)
        text = "\n".join(["filename\tscene_label", *rows]) + "\n"
        (root / "evaluation_setup" / f"{listing}.csv").write_text(text)
    return root


@pytest.mark.parametrize("edition", ["tau2019", "tau2020", "tau2022"])
def test_tau_is_divided_by_its_lists_and_validated_on_unless_told(
    tmp_path: Path, edition: str
) -> None:
    root = str(tau(tmp_path / edition, edition))
    for told, n_train, n_test, place in (
        ({}, 20, 10, "012"),
        ({"test_on": "test"}, 20, 10, "3"),
        ({"test_on": "test", "holdout": 0}, 30, 10, "3"),
    ):
        asked = recipe({"kind": edition, "root": root} | told)
        assert asked.repetitions()[0].fold == 1
        scenes = scene_set(asked)
        train, test = scenes.divided(1, told.get("test_on", "validation"))  # type: ignore[arg-type]
        assert (train.sum(), test.sum()) == (n_train, n_test) and not (train & test).any()
        tested = {clip.location[-1] for clip, mine in zip(scenes.clips, test, strict=True) if mine}
        assert tested <= set(place)
        found = split(asked, tmp_path / "cache", 1)
        assert (len(found.x_train), len(found.x_test)) == (n_train, n_test)
        assert found.n_classes == 10 and len(found.per_db) == 16


def test_a_share_of_the_training_list(tmp_path: Path) -> None:
    root = str(tau(tmp_path, "tau2022"))
    scenes = scene_set(recipe({"kind": "tau2022", "root": root, "share": 5}))
    assert len(scenes.part("train")) + len(scenes.part("validation")) == 29


def test_a_missing_file_stops_or_is_skipped_as_the_recipe_says(tmp_path: Path) -> None:
    root = tau(tmp_path, "tau2020")
    gone = next((root / "audio").glob("bus-oslo-10-*"))
    gone.unlink()
    with pytest.raises(DataError, match=rf"{gone.name} is not there"):
        scene_set(recipe({"kind": "tau2020", "root": str(root)}))
    scenes = scene_set(recipe({"kind": "tau2020", "root": str(root), "on_bad": "skip"}))
    assert [bad.name for bad in scenes.skipped] == [f"audio/{gone.name}"]


def test_esc50(tmp_path: Path) -> None:
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for k in range(20):
        tone(tmp_path / "audio" / f"{k}.wav", k)
        rows.append(f"{k}.wav,{k % 5 + 1},{k // 5},class{k // 5},False,{k},A")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    found = split(recipe({"kind": "esc50", "root": str(tmp_path)}), tmp_path / "cache", 3)
    assert (len(found.x_train), len(found.x_test), found.n_classes) == (16, 4, 4)


def test_a_folder_per_class_with_locations(tmp_path: Path) -> None:
    for k, scene in enumerate(("bus", "park")):
        for place in range(6):
            for take in range(2):
                tone(tmp_path / "clips" / scene / f"{place}-{take}.wav", k)
    data = {"kind": "folder", "root": str(tmp_path / "clips"), "n_folds": 3}
    scenes = scene_set(recipe(data | {"location": "^(.*)-"}))
    assert {clip.location for clip in scenes.clips} == {
        f"{scene}/{place}" for scene in ("bus", "park") for place in range(6)
    }
    assert len(scene_set(recipe(data)).clips) == 24
    assert scene_set(recipe(data | {"seed": 1})).clips != scene_set(recipe(data)).clips
    with pytest.raises(DataError, match=r"nothing in 'bus/0-0\.wav' fits the location 'oslo'"):
        scene_set(recipe(data | {"location": "oslo"}))


def test_divided_refuses_what_is_not_there(tmp_path: Path) -> None:
    scenes = scene_set(recipe({"kind": "tau2019", "root": str(tau(tmp_path, "tau2019"))}))
    with pytest.raises(DataError, match="official split and no fold 2"):
        scenes.divided(2)
    whole = recipe({"kind": "tau2019", "root": str(tmp_path), "holdout": 0, "test_on": "test"})
    with pytest.raises(DataError, match="no part of tau2019 'validation'; there are test, train"):
        scene_set(whole).divided(1)
    generated = scene_set(recipe({"kind": "synthetic", "n_locations": 4}))
    with pytest.raises(DataError, match="no fold 5; its folds are 1, 2, 3, 4"):
        generated.divided(5)


SYNTHETIC = {
    "kind": "synthetic",
    "n_locations": 4,
    "clips_per_location": 1,
    "seconds": 0.2,
    "rate": 8000,
    "n_folds": 2,
}


def test_every_augmentation_trains_and_is_repeatable(tmp_path: Path) -> None:
    asked = recipe(
        SYNTHETIC,
        augmentations=[
            "frequency_mixstyle",
            {"kind": "gain", "most_db": 3},
            "mask_bands",
            {"kind": "mask_frames", "widest": 2},
            {"kind": "mixup", "alpha": 0.4},
            "time_roll",
        ],
    )
    data = split(asked, tmp_path / "cache", 1)
    cell = units(asked)[0].base
    rows = [train_base(cell, data, tmp_path / name) for name in "ab"]
    assert rows[0]["accuracy"] == rows[1]["accuracy"] and rows[0]["log_loss"] == rows[1]["log_loss"]
    augment, mix = augment_of(cell.augmentations, data).values()
    assert augment is not None and mix is not None
    again = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    x, y = data.x_train[:8], data.y_train[:8]
    assert torch.equal(augment(x, again[0]), augment(x, again[1]))
    _, shares = mix(x, y, again[0])
    assert shares.shape == (8, 10) and torch.allclose(shares.sum(1), torch.ones(8))
    assert "mask_frames" in repr(augment) and repr(mix) == "Mixing(alpha=0.4, n_classes=10)"


def test_a_gain_in_decibels_stays_one_after_standardising(tmp_path: Path) -> None:
    """Undone by each band's sd, every band of an example has moved by one number of decibels."""
    asked = recipe(SYNTHETIC, augmentations=["gain"])
    data = split(asked, tmp_path / "cache", 1)
    augment = augment_of(asked.augmentations, data)["augment"]
    assert augment is not None
    x = data.x_train[:5]
    moved = (augment(x, torch.Generator().manual_seed(0)) - x) / torch.tensor(data.per_db)[:, None]
    for one in moved:
        assert (one - one.mean()).abs().max() < 1e-3 and 0 < one.abs().max() <= 6


def test_without_augmentation_nothing_is_given(tmp_path: Path) -> None:
    asked = recipe(SYNTHETIC, augmentations=[])
    found = augment_of(asked.augmentations, split(asked, tmp_path, 1))
    assert found == {"augment": None, "mix": None}
