"""OTLP JSON as the Collector's file exporter and the SDKs write it.

Records are decoded into typed structs whose attribute values stay raw bytes, so that prompts are skipped and
only values that somebody asks for are read. A record that does not fit the types goes through
``auditor.load.otlp_repair``, which brings every known deviation into this shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import orjson

from auditor.load.builder import (
    CALL_FROM,
    NO_PARENT,
    PRESENCE_BELOW,
    MAX_SAMPLED_TEXT,
    BatchBuilder,
    Hit,
    ResourceFacts,
    role_of_presence,
    text_of,
)
from auditor.load.otlp_repair import repair
from auditor.model.lexicon import RANKS, Field
from auditor.model.spans import Kind, Role

ABSENT = msgspec.Raw(b"")
SPLIT_ABOVE = 4 << 20
"""Records above this many bytes are decoded piece by piece, so that memory does not follow their size."""
CACHED_VALUE = 96
"""Longest raw value that is worth remembering."""
CACHED_VALUES = 1 << 16
HAS_REMOTE = 0x100
IS_REMOTE = 0x200
STATUS_ERROR = 2
KINDS = tuple(Kind)
TENANT_CODES = range(Field.TENANT * RANKS, (Field.TENANT + 1) * RANKS)


class KeyValue(msgspec.Struct, gc=False):
    """One attribute; the value is left as it stands in the file."""

    key: str = ""
    value: msgspec.Raw = ABSENT


class Status(msgspec.Struct, gc=False, frozen=True):
    """Only the code is read: the message may quote a prompt."""

    code: int = 0


class Span(msgspec.Struct, gc=False):
    """The fields of a span that an audit needs."""

    traceId: str = ""  # noqa: N815  # the protocol's spelling
    spanId: str = ""  # noqa: N815
    parentSpanId: str = ""  # noqa: N815
    flags: int = 0
    name: str = ""
    kind: int = 0
    startTimeUnixNano: int = 0  # noqa: N815
    endTimeUnixNano: int = 0  # noqa: N815
    attributes: list[KeyValue] = []
    events: msgspec.Raw = ABSENT
    links: msgspec.Raw = ABSENT
    status: Status = Status()


class Event(msgspec.Struct, gc=False):
    """A span event."""

    name: str = ""
    attributes: list[KeyValue] = []


class Link(msgspec.Struct, gc=False):
    """A span link; ids may be lists of byte numbers."""

    traceId: msgspec.Raw = ABSENT  # noqa: N815
    spanId: msgspec.Raw = ABSENT  # noqa: N815


class Scope(msgspec.Struct, gc=False, frozen=True):
    """An instrumentation scope."""

    name: str = ""
    version: str = ""


class ScopeSpans(msgspec.Struct, gc=False):
    """Spans of one scope."""

    scope: Scope = Scope()
    spans: list[Span] = []


class ResourceSpans(msgspec.Struct, gc=False):
    """Spans of one resource."""

    resource: msgspec.Raw = ABSENT
    scopeSpans: list[ScopeSpans] = []  # noqa: N815


class Request(msgspec.Struct, gc=False):
    """One export request; the raw fields tell why a record holds no spans."""

    resourceSpans: list[ResourceSpans] | None = None  # noqa: N815
    resourceLogs: msgspec.Raw = ABSENT  # noqa: N815
    resourceMetrics: msgspec.Raw = ABSENT  # noqa: N815
    resource_spans: msgspec.Raw = ABSENT


class RawRequest(msgspec.Struct, gc=False):
    """A request whose parts are decoded one after the other."""

    resourceSpans: list[msgspec.Raw] | None = None  # noqa: N815


class RawResourceSpans(msgspec.Struct, gc=False):
    """Spans of one resource, scope by scope."""

    resource: msgspec.Raw = ABSENT
    scopeSpans: list[msgspec.Raw] = []  # noqa: N815


class RawScopeSpans(msgspec.Struct, gc=False):
    """Spans of one scope, span by span."""

    scope: Scope = Scope()
    spans: list[msgspec.Raw] = []


class Resource(msgspec.Struct, gc=False):
    """A resource."""

    attributes: list[KeyValue] = []


class AnyValue(msgspec.Struct, gc=False):
    """An attribute value of one of the simple kinds."""

    stringValue: str | None = None  # noqa: N815
    intValue: int | None = None  # noqa: N815
    doubleValue: float | None = None  # noqa: N815
    boolValue: bool | None = None  # noqa: N815
    arrayValue: msgspec.Raw = ABSENT  # noqa: N815
    kvlistValue: msgspec.Raw = ABSENT  # noqa: N815


_request = msgspec.json.Decoder(Request, strict=False)
_raw_request = msgspec.json.Decoder(RawRequest)
_raw_resource_spans = msgspec.json.Decoder(RawResourceSpans)
_raw_scope_spans = msgspec.json.Decoder(RawScopeSpans)
_span = msgspec.json.Decoder(Span, strict=False)
_resource = msgspec.json.Decoder(Resource)
_events = msgspec.json.Decoder(list[Event])
_links = msgspec.json.Decoder(list[Link])
_any_value = msgspec.json.Decoder(AnyValue, strict=False)


class OtlpJsonReader:
    """Reads export requests into a ``BatchBuilder``."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._resources: dict[bytes, ResourceFacts] = {}
        self._values: dict[bytes, Any] = {}
        self._places: dict[tuple[str, str, str], dict[int, int]] = {}
        self._tenants: dict[tuple[int, int, bytes], int] = {}

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one request; raises ``msgspec.DecodeError`` when it is not JSON."""
        self._builder.mark(line, byte)
        if len(record) > SPLIT_ABOVE:
            self._read_in_pieces(record, line, byte)
            return
        try:
            request = _request.decode(record)
        except msgspec.ValidationError:
            self._read_repaired(record, line, byte)
            return
        if request.resourceSpans is None:
            self._explain_missing(request, record, line, byte)
            return
        for resource_spans in request.resourceSpans:
            resource = self._resource(resource_spans.resource)
            if not resource_spans.scopeSpans:
                self._read_repaired(record, line, byte)
                return
            for scope_spans in resource_spans.scopeSpans:
                self._read_spans(resource, scope_spans.scope.name, scope_spans.spans, line)

    def _explain_missing(self, request: Request, record: bytes | memoryview, line: int, byte: int) -> None:
        if len(request.resource_spans):
            self._read_repaired(record, line, byte)
        elif len(request.resourceLogs):
            self._builder.reject(line, byte, "OTLP logs, not spans")
        elif len(request.resourceMetrics):
            self._builder.reject(line, byte, "OTLP metrics hold no calls")
        else:
            self._read_repaired(record, line, byte)

    def _read_in_pieces(self, record: bytes | memoryview, line: int, byte: int) -> None:
        try:
            request = _raw_request.decode(record)
            if request.resourceSpans is None:
                self._read_repaired(record, line, byte)
                return
            for raw in request.resourceSpans:
                outer = _raw_resource_spans.decode(raw)
                resource = self._resource(outer.resource)
                for raw_scope in outer.scopeSpans:
                    scope = _raw_scope_spans.decode(raw_scope)
                    self._read_spans(resource, scope.scope.name, self._decoded(scope.spans, line, byte), line)
        except msgspec.ValidationError:
            self._read_repaired(record, line, byte)

    def _decoded(self, spans: list[msgspec.Raw], line: int, byte: int) -> Iterator[Span]:
        for raw in spans:
            try:
                yield _span.decode(raw)
            except msgspec.ValidationError:
                yield from self._repaired_span(raw, line, byte)

    def _repaired_span(self, raw: msgspec.Raw, line: int, byte: int) -> Iterator[Span]:
        request = {"resourceSpans": [{"scopeSpans": [{"spans": [orjson.loads(bytes(raw))]}]}]}
        repaired = repair(request, lambda reason: self._builder.reject(line, byte, reason))
        for resource_spans in _request.decode(orjson.dumps(repaired)).resourceSpans or ():
            for scope_spans in resource_spans.scopeSpans:
                yield from scope_spans.spans

    def _read_repaired(self, record: bytes | memoryview, line: int, byte: int) -> None:
        try:
            value = orjson.loads(record)
        except orjson.JSONDecodeError as error:
            self._builder.reject(line, byte, f"not JSON: {error.msg}")
            return
        request = repair(value, lambda reason: self._builder.reject(line, byte, reason))
        for resource_spans in _request.decode(orjson.dumps(request)).resourceSpans or ():
            resource = self._resource(resource_spans.resource)
            for scope_spans in resource_spans.scopeSpans:
                self._read_spans(resource, scope_spans.scope.name, scope_spans.spans, line)

    def _resource(self, raw: msgspec.Raw) -> ResourceFacts:
        data = bytes(raw)
        facts = self._resources.get(data)
        if facts is None:
            attributes = _resource.decode(data).attributes if data not in (b"", b"null") else []
            facts = self._builder.resource((pair.key, self.value(pair.value)) for pair in attributes)
            self._resources[data] = facts
        return facts

    def value(self, raw: msgspec.Raw) -> Any:
        """Decode an attribute value; low-cardinality ones are remembered."""
        data = bytes(raw)
        if len(data) > CACHED_VALUE:
            return decode_value(data)
        value = self._values.get(data, ABSENT)
        if value is ABSENT:
            value = decode_value(data)
            if len(self._values) < CACHED_VALUES:
                self._values[data] = value
        return value

    def _read_spans(
        self, resource: ResourceFacts, scope: str, spans: list[Span] | Iterator[Span], line: int
    ) -> None:
        builder = self._builder
        code_of = builder.lexicon.span_codes.get
        places = self._places_of(resource, scope)
        add_span = builder.add_span
        for span in spans:
            presence = 0
            hits: list[tuple[int, msgspec.Raw]] = []
            for pair in span.attributes:
                code = code_of(pair.key)
                if code is not None:
                    if code < PRESENCE_BELOW:
                        presence |= 1 << code // RANKS
                    else:
                        hits.append((code, pair.value))
            flags = span.flags
            kind = span.kind
            tenant = resource.tenant_code
            if span.links:
                self._read_links(span.links)
            if not hits and not span.events:
                shape = kind | (flags & 0x300) >> 5 | presence << 5
                place = places.get(shape)
                if place is None:
                    place = places[shape] = self._plain_place(resource, scope, span, presence)
            elif len(hits) == 1 and hits[0][0] in TENANT_CODES and not span.events:
                code, raw = hits[0]
                tenant = self._tenant_of(resource, code, raw)
                shape = kind | (flags & 0x300) >> 5 | presence << 5
                place = places.get(shape)
                if place is None:
                    place = places[shape] = self._plain_place(resource, scope, span, presence)
            else:
                values = [(code, self.value(raw)) for code, raw in hits]
                if builder.is_dropped_copy(values):
                    continue
                place, tenant = self._describe(resource, scope, span, presence, values, line)
            add_span(
                span.traceId,
                span.spanId,
                span.parentSpanId or NO_PARENT,
                place,
                tenant,
                span.startTimeUnixNano,
                span.endTimeUnixNano,
            )
            if builder.explain_trace is not None and span.traceId.lower() == builder.explain_trace:
                builder.names[len(builder.span_hex) - 1] = span.name

    def _places_of(self, resource: ResourceFacts, scope: str) -> dict[int, int]:
        return self._places.setdefault((resource.service, resource.instance, scope), {})

    def _plain_place(self, resource: ResourceFacts, scope: str, span: Span, presence: int) -> int:
        kind = _kind(span.kind)
        role = _ROLES.get(kind) or role_of_presence(presence, {})
        return self._builder.place_code(resource, scope, kind, _remote(span.flags), role, provider_api=False)

    def _tenant_of(self, resource: ResourceFacts, code: int, raw: msgspec.Raw) -> int:
        key = (resource.tenant_code, code, bytes(raw))
        tenant = self._tenants.get(key)
        if tenant is None:
            tenant = self._builder.tenant_code(resource, [(code, self.value(raw))])
            if len(self._tenants) < CACHED_VALUES:
                self._tenants[key] = tenant
        return tenant

    def _describe(
        self, resource: ResourceFacts, scope: str, span: Span, presence: int, hits: list[Hit], line: int
    ) -> tuple[int, int]:
        builder = self._builder
        kind = _kind(span.kind)
        event_hits: list[Hit] = []
        chunks = False
        if span.events:
            event_hits, chunks = self._read_events(span.events, wanted=bool(hits))
        facts = builder.describe(
            resource,
            kind,
            presence,
            hits,
            failed=span.status.code == STATUS_ERROR,
            line=line,
            event_hits=event_hits,
            chunk_events=chunks,
        )
        if (facts.is_call or facts.role in _ENTRIES) and builder.wants_sample(span.spanId):
            self._sample(span, is_call=facts.is_call, has_tenant=facts.tenant_code >= 0)
        place = builder.place_code(
            resource, scope, kind, _remote(span.flags), facts.role, facts.provider_api
        )
        return place, facts.tenant_code

    def _read_events(self, raw: msgspec.Raw, *, wanted: bool) -> tuple[list[Hit], bool]:
        """Known call attributes of events (usage may come on one), and whether stream chunks were seen."""
        data = bytes(raw)
        has_usage = b"usage" in data or b"token_count" in data
        if not has_usage and not (wanted and b"hunk" in data):
            return [], False
        try:
            events = _events.decode(data)
        except msgspec.ValidationError:
            return [], False
        code_of = self._builder.lexicon.span_codes.get
        hits = [
            (code, self.value(pair.value))
            for event in events
            for pair in event.attributes
            if (code := code_of(pair.key)) is not None and code >= CALL_FROM
        ]
        return hits, any("chunk" in event.name.lower() for event in events)

    def _read_links(self, raw: msgspec.Raw) -> None:
        builder = self._builder
        try:
            links = _links.decode(raw)
        except msgspec.ValidationError:
            return
        for link in links:
            if link.traceId and link.spanId:
                builder.add_link(len(builder.span_hex), orjson.loads(bytes(link.traceId)), orjson.loads(bytes(link.spanId)))

    def _sample(self, span: Span, *, is_call: bool, has_tenant: bool) -> None:
        known = self._builder.lexicon.span_codes
        unknown = [
            (pair.key, text)
            for pair in span.attributes
            if pair.key not in known and len(pair.value) <= MAX_SAMPLED_TEXT and (text := text_of(self.value(pair.value)))
        ]
        self._builder.add_sample(span.spanId, unknown, is_call=is_call, has_tenant=has_tenant)


_ENTRIES = frozenset({Role.SERVER, Role.CONSUMER})
_ROLES = {
    Kind.SERVER: Role.SERVER,
    Kind.CLIENT: Role.CLIENT,
    Kind.PRODUCER: Role.PRODUCER,
    Kind.CONSUMER: Role.CONSUMER,
}


def _kind(number: int) -> Kind:
    return KINDS[number] if 0 <= number < len(KINDS) else Kind.UNSPECIFIED


def _remote(flags: int) -> bool | None:
    return bool(flags & IS_REMOTE) if flags & HAS_REMOTE else None


def decode_value(data: bytes) -> Any:
    """Decode one OTLP ``AnyValue``: text, number, bool, list, dict, or ``None`` when it is empty or odd."""
    if not data or data == b"null":
        return None
    try:
        value = _any_value.decode(data)
    except msgspec.ValidationError:
        return _odd_value(orjson.loads(data))
    if value.stringValue is not None:
        return value.stringValue
    if value.intValue is not None:
        return value.intValue
    if value.boolValue is not None:
        return value.boolValue
    if value.doubleValue is not None:
        return value.doubleValue
    if value.arrayValue or value.kvlistValue:
        return _odd_value(orjson.loads(data))
    return None


def _odd_value(value: Any) -> Any:
    """Read any shape that an ``AnyValue`` takes in the wild."""
    if not isinstance(value, dict):
        return value
    for key, inner in value.items():
        reader = _ODD.get(key)
        if reader is not None and inner is not None:
            return reader(inner)
    return None


def _array(inner: Any) -> Any:
    values = inner.get("values", []) if isinstance(inner, dict) else inner
    return [_odd_value(value) for value in values] if isinstance(values, list) else None


def _map(inner: Any) -> Any:
    pairs = inner.get("values", []) if isinstance(inner, dict) else inner
    if not isinstance(pairs, list):
        return None
    return {
        str(pair.get("key")): _odd_value(pair.get("value")) for pair in pairs if isinstance(pair, dict)
    }


def _itself(inner: Any) -> Any:
    return inner


_ODD: dict[str, Callable[[Any], Any]] = {
    "stringValue": _itself,
    "intValue": _itself,
    "boolValue": _itself,
    "doubleValue": _itself,
    "arrayValue": _array,
    "kvlistValue": _map,
}
