"""Tempo's answers: formats-traces §3. No sample may be copied here; the shapes are made from OTLP samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.report.json_v1 import digest
from builders import CLIENT, CONSUMER, SERVER, Span, audit_bytes, call, lines, request, span
from other_formats import jaeger_answer, proto3_json, spans_of_request

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"


def story() -> list[Span]:
    web = span("POST /ask", kind=SERVER, service="web", attributes={"tenant.id": "acme", "note": ["a", 1]})
    asked = call(service="web", parent=web.id)
    failed = call(service="web", parent=web.id, start=90, usage={}, failed=True)
    work = span("work", trace="other", kind=CONSUMER, service="job", links=[("trace", web.id)])
    chunk = ("gen_ai.content.completion.chunk", {})
    late = call(trace="other", service="job", parent=work.id, usage={}, events=[chunk])
    return [web, asked, failed, work, late]


def v1(document: dict[str, Any]) -> bytes:
    """As Tempo does it: the first name in the text is replaced, and no other."""
    return json.dumps(document).replace('"resourceSpans"', '"batches"', 1).encode()


def v2(document: dict[str, Any]) -> bytes:
    return json.dumps({"trace": document, "metrics": {}, "status": "COMPLETE", "message": ""}, indent=1).encode()


@pytest.mark.parametrize("envelope", [v1, v2])
def test_an_answer_says_what_the_same_spans_say_as_otlp(tmp_path: Path, envelope: Any) -> None:
    spans = story()
    wanted = audit_bytes(tmp_path, lines(*spans))

    found = audit_bytes(tmp_path, envelope(proto3_json(request(*spans))))
    thrice = audit_bytes(tmp_path, envelope(proto3_json(request(*spans))), lines(*spans), jaeger_answer(*spans))

    assert [row["status"] for row in wanted.rows].count("recoverable") == 3
    assert found.report.inputs[0].format == "tempo"
    assert found.rows == wanted.rows == thrice.rows
    assert digest(found.report) == digest(wanted.report)


@pytest.mark.parametrize(
    "name", ["otlp-baggage-thread-drop.json", "otlp-celery-child.json", "otlp-logfire-openai.json"]
)
def test_real_traces_in_tempos_envelope_say_what_they_say_without(tmp_path: Path, name: str) -> None:
    document = json.loads((SAMPLES / name).read_bytes())
    wanted = audit_bytes(tmp_path, json.dumps(document).encode())

    found = audit_bytes(tmp_path, v1(proto3_json(document)))

    assert wanted.rows
    assert found.rows == wanted.rows


def test_answers_back_to_back_and_older_answers_are_read(tmp_path: Path) -> None:
    old = proto3_json(request(call()))
    part = old["resourceSpans"][0]
    (scope,) = part.pop("scopeSpans")
    part["instrumentationLibrarySpans"] = [{"instrumentationLibrary": scope["scope"], "spans": scope["spans"]}]
    data = v1(proto3_json(request(call(), call()))) + v1(old) + b'\n{"batches": []}\n' + v2(request(call()))

    report = audit_bytes(tmp_path, data).report

    assert (report.totals.calls, report.inputs[0].records, report.inputs[0].rejected) == (4, 4, 0)


@pytest.mark.parametrize("status", ["PARTIAL", 1])
def test_a_trace_that_was_too_large_is_known_to_be_incomplete(tmp_path: Path, status: Any) -> None:
    document = {"trace": proto3_json(request(call())), "status": status, "message": "trace exceeds max size"}

    report = audit_bytes(tmp_path, json.dumps(document).encode()).report

    assert report.totals.calls == 1
    assert [entry.reason for entry in report.inputs[0].rejections] == [
        "Tempo's status is PARTIAL: the trace is too large and a part of it is missing"
    ]


@pytest.mark.parametrize(
    ("changes", "rejections"),
    [
        ({"traceId": None}, ["a span of Tempo: Expected str, got null: traceId"]),
        ({"spanId": "!!"}, ["a span has no readable trace id or span id"]),
        ({"spanId": "AAAAAAAAAAA="}, ["a span has no readable trace id or span id"]),
        ({"startTimeUnixNano": "soon"}, ["a span of Tempo: Expected int, got str: startTimeUnixNano"]),
        ({"kind": ["x"], "status": 7}, []),
    ],
)
def test_broken_span_is_rejected_and_its_neighbours_are_read(
    tmp_path: Path, changes: dict[str, Any], rejections: list[str]
) -> None:
    document = proto3_json(request(call(), call(), call(kind=CLIENT)))
    list(spans_of_request(document))[1].update(changes)

    report = audit_bytes(tmp_path, b"\n" + v1(document)).report

    assert report.totals.calls == 3 - len(rejections)
    assert [(entry.line, entry.byte, entry.reason) for entry in report.inputs[0].rejections] == [
        (2, 1, reason) for reason in rejections
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"batches": 3}', "neither batches nor a trace: not an answer of Tempo"),
        ('{"message": "x"}', "neither batches nor a trace: not an answer of Tempo"),
        ('{"batches": [', "the JSON breaks off before it ends"),
        ('{"batches": [7]}', "an entry of resourceSpans is not an object"),
    ],
)
def test_what_is_no_answer_is_rejected(tmp_path: Path, line: str, reason: str) -> None:
    data = v1(proto3_json(request(call()))) + b"\n" + line.encode()

    report = audit_bytes(tmp_path, data).report

    assert report.totals.calls == 1
    assert [(entry.line, entry.reason) for entry in report.inputs[0].rejections] == [(2, reason)]


def test_large_answer_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    document = proto3_json(request(call(tenant="acme")))
    (scope,) = document["resourceSpans"][0]["scopeSpans"]
    (entry,) = scope["spans"]
    scope["spans"] = [entry | {"spanId": f"{number:016x}"} for number in range(1, 70_001)]

    report = audit_bytes(tmp_path, v2(document)).report

    assert (report.inputs[0].format, report.totals.calls, report.totals.direct.calls) == ("tempo", 70_000, 70_000)
