"""Can the criteria choose? Spread of scores, over-dispersion, gaps between layers."""

from __future__ import annotations

from collections import Counter

import numpy as np
from material import CONTRASTS, CREPE, MOBILENET, RANDOM, RESNET20, RESNET56, contrast, published
from pages import table

from secateur.analysis.applicability import Applicability, applicability
from secateur.analysis.global_pruning import layer_gaps
from secateur.analysis.weights import layer_shapes

CRITERIA_SHOWN = ("l1", "l2", "fermat", "gm", "bn_scale", "lamp", "cosine")


def section() -> str:
    text = (
        "## Can the criteria choose?\n\n"
        "Median over layers of the coefficient of variation (CV) of scores, of its ratio to the "
        "value for iid Gaussian filters, and of the share of pairs closer than 1 % of the mean; "
        "how many layers are flagged as *not applicable* (CV below 5 %); and the largest layer "
        "mean over the smallest.\n\n"
    )
    rows = []
    flags = []
    published_ones = [published(name) for name in (RESNET20, RESNET56, MOBILENET, CREPE)]
    for one in [*published_ones, *(contrast(name) for name in CONTRASTS)]:
        names = [c for c in CRITERIA_SHOWN if c != "bn_scale" or one.title != "CREPE tiny"]
        scores = one.scores(names)
        found = applicability(scores, shapes=layer_shapes(one.weights))
        gaps = {row.criterion: row.gap for row in layer_gaps(scores)}
        for criterion in names:
            own = [row for row in found if row.criterion == criterion]
            flagged = [row for row in own if row.flag]
            rows.append(
                [
                    one.title,
                    criterion,
                    median(own, "cv"),
                    median(own, "over_dispersion"),
                    median(own, "close_pairs"),
                    f"{len(flagged)} of {len(own)}",
                    gaps[criterion],
                ]
            )
            if one.title in (RANDOM, "ResNet-56") and flagged and criterion in ("l2", "gm"):
                flags.append(flagged[0].flag)
    head = ["network", "criterion", "CV", "over iid", "close pairs", "flagged", "between layers"]
    said = "\n\nIn words, for example: " + "; ".join(f"*{flag}*" for flag in flags if flag) + "."
    return text + table(head, rows) + said + "\n\n" + flagged_layers()


def flagged_layers() -> str:
    """Where in ResNet-56 the criteria are flagged, stage by stage."""
    found = applicability(published(RESNET56).scores(("l1", "l2", "fermat", "gm")))
    stages = Counter((row.criterion, row.layer.split(".")[0]) for row in found if row.flag)
    if not stages:
        return "No norm criterion is flagged in any layer of the trained ResNet-56."
    words = [f"{criterion} in {n} of {stage}" for (criterion, stage), n in sorted(stages.items())]
    return "Flagged in the trained ResNet-56: " + ", ".join(words) + "."


def median(rows: list[Applicability], what: str) -> float | None:
    known = [value for row in rows if (value := getattr(row, what)) is not None]
    return float(np.median(known)) if known else None
