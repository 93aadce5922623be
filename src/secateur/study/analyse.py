"""From a network to its diagnosis: the arrays that `study.from_scores` needs, taken with torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from secateur.analysis.ceiling import NoiseCeiling, noise_ceilings
from secateur.analysis.skewness import Definition, SkewnessRow, skewness_rows
from secateur.analysis.weights import LayerWeights, kind_of
from secateur.channels.cost import cost
from secateur.channels.groups import ChannelMap
from secateur.channels.trace import trace
from secateur.criteria.apply import OF_NORMS, at_sites
from secateur.criteria.base import STREAMED, Criterion
from secateur.criteria.batches import LossFunction
from secateur.criteria.calibrate import Calibration, calibrate, lacking, merge
from secateur.criteria.channel_weights import channel_weights
from secateur.criteria.score import check_criteria, check_finite
from secateur.criteria.sites import Sites
from secateur.criteria.table import CRITERIA
from secateur.errors import CriterionError
from secateur.study.from_scores import analysis_of
from secateur.study.inspection import Analysis, LeftOut, NetworkFacts

LayerArrays = dict[str, np.ndarray]


def analyse(
    model: nn.Module,
    channels_or_example: ChannelMap | Any,
    criteria: Sequence[Criterion] | None = None,
    *,
    calibration: Iterable[Any] | Calibration | None = None,
    loss_fn: LossFunction | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Analysis:
    """Diagnose a network: how criteria order its filters, and what its weights are like.

    Args:
        model: the network, left as it was.
        channels_or_example: its channel map, or what `trace` takes as an example.
        criteria: to compare; all of the house's that can be computed if not given, and what could
            not is then listed.
        calibration: batches for criteria that need data, held in memory so that both halves can be
            compared; or what `calibrate` made of them, whose noise then stays unknown.
        loss_fn: for criteria of gradients.
        seed: of everything that is drawn.
        name: what to call the network; its class if not given.

    Raises:
        CriterionError: nothing in the network can be scored, a weight is not finite, or a criterion
            that was asked for lacks what it needs.
        TraceError: the network cannot be run on shapes.
    """
    channels = channels_or_example
    if not isinstance(channels, ChannelMap):
        channels = trace(model, channels)
    channels = channels.of(model)
    check_finite(dict(model.named_parameters()))
    sites = Sites(channels, "producer")
    if not sites.layers:
        raise CriterionError(
            f"{type(model).__name__} has no convolution, and no linear layer whose outputs can "
            "go; there is nothing to inspect. secateur.trace says what is pinned and why"
        )
    chosen = list(CRITERIA.values()) if criteria is None else list(criteria)
    check_criteria(chosen)
    scorer = _Scorer(model, channels, sites, loss_fn, seed, asked=criteria is not None)
    scorer.of_weights([criterion for criterion in chosen if criterion.update is None])
    scorer.of_data([criterion for criterion in chosen if criterion.update], calibration)
    scores = {c.name: scorer.scores[c.name] for c in chosen if c.name in scorer.scores}
    if not scores:
        raise CriterionError("no criterion is left to inspect with; give at least one")
    return analysis_of(
        name or type(model).__name__,
        _facts(channels, sites),
        scores,
        _weights(model, sites),
        _skewness(model, channels, scorer.left_out),
        ceilings=scorer.ceilings,
        calibration=scorer.calibration,
        left_out=scorer.left_out,
        seed=seed,
    )


@dataclass
class _Scorer:
    """Scores by criterion and layer, gathered; and what could not be."""

    model: nn.Module
    channels: ChannelMap
    sites: Sites
    loss_fn: LossFunction | None
    seed: int
    asked: bool
    scores: dict[str, LayerArrays] = field(default_factory=dict)
    ceilings: tuple[NoiseCeiling, ...] = ()
    calibration: str = "none"
    left_out: list[LeftOut] = field(default_factory=list)

    def of_weights(self, criteria: list[Criterion]) -> None:
        """Score by criteria that need no data."""
        self._take(criteria, self._filters(criteria, {}))

    def of_data(
        self, criteria: list[Criterion], calibration: Iterable[Any] | Calibration | None
    ) -> None:
        """Score by criteria that need data, over both halves of it and all."""
        if isinstance(calibration, Calibration):
            made = {criterion.name for criterion in calibration.criteria}
            usable = self._usable(criteria, lambda c: c.name in made, "calibrated without it")
        else:
            usable = self._usable(
                criteria,
                lambda c: (
                    calibration is not None
                    and ("gradients" not in c.needs or self.loss_fn is not None)
                ),
                None,
            )
        if not usable or calibration is None:
            return
        if isinstance(calibration, Calibration):
            self.calibration = f"{calibration.n_batches} batches, put together by the caller"
            self._take(usable, self._filters(usable, calibration.sums))
            self._no_ceiling("the calibration came as sums, which have no halves")
            return
        halves, n_batches = _halves(calibration)
        self.calibration = "1 batch" if n_batches == 1 else f"{n_batches} batches"
        parts = [self._calibrated(usable, half) for half in halves]
        usable = [c for c in usable if all(c in part.criteria for part in parts)]
        if not usable:
            return
        whole = parts[0] if len(parts) == 1 else merge(*parts)
        self._take(usable, self._filters(usable, whole.sums))
        if len(parts) == 1:
            self._no_ceiling("the calibration holds one example, which has no halves")
            return
        first, second = (self._filters(usable, part.sums) for part in parts)
        scored = [c.name for c in usable if first[c.name] and second[c.name]]
        self.ceilings = noise_ceilings(
            {key: first[key] for key in scored}, {key: second[key] for key in scored}
        )

    def _usable(self, criteria: list[Criterion], fits: Any, why: str | None) -> list[Criterion]:
        lacks = [criterion for criterion in criteria if not fits(criterion)]
        if lacks and self.asked:
            raise lacking(lacks[0])
        reasons: dict[str, list[str]] = {}
        for c in lacks:
            reasons.setdefault(why or f"needs {STREAMED[c.needs]}", []).append(c.name)
        self.left_out += [LeftOut(", ".join(names), reason) for reason, names in reasons.items()]
        return [criterion for criterion in criteria if fits(criterion)]

    def _calibrated(self, criteria: list[Criterion], batches: list[Any]) -> Calibration:
        """One pass for all; where one fails and none was asked for, without those that do."""
        try:
            return calibrate(self.channels, criteria, batches, loss_fn=self.loss_fn)
        except CriterionError as error:
            if self.asked or len(criteria) == 1:
                raise
            works = [c for c in criteria if self._works(c, batches)]
            if not works:
                raise error
            return calibrate(self.channels, works, batches, loss_fn=self.loss_fn)

    def _works(self, criterion: Criterion, batches: list[Any]) -> bool:
        try:
            calibrate(self.channels, [criterion], batches, loss_fn=self.loss_fn)
        except CriterionError as error:
            self.left_out.append(LeftOut(criterion.name, str(error)))
            return False
        return True

    def _filters(
        self, criteria: list[Criterion], sums: Mapping[str, Any]
    ) -> dict[str, LayerArrays]:
        """Scores by criterion and layer; a criterion that fails is left out unless asked for."""
        named = dict(self.model.named_parameters())
        try:
            found = at_sites(criteria, self.sites, named, sums, self.seed)
        except CriterionError as error:
            if self.asked:
                raise
            if len(criteria) == 1:
                self.left_out.append(LeftOut(criteria[0].name, str(error)))
                return {criteria[0].name: {}}
            return {key: own for c in criteria for key, own in self._filters([c], sums).items()}
        order = list(self.sites.layers)
        return {
            key: {layer: own.filters[layer] for layer in order if layer in own.filters}
            for key, own in found.items()
        }

    def _take(self, criteria: list[Criterion], found: dict[str, LayerArrays]) -> None:
        told = {one.what for one in self.left_out}
        empty: dict[str, list[str]] = {}
        for criterion in criteria:
            if found[criterion.name]:
                self.scores[criterion.name] = found[criterion.name]
            elif criterion.name not in told:
                why = (
                    "no layer is followed by a batch norm with a scale and a shift"
                    if criterion.needs in OF_NORMS
                    else "no layer was seen that it can score"
                )
                if self.asked:
                    raise CriterionError(f"criterion {criterion.name!r}: {why}; leave it out")
                empty.setdefault(why, []).append(criterion.name)
        self.left_out += [LeftOut(", ".join(names), why) for why, names in empty.items()]

    def _no_ceiling(self, why: str) -> None:
        self.left_out.append(LeftOut("noise of the criteria that need data", why))


def _halves(calibration: Iterable[Any]) -> tuple[list[list[Any]], int]:
    """Every other batch, or both halves of the only one; and how many batches there were."""
    if isinstance(calibration, (Tensor, Mapping, str)) or not isinstance(calibration, Iterable):
        raise CriterionError(
            f"calibration is a {type(calibration).__name__}; give batches, such as a data loader "
            "or a list [(input, target), ...]"
        )
    batches = list(calibration)
    if len(batches) > 1:
        return [batches[0::2], batches[1::2]], len(batches)
    if batches:
        parts = _split(batches[0])
        if parts is not None:
            return [[part] for part in parts], 1
    return [batches], len(batches)


def _split(batch: Any) -> tuple[Any, Any] | None:
    """Both halves of a batch that is a tensor, or a pair of tensors, of at least two examples."""
    if isinstance(batch, Tensor):
        half = len(batch) // 2
        return (batch[:half], batch[half:]) if half else None
    if isinstance(batch, (tuple, list)) and all(isinstance(one, Tensor) for one in batch):
        parts = [_split(one) for one in batch]
        if parts and all(part is not None for part in parts):
            first, second = zip(*(part for part in parts if part is not None), strict=True)
            return tuple(first), tuple(second)
    return None


def _weights(model: nn.Module, sites: Sites) -> list[LayerWeights]:
    named = dict(model.named_parameters())
    found = []
    for name, layer in sites.layers.items():
        tensor = named[layer.weight].detach().movedim(layer.out_dim, 0)
        exact = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        values = tensor.to("cpu", exact).numpy()
        found.append(LayerWeights(name, values, kind_of(values.shape, layer.conv_groups)))
    return found


def _skewness(model: nn.Module, channels: ChannelMap, left_out: list[LeftOut]) -> list[SkewnessRow]:
    rows: list[SkewnessRow] = []
    for definition in get_args(Definition):
        if found := channel_weights(model, channels, definition):
            rows += skewness_rows(found, definition)
            continue
        why = (
            "no batch norm follows a layer whose channels can be pruned"
            if definition == "bn_scale" and channels.groups
            else "no channel of a layer can be pruned"
        )
        left_out.append(LeftOut(f"Weight Skewness of {definition}", why))
    return rows


def _facts(channels: ChannelMap, sites: Sites) -> NetworkFacts:
    whole = cost(channels)
    return NetworkFacts(
        params=whole.params,
        macs=whole.macs,
        n_layers=len(sites.layers),
        n_groups=len(channels.groups),
        n_channels=sum(group.n_channels for group in channels.groups),
        pinned=tuple((p.parameter, p.n_channels, p.reason, p.source) for p in channels.pinned),
    )
