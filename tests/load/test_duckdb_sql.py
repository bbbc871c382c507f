"""A table in a DuckDB database says what the same table says as Parquet, and gives away nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from auditor.errors import InputError, SettingsError
from auditor.ledger.calls import call_rows
from auditor.load import duckdb_sql
from auditor.load.parquet import batch_of
from auditor.load.sources import Opened, find
from auditor.pipeline import audit
from auditor.settings import Internal, Settings

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
OTEL_TRACES = SAMPLES / "clickhouse" / "otel_traces.parquet"
PRODUCTION = Settings(internal=Internal(environments=()))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def database(select: str = "*", table: str = "otel_traces", name: str = "spans.db") -> Path:
    with duckdb.connect(name) as opened:
        opened.execute(f"CREATE TABLE {table} AS SELECT {select} FROM '{OTEL_TRACES}'")
    return Path(name).resolve()


def audited(source: Any, settings: Settings = PRODUCTION) -> Any:
    return audit([str(source)], settings)


WANTED = audit([str(OTEL_TRACES)], PRODUCTION)


def said(done: Any) -> list[dict[str, Any]]:
    return list(call_rows(done.calls))


@pytest.mark.parametrize("name", ["duckdb:///spans.db?table=otel_traces", "duckdb:///spans.db", "spans.db"])
def test_a_table_says_what_it_says_as_parquet(name: str) -> None:
    database()

    found = audited(name)

    assert found.report.inputs[0].format == "duckdb"
    assert said(found) == said(WANTED)
    assert found.report.totals == WANTED.report.totals


def test_the_path_may_be_absolute_and_the_table_named_anything() -> None:
    path = database(table='"my ""spans"""')

    assert said(audited(f'duckdb:///{path}?table=my "spans"')) == said(WANTED)
    assert said(audited(f"duckdb://{path}?table=my%20%22spans%22")) == said(WANTED)


def test_a_table_of_a_schema_is_found() -> None:
    with duckdb.connect("spans.db") as opened:
        opened.execute("CREATE SCHEMA tracing")
        opened.execute(f"CREATE TABLE tracing.spans AS FROM '{OTEL_TRACES}'")

    assert said(audited("duckdb:///spans.db?table=tracing.spans")) == said(WANTED)


@pytest.mark.parametrize("kind", ["JSON", "VARCHAR"])
def test_attributes_may_be_json(kind: str) -> None:
    maps = ", ".join(f"to_json({name})::{kind} AS {name}" for name in ("SpanAttributes", "ResourceAttributes"))
    database(f"* REPLACE ({maps})")

    assert said(audited("spans.db")) == said(WANTED)


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP_NS", "VARCHAR"])
def test_the_start_may_have_any_type(kind: str) -> None:
    database(f'* REPLACE ("Timestamp"::TIMESTAMP_NS::{kind} AS "Timestamp")')

    times = [row["time"][:23] for row in said(audited("spans.db"))]

    assert times == [row["time"][:23] for row in said(WANTED)]


def test_only_keys_that_somebody_asks_for_leave_the_store() -> None:
    database("* REPLACE (map_concat(SpanAttributes, map {'my.tenant': 'x', 'other': 'y'}) AS SpanAttributes)")
    (source,) = find(["duckdb:///spans.db"])

    opened = Opened(source, {"my.tenant", "tenant.id"})
    rows = [row for piece, _, _ in duckdb_sql.duckdb_records(opened) for row in batch_of(piece).to_pylist()]
    opened.close()

    assert {key for row in rows for key, _ in row["SpanAttributes"]} == {"my.tenant", "tenant.id"}
    assert {key for row in rows for key, _ in row["ResourceAttributes"]} <= set(duckdb_sql.RESOURCE_KEYS)
    assert all(attributes == [] for row in rows for attributes in row["Events.Attributes"])


def test_a_tenant_key_of_the_settings_is_asked_for() -> None:
    database("* REPLACE (map_concat(SpanAttributes, map {'my.owner': 'globex'}) AS SpanAttributes)")

    done = audited("spans.db", Settings(internal=Internal(environments=()), tenant_keys=("my.owner",)))

    assert {row["tenant_id"] for row in said(done)} == {"globex"}


def test_the_database_is_not_written_to() -> None:
    path = database()
    before = path.read_bytes()
    path.chmod(0o444)

    audited("duckdb:///spans.db")

    assert path.read_bytes() == before
    assert sorted(found.name for found in Path().iterdir()) == ["spans.db"]


# -- what cannot be read -----------------------------------------------------------------------------


def test_missing_columns_are_named() -> None:
    database('* EXCLUDE (SpanAttributes, "Timestamp")')

    with pytest.raises(InputError, match=r"the table otel_traces has no columns Timestamp, SpanAttributes$"):
        audited("duckdb:///spans.db")


def test_a_missing_table_is_named() -> None:
    database()

    with pytest.raises(InputError, match=r"DuckDB: Catalog Error: Table with name spans does not exist"):
        audited("duckdb:///spans.db?table=spans")


def test_attributes_of_another_type_are_refused() -> None:
    database("* REPLACE ({'a': 1} AS SpanAttributes)")

    with pytest.raises(InputError, match=r"the column SpanAttributes is STRUCT: a map or JSON is read"):
        audited("spans.db")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("duckdb:///nothing.db", "No such file or directory"),
        ("duckdb:///plain.txt", "not a DuckDB database"),
        ("duckdb:///spans.db?tabel=x", "not of the form duckdb:///FILE\\?table=TABLE"),
        ("duckdb://host/spans.db", "not of the form"),
        ("duckdb:spans.db", "not of the form"),
    ],
)
def test_an_address_that_leads_nowhere_is_an_error(name: str, message: str) -> None:
    Path("plain.txt").write_text("nothing of the kind\n")
    database()

    with pytest.raises(InputError, match=message):
        audited(name)


def test_a_damaged_database_is_an_error_in_one_line() -> None:
    path = database()
    path.write_bytes(path.read_bytes()[:5000])

    with pytest.raises(InputError, match=r"^[^\n]*DuckDB: [^\n]+$"):
        audited("spans.db")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    database()
    monkeypatch.setitem(sys.modules, "duckdb", None)

    with pytest.raises(SettingsError, match="reading a DuckDB database needs the duckdb extra") as caught:
        audited("spans.db")

    assert caught.value.hint == "pip install 'trace-auditor[duckdb]'"
