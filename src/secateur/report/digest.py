"""What a study says without its page: a few lines for a terminal, plain values for a program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from secateur.report import figures
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
        "similarity": figures.similarity(findings),
        "budgets": figures.budgets(findings),
        "seconds": figures.seconds(findings),
        "failed": [dict(row) for row in findings.failed],
    }


def lines(findings: Findings) -> tuple[str, ...]:
    """Warnings, the study in a few sentences, and the claims with their verdicts."""
    return (
        *(f"! {warning}" for warning in warnings(findings)),
        *sentences(findings),
        *(
            f"{claim.statement}: {claim.verdict}. {claim.because.rstrip('.')}."
            for claim in findings.claims
        ),
    )
