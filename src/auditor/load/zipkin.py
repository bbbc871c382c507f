"""Zipkin v2 JSON: lists of spans, lists of traces (answers of the search API), or one span a line.

Field meanings: openzipkin/zipkin-api ``zipkin2-api.yaml``. Times are microseconds, every tag is a text, lists stand
as JSON text in it. OpenTelemetry's exporters put resource, scope and status among the tags, so that a tenant of the
resource reads as one of the span. A client and its server may share one span id: the server's side
(``shared: true``) then gets an id of its own and the client's as its parent, and what hangs on the id hangs on the
server's side; both have to be in one record. A document is held while it is read, as it stands in the file; the
spans of a large one are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, text_of
from auditor.load.key_sets import KeySets, Picked, asked_of, picks
from auditor.load.moments import MICROSECOND, nanoseconds
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE
from auditor.load.span_writer import (
    CACHED_RESOURCES,
    KINDS,
    LOCAL_PARENT,
    NOTHING,
    PIECE,
    REMOTE_PARENT,
    SPLIT_ABOVE,
    SpanWriter,
    Uses,
    held,
    hex_id,
    opens_list,
    plain_reason,
    tells_events,
)
from auditor.load.text_values import decode_text

_ERROR = Status(2)
_OK = Status()
_EMPTY = msgspec.Raw(b"")


class Endpoint(msgspec.Struct, gc=False):
    """The process that recorded a span."""

    serviceName: str | None = None  # noqa: N815  # the format's spelling


class ZipkinSpan(msgspec.Struct, gc=False):
    """A span."""

    traceId: str = ""  # noqa: N815
    id: str = ""
    parentId: str | None = None  # noqa: N815
    name: str | None = None
    kind: str | None = None
    timestamp: int | float | str | None = None
    duration: int | float | str | None = None
    localEndpoint: Endpoint | None = None  # noqa: N815
    tags: dict[str, msgspec.Raw] | None = None
    annotations: msgspec.Raw = ABSENT
    shared: bool | None = None


class Side(msgspec.Struct, gc=False):
    """What tells the sides of a shared span apart."""

    traceId: str = ""  # noqa: N815
    id: str = ""
    shared: bool | None = None


class Annotation(msgspec.Struct, gc=False):
    """An event: its name, or name and attributes as text."""

    value: str | None = None


_span = msgspec.json.Decoder(ZipkinSpan)
_spans = msgspec.json.Decoder(list[ZipkinSpan])
_side = msgspec.json.Decoder(Side)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_annotations = msgspec.json.Decoder(list[Annotation])

Ids = tuple[str, str]
"""Trace id and span id."""


def is_zipkin(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    while isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict) or not value.keys() >= {"traceId", "id"} or "spanId" in value:
        return False
    return "localEndpoint" in value or (
        isinstance(value.get("timestamp"), int) and isinstance(value.get("tags", {}), dict)
    )


class Told(NamedTuple):
    """What the tags that are no attributes of a span say."""

    resource: ResourceFacts
    scope: str
    status: str


@dataclass(frozen=True, eq=False, slots=True)
class Tags:
    """What spans with the same tag keys have in common; each is like itself only."""

    told: Picked
    combinations: dict[tuple[str, bytes], Told]
    """By the endpoint's name and the values of the tags that are told: few."""
    attributes: tuple[str, ...]
    """Tags that are attributes and asked for."""
    deciding: Picked
    """Takes all tags of which the value matters."""
    repeats: bool
    """There are neither ids nor counts: what such a span means is remembered."""
    has_error: bool


