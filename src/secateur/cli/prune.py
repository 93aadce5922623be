"""`secateur prune`: one network, one budget, one criterion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.budget import (
    Bytes,
    Ignore,
    LatencyMs,
    LatencyTableFile,
    Macs,
    MaxRatio,
    MinChannels,
    Params,
    PruningRatio,
    Ratios,
    RoundTo,
    read_latency_table,
    read_ratios,
)
from secateur.cli.calibration import loss_of, read_calibration, scores_of
from secateur.cli.criterion import find_criterion
from secateur.cli.inputs import Inputs
from secateur.cli.network import Arguments, Factory, Given, Weights, given_network
from secateur.cli.outcome import (
    Cut,
    Outcome,
    cost_rows,
    dead_outcome,
)
from secateur.errors import SecateurError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from secateur.channels.groups import ChannelMap
    from secateur.criteria.base import Criterion
    from secateur.criteria.scores import Scores
    from secateur.plan.budget import Budget

_CHOICE = "Which channels go"

_FILES = ("plan.json", "network.safetensors", "costs.csv", "network.svg")


def prune(
    factory: Factory,
    weights: Weights = None,
    arg: Arguments = None,
    inputs: Inputs = None,
    macs: Macs = None,
    params: Params = None,
    n_bytes: Bytes = None,
    latency_ms: LatencyMs = None,
    latency_table: LatencyTableFile = None,
    pruning_ratio: PruningRatio = None,
    round_to: RoundTo = 1,
    min_channels: MinChannels = 1,
    max_ratio: MaxRatio = 1.0,
    ratio: Ratios = None,
    ignore: Ignore = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="l1, gm, taylor_fo, …, or package.module:function; l2 by default, compensated "
            "with --scope balanced.",
            rich_help_panel=_CHOICE,
        ),
    ] = None,
    scope: Annotated[
        str,
        typer.Option(
            help="uniform, global, isomorphic, or balanced on --calibration.",
            rich_help_panel=_CHOICE,
        ),
    ] = "uniform",
    normalisation: Annotated[
        str, typer.Option(help="none, mean, max, gaussian or sqrt_d.", rich_help_panel=_CHOICE)
    ] = "none",
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Data for the repair, and for criteria that need it: a file with `input`, "
            "`target`; or scenes.",
            rich_help_panel=_CHOICE,
        ),
    ] = None,
    loss: Annotated[
        str, typer.Option(help="Loss for criteria of gradients.", rich_help_panel=_CHOICE)
    ] = "cross_entropy",
    seed: Annotated[
        int, typer.Option(help="Seed of the random criterion.", rich_help_panel=_CHOICE)
    ] = 0,
    remove_dead: Annotated[
        bool,
        typer.Option(
            "--remove-dead",
            help="Only channels that are dead; no budget.",
            rich_help_panel=_CHOICE,
        ),
    ] = False,
    repair: Annotated[
        str | None,
        typer.Option(
            help="What is done on --calibration after the cut: reconstruct (if it is given), "
            "batch_norm, bias or none."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path(
        "out/prune"
    ),
    device: Annotated[
        str | None, typer.Option(help="Hold it against a device: dcase2022 or dcase2023.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Cut a network to a budget; write the plan, the smaller network, layers' costs, a picture."""
    from rich.console import Console

    from secateur.deploy.device import DEVICES
    from secateur.deploy.latency import compare_latency
    from secateur.files import as_csv, write_text
    from secateur.plan.budget import Budget
    from secateur.plan.picture import picture
    from secateur.plan.select import BALANCED, check_scope, selection
    from secateur.pruning import default_criterion
    from secateur.surgery.dead import dead_channels
    from secateur.surgery.dead import remove_dead as without_dead
    from secateur.surgery.package import save

    criterion = criterion or default_criterion(scope)
    chosen = find_criterion(criterion)
    if device is not None and device not in DEVICES:
        raise SecateurError(unknown_name("device", device, DEVICES))
    check_scope(scope, normalisation)
    if scope == BALANCED and calibration is None:
        raise SecateurError(
            "--scope balanced tries on data what every group costs; name a file with `input`, or "
            "scenes, by --calibration, or choose --scope uniform"
        )
    limits: dict[str, Any] = {
        "macs": macs,
        "params": params,
        "bytes": n_bytes,
        "latency_ms": latency_ms,
        "pruning_ratio": pruning_ratio,
    }
    rules: dict[str, Any] = {
        "round_to": round_to,
        "min_channels": min_channels,
        "max_ratio": max_ratio,
        "ratios": read_ratios(ratio or []),
        "ignore": tuple(ignore or ()),
    }
    if remove_dead:
        _check_no_budget(limits, rules | ({} if repair in (None, "none") else {"repair": repair}))
        budget = None
    else:
        budget = Budget(**limits, latency_table=read_latency_table(latency_table), **rules)
    given = given_network(factory, weights, arg, inputs)
    model = given.model
    anew = None if remove_dead else _data_to_repair_on(repair, calibration, given)
    with Console(stderr=True).status("tracing") as shown:
        channels = given.traced()
        if budget is None:
            shown.update("removing dead channels, and verifying")
            done = Cut(without_dead(model, given.example))
        else:
            _say_reach(channels, budget, quiet=as_json)
            data: dict[str, Any] = {"calibration": calibration, "loss": loss, "seed": seed}
            if scope == BALANCED:
                data["repair"] = repair or "reconstruct"
                done = _cut_balanced(budget, channels, chosen, given, shown.update, **data)
            else:
                scored = partial(scores_of, given, channels, chosen, **data)
                select = selection(scope, normalisation)
                done = _cut_to(budget, channels, scored, select, shown.update)
            if anew is not None and scope != BALANCED:
                shown.update("repairing")
                done = _repaired(done, anew, budget, method=repair or "reconstruct", seed=seed)
        shown.update("looking for dead channels")
        pruned = done.pruned
        dead = dead_outcome(dead_channels(channels), pruned.plan)
        shown.update("comparing latencies")
        timed = compare_latency(model, pruned.network, given.example)
    table = None if budget is None else budget.latency_table
    outcome = Outcome(
        done,
        criterion=criterion,
        dead=dead,
        fit=None if device is None else DEVICES[device].check(pruned.plan.after),
        latency=timed,
        table_of=None if table is None else table.machine,
        costs=cost_rows(channels, pruned.plan),
        files=tuple(out / name for name in _FILES),
    )
    write_text(outcome.files[0], pruned.plan.to_json())
    save(pruned.network, outcome.files[1], (*given.plans, pruned.plan))
    write_text(outcome.files[2], as_csv(outcome.costs))
    write_text(outcome.files[3], picture([(channels, pruned.plan)]))
    typer.echo(outcome.as_json() if as_json else "\n".join(outcome.lines()))
    if outcome.fit is not None and not outcome.fit.fits:
        raise typer.Exit(1)


