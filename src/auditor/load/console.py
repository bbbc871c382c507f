"""What Python's ``ConsoleSpanExporter`` prints: ``span.to_json()``, one object after the other.

Source of the shape: opentelemetry-python ``sdk/trace/__init__.py`` (``ReadableSpan.to_json``). Ids are hex with
``0x``, kinds are ``SpanKind.CLIENT``, times ISO 8601 to the microsecond; there is no instrumentation scope. The
program's other output may stand between the objects: it is passed over, unless it is an object with the fields of a
span. JavaScript's exporter prints objects that are no JSON, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec
import orjson

from auditor.errors import InputError
from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts
from auditor.load.moments import iso_nanoseconds
from auditor.load.otlp_types import Span, Status
from auditor.load.otlp_values import ABSENT, JSON_VALUES, UNDECODABLE, decode_json
from auditor.load.sources import Opened, Record
from auditor.load.span_writer import (
    KINDS,
    SpanWriter,
    events_of,
    held,
    hex_id,
    plain_reason,
)

_HEAD = re.compile(rb'^\{\s*"name"\s*:.{0,4096}?"context"\s*:\s*\{\s*"trace_id"\s*:\s*"0x', re.DOTALL | re.MULTILINE)
_JAVASCRIPT_HEAD = re.compile(rb"^\{\n(?=[^\"]*\n  traceId: '[0-9a-f]{32}',\n)", re.MULTILINE)
_KINDS = {f"SpanKind.{name}": number for name, number in KINDS.items()}
_ERROR = Status(2)
_OK = Status()


class Context(msgspec.Struct, gc=False):
    """The ids of a span."""

    trace_id: str = ""
    span_id: str = ""


class PrintedStatus(msgspec.Struct, gc=False):
    """Only the code is read: the description may quote a prompt."""

    status_code: str | None = None


class PrintedResource(msgspec.Struct, gc=False):
    """A resource."""

    attributes: dict[str, msgspec.Raw] | None = None


class PrintedSpan(msgspec.Struct, gc=False):
    """A span."""

    name: str | None = None
    context: Context | None = None
    kind: str | None = None
    parent_id: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    status: PrintedStatus | None = None
    attributes: dict[str, msgspec.Raw] | None = None
    events: msgspec.Raw = ABSENT
    links: msgspec.Raw = ABSENT
    resource: msgspec.Raw = ABSENT


class PrintedLink(msgspec.Struct, gc=False):
    """A link."""

    context: Context | None = None


_span = msgspec.json.Decoder(PrintedSpan)
_resource = msgspec.json.Decoder(PrintedResource)
_links = msgspec.json.Decoder(list[PrintedLink])


def is_console(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    context = value.get("context") if isinstance(value, dict) else None
    return isinstance(context, dict) and str(context.get("trace_id")).startswith("0x") and "parent_id" in value


def is_console_head(head: bytes) -> bool:
    """Say whether a span was printed somewhere among the first bytes of an input."""
    return _HEAD.search(head) is not None


def is_javascript_console_head(head: bytes) -> bool:
    """Say whether the first bytes are what JavaScript's console exporter prints."""
    return _JAVASCRIPT_HEAD.search(head) is not None


def refuse_javascript(opened: Opened) -> Iterator[Record]:
    """Refuse an input that cannot be read; raises ``InputError``."""
    _refuse(opened.source.name)


def _refuse(name: str) -> NoReturn:
    raise InputError(
        f"{name}: output of OpenTelemetry's console exporter for JavaScript, which is not JSON",
        hint="export OTLP: @opentelemetry/exporter-trace-otlp-http to a Collector with the file exporter",
    )


class ConsoleReader:
    """Reads printed spans."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._spans = SpanWriter(builder, values=JSON_VALUES)
        self._resources: dict[bytes, ResourceFacts] = {}

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._spans.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one object; raises ``msgspec.DecodeError`` when it begins like one and is not JSON."""
        record = held(record)
        if bytes(record[:1]) != b"{":
            return
        try:
            span = _span.decode(record)
        except msgspec.ValidationError as error:
            if _is_span(orjson.loads(record)):
                with self._spans.record(record, line, byte):
                    self._spans.reject(f"a printed span: {plain_reason(error)}")
            return
        if span.context is None and span.start_time is None and span.parent_id is None:
            return
        with self._spans.record(record, line, byte):
            self._add(span)

    def _add(self, span: PrintedSpan) -> None:
        context = span.context or Context()
        own = hex_id(context.span_id.removeprefix("0x"), 8)
        start = iso_nanoseconds(span.start_time)
        status = (span.status.status_code if span.status else None) or ""
        self._spans.add(
            self._resource(span.resource),
            "",
            Span(
                traceId=hex_id(context.trace_id.removeprefix("0x"), 16),
                spanId=own,
                parentSpanId=hex_id(span.parent_id.removeprefix("0x"), 8) if span.parent_id else NO_PARENT,
                name=span.name or "",
                kind=_KINDS.get(span.kind or "", 0),
                startTimeUnixNano=start,
                endTimeUnixNano=iso_nanoseconds(span.end_time) if start else 0,
                attributes=self._spans.attributes(span.attributes or {}, own),
                events=events_of(span.events),
                links=_links_of(span.links),
                status=_ERROR if status.upper().endswith("ERROR") else _OK,
            ),
        )

    def _resource(self, raw: msgspec.Raw) -> ResourceFacts:
        data = bytes(raw)
        facts = self._resources.get(data)
        if facts is None:
            try:
                attributes = _resource.decode(data).attributes or {} if data else {}
            except msgspec.ValidationError as error:
                self._spans.reject(f"a printed resource: {plain_reason(error)}")
                attributes = {}
            pairs = [(key, decode_json(bytes(value))) for key, value in attributes.items()]
            facts = self._resources[data] = self._spans.builder.resource(pairs)
        return facts


def _is_span(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.keys() & {"context", "parent_id", "start_time"})


def _links_of(raw: msgspec.Raw) -> msgspec.Raw:
    if len(raw) <= len(b"[]"):
        return ABSENT
    try:
        links = [link.context for link in _links.decode(raw) if link.context]
    except UNDECODABLE:
        return ABSENT
    return msgspec.Raw(orjson.dumps([{"traceId": link.trace_id, "spanId": link.span_id} for link in links]))
