"""What a study says without its page: a few lines for a terminal, plain values for a program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from secateur.report import (
    comparison_figures,
    figures,
    gaps,
    measure_figures,
    removed_figures,
    run_figures,
    sensitivity_figures,
)
from secateur.report.findings import EPSILONS, Findings
from secateur.report.losses import at_other_losses, hangs_on_loss
from secateur.report.summary import sentences, warnings

HANGS = "Another accepted loss of accuracy gives another verdict; the page has them."


def digest(findings: Findings) -> dict[str, Any]:
    """Everything the page is drawn from, as values that JSON can hold."""
    return {
        "name": findings.recipe.get("name"),
        "warnings": list(warnings(findings)),
        "sentences": list(sentences(findings)),
        "claims": [
            asdict(claim) | {"at_other_losses": at_other_losses(findings, claim)}
            for claim in findings.claims
        ],
        "base_networks": figures.base_networks(findings),
        "prunable": figures.prunable(findings),
        "fit_lines": figures.fit_lines(findings),
        "slopes_relative_to_own_accuracy": [
            {"epsilon": epsilon}
            | {
                name: getattr(fit, name)
                for name in ("family", "n", "n_below", "slope", "low", "high")
            }
            for epsilon in EPSILONS
            for fit in findings.relative[epsilon]
        ],
        "slopes_by_method": [
            {"network": network, "scope": scope, "criterion": criterion}
            | {name: getattr(fit, name) for name in ("n", "n_below", "slope", "low", "high", "r2")}
            for (network, scope, criterion), fit in findings.by_method.items()
        ],
        "sensitivity": sensitivity_figures.sensitivity(findings),
        "differences": figures.differences(findings),
        "fairness": comparison_figures.fairness(findings),
        "ranks": comparison_figures.ranks(findings),
        "from_scratch": comparison_figures.scratch_differences(findings),
        "shares_of_variance": comparison_figures.shares(findings),
        "similarity": figures.similarity(findings),
        "removed": removed_figures.removed(findings),
        "by_device": run_figures.by_device(findings),
        "budgets": figures.budgets(findings),
        "accuracy_at_budgets": comparison_figures.at_budgets(findings),
        "measures": measure_figures.measures(findings),
        "bd_rates": measure_figures.bd_rates(findings),
        "deployed": run_figures.deployed(findings),
        "course": run_figures.course(findings),
        "seconds": run_figures.seconds(findings),
        "absent": list(gaps.absent(findings)),
        "failed": [dict(row) for row in findings.failed],
    }


def lines(findings: Findings) -> tuple[str, ...]:
    """Warnings, the study in a few sentences, and the claims with what could have been seen."""
    return (
        *(f"! {warning}" for warning in warnings(findings)),
        *sentences(findings),
        *(
            f"{claim.statement}: {claim.verdict}. {claim.because.rstrip('.')}."
            + (f" {claim.visible[0].upper()}{claim.visible[1:]}." if claim.visible else "")
            + (f" {HANGS}" if hangs_on_loss(findings, claim) else "")
            for claim in findings.claims
        ),
    )
