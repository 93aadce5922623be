"""How sparse are the channels? Weight Skewness with its companions, both definitions."""

from __future__ import annotations

import numpy as np
from material import (
    CREPE,
    DENSE,
    MOBILENET,
    RESNET20,
    RESNET56,
    SPARSE,
    Subject,
    contrast,
    published,
)
from pages import table
from scipy import stats
from torch import nn

from secateur.analysis.skewness import LIMITS, Definition, skewness_summary
from secateur.channels.trace import trace
from secateur.train.sparsity import skewness

DEFINITIONS: tuple[Definition, ...] = ("bn_scale", "filter_l1")


def section() -> str:
    rows, cautions = [], []
    subjects = [published(name) for name in (RESNET20, RESNET56, MOBILENET, CREPE)]
    subjects += [contrast(name) for name in (DENSE, SPARSE)]
    for one in subjects:
        channels = trace(one.model, one.example)
        for definition in DEFINITIONS:
            found = skewness(channels, definition)
            pool = found[-1]
            if not pool.n:
                rows.append([one.title, definition, 0, *["-"] * 8])
                continue
            (whole,) = skewness_summary(found)
            rows.append(
                [
                    one.title,
                    definition,
                    pool.n,
                    pool.ws,
                    pool.ws_se,
                    pool.ws_jackknife_se,
                    whole.mean_ws,
                    pool.gini,
                    pool.hoyer,
                    pool.pq_index,
                    pool.inactive_share,
                ]
            )
            cautions += [f"- {one.title}, {definition}: {text}" for text in whole.cautions]
    head = [
        "network",
        "weight of a channel",
        "channels",
        "WS pooled",
        "± sqrt(6/n)",
        "± jackknife",
        "WS, mean of layers",
        "Gini",
        "Hoyer",
        "PQ",
        "inactive",
    ]
    text = (
        "## How sparse are the channels?\n\n"
        "Weight Skewness over the channels that can be pruned, never without its companions.\n\n"
    )
    limits = "\n\nIts limits:\n\n" + "\n".join(f"- {limit}" for limit in LIMITS)
    bite = "\n\nWhere they bite here:\n\n" + "\n".join(cautions)
    return text + table(head, rows) + limits + bite + "\n\n" + with_pinned()


def with_pinned() -> str:
    """Over every batch norm, pinned channels included."""
    rows = []
    for name in (RESNET20, RESNET56):
        one: Subject = published(name)
        scales = [
            m.weight.detach().abs().double().numpy()
            for m in one.model.modules()
            if isinstance(m, nn.BatchNorm2d)
        ]
        pooled = float(stats.skew(np.concatenate(scales), bias=False))
        layers = [float(np.mean([stats.skew(s, bias=b) for s in scales])) for b in (False, True)]
        rows.append([one.title, sum(map(len, scales)), pooled, *layers])
    text = (
        "**With channels that cannot be pruned.** The shortcut of these ResNets pads channels with "
        "zeros, which pins some to a fixed width; leaving them out moves the pooled value "
        "most. Over every batch norm of the network:\n\n"
    )
    head = [
        "network",
        "channels",
        "WS pooled",
        "mean of layers",
        "mean of layers, biased g1",
    ]
    return text + table(head, rows)
