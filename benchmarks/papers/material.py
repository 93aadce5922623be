"""Networks that the tables are about: published ones, and contrasts made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paths import ROOT
from torch import nn

from real_networks import DATA, REAL
from secateur.analysis.weights import LayerWeights, kind_of
from secateur.channels.trace import trace
from secateur.criteria.score import score
from secateur.criteria.table import CRITERIA
from secateur.errors import SecateurError
from secateur.surgery.package import load
from secateur.surgery.weights import load_weights

NORMS = ("l1", "l2", "fermat", "gm")
LEAST_FILTERS = 8
Scores = dict[str, dict[str, np.ndarray]]

RESNET20, RESNET56 = "cifar10_resnet20", "cifar10_resnet56"
MOBILENET, CREPE = "visual_wake_words_mobilenet_v1_025", "pitch_crepe_tiny"
TITLES = {
    RESNET20: "ResNet-20",
    RESNET56: "ResNet-56",
    "cifar10_resnet8": "ResNet-8",
    MOBILENET: "MobileNetV1 x0.25",
    CREPE: "CREPE tiny",
}
RANDOM, SHUFFLED = "ResNet-56, random", "ResNet-56, shuffled"
DENSE, SPARSE = "VGG on scenes, dense", "VGG on scenes, sparsified"
CONTRASTS = (RANDOM, SHUFFLED, DENSE, SPARSE)
"""Not published: a fresh initialisation, trained weights shuffled within layers, and a VGG trained
here on generated scenes without and with a penalty on its batch-norm scales."""


class NoDataError(SecateurError):
    """The published networks are not at hand."""


@dataclass(frozen=True)
class Subject:
    """One network: its convolutions with at least 8 filters, and how its criteria score them."""

    title: str
    model: nn.Module
    example: torch.Tensor
    weights: tuple[LayerWeights, ...]

    def scores(self, criteria: Iterable[str] = NORMS, **kwargs: Any) -> Scores:
        """Scores by criterion and layer, of the convolutions in `weights`."""
        channels = trace(self.model, self.example)
        found = score(channels, [CRITERIA[name] for name in criteria], **kwargs)
        names = [one.layer for one in self.weights]
        return {
            name: {layer: values.filters[layer] for layer in names if layer in values.filters}
            for name, values in found.items()
        }


def need_data() -> None:
    """Refuse where the published networks are not at hand."""
    if not (DATA / "weights").is_dir():
        raise NoDataError(f"no trained networks in {DATA / 'weights'}; set SECATEUR_DATA")


@cache
def published(name: str) -> Subject:
    need_data()
    model, example = _built(name)
    load_weights(model, DATA / "weights" / f"{name}.safetensors")
    return subject(TITLES[name], model, example)


@cache
def contrast(title: str) -> Subject:
    if title in (DENSE, SPARSE):
        return _trained_here()[title]
    model, example = _built(RESNET56)
    if title == SHUFFLED:
        need_data()
        load_weights(model, DATA / "weights" / f"{RESNET56}.safetensors")
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in _convolutions(model).values():
                flat = layer.weight.flatten()
                order = torch.randperm(len(flat), generator=generator)
                layer.weight.copy_(flat[order].view_as(layer.weight))
    else:
        for layer in _convolutions(model).values():
            nn.init.kaiming_normal_(layer.weight)
    return subject(title, model, example)


def subject(title: str, model: nn.Module, example: torch.Tensor) -> Subject:
    weights = tuple(
        LayerWeights(name, values, kind_of(values.shape, layer.groups))
        for name, layer in _convolutions(model).items()
        if len(values := layer.weight.detach().numpy()) >= LEAST_FILTERS
    )
    return Subject(title, model, example, weights)


def of_kind(scores: Mapping[str, Mapping[str, np.ndarray]], layers: Iterable[str]) -> Scores:
    """Scores of some layers alone."""
    chosen = set(layers)
    return {name: {k: v for k, v in own.items() if k in chosen} for name, own in scores.items()}


def _built(name: str) -> tuple[nn.Module, torch.Tensor]:
    build, shape = REAL[name]
    torch.manual_seed(0)
    return build().eval(), torch.zeros(2, *shape)


def _convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {n: layer for n, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}


@cache
def _trained_here() -> dict[str, Subject]:
    """About a minute on one core the first time; kept in out/benchmarks/papers."""
    from secateur.networks.vgg import vgg
    from secateur.study.cells import units
    from secateur.study.data import split
    from secateur.study.recipe import read_recipe
    from secateur.study.run import train_base

    recipe = read_recipe(Path(__file__).with_name("sparse.yaml"))
    folder = ROOT / "out" / "benchmarks" / "papers"
    found = {}
    for unit in units(recipe):
        cell = unit.base
        data = split(recipe, folder / "features", cell.fold)
        place = folder / cell.id
        if not (place / "network.safetensors").exists():
            place.mkdir(parents=True, exist_ok=True)
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # the same weights on any number of cores
            row = train_base(cell, data, place)
            torch.set_num_threads(threads)
            print(f"{cell.id}: accuracy {row['accuracy']:.3f}, inactive {row['inactive']:.2f}")

        def build(width: int = cell.network.width, classes: int = data.n_classes) -> nn.Module:
            return vgg(classes, width)

        title = SPARSE if cell.total_shrink else DENSE
        model = load(place / "network.safetensors", build).eval()
        found[title] = subject(title, model, data.x_train[:2])
    return found
