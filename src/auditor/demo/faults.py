"""What is wrong in the demo, one failure mode each, as the rules describe them.

Each function plants one request and returns how many calls it holds.
"""

from __future__ import annotations

from auditor.demo.otlp import Export, Kind, Span, Trace, Value, digest, number
from auditor.demo.product import (
    APP,
    ASSISTANT,
    AUTOCOMPLETE,
    CELERY,
    CHUNK,
    CLAUDE_SONNET,
    EMBEDDING_LARGE,
    FASTAPI,
    GPT_4O,
    GPT_41,
    HTTPX,
    INDEXER,
    LITELLM,
    LITELLM_SCOPE,
    MODEL_PROXY,
    NIGHTLY_REPORTS,
    OPENAI,
    PYDANTIC_AI,
    SEARCH,
    STATUS_OK,
    SUMMARY_WORKER,
    TENANTS,
    WEB,
    baggage,
    chat,
    embeddings,
    request,
    tenant,
)


def header_stripping(export: Export, name: str) -> int:
    """The proxy in front of the models continues the trace and drops the baggage header."""
    known = baggage(name)
    route = "/v1/chat/completions"
    trace = export.trace()
    entry = request(trace, WEB, "/v1/answers", known, 12_000)
    outgoing = trace.span(
        WEB,
        HTTPX,
        "POST",
        Kind.CLIENT,
        {
            "http.request.method": "POST",
            "server.address": "model-proxy.internal",
            "url.full": f"http://model-proxy.internal{route}",
            **known,
        },
        parent=entry,
        at_ms=8,
        lasts_ms=11_000,
    )
    incoming = trace.span(
        MODEL_PROXY,
        FASTAPI,
        f"POST {route}",
        Kind.SERVER,
        {"http.request.method": "POST", "http.route": route, "http.response.status_code": 200},
        parent=outgoing,
        at_ms=11,
        lasts_ms=10_500,
    )
    tokens = (number(12_000, 46_000, "in", name), number(400, 1_000, "out", name))
    chat(trace, MODEL_PROXY, GPT_41, {}, parent=incoming, tokens=tokens)
    return 1


def gateway_single_key(export: Export, name: str) -> int:
    """A LiteLLM gateway with one virtual key for everybody, called by programs that send no trace context."""
    key = {"litellm.api_key.hash": digest("shared key")}
    route = "/v1/chat/completions"
    trace = export.trace()
    incoming = trace.span(
        LITELLM,
        LITELLM_SCOPE,
        f"POST {route}",
        Kind.SERVER,
        {"http.request.method": "POST", "http.route": route, "http.response.status_code": 200, **key},
        lasts_ms=11_000,
    )
    tokens = (number(6_000, 30_000, "in", name), number(300, 1_000, "out", name))
    trace.span(
        LITELLM,
        LITELLM_SCOPE,
        f"chat {GPT_4O}",
        Kind.CLIENT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": GPT_4O,
            "gen_ai.response.id": f"chatcmpl-{digest(name)[:26]}",
            "gen_ai.usage.input_tokens": tokens[0],
            "gen_ai.usage.output_tokens": tokens[1],
            "litellm.call_id": digest("call", name)[:32],
            "litellm.call_type": "acompletion",
            "litellm.request.streaming": False,
            "litellm.provider.model": GPT_4O,
            **key,
        },
        parent=incoming,
        at_ms=14,
        lasts_ms=350 + tokens[1] * 9,
    )
    return 1


def async_drop(export: Export, name: str) -> int:
    """A Celery job that is told which document to summarise, and not for whom; by child span or by link."""
    known = baggage(name)
    is_linked = number(0, 1, "linked", name) == 1
    job = digest("job", name)[:32]
    message: dict[str, Value] = {
        "celery.task_name": "jobs.summarise",
        "messaging.message.id": job,
        "messaging.destination": "celery",
    }
    trace = export.trace()
    entry = request(trace, WEB, "/v1/documents", known, 60)
    sent = trace.span(
        WEB,
        CELERY,
        "apply_async/jobs.summarise",
        Kind.PRODUCER,
        {"celery.action": "apply_async", "messaging.destination_kind": "queue", **message, **known},
        parent=entry,
        at_ms=20,
        lasts_ms=9,
    )
    work = export.trace() if is_linked else trace
    run = work.span(
        SUMMARY_WORKER,
        CELERY,
        "run/jobs.summarise",
        Kind.CONSUMER,
        {"celery.action": "run", "celery.state": "SUCCESS", "messaging.conversation_id": job, **message},
        parent=None if is_linked else sent,
        links=(sent,) if is_linked else (),
        at_ms=400,
        lasts_ms=16_000,
    )
    tokens = (number(14_000, 40_000, "in", name), number(500, 1_500, "out", name))
    chat(work, SUMMARY_WORKER, CLAUDE_SONNET, {}, parent=run, tokens=tokens, at_ms=450)
    return 1


def stream_span_closure(export: Export, name: str) -> int:
    """The reader goes away, or usage was never asked for: the span is closed, in order, and has no tokens."""
    known = baggage(name)
    was_read_to_the_end = number(0, 1, "drained", name) == 1
    finish: dict[str, Value] = {"gen_ai.response.finish_reasons": ("stop",)} if was_read_to_the_end else {}
    trace = export.trace()
    entry = request(trace, WEB, "/v1/replies/stream", known, 5_000)
    trace.span(
        WEB,
        OPENAI,
        "openai.chat",
        Kind.CLIENT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": GPT_41,
            "gen_ai.is_streaming": True,
            "gen_ai.response.model": GPT_41,
            "gen_ai.response.id": f"chatcmpl-{digest(name)[:26]}",
            **finish,
            **known,
        },
        parent=entry,
        at_ms=15,
        lasts_ms=2_400,
        status=STATUS_OK,
        events=(CHUNK, CHUNK, CHUNK) if was_read_to_the_end else (CHUNK,),
    )
    return 1


