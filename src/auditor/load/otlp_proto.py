"""OTLP protobuf: bare, and framed as the Collector's file exporter does.

Bare is one ``TracesData`` or ``ExportTraceServiceRequest`` (the same on the wire), or several back to back. It is
cut into its ``resource_spans``, so that memory follows the largest of them and not the file. The file exporter
(``exporter/fileexporter/file_writer.go``) writes each request behind its length, four bytes big-endian; with its
older zstd compression each request is compressed by itself behind the length of the compressed bytes, JSON
requests too. One zstd stream around everything is undone before this module sees the bytes.

In binary inputs the number of a record stands where the line of a text would.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts
from auditor.load.meanings import Meanings
from auditor.load.otlp_logs import OtlpReader
from auditor.load.otlp_spans import Group, SpanReader
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT
from auditor.load.otlp_wire import (
    ATTRIBUTE,
    KEY,
    LONG,
    STARTS,
    WireError,
    head_of,
    number_at,
    pair_of,
    parts_of_request,
    rest_of,
    spans_of,
)
from auditor.load.plain_values import READ_AT_ONCE, is_short, plain_of, raw_of
from auditor.load.proto_values import PROTO_VALUES, decode_proto, plain_at, python_of
from auditor.load.sources import ZSTD, BrokenFrameError, Opened, Record
from auditor.load.span_writer import Uses
from auditor.model.lexicon import RANKS

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

MAX_MESSAGE = 128 << 20
"""Bytes of a message, compressed or not: above it a length is taken to be wrong. A length that text or bare
protobuf would be read as (its first byte a blank, a line end, a bracket) is larger."""
WINDOW = 1 << 27
"""Bytes that a compressed message may make us keep to look back at: what zstd itself allows."""
PIECE = 256
"""Spans between two looks at how full the builder is."""
LENGTH = 4
CACHED_RESOURCES = 1 << 14
CACHED_KEYS = 1 << 14
CACHED_ATTRIBUTES = 1 << 16
CACHED_UNUSED = 1 << 15
"""How many are remembered before those are no longer that nobody asks for."""
CACHED_ATTRIBUTE = 96
"""Bytes of the longest attribute that is worth remembering."""
CACHED_STATUSES = 256
CACHED_BODIES = 1 << 13
LONGEST_BODY = 1 << 8
"""Bytes of the longest body that is looked up as a whole."""
DAMAGED = "not OTLP protobuf, or damaged"
MAX_TIME = 1 << 63
TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8

# Wire format: https://protobuf.dev/programming-guides/encoding/. Field numbers: opentelemetry-proto, trace.proto.
_RESOURCE_SPANS = 0x0A
_INSIDE = frozenset(b"\x0a\x12\x1a")
"""Tags that a ``ResourceSpans``, a ``ScopeSpans`` and (but for its counter) a ``Resource`` may begin with."""
_COUNTER = 0x10
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_VARINT_BYTES = 10


def is_proto(head: bytes) -> bool:
    """Say whether the first bytes are those of a bare message with at least one ``resource_spans``.

    A line end is the same byte as the tag, so two more levels have to fit.
    """
    outer = _opened(head, 0, len(head) + MAX_MESSAGE) if head[:1] == b"\x0a" else None
    inner = _opened(head, *outer) if outer else None
    if inner is None:
        return False
    start, end = inner
    return start == end or (start < len(head) and (head[start] in _INSIDE or head[start] == _COUNTER))


def is_collector_file(head: bytes) -> bool:
    """Say whether the first bytes are a length and the beginning of a message in one of the exporter's forms."""
    size, message = int.from_bytes(head[:LENGTH], "big"), head[LENGTH:]
    if not 0 < size <= MAX_MESSAGE:
        return False
    return message.startswith((ZSTD, b"{")) or is_proto(message[:size])


