"""What each tenant spent, and how unevenly the spend lies."""

from __future__ import annotations

from math import ceil

from auditor.model.report import Concentration, TenantLine
from auditor.summarise.tally import Tally
from auditor.summarise.totals import share_of


def build_tenants(tally: Tally) -> tuple[TenantLine, ...]:
    """All tenants of production calls, most spend first."""
    whole = sum(entry.direct + entry.recovered for entry in tally.tenants.values())
    lines = (
        TenantLine(name, entry.calls, entry.direct, entry.recovered, share_of(entry.direct + entry.recovered, whole))
        for name, entry in tally.tenants.items()
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
