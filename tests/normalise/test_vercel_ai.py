"""Spans of the Vercel AI SDK, versions 4 to 7: formats-traces §7, §8 and §12 D1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import CLIENT, INTERNAL, Audited, Span, audit_spans, span

COMMON = {"ai.model.id": "gpt-4o-mini", "ai.model.provider": "openai.chat"}
V4 = {"ai.usage.promptTokens": 1000, "ai.usage.completionTokens": 100}
V5 = {"ai.usage.inputTokens": 1000, "ai.usage.outputTokens": 100, "ai.usage.totalTokens": 1100}


def ai(operation: str, **fields: Any) -> Span:
    """A span as the SDK's telemetry makes it, all in one scope."""
    attributes = {
        "operation.name": f"{operation} summarise",
        "ai.operationId": operation,
        "ai.telemetry.functionId": "summarise",
        **COMMON,
        **fields.pop("attributes", {}),
    }
    return span(operation, **{"scope": "ai", "attributes": attributes, **fields})


def pair(outer: str, inner: str, usage: dict[str, Any], **attributes: Any) -> list[Span]:
    """The span of a function, and that of the request below it; both repeat the usage."""
    top = ai(outer, attributes={**usage, **attributes})
    return [top, ai(inner, parent=top.id, start=50, ms=900, attributes={**usage, **attributes})]


def usage_of(done: Audited) -> list[tuple[Any, ...]]:
    return [
        (row["operation"], row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["usage_status"])
        for row in done.rows
    ]


@pytest.mark.parametrize("usage", [V4, V5])
@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("ai.generateText", "ai.generateText.doGenerate"),
        ("ai.streamText", "ai.streamText.doStream"),
        ("ai.generateObject", "ai.generateObject.doGenerate"),
        ("ai.streamObject", "ai.streamObject.doStream"),
    ],
)
def test_only_the_inner_half_of_a_pair_is_the_call(
    tmp_path: Path, outer: str, inner: str, usage: dict[str, Any]
) -> None:
    # gen_ai.operation.name stands on both halves in some versions, and must not make the outer one a call.
    done = audit_spans(tmp_path, pair(outer, inner, {**usage, "gen_ai.operation.name": "chat"}))

    assert usage_of(done) == [("chat", 1000, 0, 100, "complete")]
    assert (done.rows[0]["provider"], done.rows[0]["feature"]) == ("openai.chat", "summarise")
    assert done.report.totals.spend == 1000 * 150_000 + 100 * 600_000


def test_steps_of_one_function_are_calls_of_their_own(tmp_path: Path) -> None:
    top = ai("ai.generateText", ms=5000, attributes={"ai.usage.inputTokens": 2000, "ai.usage.outputTokens": 200})
    steps = [ai("ai.generateText.doGenerate", parent=top.id, start=n * 1000, attributes=V5) for n in (1, 2)]
    tool = ai("ai.toolCall", parent=top.id, start=1500, ms=10, attributes={"ai.toolCall.name": "search"})

    assert usage_of(audit_spans(tmp_path, [top, *steps, tool])) == [("chat", 1000, 0, 100, "complete")] * 2


@pytest.mark.parametrize(
    ("outer", "inner"), [("ai.embed", "ai.embed.doEmbed"), ("ai.embedMany", "ai.embedMany.doEmbed")]
)
def test_embeddings_have_one_count(tmp_path: Path, outer: str, inner: str) -> None:
    spans = pair(outer, inner, {"ai.usage.tokens": 70}, **{"ai.model.id": "text-embedding-3-small"})

    assert usage_of(audit_spans(tmp_path, spans)) == [("embeddings", 70, 0, 0, "complete")]


def test_rerank_is_one_call_without_tokens(tmp_path: Path) -> None:
    (row,) = audit_spans(tmp_path, pair("ai.rerank", "ai.rerank.doRerank", {})).rows

    # Reranking is metered by searches, not by tokens.
    assert (row["operation"], row["input_tokens"], row["output_tokens"]) == ("rerank", 0, 0)


@pytest.mark.parametrize(
    ("details", "read", "write"),
    [
        ({"ai.usage.cachedInputTokens": 600}, 600, 0),
        (
            {
                "ai.usage.inputTokenDetails.cacheReadTokens": 600,
                "ai.usage.cachedInputTokens": 600,
                "ai.usage.inputTokenDetails.cacheWriteTokens": 100,
                "ai.usage.inputTokenDetails.noCacheTokens": 300,
            },
            600,
            100,
        ),
    ],
)
def test_cached_tokens_are_inside_input_as_total_tells(
    tmp_path: Path, details: dict[str, int], read: int, write: int
) -> None:
    (row,) = audit_spans(tmp_path, pair("ai.generateText", "ai.generateText.doGenerate", {**V5, **details})).rows

    assert (row["input_tokens"], row["cache_read_tokens"], row["cache_write_tokens"]) == (1000, read, write)


