"""Kong AI Gateway: what its log plugins send, one object a request or a list of them.

Field meanings as in Kong's AI audit log reference. Cost is what the operator typed in as the price of a million
tokens, taken for USD. Targets that were tried stand inside one record. The embeddings of a semantic cache and of
retrieval are provider spend of their own inside another request's record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditor.load.builder import count_of, pico_of, text_of
from auditor.load.gateways.usage import usage_of
from auditor.load.row_values import at, digest_of, headers_of, ns_of_ms, object_of, operation_of_path, traceparent_of
from auditor.load.rows import Counts, Row, Told, rows_in
from auditor.model.lexicon import Operation

SYSTEM = "kong"
FAILED_FROM = 400
CONSUMER = ("id", "username", "custom_id")


def is_kong(value: Any) -> bool:
    """Say whether the first JSON value of an input is a log of Kong's AI plugins."""
    rows = rows_in(value)
    if not rows or not isinstance(rows[0], dict):
        return False
    return isinstance(at(rows[0], "ai", "mcp"), dict) or any(_plugins(rows[0]))


def _plugins(entry: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Meta and usage of each plugin that asked a model: the key under ``ai`` depends on Kong's version."""
    for plugin in object_of(entry.get("ai")).values():
        if isinstance(plugin, dict) and isinstance(plugin.get("meta"), dict) and isinstance(plugin.get("usage"), dict):
            yield plugin, plugin["usage"]


def kong_row(entry: dict[str, Any]) -> Told:
    """Read a request: the call, and the embeddings that were made for it."""
    if "ai" not in entry:
        return "a log of Kong without an ai object"
    rows = [row for plugin, usage in _plugins(entry) for row in _rows(entry, plugin, usage)]
    return rows or None


def _rows(entry: dict[str, Any], plugin: dict[str, Any], usage: dict[str, Any]) -> Iterator[Row]:
    meta = object_of(plugin.get("meta"))
    headers = headers_of(at(entry, "request", "headers")) or headers_of(entry.get("headers"))
    request_id = text_of(at(entry, "request", "id"))
    log_id = request_id or digest_of(entry)
    trace, parent = traceparent_of(headers.get("traceparent"))
    start = ns_of_ms(entry.get("started_at"))
    end = start + (ns_of_ms(at(entry, "latencies", "request")) or ns_of_ms(meta.get("llm_latency")))
    counts, _ = usage_of(usage)
    cost = pico_of(usage.get("cost"))
    cache = object_of(plugin.get("cache"))
    status = count_of(at(entry, "response", "status"))
    mode = text_of(meta.get("request_mode"))
    consumer = object_of(entry.get("consumer"))
    shared: dict[str, Any] = {
        "trace": trace or text_of(at(entry, "trace_id", "w3c")) or log_id,
        "request_id": request_id,
        "credential": text_of(consumer.get("username")) or text_of(consumer.get("id")),
        "metadata": [("request.headers", headers or None)],
        "fields": [
            *((f"consumer.{name}", consumer.get(name)) for name in CONSUMER),
            ("workspace_name", entry.get("workspace_name")),
            ("workspace", entry.get("workspace")),
            ("route.name", at(entry, "route", "name")),
            ("service.name", at(entry, "service", "name")),
            ("azure_tenant_id", plugin.get("azure_tenant_id")),
        ],
        "start_ns": start,
    }
    yield Row(
        id=log_id,
        end_ns=end if start else 0,
        parent=parent,
        provider=text_of(meta.get("provider_name")),
        request_model=text_of(meta.get("request_model")),
        response_model=text_of(meta.get("response_model")),
        operation=operation_of_path(at(entry, "request", "uri") or at(entry, "request", "url")),
        counts=counts,
        # Kong writes usage in OpenAI's words for every provider.
        cache_inside=True,
        # Zero is the price of a model for which the operator typed none: no statement about its cost.
        cost_pico=cost or None,
        streamed=mode == "stream" if mode else None,
        failed=status is not None and status >= FAILED_FROM and not counts.is_usage,
        cache_hit=text_of(cache.get("cache_status")).lower() == "hit",
        call_id=request_id,
        **shared,
    )
    retrieval = object_of(plugin.get("rag-inject"))
    for part, made_for in ((cache, "cache"), (retrieval, "rag-inject")):
        if part.get("embeddings_model"):
            yield Row(
                id=f"{log_id}/{made_for}",
                provider=text_of(part.get("embeddings_provider")),
                request_model=text_of(part.get("embeddings_model")),
                operation=Operation.EMBEDDINGS,
                counts=Counts(count_of(part.get("embeddings_tokens"))),
                **shared,
            )
