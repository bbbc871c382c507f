"""Suppressions: which findings nobody has to repair for now. They change the verdict and nothing else."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase

from auditor.model.report import Finding, Suppressed, SuppressionLine, SuppressionState
from auditor.model.stakes import Stakes, add_up, stakes_of
from auditor.model.suppression import EVERYTHING, Suppression

Tenants = Mapping[str, Mapping[str, Stakes]]
"""By finding and tenant (empty for none): what of the finding is whose."""

_ARROW = re.compile(r"\s*(?:[-=]*>|→|⇢)\s*")

_Atom = tuple[str, str]
"""A finding, and a tenant within it."""


def suppress(
    findings: Sequence[Finding], entries: Sequence[Suppression], today: date, tenants: Callable[[], Tenants]
) -> tuple[tuple[Finding, ...], tuple[SuppressionLine, ...]]:
    """Mark what is suppressed; ``tenants`` is asked only where an entry names one.

    What several entries match belongs to the first in force. An entry that has expired, or matches more dollars
    than it may, leaves nothing out.
    """
    if not entries:
        return tuple(findings), ()
    by_tenant = any(entry.tenant != EVERYTHING for entry in entries)
    parts = tenants() if by_tenant else {finding.id: {"": stakes_of(finding)} for finding in findings}
    taken: dict[_Atom, int] = {}
    atoms: list[list[_Atom]] = []
    for number, entry in enumerate(entries):
        has_expired = _has_expired(entry, today)
        fitting = [
            (finding.id, tenant)
            for finding in findings
            if matches(entry, finding)
            for tenant in parts[finding.id]
            if _is_meant(entry, tenant)
        ]
        if not has_expired:
            fitting = [atom for atom in fitting if atom not in taken]
            taken |= dict.fromkeys(fitting, number)
        atoms.append(fitting)
    lines = [
        _line(entry, [(atom, parts[atom[0]][atom[1]]) for atom in mine], today)
        for entry, mine in zip(entries, atoms, strict=True)
    ]
    left_out: dict[str, list[tuple[int, Stakes]]] = defaultdict(list)
    for (finding_id, tenant), number in taken.items():
        if lines[number].state is SuppressionState.ACTIVE:
            left_out[finding_id].append((number, parts[finding_id][tenant]))
    marked = tuple(
        replace(finding, suppression=_part(finding, left_out[finding.id])) if finding.id in left_out else finding
        for finding in findings
    )
    return marked, tuple(lines)


def matches(entry: Suppression, finding: Finding) -> bool:
    """Say whether all globs but the tenant's fit a finding."""
    hop = finding.hop
    hops = [f"{hop.source} -> {hop.target}"] + ([hop.source] if hop.source == hop.target else [])
    glob = _ARROW.sub(" -> ", entry.hop)
    return (
        fnmatchcase(finding.rule, entry.rule)
        and any(fnmatchcase(service, entry.service) for service in (hop.source, hop.target))
        and any(fnmatchcase(written, glob) for written in hops)
        and fnmatchcase(finding.operation, entry.operation)
    )


def _is_meant(entry: Suppression, tenant: str) -> bool:
    return entry.tenant == EVERYTHING or (bool(tenant) and fnmatchcase(tenant, entry.tenant))


def _has_expired(entry: Suppression, today: date) -> bool:
    return entry.expires is not None and today > entry.expires


def _line(entry: Suppression, matched: Sequence[tuple[_Atom, Stakes]], today: date) -> SuppressionLine:
    cost = sum(stakes.shown_cost for _, stakes in matched)
    if _has_expired(entry, today):
        state = SuppressionState.EXPIRED
    elif not matched:
        state = SuppressionState.UNUSED
    elif entry.max_cost is not None and cost > entry.max_cost:
        state = SuppressionState.EXCEEDED
    else:
        state = SuppressionState.ACTIVE
    return SuppressionLine(
        entry=entry,
        state=state,
        findings=tuple(dict.fromkeys(finding_id for (finding_id, _), _ in matched)),
        calls=sum(stakes.calls for _, stakes in matched),
        cost=cost,
    )


def _part(finding: Finding, parts: Sequence[tuple[int, Stakes]]) -> Suppressed:
    total = add_up(stakes for _, stakes in parts)
    return Suppressed(
        by=tuple(sorted({number for number, _ in parts})),
        calls=total.calls,
        cost=total.cost,
        unattributed_calls=total.unattributed_calls,
        unattributed_cost=total.unattributed_cost,
        recoverable_cost=total.recoverable_cost,
        unmetered_calls=total.unmetered_calls,
        is_whole=total.calls == finding.calls,
    )
