"""The verdict: which limits hold, and the exit code that says so.

What suppressions leave out, and what the baseline knows, stays in the totals; the limits are held against the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from auditor.model.report import (
    Amount,
    BaselineUse,
    Confidence,
    Finding,
    Gate,
    GateCheck,
    GateUnit,
    NotChecked,
    Standing,
    SuppressionLine,
    SuppressionState,
    Totals,
)
from auditor.model.stakes import NOTHING, Stakes

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


@dataclass(frozen=True, slots=True)
class Excused:
    """What is not held against the limits, and what it is excused by."""

    known: Stakes = NOTHING
    """What the baseline has, at the traffic of now."""
    suppressed: Stakes = NOTHING
    suppressions: tuple[SuppressionLine, ...] = ()
    baseline: BaselineUse | None = None
    warnings: tuple[str, ...] = ()
    """What makes the comparison with the baseline less than exact."""

    @property
    def stakes(self) -> Stakes:
        """Both together."""
        return self.known.plus(self.suppressed)


NOTHING_EXCUSED = Excused()


def judge(
    totals: Totals,
    findings: Sequence[Finding],
    not_checked: Sequence[NotChecked],
    rejected: int,
    limits: Limits,
    excused: Excused = NOTHING_EXCUSED,
) -> Gate:
    """Hold the totals against the limits, without what is excused."""
    left = excused.stakes
    checks = list(_checks(totals, left, limits))
    checks += _rule_checks(findings, limits)
    checks += _baseline_checks(findings, excused.baseline)
    checks += _suppression_checks(excused.suppressions)
    incomplete = list(_incomplete(not_checked, rejected, limits))
    checks += incomplete
    passed = all(check.passed for check in checks)
    failed = any(not check.passed for check in checks if check not in incomplete)
    code = PASSED if passed else FAILED if failed else INCOMPLETE
    return Gate(
        passed,
        PASSED if limits.exit_zero else code,
        tuple(checks),
        (*_warnings(totals, left, limits), *_suppression_warnings(excused.suppressions), *excused.warnings),
        known=_amount(excused.known, totals),
        suppressed=_amount(excused.suppressed, totals),
    )


def _amount(stakes: Stakes, totals: Totals) -> Amount:
    cost = stakes.unattributed_cost
    if not stakes.unattributed_calls:
        return Amount()
    return Amount(stakes.unattributed_calls, cost, cost / totals.audited_spend if totals.audited_spend else None)


def _checks(totals: Totals, left: Stakes, limits: Limits) -> list[GateCheck]:
    checks = []
    unattributed = totals.unattributed.cost - left.unattributed_cost
    unmetered = totals.unmetered.calls - left.unmetered_calls
    for name, limit, part, whole in (
        ("max-unattributed", limits.max_unattributed, unattributed, totals.audited_spend),
        ("max-lost", limits.max_lost, totals.lost.cost - left.lost_cost, totals.audited_spend),
        ("max-unmetered", limits.max_unmetered, unmetered, totals.calls),
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
                str(unattributed),
                passed=unattributed <= limits.max_unattributed_usd,
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
        sure = [
            entry for entry in findings if entry.rule == rule and entry.confidence.rank <= level.rank and entry.is_open
        ]
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


def _baseline_checks(findings: Sequence[Finding], baseline: BaselineUse | None) -> list[GateCheck]:
    if baseline is None:
        return []
    standings = [finding.baseline.standing for finding in findings if finding.baseline is not None]
    update = "or accept it: --update-baseline"
    checks = [
        GateCheck(
            f"baseline: {name}",
            "0",
            str(standings.count(standing)),
            passed=standing not in standings,
            hint=f"{advice}, {update}",
            unit=GateUnit.COUNT,
        )
        for name, standing, advice in (
            ("new findings", Standing.NEW, "repair it"),
            ("grown findings", Standing.GROWN, "repair it, let it grow further with --baseline-tolerance SHARE"),
        )
    ]
    checks += [
        GateCheck(
            f"baseline: {what} {name}",
            "checked",
            "not checked",
            passed=False,
            hint=f"it was checked when the baseline was written; check it again, {update}",
            unit=GateUnit.TEXT,
        )
        for what, names in (("rule", baseline.unchecked_rules), ("service", baseline.unchecked_services))
        for name in names
    ]
    return checks


def _suppression_checks(lines: Sequence[SuppressionLine]) -> list[GateCheck]:
    checks = []
    for line in lines:
        entry = line.entry
        if line.state is SuppressionState.EXPIRED and entry.expires is not None:
            checks.append(
                GateCheck(
                    f"suppression of {line.entry.about}",
                    f"until {entry.expires.isoformat()}",
                    "expired",
                    passed=False,
                    hint="repair what it hides and remove it, or set a later day, under [[suppress]] in the settings",
                    unit=GateUnit.TEXT,
                )
            )
        elif entry.max_cost is not None and line.state is not SuppressionState.EXPIRED:
            checks.append(
                GateCheck(
                    f"suppression of {line.entry.about}",
                    str(entry.max_cost),
                    str(line.cost),
                    passed=line.state is not SuppressionState.EXCEEDED,
                    hint="repair what it hides, or raise max_usd under [[suppress]] in the settings",
                    unit=GateUnit.MONEY,
                )
            )
    return checks


def _suppression_warnings(lines: Sequence[SuppressionLine]) -> list[str]:
    return [
        f"the suppression of {line.entry.about} matches nothing; remove it"
        for line in lines
        if line.state is SuppressionState.UNUSED
    ]


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


def _warnings(totals: Totals, left: Stakes, limits: Limits) -> list[str]:
    warnings = []
    unattributed = totals.unattributed.cost - left.unattributed_cost
    unmetered = totals.unmetered.calls - left.unmetered_calls
    besides = ", beside what is known or suppressed"
    for what, limit, part, whole in (
        (
            "spend has no tenant" + (besides if left.unattributed_cost else ""),
            limits.warn_unattributed,
            unattributed,
            totals.audited_spend,
        ),
        (
            "calls are unmetered" + (besides if left.unmetered_calls else ""),
            limits.warn_unmetered,
            unmetered,
            totals.calls,
        ),
        ("calls are unpriced", limits.warn_unpriced, totals.unpriced.calls, totals.calls),
    ):
        if limit is not None and Decimal(part) > limit * whole:
            warnings.append(f"{100 * part / whole:.1f} % of {what} (warning above {float(limit):.1%})")
    return warnings
