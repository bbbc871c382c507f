"""Datadog APM traces: lists of traces as tracers send them to the agent, and answers of the span search.

Fields: datadog-agent ``pkg/trace/pb/span.proto``; ``meta`` holds texts and ``metrics`` floats. Ids are numbers of 64
bits; the upper half of a trace id stands in ``_dd.p.tid`` of some of its spans, as do the process's own id, its
language and its environment. A list of spans is therefore held while it is read, and so is an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, text_of
from auditor.load.datadog_ids import NO_HALF, Id, is_root, span_hex, trace_hex
from auditor.load.moments import iso_nanoseconds, nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE, decode_json
from auditor.load.plain_values import raw_of
from auditor.load.span_writer import KINDS, SpanWriter, held, opens_list, plain_reason

_ERROR = Status(2)
_OK = Status()
_TYPE_KINDS = {"web": KINDS["SERVER"], "http": KINDS["CLIENT"]}
"""Span types that older tracers give instead of ``span.kind``."""
_PROCESS_KEYS = ("runtime-id", "language", "env")
_IGNORED = frozenset(
    {"_dd.p.tid", "_dd.p.dm", "_dd.tags.process", "span.kind", "component", "_dd.span_links", *_PROCESS_KEYS}
)
UNKNOWN_PROVIDER = b'"unknown"'
_SPAN_KEYS = frozenset({"trace_id", "span_id", "start"})

Process = tuple[str, str, str]
"""Instance, language and environment."""
NO_PROCESS: Process = ("", "", "")


class ApmSpan(msgspec.Struct, gc=False):
    """A span as the tracer sent it."""

    trace_id: Id = None
    span_id: Id = None
    parent_id: Id = None
    name: str | None = None
    service: str | None = None
    type: str | None = None
    error: int | bool | None = 0
    start: int | float | None = 0
    duration: int | float | None = None
    meta: dict[str, msgspec.Raw] | None = None
    metrics: dict[str, msgspec.Raw] | None = None
    span_links: msgspec.Raw = ABSENT


class Found(msgspec.Struct, gc=False):
    """One result of the span search; its attributes are nested objects."""

    attributes: dict[str, Any] | None = None


class Answer(msgspec.Struct, gc=False):
    """An answer of the span search."""

    data: list[msgspec.Raw] | None = None


_list = msgspec.json.Decoder(list[msgspec.Raw])
_span = msgspec.json.Decoder(ApmSpan)
_trace = msgspec.json.Decoder(list[ApmSpan])
_answer = msgspec.json.Decoder(Answer)
_found = msgspec.json.Decoder(Found)


def is_datadog(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    while isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return False
    results = value.get("data")
    if isinstance(results, list) and results and isinstance(results[0], dict):
        return results[0].get("type") == "spans" and isinstance(results[0].get("attributes"), dict)
    return value.keys() >= _SPAN_KEYS and bool(value.keys() & {"meta", "metrics", "service"})


class DatadogReader:
    """Reads traces, lists of spans, spans, and answers of the search."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._spans = SpanWriter(builder)

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one JSON value; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self._spans.record(record, line, byte):
            if opens_list(record):
                self._read_list(_list.decode(record))
            else:
                self._read_object(record)

    def _read_list(self, raws: Sequence[msgspec.Raw]) -> None:
        loose = []
        traces = []
        for number, raw in enumerate(raws):
            if opens_list(raw):
                traces.append((number, raw))
            else:
                loose.append(raw)
        if loose:
            self._read_trace(loose, "spans")
        for number, raw in traces:
            try:
                spans = _trace.decode(raw)
            except msgspec.ValidationError:
                self._read_trace(_list.decode(raw), f"traces[{number}]")
            else:
                self._add_all(spans)

    def _read_object(self, record: bytes | memoryview) -> None:
        try:
            results = _answer.decode(record).data
        except msgspec.ValidationError as error:
            self._spans.reject(f"an answer of Datadog: {plain_reason(error)}")
            return
        if results is None:
            self._read_trace([msgspec.Raw(record)], "spans")
            return
        spans = []
        for number, raw in enumerate(results):
            try:
                spans.append(_searched(_found.decode(raw).attributes or {}))
            except msgspec.ValidationError as error:
                self._spans.reject(f"data[{number}]: {plain_reason(error)}")
        self._add_all(spans)

    def _read_trace(self, raws: Iterable[msgspec.Raw], path: str) -> None:
        spans = []
        for number, raw in enumerate(raws):
            try:
                spans.append(_span.decode(raw))
            except msgspec.ValidationError as error:
                self._spans.reject(f"{path}[{number}]: {plain_reason(error)}")
        self._add_all(spans)

    def _add_all(self, spans: Sequence[ApmSpan]) -> None:
        halves = {span.trace_id: half for span in spans if (half := _text(span.meta, "_dd.p.tid"))}
        processes = _processes(spans)
        for span in spans:
            self._add(span, halves.get(span.trace_id, NO_HALF), processes[span.trace_id, span.span_id])

    def _add(self, span: ApmSpan, half: str, process: Process) -> None:
        meta, metrics = span.meta or {}, span.metrics or {}
        kind = KINDS.get(_text(meta, "span.kind").upper(), 0) or _TYPE_KINDS.get(span.type or "", 0)
        scope = _text(meta, "component")
        if not scope and "_dd.llmobs.span_kind" in meta:
            # An integration names its spans after itself: "openai.request".
            scope = (span.name or "").partition(".")[0]
        links = _links(meta.get("_dd.span_links"), span.span_links)
        if bytes(meta.get("_dd.llmobs.model_provider", ABSENT)) == UNKNOWN_PROVIDER:
            del meta["_dd.llmobs.model_provider"]
        own = span_hex(span.span_id)
        uses = self._spans.uses(own)
        attributes = [KeyValue(key, value) for key, value in meta.items() if uses[key] and key not in _IGNORED]
        attributes += [KeyValue(key, value) for key, value in metrics.items() if uses[key]]
        start = nanoseconds(span.start, 1)
        self._spans.add(
            self._resource(span.service or "", process),
            scope,
            Span(
                traceId=trace_hex(span.trace_id, half),
                spanId=own,
                parentSpanId=NO_PARENT if is_root(span.parent_id) else span_hex(span.parent_id),
                name=span.name or "",
                kind=kind,
                startTimeUnixNano=start,
                endTimeUnixNano=start + nanoseconds(span.duration, 1) if start and span.duration is not None else 0,
                attributes=attributes,
                links=links,
                status=_ERROR if span.error else _OK,
            ),
        )

    def _resource(self, service: str, process: Process) -> ResourceFacts:
        instance, language, environment = process
        return self._spans.resource(
            ("service.name", service),
            ("service.instance.id", instance),
            ("telemetry.sdk.language", language),
            ("deployment.environment.name", environment),
        )


