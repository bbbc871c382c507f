"""Zipkin v2: formats-traces §3, its sample, and the traps of its spellings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.load.zipkin import is_zipkin
from auditor.report.json_v1 import digest
from builders import CLIENT, SERVER, Audited, audit_bytes, call, lines, span
from other_formats import jaeger_answer, zipkin, zipkin_span

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"


def audited(home: Path, *entries: Any) -> Audited:
    return audit_bytes(home, json.dumps(list(entries)).encode())


def test_the_sample_has_two_calls_whose_tenant_only_the_request_knows(tmp_path: Path) -> None:
    # By hand: chat a92b 15/19 tokens and embeddings ced3 8 tokens, both children of GET /chat 7b84, which has
    # tenant.id globex; the chat names its prompt's text, its reasons as the text ["stop"].
    report = audit_bytes(tmp_path, (SAMPLES / "zipkin-v2.json").read_bytes())

    rows = {row["span_id"]: row for row in report.rows}

    assert {key: (row["input_tokens"], row["output_tokens"], row["operation"]) for key, row in rows.items()} == {
        "a92bdef33620f275": (15, 19, "chat"),
        "ced3226d10254ce7": (8, 0, "embeddings"),
    }
    assert {
        (row["status"], row["tenant_id"], row["recovered_by"], row["usage_status"], row["service"], row["environment"])
        for row in rows.values()
    } == {("recoverable", "globex", "ancestor", "complete", "chat-api", "prod")}
    assert rows["a92bdef33620f275"]["time"] == "2026-11-21T09:56:56.513409000Z"
    assert {row["rule"] for row in rows.values()} == {"tenant-not-copied", "untagged-embeddings"}


def test_an_export_says_what_the_same_trace_says_as_otlp(tmp_path: Path) -> None:
    web = span("POST /ask", kind=SERVER, service="web", instance="w1", attributes={"tenant.id": "acme"})
    out = span("POST", kind=CLIENT, service="web", instance="w1", parent=web.id, start=10, ms=900)
    inside = span("POST /answer", kind=SERVER, service="Bot", parent=out.id, start=20, ms=800)
    asked = call(service="Bot", parent=inside.id)
    told = call(service="Bot", parent=inside.id, usage={}, start=90, events=[("gen_ai.content.completion.chunk", {})])
    failed = call(service="Bot", parent=inside.id, start=90, ms=1, usage={}, failed=True)
    spans = (web, out, inside, asked, told, failed)
    wanted = audit_bytes(tmp_path, lines(*spans))

    found = audit_bytes(tmp_path, zipkin(*spans))
    thrice = audit_bytes(tmp_path, zipkin(*spans), lines(*spans), jaeger_answer(*spans))

    assert len(wanted.rows) == 3
    assert found.rows == wanted.rows == thrice.rows
    assert digest(found.report) == digest(wanted.report)


@pytest.mark.parametrize("shape", ["traces", "lines"])
def test_lists_of_traces_and_spans_a_line_are_read_alike(tmp_path: Path, shape: str) -> None:
    web = span(attributes={"tenant.id": "acme"})
    entries = [zipkin_span(web), zipkin_span(call(parent=web.id)), zipkin_span(call(trace="other"))]
    shapes = {"traces": json.dumps([entries[:2], entries[2:], []]), "lines": "\n".join(map(json.dumps, entries))}

    rows = audit_bytes(tmp_path, shapes[shape].encode()).rows

    assert sorted(row["status"] for row in rows) == ["lost", "recoverable"]


def test_client_and_server_that_share_an_id_are_two_spans(tmp_path: Path) -> None:
    # The tenant is known to the server's side only: what hangs on the id hangs there, below the client.
    client = zipkin_span(span("POST", id="both", kind=CLIENT, service="web"))
    server = zipkin_span(span("POST", id="both", kind=SERVER, service="bot", attributes={"tenant.id": "acme"}))
    asked = zipkin_span(call(id="asked", parent="both", service="bot"))

    for entries in ([client, server, asked], [asked, server, client]):
        server["shared"] = True
        done = audited(tmp_path, *entries)

        assert done.report.totals.spans == 3
        assert [(row["tenant_id"], row["recovered_by"], row["rule"]) for row in done.rows] == [
            ("acme", "ancestor", "tenant-not-copied")
        ]


def test_tenant_on_the_clients_side_of_a_shared_id_is_lost_on_the_way_to_the_server(tmp_path: Path) -> None:
    client = zipkin_span(span("POST", id="both", kind=CLIENT, service="web", attributes={"tenant.id": "acme"}))
    server = zipkin_span(span("POST", id="both", kind=SERVER, service="bot")) | {"shared": True}
    asked = zipkin_span(call(id="asked", parent="both", service="bot"))

    (row,) = audited(tmp_path, client, server, asked).rows

    assert (row["tenant_id"], row["recovered_by"], row["rule"]) == ("acme", "ancestor", "header-stripping")


def test_servers_side_alone_keeps_its_id(tmp_path: Path) -> None:
    server = zipkin_span(span(id="both", kind=SERVER, attributes={"tenant.id": "acme"})) | {"shared": True}

    done = audit_bytes(tmp_path, json.dumps([server]).encode(), lines(call(parent="both")))

    assert [row["recovered_by"] for row in done.rows] == ["ancestor"]


@pytest.mark.parametrize(
    ("entry", "is_one"),
    [
        ({"traceId": "1", "id": "2", "localEndpoint": {}}, True),
        ({"traceId": "1", "id": "2", "timestamp": 5}, True),
        ({"traceId": "1", "id": "2", "timestamp": "2026-11-21T09:47:48Z", "tags": ["a"]}, False),
        ({"traceId": "1", "id": "2", "timestamp": 5, "tags": ["a"]}, False),
        ({"traceId": "1", "id": "2", "spanId": "3", "timestamp": 5}, False),
        ({"traceId": "1", "id": "2"}, False),
    ],
)
def test_rows_of_other_products_with_the_same_ids_are_no_spans_of_zipkin(entry: dict[str, Any], is_one: bool) -> None:
    assert is_zipkin(entry) is is_zipkin([entry]) is is_zipkin([[entry]]) is is_one


def test_short_ids_get_their_zeros(tmp_path: Path) -> None:
    asked = call(id="00000000000000b2", trace="0000000000000000e4f46f74fc41be66")
    entry = zipkin_span(asked)
    entry |= {"traceId": entry["traceId"][16:], "id": "b2"}

    (row,) = audited(tmp_path, entry).rows

    assert (row["trace_id"], row["span_id"]) == asked.ids


@pytest.mark.parametrize(
    ("tags", "failed"),
    [
        ({"error": "429 too many requests"}, True),
        ({"error": "true"}, True),
        ({"error": "false"}, False),
        ({"otel.status_code": "ERROR"}, True),
        ({"otel.status_code": "OK", "error": "left over"}, False),
        ({}, False),
    ],
)
def test_status_and_error_tags(tmp_path: Path, tags: dict[str, str], failed: bool) -> None:
    entry = zipkin_span(call(usage={}))
    entry["tags"] |= tags

    (row,) = audited(tmp_path, entry).rows

    assert row["failed"] is failed


@pytest.mark.parametrize(
    "value",
    [
        '{"gen_ai.choice": {"gen_ai.usage.input_tokens": 70, "gen_ai.usage.output_tokens": 7}}',
        '"gen_ai.choice":{"gen_ai.usage.input_tokens":"70","gen_ai.usage.output_tokens":"7"}',
        'gen_ai.choice|{"gen_ai.usage.input_tokens":70,"gen_ai.usage.output_tokens":7}|0',
    ],
)
def test_usage_on_an_event_in_the_spelling_of_each_exporter(tmp_path: Path, value: str) -> None:
    entry = zipkin_span(call(usage={})) | {"annotations": [{"timestamp": 1, "value": value}]}

    (row,) = audited(tmp_path, entry).rows

    assert (row["input_tokens"], row["output_tokens"], row["usage_status"]) == (70, 7, "elsewhere")


@pytest.mark.parametrize("value", ["", "usage", '"usage', '{"usage": 3}', '{"usage', "usage|x|", "|usage|"])
def test_events_of_another_form_say_nothing(tmp_path: Path, value: str) -> None:
    entry = zipkin_span(call()) | {"annotations": [{"timestamp": 1, "value": value}]}

    assert audited(tmp_path, entry).report.totals.calls == 1


def test_captured_header_is_a_list_in_a_text(tmp_path: Path) -> None:
    entry = zipkin_span(call(attributes={"http.request.header.x-tenant-id": ["acme"]}))

    (row,) = audited(tmp_path, entry).rows

    assert (row["status"], row["tenant_id"]) == ("direct", "acme")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "spans[1]: Expected str, got null: id"),
        ({"id": ""}, "a span has no readable trace id or span id"),
        ({"traceId": "0" * 32}, "a span has no readable trace id or span id"),
        ({"tags": []}, "spans[1]: Expected object | null, got array: tags"),
        ({"localEndpoint": "web"}, "spans[1]: Expected object | null, got str: localEndpoint"),
    ],
)
def test_broken_span_is_rejected_and_its_neighbours_are_read(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    good, bad, last = (zipkin_span(call()) for _ in range(3))

    report = audited(tmp_path, good, bad | changes, last).report

    assert report.totals.calls == 2
    assert [(entry.line, entry.reason) for entry in report.inputs[0].rejections] == [(1, reason)]


def test_entry_of_a_list_of_traces_that_is_no_list_is_rejected(tmp_path: Path) -> None:
    report = audited(tmp_path, [zipkin_span(call())], 3).report

    assert [entry.reason for entry in report.inputs[0].rejections] == ["traces[1]: Expected array, got int"]


def test_document_that_breaks_off_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        audit_bytes(tmp_path, zipkin(call(), call())[:-100])
