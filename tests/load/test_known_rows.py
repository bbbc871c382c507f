"""Rows that are taken over as columns say what they say when they are read one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auditor.load import known_rows, load
from auditor.load.builder import BatchBuilder, count_of
from auditor.load.known_rows import KnownRows, Rest, Said, hex_column
from auditor.load.moments import iso_columns, iso_nanoseconds
from auditor.load.parquet_tables import ParquetReader, table_records
from auditor.load.text_values import decode_counts
from auditor.model.spans import MAX_COUNT
from auditor.normalise.vocabulary import compile_lexicon

LEXICON = compile_lexicon()
COUNT = 240
TENANTS = ("acme", "globex", "unknown", "initech", "")
START = 1_793_491_200_000_000_000
MODEL_CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}


def attributes(number: int) -> dict[str, str]:
    """What a span says: most are alike, some are calls, some carry ids, counts, prompts or what nobody knows."""
    told = {"db.system.name": "postgresql", "tenant.id": TENANTS[number % 5]}
    if number % 5 == 0:
        told |= {"http.route": "/ask", "shop.customer": f"customer {number}"}
    if number % 6 == 1:
        told |= {"url.full": "https://api.openai.com/v1/chat/completions", "http.request.method": "POST"}
    if number % 7 == 0:
        told["session.id"] = f"conversation {number}"
    if number % 8 == 3:
        told |= MODEL_CALL
    if number % 8 == 5:
        told |= MODEL_CALL | {"gen_ai.usage.input_tokens": str(number), "gen_ai.input.messages": "[]" * number}
    if number % 9 == 0:
        told["error.type"] = "timeout"
    if number % 20 == 7:
        told["gen_ai.usage.hidden_tokens"] = "3"
    return told


def ids(number: int) -> tuple[str | None, str | None, str | None]:
    """Trace, span and parent; those of some rows are odd."""
    trace, span, parent = f"{number // 4 + 1:032x}", f"{number + 1:016x}", f"{number:016x}"
    match number:
        case 100:
            return trace, span.upper(), ""
        case 101:
            return trace, None, parent
        case 102:
            return "0" * 32, span, parent
        case 103:
            return "no id", span, parent
        case 104:
            return trace, f"{number + 1:x}", None
        case 105:
            return trace, span, "x" * 16
    return trace, span, None if number % 10 == 0 else parent


def clickhouse(numbers: Sequence[int]) -> pa.Table:
    maps = pa.map_(pa.string(), pa.string())
    rows = [list(attributes(number).items()) for number in numbers]
    rows[90] = [("tenant.id", "acme"), ("tenant.id", "globex")]
    resources = [
        {"service.name": f"web {number % 3}", "deployment.environment.name": "production"} for number in numbers
    ]
    kinds = ("Server", "Client", "Internal", None)
    return pa.table(
        {
            "Timestamp": pa.array(
                [None if number == 110 else START + number for number in numbers], pa.timestamp("ns")
            ),
            "TraceId": [ids(number)[0] for number in numbers],
            "SpanId": [ids(number)[1] for number in numbers],
            "ParentSpanId": [ids(number)[2] for number in numbers],
            "SpanKind": [kinds[number % 4] for number in numbers],
            "ServiceName": [f"web {number % 3}" for number in numbers],
            "ScopeName": ["psycopg" if number % 2 else "" for number in numbers],
            "ResourceAttributes": pa.array([list(resource.items()) for resource in resources], maps),
            "SpanAttributes": pa.array([None if at == 111 else row for at, row in enumerate(rows)], maps),
            "Duration": pa.array([1_000_000] * len(rows), pa.uint64()),
            "StatusCode": ["Error" if number % 11 == 0 else "Unset" for number in numbers],
            "Events.Name": [["gen_ai.choice.chunk"] if number % 13 == 0 else [] for number in numbers],
            "Links.TraceId": [[f"{1:032x}"] if number % 17 == 0 else [] for number in numbers],
            "Links.SpanId": [[f"{1:016x}"] if number % 17 == 0 else [] for number in numbers],
        }
    )


def phoenix(numbers: Sequence[int]) -> pa.Table:
    keys = {key for number in numbers for key in attributes(number)}
    columns: dict[str, Any] = {
        "context.trace_id": [ids(number)[0] for number in numbers],
        "context.span_id": [ids(number)[1] for number in numbers],
        "parent_id": [ids(number)[2] for number in numbers],
        "span_kind": ["CHAIN" if number % 3 else "UNKNOWN" for number in numbers],
        "status_code": ["ERROR" if number % 11 == 0 else "OK" for number in numbers],
        "start_time": pa.array([START + number for number in numbers], pa.timestamp("ns", tz="UTC")),
        "end_time": pa.array([START + 10**6 for _ in numbers], pa.timestamp("ns", tz="UTC")),
        "events": [[{"name": "chunk"}] if number % 13 == 0 else [] for number in numbers],
        "attributes.metadata": [{"user_id": "u"} if number % 19 == 0 else None for number in numbers],
        "attributes.llm.token_count.total": [float(number) if number % 23 == 0 else None for number in numbers],
    }
    columns |= {f"attributes.{key}": [attributes(number).get(key) for number in numbers] for key in sorted(keys)}
    return pa.table(columns)


def said(path: Path) -> tuple[Any, ...]:
    """All that was read of an input, whatever the order of its rows."""
    loaded = load([str(path)], LEXICON)
    rows: list[tuple[Any, ...]] = []
    for batch in loaded.batches:
        keys = batch.key.tolist()
        rows += [
            (key, int(parent), str(batch.places[place]), str(batch.tenants[tenant]) if tenant >= 0 else "", int(start))
            for key, parent, place, tenant, start in zip(
                keys, batch.parent, batch.place, batch.tenant, batch.start_ns, strict=True
            )
        ]
        calls = zip(batch.call_row, batch.call_facts, batch.tokens, batch.call_user, batch.call_line, strict=True)
        rows += [
            (keys[row], str(batch.facts[facts]), tokens.tolist(), int(user), int(line))
            for row, facts, tokens, user, line in calls
        ]
        rows += [
            (keys[row], int(kind), int(hashed))
            for row, kind, hashed in zip(batch.id_row, batch.id_kind, batch.id_hash, strict=True)
        ]
        rows += [(keys[row], int(link)) for row, link in zip(batch.link_row, batch.link_key, strict=True)]
    (entry,) = loaded.inputs
    rejected = [(rejection.line, rejection.reason) for rejection in entry.rejections]
    return sorted(map(repr, rows)), rejected, entry.records, loaded.sample, entry.unread_usage


def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows are taken over as columns, piece by piece."""
    found: list[int] = []
    take = KnownRows.take

    def watched(self: KnownRows, rows: Said, *given: Any) -> Rest:
        rest = take(self, rows, *given)
        found.append(rows.count - len(rest.rows))
        return rest

    monkeypatch.setattr(KnownRows, "take", watched)
    return found


