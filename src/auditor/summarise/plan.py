"""The repair plan: which hop to mend first, and what share has no tenant after each repair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from auditor.model.report import Finding, Hop, Repair
from auditor.summarise.totals import share_of


def build_plan(
    findings: Sequence[Finding], *, unattributed: int, audited_spend: int, limit: Decimal | None
) -> tuple[Repair, ...]:
    """Order repairs by the dollars that they free; a repair mends one hop for one cause.

    Every unattributed dollar is in one finding, so freed amounts add up and the share falls to 0.
    """
    groups: dict[tuple[str, Hop], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.unattributed_cost:
            groups[finding.rule, finding.hop].append(finding)
    ranked = sorted(
        groups.items(),
        key=lambda entry: (-sum(finding.unattributed_cost for finding in entry[1]), entry[1][0].id),
    )
    left = unattributed
    plan = []
    for (rule, hop), entries in ranked:
        freed = sum(finding.unattributed_cost for finding in entries)
        left -= freed
        plan.append(
            Repair(
                hop=hop,
                rule=rule,
                remedy=max(entries, key=lambda finding: finding.unattributed_cost).remedy,
                findings=tuple(finding.id for finding in entries),
                cost_freed=freed,
                share_after=share_of(left, audited_spend),
                gate_passes=limit is not None and Decimal(left) <= limit * audited_spend,
            )
        )
    return tuple(plan)
