"""Rows of a study whose truth is known, for tests of what is computed from them."""

from dataclasses import asdict

import numpy as np

from secateur.analysis.similarity import rank_correlations
from secateur.analysis.skewness import skewness_rows

STRENGTHS = (0.0, 0.8, 1.2, 1.6)
CRITERIA = ("l1", "l2", "gm", "random")
SCOPES = ("uniform", "global")
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
SIZES = {"vgg": (16, 16, 32, 32), "resnet": (16, 16, 16, 32, 32), "mobilenet": (24, 48, 48, 96)}
DENSE_ACCURACY = 0.80
PENALTY = {"l1": 0.0, "l2": 0.0, "gm": 0.01, "random": 0.15}
PENALTY |= {"bn_scale": 0.005, "taylor": 0.01, "apoz": 0.04}
"""What a criterion costs in accuracy on every cut network."""
SLOPE = 0.5
"""Accuracy lost per unit of pruning ratio beyond the share of channels that are dead."""


def dead_share(strength):
    """Share of channels that sparsification kills."""
    return float(np.interp(strength, STRENGTHS, (0.0, 0.1, 0.3, 0.5)))


def true_accuracy(strength, criterion, ratio):
    """Accuracy after fine-tuning, without the noise of seeds."""
    loss = SLOPE * max(0.0, ratio - dead_share(strength)) + (PENALTY[criterion] if ratio else 0)
    return DENSE_ACCURACY - loss


def recipe():
    """The recipe the rows would come from, as plain values."""
    return {
        "name": "simulated",
        "description": "Rows with known truth.",
        "data": {"kind": "synthetic", "n_locations": 10, "seconds": 5.0, "seed": 0},
        "features": {"rate": 16000, "n_mels": 64},
        "networks": [{"kind": kind, "width": 16} for kind in SIZES],
        "sparsity": {"penalty": "bn_l1_proximal", "total_shrink": list(STRENGTHS), "ramp": 0.5},
        "training": {"epochs": 40, "optimizer": "sgd", "lr": 0.1},
        "pruning": {"criteria": list(CRITERIA), "scopes": list(SCOPES), "ratios": list(RATIOS)},
        "fine_tuning": {"epochs": 3, "lr": 0.01},
        "seeds": 3,
        "left_out": ["gradient and activation criteria"],
    }


def simulate(
    networks=("vgg", "resnet", "mobilenet"),
    strengths=STRENGTHS,
    criteria=CRITERIA,
    scopes=SCOPES,
    ratios=RATIOS,
    seeds=(1, 2, 3),
    noise=0.004,
    dead=dead_share,
):
    """Rows of every cell; each seed shifts all accuracies of its base by the same amount."""
    rng = np.random.default_rng(0)
    rows = []
    for network in networks:
        for strength in strengths:
            for seed in seeds:
                shift = noise * rng.normal()
                base = _base(network, strength, seed, shift, dead(strength))
                rows.append(base)
                for criterion in criteria:
                    for scope in scopes:
                        for ratio in ratios:
                            jitter = 0.25 * noise * rng.normal()
                            accuracy = true_accuracy(strength, criterion, ratio) + shift + jitter
                            rows.append(_pruned(base, criterion, scope, ratio, accuracy))
    return rows


def linear_rows(
    rng,
    slopes,
    ws=(0.0, 1.0, 2.0, 3.0, 4.0),
    methods=("l1", "l2", "random"),
    penalty=None,
    seeds=(1, 2, 3, 4, 5),
    ratios=(0.2, 0.4, 0.6, 0.8),
    scopes=("uniform",),
    epsilon=0.02,
    noise=0.05,
    accuracy_noise=0.0,
    seed_noise=0.01,
    effect=None,
    scratch=None,
):
    """Small rows of straight curves: the prunable ratio at `epsilon` is known to the digit.

    Accuracy falls by `epsilon` per prunable ratio R, so R is where it crosses. R is .4 plus the
    family's slope times ws, plus `effect[method]`, plus `noise` (a standard deviation) of each base
    network. `penalty[method]` is lost at every cut, with `accuracy_noise` of each base and method;
    `scratch` is what training from scratch loses against each cut network.
    """
    rows = []
    for seed in seeds:
        for network, slope in slopes.items():
            shift = seed_noise * rng.normal()
            for k, x in enumerate(ws):
                base = {
                    "kind": "base",
                    "id": f"{network}-{k}-{seed}",
                    "network": network,
                    "strength": float(k),
                    "seed": seed,
                    "fold": seed,
                    "accuracy": DENSE_ACCURACY + shift,
                    "params": 80_000,
                    "macs": 10_000_000,
                    "inactive": 0.1 * k,
                    "skewness": [{"layer": "pooled", "definition": "bn_scale", "ws": x}],
                }
                rows.append(base)
                own = 0.4 + slope * x + noise * rng.normal()
                for method in methods:
                    loss = (penalty or {}).get(method, 0.0) + accuracy_noise * rng.normal()
                    prunable = max(own + (effect or {}).get(method, 0.0), 0.02)
                    for scope in scopes:
                        for ratio in ratios:
                            accuracy = base["accuracy"] - epsilon * ratio / prunable - loss
                            cut = _pruned(base | {"channels": 100}, method, scope, ratio, accuracy)
                            rows.append(cut)
                if k == 0 and scratch is not None:
                    rows += [_scratch(base, ratio, scratch) for ratio in ratios]
    return rows