def test_input_below_what_was_cached_leaves_it_out(tmp_path: Path) -> None:
    # Versions 4 and 5 pass Anthropic's own counts on.
    usage = {"ai.usage.inputTokens": 10, "ai.usage.outputTokens": 100, "ai.usage.cachedInputTokens": 600}

    (row,) = audit_spans(tmp_path, pair("ai.generateText", "ai.generateText.doGenerate", usage)).rows

    assert (row["input_tokens"], row["cache_read_tokens"]) == (610, 600)


@pytest.mark.parametrize("key", ["ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens"])
def test_reasoning_is_part_of_output(tmp_path: Path, key: str) -> None:
    done = audit_spans(tmp_path, pair("ai.generateText", "ai.generateText.doGenerate", {**V5, key: 40}))

    assert usage_of(done) == [("chat", 1000, 0, 100, "complete")]


@pytest.mark.parametrize(
    "key",
    [
        "ai.telemetry.metadata.tenantId",
        "ai.telemetry.metadata.tenant_id",
        "ai.settings.context.tenantId",
        "ai.settings.runtimeContext.tenantId",
        "ai.request.headers.x-tenant-id",
    ],
)
def test_tenant_in_metadata_context_and_headers(tmp_path: Path, key: str) -> None:
    spans = pair("ai.generateText", "ai.generateText.doGenerate", V5)
    spans[1] = spans[1].with_attributes(**{key: "acme", "ai.telemetry.metadata.userId": "u-1"})

    (row,) = audit_spans(tmp_path, spans).rows

    assert (row["status"], row["tenant_id"], row["user_id"]) == ("direct", "acme", "u-1")


def test_session_of_the_metadata_joins(tmp_path: Path) -> None:
    session = {"ai.telemetry.metadata.sessionId": "s-1"}
    known = ai("ai.generateText.doGenerate", attributes={**V5, **session, "tenant.id": "acme"})
    other = ai("ai.generateText.doGenerate", trace="other", attributes={**V5, **session})

    row = audit_spans(tmp_path, [known, other]).row(other)

    assert (row["tenant_id"], row["recovered_by"]) == ("acme", "session")


# -- version 7: @ai-sdk/otel ---------------------------------------------------------------------------


def v7(operation: str, **fields: Any) -> Span:
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.agent.name": "summarise",
        **fields.pop("attributes", {}),
    }
    return span(f"{operation} gpt-4o-mini", **{"scope": "@ai-sdk/otel", "attributes": attributes, **fields})


def test_agent_of_version_7_carries_the_sum_of_its_steps(tmp_path: Path) -> None:
    sums = {"gen_ai.usage.input_tokens": 2000, "gen_ai.usage.output_tokens": 200}
    one = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}
    agent = v7("invoke_agent", kind=INTERNAL, ms=5000, attributes=sums)
    steps = [v7("agent_step", parent=agent.id, start=n * 1000, ms=900) for n in (1, 2)]
    chats = [v7("chat", kind=CLIENT, parent=step.id, start=step.start + 10, ms=500, attributes=one) for step in steps]
    tool = v7("execute_tool", parent=agent.id, start=1950, ms=10)

    done = audit_spans(tmp_path, [agent, *steps, *chats, tool])

    assert usage_of(done) == [("chat", 1000, 0, 100, "complete")] * 2


@pytest.mark.parametrize(
    ("operation", "usage", "said"),
    [
        ("embeddings", {"gen_ai.usage.input_tokens": 70}, ("embeddings", 70, 0, 0, "complete")),
        ("rerank", {}, ("rerank", 0, 0, 0)),
    ],
)
def test_pairs_of_version_7_have_one_name_and_are_one_call(
    tmp_path: Path, operation: str, usage: dict[str, Any], said: tuple[Any, ...]
) -> None:
    outer = v7(operation, kind=CLIENT)
    inner = v7(operation, kind=CLIENT, parent=outer.id, start=10, ms=900, attributes=usage)

    found = usage_of(audit_spans(tmp_path, [outer, inner]))

    assert [row[: len(said)] for row in found] == [said]
