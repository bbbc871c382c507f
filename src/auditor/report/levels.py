"""How loud a finding is where it is shown beside code: the same answer for every format that asks."""

from __future__ import annotations

from enum import StrEnum

from auditor.model.report import Finding, Gate, Report, Standing


class Level(StrEnum):
    """In falling order."""

    ERROR = "error"
    """It is one of the reasons why the run fails."""
    WARNING = "warning"
    """It costs something, within the limits."""
    NOTE = "note"
    """Nothing is asked of the reader now."""


_UNATTRIBUTED = frozenset({"max-unattributed", "max-unattributed-usd"})


def level(finding: Finding, gate: Gate) -> Level:
    """Say how loud a finding is: an error only where it has a part in what fails the run."""
    if is_settled(finding):
        return Level.NOTE
    return Level.ERROR if gate.exit_code and _fails(finding, gate) else Level.WARNING


def is_settled(finding: Finding) -> bool:
    """Say whether the verdict leaves the finding out: suppressed whole, or known to the baseline and not grown."""
    if finding.suppression is not None and finding.suppression.is_whole:
        return True
    return finding.baseline is not None and finding.baseline.standing is Standing.KNOWN


def by_level(report: Report) -> list[tuple[Level, Finding]]:
    """All findings with their level, errors first, else in the report's order."""
    order = list(Level)
    found = [(level(finding, report.gate), finding) for finding in report.findings]
    return sorted(found, key=lambda entry: order.index(entry[0]))


def _fails(finding: Finding, gate: Gate) -> bool:
    failed = {check.name for check in gate.checks if not check.passed}
    away = finding.suppression
    calls = finding.unattributed_calls - (away.unattributed_calls if away else 0)
    lost = finding.unattributed_cost - finding.recoverable_cost
    lost -= away.unattributed_cost - away.recoverable_cost if away else 0
    unmetered = finding.unmetered_calls - (away.unmetered_calls if away else 0)
    return bool(
        (calls and failed & _UNATTRIBUTED)
        or (lost and "max-lost" in failed)
        or (unmetered and "max-unmetered" in failed)
        or f"fail-on {finding.rule}" in failed
    )
