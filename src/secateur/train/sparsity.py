"""How sparse the channels of a network are: between two epochs, or at any time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from secateur.channels.groups import ChannelMap
from secateur.criteria.channel_weights import channel_weights

if TYPE_CHECKING:
    from secateur.analysis.skewness import SkewnessRow

# `analysis.skewness` is imported where it is used: scipy takes a second to import.


def skewness(
    channels: ChannelMap, definition: Literal["bn_scale", "filter_l1"] = "bn_scale"
) -> tuple[SkewnessRow, ...]:
    """Weight Skewness and its companions of a network's prunable channels.

    A row for every layer, then one for all of them together, `pooled`. What the number cannot say
    is told at the head of `analysis.skewness`. A network without such weights, as one without
    batch norms is by `bn_scale`, has one row, which is undefined.

    Raises:
        CriterionError: a weight is not finite, or there is no such definition.

    Reference: ours, after Cai and Li, arXiv 2210.15960.
    """
    from secateur.analysis.skewness import skewness_rows

    return skewness_rows(channel_weights(channels.network, channels, definition), definition)


def sparsity(weights: Iterable[Tensor]) -> dict[str, float | None]:
    """Weight Skewness `ws`, `inactive` share and `gini` of channel weights, pooled.

    Each tensor holds the weights of some channels; their sign does not count. `ws` and `gini` are
    None where they are undefined: of fewer than three weights, or of equal ones.
    """
    from secateur.analysis.skewness import skewness_rows

    pool = magnitudes(weights).double().cpu().numpy()
    *_, pooled = skewness_rows({"all": pool}, "bn_scale")
    return {"ws": pooled.ws, "inactive": pooled.inactive_share, "gini": pooled.gini}


def magnitudes(weights: Iterable[Tensor]) -> Tensor:
    """The absolute values of all tensors in one, (n,)."""
    return torch.cat([w.detach().flatten().abs() for w in weights] or [torch.empty(0)])
