"""Jaeger's JSON: answers of the query API, the UI's downloads, bare spans, and the v3 API's answers.

Shapes: jaegertracing/jaeger ``internal/uimodel`` (query and UI) and the OTLP envelope of ``/api/v3``. Ids may lack
leading zeros, times are microseconds, kind, status and scope stand among the tags, the parent is a reference.
A document is held while it is read, as it stands in the file; its spans are decoded one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, text_of
from auditor.load.moments import MICROSECOND, nanoseconds
from auditor.load.otlp_json import OtlpJsonReader
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE
from auditor.load.span_writer import KINDS, SpanWriter, held, hex_id, opens_list, plain_reason, tells_events
from auditor.load.text_values import decode_text

CACHED_TEXTS = 1 << 10
"""Texts that are remembered, and bytes of the longest one."""
_ERROR = Status(2)
_OK = Status()
_NULL = msgspec.Raw(b"null")
_V3_HEAD = re.compile(rb'\s*\{\s*"(?:result"\s*:\s*\{\s*"(?:resourceSpans|resource_spans)"|error"\s*:\s*\{\s*"grpc)')
_SPAN_KEYS = frozenset({"traceID", "spanID"})


class Tag(KeyValue, gc=False):
    """A tag; of the types only ``binary`` matters: its value is base64."""

    type: str = ""


class Reference(msgspec.Struct, gc=False):
    """A relation to another span."""

    refType: str = ""  # noqa: N815  # the format's spelling
    traceID: str = ""  # noqa: N815
    spanID: str = ""  # noqa: N815


class Process(msgspec.Struct, gc=False):
    """The process that made spans: a resource."""

    serviceName: str = ""  # noqa: N815
    tags: list[Tag] | None = None


class JaegerSpan(msgspec.Struct, gc=False):
    """A span; its ``flags`` are not those of OTLP and say nothing about the parent."""

    traceID: str = ""  # noqa: N815
    spanID: str = ""  # noqa: N815
    operationName: str | None = ""  # noqa: N815
    parentSpanID: str | None = ""  # noqa: N815
    references: list[Reference] | None = None
    startTime: int | float | str | None = 0  # noqa: N815
    duration: int | float | str | None = None
    tags: list[Tag] | None = None
    logs: msgspec.Raw = ABSENT
    processID: str | None = ""  # noqa: N815
    process: msgspec.Raw = ABSENT


class Trace(msgspec.Struct, gc=False):
    """A trace with its processes."""

    spans: list[msgspec.Raw] | None = None
    processes: dict[str, msgspec.Raw] | None = None


class Answer(msgspec.Struct, gc=False):
    """What a query or a download holds; a trace or a span that stands alone has the other fields."""

    data: list[msgspec.Raw] | None = None
    errors: msgspec.Raw = ABSENT
    spans: msgspec.Raw = ABSENT
    spanID: msgspec.Raw = ABSENT  # noqa: N815


class Log(msgspec.Struct, gc=False):
    """An event; its name is one of its fields."""

    fields: list[Tag] | None = None


class V3Answer(msgspec.Struct, gc=False):
    """One value of the v3 API's stream."""

    result: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


_span = msgspec.json.Decoder(JaegerSpan)
_process = msgspec.json.Decoder(Process)
_trace = msgspec.json.Decoder(Trace)
_answer = msgspec.json.Decoder(Answer)
_spans = msgspec.json.Decoder(list[msgspec.Raw])
_logs = msgspec.json.Decoder(list[Log])
_v3 = msgspec.json.Decoder(V3Answer)


def is_jaeger(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict) and value[0].keys() >= _SPAN_KEYS
    if not isinstance(value, dict):
        return False
    traces = value.get("data")
    if isinstance(traces, list) and traces:
        return isinstance(traces[0], dict) and traces[0].keys() >= {"traceID", "spans"}
    return (
        value.keys() >= _SPAN_KEYS
        or value.keys() >= {"traceID", "spans", "processes"}
        or (not traces and value.keys() >= {"data", "total", "limit", "offset", "errors"})
    )


