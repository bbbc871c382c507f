"""Cloudflare AI Gateway: logs as its API returns them.

Field meanings as in the SDK's ``LogListResponse``. Every step of a fallback is a record of its own. Counts are plain:
cached tokens are not told apart, so that a computed cost is too high where prompts were cached.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import count_of, flag_of, pico_of, text_of
from auditor.load.row_values import ns_of_iso, ns_of_ms, operation_of_model, operation_of_path, sent_along
from auditor.load.rows import Counts, Row, Told, has_keys
from auditor.model.lexicon import Operation

SYSTEM = "cloudflare"
FAILED_FROM = 400


def is_cloudflare(value: Any) -> bool:
    """Say whether the first JSON value of an input holds logs of the gateway."""
    return has_keys(value, "tokens_in", "tokens_out", "cached", "step")


def cloudflare_row(entry: dict[str, Any]) -> Told:
    """Read a log."""
    log_id = text_of(entry.get("id"))
    if not log_id:
        return "a Cloudflare log without an id"
    model = text_of(entry.get("model"))
    operation = operation_of_path(entry.get("path"))
    if operation is Operation.POLL:
        return None
    if operation is Operation.CHAT:
        # Paths of Workers AI are names of models.
        operation = operation_of_model(model)
    status = count_of(entry.get("status_code"))
    start = ns_of_iso(entry.get("created_at"))
    return Row(
        id=log_id,
        start_ns=start,
        end_ns=start + ns_of_ms(entry.get("duration")) if start else 0,
        trace=text_of(entry.get("event_id")),
        provider=text_of(entry.get("provider")),
        request_model=model,
        operation=operation,
        counts=Counts(count_of(entry.get("tokens_in")), count_of(entry.get("tokens_out"))),
        cost_pico=pico_of(entry.get("cost")),
        failed=entry.get("success") is False or (status is not None and status >= FAILED_FROM),
        cache_hit=bool(flag_of(entry.get("cached"))),
        call_id=log_id,
        metadata=[("metadata", sent_along(entry, "metadata"))],
    )