class ZipkinReader:
    """Reads lists of spans, lists of traces, and spans."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._spans = SpanWriter(builder)
        self._combinations: dict[tuple[str, ...], dict[tuple[str, bytes], Told]] = {}
        self._used = KeySets(lambda keys: self._tags(keys, self._spans.used))
        self._told = KeySets(lambda keys: self._tags(keys, self._spans.told))

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one JSON value; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self._spans.record(record, line, byte):
            if not opens_list(record):
                # A span that stands alone waits for others.
                for resource, scope, spans in self._walked(
                    self._decoded([msgspec.Raw(record)], "spans"), frozenset(), remembers=False
                ):
                    for span in spans:
                        self._spans.add(resource, scope, span)
            elif not self._read_whole(record):
                self._read_list(_list.decode(record), "spans")

    def _read_list(self, raws: Sequence[msgspec.Raw], path: str) -> None:
        if not any(opens_list(raw) for raw in raws[:1]):
            self._read_spans(raws, path)
            return
        for number, raw in enumerate(raws):
            if self._read_whole(raw):
                continue
            try:
                inner = _list.decode(raw)
            except msgspec.ValidationError as error:
                self._spans.reject(f"traces[{number}]: {plain_reason(error)}")
                continue
            self._read_spans(inner, f"traces[{number}]")

    def _read_whole(self, record: bytes | memoryview | msgspec.Raw) -> bool:
        """Read a list of spans; ``False`` when it is large, something else, or one of the spans is broken."""
        if len(record) > SPLIT_ABOVE:
            return False
        try:
            spans = _spans.decode(record)
        except msgspec.ValidationError:
            return False
        shared = _both_sides(spans) if any(span.shared for span in spans) else frozenset()
        self._spans.walk(self._walked(spans, shared))
        return True

    def _read_spans(self, raws: Sequence[msgspec.Raw], path: str) -> None:
        self._spans.walk(self._walked(self._decoded(raws, path), _shared_ids(raws)))

    def _decoded(self, raws: Iterable[msgspec.Raw], path: str) -> Iterator[ZipkinSpan]:
        for number, raw in enumerate(raws):
            try:
                yield _span.decode(raw)
            except msgspec.ValidationError as error:
                self._spans.reject(f"{path}[{number}]: {plain_reason(error)}")

    def _walked(
        self, spans: Iterable[ZipkinSpan], shared: frozenset[Ids], *, remembers: bool = True
    ) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows, unless nothing is to be remembered."""
        writer = self._spans
        add_known, learned = writer.meanings.add_known, writer.meanings.learned
        for number, span in enumerate(spans, 1):
            if number % PIECE == 0 and remembers:
                writer.pause()
            trace, own, parent, flags = _ids(span, shared)
            start = nanoseconds(span.timestamp, MICROSECOND)
            end = start + nanoseconds(span.duration, MICROSECOND) if start and span.duration is not None else 0
            events = _events(span.annotations) if len(span.annotations) > NOTHING else ABSENT
            named = (span.localEndpoint.serviceName or "") if span.localEndpoint else ""
            given = span.tags or {}
            is_used = writer.uses(own) is writer.used
            tags = (self._used if is_used else self._told)[tuple(given)]
            asked = None
            if tags.repeats and is_used and remembers and events is ABSENT:
                asked = tags, named, span.kind, flags, b"\n".join(tags.deciding(given))
                if add_known(asked, trace, own, parent, start, end):
                    continue
            raws = b"\n".join(tags.told(given))
            resource, scope, status = tags.combinations.get((named, raws)) or self._new_told(tags, given, named, raws)
            failed = status == "ERROR" if status else tags.has_error and bytes(given["error"]) not in _NO_ERROR
            found = Span(
                trace,
                own,
                parent,
                flags,
                span.name or "",
                KINDS.get((span.kind or "").upper(), KINDS["INTERNAL"] if scope else 0),
                start,
                end,
                [KeyValue(key, given[key]) for key in tags.attributes],
                events,
                ABSENT,
                _ERROR if failed else _OK,
            )
            yield from learned(asked, resource, scope, found)

    def _tags(self, keys: tuple[str, ...], uses: Uses) -> Tags:
        told = tuple(key for key in _TOLD if key in keys)
        asked = asked_of(keys, uses, self._spans.builder.lexicon, _IGNORED)
        has_error = "error" in keys
        return Tags(
            picks(told),
            self._combinations.setdefault(told, {}),
            asked.keys,
            picks((*told, *(("error",) if has_error else ()), *asked.deciding_keys)),
            asked.repeats,
            has_error,
        )

    def _new_told(self, tags: Tags, given: dict[str, msgspec.Raw], named: str, raws: bytes) -> Told:
        """Resource, scope and status, which few combinations of tags tell."""
        service, instance, language, scope, older_scope, status = (
            text_of(decode_text(bytes(given.get(key, _EMPTY)))) for key in _TOLD
        )
        resource = self._spans.resource(
            # Zipkin writes the endpoint's name in lower case; the tag has it as it is.
            ("service.name", service or named),
            ("service.instance.id", instance),
            ("telemetry.sdk.language", language),
        )
        found = Told(resource, scope or older_scope, status.upper())
        if len(tags.combinations) < CACHED_RESOURCES:
            tags.combinations[named, raws] = found
        return found


