"""Embeddings and reranking that nobody tags.

What goes wrong
    Chat calls carry the tenant, because somebody cared. The embedding of the
    same question, the reranking of its documents, and the job that indexes a
    customer's files do not: they go through another client, another wrapper
    or a background job.

How it is recognised
    Embedding or rerank calls that lose the tenant inside a process that knows
    it, or that belong to a detached job that never had one; in a gateway's
    log, untagged embeddings beside tagged calls.

How to fix it
    Give the embedding client the same instrumentation and the same tenant as
    the chat client; let an index job set the tenant of the documents that it
    works on. Put the tenant into baggage, and every client gets it.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Ending, Hop, HopKind, Operation, Role, Rule, Survey


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim embedding and rerank calls that lose the tenant in their own process."""
    path = case.path
    if not case.is_unattributed or case.batch or not case.is_embedding:
        return None
    if case.is_row:
        return _beside_tagged_rows(case, survey)
    if path.knew_tenant:
        if path.edges:
            return None
        return _diagnosis(
            case,
            Confidence.CERTAIN,
            f"{path.top.service} knows the tenant, its {case.operation} calls do not",
        )
    if path.edges or case.linked or path.has(Role.CONSUMER) or case.cut is not None:
        return None
    if path.ending is Ending.MISSING and case.knowing_services:
        return None
    if any(peer.same_process and peer.knows_tenant for peer in case.peers):
        return _diagnosis(
            case,
            Confidence.LIKELY,
            f"{path.top.service} knows the tenant elsewhere in the same trace, its {case.operation} calls do not",
        )
    if path.top.role is Role.SERVER:
        return None
    if path.ending is Ending.MISSING:
        return _diagnosis(case, Confidence.POSSIBLE, f"the parent of the {case.operation} span is not in the input")
    return _diagnosis(
        case,
        Confidence.LIKELY,
        f"{case.operation} calls of {case.service} run on their own, without a request",
    )


def _beside_tagged_rows(case: Case, survey: Survey) -> Diagnosis | None:
    users = survey.calls_by_credential(case.credential)
    if not users.with_tenant or users.embeddings_with_tenant:
        return None
    return _diagnosis(
        case,
        Confidence.CERTAIN,
        f"{users.with_tenant} of {users.total} calls under the same key carry a tenant, these {case.operation} calls do not",
    )


def _diagnosis(case: Case, confidence: Confidence, evidence: str) -> Diagnosis:
    kind = HopKind.CUT if case.path.ending is Ending.MISSING else HopKind.NONE
    return Diagnosis(
        confidence=confidence,
        hop=Hop(case.path.top.service, case.service, kind),
        evidence=(evidence,),
    )


def _unchecked(survey: Survey) -> str | None:
    if survey.operations & {Operation.EMBEDDINGS, Operation.RERANK}:
        return None
    return "no embedding or rerank calls in this input"


RULE = Rule(
    id="untagged-embeddings",
    title="Embeddings or reranking without a tenant",
    remedy="Give embedding and rerank clients the same tenant as the chat client; let index jobs set it per document.",
    needs="embedding or rerank calls",
    diagnose=diagnose,
    specificity=60,
    unchecked=_unchecked,
)
