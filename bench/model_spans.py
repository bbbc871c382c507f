"""Templates of model calls and agent spans as the instrumentations write them.

OTel GenAI, OpenLLMetry (current and deprecated names), OpenInference and Logfire, each with its own set.
"""

from __future__ import annotations

from dataclasses import dataclass

from render import CLIENT, ERROR, INTERNAL, OK, SCOPE, UNSET, claim, event, real, span, text, whole, words


@dataclass(frozen=True, slots=True)
class Model:
    """A model as asked for and as served, and how its provider is called in the conventions."""

    requested: str
    served: str
    provider: str
    host: str
    vocabularies: tuple[str, ...]
    weight: float


CHAT_MODELS: tuple[Model, ...] = (
    Model("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai", "api.openai.com",
          ("otel", "openllmetry", "openinference", "old"), 0.46),
    Model("gpt-4o", "gpt-4o-2024-08-06", "openai", "api.openai.com",
          ("otel", "openllmetry", "openinference", "old"), 0.20),
    Model("gpt-4.1-mini", "gpt-4.1-mini-2025-04-14", "openai", "api.openai.com",
          ("otel", "openllmetry", "openinference"), 0.14),
    Model("claude-3-5-haiku-20241022", "claude-3-5-haiku-20241022", "anthropic", "api.anthropic.com",
          ("anthropic",), 0.12),
    Model("claude-sonnet-4-20250514", "claude-sonnet-4-20250514", "anthropic", "api.anthropic.com",
          ("anthropic",), 0.08),
)  # fmt: skip
UNPRICED_MODEL = Model(
    "house-llama-ft-7b", "house-llama-ft-7b", "house_inference", "inference.internal", ("otel",), 1.0
)
EMBEDDING_MODEL = Model(
    "text-embedding-3-small", "text-embedding-3-small", "openai", "api.openai.com",
    ("otel", "openllmetry", "openinference"), 1.0,
)  # fmt: skip

CALL_SCOPES = {
    "otel": SCOPE["opentelemetry.instrumentation.openai_v2"],
    "openllmetry": SCOPE["opentelemetry.instrumentation.openai.v1"],
    "anthropic": SCOPE["opentelemetry.instrumentation.anthropic"],
    "openinference": SCOPE["openinference.instrumentation.openai"],
    "old": SCOPE["opentelemetry.instrumentation.openai.v1"],
}

USAGE = "usage"  # drained, and the provider sent its usage
NO_USAGE = "no-usage"  # drained, but nobody asked the provider for usage
STOPPED = "stopped"  # the consumer left the loop early
NEVER = "never-iterated"  # the stream object was thrown away
FAILED = "failed"  # the provider refused

_ANSWER = "Clause 7.2 limits the liability of both parties to the fees of the last twelve months."
_MESSAGES_IN = '[{\\"role\\": \\"user\\", \\"parts\\": [{\\"type\\": \\"text\\", \\"content\\": \\"%(nested)s\\"}]}]'
_MESSAGES_OUT = (
    '[{\\"role\\": \\"assistant\\", \\"parts\\": [{\\"type\\": \\"text\\", \\"content\\": \\"' + _ANSWER + '\\"}], '
    '\\"finish_reason\\": \\"stop\\"}]'
)
_CODE = (
    text("code.function.name", "answer_question"),
    text("code.file.path", "app/services/answers.py"),
    whole("code.line.number", 118),
)
_CHUNKS = tuple(
    event("gen_ai.content.completion.chunk", [whole("gen_ai.completion.chunk.index", index)]) for index in range(2)
)


def _otel(model: Model, outcome: str, *, prompt: bool, streamed: bool, batch: bool) -> str:
    attributes = [
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", model.provider),
        text("gen_ai.request.model", model.requested),
        real("gen_ai.request.temperature", 0.2),
        text("gen_ai.output.type", "text"),
        text("server.address", model.host),
        whole("server.port", 443),
        text("openai.api.type", "chat_completions"),
        *_CODE,
    ]
    if streamed:
        attributes.append(claim("gen_ai.request.stream", value=True))
    if batch:
        attributes += [
            text("gen_ai.batch.id", "%(batch)s"),
            text("openai.response.service_tier", "batch"),
        ]
    elif outcome == USAGE:
        attributes.append(text("openai.response.service_tier", "default"))
    if outcome in {USAGE, NO_USAGE, STOPPED}:
        attributes += [
            text("gen_ai.response.id", "%(response)s"),
            text("gen_ai.response.model", model.served),
        ]
    if outcome in {USAGE, NO_USAGE}:
        attributes += [
            words("gen_ai.response.finish_reasons", ["stop"]),
            text("gen_ai.output.messages", _MESSAGES_OUT),
        ]
    if outcome == USAGE:
        attributes += [
            whole("gen_ai.usage.input_tokens", "%(input)d"),
            whole("gen_ai.usage.output_tokens", "%(output)d"),
            whole("gen_ai.usage.cache_read.input_tokens", "%(cached)d"),
        ]
    if outcome == FAILED:
        attributes.append(text("error.type", "RateLimitError"))
    if prompt:
        attributes.append(text("gen_ai.input.messages", _MESSAGES_IN))
    status = ERROR if outcome == FAILED else UNSET
    return span(f"chat {model.requested}", CLIENT, attributes, status=status)


