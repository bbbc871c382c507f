"""Spans of ``builders`` as other systems export them, written after their formats and not with the readers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from builders import MS, T0, Span, hex_id

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def start_us(span: Span) -> int:
    """Start in microseconds."""
    return (T0 + round(span.start * MS)) // 1000


def iso(microseconds: int) -> str:
    """A moment as Python's SDK prints it."""
    return f"{EPOCH + timedelta(microseconds=microseconds):%Y-%m-%dT%H:%M:%S.%fZ}"


def tag(key: str, value: Any) -> dict[str, Any]:
    """A tag of Jaeger: lists and objects stand as JSON text."""
    match value:
        case bool():
            return {"key": key, "type": "bool", "value": value}
        case int():
            return {"key": key, "type": "int64", "value": value}
        case float():
            return {"key": key, "type": "float64", "value": value}
        case str():
            return {"key": key, "type": "string", "value": value}
        case _:
            return {"key": key, "type": "string", "value": json.dumps(value)}


def resource_of(span: Span) -> dict[str, Any]:
    """Resource attributes without the service's name."""
    return {**({"service.instance.id": span.instance} if span.instance else {}), **(span.resource or {})}


def jaeger_span(span: Span) -> dict[str, Any]:
    """A span with its process inside, as the bare arrays have it."""
    trace, own = span.ids
    tags = [tag(key, value) for key, value in (span.attributes or {}).items()]
    tags.append(tag("otel.scope.name", span.scope))
    tags.append(tag("span.kind", KINDS[span.kind].lower()))
    if span.failed:
        tags += [tag("otel.status_code", "ERROR"), tag("error", True)]
    references = [
        *([{"refType": "CHILD_OF", "traceID": trace, "spanID": hex_id(span.parent, 8)}] if span.parent else []),
        *({"refType": "FOLLOWS_FROM", "traceID": hex_id(t, 16), "spanID": hex_id(s, 8)} for t, s in span.links),
    ]
    return {
        "traceID": trace,
        "spanID": own,
        "flags": 1,
        "operationName": span.name,
        "references": references,
        "startTime": start_us(span),
        "duration": round((span.ms or 0) * 1000),
        "tags": tags,
        "logs": [
            {"timestamp": start_us(span), "fields": [tag("event", name), *(tag(k, v) for k, v in values.items())]}
            for name, values in span.events
        ],
        "process": {"serviceName": span.service, "tags": [tag(k, v) for k, v in resource_of(span).items()]},
        "warnings": None,
    }


def jaeger_array(*spans: Span) -> bytes:
    """A bare list of spans."""
    return json.dumps([jaeger_span(span) for span in spans]).encode()


def jaeger_answer(*spans: Span) -> bytes:
    """An answer of the query API: one entry a trace, processes in a table."""
    traces: dict[str, dict[str, Any]] = {}
    for span in spans:
        entry = jaeger_span(span)
        trace = traces.setdefault(entry["traceID"], {"traceID": entry["traceID"], "spans": [], "processes": {}})
        process = entry.pop("process")
        known = trace["processes"]
        entry["processID"] = next((key for key, value in known.items() if value == process), f"p{len(known) + 1}")
        known[entry["processID"]] = process
        trace["spans"].append(entry)
    document = {"data": list(traces.values()), "total": 0, "limit": 0, "offset": 0, "errors": None}
    return json.dumps(document, indent=2).encode()


def text_of(value: Any) -> str:
    """A value as Zipkin's exporters write it."""
    return value if isinstance(value, str) else json.dumps(value)


def zipkin_span(span: Span) -> dict[str, Any]:
    """A span of Zipkin v2 as the Python exporter writes it: resource and scope among the tags."""
    trace, own = span.ids
    tags = {**(span.attributes or {}), **resource_of(span), "service.name": span.service}
    tags |= {"otel.library.name": span.scope, "otel.scope.name": span.scope}
    if span.failed:
        tags |= {"otel.status_code": "ERROR", "error": "it broke"}
    document: dict[str, Any] = {
        "traceId": trace,
        "id": own,
        "name": span.name,
        "timestamp": start_us(span),
        "duration": round((span.ms or 0) * 1000),
        "localEndpoint": {"serviceName": span.service},
        "tags": {key: text_of(value) for key, value in tags.items()},
        "annotations": [
            {"timestamp": start_us(span), "value": json.dumps({name: dict(values)})} for name, values in span.events
        ],
    }
    if span.kind > 1:
        document["kind"] = KINDS[span.kind]
    if span.parent:
        document["parentId"] = hex_id(span.parent, 8)
    return document


def zipkin(*spans: Span) -> bytes:
    """A list of spans."""
    return json.dumps([zipkin_span(span) for span in spans]).encode()


def console_span(span: Span) -> dict[str, Any]:
    """A span as the Python SDK's console exporter prints it."""
    trace, own = span.ids
    end = start_us(span) + round((span.ms or 0) * 1000)
    return {
        "name": span.name,
        "context": {"trace_id": f"0x{trace}", "span_id": f"0x{own}", "trace_state": "[]"},
        "kind": f"SpanKind.{KINDS[span.kind]}",
        "parent_id": f"0x{hex_id(span.parent, 8)}" if span.parent else None,
        "start_time": iso(start_us(span)),
        "end_time": iso(end) if span.ms is not None else None,
        "status": {"status_code": "ERROR" if span.failed else "UNSET"},
        "attributes": dict(span.attributes or {}),
        "events": [
            {"name": name, "timestamp": iso(start_us(span)), "attributes": dict(values)} for name, values in span.events
        ],
        "links": [
            {
                "context": {"trace_id": f"0x{hex_id(t, 16)}", "span_id": f"0x{hex_id(s, 8)}", "trace_state": "[]"},
                "attributes": {},
            }
            for t, s in span.links
        ],
        "resource": {"attributes": {**resource_of(span), "service.name": span.service}, "schema_url": ""},
    }


def console(*spans: Span) -> bytes:
    """Pretty-printed objects back to back."""
    return b"".join(json.dumps(console_span(span), indent=4).encode() + b"\n" for span in spans)


def proto3_json(request: Mapping[str, Any]) -> dict[str, Any]:
    """An export request as protobuf's own JSON printer writes it: ids base64, enums by name."""
    document: dict[str, Any] = json.loads(json.dumps(request))
    for span in spans_of_request(document):
        for key in ("traceId", "spanId", "parentSpanId"):
            if span.get(key):
                span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
            else:
                span.pop(key, None)
        span["kind"] = f"SPAN_KIND_{KINDS[span['kind']]}"
        span["status"] = {"code": "STATUS_CODE_ERROR"} if span["status"] else {}
        for link in span.get("links", ()):
            for key in ("traceId", "spanId"):
                link[key] = base64.b64encode(bytes.fromhex(link[key])).decode()
    return document


def spans_of_request(request: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """All spans of an export request."""
    for part in request["resourceSpans"]:
        for scope in part["scopeSpans"]:
            yield from scope["spans"]
