"""MLflow traces as JSON: ``Trace.to_json`` of versions 2 and 3, one or several, or a list of them.

Source of the shape: mlflow ``entities/trace.py``, ``entities/span.py``, ``tracing/constant.py``. In version 3 ids are
base64 and every attribute is JSON text; in version 2 ids are hex with ``0x`` under ``context``. User, session and tags
stand on the trace and not on its spans. User and session are read as those of every span; tags, a tenant among them,
as attributes of the root span, from which calls get them by their ancestry. Sums over a trace
(``mlflow.trace.tokenUsage``) repeat its spans and are not read. Usage is passed through as the provider counts it:
Anthropic's input leaves cached tokens out, and total tells for the others. A trace is held while it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
import orjson

from auditor.load.builder import NO_PARENT, BatchBuilder, text_of
from auditor.load.key_sets import KeySets, asked_of
from auditor.load.moments import nanoseconds
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, UNDECODABLE, Values, decode_json
from auditor.load.plain_values import raw_of
from auditor.load.span_writer import (
    NOTHING,
    PIECE,
    SPLIT_ABOVE,
    SpanWriter,
    events_of,
    held,
    hex_id,
    opens_list,
    plain_reason,
)
from auditor.load.text_values import decode_text_scalars

_ERROR = Status(2)
_OK = Status()
SERVICE = "mlflow"
"""Service of a trace that names none."""
SCOPE = "mlflow"
_FROM_TRACE = ("mlflow.trace.user", "mlflow.trace.session")
_USAGE = "mlflow.chat.tokenUsage"
_TAG = "mlflow.traceTag."


class Context(msgspec.Struct, gc=False):
    """The ids of a span of version 2."""

    trace_id: str | None = None
    span_id: str | None = None


class SpanStatus(msgspec.Struct, gc=False):
    """Only the code is read: the message may quote a prompt."""

    code: str | int | None = None


class MlflowSpan(msgspec.Struct, gc=False):
    """A span of either version."""

    name: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    start_time_unix_nano: int | float | str | None = None
    end_time_unix_nano: int | float | str | None = None
    status: SpanStatus | None = None
    attributes: dict[str, msgspec.Raw] | None = None
    events: msgspec.Raw = ABSENT
    links: msgspec.Raw = ABSENT
    context: Context | None = None
    parent_id: str | None = None
    start_time: int | float | str | None = None
    end_time: int | float | str | None = None
    status_code: str | None = None


class Info(msgspec.Struct, gc=False):
    """What is said of a whole trace; tags may be a list of pairs in old exports."""

    trace_id: str | None = None
    request_id: str | None = None
    trace_metadata: dict[str, Any] | None = None
    request_metadata: dict[str, Any] | None = None
    tags: Any = None


class Spans(msgspec.Struct, gc=False):
    """The spans of a trace."""

    spans: list[msgspec.Raw] | None = None


class WholeSpans(msgspec.Struct, gc=False):
    """The spans of a trace, each of them read."""

    spans: list[MlflowSpan] | None = None


class Trace(msgspec.Struct, gc=False):
    """A trace; ``data`` may be JSON text."""

    info: Info | None = None
    data: msgspec.Raw = ABSENT


class WholeTrace(msgspec.Struct, gc=False):
    """A trace and all that is in it; ``data`` may be JSON text."""

    info: Info | None = None
    data: WholeSpans | str = ""


Attributes = Mapping[str, msgspec.Raw]

_NO_CONTEXT = Context()
_trace = msgspec.json.Decoder(Trace)
_spans = msgspec.json.Decoder(Spans)
_whole_trace = msgspec.json.Decoder(WholeTrace)
_whole_spans = msgspec.json.Decoder(WholeSpans)
_text = msgspec.json.Decoder(str)
_span = msgspec.json.Decoder(MlflowSpan)
_list = msgspec.json.Decoder(list[msgspec.Raw])


def is_mlflow(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    if isinstance(value, list):
        return bool(value) and is_mlflow(value[0])
    if not isinstance(value, dict):
        return False
    info, data = value.get("info"), value.get("data")
    if not isinstance(info, dict) or not info.keys() & {"trace_id", "request_id"}:
        return False
    return isinstance(data, str) or (isinstance(data, dict) and "spans" in data)


class MlflowReader:
    """Reads traces and lists of traces."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._spans = spans = SpanWriter(builder, values=JSON_TEXTS)
        self._used = KeySets(lambda keys: asked_of(keys, spans.used, builder.lexicon))
        self._told = KeySets(lambda keys: asked_of(keys, spans.told, builder.lexicon))

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one JSON value; raises ``msgspec.DecodeError`` when it is not JSON."""
        record = held(record)
        with self._spans.record(record, line, byte):
            if opens_list(record):
                for number, raw in enumerate(_list.decode(record)):
                    self._read_trace(raw, f"traces[{number}]")
            else:
                self._read_trace(record, "trace")

    def _read_trace(self, raw: msgspec.Raw | bytes | memoryview, path: str) -> None:
        if len(raw) <= SPLIT_ABOVE:
            try:
                trace = _whole_trace.decode(raw)
                data = _whole_spans.decode(trace.data) if isinstance(trace.data, str) else trace.data
            except msgspec.DecodeError:
                pass
            else:
                self._spans.walk(self._walked(data.spans or (), trace.info or Info()))
                return
        self._read_in_pieces(raw, path)

    def _read_in_pieces(self, raw: msgspec.Raw | bytes | memoryview, path: str) -> None:
        """Read a trace that is large, or in which something is broken, span by span."""
        try:
            trace = _trace.decode(raw)
            is_text = bytes(memoryview(trace.data)[:1]) == b'"'
            spans = _spans.decode(_text.decode(trace.data) if is_text else trace.data).spans
        except msgspec.DecodeError as error:
            if isinstance(error, msgspec.ValidationError):
                self._spans.reject(f"{path}: {plain_reason(error)}")
                return
            if not isinstance(raw, msgspec.Raw):
                raise
            self._spans.reject(f"{path}: its data is not JSON")
            return
        self._spans.walk(self._walked(self._decoded(spans or (), path), trace.info or Info()))

    def _decoded(self, raws: Iterable[msgspec.Raw], path: str) -> Iterator[MlflowSpan]:
        for number, raw in enumerate(raws):
            try:
                yield _span.decode(raw)
            except msgspec.ValidationError as error:
                self._spans.reject(f"{path}.spans[{number}]: {plain_reason(error)}")

    def _walked(self, spans: Iterable[MlflowSpan], info: Info) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows."""
        common, of_root = _own_attributes(info)
        resource = self._spans.resource(("service.name", _service(info)))
        meanings = self._spans.meanings
        traces: dict[str, str] = {}
        for number, span in enumerate(spans, 1):
            if number % PIECE == 0:
                self._spans.pause()
            context = span.context or _NO_CONTEXT
            trace = span.trace_id or context.trace_id or (info.trace_id or info.request_id or "").removeprefix("tr-")
            trace = traces.get(trace) or traces.setdefault(trace, hex_id(trace, 16))
            own = hex_id(span.span_id or context.span_id or "", 8)
            parent = span.parent_span_id or span.parent_id
            parent = hex_id(parent, 8) if parent else NO_PARENT
            given: Attributes = span.attributes or {}
            if _USAGE in given:
                given = _with_counts(given)
            if of_root and parent == NO_PARENT:
                given = {**common, **of_root, **given}
            elif common:
                given = {**common, **given}
            is_used = self._spans.uses(own) is self._spans.used
            keys = (self._used if is_used else self._told)[tuple(given)]
            start, end = span.start_time_unix_nano, span.end_time_unix_nano
            start_ns = nanoseconds(span.start_time if start is None else start, 1)
            end_ns = nanoseconds(span.end_time if end is None else end, 1) if start_ns else 0
            has_failed = _is_error(span.status.code if span.status else span.status_code)
            events = events_of(span.events) if len(span.events) > NOTHING else ABSENT
            links = _links_of(span.links) if len(span.links) > NOTHING else ABSENT
            asked = None
            if keys.repeats and is_used and events is ABSENT and links is ABSENT:
                asked = keys, id(resource), has_failed, b"\n".join(keys.deciding(given))
                if meanings.add_known(asked, trace, own, parent, start_ns, end_ns):
                    continue
            found = Span(
                trace,
                own,
                parent,
                0,
                span.name or "",
                0,
                start_ns,
                end_ns,
                [KeyValue(key, given[key]) for key in keys.keys],
                events,
                links,
                _ERROR if has_failed else _OK,
            )
            yield from meanings.learned(asked, resource, SCOPE, found)


