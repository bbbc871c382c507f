"""``otel_traces`` in a DuckDB database: ``duckdb:///file.db?table=otel_traces``.

The database is opened for reading only and gives ids, times and names, and of the maps only the entries whose keys
somebody asks for: SQL leaves everything else, prompts first, where it is. Rows come as columns, as from Parquet.
Needs the extra ``duckdb``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from auditor.errors import InputError
from auditor.load.clickhouse import NEEDED
from auditor.load.parquet import PIECE, record_of
from auditor.load.sources import DUCKDB_AT, DUCKDB_MAGIC, DUCKDB_TABLE, BrokenFrameError, Opened, Record, extra

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "ServiceName", "ScopeName", "StatusCode")
OTHERS = ("Timestamp", "Duration", "Events.Name", "Links.TraceId", "Links.SpanId")
MAPS = ("ResourceAttributes", "SpanAttributes")
EVENTS = "Events.Attributes"
RESOURCE_KEYS = ("service.name", "service.instance.id", "telemetry.sdk.language")
_MAP = "MAP(VARCHAR, VARCHAR)"


def is_duckdb(head: bytes) -> bool:
    """Say whether an input is a database file: its magic follows the checksum of the first block."""
    return head[DUCKDB_AT : DUCKDB_AT + len(DUCKDB_MAGIC)] == DUCKDB_MAGIC


def duckdb_records(opened: Opened) -> Iterator[Record]:
    """Yield the rows of the table, some thousands in each record, with the number of the first of them.

    Raises ``InputError`` when the database cannot be opened, or the table or columns of it are missing: it names
    them.
    """
    source = opened.source
    duckdb = extra("duckdb", "duckdb", source.name, "a DuckDB database")
    if source.path is None or not opened.is_plain_file:
        raise InputError(f"{source.name}: a DuckDB database is read from a file, not compressed or through a pipe")
    pa = extra("pyarrow", "duckdb", source.name, "a DuckDB database")
    number = 0
    try:
        with duckdb.connect(str(source.path), read_only=True) as database:
            sql, keys = _select(database, source.table or DUCKDB_TABLE, opened)
            answer = database.sql(sql, params=keys)
            # Older versions have another name for it.
            read = getattr(answer, "to_arrow_reader", None) or answer.fetch_arrow_reader
            for rows in read(PIECE):
                opened.line = number + 1
                yield record_of(_with_maps(rows)), number + 1, 0
                number += rows.num_rows
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        text = f"DuckDB: {str(error).splitlines()[0][:200]}"
        if number:
            raise BrokenFrameError(text) from error
        raise InputError(f"{source.name}: {text}") from error


def _select(database: Any, table: str, opened: Opened) -> tuple[str, list[Any]]:
    """The query, and its parameters."""
    quoted = ".".join(map(_quoted, table.split(".")))
    types = {name: kind for name, kind, *_ in database.execute(f"DESCRIBE {quoted}").fetchall()}
    missing = [name for name in NEEDED if name not in types]
    if missing:
        raise InputError(f"{opened.source.name}: the table {table} has no columns {', '.join(missing)}")
    fields = {name: f"{_quoted(name)}::VARCHAR" for name in TEXTS if name in types}
    fields |= {name: _quoted(name) for name in OTHERS if name in types}
    parameters: list[Any] = []
    keys = sorted({*opened.keys, *RESOURCE_KEYS})
    for name in MAPS:
        if name in types:
            fields[name] = _sifted(name, types[name], opened)
            parameters.append(_present(database, quoted, name, types[name], keys))
    if types.get(EVENTS) == f"{_MAP}[]":
        fields[EVENTS] = f"[[e FOR e IN map_entries(m) IF list_contains(?, e.key)] FOR m IN {_quoted(EVENTS)}]"
        parameters.append(keys)
    columns = ", ".join(f"{field} AS {_quoted(name)}" for name, field in fields.items())
    return f"SELECT {columns} FROM {quoted}", parameters  # noqa: S608  # quoted above


def _with_maps(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Entries of maps, which are quicker to sift as lists, as maps again."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when rows are

    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    for name in (*MAPS, EVENTS):
        column = columns.get(name)
        if column is not None and pa.types.is_list(column.type):
            columns[name] = _maps_of(column)
    return pa.RecordBatch.from_pydict(columns)


def _maps_of(column: pa.Array) -> pa.Array:
    """Lists of entries, or lists of these, with maps in their place."""
    import pyarrow as pa  # noqa: PLC0415

    inner: pa.Array = column.values
    if pa.types.is_list(inner.type):
        inner = _maps_of(inner)
        kind = pa.list_(inner.type)
    else:
        keys, values = inner.flatten()
        # The field says what DuckDB does not: that a key is never null.
        fields = [pa.field("key", keys.type, nullable=False), pa.field("value", values.type)]
        inner = pa.StructArray.from_arrays([keys, values], fields=fields)
        kind = pa.map_(keys.type, values.type)
    return pa.Array.from_buffers(kind, len(column), column.buffers()[:2], offset=column.offset, children=[inner])


def _present(database: Any, table: str, name: str, kind: str, keys: list[str]) -> list[str]:
    """Those of the keys that are anywhere in a column of maps: looking each entry up among all of them costs more."""
    if not kind.startswith("MAP("):
        return keys
    distinct = f"SELECT DISTINCT unnest(map_keys({_quoted(name)})) FROM {table}"  # noqa: S608  # quoted by the caller
    return sorted({str(key) for (key,) in database.execute(distinct).fetchall()}.intersection(keys))


def _sifted(name: str, kind: str, opened: Opened) -> str:
    """The entries of a map that somebody asks for: as a list, or as the text of an object."""
    column = _quoted(name)
    if kind.startswith("MAP("):
        return f"[e FOR e IN map_entries({column}) IF list_contains(?, e.key)]"
    if kind in {"JSON", "VARCHAR"}:
        value = f"json_extract({column}, '$.\"' || k || '\"')"
        entries = f"[{_entry('k', value)} FOR k IN json_keys({column}) IF list_contains(?, k)]"
        return f"'{{' || array_to_string({entries}, ',') || '}}'"
    raise InputError(f"{opened.source.name}: the column {name} is {kind.partition('(')[0]}: a map or JSON is read")


def _entry(key: str, value: str) -> str:
    return f"concat(to_json({key}), ':', coalesce(to_json({value}), 'null'))"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
