"""Suppressions: what they match, who wins, and that they only ever change the verdict."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from auditor.model.report import Confidence, Finding, Hop, HopKind, SuppressionState
from auditor.model.stakes import Stakes, left_of, suppressed_of
from auditor.model.suppression import Suppression
from auditor.suppress import suppress

TODAY = date(2026, 11, 21)


def finding(id: str = "f", **changes: Any) -> Finding:  # noqa: A002  # the field's name
    plain: dict[str, Any] = {
        "id": id, "rule": "async-drop", "title": "", "confidence": Confidence.CERTAIN,
        "hop": Hop("api", "jobs", HopKind.QUEUE), "route": ("api", "jobs"), "operation": "chat", "calls": 10,
        "cost": 100, "unattributed_calls": 10, "unattributed_cost": 100, "share": 0.1, "recoverable_cost": 40,
        "unmetered_calls": 2, "unmetered_estimate": None, "evidence": (), "samples": (), "also_fits": (), "remedy": "",
    }  # fmt: skip
    return Finding(**{**plain, **changes})


def entry(**fields: Any) -> Suppression:
    return Suppression(**{"reason": "known", **fields})


def no_tenants() -> Any:
    raise AssertionError("nobody asked for tenants")


def states(findings: list[Finding], *entries: Suppression, tenants: Any = no_tenants) -> list[str]:
    return [line.state.value for line in suppress(findings, entries, TODAY, tenants)[1]]


@pytest.mark.parametrize(
    ("fields", "matches"),
    [
        ({"rule": "async-drop"}, True),
        ({"rule": "async-*"}, True),
        ({"rule": "header-stripping"}, False),
        ({"service": "api"}, True),
        ({"service": "jobs"}, True),
        ({"service": "job"}, False),
        ({"service": "j?bs"}, True),
        ({"service": "API"}, False),
        ({"hop": "api -> jobs"}, True),
        ({"hop": "api->jobs"}, True),
        ({"hop": "api → jobs"}, True),
        ({"hop": "api => jobs"}, True),
        ({"hop": "api > jobs"}, True),
        ({"hop": "api ⇢ jobs"}, True),
        ({"hop": "* -> jobs"}, True),
        ({"hop": "jobs -> api"}, False),
        ({"hop": "api"}, False),
        ({"operation": "chat"}, True),
        ({"operation": "embeddings"}, False),
        ({"rule": "async-drop", "service": "billing"}, False),
        ({"rule": "async-drop", "service": "jobs", "hop": "api -> *", "operation": "c*"}, True),
    ],
)
def test_all_globs_have_to_match(fields: dict[str, str], matches: bool) -> None:
    assert states([finding()], entry(**fields)) == ["active" if matches else "unused"]


@pytest.mark.parametrize(("hop", "matches"), [("api", True), ("api -> api", True), ("ap*", True), ("jobs", False)])
def test_a_hop_inside_a_service_is_named_by_the_service(hop: str, matches: bool) -> None:
    inside = finding(hop=Hop("api", "api", HopKind.THREAD))

    assert states([inside], entry(hop=hop)) == ["active" if matches else "unused"]


def test_a_finding_is_marked_whole_and_its_figures_stay() -> None:
    before, other = finding("a"), finding("b", rule="header-stripping")

    (marked, left), (line,) = suppress([before, other], [entry(rule="async-drop")], TODAY, no_tenants)

    assert suppressed_of(marked) == Stakes(10, 100, 10, 100, 40, 2)
    assert left_of(marked) == Stakes()
    assert marked.is_suppressed
    assert (marked.calls, marked.cost, marked.unattributed_cost) == (10, 100, 100)
    assert left is other
    assert (line.findings, line.calls, line.cost) == (("a",), 10, 100)


@pytest.mark.parametrize(
    ("expires", "state"),
    [
        (date(2026, 11, 20), "expired"),
        (date(2026, 11, 21), "active"),
        (date(2026, 11, 22), "active"),
        (None, "active"),
    ],
)
def test_a_suppression_holds_to_the_end_of_its_last_day(expires: date | None, state: str) -> None:
    (marked,), (line,) = suppress([finding()], [entry(rule="*", expires=expires)], TODAY, no_tenants)

    assert line.state == state
    assert marked.is_suppressed is (state == "active")
    assert line.cost == 100


@pytest.mark.parametrize(("most", "state"), [(99, "exceeded"), (100, "active"), (None, "active"), (0, "exceeded")])
def test_dollars_equal_to_the_most_are_let_through(most: int | None, state: str) -> None:
    (marked,), (line,) = suppress([finding()], [entry(rule="*", max_cost=most)], TODAY, no_tenants)

    assert line.state == state
    assert marked.is_suppressed is (state == "active")


def test_the_dollars_of_a_finding_whose_tenant_is_known_count_too() -> None:
    conflict = finding(unattributed_calls=0, unattributed_cost=0, recoverable_cost=0)

    assert states([conflict], entry(rule="*", max_cost=99)) == ["exceeded"]


def test_dollars_of_several_findings_add_up() -> None:
    assert states([finding("a"), finding("b")], entry(rule="*", max_cost=199)) == ["exceeded"]
    assert states([finding("a"), finding("b")], entry(rule="*", max_cost=200)) == ["active"]


def test_the_first_in_force_wins_and_the_others_are_unused() -> None:
    assert states([finding()], entry(rule="*"), entry(service="jobs")) == ["active", "unused"]
    assert states([finding()], entry(rule="*", expires=date(2020, 1, 1)), entry(service="jobs")) == [
        "expired",
        "active",
    ]


def parts() -> dict[str, dict[str, Stakes]]:
    """Ten calls: four of acme, one of globex, five of nobody."""
    return {
        "f": {
            "": Stakes(5, 60, 5, 60, 0, 2),
            "acme": Stakes(4, 30, 4, 30, 30, 0),
            "globex": Stakes(1, 10, 1, 10, 10, 0),
        }
    }


def test_a_tenant_suppresses_its_part() -> None:
    (marked,), (line,) = suppress([finding()], [entry(tenant="ac*")], TODAY, parts)

    assert suppressed_of(marked) == Stakes(4, 30, 4, 30, 30, 0)
    assert left_of(marked) == Stakes(6, 70, 6, 70, 10, 2)
    assert not marked.is_suppressed
    assert (line.calls, line.cost) == (4, 30)


def test_calls_of_nobody_match_no_tenant() -> None:
    (marked,), _ = suppress([finding()], [entry(tenant="?*")], TODAY, parts)

    assert suppressed_of(marked) == Stakes(5, 40, 5, 40, 40, 0)


def test_parts_are_given_out_once() -> None:
    (marked,), lines = suppress([finding()], [entry(tenant="acme"), entry(rule="*")], TODAY, parts)

    assert [(line.state, line.calls, line.cost) for line in lines] == [
        (SuppressionState.ACTIVE, 4, 30),
        (SuppressionState.ACTIVE, 6, 70),
    ]
    assert marked.suppression is not None
    assert marked.suppression.by == (0, 1)
    assert marked.is_suppressed


def test_without_entries_nothing_is_looked_at() -> None:
    findings = [finding()]

    assert suppress(findings, (), TODAY, no_tenants) == (tuple(findings), ())
