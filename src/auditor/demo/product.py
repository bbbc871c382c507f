"""An imaginary help-desk product: its customers, its services, and the spans that it makes.

Span names, kinds, scopes and attributes are those of real instrumentations (OpenLLMetry, OpenTelemetry's
FastAPI, httpx and Celery instrumentations, Pydantic AI, LiteLLM); tenants, services and texts are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from auditor.demo.otlp import Kind, Process, Scope, Span, Trace, Value, digest, number

TENANTS = (
    "acme",
    "borealis",
    "cobalt",
    "dunmore",
    "elmwood",
    "fjord",
    "granite",
    "harbour",
    "ivory",
    "juniper",
    "kestrel",
    "lagoon",
)

WEB = Process("web")
STAGING_WEB = Process("web", environment="staging")
ASSISTANT = Process("assistant")
MODEL_PROXY = Process("model-proxy")
LITELLM = Process("litellm")
SUMMARY_WORKER = Process("summary-worker")
AUTOCOMPLETE = Process("autocomplete")
SEARCH = Process("search")
INDEXER = Process("indexer")
NIGHTLY_REPORTS = Process("nightly-reports")

FASTAPI = Scope("opentelemetry.instrumentation.fastapi", "0.66b1")
HTTPX = Scope("opentelemetry.instrumentation.httpx", "0.66b1")
CELERY = Scope("opentelemetry.instrumentation.celery", "0.66b1")
OPENAI = Scope("opentelemetry.instrumentation.openai.v1", "0.62.4")
ANTHROPIC = Scope("opentelemetry.instrumentation.anthropic", "0.62.4")
LANGCHAIN = Scope("opentelemetry.instrumentation.langchain", "0.62.4")
PYDANTIC_AI = Scope("pydantic-ai", "1.31.0")
LITELLM_SCOPE = Scope("litellm", "1.106.2")
APP = Scope("app", "3.8.1")

GPT_41 = "gpt-4.1-2025-04-14"
GPT_4O = "gpt-4o-2024-08-06"
GPT_4O_MINI = "gpt-4o-mini-2024-07-18"
CLAUDE_SONNET = "claude-sonnet-4-5-20250929"
EMBEDDING_SMALL = "text-embedding-3-small"
EMBEDDING_LARGE = "text-embedding-3-large"

STATUS_OK = 1
STATUS_ERROR = 2
CHUNK = "gen_ai.content.completion.chunk"


def tenant(name: str) -> str:
    """Choose a tenant by Zipf's law: the k-th largest has 1/k of the traffic of the first."""
    weights = [Fraction(1, rank) for rank in range(1, len(TENANTS) + 1)]
    left = Fraction(number(0, 10**9 - 1, "tenant", name), 10**9) * sum(weights)
    for customer, weight in zip(TENANTS, weights, strict=True):
        left -= weight
        if left < 0:
            return customer
    return TENANTS[-1]


def baggage(name: str, customer: str | None = None) -> dict[str, Value]:
    """What a baggage processor copies to every span of a request that it knows."""
    return {
        "tenant.id": customer or tenant(name),
        "user.id": f"u-{digest('user', name)[:6]}",
        "workflow.id": f"wf-{digest('workflow', name)[:8]}",
    }


def request(trace: Trace, process: Process, route: str, known: Mapping[str, Value], lasts_ms: int) -> Span:
    """A request that enters a service."""
    return trace.span(
        process,
        FASTAPI,
        f"POST {route}",
        Kind.SERVER,
        {"http.request.method": "POST", "http.route": route, "http.response.status_code": 200, **known},
        lasts_ms=lasts_ms,
    )


def chat(
    trace: Trace,
    process: Process,
    model: str,
    known: Mapping[str, Value],
    *,
    parent: Span | None,
    tokens: tuple[int, int],
    at_ms: int = 20,
    cached: int = 0,
    extra: Mapping[str, Value] | None = None,
) -> Span:
    """A chat call as OpenLLMetry records it; ``tokens`` are all of the input, and the output."""
    is_claude = model.startswith("claude")
    inputs, outputs = tokens
    lasts_ms = 350 + outputs * 9
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic" if is_claude else "openai",
        "gen_ai.request.model": model,
        "gen_ai.is_streaming": False,
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Where is my order?"}]}]',
        "gen_ai.response.model": model,
        "gen_ai.response.id": f"{'msg_' if is_claude else 'chatcmpl-'}{digest(trace.id, str(at_ms))[:26]}",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": inputs,
        "gen_ai.usage.output_tokens": outputs,
        "gen_ai.usage.total_tokens": inputs + outputs,
        "gen_ai.usage.cache_read.input_tokens": cached,
        **known,
        **(extra or {}),
    }
    return trace.span(
        process,
        ANTHROPIC if is_claude else OPENAI,
        "anthropic.chat" if is_claude else "openai.chat",
        Kind.CLIENT,
        attributes,
        parent=parent,
        at_ms=at_ms,
        lasts_ms=lasts_ms,
        status=STATUS_OK if is_claude else 0,
    )


def embeddings(
    trace: Trace,
    process: Process,
    model: str,
    known: Mapping[str, Value],
    *,
    parent: Span | None,
    inputs: int,
) -> Span:
    """An embeddings call as OpenLLMetry records it."""
    return trace.span(
        process,
        OPENAI,
        "openai.embeddings",
        Kind.CLIENT,
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "gen_ai.is_streaming": False,
            "gen_ai.response.model": model,
            "gen_ai.usage.total_tokens": inputs,
            "gen_ai.usage.input_tokens": inputs,
            **known,
        },
        parent=parent,
        at_ms=12,
        lasts_ms=180,
    )
