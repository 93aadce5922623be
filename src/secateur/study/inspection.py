"""The diagnosis of one network as a plain value, which prints as a summary and goes to JSON.

Made by `from_scores`; round-trips through JSON. Loads no torch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from secateur.analysis.applicability import Applicability
from secateur.analysis.ceiling import NoiseCeiling
from secateur.analysis.clusters import Clusters
from secateur.analysis.controls import CovarianceBlocks, QQPlot
from secateur.analysis.distribution import DistributionSummary, LayerDistribution
from secateur.analysis.explain import Explanation, Prediction
from secateur.analysis.global_pruning import GlobalPruning, LayerGap
from secateur.analysis.overlap import OverlapSummary
from secateur.analysis.similarity import RankCorrelation, SimilaritySummary
from secateur.analysis.skewness import SkewnessRow
from secateur.analysis.weights import LayerShape
from secateur.errors import ReadError, ReportError
from secateur.reading import parse_json
from secateur.typed import as_type

CONTROL = "random"
"""The criterion that is no criterion: what is said of agreement leaves it out."""


@dataclass(frozen=True)
class NetworkFacts:
    """What was inspected: its size, how many channels can go, and how many cannot.

    `pinned` holds (parameter, channels, reason, line of the network's code).
    """

    params: int
    macs: int
    n_layers: int
    n_groups: int
    n_channels: int
    pinned: tuple[tuple[str, int, str, str], ...]


@dataclass(frozen=True)
class ScoreHistogram:
    """How one criterion's scores of one layer lie: `counts` in bins of width `step` from `low`.

    Of a layer whose scores are all equal there is one bin of width 0.
    """

    criterion: str
    layer: str
    n: int
    low: float
    step: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Checked:
    """The Gaussian picture of the network's weights (`weights`), or of a control's."""

    of: Literal["weights", "gaussian", "uniform", "shuffled"]
    summary: DistributionSummary


@dataclass(frozen=True)
class LeftOut:
    """Something that was not computed at all, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Analysis:
    """What is known of one network's channels, criteria and weights. Prints as a summary.

    `calibration` says in words what the criteria that need data were given. Rows that could not be
    computed are there and say why in their `undefined`; what has no row stands in `left_out`.
    """

    name: str
    seed: int
    calibration: str
    facts: NetworkFacts
    criteria: tuple[str, ...]
    layers: tuple[LayerShape, ...]
    correlations: tuple[RankCorrelation, ...]
    similarity: tuple[SimilaritySummary, ...]
    overlaps: tuple[OverlapSummary, ...]
    clusters: Clusters
    ceilings: tuple[NoiseCeiling, ...]
    applicability: tuple[Applicability, ...]
    gaps: tuple[LayerGap, ...]
    global_pruning: tuple[GlobalPruning, ...]
    histograms: tuple[ScoreHistogram, ...]
    distribution: tuple[LayerDistribution, ...]
    checked: tuple[Checked, ...]
    qq: tuple[QQPlot, ...]
    covariance: tuple[CovarianceBlocks, ...]
    explanations: tuple[Explanation, ...]
    predictions: tuple[Prediction, ...]
    skewness: tuple[SkewnessRow, ...]
    left_out: tuple[LeftOut, ...]

    def __str__(self) -> str:
        """A summary that fits a screen: three things to know, key numbers, what is missing."""
        from secateur.study.screen import screen  # it reads this value

        return screen([self])

    def to_json(self) -> str:
        """The whole value as JSON text."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Analysis:
        """The value that `to_json` wrote.

        Raises:
            ReportError: the text is not an analysis.
        """
        try:
            found: Analysis = as_type(cls, parse_json(text))
        except ReadError as error:
            raise ReportError(
                f"this is not an analysis: {error}; write one with Analysis.to_json"
            ) from error
        return found
