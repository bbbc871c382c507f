"""The tenant does not get across a queue, or into a worker.

What goes wrong
    A request puts a job on a queue; the worker that takes it runs in another
    process, later, and nobody packed the tenant into the message. Its model
    calls are nobody's, or belong to a placeholder such as ``worker``.

How it is recognised
    The hop is from a producer to a consumer, or a span link; or the call lies
    under a consumer or job span that no tenant reaches; or it is a root in a
    process that never knows a tenant, beside producers that do. A worker that
    opens no consumer span looks like a detached thread: the evidence says so.

How to fix it
    Inject baggage into the message when it is produced and extract it before
    the job runs, or set the tenant from the job's payload at the start of the
    job. With span links, copy the tenant into the message as well: a link
    alone carries no baggage.
"""

from __future__ import annotations

from auditor.rule import (
    Case,
    Confidence,
    Diagnosis,
    Ending,
    Hop,
    HopKind,
    Join,
    Role,
    Rule,
    Survey,
    fitting,
)

REMEDIES = {
    "celery": "Celery: add baggage to OTEL_PROPAGATORS on producer and worker (the instrumentation injects it into the message headers) and a BaggageSpanProcessor to the worker; with use_span_links, pass the tenant as a task header and attach it in task_prerun.",
    "bullmq": "BullMQ: pass the tenant in job.opts.telemetry.metadata or job.data, and set it on the active context in the processor.",
    "sidekiq": "Sidekiq: use propagation_style :child, or copy the tenant into the job hash with a client middleware and attach it in a server middleware.",
    "kafka": "Kafka: inject baggage into the record headers and extract it before processing each record, not once per poll.",
    "sqs": "SQS: send the tenant as a message attribute and attach it before each message is handled.",
    "temporal": "Temporal: register a context propagator that carries the tenant on client and worker.",
    "python": "Inject baggage into the job's headers (opentelemetry.propagate.inject) and extract it before the job runs, or set the tenant from the payload as the first act of the job.",
    "nodejs": "Inject baggage into the job's payload (propagation.inject) and run the job inside propagation.extract, or set the tenant from the payload first.",
}
JOINED_BY_MESSAGE = frozenset({Join.LINK, Join.MESSAGE_ID})


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim calls whose tenant stops at a queue hop."""
    path = case.path
    if not case.is_unattributed or case.batch:
        return None
    if path.knew_tenant:
        return _inside_one_trace(case)
    if path.has(Role.CONSUMER) or case.linked:
        return _under_consumer(case, survey)
    producers = case.handing_services
    if path.ending is Ending.MISSING and producers and not _process_knows(case):
        return Diagnosis(
            confidence=Confidence.POSSIBLE,
            hop=Hop(producers[0], path.top.service, HopKind.QUEUE),
            evidence=(
                f"in the same trace {producers[0]} hands over work",
                f"the parent of {path.top.service}'s span is not in the input",
            ),
            remedy=fitting(REMEDIES, path.top),
        )
    return _detached_worker(case, survey)


def _process_knows(case: Case) -> bool:
    return any(peer.same_process and peer.knows_tenant for peer in case.peers)


def _inside_one_trace(case: Case) -> Diagnosis | None:
    path = case.path
    if not path.edges or path.edges[0].kind is not HopKind.QUEUE:
        return None
    edge = path.edges[0]
    upper_knows = edge.position + 1 == len(path.steps) - 1
    return Diagnosis(
        confidence=Confidence.CERTAIN,
        hop=Hop(edge.upper.service, edge.lower.service, HopKind.QUEUE),
        evidence=(
            f"{path.top.service} ({path.top.role}) knows the tenant, the {edge.lower.role} in {edge.lower.service} does not",
            "the producer span knows it too" if upper_knows else "the producer span already lacks it",
        ),
        remedy=fitting(REMEDIES, edge.lower, edge.upper),
    )


def _under_consumer(case: Case, survey: Survey) -> Diagnosis:
    path = case.path
    evidence = []
    if case.linked:
        evidence.append("a span on the way is connected by a span link only")
    if path.has(Role.CONSUMER):
        evidence.append(f"{path.top.service} consumes a message, and nothing above it knows a tenant")
    if case.join in JOINED_BY_MESSAGE and not case.ambiguous:
        evidence.append(f"the tenant is found by {case.join.label}")
    if case.placeholder:
        evidence.append(f"the tenant is the placeholder {case.placeholder!r}")
    return Diagnosis(
        confidence=Confidence.CERTAIN if case.join in JOINED_BY_MESSAGE else Confidence.LIKELY,
        hop=Hop(_producer(survey, case), path.top.service, HopKind.QUEUE),
        evidence=tuple(evidence),
        remedy=fitting(REMEDIES, path.top, *path.steps),
    )


def _detached_worker(case: Case, survey: Survey) -> Diagnosis | None:
    """A root, or a stump, in a process that never knows a tenant, beside producers that do."""
    path = case.path
    is_root = path.ending in {Ending.ROOT, Ending.CYCLE} and path.top.role is not Role.SERVER
    is_stump = path.ending is Ending.MISSING and path.top.role is not Role.SERVER and not case.peers
    if case.is_row or not (is_root or is_stump) or case.is_embedding:
        return None
    if case.process_knows_tenant or not (survey.producers - {path.top.service}):
        return None
    evidence = [
        f"{path.top.service} never knows a tenant; {', '.join(sorted(survey.producers))} hand over work and do",
        "a worker without a consumer span and a detached thread look alike here",
    ]
    if case.placeholder:
        evidence.append(f"the tenant is the placeholder {case.placeholder!r}")
    return Diagnosis(
        confidence=Confidence.LIKELY if is_root else Confidence.POSSIBLE,
        hop=Hop(_producer(survey, case), path.top.service, HopKind.QUEUE),
        evidence=tuple(evidence),
        remedy=fitting(REMEDIES, path.top),
    )


def _producer(survey: Survey, case: Case) -> str:
    """The service that most likely put the work on the queue."""
    if case.producer:
        return case.producer
    others = sorted(survey.producers - {case.path.top.service}) or sorted(survey.producers)
    return others[0] if others else case.path.top.service


RULE = Rule(
    id="async-drop",
    title="The tenant is lost at a queue or in a worker",
    remedy="Carry the tenant in the message, and set it before the job runs.",
    needs="spans of producer and worker, with span kinds or messaging attributes",
    diagnose=diagnose,
    unchecked=lambda survey: None if survey.has_graph else "a gateway's log has no spans of producers and workers",
)