def _openllmetry(model: Model, outcome: str, *, prompt: bool, streamed: bool, batch: bool) -> str:
    anthropic = model.provider == "anthropic"
    attributes = [
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", model.provider),
        text("gen_ai.request.model", model.requested),
        claim("gen_ai.is_streaming", value=streamed),
        real("gen_ai.request.temperature", 0.2),
        whole("gen_ai.request.max_tokens", 1024),
        text("traceloop.workflow.name", "answer_question"),
        text("traceloop.entity.path", "answer_question.generate"),
        *_CODE[:2],
    ]
    if not anthropic:
        attributes.append(real("gen_ai.request.top_p", 1))
        attributes.append(text("gen_ai.openai.api_base", f"https://{model.host}/v1/"))
    if batch:
        attributes += [
            text("gen_ai.batch.id", "%(batch)s"),
            text("openai.response.service_tier", "batch"),
        ]
    if outcome in {USAGE, NO_USAGE, STOPPED}:
        attributes += [
            text("gen_ai.response.model", model.served),
            text("gen_ai.response.id", "%(response)s"),
        ]
    if outcome in {USAGE, NO_USAGE}:
        attributes.append(words("gen_ai.response.finish_reasons", ["stop"]))
        attributes.append(text("gen_ai.output.messages", _MESSAGES_OUT))
    if outcome == USAGE:
        attributes += [
            whole("gen_ai.usage.total_tokens", "%(total)d"),
            whole("gen_ai.usage.output_tokens", "%(output)d"),
            whole("gen_ai.usage.input_tokens", "%(input)d"),
            whole("gen_ai.usage.cache_read.input_tokens", "%(cached)d"),
        ]
        if anthropic:
            attributes.append(whole("gen_ai.usage.cache_creation.input_tokens", "%(written)d"))
    if outcome == FAILED:
        attributes.append(text("error.type", "OverloadedError" if anthropic else "RateLimitError"))
    if prompt:
        attributes.append(text("gen_ai.input.messages", _MESSAGES_IN))
    chunks = _CHUNKS if streamed and outcome in {USAGE, NO_USAGE, STOPPED} else ()
    name = "anthropic.chat" if anthropic else "openai.chat"
    return span(name, CLIENT, attributes, status=ERROR if outcome == FAILED else OK, events=chunks)


def _openinference(model: Model, outcome: str, *, prompt: bool, streamed: bool, batch: bool) -> str:
    parameters = f'{{\\"model\\": \\"{model.requested}\\", \\"temperature\\": 0.2'
    parameters += ', \\"stream\\": true}' if streamed else "}"
    attributes = [
        text("openinference.span.kind", "LLM"),
        text("llm.provider", model.provider),
        text("llm.system", model.provider),
        text("llm.invocation_parameters", parameters),
        text("input.mime_type", "application/json"),
        text("llm.input_messages.0.message.role", "system"),
        text("llm.input_messages.0.message.content", "You answer from the documents that you are given."),
        text("llm.prompt_template.version", "14"),
        *_CODE[:2],
    ]
    if batch:
        attributes.append(text("gen_ai.batch.id", "%(batch)s"))
    if outcome in {USAGE, NO_USAGE}:
        attributes += [
            text("llm.model_name", model.served),
            text("output.mime_type", "text/plain"),
            text("output.value", _ANSWER),
            text("llm.finish_reason", "stop"),
            text("llm.output_messages.0.message.role", "assistant"),
        ]
    else:
        attributes.append(text("llm.model_name", model.requested))
    if outcome == USAGE:
        attributes += [
            whole("llm.token_count.total", "%(total)d"),
            whole("llm.token_count.prompt", "%(input)d"),
            whole("llm.token_count.completion", "%(output)d"),
            whole("llm.token_count.prompt_details.cache_read", "%(cached)d"),
        ]
    if prompt:
        attributes.append(text("input.value", _MESSAGES_IN))
    return span("ChatCompletion", INTERNAL, attributes, status=ERROR if outcome == FAILED else OK)


