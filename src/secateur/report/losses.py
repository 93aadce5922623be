"""Does a verdict hang on the accepted loss, on what it is measured from, or on the method?"""

from __future__ import annotations

from secateur.report.findings import MAIN_EPSILON, Findings
from secateur.report.tables import Table
from secateur.report.wording import between, loss, number
from secateur.study.claims import NOT_TESTED, Claim

RELATIVE = (
    "A secondary analysis, by which no claim is judged: the same lines, where each strength may "
    "lose from its own accuracy before any cut, not from the dense network’s. It tells apart two "
    "things that the claim holds together, what sparsification costs and what a sparse network can "
    "then lose. Read it with this warning: a network that sparsification broke has little left to "
    "lose, so almost everything can go from it, and it looks best; beside each line stands how "
    "many of its strengths are too inaccurate before any cut."
)


def at_other_losses(findings: Findings, claim: Claim) -> str:
    """The verdict and its numbers at the other accepted losses, in one sentence.

    Empty for a claim that does not depend on the loss, or was not tested.
    """
    own = {
        epsilon: other
        for epsilon, claims in findings.claims_at.items()
        for other in claims
        if other.statement == claim.statement
    }
    if not own or claim.verdict == NOT_TESTED:
        return ""
    hangs = "hangs" if hangs_on_loss(findings, claim) else "does not hang"
    told = [
        f"at {loss(epsilon)} {other.verdict}" + (f" ({other.numbers})" if other.numbers else "")
        for epsilon, other in own.items()
        if epsilon != MAIN_EPSILON
    ]
    return f"The verdict {hangs} on the accepted loss of {loss(MAIN_EPSILON)}: {'; '.join(told)}"


def hangs_on_loss(findings: Findings, claim: Claim) -> bool:
    """Whether another accepted loss gives another verdict."""
    verdicts = {
        other.verdict
        for claims in findings.claims_at.values()
        for other in claims
        if other.statement == claim.statement
    }
    return len(verdicts) > 1


def relative(findings: Findings) -> Table:
    """Slopes relative to the sparse network itself: numbers, and on purpose no verdict."""
    return Table(
        "Relative to the sparse network itself (secondary): lines of prunable ratio on Weight "
        "Skewness where each strength is measured against its own accuracy before any cut",
        (
            "Network",
            "Accepted loss",
            "Points",
            "Of them too inaccurate uncut",
            "Slope",
            "Interval",
            "Slope from the dense network",
        ),
        tuple(
            (
                fit.family,
                loss(epsilon),
                str(fit.n),
                str(fit.n_below),
                number(fit.slope),
                between(fit.low, fit.high),
                number(claimed.slope),
            )
            for epsilon, fits in findings.relative.items()
            for fit, claimed in zip(fits, findings.regressions[epsilon, "ws"], strict=True)
        ),
        n_labels=2,
    )


def by_method(findings: Findings) -> Table:
    """Slopes of every method by itself: what the line of a family averages, without verdicts."""
    return Table(
        f"Slope of prunable ratio on Weight Skewness by method, at a loss of {loss(MAIN_EPSILON)} "
        "(secondary: as many looks as rows, not corrected)",
        ("Network", "Scope", "Criterion", "Slope", "Interval", "R²"),
        tuple(
            (
                network,
                scope,
                criterion,
                number(fit.slope),
                between(fit.low, fit.high),
                number(fit.r2),
            )
            for (network, scope, criterion), fit in findings.by_method.items()
        ),
        n_labels=3,
    )
