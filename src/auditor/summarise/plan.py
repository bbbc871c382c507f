"""The repair plan: which hop to mend first, and what share has no tenant after each repair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from auditor.model.report import Finding, Hop, Repair, Standing
from auditor.model.stakes import left_of
from auditor.summarise.totals import share_of


def build_plan(
    findings: Sequence[Finding], *, unattributed: int, audited_spend: int, limit: Decimal | None, excused: int = 0
) -> tuple[Repair, ...]:
    """Order repairs by the dollars that they free; a repair mends one hop for one cause.

    Every unattributed dollar is in one finding, so freed amounts add up and the share falls to 0. The gate passes
    once what is left, without the ``excused`` pico-dollars, is within the limit and, where a baseline is in use, no
    new or grown finding is left.
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
    held = unattributed - excused
    faults = {
        finding.id for finding in findings if finding.baseline and finding.baseline.standing is not Standing.KNOWN
    }
    plan = []
    for (rule, hop), entries in ranked:
        freed = sum(finding.unattributed_cost for finding in entries)
        left -= freed
        held -= sum(_held(finding) for finding in entries)
        faults -= {finding.id for finding in entries}
        plan.append(
            Repair(
                hop=hop,
                rule=rule,
                remedy=max(entries, key=lambda finding: finding.unattributed_cost).remedy,
                findings=tuple(finding.id for finding in entries),
                cost_freed=freed,
                share_after=share_of(left, audited_spend),
                gate_passes=limit is not None and Decimal(held) <= limit * audited_spend and not faults,
            )
        )
    return tuple(plan)


def _held(finding: Finding) -> int:
    """Unattributed pico-dollars of a finding that the gate holds against its limit."""
    if finding.baseline is None or finding.baseline.standing is Standing.NEW:
        return left_of(finding).unattributed_cost
    return finding.baseline.grown_cost
