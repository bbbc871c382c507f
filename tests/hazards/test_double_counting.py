"""Ways in which one request is told several times: none of them may add to the spend.

D1 to D16 as ``hazards.py`` names them. Spans are built with the attributes that the product in question writes;
a call has 1000 input and 100 output tokens unless told.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builders import (
    CALL_PICO,
    CLIENT,
    FRAMEWORK,
    SDK,
    SERVER,
    Audited,
    Span,
    audit_bytes,
    audit_spans,
    call,
    lines,
    span,
)

SAMPLES = Path(__file__).parents[2] / "fixtures" / "exports" / "samples"
TOP = span("POST", id="top", kind=SERVER, ms=10_000, attributes={"tenant.id": "acme"})
SAME = {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100}


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*spans: Span) -> Audited:
        return audit_spans(tmp_path, spans)

    return run


def ids_of_calls(done: Audited) -> list[str]:
    return sorted(row["span_id"] for row in done.rows)


CONTAINERS = {
    "OTel agent": {"gen_ai.operation.name": "invoke_agent"},
    "AI SDK 7 step": {"gen_ai.operation.name": "agent_step"},
    "plan": {"gen_ai.operation.name": "plan"},
    "task": {"gen_ai.operation.name": "execute_task"},
    "LangChain AgentExecutor, OpenInference": {"openinference.span.kind": "CHAIN"},
    "CrewAI kickoff": {"openinference.span.kind": "AGENT"},
    "Traceloop workflow": {"traceloop.span.kind": "workflow"},
    "Vercel AI outer half": {"ai.operationId": "ai.generateText"},
    "Pydantic AI agent run": {"agent_name": "support", "gen_ai.agent.name": "support"},
}


@pytest.mark.parametrize("attributes", CONTAINERS.values(), ids=CONTAINERS)
def test_d1_container_that_repeats_the_sum_of_its_calls(audited: Any, attributes: dict[str, Any]) -> None:
    sums = {"gen_ai.usage.input_tokens": 682, "gen_ai.usage.output_tokens": 126, "gen_ai.request.model": "gpt-4o"}
    agent = span("run", id="agent", parent="top", ms=3000, attributes={**attributes, **sums})
    one = call(id="one", parent="agent", usage={"input": 417, "output": 53})
    two = call(id="two", parent="agent", start=900, usage={"input": 265, "output": 73})

    done = audited(TOP, agent, one, two)

    assert ids_of_calls(done) == sorted([one.ids[1], two.ids[1]])
    assert (done.report.totals.input_tokens, done.report.totals.output_tokens) == (682, 126)


def test_d2_container_that_holds_less_than_its_calls(audited: Any) -> None:
    """The agent says 631/35, like its first call; the second call has no usage. The kind decides, not arithmetic."""
    agent = span(
        "invoke_agent", id="agent", parent="top", ms=3000,
        attributes={
            "gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "microsoft.agent_framework",
            "gen_ai.request.model": "unknown", "gen_ai.usage.input_tokens": 631, "gen_ai.usage.output_tokens": 35,
        },
    )  # fmt: skip
    first = call(id="first", parent="agent", usage={"input": 631, "output": 35})
    second = call(id="second", parent="agent", start=900, usage={})

    done = audited(TOP, agent, first, second)

    assert ids_of_calls(done) == sorted([first.ids[1], second.ids[1]])
    assert done.report.totals.input_tokens == 631
    assert done.row(second)["usage_status"] == "missing"
    assert done.report.totals.unmetered.calls == 1


def test_d3_framework_span_around_the_span_of_its_sdk(audited: Any) -> None:
    outer = call("ChatOpenAI.chat", id="outer", parent="top", scope=FRAMEWORK, start=90, ms=520)
    inner = call("openai.chat", id="inner", parent="outer")

    done = audited(TOP, outer, inner)

    assert ids_of_calls(done) == [inner.ids[1]]
    assert done.report.totals.spend == CALL_PICO


def test_d3_framework_span_that_does_not_see_cached_tokens(audited: Any) -> None:
    """The framework counts 200 input tokens, the SDK 1000 of which 800 came from the cache."""
    outer = call(id="outer", parent="top", scope=FRAMEWORK, start=90, ms=520, usage={"input": 200, "output": 100})
    inner = call(id="inner", parent="outer", usage={"input": 1000, "output": 100, "read": 800})

    (row,) = audited(TOP, outer, inner).rows

    assert (row["span_id"], row["input_tokens"], row["cache_read_tokens"]) == (inner.ids[1], 1000, 800)


@pytest.mark.parametrize("same_trace", [True, False])
def test_d4_application_and_gateway_describe_one_call(audited: Any, same_trace: bool) -> None:
    trace = "trace" if same_trace else "of the gateway"
    app = call(id="app", parent="top", response="chatcmpl-1")
    entry = span("POST /v1/chat/completions", id="entry", trace=trace, parent="app" if same_trace else "",
                 kind=SERVER, service="gateway", scope="http", start=120, ms=450)  # fmt: skip
    upstream = call(
        id="upstream", trace=trace, parent="entry", service="gateway", scope="gateway", start=130, ms=430,
        response="chatcmpl-1",
    )  # fmt: skip

    done = audited(TOP, app, entry, upstream)

    assert len(done.rows) == 1
    assert done.report.totals.spend == CALL_PICO


def test_d5_gateway_that_writes_two_spans_for_one_call(audited: Any) -> None:
    """LiteLLM: ``raw_gen_ai_request`` below ``litellm_request`` repeats it in the provider's own words."""
    outer = call("litellm_request", id="outer", scope="litellm", service="proxy", parent="", response="chatcmpl-1")
    raw = span(
        "raw_gen_ai_request", id="raw", scope="litellm", service="proxy", parent="outer", start=101, ms=498,
        attributes={
            "llm.openai.id": "chatcmpl-1", "llm.openai.model": "gpt-4o-mini",
            "llm.openai.usage": "{'completion_tokens': 100, 'prompt_tokens': 1000, 'total_tokens': 1100}",
        },
    )  # fmt: skip

    done = audited(outer, raw)

    assert ids_of_calls(done) == [outer.ids[1]]
    assert done.report.totals.spend == CALL_PICO


