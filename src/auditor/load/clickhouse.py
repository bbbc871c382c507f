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
from typing import Any, ClassVar, cast

import msgspec
import orjson

from auditor.load.builder import BatchBuilder, ResourceFacts, text_of
from auditor.load.moments import LAST_NS, SECOND, iso_nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE
from auditor.load.plain_values import attributes_of, raw_of
from auditor.load.sources import Lines
from auditor.load.span_writer import KINDS, NOTHING, WAITING, SpanWriter, held, plain_reason

NEEDED = ("TraceId", "SpanId", "Timestamp", "SpanAttributes")
"""Columns without which nothing can be said."""
SCOPE_KEYS = ("otel.scope.name", "otel.library.name")
CACHED_RESOURCES = 1 << 14
CACHED_TEXT = 32
"""Longest text that is worth remembering."""
CACHED_TEXTS = 1 << 16
NESTED_DEPTH = 16
OPENING = ord("{")
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
    event_names: msgspec.Raw = _column("Events.Name", ABSENT)
    link_traces: msgspec.Raw = _column("Links.TraceId", ABSENT)
    nested_events: msgspec.Raw = _column("Events", ABSENT)
    nested_links: msgspec.Raw = _column("Links", ABSENT)
    flags: ClassVar[int] = 0
    events: ClassVar[msgspec.Raw] = ABSENT
    links: ClassVar[msgspec.Raw] = ABSENT


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
        self._dotted: set[str] = set()
        """Names with a dot: in a map almost every name has one."""

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self.spans.writer.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one row, or a document of rows; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        if isinstance(record, bytes) and len(record) <= WAITING:
            try:
                if self._is_added(_span_row.decode(record), len(record), line, byte):
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
        start = 0
        for number, (row, end) in enumerate(zip(rows, ends, strict=True)):
            line, byte = lines.line + number, lines.byte + start
            try:
                if row is None or not self._is_added(row, end - start, line, byte):
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

    def _is_added(self, row: SpanRow, size: int, line: int, byte: int) -> bool:
        """Make a span of a row of so many bytes; ``False`` when that takes a closer look."""
        if (
            len(row.event_names) > NOTHING
            or len(row.link_traces) > NOTHING
            or len(row.nested_events) > NOTHING
            or len(row.nested_links) > NOTHING
            or not (row.traceId and row.spanId and row.startTimeUnixNano)
            or row.attributes is None
        ):
            return False
        scope = row.scope or _scope_of(row.attributes)
        row.attributes = self._known(row.attributes, row.spanId)  # type: ignore[assignment]  # it becomes a span
        row.kind = kind_of(row.kind)  # type: ignore[assignment]
        row.status = status_of(row.status)  # type: ignore[assignment]
        row.startTimeUnixNano = start = iso_nanoseconds(row.startTimeUnixNano) or nanoseconds_of(row.startTimeUnixNano)
        row.endTimeUnixNano = end_of(start, row.endTimeUnixNano)
        resource = self.spans.resource(row.service, bytes(row.resource))
        self.spans.writer.add_alone(size, line, byte, resource, scope, cast("Span", row))
        return True

    def _known(self, given: Mapping[str, msgspec.Raw], span: str) -> list[KeyValue]:
        """Attributes that are asked for of the span with this id."""
        uses = self.spans.writer.uses(span)
        if self._dotted.issuperset(given) or not self._is_nested(given):
            return [KeyValue(key, raw) for key, raw in given.items() if uses[key]]
        return [KeyValue(key, raw) for key, raw in _flat(given, self.spans.codes) if uses[key]]

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

    def _is_nested(self, attributes: Mapping[str, msgspec.Raw]) -> bool:
        """Say whether names were cut at their dots: then the first part has none, and an object as its value."""
        if len(self._dotted) < CACHED_TEXTS:
            self._dotted.update(key for key in attributes if "." in key)
        return any("." not in key and _is_object(raw) for key, raw in attributes.items())

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
