"""Brings every known deviation from OTLP JSON into the shape that the protocol asks for.

Deviations and where they were seen: snake_case keys and Go's capitals (plain protobuf printers), enum names,
``instrumentationLibrarySpans`` (before protocol v0.15), ``null`` for absent fields, ids as base64 or lists of
bytes, numbers as text and text as numbers. A part of the wrong type is reported and left out; the rest stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auditor.load.builder import canonical_id

Report = Callable[[str], None]

_KINDS = {"UNSPECIFIED": 0, "INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_STATUS = {"UNSET": 0, "OK": 1, "ERROR": 2}
MAX_TIME = 1 << 63


def repair(value: Any, report: Report) -> dict[str, Any]:
    """Return an export request with one clean entry for each part that can be read."""
    if isinstance(value, list):
        merged: list[Any] = []
        for entry in value:
            merged += repair(entry, report)["resourceSpans"]
        return {"resourceSpans": merged}
    if not isinstance(value, dict):
        report("neither an object nor a list: not an OTLP request")
        return {"resourceSpans": []}
    parts = _get(value, "resourceSpans", "resource_spans")
    if parts is None:
        report("no resourceSpans: not an OTLP request")
        return {"resourceSpans": []}
    return {"resourceSpans": [_resource_spans(part, report) for part in _objects(parts, "resourceSpans", report)]}


def _resource_spans(part: dict[str, Any], report: Report) -> dict[str, Any]:
    scopes = _get(part, "scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")
    resource = _get(part, "resource")
    attributes = _get(resource, "attributes") if isinstance(resource, dict) else None
    return {
        "resource": {"attributes": _attributes(attributes, report)},
        "scopeSpans": [_scope_spans(scope, report) for scope in _objects(scopes, "scopeSpans", report)],
    }


def _scope_spans(part: dict[str, Any], report: Report) -> dict[str, Any]:
    scope = _get(part, "scope", "instrumentationLibrary", "instrumentation_library")
    name = _get(scope, "name") if isinstance(scope, dict) else None
    return {
        "scope": {"name": name if isinstance(name, str) else ""},
        "spans": [
            span for raw in _objects(_get(part, "spans"), "spans", report) if (span := _span(raw, report)) is not None
        ],
    }


def _span(raw: dict[str, Any], report: Report) -> dict[str, Any] | None:
    trace = canonical_id(_get(raw, "traceId", "trace_id"), 16)
    span = canonical_id(_get(raw, "spanId", "span_id"), 8)
    parent = canonical_id(_get(raw, "parentSpanId", "parent_span_id"), 8)
    if trace is None or span is None or not trace.strip("0") or not span.strip("0"):
        report("a span has no readable trace id or span id")
        return None
    status = _get(raw, "status")
    name = _get(raw, "name")
    return {
        "traceId": trace,
        "spanId": span,
        "parentSpanId": parent or "",
        "flags": _number(_get(raw, "flags")),
        "name": name if isinstance(name, str) else "",
        "kind": _enum(_get(raw, "kind"), "SPAN_KIND_", _KINDS),
        "startTimeUnixNano": _number(_get(raw, "startTimeUnixNano", "start_time_unix_nano")),
        "endTimeUnixNano": _number(_get(raw, "endTimeUnixNano", "end_time_unix_nano")),
        "attributes": _attributes(_get(raw, "attributes"), report),
        "events": [
            {
                "name": str(_get(event, "name") or ""),
                "attributes": _attributes(_get(event, "attributes"), report),
            }
            for event in _objects(_get(raw, "events"), "events", report)
        ],
        "links": [
            {"traceId": _get(link, "traceId", "trace_id"), "spanId": _get(link, "spanId", "span_id")}
            for link in _objects(_get(raw, "links"), "links", report)
        ],
        "status": {"code": _enum(_get(status, "code"), "STATUS_CODE_", _STATUS) if isinstance(status, dict) else 0},
    }


def _attributes(pairs: Any, report: Report) -> list[dict[str, Any]]:
    if isinstance(pairs, dict):
        pairs = [{"key": key, "value": value} for key, value in pairs.items()]
    return [
        {"key": key, "value": _value(_get(pair, "value"))}
        for pair in _objects(pairs, "attributes", report)
        if isinstance(key := _get(pair, "key"), str)
    ]


def _value(value: Any) -> Any:
    """Give an attribute value its protocol form; a bare value gets the kind that fits it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(inner) for inner in value]}}
    if not isinstance(value, dict):
        return {}
    inner = _get(value, "Value") if set(value) == {"Value"} else value
    if not isinstance(inner, dict):
        return {}
    for camel, names in _VALUE_NAMES.items():
        found = _get(inner, *names)
        if found is None:
            continue
        if camel == "arrayValue":
            items = found.get("values") or [] if isinstance(found, dict) else found
            return {camel: {"values": [_value(item) for item in items] if isinstance(items, list) else []}}
        if camel == "kvlistValue":
            pairs = found.get("values") or [] if isinstance(found, dict) else found
            return {camel: {"values": _attributes(pairs, lambda _: None)}}
        return {camel: found}
    return {}


_VALUE_NAMES = {
    "stringValue": ("stringValue", "string_value", "StringValue"),
    "intValue": ("intValue", "int_value", "IntValue"),
    "doubleValue": ("doubleValue", "double_value", "DoubleValue"),
    "boolValue": ("boolValue", "bool_value", "BoolValue"),
    "arrayValue": ("arrayValue", "array_value", "ArrayValue"),
    "kvlistValue": ("kvlistValue", "kvlist_value", "KvlistValue"),
}


def _get(value: dict[str, Any], *names: str) -> Any:
    for name in names:
        if (found := value.get(name)) is not None:
            return found
    return None


def _objects(value: Any, name: str, report: Report) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        report(f"{name} is not a list")
        return []
    good = [entry for entry in value if isinstance(entry, dict)]
    for _ in range(sum(entry is not None for entry in value) - len(good)):
        report(f"an entry of {name} is not an object")
    return good


def _number(value: Any) -> int:
    """Read an integer written as number or text; anything else, or out of range, is 0 as in the protocol."""
    try:
        number = int(value) if isinstance(value, int | str) else int(float(value)) if isinstance(value, float) else 0
    except (ValueError, OverflowError):
        return 0
    return number if 0 <= number < MAX_TIME else 0


def _enum(value: Any, prefix: str, names: dict[str, int]) -> int:
    if isinstance(value, str):
        return names.get(value.upper().removeprefix(prefix), _number(value))
    return _number(value)
