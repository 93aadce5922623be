"""What a study says without its page: a few lines for a terminal, plain values for a program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from secateur.report import comparison_figures, figures, gaps, removed_figures, run_figures
from secateur.report.findings import Findings
from secateur.report.summary import sentences, warnings


def digest(findings: Findings) -> dict[str, Any]:
    """Everything the page is drawn from, as values that JSON can hold."""
    return {
        "name": findings.recipe.get("name"),
        "warnings": list(warnings(findings)),
        "sentences": list(sentences(findings)),
        "claims": [asdict(claim) for claim in findings.claims],
        "base_networks": figures.base_networks(findings),
        "prunable": figures.prunable(findings),
        "fit_lines": figures.fit_lines(findings),
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
            for claim in findings.claims
        ),
    )
