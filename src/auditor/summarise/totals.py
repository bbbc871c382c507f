"""Totals over all calls, what the joins gave back, and which fields the calls have."""

from __future__ import annotations

import numpy as np

from auditor.model.audited import USAGES, AuditedCalls
from auditor.model.case import UsageStatus
from auditor.model.joins import Join, Status
from auditor.model.report import Amount, JoinLine, Range, Readiness, Totals
from auditor.model.spans import Bools

LOW_PERCENT, HIGH_PERCENT = 10, 90


def build_totals(calls: AuditedCalls, *, spans: int, services: int, redelivered: int) -> Totals:
    """Add everything up; every amount is exact."""
    internal = calls.having(Status.INTERNAL)
    spend = calls.cost_of(np.ones(len(calls), dtype=bool))
    audited = spend - calls.cost_of(internal)

    def amount(chosen: Bools) -> Amount:
        cost = calls.cost_of(chosen)
        return Amount(int(chosen.sum()), cost, share_of(cost, audited))

    unattributed = calls.having(Status.RECOVERABLE, Status.LOST)
    internal_cost = calls.cost_of(internal)
    copies = sum(len(rows) for rows in calls.duplicates.values())
    return Totals(
        spans=spans,
        calls=len(calls),
        services=services,
        spend=spend,
        audited_spend=audited,
        direct=amount(calls.having(Status.DIRECT)),
        recoverable=amount(calls.having(Status.RECOVERABLE)),
        lost=amount(calls.having(Status.LOST)),
        internal=Amount(int(internal.sum()), internal_cost, None),
        unattributed=amount(unattributed),
        conflict=amount(calls.conflict),
        unmetered=Amount(int(calls.is_unmetered.sum()), 0, call_share(calls.is_unmetered)),
        unmetered_estimate=estimate(calls, calls.is_unmetered),
        unpriced=Amount(int(calls.is_unpriced.sum()), 0, call_share(calls.is_unpriced)),
        duplicates=Amount(copies + redelivered, 0, None),
        failed=int(_by_facts(calls, [facts.failed for facts in calls.facts]).sum()),
        cache_hits=int(_by_facts(calls, [facts.cache_hit for facts in calls.facts]).sum()),
        input_tokens=int((calls.uncached + calls.cache_read + calls.cache_write).sum()),
        output_tokens=int(calls.output.sum()),
    )


def share_of(part: int, whole: int) -> float | None:
    """A fraction, or ``None`` of nothing."""
    return part / whole if whole else None


def call_share(chosen: Bools) -> float | None:
    """Share of all calls."""
    return share_of(int(chosen.sum()), len(chosen))


def estimate(calls: AuditedCalls, chosen: Bools) -> Range | None:
    """What unmetered calls may have cost: the 10th to 90th percentile of like calls, for each of them.

    Like calls are the metered ones of the same service, model and operation; calls without any like them add
    nothing, and where no call has one there is no estimate.
    """
    unmetered = np.flatnonzero(chosen & calls.is_unmetered)
    if not len(unmetered):
        return None
    keys: dict[tuple[str, str, str], int] = {}
    key_of_facts = [(facts.response_model or facts.request_model, str(facts.operation)) for facts in calls.facts]
    numbers = np.array(
        [
            keys.setdefault((service, *key_of_facts[facts]), len(keys))
            for service, facts in zip(calls.service, calls.facts_of.tolist(), strict=True)
        ],
        dtype=np.int64,
    )
    billed = np.flatnonzero(calls.has_cost & calls.is_billed & calls.is_metered)
    low = high = 0
    known = False
    for key, count in zip(*np.unique(numbers[unmetered], return_counts=True), strict=True):
        like = calls.cost[billed[numbers[billed] == key]]
        if len(like):
            known = True
            # The lower and upper of the two neighbours: an amount that really occurred, and no float.
            low += int(np.percentile(like, LOW_PERCENT, method="lower")) * int(count)
            high += int(np.percentile(like, HIGH_PERCENT, method="higher")) * int(count)
    return Range(low, high) if known else None


def build_joins(calls: AuditedCalls) -> tuple[JoinLine, ...]:
    """What each join gave back, in the order in which joins are tried."""
    recovered = calls.having(Status.RECOVERABLE)
    lines = []
    for join in Join:
        chosen = recovered & (calls.join == join)
        if chosen.any():
            lines.append(JoinLine(join.label, int(chosen.sum()), calls.cost_of(chosen)))
    return tuple(lines)


def build_readiness(calls: AuditedCalls) -> tuple[Readiness, ...]:
    """Share of production calls, and of their cost, that have each of the nine fields."""
    production = ~calls.having(Status.INTERNAL) & calls.is_billed
    reported = np.isin(calls.usage, [USAGES.index(status) for status in _WITH_USAGE])
    fields = (
        ("tenant_id", calls.carried >= 0),
        ("user_id", np.array([bool(user) for user in calls.user], dtype=bool)),
        ("workflow_id", np.array([bool(workflow) for workflow in calls.workflow], dtype=bool)),
        ("environment", _by_facts(calls, [bool(facts.environment) for facts in calls.facts])),
        ("feature", _by_facts(calls, [bool(facts.feature) for facts in calls.facts])),
        ("input_tokens", reported),
        ("output_tokens", reported),
        ("cache_read_tokens", reported & (calls.cache_read > 0)),
        ("cache_write_tokens", reported & (calls.cache_write > 0)),
    )
    total = int(production.sum())
    cost = calls.cost_of(production)
    return tuple(
        Readiness(
            name,
            share_of(int((has & production).sum()), total) or 0.0,
            share_of(calls.cost_of(has & production), cost),
        )
        for name, has in fields
    )


_WITH_USAGE = (UsageStatus.COMPLETE, UsageStatus.PARTIAL, UsageStatus.ELSEWHERE)


def _by_facts(calls: AuditedCalls, flags: list[bool]) -> Bools:
    return np.array(flags, dtype=bool)[calls.facts_of] if flags else np.zeros(len(calls), dtype=bool)
