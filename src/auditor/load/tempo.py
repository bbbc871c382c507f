"""Answers of Grafana Tempo's API and the downloads that Grafana makes of them: OTLP in another envelope.

Version 1 (``/api/traces/{id}``) has ``batches``, version 2 ``trace`` and, for a trace that is too large, the status
``PARTIAL`` (grafana/tempo ``pkg/tempopb``, ``modules/frontend``). Ids are base64 and enums names, as protobuf's JSON
printer writes them: both are read at the speed of OTLP, everything odder through its repair. A document is held
while it is read, as it stands in the file; its spans are decoded one by one.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import msgspec

from auditor.load.builder import NO_PARENT, BatchBuilder
from auditor.load.otlp_json import OtlpJsonReader
from auditor.load.otlp_spans import SpanReader
from auditor.load.otlp_types import RawResourceSpans, RawScopeSpans, Span, Status
from auditor.load.otlp_values import ABSENT
from auditor.load.span_writer import KINDS, PIECE, plain_reason

_HEAD = re.compile(rb'\s*\{\s*"(?:batches"\s*:\s*\[|trace"\s*:\s*\{\s*"(?:resourceSpans|batches)"\s*:\s*\[)')
_PARTIAL = frozenset({b'"PARTIAL"', b"1"})
_KIND_NUMBERS: dict[str | int, int] = {
    **{f"SPAN_KIND_{name}": number for name, number in KINDS.items()},
    **{number: number for number in KINDS.values()},
}
_ERROR = Status(2)
_OK = Status()
_ERRORS: frozenset[str | int] = frozenset({"STATUS_CODE_ERROR", 2})


class TempoSpan(Span, gc=False):
    """A span whose kind and status may be names."""

    kind: Any = 0
    status: Any = None


class Parts(msgspec.Struct, gc=False):
    """A trace of version 2."""

    resourceSpans: list[msgspec.Raw] | None = None  # noqa: N815
    batches: list[msgspec.Raw] | None = None


class Answer(Parts, gc=False):
    """An answer of either version."""

    trace: Parts | None = None
    status: msgspec.Raw = ABSENT


_answer = msgspec.json.Decoder(Answer)
_resource_spans = msgspec.json.Decoder(RawResourceSpans)
_scope_spans = msgspec.json.Decoder(RawScopeSpans)
_span = msgspec.json.Decoder(TempoSpan, strict=False)


def is_tempo(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    if not isinstance(value, dict):
        return False
    trace = value.get("trace")
    if isinstance(trace, dict) and isinstance(trace.get("resourceSpans", trace.get("batches")), list):
        return True
    batches = value.get("batches")
    return isinstance(batches, list) and all(isinstance(part, dict) and _PARTS & part.keys() for part in batches[:1])


def is_tempo_head(head: bytes) -> bool:
    """Say the same of the first bytes of an input, whose first value may be too large to be looked at."""
    return _HEAD.match(head) is not None


class TempoReader:
    """Reads answers of both versions."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._spans = SpanReader(builder)
        self._repairing = OtlpJsonReader(builder)

    def finish(self) -> None:
        """Nothing is held back."""
        self._repairing.finish()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one answer; raises ``msgspec.DecodeError`` when it is not JSON."""
        builder = self._builder
        builder.mark(line, byte)
        try:
            answer = _answer.decode(record)
        except msgspec.ValidationError:
            builder.reject(line, byte, "neither batches nor a trace: not an answer of Tempo")
            return
        parts = [
            raw
            for lists in (answer, answer.trace)
            if lists is not None
            for raw in (*(lists.batches or ()), *(lists.resourceSpans or ()))
        ]
        if not parts and answer.trace is None and answer.batches is None and answer.resourceSpans is None:
            builder.reject(line, byte, "neither batches nor a trace: not an answer of Tempo")
        if bytes(answer.status) in _PARTIAL:
            builder.reject(line, byte, "Tempo's status is PARTIAL: the trace is too large and a part of it is missing")
        for raw in parts:
            self._read_part(raw, line, byte)

    def _read_part(self, raw: msgspec.Raw, line: int, byte: int) -> None:
        try:
            part = _resource_spans.decode(raw)
            scopes = [_scope_spans.decode(raw_scope) for raw_scope in part.scopeSpans]
            resource = self._spans.resource(part.resource)
        except msgspec.ValidationError:
            scopes = []
        if not scopes:
            # Older answers have instrumentationLibrarySpans; the repair knows them and all that is odd.
            self._repair(b'{"resourceSpans":[' + bytes(raw) + b"]}", line, byte)
            return
        for scope in scopes:
            for spans in self._pieces(scope, line, byte):
                self._spans.read([(resource, scope.scope.name, spans)], line)
                self._builder.flush_if_full()

    def _pieces(self, scope: RawScopeSpans, line: int, byte: int) -> Iterator[list[Span]]:
        for start in range(0, len(scope.spans), PIECE):
            piece: list[Span] = []
            for raw in scope.spans[start : start + PIECE]:
                try:
                    piece.append(_plain(_span.decode(raw)))
                except msgspec.ValidationError as error:
                    self._builder.reject(line, byte, f"a span of Tempo: {plain_reason(error)}")
            yield piece

    def _repair(self, request: bytes, line: int, byte: int) -> None:
        self._repairing.read(request, line, byte)
        self._builder.records -= 1
        self._builder.flush_if_full()


def _plain(span: TempoSpan) -> TempoSpan:
    """Bring ids to hex, kind and status to numbers."""
    span.traceId = _hex(span.traceId, _TRACE_ID)
    span.spanId = _hex(span.spanId, _SPAN_ID)
    span.parentSpanId = _hex(span.parentSpanId, _SPAN_ID) or NO_PARENT
    kind = span.kind
    span.kind = _KIND_NUMBERS.get(kind, 0) if isinstance(kind, str | int) else 0
    status = span.status
    code = status.get("code") if isinstance(status, dict) else None
    span.status = _ERROR if isinstance(code, str | int) and code in _ERRORS else _OK
    return span


def _hex(text: str, length: int) -> str:
    """Turn base64 of a whole id into hex; any other spelling stays for the builder."""
    if len(text) != length or not text.endswith("="):
        return text
    try:
        return b64decode(text, validate=True).hex()
    except ValueError:
        return text


_PARTS = frozenset({"scopeSpans", "instrumentationLibrarySpans", "resource"})
_TRACE_ID = 24
_SPAN_ID = 12
"""Characters of ids in base64."""
