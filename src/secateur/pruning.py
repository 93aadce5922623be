"""The one call: trace, score, plan to a budget, cut, verify and repair; and the same in steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from secateur.channels.groups import ChannelMap
from secateur.channels.rules import RULES, Rule
from secateur.channels.trace import Example, trace
from secateur.criteria.base import Criterion
from secateur.criteria.batches import LossFunction
from secateur.criteria.calibrate import Calibration, calibrate
from secateur.criteria.compensated import compensated, losses_along
from secateur.criteria.score import score
from secateur.criteria.table import CRITERIA
from secateur.errors import BudgetError, CriterionError, PlanError, SurgeryError, unknown_name
from secateur.plan.balanced import balanced
from secateur.plan.budget import Amount, Budget
from secateur.plan.latency import LatencyTable
from secateur.plan.normalise import Normalisation
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import check_reach
from secateur.plan.schedule import SCHEDULES, scaled
from secateur.plan.select import BALANCED, check_scope, selection, uniform
from secateur.surgery.cut_again import replayed
from secateur.surgery.package import load, plans_in
from secateur.surgery.probes import probed
from secateur.surgery.prune import prune_to_budget
from secateur.surgery.pruned import Pruned
from secateur.surgery.reconstruct import reconstruct

if TYPE_CHECKING:
    from torch.optim import Optimizer


def prune(
    model: nn.Module | Pruned,
    example_input: Example,
    *,
    macs: Amount | None = None,
    params: Amount | None = None,
    bytes: Amount | None = None,
    latency_ms: float | str | None = None,
    latency_table: LatencyTable | None = None,
    ratio: float | None = None,
    ratios: Mapping[str, float] | None = None,
    ignore: Iterable[str] = (),
    min_channels: int = 1,
    max_ratio: float = 1.0,
    round_to: int = 1,
    criterion: str | Criterion | None = None,
    scope: str = "uniform",
    normalisation: Normalisation = "none",
    calibration: Iterable[Any] | Calibration | None = None,
    loss_fn: LossFunction | None = None,
    repair: str | None = None,
    seed: int = 0,
    on_progress: Callable[[str], None] | None = None,
    optimizer: Optimizer | None = None,
    rules: Mapping[str, Rule] = RULES,
) -> Pruned:
    """Cut a network to a budget, verify the cut, and repair it; `model` is left as it was.

    Traces the network, scores its channels, plans to the budget, proves the plan on shapes, cuts,
    and compares the cut network with the whole one in which the removed channels are silent. What
    cannot be scored or cut is left alone and listed, and the rest gives more, so that the budget is
    met; where it cannot be, the error names the nearest that can. Where calibration inputs are
    given, the layers behind the cut are then refitted on them (see `reconstruct`).

    The default, `l2` and the same share of every group, is the best of all that score any network
    without data in both studies of this project: after fine-tuning, 81.1 % on ESC-10 and 59.7 % on
    generated scenes on the average over networks and budgets (docs/prune.md has the command).
    Where batch norms follow all convolutions, `bn_scale` is as good.

    Args:
        model: any network that runs, or what `prune` gave, to cut it again.
        example_input: a tensor with a batch dimension, a tuple of arguments, or a dict of keyword
            arguments, in the range of real inputs: the cut is verified on such.
        macs: multiply-accumulates an example at most: a count, "30M", or a share, "50%".
        params: parameters at most, likewise.
        bytes: bytes of all parameters at most, "128kB@int8" or "50%"; float32 unless said.
        latency_ms: milliseconds of one example at most, as `latency_table` estimates them.
        latency_table: of the machine that is meant; see `measure_latencies`.
        ratio: share of the channels to remove, in [0, 1).
        ratios: the same for some groups, whatever the rest does: name or pattern to share.
        ignore: groups, layers or patterns to leave alone.
        min_channels: no group goes below it.
        max_ratio: at most this share of any group goes.
        round_to: what stays of a group is a multiple of it, or the whole group.
        criterion: what a channel is worth: a name of `secateur criteria`, or a criterion; by
            default "l2", or "compensated" if the scope is "balanced".
        scope: "uniform", the same share of every group; "global", all groups together;
            "isomorphic", together among groups of one structure; "balanced", where the outputs of
            the repaired network are forecast to suffer least, which needs `calibration` batches.
        normalisation: what makes groups comparable where they are sorted together.
        calibration: batches for the repair and for a criterion that needs them: a tensor or a
            mapping is inputs, a pair is inputs and targets, at which no repair looks. Or what
            `calibrate` made of batches, for the criterion alone.
        loss_fn: `loss_fn(output, target)`, one number a batch, for a criterion of gradients.
        repair: "reconstruct", "batch_norm" (statistics estimated anew), "bias" (shifts alone) or
            "none"; by default "reconstruct" if `calibration` holds batches, else "none".
        seed: of a criterion that draws, and of the repair.
        on_progress: called with what is being done, in words, where scope "balanced" takes long.
        optimizer: one of `model`; the answer's `optimizer` is it, cut along.
        rules: what operators do to channels, if not only the library's own.

    Raises:
        BudgetError: nothing is asked for, or the budget cannot be met.
        TraceError: the network cannot be traced.
        CriterionError: there is no such criterion, or it lacks what it needs.
        PlanError: there is no such scope or normalisation.
        SurgeryError: a parameter holds NaN or has no values, the optimizer is not the model's, or
            the calibration is of no use to a repair.
        VerificationError: the cut network does not run.
    """
    budget = Budget(
        macs=macs,
        params=params,
        bytes=bytes,
        latency_ms=latency_ms,
        latency_table=latency_table,
        pruning_ratio=ratio,
        ratios=ratios or {},
        ignore=ignore,  # type: ignore[arg-type]  # any iterable; a text is refused there
        min_channels=min_channels,
        max_ratio=max_ratio,
        round_to=round_to,
    )
    given = criterion, scope, normalisation, calibration, loss_fn, repair, seed, rules, on_progress
    choice = _Choice(*given)
    return choice.pruned(model, example_input, budget, optimizer)


def prune_steps(
    model: nn.Module | Pruned,
    example_input: Example,
    *,
    steps: int,
    schedule: str = "linear",
    optimizer: Optimizer | None = None,
    resume: str | Path | Sequence[PruningPlan] | None = None,
    **words: Any,
) -> Iterator[Pruned]:
    """Cut a network to a budget in several steps; train `step.network` in between, or do not.

    Every step cuts the network of the step before it as it is then: it is traced and scored anew,
    and cut to its part of the way to the budget, which the last step meets; where calibration
    inputs are given, every step is repaired, towards the network before it. An `optimizer` comes
    along: train with `step.optimizer`, which has the settings and the state of the one before.

    Args:
        model: as for `prune`.
        example_input: as for `prune`.
        steps: how many, from 1.
        schedule: how much of the way each goes: "linear", "cubic" (much at first) or "one_shot".
        optimizer: one of `model`.
        resume: what `save` of a step wrote, to go on after a kill: `model`, the uncut network, is
            cut again by the plans in the file and filled with its weights. The first step that
            comes is then the one that was saved, to be trained on. Or the plans alone.
        **words: the other arguments of `prune`.

    Raises:
        BudgetError: as `prune`, or there is no such schedule or number of steps.
        PackageError: the file to resume from cannot be read, or does not fit.
        PlanError: its plans are of another network, or of more steps.
    """
    if schedule not in SCHEDULES:
        raise BudgetError(unknown_name("schedule", schedule, SCHEDULES))
    SCHEDULES[schedule](steps, steps)
    of_choice = {name: words.pop(name) for name in _Choice.__match_args__ if name in words}
    if "ratio" in words:
        words["pruning_ratio"] = words.pop("ratio")
    budget, choice = Budget(**words), _Choice(**of_choice)
    whole = trace(_network(model), example_input, choice.rules)
    check_reach(whole, budget)

    before = None if resume is None else _resumed(model, example_input, resume, steps, choice.rules)

    def cuts() -> Iterator[Pruned]:
        network, stepping, first, done = model, optimizer, 1, 0.0
        if before is not None:
            network, first = before, len(before.steps) + 1
            done = SCHEDULES[schedule](first - 1, steps)
            if optimizer is not None:
                before.take_along(optimizer)
                network = replace(before, optimizer=optimizer)
            yield network
        for step in range(first, steps + 1):
            share = SCHEDULES[schedule](step, steps)
            part = scaled(budget, whole, share, done)
            pruned = choice.pruned(network, example_input, part, stepping)
            yield pruned
            network, stepping, done = pruned, pruned.optimizer, share

    return cuts()


def _resumed(
    model: nn.Module | Pruned,
    example_input: Example,
    resume: str | Path | Sequence[PruningPlan],
    steps: int,
    rules: Mapping[str, Rule],
) -> Pruned:
    """The last of the steps that were made before, with the weights of the file if it is one."""
    plans = plans_in(resume) if isinstance(resume, str | Path) else resume
    if len(plans) > steps:
        raise PlanError(
            f"{len(plans)} steps were made before and {steps} are asked for; give the number of "
            "steps and the budget that the first run had"
        )
    found = replayed(_network(model), plans, example_input, rules)
    if isinstance(resume, str | Path):
        made = found.network
        found = replace(found, network=load(resume, lambda: made))
    return found


@dataclass(frozen=True)
class _Choice:
    """Which channels go, and what is repaired after."""

    criterion: str | Criterion | None = None
    scope: str = "uniform"
    normalisation: Normalisation = "none"
    calibration: Iterable[Any] | Calibration | None = None
    loss_fn: LossFunction | None = None
    repair: str | None = None
    seed: int = 0
    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    on_progress: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        check_scope(self.scope, self.normalisation)
        if self.criterion is None:
            object.__setattr__(self, "criterion", default_criterion(self.scope))
        if isinstance(self.criterion, str) and self.criterion not in CRITERIA:
            raise CriterionError(unknown_name("criterion", self.criterion, CRITERIA))
        has_inputs = not isinstance(self.calibration, Calibration | None)
        if self.repair is None:
            object.__setattr__(self, "repair", "reconstruct" if has_inputs else "none")
        if self.repair not in REPAIRS:
            raise SurgeryError(unknown_name("repair", str(self.repair), REPAIRS))
        if self.repair != "none" and not has_inputs:
            raise SurgeryError(
                f"repair {self.repair!r} needs inputs; pass calibration=batches, of which targets "
                "are not looked at"
            )
        if self.scope == BALANCED and not has_inputs:
            raise PlanError(
                "scope 'balanced' tries on inputs what every group costs; pass calibration=batches "
                "of inputs, or choose scope 'uniform'"
            )
        if isinstance(self.calibration, Iterator):  # it is run through more than once
            object.__setattr__(self, "calibration", list(self.calibration))

    def pruned(
        self,
        model: nn.Module | Pruned,
        example_input: Example,
        budget: Budget,
        optimizer: Optimizer | None,
    ) -> Pruned:
        network = _network(model)
        channels = trace(network, example_input, self.rules)
        check_reach(channels, budget)
        named: Any = self.criterion
        criterion: Criterion = CRITERIA[named] if isinstance(named, str) else named
        given: dict[str, Any] = {"loss_fn": self.loss_fn}
        if self.scope == BALANCED:
            given |= {"repair": self.repair, "seed": self.seed, "on_progress": self.on_progress}
            given["earlier"] = model if isinstance(model, Pruned) else None
            found = prune_balanced(channels, budget, criterion, self._batches(), **given)
            return self._with_optimizer(found, optimizer)
        given["calibration"] = self.calibration
        scores = score(channels, [criterion], seed=self.seed, **given)[criterion.name]
        select = partial(selection(self.scope, self.normalisation), scores)
        earlier = model if isinstance(model, Pruned) else None
        found = prune_to_budget(channels, budget, select, earlier=earlier)
        if self.repair != "none":
            method: Any = self.repair
            new = not budget.counts_parameters
            given = {"method": method, "make_biases": new, "seed": self.seed}
            found = reconstruct(found, self._batches(), **given)
        return self._with_optimizer(found, optimizer)

    def _with_optimizer(self, found: Pruned, optimizer: Optimizer | None) -> Pruned:
        if optimizer is None:
            return found
        return replace(found, optimizer=found.cut_optimizer(optimizer))

    def _batches(self) -> Iterable[Any]:
        assert self.calibration is not None and not isinstance(self.calibration, Calibration)
        return self.calibration


def prune_balanced(
    channels: ChannelMap,
    budget: Budget,
    criterion: Criterion,
    batches: Iterable[Any],
    *,
    repair: str = "reconstruct",
    loss_fn: LossFunction | None = None,
    seed: int = 0,
    earlier: Pruned | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Pruned:
    """Cut where the repaired network is forecast to lack least, or uniformly if that is nearer.

    Half of every group is cut alone and repaired, and the outputs on held-out inputs are compared
    with the uncut network's (`surgery.probes`); other numbers of channels cost in proportion to
    what the layers that read them would lack (`compensated`). Channels then go where the squared
    error rises least for what the budget saves (`plan.balanced`). That cut and one in equal shares
    are repaired, and the one with the smaller error on held-out inputs is the answer; the latter
    where they are within 2 %.

    Raises:
        BudgetError: the budget cannot be met.
        CriterionError: the criterion lacks what it needs, or can score no group.
        SurgeryError: the inputs are of no use.
    """
    said = on_progress or (lambda _: None)
    batches = list(batches)
    said(f"scoring by {criterion.name}")
    streamed = [criterion] if criterion.update is not None and criterion != compensated else []
    known = calibrate(channels, [*streamed, compensated], batches, loss_fn=loss_fn)
    scores = score(channels, [criterion], calibration=known, seed=seed)[criterion.name]
    order = {n: np.argsort(v, kind="stable").tolist() for n, v in scores.groups.items()}
    losses = losses_along(channels, known.sums[compensated.name], order)
    damage = probed(channels, order, losses, batches, seed=seed, on_progress=said)
    made: list[tuple[float, Pruned, Pruned]] = []
    for select in (partial(uniform, scores), partial(balanced, scores, damage)):
        said("planning, cutting, verifying and repairing")
        try:
            cut = prune_to_budget(channels, budget, select, earlier=earlier)
        except BudgetError:
            if select.func is balanced:
                raise
            continue
        method: Any = "reconstruct" if repair == "none" else repair
        new = not budget.counts_parameters
        repaired = reconstruct(cut, batches, method=method, make_biases=new, seed=seed)
        done = repaired.reconstruction
        assert done is not None
        if method == "reconstruct" and cut.plan.remove.keys() <= damage.squares.keys():
            done = replace(done, forecast=damage.forecast(cut.plan.remove))
            repaired = replace(repaired, reconstruction=done)
        # the balanced one comes last, and has to be nearer by more than a tie
        if not made or done.error_after < (1 - TIE) * made[0][0]:
            made = [(done.error_after, cut, repaired)]
    _, cut, repaired = made[0]
    return cut if repair == "none" else repaired


TIE = 0.02
"""By so much a balanced cut has to be nearer than one in equal shares."""


def default_criterion(scope: str) -> str:
    """The name of the criterion where none is asked for."""
    return compensated.name if scope == BALANCED else "l2"


REPAIRS = ("none", "batch_norm", "bias", "reconstruct")
"""What can be done after a cut, without labels."""


def _network(model: nn.Module | Pruned) -> nn.Module:
    return model.network if isinstance(model, Pruned) else model
