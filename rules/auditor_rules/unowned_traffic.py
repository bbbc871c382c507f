"""Spend that no request, job or tenant explains.

What goes wrong
    Calls run that nobody asked for on behalf of a customer: a cron job, a
    notebook with the production key, a warm-up, a service that was never
    instrumented for tenants at all.

How it is recognised
    Unattributed calls that no other rule explains.

How to fix it
    Find the owner. If the work is your own, declare it: a non-production
    environment, or an entry under ``[internal]`` in the settings. If it is done
    for customers, set the tenant where the work begins.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Hop, HopKind, Rule, Survey


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim whatever is unattributed."""
    if not case.is_unattributed:
        return None
    top = case.path.top
    return Diagnosis(
        confidence=Confidence.POSSIBLE,
        hop=Hop(top.service, case.service, HopKind.NONE),
        evidence=(
            f"the way up ends at a {top.role} span of {top.service} ({case.path.ending}), and nothing on it knows a tenant",
        ),
    )


RULE = Rule(
    id="unowned-traffic",
    title="Spend without an owner",
    remedy="Find the owner; declare own use as internal, or set the tenant where the work begins.",
    needs="any calls",
    diagnose=diagnose,
    specificity=0,
)
