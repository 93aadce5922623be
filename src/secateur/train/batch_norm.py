"""Batch-norm statistics for a network whose channels were cut: measured again, not trained."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.errors import TrainingError
from secateur.surgery.norm_statistics import estimate_anew
from secateur.train.evaluate import modes_kept


def reestimate_batch_norm(model: nn.Module, x: Tensor, batch_size: int = 256) -> None:
    """Replace every batch norm's running mean and variance by their average over x.

    x is (n, channels, mels, frames), dealt out evenly into batches of at most `batch_size`; each
    batch counts alike, its variance being the unbiased one about its own mean. Weights, momenta
    and modes stay as they were; after an error the former statistics stand too. A network without
    batch norm is left as it is.

    Raises:
        TrainingError: there is no data.

    Reference: Li et al. 2020 (2007.02491), adaptive batch normalisation after pruning.
    """
    if len(x) == 0:
        raise TrainingError("there are 0 calibration examples; give at least one")
    parts = x.tensor_split(-(-len(x) // batch_size))
    with modes_kept(model):
        estimate_anew(model, lambda: [model(part) for part in parts])
