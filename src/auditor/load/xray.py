"""AWS X-Ray segments: what the daemon is sent, segments as JSON, and answers of ``BatchGetTraces``.

Fields: AWS's segment document reference; where attributes of OpenTelemetry go: the Collector's ``awsxrayexporter``
(indexed ones to annotations, with ``_`` for dots, the others to ``metadata.default``, those of the resource behind
``otel.resource.``, on segments only). Times are seconds as floats. A subsegment lies inside its segment, or comes alone
with the id of its parent: then its service is that of the segment above it, and it is held back until the end of the
record, or of the input where its segment has not come by then. For this the service of every span of the input is
remembered, about 200 bytes each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, canonical_id, text_of
from auditor.load.key_sets import KeySets
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
COPIED_ABOVE = 1 << 20
"""Bytes of a record above which the values of subsegments are copied: they hold on to the documents otherwise."""
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
    metadata: msgspec.Raw = ABSENT
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
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_namespace = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entries = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])


Ids = tuple[str, str]
"""Trace id and span id."""


class Above(NamedTuple):
    """What a subsegment has from the object that it lies in."""

    trace: str
    parent: str
    resource: ResourceFacts


Place = tuple[int, ...]
"""Where a document stands in an answer."""


class Metadata(NamedTuple):
    """What stands in the metadata of a segment, as far as it is asked for."""

    attributes: list[KeyValue]
    of_resource: dict[str, msgspec.Raw]


class Entries(NamedTuple):
    """Which of the entries of a namespace are asked for."""

    attributes: tuple[str, ...]
    of_resource: tuple[tuple[str, str], ...]
    """Their keys as they stand there, and those of the resource."""


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
        self._unknown = self._spans.resource(*UNKNOWN_RESOURCE)
        self._alone: list[Span] = []
        """Subsegments of this record that came alone."""
        self._are_copied = False
        """Their values do not hold on to the bytes that they were read from."""
        self._waiting: list[tuple[int, int, Span]] = []
        """Those of other records whose segment has not come, with the positions of these."""
        self._used = KeySets(lambda keys: _entries_of(keys, self._spans.used))
        self._told = KeySets(lambda keys: _entries_of(keys, self._spans.told))
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
        self._alone = []
        self._are_copied = len(record) > COPIED_ABOVE
        with self._spans.record(record, line, byte):
            if value is None:
                for number, raw in enumerate(_list.decode(record)):
                    self._read_segment(raw, f"segments[{number}]")
            else:
                self._read_value(value, record)
            for span, resource in self._placed(self._alone):
                if resource is not None:
                    self._spans.add(resource, "", span)
                    continue
                if not self._are_copied:
                    span.attributes = [KeyValue(pair.key, pair.value.copy()) for pair in span.attributes]
                self._waiting.append((line, byte, span))

    def finish(self) -> None:
        """Take over the subsegments that came alone, and their segments after them or not at all."""
        placed = self._placed([span for _, _, span in self._waiting])
        for (line, byte, _), (span, resource) in zip(self._waiting, placed, strict=True):
            self._spans.resume(line, byte)
            self._spans.add(self._unknown if resource is None else resource, "", span)
        self._spans.end()
        self._waiting.clear()

    def _placed(self, spans: Sequence[Span]) -> Iterator[tuple[Span, ResourceFacts | None]]:
        """Subsegments that came alone, with the resource of the segment above them; ``None`` where that is missing."""
        services = self._services
        parents: dict[Ids, Ids] | None = None
        lost: set[Ids] = set()
        for span in spans:
            own = span.traceId, span.spanId
            resource = services.get(own)
            if resource is None:
                resource = services.get((span.traceId, span.parentSpanId))
                if resource is None:
                    # The parent came alone as well, and may follow.
                    if parents is None:
                        parents = {(span.traceId, span.spanId): (span.traceId, span.parentSpanId) for span in spans}
                    resource = self._above(own, parents, lost)
                if resource is not None:
                    services[own] = resource
            yield span, resource

    def _above(self, own: Ids, parents: Mapping[Ids, Ids], lost: set[Ids]) -> ResourceFacts | None:
        """The resource of the first segment on the way up; all on the way are of it, or ``lost`` with it."""
        way = []
        at = own
        while at in parents and at not in self._services and at not in lost:
            way.append(at)
            # Noted at once, so that subsegments that lie inside each other end the way.
            lost.add(at)
            at = parents[at]
        resource = self._services.get(at)
        if resource is not None:
            self._services.update(dict.fromkeys(way, resource))
        return resource

    def _read_value(self, value: Value, record: bytes | memoryview) -> None:
        is_answer = value.Traces is not None or value.Segments is not None
        for place, text in _documents(value):
            is_answer = True
            self._read_document(text, place)
        if not is_answer:
            self._read_segment(msgspec.Raw(record), "segment")

    def _read_document(self, text: str, place: Place) -> None:
        try:
            data = text.encode("utf-8", "surrogatepass")
            try:
                segment = _segment.decode(data)
                if not segment.subsegments:
                    self._add(segment, None)
                    return
            except msgspec.ValidationError:
                pass
            self._read_segment(msgspec.Raw(data), _path(place))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self._spans.reject(f"{_path(place)}: its Document is not JSON")

    def _read_segment(self, raw: msgspec.Raw, path: str) -> None:
        """Read a segment and all that lies inside it."""
        waiting: list[tuple[msgspec.Raw, str, Above | None]] = [(raw, path, None)]
        while waiting:
            current, here, above = waiting.pop()
            try:
                segment = _segment.decode(current)
                inside = self._add(segment, above)
            except msgspec.ValidationError as error:
                self._spans.reject(f"{here}: {plain_reason(error)}")
                continue
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
        is_copied = is_alone and self._are_copied
        start = nanoseconds(segment.start_time, SECOND)
        ended = start and not segment.in_progress and segment.end_time is not None
        uses = self._spans.uses(span_id)
        entries = self._used if uses is self._spans.used else self._told
        attributes, of_resource = _metadata(segment.metadata, entries, is_copied=is_copied)
        if segment.annotations or segment.user or segment.http is not None:
            attributes = self._with_fields(attributes, segment, uses, is_segment=is_segment, is_copied=is_copied)
        span = Span(
            trace,
            span_id,
            parent,
            (REMOTE_PARENT if is_segment else LOCAL_PARENT) if parent != NO_PARENT else 0,
            segment.name or "",
            _kind(segment, is_segment=is_segment),
            start,
            nanoseconds(segment.end_time, SECOND) if ended else 0,
            attributes,
            ABSENT,
            _links(segment.links) if len(segment.links) else ABSENT,
            _ERROR if segment.error or segment.fault or segment.throttle else _OK,
        )
        if is_alone:
            self._alone.append(span)
            return Above(trace, span_id, self._unknown)
        resource = above.resource if above else self._resource(segment, of_resource)
        self._services[trace, span_id] = resource
        self._spans.add(resource, "", span)
        return Above(trace, span_id, resource)

    def _with_fields(
        self, metadata: list[KeyValue], segment: Segment, uses: Uses, *, is_segment: bool, is_copied: bool
    ) -> list[KeyValue]:
        """Attributes from metadata, annotations and the fields that X-Ray has for them."""
        own = {pair.key: pair.value for pair in metadata}
        for key, value in (segment.annotations or {}).items():
            known = self._annotated.get(key, key)
            if uses[known]:
                own[known] = value.copy() if is_copied else value
        own |= _of_fields(segment, is_segment=is_segment)
        return [KeyValue(key, value) for key, value in own.items()]

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


def _documents(value: Value) -> Iterator[tuple[Place, str]]:
    """Segments that an answer holds as JSON text."""
    if value.Document is not None:
        yield (), value.Document
    for number, document in enumerate(value.Segments or ()):
        yield (number,), document.Document or ""
    for number, trace in enumerate(value.Traces or ()):
        for inner, document in enumerate(trace.Segments or ()):
            yield (number, inner), document.Document or ""


def _path(place: Place) -> str:
    """A place as the user may look it up."""
    segment = f"Segments[{place[-1]}]" if place else "segment"
    return f"Traces[{place[0]}].{segment}" if len(place) > 1 else segment


@lru_cache(maxsize=1 << 10)
def _trace_hex(text: str) -> str:
    found = _TRACE_ID.fullmatch(text)
    return (found[1] + found[2]).lower() if found else canonical_id(text, 16) or ""


def _kind(segment: Segment, *, is_segment: bool) -> int:
    """A segment serves a request; a subsegment calls out where it says so."""
    if is_segment:
        return KINDS["SERVER"] if segment.http is not None else 0
    return KINDS["CLIENT"] if segment.namespace in _REMOTE else KINDS["INTERNAL"]


def _metadata(data: msgspec.Raw, known: KeySets[Entries], *, is_copied: bool) -> Metadata:
    """Entries of all namespaces that are asked for, those of ``default`` first, and those of the resource apart.

    ``is_copied`` says that they are not to hold on to the bytes that they are read from. Raises
    ``msgspec.ValidationError`` for what is no object.
    """
    found: dict[str, msgspec.Raw] = {}
    of_resource: dict[str, msgspec.Raw] = {}
    for inner in _namespaces_of(data):
        entries = known[tuple(inner)]
        for key in entries.attributes:
            if key not in found:
                found[key] = inner[key].copy() if is_copied else inner[key]
        for key, name in entries.of_resource:
            of_resource.setdefault(name, inner[key])
    return Metadata([KeyValue(key, value) for key, value in found.items()], of_resource)


def _namespaces_of(data: msgspec.Raw) -> Iterable[dict[str, msgspec.Raw]]:
    """The namespaces of metadata, ``default`` first; what stands there instead of one is an entry by itself."""
    if not len(data):
        return ()
    try:
        found = _entries.decode(data)
    except msgspec.ValidationError:
        found = {name: _namespace_of(name, raw) for name, raw in _parts_of(data).items()}
    return found.values() if len(found) <= 1 else [inner for _, inner in sorted(found.items(), key=_is_other)]


def _parts_of(data: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _parts.decode(data) or {}
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{error} - at `$.metadata`") from error


def _namespace_of(name: str, raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _namespace.decode(raw)
    except msgspec.ValidationError:
        return {name: raw}


def _entries_of(keys: tuple[str, ...], uses: Uses) -> Entries:
    return Entries(
        tuple(key for key in keys if uses[key]),
        tuple((key, key.removeprefix(_RESOURCE)) for key in keys if not uses[key] and key.startswith(_RESOURCE)),
    )


def _is_other(namespace: tuple[str, Any]) -> bool:
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
