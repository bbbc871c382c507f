"""What each tenant spent, and how unevenly the spend lies."""

from __future__ import annotations

from math import ceil

import numpy as np

from auditor.model.audited import AuditedCalls, exact_sum
from auditor.model.joins import Status
from auditor.model.report import Concentration, TenantLine
from auditor.summarise.totals import share_of


def build_tenants(calls: AuditedCalls) -> tuple[TenantLine, ...]:
    """All tenants of production calls, most spend first."""
    chosen = np.flatnonzero(calls.having(Status.DIRECT, Status.RECOVERABLE) & (calls.tenant >= 0))
    order = chosen[np.argsort(calls.tenant[chosen], kind="stable")]
    if not len(order):
        return ()
    numbers, starts = np.unique(calls.tenant[order], return_index=True)
    is_direct = calls.having(Status.DIRECT)
    sums: dict[str, tuple[int, int, int]] = {}
    for number, members in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        name = calls.values[number]
        count, direct, recovered = sums.get(name, (0, 0, 0))
        carried = is_direct[members]
        sums[name] = (
            count + len(members),
            direct + exact_sum(calls.cost[members[carried]]),
            recovered + exact_sum(calls.cost[members[~carried]]),
        )
    whole = sum(direct + recovered for _, direct, recovered in sums.values())
    lines = (
        TenantLine(name, count, direct, recovered, share_of(direct + recovered, whole))
        for name, (count, direct, recovered) in sums.items()
    )
    return tuple(
        sorted(lines, key=lambda line: (-(line.direct_cost + line.recovered_cost), -line.calls, line.tenant_id))
    )


def concentration(tenants: tuple[TenantLine, ...]) -> Concentration:
    """Concentration of the attributed spend; shares are of that spend."""
    costs = [line.direct_cost + line.recovered_cost for line in tenants]
    whole = sum(costs)
    running, needed = 0, 0
    for cost in costs:
        if running * 10 >= whole * 8:
            break
        running += cost
        needed += 1

    def top(percent: int) -> float | None:
        return share_of(sum(costs[: ceil(len(costs) * percent / 100)]), whole)

    return Concentration(
        tenants=len(costs),
        top_5_percent_share=top(5),
        top_10_percent_share=top(10),
        tenants_for_80_percent=needed,
        herfindahl=sum((cost / whole) ** 2 for cost in costs) if whole else None,
    )
