"""Datadog APM traces: lists of traces as tracers send them to the agent, and answers of the span search.

Fields: datadog-agent ``pkg/trace/pb/span.proto``; ``meta`` holds texts and ``metrics`` floats. Ids are numbers of 64
bits; the upper half of a trace id stands in ``_dd.p.tid`` of some of its spans, as do the process's own id, its
language and its environment. A list of spans is therefore held while it is read, and so is an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts, text_of
from auditor.load.datadog_ids import NO_HALF, Id, is_root, span_hex, trace_hex
from auditor.load.key_sets import KeySets, Picked, asked_of, picks
from auditor.load.moments import iso_nanoseconds, nanoseconds
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import KeyValue, Nanoseconds, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE, decode_json
from auditor.load.plain_values import raw_of
from auditor.load.span_writer import (
    CACHED_RESOURCES,
    ID_DIGITS,
    KINDS,
    PIECE,
    SPLIT_ABOVE,
    SpanWriter,
    Uses,
    held,
    opens_list,
    plain_reason,
)

_ERROR = Status(2)
_OK = Status()
_TYPE_KINDS = {"web": KINDS["SERVER"], "http": KINDS["CLIENT"]}
"""Span types that older tracers give instead of ``span.kind``."""
_PROCESS_KEYS = ("runtime-id", "language", "env")
_TOLD = (*_PROCESS_KEYS, "span.kind", "component")
"""What is no attribute, and of which there are few combinations."""
_IGNORED = frozenset(
    {"_dd.p.tid", "_dd.p.dm", "_dd.tags.process", "span.kind", "component", "_dd.span_links", *_PROCESS_KEYS}
)
UNKNOWN_PROVIDER = b'"unknown"'
_SPAN_KEYS = frozenset({"trace_id", "span_id", "start"})

Process = tuple[str, str, str]
"""Instance, language and environment."""
NO_PROCESS: Process = ("", "", "")


class Told(NamedTuple):
    """What a span says besides its attributes."""

    process: Process
    kind: int
    component: str
    resources: dict[str, ResourceFacts]
    """By service, where the process is named."""


@dataclass(frozen=True, eq=False, slots=True)
class Meta:
    """What spans with the same keys of texts have in common; each is like itself only."""

    told: Picked
    combinations: dict[bytes, Told]
    """By the values of what is told."""
    attributes: tuple[str, ...]
    """Keys of attributes that are asked for."""
    deciding: Picked
    """Takes all values that matter."""
    repeats: bool
    """What such a span means is remembered: there are few different ones, and no other span has a say in it."""
    has_links: bool
    has_provider: bool
    is_observed: bool
    """An integration of LLM Observability made it."""


SpanNumber = Annotated[int, msgspec.Meta(ge=0)]
"""An id of which the lower 64 bits count; 0 is none."""


class ApmSpan(msgspec.Struct, gc=False):
    """A span as tracers of today send it."""

    trace_id: Id = None
    span_id: SpanNumber = 0
    parent_id: SpanNumber = 0
    name: str | None = None
    service: str | None = None
    type: str | None = None
    error: int | bool | None = 0
    start: Nanoseconds = 0
    duration: Nanoseconds | None = None
    meta: dict[str, msgspec.Raw] = {}
    metrics: dict[str, msgspec.Raw] = {}
    span_links: msgspec.Raw = ABSENT


class OddSpan(msgspec.Struct, gc=False):
    """A span as others write it: with ids as text or in hex, with nulls, with fractions."""

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
_odd_span = msgspec.json.Decoder(OddSpan)
_trace = msgspec.json.Decoder(list[ApmSpan])
_traces = msgspec.json.Decoder(list[list[ApmSpan]])
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
        self._spans = spans = SpanWriter(builder)
        self._combinations: dict[tuple[str, ...], dict[bytes, Told]] = {}
        self._used_meta = KeySets(lambda keys: self._meta(keys, spans.used))
        self._told_meta = KeySets(lambda keys: self._meta(keys, spans.told))
        self._used_metrics = KeySets(lambda keys: asked_of(keys, spans.used, builder.lexicon))
        self._told_metrics = KeySets(lambda keys: asked_of(keys, spans.told, builder.lexicon))

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one JSON value; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self._spans.record(record, line, byte):
            if not opens_list(record):
                self._read_object(record)
            elif not self._read_whole(record):
                self._read_list(_list.decode(record))

    def _read_whole(self, record: bytes | memoryview) -> bool:
        """Read a list of traces; ``False`` when it is large, something else, or one of the spans is broken."""
        if len(record) > SPLIT_ABOVE:
            return False
        try:
            traces = _traces.decode(record)
        except msgspec.ValidationError:
            return False
        self._spans.walk(self._walked(traces))
        return True

    def _read_list(self, raws: Sequence[msgspec.Raw]) -> None:
        loose = []
        traces = []
        for number, raw in enumerate(raws):
            if opens_list(raw):
                traces.append((number, raw))
            else:
                loose.append(raw)
        if loose:
            self._spans.walk(self._walked([self._decoded_singly(loose, "spans")]))
        self._spans.walk(self._walked(self._decoded(raw, f"traces[{number}]") for number, raw in traces))

    def _decoded(self, raw: msgspec.Raw, path: str) -> list[ApmSpan]:
        try:
            return _trace.decode(raw)
        except msgspec.ValidationError:
            return self._decoded_singly(_list.decode(raw), path)

    def _read_object(self, record: bytes | memoryview) -> None:
        try:
            results = _answer.decode(record).data
        except msgspec.ValidationError as error:
            self._spans.reject(f"an answer of Datadog: {plain_reason(error)}")
            return
        if results is None:
            self._spans.walk(self._walked([self._decoded_singly([msgspec.Raw(record)], "spans")]))
            return
        spans = []
        for number, raw in enumerate(results):
            try:
                spans.append(_regular(_searched(_found.decode(raw).attributes or {})))
            except msgspec.ValidationError as error:
                self._spans.reject(f"data[{number}]: {plain_reason(error)}")
        self._spans.walk(self._walked([spans]))

    def _decoded_singly(self, raws: Iterable[msgspec.Raw], path: str) -> list[ApmSpan]:
        spans = []
        for number, raw in enumerate(raws):
            try:
                spans.append(_regular(_odd_span.decode(raw)))
            except msgspec.ValidationError as error:
                self._spans.reject(f"{path}[{number}]: {plain_reason(error)}")
        return spans

    def _walked(self, traces: Iterable[Sequence[ApmSpan]]) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows. Ids and processes are those of a whole trace."""
        writer, builder = self._spans, self._spans.builder
        add_known, learned = writer.meanings.add_known, writer.meanings.learned
        used_meta, used_metrics = self._used_meta, self._used_metrics
        number = 0
        for spans in traces:
            halves = _upper_halves(spans)
            known: dict[Id, str] = {}
            processes: dict[tuple[Id, int], Process] = {}
            for span in spans:
                number += 1
                if number % PIECE == 0:
                    writer.pause()
                trace = known.get(span.trace_id)
                if trace is None:
                    trace = known[span.trace_id] = trace_hex(span.trace_id, halves.get(span.trace_id, NO_HALF))
                own, parent = f"{span.span_id:016x}"[-ID_DIGITS:], f"{span.parent_id:016x}"[-ID_DIGITS:]
                start, duration = span.start, span.duration
                end = start + duration if start and duration is not None else 0
                meta, metrics = span.meta, span.metrics
                asked = None
                if own > builder.sample_mark:
                    common, numbers = used_meta[tuple(meta)], used_metrics[tuple(metrics)]
                    if common.repeats and numbers.repeats and not len(span.span_links):
                        values = common.deciding(meta)
                        if numbers.keys:
                            values += numbers.deciding(metrics)
                        asked = common, numbers, span.service, span.type, span.error, b"\n".join(values)
                        if add_known(asked, trace, own, parent, start, end):
                            continue
                else:
                    common, numbers = self._told_meta[tuple(meta)], self._told_metrics[tuple(metrics)]
                raws = b"\n".join(common.told(meta))
                process, kind, scope, resources = common.combinations.get(raws) or self._new_told(common, meta, raws)
                service = span.service or ""
                if process[0]:
                    resource = resources.get(service) or self._new_resource(service, process, resources)
                else:
                    processes = processes or _processes(spans)
                    resource = self._resource(service, processes[span.trace_id, span.span_id])
                    asked = None
                if not scope and common.is_observed:
                    # An integration names its spans after itself: "openai.request".
                    scope = (span.name or "").partition(".")[0]
                attributes = [KeyValue(key, meta[key]) for key in common.attributes]
                if common.has_provider and bytes(meta["_dd.llmobs.model_provider"]) == UNKNOWN_PROVIDER:
                    attributes = [pair for pair in attributes if pair.key != "_dd.llmobs.model_provider"]
                if numbers.keys:
                    attributes += [KeyValue(key, metrics[key]) for key in numbers.keys]
                found = Span(
                    trace,
                    own,
                    parent,
                    0,
                    span.name or "",
                    kind or _TYPE_KINDS.get(span.type or "", 0),
                    start,
                    end,
                    attributes,
                    ABSENT,
                    _links(meta.get("_dd.span_links"), span.span_links)
                    if common.has_links or len(span.span_links)
                    else ABSENT,
                    _ERROR if span.error else _OK,
                )
                yield from learned(asked, resource, scope, found)

    def _meta(self, keys: tuple[str, ...], uses: Uses) -> Meta:
        told = tuple(key for key in _TOLD if key in keys)
        asked = asked_of(keys, uses, self._spans.builder.lexicon, _IGNORED)
        has_links, is_observed = "_dd.span_links" in keys, "_dd.llmobs.span_kind" in keys
        return Meta(
            picks(told),
            self._combinations.setdefault(told, {}),
            asked.keys,
            picks((*told, *asked.deciding_keys)),
            asked.repeats and not has_links and not is_observed,
            has_links,
            "_dd.llmobs.model_provider" in keys,
            is_observed,
        )

    @staticmethod
    def _new_told(common: Meta, meta: Mapping[str, msgspec.Raw], raws: bytes) -> Told:
        kind = KINDS.get(_text(meta, "span.kind").upper(), 0)
        found = Told(_process(meta), kind, _text(meta, "component"), {})
        if len(common.combinations) < CACHED_RESOURCES:
            common.combinations[raws] = found
        return found

    def _new_resource(self, service: str, process: Process, resources: dict[str, ResourceFacts]) -> ResourceFacts:
        facts = self._resource(service, process)
        if len(resources) < CACHED_RESOURCES:
            resources[service] = facts
        return facts

    def _resource(self, service: str, process: Process) -> ResourceFacts:
        instance, language, environment = process
        return self._spans.resource(
            ("service.name", service),
            ("service.instance.id", instance),
            ("telemetry.sdk.language", language),
            ("deployment.environment.name", environment),
        )


