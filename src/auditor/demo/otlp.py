"""Writes spans as a Collector's file exporter does: one OTLP JSON request per line.

Ids, durations and token counts are derived from names by SHA-256, so the same scenes give the same bytes on
every machine and in every version of Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import orjson

Value = str | int | bool | Sequence[str]

START_NS = 1_793_610_000_000_000_000
"""2 November 2026, 09:00 UTC."""
SLOT_NS = 41 * 60 * 1_000_000_000
"""Traces start this far apart, so that no two of them overlap by chance."""
MS = 1_000_000


class Kind(IntEnum):
    """OTLP's span kinds."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class Process:
    """One running instance of a service."""

    service: str
    environment: str = "production"

    @property
    def resource(self) -> dict[str, Value]:
        """The resource attributes that its SDK sends."""
        seed = digest(self.service, self.environment)
        instance = f"{seed[:8]}-{seed[8:12]}-4{seed[13:16]}-a{seed[17:20]}-{seed[20:32]}"
        return {
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": "1.45.1",
            "service.name": self.service,
            "service.instance.id": instance,
            "service.version": "3.8.1",
            "deployment.environment.name": self.environment,
        }


@dataclass(frozen=True, slots=True)
class Scope:
    """The instrumentation library that made a span."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Span:
    """A finished span and where it was made."""

    process: Process
    scope: Scope
    trace_id: str
    span_id: str
    start_ns: int
    end_ns: int
    fields: Mapping[str, object]


@dataclass(slots=True)
class Trace:
    """One trace being written."""

    id: str
    start_ns: int
    spans: list[Span] = field(default_factory=list)

    def span(
        self,
        process: Process,
        scope: Scope,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Value],
        *,
        parent: Span | None = None,
        links: Sequence[Span] = (),
        at_ms: int = 0,
        lasts_ms: int = 100,
        status: int = 0,
        events: Sequence[str] = (),
    ) -> Span:
        """Add a span that starts ``at_ms`` after the trace does."""
        span_id = digest(self.id, str(len(self.spans)))[:16]
        start = self.start_ns + at_ms * MS + number(0, MS - 1, self.id, span_id)
        end = start + lasts_ms * MS
        is_remote = parent is not None and parent.process != process
        fields: dict[str, object] = {
            "traceId": self.id,
            "spanId": span_id,
            "parentSpanId": parent.span_id if parent else "",
            "flags": 768 if is_remote else 256,
            "name": name,
            "kind": int(kind),
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(end),
            "attributes": _attributes(attributes),
            "events": [
                {"timeUnixNano": str(end - (len(events) - index) * MS), "name": event}
                for index, event in enumerate(events)
            ],
            "links": [
                {"traceId": link.trace_id, "spanId": link.span_id, "flags": 768, "attributes": []} for link in links
            ],
            "status": {"code": status} if status else {},
        }
        made = Span(
            process,
            scope,
            self.id,
            span_id,
            start,
            end,
            {k: v for k, v in fields.items() if v not in ("", [])},
        )
        self.spans.append(made)
        return made


@dataclass(slots=True)
class Export:
    """Traces in the order in which they happened."""

    traces: list[Trace] = field(default_factory=list)
    redelivered: list[Span] = field(default_factory=list)

    def trace(self) -> Trace:
        """Open the next trace, in a time slot of its own."""
        serial = len(self.traces)
        made = Trace(id=digest("trace", str(serial))[:32], start_ns=START_NS + serial * SLOT_NS)
        self.traces.append(made)
        return made

    def lines(self) -> Iterator[bytes]:
        """Write one request per process and trace, in the order in which processes flush; then repeats."""
        for trace in self.traces:
            by_process: dict[Process, list[Span]] = {}
            for span in trace.spans:
                by_process.setdefault(span.process, []).append(span)
            flushed = sorted(by_process.items(), key=lambda item: max(span.end_ns for span in item[1]))
            for process, spans in flushed:
                yield _request(process, spans)
        for span in self.redelivered:
            yield _request(span.process, [span])


def _request(process: Process, spans: Sequence[Span]) -> bytes:
    by_scope: dict[Scope, list[Mapping[str, object]]] = {}
    for span in sorted(spans, key=lambda span: span.end_ns):
        by_scope.setdefault(span.scope, []).append(span.fields)
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(process.resource)},
                "scopeSpans": [
                    {"scope": {"name": scope.name, "version": scope.version}, "spans": fields}
                    for scope, fields in by_scope.items()
                ],
            }
        ]
    }
    return orjson.dumps(request) + b"\n"


def _attributes(attributes: Mapping[str, Value]) -> list[dict[str, object]]:
    return [{"key": key, "value": _any_value(value)} for key, value in attributes.items()]


def _any_value(value: Value) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, str):
        return {"stringValue": value}
    return {"arrayValue": {"values": [{"stringValue": part} for part in value]}}


def digest(*names: str) -> str:
    """Return 64 hex digits that depend on the names and nothing else."""
    return hashlib.sha256("\x00".join(names).encode()).hexdigest()


def number(low: int, high: int, *names: str) -> int:
    """Return a number between two others, both included, that depends on the names and nothing else."""
    return low + int(digest(*names)[:15], 16) % (high - low + 1)
