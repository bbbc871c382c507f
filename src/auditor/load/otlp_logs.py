"""OTLP logs that tell of model calls, beside OTLP spans in one input or in an input of their own.

Conventions: OpenTelemetry GenAI events (``gen_ai.client.inference.operation.details`` repeats what its span says,
``gen_ai.choice`` says that an answer came), any record with token counts, and ``claude_code.api_request``. A record
that names its span becomes another copy of it: ids and counts meet the span's wherever this is read, and
``auditor.graph.log_events`` settles what each of them says. A record that names none is a call of its own. Other
records are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, canonical_id, text_of
from auditor.load.moments import MILLISECOND, nanoseconds
from auditor.load.otlp_json import OtlpJsonReader
from auditor.load.otlp_spans import SpanReader
from auditor.load.otlp_types import KeyValue, Scope, Span
from auditor.load.otlp_values import ABSENT, decode_value
from auditor.load.span_writer import plain_reason
from auditor.model.lexicon import RANKS, USAGE_FIELDS, Field
from auditor.model.spans import NO_COUNT, TOKEN_COLUMNS, CallFacts, Kind, Role

HEAD = 256
"""Bytes of a request that are looked at to tell logs from spans."""
DETAILS = "gen_ai.client.inference.operation.details"
CHOICE = "gen_ai.choice"
CLAUDE_CODE = "claude_code.api_request"
_CLAUDE_CODE_NAMES = frozenset({CLAUDE_CODE, "api_request"})
_OWN_ACCOUNT = frozenset({"organization.id", "user.account_uuid", "user.account_id"})
"""What Claude Code says of the account that pays: it is no customer's."""
_WORDS = (b"gen_ai", b"sage", b"token")
"""One of them is in every record that matters."""
_COUNTS = USAGE_FIELDS | {
    Field.CACHE_READ, Field.CACHE_WRITE, Field.CACHE_WRITE_1H, Field.TOTAL_TOKENS, Field.REASONING_TOKENS,
}  # fmt: skip
_NOTHING: tuple[int, ...] = (NO_COUNT,) * len(TOKEN_COLUMNS)


class LogRecord(msgspec.Struct, gc=False):
    """The fields of a log record that an audit needs."""

    timeUnixNano: int | str | None = None  # noqa: N815  # the protocol's spelling
    observedTimeUnixNano: int | str | None = None  # noqa: N815
    traceId: str | None = None  # noqa: N815
    spanId: str | None = None  # noqa: N815
    eventName: str | None = None  # noqa: N815
    attributes: list[KeyValue] | None = None
    body: msgspec.Raw = ABSENT


class ScopeLogs(msgspec.Struct, gc=False):
    """Records of one scope, one by one."""

    scope: Scope = Scope()
    logRecords: list[msgspec.Raw] = []  # noqa: N815


class ResourceLogs(msgspec.Struct, gc=False):
    """Records of one resource."""

    resource: msgspec.Raw = ABSENT
    scopeLogs: list[ScopeLogs] = []  # noqa: N815


class LogRequest(msgspec.Struct, gc=False):
    """One export request."""

    resourceLogs: list[msgspec.Raw] = []  # noqa: N815


class Pairs(msgspec.Struct, gc=False):
    """Entries of an object."""

    values: list[KeyValue] = []


class Body(msgspec.Struct, gc=False):
    """A body that is an object or a text."""

    kvlistValue: Pairs | None = None  # noqa: N815
    stringValue: str | None = None  # noqa: N815


class Place(NamedTuple):
    """Where a record was written."""

    resource: ResourceFacts
    scope: str
    line: int


_request = msgspec.json.Decoder(LogRequest)
_resource_logs = msgspec.json.Decoder(ResourceLogs)
_record = msgspec.json.Decoder(LogRecord)
_body = msgspec.json.Decoder(Body)


class OtlpReader:
    """Reads export requests of spans and of logs."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._otlp = OtlpJsonReader(builder)
        self._logs = LogReader(builder)

    def finish(self) -> None:
        """Take over what was held back."""
        self._otlp.finish()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one request; raises ``msgspec.DecodeError`` when it is not JSON."""
        if b'"resourceLogs"' in bytes(record[:HEAD]):
            self._logs.read(record, line, byte)
        else:
            self._otlp.read(record, line, byte)


