"""Datadog LLM Observability: answers of the export API, intake requests, the SDK's payloads, one span a line.

Fields: Datadog's documentation of the intake and export APIs, and dd-trace-py ``ddtrace/llmobs/_writer.py``. A span
that knows its APM trace (``_dd.apm_trace_id``) takes that trace's id, so that it and its APM span are one. Costs
among the metrics are not taken over: their unit differs between exports. A document is held while it is read, as it
stands in the file; its spans are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from auditor.load.builder import NO_PARENT, BatchBuilder, count_of, text_of
from auditor.load.datadog_ids import is_root, span_hex, trace_hex
from auditor.load.moments import nanoseconds
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT
from auditor.load.plain_values import raw_of
from auditor.load.span_writer import SpanWriter, held, opens_list, plain_reason

_ERROR = Status(2)
_OK = Status()
_PREFIX = "_dd.llmobs."
UNKNOWN = "unknown"
_METRICS = (
    "input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "reasoning_output_tokens",
    "time_to_first_token",
)  # fmt: skip
_SPAN_KEYS = frozenset({"trace_id", "span_id", "start_ns"})


class Ids(msgspec.Struct, gc=False):
    """How the tracer knows a span."""

    apm_trace_id: str | int | None = None


class KindOf(msgspec.Struct, gc=False):
    """The kind, where it stands in an object of its own."""

    kind: str | None = None


class Meta(msgspec.Struct, gc=False):
    """What a span is about, without its content."""

    kind: str | None = None
    dotted_kind: str | None = msgspec.field(name="span.kind", default=None)
    span: KindOf | None = None
    model_name: str | None = None
    model_provider: str | None = None
    metadata: msgspec.Raw = ABSENT


class LlmObsSpan(msgspec.Struct, gc=False):
    """A span; the export API has fields at the top that others have in ``meta``."""

    trace_id: str | int | None = None
    span_id: str | int | None = None
    parent_id: str | int | None = None
    name: str | None = None
    start_ns: int | float | None = 0
    duration: int | float | None = None
    status: str | None = None
    error: Any = None
    tags: list[str] | None = None
    meta: Meta | None = None
    metrics: dict[str, Any] | None = None
    session_id: str | None = None
    ml_app: str | None = None
    service: str | None = None
    span_kind: str | None = None
    model_name: str | None = None
    model_provider: str | None = None
    metadata: msgspec.Raw = ABSENT
    ids: Ids | None = msgspec.field(name="_dd", default=None)
    apm_trace_id: str | int | None = None
    apm_id: str | int | None = None


class Common(msgspec.Struct, gc=False):
    """What a request says of all its spans; without spans it is itself one."""

    ml_app: str | None = None
    session_id: str | None = None
    tags: list[str] | None = None
    spans: list[msgspec.Raw] | None = None


class Item(msgspec.Struct, gc=False):
    """One result of the export API, or the body of a request."""

    attributes: msgspec.Raw = ABSENT


class Envelope(Common, gc=False):
    """Any document of this product."""

    data: msgspec.Raw = ABSENT


_list = msgspec.json.Decoder(list[msgspec.Raw])
_envelope = msgspec.json.Decoder(Envelope)
_item = msgspec.json.Decoder(Item)
_common = msgspec.json.Decoder(Common)
_span = msgspec.json.Decoder(LlmObsSpan)
_NOTHING = Common()


def is_llmobs(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    if isinstance(value, list):
        return bool(value) and is_llmobs(value[0])
    if not isinstance(value, dict):
        return False
    inner = value.get("data", value.get("spans"))
    entry = inner[0] if isinstance(inner, list) and inner else inner
    if isinstance(entry, dict):
        attributes = entry.get("attributes", entry)
        if isinstance(attributes, dict):
            return _is_span(attributes) or is_llmobs(attributes.get("spans"))
        return False
    return _is_span(value)


def _is_span(value: Mapping[str, Any]) -> bool:
    return value.keys() >= _SPAN_KEYS and bool(value.keys() & {"meta", "span_kind", "ml_app", "metrics"})


class LlmObsReader:
    """Reads answers, requests, lists of either, and spans."""

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
                for number, raw in enumerate(_list.decode(record)):
                    self._read_one(raw, f"[{number}]")
            else:
                self._read_one(record, "")

    def _read_one(self, raw: msgspec.Raw | bytes | memoryview, path: str) -> None:
        try:
            envelope = _envelope.decode(raw)
            if len(envelope.data):
                self._read_data(envelope.data, path)
            elif envelope.spans is not None:
                self._read_spans(envelope.spans, envelope, f"{path}.spans".lstrip("."))
            else:
                self._read_spans([msgspec.Raw(raw)], _NOTHING, f"{path}.spans".lstrip("."))
        except msgspec.ValidationError as error:
            self._spans.reject(f"{path}: {plain_reason(error)}".lstrip(": "))

    def _read_data(self, data: msgspec.Raw, path: str) -> None:
        is_list = opens_list(data)
        for number, raw in enumerate(_list.decode(data) if is_list else [data]):
            here = f"{path}.data[{number}]".lstrip(".") if is_list else f"{path}.data".lstrip(".")
            try:
                attributes = _item.decode(raw).attributes
                common = _common.decode(attributes) if len(attributes) else _NOTHING
            except msgspec.ValidationError as error:
                self._spans.reject(f"{here}: {plain_reason(error)}")
                continue
            if common.spans is not None:
                self._read_spans(common.spans, common, f"{here}.spans")
            else:
                self._read_spans([attributes if len(attributes) else raw], _NOTHING, here)

    def _read_spans(self, raws: Iterable[msgspec.Raw], common: Common, path: str) -> None:
        for number, raw in enumerate(raws):
            try:
                span = _span.decode(raw)
            except msgspec.ValidationError as error:
                self._spans.reject(f"{path}[{number}]: {plain_reason(error)}")
                continue
            self._add(span, common)

    def _add(self, span: LlmObsSpan, common: Common) -> None:
        tags = [*(span.tags or ()), *(common.tags or ())]
        named = {key: value for key, _, value in (tag.partition(":") for tag in reversed(tags))}
        resource = self._spans.resource(
            ("service.name", span.service or named.get("service") or span.ml_app or common.ml_app or ""),
            ("service.instance.id", named.get("runtime-id", "")),
            ("telemetry.sdk.language", named.get("language", "")),
            ("deployment.environment.name", named.get("env", "")),
        )
        apm = span.ids.apm_trace_id if span.ids else None
        start = nanoseconds(span.start_ns, 1)
        failed = span.status == "error" or span.error in (1, True)
        self._spans.add(
            resource,
            named.get("integration", ""),
            Span(
                traceId=trace_hex(apm or span.apm_trace_id or span.apm_id or span.trace_id),
                spanId=span_hex(span.span_id),
                parentSpanId=NO_PARENT if is_root(span.parent_id) else span_hex(span.parent_id),
                name=span.name or "",
                startTimeUnixNano=start,
                endTimeUnixNano=start + nanoseconds(span.duration, 1) if start and span.duration is not None else 0,
                attributes=_attributes(span, common, tags),
                status=_ERROR if failed else _OK,
            ),
        )


def _attributes(span: LlmObsSpan, common: Common, tags: list[str]) -> list[KeyValue]:
    """What a span says, under the names that the tracer gives it on APM spans."""
    meta = span.meta or Meta()
    provider = meta.model_provider or span.model_provider
    metrics = span.metrics or {}
    hour = count_of(metrics.get("ephemeral_1h_input_tokens"))
    written = count_of(metrics.get("cache_write_input_tokens"))
    if written is not None and hour:
        # What lives for an hour is a part of what was written; here each has its own count.
        written = max(written - hour, 0)
    values: list[tuple[str, Any]] = [
        (_PREFIX + "span_kind", _kind(span, meta)),
        (_PREFIX + "model_name", meta.model_name or span.model_name),
        (_PREFIX + "model_provider", None if text_of(provider).lower() == UNKNOWN else provider),
        *((_PREFIX + key, metrics.get(key)) for key in _METRICS),
        (_PREFIX + "cache_write_input_tokens", written),
        (_PREFIX + "ephemeral_1h_input_tokens", hour),
        (_PREFIX + "tags", tags or None),
        ("session_id", span.session_id or common.session_id),
    ]
    found = [KeyValue(key, raw) for key, value in values if (raw := raw_of(value)) is not ABSENT]
    metadata = meta.metadata if len(meta.metadata) else span.metadata
    if len(metadata):
        found.append(KeyValue("metadata", metadata))
    return found


def _kind(span: LlmObsSpan, meta: Meta) -> str | None:
    return meta.kind or meta.dotted_kind or (meta.span.kind if meta.span else None) or span.span_kind
