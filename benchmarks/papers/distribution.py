"""Is the Gaussian picture true? The protocol on trained networks and on its controls."""

from __future__ import annotations

from collections.abc import Sequence

from material import (
    CREPE,
    DENSE,
    MOBILENET,
    RANDOM,
    RESNET20,
    RESNET56,
    SHUFFLED,
    SPARSE,
    contrast,
    published,
)
from pages import bounds, cell, table

from secateur.analysis.controls import control_weights
from secateur.analysis.distribution import (
    LayerDistribution,
    distribution,
    distribution_summary,
)
from secateur.analysis.verdicts import wilson
from secateur.analysis.weights import LayerWeights


def cases() -> dict[str, tuple[LayerWeights, ...]]:
    """Layers by the title of their network, trained ones first."""
    small = published(MOBILENET)
    found = {published(name).title: published(name).weights for name in (RESNET20, RESNET56)}
    for kind in ("depthwise", "pointwise"):
        own = tuple(one for one in small.weights if one.kind == kind)
        found[f"{small.title}, {kind}"] = own
    found["CREPE tiny"] = published(CREPE).weights
    found |= {title: contrast(title).weights for title in (DENSE, SPARSE, RANDOM, SHUFFLED)}
    trained = published(RESNET56).weights
    found |= {f"control: {c}": control_weights(trained, c) for c in ("gaussian", "uniform")}
    return found


def section() -> str:
    found = {title: distribution(weights) for title, weights in cases().items()}
    text = (
        "## Is the Gaussian picture true?\n\n"
        "One weight coordinate across a layer's filters is one sample; up to 200 coordinates a "
        "layer. Pass rates of Shapiro-Wilk and of a t test of mean 0, over all tested coordinates "
        "with Wilson's interval (which takes them as independent), nominal .95; and the share of "
        "layers that pass Brown-Forsythe's test of equal variances.\n\n"
    )
    head = ["weights", "layers", "normal", "lowest layer", "mean 0", "equal variances", "verdict"]
    rows = []
    for title, own in found.items():
        whole = distribution_summary(own)
        rows.append(
            [
                title,
                whole.n_layers,
                pooled(own, "normal"),
                whole.normal_lowest,
                pooled(own, "zero_mean"),
                whole.equal_variance_share,
                whole.verdict,
            ]
        )
    effects = []
    for title, own in found.items():
        tested = [row for row in own if row.normal is not None]
        means = [
            mean([getattr(row, what) for row in tested])
            for what in (
                "excess_kurtosis",
                "mean_over_sd",
                "mean_over_sd_iid",
                "sd_variation",
                "sd_variation_iid",
                "corr_inside",
                "corr_across",
                "corr_independent",
            )
        ]
        departing = sum(row.normal.holm > 0 for row in tested if row.normal)
        effects.append([title, f"{departing} of {len(tested)}", *means])
    effect_head = [
        "weights",
        "layers with a departure (Holm)",
        "excess kurtosis",
        "mean over sd",
        "if 0",
        "CV of sd",
        "if equal",
        "corr inside a kernel",
        "across kernels",
        "if independent",
    ]
    middle = "\n\n**Effect sizes**, means over layers, beside what iid Gaussian weights show.\n\n"
    return text + table(head, rows) + middle + table(effect_head, effects)


def pooled(rows: Sequence[LayerDistribution], what: str) -> str:
    rates = [rate for row in rows if (rate := getattr(row, what)) is not None]
    passed, tested = sum(r.passed for r in rates), sum(r.tested for r in rates)
    return bounds(passed / tested, *wilson(passed, tested)) if tested else cell(None)


def mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
