"""Limits, held to the pico-dollar."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from auditor.gate import Limits, judge
from auditor.model.report import Amount, Confidence, Finding, Gate, Hop, HopKind, NotChecked, Totals

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