def _old(model: Model, outcome: str, *, prompt: bool, streamed: bool, batch: bool) -> str:
    attributes = [
        text("llm.request.type", "chat"),
        text("gen_ai.system", "OpenAI"),
        text("gen_ai.request.model", model.requested),
        claim("llm.is_streaming", value=streamed),
        text("gen_ai.openai.api_base", f"https://{model.host}/v1/"),
        real("gen_ai.request.temperature", 0.2),
        whole("gen_ai.request.max_tokens", 1024),
        text("traceloop.workflow.name", "answer_question"),
        *_CODE[:2],
    ]
    if batch:
        attributes.append(text("gen_ai.batch.id", "%(batch)s"))
    if outcome in {USAGE, NO_USAGE, STOPPED}:
        attributes += [
            text("gen_ai.response.model", model.served),
            text("gen_ai.response.id", "%(response)s"),
        ]
    if outcome in {USAGE, NO_USAGE}:
        attributes += [
            text("gen_ai.completion.0.finish_reason", "stop"),
            text("gen_ai.completion.0.role", "assistant"),
            text("gen_ai.completion.0.content", _ANSWER),
        ]
    if outcome == USAGE:
        attributes += [
            whole("llm.usage.total_tokens", "%(total)d"),
            whole("gen_ai.usage.completion_tokens", "%(output)d"),
            whole("gen_ai.usage.prompt_tokens", "%(input)d"),
            whole("gen_ai.usage.cache_read_input_tokens", "%(cached)d"),
        ]
    if outcome == FAILED:
        attributes.append(text("error.type", "RateLimitError"))
    if prompt:
        attributes += [
            text("gen_ai.prompt.0.role", "user"),
            text("gen_ai.prompt.0.content", "%(prompt)s"),
        ]
    return span("openai.chat", CLIENT, attributes, status=ERROR if outcome == FAILED else OK)


_CHAT = {
    "otel": _otel,
    "openllmetry": _openllmetry,
    "anthropic": _openllmetry,
    "openinference": _openinference,
    "old": _old,
}
_made: dict[tuple[str, str, str, bool, bool, bool], str] = {}


def chat(vocabulary: str, model: Model, outcome: str, *, prompt: bool, streamed: bool, batch: bool = False) -> str:
    """Give the template of a chat call as one instrumentation writes it."""
    key = (vocabulary, model.requested, outcome, prompt, streamed, batch)
    made = _made.get(key)
    if made is None:
        made = _CHAT[vocabulary](model, outcome, prompt=prompt, streamed=streamed, batch=batch)
        _made[key] = made
    return made


