"""Real exports, read whole: calls, tokens, tenants and status against a second, small reader.

The second reader knows json and nothing of the program. It lists the spans that name a billable operation and
what each says of its tokens; where a file holds a trap (two spans for one call, a tenant that only an ancestor
has), the expectation is written out by hand with its reason. ``SOURCES.md`` beside the files names their origin.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.errors import InputError
from auditor.ledger.calls import call_rows
from auditor.pipeline import audit
from auditor.report.json_v1 import digest, render
from auditor.report.schema import validate
from auditor.settings import Internal, Settings

SAMPLES = Path(__file__).parent.parent / "fixtures" / "exports" / "samples"
PRODUCTION = Settings(internal=Internal(environments=()))
"""Some samples say that they come from staging; here that does not matter."""


def rows_of(*names: str, settings: Settings = PRODUCTION) -> list[dict[str, Any]]:
    done = audit([str(SAMPLES / name) for name in names], settings)
    validate(orjson.loads(render(done.report)))
    return list(call_rows(done.calls))


# -- the second reader -------------------------------------------------------------------------------

OPERATION = ("gen_ai.operation.name", "openinference.span.kind")
BILLABLE = {"chat", "text_completion", "embeddings", "LLM", "EMBEDDING", "RERANKER"}
EMBEDDING = {"embeddings", "EMBEDDING"}
INPUT = ("gen_ai.usage.input_tokens", "llm.token_count.prompt")
OUTPUT = ("gen_ai.usage.output_tokens", "llm.token_count.completion")
READ = ("gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read")
WRITE = ("gen_ai.usage.cache_creation.input_tokens", "llm.token_count.prompt_details.cache_write")


def spans_in(name: str) -> list[tuple[str, str, dict[str, Any], bool]]:
    """Trace id, span id, attributes and whether it failed, of every span of an export in one JSON per line."""
    found = []
    for line in (SAMPLES / name).read_text("utf-8").splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    attributes = {pair["key"]: plain(pair["value"]) for pair in span.get("attributes", [])}
                    failed = span.get("status", {}).get("code") == 2
                    found.append((span["traceId"], span["spanId"], attributes, failed))
    return found


def plain(value: dict[str, Any]) -> Any:
    for kind, inner in value.items():
        return int(inner) if kind == "intValue" else inner
    return None


def first(attributes: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((attributes[key] for key in keys if key in attributes), None)


def expected_calls(name: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    """By span: input with cached tokens, cache read, cache write, output, and how the usage is known.

    Every sample read here reports input with cached tokens in it (checked on the Anthropic one below). A count
    of nothing at all is no usage: no provider bills a call without tokens.
    """
    calls = {}
    for trace, span, attributes, failed in spans_in(name):
        operation = first(attributes, OPERATION)
        if operation not in BILLABLE:
            continue
        given, output = first(attributes, INPUT), first(attributes, OUTPUT)
        if not (given or output):
            calls[trace, span] = (None, None, None, None, "not_billed" if failed else "missing")
            continue
        read, write = first(attributes, READ) or 0, first(attributes, WRITE) or 0
        billed_output = 0 if operation in EMBEDDING else output or 0
        calls[trace, span] = (given, read, write, billed_output, "complete")
    return calls


def seen_calls(rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {
        (row["trace_id"], row["span_id"]): (
            row["input_tokens"],
            row["cache_read_tokens"],
            row["cache_write_tokens"],
            row["output_tokens"],
            row["usage_status"],
        )
        for row in rows
    }


# Calls counted by hand: the requests that SOURCES.md names, or the spans of billable kind listed one by one.
HOW_MANY = {
    "otlp-openllmetry-openai.jsonl": 40,  # 43 spans, of which 3 are the tests' own wrappers: 40 requests
    "otlp-openllmetry-anthropic.jsonl": 30,  # every span is a request
    "otlp-openllmetry-langchain.jsonl": 11,  # 69 spans: 3 openai.chat, 6 Chat*.chat, 2 OpenAI.completion; the rest
    # are agents, workflows, tasks, tools and plain spans
    "otlp-openinference-openai.jsonl": 29,  # 57 spans: 28 httpx children, and 21 LLM + 8 EMBEDDING
    "otlp-openinference-litellm.jsonl": 69,  # every span is a request
    "otlp-openinference-langchain.jsonl": 1,  # 10 spans: one LLM among chains and prompts
}


@pytest.mark.parametrize("name", HOW_MANY)
def test_every_request_is_one_call_with_its_own_tokens(name: str) -> None:
    expected = expected_calls(name)

    rows = rows_of(name)

    assert len(expected) == HOW_MANY[name]
    assert seen_calls(rows) == expected
    assert all(row["duplicates"] == [] for row in rows)


@pytest.mark.parametrize("name", HOW_MANY)
def test_nobody_tagged_these_calls_so_all_are_lost(name: str) -> None:
    rows = rows_of(name)

    assert {(row["status"], row["tenant_id"]) for row in rows} == {("lost", None)}


def test_cached_input_of_the_anthropic_instrumentation_is_inside_input() -> None:
    # formats-traces §9: the provider said 4 + 1163 written, then 4 + 1163 read; the span says input 1167.
    rows = [row for row in rows_of("otlp-openllmetry-anthropic.jsonl") if row["input_tokens"] == 1167]

    split = Counter((row["cache_read_tokens"], row["cache_write_tokens"]) for row in rows)

    assert split == {(1163, 0): 3, (0, 1163): 3}


def test_price_of_a_cached_call_puts_each_part_at_its_own_rate() -> None:
    # gpt-4o-mini, USD per million: input 0.15, cached 0.075, output 0.60.
    (row,) = [r for r in rows_of("otlp-openinference-openai.jsonl") if r["cache_read_tokens"] == 1280]

    expected = (Decimal(1370 - 1280) * Decimal("0.15") + 1280 * Decimal("0.075") + 155 * Decimal("0.60")) / 10**6

    assert Decimal(row["cost_usd"]) == expected


def test_model_called_unknown_gives_way_to_the_next_key_that_names_it() -> None:
    # The instrumentation wrote "unknown" for Cohere as request and response model; LangChain's own metadata on the
    # same span has ls_model_name = command-r-08-2024.
    (row,) = [r for r in rows_of("otlp-openllmetry-langchain.jsonl") if r["input_tokens"] == 577]

    assert (row["provider"], row["model_requested"]) == ("cohere", "command-r-08-2024")
    assert row["price_status"] == "priced"


# -- small files whose every span is known -----------------------------------------------------------


def test_thread_without_context_loses_the_tenant_that_baggage_gave_the_others() -> None:
    rows = {row["span_id"][:4]: row for row in rows_of("otlp-baggage-thread-drop.json")}

    # aa49 chat and d259 embeddings got tenant.id from baggage; 815e ran in a bare thread: a trace of its own.
    assert {key: (row["status"], row["tenant_id"]) for key, row in rows.items()} == {
        "aa49": ("direct", "acme-001"),
        "d259": ("direct", "acme-001"),
        "815e": ("recoverable", "acme-001"),
    }
    assert {key: (row["input_tokens"], row["output_tokens"]) for key, row in rows.items()} == {
        "aa49": (15, 19),
        "d259": (8, 0),
        "815e": (15, 19),
    }
    assert rows["815e"]["rule"] == "orphaned-agent-children"


def test_staging_traffic_without_a_tenant_is_internal() -> None:
    # The same file with the settings that users have: its resource says deployment.environment.name = staging.
    rows = {row["span_id"][:4]: row for row in rows_of("otlp-baggage-thread-drop.json", settings=Settings())}

    assert {key: row["status"] for key, row in rows.items()} == {
        "aa49": "direct",
        "d259": "direct",
        "815e": "internal",
    }


@pytest.mark.parametrize(
    ("name", "join"), [("otlp-celery-child.json", "ancestor"), ("otlp-celery-span-links.json", "link")]
)
def test_celery_worker_loses_the_tenant_that_the_web_request_had(name: str, join: str) -> None:
    (row,) = rows_of(name)

    assert (row["status"], row["tenant_id"], row["recovered_by"]) == ("recoverable", "acme-001", join)
    assert (row["input_tokens"], row["output_tokens"], row["rule"]) == (15, 19, "async-drop")


def test_logfire_writes_the_usage_of_a_stream_on_a_log_beside_it() -> None:
    # Two requests: 3054 with its usage; 2d34 streamed, its usage on 357b, a log of no duration in the same scope.
    rows = {row["span_id"][:4]: row for row in rows_of("otlp-logfire-openai.json")}

    assert set(rows) == {"3054", "2d34"}
    assert seen_calls(list(rows.values())).values()
    assert [(row["input_tokens"], row["output_tokens"], row["usage_status"]) for _, row in sorted(rows.items())] == [
        (10, 50, "elsewhere"),
        (15, 19, "complete"),
    ]
    assert [duplicate["span_id"][:4] for duplicate in rows["2d34"]["duplicates"]] == ["357b"]
    assert {(row["status"], row["tenant_id"], row["recovered_by"]) for row in rows.values()} == {
        ("recoverable", "acme-001", "ancestor")
    }


# -- the same eight requests in other spellings ------------------------------------------------------

EIGHT = "otlp-openllmetry-openai.jsonl"
OTHER_SPELLINGS = (
    "otlp-plain-proto3-json-base64-ids.json",
    "otlp-plain-proto3-json-snake-case.json",
    "collector-file-json-zstd-native.jsonl.zst",
    "collector-file-json-zstd-legacy.bin",
    "collector-file-proto.bin",
    "collector-file-proto-zstd-legacy.bin",
    "otlp-openllmetry-openai.binpb",
)


@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_other_spellings_of_eight_requests_say_the_same(name: str, tmp_path: Path) -> None:
    plain_form = tmp_path / "eight.jsonl"
    plain_form.write_text("\n".join((SAMPLES / EIGHT).read_text("utf-8").splitlines()[:8]), "utf-8")
    wanted = audit([str(plain_form)], PRODUCTION)
    expected = dict(list(expected_calls(EIGHT).items())[:8])

    found = audit([str(SAMPLES / name)], PRODUCTION)

    assert seen_calls(list(call_rows(found.calls))) == expected
    assert digest(found.report) == digest(wanted.report)


# -- LiteLLM -----------------------------------------------------------------------------------------


def test_litellm_tells_the_eight_calls_of_its_story() -> None:
    """The calls of SOURCES.md, by hand; cost at the list prices named there, but 7: half of them, as batch.

    Call 6 is two rows, the attempt that timed out and the fallback. Nothing on the row of call 3 says that it was a
    stream, so that the gateway's estimate reads like a count.
    """
    rows = {row["call_id"]: row for row in rows_of("litellm_standard_logging_payload.jsonl")}

    said = {
        key: (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["usage_status"], row["cost_usd"])
        for key, row in rows.items()
    }
    assert said == {
        "chatcmpl-0001": (1200, 1024, 150, "complete", "0.0001932"),
        "chatcmpl-0002": (500, 0, 500, "complete", "0.000375"),
        "chatcmpl-0003": (180, 0, 106, "complete", "0.0000906"),
        "5d0e9c1a-0004": (500, 0, 0, "complete", "0.00001"),
        "chatcmpl-0001_cache_hit1783339216.2": (1200, 1024, 150, "not_billed", "0"),
        "chatcmpl-0006": (None, None, None, "not_billed", "0"),
        "msg_0006b": (1015, 0, 95, "complete", "0.00149"),
        "batch_0007_batch_cost": (40000, 0, 4000, "complete", "0.0042"),
        "9b1f77aa-0008": (None, None, None, "missing", None),
    }
    assert rows["chatcmpl-0006"]["failed"]
    assert rows["chatcmpl-0001_cache_hit1783339216.2"]["cache_hit"]
    assert [key for key, row in rows.items() if row["batch"]] == ["batch_0007_batch_cost"]


def test_litellm_tenant_comes_from_metadata_before_the_team_of_the_key() -> None:
    rows = {row["call_id"]: row for row in rows_of("litellm_standard_logging_payload.jsonl")}

    # Call 1 has spend_logs_metadata.tenant_id = acme beside team_acme; its cache hit has the team only.
    tagged = {key: row["carried_tenant_id"] for key, row in rows.items() if row["status"] == "direct"}
    assert tagged == {"chatcmpl-0001": "acme", "chatcmpl-0001_cache_hit1783339216.2": "team_acme"}
    assert rows["chatcmpl-0001"]["user_id"] == "acme:u_17"
    assert (rows["chatcmpl-0001"]["environment"], rows["chatcmpl-0001"]["feature"]) == ("prod", "summarise")


def test_litellm_row_without_span_ids_is_known_by_the_id_of_the_log() -> None:
    rows = rows_of("litellm_standard_logging_payload.jsonl")

    assert {(row["trace_id"], row["span_id"], row["service"]) for row in rows} == {(None, None, "litellm")}
    assert len({row["call_id"] for row in rows}) == 9


def test_litellm_totals_count_unmetered_and_unbilled_calls_apart() -> None:
    totals = audit([str(SAMPLES / "litellm_standard_logging_payload.jsonl")], PRODUCTION).report.totals

    pico = [193_200_000, 375_000_000, 90_600_000, 10_000_000, 1_490_000_000, 4_200_000_000]
    assert totals.spend == sum(pico)
    assert (totals.direct.cost, totals.unattributed.cost) == (pico[0], sum(pico[1:]))
    assert (totals.calls, totals.unmetered.calls, totals.failed, totals.cache_hits) == (9, 1, 1, 1)


# -- what holds no calls, or cannot be read ----------------------------------------------------------

NO_CALLS = (
    "otlp-proto-example-trace.json",
    "otlp-proto-example-logs.json",
    "otlp-proto-example-events.json",
    "otlp-jaeger-two-resources.json",
    "otlp-multi-lines.jsonl",
    "litellm_global_spend_report.json",
    "litellm_spend_logs_summarized.json",
    "jaeger-query-response.json",
    "jaeger-query-multi.json",
    "jaeger-span-array.json",
    "xray-segment-server.txt",
    "datadog-apm-test_distributed_tracing_propagation_no_producer_span.json",
)
OTHER_FORMATS = ("SOURCES.md",)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "auditor.cli.main", *arguments],
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(sys.path), "LANG": "C.UTF-8"},
        cwd=SAMPLES,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("name", [*NO_CALLS, *OTHER_FORMATS])
def test_file_without_readable_calls_is_refused_in_one_line(name: str) -> None:
    done = run("--no-config", name)

    message, *hints = done.stderr.splitlines()
    assert done.returncode == 3
    assert done.stdout == ""
    assert message.startswith(f"audit: {name}")
    assert all(hint.startswith("hint: ") for hint in hints)
    assert len(hints) <= 1


def test_every_sample_is_in_a_test() -> None:
    small = {
        "otlp-baggage-thread-drop.json",
        "otlp-celery-child.json",
        "otlp-celery-span-links.json",
        "otlp-logfire-openai.json",
        "langfuse-export-llamaindex-2025-06-05.json",
        "litellm_batch_line_items_part-00000.jsonl",
        "litellm_spend_logs_rows.json",
        "litellm_standard_logging_payload.jsonl",
    }

    # Each of these has its expected result beside the tests of its reader, in tests/load.
    of_other_formats = {
        "console-span-exporter.txt",
        "datadog-apm-test_acompletion.json",
        "datadog-apm-test_anthropic_llm_tools_full_use_stream.json",
        "datadog-apm-test_litellm_router_completion.json",
        "datadog-apm-test_llama_index_openai_embedding.json",
        "mlflow-trace-v3.json",
        "zipkin-v2.json",
    }

    here = {path.name for path in SAMPLES.iterdir() if path.is_file()}

    assert here == {*HOW_MANY, *OTHER_SPELLINGS, *NO_CALLS, *OTHER_FORMATS, *small, *of_other_formats}


def test_all_samples_together_add_up_to_what_they_are_alone() -> None:
    # The zstd and plain-proto files repeat eight requests of EIGHT: the same spans, so they count once.
    readable = [*HOW_MANY, "otlp-celery-child.json", "otlp-celery-span-links.json", "otlp-logfire-openai.json"]
    alone = [audit([str(SAMPLES / name)], PRODUCTION).report.totals for name in readable]

    together = audit([str(SAMPLES / name) for name in (*readable, *OTHER_SPELLINGS)], PRODUCTION).report.totals

    assert together.spend == sum(totals.spend for totals in alone)
    assert together.calls == sum(totals.calls for totals in alone)


def test_logs_without_model_calls_in_the_same_file_are_passed_over(tmp_path: Path) -> None:
    # formats-traces §2.2: one pipeline may write traces, logs and metrics to one path.
    mixed = tmp_path / "mixed.jsonl"
    logs = json.dumps(json.loads((SAMPLES / "otlp-proto-example-logs.json").read_text("utf-8")))
    mixed.write_text(logs + "\n" + (SAMPLES / EIGHT).read_text("utf-8"), "utf-8")

    report = audit([str(mixed)], PRODUCTION).report

    assert report.totals.calls == 40
    assert (report.inputs[0].records, report.inputs[0].rejections) == (41, ())


def test_nothing_readable_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no model call among 1 spans"):
        audit([str(SAMPLES / "otlp-proto-example-trace.json")], PRODUCTION)
