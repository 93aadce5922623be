"""Weight criteria by the formulas of their papers, in numpy, and layers of given weights."""

from __future__ import annotations

import numpy as np

from secateur.analysis.weights import LayerWeights


def norms(filters: np.ndarray) -> dict[str, np.ndarray]:
    """l1, l2, gm and fermat scores of filters (n, d)."""
    squared = (filters**2).sum(1)
    gram = filters @ filters.T
    distances = np.sqrt(np.maximum(squared[:, None] + squared[None] - 2 * gram, 0))
    centre = filters.mean(0)
    for _ in range(60):
        apart = np.sqrt(((filters - centre) ** 2).sum(1))
        centre = (filters / apart[:, None]).sum(0) / (1 / apart).sum()
    return {
        "l1": np.abs(filters).sum(1),
        "l2": np.sqrt(squared),
        "gm": distances.sum(1),
        "fermat": np.sqrt(((filters - centre) ** 2).sum(1)),
    }


def by_criterion(layers: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Scores by criterion, then layer, of filters by layer."""
    scored = {layer: norms(filters) for layer, filters in layers.items()}
    return {
        c: {layer: own[c] for layer, own in scored.items()} for c in ("l1", "l2", "gm", "fermat")
    }


def as_layers(layers: dict[str, np.ndarray]) -> list[LayerWeights]:
    return [LayerWeights(layer, filters[:, :, None]) for layer, filters in layers.items()]
