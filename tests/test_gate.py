"""Limits, held to the pico-dollar."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from auditor.gate import Excused, Limits, judge
from auditor.model.report import (
    Amount,
    BaselineUse,
    Compared,
    Confidence,
    Finding,
    Gate,
    Hop,
    HopKind,
    NotChecked,
    Standing,
    Suppressed,
    SuppressionLine,
    SuppressionState,
    Totals,
)
from auditor.model.stakes import Stakes
from auditor.model.suppression import Suppression

NO_LIMITS = Limits(
    max_unattributed=None,
    warn_unattributed=None,
    max_unattributed_usd=None,
    max_lost=None,
    max_unmetered=None,
    warn_unmetered=None,
    max_unpriced=None,
    warn_unpriced=None,
    fail_on=lambda _: None,
    required=lambda _: False,
    strict=False,
    exit_zero=False,
)
TOTALS = Totals(
    spans=10, calls=0, services=1, spend=0, audited_spend=0, direct=Amount(), recoverable=Amount(), lost=Amount(),
    internal=Amount(), unattributed=Amount(), conflict=Amount(), unmetered=Amount(), unmetered_estimate=None,
    unpriced=Amount(), duplicates=Amount(), failed=0, cache_hits=0, input_tokens=0, output_tokens=0,
)  # fmt: skip


def totals(**parts: Any) -> Totals:
    amounts = {name: Amount(*value) if isinstance(value, tuple) else value for name, value in parts.items()}
    return replace(TOTALS, **amounts)


def gate(
    found: Totals, *findings: Finding, rejected: int = 0, not_checked: tuple[NotChecked, ...] = (), **limits: Any
) -> Gate:
    return judge(found, findings, not_checked, rejected, replace(NO_LIMITS, **limits))


def finding(rule: str, confidence: Confidence) -> Finding:
    return Finding(
        id="f", rule=rule, title="", confidence=confidence, hop=Hop("a", "b", HopKind.PROCESS), route=("a", "b"),
        operation="chat", calls=1, cost=1, unattributed_calls=1, unattributed_cost=1, share=1.0, recoverable_cost=0,
        unmetered_calls=0, unmetered_estimate=None, evidence=(), samples=(), also_fits=(), remedy="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("part", "whole", "limit", "passes"),
    [
        (10, 100, "0.10", True),
        (10 * 10**15 + 1, 100 * 10**15, "0.10", False),
        (10 * 10**15 - 1, 100 * 10**15, "0.10", True),
        # 1/3 has no end: no float decides.
        (1, 3, "0.3333333333333333", False),
        (333333333333333, 10**15, "0.333333333333333", True),
        # 0.1 + 0.2 > 0.3 in floats.
        (3, 10, "0.3", True),
        (7 * 10**17, 10**18, "0.7", True),
        (7 * 10**17 + 1, 10**18, "0.7", False),
        (0, 10, "0", True),
        (1, 10**18, "0", False),
        (10, 10, "1", True),
        (0, 0, "0", True),
    ],
)
def test_share_that_equals_its_limit_passes_and_one_above_fails(
    part: int, whole: int, limit: str, passes: bool
) -> None:
    found = totals(
        audited_spend=whole,
        unattributed=(1, part),
        lost=(1, part),
        calls=whole,
        unmetered=(part, 0),
        unpriced=(part, 0),
    )

    for name in ("max_unattributed", "max_lost", "max_unmetered", "max_unpriced"):
        verdict = gate(found, **{name: Decimal(limit)})

        assert (verdict.passed, verdict.exit_code) == (passes, 0 if passes else 1), name
        assert [check.name for check in verdict.checks] == [name.replace("_", "-")]


@pytest.mark.parametrize(("cost", "passes"), [(10**12, True), (10**12 + 1, False), (0, True)])
def test_dollars_are_held_to_the_pico_dollar(cost: int, passes: bool) -> None:
    assert gate(totals(unattributed=(1, cost)), max_unattributed_usd=10**12).passed is passes


def test_no_limit_is_no_check() -> None:
    assert gate(totals(audited_spend=1, unattributed=(1, 1))) == Gate(passed=True, exit_code=0, checks=(), warnings=())


def test_check_says_limit_and_actual_and_how_to_change_it() -> None:
    (check,) = gate(totals(audited_spend=8, unattributed=(1, 2)), max_unattributed=Decimal("0.1")).checks

    assert (check.limit, check.actual, check.passed) == ("0.1", "0.25", False)
    assert "--max-unattributed" in check.hint


@pytest.mark.parametrize(
    ("level", "confidence", "passes"),
    [
        (Confidence.CERTAIN, Confidence.CERTAIN, False),
        (Confidence.CERTAIN, Confidence.LIKELY, True),
        (Confidence.LIKELY, Confidence.LIKELY, False),
        (Confidence.LIKELY, Confidence.POSSIBLE, True),
        (Confidence.POSSIBLE, Confidence.POSSIBLE, False),
        (None, Confidence.CERTAIN, True),
    ],
)
def test_findings_as_sure_as_asked_fail(level: Confidence | None, confidence: Confidence, passes: bool) -> None:
    verdict = gate(totals(), finding("async-drop", confidence), fail_on=lambda _: level)

    assert (verdict.passed, verdict.exit_code) == (passes, 0 if passes else 1)


def test_level_is_asked_by_rule() -> None:
    levels = {"async-drop": Confidence.POSSIBLE}

    verdict = gate(
        totals(), finding("async-drop", Confidence.LIKELY), finding("other", Confidence.LIKELY), fail_on=levels.get
    )

    assert [(check.name, check.passed) for check in verdict.checks] == [("fail-on async-drop", False)]


def test_rejected_records_are_incomplete_under_strict_only() -> None:
    assert gate(totals(), rejected=3).exit_code == 0
    assert gate(totals(), rejected=3, strict=True).exit_code == 4
    assert gate(totals(), rejected=0, strict=True).exit_code == 0


def test_required_rule_that_was_not_checked_is_incomplete_under_strict_only() -> None:
    skipped = (NotChecked("async-drop", "no queues"), NotChecked("other", "no graph"))

    verdict = gate(totals(), not_checked=skipped, strict=True, required=lambda rule: rule == "async-drop")

    assert verdict.exit_code == 4
    assert [check.name for check in verdict.checks] == ["strict: async-drop"]
    assert gate(totals(), not_checked=skipped, strict=True).exit_code == 0
    assert gate(totals(), not_checked=skipped, required=lambda _: True).exit_code == 0


def test_failed_limit_weighs_more_than_incompleteness() -> None:
    found = totals(audited_spend=1, unattributed=(1, 1))

    assert gate(found, rejected=1, strict=True, max_unattributed=Decimal(0)).exit_code == 1


def test_exit_zero_changes_the_status_and_not_the_verdict() -> None:
    verdict = gate(totals(audited_spend=1, unattributed=(1, 1)), max_unattributed=Decimal(0), exit_zero=True)

    assert (verdict.passed, verdict.exit_code) == (False, 0)


@pytest.mark.parametrize(("part", "warned"), [(3, False), (4, True)])
def test_warnings_begin_above_their_limit(part: int, warned: bool) -> None:
    found = totals(audited_spend=100, unattributed=(1, part), calls=100, unmetered=(part, 0), unpriced=(part, 0))
    limit = Decimal("0.03")

    verdict = gate(found, warn_unattributed=limit, warn_unmetered=limit, warn_unpriced=limit)

    assert (verdict.passed, len(verdict.warnings)) == (True, 3 if warned else 0)


def known(standing: Standing, **changes: Any) -> Finding:
    return replace(finding("async-drop", Confidence.CERTAIN), baseline=Compared(standing), **changes)


def using(**changes: Any) -> BaselineUse:
    plain = BaselineUse("b.json", 0.1, is_updated=False, gone=(), unchecked_rules=(), unchecked_services=())
    return replace(plain, **changes)


def verdict(found: Totals, *findings: Finding, excused: Excused, **limits: Any) -> Gate:
    return judge(found, findings, (), 0, replace(NO_LIMITS, **limits), excused)


def test_limits_are_held_against_what_is_not_excused() -> None:
    found = totals(
        audited_spend=1000, calls=100, unattributed=(40, 400), lost=(20, 200), unmetered=(10, 0), unpriced=(10, 0)
    )
    excused = Excused(known=Stakes(20, 250, 20, 250, 150, 4), suppressed=Stakes(10, 100, 10, 100, 50, 5))
    limits = {name: Decimal(0) for name in ("max_unattributed", "max_lost", "max_unmetered", "max_unpriced")} | {
        "max_unattributed_usd": 49
    }

    done = verdict(found, excused=excused, **limits)

    # 400 without 350; 200 without 100 and 50; 10 unmetered calls without 9; unpriced calls have no finding.
    assert {check.name: check.actual for check in done.checks} == {
        "max-unattributed": "0.05",
        "max-lost": "0.05",
        "max-unmetered": "0.01",
        "max-unpriced": "0.1",
        "max-unattributed-usd": "50",
    }
    assert not any(check.passed for check in done.checks)
    assert (done.known, done.suppressed) == (Amount(20, 250, 0.25), Amount(10, 100, 0.1))


def test_warnings_speak_of_what_is_not_excused() -> None:
    found = totals(audited_spend=1000, calls=100, unattributed=(40, 400), unmetered=(10, 0))
    limits = {"warn_unattributed": Decimal("0.05"), "warn_unmetered": Decimal("0.01")}

    assert verdict(found, excused=Excused(known=Stakes(1, 350, 1, 350, 0, 9)), **limits).warnings == ()
    assert verdict(found, excused=Excused(known=Stakes(1, 349, 1, 349, 0, 8)), **limits).warnings == (
        "5.1 % of spend has no tenant, beside what is known or suppressed (warning above 5.0%)",
        "2.0 % of calls are unmetered, beside what is known or suppressed (warning above 1.0%)",
    )


@pytest.mark.parametrize(
    ("standing", "failed"),
    [
        (Standing.NEW, ["baseline: new findings"]),
        (Standing.GROWN, ["baseline: grown findings"]),
        (Standing.KNOWN, []),
    ],
)
def test_new_and_grown_findings_fail_and_known_ones_do_not(standing: Standing, failed: list[str]) -> None:
    done = verdict(totals(), known(standing), excused=Excused(baseline=using()))

    assert [check.name for check in done.checks if not check.passed] == failed
    assert done.exit_code == (1 if failed else 0)


@pytest.mark.parametrize(
    ("standing", "passes"), [(Standing.NEW, False), (Standing.GROWN, False), (Standing.KNOWN, True)]
)
def test_confidence_fails_only_what_is_not_known(standing: Standing, passes: bool) -> None:
    done = verdict(totals(), known(standing), excused=Excused(baseline=using()), fail_on=lambda _: Confidence.POSSIBLE)

    assert {check.name: check.passed for check in done.checks}["fail-on async-drop"] is passes


def test_confidence_fails_what_is_suppressed_in_part_only() -> None:
    def suppressed(*, is_whole: bool) -> Finding:
        part = Suppressed((0,), 1, 1, 1, 1, 0, 0, is_whole=is_whole)
        return replace(finding("async-drop", Confidence.CERTAIN), suppression=part)

    for is_whole in (True, False):
        done = verdict(
            totals(), suppressed(is_whole=is_whole), excused=Excused(), fail_on=lambda _: Confidence.POSSIBLE
        )

        assert done.passed is is_whole


def test_what_is_checked_no_longer_fails_and_is_not_merely_incomplete() -> None:
    excused = Excused(baseline=using(unchecked_rules=("async-drop",), unchecked_services=("web", "api")))

    done = verdict(totals(), excused=excused, strict=True)

    assert [check.name for check in done.checks if not check.passed] == [
        "baseline: rule async-drop",
        "baseline: service web",
        "baseline: service api",
    ]
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("state", "code", "warned"),
    [
        (SuppressionState.ACTIVE, 0, False),
        (SuppressionState.UNUSED, 0, True),
        (SuppressionState.EXPIRED, 1, False),
        (SuppressionState.EXCEEDED, 1, False),
    ],
)
def test_suppressions_fail_when_they_are_over(state: SuppressionState, code: int, warned: bool) -> None:
    entry = Suppression("x", rule="async-drop", expires=date(2026, 1, 1), max_cost=5)

    done = verdict(totals(), excused=Excused(suppressions=(SuppressionLine(entry, state, ("f",), 1, 6),)))

    assert (done.exit_code, bool(done.warnings)) == (code, warned)
