"""Answers of OpenAI and Anthropic as they came, one a line: chat completions, responses, embeddings, messages.

Field meanings as in the SDKs' types. ``safety_identifier`` and ``prompt_cache_key`` name no customer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from auditor.load.builder import BatchBuilder, count_of, text_of
from auditor.load.gateways.usage import usage_of
from auditor.load.row_values import at, digest_of, ns_of_seconds
from auditor.load.rows import NOT_A_ROW, Row, RowWriter, Told, json_value
from auditor.model.lexicon import Operation

OPENAI = {
    "chat.completion": Operation.CHAT,
    "text_completion": Operation.TEXT_COMPLETION,
    "response": Operation.CHAT,
    "list": Operation.EMBEDDINGS,
}
"""What the value of ``object`` says."""
FAILED = frozenset({"failed", "cancelled"})
TIERS = frozenset({"default", "auto", "standard"})
"""Tiers that are the standard price."""


def is_provider_object(value: Any) -> bool:
    """Say whether the first JSON value of an input is a provider's answer, or a list of such."""
    entries = _entries(value)
    return bool(entries) and isinstance(entries[0], dict) and _provider(entries[0]) != ""


def _entries(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _provider(entry: dict[str, Any]) -> str:
    if "model" not in entry or "usage" not in entry:
        return ""
    if entry.get("type") == "message" and entry.get("role") == "assistant":
        return "anthropic"
    return "openai" if text_of(entry.get("object")) in OPENAI else ""


class ProviderObjectReader:
    """Reads answers; each is a call."""

    def __init__(self, builder: BatchBuilder) -> None:
        self._builder = builder
        self._writers = {name: RowWriter(builder, name) for name in ("openai", "anthropic")}

    def finish(self) -> None:
        """Nothing is held back."""

    def read(self, record: bytes | memoryview, line: int, byte: int) -> None:
        """Read a record; raises ``msgspec.DecodeError`` when it is not JSON."""
        value = json_value(record)
        self._builder.mark(line, byte)
        for entry in _entries(value):
            provider = _provider(entry) if isinstance(entry, dict) else ""
            told = provider_row(entry, provider) if provider else NOT_A_ROW
            self._writers[provider or "openai"].take(told, line, byte)


def provider_row(entry: dict[str, Any], provider: str) -> Told:
    """Read an answer of a provider."""
    response_id = text_of(entry.get("id"))
    counts, cache_inside = usage_of(entry.get("usage"))
    if provider == "openai" and cache_inside is False:
        # Responses without details: OpenAI counts cached tokens inside wherever it tells of them.
        cache_inside = True
    tier = (text_of(entry.get("service_tier")) or text_of(at(entry, "usage", "service_tier"))).lower()
    operation = OPENAI.get(text_of(entry.get("object")), Operation.CHAT)
    return Row(
        id=response_id or digest_of(entry),
        start_ns=ns_of_seconds(entry.get("created")) or ns_of_seconds(entry.get("created_at")),
        end_ns=ns_of_seconds(entry.get("completed_at")),
        provider=provider,
        response_model=text_of(entry.get("model")),
        operation=operation,
        counts=counts,
        cache_inside=cache_inside,
        searches=count_of(at(entry, "usage", "server_tool_use", "web_search_requests")) or None,
        failed=text_of(entry.get("status")) in FAILED,
        batch=tier == "batch",
        service_tier="" if tier in TIERS else tier,
        response_id=response_id,
        user=text_of(entry.get("user")),
        metadata=[("metadata", entry.get("metadata"))],
        fields=[("user", entry.get("user"))],
    )