def _embeddings() -> dict[str, str]:
    common = [
        *_CODE,
        text("thread.name", "MainThread"),
        whole("thread.id", 140245),
        text("app.collection", "documents"),
    ]
    otel = [
        text("gen_ai.operation.name", "embeddings"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", EMBEDDING_MODEL.requested),
        text("gen_ai.response.model", EMBEDDING_MODEL.served),
        words("gen_ai.request.encoding_formats", ["float"]),
        whole("gen_ai.embeddings.dimension.count", 1536),
        text("server.address", "api.openai.com"),
        whole("server.port", 443),
        text("openai.api.type", "embeddings"),
        whole("gen_ai.usage.input_tokens", "%(input)d"),
        *common,
        text("gen_ai.input.messages", _MESSAGES_IN),
    ]
    openllmetry = [
        text("gen_ai.operation.name", "embeddings"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", EMBEDDING_MODEL.requested),
        text("gen_ai.response.model", EMBEDDING_MODEL.served),
        claim("gen_ai.is_streaming", value=False),
        text("gen_ai.openai.api_base", "https://api.openai.com/v1/"),
        text("traceloop.workflow.name", "index_documents"),
        whole("gen_ai.usage.input_tokens", "%(input)d"),
        whole("gen_ai.usage.total_tokens", "%(input)d"),
        *common,
        text("gen_ai.prompt.0.role", "user"),
        text("gen_ai.prompt.0.content", "%(prompt)s"),
    ]
    openinference = [
        text("openinference.span.kind", "EMBEDDING"),
        text("llm.provider", "openai"),
        text("llm.system", "openai"),
        text("embedding.model_name", EMBEDDING_MODEL.served),
        text("embedding.invocation_parameters", '{\\"encoding_format\\": \\"float\\"}'),
        text("input.mime_type", "text/plain"),
        text("output.mime_type", "application/json"),
        whole("llm.token_count.prompt", "%(input)d"),
        whole("llm.token_count.total", "%(input)d"),
        text("embedding.embeddings.0.embedding.text", "%(prompt)s"),
        *common,
    ]
    return {
        "otel": span("embeddings text-embedding-3-small", CLIENT, otel),
        "openllmetry": span("openai.embeddings", CLIENT, openllmetry, status=OK),
        "openinference": span("CreateEmbeddings", INTERNAL, openinference, status=OK),
    }


EMBEDDINGS = _embeddings()

RERANK = span(
    "rerank",
    INTERNAL,
    [
        text("openinference.span.kind", "RERANKER"),
        text("reranker.model_name", "rerank-v3.5"),
        whole("reranker.top_k", 8),
        text("reranker.query", "which clause limits the liability"),
        text("llm.provider", "cohere"),
        *(
            text(f"reranker.input_documents.{index}.document.content", "clause text, shortened for the index")
            for index in range(10)
        ),
        *_CODE,
    ],
    status=OK,
)

LANGCHAIN_CHAT = {
    prompt: span(
        "ChatOpenAI.chat",
        CLIENT,
        [
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", "openai"),
            text("gen_ai.request.model", "gpt-4o-mini"),
            text("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
            real("gen_ai.request.temperature", 0.2),
            whole("gen_ai.request.max_tokens", 1024),
            text("gen_ai.response.id", "%(response)s"),
            whole("gen_ai.usage.input_tokens", "%(input)d"),
            whole("gen_ai.usage.output_tokens", "%(output)d"),
            whole("gen_ai.usage.total_tokens", "%(total)d"),
            whole("gen_ai.usage.cache_read.input_tokens", "%(cached)d"),
            text("traceloop.workflow.name", "answer_question"),
            text("traceloop.entity.path", "answer_question.generate"),
            text("traceloop.association.properties.ls_model_type", "chat"),
            text("traceloop.association.properties.ls_provider", "openai"),
            text("traceloop.association.properties.ls_model_name", "gpt-4o-mini"),
            words("gen_ai.response.finish_reasons", ["stop"]),
            text("gen_ai.output.messages", _MESSAGES_OUT),
            *([text("gen_ai.input.messages", _MESSAGES_IN)] if prompt else []),
        ],
        status=OK,
    )
    for prompt in (False, True)
}

STREAM_LOG = span(
    "streaming response from {request_data[model]!r} took {duration:.2f}s",
    INTERNAL,
    [
        text("logfire.span_type", "log"),
        whole("logfire.level_num", 9),
        text("logfire.msg", "streaming response from 'gpt-4o-mini' took 1.21s"),
        text("gen_ai.system", "openai"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4o-mini"),
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
        whole("gen_ai.usage.input_tokens", "%(input)d"),
        whole("gen_ai.usage.output_tokens", "%(output)d"),
        text("code.filepath", "app/services/answers.py"),
        whole("code.lineno", 118),
    ],
)
STREAM_OPEN = span(
    "Chat Completion with {request_data[model]!r}",
    CLIENT,
    [
        text("logfire.span_type", "span"),
        text("logfire.msg_template", "Chat Completion with {request_data[model]!r}"),
        text("logfire.msg", "Chat Completion with 'gpt-4o-mini'"),
        words("logfire.tags", ["LLM"]),
        claim("async", value=False),
        text("request_data", '{\\"model\\":\\"gpt-4o-mini\\",\\"stream\\":true}'),
        text("gen_ai.system", "openai"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4o-mini"),
        text("gen_ai.response.model", "gpt-4o-mini"),
        text("gen_ai.operation.name", "chat"),
        real("gen_ai.request.temperature", 0.2),
        whole("gen_ai.request.max_tokens", 1024),
        text("server.address", "api.openai.com"),
        whole("server.port", 443),
        text("code.filepath", "app/services/answers.py"),
        whole("code.lineno", 118),
        text("gen_ai.input.messages", _MESSAGES_IN),
    ],
)

INVOKE_AGENT = span(
    "invoke_agent planner",
    INTERNAL,
    [
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.provider.name", "langgraph"),
        text("gen_ai.agent.name", "planner"),
        text("traceloop.span.kind", "agent"),
        text("traceloop.entity.name", "planner"),
        whole("gen_ai.usage.input_tokens", "%(input)d"),
        whole("gen_ai.usage.output_tokens", "%(output)d"),
        text(
            "traceloop.entity.input",
            '{\\"inputs\\": {\\"question\\": \\"which clause limits the liability\\"}}',
        ),
    ],
)
EXECUTE_TOOL = span(
    "execute_tool search_documents",
    INTERNAL,
    [
        text("gen_ai.operation.name", "execute_tool"),
        text("gen_ai.tool.name", "search_documents"),
        text("gen_ai.tool.call.id", "call_%(span)s"),
        text("gen_ai.tool.type", "function"),
        text("traceloop.span.kind", "tool"),
    ],
)
CHAIN = span(
    "RunnableSequence",
    INTERNAL,
    [
        text("openinference.span.kind", "CHAIN"),
        text("input.value", '{\\"question\\": \\"which clause limits the liability\\"}'),
        text("input.mime_type", "application/json"),
        text("output.value", _ANSWER),
    ],
    status=OK,
)
