"""``otel_traces`` as ClickHouse writes it says what the same spans say as OTLP JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.ledger.calls import call_rows
from auditor.load import load
from auditor.load.builder import BatchBuilder
from auditor.load.clickhouse import is_clickhouse, nanoseconds_of
from auditor.load.meanings import Meanings
from auditor.normalise.vocabulary import compile_lexicon
from auditor.pipeline import audit
from auditor.report.json_v1 import digest
from auditor.settings import Internal, Settings

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
CLICKHOUSE = SAMPLES / "clickhouse"
PRODUCTION = Settings(internal=Internal(environments=()))
SAME_SPANS = [
    str(SAMPLES / name)
    for name in (
        "otlp-baggage-thread-drop.json",
        "otlp-celery-span-links.json",
        "otlp-logfire-openai.json",
        "otlp-openinference-langchain.jsonl",
    )
]
FILES = ("otel_traces.jsonl", "otel_traces.json", "otel_traces.parquet", "otel_traces_json_type.jsonl")


@pytest.mark.parametrize("name", FILES)
def test_every_format_of_clickhouse_gives_the_digest_of_the_spans_as_otlp(name: str) -> None:
    wanted = audit(SAME_SPANS, PRODUCTION)

    found = audit([str(CLICKHOUSE / name)], PRODUCTION)

    assert list(call_rows(found.calls)) == list(call_rows(wanted.calls))
    assert digest(found.report) == digest(wanted.report)


@pytest.mark.parametrize("name", FILES)
def test_the_calls_of_the_sample_by_hand(name: str) -> None:
    # Baggage: a chat and embeddings under the tenant of the request, one more chat in a bare thread: the recorded
    # answer, and so its id, is that of the first. Celery: a chat whose tenant is on the web request behind the link.
    # Logfire: a call, and a stream whose usage is on a log beside it. LangChain: one call without usage.
    rows = call_rows(audit([str(CLICKHOUSE / name)], PRODUCTION).calls)

    said = [
        (row["operation"], row["status"], row["recovered_by"], row["input_tokens"], row["output_tokens"])
        for row in rows
    ]
    assert sorted(said, key=str) == [
        ("chat", "direct", None, 15, 19),
        ("chat", "lost", None, None, None),
        ("chat", "recoverable", "ancestor", 10, 50),
        ("chat", "recoverable", "ancestor", 15, 19),
        ("chat", "recoverable", "link", 15, 19),
        ("chat", "recoverable", "response_id", 15, 19),
        ("embeddings", "direct", None, 8, 0),
    ]


def row(**changes: Any) -> dict[str, Any]:
    return {
        "Timestamp": "2026-11-21 09:53:35.123456789",
        "TraceId": "1" * 32,
        "SpanId": "2" * 16,
        "ParentSpanId": "",
        "SpanName": "chat",
        "SpanKind": "Client",
        "ServiceName": "api",
        "ResourceAttributes": {"service.name": "api"},
        "SpanAttributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": "1000",
            "gen_ai.usage.output_tokens": "100",
            "tenant.id": "acme",
        },
        "Duration": "1500000000",
        "StatusCode": "Unset",
        **changes,
    }


def audited(home: Path, *rows: Any) -> Any:
    path = home / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return audit([str(path)], PRODUCTION)


def test_counts_and_durations_are_texts(tmp_path: Path) -> None:
    (call,) = call_rows(audited(tmp_path, row()).calls)

    assert (call["input_tokens"], call["output_tokens"], call["tenant_id"]) == (1000, 100, "acme")
    assert call["time"].startswith("2026-11-21T09:53:35.123456")


@pytest.mark.parametrize(("kind", "state"), [("SPAN_KIND_CLIENT", "STATUS_CODE_ERROR"), ("Client", "Error")])
def test_names_of_older_and_newer_exporters_are_read(kind: str, state: str, tmp_path: Path) -> None:
    bare = {key: value for key, value in row()["SpanAttributes"].items() if "usage" not in key}

    (call,) = call_rows(audited(tmp_path, row(SpanKind=kind, StatusCode=state, SpanAttributes=bare)).calls)

    assert (call["failed"], call["usage_status"]) == (True, "not_billed")


def test_the_scope_of_older_tables_is_among_the_attributes(tmp_path: Path) -> None:
    attributes = row()["SpanAttributes"]
    outer = row(SpanAttributes=attributes | {"otel.scope.name": "framework"}, ScopeName=None)
    inner = row(
        SpanId="3" * 16, ParentSpanId="2" * 16, SpanAttributes=attributes | {"otel.library.name": "sdk"}, Duration=10**9
    )

    calls = list(call_rows(audited(tmp_path, outer, inner).calls))

    # Two descriptions of one call by different scopes, nested: one call, of two spans.
    assert [(call["span_id"], len(call["duplicates"])) for call in calls] == [("3" * 16, 1)]


def test_nested_spans_of_one_scope_are_no_two_descriptions_of_a_call(tmp_path: Path) -> None:
    attributes = row()["SpanAttributes"] | {"otel.scope.name": "sdk"}
    outer, inner = (
        row(SpanAttributes=attributes),
        row(SpanId="3" * 16, ParentSpanId="2" * 16, SpanAttributes=attributes),
    )

    calls = list(call_rows(audited(tmp_path, outer, inner).calls))

    assert [(call["span_id"], len(call["duplicates"])) for call in calls] == [("3" * 16, 0)]


def test_events_and_links_that_are_not_flattened_are_read(tmp_path: Path) -> None:
    tagged = row(SpanAttributes={"tenant.id": "acme", "http.route": "/x"}, SpanKind="Server")
    usage = {"gen_ai.usage.input_tokens": "7", "gen_ai.usage.output_tokens": "3"}
    linked = row(
        TraceId="4" * 32,
        SpanId="5" * 16,
        SpanAttributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"},
        Events=[{"Timestamp": "2026-11-21 09:53:35", "Name": "usage", "Attributes": usage}],
        Links=[{"TraceId": "1" * 32, "SpanId": "2" * 16, "TraceState": "", "Attributes": {}}],
    )

    (call,) = call_rows(audited(tmp_path, tagged, linked).calls)

    assert (call["input_tokens"], call["output_tokens"]) == (7, 3)
    assert (call["status"], call["tenant_id"], call["recovered_by"]) == ("recoverable", "acme", "link")


def test_a_row_without_needed_columns_is_rejected_by_their_names(tmp_path: Path) -> None:
    bare = row(SpanId="6" * 16)
    del bare["SpanAttributes"], bare["Timestamp"]

    report = audited(tmp_path, row(), bare).report

    assert [(place.line, place.reason) for place in report.inputs[0].rejections] == [
        (2, "a row without Timestamp, SpanAttributes")
    ]


def test_a_row_with_a_column_of_another_type_is_rejected(tmp_path: Path) -> None:
    report = audited(tmp_path, row(), row(TraceId=7)).report

    assert (report.totals.calls, report.inputs[0].rejected) == (1, 1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-21 09:53:35.123456789", 1_795_254_815_123_456_789),
        ("2026-11-21T09:53:35.123456789Z", 1_795_254_815_123_456_789),
        ("2026-11-21 10:53:35.5+01:00", 1_795_254_815_500_000_000),
        ("1795254815.123456789", 1_795_254_815_123_456_789),
        (1_795_254_815, 1_795_254_815_000_000_000),
        (1_795_254_815_123_456_789, 1_795_254_815_123_456_789),
        ("yesterday", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_moments_of_all_settings_of_clickhouse_are_read(value: Any, expected: int) -> None:
    assert nanoseconds_of(value) == expected


def test_the_time_index_beside_the_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no spans"):
        audited(tmp_path, {"TraceId": "1" * 32, "Start": "2026-11-21 09:53:35", "End": "2026-11-21 09:53:36"})


@pytest.mark.parametrize("value", [[], None, {"TraceId": "1"}, {"meta": {}, "data": []}, {"meta": [7], "data": []}])
def test_other_values_are_not_taken_for_the_table(value: Any) -> None:
    assert not is_clickhouse(value)


def request(number: int) -> dict[str, Any]:
    """A request to a provider, which is a call without counts; every third span is none."""
    url = "https://api.openai.com/v1/chat/completions" if number % 3 else "https://example.com/"
    tenant = ("acme", "unknown", "globex", "initech")[number % 4]
    return {
        "Timestamp": "2026-11-01 00:00:00.815282929",
        "TraceId": f"{1:032x}",
        "SpanId": f"{number + 1:016x}",
        "SpanKind": "Client",
        "ServiceName": "web",
        "ResourceAttributes": {"service.name": "web"},
        "SpanAttributes": {"tenant.id": tenant, "http.request.method": "POST", "url.full": url},
        "Duration": "64363",
    }


def test_calls_that_are_known_from_others_are_calls_of_their_own_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.load.span_writer.PIECE", 4)
    monkeypatch.setattr("auditor.load.builder.SAMPLE_SIZE", 1)
    path = tmp_path / "rows.jsonl"
    # The first enters the sample, to which no later one belongs then.
    entry = request(0) | {"SpanKind": "Server", "SpanAttributes": {"http.route": "/ask", "tenant.id": "acme"}}
    path.write_text("".join(json.dumps(row) + "\n" for row in [entry, *map(request, range(1, 60))]), "utf-8")
    asked_of: list[Any] = []
    add_known_call = BatchBuilder.add_known_call
    monkeypatch.setattr(BatchBuilder, "add_known_call", lambda *given: (asked_of.append(given), add_known_call(*given)))
    found = calls_of(path)
    monkeypatch.setattr(Meanings, "learn", lambda *_: None)

    assert asked_of
    assert found == calls_of(path)
    assert [line for line, *_ in found] == [number + 1 for number in range(60) if number % 3]
    assert {(tenant, placeholder) for _, tenant, _, placeholder, _ in found} == {
        ("acme", ""), ("", "unknown"), ("globex", ""), ("initech", "")
    }  # fmt: skip


def calls_of(path: Path) -> list[tuple[Any, ...]]:
    """Of each call its line, tenant, provider, the placeholder that stands for a tenant, and its counts."""
    (batch,) = load([str(path)], compile_lexicon()).batches
    calls = zip(batch.call_row, batch.call_facts, batch.tokens.tolist(), batch.call_line.tolist(), strict=True)
    return sorted(
        (
            line,
            batch.tenants[batch.tenant[row]][0].value if batch.tenant[row] >= 0 else "",
            batch.facts[facts].provider,
            batch.facts[facts].placeholder,
            tuple(tokens),
        )
        for row, facts, tokens, line in calls
    )
