"""OTLP JSON exports in a few words: spans with defaults, and what an audit of them says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

from auditor.ledger.calls import call_rows
from auditor.model.report import Report
from auditor.pipeline import audit
from auditor.settings import Settings

T0 = 1_790_000_000_000_000_000
"""2026-09-21, in nanoseconds: after the last price change that the tests rely on."""
MS = 1_000_000
SDK = "opentelemetry.instrumentation.openai.v1"
FRAMEWORK = "opentelemetry.instrumentation.langchain"
MODEL = "gpt-4o-mini"
CALL_PICO = 1000 * 150_000 + 100 * 600_000
"""Cost of ``call()``: 1000 input and 100 output tokens at USD 0.15 and 0.60 a million."""

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5

_numbers = count(1)


def hex_id(name: str, width: int) -> str:
    """A stable id for a name; a name that is an id already stays as it is."""
    if len(name) == 2 * width and not name.strip("0123456789abcdefABCDEF"):
        return name
    return blake2b(name.encode(), digest_size=width).hexdigest()


@dataclass(frozen=True)
class Span:
    """One span; times are milliseconds after ``T0``."""

    name: str = "work"
    id: str = ""
    trace: str = "trace"
    parent: str = ""
    service: str = "api"
    instance: str = ""
    scope: str = "app"
    kind: int = INTERNAL
    start: float = 0
    ms: float | None = 1000
    attributes: Mapping[str, Any] | None = None
    resource: Mapping[str, Any] | None = None
    links: Sequence[tuple[str, str]] = ()
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    failed: bool = False
    flags: int = 0

    def with_attributes(self, **changes: Any) -> Span:
        """The same span with other attributes; ``None`` takes one out."""
        merged = {**(self.attributes or {}), **changes}
        return replace(self, attributes={key: value for key, value in merged.items() if value is not None})

    @property
    def ids(self) -> tuple[str, str]:
        """Trace id and span id as hex."""
        return hex_id(self.trace, 16), hex_id(self.id, 8)


def span(name: str = "work", **fields: Any) -> Span:
    """A span without meaning; its id is its own unless told."""
    fields.setdefault("id", f"span {next(_numbers)}")
    return Span(name=name, **fields)


def call(name: str = "", *, usage: Mapping[str, int] | None = None, **fields: Any) -> Span:
    """A chat call of the SDK's instrumentation: 1000 input and 100 output tokens unless told.

    ``usage``: any of input, output, read, write, total, reasoning; ``{}`` for a call without usage.
    ``model``, ``operation``, ``tenant``, ``response`` and ``attributes`` add to what it says.
    """
    tokens = {"input": 1000, "output": 100} if usage is None else usage
    operation = fields.pop("operation", "chat")
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": fields.pop("provider", "openai"),
        "gen_ai.request.model": fields.pop("model", MODEL),
        **{TOKEN_KEYS[key]: value for key, value in tokens.items()},
    }
    for key, field in (("tenant.id", "tenant"), ("gen_ai.response.id", "response")):
        if (value := fields.pop(field, None)) is not None:
            attributes[key] = value
    attributes.update(fields.pop("attributes", {}))
    attributes = {key: value for key, value in attributes.items() if value is not None}
    return span(
        name or f"{operation} {MODEL}",
        **{"scope": SDK, "kind": CLIENT, "start": 100, "ms": 500, "attributes": attributes, **fields},
    )


TOKEN_KEYS = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "read": "gen_ai.usage.cache_read.input_tokens",
    "write": "gen_ai.usage.cache_write.input_tokens",
    "total": "gen_ai.usage.total_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
}


def value_of(value: Any) -> dict[str, Any]:
    """An attribute value as the protocol writes it."""
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case Mapping():
            return {"kvlistValue": {"values": pairs_of(value)}}
        case _:
            return {"arrayValue": {"values": [value_of(inner) for inner in value]}}


def pairs_of(attributes: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Attributes as the protocol writes them."""
    return [{"key": key, "value": value_of(value)} for key, value in (attributes or {}).items()]


def span_json(entry: Span) -> dict[str, Any]:
    """A span as the protocol writes it."""
    trace, own = entry.ids
    start = T0 + round(entry.start * MS)
    document: dict[str, Any] = {
        "traceId": trace,
        "spanId": own,
        "parentSpanId": hex_id(entry.parent, 8) if entry.parent else "",
        "name": entry.name,
        "kind": entry.kind,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + round(entry.ms * MS)) if entry.ms is not None else "0",
        "attributes": pairs_of(entry.attributes),
        "status": {"code": 2} if entry.failed else {},
    }
    if entry.flags:
        document["flags"] = entry.flags
    if entry.events:
        document["events"] = [
            {"timeUnixNano": str(start), "name": name, "attributes": pairs_of(attributes)}
            for name, attributes in entry.events
        ]
    if entry.links:
        document["links"] = [
            {"traceId": hex_id(trace, 16), "spanId": hex_id(linked, 8)} for trace, linked in entry.links
        ]
    return document


def request(*spans: Span) -> dict[str, Any]:
    """One export request: each span with a resource and a scope of its own."""
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": pairs_of(
                        {
                            **({"service.name": entry.service} if entry.service else {}),
                            **({"service.instance.id": entry.instance} if entry.instance else {}),
                            **(entry.resource or {}),
                        }
                    )
                },
                "scopeSpans": [{"scope": {"name": entry.scope} if entry.scope else {}, "spans": [span_json(entry)]}],
            }
            for entry in spans
        ]
    }


def lines(*spans: Span) -> bytes:
    """An export with one span a line."""
    return b"".join(json.dumps(request(entry)).encode() + b"\n" for entry in spans)


@dataclass
class Audited:
    """A report and the call ledger behind it."""

    report: Report
    rows: list[dict[str, Any]]

    def row(self, entry: Span) -> dict[str, Any]:
        """The ledger's row for a call; fails unless exactly one call has this span."""
        found = [row for row in self.rows if entry.ids in spans_of(row)]
        assert len(found) == 1, f"{len(found)} calls have the span {entry.name!r}"
        return found[0]


def spans_of(row: Mapping[str, Any]) -> set[tuple[str, str]]:
    """All spans that describe the call of a row."""
    return {(row["trace_id"], row["span_id"])} | {(s["trace_id"], s["span_id"]) for s in row["duplicates"]}


def audit_bytes(home: Path, *documents: bytes, settings: Settings | None = None) -> Audited:
    """Audit each document as a file of its own."""
    paths = []
    for number, document in enumerate(documents):
        path = home / f"{number}.json"
        path.write_bytes(document)
        paths.append(str(path))
    done = audit(paths, settings or Settings())
    return Audited(done.report, list(call_rows(done.calls)))


def audit_spans(home: Path, spans: Iterable[Span], settings: Settings | None = None) -> Audited:
    """Audit spans, one a line."""
    return audit_bytes(home, lines(*spans), settings=settings)