def _scratch(base, ratio, loss):
    """The control row of a uniform cut: its size, trained from new weights."""
    row = _pruned(base | {"channels": 100}, "", "uniform", ratio, base["accuracy"] - loss)
    left = ("criterion", "scope", "accuracy_cut")
    own = {"kind": "scratch", "id": f"{base['id']}-scratch-{ratio}"}
    return {name: value for name, value in row.items() if name not in left} | own


def failed(base, error="SurgeryError: group 'stage1' would not line up"):
    """A row of a cell that failed."""
    cell = {"kind": "pruned", "base": base, "criterion": "l1", "scope": "global", "ratio": 0.5}
    trace = f"Traceback (most recent call last):\n  ...\n{error}\n"
    return {"kind": "failed", "id": "f" * 16, "cell": cell, "error": error, "traceback": trace}


def _base(network, strength, seed, shift, dead):
    rng = np.random.default_rng([seed, int(10 * strength), len(network)])
    layers = {f"stage{k}": n for k, n in enumerate(SIZES[network])}
    scales, filters = {}, {}
    for k, (layer, n) in enumerate(layers.items()):
        scale = rng.gamma(16.0, 0.5 / 16 * (1 + 0.1 * k), n)
        scale[: round(dead * n)] = 0.0
        scales[layer] = rng.permutation(scale)
        filters[layer] = rng.normal(size=(n, 9 * (k + 1) * 8)) * rng.gamma(20.0, 0.05, (n, 1))
    l1 = {layer: np.abs(f).sum(1) for layer, f in filters.items()}
    skewness = [*skewness_rows(scales, "bn_scale"), *skewness_rows(l1, "filter_l1")]
    similarity = rank_correlations(
        {
            "l1": l1,
            "l2": {layer: np.linalg.norm(f, axis=1) for layer, f in filters.items()},
            "gm": {
                layer: np.linalg.norm(f[:, None] - f[None], axis=2).sum(1)
                for layer, f in filters.items()
            },
            "bn_scale": scales,
        }
    )
    return {
        "kind": "base",
        "id": f"{network}-{strength}-{seed}",
        "network": network,
        "strength": strength,
        "seed": seed,
        "fold": (seed - 1) % 5 + 1,
        "accuracy": true_accuracy(strength, "l1", 0.0) + shift,
        "n_classes": 10,
        "params": 80_000,
        "macs": 10_000_000,
        "channels": sum(SIZES[network]),
        "bn_lambda": strength / 100,
        "skewness": [asdict(row) for row in skewness],
        "similarity": [asdict(row) for row in similarity],
        "sensitivity": [
            _sensitivity(layer, n, k, strength, shift)
            for k, (layer, n) in enumerate(layers.items())
        ],
        "inactive": skewness[len(layers)].inactive_share,
        "seconds": {"train": 60.0, "measure": 0.5},
    }


def _sensitivity(group, n, k, strength, shift):
    """The deeper a group, the less it loses: a tenth a quarter of its channels for the first."""
    whole = true_accuracy(strength, "l1", 0.0) + shift
    ratios = (0.25, 0.5, 0.75)
    return {
        "whole": whole,
        "group": group,
        "n_channels": n,
        "ratios": list(ratios),
        "values": [whole - 0.4 * ratio / (k + 1) for ratio in ratios],
    }


def _pruned(base, criterion, scope, ratio, accuracy):
    keep = (1 - ratio) ** (2 if scope == "uniform" else 1.8)
    return {
        "kind": "pruned",
        "id": f"{base['id']}-{criterion}-{scope}-{ratio}",
        "base": base["id"],
        **{name: base[name] for name in ("network", "strength", "seed", "fold")},
        "criterion": criterion,
        "scope": scope,
        "ratio_asked": ratio,
        "ratio_reached": ratio,
        "params": round(base["params"] * keep),
        "macs": round(base["macs"] * keep),
        "channels": round(base["channels"] * (1 - ratio)),
        "accuracy_cut": accuracy - 0.2 * ratio,
        "accuracy": accuracy,
        "seconds": {"cut": 0.2, "fine-tune": 5.0},
    }
