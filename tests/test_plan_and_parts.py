"""The repair plan beside a baseline, and whose calls a finding is made of."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model.report import Compared, Finding, Hop, HopKind, Standing, Suppressed
from auditor.model.stakes import Stakes, add_up, left_of, stakes_of, suppressed_of
from auditor.settings import Settings
from auditor.summarise import build_plan
from auditor.suppress import suppress
from builders import CALL_PICO, SERVER, Span, audit_spans, call, span
from test_suppress import TODAY, entry, finding


def leak(name: str, cost: int, **changes: Any) -> Finding:
    return finding(name, cost=cost, unattributed_cost=cost, hop=Hop(name, name, HopKind.NONE), **changes)


def passes(*findings: Finding, excused: int = 0, limit: str = "0.1") -> list[bool]:
    unattributed = sum(entry.unattributed_cost for entry in findings)
    plan = build_plan(findings, unattributed=unattributed, audited_spend=1000, limit=Decimal(limit), excused=excused)
    return [repair.gate_passes for repair in plan]


def test_without_a_baseline_the_share_that_is_left_decides() -> None:
    assert passes(leak("a", 300), leak("b", 100), leak("c", 50)) == [False, True, True]


def test_a_plan_passes_once_nothing_new_is_left_whatever_is_known() -> None:
    known = leak("a", 300, baseline=Compared(Standing.KNOWN))
    new = leak("b", 50, baseline=Compared(Standing.NEW))
    grown = leak("c", 40, baseline=Compared(Standing.GROWN, grown_cost=10))

    # Known: 300 and 30 of the grown one.
    assert passes(known, new, grown, excused=330) == [False, False, True]


def test_what_is_suppressed_is_no_reason_to_fail() -> None:
    whole = Suppressed((0,), 10, 300, 10, 300, 40, 2, is_whole=True)
    part = Suppressed((0,), 5, 60, 5, 60, 20, 1, is_whole=False)

    assert passes(leak("a", 300, suppression=whole), leak("b", 160, suppression=part), excused=360) == [True, True]
    assert passes(leak("a", 300, suppression=whole), leak("b", 161, suppression=part), excused=360) == [False, True]


def spans(service: str, tenant: str, number: int, feature: str = "") -> list[Span]:
    """Requests whose call lacks the tenant."""
    made = []
    for index in range(number):
        trace = f"{service} {tenant} {feature} {index}"
        root = span(
            id=f"{trace} r", trace=trace, service=service, kind=SERVER,
            attributes={"tenant.id": tenant, "http.route": "/"},
        )  # fmt: skip
        inner = call(
            id=f"{trace} c", trace=trace, parent=f"{trace} r", service=service,
            attributes={"feature": feature} if feature else {},
        )  # fmt: skip
        made += [root, inner]
    return made


def test_features_of_a_finding_are_those_of_its_calls_most_dollars_first(tmp_path: Path) -> None:
    made = [
        *spans("api", "acme", 2, "ask"),
        *spans("api", "acme", 3, "sum"),
        *spans("api", "acme", 1),
        *spans("web", "acme", 1, "ask"),
    ]

    found = {entry.hop.source: entry for entry in audit_spans(tmp_path, made).report.findings}

    assert [(seen.feature, seen.calls, seen.cost) for seen in found["api"].features] == [
        ("sum", 3, 3 * CALL_PICO),
        ("ask", 2, 2 * CALL_PICO),
    ]
    assert [(seen.feature, seen.calls) for seen in found["web"].features] == [("ask", 1)]


@pytest.mark.parametrize(("glob", "calls"), [("acme", 3), ("globex", 2), ("*x", 2), ("?*", 5), ("nobody", 0)])
def test_tenants_of_a_finding_are_those_that_joins_give_back(glob: str, calls: int, tmp_path: Path) -> None:
    made = [*spans("api", "acme", 3), *spans("api", "globex", 2), call(service="batch")]
    settings = Settings(suppressions=(entry(tenant=glob),))

    report = audit_spans(tmp_path, made, settings).report

    assert report.suppressions[0].calls == calls
    assert report.suppressions[0].cost == calls * CALL_PICO
    assert report.gate.suppressed.calls == calls
    assert report.totals == audit_spans(tmp_path, made).report.totals


GLOBS = st.sampled_from(["*", "a", "b", "c*", "?"])


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 99)), max_size=5),
    st.lists(st.builds(entry, service=GLOBS, tenant=GLOBS, max_cost=st.none() | st.integers(0, 200)), max_size=4),
)
def test_every_call_is_suppressed_at_most_once_and_nothing_else_changes(
    made: list[tuple[str, int, int]], entries: list[Any]
) -> None:
    findings, parts = [], {}
    for number, (service, calls, cost) in enumerate(made):
        name = str(number)
        parts[name] = {
            "": Stakes(calls, cost, calls, cost, 0, 0),
            "a": Stakes(1, 7, 1, 7, 7, 0),
            "cc": Stakes(2, 5, 0, 0, 0, 1),
        }
        whole = add_up(parts[name].values())
        findings.append(
            replace(
                finding(name, hop=Hop(service, service, HopKind.NONE)),
                **dict(zip(Stakes._fields, whole, strict=True)),
            )
        )

    marked, lines = suppress(findings, entries, TODAY, lambda: parts)

    assert [stakes_of(one) for one in marked] == [stakes_of(one) for one in findings]
    assert [suppressed_of(one).plus(left_of(one)) for one in marked] == [stakes_of(one) for one in findings]
    assert all(number >= 0 for one in marked for number in left_of(one))
    in_force = sum(line.calls for line in lines if line.state == "active")
    assert in_force == sum(suppressed_of(one).calls for one in marked)
