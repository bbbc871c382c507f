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
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, canonical_id, text_of
from auditor.load.key_sets import KeySets, Picked, picks
from auditor.load.meanings import CACHED_MEANINGS
from auditor.load.metadata_objects import KnownObjects
from auditor.load.moments import nanoseconds_of_seconds
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE, decode_json
from auditor.load.plain_values import READ_AT_ONCE, raw_of
from auditor.load.span_writer import (
    CACHED_RESOURCES,
    ID_DIGITS,
    KINDS,
    LOCAL_PARENT,
    PIECE,
    REMOTE_PARENT,
    SpanWriter,
    Uses,
    held,
    hex_id,
    opens_list,
    plain_reason,
)
from auditor.model.lexicon import RANKS

_ERROR = Status(2)
_OK = Status()
_SERVER, _CLIENT, _INTERNAL = KINDS["SERVER"], KINDS["CLIENT"], KINDS["INTERNAL"]
_KIND = 0x7
_FAILED = 0x10
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
    number: int | None
    """Of what the attributes say; ``None`` where they are hardly ever the same twice."""
    tells_more: bool
    """There are others that the sample for unknown keys is asked for."""


class Found(msgspec.Struct, gc=False):
    """A span that has been decoded."""

    line: int
    byte: int
    trace: str
    id: str
    parent: str
    name: str
    start: float
    end: float
    """Seconds; 0 where they are not told."""
    stance: int
    """OTLP flags, kind and failure, in bits of their own."""
    attributes: list[KeyValue]
    links: msgspec.Raw
    number: int | None
    """Of what the attributes say; ``None`` where the meaning is not to be looked up."""
    may_be_sampled: bool
    resource: ResourceFacts | None = None
    """``None`` as long as the segment has not come."""


