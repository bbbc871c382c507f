"""Answers of Grafana Tempo's API and the downloads that Grafana makes of them: OTLP in another envelope.

Version 1 (``/api/traces/{id}``) has ``batches``, version 2 ``trace`` and, for a trace that is too large, the status
``PARTIAL`` (grafana/tempo ``pkg/tempopb``, ``modules/frontend``). Ids are base64 and enums names, as protobuf's JSON
printer writes them: both are read at the speed of OTLP, everything odder through its repair. A document is held
while it is read, as it stands in the file; its spans are decoded one by one.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from auditor.load.builder import NO_PARENT, BatchBuilder
from auditor.load.learned_keys import LearnedKeys, resource_spans_of, with_members
from auditor.load.otlp_json import OtlpJsonReader
from auditor.load.otlp_spans import Group, SpanReader
from auditor.load.otlp_types import (
    RawResourceSpans,
    RawScopeSpans,
    ResourceSpans,
    Scope,
    Span,
    Status,
)
from auditor.load.otlp_values import ABSENT
from auditor.load.span_writer import KINDS, PIECE, SPLIT_ABOVE, plain_reason

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


class RawParts(msgspec.Struct, gc=False):
    """A trace of version 2."""

    resourceSpans: list[msgspec.Raw] | None = None  # noqa: N815
    batches: list[msgspec.Raw] | None = None


class RawAnswer(RawParts, gc=False):
    """An answer of either version."""

    trace: RawParts | None = None
    status: msgspec.Raw = ABSENT


class Parts(msgspec.Struct, gc=False):
    """A trace of version 2, with all that is in it."""

    resourceSpans: list[ResourceSpans] | None = None  # noqa: N815
    batches: list[ResourceSpans] | None = None


class Answer(Parts, gc=False):
    """An answer of either version, with all that is in it."""

    trace: Parts | None = None
    status: msgspec.Raw = ABSENT


def _answer_of(span: Any) -> Any:
    """The type of an answer with such spans."""
    resource_spans = resource_spans_of(span)
    of_trace, of_answer = (
        with_members(with_members(base, "resourceSpans", resource_spans), "batches", resource_spans)
        for base in (Parts, Answer)
    )
    return msgspec.defstruct("Answer", [("trace", of_trace | None, None)], bases=(of_answer,), gc=False)


_raw_answer = msgspec.json.Decoder(RawAnswer)
_resource_spans = msgspec.json.Decoder(RawResourceSpans)
_scope_spans = msgspec.json.Decoder(RawScopeSpans)
_span = msgspec.json.Decoder(TempoSpan, strict=False)
_scope = msgspec.json.Decoder(Scope)
_answer = msgspec.json.Decoder(_answer_of(TempoSpan), strict=False)


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
        self._learned = LearnedKeys(builder.lexicon, span=TempoSpan, request=_answer_of)
        self._scopes: dict[bytes, str] = {}
        self._repairing = OtlpJsonReader(builder)

    def finish(self) -> None:
        """Nothing is held back."""
        self._repairing.finish()

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one answer; raises ``msgspec.DecodeError`` when it is not JSON."""
        self._builder.mark(line, byte)
        if len(record) > SPLIT_ABOVE or not self._read_whole(record, line, byte):
            self._read_in_pieces(record, line, byte)

    def _read_whole(self, record: bytes | memoryview, line: int, byte: int) -> bool:
        """Read an answer; ``False`` when something in it is unusual."""
        learned = self._learned.request(record)
        try:
            answer: Answer = learned or _answer.decode(record)
            parts = [
                part
                for lists in (answer, answer.trace)
                if lists is not None
                for part in (*(lists.batches or ()), *(lists.resourceSpans or ()))
            ]
            groups = list(self._groups(parts))
        except msgspec.ValidationError:
            return False
        if not parts or not all(part.scopeSpans for part in parts):
            return False
        self._note_status(answer, line, byte)
        self._spans.read(groups, line, learned=learned is not None)
        if learned is None:
            self._learned.learn(span for _, _, spans in groups for span in spans)
        return True

    def _groups(self, parts: Iterable[ResourceSpans]) -> Iterator[Group]:
        for part in parts:
            resource = self._spans.resource(part.resource)
            for scope_spans in part.scopeSpans:
                yield resource, self._scope(bytes(scope_spans.scope)), list(map(_plain, scope_spans.spans))

    def _scope(self, raw: bytes) -> str:
        """Name of a scope; raises ``msgspec.ValidationError`` when it is none."""
        name = self._scopes.get(raw)
        if name is None:
            name = _scope.decode(raw).name if raw else ""
            if len(self._scopes) < CACHED_SCOPES and len(raw) <= CACHED_SCOPE:
                self._scopes[raw] = name
        return name

    def _note_status(self, answer: Answer | RawAnswer, line: int, byte: int) -> None:
        if bytes(answer.status) in _PARTIAL:
            self._builder.reject(
                line, byte, "Tempo's status is PARTIAL: the trace is too large and a part of it is missing"
            )

    def _read_in_pieces(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read an answer that is large, or in which something is unusual, span by span."""
        builder = self._builder
        try:
            answer = _raw_answer.decode(record)
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
        self._note_status(answer, line, byte)
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
            for spans, learned in self._pieces(scope, line, byte):
                self._spans.read([(resource, scope.scope.name, spans)], line, learned=learned)
                self._builder.flush_if_full()

    def _pieces(self, scope: RawScopeSpans, line: int, byte: int) -> Iterator[tuple[list[Span], bool]]:
        """Decode spans, some at a time, and say whether by learned keys."""
        for start in range(0, len(scope.spans), PIECE):
            raws = scope.spans[start : start + PIECE]
            learned = self._learned.spans(raws)
            if learned is not None:
                yield list(map(_plain, learned)), True
                continue
            piece: list[Span] = []
            for raw in raws:
                try:
                    piece.append(_plain(_span.decode(raw)))
                except msgspec.ValidationError as error:
                    self._builder.reject(line, byte, f"a span of Tempo: {plain_reason(error)}")
            yield piece, False
            self._learned.learn(piece)

    def _repair(self, request: bytes, line: int, byte: int) -> None:
        self._repairing.read(request, line, byte)
        self._builder.records -= 1
        self._builder.flush_if_full()


def _plain(span: Any) -> Span:
    """Bring ids of a ``TempoSpan`` to hex, kind and status to numbers."""
    trace, own, parent = span.traceId, span.spanId, span.parentSpanId
    span.traceId = _hex(trace) if len(trace) == _TRACE_ID else trace
    span.spanId = _hex(own) if len(own) == _SPAN_ID else own
    span.parentSpanId = (_hex(parent) if len(parent) == _SPAN_ID else parent) or NO_PARENT
    kind = span.kind
    if type(kind) is str:
        span.kind = _KIND_NUMBERS.get(kind, 0)
    else:
        span.kind = _KIND_NUMBERS.get(kind, 0) if isinstance(kind, int) else 0
    status = span.status
    code = status.get("code") if status and isinstance(status, dict) else None
    span.status = _ERROR if code is not None and isinstance(code, str | int) and code in _ERRORS else _OK
    return span  # type: ignore[no-any-return]  # made of one of two types at run time


def _hex(text: str) -> str:
    """Turn base64 of a whole id into hex; any other spelling stays for the builder."""
    if text[-1] != "=":
        return text
    try:
        return a2b_base64(text, strict_mode=True).hex()
    except ValueError:
        return text


_PARTS = frozenset({"scopeSpans", "instrumentationLibrarySpans", "resource"})
_TRACE_ID = 24
_SPAN_ID = 12
"""Characters of ids in base64."""
CACHED_SCOPES = 1 << 12
CACHED_SCOPE = 1 << 9
"""Most bytes of a scope that is worth remembering."""
