"""Rules on gateway logs alone: each on rows of two systems or more, and what a row cannot show is not checked.

Rows are those of ``fixtures/exports/samples`` with the fields changed that a test is about. Every call has its
tokens and no broken stream unless a test says so; the hop is the gateway, the only service that a log knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditor.model.report import Finding, Report
from auditor.pipeline import audit
from auditor.settings import Internal, Settings

SAMPLES = Path(__file__).parents[2] / "fixtures" / "exports" / "samples"
LITELLM: dict[str, Any] = json.loads((SAMPLES / "litellm_standard_logging_payload.jsonl").read_text().splitlines()[1])
GATEWAYS = SAMPLES / "gateways"
CLOUDFLARE: dict[str, Any] = json.loads((GATEWAYS / "cloudflare_ai_gateway_logs.json").read_text())["result"][0]
HELICONE: dict[str, Any] = json.loads((GATEWAYS / "helicone_requests.jsonl").read_text().splitlines()[0])
PORTKEY: dict[str, Any] = json.loads((GATEWAYS / "portkey_metric_record.json").read_text())
BIFROST: dict[str, Any] = json.loads((GATEWAYS / "bifrost_logs.json").read_text())["logs"][1]
ENVOY: dict[str, Any] = json.loads((GATEWAYS / "envoy_ai_gateway_access_log.jsonl").read_text().splitlines()[0])
BEDROCK: dict[str, Any] = json.loads((GATEWAYS / "bedrock_model_invocation_log.jsonl").read_text().splitlines()[1])
OUTPUT: dict[str, Any] = json.loads((GATEWAYS / "openai_batch_output.jsonl").read_text().splitlines()[0])
RESULT: dict[str, Any] = json.loads((GATEWAYS / "anthropic_batch_results.jsonl").read_text().splitlines()[0])

Make = Callable[..., dict[str, Any]]
"""Makes a row: its number, the tenant that the caller sent (``None``: the place for it is empty), what it asks for,
its tokens (0 for none) and whether it was a stream."""


def litellm(
    number: int, tenant: str | None, *, asks: str = "chat", tokens: int = 1000, streamed: bool = False, **changes: Any
) -> dict[str, Any]:
    metadata = {
        **LITELLM["metadata"],
        "user_api_key_hash": "shared",
        "requester_metadata": {"tenant_id": tenant} if tenant else {},
        "usage_object": None,
    }
    embeds = asks == "embeddings"
    return {
        **LITELLM,
        "id": f"row-{number}",
        "litellm_call_id": f"call-{number}",
        "trace_id": f"trace-{number}",
        "session_id": f"trace-{number}",
        "startTime": 1783339200.0 + number,
        "endTime": 1783339201.0 + number,
        "completionStartTime": None,
        "call_type": "aembedding" if embeds else "acompletion",
        "model": "text-embedding-3-small" if embeds else "gpt-4o-mini",
        "model_group": "text-embedding-3-small" if embeds else "gpt-4o-mini",
        "model_parameters": {"stream": True} if streamed else {},
        "prompt_tokens": tokens,
        "completion_tokens": 0,
        "total_tokens": tokens,
        "response": {"id": f"row-{number}", "usage": {"prompt_tokens": tokens}} if tokens else {},
        "response_cost": 0.001 if tokens else 0.0,
        "metadata": metadata,
        **changes,
    }


def cloudflare(
    number: int, tenant: str | None, *, asks: str = "chat", tokens: int = 1000, **changes: Any
) -> dict[str, Any]:
    return {
        **CLOUDFLARE,
        "id": f"row-{number}",
        "created_at": f"2026-07-06T12:00:{number:02}Z",
        "metadata": json.dumps({"tenant_id": tenant}) if tenant else None,
        "path": "embeddings" if asks == "embeddings" else "chat/completions",
        "model": "text-embedding-3-small" if asks == "embeddings" else "gpt-4o-mini",
        "tokens_in": tokens,
        "tokens_out": 0,
        "cost": 0.001 if tokens else 0,
        **changes,
    }


def helicone(
    number: int, tenant: str | None, *, asks: str = "chat", tokens: int = 1000, streamed: bool = False, **changes: Any
) -> dict[str, Any]:
    path = "embeddings" if asks == "embeddings" else "chat/completions"
    model = "text-embedding-3-small" if asks == "embeddings" else "gpt-4o-mini"
    return {
        **HELICONE,
        "request_id": f"row-{number}",
        "response_id": f"answer-{number}",
        "response_body": {},
        "request_created_at": f"2026-07-06T12:00:{number:02}Z",
        "request_user_id": "",
        "request_properties": {"tenant_id": tenant} if tenant else {},
        "properties": {},
        "request_path": f"/v1/{path}",
        "target_url": f"https://api.openai.com/v1/{path}",
        "request_model": model,
        "response_model": model,
        "model_override": None,
        "request_body": {},
        "time_to_first_token": 100 if streamed else None,
        "prompt_tokens": tokens or None,
        "completion_tokens": 0 if tokens else None,
        "total_tokens": tokens or None,
        "prompt_cache_read_tokens": None,
        "prompt_cache_write_tokens": None,
        "cost": 0.001 if tokens else None,
        **changes,
    }


def portkey(
    number: int, tenant: str | None, *, asks: str = "chat", tokens: int = 1000, streamed: bool = False, **changes: Any
) -> dict[str, Any]:
    return {
        **PORTKEY,
        "id": f"row-{number}",
        "trace_id": "",
        "created_at": f"2026-07-06T12:00:{number:02}Z",
        "metadata": {"tenant_id": tenant} if tenant else {},
        "_user": "",
        "request_url": f"https://api.openai.com/v1/{'embeddings' if asks == 'embeddings' else 'chat/completions'}",
        "ai_model": "text-embedding-3-small" if asks == "embeddings" else "gpt-4o-mini",
        "stream_mode": float(streamed),
        "req_units": tokens,
        "res_units": 0,
        "total_units": tokens,
        "cost": 0.1 if tokens else 0,
        **changes,
    }


def envoy(number: int, tenant: str | None, *, tokens: int = 1000, left: bool = False) -> dict[str, Any]:
    return {
        **ENVOY,
        "x-request-id": f"row-{number}",
        "start_time": f"2026-07-06T12:00:{number:02}.000Z",
        "x-tenant-id": tenant or "-",
        "gen_ai.usage.input_tokens": tokens or None,
        "gen_ai.usage.output_tokens": 0 if tokens else None,
        "gen_ai.usage.total_tokens": tokens or None,
        "response_flags": "DC" if left else "-",
    }


def bedrock(number: int, tenant: str | None, **_: Any) -> dict[str, Any]:
    return {
        **BEDROCK,
        "requestId": f"00000000-0000-4000-8000-0000000001{number:02}",
        "timestamp": f"2026-07-06T12:00:{number:02}Z",
        "requestMetadata": {"tenant_id": tenant} if tenant else {},
    }


TEXT_KEYS = {"litellm": litellm, "cloudflare": cloudflare, "helicone": helicone, "portkey": portkey}


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Report]:
    """Audit rows, a file for each list."""

    def run(*files: list[dict[str, Any]]) -> Report:
        paths = []
        for number, rows in enumerate(files):
            path = tmp_path / f"{number}.jsonl"
            path.write_text("\n".join(map(json.dumps, rows)))
            paths.append(str(path))
        return audit(paths, Settings(internal=Internal(environments=()))).report

    return run


def told(finding: Finding) -> tuple[str, str, str, str, int, str]:
    hop = finding.hop
    return finding.rule, hop.source, hop.target, str(hop.kind), finding.calls, str(finding.confidence)


# -- gateway-single-key ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "make", "confidence"),
    [
        ("litellm", litellm, "certain"),
        ("portkey", portkey, "certain"),
        ("cloudflare", cloudflare, "likely"),
        ("helicone", helicone, "likely"),
        ("envoy", envoy, "likely"),
    ],
)
def test_rows_without_any_tenant_are_behind_one_key(report: Any, system: str, make: Make, confidence: str) -> None:
    # Cloudflare's, Helicone's and Envoy's rows do not name the key that was used.
    (finding,) = report([make(number, None) for number in (1, 2, 3)]).findings

    assert told(finding) == ("gateway-single-key", system, system, "none", 3, confidence)


@pytest.mark.parametrize("make", [*TEXT_KEYS.values(), envoy, bedrock])
def test_rows_that_carry_their_tenant_are_healthy(report: Any, make: Make) -> None:
    done = report([make(number, tenant) for number, tenant in ((1, "acme"), (2, "globex"))])

    assert (done.findings, done.totals.direct.calls) == ((), 2)


# -- header-stripping --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "make"),
    [
        ("litellm", litellm),
        ("cloudflare", cloudflare),
        ("helicone", helicone),
        ("portkey", portkey),
        ("envoy", envoy),
    ],
)
def test_rows_whose_callers_sent_no_tenant_beside_rows_whose_did(report: Any, system: str, make: Make) -> None:
    done = report([make(1, "acme"), make(2, "globex"), make(3, None)])

    (finding,) = done.findings
    assert told(finding) == ("header-stripping", system, system, "process", 1, "likely")
    assert finding.evidence[0].startswith("the headers or metadata of 2 calls")


def test_header_that_litellm_kept_counts_as_what_the_caller_sent(report: Any) -> None:
    header = litellm(1, None)
    header["metadata"] = {**header["metadata"], "requester_custom_headers": {"x-tenant-id": "acme"}}

    (finding,) = report([header, litellm(2, None)]).findings

    assert told(finding) == ("header-stripping", "litellm", "litellm", "process", 1, "likely")


def test_team_of_a_key_says_nothing_about_headers(report: Any) -> None:
    # The tenant of the first call is the operator's knowledge; nobody ever sent one.
    keyed = litellm(1, None)
    keyed["metadata"] = {**keyed["metadata"], "user_api_key_team_id": "acme"}

    done = report([keyed, litellm(2, None)])

    assert [finding.rule for finding in done.findings] == ["gateway-single-key"]
    assert "header-stripping" in {entry.rule for entry in done.not_checked}


@pytest.mark.parametrize("make", [litellm, cloudflare, helicone, portkey, envoy, bedrock])
def test_headers_are_not_checked_where_no_row_shows_a_tenant_in_them(report: Any, make: Make) -> None:
    done = report([make(1, None)])

    (reason,) = [entry.reason for entry in done.not_checked if entry.rule == "header-stripping"]
    assert reason == "a gateway's log has no spans of the callers, and shows no tenant that they sent along"


# -- stream-span-closure -----------------------------------------------------------------------------

STREAMS: dict[str, dict[str, Any]] = {
    "litellm": litellm(1, "acme", tokens=0, streamed=True),
    "helicone": helicone(1, "acme", tokens=0, streamed=True),
    "portkey": portkey(1, "acme", tokens=0, streamed=True),
    "bifrost": {**BIFROST, "stream": True, "token_usage": None, "cost": None, "status": "processing"},
    "envoy": envoy(1, "acme", tokens=0, left=True),
}


@pytest.mark.parametrize("system", STREAMS)
def test_streams_without_usage_are_broken_streams_and_not_unlogged_spend(report: Any, system: str) -> None:
    (finding,) = report([STREAMS[system]]).findings

    assert told(finding) == ("stream-span-closure", system, system, "stream", 1, "certain")
    assert (finding.unmetered_calls, finding.unattributed_cost) == (1, 0)


@pytest.mark.parametrize("make", [litellm, helicone, portkey])
def test_streams_that_were_read_to_the_end_are_healthy(report: Any, make: Make) -> None:
    assert report([make(1, "acme", streamed=True)]).findings == ()


# -- untagged-embeddings -----------------------------------------------------------------------------


@pytest.mark.parametrize(("system", "make"), TEXT_KEYS.items())
def test_untagged_embeddings_beside_tagged_chats(report: Any, system: str, make: Make) -> None:
    (finding,) = report([make(1, "acme"), make(2, "globex"), make(3, None, asks="embeddings")]).findings

    assert told(finding) == ("untagged-embeddings", system, system, "none", 1, "certain")
    assert finding.operation == "embeddings"


@pytest.mark.parametrize("make", TEXT_KEYS.values())
def test_tagged_embeddings_are_healthy(report: Any, make: Make) -> None:
    assert report([make(1, "acme"), make(2, "acme", asks="embeddings")]).findings == ()


@pytest.mark.parametrize("make", TEXT_KEYS.values())
def test_embeddings_are_not_checked_where_there_are_none(report: Any, make: Make) -> None:
    assert ("untagged-embeddings", "no embedding or rerank calls in this input") in {
        (entry.rule, entry.reason) for entry in report([make(1, "acme")]).not_checked
    }


# -- batch-without-metadata --------------------------------------------------------------------------

BATCH_COST = litellm(
    1, None, id="batch_1_batch_cost", call_type="aretrieve_batch", metadata={**LITELLM["metadata"]}, response_cost=0.1
)
WITH_TEAM = {**BATCH_COST, "metadata": {**BATCH_COST["metadata"], "user_api_key_team_id": "acme"}}


@pytest.mark.parametrize(
    ("system", "row", "calls"),
    [("litellm", BATCH_COST, 1), ("openai", OUTPUT, 1), ("anthropic", RESULT, 1)],
)
def test_batches_that_nobody_tagged(report: Any, system: str, row: dict[str, Any], calls: int) -> None:
    (finding,) = report([row]).findings

    assert told(finding) == ("batch-without-metadata", system, system, "batch", calls, "certain")


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        (WITH_TEAM, Settings(internal=Internal(environments=()))),
        ({**OUTPUT, "custom_id": "acme:page-1"}, Settings(tenant_keys=("custom_id",))),
        ({**RESULT, "custom_id": "acme:page-1"}, Settings(tenant_keys=("custom_id",))),
    ],
)
def test_batches_that_somebody_tagged_are_healthy(tmp_path: Path, row: dict[str, Any], settings: Settings) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))

    assert audit([str(tmp_path / "rows.jsonl")], settings).report.findings == ()


@pytest.mark.parametrize("make", TEXT_KEYS.values())
def test_batches_are_not_checked_where_there_are_none(report: Any, make: Make) -> None:
    assert ("batch-without-metadata", "no batch calls in this input") in {
        (entry.rule, entry.reason) for entry in report([make(1, "acme")]).not_checked
    }


# -- unowned-traffic, and what no row can show -------------------------------------------------------


@pytest.mark.parametrize("make", [*TEXT_KEYS.values(), envoy, bedrock])
def test_every_untagged_row_is_in_exactly_one_finding(report: Any, make: Make) -> None:
    done = report([make(1, None), make(2, "acme"), make(3, None)])

    assert sum(finding.unattributed_calls for finding in done.findings) == 2
    assert sum(finding.unattributed_cost for finding in done.findings) == done.totals.unattributed.cost
    assert "unowned-traffic" in done.rules_run


@pytest.mark.parametrize("make", [*TEXT_KEYS.values(), envoy, bedrock])
def test_rules_about_paths_are_not_checked_on_rows(report: Any, make: Make) -> None:
    reasons = {entry.rule: entry.reason for entry in report([make(1, "acme")]).not_checked}

    for rule in ("async-drop", "orphaned-agent-children", "tenant-conflict", "tenant-not-copied"):
        assert reasons[rule].startswith("a gateway's log has no spans")


# -- unlogged-spend ----------------------------------------------------------------------------------

PASSED_ON = {"call_type": "pass_through_endpoint", "model": "unknown", "model_group": ""}


@pytest.mark.parametrize(
    ("system", "row", "confidence"),
    [
        ("litellm", litellm(1, "acme", tokens=0, **PASSED_ON), "certain"),
        ("litellm", litellm(1, "acme", tokens=0), "likely"),
        ("litellm", litellm(1, "acme", asks="embeddings", tokens=0), "certain"),
        ("cloudflare", cloudflare(1, "acme", tokens=0), "likely"),
        ("cloudflare", cloudflare(1, "acme", asks="embeddings", tokens=0), "certain"),
        ("helicone", helicone(1, "acme", tokens=0), "likely"),
        ("portkey", portkey(1, "acme", tokens=0), "certain"),
        ("envoy", envoy(1, "acme", tokens=0), "likely"),
    ],
)
def test_answered_calls_that_a_gateway_did_not_count(
    report: Any, system: str, row: dict[str, Any], confidence: str
) -> None:
    # Portkey says that it was no stream; the others do not.
    (finding,) = report([row]).findings

    assert told(finding) == ("unlogged-spend", system, system, "none", 1, confidence)
    assert (finding.unmetered_calls, finding.cost, finding.unattributed_cost) == (1, 0, 0)


@pytest.mark.parametrize(
    ("system", "row"),
    [
        ("litellm", litellm(1, "acme", response_cost=0.0)),
        ("portkey", portkey(1, "acme", cost=0)),
        ("cloudflare", cloudflare(1, "acme", cost=0)),
        ("helicone", helicone(1, "acme", cost=0)),
        ("bifrost", {**BIFROST, "cost": 0}),
    ],
)
def test_usage_with_a_cost_of_zero_is_a_gap_in_the_gateways_prices(report: Any, system: str, row: Any) -> None:
    done = report([row])

    (finding,) = done.findings
    assert told(finding) == ("unlogged-spend", system, system, "none", 1, "likely")
    assert (finding.cost, finding.unattributed_cost) == (done.totals.spend, 0)
    assert finding.cost > 0


@pytest.mark.parametrize(
    ("make", "changes"),
    [(litellm, {"response_cost": None}), (portkey, {"cost": None}), (cloudflare, {"cost": None}),
     (helicone, {"cost": None})],
)  # fmt: skip
def test_cost_left_out_is_a_gap_only_where_the_log_knows_others(report: Any, make: Make, changes: Any) -> None:
    assert report([make(1, "acme", **changes)]).findings == ()

    (finding,) = report([make(1, "acme", **changes), make(2, "acme")]).findings
    assert (finding.rule, finding.calls) == ("unlogged-spend", 1)


def test_estimate_of_what_was_not_counted_comes_from_like_calls(report: Any) -> None:
    # 1,000 and 3,000 tokens of gpt-4o-mini at USD 0.15 a million.
    rows = [portkey(1, "acme"), portkey(2, "acme", tokens=3000), portkey(3, "acme", tokens=0)]

    (finding,) = report(rows).findings

    assert finding.unmetered_estimate is not None
    assert (finding.unmetered_estimate.low, finding.unmetered_estimate.high) == (150_000_000, 450_000_000)


HEALTHY: dict[str, dict[str, Any]] = {
    "litellm cache hit": litellm(1, "acme", cache_hit=True, response_cost=0.0),
    "litellm failure": litellm(1, "acme", tokens=0, status="failure"),
    "litellm failure with tokens": litellm(1, "acme", status="failure", response_cost=0.0),
    "litellm moderation": litellm(1, "acme", tokens=0, call_type="amoderation", model="omni-moderation-latest"),
    "litellm image": litellm(1, "acme", tokens=0, call_type="aimage_generation", model="m", response_cost=0.04),
    "litellm own machine": litellm(1, "acme", custom_llm_provider="ollama", model="ollama/llama3", response_cost=0.0),
    "cloudflare cache hit": cloudflare(1, "acme", cached=True, cost=0),
    "cloudflare failure": cloudflare(1, "acme", tokens=0, success=False, status_code=500),
    "portkey cache hit": portkey(1, "acme", cache_status="HIT", cost=0),
    "portkey failure": portkey(1, "acme", tokens=0, is_success=0, response_status_code=500),
    "bedrock never tells cost": bedrock(1, "acme"),
    "envoy never tells cost": envoy(1, "acme"),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_costs_nothing_or_is_billed_by_the_piece_is_not_unlogged(report: Any, name: str) -> None:
    # Another call keeps the input from being empty of calls that are billed.
    make = {"litellm": litellm, "cloudflare": cloudflare, "portkey": portkey, "bedrock": bedrock, "envoy": envoy}

    assert report([HEALTHY[name], make[name.partition(" ")[0]](9, "acme")]).findings == ()


def test_polls_of_a_batch_and_its_creation_are_no_calls(report: Any) -> None:
    created = litellm(1, "acme", tokens=0, call_type="acreate_batch")
    poll = litellm(2, "acme", tokens=0, call_type="aretrieve_batch")

    done = report([created, poll, litellm(3, "acme")])

    assert (done.totals.calls, done.findings) == (1, ())


def test_untagged_call_that_was_not_counted_is_first_of_all_untagged(report: Any) -> None:
    (finding,) = report([litellm(1, None, tokens=0, **PASSED_ON)]).findings

    assert finding.rule == "gateway-single-key"
    assert finding.also_fits == ("unlogged-spend",)


def test_spans_alone_are_no_log_of_a_gateway() -> None:
    path = Path(__file__).parents[2] / "fixtures" / "rules" / "tenant_not_copied" / "good_copied_from_baggage.json"

    done = audit([str(path)], Settings()).report

    assert ("unlogged-spend", "no gateway's log in this input") in {
        (entry.rule, entry.reason) for entry in done.not_checked
    }
