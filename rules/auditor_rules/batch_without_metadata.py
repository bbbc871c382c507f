"""Batch jobs without tenant metadata.

What goes wrong
    A batch is submitted in one process and collected hours later in another.
    The provider hands back neither the tenant nor the trace: what was not
    written into the batch's metadata or its item ids is gone.

How it is recognised
    Unattributed calls of a batch: a batch id, the batch service tier, or a
    gateway's batch-cost row. Where the submission knew the tenant, the batch
    id gives it back.

How to fix it
    Write ``metadata={"tenant_id": …}`` on the batch, or put the tenant into
    every ``custom_id``; submit one batch per tenant; set the tenant again when
    the results are collected.
"""

from __future__ import annotations

from auditor.rule import Case, Confidence, Diagnosis, Hop, HopKind, Join, Rule, Survey


def diagnose(case: Case, survey: Survey) -> Diagnosis | None:
    """Claim unattributed batch calls."""
    if not case.is_unattributed or not case.batch:
        return None
    evidence = ["the calls belong to a batch, and no tenant stands on them"]
    if case.join is Join.BATCH_ID:
        evidence.append(
            "the batch id leads to several tenants"
            if case.ambiguous
            else "the submission, found by the batch id, knew the tenant"
        )
    return Diagnosis(
        confidence=Confidence.CERTAIN,
        hop=Hop(case.producer or case.path.top.service, case.service, HopKind.BATCH),
        evidence=tuple(evidence),
    )


RULE = Rule(
    id="batch-without-metadata",
    title="Batch work without tenant metadata",
    remedy="Write the tenant into the batch's metadata or its custom ids, and set it again when results are collected.",
    needs="batch calls: a batch id, the batch service tier, or a gateway's batch rows",
    diagnose=diagnose,
    specificity=90,
    unchecked=lambda survey: None if survey.has_batches else "no batch calls in this input",
)