def _ids(span: ZipkinSpan, shared: frozenset[Ids]) -> tuple[str, str, str, int]:
    """Trace, span and parent id as hex, and what is known of the parent, as flags of OTLP."""
    trace, own = hex_id(span.traceId, 16), hex_id(span.id, 8)
    parent = hex_id(span.parentId, 8) if span.parentId else NO_PARENT
    if not shared:
        return trace, own, parent, REMOTE_PARENT if span.shared and span.parentId else 0
    if span.shared and (trace, own) in shared:
        return trace, _server_side(own), own, REMOTE_PARENT
    if (trace, parent) in shared:
        return trace, own, _server_side(parent), LOCAL_PARENT
    return trace, own, parent, 0


def _shared_ids(raws: Sequence[msgspec.Raw]) -> frozenset[Ids]:
    """Ids that two sides have in common, both of them among these spans."""
    if not any(b'"shared"' in bytes(raw) for raw in raws):
        return frozenset()
    sides = []
    for raw in raws:
        try:
            sides.append(_side.decode(raw))
        except msgspec.ValidationError:
            continue
    return _both_sides(sides)


def _both_sides(sides: Iterable[Side | ZipkinSpan]) -> frozenset[Ids]:
    servers: set[Ids] = set()
    clients: set[Ids] = set()
    for side in sides:
        (servers if side.shared else clients).add((hex_id(side.traceId, 16), hex_id(side.id, 8)))
    return frozenset(servers & clients)


def _server_side(own: str) -> str:
    return blake2b(f"server {own}".encode(), digest_size=8).hexdigest()


def _events(raw: msgspec.Raw) -> msgspec.Raw:
    """Events in the shape of OTLP, where they matter."""
    if not tells_events(raw):
        return ABSENT
    try:
        annotations = _annotations.decode(raw)
    except UNDECODABLE:
        return ABSENT
    events = []
    for annotation in annotations:
        name, attributes = _name_and_attributes(annotation.value or "")
        events.append({"name": name, "attributes": [{"key": key, "value": value} for key, value in attributes.items()]})
    return msgspec.Raw(orjson.dumps(events))


def _name_and_attributes(text: str) -> tuple[str, dict[str, Any]]:
    """Read an event as the exporters write it.

    ``{"name": {…}}`` (Python), ``"name":{…}`` (Java), ``name|{…}|0`` (the Collector), or its name alone.
    """
    if text[:1] == '"':
        text = f"{{{text}}}"
    if text[:1] != "{":
        name, _, rest = text.partition("|")
        return name, _object(rest.rpartition("|")[0])
    for name, attributes in _object(text).items():
        return name, attributes if isinstance(attributes, dict) else {}
    return "", {}


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except UNDECODABLE:
        return {}
    return value if isinstance(value, dict) else {}


_TOLD = (
    "service.name", "service.instance.id", "telemetry.sdk.language", "otel.scope.name", "otel.library.name",
    "otel.status_code",
)  # fmt: skip
"""Tags that stand for the resource, the scope and the status."""
_IGNORED = frozenset(
    {
        *_TOLD, "error", "otel.scope.version", "otel.library.version", "otel.status_description", "telemetry.sdk.name",
        "telemetry.sdk.version",
    }
)  # fmt: skip
"""Tags that are no attributes of the span."""
_NO_ERROR = frozenset({b"", b'"false"', b"false", b"null"})
"""By the format the tag alone says that the span failed; some writers say there that it did not."""
