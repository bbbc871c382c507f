"""AWS X-Ray segments: what the daemon is sent, segments as JSON, and answers of ``BatchGetTraces``.

Fields: AWS's segment document reference; where attributes of OpenTelemetry go: the Collector's ``awsxrayexporter``
(indexed ones to annotations, with ``_`` for dots, the others to ``metadata.default``, those of the resource behind
``otel.resource.``, on segments only). Times are seconds as floats. A subsegment lies inside its segment, or comes alone
with the id of its parent: then its service is that of the segment above it, and it is held back until the input ends.
For this the service of every span of the input is remembered, about 200 bytes each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, canonical_id, text_of
from auditor.load.moments import SECOND, nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE, decode_json
from auditor.load.plain_values import raw_of
from auditor.load.span_writer import (
    CACHED_RESOURCES,
    KINDS,
    LOCAL_PARENT,
    REMOTE_PARENT,
    SpanWriter,
    Uses,
    held,
    hex_id,
    opens_list,
    plain_reason,
)

_ERROR = Status(2)
_OK = Status()
_TRACE_ID = re.compile(r"1-([0-9a-fA-F]{8})-([0-9a-fA-F]{24})")
_UNSAFE = re.compile(r"[^A-Za-z0-9_]")
_RESOURCE = "otel.resource."
_REMOTE = frozenset({"remote", "aws"})
_SEGMENT_KEYS = frozenset({"trace_id", "id", "name", "start_time"})
UNKNOWN_RESOURCE = (("service.name", ""),)


class Request(msgspec.Struct, gc=False):
    """Where an HTTP request went."""

    method: str | None = None
    url: str | None = None


class Http(msgspec.Struct, gc=False):
    """An HTTP request that was served or made."""

    request: Request | None = None


class XRay(msgspec.Struct, gc=False):
    """What recorded a segment."""

    sdk: str | None = None


class Instance(msgspec.Struct, gc=False):
    """Where a segment was recorded."""

    instance_id: str | None = None
    container: str | None = None
    container_id: str | None = None
    pod: str | None = None


class Aws(msgspec.Struct, gc=False):
    """What AWS knows of a segment's process."""

    xray: XRay | None = None
    ec2: Instance | None = None
    ecs: Instance | None = None
    eks: Instance | None = None


class Segment(msgspec.Struct, gc=False):
    """A segment or subsegment."""

    id: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    name: str | None = None
    type: str | None = None
    namespace: str | None = None
    start_time: float | None = None
    end_time: float | None = None
    in_progress: bool | None = None
    error: bool | None = None
    fault: bool | None = None
    throttle: bool | None = None
    user: str | None = None
    http: Http | None = None
    aws: msgspec.Raw = ABSENT
    annotations: dict[str, msgspec.Raw] | None = None
    metadata: dict[str, msgspec.Raw] | None = None
    links: msgspec.Raw = ABSENT
    subsegments: list[msgspec.Raw] | None = None


class Document(msgspec.Struct, gc=False):
    """A segment as JSON text."""

    Document: str | None = None


class TraceEntry(msgspec.Struct, gc=False):
    """A trace of an answer."""

    Segments: list[Document] | None = None


class Value(TraceEntry, gc=False):
    """Any JSON value of an input that is an object."""

    Traces: list[TraceEntry] | None = None
    Document: str | None = None
    id: msgspec.Raw = ABSENT
    format: str | None = None


_value = msgspec.json.Decoder(Value)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_segment = msgspec.json.Decoder(Segment)
_aws = msgspec.json.Decoder(Aws)
_entries = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Above(NamedTuple):
    """What a subsegment has from the object that it lies in."""

    trace: str
    parent: str
    resource: ResourceFacts


class Waiting(NamedTuple):
    """A subsegment that came alone."""

    position: tuple[int, int]
    span: Span


