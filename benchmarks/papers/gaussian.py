"""What holds of drawn weights: closed forms, networks of drawn filters, and two traps."""

from __future__ import annotations

from math import sqrt

import numpy as np
import torch
from material import NORMS
from pages import table
from scipy import stats

from secateur.analysis.distribution import distribution, distribution_summary
from secateur.analysis.gaussian import expected_global_rho, expected_rho, expected_variation
from secateur.analysis.normality import lilliefors, shapiro_wilk
from secateur.analysis.similarity import rank_correlations, summary
from secateur.analysis.weights import LayerWeights, layer_shapes
from secateur.criteria.relation import Pairs
from secateur.criteria.table import CRITERIA

VGG16 = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256), (512, 256)]
VGG16 += [(512, 512)] * 5
DRAWS = 16


def scored(filters: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of filters (n, d) by the library's own formulas."""
    weight = torch.from_numpy(filters)
    inputs = {"filters": weight, "pairs": Pairs(weight)}
    chosen = [CRITERIA[name] for name in NORMS]
    return {one.name: one.formula(inputs[one.needs]).numpy() for one in chosen}


def section() -> str:
    return "\n\n".join(["## Drawn weights", one_layer(), whole_networks(), argsort(), kolmogorov()])


def one_layer() -> str:
    n, d = 256, 576
    rng = np.random.default_rng(0)
    draws = [scored(rng.normal(size=(n, d))) for _ in range(DRAWS)]
    rows: list[list[object]] = []
    for pair in (("l1", "l2"), ("l2", "gm"), ("l2", "fermat"), ("gm", "fermat")):
        shown = [stats.spearmanr(one[pair[0]], one[pair[1]]).statistic for one in draws]
        form = expected_rho(*pair, n)
        rows.append([f"rho({pair[0]}, {pair[1]})", float(np.mean(shown)), min(shown), form])
    for name in NORMS:
        shown = [float(one[name].std(ddof=1) / one[name].mean() * sqrt(d)) for one in draws]
        form = (expected_variation(name, n, d) or 0.0) * sqrt(d)
        rows.append([f"CV of {name} times sqrt(d)", float(np.mean(shown)), min(shown), form])
    head = [
        "256 filters of 576 iid N(0, 1)",
        f"mean of {DRAWS} draws",
        "least",
        "closed form",
    ]
    return table(head, rows)


def whole_networks() -> str:
    rows = []
    for title, scale in (("He: s = sqrt(2 / d)", True), ("one s in all layers", False)):
        rng = np.random.default_rng(0)
        layers = {}
        for k, (n, n_in) in enumerate(VGG16):
            d = 9 * n_in
            layers[f"conv{k}"] = rng.normal(0, sqrt(2 / d) if scale else 0.02, (n, d))
        own = {name: scored(filters) for name, filters in layers.items()}
        scores = {c: {layer: found[c] for layer, found in own.items()} for c in NORMS}
        shapes = layer_shapes(LayerWeights(k, f[:, :, None]) for k, f in layers.items())
        expected = expected_global_rho(shapes, NORMS)
        for pair in summary(rank_correlations(scores)):
            if (pair.first, pair.second) in (("l1", "l2"), ("l2", "gm")):
                form = expected[pair.first, pair.second]
                rows.append(
                    [title, f"{pair.first}, {pair.second}", pair.mean, pair.global_rho, form]
                )
    text = (
        "Filters of the shapes of VGG-16 for CIFAR-10. Within layers l1 and l2 agree; over all "
        "filters together they do not, because layers of unequal d stand at unequal places. Here "
        "that follows from the shapes alone (last column: scores drawn by the closed forms).\n\n"
    )
    head = ["weights", "pair", "mean of layers", "global", "global, expected"]
    return text + table(head, rows)


def argsort() -> str:
    rows = []
    for n in (64, 512, 4096):
        found = []
        for seed in range(20):
            score, noise = np.random.default_rng(seed).normal(size=(2, n))
            noisy = score + 0.01 * noise
            trap = np.corrcoef(np.argsort(score), np.argsort(noisy))[0, 1]
            found.append((stats.spearmanr(score, noisy).statistic, trap))
        rows.append([n, *np.mean(found, axis=0).tolist()])
    text = (
        "**The argsort trap.** A score beside itself with 1 % of its spread added as noise. "
        "Correlating the lists that `argsort` returns gives a number that falls with the number of "
        "filters and says nothing.\n\n"
    )
    return text + table(["filters", "Spearman's rho", "of argsort lists"], rows)


def kolmogorov() -> str:
    rows = []
    for n in (16, 64, 256):
        samples = np.random.default_rng(0).normal(size=(n, 4000))
        fitted = (samples - samples.mean(0)) / samples.std(0, ddof=1)
        plain = float((stats.kstest(fitted, "norm", axis=0).pvalue < 0.05).mean())
        sizes = [float((test(samples)[1] < 0.05).mean()) for test in (lilliefors, shapiro_wilk)]
        rows.append([n, plain, *sizes])
    rng = np.random.default_rng(1)
    layers = [LayerWeights(f"c{k}", rng.normal(size=(64, 64, 3, 3))) for k in range(20)]
    whole = distribution_summary(distribution(layers))
    text = (
        "**The Kolmogorov-Smirnov trap.** Share of truly Gaussian samples rejected at a nominal "
        "5 %: a plain test with fitted mean and deviation never rejects, so passing it says "
        "nothing.\n\n"
    )
    after = (
        f"\n\nThe whole protocol on 20 drawn layers: Shapiro-Wilk passes in {whole.normal:.3f} of "
        f"coordinates, mean 0 in {whole.zero_mean:.3f} (nominal .95), equal variances in "
        f"{whole.equal_variance_share:.2f} of layers."
    )
    head = ["samples", "plain Kolmogorov-Smirnov", "Lilliefors", "Shapiro-Wilk"]
    return text + table(head, rows) + after
