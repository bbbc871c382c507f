"""Phoenix's dataframes as Parquet: columns are read as columns, and what is absent costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import orjson

from auditor.load.builder import BatchBuilder, text_of
from auditor.load.known_rows import KnownRows, Left, Rest, Said, line_of, nothing
from auditor.load.otlp_types import KeyValue, Span
from auditor.load.otlp_values import ABSENT
from auditor.load.parquet import as_json, batch_of, nanoseconds, plain_column, positions
from auditor.load.phoenix import (
    EVENTS,
    FAILED,
    KIND,
    NO_KIND,
    NO_SPAN_ID,
    NO_TRACE_ID,
    OBJECTS,
    OF_THE_SPAN,
    OWN,
    PREFIX,
    STATUS,
    PhoenixReader,
    moment_of,
)
from auditor.load.plain_values import READ_AT_ONCE, one_by_one, plain_of, raw_of
from auditor.load.text_values import decode_text
from auditor.model.lexicon import RANKS
from auditor.model.spans import I64

if TYPE_CHECKING:
    import pyarrow as pa

CACHED_TEXT = 64
"""Longest text that is worth remembering."""
CACHED_ATTRIBUTES = 1 << 16
_MOMENTS = ("start_time", "end_time")
_TEXTS = tuple(name for name in OF_THE_SPAN if name not in _MOMENTS)
_INSIDE_TEXT = frozenset('["')
"""How a text begins that holds a list, or a text in quotes."""


class PhoenixParquetReader:
    """Reads pieces of a dataframe into a ``BatchBuilder``."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._rows = PhoenixReader(builder, values=one_by_one(decode_text))
        self._writer = self._rows.writer
        self._codes = builder.lexicon.span_codes
        self._known = KnownRows(self._writer)
        self._attributes_of: dict[str, dict[Any, KeyValue]] = {}
        """By key, the attributes of values that may come again."""
        self._remembered = 0

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a piece of rows."""
        for start, batch in self._known.steps(batch_of(record)):
            self._read(batch, line_of(line, start), byte)

    def _read(self, batch: pa.RecordBatch, line: int, byte: int) -> None:
        columns = {
            name: column
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if column.null_count < len(column)
        }
        count = batch.num_rows
        ids = [columns.get(name, nothing(count)) for name in OWN[:3]]
        starts, ends = (_moments(columns.get(name), count) for name in _MOMENTS)
        rest = self._known.take(self._said(columns, count), ids, (starts, ends), line)
        if len(rest.rows) < count:
            left = positions(rest.rows)
            columns = {name: column.take(left) for name, column in columns.items()}
        self._known.read(self._spans(columns, rest, line, byte), line, byte)

    def _said(self, columns: dict[str, Any], count: int) -> Said:
        """What rows say."""
        said = Said(count, self._known)
        uses = self._writer.used
        for name in ("span_kind", "status_code"):
            if name in columns:
                said.add(name, columns[name])
        for name, column in columns.items():
            if not name.startswith(PREFIX):
                continue
            key = name[len(PREFIX) :]
            if _is_object(column.type) and self._codes.get(key, 0) // RANKS not in OBJECTS:
                said.leave(_where(column))
            elif uses[key] and (key in self._codes or not _is_list(column.type)):
                rows = _where(column)
                said.add_attribute(key, rows, column.take(positions(rows)) if len(rows) < count else column)
        if EVENTS in columns and _is_list(columns[EVENTS].type):
            said.leave(_filled(columns[EVENTS]))
        return said

    def _spans(self, columns: dict[str, Any], rest: Rest, line: int, byte: int) -> Iterator[Left]:
        """The rows that were left as spans; those without ids are rejected."""
        count, writer = len(rest.rows), self._writer
        if writer.builder.explain_trace is None:
            # Nobody asks for names.
            columns.pop("name", None)
        texts = [_texts(columns.get(name), count) for name in _TEXTS]
        starts, ends = (_moments(columns.get(name), count).tolist() for name in _MOMENTS)
        events = self._events(columns.get(EVENTS), count)
        _, span_ids, *_ = texts
        told = [writer.uses(span) is writer.told for span in span_ids]
        attributes = self._attributes(columns, told)
        rows = zip(*texts, starts, ends, attributes, events, rest.asked, rest.rows.tolist(), strict=True)
        for trace, span, parent, name, status, kind, start, end, pairs, event, asked, row in rows:
            if not span or not trace:
                writer.builder.records += 1
                writer.builder.reject(line_of(line, row), byte, NO_SPAN_ID if trace else NO_TRACE_ID)
                continue
            if kind not in NO_KIND and not any(pair.key == KIND for pair in pairs):
                pairs.append(self._rows.kind(kind))
            failed = STATUS[status.upper() == FAILED]
            found = Span(trace, span, parent, 0, name, 0, start, end, pairs, event, ABSENT, failed)
            yield row, asked, self._rows.resource, "", found

    def _attributes(self, columns: dict[str, Any], told: list[bool]) -> list[list[KeyValue]]:
        """The attributes of each row that are asked for."""
        found: list[list[KeyValue]] = [[] for _ in told]
        sampled = np.flatnonzero(told)
        for name, column in columns.items():
            if not name.startswith(PREFIX) or column.null_count == len(column):
                continue
            key = name[len(PREFIX) :]
            if _is_object(column.type) and self._codes.get(key, 0) // RANKS not in OBJECTS:
                self._open(key, column, told, found)
            elif not key or (_is_list(column.type) and key not in self._codes):
                continue
            elif self._writer.used[key]:
                self._spread(key, *_there(column), found)
            elif len(sampled) and self._writer.told[key]:
                at, values = _there(column.take(positions(sampled)))
                self._spread(key, sampled[at], values, found)
        return found

    def _spread(self, key: str, rows: I64, values: list[Any], found: list[list[KeyValue]]) -> None:
        """Give rows the values of a column."""
        known = self._attributes_of.setdefault(key, {})
        is_read = self._codes.get(key, 0) // RANKS in READ_AT_ONCE
        for row, value in zip(rows.tolist(), values, strict=True):
            # Most of the time goes here.
            pair = known.get(value) if isinstance(value, str | int) else None
            if pair is None:
                pair = _attribute(key, value, is_read=is_read)
                if not is_read:
                    self._remember(known, value, pair)
            if pair.value is not ABSENT:
                found[row].append(pair)

    def _remember(self, known: dict[Any, KeyValue], value: Any, pair: KeyValue) -> None:
        if self._remembered >= CACHED_ATTRIBUTES or not isinstance(value, str | int):
            return
        if isinstance(value, str) and len(value) > CACHED_TEXT:
            return
        self._remembered += 1
        known[value] = pair

    def _open(self, key: str, column: Any, told: list[bool], found: list[list[KeyValue]]) -> None:
        """Give each row what is asked for of an object that means nothing as a whole."""
        rows, values = _there(column)
        for row, value in zip(rows.tolist(), values, strict=True):
            uses = self._writer.told if told[row] else self._writer.used
            found[row] += self._rows.inside(key, orjson.loads(as_json(value)), uses)

    def _events(self, column: Any, count: int) -> list[msgspec.Raw]:
        found = [ABSENT] * count
        if column is None or not _is_list(column.type):
            return found
        rows = _filled(column)
        if not len(rows):
            return found
        for row, value in zip(rows.tolist(), plain_column(column.take(positions(rows))), strict=True):
            found[row] = self._rows.events(orjson.loads(as_json(value)))
        return found


def _attribute(key: str, value: Any, *, is_read: bool) -> KeyValue:
    """An attribute; of ids and counts the value is always read, and needs no JSON."""
    plain = None
    if is_read and not (isinstance(value, str) and value[:1] in _INSIDE_TEXT):
        plain = plain_of(value)
    if plain is not None:
        return KeyValue(key, cast("msgspec.Raw", plain))
    is_scalar = isinstance(value, str | int | float)
    return KeyValue(key, raw_of(value) if is_scalar else msgspec.Raw(as_json(value)))


def _where(column: pa.Array) -> I64:
    """Which rows of a column are not absent."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a record is

    if pa.types.is_floating(column.type):
        # What is absent is NaN.
        return np.flatnonzero(~np.isnan(column.to_numpy(zero_copy_only=False)))
    if column.null_count:
        return np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    return np.arange(len(column))


def _there(column: pa.Array) -> tuple[I64, list[Any]]:
    """Which rows of a column are not absent, and their values."""
    rows = _where(column)
    return rows, plain_column(column.take(positions(rows)) if len(rows) < len(column) else column)


def _filled(column: pa.Array) -> I64:
    """Which rows of a column of lists hold something."""
    # Where there is no list, the length is NaN.
    return np.flatnonzero(column.value_lengths().to_numpy(zero_copy_only=False) > 0)


def _is_object(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_struct(kind) or pa.types.is_map(kind))


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _texts(column: Any, count: int) -> list[str]:
    if column is None:
        return [""] * count
    return [value if type(value) is str and value[:1] != '"' else text_of(value) for value in plain_column(column)]


def _moments(column: Any, count: int) -> I64:
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a record is

    if column is None:
        return np.zeros(count, np.int64)
    if pa.types.is_timestamp(column.type):
        found: I64 = np.maximum(nanoseconds(column).fill_null(0).to_numpy(zero_copy_only=False), 0)
        return found
    return np.array([moment_of(value) for value in plain_column(column)], np.int64)
