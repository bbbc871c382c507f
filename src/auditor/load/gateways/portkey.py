"""Portkey: log exports, records of its analytics, and log files in blob storage.

Field meanings as in Portkey's log export. Costs are US cents. Fields that the operator did not ask for are absent.
Log files in blob storage have neither counts nor cost: these are read from the provider's answer inside.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of, flag_of, text_of
from auditor.load.gateways.usage import usage_of
from auditor.load.row_values import (
    at,
    headers_of,
    is_made_up,
    ns_of_iso,
    ns_of_ms,
    object_of,
    operation_of_path,
    pico_of_cents,
    traceparent_of,
)
from auditor.load.rows import NO_USAGE, Counts, Row, Told, has_keys, rows_in
from auditor.model.lexicon import Operation

SYSTEM = "portkey"
FAILED_FROM = 400
TRACE_DIGITS = 32


def is_portkey(value: Any) -> bool:
    """Say whether the first JSON value of an input holds Portkey's records."""
    if has_keys(value, "ai_org", "ai_model", "req_units", "res_units"):
        return True
    return has_keys(value, "_id", "organisation_id", "request") and "portkeyHeaders" in object_of(
        rows_in(value)[0]["request"]
    )


def portkey_row(entry: dict[str, Any]) -> Told:
    """Read a record."""
    log_id = text_of(entry.get("id")) or text_of(entry.get("_id"))
    if not log_id:
        return "a Portkey record without an id"
    request, answer = object_of(entry.get("request")), object_of(at(entry, "response", "body"))
    headers = headers_of(request.get("portkeyHeaders"))
    operation = operation_of_path(entry.get("request_url") or request.get("url"))
    if operation is Operation.POLL:
        return None
    counts, cache_inside = usage_of(answer.get("usage"))
    if not counts.is_usage:
        counts = Counts(
            count_of(entry.get("req_units")),
            count_of(entry.get("res_units")),
            total=count_of(entry.get("total_units")),
        )
        cache_inside = None
    status = count_of(entry.get("response_status_code") or at(entry, "response", "status"))
    trace = text_of(entry.get("trace_id"))
    trace_of_header, parent = traceparent_of(headers.get("traceparent") or at(request, "headers", "traceparent"))
    is_trace = len(trace) == TRACE_DIGITS and not trace.lower().strip("0123456789abcdef")
    start = ns_of_iso(entry.get("created_at"))
    metadata = _metadata(entry.get("metadata")) or object_of(headers.get("x-portkey-metadata"))
    user = metadata.get("_user") or entry.get("_user")
    return Row(
        id=log_id,
        start_ns=start,
        end_ns=start + ns_of_ms(entry.get("response_time")) if start else 0,
        trace=trace or trace_of_header,
        span=text_of(entry.get("span_id")) if is_trace else "",
        parent=(text_of(entry.get("parent_span_id")) if is_trace else "") or ("" if trace else parent),
        provider=text_of(entry.get("ai_org") or entry.get("ai_provider") or headers.get("x-portkey-provider")),
        request_model=text_of(entry.get("ai_model")) or text_of(at(request, "body", "model")),
        response_model=text_of(answer.get("model")),
        operation=operation,
        counts=counts if counts.is_usage else NO_USAGE,
        cache_inside=cache_inside,
        cost_pico=pico_of_cents(entry.get("cost")),
        streamed=_streamed(entry, request),
        failed=(status is not None and status >= FAILED_FROM) or count_of(entry.get("is_success")) == 0,
        cache_hit=text_of(entry.get("cache_status")).upper().endswith("HIT"),
        credential=text_of(entry.get("virtual_key")) or text_of(entry.get("api_key_id")),
        response_id=text_of(answer.get("id")),
        call_id=log_id,
        # A trace id that nobody sent is a UUID.
        session="" if is_trace or is_made_up(trace) else trace,
        user=text_of(user),
        environment=text_of(metadata.get("_environment")) or text_of(entry.get("_environment")),
        metadata=[("metadata", metadata)],
        fields=[
            ("metadata._organisation", metadata.get("_organisation")),
            ("metadata._user", user),
            *((name, entry.get(name)) for name in ("organisation_id", "workspace_slug", "virtual_key", "api_key_id")),
        ],
    )


def _metadata(value: Any) -> dict[str, Any]:
    """The metadata object; analytics records hold it as a list of keys beside a list of values."""
    metadata = object_of(value)
    keys, values = metadata.get("key"), metadata.get("value")
    if isinstance(keys, list) and isinstance(values, list):
        return {str(key): inner for key, inner in zip(keys, values, strict=False)}
    return metadata


def _streamed(entry: dict[str, Any], request: dict[str, Any]) -> bool | None:
    mode = entry.get("stream_mode")
    if mode is not None:
        return bool(count_of(mode)) if isinstance(mode, int | float) else flag_of(mode)
    asked = at(request, "body", "stream")
    return asked if isinstance(asked, bool) else None
