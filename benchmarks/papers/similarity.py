"""Do the criteria agree? Layers, whole networks, bottom sets, clusters, noise, explanation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from material import (
    CONTRASTS,
    CREPE,
    DATA,
    MOBILENET,
    NORMS,
    RESNET20,
    RESNET56,
    Subject,
    contrast,
    of_kind,
    published,
)
from pages import bounds, cell, table

from secateur.analysis.applicability import applicability
from secateur.analysis.ceiling import NoiseCeiling, noise_ceilings
from secateur.analysis.clusters import cluster_criteria
from secateur.analysis.explain import explain, predicted_rho
from secateur.analysis.global_pruning import global_pruning
from secateur.analysis.overlap import bottom_overlaps, overlap_summary
from secateur.analysis.similarity import SimilaritySummary, rank_correlations, summary
from secateur.analysis.tables import GLOBAL
from secateur.analysis.weights import Kind, layer_shapes
from secateur.channels.trace import trace
from secateur.criteria.calibrate import calibrate, merge
from secateur.criteria.score import score
from secateur.criteria.table import CRITERIA

PAIRS = [("l1", "l2"), ("l2", "fermat"), ("l2", "gm"), ("gm", "fermat")]


def section() -> str:
    parts = ["## Do the criteria agree?", ranks(), layer_kinds(), sets(), wiped(), explanation()]
    return "\n\n".join([*parts, families()])


def pairs_of(
    one: Subject, layers: Iterable[str] | None = None, resamples: int = 0
) -> dict[tuple[str, str], SimilaritySummary]:
    """Rank correlations of the norm criteria, by pair in the order of PAIRS' names."""
    scores = one.scores()
    if layers is not None:
        scores = of_kind(scores, layers)
    shapes = layer_shapes(one.weights)
    rows = rank_correlations(scores, shapes=shapes, resamples=resamples)
    found = {}
    for pair in summary(rows):
        found[pair.first, pair.second] = found[pair.second, pair.first] = pair
    return found


def subjects() -> list[Subject]:
    return [published(n) for n in (RESNET20, RESNET56)] + [contrast(n) for n in CONTRASTS]


def ranks() -> str:
    rows = []
    for one in subjects():
        found = pairs_of(one, resamples=200)
        row: list[object] = [one.title]
        for pair in PAIRS:
            row.append(f"{cell(found[pair].mean)} ({cell(found[pair].minimum)})")
        row.append(cell(found["l1", "l2"].expected_mean))
        for pair in (("l1", "l2"), ("l2", "gm")):
            whole = found[pair]
            row.append(bounds(whole.global_rho, whole.low, whole.high))
        row.append(cell(found["l1", "l2"].expected_global))
        rows.append(row)
    head = [
        "network",
        *(f"{a}–{b}" for a, b in PAIRS),
        "l1–l2 if iid",
        "global l1–l2",
        "global l2–gm",
        "global l1–l2 if iid",
    ]
    text = (
        "Spearman's rho over the filters of each convolution with at least 8 filters: mean over "
        "layers, in brackets the lowest layer; then over all filters together, with a bootstrap "
        "interval. *If iid*: the value for independent Gaussian filters of the same shapes and "
        "scales.\n\n"
    )
    return text + table(head, rows)


def layer_kinds() -> str:
    chosen: list[tuple[str, str, Kind | None]] = [
        (MOBILENET, "depthwise", "depthwise"),
        (MOBILENET, "1x1", "pointwise"),
        (CREPE, "all", None),
    ]
    pairs = [("l1", "l2"), ("l1", "gm"), ("l2", "gm"), ("gm", "fermat")]
    rows = []
    for name, title, kind in chosen:
        one = published(name)
        layers = [w.layer for w in one.weights if kind is None or w.kind == kind]
        found = pairs_of(one, layers)
        shown = [f"{cell(found[p].mean)} ({cell(found[p].minimum)})" for p in pairs]
        rows.append([f"{one.title}, {title}", len(layers), *shown])
    text = (
        "**Not everywhere.** Depthwise filters hold 9 numbers, and CREPE's are 64 samples long and "
        "differ in shape: there the criteria are different criteria.\n\n"
    )
    return text + table(["layers", "n", *(f"{a}–{b}" for a, b in pairs)], rows)


def sets() -> str:
    rows = []
    for name in (RESNET20, RESNET56):
        one = published(name)
        for pair in overlap_summary(bottom_overlaps(one.scores())):
            if (pair.first, pair.second) in (("l1", "l2"), ("l2", "gm")):
                names = f"{pair.first}–{pair.second}"
                rows.append(
                    [
                        one.title,
                        names,
                        pair.ratio,
                        f"{cell(pair.mean)} ({cell(pair.minimum)})",
                        pair.expected_mean,
                        pair.global_overlap,
                    ]
                )
    text = (
        "**Equal pruned sets are more than equal ranks.** Share of one criterion's lowest filters "
        "that are also the other's lowest; `if iid` as above.\n\n"
    )
    head = ["network", "pair", "ratio", "mean of layers (lowest)", "if iid", "global"]
    return text + table(head, rows)


