"""Arize Phoenix: dataframes of spans, and answers of its REST API.

Dataframes come as JSON lines, as a list, by columns (the default of pandas) or as Parquet.

Columns of ``get_spans_dataframe``: ids under ``context.…``, every attribute under ``attributes.…``. What is absent is
NaN, so that counts come as floats. ``cumulative_…`` columns add up a span's descendants and are no usage of the span.
Resources are not exported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import BatchBuilder, text_of
from auditor.load.key_sets import KeySets, Picked, asked_of, picks
from auditor.load.moments import MICROSECOND, MILLISECOND, iso_columns, iso_nanoseconds, nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE, Values
from auditor.load.plain_values import raw_of
from auditor.load.row_lines import rows_of
from auditor.load.sources import Lines
from auditor.load.span_writer import NOTHING, SpanWriter, held, opens_list, plain_reason
from auditor.load.text_values import TEXT_VALUES
from auditor.model.lexicon import RANKS, Field

PREFIX = "attributes."
KIND = "openinference.span.kind"
CACHED_COLUMNS = 1 << 14
OBJECT, LIST, NULL = ord("{"), ord("["), ord("n")
NESTED_DEPTH = 16
LAST_MILLISECOND = 10**14
LAST_MICROSECOND = 10**17
"""Numbers above are finer units: the year 5138 in milliseconds, and in microseconds."""
NO_TRACE_ID = "a row without context.trace_id"
NO_SPAN_ID = "a row without context.span_id: it is the dataframe's index, export it with reset_index()"

OWN = ("context.trace_id", "context.span_id", "parent_id", "start_time", "end_time")
"""Columns that are different in every row."""
REST = ("name", "status_code", "span_kind")
OF_THE_SPAN = (*OWN, *REST)
"""Columns of every row besides attributes and events."""
EVENTS = "events"
QUOTED = b'"\\"'
"""How a text begins that holds a text in quotes."""
FAILED = "ERROR"
NO_KIND = ("", "UNKNOWN")

_Moment = str | int | float | None
_Own = tuple[str, str, str | None, _Moment, _Moment]
_Rest = tuple[str | None, str | None, str | None]
_row = msgspec.json.Decoder(dict[str, msgspec.Raw])
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_own = msgspec.json.Decoder(_Own)
_owns = msgspec.json.Decoder(list[_Own])
_rest = msgspec.json.Decoder(_Rest)
_null = msgspec.Raw(b"null")
_nulls = dict.fromkeys((*OF_THE_SPAN, EVENTS), _null)


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


class Wanted(NamedTuple):
    """Attributes that are asked for."""

    keys: tuple[str, ...]
    values: Picked
    deciding: Picked
    """Takes those that matter, and not only that they are there, behind state and kind of the span."""
    repeats: bool
    """None of them is an id or a count."""
    has_unknown: bool
    """Some are in no vocabulary: their lists mean nothing."""


class Columns(NamedTuple):
    """What one sequence of columns holds."""

    number: int
    is_whole: bool
    """All columns of ``OF_THE_SPAN`` and the events are there."""
    checked: Picked
    """The trace's id, and all attributes that mean nothing as an object."""
    used: Wanted
    told: Wanted
    """The same for spans of the sample for unknown keys."""
    has_kind: bool
    """The kind of the span is an attribute too."""


Usual = tuple[Mapping[str, msgspec.Raw], Columns, bytes]


