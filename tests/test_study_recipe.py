"""Recipes: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import pytest

from secateur.errors import RecipeError
from secateur.networks.families import NETWORKS
from secateur.study.features import Features
from secateur.study.recipe import NEED_DATA, Recipe, Run, read_recipe, recipe_from

TEXT = """
name: small
data: {kind: esc10, root: clips}
networks:
  - {kind: vgg, width: 8}
  - {kind: mobilenet}
sparsity: {penalty: bn_l1_proximal, total_shrink: [0, 1e-3, 0.5]}
training: {lr: 1e-1, epochs: 2}
pruning: {criteria: [l1, random], scopes: [uniform], ratios: [3e-1, 0.5]}
seeds: 2
"""

WITH_DATA = (
    *("taylor_l1", "taylor_l2", "taylor_fo", "taylor_gate", "snip", "fisher"),
    *("apoz", "mean_activation", "entropy", "hrank", "chip"),
    "compensated",
)


def plain(**changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "data": {"kind": "synthetic"},
        "networks": [{"kind": "vgg", "width": 8}],
        "sparsity": {"total_shrink": [0]},
        "pruning": {"criteria": ["l1"], "ratios": [0.5]},
        "seeds": 1,
    } | changes


KINDS = ", ".join(sorted([*NETWORKS, "own"]))


def own(**changes: Any) -> dict[str, Any]:
    return {"kind": "own", "name": "mine", "factory": "my_net:build"} | changes


def refusal(mapping: Any) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        recipe_from(mapping)
    head, *lines = str(caught.value).splitlines()
    assert head == (f"recipe given as a mapping has {len(lines)} problem{'s' * (len(lines) != 1)}:")
    return [line.removeprefix("  ") for line in lines]


def write(folder: Path, text: str, name: str = "study.yaml") -> Path:
    path = folder / name
    path.write_text(dedent(text))
    return path


def test_yaml_is_read_with_exponents_and_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, TEXT))
    assert recipe.sparsity.total_shrink == (0.0, 0.001, 0.5)
    assert recipe.training.lr == 0.1
    assert recipe.pruning.ratios == (0.3, 0.5)
    assert [(network.kind, network.width) for network in recipe.networks] == [
        ("vgg", 8),
        ("mobilenet", 16),
    ]
    assert recipe.repetitions() == (Run(fold=1, seed=1), Run(fold=2, seed=2))


def test_paths_start_at_the_recipes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    path = write(tmp_path / "recipes", TEXT)
    monkeypatch.chdir(tmp_path)
    for way in (path, path.relative_to(tmp_path)):
        recipe = read_recipe(way)
        assert recipe.data.kind == "esc10"
        assert recipe.data.root == tmp_path / "recipes" / "clips"


def test_own_networks_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    below = TEXT.replace("{kind: mobilenet}", "{kind: own, name: mine, factory: 'm:f'}")
    write(tmp_path / "nets", below, "base.yaml")
    path = write(tmp_path, "include: nets/base.yaml\nname: above\n")
    *_, here = read_recipe(path).networks
    assert here.kind == "own" and here.folder == tmp_path / "nets"
    *_, other = read_recipe(
        path, ["networks.1.folder=sub", "networks.1.arguments.width=8"]
    ).networks
    assert other.kind == "own" and other.folder == tmp_path / "sub"
    assert other.arguments == {"width": 8}


def test_json_is_read_too_with_tabs(tmp_path: Path) -> None:
    text = json.dumps(plain(), indent="\t")
    assert read_recipe(write(tmp_path, text, "study.json")) == recipe_from(plain())


def test_a_resolved_recipe_reads_as_itself(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, TEXT))
    again = recipe_from(json.loads(json.dumps(recipe.model_dump(mode="json"))))
    assert again == recipe


@pytest.mark.parametrize(
    "changes",
    [
        {"features": {"preset": "dcase2024"}},
        {"features": {"preset": "fast", "seconds": 5}},
        {"features": {"n_mels": 40, "log": "ln", "window": 2048}},
        {"augmentations": ["gain", {"kind": "mixup", "alpha": 0.4}]},
        {"data": {"kind": "tau2022", "root": "/x", "share": 25, "test_on": "test", "holdout": 0}},
        {"data": {"kind": "folder", "root": "/x", "location": "[^/]+$", "n_folds": 3}},
        {"data": {"kind": "esc50", "root": "/x"}},
        {"networks": [{"kind": "vgg"}, own(arguments={"widths": [8, 16], "norm": None})]},
        {"networks": [own(folder="/nets", lr=0.1, total_shrink=[0, 3])]},
    ],
)
def test_what_is_named_reads_as_itself_too(changes: dict[str, Any]) -> None:
    recipe = recipe_from(plain(**changes))
    assert recipe_from(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe


def test_merged_yaml_mappings_are_no_repeated_keys(tmp_path: Path) -> None:
    text = TEXT + "fine_tuning: &short {epochs: 1, lr: 0.01}\n"
    text = text.replace("training: {lr", "training: {<<: *short, lr").replace(
        text.splitlines()[-1] + "\n", ""
    )
    text = "fine_tuning: &short {epochs: 1, lr: 0.01}\n" + text.replace(", epochs: 2", "")
    recipe = read_recipe(write(tmp_path, text))
    assert (recipe.training.lr, recipe.training.epochs) == (0.1, 1)


def test_more_seeds_than_folds_begin_again_at_the_first() -> None:
    runs = recipe_from(plain(data={"kind": "synthetic", "n_folds": 2}, seeds=3)).repetitions()
    assert [(run.fold, run.seed) for run in runs] == [(1, 1), (2, 2), (1, 3)]


def test_the_json_schema_says_the_bounds() -> None:
    schema = Recipe.model_json_schema()
    assert schema["$defs"]["Pruning"]["properties"]["ratios"]["items"] == {
        "exclusiveMaximum": 1,
        "exclusiveMinimum": 0,
        "type": "number",
    }
    json.dumps(schema)


def test_a_recipe_is_frozen() -> None:
    recipe = recipe_from(plain())
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": 3}, "name: 3 is not allowed; give text"),
        ({"name": ""}, "name: '' is not allowed; give text"),
        (
            {"networks": [{"kind": "vgg", "widht": 8}]},
            "networks.0.widht: no key 'widht'; there are kind, lr, total_shrink, weight_decay, "
            "width; did you mean 'width'?",
        ),
        (
            {"networks": [{"kind": "vgg"}, {"kind": "resnet", "width": 2.5}]},
            "networks.1.width: 2.5 is not allowed; give a whole number of at least 1",
        ),
        (
            {"networks": [{"kind": "vgg", "width": True}]},
            "networks.0.width: True is not allowed; give a number",
        ),
        (
            {"networks": [{"kind": "mobilnet"}]},
            f"networks.0.kind: no kind 'mobilnet'; there are {KINDS}; did you mean 'mobilenet'?",
        ),
        (
            {"networks": [{"width": 8}]},
            f"networks.0.kind: missing; give one of {KINDS}",
        ),
        (
            {"networks": [8]},
            f"networks.0: 8 is not allowed; give a mapping with a kind ({KINDS})",
        ),
        (
            {"networks": []},
            f"networks: [] is not allowed; give a list of at least 1, each a mapping with a kind "
            f"({KINDS})",
        ),
        (
            {"networks": [{"kind": "vgg"}, {"kind": "vgg", "width": 8}]},
            "networks: vgg, vgg: rows name a network by its kind, or by its name if its kind is "
            "own; give each once, and other widths in a recipe of their own",
        ),
        (
            {"networks": [own(name="a"), own(name="a", arguments={"width": 8})]},
            "networks: a, a: rows name a network by its kind, or by its name if its kind is own; "
            "give each once, and other widths in a recipe of their own",
        ),
        (
            {"networks": [own(name="mobilenet")]},
            "networks.0.name: 'mobilenet' means something else already; give another name",
        ),
        (
            {"networks": [own(name="a b")]},
            "networks.0.name: 'a b' is no name; give letters, digits, and any of _ . - after one",
        ),
        (
            {"networks": [own(factory="my_net.py:build")]},
            "networks.0.factory: 'my_net.py:build' is no factory; write module:function, as in "
            "my_net:build for the function build of my_net.py",
        ),
        (
            {"networks": [own(factory="my_net")]},
            "networks.0.factory: 'my_net' is no factory; write module:function, as in "
            "my_net:build for the function build of my_net.py",
        ),
        (
            {"networks": [own(arguments=[8])]},
            "networks.0.arguments: [8] is not allowed; give a mapping",
        ),
        (
            {"networks": [own(arguments={"width": float("nan")})]},
            "networks.0.arguments: width is nan; give a finite number, text, true, false, null, "
            "or a list or mapping of these",
        ),
        (
            {"networks": [own(width=8)]},
            "networks.0.width: no key 'width'; there are arguments, factory, folder, kind, lr, "
            "name, total_shrink, weight_decay",
        ),
        ({"data": {"kind": "esc10"}}, "data.root: missing; give a path"),
        ({"data": {"kind": "esc10", "root": 3}}, "data.root: 3 is not allowed; give a path"),
        (
            {"data": {"kind": "esc11", "root": "x"}},
            "data.kind: no kind 'esc11'; there are esc10, esc50, folder, synthetic, tau2019, "
            "tau2020, tau2022; did you mean 'esc10'?",
        ),
        (
            {"data": {"kind": "tau2022", "root": "x", "share": 20}},
            "data.share: 20 is not allowed; give one of 5, 10, 25, 50, 100",
        ),
        (
            {"data": {"kind": "tau2020", "root": "x", "share": 25}},
            "data.share: no key 'share'; there are holdout, kind, on_bad, root, seed, test_on",
        ),
        (
            {"data": {"kind": "tau2020", "root": "x", "holdout": 0}},
            "data: holdout 0 leaves nothing to validate on; give a share such as 0.15, or say "
            "test_on: test to train on the whole training list",
        ),
        (
            {"data": {"kind": "folder", "root": "x", "location": "(a"}},
            "data: location '(a' is no regular expression: missing ), unterminated subpattern at "
            "position 0",
        ),
        (
            {
                "data": {"kind": "tau2020", "root": "x"},
                "seeds": None,
                "runs": [{"fold": 2, "seed": 1}],
            },
            "runs.0.fold: 2 is not allowed; the data has folds 1 to 1",
        ),
        (
            {"augmentations": ["mixpu"]},
            "augmentations.0.kind: no kind 'mixpu'; there are frequency_mixstyle, gain, "
            "mask_bands, mask_frames, mixup, time_roll; did you mean 'mixup'?",
        ),
        (
            {"augmentations": ["time_roll", {"kind": "mixup", "p": 0.5}]},
            "augmentations.1.p: no key 'p'; there are alpha, kind",
        ),
        (
            {"augmentations": [{"kind": "mixup", "alpha": 0}]},
            "augmentations.0.alpha: 0 is not allowed; give a number above 0",
        ),
        (
            {"augmentations": [3]},
            "augmentations.0: 3 is not allowed; give a mapping with a kind (frequency_mixstyle, "
            "gain, mask_bands, mask_frames, mixup, time_roll)",
        ),
        (
            {"augmentations": ["mixup", {"kind": "mixup", "alpha": 1}]},
            "augmentations: mixup is given twice; give each once",
        ),
        (
            {"features": {"preset": "dcase2023"}},
            "features.preset: no choice 'dcase2023'; there are cpjku, dcase2022, dcase2024, esc, "
            "fast; did you mean 'dcase2024'?",
        ),
        (
            {"features": {"preset": "fast", "n_mels": 40, "hop": 100}},
            "features: preset fast and hop, n_mels are given; beside a preset only seconds may be",
        ),
        (
            {"features": {"n_mels": 4000}},
            "features: n_mels=4000: 1625 of its bands hold no bin of the transform with "
            "n_fft=4096; lower n_mels or raise n_fft",
        ),
        (
            {"data": {"kind": "synthetic", "n_locations": 3}},
            "data: n_locations 3 is too few for n_folds 4; "
            "no location may be in two folds, give at least one a fold",
        ),
        (
            {"sparsity": {"total_shrink": [0.5]}},
            "sparsity.total_shrink: 0, the dense network, is not among them; "
            "all are measured against it",
        ),
        (
            {"sparsity": {"total_shrink": [0, -1]}},
            "sparsity.total_shrink.1: -1 is not allowed; give a number of at least 0",
        ),
        (
            {"sparsity": {"total_shrink": [0, 1, 1.0]}},
            "sparsity.total_shrink: 1.0 is given twice; give each once",
        ),
        (
            {"sparsity": {"total_shrink": [0], "ramp": float("nan")}},
            "sparsity.ramp: nan is not allowed; give a number of at least 0 and at most 1",
        ),
        (
            {"sparsity": {"total_shrink": [0], "penalty": "bn_l2"}},
            "sparsity.penalty: no choice 'bn_l2'; there are bn_l1, bn_l1_proximal, deep_hoyer, "
            "group_lasso, group_lasso_proximal, group_norm, growing_l2, polarization; "
            "did you mean 'bn_l1'?",
        ),
        (
            {"training": {"lr": "fast"}},
            "training.lr: 'fast' is not allowed; give a number above 0",
        ),
        (
            {"pruning": {"criteria": ["l1norm"], "ratios": [0.5]}},
            "pruning.criteria.0: no choice 'l1norm'; there are apoz, bn_scale, "
            "bn_shift, chip, compensated, cosine, entropy, fermat, fisher, gm, hrank, l1, l2, "
            "lamp, mean_activation, random, snip, taylor_fo, taylor_gate, taylor_l1, taylor_l2; "
            "did you mean 'l1'?",
        ),
        (
            {"pruning": {"criteria": [1], "ratios": [0.5]}},
            "pruning.criteria.0: 1 is not allowed; give one of l1, l2, gm, fermat, bn_scale, "
            f"bn_shift, lamp, cosine, random, {', '.join(WITH_DATA)}",
        ),
        (
            {"pruning": {"criteria": "l1", "ratios": [0.5]}},
            "pruning.criteria: 'l1' is not allowed; give a list of at least 1, "
            "each one of l1, l2, gm, fermat, bn_scale, bn_shift, lamp, cosine, random, "
            f"{', '.join(WITH_DATA)}",
        ),
        (
            {"pruning": {"criteria": ["l1"], "ratios": [0.5, 1]}},
            "pruning.ratios.1: 1 is not allowed; give a number above 0 and below 1",
        ),
        (
            {"pruning": {"criteria": ["l1"], "ratios": [0.5], "repair": "reconstrukt"}},
            "pruning.repair.0: no choice 'reconstrukt'; there are batch_norm, bias, none, "
            "reconstruct; did you mean 'reconstruct'?",
        ),
        (
            {"pruning": {"criteria": ["l1"], "ratios": [0.5], "repair": True}},
            "pruning.repair: True is not allowed; give a list of at least 1, each one of none, "
            "batch_norm, bias, reconstruct",
        ),
        (
            {"pruning": {"criteria": ["l1"], "ratios": [0.5], "repair": ["bias", "bias"]}},
            "pruning.repair: bias is given twice; give each once",
        ),
        (
            {"pruning": {"criteria": ["l1"], "ratios": [0.5], "repair_inputs": 1}},
            "pruning.repair_inputs: 1 is not allowed; give a whole number of at least 2",
        ),
        (
            {"features": {"f_max": 30000}},
            "features: f_min 50 and f_max 30000 do not fit rate 44100; give f_min < f_max <= 22050",
        ),
        (
            {"seeds": None},
            "neither of runs and seeds given; give runs, a list of fold and seed, "
            "or seeds, how many",
        ),
        (
            {"runs": [{"fold": 1, "seed": 1}]},
            "both of runs and seeds given; give runs, a list of fold and seed, or seeds, how many",
        ),
        (
            {"seeds": None, "runs": [{"fold": 6, "seed": 1}]},
            "runs.0.fold: 6 is not allowed; the data has folds 1 to 4",
        ),
        (
            {"seeds": None, "runs": [{"fold": 1, "seed": 1}, {"fold": 1, "seed": 1}]},
            "runs: fold 1, seed 1 is given twice; give each once",
        ),
        (
            {"seeds": None, "runs": [{"fold": 0, "seed": 1}]},
            "runs.0.fold: 0 is not allowed; give a whole number of at least 1",
        ),
        ({"left_out": "all"}, "left_out: 'all' is not allowed; give a list, each text"),
        ({3: 4}, "3: key 3 is not text; keys are words"),
    ],
)
def test_every_wrong_value_is_named_with_its_path(changes: dict[Any, Any], line: str) -> None:
    assert refusal(plain() | changes) == [line]


def test_all_problems_are_said_at_once() -> None:
    lines = refusal(plain(name=1, seeds=0, pruning={"criteria": ["l3"], "ratios": [2]}, epochs=3))
    assert [line.partition(":")[0] for line in lines] == [
        "name",
        "pruning.criteria.0",
        "pruning.ratios.0",
        "seeds",
        "epochs",
    ]


def test_missing_parts_are_named() -> None:
    assert refusal({}) == [
        "name: missing; give text",
        "data: missing; give a mapping with a kind (esc10, esc50, folder, synthetic, tau2019, "
        "tau2020, tau2022)",
        f"networks: missing; give a list of at least 1, each a mapping with a kind ({KINDS})",
        "sparsity: missing; give a mapping with the keys penalty, total_shrink, ramp, bn_init",
        "pruning: missing; give a mapping with the keys criteria, scopes, ratios, fewer_macs, "
        "round_to, reduction, normalisation, calibration, repair, repair_inputs, from_scratch",
    ]


@pytest.mark.parametrize(
    ("pruning", "said"),
    [
        ({}, "neither of ratios and fewer_macs given; give ratios, shares of channels to remove"),
        ({"ratios": [0.5], "fewer_macs": [2]}, "both of ratios and fewer_macs given; "),
        ({"fewer_macs": [1]}, "pruning.fewer_macs.0: 1 is not allowed; give a number above 1"),
        (
            {"ratios": [0.5], "from_scratch": True, "scopes": ["global"]},
            "from_scratch trains the sizes of uniform cuts; give uniform among the scopes",
        ),
    ],
)
def test_how_much_is_cut_is_asked_in_one_way(pruning: dict[str, Any], said: str) -> None:
    (problem,) = refusal(plain(pruning={"criteria": ["l1"]} | pruning))
    assert said in problem


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "", "recipe {} is empty; give at least name, data and networks"),
        ("a.json", " \n", "recipe {} is empty; give at least name, data and networks"),
        ("a.yaml", "- 1\n", "recipe {} holds [1]; a recipe is a mapping of keys to values"),
        (
            "a.yaml",
            "name: x\nnetworks: [a\nseeds: 1\n",
            "cannot read recipe {}: line 3, column 6 is not YAML: expected ',' or ']', but got ':'",
        ),
        (
            "a.json",
            '{\n"name": }',
            "cannot read recipe {}: line 2, column 9 is not JSON: Expecting value",
        ),
        (
            "a.yaml",
            "name: x\ndata: {kind: esc10, kind: synthetic}\nname: y\n",
            "recipe {} has 2 problems:\n"
            "  line 2: key 'kind' was given in line 2 already; keep one\n"
            "  line 3: key 'name' was given in line 1 already; keep one",
        ),
        (
            "a.json",
            '{"name": 1, "name": 2}',
            "recipe {} has 1 problem:\n  key 'name' is given twice in one mapping; keep one",
        ),
        (
            "a.yaml",
            "name: !!python/object:os.system x\n",
            "cannot read recipe {}: line 1, column 7 is not YAML: could not determine a "
            "constructor for the tag 'tag:yaml.org,2002:python/object:os.system'",
        ),
        (
            "a.yaml",
            "name: 2026-13-45\n",
            "cannot read recipe {}: it is not YAML: month must be in 1..12",
        ),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = write(tmp_path, text, name)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(caught.value) == said.format(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read recipe .*none\.yaml: No such file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match=r"cannot read recipe .*: Is a directory"):
        read_recipe(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: Bäche".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin\.yaml: it is not text in UTF-8"):
        read_recipe(tmp_path / "latin.yaml")


def test_the_fields_are_those_of_the_library() -> None:
    from secateur.criteria.table import CRITERIA
    from secateur.plan.normalise import NORMALISATIONS
    from secateur.plan.select import SCOPES
    from secateur.pruning import REPAIRS
    from secateur.scenes.chain import AUGMENTATIONS, arguments_of
    from secateur.scenes.logmel import LogMel
    from secateur.scenes.presets import PRESETS
    from secateur.scenes.synthesis import Synthesis
    from secateur.train.schedule import Training

    recipe = recipe_from(plain())
    assert recipe.data.kind == "synthetic"
    assert Synthesis(**recipe.data.arguments()) == Synthesis()
    assert recipe.features.settings() == LogMel()
    assert set(Features.model_fields) - {"preset"} == {field.name for field in fields(LogMel)}
    assert set(get_args(get_args(Features.model_fields["preset"].annotation)[0])) == set(PRESETS)
    for name in AUGMENTATIONS:
        (one,) = recipe_from(plain(augmentations=[name])).augmentations
        assert one.arguments() == arguments_of(name)
    assert Training(**recipe.training.model_dump()) == Training()
    properties = Recipe.model_json_schema()["$defs"]["Pruning"]["properties"]
    assert set(properties["criteria"]["items"]["enum"]) == set(CRITERIA)
    assert {name for name, criterion in CRITERIA.items() if criterion.update} == NEED_DATA
    assert set(properties["scopes"]["items"]["enum"]) == set(SCOPES)
    assert properties["repair"]["items"]["enum"] == list(REPAIRS)
    assert set(properties["normalisation"]["enum"]) == set(NORMALISATIONS)


def test_a_repair_alone_is_a_list_of_one() -> None:
    def repairs(**given: Any) -> tuple[str, ...]:
        pruning = {"criteria": ["l1"], "ratios": [0.5]} | given
        return recipe_from(plain(pruning=pruning)).pruning.repair

    assert repairs() == ("none",)
    assert repairs(repair="reconstruct") == repairs(repair=["reconstruct"]) == ("reconstruct",)
    assert repairs(repair=["none", "bias"]) == ("none", "bias")