def test_d5_gateway_whose_second_exporter_opens_a_trace_of_its_own(audited: Any) -> None:
    one = call(id="one", trace="a", service="proxy", scope="litellm", response="chatcmpl-1")
    two = call(id="two", trace="b", service="proxy", scope="langfuse_otel", response="chatcmpl-1")

    done = audited(one, two)

    assert len(done.rows) == 1
    assert done.report.totals.spend == CALL_PICO


@pytest.mark.parametrize("nested", [True, False])
def test_d6_two_instrumentations_on_one_call(audited: Any, nested: bool) -> None:
    one = call(id="one", parent="top")
    two = span(
        "ChatCompletion", id="two", parent="one" if nested else "top", start=101, ms=497,
        scope="openinference.instrumentation.openai",
        attributes={
            "openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini-2024-07-18",
            "llm.token_count.prompt": 1000, "llm.token_count.completion": 100,
        },
    )  # fmt: skip

    done = audited(TOP, one, two)

    assert len(done.rows) == 1
    assert done.report.totals.spend == CALL_PICO


def test_d7_two_vocabularies_on_one_span(audited: Any) -> None:
    entry = call(
        attributes={
            "openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini",
            "llm.token_count.prompt": 1000, "llm.token_count.completion": 100, "llm.token_count.total": 1100,
            "ai.usage.promptTokens": 1000, "ai.usage.completionTokens": 100,
        }
    )  # fmt: skip

    (row,) = audited(entry).rows

    assert (row["input_tokens"], row["output_tokens"]) == (1000, 100)


def test_d7_vocabularies_that_differ_are_not_added_the_first_counts(audited: Any) -> None:
    entry = call(attributes={"llm.token_count.prompt": 900, "llm.token_count.completion": 90})

    (row,) = audited(entry).rows

    assert (row["input_tokens"], row["output_tokens"]) == (1000, 100)


