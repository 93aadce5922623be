"""Features of some clips to train on and of others to test on, as tensors. Torch when called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from secateur.scenes.features import Features, Standard


@dataclass(frozen=True)
class Split:
    """Two parts of a data set: inputs (n, 1, n_mels, n_frames) float32, labels (n,) int64.

    `features` identifies the recordings and their transform, `per_db` is what one decibel is in
    every band of the inputs, `devices` are the recorders of the test clips, one each.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    n_classes: int
    features: str
    per_db: tuple[float, ...]
    devices: tuple[str, ...] = ()


def split_of(
    table: Features, train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> tuple[Split, Standard]:
    """Tensors of the clips to train and to test on, standardised by the first, and by what.

    `train` and `test` say for each clip whether it belongs, (n,), as `SceneSet.divided` gives them.
    """
    import torch

    from secateur.scenes.features import Standard

    standard = Standard.of(table.x[train])
    found = Split(
        x_train=torch.from_numpy(standard(table.x[train])),
        y_train=torch.from_numpy(table.labels[train]),
        x_test=torch.from_numpy(standard(table.x[test])),
        y_test=torch.from_numpy(table.labels[test]),
        n_classes=len(table.classes),
        features=table.id,
        per_db=tuple((table.settings.per_db / standard.scale).tolist()),
    )
    return found, standard
