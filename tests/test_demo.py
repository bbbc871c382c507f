"""The demo: the same bytes every time, well formed, and found by the audit to the call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from auditor import demo
from auditor.demo.otlp import SLOT_NS, START_NS
from auditor.demo.scenes import SCENES
from auditor.report import Screen, renderer
from auditor.settings import Settings

BILLABLE = {"chat", "embeddings"}
WITH_A_TENANT = {"stream-span-closure", "tenant-conflict"}
"""Modes whose calls carry a tenant: the fault is another one."""


def spans() -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Resource attributes, span and span attributes, in the order of the file."""
    for line in demo.export().splitlines():
        for resource_spans in json.loads(line)["resourceSpans"]:
            resource = attributes(resource_spans["resource"])
            for scope_spans in resource_spans["scopeSpans"]:
                for span in scope_spans["spans"]:
                    yield resource, span, attributes(span)


def attributes(owner: dict[str, Any]) -> dict[str, Any]:
    return {pair["key"]: next(iter(pair["value"].values())) for pair in owner.get("attributes", [])}


def calls() -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """The spans that stand for one billable call each: no repeats, and of a pair the inner one."""
    unique = {span["spanId"]: (resource, span, known) for resource, span, known in spans()}
    billable = {key: row for key, row in unique.items() if row[2].get("gen_ai.operation.name") in BILLABLE}
    outer = {span.get("parentSpanId") for _, span, _ in billable.values()} & set(billable)
    return [row for key, row in billable.items() if key not in outer]


def test_the_export_is_the_same_in_every_process() -> None:
    code = "import sys; from auditor import demo; sys.stdout.buffer.write(demo.export())"
    made = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed, "TZ": zone},
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Kolkata"))
    ]

    assert made[0] == made[1] == demo.export()


def test_spans_are_well_formed_and_in_place() -> None:
    by_id = {span["spanId"]: (resource, span) for resource, span, _ in spans()}
    for resource, span, _ in spans():
        assert len(bytes.fromhex(span["traceId"])) == 16
        assert len(bytes.fromhex(span["spanId"])) == 8
        start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
        assert start < end
        assert 0 <= (start - START_NS) % SLOT_NS < (end - START_NS) % SLOT_NS
        for link in span.get("links", []):
            assert by_id[link["spanId"]][1]["traceId"] == link["traceId"]
        parent = span.get("parentSpanId")
        if parent:
            upstream, above = by_id[parent]
            assert above["traceId"] == span["traceId"]
            is_remote = upstream != resource
            assert span["flags"] == (768 if is_remote else 256)
            if above["kind"] != 4:  # a producer does not wait
                assert int(above["startTimeUnixNano"]) <= start
                assert end <= int(above["endTimeUnixNano"])


def test_truth_of_the_demo_agrees_with_its_spans() -> None:
    truth = {planted.mode: planted.calls for planted in demo.planted()}

    untagged = [
        span
        for resource, span, known in calls()
        if "tenant.id" not in known and resource["deployment.environment.name"] == "production"
    ]

    assert len(calls()) == sum(truth.values()) + demo.healthy_calls()
    assert len(untagged) == sum(truth[mode] for mode in truth if mode not in WITH_A_TENANT)
    no_usage = [
        known for _, _, known in calls() if "gen_ai.usage.input_tokens" not in known and "error.type" not in known
    ]
    assert len(no_usage) == truth["stream-span-closure"]


def test_tenants_differ_in_size() -> None:
    sizes = Counter(known["tenant.id"] for _, _, known in calls() if "tenant.id" in known)
    ranked = [size for _, size in sizes.most_common()]

    assert len(ranked) >= 8
    assert ranked[0] >= 3 * ranked[len(ranked) // 2]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from auditor.pipeline import audit  # noqa: PLC0415  # the tests above need none of it

    path = tmp_path_factory.mktemp("demo") / demo.FILE_NAME
    path.write_bytes(demo.export())
    return audit([str(path)], Settings()).report


def test_every_planted_mode_is_found_with_its_calls_and_nothing_else(report: Any) -> None:
    found: Counter[str] = Counter()
    for finding in report.findings:
        found[finding.rule] += finding.calls

    assert found == {planted.mode: planted.calls for planted in demo.planted()}


def test_totals_are_those_of_the_demo(report: Any) -> None:
    requests = {scene.name: scene.requests for scene in SCENES}
    truth = {planted.mode: planted.calls for planted in demo.planted()}
    totals = report.totals

    assert totals.calls == len(calls())
    assert totals.internal.calls == requests["staging"]
    assert totals.unpriced.calls == requests["own model"]
    assert totals.failed == requests["failed and repeated"]
    assert totals.conflict.calls == truth["tenant-conflict"]
    assert totals.unmetered.calls == truth["stream-span-closure"]
    assert totals.unattributed.calls == sum(truth[mode] for mode in truth if mode not in WITH_A_TENANT)
    assert sum(finding.unattributed_cost for finding in report.findings) == totals.unattributed.cost > 0


@pytest.mark.parametrize("name", ["terminal", "markdown", "json"])
def test_no_prompt_text_leaves_the_file(name: str, report: Any) -> None:
    assert b"Where is my order?" in demo.export()
    text = renderer(name)(report, Screen())

    assert b"my order" not in text
