"""Anthropic's Message Batches: result files.

Field meanings as in the SDK's types. Results name neither their batch nor a time, and requests have no metadata: a
tenant can stand in the ``custom_id`` only. Only what succeeded is billed.
"""

from __future__ import annotations

from typing import Any

from auditor.load.builder import text_of
from auditor.load.gateways.usage import usage_of
from auditor.load.row_values import at, object_of, prefix_of
from auditor.load.rows import Row, Told, has_keys, rows_in
from auditor.model.lexicon import Operation

SYSTEM = "anthropic"


def is_anthropic_batch(value: Any) -> bool:
    """Say whether the first JSON value of an input is a result of a batch."""
    return has_keys(value, "custom_id", "result") and "type" in object_of(rows_in(value)[0]["result"])


def anthropic_batch_row(entry: dict[str, Any]) -> Told:
    """Read a result."""
    custom_id = text_of(entry.get("custom_id"))
    kind = text_of(at(entry, "result", "type"))
    if not custom_id or not kind:
        return "a result of a batch without a custom_id or a type"
    message = object_of(at(entry, "result", "message"))
    counts, cache_inside = usage_of(message.get("usage"))
    response_id = text_of(message.get("id"))
    return Row(
        id=response_id or custom_id,
        trace=f"anthropic batch\n{response_id}\n{custom_id}",
        provider=SYSTEM,
        response_model=text_of(message.get("model")),
        operation=Operation.BATCH,
        counts=counts,
        cache_inside=cache_inside,
        failed=kind != "succeeded",
        batch=True,
        service_tier="batch",
        response_id=response_id,
        fields=[("custom_id", prefix_of(custom_id))],
    )
