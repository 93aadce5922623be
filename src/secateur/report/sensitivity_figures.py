"""What a network loses without a share of one group's filters, as rows of figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from secateur.report.figures import Data
from secateur.report.findings import Findings

_Place = tuple[str, float, str, float]


def sensitivity(findings: Findings) -> Data:
    """Accuracy lost by group and share zeroed: mean over base networks, with lowest and highest.

    Groups keep the order of their network, `order` from 0. A share is what was zeroed, a whole
    number of channels, and stands for shares from `from` to `upto`, half-way to its neighbours.
    Base networks of former versions do not hold it and are left out.
    """
    lost: dict[_Place, list[float]] = {}
    group: dict[_Place, dict[str, Any]] = {}
    for base in findings.bases:
        for order, curve in enumerate(base.get("sensitivity", ())):
            bounds = _bounds(curve["ratios"])
            for ratio, value, (low, high) in zip(
                curve["ratios"], curve["values"], bounds, strict=True
            ):
                key = (base["network"], base["strength"], curve["group"], ratio)
                lost.setdefault(key, []).append(curve["whole"] - value)
                shown = {"from": low, "upto": high, "n_channels": curve["n_channels"]}
                group.setdefault(key, {"order": order} | shown)
    place = {name: k for k, name in enumerate(findings.networks)}
    data = [
        {
            "network": network,
            "strength": strength,
            "group": name,
            "ratio": ratio,
            "lost": float(np.mean(values)),
            "least": min(values),
            "most": max(values),
            "n": len(values),
        }
        | group[network, strength, name, ratio]
        for (network, strength, name, ratio), values in lost.items()
    ]
    return sorted(
        data, key=lambda row: (place[row["network"]], row["strength"], row["order"], row["ratio"])
    )


def _bounds(ratios: Sequence[float]) -> list[tuple[float, float]]:
    """The shares that each ratio stands for: half-way to its neighbours, to 0 and to 1.

    >>> _bounds([0.25, 0.5, 0.75])
    [(0.125, 0.375), (0.375, 0.625), (0.625, 0.875)]
    """
    middle = [(one + other) / 2 for one, other in pairwise([0.0, *ratios, 1.0])]
    return list(pairwise(middle))
