"""OTLP JSON as the Collector's file exporter and the SDKs write it.

Records are decoded into typed structs whose attribute values stay raw bytes, so that prompts are skipped and
only values that somebody asks for are read. A record that does not fit the types goes through
``auditor.load.otlp_repair``, which brings every known deviation into this shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from auditor.load.builder import BatchBuilder
from auditor.load.learned_keys import LearnedKeys
from auditor.load.otlp_repair import repair
from auditor.load.otlp_spans import Group, SpanReader
from auditor.load.otlp_types import RawRequest, RawResourceSpans, RawScopeSpans, Request, Scope, Span

SPLIT_ABOVE = 4 << 20
"""Records above this many bytes are decoded piece by piece, so that memory does not follow their size."""
CACHED_SCOPES = 1 << 12
CACHED_SCOPE = 1 << 9
"""Most bytes of a scope that is worth remembering."""
PIECE = 256
"""Spans that are decoded before they are read."""

_request = msgspec.json.Decoder(Request, strict=False)
_scope = msgspec.json.Decoder(Scope)
_raw_request = msgspec.json.Decoder(RawRequest)
_raw_resource_spans = msgspec.json.Decoder(RawResourceSpans)
_raw_scope_spans = msgspec.json.Decoder(RawScopeSpans)
_span = msgspec.json.Decoder(Span, strict=False)


def is_otlp(value: Any) -> bool:
    """Say whether the first JSON value of an input looks like this format."""
    if isinstance(value, list):
        return bool(value) and is_otlp(value[0])
    return isinstance(value, dict) and bool(
        value.keys() & {"resourceSpans", "resource_spans", "resourceLogs", "resourceMetrics"}
    )


class OtlpJsonReader:
    """Reads export requests into a ``BatchBuilder``; without ``fast``, every span takes the slow path."""

    def __init__(self, builder: BatchBuilder, *, fast: bool = True) -> None:
        self._builder = builder
        self._spans = SpanReader(builder, fast=fast)
        self._learned = LearnedKeys(builder.lexicon)
        self._scope_names: dict[bytes, str] = {}

    def finish(self) -> None:
        """Nothing is held back."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read one request; raises ``msgspec.DecodeError`` when it is not JSON."""
        self._builder.mark(line, byte)
        if len(record) > SPLIT_ABOVE:
            self._read_in_pieces(record, line, byte)
            return
        learned = self._learned.request(record)
        try:
            request = learned or _request.decode(record)
            groups = list(self._groups(request))
        except msgspec.ValidationError:
            self._read_repaired(record, line, byte)
            return
        if request.resourceSpans is None:
            self._explain_missing(request, record, line, byte)
        elif all(part.scopeSpans for part in request.resourceSpans):
            self._spans.read(groups, line, learned=learned is not None)
            if learned is None:
                self._learned.learn(span for _, _, spans in groups for span in spans)
        else:
            self._read_repaired(record, line, byte)

    def _explain_missing(self, request: Request, record: bytes | memoryview, line: int, byte: int) -> None:
        if len(request.resource_spans):
            self._read_repaired(record, line, byte)
        elif len(request.resourceLogs):
            self._builder.reject(line, byte, "OTLP logs, not spans")
        elif len(request.resourceMetrics):
            self._builder.reject(line, byte, "OTLP metrics hold no calls")
        else:
            self._read_repaired(record, line, byte)

    def _groups(self, request: Request) -> Iterator[Group]:
        names = self._scope_names
        for part in request.resourceSpans or ():
            resource = self._spans.resource(part.resource)
            for scope_spans in part.scopeSpans:
                scope = bytes(scope_spans.scope)
                name = names.get(scope)
                yield resource, self._scope_name(scope) if name is None else name, scope_spans.spans

    def _scope_name(self, raw: bytes) -> str:
        """Read a scope; raises ``msgspec.ValidationError`` when it is none."""
        scope = _scope.decode(raw) if raw else Scope()
        self._builder.note_scope(scope.name, scope.version)
        if len(self._scope_names) < CACHED_SCOPES and len(raw) <= CACHED_SCOPE:
            self._scope_names[raw] = scope.name
        return scope.name

    def _read_in_pieces(self, record: bytes | memoryview, line: int, byte: int) -> None:
        try:
            parts = _raw_request.decode(record).resourceSpans
        except msgspec.ValidationError:
            parts = None
        if parts is None:
            self._read_repaired(record, line, byte)
            return
        for raw in parts:
            try:
                part = _raw_resource_spans.decode(raw)
                scopes = [_raw_scope_spans.decode(raw_scope) for raw_scope in part.scopeSpans]
            except msgspec.ValidationError:
                scopes = []
            if not scopes:
                self._read_repaired_part(raw, line, byte)
                continue
            resource = self._spans.resource(part.resource)
            for scope in scopes:
                self._builder.note_scope(scope.scope.name, scope.scope.version)
                for spans, learned in self._pieces(scope.spans, line, byte):
                    self._spans.read([(resource, scope.scope.name, spans)], line, learned=learned)

    def _pieces(self, spans: list[msgspec.Raw], line: int, byte: int) -> Iterator[tuple[list[Span], bool]]:
        """Decode spans, some at a time, and say whether by learned keys; between pieces a full builder is emptied."""
        for start in range(0, len(spans), PIECE):
            self._builder.flush_if_full()
            raws = spans[start : start + PIECE]
            learned = self._learned.spans(raws)
            if learned is not None:
                yield learned, True
                continue
            piece: list[Span] = []
            for raw in raws:
                try:
                    piece.append(_span.decode(raw))
                except msgspec.ValidationError:
                    piece += self._repaired_span(raw, line, byte)
            yield piece, False
            self._learned.learn(piece)

    def _repaired_span(self, raw: msgspec.Raw, line: int, byte: int) -> Iterator[Span]:
        request = {"resourceSpans": [{"scopeSpans": [{"spans": [orjson.loads(bytes(raw))]}]}]}
        for _, _, spans in self._groups(self._repaired(request, line, byte)):
            yield from spans

    def _read_repaired_part(self, raw: msgspec.Raw, line: int, byte: int) -> None:
        request = {"resourceSpans": [orjson.loads(bytes(raw))]}
        self._spans.read(self._groups(self._repaired(request, line, byte)), line)

    def _read_repaired(self, record: bytes | memoryview, line: int, byte: int) -> None:
        try:
            value = orjson.loads(record)
        except orjson.JSONDecodeError as error:
            self._builder.reject(line, byte, f"not JSON: {error.msg}")
            return
        self._spans.read(self._groups(self._repaired(value, line, byte)), line)

    def _repaired(self, value: object, line: int, byte: int) -> Request:
        request = repair(value, lambda reason: self._builder.reject(line, byte, reason))
        return _request.decode(orjson.dumps(request))
