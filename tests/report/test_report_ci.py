"""Formats that a CI system or a monitoring system reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from report_builders import FIRST_DAY_NS, WEEK_NS, broken, clean, finding, gate, hostile, report, source, totals

from auditor.model.report import (
    CodePlace,
    Compared,
    Finding,
    GateCheck,
    Hop,
    HopKind,
    NotChecked,
    Report,
    Sample,
    Standing,
    Suppressed,
    SuppressionLine,
    SuppressionState,
)
from auditor.model.suppression import Suppression
from auditor.report import github, gitlab, junit, openmetrics, otlp

REPORTS: dict[str, Callable[[], Report]] = {"broken": broken, "clean": clean, "hostile": hostile}
AT_CODE = (Sample("a" * 32, "b" * 16, "traces.json", 12, CodePlace("shop/chat.py", 41)),)


def cases(of: Report) -> dict[tuple[str, str], ET.Element]:
    root = ET.fromstring(junit.render(of))
    return {
        (str(case.get("classname")).partition(".")[2], str(case.get("name"))): case for case in root.iter("testcase")
    }


def children(case: ET.Element) -> list[str]:
    return [child.tag for child in case]


def test_junit_has_a_case_for_every_rule_and_every_limit() -> None:
    found = cases(broken())

    assert {name for suite, name in found if suite == "rules"} == {
        "async-drop",
        "header-stripping",
        "orphaned-agent-children",
        "unowned-traffic",
        "tenant-conflict",
        "stream-span-closure",
        "gateway-single-key",
        "batch-without-metadata",
    }
    assert {name for suite, name in found if suite == "gate"} == {
        "max-unattributed",
        "max-lost",
        "max-unattributed-usd",
        "summary",
    }
    assert children(found["rules", "async-drop"]) == ["failure"]
    assert children(found["rules", "tenant-conflict"]) == ["system-out"]
    assert children(found["rules", "gateway-single-key"]) == []
    assert children(found["rules", "batch-without-metadata"]) == ["skipped"]
    assert children(found["gate", "max-unattributed"]) == ["failure"]
    assert children(found["gate", "max-lost"]) == []


@pytest.mark.parametrize("name", REPORTS)
def test_junit_counts_what_it_holds(name: str) -> None:
    root = ET.fromstring(junit.render(REPORTS[name]()))

    for element in (root, *root.iter("testsuite")):
        assert int(element.attrib["tests"]) == len(list(element.iter("testcase")))
        assert int(element.attrib["failures"]) == len(list(element.iter("failure")))
        assert int(element.attrib["skipped"]) == len(list(element.iter("skipped")))


def test_junit_fails_nothing_under_exit_zero() -> None:
    judged = broken()

    shown = cases(replace(judged, gate=replace(judged.gate, exit_code=0)))

    assert children(shown["gate", "max-unattributed"]) == ["skipped"]
    assert not any("failure" in children(case) for case in shown.values())


def test_junit_names_the_line_of_code() -> None:
    judged = replace(broken(), findings=(finding(samples=AT_CODE),))

    case = cases(judged)["rules", "async-drop"]

    assert (case.get("file"), case.get("line")) == ("shop/chat.py", "41")


def lines(of: Report) -> list[str]:
    return github.render(of).decode().splitlines()


@pytest.mark.parametrize("name", REPORTS)
def test_every_line_is_one_workflow_command(name: str) -> None:
    """As the runner reads one: ``::name properties::message``, properties without bare ``:`` and ``,``."""
    form = re.compile(r"::(error|warning|notice) (\w+=[^:,]*(?:,\w+=[^:,]*)*)::(.+)")

    assert [line for line in lines(REPORTS[name]()) if not form.fullmatch(line)] == []


def test_an_annotation_stands_at_the_line_of_code() -> None:
    judged = replace(broken(), findings=(finding(samples=AT_CODE),))

    (line,) = [line for line in lines(judged) if "shop/chat.py" in line]

    assert line.startswith("::error file=shop/chat.py,line=41,title=async-drop::The tenant does not cross the queue: ")
    assert "41,200 calls without a tenant, $1,904.11 (15.3 %25 of the spend)" in line


def test_an_annotation_names_no_file_outside_of_the_repository() -> None:
    outside = (Sample("a" * 32, "b" * 16, "/data/traces.json", 12, CodePlace("/usr/lib/python3/openai.py", 4)),)

    (line,) = [line for line in lines(report(findings=(finding(samples=outside),))) if "async-drop" in line]

    assert line.startswith("::warning title=async-drop::")


def test_annotations_are_escaped_as_the_runner_wants() -> None:
    assert github.command("error", "100 %\r\nof it", title="a:b,c%", line=3) == (
        "::error title=a%3Ab%2Cc%25,line=3::100 %25%0D%0Aof it"
    )


def test_no_more_annotations_than_a_step_shows() -> None:
    many = tuple(finding(id=str(number), rule=f"rule-{number}") for number in range(30))

    shown = lines(replace(broken(), findings=many))

    errors = [line for line in shown if line.startswith("::error ")]
    assert len(errors) == 10
    assert errors[0].startswith("::error title=gate max-unattributed::31.4 %25 against a limit of 10 %25")
    assert errors[-1].endswith("::… and 22 more; the report has all")
    assert shown[-1].startswith("::notice title=trace-auditor::31.4 %25 of $12,431.07 has no tenant; gate FAILED: ")


def test_what_is_known_or_suppressed_is_a_notice() -> None:
    away = Suppressed((0,), 1, 1, 1, 1, 1, 0, is_whole=True)
    line = SuppressionLine(Suppression("later"), SuppressionState.ACTIVE, ("b",), 1, 1)
    found = (finding(id="a", baseline=Compared(Standing.KNOWN)), finding(id="b", suppression=away))

    judged = replace(broken(), findings=found, suppressions=(line,))

    shown = [text for text in lines(judged) if "title=async-drop" in text]
    assert [text.partition(" ")[0] for text in shown] == ["::notice", "::notice"]
    assert "Certain. Known to the baseline. To repair it: " in shown[0]
    assert "Certain. Suppressed. To repair it: " in shown[1]
    assert {issue["severity"] for issue in issues(judged)} == {"info"}
    assert children(cases(judged)["rules", "async-drop"]) == ["system-out"]


def issues(of: Report) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gitlab.render(of))
    return found


def test_code_quality_has_the_fields_that_gitlab_reads() -> None:
    (issue,) = issues(replace(broken(), findings=(finding(samples=AT_CODE),)))

    assert issue["check_name"] == "async-drop"
    assert issue["severity"] == "critical"
    assert issue["fingerprint"] == "async-drop-3f9c2a71"
    assert issue["location"] == {"path": "shop/chat.py", "lines": {"begin": 41}}
    assert issue["description"].startswith("The tenant does not cross the queue: api ⇢ jobs (chat), queue hop.")


@pytest.mark.parametrize("name", REPORTS)
def test_every_issue_has_a_place_and_its_own_fingerprint(name: str) -> None:
    found = issues(REPORTS[name]())

    assert all(not issue["location"]["path"].startswith("/") for issue in found)
    assert len({issue["fingerprint"] for issue in found}) == len(found) == len(REPORTS[name]().findings)
    assert {issue["severity"] for issue in found} <= {"info", "minor", "major", "critical", "blocker"}


def samples(of: Report) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(openmetrics.render(of).decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("name", REPORTS)
def test_openmetrics_parse_strictly(name: str) -> None:
    assert samples(REPORTS[name]())
    assert openmetrics.render(REPORTS[name]()).endswith(b"\n# EOF\n")


def test_openmetrics_say_the_share_the_dollars_by_rule_and_what_is_not_known() -> None:
    found = samples(broken())

    assert found["trace_auditor_unattributed_ratio",] == 0.314005
    assert found["trace_auditor_spend_usd", "lost"] == 992.21
    assert found["trace_auditor_rule_unattributed_usd", "async-drop"] == 1904.11
    assert found["trace_auditor_rule_calls", "tenant-conflict"] == 412
    assert found["trace_auditor_unmetered_calls",] == 4_102
    assert found["trace_auditor_excused_unattributed_usd", "baseline"] == 0
    assert found["trace_auditor_rejected_records",] == 3
    assert found["trace_auditor_gate_passed",] == 0


def test_every_family_says_what_it_is() -> None:
    text = openmetrics.render(broken()).decode()

    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in {"gauge", "info"}
        assert not family.unit or family.name.endswith(f"_{family.unit}")
    assert text.count("# UNIT ") == 4


def test_a_share_of_nothing_is_no_number() -> None:
    nothing = report(totals=replace(totals(), unattributed=replace(totals().unattributed, share=None)))

    assert ("trace_auditor_unattributed_ratio",) not in samples(nothing)
    assert "trace_auditor.unattributed" not in {metric.name for metric in metrics(nothing)}


def metrics(of: Report) -> list[Any]:
    request = json_format.Parse(otlp.render(of), ExportMetricsServiceRequest())
    return list(request.resource_metrics[0].scope_metrics[0].metrics)


@pytest.mark.parametrize("name", REPORTS)
def test_otlp_is_a_request_of_the_protocol_with_the_same_figures(name: str) -> None:
    figures = {
        (metric.name, *(pair.value.string_value for pair in point.attributes)): (
            point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
        )
        for metric in metrics(REPORTS[name]())
        for point in metric.gauge.data_points
    }

    assert len(figures) == len(samples(REPORTS[name]())) - 1  # all but the information about the program
    assert figures["trace_auditor.spend", "direct"] == samples(REPORTS[name]())["trace_auditor_spend_usd", "direct"]


def test_otlp_points_stand_at_the_end_of_the_audited_time() -> None:
    (point,) = metrics(broken())[0].gauge.data_points

    assert point.time_unix_nano == FIRST_DAY_NS + WEEK_NS - 1
    assert point.as_double == 0.314005
    assert {metric.unit for metric in metrics(broken())} == {"1", "{USD}"}


def nothing_active(found: Finding) -> Report:
    return replace(
        broken(),
        findings=(found,),
        not_checked=(NotChecked("x", "a\x00\ufffe\ud800b"),),
        inputs=(source(path="a\x00b.json"),),
        gate=gate(passed=False, exit_code=1, checks=(GateCheck("g\x1b", "1", "2", passed=False, hint="\x07"),)),
    )


@pytest.mark.parametrize("write", [junit.render, github.render, gitlab.render, openmetrics.render, otlp.render])
def test_what_a_screen_would_act_on_is_escaped(write: Callable[[Report], bytes]) -> None:
    text = "\x1b[31m\x00\u202e\ufffe"
    found = finding(rule=text, title=text, hop=Hop(text, text, HopKind.CUT), operation=text, remedy=text, id=text)

    written = write(nothing_active(found)).decode()

    assert not set(written) & set("\x00\x07\x1b\u202e")
    assert write is not junit.render or "\ufffe" not in written
