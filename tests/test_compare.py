"""Two audits held against each other: trends, points and what changed with a leak."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from auditor.compare import FEATURES_TOLD, Side, compare
from auditor.model.difference import Aspect, Change, Difference, Shift, Trend
from auditor.model.report import (
    Amount,
    Concentration,
    FeatureSeen,
    Finding,
    Gate,
    Hop,
    HopKind,
    InputSummary,
    Report,
    ScopeSeen,
    ServiceSeen,
)
from test_gate import TOTALS, totals
from test_suppress import finding

SERVICES = (ServiceSeen("api", ()), ServiceSeen("jobs", ()))


PLAIN = Report(
    version="0", inputs=(), totals=TOTALS, findings=(), joins=(), tenants=(),
    concentration=Concentration(0, None, None, 0, None), readiness=(), tenant_keys=(), candidate_keys=(),
    not_checked=(), rules_run=("async-drop", "header-stripping"), plan=(), map_nodes=(), map_edges=(),
    gate=Gate(passed=True, exit_code=0, checks=(), warnings=()), rollup="call", price_book="1", ids_hashed=False,
    start_ns=None, end_ns=None, services=SERVICES,
)  # fmt: skip


def report(*findings: Finding, spend: int = 1000, calls: int = 100, **changes: Any) -> Report:
    plain = replace(PLAIN, totals=totals(audited_spend=spend, calls=calls), findings=findings)
    return replace(plain, **changes)


def compared(before: Report, after: Report, max_worse: str | None = None, **changes: Any) -> Difference:
    limit = None if max_worse is None else Decimal(max_worse)
    return compare(Side("a", before, is_saved=False), Side("b", after, is_saved=True), max_worse=limit, **changes)


def only(difference: Difference) -> Change:
    (change,) = difference.changes
    return change


def leak(cost: int, **changes: Any) -> Finding:
    return finding(cost=cost, unattributed_cost=cost, **changes)


@pytest.mark.parametrize(
    ("cost", "spend", "trend", "points", "cost_change"),
    [
        (100, 1000, Trend.SAME, 0.0, 0),
        (101, 1000, Trend.WORSE, 0.001, 1),
        (99, 1000, Trend.BETTER, -0.001, -1),
        # Twice the traffic and twice the leak.
        (200, 2000, Trend.SAME, 0.0, 0),
        (250, 2000, Trend.WORSE, 0.025, 50),
        (100, 2000, Trend.BETTER, -0.05, -100),
        # A third of the traffic: 100 of 1000 is 33.3 of 333.
        (33, 333, Trend.BETTER, 33 / 333 - 0.1, 0),
        (34, 333, Trend.WORSE, 34 / 333 - 0.1, 1),
    ],
)
def test_shares_are_compared_not_amounts(cost: int, spend: int, trend: Trend, points: float, cost_change: int) -> None:
    change = only(compared(report(leak(100)), report(leak(cost), spend=spend)))

    assert change.trend is trend
    assert change.points == pytest.approx(points, abs=1e-15)
    assert change.cost_change == cost_change


def test_a_leak_on_one_side_is_new_or_gone() -> None:
    assert only(compared(report(), report(leak(50)))).trend is Trend.NEW
    change = only(compared(report(leak(50)), report()))
    assert (change.trend, change.after, change.points) == (Trend.GONE, None, -0.05)
    assert change.before is not None
    assert (change.before.cost, change.before.share) == (50, 0.05)


def test_ids_evidence_and_route_do_not_make_another_leak() -> None:
    other = leak(100, id="other", evidence=("x",), route=("web", "api", "jobs"), title="y")

    assert only(compared(report(leak(100)), report(other))).trend is Trend.SAME


@pytest.mark.parametrize(
    "changes", [{"rule": "header-stripping"}, {"operation": "x"}, {"hop": Hop("api", "jobs", HopKind.CUT)}]
)
def test_another_cause_is_another_leak(changes: dict[str, Any]) -> None:
    trends = [change.trend for change in compared(report(leak(100)), report(leak(100, **changes))).changes]

    assert trends == [Trend.NEW, Trend.GONE]


@pytest.mark.parametrize(
    "changes", [{"rules_run": ("header-stripping",)}, {"services": SERVICES[:1]}, {"services": ()}]
)
def test_what_is_not_checked_any_more_is_not_gone(changes: dict[str, Any]) -> None:
    difference = compared(report(leak(100)), report(**changes), "0")

    assert only(difference).trend is Trend.UNCHECKED
    assert (difference.worse_points, difference.better_points) == (0, 0)


def test_what_got_better_takes_nothing_off_what_got_worse() -> None:
    before = report(leak(300), leak(100, operation="embeddings"))
    after = report(leak(100), leak(120, operation="embeddings"), leak(30, operation="rerank"))

    difference = compared(before, after, "0.05")

    assert [(change.operation, change.trend) for change in difference.changes] == [
        ("rerank", Trend.NEW),
        ("embeddings", Trend.WORSE),
        ("chat", Trend.BETTER),
    ]
    assert difference.worse_points == pytest.approx(0.05)
    assert difference.better_points == pytest.approx(0.2)
    assert (difference.passed, difference.exit_code) == (True, 0)
    assert compared(before, after, "0.0499").exit_code == 1
    assert not compared(before, after, "0.0499", exit_zero=True).passed
    assert compared(before, after, "0.0499", exit_zero=True).exit_code == 0
    assert compared(before, after).passed


def test_points_equal_to_the_limit_pass_whatever_a_float_would_say() -> None:
    before, after = report(spend=10), report(leak(1), leak(2, operation="x"), spend=10)

    assert compared(before, after, "0.3").passed
    assert not compared(before, after, "0.29999999999999999999").passed


def test_a_leak_whose_tenant_is_known_is_measured_by_all_its_dollars() -> None:
    conflict = finding(unattributed_calls=0, unattributed_cost=0, cost=100)

    change = only(compared(report(conflict), report(replace(conflict, cost=150))))

    assert (change.trend, change.points) == (Trend.WORSE, pytest.approx(0.05))


def test_unmetered_calls_and_calls_decide_where_dollars_do_not() -> None:
    free = finding(cost=0, unattributed_cost=0, unmetered_calls=0)

    assert only(compared(report(free), report(replace(free, unmetered_calls=1)))).trend is Trend.WORSE
    assert only(compared(report(free), report(replace(free, unattributed_calls=9)))).trend is Trend.BETTER
    assert only(compared(report(free), report(replace(free, unattributed_calls=20), calls=200))).trend is Trend.SAME


def test_a_side_without_spend_is_compared_by_what_there_is() -> None:
    difference = compared(report(spend=0), report(leak(100)))

    assert (only(difference).trend, only(difference).points) == (Trend.NEW, 0.1)
    assert difference.notes == ("There is no spend before: no share can be taken of it.",)


def source(*scopes: ScopeSeen) -> InputSummary:
    return InputSummary("f", "otlp-json", (), 0, 0, 0, 0, (), None, None, scopes=scopes)


def made(service: str, *scopes: str, versions: tuple[str, ...] = (), sdks: tuple[str, ...] = ()) -> ServiceSeen:
    return ServiceSeen(service, versions, sdks, scopes)


def test_what_changed_with_a_leak_is_told_by_the_services_on_its_way() -> None:
    before = report(
        leak(100),
        services=(made("api", "openai", "http", versions=("1",), sdks=("python 1.26",)), made("jobs"), made("far")),
        inputs=(source(ScopeSeen("openai", ("0.1",), 1), ScopeSeen("http", ("7",), 1)),),
    )
    after = report(
        leak(200),
        services=(
            made("api", "openai", "http", "celery", versions=("1", "2"), sdks=("python 1.27",)),
            made("jobs"),
            made("far", versions=("9",)),
            made("new"),
        ),
        inputs=(source(ScopeSeen("openai", ("0.2",), 1), ScopeSeen("http", ("7",), 1)),),
    )

    difference = compared(before, after)

    with_it = (
        Shift(Aspect.VERSION, "api", "", ("1",), ("1", "2")),
        Shift(Aspect.SDK, "api", "", ("python 1.26",), ("python 1.27",)),
        Shift(Aspect.SCOPE, "api", "celery", (), ("version unknown",)),
        Shift(Aspect.SCOPE, "api", "openai", ("0.1",), ("0.2",)),
    )
    assert only(difference).shifts == with_it
    # `far` tells no version before: that is no change. `new` is on no leak's way.
    assert difference.shifts == (*with_it, Shift(Aspect.SERVICE, "new", "", (), ("new",)))


def test_what_stayed_the_same_is_told_with_nothing() -> None:
    before = report(leak(100), services=(made("api", versions=("1",)), made("jobs")))
    after = report(leak(100), services=(made("api", versions=("2",)), made("jobs")))

    difference = compared(before, after)

    assert only(difference).shifts == ()
    assert len(difference.shifts) == 1


def features(*names: str) -> tuple[FeatureSeen, ...]:
    return tuple(FeatureSeen(name, 1, 1) for name in names)


def test_features_that_come_with_a_leak_are_told_where_all_of_them_are_known() -> None:
    before, after = leak(100, features=features("ask")), leak(200, features=features("summary", "ask"))

    assert only(compared(report(before), report(after))).shifts == (
        Shift(Aspect.FEATURE, "", "chat", ("ask",), ("ask", "summary")),
    )
    assert only(compared(report(), report(after))).shifts == (
        Shift(Aspect.FEATURE, "", "chat", (), ("ask", "summary")),
    )
    many = leak(200, features=features(*(f"f{number}" for number in range(FEATURES_TOLD))))
    assert only(compared(report(before), report(many))).shifts == ()


def test_what_makes_the_sides_hard_to_compare_is_told() -> None:
    after = report(rollup="request", price_book="2", ids_hashed=True, rules_run=("async-drop", "x"))

    assert compared(report(), after).notes == (
        "The roll-up is not the same: call before, request after.",
        "The price book is not the same: 1 before, 2 after.",
        "The hashing of ids is not the same: false before, true after.",
        "Checked before and not after: header-stripping.",
        "Checked after and not before: x.",
    )


def test_internal_calls_are_no_traffic() -> None:
    free = finding(cost=0, unattributed_cost=0, unmetered_calls=10)
    with_internal = totals(audited_spend=1000, calls=200, internal=Amount(100))

    assert only(compared(report(free), report(free, totals=with_internal))).trend is Trend.SAME
