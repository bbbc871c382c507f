"""Parquet: which table a file holds, what it lacks, and rows that say what they say as JSON."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from auditor.errors import InputError, SettingsError
from auditor.ledger.calls import call_rows
from auditor.load import parquet as tables
from auditor.load.clickhouse_parquet import ClickHouseParquetReader
from auditor.pipeline import audit
from auditor.report.json_v1 import digest
from auditor.settings import Internal, Settings

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
OTEL_TRACES = SAMPLES / "clickhouse" / "otel_traces.parquet"
PRODUCTION = Settings(internal=Internal(environments=()))


def digest_of(*paths: Path) -> str:
    return digest(audit([str(path) for path in paths], PRODUCTION).report)


def stored(home: Path, table: pa.Table, name: str = "table.parquet", **options: Any) -> Path:
    path = home / name
    pq.write_table(table, path, **options)
    return path


def lines_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / "products" / name).read_text("utf-8").splitlines()]


# -- otel_traces -------------------------------------------------------------------------------------


def test_row_groups_of_any_size_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pq.read_table(OTEL_TRACES)
    monkeypatch.setattr(tables, "PIECE", 2)

    path = stored(tmp_path, table, row_group_size=3)

    assert pq.ParquetFile(path).num_row_groups == 8
    assert digest_of(path) == digest_of(OTEL_TRACES)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_texts_may_be_bytes_or_numbered(kind: pa.DataType, tmp_path: Path) -> None:
    table = pq.read_table(OTEL_TRACES)
    for name in ("TraceId", "SpanId", "ParentSpanId", "SpanKind", "ServiceName", "StatusCode", "ScopeName"):
        column = table[name].dictionary_encode() if pa.types.is_dictionary(kind) else table[name].cast(kind)
        table = table.set_column(table.schema.get_field_index(name), name, column)

    assert digest_of(stored(tmp_path, table)) == digest_of(OTEL_TRACES)


def test_maps_of_bytes_are_read(tmp_path: Path) -> None:
    # What ClickHouse writes with output_format_parquet_string_as_string = 0.
    table = pq.read_table(OTEL_TRACES)
    for name in ("SpanAttributes", "ResourceAttributes"):
        rows = [[(key.encode(), value.encode()) for key, value in row] for row in table[name].to_pylist()]
        column = pa.array(rows, pa.map_(pa.binary(), pa.binary()))
        table = table.set_column(table.schema.get_field_index(name), name, column)

    assert digest_of(stored(tmp_path, table)) == digest_of(OTEL_TRACES)


@pytest.mark.parametrize("form", ["text", "milliseconds"])
def test_the_start_may_be_a_text_or_coarser(form: str, tmp_path: Path) -> None:
    table = pq.read_table(OTEL_TRACES)
    column = table["Timestamp"].cast(pa.string() if form == "text" else pa.timestamp("ms", tz="UTC"), safe=False)
    table = table.set_column(table.schema.get_field_index("Timestamp"), "Timestamp", column)

    rows = call_rows(audit([str(stored(tmp_path, table))], PRODUCTION).calls)
    wanted = call_rows(audit([str(OTEL_TRACES)], PRODUCTION).calls)

    assert [row["time"][:23] for row in rows] == [row["time"][:23] for row in wanted]


def test_attributes_as_text_are_opened(tmp_path: Path) -> None:
    table = pq.read_table(OTEL_TRACES)
    for name in ("SpanAttributes", "ResourceAttributes"):
        texts = [json.dumps(dict(row)) for row in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(texts))

    assert digest_of(stored(tmp_path, table)) == digest_of(OTEL_TRACES)


def test_prompts_do_not_become_python_values() -> None:
    seen: list[str] = []
    original = ClickHouseParquetReader._attributes

    def watched(self: Any, column: Any, ids: Any) -> Any:
        for pairs in original(self, column, ids):
            seen.extend(bytes(pair.value).decode() for pair in pairs if pair.key not in self._spans.codes)
            yield pairs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClickHouseParquetReader, "_attributes", watched)
        audit([str(OTEL_TRACES)], PRODUCTION)

    assert seen
    assert max(map(len, seen)) <= 130


def test_missing_columns_are_named(tmp_path: Path) -> None:
    table = pq.read_table(OTEL_TRACES).drop_columns(["SpanAttributes", "Timestamp"])

    with pytest.raises(InputError, match=r"a otel_traces table without the columns Timestamp, SpanAttributes$"):
        audit([str(stored(tmp_path, table))], PRODUCTION)


def test_columns_that_an_audit_can_do_without_may_be_missing(tmp_path: Path) -> None:
    gone = ["Events.Name", "Events.Attributes", "Links.TraceId", "Links.SpanId", "ScopeName", "StatusCode", "SpanName"]

    report = audit([str(stored(tmp_path, pq.read_table(OTEL_TRACES).drop_columns(gone)))], PRODUCTION).report

    assert report.totals.calls == 7


# -- other tables ------------------------------------------------------------------------------------


def test_langsmith_runs_say_what_they_say_as_json(tmp_path: Path) -> None:
    rows = lines_of("langsmith_runs.jsonl")
    for row in rows:
        # The bulk export writes nested values as JSON texts, and times as moments.
        row.update({key: json.dumps(row[key]) for key in ("extra", "inputs", "outputs", "prompt_token_details")})
        del row["parent_run_ids"], row["prompt_cost"], row["completion_cost"]
    table = pa.Table.from_pylist(rows)
    for name in ("start_time", "end_time"):
        moments = pc.strptime(pc.utf8_slice_codeunits(table[name], 0, 19), "%Y-%m-%dT%H:%M:%S", "us")
        table = table.set_column(table.schema.get_field_index(name), name, moments)

    found = audit([str(stored(tmp_path, table))], PRODUCTION)
    wanted = audit([str(SAMPLES / "products" / "langsmith_runs.jsonl")], PRODUCTION)

    keys = ("span_id", "input_tokens", "cache_read_tokens", "output_tokens", "status", "tenant_id", "cost_usd")
    said = [[{key: row[key] for key in keys} for row in call_rows(entry.calls)] for entry in (found, wanted)]
    assert said[0] == said[1]
    assert found.report.inputs[0].start_ns == 1_783_339_201_000_000_000  # 2026-07-06T12:00:01Z


def test_langfuse_blob_tables_say_what_they_say_as_json(tmp_path: Path) -> None:
    paths = []
    for name in ("langfuse_blob_observations", "langfuse_blob_traces"):
        rows = lines_of(f"{name}.jsonl")
        maps = {"metadata": pa.string(), "usage_details": pa.int64()}
        plain = [{key: row[key] for key in row if key not in {*maps, "cost_details"}} for row in rows]
        table = pa.Table.from_pylist(plain)
        for key, value in maps.items():
            if key in rows[0]:
                entries = [list(row[key].items()) for row in rows]
                table = table.append_column(key, pa.array(entries, pa.map_(pa.string(), value)))
        paths.append(stored(tmp_path, table, f"{name}.parquet"))
    wanted = [SAMPLES / "products" / f"{path.stem}.jsonl" for path in paths]

    assert digest_of(*paths) == digest_of(*wanted)


# -- what cannot be read -----------------------------------------------------------------------------


def test_a_table_of_something_else_is_refused_with_its_columns(tmp_path: Path) -> None:
    path = stored(tmp_path, pa.table({"city": ["Bern"], "people": [134_000]}))

    with pytest.raises(InputError, match=r"none of the tables that are read here \(columns: city, people\)"):
        audit([str(path)], PRODUCTION)


@pytest.mark.parametrize("size", [4, 100, 9000])
def test_a_truncated_file_is_an_error_in_one_line(size: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.parquet"
    path.write_bytes(OTEL_TRACES.read_bytes()[:size])

    with pytest.raises(InputError, match=r"cut\.parquet: Parquet that cannot be read: [^\n]+$"):
        audit([str(path)], PRODUCTION)


def test_a_damaged_page_leaves_what_came_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PIECE", 1)
    path = stored(tmp_path, pq.read_table(OTEL_TRACES), row_group_size=11, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(1)
    data = bytearray(path.read_bytes())
    start = column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(data))

    report = audit([str(path)], PRODUCTION).report

    assert (report.inputs[0].records, report.inputs[0].rejected) == (11, 1)
    assert report.inputs[0].rejections[0].reason.startswith("the Parquet breaks off after row 11: ")


def test_a_compressed_file_is_held_whole_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet.gz"
    path.write_bytes(gzip.compress(OTEL_TRACES.read_bytes()))

    assert digest_of(path) == digest_of(OTEL_TRACES)

    monkeypatch.setattr(tables, "MAX_BUFFERED", 1 << 10)
    with pytest.raises(InputError, match="compressed or piped Parquet above"):
        audit([str(path)], PRODUCTION)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(SettingsError, match="reading Parquet needs the parquet extra") as caught:
        audit([str(OTEL_TRACES)], PRODUCTION)

    assert caught.value.hint == "pip install 'trace-auditor[parquet]'"
