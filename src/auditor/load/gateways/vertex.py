"""Vertex AI: request-response logs, exported from BigQuery.

Fields as public loaders of the table read them; usage as in google-genai's ``usageMetadata``. The time is that of
the logging, after the answer. A log may hold a sample of the calls: the sampling rate is in no row.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import text_of
from auditor.load.gateways.usage import gemini_usage_of, last_with, usage_of
from auditor.load.row_values import at, ns_of_iso, ns_of_ms, object_of, operation_of_model
from auditor.load.rows import Row, Told, has_keys

SYSTEM = "vertex"


def is_vertex(value: Any) -> bool:
    """Say whether the first JSON value of an input holds rows of the log."""
    return has_keys(value, "full_request", "full_response", "api_method")


def vertex_row(entry: dict[str, Any]) -> Told:
    """Read a row."""
    log_id = text_of(entry.get("request_id"))
    if not log_id:
        return "a row of Vertex AI without a request_id"
    request, response = object_of(entry.get("full_request")), entry.get("full_response")
    counts, cache_inside = gemini_usage_of(last_with(response, "usageMetadata"))
    if not counts.is_usage:
        # Models of Anthropic answer in their own words.
        counts, cache_inside = usage_of(last_with(response, "usage"))
    end = ns_of_iso(entry.get("logging_time"))
    length = ns_of_ms(at(object_of(entry.get("metadata")), "request_latency"))
    model = text_of(entry.get("model")) or text_of(entry.get("endpoint")).rpartition("/models/")[2]
    return Row(
        id=log_id,
        start_ns=max(end - length, 0),
        end_ns=end,
        provider="gcp.vertex_ai",
        request_model=model,
        response_model=text_of(last_with(response, "modelVersion")),
        operation=operation_of_model(model),
        counts=counts,
        cache_inside=cache_inside,
        streamed="stream" in text_of(entry.get("api_method")).lower(),
        failed=bool(last_with(response, "error")) and not counts.is_usage,
        call_id=log_id,
        response_id=text_of(last_with(response, "responseId")),
        metadata=[("full_request.labels", request.get("labels"))],
        fields=[("endpoint", entry.get("endpoint"))],
    )
