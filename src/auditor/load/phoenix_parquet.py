"""Phoenix's dataframes as Parquet: columns are read as columns, and what is absent costs nothing."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import orjson

from auditor.load.builder import BatchBuilder, text_of
from auditor.load.otlp_types import KeyValue, Span
from auditor.load.otlp_values import ABSENT
from auditor.load.parquet import as_json, batch_of, nanoseconds, plain_column
from auditor.load.phoenix import (
    EVENTS,
    FAILED,
    KIND,
    NO_KIND,
    NO_SPAN_ID,
    NO_TRACE_ID,
    OBJECTS,
    OF_THE_SPAN,
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
        self._known: dict[str, dict[Any, KeyValue]] = {}
        """By key, the attributes of values that may come again."""
        self._remembered = 0

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a piece of rows."""
        batch = batch_of(record)
        count, writer = batch.num_rows, self._writer
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if writer.builder.explain_trace is None:
            # Nobody asks for names.
            columns.pop("name", None)
        texts = [_texts(columns.get(name), count) for name in _TEXTS]
        starts, ends = (_moments(columns.get(name), count) for name in _MOMENTS)
        events = self._events(columns.get(EVENTS), count)
        _, span_ids, *_ = texts
        told = [writer.uses(span) is writer.told for span in span_ids]
        attributes, repeated = self._attributes(columns, told)
        rows = zip(*texts, starts, ends, attributes, events, strict=True)
        for row, (trace, span, parent, name, status, kind, start, end, pairs, event) in enumerate(rows):
            if not span or not trace:
                with writer.record(b"", line + row, byte):
                    writer.reject(NO_SPAN_ID if trace else NO_TRACE_ID)
                continue
            failed = status.upper() == FAILED
            asked: Hashable = None
            if repeated[row] and event is ABSENT and not told[row]:
                # What is remembered of attributes is never let go, so that none gets the number of another.
                asked = failed, kind, *map(id, pairs)
            if kind not in NO_KIND and not any(pair.key == KIND for pair in pairs):
                pairs.append(self._rows.kind(kind))
            writer.add_alone(
                0,
                line + row,
                byte,
                self._rows.resource,
                "",
                Span(trace, span, parent, 0, name, 0, start, end, pairs, event, ABSENT, STATUS[failed]),
                asked,
            )

    def _attributes(self, columns: dict[str, Any], told: list[bool]) -> tuple[list[list[KeyValue]], list[bool]]:
        """The attributes of each row that are asked for, and whether all of them may come again."""
        found: list[list[KeyValue]] = [[] for _ in told]
        repeated = [True] * len(told)
        sampled = np.flatnonzero(told)
        for name, column in columns.items():
            if not name.startswith(PREFIX) or column.null_count == len(column):
                continue
            key = name[len(PREFIX) :]
            if _is_object(column.type) and self._codes.get(key, 0) // RANKS not in OBJECTS:
                self._open(key, column, told, found, repeated)
            elif not key or (_is_list(column.type) and key not in self._codes):
                continue
            elif self._writer.used[key]:
                self._spread(key, *_there(column), found, repeated)
            elif len(sampled) and self._writer.told[key]:
                at, values = _there(column.take(_positions(sampled)))
                self._spread(key, sampled[at], values, found, repeated)
        return found, repeated

    def _spread(
        self, key: str, rows: I64, values: list[Any], found: list[list[KeyValue]], repeated: list[bool]
    ) -> None:
        """Give rows the values of a column."""
        known = self._known.setdefault(key, {})
        is_read = self._codes.get(key, 0) // RANKS in READ_AT_ONCE
        for row, value in zip(rows.tolist(), values, strict=True):
            # Most of the time goes here.
            pair = known.get(value) if isinstance(value, str | int) else None
            if pair is None:
                pair = _attribute(key, value, is_read=is_read)
                if is_read or not self._remember(known, value, pair):
                    repeated[row] = False
            if pair.value is not ABSENT:
                found[row].append(pair)

    def _remember(self, known: dict[Any, KeyValue], value: Any, pair: KeyValue) -> bool:
        if self._remembered >= CACHED_ATTRIBUTES or not isinstance(value, str | int):
            return False
        if isinstance(value, str) and len(value) > CACHED_TEXT:
            return False
        self._remembered += 1
        known[value] = pair
        return True

    def _open(self, key: str, column: Any, told: list[bool], found: list[list[KeyValue]], repeated: list[bool]) -> None:
        """Give each row what is asked for of an object that means nothing as a whole."""
        rows, values = _there(column)
        for row, value in zip(rows.tolist(), values, strict=True):
            uses = self._writer.told if told[row] else self._writer.used
            found[row] += self._rows.inside(key, orjson.loads(as_json(value)), uses)
            repeated[row] = False

    def _events(self, column: Any, count: int) -> list[msgspec.Raw]:
        found = [ABSENT] * count
        if column is None or not _is_list(column.type):
            return found
        # Where there is no list, the length is NaN.
        rows = np.flatnonzero(column.value_lengths().to_numpy(zero_copy_only=False) > 0)
        if not len(rows):
            return found
        for row, value in zip(rows.tolist(), plain_column(column.take(_positions(rows))), strict=True):
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


def _there(column: pa.Array) -> tuple[I64, list[Any]]:
    """Which rows of a column are not absent, and their values."""
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a record is

    if pa.types.is_floating(column.type):
        # What is absent is NaN.
        numbers = column.to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(~np.isnan(numbers))
        return rows, numbers[rows].tolist()
    if column.null_count:
        return np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)), plain_column(column.drop_null())
    return np.arange(len(column)), plain_column(column)


def _positions(rows: I64) -> pa.Array:
    """Numbers of rows as Arrow takes them; made from numpy's otherwise, they would bring pandas in."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])


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


def _moments(column: Any, count: int) -> list[int]:
    import pyarrow as pa  # noqa: PLC0415  # an extra, there when a record is

    if column is None:
        return [0] * count
    if pa.types.is_timestamp(column.type):
        return [max(value or 0, 0) for value in nanoseconds(column).to_pylist()]
    return [moment_of(value) for value in plain_column(column)]