def is_jaeger_v3(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like an answer of the v3 API."""
    inner = value.get("result") if isinstance(value, dict) else None
    return isinstance(inner, dict) and bool(inner.keys() & {"resourceSpans", "resource_spans"})


def is_jaeger_v3_head(head: bytes) -> bool:
    """Say the same of the first bytes of an input, whose first value may be too large to be looked at."""
    return _V3_HEAD.match(head) is not None


class JaegerReader:
    """Reads answers, traces, lists of spans and spans."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._spans = SpanWriter(builder)
        self._processes: dict[bytes, ResourceFacts] = {}
        self._texts: dict[bytes, str] = {}

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one JSON value; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self._spans.record(record, line, byte):
            try:
                if opens_list(record):
                    self._read_spans(_spans.decode(record), {}, "spans")
                else:
                    self._read_answer(record)
            except msgspec.ValidationError as error:
                self._spans.reject(f"not a Jaeger export: {plain_reason(error)}")

    def _read_answer(self, record: bytes | memoryview) -> None:
        answer = _answer.decode(record)
        if len(answer.errors) and bytes(answer.errors) not in {b"null", b"[]"}:
            self._spans.reject("the answer of Jaeger holds errors")
        if answer.data is not None:
            for number, raw in enumerate(answer.data):
                self._read_trace(raw, f"data[{number}]")
        elif len(answer.spans):
            self._read_trace(record, "")
        elif len(answer.spanID):
            self._read_spans([msgspec.Raw(record)], {}, "spans")
        elif not len(answer.errors):
            self._spans.reject("neither traces nor a span of Jaeger")

    def _read_trace(self, raw: msgspec.Raw | bytes | memoryview, path: str) -> None:
        try:
            trace = _trace.decode(raw)
        except msgspec.ValidationError as error:
            self._spans.reject(f"{path}: {plain_reason(error)}".lstrip(": "))
            return
        self._read_spans(trace.spans or (), trace.processes or {}, f"{path}.spans".lstrip("."))

    def _read_spans(self, raws: Iterable[msgspec.Raw], processes: dict[str, msgspec.Raw], path: str) -> None:
        known: dict[str, ResourceFacts] = {}
        for number, raw in enumerate(raws):
            try:
                span = _span.decode(raw)
                resource = known.get(span.processID or "")
                if resource is None:
                    named = processes.get(span.processID or "")
                    resource = self._resource(span.process if named is None else named)
                    if named is not None:
                        known[span.processID or ""] = resource
                self._add(span, resource)
            except msgspec.ValidationError as error:
                self._spans.reject(f"{path}[{number}]: {plain_reason(error)}")

    def _resource(self, raw: msgspec.Raw) -> ResourceFacts:
        """Read a process; Jaeger's own clients name the instance and the language in their own way."""
        data = bytes(raw)
        facts = self._processes.get(data)
        if facts is None:
            process = _process.decode(data) if data not in (b"", b"null") else Process()
            pairs = {tag.key: decode_text(bytes(tag.value)) for tag in process.tags or () if tag.type != "binary"}
            if process.serviceName:
                pairs["service.name"] = process.serviceName
            pairs.setdefault("service.instance.id", pairs.get("client-uuid"))
            language = text_of(pairs.get("jaeger.version")).partition("-")[0].lower()
            pairs.setdefault("telemetry.sdk.language", language)
            facts = self._processes[data] = self._spans.builder.resource(pairs.items())
        return facts

    def _text(self, tag: Tag) -> str:
        """A text of which there are few."""
        data = bytes(tag.value)
        text = self._texts.get(data)
        if text is None:
            text = text_of(decode_text(data))
            if len(self._texts) < CACHED_TEXTS and len(data) <= CACHED_TEXTS:
                self._texts[data] = text
        return text

    def _add(self, span: JaegerSpan, resource: ResourceFacts) -> None:
        attributes: list[KeyValue] = []
        own = hex_id(span.spanID, 8)
        uses = self._spans.uses(own)
        kind, scope = 0, ""
        failed = False
        status = ""
        for tag in span.tags or ():
            key = tag.key
            if key not in _SPECIAL:
                if uses[key]:
                    if tag.type == "binary":
                        tag.value = _NULL
                    attributes.append(tag)
            elif key == "span.kind":
                kind = KINDS.get(self._text(tag).upper(), 0)
            elif key in _SCOPE_NAMES:
                scope = self._text(tag) or scope
            elif key == "otel.status_code":
                status = self._text(tag).upper()
            elif key == "error":
                failed = bytes(tag.value) not in _NO_ERROR
        trace = hex_id(span.traceID, 16)
        parent, links = _relations(span, trace)
        start = nanoseconds(span.startTime, MICROSECOND)
        end = start + nanoseconds(span.duration, MICROSECOND) if start and span.duration is not None else 0
        self._spans.add(
            resource,
            scope,
            Span(
                traceId=trace,
                spanId=own,
                parentSpanId=parent,
                name=span.operationName or "",
                kind=kind,
                startTimeUnixNano=start,
                endTimeUnixNano=end,
                attributes=attributes,
                events=_events(span.logs),
                links=links,
                status=_ERROR if (status == "ERROR" if status else failed) else _OK,
            ),
        )


class JaegerV3Reader:
    """Reads the answers of the v3 API, which hold OTLP."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._otlp = OtlpJsonReader(builder)

    def finish(self) -> None:
        """Take over what the OTLP reader held back."""
        self._otlp.finish()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one JSON value; raises ``msgspec.DecodeError`` when it is not JSON."""
        try:
            answer = _v3.decode(record)
        except msgspec.ValidationError:
            answer = V3Answer()
        if len(answer.result) and bytes(answer.result) != b"null":
            self._otlp.read(bytes(answer.result), line, byte)
            return
        self._builder.mark(line, byte)
        reason = "the answer of Jaeger holds an error" if len(answer.error) else "no result: not an answer of Jaeger"
        self._builder.reject(line, byte, reason)


def _relations(span: JaegerSpan, trace: str) -> tuple[str, msgspec.Raw]:
    """The parent, and links to other spans.

    ``CHILD_OF`` in the same trace names the parent; where there is none, ``FOLLOWS_FROM`` in the same trace does.
    What leads to another trace is a link, and so is every ``FOLLOWS_FROM``.
    """
    if not span.references:
        return hex_id(span.parentSpanID or "", 8) if span.parentSpanID else NO_PARENT, ABSENT
    parent = follows = ""
    links = []
    for reference in span.references:
        other = hex_id(reference.traceID, 16) if reference.traceID else trace
        is_parent = reference.refType == "CHILD_OF" and other == trace
        if is_parent and not parent:
            parent = hex_id(reference.spanID, 8)
            continue
        if other == trace and not follows:
            follows = hex_id(reference.spanID, 8)
        links.append({"traceId": other, "spanId": hex_id(reference.spanID, 8)})
    raw = msgspec.Raw(orjson.dumps(links)) if links else ABSENT
    return parent or follows or NO_PARENT, raw


def _events(raw: msgspec.Raw) -> msgspec.Raw:
    """Events in the shape of OTLP, where they matter."""
    if not tells_events(raw):
        return ABSENT
    try:
        logs = _logs.decode(raw)
    except UNDECODABLE:
        return ABSENT
    events = [
        {
            "name": next(
                (text_of(decode_text(bytes(tag.value))) for tag in log.fields or () if tag.key == "event"), ""
            ),
            "attributes": [{"key": tag.key, "value": tag.value} for tag in log.fields or () if tag.key != "event"],
        }
        for log in logs
    ]
    return msgspec.Raw(msgspec.json.encode(events))


_SPECIAL = frozenset(
    {
        "span.kind", "otel.status_code", "otel.status_description", "error", "otel.scope.name", "otel.scope.version",
        "otel.library.name", "otel.library.version", "internal.span.format", "w3c.tracestate", "sampler.type",
        "sampler.param",
    }
)  # fmt: skip
"""Tags that stand for fields of a span, or that Jaeger adds by itself."""
_SCOPE_NAMES = frozenset({"otel.scope.name", "otel.library.name"})
_NO_ERROR = frozenset({b"false", b'"false"', b"null", b"0", b'""', b'"0"'})
