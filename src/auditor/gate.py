"""The verdict: which limits hold, and the exit code that says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from auditor.model.report import Confidence, Finding, Gate, GateCheck, GateUnit, NotChecked, Totals

PASSED = 0
FAILED = 1
INCOMPLETE = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits as shares (0 to 1) and pico-dollars; ``None`` is no limit."""

    max_unattributed: Decimal | None
    warn_unattributed: Decimal | None
    max_unattributed_usd: int | None
    max_lost: Decimal | None
    max_unmetered: Decimal | None
    warn_unmetered: Decimal | None
    max_unpriced: Decimal | None
    warn_unpriced: Decimal | None
    fail_on: Callable[[str], Confidence | None]
    """By rule: findings at least this sure fail."""
    required: Callable[[str], bool]
    strict: bool
    exit_zero: bool


def judge(
    totals: Totals,
    findings: Sequence[Finding],
    not_checked: Sequence[NotChecked],
    rejected: int,
    limits: Limits,
) -> Gate:
    """Hold the totals against the limits."""
    checks = list(_checks(totals, limits))
    checks += _rule_checks(findings, limits)
    incomplete = list(_incomplete(not_checked, rejected, limits))
    checks += incomplete
    passed = all(check.passed for check in checks)
    failed = any(not check.passed for check in checks if check not in incomplete)
    code = PASSED if passed else FAILED if failed else INCOMPLETE
    return Gate(passed, PASSED if limits.exit_zero else code, tuple(checks), tuple(_warnings(totals, limits)))


def _checks(totals: Totals, limits: Limits) -> list[GateCheck]:
    checks = []
    for name, limit, part, whole in (
        ("max-unattributed", limits.max_unattributed, totals.unattributed.cost, totals.audited_spend),
        ("max-lost", limits.max_lost, totals.lost.cost, totals.audited_spend),
        ("max-unmetered", limits.max_unmetered, totals.unmetered.calls, totals.calls),
        ("max-unpriced", limits.max_unpriced, totals.unpriced.calls, totals.calls),
    ):
        if limit is not None:
            # Exact: a share that is equal to its limit passes, whatever a float would say.
            checks.append(
                GateCheck(
                    name,
                    str(limit),
                    str(part / whole) if whole else "",
                    passed=Decimal(part) <= limit * whole,
                    hint=f"--{name} SHARE, or {name.replace('-', '_')} under [gate] in auditor.toml",
                )
            )
    if limits.max_unattributed_usd is not None:
        checks.append(
            GateCheck(
                "max-unattributed-usd",
                str(limits.max_unattributed_usd),
                str(totals.unattributed.cost),
                passed=totals.unattributed.cost <= limits.max_unattributed_usd,
                hint="--max-unattributed-usd USD, or max_unattributed_usd under [gate] in auditor.toml",
                unit=GateUnit.MONEY,
            )
        )
    return checks


def _rule_checks(findings: Sequence[Finding], limits: Limits) -> list[GateCheck]:
    checks = []
    for rule in sorted({finding.rule for finding in findings}):
        level = limits.fail_on(rule)
        if level is None:
            continue
        sure = [entry for entry in findings if entry.rule == rule and entry.confidence.rank <= level.rank]
        checks.append(
            GateCheck(
                f"fail-on {rule}",
                "0",
                str(len(sure)),
                passed=not sure,
                hint=f"--fail-on {rule}=none, or fail_on under [rules.{rule}] in auditor.toml",
                unit=GateUnit.COUNT,
            )
        )
    return checks


def _incomplete(not_checked: Sequence[NotChecked], rejected: int, limits: Limits) -> list[GateCheck]:
    if not limits.strict:
        return []
    checks = []
    if rejected:
        checks.append(
            GateCheck(
                "strict: rejected records",
                "0",
                str(rejected),
                passed=False,
                hint="repair the export, or --no-strict",
                unit=GateUnit.COUNT,
            )
        )
    checks += [
        GateCheck(
            f"strict: {entry.rule}",
            "checked",
            "not checked",
            passed=False,
            hint=f"{entry.reason}; required under [rules.{entry.rule}] in auditor.toml",
            unit=GateUnit.TEXT,
        )
        for entry in not_checked
        if limits.required(entry.rule)
    ]
    return checks


def _warnings(totals: Totals, limits: Limits) -> list[str]:
    warnings = []
    for what, limit, part, whole in (
        ("spend has no tenant", limits.warn_unattributed, totals.unattributed.cost, totals.audited_spend),
        ("calls are unmetered", limits.warn_unmetered, totals.unmetered.calls, totals.calls),
        ("calls are unpriced", limits.warn_unpriced, totals.unpriced.calls, totals.calls),
    ):
        if limit is not None and Decimal(part) > limit * whole:
            warnings.append(f"{100 * part / whole:.1f} % of {what} (warning above {float(limit):.1%})")
    return warnings
