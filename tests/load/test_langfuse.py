"""Langfuse exports: calls, tokens, tenants and users, read off the files by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.ledger.calls import call_rows
from auditor.load.langfuse import WITHOUT_USAGE, buckets, is_langfuse
from auditor.pipeline import audit
from auditor.report.json_v1 import digest
from auditor.settings import Internal, Settings

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
PRODUCTS = SAMPLES / "products"
OBSERVATIONS = PRODUCTS / "langfuse_blob_observations.jsonl"
TRACES = PRODUCTS / "langfuse_blob_traces.jsonl"
PRODUCTION = Settings(internal=Internal(environments=()))


def rows_of(*paths: Path) -> list[dict[str, Any]]:
    return list(call_rows(audit([str(path) for path in paths], PRODUCTION).calls))


def tokens(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["usage_status"]


# What each generation says of itself in usageDetails and in the attributes of its span, by the generation's id.
# Agents and spans that repeat the sums (pydantic: 682 / 126, Microsoft: 631 / 35) are no calls.
DOWNLOADS = {
    "langfuse-export-google-adk-2025-08-28.json": {
        "bded677884f031ce": (39, 0, 6, "complete"),
        "f6e4c65297e40c96": (28, 0, 3, "complete"),
    },
    "langfuse-export-langgraph-2025-08-22.json": {
        "4f6535aaebcda355": (60, 0, 15, "complete"),
        "5ba09605e0929d78": (108, 0, 51, "complete"),
    },
    "langfuse-export-openai-agents-2025-09-30.json": {
        "90d94774e8e3724d": (85, 0, 29, "complete"),
        "98870087af69bf06": (55, 0, 15, "complete"),
    },
    "langfuse-export-pydantic-ai-tools-2025-12-04.json": {
        "00d2804abb764b1b": (417, 0, 53, "complete"),
        "eb0cc14cf7943ad5": (131, 0, 69, "complete"),
        "8976b072313c51f2": (502, 0, 14, "complete"),
        "be64c23f44dd98be": (265, 0, 73, "complete"),
    },
    "langfuse-export-microsoft-agent-2025-10-14.json": {
        "3c2d6f2f26930c50": (631, 0, 35, "complete"),
        # 25 / 70 are Langfuse's own estimate: the attributes of the span have no usage.
        "c6b8d4db5f0eac82": (None, None, None, "missing"),
    },
}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_generation_of_a_download_is_one_call_with_its_own_tokens(name: str) -> None:
    rows = rows_of(PRODUCTS / name)

    assert {row["span_id"]: tokens(row) for row in rows} == DOWNLOADS[name]
    assert {(row["status"], row["tenant_id"]) for row in rows} == {("lost", None)}


def test_a_download_with_identities_on_the_trace_alone_gives_them_to_the_call() -> None:
    (row,) = rows_of(SAMPLES / "langfuse-export-llamaindex-2025-06-05.json")

    assert tokens(row) == (13, 0, 81, "complete")
    # USD 2.50 and 10 a million: what Langfuse itself worked out, 0.000842499999.
    assert Decimal(row["cost_usd"]) == (13 * Decimal("2.5") + 81 * 10) / 10**6
    assert (row["user_id"], row["provider"], row["status"]) == ("user_123", "openai", "lost")


STORY = {
    # Call 1 of SOURCES.md: 176 + 1024 cached + 150, which exclude each other.
    "gpt-4o-mini-2024-07-18": (1200, 1024, 150, "complete"),
    # Call 3: closed before usage arrived.
    "gpt-4o-mini": (None, None, None, "missing"),
    # Call 4.
    "text-embedding-3-small": (500, 0, 0, "complete"),
}


@pytest.mark.parametrize("paths", [(OBSERVATIONS, TRACES), (TRACES, OBSERVATIONS)])
def test_a_blob_export_is_joined_with_its_traces_whichever_comes_first(paths: tuple[Path, ...]) -> None:
    rows = {row["model_requested"]: row for row in rows_of(*paths)}

    assert {model: tokens(row) for model, row in rows.items()} == STORY
    assert [rows[model]["cost_usd"] for model in STORY] == ["0.0001932", None, "0.00001"]
    # The embedding has no tenant and its parent is not in the export: the record of its trace speaks for it.
    assert [(rows[model]["status"], rows[model]["tenant_id"]) for model in STORY] == [
        ("direct", "acme"),
        ("lost", None),
        ("direct", "acme"),
    ]
    assert rows["text-embedding-3-small"]["operation"] == "embeddings"
    assert [rows[model]["environment"] for model in STORY] == ["prod", None, "prod"]


def test_the_order_of_the_blob_files_does_not_change_the_digest() -> None:
    one = audit([str(OBSERVATIONS), str(TRACES)], PRODUCTION).report

    other = audit([str(TRACES), str(OBSERVATIONS)], PRODUCTION).report

    assert digest(one) == digest(other)


def test_without_the_traces_file_another_observation_of_the_trace_knows_the_tenant() -> None:
    rows = {row["model_requested"]: row for row in rows_of(OBSERVATIONS)}

    embedding = rows["text-embedding-3-small"]
    assert (embedding["status"], embedding["tenant_id"], embedding["recovered_by"]) == ("recoverable", "acme", "trace")


def test_an_answer_of_the_api_says_what_the_blob_export_says() -> None:
    rows = {row["model_requested"]: row for row in rows_of(PRODUCTS / "langfuse_observations_v2.json")}

    assert {model: tokens(row) for model, row in rows.items()} == STORY
    assert rows["gpt-4o-mini-2024-07-18"]["user_id"] == "acme:u_17"


def test_traces_alone_hold_no_call() -> None:
    with pytest.raises(InputError, match="no model call among 2 spans"):
        audit([str(TRACES)], PRODUCTION)


# -- traps -------------------------------------------------------------------------------------------


def observation(**changes: Any) -> dict[str, Any]:
    return {
        "id": "o",
        "traceId": "t",
        "type": "GENERATION",
        "startTime": "2026-07-06T12:00:00.000Z",
        "endTime": "2026-07-06T12:00:01.000Z",
        "parentObservationId": None,
        "providedModelName": "gpt-4o-mini",
        "usageDetails": {"input": 100, "output": 10, "total": 110},
        "metadata": {"tenant_id": "acme"},
        **changes,
    }


def audited(home: Path, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    path = home / "observations.json"
    path.write_text(json.dumps({"data": list(entries), "meta": {}}))
    return rows_of(path)


def test_generations_exported_without_usage_fields_are_rejected_with_what_to_ask_for(tmp_path: Path) -> None:
    bare = observation(id="bare")
    del bare["usageDetails"]
    path = tmp_path / "observations.json"
    path.write_text(json.dumps({"data": [bare, observation()], "meta": {}}))

    report = audit([str(path)], PRODUCTION).report

    assert [place.reason for place in report.inputs[0].rejections] == [WITHOUT_USAGE]
    assert (report.totals.calls, report.totals.unmetered.calls) == (1, 0)


@pytest.mark.parametrize("kind", ["SPAN", "EVENT", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "GUARDRAIL"])
def test_usage_on_other_observations_is_no_call(kind: str, tmp_path: Path) -> None:
    container = observation(id="c", type=kind, metadata={"attributes": {"gen_ai.operation.name": "chat"}})

    rows = audited(tmp_path, container, observation(parentObservationId="c"))

    assert [tokens(row) for row in rows] == [(100, 0, 10, "complete")]


def test_usage_that_nobody_provided_is_an_estimate_and_no_usage(tmp_path: Path) -> None:
    (row,) = audited(tmp_path, observation(providedUsageDetails={}))

    assert tokens(row) == (None, None, None, "missing")


def test_usage_that_was_provided_counts(tmp_path: Path) -> None:
    (row,) = audited(tmp_path, observation(providedUsageDetails={"input": 100, "output": 10}))

    assert tokens(row) == (100, 0, 10, "complete")


def test_an_older_generation_with_an_embedding_model_is_an_embedding(tmp_path: Path) -> None:
    (row,) = audited(tmp_path, observation(providedModelName="text-embedding-3-small", usageDetails={"input": 500}))

    assert (row["operation"], row["input_tokens"], row["output_tokens"]) == ("embeddings", 500, 0)


def test_a_failed_generation_without_usage_is_not_billed(tmp_path: Path) -> None:
    (row,) = audited(tmp_path, observation(level="ERROR", usageDetails={}))

    assert (row["failed"], row["usage_status"]) == (True, "not_billed")


def test_tags_of_the_form_key_colon_value_carry_the_tenant(tmp_path: Path) -> None:
    (row,) = audited(tmp_path, observation(metadata={}, tags=["tenant:globex", "beta"]))

    assert (row["status"], row["tenant_id"]) == ("direct", "globex")


def test_metadata_written_as_text_is_opened(tmp_path: Path) -> None:
    metadata = {"attributes": json.dumps({"tenant.id": "initech", "gen_ai.response.id": "r-1"})}

    (row,) = audited(tmp_path, observation(metadata=json.dumps(metadata)))

    assert (row["status"], row["tenant_id"]) == ("direct", "initech")


def test_the_default_environment_is_none(tmp_path: Path) -> None:
    (row,) = audited(tmp_path, observation(environment="default"))

    assert row["environment"] is None


def test_a_conflicting_tenant_on_the_observation_wins_over_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "download.json"
    trace = {"id": "t", "timestamp": "2026-07-06T12:00:00Z", "metadata": {"tenant_id": "globex"}}
    path.write_text(json.dumps({"trace": trace, "observations": [observation(), observation(id="p", metadata={})]}))

    rows = rows_of(path)

    assert sorted(row["tenant_id"] for row in rows) == ["acme", "globex"]
    assert {row["status"] for row in rows} == {"direct"}


def test_a_session_that_two_traces_share_leads_to_the_tenant_that_one_of_them_knows(tmp_path: Path) -> None:
    trace = {"timestamp": "2026-07-06 12:00:00.000", "user_id": None, "session_id": "s-1", "tags": []}
    path = tmp_path / "traces.jsonl"
    records = [{**trace, "id": "known", "metadata": {"tenant_id": "acme"}}, {**trace, "id": "t", "metadata": {}}]
    path.write_text("\n".join(map(json.dumps, records)))
    other = tmp_path / "observations.json"
    other.write_text(json.dumps({"data": [observation(metadata={})]}))

    (row,) = rows_of(path, other)

    assert (row["status"], row["tenant_id"], row["recovered_by"]) == ("recoverable", "acme", "session")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input": 176, "input_cached_tokens": 1024, "output": 150, "total": 1350}, (176, 1024, 150, 0)),
        # The caller's input held the cached tokens: langfuse#10592.
        ({"input": 1200, "input_cached_tokens": 1024, "output": 150, "total": 1350}, (176, 1024, 150, 0)),
        ({"input": 1200, "prompt_details.cache_read": 1024, "output": 150}, (176, 1024, 150, 0)),
        # Reasoning beside output, and inside it: langfuse#11244.
        ({"input": 10, "output": 1014, "output_reasoning_tokens": 956, "total": 1980}, (10, 0, 1014, 956)),
        ({"input": 10, "output": 1970, "output_reasoning_tokens": 956, "total": 1980}, (10, 0, 1014, 956)),
        ({"input": 10, "output": 5, "total": 15, "input_audio": 0, "rows": 3}, (10, 0, 5, 0)),
    ],
)
def test_buckets_exclude_each_other(usage: dict[str, int], expected: tuple[int, ...]) -> None:
    found = buckets(usage)

    keys = ("input", "input_cached_tokens", "output", "output_reasoning")
    assert tuple(found.get(key, 0) for key in keys) == expected


@pytest.mark.parametrize("usage", [{}, {"total": 12}, {"input": 0, "output": 0}, {"input": None}, {"input": True}])
def test_no_known_count_is_no_usage(usage: dict[str, Any]) -> None:
    assert buckets(usage) == {}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"traceId": "t", "id": "", "type": "SPAN"}, "an observation without an id, a trace or a type"),
        ({"type": "GENERATION", "name": "x"}, "neither an observation nor a trace of Langfuse"),
        (7, "Expected object, got int"),
    ],
)
def test_a_row_that_is_none_is_rejected_beside_good_ones(entry: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "observations.json"
    path.write_text(json.dumps({"data": [observation(), entry]}))

    report = audit([str(path)], PRODUCTION).report

    assert report.totals.calls == 1
    assert [place.reason.partition(" - ")[0] for place in report.inputs[0].rejections] == [reason]


@pytest.mark.parametrize(
    "value",
    [
        {"resourceSpans": []},
        {"data": []},
        {"data": [{"traceID": "1", "spans": [], "processes": {}}]},
        [{"traceId": "1", "id": "2", "timestamp": 1, "localEndpoint": {}}],
        {"trace": {"resourceSpans": []}},
        {"id": "1", "trace_id": "2", "run_type": "llm", "dotted_order": "x"},
        7,
        [],
        None,
    ],
)
def test_other_formats_are_not_taken_for_langfuse(value: Any) -> None:
    assert not is_langfuse(value)


def test_prompts_and_answers_do_not_reach_the_report(tmp_path: Path) -> None:
    secret = "nobody may see this"
    path = tmp_path / "observations.json"
    entry = observation(input=secret, output={"text": secret}, metadata={"tenant_id": "acme", "prompt": secret})
    path.write_text(json.dumps([entry]))

    done = audit([str(path)], PRODUCTION)

    assert secret not in repr(done.report)
    assert len(list(call_rows(done.calls))) == 1
