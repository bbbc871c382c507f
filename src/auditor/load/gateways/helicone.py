"""Helicone: requests as its API, its exporter (JSON, JSON lines) and its CSV export write them.

Field meanings as in Helicone's ``HeliconeRequest``. The prompt count leaves cached tokens out, and reasoning stands
beside the completion. Retries stay inside one row. The CSV export quotes objects twice and has neither request ids,
provider, path nor cache counts.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of, pico_of, text_of
from auditor.load.row_values import at, ns_of_iso, ns_of_ms, object_of, operation_of_model, operation_of_path
from auditor.load.rows import Counts, Row, Told, has_keys
from auditor.model.lexicon import Operation

SYSTEM = "helicone"
COLUMNS = ("response_id", "response_created_at", "response_status", "request_properties")
FAILED_FROM = 400


def is_helicone(value: Any) -> bool:
    """Say whether the first JSON value of an input holds Helicone's requests."""
    return has_keys(value, "request_id", "request_created_at", "delay_ms", "request_properties")


def helicone_row(entry: dict[str, Any]) -> Told:
    """Read a request."""
    request_id = text_of(entry.get("request_id"))
    log_id = request_id or text_of(entry.get("response_id"))
    if not log_id:
        return "a Helicone request without a request_id or response_id"
    model = text_of(entry.get("model_override")) or text_of(entry.get("request_model")) or text_of(entry.get("model"))
    path = entry.get("request_path") or entry.get("target_url")
    operation = operation_of_path(path) if path else operation_of_model(model)
    if operation is Operation.POLL:
        return None
    start = ns_of_iso(entry.get("request_created_at"))
    delay = ns_of_ms(entry.get("delay_ms"))
    counts = Counts(
        count_of(entry.get("prompt_tokens")),
        count_of(entry.get("completion_tokens")),
        count_of(entry.get("prompt_cache_read_tokens")),
        count_of(entry.get("prompt_cache_write_tokens")),
        reasoning=count_of(entry.get("reasoning_tokens")),
    )
    has_begun = entry.get("time_to_first_token") not in (None, "")
    cost = entry.get("cost") if entry.get("cost") not in (None, "") else entry.get("costUSD")
    properties = _properties(entry.get("request_properties")) or _properties(entry.get("properties"))
    return Row(
        id=log_id,
        start_ns=start,
        end_ns=start + delay if delay else ns_of_iso(entry.get("response_created_at")),
        provider=text_of(entry.get("provider")).lower(),
        request_model=model,
        response_model=text_of(entry.get("response_model")),
        operation=operation,
        counts=counts,
        cache_inside=False,
        cost_pico=pico_of(cost),
        streamed=True if has_begun or at(entry, "request_body", "stream") is True else None,
        first_chunk=has_begun,
        failed=_failed(entry.get("response_status"), answered=has_begun or counts.is_usage),
        # All zeros stand for a call that was not answered from the cache.
        cache_hit=bool(text_of(entry.get("cache_reference_id")).strip("0-")),
        response_id=text_of(at(entry, "response_body", "id")),
        call_id=request_id,
        session=text_of(properties.get("Helicone-Session-Id")),
        user=text_of(entry.get("request_user_id")),
        metadata=[("request_properties", properties)],
        fields=[("request_user_id", entry.get("request_user_id")), ("helicone_user", entry.get("helicone_user"))],
    )


def _failed(status: Any, *, answered: bool) -> bool:
    """An HTTP error, or one of Helicone's own negative codes where no answer had begun."""
    text = text_of(status)
    if not text.removeprefix("-").isdecimal():
        return False
    code = int(text)
    return code >= FAILED_FROM or (code < 0 and not answered)


def _properties(value: Any) -> dict[str, Any]:
    """The properties object; the CSV export doubles the quotes of its text once more than CSV asks for."""
    return object_of(value) or (object_of(value.replace('""', '"')) if isinstance(value, str) else {})
