from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft4Validator
from report_builders import broken, clean, finding, gate, hostile, report

from auditor.model.report import (
    CodePlace,
    Compared,
    Confidence,
    GateCheck,
    Hop,
    HopKind,
    Report,
    Sample,
    Standing,
    Suppressed,
    SuppressionLine,
    SuppressionState,
)
from auditor.model.suppression import Suppression
from auditor.pipeline import audit
from auditor.report import json_v1, sarif
from auditor.settings import Settings

SCHEMAS = Path(__file__).parents[2] / "fixtures" / "schemas"
EXPORT = SCHEMAS.parent / "exports" / "shop.jsonl.gz"
VALIDATOR = Draft4Validator(json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text()))
REPORTS: dict[str, Callable[[], Report]] = {"broken": broken, "clean": clean, "hostile": hostile}
FAILED = gate(
    passed=False, exit_code=1, checks=(GateCheck("max-unattributed", "0.1", "0.314005", passed=False, hint=""),)
)


def run(of: Report) -> dict[str, Any]:
    (only,) = json.loads(sarif.render(of))["runs"]
    found: dict[str, Any] = only
    return found


def result(of: Report) -> dict[str, Any]:
    (only,) = run(of)["results"]
    found: dict[str, Any] = only
    return found


def objects(value: Any, key: str) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get(key), dict):
            yield value[key]
        for part in value.values():
            yield from objects(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from objects(part, key)


@pytest.mark.parametrize("name", REPORTS)
def test_a_log_follows_the_published_schema(name: str) -> None:
    document = json.loads(sarif.render(REPORTS[name]()))

    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)] == []
    assert all("startLine" in region for region in objects(document, "region"))


def test_an_audit_follows_the_published_schema() -> None:
    document = json.loads(sarif.render(audit([str(EXPORT)], Settings()).report))

    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)] == []
    assert len(document["runs"][0]["results"]) > 1


def test_the_schema_would_notice() -> None:
    document = json.loads(sarif.render(broken()))
    document["runs"][0]["results"][0]["level"] = "loud"

    assert list(VALIDATOR.iter_errors(document))


@pytest.mark.parametrize("name", REPORTS)
def test_places_are_uris(name: str) -> None:
    for location in objects(json.loads(sarif.render(REPORTS[name]())), "artifactLocation"):
        parts = urlsplit(location["uri"])

        assert location["uri"].isascii()
        assert not set(location["uri"]) & set(' "<>\\^`{|}')
        assert parts.scheme == ("" if "uriBaseId" in location else "file")
        assert not parts.netloc


def test_a_result_stands_at_the_line_of_code_that_made_the_call() -> None:
    sample = Sample("a" * 32, "b" * 16, "traces.json", 1204, CodePlace("shop/chat.py", 41))

    shown = result(report(findings=(finding(samples=(sample,)),)))

    (location,) = shown["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "shop/chat.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 41},
    }
    assert shown["relatedLocations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "traces.json", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1204},
    }


def test_code_outside_of_the_repository_is_told_and_no_place() -> None:
    sample = Sample("a" * 32, "b" * 16, "traces.json", 7, CodePlace("/usr/lib/python3/openai.py", 4))

    shown = result(report(findings=(finding(samples=(sample,)),)))

    (location,), (related,) = shown["locations"], shown["relatedLocations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "traces.json"
    assert related["message"]["text"].endswith(", made at /usr/lib/python3/openai.py:4")


def test_without_code_a_result_stands_at_the_span_in_the_input() -> None:
    sample = Sample("a" * 32, "b" * 16, "/data/my traces.json", 7)

    (location,) = result(report(findings=(finding(samples=(sample,)),)))["locations"]

    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "file:///data/my%20traces.json"},
        "region": {"startLine": 7},
    }


def test_fingerprints_are_made_of_the_cause_alone() -> None:
    one = finding()
    later = replace(one, samples=(Sample("c" * 32, "d" * 16, "other.json", 3),), calls=7, cost=1, share=0.9)
    other = replace(one, id="5fb1c0", operation="embeddings")

    prints = [result(report(findings=(entry,)))["partialFingerprints"] for entry in (one, later, other)]

    assert prints[0] == prints[1]
    assert prints[0] != prints[2]
    assert prints[0] == {
        "traceAuditorCause/v1": "async-drop-3f9c2a71",
        "primaryLocationLineHash": "async-drop-3f9c2a71:1",
    }


@pytest.mark.parametrize(
    ("judged", "changes", "level"),
    [
        (FAILED, {}, "error"),
        (replace(FAILED, exit_code=0), {}, "warning"),
        (gate(), {}, "warning"),
        (FAILED, {"unattributed_calls": 0, "unattributed_cost": 0}, "warning"),
        (FAILED, {"baseline": Compared(Standing.KNOWN)}, "note"),
        (FAILED, {"baseline": Compared(Standing.GROWN)}, "error"),
        (FAILED, {"baseline": Compared(Standing.NEW)}, "error"),
    ],
)
def test_an_error_is_what_fails_the_run(judged: Any, changes: dict[str, Any], level: str) -> None:
    assert result(report(findings=(finding(**changes),), gate=judged))["level"] == level