def _with_counts(attributes: Attributes) -> Attributes:
    """Give each count of the usage object an attribute of its own, unless it is Anthropic's object."""
    if _USAGE not in attributes:
        return attributes
    usage = _decode(bytes(attributes.get(_USAGE, ABSENT)))
    provider = text_of(_decode(bytes(attributes.get("mlflow.llm.provider", ABSENT)))).lower()
    if not isinstance(usage, dict) or provider == "anthropic":
        return attributes
    counts = {f"{_USAGE}.{key}": raw for key, value in usage.items() if (raw := raw_of(value)) is not ABSENT}
    return {**{key: value for key, value in attributes.items() if key != _USAGE}, **counts}


@lru_cache(maxsize=1 << 6)
def _is_error(code: str | int | None) -> bool:
    return code == _ERROR.code or str(code).upper().endswith("ERROR")


def _metadata(info: Info) -> dict[str, Any]:
    return {**(info.request_metadata or {}), **(info.trace_metadata or {})}


def _tags(info: Info) -> dict[str, Any]:
    if isinstance(info.tags, dict):
        return info.tags
    pairs = info.tags if isinstance(info.tags, list) else []
    return {str(pair["key"]): pair.get("value") for pair in pairs if isinstance(pair, dict) and "key" in pair}


def _service(info: Info) -> str:
    named = _tags(info).get("service.name", _metadata(info).get("service.name"))
    return named if isinstance(named, str) and named else SERVICE