def wiped() -> str:
    rows = []
    for name in (RESNET20, RESNET56):
        one = published(name)
        found = global_pruning(one.scores())
        for criterion in NORMS:
            for normalisation in ("none", "mean"):
                own = [
                    r for r in found if (r.criterion, r.normalisation) == (criterion, normalisation)
                ]
                counts = "/".join(str(row.n_wiped) for row in own)
                rows.append([one.title, criterion, normalisation, counts, own[0].n_layers])
    text = (
        "**Layers wiped out** by sorting all filters together, at 30/50/70 %. Over the layer mean, "
        "none is: global findings are findings about normalisation.\n\n"
    )
    return text + table(["network", "criterion", "normalisation", "wiped", "layers"], rows)


def explanation() -> str:
    rows = []
    for name in (RESNET20, RESNET56, MOBILENET, CREPE):
        one = published(name)
        shapes = layer_shapes(one.weights)
        correlations = rank_correlations(one.scores(("l1", "l2")))
        (found,) = explain(correlations, shapes)
        layers = {row.layer: row.rho for row in correlations if row.layer != GLOBAL}
        predicted = {row.layer: row.rho for row in predicted_rho(one.weights)}
        both = [
            (layers[k], predicted[k])
            for k in layers
            if layers[k] is not None and predicted[k] is not None
        ]
        measured, formula = np.mean(both, axis=0)
        spread = float(np.median([s.spread for s in shapes if s.spread is not None]))
        tails = float(np.median([s.tails for s in shapes if s.tails is not None]))
        shape = float(np.median([s.shapes for s in shapes if s.shapes is not None]))
        rows.append(
            [
                one.title,
                found.n_layers,
                spread,
                tails,
                shape,
                found.with_spread,
                found.with_tails,
                found.with_shapes,
                float(measured),
                float(formula),
            ]
        )
    text = (
        "**What explains it.** Over layers, the rank correlation of rho(l1, l2) with three "
        "properties: the *spread* of filter norms over its iid value, the *tails* (excess kurtosis "
        "within filters), and the *shapes* (how unequal l1 over l2 is between filters, over its "
        "iid value); medians of all three first. Last: mean rho, and what spread and tails "
        "predict for filters of one shape and independent weights. Where the prediction is far "
        "above the measurement, shapes differ, or weights within a filter go together.\n\n"
    )
    head = [
        "network",
        "layers",
        "spread",
        "tails",
        "shapes",
        "rho with spread",
        "with tails",
        "with shapes",
        "mean rho(l1, l2)",
        "predicted",
    ]
    return text + table(head, rows)


def families() -> str:
    """All criteria on ResNet-56, those that need data over two disjoint sets of images."""
    one = published(RESNET56)
    criteria = list(CRITERIA.values())
    streamed = [criterion for criterion in criteria if criterion.update is not None]
    channels = trace(one.model, one.example)
    halves = [
        calibrate(channels, streamed, batches, loss_fn=F.cross_entropy) for batches in images(2)
    ]
    found = [score(channels, streamed, calibration=half) for half in halves]
    ceilings = noise_ceilings(*({n: s.filters for n, s in half.items()} for half in found))
    whole = score(channels, criteria, calibration=merge(*halves))
    layers = set.intersection(*(set(own.filters) for own in whole.values()))
    scores = {n: {k: v for k, v in own.filters.items() if k in layers} for n, own in whole.items()}
    rows = rank_correlations(scores)
    clusters = cluster_criteria(summary(rows))
    noisy = applicability(
        {criterion.name: scores[criterion.name] for criterion in streamed}, ceilings=ceilings
    )
    lines = [
        [
            criterion.name,
            *ceiling(ceilings, criterion.name),
            sum(row.flag is not None for row in noisy if row.criterion == criterion.name),
        ]
        for criterion in streamed
    ]
    return (
        "**Families.** Clusters of "
        f"{len(criteria)} criteria on ResNet-56 by average linkage on 1 - the mean rho over "
        f"{len(layers)} layers, joined from rho {clusters.together_from:g} up; criteria that need "
        "data saw 512 images.\n\n"
        + "\n".join(f"- {', '.join(group)}" for group in clusters.clusters)
        + "\n\nNoise ceilings: rho of a criterion with itself over two disjoint sets of 256 "
        "images. No agreement with it can be asked to be higher. *Flagged*: layers in which its "
        "scores vary less than between the two sets, or by less than 5 %.\n\n"
        + table(["criterion", "mean of layers", "lowest layer", "global", "flagged"], lines)
    )


def ceiling(rows: Sequence[NoiseCeiling], criterion: str) -> list[object]:
    own = [row for row in rows if row.criterion == criterion]
    known = [row.rho for row in own if row.layer != GLOBAL and row.rho is not None]
    whole = next(row.rho for row in own if row.layer == GLOBAL)
    return [float(np.mean(known)), min(known), whole]


def images(parts: int, batches: int = 4) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Disjoint sets of training images of CIFAR-10, each so many batches of 64."""
    with np.load(DATA / "cifar10" / "cifar10_sample.npz") as file:
        x = torch.from_numpy(file["x_train"]).permute(0, 3, 1, 2) / 255
        y = torch.from_numpy(file["y_train"]).flatten().long()
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x - mean.view(3, 1, 1)) / sd.view(3, 1, 1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    chunks = order[: parts * batches * 64].view(parts, batches, 64)
    return [[(x[rows], y[rows]) for rows in part] for part in chunks]
