"""`secateur prune`: one network, one budget, one criterion."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.network import Arguments, Factory, InputShape, Weights, build_network, example_of
from secateur.errors import SecateurError, unknown_name

if TYPE_CHECKING:
    from secateur.plan.plan import PruningPlan
    from secateur.surgery.verify import Verification


def prune(
    factory: Factory,
    weights: Weights = None,
    arg: Arguments = None,
    input_shape: InputShape = "1x64x101",
    macs: Annotated[
        str | None, typer.Option(help="MACs to stay within: 30M, or 50% of the network's own.")
    ] = None,
    pruning_ratio: Annotated[
        float | None, typer.Option(help="Share of channels to remove, in [0, 1).")
    ] = None,
    criterion: Annotated[str, typer.Option(help="l1, l2, gm, bn_scale or random.")] = "l1",
    scope: Annotated[str, typer.Option(help="uniform or global.")] = "uniform",
    min_channels: Annotated[int, typer.Option(help="No group goes below this.")] = 1,
    ignore: Annotated[
        list[str] | None, typer.Option(help="A channel group to leave alone; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random criterion.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path(
        "out/prune"
    ),
    device: Annotated[
        str | None, typer.Option(help="Hold it against a device: dcase2022 or dcase2023.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Cut a network to a budget; write the plan and the smaller network."""
    from secateur.channels.trace import trace
    from secateur.criteria.score import score
    from secateur.criteria.table import CRITERIA
    from secateur.deploy.device import DEVICES
    from secateur.files import write_text
    from secateur.plan.budget import Budget
    from secateur.plan.select import SCOPES
    from secateur.surgery.cut import cut
    from secateur.surgery.package import save
    from secateur.surgery.prove import settle
    from secateur.surgery.verify import verify

    if criterion not in CRITERIA:
        raise SecateurError(unknown_name("criterion", criterion, CRITERIA))
    if scope not in SCOPES:
        raise SecateurError(unknown_name("scope", scope, SCOPES))
    if device is not None and device not in DEVICES:
        raise SecateurError(unknown_name("device", device, DEVICES))
    budget = Budget(
        pruning_ratio=pruning_ratio,
        macs=macs,
        min_channels=min_channels,
        ignore=tuple(ignore or ()),
    )
    model = build_network(factory, weights, arg)
    example = example_of(input_shape)
    channels = trace(model, example)
    scores = score(model, channels, [CRITERIA[criterion]], seed=seed)[criterion]
    plan = settle(model, SCOPES[scope](scores, channels, budget), example)
    small = cut(model, plan, example)
    checked = verify(model, small, plan, channels, example)
    fit = None if device is None else DEVICES[device].check(plan.after)
    write_text(out / "plan.json", plan.to_json())
    save(small, out / "network.safetensors", plan)
    if as_json:
        answer = {
            "plan": json.loads(plan.to_json()),
            "verified": asdict(checked) | {"exact": checked.exact},
            "device": fit and asdict(fit) | {"fits": fit.fits},
            "files": [str(out / "plan.json"), str(out / "network.safetensors")],
        }
        typer.echo(json.dumps(answer, allow_nan=False))
    else:
        typer.echo("\n".join(_summary(plan, checked)))
        if fit is not None:
            typer.echo(str(fit))
        typer.echo(f"wrote {out / 'plan.json'} and {out / 'network.safetensors'}")
    if fit is not None and not fit.fits:
        raise typer.Exit(1)


def _summary(plan: PruningPlan, checked: Verification) -> list[str]:
    before, after = plan.before, plan.after
    rows: list[tuple[Any, ...]] = [
        ("", "before", "after", "left"),
        *(
            (name, f"{old:,}", f"{new:,}", f"{new / old:.1%}" if old else "-")
            for name, old, new in (
                ("channels", before.channels, after.channels),
                ("params", before.params, after.params),
                ("macs", before.macs, after.macs),
            )
        ),
    ]
    lines = [f"{a:<10}{b:>14}{c:>14}{d:>9}" for a, b, c, d in rows]
    asked = ", ".join(f"{name} {value:,.4g}" for name, value in plan.asked.items())
    reached = ", ".join(f"{name} {plan.reached[name]:,.4g}" for name in plan.asked)
    lines += [f"asked:   {asked}", f"reached: {reached}", f"how:     {plan.how}"]
    lines += [f"held back: {name}: {why}" for name, why in plan.held_back.items()]
    if plan.attributes:
        changed = [f"{name} = {value}" for name, value in plan.attributes.items()]
        rest = f" and {len(changed) - 3} more (see the plan)" if len(changed) > 3 else ""
        lines.append(f"sizes in the network's code: {', '.join(changed[:3])}{rest}")
    if checked.exact:
        lines.append("the cut network equals the masked one (verified in float64)")
    else:
        lines.append(
            f"the cut network differs from the masked one by {checked.relative_error:.1e}, because "
            f"of what mixes channels: {', '.join(checked.mixing)}"
        )
    return lines
