"""Secateur cuts channels out of convolutional networks and says whether the cut was right.

The stages, in order, each a sub-package; imports go only leftwards:

    channels -> criteria -> analysis -> plan -> surgery -> train -> networks -> scenes
             -> deploy -> study -> report -> cli

The main road, on any network that runs:

    import secateur as sc

    pruned = sc.prune(model, example_input, macs="50%")     # trace, score, plan, cut, verify
    print(pruned)                                           # what was asked, reached, checked
    sc.fit(pruned.network, x, y, sc.Training(epochs=5, lr=0.02), seed=1)
    pruned.save("small.safetensors")

The same by its parts:

    channels = sc.trace(model, example_input)               # which channels move together
    scores = sc.score(channels, [sc.l2])["l2"]              # what each is worth
    plan = sc.uniform(scores, channels, sc.Budget(macs="50%"))  # which go; plan.to_json()
    pruned = sc.cut(channels, plan)                         # a new network, proved and verified

Names below are imported on first use, so that importing secateur loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from secateur.version import __version__

if TYPE_CHECKING:
    from secateur.channels.cost import Cost as Cost
    from secateur.channels.cost import cost as cost
    from secateur.channels.cost import layer_costs as layer_costs
    from secateur.channels.groups import ChannelMap as ChannelMap
    from secateur.channels.trace import trace as trace
    from secateur.criteria.activation import apoz as apoz
    from secateur.criteria.activation import chip as chip
    from secateur.criteria.activation import entropy as entropy
    from secateur.criteria.activation import hrank as hrank
    from secateur.criteria.activation import mean_activation as mean_activation
    from secateur.criteria.base import Criterion as Criterion
    from secateur.criteria.calibrate import Calibration as Calibration
    from secateur.criteria.calibrate import calibrate as calibrate
    from secateur.criteria.calibrate import merge as merge
    from secateur.criteria.compensated import compensated as compensated
    from secateur.criteria.gradient import fisher as fisher
    from secateur.criteria.gradient import snip as snip
    from secateur.criteria.gradient import taylor_fo as taylor_fo
    from secateur.criteria.gradient import taylor_gate as taylor_gate
    from secateur.criteria.gradient import taylor_l1 as taylor_l1
    from secateur.criteria.gradient import taylor_l2 as taylor_l2
    from secateur.criteria.relation import cosine as cosine
    from secateur.criteria.relation import fermat as fermat
    from secateur.criteria.relation import gm as gm
    from secateur.criteria.score import score as score
    from secateur.criteria.scores import Scores as Scores
    from secateur.criteria.weight import bn_scale as bn_scale
    from secateur.criteria.weight import bn_shift as bn_shift
    from secateur.criteria.weight import l1 as l1
    from secateur.criteria.weight import l2 as l2
    from secateur.criteria.weight import lamp as lamp
    from secateur.criteria.weight import random as random
    from secateur.deploy.card import Card as Card
    from secateur.deploy.card import Origin as Origin
    from secateur.deploy.export import export as export
    from secateur.deploy.latency import compare_latency as compare_latency
    from secateur.deploy.latency import measure_latencies as measure_latencies
    from secateur.deploy.latency import measured_latency_ms as measured_latency_ms
    from secateur.deploy.onnx import export_onnx as export_onnx
    from secateur.deploy.quantise import quantise as quantise
    from secateur.errors import SecateurError as SecateurError
    from secateur.plan.budget import Budget as Budget
    from secateur.plan.latency import LatencyTable as LatencyTable
    from secateur.plan.plan import PruningPlan as PruningPlan
    from secateur.plan.reach import reach as reach
    from secateur.plan.schedule import scaled as scaled
    from secateur.plan.select import global_ as global_
    from secateur.plan.select import isomorphic as isomorphic
    from secateur.plan.select import manual as manual
    from secateur.plan.select import uniform as uniform
    from secateur.plan.sensitivity import Sensitivity as Sensitivity
    from secateur.plan.sensitivity import ratios_for as ratios_for
    from secateur.plan.sensitivity import ratios_from as ratios_from
    from secateur.pruning import prune as prune
    from secateur.pruning import prune_steps as prune_steps
    from secateur.study.analyse import analyse as analyse
    from secateur.study.inspection import Analysis as Analysis
    from secateur.surgery.cut import cut as cut
    from secateur.surgery.cut import verify as verify
    from secateur.surgery.dead import DeadChannels as DeadChannels
    from secateur.surgery.dead import dead_channels as dead_channels
    from secateur.surgery.dead import plan_dead as plan_dead
    from secateur.surgery.dead import remove_dead as remove_dead
    from secateur.surgery.dead_removal import DeadRemoval as DeadRemoval
    from secateur.surgery.mask import mask as mask
    from secateur.surgery.memory import activation_peak as activation_peak
    from secateur.surgery.package import load as load
    from secateur.surgery.package import save as save
    from secateur.surgery.plain import plain_weights as plain_weights
    from secateur.surgery.prune import prune_to_budget as prune_to_budget
    from secateur.surgery.pruned import Pruned as Pruned
    from secateur.surgery.reconstruct import reconstruct as reconstruct
    from secateur.surgery.reconstruction import LayerRepair as LayerRepair
    from secateur.surgery.reconstruction import Reconstruction as Reconstruction
    from secateur.train.batch_norm import reestimate_batch_norm as reestimate_batch_norm
    from secateur.train.distil import distillation as distillation
    from secateur.train.evaluate import evaluate as evaluate
    from secateur.train.fit import fit as fit
    from secateur.train.penalty import Penalty as Penalty
    from secateur.train.penalty_filters import DeepHoyer as DeepHoyer
    from secateur.train.penalty_filters import GroupLasso as GroupLasso
    from secateur.train.penalty_filters import GroupLassoProximal as GroupLassoProximal
    from secateur.train.penalty_filters import GrowingL2 as GrowingL2
    from secateur.train.penalty_filters import lowest_filters as lowest_filters
    from secateur.train.penalty_filters import prunable_filters as prunable_filters
    from secateur.train.penalty_groups import GroupNorm as GroupNorm
    from secateur.train.penalty_groups import coupled_groups as coupled_groups
    from secateur.train.penalty_scales import BnL1 as BnL1
    from secateur.train.penalty_scales import BnL1Proximal as BnL1Proximal
    from secateur.train.penalty_scales import Polarization as Polarization
    from secateur.train.penalty_scales import prunable_scales as prunable_scales
    from secateur.train.schedule import Training as Training
    from secateur.train.sensitivity import measure_sensitivity as measure_sensitivity
    from secateur.train.shrink import strength_for_shrink as strength_for_shrink
    from secateur.train.sparsity import skewness as skewness

_HOME = {
    "channels.cost": ("Cost", "cost", "layer_costs"),
    "channels.groups": ("ChannelMap",),
    "channels.trace": ("trace",),
    "criteria.activation": ("apoz", "chip", "entropy", "hrank", "mean_activation"),
    "criteria.base": ("Criterion",),
    "criteria.calibrate": ("Calibration", "calibrate", "merge"),
    "criteria.compensated": ("compensated",),
    "criteria.gradient": ("fisher", "snip", "taylor_fo", "taylor_gate", "taylor_l1", "taylor_l2"),
    "criteria.relation": ("cosine", "fermat", "gm"),
    "criteria.score": ("score",),
    "criteria.scores": ("Scores",),
    "criteria.weight": ("bn_scale", "bn_shift", "l1", "l2", "lamp", "random"),
    "errors": ("SecateurError",),
    "deploy.card": ("Card", "Origin"),
    "deploy.export": ("export",),
    "deploy.latency": ("compare_latency", "measure_latencies", "measured_latency_ms"),
    "deploy.onnx": ("export_onnx",),
    "deploy.quantise": ("quantise",),
    "plan.budget": ("Budget",),
    "plan.latency": ("LatencyTable",),
    "plan.plan": ("PruningPlan",),
    "plan.reach": ("reach",),
    "plan.schedule": ("scaled",),
    "plan.sensitivity": ("Sensitivity", "ratios_for", "ratios_from"),
    "plan.select": ("manual", "global_", "isomorphic", "uniform"),
    "pruning": ("prune", "prune_steps"),
    "study.analyse": ("analyse",),
    "study.inspection": ("Analysis",),
    "surgery.cut": ("cut", "verify"),
    "surgery.dead": (
        "DeadChannels",
        "dead_channels",
        "plan_dead",
        "remove_dead",
    ),
    "surgery.dead_removal": ("DeadRemoval",),
    "surgery.mask": ("mask",),
    "surgery.memory": ("activation_peak",),
    "surgery.package": ("load", "save"),
    "surgery.prune": ("prune_to_budget",),
    "surgery.pruned": ("Pruned",),
    "surgery.reconstruct": ("reconstruct",),
    "surgery.reconstruction": ("LayerRepair", "Reconstruction"),
    "surgery.plain": ("plain_weights",),
    "train.batch_norm": ("reestimate_batch_norm",),
    "train.distil": ("distillation",),
    "train.evaluate": ("evaluate",),
    "train.fit": ("fit",),
    "train.penalty": ("Penalty",),
    "train.penalty_filters": (
        "DeepHoyer",
        "GroupLasso",
        "GroupLassoProximal",
        "GrowingL2",
        "lowest_filters",
        "prunable_filters",
    ),
    "train.penalty_groups": ("GroupNorm", "coupled_groups"),
    "train.penalty_scales": ("BnL1", "BnL1Proximal", "Polarization", "prunable_scales"),
    "train.schedule": ("Training",),
    "train.shrink": ("strength_for_shrink",),
    "train.sparsity": ("skewness",),
    "train.sensitivity": ("measure_sensitivity",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE)]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    value = getattr(import_module(f"secateur.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
