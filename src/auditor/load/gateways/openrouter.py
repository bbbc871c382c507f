"""OpenRouter: generation records, as its API returns them one by one.

Field meanings as in the SDK's ``GenerationResponseData``. Native counts are billed; the others are normalised ones.
Attempts at several providers stand inside one record. The activity endpoint sums days and is no list of calls.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of, pico_of, text_of
from auditor.load.row_values import at, list_of, ns_of_iso, ns_of_ms, operation_of_name
from auditor.load.rows import Counts, Row, Told, has_keys
from auditor.model.lexicon import Operation

SYSTEM = "openrouter"
FAILED_FROM = 400


def is_openrouter(value: Any) -> bool:
    """Say whether the first JSON value of an input holds generation records."""
    return has_keys(value, "native_tokens_prompt", "total_cost", "upstream_id")


def openrouter_row(entry: dict[str, Any]) -> Told:
    """Read a generation."""
    log_id = text_of(entry.get("id"))
    if not log_id:
        return "an OpenRouter generation without an id"
    start = ns_of_iso(entry.get("created_at"))
    counts = Counts(
        count_of(entry.get("native_tokens_prompt")),
        count_of(entry.get("native_tokens_completion")),
        count_of(entry.get("native_tokens_cached")),
    )
    statuses = [count_of(at(part, "status")) for part in list_of(entry.get("provider_responses"))]
    is_refused = bool(statuses) and all(status is not None and status >= FAILED_FROM for status in statuses)
    cost = pico_of(entry.get("total_cost"))
    if entry.get("is_byok") is True:
        # With a key of the caller's, the record's cost is OpenRouter's fee, and the provider bills beside it.
        upstream = pico_of(entry.get("upstream_inference_cost"))
        cost = (cost or 0) + (upstream or 0) or None
    return Row(
        id=log_id,
        start_ns=start,
        end_ns=start + ns_of_ms(entry.get("latency")) + ns_of_ms(entry.get("generation_time")) if start else 0,
        trace=text_of(entry.get("request_id")),
        provider=SYSTEM,
        request_model=text_of(entry.get("model")),
        operation=operation_of_name(SYSTEM, entry.get("api_type")) or Operation.CHAT,
        counts=counts,
        cache_inside=True,
        cost_pico=cost,
        streamed=entry.get("streamed") if isinstance(entry.get("streamed"), bool) else None,
        failed=(is_refused or text_of(entry.get("finish_reason")) == "error") and not counts.is_usage,
        cache_hit=bool(text_of(entry.get("response_cache_source_id"))),
        partial=entry.get("cancelled") is True,
        service_tier=text_of(entry.get("service_tier")).lower(),
        response_id=log_id,
        upstream_id=text_of(entry.get("upstream_id")),
        session=text_of(entry.get("session_id")),
        user=text_of(entry.get("external_user")),
        metadata=[("trace", entry.get("trace"))],
        fields=[(name, entry.get(name)) for name in ("external_user", "workspace_id", "app_id", "origin")],
    )
