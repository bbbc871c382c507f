"""OTLP logs that tell of model calls: formats-traces §2.5 and D10, joined with spans of any format."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from auditor.report.json_v1 import digest
from builders import CALL_PICO, MODEL, MS, SDK, T0, Audited, Span, audit_bytes, call, lines, pairs_of, span, value_of
from other_formats import jaeger_answer

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
DETAILS = "gen_ai.client.inference.operation.details"
USAGE = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
REQUEST = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": MODEL}


def log(of: Span | None = None, *, name: str = DETAILS, ms: float = 600, **fields: Any) -> dict[str, Any]:
    """A record that names the span ``of``; ``attributes`` are those of an answered chat unless told."""
    attributes = fields.pop("attributes", {**REQUEST, **USAGE})
    trace, own = of.ids if of else ("", "")
    return {
        "timeUnixNano": str(T0 + round(ms * MS)),
        "eventName": name,
        "attributes": pairs_of(attributes),
        "traceId": trace,
        "spanId": own,
        **fields,
    }


def logs(*records: Any, service: str = "api", resource: dict[str, Any] | None = None, scope: str = SDK) -> bytes:
    """One export request."""
    return json.dumps(
        {
            "resourceLogs": [
                {
                    "resource": {"attributes": pairs_of({"service.name": service, **(resource or {})})},
                    "scopeLogs": [{"scope": {"name": scope}, "logRecords": list(records)}],
                }
            ]
        }
    ).encode()


def usage_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["input_tokens"], row["output_tokens"], row["usage_status"]


@pytest.mark.parametrize("late", [400.0, 700.0, 60_000.0])
def test_usage_of_a_record_belongs_to_the_span_that_it_names(tmp_path: Path, late: float) -> None:
    # The span lasts from 100 to 600 ms; the record is written before its end, after it, or a minute later.
    web = span(attributes={"tenant.id": "acme"})
    asked = call(parent=web.id, usage={}, attributes={"user.id": "u-1", "gen_ai.request.stream": True})

    done = audit_bytes(tmp_path, lines(web, asked), logs(log(asked, ms=late)))

    (row,) = done.rows
    assert (row["trace_id"], row["span_id"], row["duplicates"]) == (*asked.ids, [])
    assert usage_of(row) == (1000, 100, "elsewhere")
    assert (row["tenant_id"], row["recovered_by"]) == ("acme", "ancestor")
    assert (row["streamed"], row["user_id"]) == (True, "u-1")
    assert done.report.totals.spend == CALL_PICO


def test_usage_that_span_and_record_both_have_counts_once(tmp_path: Path) -> None:
    asked = call(tenant="acme", attributes={"user.id": "u-1"})
    alone = audit_bytes(tmp_path, lines(asked))

    both = audit_bytes(tmp_path, lines(asked), logs(log(asked)))

    assert both.rows == alone.rows
    assert both.report.totals.spend == CALL_PICO


def test_order_of_spans_and_logs_and_how_they_are_split_changes_nothing(tmp_path: Path) -> None:
    asked, other = call(id="one", usage={}), call(id="two", trace="other", tenant="acme")
    parts = [lines(asked), lines(other), logs(log(asked)) + b"\n", logs(log(other, ms=900)) + b"\n"]
    wanted = audit_bytes(tmp_path, *parts)

    for order in permutations(parts):
        assert audit_bytes(tmp_path, b"".join(order)).rows == wanted.rows
        assert digest(audit_bytes(tmp_path, *order).report) == digest(wanted.report)


def test_record_in_otlp_joins_a_span_in_jaeger(tmp_path: Path) -> None:
    web = span(attributes={"tenant.id": "acme"})
    asked = call(parent=web.id, usage={})

    (row,) = audit_bytes(tmp_path, jaeger_answer(web, asked), logs(log(asked))).rows

    assert usage_of(row) == (1000, 100, "elsewhere")
    assert row["tenant_id"] == "acme"


def test_record_whose_span_is_not_there_is_a_call_of_its_own(tmp_path: Path) -> None:
    missing = span()
    tagged = log(missing, attributes={**REQUEST, **USAGE, "tenant.id": "acme"})

    (row,) = audit_bytes(tmp_path, logs(tagged)).rows

    assert (row["trace_id"], row["span_id"]) == missing.ids
    assert usage_of(row) == (1000, 100, "complete")
    assert (row["status"], row["tenant_id"], row["service"]) == ("direct", "acme", "api")
    assert row["time"] == "2026-09-21T14:13:20.600000000Z"


def test_record_makes_a_call_of_a_span_that_does_not_look_like_one(tmp_path: Path) -> None:
    web = span("POST /ask", attributes={"tenant.id": "acme"})

    (row,) = audit_bytes(tmp_path, lines(web), logs(log(web))).rows

    assert (row["span_id"], usage_of(row)) == (web.ids[1], (1000, 100, "elsewhere"))
    assert (row["status"], row["tenant_id"]) == ("direct", "acme")


def test_details_without_usage_are_an_unmetered_call(tmp_path: Path) -> None:
    (row,) = audit_bytes(tmp_path, logs(log(span(), attributes=REQUEST))).rows

    assert (row["operation"], row["usage_status"]) == ("chat", "missing")


@pytest.mark.parametrize("missing", ["traceId", "spanId"])
def test_records_that_name_no_span_are_calls_of_their_own(tmp_path: Path, missing: str) -> None:
    of = span()
    first, second = log(of, ms=1) | {missing: ""}, log(of, ms=2) | {missing: "0" * 16}

    done = audit_bytes(tmp_path, logs(first, second, first))

    # The same record delivered twice is one.
    assert [usage_of(row) for row in done.rows] == [(1000, 100, "complete")] * 2


def test_usage_on_any_record_and_inside_a_body(tmp_path: Path) -> None:
    one, other = call(usage={}), call(usage={}, start=2000)
    plain = log(one, name="", attributes=USAGE)
    inside = log(other, name="", attributes={"event.name": "gen_ai.choice"}, body=value_of(USAGE))

    rows = audit_bytes(tmp_path, lines(one, other), logs(plain, inside)).rows

    assert [usage_of(row) for row in rows] == [(1000, 100, "elsewhere")] * 2


def choice(of: Span, reason: str = "stop") -> dict[str, Any]:
    body = value_of({"index": 0, "finish_reason": reason, "message": {"role": "assistant"}})
    return log(of, name="gen_ai.choice", attributes={"gen_ai.system": "openai"}, body=body)


def test_choice_says_that_a_stream_was_read_to_its_end(tmp_path: Path) -> None:
    # formats-traces §13.1: with an end and a response id, usage was not asked for; without an end it stopped early.
    stream = {"gen_ai.is_streaming": True, "gen_ai.response.id": "resp-1", "tenant.id": "acme"}
    asked = call(usage={}, attributes=stream)

    without = audit_bytes(tmp_path, lines(asked)).report
    found = audit_bytes(tmp_path, lines(asked), logs(choice(asked)))

    (row,) = found.rows
    assert (row["usage_status"], row["span_id"], row["duplicates"]) == ("missing", asked.ids[1], [])
    assert [f.evidence for f in found.report.findings] != [f.evidence for f in without.findings]


def test_choice_alone_is_no_call_and_adds_nothing_to_one_with_usage(tmp_path: Path) -> None:
    asked = call(tenant="acme")
    alone = audit_bytes(tmp_path, lines(asked))

    found = audit_bytes(tmp_path, lines(asked), logs(choice(asked), choice(asked), choice(span())))

    assert [usage_of(row) for row in found.rows] == [usage_of(row) for row in alone.rows]
    assert found.report.totals.calls == 1


def test_choice_and_details_of_a_span_that_is_not_there_are_one_call(tmp_path: Path) -> None:
    of = span()

    (row,) = audit_bytes(tmp_path, logs(choice(of), log(of))).rows

    assert usage_of(row) == (1000, 100, "complete")


def claude_code(sequence: int, **attributes: Any) -> dict[str, Any]:
    """An answered request; counts stand as texts in some versions."""
    said = {
        "event.name": "api_request",
        "event.sequence": sequence,
        "session.id": "s-1",
        "organization.id": "0b6c3d50-0000-4000-8000-000000000001",
        "model": "claude-3-5-haiku-20241022",
        "input_tokens": "100",
        "output_tokens": "20",
        "cache_read_tokens": "3000",
        "cache_creation_tokens": "50",
        "cost_usd": "0.01",
        "duration_ms": "250",
        **attributes,
    }
    return log(name="", attributes=said, body={"stringValue": "claude_code.api_request"})


def test_requests_of_claude_code_are_calls_whose_input_leaves_cached_tokens_out(tmp_path: Path) -> None:
    records = [claude_code(1), claude_code(2, **{"tenant.id": "acme"}), claude_code(1)]

    done = audit_bytes(tmp_path, logs(*records, scope="com.anthropic.claude_code.events"))

    # 100 + 3000 + 50; the organization that pays is no tenant; the third record is the first one again.
    assert [(row["input_tokens"], row["cache_read_tokens"], row["cache_write_tokens"]) for row in done.rows] == [
        (3150, 3000, 50)
    ] * 2
    assert sorted(row["carried_tenant_id"] or "" for row in done.rows) == ["", "acme"]
    assert {row["time"] for row in done.rows} == {"2026-09-21T14:13:20.350000000Z"}
    assert {(row["operation"], row["provider"], row["usage_status"]) for row in done.rows} == {
        ("chat", "anthropic", "complete")
    }
    assert "claude-code" in done.report.inputs[0].vocabularies


def test_other_events_are_passed_over(tmp_path: Path) -> None:
    asked = call()
    others = [
        log(asked, name="gen_ai.user.message", attributes={"gen_ai.system": "openai"}),
        log(asked, name="claude_code.tool_result", attributes={"tool_name": "Bash", "tokens": 3}),
        log(asked, name="", attributes={"input_tokens": 5}),
        {"body": {"stringValue": "token of a user: gen_ai"}},
    ]

    report = audit_bytes(tmp_path, lines(asked), logs(*others)).report

    assert (report.totals.calls, report.inputs[1].rejected) == (1, 0)
    assert report.totals.spend == CALL_PICO


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b'{"resourceLogs": 3}', "OTLP logs: Expected array, got int: resourceLogs"),
        (b'{"resourceLogs": [3]}', "OTLP logs: Expected object, got int"),
        (logs({"eventName": "gen_ai.choice", "traceId": 7}), "a log record: Expected str | null, got int: traceId"),
        (b'{"resourceLogs": [', "the JSON breaks off before it ends"),
    ],
)
def test_broken_logs_are_rejected_and_their_neighbours_are_read(tmp_path: Path, document: bytes, reason: str) -> None:
    report = audit_bytes(tmp_path, lines(call()) + logs(log(span())) + b"\n" + document).report

    assert report.totals.calls == 2
    assert [(entry.line, entry.reason) for entry in report.inputs[0].rejections] == [(3, reason)]


def test_examples_of_the_protocol_hold_no_call(tmp_path: Path) -> None:
    for name in ("otlp-proto-example-logs.json", "otlp-proto-example-events.json"):
        done: Audited = audit_bytes(tmp_path, (SAMPLES / name).read_bytes(), lines(call()))

        assert (done.report.inputs[0].rejected, done.report.totals.calls) == (0, 1)