class LogReader:
    """Reads export requests of logs."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._spans = SpanReader(builder)
        self._codes = builder.lexicon.span_codes

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one request; raises ``msgspec.DecodeError`` when it is not JSON."""
        builder = self._builder
        builder.mark(line, byte)
        builder.log_requests += 1
        try:
            parts = _request.decode(record).resourceLogs
        except msgspec.ValidationError as error:
            builder.reject(line, byte, f"OTLP logs: {plain_reason(error)}")
            return
        for raw in parts:
            try:
                part = _resource_logs.decode(raw)
                resource = self._spans.resource(part.resource)
            except msgspec.ValidationError as error:
                builder.reject(line, byte, f"OTLP logs: {plain_reason(error)}")
                continue
            for scope in part.scopeLogs:
                self._read_records(scope.logRecords, Place(resource, scope.scope.name, line), byte)

    def _read_records(self, raws: Iterable[msgspec.Raw], place: Place, byte: int) -> None:
        builder = self._builder
        for raw in raws:
            data = bytes(raw)
            if not any(word in data for word in _WORDS):
                continue
            try:
                self._add(_record.decode(data), data, place)
            except msgspec.ValidationError as error:
                builder.reject(place.line, byte, f"a log record: {plain_reason(error)}")
            builder.pack_if_due()
            builder.flush_if_full()

    def _add(self, record: LogRecord, data: bytes, place: Place) -> None:
        attributes = record.attributes or []
        name, inside = _name_and_body(record, attributes)
        if name == CLAUDE_CODE:
            self._add_claude_code(record, attributes, data, place)
            return
        attributes = [*attributes, *inside]
        fields = {self._codes.get(pair.key, 0) // RANKS for pair in attributes}
        if not USAGE_FIELDS.isdisjoint(fields) or name == DETAILS:
            self._add_call(record, name, attributes, data, place)
        elif name == CHOICE and any(pair.key == "finish_reason" for pair in attributes):
            self._add_note(record, place)

    def _add_call(self, record: LogRecord, name: str, attributes: list[KeyValue], data: bytes, place: Place) -> None:
        """Add what a record says as a copy of its span, counts on an event; without a span, as a call of its own."""
        trace, span = _ids(record)
        events = ABSENT
        if span:
            counts = [pair for pair in attributes if self._codes.get(pair.key, 0) // RANKS in _COUNTS]
            attributes = [pair for pair in attributes if self._codes.get(pair.key, 0) // RANKS not in _COUNTS]
            events = msgspec.Raw(msgspec.json.encode([{"name": name, "attributes": counts}]))
        made = _made_up(data)
        self._read_span(
            Span(
                traceId=trace or made,
                spanId=span or made[:16],
                name=name,
                startTimeUnixNano=_time(record),
                attributes=attributes,
                events=events,
            ),
            place,
        )

    def _add_claude_code(self, record: LogRecord, attributes: list[KeyValue], data: bytes, place: Place) -> None:
        """Add an answered request, which ended when the record was written."""
        values = {pair.key: decode_value(bytes(pair.value)) for pair in attributes}
        known = [pair for pair in attributes if pair.key not in _OWN_ACCOUNT]
        own = [KeyValue(f"{CLAUDE_CODE}.{pair.key}", pair.value) for pair in known]
        end = _time(record)
        trace, _ = _ids(record)
        # Redelivered events say the same session and sequence, and the same time.
        told = [values.get(key) for key in ("session.id", "event.sequence", "request_id")]
        made = _made_up(orjson.dumps([end, *map(text_of, told)]) if any(told) else data)
        self._read_span(
            Span(
                traceId=trace or made,
                spanId=made[:16],
                name=CLAUDE_CODE,
                startTimeUnixNano=max(end - nanoseconds(values.get("duration_ms"), MILLISECOND), 0),
                endTimeUnixNano=end,
                attributes=[
                    KeyValue("gen_ai.operation.name", msgspec.Raw(b'{"stringValue":"chat"}')),
                    KeyValue("gen_ai.provider.name", msgspec.Raw(b'{"stringValue":"anthropic"}')),
                    *own,
                    *(pair for pair in known if pair.key in self._codes),
                ],
            ),
            place,
        )

    def _read_span(self, span: Span, place: Place) -> None:
        row = self._builder.next_row
        self._spans.read([(place.resource, place.scope, [span])], place.line)
        # The name of the span itself is the one to show.
        self._builder.names.pop(row, None)

    def _add_note(self, record: LogRecord, place: Place) -> None:
        """Note for the span of a record that its answer came to an end."""
        trace, span = _ids(record)
        if not trace or not span:
            return
        builder = self._builder
        builder.add_call(
            builder.next_row, ANSWERED, _NOTHING, user="", workflow="", line=place.line, searches=None, cost=None
        )
        builder.add_span(
            trace,
            span,
            NO_PARENT,
            builder.place_code(place.resource, place.scope, Kind.UNSPECIFIED, None, Role.OTHER, provider_api=False),
            place.resource.tenant_code,
            _time(record),
            0,
        )


ANSWERED = CallFacts(
    provider="",
    request_model="",
    response_model="",
    operation=None,
    vocabulary="",
    disjoint=None,
    streamed=None,
    first_chunk=False,
    finished=True,
    has_response_id=False,
    service_tier="",
    failed=False,
    cache_hit=False,
    batch=False,
    environment="",
    feature="",
    credential="",
    placeholder="",
    usage_in_event=True,
    partial=False,
    abandoned=False,
)
"""What a choice says: an answer came to its end. Of no count and no operation, it counts beside a call only."""


def _name_and_body(record: LogRecord, attributes: list[KeyValue]) -> tuple[str, list[KeyValue]]:
    """The event's name, which older protocols have in an attribute, and the entries of the body."""
    name = record.eventName or next(
        (text_of(decode_value(bytes(pair.value))) for pair in attributes if pair.key == "event.name"), ""
    )
    try:
        body = _body.decode(record.body) if len(record.body) else Body()
    except msgspec.ValidationError:
        body = Body()
    if CLAUDE_CODE in {name, body.stringValue} and name in {"", *_CLAUDE_CODE_NAMES}:
        return CLAUDE_CODE, []
    return name, body.kvlistValue.values if body.kvlistValue else []


def _ids(record: LogRecord) -> tuple[str, str]:
    """Trace and span id as hex; empty for one that is missing or all zeros."""
    trace = canonical_id(record.traceId, 16) or ""
    span = canonical_id(record.spanId, 8) or ""
    has_trace, has_span = bool(trace.strip("0")), bool(span.strip("0"))
    return trace if has_trace else "", span if has_trace and has_span else ""


def _time(record: LogRecord) -> int:
    return nanoseconds(record.timeUnixNano, 1) or nanoseconds(record.observedTimeUnixNano, 1)


def _made_up(data: Any) -> str:
    """A trace id for a record that has none: the same record gets the same one."""
    return blake2b(data, digest_size=16).hexdigest()
