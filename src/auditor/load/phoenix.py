"""Arize Phoenix: dataframes of spans, and answers of its REST API.

Dataframes come as JSON lines, as a list, by columns (the default of pandas) or as Parquet.

Columns of ``get_spans_dataframe``: ids under ``context.…``, every attribute under ``attributes.…``. What is absent is
NaN, so that counts come as floats. ``cumulative_…`` columns add up a span's descendants and are no usage of the span.
Resources are not exported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
import orjson

from auditor.load.builder import BatchBuilder, text_of
from auditor.load.moments import MICROSECOND, MILLISECOND, iso_nanoseconds, nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE
from auditor.load.plain_values import raw_of
from auditor.load.span_writer import SpanWriter, held, opens_list, plain_reason
from auditor.model.lexicon import RANKS, Field

PREFIX = "attributes."
KIND = "openinference.span.kind"
CACHED_COLUMNS = 1 << 14
OBJECT, LIST, NULL = ord("{"), ord("["), ord("n")
NESTED_DEPTH = 16
LAST_MILLISECOND = 10**14
LAST_MICROSECOND = 10**17
"""Numbers above are finer units: the year 5138 in milliseconds, and in microseconds."""
NO_SPAN_ID = "a row without context.span_id: it is the dataframe's index, export it with reset_index()"

_row = msgspec.json.Decoder(dict[str, msgspec.Raw])
_rows = msgspec.json.Decoder(list[msgspec.Raw])


def is_phoenix(value: Any) -> bool:
    """Say whether the first JSON value of an input is a row, a list of rows, columns, or an answer with spans."""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        return bool(value["data"]) and _is_answered_span(value["data"][0])
    if isinstance(value, list):
        value = value[0] if value else None
    return isinstance(value, dict) and "context.trace_id" in value


def _is_answered_span(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("context"), dict)
        and isinstance(value.get("attributes"), dict)
        and "span_kind" in value
    )


class PhoenixReader:
    """Reads rows into a ``BatchBuilder``."""

    def __init__(self, builder: BatchBuilder) -> None:
        self.writer = SpanWriter(builder)
        self._resource = builder.resource(())
        self._codes = builder.lexicon.span_codes
        self._keys: dict[str, str] = {}

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self.writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self.writer.record(record, line, byte):
            try:
                for row in _rows_of(record):
                    self.add(row, moment_of(_value(row, "start_time")), moment_of(_value(row, "end_time")))
            except msgspec.ValidationError as error:
                self.writer.reject(plain_reason(error))

    def add(self, row: Mapping[str, msgspec.Raw], start_ns: int, end_ns: int) -> None:
        """Take over a row of plain JSON values."""
        span_id = _text(row, "context.span_id")
        trace_id = _text(row, "context.trace_id")
        if not span_id or not trace_id:
            self.writer.reject(NO_SPAN_ID if trace_id else "a row without context.trace_id")
            return
        attributes = self._attributes(row, span_id)
        kind = _text(row, "span_kind")
        if kind not in ("", "UNKNOWN") and not any(pair.key == KIND for pair in attributes):
            attributes.append(KeyValue(KIND, raw_of(kind)))
        self.writer.add(
            self._resource,
            "",
            Span(
                traceId=trace_id,
                spanId=span_id,
                parentSpanId=_text(row, "parent_id"),
                name=_text(row, "name"),
                startTimeUnixNano=start_ns,
                endTimeUnixNano=end_ns,
                attributes=attributes,
                events=self._events(_value(row, "events")),
                status=Status(2 if _text(row, "status_code").upper() == "ERROR" else 0),
            ),
        )

    def _attributes(self, row: Mapping[str, msgspec.Raw], span: str) -> list[KeyValue]:
        """Attributes that are asked for; objects that mean nothing as a whole are looked into."""
        keys, codes, uses = self._keys, self._codes, self.writer.uses(span)
        found = []
        for column, raw in row.items():
            try:
                key = keys[column]
            except KeyError:
                key = self._new_key(column)
            if not key:
                continue
            first = memoryview(raw)[0]
            if first == OBJECT and codes.get(key, 0) // RANKS not in _OBJECTS:
                for name, value in _flat(orjson.loads(bytes(raw)), f"{key}."):
                    if uses[name] and (name in codes or isinstance(value, str | int | float)):
                        found.append(KeyValue(name, raw_of(value)))
            elif uses[key] and first != NULL and (first != LIST or key in codes):
                found.append(KeyValue(key, raw))
        return found

    def _new_key(self, column: str) -> str:
        """Key of the attribute that a column holds; empty for other columns."""
        key = column[len(PREFIX) :] if column.startswith(PREFIX) else ""
        if len(self._keys) < CACHED_COLUMNS:
            self._keys[column] = key
        return key

    def _events(self, value: Any) -> msgspec.Raw:
        if not isinstance(value, list) or not value:
            return ABSENT
        found = [
            {
                "name": text_of(event.get("name")),
                "attributes": [
                    {"key": key, "value": raw}
                    for key, inner in _flat(_object(event.get("attributes")), "")
                    if key in self._codes and len(raw := raw_of(inner))
                ],
            }
            for event in value
            if isinstance(event, dict)
        ]
        return msgspec.Raw(msgspec.json.encode(found))


_OBJECTS = frozenset({Field.METADATA, Field.PARAMETERS, Field.USAGE_DETAILS})
"""What is read as an object."""


def moment_of(value: Any) -> int:
    """A moment: ISO text, or a number whose size tells its unit (pandas writes milliseconds); 0 for none."""
    if isinstance(value, str):
        return iso_nanoseconds(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    unit = MILLISECOND if value < LAST_MILLISECOND else MICROSECOND if value < LAST_MICROSECOND else 1
    return nanoseconds(value, unit)


def _rows_of(record: bytes | memoryview) -> Iterable[Mapping[str, msgspec.Raw]]:
    if opens_list(record):
        return (_row.decode(raw) for raw in _rows.decode(record))
    row = _row.decode(record)
    trace = row.get("context.trace_id")
    if trace is not None and memoryview(trace)[0] == OBJECT:
        return _by_columns(row)
    data = row.get("data")
    if trace is None and data is not None:
        return (_flattened(_row.decode(raw)) for raw in _rows.decode(data))
    return (row,)


def _by_columns(columns: Mapping[str, msgspec.Raw]) -> Iterator[dict[str, msgspec.Raw]]:
    """Rows of ``{column: {index: value}}``; the index is the span's id where no column holds it."""
    decoded = {name: _row.decode(raw) for name, raw in columns.items()}
    for index in decoded["context.trace_id"]:
        row = {name: values[index] for name, values in decoded.items() if index in values}
        row.setdefault("context.span_id", raw_of(index))
        yield row


def _flattened(span: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """A span of the REST API in the dataframe's columns."""
    row = {key: raw for key, raw in span.items() if key not in {"context", "attributes"}}
    for group in ("context", "attributes"):
        if group in span:
            row |= {f"{group}.{key}": raw for key, raw in _row.decode(span[group]).items()}
    return row


def _value(row: Mapping[str, msgspec.Raw], key: str) -> Any:
    raw = row.get(key)
    if raw is None:
        return None
    try:
        return orjson.loads(memoryview(raw))
    except UNDECODABLE:
        return None


def _text(row: Mapping[str, msgspec.Raw], key: str) -> str:
    return text_of(_value(row, key))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _flat(value: Mapping[str, Any], prefix: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and depth < NESTED_DEPTH:
            yield from _flat(inner, f"{prefix}{key}.", depth + 1)
        elif inner is not None:
            yield prefix + key, inner
