"""The table ``otel_traces`` of the Collector's ClickHouse exporter, as JSONEachRow and as FORMAT JSON.

Columns: ``exporter/clickhouseexporter/internal/sqltemplates`` of open-telemetry/opentelemetry-collector-contrib. In
maps every value is a text, lists among them as JSON; with the exporter's JSON type attributes are nested by the dots
of their names. Older versions write kinds and states as ``SPAN_KIND_CLIENT`` and ``STATUS_CODE_ERROR``, and the
scope among the attributes. ``Timestamp`` is the start, without a zone: UTC is assumed. ``Duration`` is in nanoseconds.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, cast

import msgspec
import orjson

from auditor.load.builder import BatchBuilder, ResourceFacts, text_of
from auditor.load.key_sets import Asked, KeySets, Picked, asked_of, picks
from auditor.load.moments import LAST_NS, SECOND, iso_columns, iso_nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE
from auditor.load.plain_values import attributes_of, raw_of
from auditor.load.sources import Lines
from auditor.load.span_writer import KINDS, WAITING, SpanWriter, held, plain_reason

NEEDED = ("TraceId", "SpanId", "Timestamp", "SpanAttributes")
"""Columns without which nothing can be said."""
SCOPE_KEYS = ("otel.scope.name", "otel.library.name")
CACHED_RESOURCES = 1 << 14
CACHED_TEXT = 32
"""Longest text that is worth remembering."""
CACHED_TEXTS = 1 << 16
NESTED_DEPTH = 16
OPENING = ord("{")
CACHED_EVENTS = 1 << 10
CACHED_NAMES = 8
"""Events of a span that are worth remembering."""
HEAD = 512
"""Bytes in which an answer in FORMAT JSON says so."""
DIGITS = 9


def _column(name: str, default: Any) -> Any:
    return msgspec.field(name=name, default=default)


class Row(msgspec.Struct, gc=False):
    """The columns that an audit needs."""

    TraceId: str | None = None
    SpanId: str | None = None
    ParentSpanId: str | None = None
    SpanName: str | None = None
    SpanKind: str | None = None
    ServiceName: str | None = None
    ScopeName: str | None = None
    StatusCode: str | None = None
    Timestamp: str | int | float | None = None
    Duration: str | int | float | None = None
    ResourceAttributes: msgspec.Raw = ABSENT
    SpanAttributes: dict[str, msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET
    event_names: list[str] | None = msgspec.field(name="Events.Name", default=None)
    event_attributes: list[dict[str, msgspec.Raw]] | None = msgspec.field(name="Events.Attributes", default=None)
    link_traces: list[str] | None = msgspec.field(name="Links.TraceId", default=None)
    link_spans: list[str] | None = msgspec.field(name="Links.SpanId", default=None)
    Events: list[dict[str, Any]] | None = None
    """With ``flatten_nested = 0`` the four columns above are two lists of objects."""
    Links: list[dict[str, Any]] | None = None


_Some = tuple[msgspec.Raw, ...] | None


class SpanRow(msgspec.Struct, gc=False):
    """A usual row, in the shape of a ``Span``: it becomes one when what it writes otherwise is replaced."""

    startTimeUnixNano: str | int = _column("Timestamp", 0)  # noqa: N815  # as in Span
    traceId: str = _column("TraceId", "")  # noqa: N815
    spanId: str = _column("SpanId", "")  # noqa: N815
    parentSpanId: str = _column("ParentSpanId", "")  # noqa: N815
    name: str = _column("SpanName", "")
    kind: str = _column("SpanKind", "")
    service: str = _column("ServiceName", "")
    resource: msgspec.Raw = _column("ResourceAttributes", ABSENT)
    scope: str = _column("ScopeName", "")
    attributes: dict[str, msgspec.Raw] | None = _column("SpanAttributes", None)
    endTimeUnixNano: str | int = _column("Duration", "")  # noqa: N815
    status: str = _column("StatusCode", "")
    events: tuple[str, ...] | None = _column("Events.Name", ())
    """Their names, as long as it is a row."""
    event_attributes: tuple[dict[str, msgspec.Raw], ...] | None = _column("Events.Attributes", ())
    link_traces: _Some = _column("Links.TraceId", ())
    nested_events: _Some = _column("Events", ())
    nested_links: _Some = _column("Links", ())
    flags: ClassVar[int] = 0
    links: ClassVar[msgspec.Raw] = ABSENT


class Keys(NamedTuple):
    """What is asked for of the attributes of rows that have the same ones."""

    used: Asked
    told: Asked
    """The same for spans of the sample for unknown keys."""
    bare: Picked | None
    """Takes the values of names without a dot, where there are any: in a map almost every name has one."""


class Document(msgspec.Struct, gc=False):
    """FORMAT JSON."""

    data: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


_row = msgspec.json.Decoder(Row)
_span_row = msgspec.json.Decoder(SpanRow)
_document = msgspec.json.Decoder(Document)
_rows = msgspec.json.Decoder(list[msgspec.Raw])


def is_clickhouse(value: Any) -> bool:
    """Say whether the first JSON value of an input is a row of the table, or an answer in FORMAT JSON."""
    if isinstance(value, dict) and isinstance(value.get("meta"), list) and isinstance(value.get("data"), list):
        names = {entry.get("name") for entry in value["meta"] if isinstance(entry, dict)}
        return {"TraceId", "SpanId"} <= names
    if isinstance(value, list):
        value = value[0] if value else None
    return isinstance(value, dict) and {"TraceId", "SpanId"} <= value.keys()


class ClickHouseReader:
    """Reads rows into a ``BatchBuilder``."""

    takes_lines = True

    def __init__(self, builder: BatchBuilder) -> None:
        self.spans = TableSpans(builder)
        self._keys = KeySets(self._keys_of)
        self._events_of: dict[tuple[str, ...], msgspec.Raw] = {}

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self.spans.writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one row, or a document of rows; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        if isinstance(record, bytes) and len(record) <= WAITING:
            try:
                row = _span_row.decode(record)
                if self._is_added(row, iso_nanoseconds(row.startTimeUnixNano), len(record), line, byte):
                    return
            except msgspec.ValidationError:
                pass
        self._read_closely(record, line, byte)

    def _read_closely(self, record: bytes | memoryview, line: int, byte: int) -> None:
        writer = self.spans.writer
        with writer.record(record, line, byte):
            for raw in self._rows(record):
                try:
                    row = _row.decode(raw)
                except msgspec.ValidationError as error:
                    writer.reject(plain_reason(error))
                    continue
                missing = [name for name in NEEDED if getattr(row, name) in (None, msgspec.UNSET)]
                if missing:
                    writer.reject(f"a row without {', '.join(missing)}")
                else:
                    writer.add(*self._span_of(row, row.SpanAttributes or {}))

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines of one row each; says by number which of them are broken."""
        ends = lines.ends
        refused = []
        rows: list[SpanRow | None] = []
        with suppress(*UNDECODABLE):
            rows += _span_row.decode_lines(lines.data)
        if len(rows) != len(ends):
            rows = [_usual_row(lines.data[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        (moments,) = iso_columns([row.startTimeUnixNano if row else "" for row in rows])
        start = 0
        for number, (row, moment, end) in enumerate(zip(rows, moments, ends, strict=True)):
            line, byte = lines.line + number, lines.byte + start
            try:
                if row is None or not self._is_added(row, moment, end - start, line, byte):
                    self._read_closely(bytes(lines.data[start:end]), line, byte)
            except UNDECODABLE:
                self.spans.writer.builder.records -= 1
                refused.append(number)
            start = end
        # The lines are there no longer than this.
        self.spans.writer.end()
        return refused

    @staticmethod
    def _rows(record: bytes | memoryview) -> Sequence[Any]:
        head = bytes(record[:HEAD]).lstrip()
        if head[:1] == b"[":
            return _rows.decode(record)
        if b'"meta"' not in head:
            return (record,)
        found = _document.decode(record).data
        return (record,) if found is msgspec.UNSET else found

    def _is_added(self, row: SpanRow, start: int, size: int, line: int, byte: int) -> bool:
        """Take a row over of so many bytes that begins then; ``False`` when that takes a closer look.

        0 for the begin where it is not written as a moment.
        """
        attributes = row.attributes
        if (
            row.link_traces
            or row.nested_events
            or row.nested_links
            or not (row.traceId and row.spanId and row.startTimeUnixNano)
            or attributes is None
            or row.events is None
        ):
            return False
        names = row.events
        if names:
            if any(key in self.spans.codes for given in row.event_attributes or () for key in given):
                return False
            row.events = self._events_named(names)  # type: ignore[assignment]  # it becomes a span
        writer = self.spans.writer
        start = start or nanoseconds_of(row.startTimeUnixNano)
        end = end_of(start, row.endTimeUnixNano)
        scope = row.scope or _scope_of(attributes)
        resource = self.spans.resource(row.service, bytes(row.resource))
        keys = self._keys[tuple(attributes)]
        asked: Hashable = None
        if keys.bare is not None and any(map(_is_object, keys.bare(attributes))):
            pairs = self._known(attributes, row.spanId)
        else:
            wanted = keys.used
            is_told = writer.uses(row.spanId) is not writer.used
            if wanted.repeats and not names:
                asked = row.kind, row.status, wanted, b"\n".join(wanted.deciding(attributes))
                ids = row.traceId, row.spanId, row.parentSpanId
                where = id(resource), scope, asked
                if writer.add_known(line, byte, where, ids, start, end, may_be_sampled=is_told):
                    return True
            if is_told:
                wanted, asked = keys.told, None
            pairs = [KeyValue(key, attributes[key]) for key in wanted.keys]
        row.attributes = pairs  # type: ignore[assignment]  # it becomes a span
        row.kind = kind_of(row.kind)  # type: ignore[assignment]
        row.status = status_of(row.status)  # type: ignore[assignment]
        row.startTimeUnixNano, row.endTimeUnixNano = start, end
        writer.add_alone(size, line, byte, resource, scope, cast("Span", row), asked)
        return True

    def _events_named(self, names: tuple[str, ...]) -> msgspec.Raw:
        """Events of which nothing is known but their names; those of a few are remembered."""
        found = self._events_of.get(names)
        if found is None:
            found = self.spans.events(names, ())
            if len(self._events_of) < CACHED_EVENTS and len(names) <= CACHED_NAMES:
                self._events_of[names] = found
        return found

    def _keys_of(self, keys: Sequence[str]) -> Keys:
        writer = self.spans.writer
        used, told = (asked_of(keys, uses, writer.builder.lexicon) for uses in (writer.used, writer.told))
        bare = [key for key in keys if "." not in key]
        return Keys(used, told, picks(bare) if bare else None)

    def _known(self, given: Mapping[str, msgspec.Raw], span: str) -> list[KeyValue]:
        """Attributes that are asked for of the span with this id."""
        uses = self.spans.writer.uses(span)
        # Names that were cut at their dots: the first part has none, and an object as its value.
        is_nested = any("." not in key and _is_object(raw) for key, raw in given.items())
        pairs = _flat(given, self.spans.codes) if is_nested else given.items()
        return [KeyValue(key, raw) for key, raw in pairs if uses[key]]

    def _span_of(self, row: Row, attributes: Mapping[str, msgspec.Raw]) -> tuple[ResourceFacts, str, Span]:
        """A row as a span, with its resource and scope."""
        spans = self.spans
        start = nanoseconds_of(row.Timestamp)
        return (
            spans.resource(row.ServiceName or "", bytes(row.ResourceAttributes)),
            row.ScopeName or _scope_of(attributes),
            Span(
                row.TraceId or "",
                row.SpanId or "",
                row.ParentSpanId or "",
                0,
                row.SpanName or "",
                kind_of(row.SpanKind or ""),
                start,
                end_of(start, row.Duration),
                self._known(attributes, row.SpanId or ""),
                self._events(row) if row.event_names or row.Events else ABSENT,
                _links(row) if row.link_traces or row.Links else ABSENT,
                status_of(row.StatusCode or ""),
            ),
        )

    def _events(self, row: Row) -> msgspec.Raw:
        names = row.event_names or []
        attributes: Sequence[Mapping[str, Any]] = row.event_attributes or []
        if row.Events:
            names = [text_of(event.get("Name")) for event in row.Events]
            attributes = [
                {key: raw_of(value) for key, value in given.items()} if isinstance(given, dict) else {}
                for given in (event.get("Attributes") for event in row.Events)
            ]
        return self.spans.events(names, attributes) if names else ABSENT


def _usual_row(data: memoryview) -> SpanRow | None:
    try:
        return _span_row.decode(data)
    except UNDECODABLE:
        return None


class TableSpans:
    """Makes spans of the columns of a row, in whatever way these came."""

    def __init__(self, builder: BatchBuilder) -> None:
        self.writer = SpanWriter(builder)
        self.codes = builder.lexicon.span_codes
        self._resources: dict[Hashable, ResourceFacts] = {}
        self.texts: dict[str, dict[str, KeyValue]] = {key: {} for key in self.codes}
        """By known key, the attributes of texts that were seen."""
        self._remembered = 0

    def resource(self, service: str, raw: bytes) -> ResourceFacts:
        """Read a resource that is written as JSON; the same one is read once."""
        return self._resources.get((service, raw)) or self._new_resource(service, raw, object_of(raw))

    def resource_of(self, service: str, keys: tuple[str, ...], values: tuple[str, ...]) -> ResourceFacts:
        """Read a resource whose keys and values stand beside each other; the same one is read once."""
        named = keys, values
        return self._resources.get((service, named)) or self._new_resource(
            service, named, dict(zip(keys, values, strict=True))
        )

    def _new_resource(self, service: str, named: Hashable, given: Mapping[str, Any]) -> ResourceFacts:
        pairs = dict(_flat_values(given))
        if service:
            pairs.setdefault("service.name", service)
        if len(self._resources) >= CACHED_RESOURCES:
            self._resources.clear()
        facts = self._resources[service, named] = self.writer.builder.resource(pairs.items())
        return facts

    def attribute(self, key: str, text: str) -> KeyValue:
        """A known attribute with a text that was not seen before; short ones are remembered, for they repeat."""
        found = KeyValue(key, raw_of(text))
        if len(text) <= CACHED_TEXT and self._remembered < CACHED_TEXTS:
            self._remembered += 1
            self.texts[key][text] = found
        return found

    def of_object(self, given: Mapping[str, Any]) -> list[KeyValue]:
        """The same of attributes that were decoded, nested or not."""
        return attributes_of(_flat_values(given), self.codes)

    def events(self, names: Sequence[str], attributes: Sequence[Mapping[str, msgspec.Raw]]) -> msgspec.Raw:
        """Events in the shape of OTLP: their names, and the known attributes."""
        codes = self.codes
        found = [
            {
                "name": name,
                "attributes": [
                    {"key": key, "value": raw}
                    for key, raw in (attributes[number].items() if number < len(attributes) else ())
                    if key in codes and len(raw)
                ],
            }
            for number, name in enumerate(names)
        ]
        return msgspec.Raw(msgspec.json.encode(found))


_FAILED, _FINE = Status(2), Status()


@lru_cache(maxsize=64)
def kind_of(text: str) -> int:
    """Number of a kind."""
    return KINDS.get(text.upper().removeprefix("SPAN_KIND_"), 0)


@lru_cache(maxsize=64)
def status_of(text: str) -> Status:
    """A state."""
    return _FAILED if text.upper().removeprefix("STATUS_CODE_") == "ERROR" else _FINE


def nanoseconds_of(value: Any) -> int:
    """A moment: text with or without a zone, seconds since 1970 as text or number, or nanoseconds; 0 for none."""
    if found := iso_nanoseconds(value):
        return found
    if isinstance(value, int) and LAST_NS // SECOND < value <= LAST_NS:
        return value
    text = str(value)
    whole, _, part = text.partition(".")
    if not whole.isdecimal() or (part and not part.isdecimal()):
        return 0
    found = int(whole) * SECOND + int(part[:DIGITS].ljust(DIGITS, "0"))
    return found if found <= LAST_NS else 0


def end_of(start_ns: int, duration: Any) -> int:
    """When a span ended whose duration is given in nanoseconds, quoted or not; 0 for one that has not.

    A negative duration (clocks) reads as 0.
    """
    try:
        end = start_ns + int(duration)
    except (TypeError, ValueError, OverflowError):
        return 0
    return LAST_NS if end > LAST_NS else max(end, start_ns)


def _links(row: Row) -> msgspec.Raw:
    traces, spans = row.link_traces or [], row.link_spans or []
    if row.Links:
        traces = [text_of(link.get("TraceId")) for link in row.Links]
        spans = [text_of(link.get("SpanId")) for link in row.Links]
    return links_of(traces, spans)


def links_of(traces: Sequence[str], spans: Sequence[str]) -> msgspec.Raw:
    """Links in the shape of OTLP."""
    if not traces:
        return ABSENT
    pairs = zip(traces, spans, strict=False)
    return msgspec.Raw(msgspec.json.encode([{"traceId": trace, "spanId": span} for trace, span in pairs]))


def _scope_of(attributes: Mapping[str, msgspec.Raw]) -> str:
    """The scope, which older versions write among the attributes."""
    raw = next((attributes[key] for key in SCOPE_KEYS if key in attributes), ABSENT)
    try:
        return text_of(orjson.loads(bytes(raw))) if len(raw) else ""
    except UNDECODABLE:
        return ""


def object_of(value: Any) -> dict[str, Any]:
    """An object that may be written as JSON; empty for anything else."""
    if isinstance(value, str | bytes):
        try:
            value = orjson.loads(value) if value else None
        except UNDECODABLE:
            return {}
    return value if isinstance(value, dict) else {}


def _is_object(raw: msgspec.Raw) -> bool:
    """Say so without copying what may be a prompt."""
    return len(raw) > 0 and memoryview(raw)[0] == OPENING


def _flat(attributes: Mapping[str, msgspec.Raw], codes: dict[str, int]) -> Iterator[tuple[str, msgspec.Raw]]:
    """Attributes that are nested by the dots of their names."""
    for key, raw in attributes.items():
        if not _is_object(raw):
            yield key, raw
            continue
        try:
            value = orjson.loads(bytes(raw))
        except UNDECODABLE:
            continue
        for pair in attributes_of(_flat_values(value, f"{key}."), codes):
            yield pair.key, pair.value


def _flat_values(value: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and depth < NESTED_DEPTH:
            yield from _flat_values(inner, f"{prefix}{key}.", depth + 1)
        else:
            yield prefix + key, inner
