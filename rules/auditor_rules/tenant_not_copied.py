"""The process knows the tenant, and the call's span does not.

What goes wrong
    The web framework's span, or one of your own, has the tenant. The span of
    the model call is its child in the same process and has not: OpenTelemetry
    does not hand attributes down, and nobody copies baggage to spans. Every
    query that groups model calls by tenant misses the call.

How it is recognised
    A span above the call, in the same process, knows the tenant; no queue, no
    other process and no agent lies between.

How to fix it
    Put the tenant into baggage where the request enters and add a baggage span
    processor, or set the attribute on the call with the instrumentation's own
    means (association properties, request hooks). Where your store rolls
    children up to the request, set ``rollup = "request"``.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Hop, HopKind, Rule, Survey, fitting

REMEDIES = {
    "openinference": "Wrap the handler in openinference.instrumentation.using_attributes(metadata={'tenant_id': …}), or put the tenant into baggage and add BaggageSpanProcessor.",
    "traceloop": "Call Traceloop.set_association_properties({'tenant_id': …}) where the request enters, or put the tenant into baggage and add BaggageSpanProcessor.",
    "python": "Put the tenant into baggage where the request enters and add BaggageSpanProcessor(ALLOW_ALL_BAGGAGE_KEYS) to the tracer provider.",
    "nodejs": "Put the tenant into baggage where the request enters and add BaggageSpanProcessor from @opentelemetry/baggage-span-processor.",
    "java": "Set otel.java.experimental.span-attributes.copy-from-baggage.include=tenant.id and put the tenant into baggage.",
    "go": "Put the tenant into baggage and register the baggagecopy span processor.",
}


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim calls below a span of the same process that knows the tenant."""
    path = case.path
    if not case.is_unattributed or case.batch or case.is_embedding:
        return None
    if not path.knew_tenant or path.edges or path.is_agentic or case.beside_agent:
        return None
    return Diagnosis(
        confidence=Confidence.CERTAIN,
        hop=Hop(path.top.service, case.service, HopKind.NONE),
        evidence=(
            f"a {path.top.role} span of {path.top.service} knows the tenant; the call below it, in the same process, does not",
        ),
        remedy=fitting(REMEDIES, path.call, path.top),
    )


RULE = Rule(
    id="tenant-not-copied",
    title="The tenant is known in the process and not on the call",
    remedy="Copy the tenant to the call's span: baggage with a baggage span processor, or the instrumentation's own means.",
    needs="spans of the calling process",
    diagnose=diagnose,
    unchecked=lambda survey: None if survey.has_graph else "a gateway's log has no spans of the callers",
)
