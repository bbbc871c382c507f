"""The call ledger: one row a call, failed attempts included, ordered by time, then ids."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from auditor.model.audited import USAGES, AuditedCalls
from auditor.model.case import UsageStatus
from auditor.model.joins import STATUSES, Join
from auditor.model.money import to_decimal_string

COLUMNS = (
    "call_id", "trace_id", "span_id", "duplicates", "time", "service", "provider", "model_requested",
    "model_executed", "operation", "streamed", "batch", "failed", "input_tokens", "cache_read_tokens",
    "cache_write_tokens", "output_tokens", "usage_status", "cache_hit", "cost_usd", "price_status", "status",
    "tenant_id", "carried_tenant_id", "recovered_by", "conflict", "rule", "user_id", "workflow_id",
    "environment", "feature",
)  # fmt: skip
"""Columns of a row, in order."""


def call_rows(calls: AuditedCalls) -> Iterator[dict[str, object]]:
    """Yield the rows; ``None`` where something is unknown, money as decimal strings in USD."""
    ids = [(calls.spans.trace_id(row), calls.spans.span_id(row)) for row in calls.row.tolist()]
    order = sorted(range(len(calls)), key=lambda call: (int(calls.start_ns[call]), ids[call], calls.log_id(call)))
    for call in order:
        yield _row(calls, call, *ids[call])


def _row(calls: AuditedCalls, call: int, trace_id: str, span_id: str) -> dict[str, object]:
    facts = calls.facts[calls.facts_of[call]]
    priced = calls.facts[calls.price_facts_of[call]]
    usage = USAGES[calls.usage[call]]
    has_usage = usage in {UsageStatus.COMPLETE, UsageStatus.PARTIAL, UsageStatus.ELSEWHERE} or facts.cache_hit
    is_row = bool(calls.is_row[call])
    status = STATUSES[calls.status[call]]
    input_total = int(calls.uncached[call] + calls.cache_read[call] + calls.cache_write[call])
    # A call that needs no tenant, or one that the roll-up setting counts as carrying it, may have one by a join too.
    recovered = bool(calls.join[call]) and int(calls.tenant[call]) >= 0
    return {
        "call_id": calls.log_id(call) or f"{trace_id}:{span_id}",
        "trace_id": None if is_row else trace_id,
        "span_id": None if is_row else span_id,
        "duplicates": [
            {"trace_id": calls.spans.trace_id(row), "span_id": calls.spans.span_id(row)}
            for row in calls.duplicates.get(call, ())
        ],
        "time": _time(int(calls.start_ns[call])),
        "service": calls.service(call),
        "provider": priced.provider or facts.provider or None,
        "model_requested": facts.request_model or priced.request_model or None,
        "model_executed": priced.response_model or facts.response_model or None,
        "operation": facts.operation and str(facts.operation),
        "streamed": facts.streamed,
        "batch": facts.batch,
        "failed": facts.failed,
        "input_tokens": input_total if has_usage else None,
        "cache_read_tokens": int(calls.cache_read[call]) if has_usage else None,
        "cache_write_tokens": int(calls.cache_write[call]) if has_usage else None,
        "output_tokens": int(calls.output[call]) if has_usage else None,
        "usage_status": str(usage),
        "cache_hit": facts.cache_hit,
        "cost_usd": _cost(calls, call, usage),
        "price_status": calls.price_status[calls.price_status_of[call]],
        "status": str(status),
        "tenant_id": calls.values[calls.tenant[call]] if calls.tenant[call] >= 0 else None,
        "carried_tenant_id": calls.values[calls.carried[call]] if calls.carried[call] >= 0 else None,
        "recovered_by": Join(int(calls.join[call])).label if recovered else None,
        "conflict": bool(calls.conflict[call]),
        "rule": calls.rule(call) or None,
        "user_id": calls.user(call) or None,
        "workflow_id": calls.workflow(call) or None,
        "environment": facts.environment or None,
        "feature": facts.feature or None,
    }


def _cost(calls: AuditedCalls, call: int, usage: UsageStatus) -> str | None:
    if usage is UsageStatus.NOT_BILLED:
        return "0"
    return to_decimal_string(int(calls.cost[call])) if calls.has_cost[call] else None


def _time(start_ns: int) -> str | None:
    """RFC 3339 in UTC with nanoseconds; ``None`` for an unknown time."""
    if start_ns <= 0:
        return None
    seconds, rest = divmod(start_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
