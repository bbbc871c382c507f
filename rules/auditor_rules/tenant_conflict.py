"""A call carries another tenant than its request.

What goes wrong
    A client, a thread or a cached context keeps the tenant of an earlier
    request. The call is charged, with full confidence, to the wrong customer.

How it is recognised
    The call and a span above it, or two spans of the one call, carry different
    values under keys of the same meaning. A team on one and a tenant on the
    other are no conflict.

How to fix it
    Set the tenant per request, never on a shared client, a module variable or
    a pooled worker; detach contexts when a request ends. Check the invoices of
    both customers.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Hop, HopKind, Rule, Survey


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim calls whose tenant contradicts the one on their path."""
    if not case.conflict:
        return None
    way = case.conflict_hop
    if len(way) < 2:
        hop = Hop(case.service, case.service, HopKind.NONE)
        evidence = "two spans of the same call carry different tenants"
    else:
        hop = Hop(
            way[-1].service,
            case.service,
            HopKind.PROCESS if way[-1].service != case.service else HopKind.NONE,
        )
        evidence = f"a {way[-1].role} span of {way[-1].service} above the call carries another tenant"
    return Diagnosis(confidence=Confidence.CERTAIN, hop=hop, evidence=(evidence,))


RULE = Rule(
    id="tenant-conflict",
    title="Calls are charged to the wrong tenant",
    remedy="Set the tenant per request, never on a shared client or a pooled worker.",
    needs="tenants on calls and on spans above them",
    diagnose=diagnose,
    specificity=100,
    unchecked=lambda survey: None if survey.has_graph else "a gateway's log has no spans of the callers",
)
