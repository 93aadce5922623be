"""What the cuts of two criteria have in common, channel by channel, as rows of figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from secateur.report.figures import Data
from secateur.report.findings import Findings
from secateur.study.grid import criterion_of

Channels = frozenset[tuple[str, int]]


def removed(findings: Findings) -> Data:
    """Jaccard index of the channels that two criteria removed from one base network.

    Shared channels over those that either removed, all groups together; a mean over base networks,
    each pair once. Pairs with random pruning show what chance gives. Rows of former versions do not
    say which channels went and are left out.

    Reference: Jaccard, New Phytologist 11(2), 1912.
    """
    cuts: dict[tuple[str, float, str, float, str], dict[str, Channels]] = {}
    for row in findings.pruned:
        if row.get("removed"):
            key = (row["network"], row["strength"], row["scope"], row["ratio_asked"], row["base"])
            cuts.setdefault(key, {})[row["criterion"]] = _channels(row["removed"])
    found: dict[tuple[str, float, str, float, str, str], list[float]] = {}
    for (network, strength, scope, ratio, _), own in cuts.items():
        names = [name for name in findings.criteria if name in own]
        for first, second in combinations(names, 2):
            if criterion_of(first) == criterion_of(second):
                continue  # they differ in what was repaired, not in what went
            either = own[first] | own[second]
            if either:  # two cuts that removed nothing have nothing to share
                shared = len(own[first] & own[second]) / len(either)
                place = (network, strength, scope, ratio, first, second)
                found.setdefault(place, []).append(shared)
    return [
        {
            "network": network,
            "strength": strength,
            "scope": scope,
            "ratio": ratio,
            "first": first,
            "second": second,
            "shared": float(np.mean(values)),
            "least": min(values),
            "most": max(values),
            "n": len(values),
        }
        for (network, strength, scope, ratio, first, second), values in sorted(found.items())
    ]


def _channels(gone: Mapping[str, Sequence[int]]) -> Channels:
    return frozenset((group, place) for group, places in gone.items() for place in places)
