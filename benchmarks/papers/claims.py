"""Which claims hold: on which networks, only layer-wise, or not at all. Verdicts by rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from material import (
    CREPE,
    DENSE,
    MOBILENET,
    NORMS,
    RANDOM,
    RESNET20,
    RESNET56,
    SPARSE,
    Subject,
    contrast,
    published,
)
from pages import table

from secateur.analysis.applicability import applicability
from secateur.analysis.distribution import (
    GOOD_FROM,
    DistributionSummary,
    distribution,
    distribution_summary,
)
from secateur.analysis.overlap import bottom_overlaps, overlap_summary
from secateur.analysis.similarity import rank_correlations, summary
from secateur.channels.trace import trace
from secateur.train.sparsity import skewness

ALIKE = 0.9


@dataclass(frozen=True)
class Measured:
    """What the claims ask of one network, or of some of its layers."""

    title: str
    lowest_pair: float
    lowest_pair_global: float
    l1_l2: float
    l1_l2_global: float
    overlap: float
    flagged: float
    whole: DistributionSummary


def section() -> str:
    small = published(MOBILENET)
    subjects = [published(RESNET20), published(RESNET56)]
    for kind in ("depthwise", "pointwise"):
        own = tuple(one for one in small.weights if one.kind == kind)
        subjects.append(replace(small, title=f"MobileNetV1, {kind}", weights=own))
    subjects.append(published(CREPE))
    found = [measured(one) for one in [*subjects, contrast(RANDOM)]]
    lines = [
        line(
            "The ranks of l1, l2, fermat and gm are almost identical within layers (Huang)",
            found,
            lambda m: m.lowest_pair,
            lambda v: v >= ALIKE,
        ),
        line(
            "… and over all filters together",
            found,
            lambda m: m.lowest_pair_global,
            lambda v: v >= ALIKE,
        ),
        line(
            "l1 and l2 are not always similar: they part over all filters (Huang)",
            found,
            lambda m: m.l1_l2_global,
            lambda v: v < ALIKE,
        ),
        line(
            "Equal ranks prune equal filters: lowest 30 % under l1 and l2, within layers (ours)",
            found,
            lambda m: m.overlap,
            lambda v: v >= ALIKE,
        ),
        line(
            "Scores are too close to distinguish: share of layers with a CV of l2 below 5 % "
            "(Huang)",
            found,
            lambda m: m.flagged,
            lambda v: v >= 0.5,
        ),
        line(
            "Weights are normal across filters (after Huang; nominal .95)",
            found,
            lambda m: m.whole.normal,
            lambda v: v >= 0.94,
            lambda v: v >= GOOD_FROM,
        ),
        line(
            "… with mean 0",
            found,
            lambda m: m.whole.zero_mean,
            lambda v: v >= 0.94,
            lambda v: v >= GOOD_FROM,
        ),
        line(
            "… with equal variances (share of layers)",
            found,
            lambda m: m.whole.equal_variance_share,
            lambda v: v >= 0.9,
        ),
        line(
            "… uncorrelated across input channels: mean absolute r over its value by chance",
            found,
            lambda m: ratio(m.whole.corr_across, m.whole.corr_independent),
            lambda v: v <= 1.05,
            lambda v: v <= 1.25,
        ),
    ]
    head = ["claim", *(one.title for one in found), "verdict on trained networks"]
    text = (
        "## Which claims hold\n\n"
        "Each cell is a number and what it says by a fixed rule: ranks and sets are alike from "
        f"{ALIKE:g} up (the lowest pair of criteria, mean over layers); a pass rate holds from "
        f".94 and is a *near* miss, a good approximation that is not passed, from {GOOD_FROM:g}; "
        "correlation by chance holds up to 1.05 times and nearly up to 1.25 times its value. The "
        "last column leaves the random network out. Huang et al. speak of well-trained "
        "convolutions; depthwise and 1x1 layers and an audio network are ours to ask about.\n\n"
    )
    return "\n\n".join([text + table(head, lines), where_alike(found), sparsity()])


def where_alike(found: list[Measured]) -> str:
    """The first two claims in words: where ranks are alike, and how far."""
    places: dict[str, list[str]] = {
        "within layers and over all filters": [],
        "within layers only": [],
        "neither within layers nor over all filters": [],
    }
    for one in found:
        within, over = one.lowest_pair >= ALIKE, one.lowest_pair_global >= ALIKE
        place = 0 if within and over else 1 if within else 2
        places[list(places)[place]].append(one.title)
    said = [f"*{place}*: {', '.join(titles) or 'none'}" for place, titles in places.items()]
    return "In words, the ranks of l1, l2, fermat and gm are alike " + "; ".join(said) + "."


def measured(one: Subject) -> Measured:
    scores = one.scores()
    pairs = {(p.first, p.second): p for p in summary(rank_correlations(scores))}
    overlaps = overlap_summary(bottom_overlaps(scores, [0.3]))
    l1_l2 = next(row for row in overlaps if (row.first, row.second) == ("l1", "l2"))
    flags = [row.flag is not None for row in applicability({"l2": scores["l2"]})]
    return Measured(
        title=one.title,
        lowest_pair=min(
            pairs[pair].mean or 0.0 for pair in combinations(NORMS, 2) if pair in pairs
        ),
        lowest_pair_global=min(p.global_rho or 0.0 for p in pairs.values()),
        l1_l2=pairs["l1", "l2"].mean or 0.0,
        l1_l2_global=pairs["l1", "l2"].global_rho or 0.0,
        overlap=l1_l2.mean or 0.0,
        flagged=float(np.mean(flags)),
        whole=distribution_summary(distribution(one.weights)),
    )


def line(
    claim: str,
    found: list[Measured],
    value: Callable[[Measured], float | None],
    holds: Callable[[float], bool],
    nearly: Callable[[float], bool] = lambda _: False,
) -> list[str]:
    cells, said = [], []
    for one in found:
        number = value(one)
        if number is None:
            cells.append("-")
            continue
        word = "holds" if holds(number) else "near" if nearly(number) else "fails"
        cells.append(f"{number:.2f} {word}")
        if one.title != RANDOM:
            said.append(word)
    return [claim, *cells, verdict(said)]


def verdict(words: list[str]) -> str:
    """One verdict over trained networks.

    >>> verdict(["holds", "holds"]), verdict(["near", "holds"]), verdict(["fails", "holds"])
    ('**holds**', '**nearly**: near or better on all', '**not universal**: fails on 1 of 2')
    """
    fails = words.count("fails")
    if not fails:
        near = "near" in words
        return "**nearly**: near or better on all" if near else "**holds**"
    if fails == len(words):
        return "**fails**"
    return f"**not universal**: fails on {fails} of {len(words)}"


def ratio(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by


def sparsity() -> str:
    """Weight Skewness of a dense and a sparsified network, beside what it should follow."""
    pools = {}
    for title in (DENSE, SPARSE):
        one = contrast(title)
        channels = trace(one.model, one.example)
        pools[title] = skewness(channels)
    dense, sparse = (pools[title][-1] for title in (DENSE, SPARSE))
    rows = []
    for name, what in (
        ("Weight Skewness, pooled", "ws"),
        ("Gini", "gini"),
        ("Hoyer", "hoyer"),
        ("PQ-index", "pq_index"),
        ("inactive share", "inactive_share"),
    ):
        values = [getattr(pool, what) for pool in (dense, sparse)]
        rows.append([name, *values, "rises" if rises(*values) else "does not rise"])
    both = zip(pools[DENSE][:-1], pools[SPARSE][:-1], strict=True)
    layers = [rises(a.ws, b.ws) for a, b in both if a.ws is not None and b.ws is not None]
    text = (
        "**Skewness of channel weights says how sparse channels are** (Cai and Li). The same VGG "
        "trained on generated scenes without and with a penalty on its batch-norm scales:\n\n"
    )
    after = (
        f"\n\nWithin layers Weight Skewness rises in {sum(layers)} of the {len(layers)} where both "
        "networks define it. What sparsity buys in compression is asked by a "
        "[study](studies/asc-claims/reading.md), not here."
    )
    return text + table(["", "dense", "sparsified", ""], rows) + after


def rises(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after > before
