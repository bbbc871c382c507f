"""Envoy AI Gateway: access logs in the form of its documentation.

The operator chooses the keys; these are the documented ones, and headers under their own names (``x-tenant-id``)
or those that they were mapped to (``tenant.id``). The provider's name is a reference to a backend and no vendor, so
that it is left to the model's name. Cost is never logged.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of, text_of
from auditor.load.row_values import digest_of, ns_of_iso, ns_of_ms, operation_of_path, traceparent_of
from auditor.load.rows import Counts, Row, Told, rows_in
from auditor.model.lexicon import Operation

SYSTEM = "envoy"
FAILED_FROM = 400
CLOSED_BY_CLIENT = "DC"


def is_envoy(value: Any) -> bool:
    """Say whether the first JSON value of an input is an access log with the gateway's keys."""
    rows = rows_in(value)
    if not rows or not isinstance(rows[0], dict):
        return False
    entry = rows[0]
    return ("response_flags" in entry or "upstream_cluster" in entry) and any(
        key.startswith("gen_ai.") for key in entry
    )


def envoy_row(entry: dict[str, Any]) -> Told:
    """Read a request; what is no model request has no model."""
    request_id = _text(entry, "x-request-id")
    operation = operation_of_path(_text(entry, "x-envoy-origin-path") or _text(entry, "path"))
    provider = _text(entry, "gen_ai.provider.name")
    request_model = _text(entry, "gen_ai.request.model")
    if operation is Operation.POLL or "mcp.method.name" in entry or not request_model:
        return None
    start = ns_of_iso(entry.get("start_time"))
    counts = Counts(
        count_of(entry.get("gen_ai.usage.input_tokens")),
        count_of(entry.get("gen_ai.usage.output_tokens")),
        _first(entry, "gen_ai.usage.cached_input_tokens", "gen_ai.usage.cache_read.input_tokens"),
        _first(
            entry,
            "gen_ai.usage.cache_creation_input_tokens",
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
        ),
        total=count_of(entry.get("gen_ai.usage.total_tokens")),
    )
    status = count_of(entry.get("response_code"))
    is_left = CLOSED_BY_CLIENT in text_of(entry.get("response_flags")).split(",")
    trace, parent = traceparent_of(entry.get("traceparent"))
    return Row(
        id=request_id or digest_of(entry),
        start_ns=start,
        end_ns=start + ns_of_ms(entry.get("duration")) if start else 0,
        trace=trace or request_id,
        parent=parent,
        provider="" if "/" in provider else provider,
        request_model=_text(entry, "gen_ai.request.model_override") or request_model,
        response_model=_text(entry, "gen_ai.response.model"),
        operation=operation,
        counts=counts,
        # Usage goes missing when the client leaves before a stream's end.
        streamed=True if is_left and not counts.is_usage else None,
        failed=status is not None and (status >= FAILED_FROM or (status == 0 and not is_left)),
        call_id=request_id,
        request_id=request_id,
        response_id=_text(entry, "gen_ai.response.id"),
        metadata=[("access_log", {key: value for key, value in entry.items() if value != "-"})],
    )


def _text(entry: dict[str, Any], key: str) -> str:
    text = text_of(entry.get(key))
    return "" if text == "-" else text


def _first(entry: dict[str, Any], *keys: str) -> int | None:
    return next((count for key in keys if (count := count_of(entry.get(key))) is not None), None)
