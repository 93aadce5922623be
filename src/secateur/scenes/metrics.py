"""How good predictions are: numpy in, numbers out. Loads no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DataError


def confusion(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], n_classes: int
) -> NDArray[np.int64]:
    """Count of clips of class i predicted as j, (n,), (n,) -> (n_classes, n_classes).

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]

    Raises:
        DataError: lengths differ, or a label or prediction is not a class.
    """
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise DataError(
            f"labels {labels.shape} and predictions {predictions.shape}: give two equal lengths"
        )
    for name, values in (("label", labels), ("prediction", predictions)):
        if values.size and not 0 <= values.min() <= values.max() < n_classes:
            raise DataError(
                f"{name}s go from {values.min()} to {values.max()}; "
                f"with {n_classes} classes they are 0 to {n_classes - 1}"
            )
    pairs = labels.astype(np.int64) * n_classes + predictions
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)


def macro_accuracy(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], n_classes: int
) -> float:
    """Mean over classes of the share of a class's clips that are predicted right, in [0, 1].

    Every class counts the same; a class without clips does not count.

    >>> macro_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2)
    0.8333333333333333

    Raises:
        DataError: there are no clips, lengths differ, or a value is not a class.
    """
    counts = confusion(labels, predictions, n_classes)
    sizes = counts.sum(axis=1)
    if not sizes.any():
        raise DataError("macro accuracy of no clips is undefined; give at least one")
    present = sizes > 0
    return float(np.mean(counts.diagonal()[present] / sizes[present]))


def log_loss(labels: NDArray[np.integer], log_probabilities: NDArray[np.floating]) -> float:
    """Mean of -log p(true class) in nats, (n,), (n, n_classes) -> a number of at least 0.

    >>> round(log_loss(np.array([1]), np.log([[0.5, 0.5]])), 4)
    0.6931

    Raises:
        DataError: there are no clips, shapes do not fit, a label is not a class, or a row of
            `log_probabilities` does not sum to one (give log-softmax, not logits).
    """
    if log_probabilities.ndim != 2 or labels.shape != log_probabilities.shape[:1]:
        raise DataError(
            f"labels {labels.shape} and log-probabilities {log_probabilities.shape}: "
            "give (n,) and (n, n_classes)"
        )
    n_classes = log_probabilities.shape[1]
    if not labels.size:
        raise DataError("log loss of no clips is undefined; give at least one")
    if not 0 <= labels.min() <= labels.max() < n_classes:
        raise DataError(
            f"labels go from {labels.min()} to {labels.max()}; "
            f"with {n_classes} classes they are 0 to {n_classes - 1}"
        )
    wide = np.asarray(log_probabilities, dtype=np.float64)
    totals = np.exp(wide).sum(axis=1)
    if not np.allclose(totals, 1.0, atol=1e-3):
        worst = totals[np.argmax(np.abs(totals - 1.0))]
        raise DataError(
            f"a row of log-probabilities sums to {worst:g} instead of 1; give log-softmax"
        )
    return float(-wide[np.arange(labels.size), labels].mean())
