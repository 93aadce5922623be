"""Bad input at places that no other test reaches; scripts/raised.py lists them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import trace
from secateur.cli.main import main
from secateur.cli.scenes_train import check_answers
from secateur.deploy.latency import measure_latencies
from secateur.deploy.quantise import quantise
from secateur.errors import (
    BudgetError,
    DataError,
    DeployError,
    PlanError,
    RecipeError,
    SecateurError,
    TraceError,
)
from secateur.networks.factory import call_factory
from secateur.networks.vgg import vgg
from secateur.plan.budget import Budget
from secateur.plan.reach import check_reach
from secateur.scenes.datasets import Clip, SceneSet, esc50
from secateur.scenes.folders import by_expression, folder_per_class
from secateur.study.parse import read_mapping

VGG = "secateur.networks.vgg:vgg"


class Counts(nn.Module):
    """Answers with a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> int:
        return len(self.conv(x))


class WideOnly(nn.Module):
    """Runs its second convolution on wide inputs only."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1)
        self.second = nn.ConvTranspose2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(x) if x.shape[-1] > 4 else x


def refused(error: type[SecateurError], words: str, act: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        act()
    assert type(caught.value) is error
    assert words in str(caught.value)


def test_a_network_that_returns_no_tensor() -> None:
    refused(
        TraceError,
        "Counts.forward gives back int '1', in which there is no tensor",
        lambda: trace(Counts(), torch.zeros(1, 1, 4, 4)),
    )


def test_a_budget_for_a_network_of_which_nothing_can_go() -> None:
    channels = trace(nn.Linear(3, 2), torch.zeros(1, 3))
    assert channels.groups == ()
    refused(
        BudgetError,
        "no group of channels can be pruned (weight",
        lambda: check_reach(channels, Budget(pruning_ratio=0.5)),
    )


def test_ignore_is_a_tuple_of_names() -> None:
    refused(
        BudgetError,
        "ignore is a tuple of group names; got 3",
        lambda: Budget(pruning_ratio=0.5, ignore=3),  # type: ignore[arg-type]
    )


def test_measuring_with_an_example_that_leaves_a_layer_out() -> None:
    model = WideOnly()
    channels: ChannelMap = trace(model, torch.zeros(1, 1, 8, 8))
    refused(
        PlanError,
        "runs with this example; measure the network with the example it was traced with",
        lambda: measure_latencies(channels.of(model, torch.zeros(1, 1, 4, 4)), repetitions=1),
    )


def test_quantising_without_data(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    nothing = np.zeros((0, 1, 8, 8), np.float32)
    refused(
        DeployError,
        "quantising needs calibration inputs and there are 0",
        lambda: quantise(tmp_path / "m.onnx", tmp_path / "q.onnx", nothing),
    )


@pytest.mark.parametrize(
    ("factory", "arguments", "words"),
    [
        (VGG, {"widht": 4}, "cannot be called: vgg() got an unexpected keyword argument 'widht'"),
        ("secateur.version:__version__", {}, "__version__ is no function; a factory returns"),
        ("broken_factory:build", {}, "importing 'broken_factory' failed: ZeroDivisionError"),
        ("absent_factory:build", {}, "cannot import 'absent_factory'"),
        ("secateur.networks.vgg:wgg", {}, "'secateur.networks.vgg' has no function 'wgg'"),
        ("secateur.networks.vgg", {}, "write package.module:function"),
    ],
)
def test_a_factory_that_makes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    factory: str,
    arguments: dict[str, object],
    words: str,
) -> None:
    (tmp_path / "broken_factory.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused(SecateurError, words, lambda: call_factory(factory, arguments))


def test_the_command_line_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["secateur", "latency", VGG, "--repetitions", "0"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == "secateur: --repetitions is a whole number from 1; got 0\n"


def test_features_that_the_network_cannot_take() -> None:
    model = call_factory(VGG, {"width": 4})
    refused(
        DataError,
        "own cannot be called with features (3, 8, 8)",
        lambda: check_answers(model, torch.zeros(2, 3, 8, 8), 10, "own"),
    )
    refused(
        DataError,
        "the labels must be the same",
        lambda: check_answers(vgg(width=4), torch.zeros(2, 1, 32, 33), 3, "own"),
    )


def toy(folds: tuple[int, ...], parts: dict[int, str]) -> SceneSet:
    clips = tuple(Clip(str(k), 0, fold) for k, fold in enumerate(folds))
    return SceneSet("toy", ("p",), clips, lambda clip: (np.zeros(1), 1), "0", parts)


@pytest.mark.parametrize(
    ("scenes", "asked", "words"),
    [
        (toy((1, 2), {}), {"fold": 3}, "toy has no fold 3; its folds are 1, 2"),
        (toy((1, 1), {}), {"fold": 1}, "toy: 0 clips to train on and 2 to test on"),
        (
            toy((1, 2), {1: "train", 2: "test"}),
            {"test_on": "validation"},
            "no part of toy 'validation'; there are test, train",
        ),
        (
            toy((1, 2), {1: "train", 2: "test"}),
            {"fold": 2, "test_on": "test"},
            "toy has an official split and no fold 2; leave the fold out",
        ),
    ],
)
def test_a_split_that_is_not_there(scenes: SceneSet, asked: dict[str, object], words: str) -> None:
    refused(DataError, words, lambda: scenes.divided(**asked))  # type: ignore[arg-type]


def test_a_part_that_is_not_there() -> None:
    scenes = toy((1, 2), {1: "train", 2: "test"})
    refused(
        DataError, "no part of toy 'tests'; there are test, train", lambda: scenes.part("tests")
    )


def test_esc50_that_is_not_there_or_lists_nothing(tmp_path: Path) -> None:
    refused(DataError, "meta/esc50.csv is not there", lambda: esc50(tmp_path))
    (tmp_path / "meta").mkdir()
    listing = tmp_path / "meta" / "esc50.csv"
    listing.write_text("filename,fold,target,category,esc10,src_file,take\n")
    refused(DataError, "lists no clip; restore the original listing", lambda: esc50(tmp_path))


def test_folders_that_cannot_be_divided_or_placed(tmp_path: Path) -> None:
    refused(DataError, "n_folds=1: give at least 2", lambda: folder_per_class(tmp_path, n_folds=1))
    where = by_expression(tmp_path, r"-(\w+)-")
    refused(
        DataError,
        "nothing in 'bus/01.wav' fits the location",
        lambda: where(tmp_path / "bus" / "01.wav"),
    )


def test_a_recipe_with_characters_that_yaml_forbids(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: a\x01b\n")
    refused(RecipeError, "it is not YAML: unacceptable character", lambda: read_mapping(path))
