"""What the queries of the other tools look for: model calls, their tenants, their tokens."""

from __future__ import annotations

TENANT_KEYS = (
    "tenant.id",
    "app.tenant.id",
    "traceloop.association.properties.tenant_id",
    "langfuse.trace.metadata.tenant_id",
)
OPERATIONS = ("chat", "embeddings")
KINDS = ("LLM", "EMBEDDING", "RERANKER")
INPUT_KEYS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
OUTPUT_KEYS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
NO_TENANT = "default"