def _opened(head: bytes, start: int, limit: int) -> tuple[int, int] | None:
    """Where the field that begins at ``start`` has its content; ``None`` when it is none that may stand there."""
    if start >= min(limit, len(head)) or head[start] not in _INSIDE:
        return None
    size, shift, at = 0, 0, start + 1
    while at < min(len(head), start + 1 + _VARINT_BYTES):
        size |= (head[at] & 0x7F) << shift
        shift += 7
        at += 1
        if head[at - 1] < 0x80:
            return (at, at + size) if at + size <= limit else None
    return None


def frames(opened: Opened) -> Iterator[Record]:
    """Cut an input into the messages behind their lengths.

    Raises ``BrokenFrameError`` where the input ends inside a message, or a length cannot be right: what follows
    cannot be found then.
    """
    number = 0
    while True:
        at = opened.bytes_read
        prefix = opened.read(LENGTH)
        if not prefix:
            return
        number += 1
        opened.line = number
        size = int.from_bytes(prefix, "big")
        if len(prefix) < LENGTH:
            raise BrokenFrameError(f"the input ends inside the length of message {number}")
        if size > MAX_MESSAGE:
            raise BrokenFrameError(
                f"message {number} claims {size} bytes, and the limit is {MAX_MESSAGE}: "
                "its length or the one before is wrong"
            )
        message = opened.read(size)
        if len(message) < size:
            raise BrokenFrameError(
                f"the input ends inside message {number}: it claims {size} bytes and {len(message)} follow"
            )
        yield message, number, at


def resource_spans(opened: Opened) -> Iterator[Record]:
    """Cut bare protobuf into its ``resource_spans``; unknown fields beside them are passed over.

    Raises ``BrokenFrameError`` where the input ends inside one, or something else than protobuf begins.
    """
    number = 0
    while True:
        at = opened.bytes_read
        tag = _varint(opened)
        if tag is None:
            return
        size = _FIXED.get(tag & 7)
        if size is None and tag & 7 in (_VARINT, _LENGTH):
            size = _varint(opened)
        if size is None or tag < 1 << 3:
            raise BrokenFrameError("the protobuf breaks off")
        if tag & 7 == _VARINT:
            continue
        if size > MAX_MESSAGE:
            raise BrokenFrameError(f"a part of {size} bytes: the limit is {MAX_MESSAGE}")
        content = opened.read(size)
        if len(content) < size:
            raise BrokenFrameError(f"the input ends inside a part that claims {size} bytes: {len(content)} follow")
        if tag == _RESOURCE_SPANS:
            number += 1
            opened.line = number
            yield content, number, at


_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


def _varint(opened: Opened) -> int | None:
    """Read a number; ``None`` where there is none, or at the end."""
    value = 0
    for place in range(_VARINT_BYTES):
        part = opened.read(1)
        if not part:
            return None
        value |= (part[0] & 0x7F) << 7 * place
        if part[0] < 0x80:
            return value
    return None


ODD = (WireError, IndexError, struct.error, UnicodeDecodeError)
"""What reading the wire by hand raises for anything but the usual spelling."""


class Key(NamedTuple):
    """An attribute key, and what its values are good for."""

    text: str
    is_known: bool
    is_used: bool
    is_told: bool
    """Asked for on spans of the sample for unknown keys."""
    repeats: bool
    """Its values are neither ids nor counts."""


_UNSEEN = KeyValue()


Body = tuple[Hashable, int, bool, list[KeyValue], msgspec.Raw, msgspec.Raw]
"""A span behind its times: what its meaning depends on besides resource, scope and kind (``None`` where that is not
worth remembering), flags, failure, attributes, events and links."""


