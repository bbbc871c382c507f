"""How loud a finding is where it is shown beside code: the same answer for every format that asks."""

from __future__ import annotations

from enum import StrEnum

from auditor.model.report import Finding, Report, Standing, SuppressionState


class Level(StrEnum):
    """In falling order."""

    ERROR = "error"
    """It is one of the reasons why the run fails."""
    WARNING = "warning"
    """It costs something, within the limits."""
    NOTE = "note"
    """Nothing is asked of the reader now."""


_UNATTRIBUTED = frozenset({"max-unattributed", "max-unattributed-usd"})
_STANDINGS = {Standing.NEW: "baseline: new findings", Standing.GROWN: "baseline: grown findings"}
_BROKEN = frozenset({SuppressionState.EXPIRED, SuppressionState.EXCEEDED})


def level(finding: Finding, report: Report) -> Level:
    """Say how loud a finding is: an error only where it has a part in what fails the run."""
    if not finding.is_open:
        return Level.NOTE
    return Level.ERROR if report.gate.exit_code and _fails(finding, report) else Level.WARNING


def by_level(report: Report) -> list[tuple[Level, Finding]]:
    """All findings with their level, errors first, else in the report's order."""
    order = list(Level)
    found = [(level(finding, report), finding) for finding in report.findings]
    return sorted(found, key=lambda entry: order.index(entry[0]))


def _fails(finding: Finding, report: Report) -> bool:
    failed = {check.name for check in report.gate.checks if not check.passed}
    away = finding.suppression
    calls = finding.unattributed_calls - (away.unattributed_calls if away else 0)
    lost = finding.unattributed_cost - finding.recoverable_cost
    lost -= away.unattributed_cost - away.recoverable_cost if away else 0
    unmetered = finding.unmetered_calls - (away.unmetered_calls if away else 0)
    standing = finding.baseline.standing if finding.baseline else None
    return bool(
        (calls and failed & _UNATTRIBUTED)
        or (lost and "max-lost" in failed)
        or (unmetered and "max-unmetered" in failed)
        or f"fail-on {finding.rule}" in failed
        or (standing in _STANDINGS and _STANDINGS[standing] in failed)
        or any(finding.id in line.findings for line in report.suppressions if line.state in _BROKEN)
    )