@pytest.mark.parametrize(
    ("check", "changes", "level"),
    [
        ("max-lost", {"recoverable_cost": 0}, "error"),
        ("max-lost", {}, "warning"),
        ("max-unmetered", {"unmetered_calls": 3}, "error"),
        ("max-unmetered", {}, "warning"),
        ("max-unattributed-usd", {}, "error"),
        ("fail-on async-drop", {}, "error"),
        ("fail-on header-stripping", {}, "warning"),
    ],
)
def test_only_the_findings_behind_a_failed_limit_are_errors(check: str, changes: dict[str, Any], level: str) -> None:
    judged = gate(passed=False, exit_code=1, checks=(GateCheck(check, "0", "1", passed=False, hint=""),))

    assert result(report(findings=(finding(**changes),), gate=judged))["level"] == level


@pytest.mark.parametrize(
    ("check", "standing", "level"),
    [
        ("baseline: new findings", Standing.NEW, "error"),
        ("baseline: new findings", Standing.GROWN, "warning"),
        ("baseline: grown findings", Standing.GROWN, "error"),
        ("baseline: grown findings", Standing.KNOWN, "note"),
    ],
)
def test_against_a_baseline_errors_are_what_is_new_or_grown(check: str, standing: Standing, level: str) -> None:
    judged = gate(passed=False, exit_code=1, checks=(GateCheck(check, "0", "1", passed=False, hint=""),))

    shown = result(report(findings=(finding(baseline=Compared(standing)),), gate=judged))

    assert shown["level"] == level


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (SuppressionState.EXPIRED, "error"),
        (SuppressionState.EXCEEDED, "error"),
        (SuppressionState.ACTIVE, "warning"),
        (SuppressionState.UNUSED, "warning"),
    ],
)
def test_what_a_broken_suppression_hides_is_an_error(state: SuppressionState, level: str) -> None:
    line = SuppressionLine(Suppression("later"), state, (finding().id,), 1, 1)
    judged = gate(passed=False, exit_code=1, checks=(GateCheck("suppression of x", "0", "1", passed=False, hint=""),))

    assert result(report(findings=(finding(),), suppressions=(line,), gate=judged))["level"] == level


def test_baseline_and_suppressions_are_said_in_the_words_of_the_standard() -> None:
    away = Suppressed((0,), 41_200, 1, 41_200, 1, 1, 0, is_whole=True)
    line = SuppressionLine(Suppression("moves to the new queue in May"), SuppressionState.ACTIVE, (), 1, 1)

    shown = run(
        report(
            findings=(
                finding(id="a", baseline=Compared(Standing.KNOWN)),
                finding(id="b", baseline=Compared(Standing.GROWN)),
                finding(id="c", baseline=Compared(Standing.NEW)),
                finding(id="d", suppression=away),
                finding(id="e", suppression=replace(away, is_whole=False)),
            ),
            suppressions=(line,),
            gate=FAILED,
        )
    )["results"]

    assert [entry.get("baselineState") for entry in shown] == ["unchanged", "updated", "new", None, None]
    assert [entry.get("suppressions") for entry in shown] == [
        None,
        None,
        None,
        [{"kind": "external", "status": "accepted", "justification": "moves to the new queue in May"}],
        None,
    ]


def test_rules_that_ran_and_what_was_not_checked_are_in_the_log() -> None:
    shown = run(broken())

    rules = {rule["id"] for rule in shown["tool"]["driver"]["rules"]}
    (invocation,) = shown["invocations"]
    texts = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert {"async-drop", "gateway-single-key", "tenant-conflict"} <= rules
    assert "Not checked: batch-without-metadata: no batch calls in this input" in texts
    assert "traces.json: 3 records could not be read" in texts
    assert "max-unattributed: 31.4 % against a limit of 10 %" in texts
    assert invocation["exitCode"] == 1
    assert all(
        shown["tool"]["driver"]["rules"][entry["ruleIndex"]]["id"] == entry["ruleId"] for entry in shown["results"]
    )


def test_names_from_a_file_make_no_links() -> None:
    nasty = finding(hop=Hop("[click](http://evil.test)", "b", HopKind.PROCESS), confidence=Confidence.LIKELY)

    text = result(report(findings=(nasty,)))["message"]["text"]

    assert r"\[click\](http://evil.test)" in text
    assert "[click]" not in text.replace("\\[", "").replace("\\]", "")


def test_amounts_are_exact() -> None:
    shown = result(report(findings=(finding(),)))["properties"]

    assert (shown["unattributedCostUsd"], shown["recoverableCostUsd"], shown["calls"]) == ("1904.11", "1904.11", 41_200)
    assert run(broken())["properties"]["digest"] == json_v1.digest(broken())