def _cut_to(
    budget: Budget,
    channels: ChannelMap,
    scored: Callable[..., tuple[Scores, str | None]],
    select: Any,
    on_progress: Callable[[str], None],
) -> Cut:
    """Score, plan, cut, and verify."""
    from secateur.surgery.prune import prune_to_budget

    scores, data = scored(on_progress=on_progress)
    on_progress("planning, proving, cutting and verifying")
    done = prune_to_budget(channels, budget, partial(select, scores))
    return Cut(done, calibrated_on=data, alike=scores.constant)


def _cut_balanced(
    budget: Budget,
    channels: ChannelMap,
    criterion: Criterion,
    given: Given,
    on_progress: Callable[[str], None],
    *,
    calibration: str,
    loss: str,
    **how: Any,
) -> Cut:
    """Score, try every group, plan, cut, verify and repair."""
    from secateur.pruning import prune_balanced

    example = given.one_tensor("scope balanced")
    inputs, targets, what = read_calibration(calibration, example)
    parts = [inputs.tensor_split(-(-len(inputs) // 32))]
    if targets is not None:
        parts.append(targets.tensor_split(-(-len(inputs) // 32)))
    batches = list(zip(*parts, strict=True))
    how |= {"loss_fn": loss_of(loss), "on_progress": on_progress}
    done = prune_balanced(channels, budget, criterion, batches, **how)
    return Cut(done, calibrated_on=what)


def _repaired(done: Cut, inputs: Tensor, budget: Budget, **how: Any) -> Cut:
    """The same cut, repaired on inputs without labels."""
    from secateur.surgery.reconstruct import reconstruct

    batches = inputs.tensor_split(-(-len(inputs) // 32))
    new = not budget.counts_parameters
    return replace(done, pruned=reconstruct(done.pruned, batches, make_biases=new, **how))


def _say_reach(channels: ChannelMap, budget: Budget, *, quiet: bool) -> None:
    """Print what the budget asks and what can be reached, before any work.

    Raises:
        BudgetError: it cannot be met.
    """
    from secateur.plan.reach import check_reach, reach

    check_reach(channels, budget)
    for row in () if quiet else reach(channels, budget):
        typer.echo(str(row))


def _check_no_budget(limits: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    """Refuse a budget beside --remove-dead.

    Raises:
        SecateurError: naming the first option that has no say.
    """
    given = [name for name, limit in limits.items() if limit is not None]
    given += [name for name, rule in rules.items() if rule not in (1, {}, ())]
    if given:
        option = given[0].replace("_", "-").replace("ratios", "ratio")
        raise SecateurError(
            f"--remove-dead removes dead channels and no more, so --{option} has no say; leave out "
            "one of them"
        )


def _data_to_repair_on(repair: str | None, calibration: str | None, given: Given) -> Tensor | None:
    """The inputs of a repair; None where none is asked for, or possible.

    Raises:
        SecateurError: there is no such repair, or it lacks data.
    """
    from secateur.pruning import REPAIRS

    if repair is not None and repair not in REPAIRS:
        raise SecateurError(unknown_name("repair", repair, REPAIRS))
    if repair == "none" or (repair is None and calibration is None):
        return None
    if calibration is None:
        raise SecateurError(
            f"--repair {repair} needs data; name a file with `input`, or scenes, by --calibration"
        )
    return read_calibration(calibration, given.one_tensor("a repair"))[0]