def _processes(spans: Sequence[ApmSpan]) -> dict[tuple[Id, Id], Process]:
    """The process of each span: its own, or that of the next span above it that names one and is of its service."""
    at = {(span.trace_id, span.span_id): span for span in spans}
    known: dict[tuple[Id, Id], Process] = {}
    for span in spans:
        way = []
        current: ApmSpan | None = span
        found = NO_PROCESS
        while current is not None:
            key = (current.trace_id, current.span_id)
            if key in known:
                found = known[key]
                break
            named = _text(current.meta, "runtime-id"), _text(current.meta, "language"), _text(current.meta, "env")
            # Noted at once, so that a span that is its own ancestor ends the way.
            known[key] = named
            if named[0]:
                found = named
                break
            way.append((key, named))
            current = at.get((current.trace_id, current.parent_id))
        for key, named in reversed(way):
            found = known[key] = (named[0] or found[0], named[1] or found[1], named[2] or found[2])
    return known


def _searched(attributes: dict[str, Any]) -> ApmSpan:
    """A result of the search as a span: what the tracer had set stands in ``custom``, nested."""
    custom = attributes.get("custom")
    flat = dict(_flattened(custom)) if isinstance(custom, dict) else {}
    start = iso_nanoseconds(attributes.get("start_timestamp"))
    end = iso_nanoseconds(attributes.get("end_timestamp"))
    meta = {key: raw for key, value in flat.items() if (raw := raw_of(value)) is not ABSENT}
    if isinstance(environment := attributes.get("env"), str):
        meta["env"] = raw_of(environment)
    if isinstance(tags := attributes.get("tags"), list):
        meta["_dd.llmobs.tags"] = raw_of(tags)
    failed = attributes.get("status") == "error" or "error.type" in flat
    return ApmSpan(
        trace_id=_id(attributes.get("trace_id")),
        span_id=_id(attributes.get("span_id")),
        parent_id=_id(attributes.get("parent_id")),
        name=text_of(attributes.get("operation_name")),
        service=text_of(attributes.get("service")),
        type=text_of(attributes.get("type")),
        error=int(failed),
        start=start,
        duration=max(end - start, 0) if end else None,
        meta=meta,
    )


def _flattened(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Entries of nested objects, under dotted keys."""
    waiting = [("", value)]
    while waiting:
        prefix, current = waiting.pop()
        for key, inner in current.items():
            if isinstance(inner, dict):
                waiting.append((f"{prefix}{key}.", inner))
            else:
                yield prefix + key, inner


def _links(text: msgspec.Raw | None, raw: msgspec.Raw) -> msgspec.Raw:
    """Span links, from the JSON text among the tags or from the field."""
    if text is None and not len(raw):
        return ABSENT
    value = decode_json(bytes(raw))
    if text is not None:
        try:
            value = orjson.loads(decode_json(bytes(text)))
        except (*UNDECODABLE, TypeError):
            return ABSENT
    links = [
        {
            "traceId": trace_hex(_id(link.get("trace_id")), _high(link.get("trace_id_high"))),
            "spanId": span_hex(_id(link.get("span_id"))),
        }
        for link in (value if isinstance(value, list) else ())
        if isinstance(link, dict)
    ]
    return msgspec.Raw(orjson.dumps(links)) if links else ABSENT


def _high(value: Any) -> str:
    return span_hex(_id(value)) if value else NO_HALF


def _id(value: Any) -> Id:
    return value if isinstance(value, int | str) else None


def _text(values: dict[str, msgspec.Raw] | None, key: str) -> str:
    raw = values.get(key) if values else None
    return "" if raw is None else _decoded(bytes(raw))


@lru_cache(maxsize=1 << 12)
def _decoded(data: bytes) -> str:
    """A text of which there are few."""
    return text_of(decode_json(data))


def _opens_list(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"["