def test_d8_attempts_are_calls_and_only_what_was_answered_is_billed(audited: Any) -> None:
    failed = call(id="failed", parent="top", usage={}, failed=True, attributes={"error.type": "RateLimitError"})
    cut_off = call(id="cut", parent="top", start=700, response="r1", failed=True)
    answered = call(id="answered", parent="top", start=1300, response="r2")

    done = audited(TOP, failed, cut_off, answered)

    assert done.row(failed)["usage_status"] == "not_billed"
    assert done.report.totals.spend == 2 * CALL_PICO
    assert done.report.totals.unmetered.calls == 0


def test_d9_stream_whose_usage_stands_on_a_record_beside_it() -> None:
    """The Logfire sample: a call (12/9 tokens in its own span), and a stream with its usage on a later record."""
    from auditor.ledger.calls import call_rows  # noqa: PLC0415
    from auditor.pipeline import audit  # noqa: PLC0415
    from auditor.settings import Settings  # noqa: PLC0415

    done = audit([str(SAMPLES / "otlp-logfire-openai.json")], Settings())

    rows = list(call_rows(done.calls))
    assert sorted(row["usage_status"] for row in rows) == ["complete", "elsewhere"]
    assert done.report.totals.calls == 2


def test_d9_outer_and_inner_half_of_the_ai_sdk(audited: Any) -> None:
    usage = {"ai.usage.promptTokens": 1000, "ai.usage.completionTokens": 100, "ai.model.id": "gpt-4o-mini"}
    outer = span("ai.streamText", id="outer", parent="top", scope="ai", ms=600,
                 attributes={"ai.operationId": "ai.streamText", **usage})  # fmt: skip
    inner = span("ai.streamText.doStream", id="inner", parent="outer", scope="ai", start=10, ms=580,
                 attributes={"ai.operationId": "ai.streamText.doStream", **usage})  # fmt: skip

    done = audited(TOP, outer, inner)

    assert ids_of_calls(done) == [inner.ids[1]]
    assert done.report.totals.spend == CALL_PICO


def test_d9_span_that_ends_twice(audited: Any) -> None:
    """Ended on failure, then again when the stream was over: delivered twice under one id."""
    early = call(id="same", parent="top", ms=50, usage={})
    late = call(id="same", parent="top", ms=500)

    for order in ((early, late), (late, early)):
        done = audited(TOP, *order)

        (row,) = done.rows
        assert (row["usage_status"], row["input_tokens"]) == ("complete", 1000)
        assert done.report.totals.duplicates.calls == 1


def test_d10_event_that_repeats_the_usage_of_its_span(audited: Any) -> None:
    entry = call(events=[("gen_ai.client.inference.operation.details", SAME)])

    (row,) = audited(entry).rows

    assert (row["input_tokens"], row["output_tokens"], row["usage_status"]) == (1000, 100, "complete")