def agent_children(export: Export, name: str) -> int:
    """The agent's own span knows the tenant; its model calls, made below it, do not."""
    known = baggage(name)
    first = (number(6_000, 14_000, "in", name), number(200, 500, "out", name))
    second = (first[0] + number(900, 4_000, "more", name), number(300, 800, "then", name))
    trace = export.trace()
    entry = request(trace, ASSISTANT, "/v1/agents/triage", known, 30_000)
    agent = trace.span(
        ASSISTANT,
        PYDANTIC_AI,
        "invoke_agent triage",
        Kind.INTERNAL,
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "triage",
            "gen_ai.usage.input_tokens": first[0] + second[0],
            "gen_ai.usage.output_tokens": first[1] + second[1],
            **known,
        },
        parent=entry,
        at_ms=12,
        lasts_ms=29_000,
    )
    _agent_chat(trace, agent, first, 30)
    tool = trace.span(
        ASSISTANT,
        PYDANTIC_AI,
        "execute_tool look_up_order",
        Kind.INTERNAL,
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look_up_order"},
        parent=agent,
        at_ms=9_000,
        lasts_ms=16_000,
    )
    _agent_chat(trace, tool, second, 9_100)
    return 2


def _agent_chat(trace: Trace, parent: Span, tokens: tuple[int, int], at_ms: int) -> None:
    trace.span(
        ASSISTANT,
        PYDANTIC_AI,
        f"chat {GPT_41}",
        Kind.CLIENT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "openai",
            "gen_ai.request.model": GPT_41,
            "gen_ai.response.model": GPT_41,
            "gen_ai.response.id": f"chatcmpl-{digest(trace.id, str(at_ms))[:26]}",
            "gen_ai.usage.input_tokens": tokens[0],
            "gen_ai.usage.output_tokens": tokens[1],
        },
        parent=parent,
        at_ms=at_ms,
        lasts_ms=350 + tokens[1] * 9,
    )


def detached_thread(export: Export, name: str) -> int:
    """A thread started without the context: its model call is a trace of its own."""
    trace = export.trace()
    tokens = (number(5_000, 15_000, "in", name), number(200, 600, "out", name))
    chat(trace, ASSISTANT, GPT_41, {}, parent=None, tokens=tokens)
    return 1


def tenant_not_copied(export: Export, name: str) -> int:
    """The request's span has the tenant as an attribute; attributes are not inherited."""
    trace = export.trace()
    entry = request(trace, AUTOCOMPLETE, "/v1/complete", baggage(name), 4_000)
    tokens = (number(2_000, 9_000, "in", name), number(40, 160, "out", name))
    chat(trace, AUTOCOMPLETE, GPT_4O, {}, parent=entry, tokens=tokens)
    return 1


def untagged_query(export: Export, name: str) -> int:
    """A search that knows its tenant, and an embedding call that nobody tags."""
    trace = export.trace()
    entry = request(trace, SEARCH, "/v1/search", baggage(name), 400)
    embeddings(trace, SEARCH, EMBEDDING_LARGE, {}, parent=entry, inputs=number(300, 2_000, "in", name))
    return 1


def untagged_index(export: Export, name: str) -> int:
    """A job that rebuilds the index, for all tenants at once."""
    trace = export.trace()
    job = trace.span(INDEXER, APP, "index.refresh", Kind.INTERNAL, {}, lasts_ms=900)
    embeddings(trace, INDEXER, EMBEDDING_LARGE, {}, parent=job, inputs=number(150_000, 400_000, "in", name))
    return 1


def batch_without_metadata(export: Export, name: str) -> int:
    """A batch and, hours later, its results; every second submission knows its tenant."""
    batch = f"batch_{digest(name)[:24]}"
    is_known = int(name.rpartition("/")[2]) % 2 == 0
    trace = export.trace()
    trace.span(
        NIGHTLY_REPORTS,
        OPENAI,
        "openai.batches.create",
        Kind.CLIENT,
        {"gen_ai.batch.id": batch, **(baggage(name) if is_known else {})},
        lasts_ms=700,
    )
    collection = export.trace()
    root = collection.span(
        NIGHTLY_REPORTS, APP, "reports.collect", Kind.INTERNAL, {"gen_ai.batch.id": batch}, lasts_ms=60_000
    )
    items = 4
    for item in range(items):
        tokens = (number(15_000, 40_000, name, "in", str(item)), number(800, 2_000, name, "out", str(item)))
        chat(
            collection,
            NIGHTLY_REPORTS,
            GPT_41,
            {},
            parent=root,
            tokens=tokens,
            at_ms=50 + item * 9,
            extra={"gen_ai.batch.id": batch, "openai.response.service_tier": "batch"},
        )
    return items


def tenant_conflict(export: Export, name: str) -> int:
    """A pooled client that still carries the tenant of the request before."""
    entered = tenant(name)
    stale = next(other for other in TENANTS if other != entered)
    trace = export.trace()
    entry = request(trace, ASSISTANT, "/v1/drafts", baggage(name), 9_000)
    tokens = (number(4_000, 12_000, "in", name), number(200, 700, "out", name))
    chat(trace, ASSISTANT, GPT_4O, {"tenant.id": stale}, parent=entry, tokens=tokens)
    return 1