def _upper_halves(spans: Iterable[ApmSpan]) -> dict[Id, str]:
    """The upper halves of trace ids that their spans tell."""
    halves: dict[Id, str] = {}
    last, half = ABSENT, ""
    for span in spans:
        raw = span.meta.get("_dd.p.tid")
        if raw is None:
            continue
        if raw != last:
            last = raw
            half = text_of(decode_json(bytes(raw)))
        if half:
            halves[span.trace_id] = half
    return halves


def _process(meta: Mapping[str, msgspec.Raw] | None) -> Process:
    return _text(meta, "runtime-id"), _text(meta, "language"), _text(meta, "env")


def _processes(spans: Sequence[ApmSpan]) -> dict[tuple[Id, int], Process]:
    """The process of each span: its own, or that of the next span above it that names one and is of its service."""
    at = {(span.trace_id, span.span_id): span for span in spans if span.span_id}
    known: dict[tuple[Id, int], Process] = {}
    for span in spans:
        way = []
        current: ApmSpan | None = span
        found = NO_PROCESS
        while current is not None:
            key = (current.trace_id, current.span_id)
            if key in known:
                found = known[key]
                break
            named = _process(current.meta)
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


def _regular(span: OddSpan) -> ApmSpan:
    """A span in the usual spelling; an id that cannot be read is 0, which is rejected later."""
    return ApmSpan(
        span.trace_id,
        int(span_hex(span.span_id) or NO_PARENT, 16),
        0 if is_root(span.parent_id) else int(span_hex(span.parent_id) or NO_PARENT, 16),
        span.name,
        span.service,
        span.type,
        span.error,
        nanoseconds(span.start, 1),
        None if span.duration is None else nanoseconds(span.duration, 1),
        span.meta or {},
        span.metrics or {},
        span.span_links,
    )


def _searched(attributes: dict[str, Any]) -> OddSpan:
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
    return OddSpan(
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


def _text(values: Mapping[str, msgspec.Raw] | None, key: str) -> str:
    raw = values.get(key) if values else None
    return "" if raw is None else _decoded(bytes(raw))


@lru_cache(maxsize=1 << 12)
def _decoded(data: bytes) -> str:
    """A text of which there are few."""
    return text_of(decode_json(data))
