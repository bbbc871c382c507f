"""What Python's ``ConsoleSpanExporter`` prints: ``span.to_json()``, one object after the other.

Source of the shape: opentelemetry-python ``sdk/trace/__init__.py`` (``ReadableSpan.to_json``). Ids are hex with
``0x``, kinds are ``SpanKind.CLIENT``, times ISO 8601 to the microsecond; there is no instrumentation scope. The
program's other output may stand between the objects: it is passed over, unless it is an object with the fields of a
span. JavaScript's exporter prints objects that are no JSON, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NoReturn

import msgspec
import orjson

from auditor.errors import InputError
from auditor.load.builder import NO_PARENT, BatchBuilder, ResourceFacts
from auditor.load.key_sets import Asked, KeySets, asked_of
from auditor.load.meanings import CACHED_MEANINGS
from auditor.load.metadata_objects import KnownObjects, entries_of
from auditor.load.moments import iso_columns
from auditor.load.otlp_spans import Group
from auditor.load.otlp_types import KeyValue, Span, Status
from auditor.load.otlp_values import ABSENT, JSON_VALUES, UNDECODABLE, decode_json
from auditor.load.row_lines import Place, WaitingRows
from auditor.load.sources import OPENING, Lines, Opened, Record
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
_ROOT = f"0x{NO_PARENT}"
"""Stands for the parent of a span without one, spelled as the others are."""


class Context(msgspec.Struct, gc=False):
    """The ids of a span."""

    trace_id: str = ""
    span_id: str = ""


class PrintedStatus(msgspec.Struct, gc=False):
    """Only the code is read: the description may quote a prompt."""

    status_code: str | None = None


class PrintedSpan(msgspec.Struct, gc=False):
    """A span."""

    name: str | None = None
    context: Context | None = None
    kind: str | None = None
    parent_id: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    status: PrintedStatus | None = None
    attributes: msgspec.Raw = ABSENT
    events: msgspec.Raw = ABSENT
    links: msgspec.Raw = ABSENT
    resource: msgspec.Raw = ABSENT


class OddSpan(msgspec.Struct, gc=False):
    """A span whose attributes are none, or no object."""

    attributes: dict[str, msgspec.Raw] | None = None


class PrintedResource(msgspec.Struct, gc=False):
    """A resource."""

    attributes: dict[str, msgspec.Raw] | None = None


class PrintedLink(msgspec.Struct, gc=False):
    """A link."""

    context: Context | None = None


_span = msgspec.json.Decoder(PrintedSpan)
_odd_span = msgspec.json.Decoder(OddSpan)
_value = msgspec.json.Decoder()
_resource = msgspec.json.Decoder(PrintedResource)
_links = msgspec.json.Decoder(list[PrintedLink])
_NO_CONTEXT = Context()


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


Said = tuple[list[KeyValue], int | None]
"""Attributes of a span, and the number of those of which the value matters, and of the keys.

