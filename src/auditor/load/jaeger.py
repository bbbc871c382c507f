"""Jaeger's JSON: answers of the query API, the UI's downloads, bare spans, and the v3 API's answers.

Shapes: jaegertracing/jaeger ``internal/uimodel`` (query and UI) and the OTLP envelope of ``/api/v3``. Ids may lack
leading zeros, times are microseconds, kind, status and scope stand among the tags, the parent is a reference.
A document is held while it is read, as it stands in the file; its spans are decoded one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any, Literal, NamedTuple

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, PRESENCE_BELOW, BatchBuilder, ResourceFacts, text_of
from auditor.load.key_sets import KeySets, asked_of
from auditor.load.learned_keys import LearnedKeys, with_members
from auditor.load.moments import MICROSECOND, nanoseconds
from auditor.load.otlp_json import OtlpJsonReader
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE
from auditor.load.span_writer import (
    CACHED_RESOURCES,
    KINDS,
    NOTHING,
    PIECE,
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
_NULL = msgspec.Raw(b"null")
_V3_HEAD = re.compile(rb'\s*\{\s*"(?:result"\s*:\s*\{\s*"(?:resourceSpans|resource_spans)"|error"\s*:\s*\{\s*"grpc)')
_SPAN_KEYS = frozenset({"traceID", "spanID"})


class Tag(KeyValue, gc=False):
    """A tag; of the types only ``binary`` matters: its value is base64."""

    type: str = ""


NotBinary = Literal["", "string", "bool", "int64", "float64"]


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


class Processes(msgspec.Struct, gc=False):
    """What the spans of a trace refer to."""

    processes: dict[str, msgspec.Raw] | None = None


class Trace(Processes, gc=False):
    """A trace with its processes."""

    spans: list[msgspec.Raw] | None = None


class WholeTrace(Processes, gc=False):
    """A trace, each span of it read."""

    spans: list[JaegerSpan] | None = None


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


class Told(NamedTuple):
    """What tags say that are no attributes of a span."""

    kind: int
    scope: str
    failed: bool


class Part(NamedTuple):
    """Spans of a trace."""

    path: str
    first: int
    """Number of the first of them in its list."""
    spans: Sequence[JaegerSpan]
    processes: Mapping[str, msgspec.Raw]
    is_learned: bool
    """``LearnedKeys`` decoded them: the types of the tags are their keys."""


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """What spans with the same tags in the same order have in common; each is like itself only."""

    told: Callable[[Sequence[Tag]], tuple[Tag, ...]]
    """Takes the tags that are no attributes, and say something."""
    combinations: dict[bytes, Told]
    """By the values of these."""
    attributes: Callable[[Sequence[Tag]], tuple[Tag, ...]]
    """Takes the attributes that are asked for."""
    deciding: Callable[[Sequence[Tag]], tuple[Tag, ...]]
    """Takes all tags of which the value matters."""
    repeats: bool
    """There are neither ids nor counts: what such a span means is remembered."""


def _trace_of(span: Any) -> Any:
    """The type of a trace with such spans."""
    return with_members(WholeTrace, "spans", span)


_key, _value = attrgetter("key"), attrgetter("value")
_whole_trace = msgspec.json.Decoder(WholeTrace)
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
        self._spans = spans = SpanWriter(builder)
        self._processes: dict[bytes, ResourceFacts] = {}
        self._learned = LearnedKeys(
            builder.lexicon, span=JaegerSpan, attributes="tags", fields=self._fields, request=_trace_of
        )
        self._combinations: dict[tuple[str, ...], dict[bytes, Told]] = {}
        self._used = KeySets(lambda keys: self._layout(keys, spans.used))
        self._told = KeySets(lambda keys: self._layout(keys, spans.told))

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one JSON value; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self._spans.record(record, line, byte):
            try:
                if opens_list(record):
                    self._spans.walk(self._walked(self._parts(_spans.decode(record), {}, "spans")))
                else:
                    self._read_answer(record)
            except msgspec.ValidationError as error:
                self._spans.reject(f"not a Jaeger export: {plain_reason(error)}")

    def _note_errors(self, errors: msgspec.Raw) -> None:
        if len(errors) and bytes(errors) not in {b"null", b"[]"}:
            self._spans.reject("the answer of Jaeger holds errors")

    def _read_answer(self, record: bytes | memoryview) -> None:
        answer = _answer.decode(record)
        self._note_errors(answer.errors)
        if answer.data is None:
            self._read_other(answer, record)
        else:
            self._spans.walk(self._walked(self._traces(answer.data)))

    def _read_other(self, answer: Answer, record: bytes | memoryview) -> None:
        if len(answer.spans):
            self._spans.walk(self._walked(self._trace(record, "")))
        elif len(answer.spanID):
            # A span that stands alone waits for others.
            parts = self._parts([msgspec.Raw(record)], {}, "spans")
            for resource, scope, spans in self._walked(parts, remembers=False):
                for span in spans:
                    self._spans.add(resource, scope, span)
        elif not len(answer.errors):
            self._spans.reject("neither traces nor a span of Jaeger")

    def _traces(self, raws: Iterable[msgspec.Raw]) -> Iterator[Part]:
        """Decode traces one by one: what belongs together stays in the processor's cache."""
        for number, raw in enumerate(raws):
            yield from self._trace(raw, f"data[{number}]")

    def _trace(self, raw: msgspec.Raw | bytes | memoryview, path: str) -> Iterator[Part]:
        in_trace = f"{path}.spans".lstrip(".")
        whole = None if len(raw) > SPLIT_ABOVE else self._whole_trace(raw, in_trace)
        if whole is not None:
            yield whole
            return
        try:
            trace = _trace.decode(raw)
        except msgspec.ValidationError as error:
            self._spans.reject(f"{path}: {plain_reason(error)}".lstrip(": "))
        else:
            yield from self._parts(trace.spans or (), trace.processes or {}, in_trace)

    def _whole_trace(self, raw: msgspec.Raw | bytes | memoryview, path: str) -> Part | None:
        """Decode a trace at once; ``None`` when something in it is broken."""
        learned = self._learned.request(raw)
        try:
            trace: WholeTrace = learned or _whole_trace.decode(raw)
        except msgspec.ValidationError:
            return None
        part = Part(path, 0, trace.spans or (), trace.processes or {}, learned is not None)
        if learned is None:
            self._regularise([part])
        return part

    def _parts(self, raws: Sequence[msgspec.Raw], processes: Mapping[str, msgspec.Raw], path: str) -> Iterator[Part]:
        """Decode spans, some at a time."""
        for start in range(0, len(raws), PIECE):
            piece = raws[start : start + PIECE]
            spans: list[JaegerSpan] | None = self._learned.spans(piece)
            if spans is not None:
                yield Part(path, start, spans, processes, True)
                continue
            parts = []
            for number, raw in enumerate(piece, start):
                try:
                    parts.append(Part(path, number, [_span.decode(raw)], processes, False))
                except msgspec.ValidationError as error:
                    self._spans.reject(f"{path}[{number}]: {plain_reason(error)}")
            self._regularise(parts)
            yield from parts

    def _regularise(self, parts: Sequence[Part]) -> None:
        """Take out the values of tags that hold bytes, and learn the keys."""
        spans = [span for part in parts for span in part.spans]
        for span in spans:
            for tag in span.tags or ():
                if tag.type == "binary" and tag.key not in _SPECIAL:
                    tag.value = _NULL
        self._learned.learn(spans)

    def _fields(self, key: str) -> list[Any]:
        """What there is of a tag with this key besides it: the value, where it may be asked for."""
        if key in _SPECIAL:
            is_wanted = key in _TOLD
        else:
            code = self._spans.builder.lexicon.span_codes.get(key)
            is_wanted = self._spans.told[key] and (code is None or code >= PRESENCE_BELOW)
        return [("type", NotBinary, ""), *([("value", msgspec.Raw, ABSENT)] if is_wanted else [])]

    def _layout(self, tags: Iterable[Any], uses: Uses) -> Layout:
        """``tags`` are keys, or types that have them."""
        keys = [tag if isinstance(tag, str) else tag.key for tag in tags]
        asked = asked_of(keys, uses, self._spans.builder.lexicon, _SPECIAL)
        told = [at for at, key in enumerate(keys) if key in _TOLD]
        return Layout(
            _taking(told),
            self._combinations.setdefault(tuple([keys[at] for at in told]), {}),
            _taking([at for at, key in enumerate(keys) if key in asked.keys]),
            _taking(told + [at for at, key in enumerate(keys) if key in asked.deciding_keys]),
            asked.repeats,
        )

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

    def _walked(self, parts: Iterable[Part], *, remembers: bool = True) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows, unless nothing is to be remembered."""
        writer = self._spans
        add_known, learned = writer.meanings.add_known, writer.meanings.learned
        count = 0
        for path, first, spans, processes, is_learned in parts:
            identify: Callable[[Any], Any] = type if is_learned else _key
            known: dict[str, ResourceFacts] = {}
            trace_id = trace = ""
            for number, span in enumerate(spans, first):
                count += 1
                if count % PIECE == 0:
                    writer.pause()
                resource = known.get(span.processID or "")
                if resource is None:
                    try:
                        named = processes.get(span.processID or "")
                        resource = self._resource(span.process if named is None else named)
                    except msgspec.ValidationError as error:
                        writer.reject(f"{path}[{number}]: {plain_reason(error)}")
                        continue
                    if named is not None:
                        known[span.processID or ""] = resource
                if span.traceID != trace_id or not trace:
                    trace_id, trace = span.traceID, hex_id(span.traceID, 16)
                own = hex_id(span.spanID, 8)
                parent, links = _relations(span, trace)
                start = nanoseconds(span.startTime, MICROSECOND)
                end = start + nanoseconds(span.duration, MICROSECOND) if start and span.duration is not None else 0
                events = _events(span.logs) if len(span.logs) > NOTHING else ABSENT
                tags = span.tags or ()
                is_used = writer.uses(own) is writer.used
                layout = (self._used if is_used else self._told)[tuple(map(identify, tags))]
                asked = None
                if layout.repeats and is_used and remembers and links is ABSENT and events is ABSENT:
                    asked = layout, id(resource), b"\n".join(map(_value, layout.deciding(tags)))
                    if add_known(asked, trace, own, parent, start, end):
                        continue
                told_tags = layout.told(tags)
                raws = b"\n".join(map(_value, told_tags))
                kind, scope, failed = layout.combinations.get(raws) or _new_told(layout, told_tags, raws)
                found = Span(
                    trace,
                    own,
                    parent,
                    0,
                    span.operationName or "",
                    kind,
                    start,
                    end,
                    list(layout.attributes(tags)),
                    events,
                    links,
                    _ERROR if failed else _OK,
                )
                yield from learned(asked, resource, scope, found)


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


def _new_told(layout: Layout, tags: Iterable[Tag], raws: bytes) -> Told:
    """Kind, scope and failure, which few combinations of tags tell."""
    kind, scope, status, failed = 0, "", "", False
    for tag in tags:
        value = bytes(tag.value)
        if tag.key == "error":
            failed = value not in _NO_ERROR
            continue
        text = text_of(decode_text(value))
        if tag.key == "span.kind":
            kind = KINDS.get(text.upper(), 0)
        elif tag.key == "otel.status_code":
            status = text.upper()
        else:
            scope = text or scope
    found = Told(kind, scope, status == "ERROR" if status else failed)
    if len(layout.combinations) < CACHED_RESOURCES:
        layout.combinations[raws] = found
    return found


def _taking(positions: Sequence[int]) -> Callable[[Sequence[Tag]], tuple[Tag, ...]]:
    """Takes the tags at these positions."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda tags: tuple([tags[at] for at in positions])


def _relations(span: JaegerSpan, trace: str) -> tuple[str, msgspec.Raw]:
    """The parent, and links to other spans.

    ``CHILD_OF`` in the same trace names the parent; where there is none, ``FOLLOWS_FROM`` in the same trace does.
    What leads to another trace is a link, and so is every ``FOLLOWS_FROM``.
    """
    if not span.references:
        return hex_id(span.parentSpanID or "", 8) if span.parentSpanID else NO_PARENT, ABSENT
    if len(span.references) == 1:
        (reference,) = span.references
        if reference.refType == "CHILD_OF" and reference.traceID == span.traceID:
            return hex_id(reference.spanID, 8) or NO_PARENT, ABSENT
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
_TOLD = frozenset({"span.kind", "otel.status_code", "error", *_SCOPE_NAMES})
"""Those that say something."""
_NO_ERROR = frozenset({b"false", b'"false"', b"null", b"0", b'""', b'"0"'})