def _own_attributes(info: Info) -> tuple[Attributes, Attributes]:
    """What the trace says, as attributes of all its spans, and of its root.

    Tags get the prefix that MLflow gives them in OTLP.
    """
    metadata = _metadata(info)
    common = {key: raw_of(metadata[key]) for key in _FROM_TRACE if isinstance(metadata.get(key), str)}
    tags = {_TAG + key: raw_of(value) for key, value in _tags(info).items() if not key.startswith("mlflow.")}
    return common, {key: raw for key, raw in tags.items() if raw is not ABSENT}


def _links_of(raw: msgspec.Raw) -> msgspec.Raw:
    value = decode_json(bytes(raw))
    links = [
        {
            "traceId": str(link.get("trace_id", "")).removeprefix("tr-"),
            "spanId": str(link.get("span_id", "")),
        }
        for link in (value if isinstance(value, list) else ())
        if isinstance(link, dict)
    ]
    return msgspec.Raw(orjson.dumps(links)) if links else ABSENT


def _decode(data: bytes) -> Any:
    """Decode a JSON value; a text that is JSON itself becomes what it says."""
    value = decode_json(data)
    if isinstance(value, str):
        try:
            return orjson.loads(value)
        except UNDECODABLE:
            return value
    return value


JSON_TEXTS = Values(_decode, decode_text_scalars)
"""``"\\"acme\\""``, ``"12"``: the texts of ids, which keep their quotes, are taken out of them where they are read."""