There is no number where they are hardly ever the same twice.
"""


class ConsoleReader:
    """Reads printed spans."""

    takes_lines = True

    def __init__(self, builder: BatchBuilder) -> None:
        self._spans = spans = SpanWriter(builder, values=JSON_VALUES)
        self._waiting = WaitingRows(spans, self._walked)
        self._resources: dict[bytes, ResourceFacts] = {}
        self._keys = KeySets(lambda keys: asked_of(keys, spans.used, builder.lexicon))
        self._said = KnownObjects(self._read_attributes, lambda said: said[1] is not None)
        self._numbers: dict[tuple[Asked, bytes], int] = {}
        self._count = count()

    def finish(self) -> None:
        """Take over the spans that wait for others."""
        self._waiting.end()
        self._spans.end()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one object; raises ``msgspec.DecodeError`` when it begins like one and is not JSON."""
        record = held(record)
        if bytes(record[:1]) != b"{":
            return
        builder = self._spans.builder
        try:
            printed = _span.decode(record)
            if not _is_printed(printed):
                return
            if bytes(printed.attributes)[:1] != b"{":
                _odd_span.decode(record)
                printed.attributes = ABSENT
        except msgspec.ValidationError as error:
            if _is_span(_value.decode(record)):
                with self._spans.record(record, line, byte):
                    self._spans.reject(f"a printed span: {plain_reason(error)}")
            return
        except msgspec.DecodeError:
            builder.records += 1
            raise
        builder.records += 1
        self._waiting.add(printed, line, byte)
        if not isinstance(record, bytes):
            # A large one holds on to the file.
            self._waiting.end()

    def read_lines(self, lines: Lines) -> Collection[int]:
        """Read lines of one span each; says by number which of them take a closer look."""
        return self._waiting.take(lines, _span, _is_usual)

    def read_printed(self, lines: Lines) -> Collection[int]:
        """Read spans that are printed over many lines each; says by number which of them take a closer look."""
        return self.read_lines(lines)

    def _walked(self, printed: Sequence[PrintedSpan], places: Sequence[Place]) -> Iterator[Group]:
        """Spans whose meaning is not known; the others become rows."""
        writer = self._spans
        begin_record, meanings, builder = writer.begin_record, writer.meanings, writer.builder
        add_known, add_call = meanings.add_known, meanings.add_call
        known_resources, known = self._resources, self._said
        resource: ResourceFacts | None = None
        raw_resource = ABSENT
        contexts = [row.context or _NO_CONTEXT for row in printed]
        starts, ends = iso_columns([row.start_time for row in printed], [row.end_time for row in printed])
        traces, are_traces = _ids([context.trace_id for context in contexts], 16)
        spans, are_spans = _ids([context.span_id for context in contexts], 8)
        parents, _ = _ids([row.parent_id or _ROOT for row in printed], 8)
        are_odd = not (are_traces and are_spans)
        columns = zip(
            places,
            printed,
            traces,
            spans,
            parents,
            starts,
            ends,
            strict=True,
        )
        for (line, byte), row, trace, own, parent, start, ended in columns:
            if resource is None or row.resource != raw_resource:
                raw_resource = row.resource
                resource = known_resources.get(bytes(raw_resource)) or self._new_resource(raw_resource, line, byte)
            events = events_of(row.events) if len(row.events) > NOTHING else ABSENT
            links = _links_of(row.links) if len(row.links) > NOTHING else ABSENT
            has_failed = _is_error(row.status.status_code if row.status else None)
            end = ended if start else 0
            if are_odd:
                begin_record(line, byte)
            asked = None
            may_be_sampled = own <= builder.sample_mark
            attributes, number = known[bytes(row.attributes)]
            if number is not None and events is ABSENT and links is ABSENT:
                asked = number, id(resource), row.kind, has_failed
                if add_known(asked, trace, own, parent or NO_PARENT, start, end, may_be_sampled):
                    continue
                if not may_be_sampled and add_call(asked, trace, own, parent or NO_PARENT, start, end, line):
                    continue
            if may_be_sampled:
                attributes = writer.attributes(entries_of(row.attributes), own)
            begin_record(line, byte)
            kind, status = _KINDS.get(row.kind or "", 0), _ERROR if has_failed else _OK
            span = Span(trace, own, parent, 0, row.name or "", kind, start, end, attributes, events, links, status)
            if asked is None:
                yield resource, "", (span,)
            else:
                yield from meanings.learned(asked, resource, "", span)

    def _read_attributes(self, raw: bytes) -> Said:
        given = entries_of(raw)
        keys = self._keys[tuple(given)]
        attributes = [*map(KeyValue, keys.keys, keys.values(given))]
        if not keys.repeats:
            return attributes, None
        said = keys, b"\n".join(keys.deciding(given))
        number = self._numbers.get(said)
        if number is None:
            if len(self._numbers) >= CACHED_MEANINGS:
                self._numbers.clear()
            number = self._numbers[said] = next(self._count)
        return attributes, number

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


def _is_printed(row: PrintedSpan) -> bool:
    """Say whether an object is a span, and not other output of the program."""
    return row.context is not None or row.start_time is not None or row.parent_id is not None


def _is_usual(row: PrintedSpan) -> bool:
    if row.attributes is ABSENT or memoryview(row.attributes)[0] != OPENING:
        return False
    return row.context is not None or _is_printed(row)


@lru_cache(maxsize=64)
def _is_error(status: str | None) -> bool:
    return (status or "").upper().endswith("ERROR")


def _ids(texts: Sequence[str], width: int) -> tuple[list[str], bool]:
    """Ids of so many bytes, without their ``0x``; and whether none of them is odd."""
    _, *found = "".join(texts).split("0x")
    joined = "".join(found)
    are_alike = set(map(len, texts)) == {2 * width + 2} and set(map(len, found)) == {2 * width}
    if not are_alike or len(found) != len(texts) or joined != joined.lower():
        return [hex_id(text[2:] if text[:2] == "0x" else text, width) for text in texts], False
    try:
        is_hex = len(bytes.fromhex(joined)) == width * len(found)
    except ValueError:
        is_hex = False
    return found, is_hex and "0" * 2 * width not in found


def _is_span(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.keys() & {"context", "parent_id", "start_time"})


def _links_of(raw: msgspec.Raw) -> msgspec.Raw:
    try:
        links = [link.context for link in _links.decode(raw) if link.context]
    except UNDECODABLE:
        return ABSENT
    return msgspec.Raw(orjson.dumps([{"traceId": link.trace_id, "spanId": link.span_id} for link in links]))