class PhoenixReader:
    """Reads rows into a ``BatchBuilder``."""

    takes_lines = True

    def __init__(self, builder: BatchBuilder, *, values: Values = TEXT_VALUES) -> None:
        self.writer = SpanWriter(builder, values=values)
        self.resource = builder.resource(())
        self._codes = builder.lexicon.span_codes
        self._keys: dict[str, str] = {}
        self._columns = KeySets(self._columns_of)
        self._numbers = count()
        self._kinds: dict[str, KeyValue] = {}

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self.writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one record; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        if isinstance(record, bytes):
            try:
                if self._is_added(_row.decode(record), len(record), line, byte):
                    return
            except msgspec.ValidationError:
                pass
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
            self.writer.reject(NO_SPAN_ID if trace_id else NO_TRACE_ID)
            return
        attributes = self._attributes(row, span_id)
        kind = _text(row, "span_kind")
        if kind not in NO_KIND and not any(pair.key == KIND for pair in attributes):
            attributes.append(self.kind(kind))
        self.writer.add(
            self.resource,
            "",
            Span(
                traceId=trace_id,
                spanId=span_id,
                parentSpanId=_text(row, "parent_id"),
                name=_text(row, "name"),
                startTimeUnixNano=start_ns,
                endTimeUnixNano=end_ns,
                attributes=attributes,
                events=self.events(_value(row, EVENTS)),
                status=STATUS[_text(row, "status_code").upper() == FAILED],
            ),
        )

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines of one row each; says by number which of them take a closer look."""
        rows = [None if row is None else self._usual(row) for row in rows_of(lines, _row)]
        owns = _owns_of([_NOTHING_OWN if row is None else row[2] for row in rows])
        starts, ends = iso_columns([own[_START] for own in owns], [own[_END] for own in owns])
        refused = []
        begin = 0
        for number, (row, own, start_ns, end_ns, end) in enumerate(
            zip(rows, owns, starts, ends, lines.ends, strict=True)
        ):
            line, byte = lines.line + number, lines.byte + begin
            if row is None or not self._is_taken(row, own, start_ns, end_ns, end - begin, line, byte):
                refused.append(number)
            begin = end
        # The lines are there no longer than this.
        self.writer.end()
        return refused

    def _is_added(self, row: Mapping[str, msgspec.Raw], size: int, line: int, byte: int) -> bool:
        """Take over a row of texts, numbers and lists, from a record of so many bytes; leaves any other."""
        usual = self._usual(row)
        return usual is not None and self._is_taken(usual, _own_of(usual[2]), 0, 0, size, line, byte)

    def _usual(self, row: Mapping[str, msgspec.Raw]) -> Usual | None:
        """A row of texts, numbers and lists, with its columns and its ``OWN``; ``None`` for any other."""
        columns = self._columns[tuple(row)]
        if not columns.is_whole:
            return None
        # Inside a value there is no line end, unless it is a printed list: then the row is looked at more closely.
        odd = _odd(b"\n".join(columns.checked(row)))
        if odd and odd[0] == b"\nn":
            row = _nulls | {column: raw for column, raw in row.items() if raw != _null}
            columns = self._columns[tuple(row)]
            odd = _odd(b"\n".join(columns.checked(row)))
        own = b"[" + b",".join(_picked(row)) + b"]"
        return None if odd or QUOTED in own else (row, columns, own)

    def _is_taken(self, usual: Usual, own: _Own, start_ns: int, end_ns: int, size: int, line: int, byte: int) -> bool:
        """Take over a row whose times are known, unless they are 0; says whether it did."""
        row, columns, _ = usual
        trace_id, span_id, parent_id, start, end = own
        if not span_id or not trace_id:
            return False
        start_ns = start_ns or moment_of(start)
        end_ns = end_ns or moment_of(end)
        writer = self.writer
        is_told = writer.uses(span_id) is not writer.used
        wanted = columns.told if is_told else columns.used
        if wanted.has_unknown and b"\n[" in b"\n".join(wanted.values(row)):
            return False
        events = row[EVENTS]
        has_events = len(events) > NOTHING and events != _null
        asked: Hashable = None
        if columns.used.repeats and not has_events:
            asked = columns.number, b"\n".join(columns.used.deciding(row))
            ids = trace_id, span_id, parent_id or ""
            where = id(self.resource), "", asked
            if writer.add_known(line, byte, where, ids, start_ns, end_ns, may_be_sampled=is_told):
                return True
        rest = b"[" + b",".join(_rest_picked(row)) + b"]"
        if QUOTED in rest:
            return False
        try:
            name, status, kind = _rest.decode(rest)
        except UNDECODABLE:
            return False
        attributes = list(map(KeyValue, wanted.keys, wanted.values(row)))
        if kind and kind not in NO_KIND and not columns.has_kind:
            attributes.append(self.kind(kind))
        writer.add_alone(
            size,
            line,
            byte,
            self.resource,
            "",
            Span(
                trace_id,
                span_id,
                parent_id or "",
                0,
                name or "",
                0,
                start_ns,
                end_ns,
                attributes,
                self.events(_value(row, EVENTS)) if has_events else ABSENT,
                ABSENT,
                STATUS[status is not None and status.upper() == FAILED],
            ),
            None if is_told else asked,
        )
        return True

    def _columns_of(self, columns: Sequence[str]) -> Columns:
        keys = [column[len(PREFIX) :] for column in columns if column.startswith(PREFIX) and column != PREFIX]
        used, told = (self._wanted(keys, uses) for uses in (self.writer.used, self.writer.told))
        plain = [PREFIX + key for key in keys if self._codes.get(key, 0) // RANKS not in OBJECTS]
        return Columns(
            number=next(self._numbers),
            is_whole=_nulls.keys() <= {*columns},
            checked=picks([OF_THE_SPAN[0], *plain]),
            used=used,
            told=told,
            has_kind=KIND in used.keys,
        )

    def _wanted(self, keys: Sequence[str], uses: Mapping[str, bool]) -> Wanted:
        asked = asked_of(keys, uses, self.writer.builder.lexicon)
        values = picks([PREFIX + key for key in asked.keys])
        deciding = picks(["status_code", "span_kind", *(PREFIX + key for key in asked.deciding_keys)])
        has_unknown = any(key not in self._codes for key in asked.keys)
        return Wanted(asked.keys, values, deciding, asked.repeats, has_unknown)

    def kind(self, kind: str) -> KeyValue:
        """The kind of a span as an attribute."""
        found = self._kinds.get(kind)
        if found is None:
            found = KeyValue(KIND, raw_of(kind))
            if len(self._kinds) < CACHED_COLUMNS:
                self._kinds[kind] = found
        return found

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
            if first == OBJECT and codes.get(key, 0) // RANKS not in OBJECTS:
                found += self.inside(key, orjson.loads(bytes(raw)), uses)
            elif uses[key] and first != NULL and (first != LIST or key in codes):
                found.append(KeyValue(key, raw))
        return found

    def inside(self, key: str, value: Mapping[str, Any], uses: Mapping[str, bool]) -> list[KeyValue]:
        """What is asked for of an object that means nothing as a whole."""
        return [
            KeyValue(name, raw_of(inner))
            for name, inner in _flat(value, f"{key}.")
            if uses[name] and (name in self._codes or isinstance(inner, str | int | float))
        ]

    def _new_key(self, column: str) -> str:
        """Key of the attribute that a column holds; empty for other columns."""
        key = column[len(PREFIX) :] if column.startswith(PREFIX) else ""
        if len(self._keys) < CACHED_COLUMNS:
            self._keys[column] = key
        return key

    def events(self, value: Any) -> msgspec.Raw:
        """Events in the shape of OTLP, with the attributes that are known: the others hold prompts."""
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


OBJECTS = frozenset({Field.METADATA, Field.PARAMETERS, Field.USAGE_DETAILS})
"""What is read as an object."""
STATUS = (Status(), Status(code=2))
_picked, _rest_picked = picks(OWN), picks(REST)
_START, _END = (OWN.index(column) for column in ("start_time", "end_time"))
_NO_OWN: _Own = ("", "", None, None, None)
_NOTHING_OWN = msgspec.json.encode(_NO_OWN)
_odd = re.compile(rb"\n[{n]").search


def _owns_of(rows: Sequence[bytes]) -> list[_Own]:
    """The ``OWN`` of rows; empty where something has another type."""
    try:
        found: list[_Own] = _owns.decode(b"[" + b",".join(rows) + b"]")
    except UNDECODABLE:
        return [_own_of(row) for row in rows]
    return found


def _own_of(row: bytes) -> _Own:
    try:
        found: _Own = _own.decode(row)
    except UNDECODABLE:
        return _NO_OWN
    return found


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
