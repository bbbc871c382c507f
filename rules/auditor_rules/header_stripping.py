"""The tenant does not get across a synchronous hop between two processes.

What goes wrong
    A service knows the tenant and calls another one. A proxy strips the
    ``baggage`` or tenant header, the client never sends it, or the server does
    not read it: everything behind the hop is nobody's. Sometimes the trace
    itself is cut there, because ``traceparent`` is stripped too.

How it is recognised
    A span above the call knows the tenant, and the first hop on the way down
    to the call goes from one process to another without a queue. When the
    trace is cut: roots of the one service lie, one to one, inside calls that
    the other service made for known tenants. In a gateway's log that shows
    what callers send along: some rows have the tenant there, these have not.

How to fix it
    Propagate W3C baggage on both sides (``tracecontext,baggage``), let proxies
    pass ``traceparent``, ``tracestate`` and ``baggage``, and copy the tenant
    from baggage to spans with a baggage span processor. A header that was
    stripped and one that was never sent look alike in a trace: check both ends.
"""

from __future__ import annotations

from auditor.rule import CallerSaid, Case, Confidence, Diagnosis, Ending, Hop, HopKind, Role, Rule, Survey, fitting

REMEDIES = {
    "envoy": "Add baggage and the tenant header to Envoy's allowed request headers, and read them in the service behind.",
    "python": "Set OTEL_PROPAGATORS=tracecontext,baggage on both services and add BaggageSpanProcessor(ALLOW_ALL_BAGGAGE_KEYS) to both tracer providers; let proxies between pass the baggage header.",
    "nodejs": "Set OTEL_PROPAGATORS=tracecontext,baggage on both services and add BaggageSpanProcessor from @opentelemetry/baggage-span-processor to both; let proxies between pass the baggage header.",
    "java": "Set otel.propagators=tracecontext,baggage and otel.java.experimental.span-attributes.copy-from-baggage.include=tenant.id on both services; let proxies between pass the baggage header.",
    "go": "Use propagation.NewCompositeTextMapPropagator(TraceContext{}, Baggage{}) on both services and the baggagecopy span processor; let proxies between pass the baggage header.",
}
IN_A_LOG = "Compare the callers of the two kinds of calls: let every client send the tenant's header or metadata, and every proxy before the gateway pass it."


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim calls whose tenant stops at a synchronous process hop, or whose trace does."""
    path = case.path
    if not case.is_unattributed or case.batch:
        return None
    if path.knew_tenant:
        return _inside_one_trace(case)
    if case.linked or path.has(Role.CONSUMER):
        return None
    if case.cut is not None:
        return Diagnosis(
            confidence=Confidence.LIKELY,
            hop=Hop(case.cut.service, path.top.service, HopKind.CUT),
            evidence=(
                f"{case.cut.matched} of {case.cut.roots} root spans of {path.top.service} lie, one to one, inside "
                f"calls that {case.cut.service} made for known tenants",
                "the trace is cut there: neither traceparent nor baggage arrived",
            ),
            remedy=fitting(REMEDIES, path.top),
        )
    others = case.knowing_services
    if path.ending is Ending.MISSING and others and not case.handing_services:
        return Diagnosis(
            confidence=Confidence.POSSIBLE,
            hop=Hop(others[0], path.top.service, HopKind.PROCESS),
            evidence=(
                f"in the same trace {', '.join(others)} know the tenant, {path.top.service} does not",
                f"the parent of {path.top.service}'s span is not in the input",
            ),
            remedy=fitting(REMEDIES, path.top),
        )
    return _in_a_log(case, survey) if case.is_row else None


def _in_a_log(case: Case, survey: Survey) -> Diagnosis | None:
    tagged = survey.service(case.service).calls_with_tenant_from_caller
    if case.caller_said is not CallerSaid.NOTHING or not tagged:
        return None
    return Diagnosis(
        confidence=Confidence.LIKELY,
        hop=Hop(case.service, case.service, HopKind.PROCESS),
        evidence=(
            f"the headers or metadata of {tagged} calls in the log of {case.service} name a tenant",
            "those of these calls are logged too, and name none: it was lost before the gateway, or never sent",
        ),
        remedy=IN_A_LOG,
    )


def _inside_one_trace(case: Case) -> Diagnosis | None:
    path = case.path
    if not path.edges or path.edges[0].kind is not HopKind.PROCESS:
        return None
    edge = path.edges[0]
    upper_knows = edge.position + 1 == len(path.steps) - 1
    evidence = [f"{path.top.service} ({path.top.role}) knows the tenant, {edge.lower.service} does not"]
    if upper_knows:
        evidence.append("the span that makes the call knows it too: it is lost between the two processes")
    else:
        evidence.append(f"the span of {edge.upper.service} that makes the call lacks it: probably never handed over")
    return Diagnosis(
        confidence=Confidence.CERTAIN if upper_knows else Confidence.LIKELY,
        hop=Hop(edge.upper.service, edge.lower.service, HopKind.PROCESS),
        evidence=tuple(evidence),
        remedy=fitting(REMEDIES, edge.lower, edge.upper),
    )


def _unchecked(survey: Survey) -> str | None:
    if survey.has_graph or survey.shows_callers:
        return None
    return "a gateway's log has no spans of the callers, and shows no tenant that they sent along"


RULE = Rule(
    id="header-stripping",
    title="The tenant is lost between two services",
    remedy="Propagate baggage on both sides of the hop and let proxies pass it; copy the tenant from baggage to spans.",
    needs="spans of both services, or a gateway's log that shows headers or metadata of the callers",
    diagnose=diagnose,
    # Of two that are equally sure, what callers sent says more than the key that they share.
    specificity=55,
    unchecked=_unchecked,
)
