"""Every tenant's calls leave through one gateway key.

What goes wrong
    A shared gateway signs all provider calls with its own API key, and nobody
    tells it whom a call is for. The provider's bill then knows one customer: you.

How it is recognised
    No span on the way of the call ever knew a tenant, and there is evidence of
    a gateway: a row of a gateway's log, the hash of a key, a server span that
    serves a path of a provider's API, or a process hop before the call.

How to fix it
    Put ``tenant.id`` into baggage where the request enters and let the gateway
    continue the caller's context, or issue one virtual key per tenant (below a
    few hundred tenants), or send the tenant in the request's metadata.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Ending, Hop, HopKind, Role, Rule, Survey


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim calls behind a gateway whose path never knew a tenant."""
    path = case.path
    if not case.is_unattributed or case.batch or path.knew_tenant or case.linked or path.has(Role.CONSUMER):
        return None
    if case.cut is not None or (path.ending is Ending.MISSING and (case.knowing_services or case.handing_services)):
        return None
    edges = path.edges
    gateways = [step for step in path.steps if step.shape.provider_api]
    behind_key = case.is_row or bool(case.credential)
    if not (behind_key or gateways or (edges and path.top.role is Role.SERVER)):
        return None
    evidence = []
    sure = Confidence.CERTAIN
    if case.credential:
        users = survey.calls_by_credential(case.credential)
        evidence.append(
            f"{users.total} calls use the key {case.credential[:12]}; {users.with_tenant} of them carry a tenant"
        )
        sure = Confidence.CERTAIN if not users.with_tenant else Confidence.LIKELY
    elif case.is_row:
        evidence.append("rows of a gateway's log with neither key, team, customer nor metadata")
        sure = Confidence.LIKELY
    if gateways:
        evidence.append(f"{gateways[0].service} serves a path of a provider's API")
    elif edges:
        evidence.append(f"{edges[0].upper.service} calls {edges[0].lower.service}, which calls the provider")
        sure = Confidence.LIKELY
    evidence.append("no span on the way of these calls knows a tenant")
    if path.ending is Ending.MISSING and not behind_key:
        sure = Confidence.POSSIBLE
    upper = edges[0].upper.service if edges else path.top.service
    return Diagnosis(
        confidence=sure,
        hop=Hop(upper, case.service, HopKind.PROCESS if edges else HopKind.NONE),
        evidence=tuple(evidence),
    )


RULE = Rule(
    id="gateway-single-key",
    title="A gateway hides all tenants behind one key",
    remedy="Hand the tenant to the gateway in baggage or request metadata, or issue one virtual key per tenant.",
    needs="spans of the gateway, or its log",
    diagnose=diagnose,
)
