"""Databricks: rows of ``system.serving.endpoint_usage`` and ``system.ai_gateway.usage``.

Two tables with two ways to say who a call is for: a map in the request's body, and a header's tags. Cost is billed
in units of another table. Payload tables may hold a sample of the calls only, and are not read then.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of, flag_of, text_of
from auditor.load.row_values import digest_of, ns_of_iso, ns_of_ms, operation_of_model, operation_of_path, sent_along
from auditor.load.rows import Counts, Row, Told, has_keys

SYSTEM = "databricks"
FAILED_FROM = 400


def is_databricks(value: Any) -> bool:
    """Say whether the first JSON value of an input holds rows of a usage table."""
    return has_keys(value, "databricks_request_id", "input_token_count") or has_keys(
        value, "request_tags", "destination_model"
    )


def databricks_row(entry: dict[str, Any]) -> Told:
    """Read a row."""
    fraction = entry.get("sampling_fraction")
    if isinstance(fraction, int | float) and fraction < 1:
        return "a sample of the calls: sampling_fraction is below 1"
    log_id = text_of(entry.get("databricks_request_id")) or text_of(entry.get("request_id"))
    start = ns_of_iso(entry.get("request_time") or entry.get("event_time"))
    status = count_of(entry.get("status_code"))
    destination = text_of(entry.get("destination_model"))
    model = destination or text_of(entry.get("served_entity_name")) or text_of(entry.get("served_entity_id"))
    url = entry.get("url")
    return Row(
        id=log_id or digest_of(entry),
        start_ns=start,
        end_ns=start + ns_of_ms(entry.get("execution_duration_ms")) if start else 0,
        provider=SYSTEM,
        request_model=model,
        operation=operation_of_path(url) if url else operation_of_model(model),
        counts=Counts(
            _first(entry, "input_token_count", "input_tokens"),
            _first(entry, "output_token_count", "output_tokens"),
            total=count_of(entry.get("total_tokens")),
        ),
        streamed=flag_of(entry.get("request_streaming")),
        failed=status is not None and status >= FAILED_FROM,
        call_id=log_id,
        request_id=text_of(entry.get("client_request_id")),
        metadata=[(name, sent_along(entry, name)) for name in ("usage_context", "request_tags")],
        fields=[(name, entry.get(name)) for name in ("account_id", "workspace_id", "requester", "served_entity_id")],
    )


def _first(entry: dict[str, Any], *keys: str) -> int | None:
    return next((count for key in keys if (count := count_of(entry.get(key))) is not None), None)
