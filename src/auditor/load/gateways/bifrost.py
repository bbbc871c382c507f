"""Bifrost: rows of its log store, as its API returns them.

Field meanings as in ``framework/logstore/tables.go``. A fallback is a row of its own that names the first one; retries
stay inside a row. A row that was never finished stays in processing. Where a request has several customers, none is
taken.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of, flag_of, pico_of, text_of
from auditor.load.gateways.usage import usage_of
from auditor.load.row_values import at, list_of, ns_of_iso, ns_of_ms, operation_of_name
from auditor.load.rows import Row, Told, has_keys
from auditor.model.lexicon import Operation

SYSTEM = "bifrost"
_OWNERS = ("customer_id", "team_id", "user_id", "business_unit_id")


def is_bifrost(value: Any) -> bool:
    """Say whether the first JSON value of an input holds rows of the log store."""
    return has_keys(value, "fallback_index", "number_of_retries", "virtual_key_id")


def bifrost_row(entry: dict[str, Any]) -> Told:
    """Read a row."""
    log_id = text_of(entry.get("id"))
    if not log_id:
        return "a Bifrost row without an id"
    usage = entry.get("token_usage")
    counts, _ = usage_of(usage)
    if counts.cache_read is None:
        counts = counts._replace(cache_read=count_of(at(usage, "prompt_tokens_details", "cached_read_tokens")))
    start = ns_of_iso(entry.get("timestamp"))
    return Row(
        id=log_id,
        start_ns=start,
        end_ns=start + ns_of_ms(entry.get("latency")) if start else 0,
        trace=text_of(entry.get("parent_request_id")) or log_id,
        provider=text_of(entry.get("provider")),
        request_model=text_of(entry.get("alias")) or text_of(entry.get("model")),
        response_model=text_of(entry.get("model")),
        operation=operation_of_name(SYSTEM, entry.get("object")) or Operation.CHAT,
        counts=counts,
        cache_inside=True,
        cost_pico=pico_of(entry.get("cost")),
        streamed=flag_of(entry.get("stream")),
        failed=text_of(entry.get("status")) == "error",
        cache_hit=bool(flag_of(at(entry, "cache_debug", "cache_hit"))),
        credential=text_of(entry.get("virtual_key_id")),
        call_id=log_id,
        user=text_of(entry.get("user_id")),
        metadata=[("metadata", entry.get("metadata"))],
        fields=[
            *((name, _only(entry, name)) for name in _OWNERS),
            ("virtual_key_id", entry.get("virtual_key_id")),
            ("virtual_key_name", entry.get("virtual_key_name")),
        ],
    )


def _only(entry: dict[str, Any], name: str) -> str:
    """An owner, if the lists beside the single fields do not name several."""
    several = {text_of(value) for value in list_of(entry.get(f"{name}s"))} - {""}
    if len(several) > 1:
        return ""
    return text_of(entry.get(name)) or next(iter(several), "")