class Entries(NamedTuple):
    """Which of the entries of a namespace are asked for."""

    attributes: tuple[str, ...]
    values: Picked
    of_resource: tuple[tuple[str, str], ...]
    """Their keys as they stand there, and those of the resource."""
    repeats: bool
    """None of the attributes is an id or a count."""
    tells_more: bool
    """Others are asked for of the sample for unknown keys."""


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
        self._ready: list[Found] = []
        self._alone: list[Found] = []
        """Subsegments of this record that came alone."""
        self._are_copied = False
        """Their values do not hold on to the bytes that they were read from."""
        self._waiting: list[Found] = []
        """Those of other records whose segment has not come."""
        codes = builder.lexicon.span_codes
        used, told = self._spans.used, self._spans.told
        self._used = KeySets(lambda keys: _entries_of(keys, used, told, codes))
        self._told = KeySets(lambda keys: _entries_of(keys, told, told, codes))
        self._said = KnownObjects(self._metadata, lambda metadata: metadata.number is not None)
        self._numbers: dict[tuple[tuple[str, ...], bytes], int] = {}
        self._count = count()
        self._line = self._byte = 0
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
        self._line, self._byte = line, byte
        ready = len(self._ready)
        try:
            with self._spans.record(record, line, byte):
                if value is None:
                    for number, raw in enumerate(_list.decode(record)):
                        self._read_segment(raw, f"segments[{number}]")
                else:
                    self._read_value(value, record)
        except Exception:
            del self._ready[ready:]
            raise
        self._place(self._alone)
        for found in self._alone:
            if found.resource is not None:
                self._ready.append(found)
                continue
            if not self._are_copied:
                found.attributes = _copied(found.attributes)
            self._waiting.append(found)
        if len(self._ready) >= PIECE or not isinstance(record, bytes):
            self._end()

    def finish(self) -> None:
        """Take over the subsegments that came alone, and their segments after them or not at all."""
        self._place(self._waiting)
        self._ready += self._waiting
        self._waiting = []
        self._end()

    def _end(self) -> None:
        """Read the spans that are ready."""
        ready, self._ready = self._ready, []
        for start in range(0, len(ready), PIECE):
            self._spans.walk_records(self._walked(ready[start : start + PIECE]))

    def _walked(self, ready: Sequence[Found]) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows."""
        meanings = self._spans.meanings
        line = byte = -1
        times = nanoseconds_of_seconds([found.start for found in ready] + [found.end for found in ready])
        for found, start, told_end in zip(ready, times[: len(ready)], times[len(ready) :], strict=True):
            if found.byte != byte or found.line != line:
                line, byte = found.line, found.byte
                self._spans.begin_record(line, byte)
            end = told_end if start else 0
            trace, own, parent, stance = found.trace, found.id, found.parent or NO_PARENT, found.stance
            resource = found.resource or self._unknown
            asked = None
            if found.number is not None:
                asked = id(resource), found.number, stance
                is_told = found.may_be_sampled
                if meanings.add_known(asked, trace, own, parent, start, end, is_told) or (
                    not is_told and meanings.add_call(asked, trace, own, parent, start, end, line)
                ):
                    continue
            flags, kind = stance & REMOTE_PARENT, stance & _KIND
            status = _ERROR if stance & _FAILED else _OK
            span = Span(
                trace, own, parent, flags, found.name, kind, start, end, found.attributes, ABSENT, found.links, status
            )
            if asked is None:
                yield resource, "", (span,)
            else:
                yield from meanings.learned(asked, resource, "", span)

    def _place(self, found: Sequence[Found]) -> None:
        """Give subsegments that came alone the resource of the segment above them, unless that is missing."""
        services = self._services
        parents: dict[Ids, Ids] | None = None
        lost: set[Ids] = set()
        for entry in found:
            own = entry.trace, entry.id
            resource = services.get(own)
            if resource is None:
                resource = services.get((entry.trace, entry.parent))
                if resource is None:
                    # The parent came alone as well, and may follow.
                    if parents is None:
                        parents = {(entry.trace, entry.id): (entry.trace, entry.parent) for entry in found}
                    resource = self._above(own, parents, lost)
                if resource is not None:
                    services[own] = resource
            entry.resource = resource

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
            try:
                segment = _segment.decode(text)
                if not segment.subsegments:
                    self._add(segment, None)
                    return
            except (msgspec.ValidationError, UnicodeEncodeError):
                pass
            self._read_segment(msgspec.Raw(text.encode("utf-8", "surrogatepass")), _path(place))
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
            if inside is not None:
                waiting += [
                    (inner, f"{here}.subsegments[{number}]", inside)
                    for number, inner in enumerate(segment.subsegments or ())
                ]

    def _add(self, segment: Segment, above: Above | None) -> Above | None:
        """Take over a segment; gives what lies inside it what that has from it, unless nothing does."""
        parent = segment.parent_id or ""
        if above is None:
            trace = _trace_hex(segment.trace_id or "")
            parent = parent.lower() if len(parent) == ID_DIGITS else hex_id(parent, 8) if parent else NO_PARENT
        else:
            trace, parent, resource = above
        span_id = segment.id or ""
        span_id = span_id.lower() if len(span_id) == ID_DIGITS else hex_id(span_id, 8)
        is_alone = above is None and segment.type == "subsegment"
        is_segment = above is None and not is_alone
        is_copied = is_alone and self._are_copied
        attributes, of_resource, number, tells_more = self._said[bytes(segment.metadata)]
        may_be_sampled = span_id <= self._spans.builder.sample_mark
        if may_be_sampled and tells_more:
            attributes, *_ = _metadata(segment.metadata, self._told)
        if is_copied:
            attributes = _copied(attributes)
        if segment.annotations or segment.user or segment.http is not None:
            uses = self._spans.uses(span_id)
            attributes = self._with_fields(attributes, segment, uses, is_segment=is_segment, is_copied=is_copied)
            number = None
        links = segment.links
        if links is not ABSENT:
            links, number = _links(links), None
        # A segment serves a request; a subsegment calls out where it says so.
        if is_segment:
            stance = _SERVER if segment.http is not None else 0
        else:
            stance = _CLIENT if segment.namespace in _REMOTE else _INTERNAL
        if parent != NO_PARENT:
            stance |= REMOTE_PARENT if is_segment else LOCAL_PARENT
        if segment.error or segment.fault or segment.throttle:
            stance |= _FAILED
        end = 0.0 if segment.in_progress else segment.end_time or 0.0
        found = Found(
            self._line,
            self._byte,
            trace,
            span_id,
            parent,
            segment.name or "",
            segment.start_time or 0.0,
            end,
            stance,
            attributes,
            links,
            number,
            may_be_sampled,
        )
        if is_alone:
            self._alone.append(found)
            resource = self._unknown
        else:
            if above is None:
                resource = self._resource(segment, of_resource)
            self._services[trace, span_id] = found.resource = resource
            self._ready.append(found)
            if len(self._ready) >= PIECE and self._are_copied:
                self._end()
        return Above(trace, span_id, resource) if segment.subsegments else None

    def _metadata(self, raw: bytes) -> Metadata:
        attributes, of_resource, repeats, tells_more = _metadata(raw, self._used)
        if not repeats:
            return Metadata(attributes, of_resource, None, tells_more)
        said = tuple([pair.key for pair in attributes]), b"\n".join([pair.value for pair in attributes])
        number = self._numbers.get(said)
        if number is None:
            if len(self._numbers) >= CACHED_MEANINGS:
                self._numbers.clear()
            number = self._numbers[said] = next(self._count)
        return Metadata(attributes, of_resource, number, tells_more)

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
        raws = (segment.name, *metadata, b"\n".join([segment.aws, *metadata.values()]))
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


def _metadata(
    data: bytes | msgspec.Raw, known: KeySets[Entries]
) -> tuple[list[KeyValue], dict[str, msgspec.Raw], bool, bool]:
    """Entries of all namespaces that are asked for, those of ``default`` first, and those of the resource apart.

    And whether none of them is an id or a count, and whether others are asked for of the sample.
    Raises ``msgspec.ValidationError`` for what is no object.
    """
    namespaces = _namespaces_of(data)
    if len(namespaces) == 1:
        (inner,) = namespaces
        entries = known[tuple(inner)]
        return (
            list(map(KeyValue, entries.attributes, entries.values(inner))),
            {name: inner[key] for key, name in entries.of_resource} if entries.of_resource else {},
            entries.repeats,
            entries.tells_more,
        )
    found: dict[str, msgspec.Raw] = {}
    of_resource: dict[str, msgspec.Raw] = {}
    repeats, tells_more = True, False
    for inner in namespaces:
        entries = known[tuple(inner)]
        repeats = repeats and entries.repeats
        tells_more = tells_more or entries.tells_more
        for key in entries.attributes:
            if key not in found:
                found[key] = inner[key]
        for key, name in entries.of_resource:
            of_resource.setdefault(name, inner[key])
    return list(map(KeyValue, found, found.values())), of_resource, repeats, tells_more


def _namespaces_of(data: bytes | msgspec.Raw) -> Sequence[dict[str, msgspec.Raw]]:
    """The namespaces of metadata, ``default`` first; what stands there instead of one is an entry by itself."""
    if not len(data):
        return ()
    try:
        found = _entries.decode(data)
    except msgspec.ValidationError:
        found = {name: _namespace_of(name, raw) for name, raw in _parts_of(data).items()}
    return [inner for _, inner in sorted(found.items(), key=_is_other)] if len(found) > 1 else [*found.values()]


def _parts_of(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _parts.decode(data) or {}
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{error} - at `$.metadata`") from error


def _namespace_of(name: str, raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _namespace.decode(raw)
    except msgspec.ValidationError:
        return {name: raw}


def _entries_of(keys: tuple[str, ...], uses: Uses, told: Uses, codes: Mapping[str, int]) -> Entries:
    wanted = tuple(key for key in keys if uses[key])
    return Entries(
        wanted,
        picks(wanted),
        tuple((key, key.removeprefix(_RESOURCE)) for key in keys if not uses[key] and key.startswith(_RESOURCE)),
        all(codes.get(key, -1) // RANKS not in READ_AT_ONCE for key in wanted),
        any(told[key] and not uses[key] for key in keys),
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


def _copied(attributes: list[KeyValue]) -> list[KeyValue]:
    """The same without a hold on what they were read from."""
    return [KeyValue(pair.key, pair.value.copy()) for pair in attributes]


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
