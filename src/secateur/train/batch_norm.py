"""Batch-norm statistics for a network whose channels were cut: measured again, not trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.errors import TrainingError
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
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    former = [{name: b.clone() for name, b in norm.named_buffers()} for norm in norms]
    done = False
    try:
        with modes_kept(model), torch.no_grad():
            model.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
            for batch in x.tensor_split(-(-len(x) // batch_size)):
                model(batch)
        done = True
    finally:
        for norm, momentum, buffers in zip(norms, momenta, former, strict=True):
            norm.momentum = momentum
            if not done:
                norm.load_state_dict(buffers, strict=False)
