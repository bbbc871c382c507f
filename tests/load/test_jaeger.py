"""Jaeger's JSON: formats-traces §3, its samples, and the traps of its spellings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.report.json_v1 import digest
from auditor.settings import Settings
from builders import CLIENT, CONSUMER, PRODUCER, SERVER, Span, audit_bytes, call, lines, request, span
from other_formats import jaeger_answer, jaeger_array, jaeger_span, tag

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"


def story() -> list[Span]:
    """A request that knows its tenant, a call below it that does not, a worker that only follows."""
    web = span("POST /ask", kind=SERVER, service="web", instance="w1", attributes={"tenant.id": "acme"})
    out = span("POST", kind=CLIENT, service="web", instance="w1", parent=web.id, start=10, ms=900)
    inside = span("POST /answer", kind=SERVER, service="bot", parent=out.id, start=20, ms=800)
    asked = call(service="bot", parent=inside.id)
    failed = call(service="bot", parent=inside.id, start=90, ms=1, usage={}, failed=True)
    send = span("send", kind=PRODUCER, service="web", instance="w1", parent=web.id, start=30)
    work = span(
        "work", trace="other", kind=CONSUMER, service="job", start=2000, links=[("trace", send.id)],
        attributes={"http.request.header.x_user_id": ["u-1"]},
    )  # fmt: skip
    late = call(trace="other", service="job", parent=work.id, start=2100, tenant="globex")
    return [web, out, inside, asked, failed, send, work, late]


@pytest.mark.parametrize("export", [jaeger_answer, jaeger_array])
def test_an_export_says_what_the_same_trace_says_as_otlp(tmp_path: Path, export: Any) -> None:
    spans = story()
    wanted = audit_bytes(tmp_path, lines(*spans))

    found = audit_bytes(tmp_path, export(*spans))

    assert len(wanted.rows) == 3
    assert found.rows == wanted.rows
    assert digest(found.report) == digest(wanted.report)


def test_one_trace_as_jaeger_and_as_otlp_counts_once(tmp_path: Path) -> None:
    spans = story()
    alone = audit_bytes(tmp_path, lines(*spans))

    both = audit_bytes(tmp_path, jaeger_answer(*spans), lines(*spans), jaeger_array(*spans))

    assert both.rows == alone.rows
    assert (both.report.totals.spend, both.report.totals.calls) == (alone.report.totals.spend, 3)
    assert [entry.spans for entry in both.report.inputs] == [8, 8, 8]


def test_an_application_in_jaeger_and_its_gateway_in_otlp_are_one_graph(tmp_path: Path) -> None:
    web = span("POST /ask", kind=SERVER, service="web", attributes={"tenant.id": "acme"})
    out = span("POST", kind=CLIENT, service="web", parent=web.id, start=10, ms=900)
    gate = span("POST /v1/chat/completions", kind=SERVER, service="gateway", parent=out.id, start=20, ms=800)
    asked = call(service="gateway", parent=gate.id)

    (row,) = audit_bytes(tmp_path, jaeger_answer(web, out), lines(gate, asked)).rows

    assert (row["status"], row["tenant_id"], row["recovered_by"]) == ("recoverable", "acme", "ancestor")
    assert row["rule"] == "header-stripping"


def test_ids_without_leading_zeros_are_the_ids_with_them(tmp_path: Path) -> None:
    web = span(id="00000000000000a1", trace="0000000000000000e4f46f74fc41be66", attributes={"tenant.id": "acme"})
    asked = call(id="00000000000000b2", trace=web.trace, parent=web.id)
    document = [jaeger_span(web), jaeger_span(asked)]
    for entry in document:
        entry["traceID"] = entry["traceID"].lstrip("0").upper()
        entry["spanID"] = entry["spanID"].lstrip("0")
        for reference in entry["references"]:
            reference["traceID"] = entry["traceID"]
            reference["spanID"] = reference["spanID"].lstrip("0")

    (row,) = audit_bytes(tmp_path, json.dumps(document).encode()).rows

    assert (row["trace_id"], row["span_id"]) == asked.ids
    assert (row["tenant_id"], row["recovered_by"]) == ("acme", "ancestor")


@pytest.mark.parametrize(
    ("references", "joined"),
    [
        ([("CHILD_OF", "trace", "web")], "ancestor"),
        ([("FOLLOWS_FROM", "trace", "web")], "ancestor"),
        ([("FOLLOWS_FROM", "trace", "else"), ("CHILD_OF", "trace", "web")], "ancestor"),
        ([("CHILD_OF", "far", "far web")], "link"),
        ([("FOLLOWS_FROM", "far", "far web")], "link"),
    ],
)
def test_references_are_parents_within_a_trace_and_links_between_traces(
    tmp_path: Path, references: list[tuple[str, str, str]], joined: str
) -> None:
    tenants = {"tenant.id": "acme"}
    web = span(id="web", attributes=tenants)
    far = span(id="far web", trace="far", attributes=tenants)
    asked = call(id="asked")
    entry = jaeger_span(asked)
    for kind, trace, own in references:
        ids = Span(trace=trace, id=own).ids
        entry["references"].append({"refType": kind, "traceID": ids[0], "spanID": ids[1]})
    document = [jaeger_span(far if joined == "link" else web), entry]

    (row,) = audit_bytes(tmp_path, json.dumps(document).encode()).rows

    assert (row["tenant_id"], row["recovered_by"]) == ("acme", joined)


def test_the_old_parent_field_counts_where_there_are_no_references(tmp_path: Path) -> None:
    web = span(attributes={"tenant.id": "acme"})
    entry = jaeger_span(call(id="asked"))
    entry |= {"parentSpanID": web.ids[1], "references": None}

    (row,) = audit_bytes(tmp_path, json.dumps([jaeger_span(web), entry]).encode()).rows

    assert row["recovered_by"] == "ancestor"


@pytest.mark.parametrize(
    ("tags", "failed"),
    [
        ([tag("error", True)], True),
        ([{"key": "error", "type": "bool", "value": "true"}], True),
        ([tag("error", "timeout of the provider")], True),
        ([tag("error", False)], False),
        ([tag("otel.status_code", "ERROR")], True),
        ([tag("otel.status_code", "OK"), tag("error", True)], False),
        ([], False),
    ],
)
def test_status_and_error_tags(tmp_path: Path, tags: list[dict[str, Any]], failed: bool) -> None:
    entry = jaeger_span(call(usage={}))
    entry["tags"] += tags

    (row,) = audit_bytes(tmp_path, json.dumps([entry]).encode()).rows

    assert (row["failed"], row["usage_status"]) == (failed, "not_billed" if failed else "missing")


def test_values_of_all_types_are_read(tmp_path: Path) -> None:
    entry = jaeger_span(call(id="asked", usage={}))
    entry["tags"] += [
        {"key": "gen_ai.usage.input_tokens", "type": "int64", "value": "1000"},
        {"key": "gen_ai.usage.output_tokens", "type": "float64", "value": 100.0},
        tag("gen_ai.request.stream", True),
        {"key": "user.id", "type": "binary", "value": "YWNtZQ=="},
        tag("http.request.header.x_tenant_id", ["acme"]),
        tag("metadata", '{"feature": "search", "note": "cut off he'),
    ]

    (row,) = audit_bytes(tmp_path, json.dumps([entry]).encode()).rows

    assert (row["input_tokens"], row["output_tokens"], row["streamed"]) == (1000, 100, True)
    assert (row["tenant_id"], row["status"], row["user_id"]) == ("acme", "direct", None)


def test_usage_on_an_event_is_read_from_the_logs(tmp_path: Path) -> None:
    usage = {"gen_ai.usage.input_tokens": 70, "gen_ai.usage.output_tokens": 7}
    asked = call(usage={}, events=[("gen_ai.choice", usage)])

    (row,) = audit_bytes(tmp_path, jaeger_answer(asked)).rows

    assert (row["input_tokens"], row["output_tokens"], row["usage_status"]) == (70, 7, "elsewhere")


def test_own_clients_of_jaeger_name_instance_and_language_their_way(tmp_path: Path) -> None:
    # Two replicas of one service: without the client's uuid the hop between them would look like one process.
    first = jaeger_span(span("GET", id="one", kind=SERVER, attributes={"tenant.id": "acme"}))
    second = jaeger_span(call(id="two", parent="one"))
    for number, entry in enumerate((first, second)):
        entry["process"]["tags"] = [tag("client-uuid", f"replica-{number}"), tag("jaeger.version", "Python-4.8.0")]

    (row,) = audit_bytes(tmp_path, json.dumps([first, second]).encode()).rows

    assert row["rule"] == "header-stripping"


def test_the_samples_without_model_calls_are_read_and_have_none(tmp_path: Path) -> None:
    # By hand: one span twice; two spans; three spans, the same trace as the OTLP lines beside it.
    one = call(id="asked")
    for name, spans, distinct in (
        ("jaeger-query-response.json", 2, 1),
        ("jaeger-span-array.json", 2, 2),
        ("jaeger-query-multi.json", 4, 4),
    ):
        found = audit_bytes(tmp_path, (SAMPLES / name).read_bytes(), lines(one)).report

        assert (found.inputs[0].format, found.inputs[0].spans, found.inputs[0].rejected) == ("jaeger", spans, 0)
        assert found.totals.calls == 1
        assert found.inputs[0].records == 1
        assert distinct <= spans


def test_jaeger_v3_holds_otlp_back_to_back(tmp_path: Path) -> None:
    spans = story()
    wanted = audit_bytes(tmp_path, lines(*spans))
    answers = "".join(json.dumps({"result": request(entry)}, indent=1) for entry in spans)

    found = audit_bytes(tmp_path, answers.encode())

    assert found.report.inputs[0].format == "jaeger-v3"
    assert found.rows == wanted.rows


def test_error_in_the_stream_of_jaeger_v3_is_counted(tmp_path: Path) -> None:
    first = json.dumps({"result": request(call())})

    found = audit_bytes(tmp_path, f'{first}\n{{"error": {{"grpc_code": 5}}}}\n{{"result": 3}}\n'.encode()).report

    assert found.totals.calls == 1
    assert [(entry.line, entry.reason) for entry in found.inputs[0].rejections] == [
        (2, "the answer of Jaeger holds an error"),
        (3, "neither an object nor a list: not an OTLP request"),
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"traceID": ""}, "a span has no readable trace id or span id"),
        ({"spanID": "zz"}, "a span has no readable trace id or span id"),
        ({"traceID": 12}, "spans[1]: Expected str, got int: traceID"),
        ({"tags": {"a": 1}}, "spans[1]: Expected array | null, got object: tags"),
        ({"tags": [3]}, "spans[1]: Expected object, got int: tags[0]"),
        ({"references": "x"}, "spans[1]: Expected array | null, got str: references"),
        ({"process": 3}, "spans[1]: Expected object, got int"),
    ],
)
def test_broken_span_is_rejected_and_its_neighbours_are_read(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    good, bad, last = (jaeger_span(call()) for _ in range(3))

    report = audit_bytes(tmp_path, json.dumps([good, bad | changes, last]).encode()).report

    assert report.totals.calls == 2
    assert [(entry.line, entry.reason) for entry in report.inputs[0].rejections] == [(1, reason)]


def test_odd_times_are_unknown_times(tmp_path: Path) -> None:
    entries = [jaeger_span(call()) for _ in range(4)]
    entries[0] |= {"startTime": -5}
    entries[1] |= {"startTime": 1e300, "duration": "x"}
    entries[2] |= {"startTime": "1790000000000000", "duration": None}
    entries[3] |= {"startTime": 1790000000000000.0}

    rows = audit_bytes(tmp_path, json.dumps(entries).encode()).rows

    assert sorted(row["time"] or "" for row in rows) == ["", "", *["2026-09-21T14:13:20.000000000Z"] * 2]


def test_document_that_breaks_off_is_rejected(tmp_path: Path) -> None:
    document = jaeger_answer(call(), call())

    with pytest.raises(InputError, match=r"breaks off|no model call|not JSON"):
        audit_bytes(tmp_path, document[:-200])

    report = audit_bytes(tmp_path, document[:-200], lines(call()), settings=Settings()).report
    assert report.inputs[0].rejections[0].reason == "the JSON breaks off before it ends"


def test_answer_with_errors_is_counted(tmp_path: Path) -> None:
    empty = {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": 404, "msg": "trace not found"}]}

    report = audit_bytes(tmp_path, json.dumps(empty).encode(), lines(call())).report

    assert [entry.reason for entry in report.inputs[0].rejections] == ["the answer of Jaeger holds errors"]


def test_large_document_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    # More spans than the builder holds at once, and a broken one after it was emptied: still with its position.
    entry = jaeger_span(call(tenant="acme"))
    many = [entry | {"spanID": f"{number:016x}"} for number in range(1, 70_001)]
    many[-1] = many[-1] | {"spanID": "zz"}

    report = audit_bytes(tmp_path, b"\n" + json.dumps(many).encode()).report

    assert report.totals.calls == 69_999
    assert [(place.line, place.byte) for place in report.inputs[0].rejections] == [(2, 1)]
