"""Phoenix dataframes say of every call what the same spans say as OTLP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auditor.errors import InputError
from auditor.ledger.calls import call_rows
from auditor.load import load
from auditor.load.phoenix import NO_SPAN_ID, PhoenixReader, is_phoenix, moment_of
from auditor.normalise.vocabulary import compile_lexicon
from auditor.pipeline import audit
from auditor.settings import Internal, Settings

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
PHOENIX = SAMPLES / "phoenix"
PRODUCTION = Settings(internal=Internal(environments=()))
FILES = ("spans.jsonl", "spans_by_columns.json", "spans.parquet")
KEYS = (
    "trace_id", "span_id", "provider", "model_executed", "operation", "input_tokens", "cache_read_tokens",
    "output_tokens", "usage_status", "cost_usd", "status", "tenant_id", "failed", "user_id",
)  # fmt: skip


def said(*paths: Path) -> list[dict[str, Any]]:
    rows = call_rows(audit([str(path) for path in paths], PRODUCTION).calls)
    return sorted(({key: row[key] for key in KEYS} for row in rows), key=lambda row: str(row["span_id"]))


@pytest.mark.parametrize("name", FILES)
def test_every_form_of_the_dataframe_says_what_the_spans_say_as_otlp(name: str, tmp_path: Path) -> None:
    original = tmp_path / "spans.jsonl"
    lines = (SAMPLES / "otlp-openinference-openai.jsonl").read_text("utf-8").splitlines()
    original.write_text("\n".join(lines[:14]), "utf-8")

    # 14 requests, each a call above the client span of its HTTP request.
    assert len(said(original)) == 14
    assert said(PHOENIX / name) == said(original)


@pytest.mark.parametrize("name", FILES)
def test_no_row_is_rejected(name: str) -> None:
    (entry,) = audit([str(PHOENIX / name)], PRODUCTION).report.inputs

    assert (entry.rejected, entry.spans) == (0, 28)


def row(**changes: Any) -> dict[str, Any]:
    return {
        "name": "ChatCompletion",
        "span_kind": "LLM",
        "parent_id": None,
        "start_time": "2026-07-06T12:00:00.000000+00:00",
        "end_time": "2026-07-06T12:00:01.000000+00:00",
        "status_code": "OK",
        "context.span_id": "1" * 16,
        "context.trace_id": "2" * 32,
        "attributes.llm.model_name": "gpt-4o-mini",
        "attributes.llm.token_count.prompt": 229.0,
        "attributes.llm.token_count.completion": 21.0,
        "attributes.user.id": None,
        **changes,
    }


def audited(home: Path, *rows: Any) -> Any:
    path = home / "spans.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return audit([str(path)], PRODUCTION)


def test_counts_are_floats_and_absent_values_null(tmp_path: Path) -> None:
    (call,) = call_rows(audited(tmp_path, row()).calls)

    assert (call["input_tokens"], call["output_tokens"], call["usage_status"]) == (229, 21, "complete")
    assert (call["user_id"], call["operation"]) == (None, "chat")


def test_a_row_whose_counts_are_absent_is_unmetered_and_not_zero(tmp_path: Path) -> None:
    bare = row(**{f"attributes.llm.token_count.{kind}": None for kind in ("prompt", "completion")})

    (call,) = call_rows(audited(tmp_path, bare).calls)

    assert (call["input_tokens"], call["usage_status"]) == (None, "missing")


def test_sums_over_descendants_are_no_usage(tmp_path: Path) -> None:
    agent = row(
        **{
            "span_kind": "AGENT",
            "context.span_id": "3" * 16,
            "cumulative_llm_token_count_prompt": 229.0,
            "cumulative_llm_token_count_completion": 21.0,
            "attributes.llm.token_count.prompt": None,
            "attributes.llm.token_count.completion": None,
        }
    )

    report = audited(tmp_path, agent, row(parent_id="3" * 16)).report

    assert (report.totals.calls, report.totals.unmetered.calls) == (1, 0)


@pytest.mark.parametrize(
    "columns",
    [
        {"attributes.metadata": {"tenant_id": "acme", "prompt": "x" * 500}},
        {"attributes.metadata": json.dumps({"tenant_id": "acme"})},
        {"attributes.metadata.tenant_id": "acme"},
        {"attributes.tenant": {"id": "acme"}},
        {"attributes.tag.tags": ["tenant:acme"]},
    ],
)
def test_a_tenant_is_found_wherever_the_dataframe_puts_it(columns: dict[str, Any], tmp_path: Path) -> None:
    (call,) = call_rows(audited(tmp_path, row(**columns)).calls)

    assert (call["status"], call["tenant_id"]) == ("direct", "acme")


def test_both_vocabularies_on_one_row_are_not_added_up(tmp_path: Path) -> None:
    both = row(**{"attributes.gen_ai.usage.input_tokens": 229.0, "attributes.gen_ai.usage.output_tokens": 21.0})

    (call,) = call_rows(audited(tmp_path, both).calls)

    assert (call["input_tokens"], call["output_tokens"]) == (229, 21)


def test_answers_of_the_rest_api_are_read(tmp_path: Path) -> None:
    span = {
        "name": "ChatCompletion",
        "context": {"trace_id": "2" * 32, "span_id": "1" * 16},
        "span_kind": "LLM",
        "parent_id": None,
        "start_time": "2026-07-06T12:00:00+00:00",
        "end_time": "2026-07-06T12:00:01+00:00",
        "status_code": "ERROR",
        "attributes": {"llm.model_name": "gpt-4o-mini"},
        "events": [{"name": "exception", "attributes": {"exception.type": "RateLimitError"}}],
    }
    path = tmp_path / "answer.json"
    path.write_text(json.dumps({"data": [span], "next_cursor": None}))

    (call,) = call_rows(audit([str(path)], PRODUCTION).calls)

    assert (call["trace_id"], call["failed"], call["usage_status"]) == ("2" * 32, True, "not_billed")


def test_rows_that_lost_their_index_say_how_to_export_it(tmp_path: Path) -> None:
    lost = row()
    del lost["context.span_id"]

    report = audited(tmp_path, row(), lost).report

    assert [(place.line, place.reason) for place in report.inputs[0].rejections] == [(2, NO_SPAN_ID)]


def test_a_parquet_file_that_lost_its_index_names_the_column(tmp_path: Path) -> None:
    path = tmp_path / "spans.parquet"
    pq.write_table(pq.read_table(PHOENIX / "spans.parquet").drop_columns(["context.span_id"]), path)

    with pytest.raises(InputError, match=r"a Phoenix spans table without the columns context\.span_id$"):
        audit([str(path)], PRODUCTION)


def test_messages_and_documents_are_not_read_from_parquet(tmp_path: Path) -> None:
    table = pq.read_table(PHOENIX / "spans.parquet")
    assert pa.types.is_list(table.schema.field("attributes.llm.input_messages").type)
    broken = table.schema.get_field_index("attributes.llm.input_messages")
    path = tmp_path / "spans.parquet"
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    column = next(
        pq.ParquetFile(path).metadata.row_group(0).column(number)
        for number in range(pq.ParquetFile(path).metadata.num_columns)
        if pq.ParquetFile(path)
        .metadata.row_group(0)
        .column(number)
        .path_in_schema.startswith(table.column_names[broken])
    )
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = bytes(
        column.total_compressed_size
    )
    path.write_bytes(bytes(data))

    # The column cannot be read any more, and nobody misses it.
    assert said(path) == said(PHOENIX / "spans.parquet")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-07-06T12:00:00.5+00:00", 1_783_339_200_500_000_000),
        (1_783_339_200_500, 1_783_339_200_500_000_000),
        (1_783_339_200_500_000, 1_783_339_200_500_000_000),
        (1_783_339_200_500_000_000, 1_783_339_200_500_000_000),
        (None, 0),
        (True, 0),
    ],
)
def test_moments_of_every_unit_are_read(value: Any, expected: int) -> None:
    assert moment_of(value) == expected


@pytest.mark.parametrize(
    "value", [[], None, {"data": []}, {"context": {"trace_id": "0x1"}}, {"data": [{"context": {}, "name": "x"}]}]
)
def test_other_values_are_not_taken_for_phoenix(value: Any) -> None:
    assert not is_phoenix(value)


def test_texts_in_quotes_absent_values_and_numbers_as_times_are_read_on_any_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "name": "work",
        "span_kind": "CHAIN",
        "parent_id": None,
        "start_time": "2026-11-01T00:00:00.815282+00:00",
        "end_time": "2026-11-01T00:00:01.815282+00:00",
        "status_code": "OK",
        "events": [],
        "context.span_id": "1111111111111111",
        "context.trace_id": "22222222222222222222222222222222",
        "attributes.tenant.id": "acme",
    }
    odd = [
        {},
        {"span_kind": '"CHAIN"', "context.span_id": '"3333333333333333"'},
        {"start_time": 1793491200815, "end_time": None, "context.span_id": "4444444444444444"},
        {"attributes.tenant.id": None, "context.span_id": "5555555555555555"},
        {"span_kind": 7, "context.span_id": "6666666666666666"},
        {"attributes.tenant": {"id": "globex"}, "attributes.tenant.id": None, "context.span_id": "7777777777777777"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row | other) + "\n" for other in odd), "utf-8")

    found = spans_of(path)
    monkeypatch.setattr(PhoenixReader, "_usual", lambda *_: None)

    assert found == spans_of(path)
    moment = 1793491200815282000
    assert sorted((start, tenant) for start, tenant, _ in found.values()) == [
        (1793491200815000000, "acme"), (moment, ""), (moment, "acme"), (moment, "acme"), (moment, "acme"),
        (moment, "globex"),
    ]  # fmt: skip


def spans_of(path: Path) -> dict[int, tuple[int, str, str]]:
    (batch,) = load([str(path)], compile_lexicon()).batches
    return {
        key: (start, batch.tenants[tenant][0].value if tenant >= 0 else "", str(batch.places[place]))
        for key, start, tenant, place in zip(
            batch.key.tolist(), batch.start_ns.tolist(), batch.tenant, batch.place, strict=True
        )
    }