class OtlpProtoReader:
    """Reads single ``ResourceSpans`` messages."""

    def __init__(self, builder: BatchBuilder) -> None:
        from google.protobuf.message import DecodeError  # noqa: PLC0415  # takes 30 ms
        from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope  # noqa: PLC0415
        from opentelemetry.proto.common.v1.common_pb2 import KeyValue as Pair  # noqa: PLC0415
        from opentelemetry.proto.resource.v1.resource_pb2 import Resource  # noqa: PLC0415
        from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, TracesData  # noqa: PLC0415
        from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan  # noqa: PLC0415
        from opentelemetry.proto.trace.v1.trace_pb2 import Status as ProtoStatus  # noqa: PLC0415

        self._builder = builder
        self._spans = SpanReader(builder, values=PROTO_VALUES)
        self._codes = builder.lexicon.span_codes
        self._used = Uses(builder.lexicon, with_unknown=False)
        self._told = Uses(builder.lexicon, with_unknown=True)
        self._resources: dict[bytes, ResourceFacts] = {}
        self._scopes: dict[bytes, str] = {}
        self._statuses: dict[bytes, bool] = {}
        self._bodies: dict[bytes, Body] = {}
        """By all bytes behind the times of a span: many come again whole."""
        self._bodies_again = 0
        self._longest_body = LONGEST_BODY
        self._keys: dict[bytes, Key] = {}
        self._attributes: dict[bytes, KeyValue | None] = {}
        """Attributes as they stand on the wire; ``None`` for one that nobody asks for."""
        self._told_attributes: dict[bytes, KeyValue | None] = {}
        """The same on spans of the sample for unknown keys."""
        self._meanings = Meanings(builder)
        self._line = self._byte = 0
        self._decode_error = DecodeError
        self._odd = (*ODD, DecodeError)
        self._part = ResourceSpans
        self._request = TracesData
        self._proto_resource = Resource
        self._proto_scope = InstrumentationScope
        self._proto_status = ProtoStatus
        self._proto_span = ProtoSpan
        self._proto_pair = Pair

    def finish(self) -> None:
        """Nothing is held back."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one message; a broken one is rejected."""
        self._builder.mark(line, byte)
        data = bytes(record)
        if self._read_wire(data, line, byte, is_part=True):
            return
        try:
            parts = [self._part.FromString(data)]
        except self._decode_error:
            parts = []
        # A part of logs or metrics reads the same at this level: give the reason by the whole of it.
        self._read_parts(parts, _as_field(record), line, byte)

    def read_request(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a whole request; a broken one is rejected."""
        self._builder.mark(line, byte)
        data = bytes(record)
        if self._read_wire(data, line, byte, is_part=False):
            return
        try:
            parts: Iterable[ResourceSpans] = self._request.FromString(data).resource_spans
        except self._decode_error:
            parts = []
        self._read_parts(parts, record, line, byte)

    # -- the usual spelling --------------------------------------------------------------------------

    def _read_wire(self, data: bytes, line: int, byte: int, *, is_part: bool) -> bool:
        """Read a message by hand; leaves one that is odd, or holds no spans, to the library."""
        try:
            parts = [(0, len(data))] if is_part else parts_of_request(data)
            found = [spans_of(data, start, end) for start, end in parts]
            if not _has_span(data, (place for _, scopes in found for _, spans in scopes for place in spans)):
                return False
            located = [
                (self._resource(resource), [(self._scope(scope), spans) for scope, spans in scopes])
                for resource, scopes in found
            ]
        except self._odd:
            return False
        self._line, self._byte = line, byte
        self._spans.read(self._walked(data, located), line)
        return True

    def _walked(
        self, data: bytes, located: Iterable[tuple[ResourceFacts, Iterable[tuple[str, Iterable[tuple[int, int]]]]]]
    ) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows. Between pieces a full builder is emptied."""
        builder, meanings, odd = self._builder, self._meanings, self._odd
        bodies = self._bodies
        number = 0
        for resource, scopes in located:
            for scope, places in scopes:
                for start, end in places:
                    number += 1
                    if number % PIECE == 0:
                        builder.pack_if_due()
                        builder.flush_if_full()
                    raw = data[start:end]
                    try:
                        trace, own, parent, raw_name, kind, start_ns, end_ns, at = head_of(raw)
                        name = raw_name.decode()
                        whole = b""
                        if own > builder.sample_mark and end - start - at <= self._longest_body:
                            whole = raw[at:]
                        body = bodies.get(whole)
                        if body is None:
                            body = self._body(raw, at, own)
                            if whole and body[0] is not None:
                                self._remember(whole, body)
                        else:
                            self._bodies_again += 1
                        says, flags, failed, attributes, events, links = body
                    except odd:
                        yield resource, scope, self._converted(self._odd_span(raw))
                        continue
                    if start_ns >= MAX_TIME:
                        start_ns = 0
                    if end_ns >= MAX_TIME:
                        end_ns = 0
                    asked = None
                    if says is not None:
                        asked = id(resource), scope, kind, says
                        if meanings.add_known(asked, trace, own, parent or NO_PARENT, start_ns, end_ns):
                            continue
                    span = Span(
                        trace,
                        own,
                        parent,
                        flags,
                        name,
                        kind,
                        start_ns,
                        end_ns,
                        attributes,
                        events,
                        links,
                        _STATUS[failed],
                    )
                    if asked is None:
                        yield resource, scope, (span,)
                    else:
                        yield from meanings.learned(asked, resource, scope, span)

    def _remember(self, whole: bytes, body: Body) -> None:
        """Remember a body; no more where few come again: an attribute is always different then."""
        if len(self._bodies) >= CACHED_BODIES:
            if self._bodies_again < CACHED_BODIES // 4:
                self._longest_body = -1
            self._bodies_again = 0
            self._bodies.clear()
        self._bodies[whole] = body

    def _body(self, raw: bytes, at: int, own: str) -> Body:
        """The span with the id ``own`` from its attributes on.

        Raises what is in ``ODD``, or the library's error. This is what reading protobuf costs.
        """
        is_told = own <= self._builder.sample_mark
        known = self._told_attributes if is_told else self._attributes
        attributes = []
        is_repeated = not is_told
        stop = len(raw)
        while at < stop and raw[at] == ATTRIBUTE:
            size = raw[at + 1]
            at += 2
            if size >= LONG:
                size, at = number_at(raw, at - 1)
            pair = raw[at : at + size]
            at += size
            found = known.get(pair, _UNSEEN) if size <= CACHED_ATTRIBUTE else _UNSEEN
            if found is _UNSEEN:
                found = self._attribute(pair, known, is_told=is_told)
                is_repeated = is_repeated and (found is None or pair in known)
            if found is not None:
                attributes.append(found)
        flags, failed, events, links = 0, False, ABSENT, ABSENT
        if at != stop:
            raw_events, raw_links, status, flags = rest_of(raw, at)
            failed = status != b"" and self._failed(status)
            if raw_events:
                events = self._events(map(self._proto_span.Event.FromString, raw_events))
                is_repeated = False
            if raw_links:
                links = _links(map(self._proto_span.Link.FromString, raw_links))
                is_repeated = False
        # What is remembered of attributes is never let go, so that none gets the number of another.
        says = (flags, failed, *map(id, attributes)) if is_repeated else None
        return says, flags, failed, attributes, events, links

    def _key(self, raw: bytes) -> Key:
        text = raw.decode()
        code = self._codes.get(text)
        repeats = code is None or code // RANKS not in READ_AT_ONCE
        key = Key(text, code is not None, self._used[text], self._told[text], repeats)
        if len(self._keys) < CACHED_KEYS:
            self._keys[raw] = key
        return key

    def _attribute(self, pair: bytes, known: dict[bytes, KeyValue | None], *, is_told: bool) -> KeyValue | None:
        """An attribute; ``None`` for one that nobody asks for. Those that may come again are remembered."""
        end = 2 + pair[1]
        key = self._keys.get(pair[2:end])
        if key is not None and not key.repeats and pair[0] == KEY and pair[1] < LONG:
            # Of ids and counts the value is always read.
            plain_value = plain_at(pair, end)
            if plain_value is not None:
                return KeyValue(key.text, cast("msgspec.Raw", plain_value))
        raw, value = pair_of(pair)
        key = key or self._key(raw)
        found = None
        if key.is_known:
            plain_value = None if key.repeats else plain_of(decode_proto(value))
            found = KeyValue(key.text, cast("msgspec.Raw", plain_value or msgspec.Raw(value or _NO_VALUE)))
        elif key.is_told if is_told else key.is_used:
            plain = python_of(self._proto_pair.FromString(pair).value)
            found = KeyValue(key.text, raw_of(plain)) if is_short(plain) else None
        most = CACHED_UNUSED if found is None else CACHED_ATTRIBUTES
        if key.repeats and len(pair) <= CACHED_ATTRIBUTE and len(known) < most:
            known[pair] = found
        return found

    def _failed(self, status: bytes) -> bool:
        known = self._statuses.get(status)
        if known is not None:
            return known
        failed = bool(self._proto_status.FromString(status).code == _ERROR)
        if len(self._statuses) < CACHED_STATUSES and len(status) <= CACHED_ATTRIBUTE:
            self._statuses[status] = failed
        return failed

    def _odd_span(self, raw: bytes) -> Sequence[ProtoSpan]:
        """A span in an unusual spelling; one that is damaged is rejected."""
        try:
            return [self._proto_span.FromString(raw)]
        except self._decode_error:
            self._builder.reject(self._line, self._byte, DAMAGED)
            return []

    # -- any spelling --------------------------------------------------------------------------------

    def _read_parts(self, parts: Iterable[ResourceSpans], whole: bytes | memoryview, line: int, byte: int) -> None:
        if whole and not _holds_spans(parts) and (reason := self._what_else(bytes(whole))):
            self._builder.reject(line, byte, reason)
            return
        self._spans.read(self._groups(parts), line)

    def _what_else(self, record: bytes) -> str:
        """Why a message holds no spans; empty when it is a request, with odd spans or none."""
        from opentelemetry.proto.logs.v1.logs_pb2 import LogsData  # noqa: PLC0415
        from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData  # noqa: PLC0415

        for kind, reason in ((LogsData, "OTLP logs, not spans"), (MetricsData, "OTLP metrics hold no calls")):
            try:
                message: Any = kind.FromString(record)
            except self._decode_error:
                continue
            if _holds(message):
                return reason
        try:
            self._request.FromString(record)
        except self._decode_error:
            return DAMAGED
        return ""

    def _groups(self, parts: Iterable[ResourceSpans]) -> Iterator[Group]:
        for part in parts:
            resource = self._resource(part.resource.SerializeToString())
            for scope_spans in part.scope_spans:
                yield resource, scope_spans.scope.name, self._converted(scope_spans.spans)

    def _resource(self, data: bytes) -> ResourceFacts:
        facts = self._resources.get(data)
        if facts is None:
            attributes = self._proto_resource.FromString(data).attributes
            facts = self._builder.resource((pair.key, python_of(pair.value)) for pair in attributes)
            if len(self._resources) >= CACHED_RESOURCES:
                self._resources.clear()
            self._resources[data] = facts
        return facts

    def _scope(self, data: bytes) -> str:
        name = self._scopes.get(data)
        if name is None:
            name = self._proto_scope.FromString(data).name
            if len(self._scopes) < CACHED_RESOURCES:
                self._scopes[data] = name
        return name

    def _converted(self, spans: Iterable[ProtoSpan]) -> Iterator[Span]:
        """Turn spans into what the span reader takes; between pieces a full builder is emptied."""
        builder = self._builder
        for number, span in enumerate(spans, 1):
            span_id = span.span_id.hex()
            uses = self._used if span_id > builder.sample_mark else self._told
            attributes = []
            for pair in span.attributes:
                if uses[pair.key]:
                    plain = python_of(pair.value)
                    if pair.key in self._codes or is_short(plain):
                        attributes.append(KeyValue(pair.key, raw_of(plain)))
            start, end = span.start_time_unix_nano, span.end_time_unix_nano
            yield Span(
                span.trace_id.hex(),
                span_id,
                span.parent_span_id.hex(),
                span.flags,
                span.name,
                span.kind,
                start if start < MAX_TIME else 0,
                end if end < MAX_TIME else 0,
                attributes,
                self._events(events) if (events := span.events) else ABSENT,
                _links(links) if (links := span.links) else ABSENT,
                _STATUS[span.status.code == _ERROR],
            )
            if number % PIECE == 0:
                builder.flush_if_full()

    def _events(self, events: Iterable[ProtoSpan.Event]) -> msgspec.Raw:
        """Names, and the known attributes: the others hold prompts."""
        found = [
            {
                "name": event.name,
                "attributes": [
                    {"key": pair.key, "value": value}
                    for pair in event.attributes
                    if pair.key in self._codes and len(value := raw_of(python_of(pair.value)))
                ],
            }
            for event in events
        ]
        return msgspec.Raw(msgspec.json.encode(found))


class CollectorFileReader:
    """Reads messages of the Collector's file exporter: protobuf or JSON, compressed each by itself or not."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._proto = OtlpProtoReader(builder)
        self._json = OtlpReader(builder)

    def finish(self) -> None:
        """Nothing is held back."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one message; raises ``msgspec.DecodeError`` for JSON that is none."""
        data = bytes(record)
        if data.startswith(ZSTD):
            try:
                data = inflated(data)
            except BrokenFrameError as error:
                self._builder.records += 1
                self._builder.reject(line, byte, str(error))
                return
        if data.lstrip()[:1] == b"{" and not is_proto(data):
            self._json.read(data, line, byte)
        else:
            self._proto.read_request(data, line, byte)


def inflated(data: bytes) -> bytes:
    """Decompress one message; raises ``BrokenFrameError`` when it is damaged or larger than a message may be."""
    import zstandard  # noqa: PLC0415  # only for what is compressed so

    try:
        with zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(io.BytesIO(data)) as stream:
            found: bytes = stream.read(MAX_MESSAGE + 1)
    except zstandard.ZstdError as error:
        raise BrokenFrameError(f"the compressed message is damaged: {error}") from error
    if len(found) > MAX_MESSAGE:
        raise BrokenFrameError(f"a compressed message grows beyond the limit of {MAX_MESSAGE} bytes")
    return found


_ERROR = 2
_STATUS = (Status(), Status(code=_ERROR))
_NO_VALUE = b"\x12\x00"


def _has_span(data: bytes, places: Iterable[tuple[int, int]]) -> bool:
    """Say whether one of these is a span, as far as can be seen."""
    for start, end in places:
        try:
            if head_of(data[start:end])[STARTS]:
                return True
        except ODD:
            continue
    return False


def _as_field(record: bytes | memoryview) -> bytes:
    """The record as field 1 of a message, which it was cut from."""
    size, length = len(record), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x0a" + bytes([*length, size]) + record if record else b""


def _holds_spans(parts: Iterable[ResourceSpans]) -> bool:
    """Say whether a span has a time and ids as long as they should be: other signals have the same outer levels."""
    return any(
        len(span.trace_id) == TRACE_ID_BYTES and len(span.span_id) == SPAN_ID_BYTES and span.start_time_unix_nano
        for part in parts
        for scope in part.scope_spans
        for span in scope.spans
    )


def _holds(message: Any) -> bool:
    """Say whether a message of logs or metrics has a record with what every such record has."""
    for part in getattr(message, "resource_logs", ()):
        for scope in part.scope_logs:
            if any(record.time_unix_nano or record.observed_time_unix_nano for record in scope.log_records):
                return True
    for part in getattr(message, "resource_metrics", ()):
        for scope in part.scope_metrics:
            if any(metric.WhichOneof("data") for metric in scope.metrics):
                return True
    return False


def _links(links: Iterable[ProtoSpan.Link]) -> msgspec.Raw:
    found = [{"traceId": link.trace_id.hex(), "spanId": link.span_id.hex()} for link in links]
    return msgspec.Raw(msgspec.json.encode(found))
