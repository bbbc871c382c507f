"""What is in order in the demo. Each function plants one request and returns how many calls it holds."""

from __future__ import annotations

from auditor.demo.otlp import Export, Kind, number
from auditor.demo.product import (
    ASSISTANT,
    CLAUDE_SONNET,
    EMBEDDING_SMALL,
    GPT_4O_MINI,
    GPT_41,
    LANGCHAIN,
    OPENAI,
    STAGING_WEB,
    STATUS_ERROR,
    WEB,
    baggage,
    chat,
    embeddings,
    request,
)


def tagged_chat(export: Export, name: str) -> int:
    """The tenant enters with the request and a baggage processor copies it to every span."""
    known = {**baggage(name), "feature": "ticket-reply"}
    process = ASSISTANT if number(0, 3, "process", name) == 0 else WEB
    model = (GPT_4O_MINI, GPT_41, CLAUDE_SONNET)[number(0, 2, "model", name)]
    inputs = number(8_000, 48_000, "in", name)
    cached = inputs // 2 if number(0, 2, "cached", name) == 0 else 0
    trace = export.trace()
    entry = request(trace, process, "/v1/replies", known, 12_000)
    chat(
        trace,
        process,
        model,
        known,
        parent=entry,
        tokens=(inputs, number(200, 900, "out", name)),
        cached=cached,
    )
    return 1


def pair(export: Export, name: str) -> int:
    """A framework's span around the SDK's: one call, described twice; one of them delivered twice, too."""
    known = baggage(name)
    tokens = (number(4_000, 16_000, "in", name), number(200, 700, "out", name))
    trace = export.trace()
    entry = request(trace, WEB, "/v1/replies", known, 9_000)
    outer = trace.span(
        WEB,
        LANGCHAIN,
        "ChatOpenAI.chat",
        Kind.CLIENT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": GPT_41,
            "gen_ai.response.model": GPT_41,
            "gen_ai.usage.input_tokens": tokens[0],
            "gen_ai.usage.output_tokens": tokens[1],
            "gen_ai.usage.total_tokens": sum(tokens),
            **known,
        },
        parent=entry,
        at_ms=15,
        lasts_ms=400 + tokens[1] * 9,
    )
    inner = chat(trace, WEB, GPT_41, known, parent=outer, tokens=tokens)
    if name.endswith("/0"):
        export.redelivered.append(inner)
    return 1


def tagged_embeddings(export: Export, name: str) -> int:
    """A search whose query embedding is tagged like everything else."""
    known = {**baggage(name), "feature": "search"}
    trace = export.trace()
    entry = request(trace, WEB, "/v1/suggestions", known, 400)
    embeddings(trace, WEB, EMBEDDING_SMALL, known, parent=entry, inputs=number(200, 900, "in", name))
    return 1


def retry(export: Export, name: str) -> int:
    """A call refused by the provider's rate limit, and its repetition: the first is not billed."""
    known = baggage(name)
    trace = export.trace()
    entry = request(trace, WEB, "/v1/replies", known, 14_000)
    trace.span(
        WEB,
        OPENAI,
        "openai.chat",
        Kind.CLIENT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": GPT_41,
            "gen_ai.is_streaming": False,
            "error.type": "RateLimitError",
            **known,
        },
        parent=entry,
        at_ms=10,
        lasts_ms=90,
        status=STATUS_ERROR,
    )
    tokens = (number(3_000, 9_000, "in", name), number(200, 700, "out", name))
    chat(trace, WEB, GPT_41, known, parent=entry, tokens=tokens, at_ms=1_200)
    return 2


def unpriced(export: Export, name: str) -> int:
    """A model that the company serves itself: no price is published for it."""
    known = baggage(name)
    trace = export.trace()
    entry = request(trace, WEB, "/v1/labels", known, 3_000)
    tokens = (number(500, 2_000, "in", name), number(5, 20, "out", name))
    chat(trace, WEB, "helpdesk-classifier-7b", known, parent=entry, tokens=tokens)
    return 1


def internal(export: Export, name: str) -> int:
    """Staging: nobody's spend, and nobody's fault."""
    trace = export.trace()
    entry = request(trace, STAGING_WEB, "/v1/replies", {}, 9_000)
    tokens = (number(2_000, 9_000, "in", name), number(200, 700, "out", name))
    chat(trace, STAGING_WEB, GPT_4O_MINI, {}, parent=entry, tokens=tokens)
    return 1