def is_xray(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    if isinstance(value, list):
        return bool(value) and is_xray(value[0])
    if not isinstance(value, dict):
        return False
    if value.keys() == {"format", "version"}:
        return bool(value["format"] == "json")
    entries = value.get("Traces", value.get("Segments"))
    if isinstance(entries, list):
        return not entries or (isinstance(entries[0], dict) and bool(entries[0].keys() & {"Segments", "Document"}))
    return value.keys() >= _SEGMENT_KEYS or value.keys() >= {"Id", "Document"}


class XRayReader:
    """Reads segments, with the daemon's header before them or without, and answers."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._spans = SpanWriter(builder)
        self._services: dict[tuple[str, str], ResourceFacts] = {}
        self._resources: dict[tuple[str | bytes | None, ...], ResourceFacts] = {}
        self._waiting: list[Waiting] = []
        self._position = (0, 0)
        codes = builder.lexicon.span_codes
        self._annotated: dict[str, str] = {}
        for key in codes:
            self._annotated.setdefault(_UNSAFE.sub("_", key), key)
        self._annotated.update({key: key for key in codes})

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one JSON value; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        try:
            value = _value.decode(record) if not opens_list(record) else None
        except msgspec.ValidationError as error:
            with self._spans.record(record, line, byte):
                self._spans.reject(f"no X-Ray document: {plain_reason(error)}")
            return
        if value is not None and value.format is not None and not len(value.id):
            # The line that the daemon expects before every segment.
            return
        self._position = (line, byte)
        with self._spans.record(record, line, byte):
            if value is None:
                for number, raw in enumerate(_list.decode(record)):
                    self._read_segment(raw, f"segments[{number}]")
                return
            documents = list(_documents(value))
            for path, text in documents:
                self._read_document(text, path)
            if not documents and value.Traces is None and value.Segments is None:
                self._read_segment(msgspec.Raw(record), "segment")

    def finish(self) -> None:
        """Take over the subsegments that came alone."""
        parents = {_ids(entry.span): (entry.span.traceId, entry.span.parentSpanId) for entry in self._waiting}
        unknown = self._spans.resource(*UNKNOWN_RESOURCE)
        for entry in self._waiting:
            way = []
            at = own = _ids(entry.span)
            above = self._services.get((own[0], entry.span.parentSpanId))
            if above is not None:
                self._services.setdefault(own, above)
            while at in parents and at not in self._services:
                way.append(at)
                # Taken out, so that subsegments that lie inside each other end the way.
                at = parents.pop(at)
            resource = self._services.get(at, unknown)
            self._services.update(dict.fromkeys(way, resource))
            self._spans.resume(*entry.position)
            self._spans.add(resource, "", entry.span)
        self._spans.end()
        self._waiting.clear()

    def _read_document(self, text: str, path: str) -> None:
        try:
            self._read_segment(msgspec.Raw(text.encode("utf-8", "surrogatepass")), path)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self._spans.reject(f"{path}: its Document is not JSON")

    def _read_segment(self, raw: msgspec.Raw, path: str) -> None:
        """Read a segment and all that lies inside it."""
        waiting: list[tuple[msgspec.Raw, str, Above | None]] = [(raw, path, None)]
        while waiting:
            current, here, above = waiting.pop()
            try:
                segment = _segment.decode(current)
            except msgspec.ValidationError as error:
                self._spans.reject(f"{here}: {plain_reason(error)}")
                continue
            inside = self._add(segment, above)
            waiting += [
                (inner, f"{here}.subsegments[{number}]", inside)
                for number, inner in enumerate(segment.subsegments or ())
            ]

    def _add(self, segment: Segment, above: Above | None) -> Above:
        trace = above.trace if above else _trace_hex(segment.trace_id or "")
        span_id = hex_id(segment.id or "", 8)
        parent = above.parent if above else hex_id(segment.parent_id, 8) if segment.parent_id else NO_PARENT
        is_alone = above is None and segment.type == "subsegment"
        is_segment = above is None and not is_alone
        # The record of one that came alone is let go before the span is read: its values are copied.
        start = nanoseconds(segment.start_time, SECOND)
        ended = start and not segment.in_progress and segment.end_time is not None
        uses = self._spans.uses(span_id)
        own, of_resource = _metadata(segment.metadata, uses)
        for key, value in (segment.annotations or {}).items():
            known = self._annotated.get(key, key)
            if uses[known]:
                own[known] = value
        if segment.user or segment.http is not None:
            own |= _of_fields(segment, is_segment=is_segment)
        span = Span(
            traceId=trace,
            spanId=span_id,
            parentSpanId=parent,
            flags=(REMOTE_PARENT if is_segment else LOCAL_PARENT) if parent != NO_PARENT else 0,
            name=segment.name or "",
            kind=_kind(segment, is_segment=is_segment),
            startTimeUnixNano=start,
            endTimeUnixNano=nanoseconds(segment.end_time, SECOND) if ended else 0,
            attributes=[KeyValue(key, value.copy() if is_alone else value) for key, value in own.items()],
            links=_links(segment.links),
            status=_ERROR if segment.error or segment.fault or segment.throttle else _OK,
        )
        if is_alone:
            self._waiting.append(Waiting(self._position, span))
            return Above(trace, span_id, self._spans.resource(*UNKNOWN_RESOURCE))
        resource = above.resource if above else self._resource(segment, of_resource)
        self._services[trace, span_id] = resource
        self._spans.add(resource, "", span)
        return Above(trace, span_id, resource)

    def _resource(self, segment: Segment, metadata: Mapping[str, msgspec.Raw]) -> ResourceFacts:
        if not metadata and not len(segment.aws):
            return self._spans.resource(("service.name", segment.name or ""))
        raws = (segment.name, bytes(segment.aws), *metadata, *map(bytes, metadata.values()))
        facts = self._resources.get(raws)
        if facts is None:
            if len(self._resources) >= CACHED_RESOURCES:
                self._resources.clear()
            facts = self._resources[raws] = self._new_resource(segment, metadata)
        return facts

    def _new_resource(self, segment: Segment, metadata: Mapping[str, msgspec.Raw]) -> ResourceFacts:
        try:
            aws = _aws.decode(segment.aws) if len(segment.aws) else Aws()
        except msgspec.ValidationError:
            aws = Aws()
        places = [place for place in (aws.eks, aws.ecs, aws.ec2) if place is not None]
        names = [place.pod or place.container_id or place.container or place.instance_id for place in places]
        pairs = {
            "service.instance.id": next((name for name in names if name), ""),
            "telemetry.sdk.language": ((aws.xray.sdk if aws.xray else None) or "").rpartition(" for ")[2].lower(),
        }
        for key, raw in metadata.items():
            if text := text_of(decode_json(bytes(raw))):
                pairs[key] = text
        pairs["service.name"] = segment.name or pairs.get("service.name", "")
        return self._spans.resource(*pairs.items())


def _documents(value: Value) -> Iterator[tuple[str, str]]:
    """Segments that an answer holds as JSON text."""
    if value.Document is not None:
        yield "segment", value.Document
    for number, document in enumerate(value.Segments or ()):
        yield f"Segments[{number}]", document.Document or ""
    for number, trace in enumerate(value.Traces or ()):
        for inner, document in enumerate(trace.Segments or ()):
            yield f"Traces[{number}].Segments[{inner}]", document.Document or ""


def _ids(span: Span) -> tuple[str, str]:
    return span.traceId, span.spanId


def _trace_hex(text: str) -> str:
    found = _TRACE_ID.fullmatch(text)
    return (found[1] + found[2]).lower() if found else canonical_id(text, 16) or ""


def _kind(segment: Segment, *, is_segment: bool) -> int:
    """A segment serves a request; a subsegment calls out where it says so."""
    if is_segment:
        return KINDS["SERVER"] if segment.http is not None else 0
    return KINDS["CLIENT"] if segment.namespace in _REMOTE else KINDS["INTERNAL"]


def _metadata(
    namespaces: dict[str, msgspec.Raw] | None, uses: Uses
) -> tuple[dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    """Entries of all namespaces that are asked for, those of ``default`` first, and those of the resource apart."""
    found: dict[str, msgspec.Raw] = {}
    of_resource: dict[str, msgspec.Raw] = {}
    for name, raw in sorted((namespaces or {}).items(), key=_is_other):
        try:
            inner = _entries.decode(raw)
        except msgspec.ValidationError:
            inner = {name: raw}
        for key, value in inner.items():
            if uses[key]:
                if key not in found:
                    found[key] = value
            elif key.startswith(_RESOURCE):
                of_resource.setdefault(key.removeprefix(_RESOURCE), value)
    return found, of_resource


def _is_other(namespace: tuple[str, msgspec.Raw]) -> bool:
    return namespace[0] != "default"


def _of_fields(segment: Segment, *, is_segment: bool) -> dict[str, msgspec.Raw]:
    """Attributes for what X-Ray has fields of its own for."""
    found = {}
    if segment.user:
        found["user.id"] = raw_of(segment.user)
    request = segment.http.request if segment.http else None
    if request is not None and request.method:
        found["http.request.method"] = raw_of(request.method)
    if request is not None and request.url:
        url = request.url.partition("?")[0]
        if is_segment:
            _, _, rest = url.rpartition("://")
            found["url.path"] = raw_of("/" + rest.partition("/")[2])
        else:
            found["url.full"] = raw_of(url)
    return found


def _links(raw: msgspec.Raw) -> msgspec.Raw:
    if not len(raw):
        return ABSENT
    try:
        value = orjson.loads(bytes(raw))
    except UNDECODABLE:
        return ABSENT
    links = [
        {"traceId": _trace_hex(str(link.get("trace_id", ""))), "spanId": str(link.get("id", ""))}
        for link in (value if isinstance(value, list) else ())
        if isinstance(link, dict)
    ]
    return msgspec.Raw(orjson.dumps(links)) if links else ABSENT