def none_of_them(_: KnownRows, rows: Said, *__: Any) -> Rest:
    return Rest(np.arange(rows.count), [None] * rows.count)


@pytest.mark.parametrize("table", [clickhouse, phoenix])
@pytest.mark.parametrize(("sample", "values"), [(1, 1 << 15), (512, 1 << 15), (1, 3)])
def test_rows_that_are_taken_over_as_columns_say_what_they_say_one_by_one(
    table: Any, sample: int, values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.load.builder.SAMPLE_SIZE", sample)
    monkeypatch.setattr(known_rows, "CACHED_VALUES", values)
    monkeypatch.setattr(known_rows, "FIRST_STEP", 8)
    path = tmp_path / "rows.parquet"
    pq.write_table(table(range(COUNT)), path, row_group_size=70)
    counted = taken(monkeypatch)
    found = said(path)
    monkeypatch.setattr(KnownRows, "take", none_of_them)

    assert found == said(path)
    assert sum(counted)


@pytest.mark.parametrize("table", [clickhouse, phoenix])
def test_most_rows_are_taken_over_once_some_were_read(
    table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_rows, "FIRST_STEP", 64)
    path = tmp_path / "rows.parquet"
    plain = [{"db.system.name": "postgresql", "tenant.id": "acme"}] * 400
    monkeypatch.setitem(globals(), "attributes", plain.__getitem__)
    monkeypatch.setitem(globals(), "ids", lambda at: (f"{1:032x}", f"{at + 1:016x}", None))
    rows = table(range(400))
    for name in ("Events.Name", "Links.TraceId", "Links.SpanId", "events", "attributes.metadata"):
        if name in rows.column_names:
            rows = rows.drop_columns([name])
    pq.write_table(rows.drop_columns([n for n in rows.column_names if "token_count" in n]), path)
    counted = taken(monkeypatch)

    said(path)

    first, second, *_ = counted
    assert first == 0
    assert second > 64


def test_a_row_of_a_table_that_lacks_what_is_needed_is_rejected_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(clickhouse(range(COUNT)), path)

    _, rejected, records, _, _ = said(path)

    assert (111, "a row without Timestamp") in rejected
    assert (112, "a row without SpanAttributes") in rejected
    assert (102, "a row without SpanId") in rejected
    assert [line for line, _ in rejected] == [102, 103, 104, 111, 112]
    assert records == COUNT


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_ids_are_read_as_columns(kind: pa.DataType) -> None:
    texts = ["00000000000000ff", None, "", "ABCDEF0123456789", "12", "123456789012345678"]

    found, is_readable = hex_column(pa.array(["left out", *texts], kind).slice(1), 8)

    assert found[:, 0].tolist() == [255, 0, 0, 0xABCDEF0123456789, 0, 0]
    assert is_readable.tolist() == [True, True, True, True, False, False]


def test_a_column_with_an_id_that_is_no_hex_is_left_to_be_read_one_by_one() -> None:
    _, is_readable = hex_column(pa.array(["00000000000000ff", "0000000000 000ff", None]), 8)

    assert is_readable.tolist() == [False, False, True]


@pytest.mark.parametrize(
    "texts",
    [
        ["2026-11-01 00:00:00.815282929", "2026-11-21 23:59:59.000000001"],
        ["2026-11-01T00:00:00.815282+00:00", "2026-12-31T23:59:59.000001+00:00"],
        ["2026-11-01T00:00:00.815282+00:00", "2026-12-31T23:59:59.000001+01:00"],
        ["2026-11-01T00:00:00.815282Z", "2026-12-31 23:59:59.000001Z"],
        ["2026-11-01_00:00:00.815282", "2026-13-01T00:00:00.815282", None, "", 12],
    ],
)
def test_moments_of_a_column_are_those_of_its_texts(texts: list[Any]) -> None:
    assert iso_columns(texts) == [[iso_nanoseconds(text) for text in texts]]
    assert iso_columns(texts[:1]) == [[iso_nanoseconds(texts[0])]]


@pytest.mark.parametrize(
    "raw", ["12", '"12"', "12.0", '"12.0"', '"1e3"', '"-0"', "0.5", "-1", "true", '""', "null", '" 1"', "[5]", '"٣"']
)
def test_a_count_that_is_read_at_once_is_the_count_that_it_is(raw: str) -> None:
    found = decode_counts([raw.encode()])  # type: ignore[list-item]  # bytes are as good

    assert found is None or found == [count_of(json.loads(raw))]


def test_counts_beyond_the_largest_one_take_a_closer_look() -> None:
    assert decode_counts([str(MAX_COUNT).encode(), b"0"]) == [MAX_COUNT, 0]  # type: ignore[list-item]  # as above
    assert decode_counts([str(MAX_COUNT + 1).encode(), b"0"]) is None  # type: ignore[list-item]  # as above


def test_rows_without_places_have_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_rows, "FIRST_STEP", 8)
    builder = BatchBuilder(LEXICON)
    reader = ParquetReader(builder)

    for record, line, byte in table_records(clickhouse(range(COUNT)).combine_chunks().to_batches()[0]):
        reader.read(record, line, byte)
    reader.finish()

    assert set(builder.call_line) == {0}
    assert {entry.line for entry in builder.rejections} == {0}
