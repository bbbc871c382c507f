"""Requests to a model provider that no instrumentation describes.

What goes wrong
    A client, a framework or a hand-written request calls a model, and only
    the HTTP instrumentation sees it. The trace has a client span to the
    provider's API and no model-call span with model and tokens: the call is
    billed, and no query for tokens ever finds it.

How it is recognised
    A client span goes to a provider's host, or posts to a path that only
    model APIs have, and no model call lies above it, beside it or below it in
    its trace, and no gateway's log tells of it. Hosts and paths are a table.
    What such calls cost is unknown: they count as calls without usage.

How to fix it
    Install the GenAI instrumentation for the library that makes these calls,
    or send them through a client or a gateway that is instrumented already.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Hop, HopKind, Rule, Survey, fitting

REMEDIES = {
    "python": "Install a GenAI instrumentation for the client library in use, such as opentelemetry-instrumentation-openai-v2 or one of OpenInference or OpenLLMetry, or replace hand-written requests by an instrumented client.",
    "nodejs": "Register a GenAI instrumentation for the client library in use, such as @opentelemetry/instrumentation-openai or one of OpenInference or OpenLLMetry, or replace hand-written requests by an instrumented client.",
}


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim answered requests to a provider's API that no model-call span describes."""
    if not case.is_request or case.failed:
        return None
    others = survey.service(case.service).calls - case.calls
    requests = "1 request" if case.calls == 1 else f"{case.calls} requests"
    where = f"the API of {case.provider}" if case.provider else "a path that model APIs have"
    evidence = [f"{requests} to {where} ({case.operation}) without a model-call span"]
    if not case.provider:
        evidence.append(
            "the host is no provider's own: a gateway whose calls are not in the input, or a model you serve"
        )
    if others:
        evidence.append(f"calls of {case.service} besides these: {others}")
    return Diagnosis(
        confidence=Confidence.CERTAIN if case.provider else Confidence.LIKELY,
        hop=Hop(case.service, case.service, HopKind.NONE),
        evidence=tuple(evidence),
        remedy=fitting(REMEDIES, case.path.call),
    )


RULE = Rule(
    id="uninstrumented-calls",
    title="Calls to a provider that no instrumentation describes",
    remedy="Instrument the client that makes these calls, or send them through one that is instrumented.",
    needs="HTTP client spans with URL, or path and host",
    diagnose=diagnose,
    specificity=95,
    unchecked=lambda survey: None if survey.has_graph else "a gateway's log has no spans of HTTP clients",
)
