"""How long the statistics take: a network of over a hundred layers, one thread."""

from __future__ import annotations

import time

import numpy as np
import torch
from material import subject
from pages import table
from torch import nn

from secateur.analysis.applicability import applicability
from secateur.analysis.clusters import cluster_criteria
from secateur.analysis.distribution import distribution
from secateur.analysis.explain import explain
from secateur.analysis.global_pruning import global_pruning
from secateur.analysis.overlap import bottom_overlaps
from secateur.analysis.similarity import rank_correlations, summary
from secateur.analysis.weights import layer_shapes
from secateur.criteria.table import CRITERIA

BLOCKS = (3, 8, 36, 3)


class Bottlenecks(nn.Module):
    """The convolutions of ResNet-152, 151 of them, one after the other; no shortcuts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(64)]
        n_in = 64
        for stage, blocks in enumerate(BLOCKS):
            width = 64 * 2**stage
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                shapes = [(n_in, width, 1, 1), (width, width, 3, stride)]
                for a, b, kernel, step in [*shapes, (width, 4 * width, 1, 1)]:
                    layers += [nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False)]
                    layers += [nn.BatchNorm2d(b), nn.ReLU()]
                n_in = 4 * width
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(n_in, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.layers(self.stem(x)).mean((2, 3)))
        return logits


def section() -> str:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    one = subject("ResNet-152", Bottlenecks().eval(), torch.zeros(1, 3, 64, 64))
    names = [criterion.name for criterion in CRITERIA.values() if criterion.update is None]
    rows: list[list[object]] = []
    began = time.process_time()

    def took(what: str) -> None:
        nonlocal began
        rows.append([what, round(time.process_time() - began, 2)])
        began = time.process_time()

    scores = one.scores(names)
    took(f"scoring by {len(names)} criteria")
    shapes = layer_shapes(one.weights)
    took("shapes of layers")
    correlations = rank_correlations(scores, shapes=shapes)
    took("rank correlations, expected values")
    bottom_overlaps(scores)
    took("bottom sets at four ratios")
    cluster_criteria(summary(correlations))
    explain(correlations, shapes)
    took("clusters and explanation")
    applicability(scores, shapes=shapes)
    global_pruning(scores)
    took("applicability and global pruning")
    distribution(one.weights)
    took("distribution, 200 coordinates a layer")
    rows.append(["**together**", round(sum(float(str(row[1])) for row in rows), 2)])
    began = time.process_time()
    rank_correlations(scores, resamples=200)
    took("besides: intervals, 200 resamples")
    rng = np.random.default_rng(0)
    twenty = {
        f"c{k}": {w.layer: rng.gamma(2, 1, len(w.values)) for w in one.weights} for k in range(20)
    }
    began = time.process_time()
    rank_correlations(twenty)
    took("besides: rank correlations of 20 criteria")
    rank_correlations(twenty, resamples=200)
    took("besides: the same with intervals, 200 resamples")
    n_filters = sum(len(w.values) for w in one.weights)
    text = (
        "## How long it takes\n\n"
        f"The {len(one.weights)} convolutions of ResNet-152, {n_filters:,} filters, fresh "
        "weights; seconds of CPU on one thread.\n\n"
    )
    return text + table(["step", "seconds"], rows)
