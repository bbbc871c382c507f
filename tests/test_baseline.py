"""The baseline: what a leak is recognised by, what is growth, what the file looks like."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from auditor import baseline
from auditor.errors import SettingsError
from auditor.model.report import Amount, Finding, Hop, HopKind, Sample, Standing, Suppressed, Totals
from auditor.model.stakes import Stakes
from test_gate import TOTALS
from test_suppress import finding

TENTH = Decimal("0.1")


def totals(spend: int = 1000, calls: int = 100, internal: int = 0) -> Totals:
    return replace(TOTALS, calls=calls, audited_spend=spend, internal=Amount(internal))


def drawn(*findings: Finding, of: Totals | None = None) -> baseline.Baseline:
    return baseline.draw(findings, of or totals(), rollup="call", rules=["b", "a"], services=["jobs", "api"])


def compared(
    before: Finding,
    after: Finding,
    *,
    then: Totals | None = None,
    now: Totals | None = None,
    tolerance: Decimal | None = TENTH,
) -> tuple[Finding, Stakes]:
    (marked,), excused = baseline.compare([after], now or totals(), drawn(before, of=then), tolerance)
    return marked, excused


def standing(marked: Finding) -> Standing:
    assert marked.baseline is not None
    return marked.baseline.standing


def test_a_leak_is_known_whatever_its_ids_lines_evidence_and_route() -> None:
    later = finding(
        id="other", title="x", route=("web", "api", "jobs"), evidence=("y",), samples=(Sample("t", "s", "f", 9),),
        also_fits=("z",), remedy="r",
    )  # fmt: skip

    marked, excused = compared(finding(), later)

    assert standing(marked) is Standing.KNOWN
    assert excused == Stakes(10, 100, 10, 100, 40, 2)
    assert marked.baseline is not None
    assert (marked.baseline.calls, marked.baseline.unattributed_cost, marked.baseline.share) == (10, 100, 0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "header-stripping"},
        {"operation": "embeddings"},
        {"hop": Hop("api", "jobs", HopKind.PROCESS)},
        {"hop": Hop("api", "other", HopKind.QUEUE)},
        {"hop": Hop("other", "jobs", HopKind.QUEUE)},
    ],
)
def test_another_cause_is_new(changes: dict[str, Any]) -> None:
    marked, excused = compared(finding(), finding(**changes))

    assert standing(marked) is Standing.NEW
    assert excused == Stakes()


@pytest.mark.parametrize(
    ("cost", "spend", "grown"),
    [
        (110, 1000, False),
        (111, 1000, True),
        # Twice the traffic: 200 is what it was, 220 what is let through.
        (220, 2000, False),
        (221, 2000, True),
        # Half the traffic.
        (55, 500, False),
        (56, 500, True),
        # A third more has no end in decimals: 133.33 and 146.67.
        (146, 1333, False),
        (147, 1333, True),
    ],
)
def test_growth_is_measured_at_equal_traffic_and_beyond_the_tolerance(cost: int, spend: int, grown: bool) -> None:
    now = finding(cost=cost, unattributed_cost=cost)

    marked, _ = compared(finding(), now, now=totals(spend=spend))

    assert standing(marked) is (Standing.GROWN if grown else Standing.KNOWN)


def test_what_a_grown_leak_was_stays_excused_and_the_growth_is_told() -> None:
    now = finding(calls=30, unattributed_calls=30, cost=300, unattributed_cost=300, recoverable_cost=150)

    marked, excused = compared(finding(), now, now=totals(spend=2000, calls=200))

    # Then 100 of 1000 (60 lost), 10 of 100 calls, 2 of them unmetered; the traffic has doubled.
    assert excused == Stakes(20, 200, 20, 200, 80, 2)
    assert marked.baseline is not None
    assert marked.baseline.grown_cost == 100


@pytest.mark.parametrize(("tolerance", "grown"), [(Decimal(0), True), (Decimal("0.5"), False), (None, False)])
def test_the_tolerance_is_the_users(tolerance: Decimal | None, grown: bool) -> None:
    now = finding(cost=150, unattributed_cost=150)

    marked, _ = compared(finding(), now, tolerance=tolerance)

    assert (standing(marked) is Standing.GROWN) is grown


def test_calls_decide_where_there_are_no_dollars() -> None:
    free = {"cost": 0, "unattributed_cost": 0, "recoverable_cost": 0, "unmetered_calls": 0}

    assert standing(compared(finding(**free), finding(**free, calls=11))[0]) is Standing.KNOWN
    assert standing(compared(finding(**free), finding(**free, calls=12))[0]) is Standing.GROWN
    assert standing(compared(finding(**free), finding(**free, calls=12), now=totals(calls=200))[0]) is Standing.KNOWN


def test_more_calls_for_the_same_dollars_are_no_growth() -> None:
    assert standing(compared(finding(), finding(calls=50, unattributed_calls=50))[0]) is Standing.KNOWN


def test_unmetered_calls_are_growth_for_they_hide_dollars() -> None:
    assert standing(compared(finding(), finding(cost=50, unattributed_cost=50, unmetered_calls=3))[0]) is Standing.GROWN


def test_dollars_out_of_nothing_are_growth() -> None:
    free = finding(cost=0, unattributed_cost=0, recoverable_cost=0)

    assert standing(compared(free, finding())[0]) is Standing.GROWN
    assert standing(compared(free, finding(), then=totals(spend=0))[0]) is Standing.GROWN


def test_internal_calls_are_no_traffic() -> None:
    free = {"cost": 0, "unattributed_cost": 0, "recoverable_cost": 0, "unmetered_calls": 0}

    # 10 of 50 audited calls then, 20 of 100 now.
    marked, _ = compared(
        finding(**free), finding(**free, calls=20), then=totals(calls=100, internal=50), now=totals(calls=100)
    )

    assert standing(marked) is Standing.KNOWN


def suppressed(stakes: Stakes, *, is_whole: bool) -> Suppressed:
    return Suppressed((0,), *stakes, is_whole=is_whole)


def test_what_is_suppressed_is_neither_compared_nor_drawn() -> None:
    whole = finding(suppression=suppressed(Stakes(10, 100, 10, 100, 40, 2), is_whole=True))

    assert drawn(whole).known == ()
    marked, excused = compared(finding(), whole)
    assert marked.baseline is None
    assert excused == Stakes()


def test_of_what_is_suppressed_in_part_the_rest_counts() -> None:
    part = finding(suppression=suppressed(Stakes(4, 40, 4, 40, 40, 0), is_whole=False))

    (known,) = drawn(part).known
    assert (known.calls, known.unattributed_cost, known.lost_cost, known.share) == (6, 60, 60, 0.06)
    # Without the suppression all of it counts again.
    assert standing(compared(part, finding())[0]) is Standing.GROWN


def use(before: baseline.Baseline, *findings: Finding, rules: Any = ("a", "b"), services: Any = ("api", "jobs")) -> Any:
    return baseline.used(
        before, findings, path="b.json", tolerance=TENTH, is_updated=False, rules=rules, services=services
    )


def test_rules_and_services_that_are_checked_no_longer_are_named() -> None:
    told = use(drawn(), rules=("b", "c"), services=("jobs", "new"))

    assert told.unchecked_rules == ("a",)
    assert told.unchecked_services == ("api",)


def test_leaks_that_are_gone_are_named_most_dollars_first() -> None:
    small = finding(operation="embeddings", cost=1, unattributed_cost=1)

    told = use(drawn(small, finding(), finding(rule="x")), finding(rule="x"))

    assert [(gone.operation, gone.unattributed_cost) for gone in told.gone] == [("chat", 100), ("embeddings", 1)]


def test_the_file_is_the_same_for_any_order_and_reads_back_whole(tmp_path: Path) -> None:
    several = [finding(), finding(operation="embeddings"), finding(rule="a"), finding(hop=Hop("", "ü", HopKind.CUT))]
    text = baseline.write(drawn(*several))

    assert text == baseline.write(drawn(*reversed(several)))
    (tmp_path / "b.json").write_bytes(text)
    assert baseline.read(tmp_path / "b.json") == drawn(*several)
    document = json.loads(text)
    Draft202012Validator(baseline.baseline_schema()).validate(document)
    assert [entry["rule"] for entry in document["known"]] == ["a", "async-drop", "async-drop", "async-drop"]
    assert document["rules"] == ["a", "b"]
    assert document["known"][2] == {
        "rule": "async-drop", "from": "api", "to": "jobs", "kind": "queue", "operation": "chat", "calls": 10,
        "cost": "0.0000000001", "unattributed_calls": 10, "unattributed_cost": "0.0000000001",
        "lost_cost": "0.00000000006", "unmetered_calls": 2, "share": 0.1,
    }  # fmt: skip


def test_the_file_holds_no_id_time_line_or_path() -> None:
    told = finding(
        id="finding-id", samples=(Sample("trace-id", "span-id", "in.json", 77),), evidence=("at 2026-11-21",)
    )

    text = baseline.write(drawn(told)).decode()

    assert not [part for part in ("finding-id", "trace-id", "span-id", "in.json", "77", "2026") if part in text]


def test_a_name_that_json_cannot_hold_is_recognised_again(tmp_path: Path) -> None:
    odd = finding(hop=Hop("a\udcff", "b\udcff", HopKind.QUEUE))
    (tmp_path / "b.json").write_bytes(baseline.write(drawn(odd)))
    before = baseline.read(tmp_path / "b.json")

    ((marked,), _) = baseline.compare([odd], totals(), before, TENTH)

    assert standing(marked) is Standing.KNOWN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "baseline b.json: No such file or directory"),
        (b"", "b.json is no baseline: not JSON"),
        (b"{", "b.json is no baseline: not JSON"),
        (b"[]", "b.json is no baseline: $: [] is not of type 'object'"),
        (b'{"schema_version": "json-v1"}', "b.json is no baseline: $"),
        (b'{"schema_version": "baseline-v2"}', "b.json is a baseline-v2, this program reads baseline-v1"),
    ],
)
def test_a_missing_or_broken_file_is_refused(
    content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("b.json").write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        baseline.read(Path("b.json"))

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("known", 0, "calls"), -1),
        (("known", 0, "cost"), "-1"),
        (("known", 0, "cost"), 1.5),
        (("known", 0, "kind"), "hop"),
        (("known", 0, "more"), 1),
        (("traffic", "spend"), "NaN"),
        (("rollup",), None),
        (("extra",), 1),
    ],
)
def test_a_file_that_breaks_the_schema_is_refused(place: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    document: Any = json.loads(baseline.write(drawn(finding())))
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (tmp_path / "b.json").write_text(json.dumps(document))

    with pytest.raises(SettingsError, match="is no baseline"):
        baseline.read(tmp_path / "b.json")


def test_two_entries_for_one_leak_are_refused(tmp_path: Path) -> None:
    document = json.loads(baseline.write(drawn(finding())))
    document["known"] *= 2
    (tmp_path / "b.json").write_text(json.dumps(document))

    with pytest.raises(SettingsError, match="has two entries for one leak"):
        baseline.read(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("content", "may"),
    [
        (None, True),
        (b'{"schema_version": "baseline-v1", "rul', True),
        (b'{"schema_version": "json-v1"}', False),
        (b"resourceSpans", False),
        (b"", False),
    ],
)
def test_only_a_baseline_is_replaced(content: bytes | None, may: bool, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "b.json").write_bytes(content)

    assert baseline.may_be_replaced(tmp_path / "b.json") is may
