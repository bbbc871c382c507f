"""``otel_traces`` in a DuckDB database: ``duckdb:///file.db?table=otel_traces``.

The database is opened for reading only and gives ids, times and names, and of the maps only the entries whose keys
somebody asks for: SQL leaves everything else, prompts first, where it is. Rows come as ClickHouse would write them.
Needs the extra ``duckdb``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditor.errors import InputError
from auditor.load.clickhouse import NEEDED
from auditor.load.sources import DUCKDB_AT, DUCKDB_MAGIC, DUCKDB_TABLE, BrokenFrameError, Opened, Record, extra

ROWS = 1024
"""Rows that are fetched at a time."""
PLAIN = ("TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind", "ServiceName", "ScopeName", "StatusCode")
LISTS = ("Events.Name", "Links.TraceId", "Links.SpanId")
MAPS = ("ResourceAttributes", "SpanAttributes")
RESOURCE_KEYS = ("service.name", "service.instance.id", "telemetry.sdk.language")
_MAP = "MAP(VARCHAR, VARCHAR)"
_BRACES = (("null", "{"), ("", "}"))
"""What begins and ends the text of a map that is missing, and of one that is there."""


def is_duckdb(head: bytes) -> bool:
    """Say whether an input is a database file: its magic follows the checksum of the first block."""
    return head[DUCKDB_AT : DUCKDB_AT + len(DUCKDB_MAGIC)] == DUCKDB_MAGIC


def duckdb_records(opened: Opened) -> Iterator[Record]:
    """Yield the rows of the table, each as one JSON value with its number.

    Raises ``InputError`` when the database cannot be opened, or the table or columns of it are missing: it names
    them.
    """
    source = opened.source
    duckdb = extra("duckdb", "duckdb", source.name, "a DuckDB database")
    if source.path is None or not opened.is_plain_file:
        raise InputError(f"{source.name}: a DuckDB database is read from a file, not compressed or through a pipe")
    number = 0
    try:
        with duckdb.connect(str(source.path), read_only=True) as database:
            sql, keys = _select(database, source.table or DUCKDB_TABLE, opened)
            answer = database.execute(sql, keys)
            while rows := answer.fetchmany(ROWS):
                for (row,) in rows:
                    number += 1
                    opened.line = number
                    yield row, number, 0
    except duckdb.Error as error:
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
    parts = []
    parameters: list[Any] = []
    keys = sorted({*opened.keys, *RESOURCE_KEYS})
    for name in MAPS:
        if name in types:
            parts += [_text(f'"{name}":'), _sifted(name, types[name], opened), _text(",")]
            parameters.append(_present(database, quoted, name, types[name], keys))
    fields = [f"{_text(name)}: {_moment(name, types[name])}" for name in ("Timestamp",)]
    fields += [f"{_text(name)}: {_quoted(name)}" for name in (*PLAIN, "Duration", *LISTS) if name in types]
    events = "Events.Attributes"
    if types.get(events) == f"{_MAP}[]":
        inner = "map_from_entries([e FOR e IN map_entries(m) IF list_contains(?, e.key)])"
        fields.append(f"{_text(events)}: [{inner} FOR m IN {_quoted(events)}]")
        parameters.append(keys)
    # The object of the other columns goes on after the maps: of these, texts are made at half the cost of an object.
    columns = f"ltrim(to_json({{{', '.join(fields)}}})::VARCHAR, '{{')"
    row = f"concat({', '.join([_text('{'), *parts, columns])})"
    return f"SELECT encode({row}) FROM {quoted}", parameters  # noqa: S608  # quoted above


def _present(database: Any, table: str, name: str, kind: str, keys: list[str]) -> list[str]:
    """Those of the keys that are anywhere in a column of maps: looking each entry up among all of them costs more."""
    if not kind.startswith("MAP("):
        return keys
    distinct = f"SELECT DISTINCT unnest(map_keys({_quoted(name)})) FROM {table}"  # noqa: S608  # quoted by the caller
    return sorted({str(key) for (key,) in database.execute(distinct).fetchall()}.intersection(keys))


def _moment(name: str, kind: str) -> str:
    return f"epoch_ns({_quoted(name)})" if kind.startswith("TIMESTAMP") else _quoted(name)


def _sifted(name: str, kind: str, opened: Opened) -> str:
    """The entries of a map that somebody asks for, as the text of an object; ``null`` where there is no map."""
    column = _quoted(name)
    if kind.startswith("MAP("):
        entries = f"[{_entry('e.key', 'e.value')} FOR e IN map_entries({column}) IF list_contains(?, e.key)]"
    elif kind in {"JSON", "VARCHAR"}:
        value = f"json_extract({column}, '$.\"' || k || '\"')"
        entries = f"[{_entry('k', value)} FOR k IN json_keys({column}) IF list_contains(?, k)]"
    else:
        raise InputError(f"{opened.source.name}: the column {name} is {kind.partition('(')[0]}: a map or JSON is read")
    opening, closing = (f"CASE WHEN {column} IS NULL THEN '{void}' ELSE '{mark}' END" for void, mark in _BRACES)
    return f"concat({opening}, array_to_string({entries}, ','), {closing})"


def _entry(key: str, value: str) -> str:
    return f"concat(to_json({key}), ':', coalesce(to_json({value}), 'null'))"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