def test_d10_log_record_that_repeats_the_usage_of_its_span(tmp_path: Path) -> None:
    entry = call(id="own", tenant="acme")
    trace, own = entry.ids
    record = {
        "timeUnixNano": "1790000000600000000",
        "eventName": "gen_ai.client.inference.operation.details",
        "traceId": trace,
        "spanId": own,
        "body": {"stringValue": ""},
        "attributes": [
            {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
            {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o-mini"}},
            *({"key": key, "value": {"intValue": str(count)}} for key, count in SAME.items()),
        ],
    }
    logs = {"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {"name": SDK}, "logRecords": [record]}]}]}

    done = audit_bytes(tmp_path, lines(entry) + json.dumps(logs).encode() + b"\n")

    assert len(done.rows) == 1
    assert done.report.totals.spend == CALL_PICO


def test_d11_span_that_is_delivered_again_and_files_that_overlap(tmp_path: Path) -> None:
    one, two, three = (call(id=name, parent="top", start=600 * at) for at, name in enumerate("abc"))

    done = audit_bytes(tmp_path, lines(TOP, one, two, two), lines(two, three, TOP))

    assert ids_of_calls(done) == sorted(entry.ids[1] for entry in (one, two, three))
    assert done.report.totals.spend == 3 * CALL_PICO
    assert done.report.totals.duplicates.calls == 3


def test_d11_copies_that_differ_keep_what_came_last_and_the_tenant_of_any(audited: Any) -> None:
    early = call(id="same", ms=100, usage={"input": 7}, tenant="acme")
    late = call(id="same", ms=500)

    (row,) = audited(early, late).rows

    assert (row["input_tokens"], row["output_tokens"], row["tenant_id"]) == (1000, 100, "acme")


def test_d12_copy_that_was_sent_at_the_start(audited: Any) -> None:
    final = call(id="final", parent="top")
    pending = call(
        id="pending", parent="final", usage={}, ms=0,
        attributes={"logfire.span_type": "pending_span", "logfire.pending_parent_id": TOP.ids[1]},
    )  # fmt: skip

    assert ids_of_calls(audited(TOP, pending, final)) == [final.ids[1]]


def test_d12_unfinished_span_without_a_final_copy_is_a_call_without_usage(audited: Any) -> None:
    unfinished = call(id="open", parent="top", ms=None, usage={}, attributes={"gen_ai.request.stream": True})

    (row,) = audited(TOP, unfinished).rows

    assert row["usage_status"] == "missing"


def test_d13_cached_answer_that_is_served_again(audited: Any) -> None:
    one = call(id="one", trace="a", response="chatcmpl-1", tenant="acme")
    served_again = call(
        id="hit", trace="b", start=60_000, ms=4, response="chatcmpl-1", tenant="blue", service="gateway",
        attributes={"litellm.cache_hit": True},
    )  # fmt: skip

    done = audited(one, served_again)

    assert done.report.totals.calls == 2
    assert done.row(served_again)["cost_usd"] == "0"
    assert done.report.totals.spend == CALL_PICO


def test_d14_run_id_that_several_calls_share(audited: Any) -> None:
    """Azure's agents give every chat of a run the id of the run, and the agent's span too."""
    agent = span(
        "invoke_agent", id="agent", parent="top", ms=5000,
        attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.response.id": "run_7"},
    )  # fmt: skip
    chats = [call(id=f"chat {at}", parent="agent", start=100 + 900 * at, response="run_7") for at in range(3)]

    done = audited(TOP, agent, *chats)

    assert ids_of_calls(done) == sorted(chat.ids[1] for chat in chats)
    assert done.report.totals.spend == 3 * CALL_PICO


def test_d14_recorded_answers_that_are_played_again(audited: Any) -> None:
    calls = [call(id=f"test {at}", trace=f"test {at}", start=60_000 * at, response="chatcmpl-1") for at in range(3)]

    assert len(audited(*calls).rows) == 3


def test_d15_batch_whose_usage_is_told_at_each_poll(audited: Any) -> None:
    """The same finished batch is retrieved three times, each time with all of its usage."""
    polls = [
        call(
            "batches.retrieve", id=f"poll {at}", trace=f"poll {at}", start=60_000 * at, ms=80, operation="batch",
            attributes={"gen_ai.batch.id": "batch_1"}, tenant="acme",
        )
        for at in range(3)
    ]  # fmt: skip

    done = audited(*polls)

    assert sum(row["input_tokens"] or 0 for row in done.rows) == 1000
    assert done.report.totals.spend == CALL_PICO // 2


def test_d16_cumulative_columns_and_totals_of_the_trace_are_no_usage(audited: Any) -> None:
    top = span(
        "session", id="session", ms=9000,
        attributes={
            "cumulative_llm_token_count_prompt": 2000, "cumulative_llm_token_count_completion": 200,
            "mlflow.trace.tokenUsage": '{"input_tokens": 2000, "output_tokens": 200, "total_tokens": 2200}',
            "totalCost": 0.5, "openinference.span.kind": "CHAIN",
        },
    )  # fmt: skip
    calls = [call(id=f"c{at}", parent="session", start=900 * at, kind=CLIENT) for at in range(2)]

    done = audited(top, *calls)

    assert len(done.rows) == 2
    assert done.report.totals.input_tokens == 2000
    assert done.report.totals.spend == 2 * CALL_PICO
