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
    NOTHING,
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
            printed = _span.decode(record)
            if printed.context is None and printed.start_time is None and printed.parent_id is None:
                return
        except msgspec.ValidationError as error:
            if _is_span(orjson.loads(record)):
                with self._spans.record(record, line, byte):
                    self._spans.reject(f"a printed span: {plain_reason(error)}")
            return
        span = self._span_of(printed)
        resource = self._resources.get(bytes(printed.resource)) or self._new_resource(printed.resource, line, byte)
        if isinstance(record, bytes):
            self._spans.add_alone(len(record), line, byte, resource, "", span)
        else:
            with self._spans.record(record, line, byte):
                self._spans.add(resource, "", span)

    def _span_of(self, printed: PrintedSpan) -> Span:
        context = printed.context or Context()
        own = hex_id(context.span_id.removeprefix("0x"), 8)
        start = iso_nanoseconds(printed.start_time)
        status = (printed.status.status_code if printed.status else None) or ""
        return Span(
            hex_id(context.trace_id.removeprefix("0x"), 16),
            own,
            hex_id(printed.parent_id.removeprefix("0x"), 8) if printed.parent_id else NO_PARENT,
            0,
            printed.name or "",
            _KINDS.get(printed.kind or "", 0),
            start,
            iso_nanoseconds(printed.end_time) if start else 0,
            self._spans.attributes(printed.attributes, own) if printed.attributes else [],
            events_of(printed.events) if len(printed.events) > NOTHING else ABSENT,
            _links_of(printed.links) if len(printed.links) > NOTHING else ABSENT,
            _ERROR if status.endswith("ERROR") or status.upper().endswith("ERROR") else _OK,
        )

    def _new_resource(self, raw: msgspec.Raw, line: int, byte: int) -> ResourceFacts:
        data = bytes(raw)
        try:
            attributes = _resource.decode(data).attributes or {} if data else {}
        except msgspec.ValidationError as error:
            self._spans.builder.reject(line, byte, f"a printed resource: {plain_reason(error)}")
            attributes = {}
        pairs = [(key, decode_json(bytes(value))) for key, value in attributes.items()]
        facts = self._resources[data] = self._spans.builder.resource(pairs)
        return facts


def _is_span(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.keys() & {"context", "parent_id", "start_time"})


def _links_of(raw: msgspec.Raw) -> msgspec.Raw:
    try:
        links = [link.context for link in _links.decode(raw) if link.context]
    except UNDECODABLE:
        return ABSENT
    return msgspec.Raw(orjson.dumps([{"traceId": link.trace_id, "spanId": link.span_id} for link in links]))
