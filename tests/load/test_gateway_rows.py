"""Gateway logs and provider records, trap by trap: formats-gateways §1.5 to §1.9, §2 and §4."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.load.formats import FORMATS
from auditor.settings import Internal, Settings
from builders import Audited, audit_bytes

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples" / "gateways"
PRODUCTION = Settings(internal=Internal(environments=()))


def sample(name: str) -> Any:
    """A sample as it is; the rows of JSON lines as a list."""
    text = (SAMPLES / name).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


OPENROUTER: dict[str, Any] = sample("openrouter_generation.json")["data"]
PORTKEY: dict[str, Any] = sample("portkey_log_export.jsonl")[0]
METRIC: dict[str, Any] = sample("portkey_metric_record.json")
CLOUDFLARE: dict[str, Any] = sample("cloudflare_ai_gateway_logs.json")["result"][0]
BEDROCK: list[dict[str, Any]] = sample("bedrock_model_invocation_log.jsonl")
KONG: dict[str, Any] = {
    "request": {"id": "req-1", "headers": {}, "uri": "/v1/chat/completions"},
    "response": {"status": 200},
    "started_at": 1783339200000,
    "ai": {
        "proxy": {
            "meta": {"request_model": "gpt-4o-mini", "provider_name": "openai", "llm_latency": 1400},
            "usage": {"prompt_tokens": 500, "completion_tokens": 500, "total_tokens": 1000, "cost": 0},
        }
    },
}
ENVOY: dict[str, Any] = sample("envoy_ai_gateway_access_log.jsonl")[0]
BIFROST: dict[str, Any] = sample("bifrost_logs.json")["logs"][1]
DATABRICKS: dict[str, Any] = sample("databricks_endpoint_usage.json")[1]
APIM: list[dict[str, Any]] = sample("azure_apim_llm_log.json")
DIAGNOSTIC: dict[str, Any] = sample("azure_openai_diagnostic_requestresponse.json")
VERTEX: dict[str, Any] = sample("vertex_request_response_log.json")[0]
TENSORZERO: dict[str, list[dict[str, Any]]] = sample("tensorzero_rows.json")
CHAT: dict[str, Any] = sample("openai_chat_completion.json")
RESPONSE: dict[str, Any] = sample("openai_response_object.json")
INPUT: list[dict[str, Any]] = sample("openai_batch_input.jsonl")
OUTPUT: list[dict[str, Any]] = sample("openai_batch_output.jsonl")
JOB: dict[str, Any] = sample("openai_batch_object.json")
RESULTS: list[dict[str, Any]] = sample("anthropic_batch_results.jsonl")


def without(row: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    """Audit documents, each a file: a dict is one object, a list one object a line, bytes are as they are."""

    def run(*documents: Any, settings: Settings = PRODUCTION) -> Audited:
        data = []
        for document in documents:
            rows = document if isinstance(document, list) else [document]
            data.append(document if isinstance(document, bytes) else "\n".join(map(json.dumps, rows)).encode())
        return audit_bytes(tmp_path, *data, settings=settings)

    return run


# -- what looks like a tenant and is not -------------------------------------------------------------

UNTAGGED = {**BIFROST, "customer_id": None, "team_id": None, "metadata": {}}
BLOB = '{"device_id":"d","account_uuid":"a","session_id":"s"}'
FALSE_FRIENDS: dict[str, Any] = {
    "openrouter workspace": {**OPENROUTER, "external_user": None, "workspace_id": "acme"},
    "openrouter app": {**OPENROUTER, "external_user": None, "app_id": 7},
    "openrouter origin": {**OPENROUTER, "external_user": None, "origin": "https://acme.example.test"},
    "openrouter session": {**OPENROUTER, "external_user": None, "session_id": "acme"},
    "openrouter user blob": {**OPENROUTER, "external_user": BLOB},
    "portkey organisation": {**METRIC, "metadata": {}, "_user": "", "organisation_id": "acme"},
    "portkey organisation name": {**METRIC, "metadata": {}, "_user": "", "organisation_name": "acme"},
    "portkey workspace": {**METRIC, "metadata": {}, "_user": "", "workspace_slug": "acme"},
    "portkey virtual key": {**METRIC, "metadata": {}, "_user": "", "virtual_key": "acme"},
    "portkey trace": {**METRIC, "metadata": {}, "_user": "", "trace_id": "acme"},
    "portkey config": {**METRIC, "metadata": {}, "_user": "", "config": "acme"},
    "cloudflare gateway": {**CLOUDFLARE, "metadata": None, "gateway": "acme"},
    "cloudflare user in metadata": {**CLOUDFLARE, "metadata": '{"user":"acme"}'},
    "bedrock account": without(BEDROCK[1], "requestMetadata") | {"accountId": "acme"},
    "bedrock role session": BEDROCK[1] | {"identity": {"arn": "arn:aws:sts::1:assumed-role/backend/acme"}},
    "bedrock region": BEDROCK[1] | {"inferenceRegion": "acme"},
    "kong consumer": {**KONG, "consumer": {"id": "c", "username": "acme", "custom_id": "acme"}},
    "kong workspace": {**KONG, "workspace": "acme", "workspace_name": "acme"},
    "kong route": {**KONG, "route": {"name": "acme"}, "service": {"name": "acme"}},
    "kong entra tenant": {**KONG, "ai": {"proxy": {**KONG["ai"]["proxy"], "azure_tenant_id": "acme"}}},
    "envoy authority": {**ENVOY, ":authority": "acme.example.test", "x-forwarded-for": "acme"},
    "envoy empty tenant": {**ENVOY, "x-tenant-id": "-"},
    "envoy backend": {**ENVOY, "gen_ai.provider.name": "acme/route/rule/0"},
    "bifrost virtual key": {**UNTAGGED, "virtual_key_name": "acme"},
    "bifrost business unit": {**UNTAGGED, "business_unit_id": "acme"},
    "bifrost several customers": {**UNTAGGED, "customer_id": "a", "customer_ids": ["a", "b"]},
    "databricks requester": {**DATABRICKS, "requester": "acme"},
    "databricks account": {**DATABRICKS, "account_id": "acme"},
    "databricks workspace": {**DATABRICKS, "workspace_id": "acme"},
    "azure log workspace": APIM[0],
    "azure subscription": [APIM[0], APIM[2]],
    "azure product and user": [APIM[0], {**APIM[2], "ProductId": "acme", "UserId": "acme"}],
    "azure region": {**DIAGNOSTIC, "tenant": "acme"},
    "azure entra caller": {**DIAGNOSTIC, "properties": json.dumps({"objectId": "acme", "modelName": "gpt-4o-mini"})},
    "vertex endpoint": {**VERTEX, "full_request": {}, "endpoint": "projects/acme/locations/x"},
    "openai safety identifier": {**RESPONSE, "metadata": {}, "safety_identifier": "acme"},
    "openai cache key": {**RESPONSE, "metadata": {}, "prompt_cache_key": "acme"},
    "openai user blob": {**CHAT, "metadata": {}, "user": BLOB},
    "openai batch custom id": [{**OUTPUT[0], "custom_id": "acme:doc-1"}],
    "anthropic batch custom id": [{**RESULTS[0], "custom_id": "acme:doc-1"}],
    "tensorzero episode": {"ModelInference": TENSORZERO["ModelInference"],
                           "ChatInference": [{**TENSORZERO["ChatInference"][0], "tags": {}}]},
}  # fmt: skip


@pytest.mark.parametrize("document", FALSE_FRIENDS.values(), ids=FALSE_FRIENDS)
def test_what_looks_like_a_tenant_and_is_not(audited: Any, document: Any) -> None:
    (row,) = audited(document).rows

    assert (row["carried_tenant_id"], row["tenant_id"]) == (None, None)


DECLARED: dict[str, tuple[Any, str, str]] = {
    "openrouter workspace": ({**OPENROUTER, "workspace_id": "acme"}, "workspace_id", "acme"),
    "portkey workspace": ({**METRIC, "workspace_slug": "acme"}, "workspace_slug", "acme"),
    "bedrock account": (BEDROCK[1], "accountId", "111122223333"),
    "bedrock profile": (BEDROCK[0], "modelId", BEDROCK[0]["modelId"]),
    "kong consumer": ({**KONG, "consumer": {"custom_id": "acme"}}, "consumer.custom_id", "acme"),
    "kong workspace": ({**KONG, "workspace_name": "acme"}, "workspace_name", "acme"),
    "bifrost virtual key": (BIFROST, "virtual_key_id", "vk-1"),
    "databricks requester": (DATABRICKS, "requester", "svc@example.test"),
    "azure subscription": ([APIM[0], APIM[2]], "ApimSubscriptionId", "sub-acme"),
    "openai batch custom id": ([OUTPUT[0]], "custom_id", "acme"),
    "anthropic batch custom id": ([RESULTS[0]], "custom_id", "acme"),
}


@pytest.mark.parametrize(("document", "key", "tenant"), DECLARED.values(), ids=DECLARED)
def test_settings_make_a_field_of_a_log_the_tenant(audited: Any, document: Any, key: str, tenant: str) -> None:
    (row,) = audited(document, settings=Settings(tenant_keys=(key,))).rows

    assert row["carried_tenant_id"] == tenant


def test_custom_id_without_a_prefix_names_nobody(audited: Any) -> None:
    (row,) = audited([OUTPUT[1]], settings=Settings(tenant_keys=("custom_id",))).rows

    assert row["carried_tenant_id"] is None


@pytest.mark.parametrize(
    "document",
    [
        {**KONG, "request": {**KONG["request"], "headers": {"X-Tenant-Id": "acme"}}},
        {**ENVOY, "x-tenant-id": "acme"},
        {**ENVOY, "tenant.id": "acme"},
        {**BIFROST, "customer_id": "acme", "team_id": "t", "metadata": {}},
        {**BIFROST, "customer_id": None, "team_id": "acme", "metadata": None},
        {**BIFROST, "customer_id": None, "customer_ids": ["acme"], "team_id": "t", "metadata": {}},
        {**DATABRICKS, "usage_context": {"tenant_id": "acme"}},
        {**without(DATABRICKS, "input_token_count"), "request_tags": {"tenant_id": "acme"}, "destination_model": "m"},
        {**METRIC, "metadata": {"key": ["_organisation"], "value": ["acme"]}},
        {**without(PORTKEY, "metadata"), "request": PORTKEY["request"]},
        {**OPENROUTER, "trace": {"tenant_id": "acme"}},
        {**CLOUDFLARE, "metadata": {"tenant_id": "acme"}},
        {**VERTEX, "full_request": json.dumps(VERTEX["full_request"])},
    ],
)
def test_tenants_that_logs_carry(audited: Any, document: Any) -> None:
    (row,) = audited(document).rows

    assert row["carried_tenant_id"] == "acme"


# -- OpenRouter --------------------------------------------------------------------------------------


def test_openrouter_bills_native_counts_and_one_call_whatever_was_tried(audited: Any) -> None:
    # Two providers were asked; the normalised counts are 1,189 and 148.
    (row,) = audited(OPENROUTER).rows

    assert (row["input_tokens"], row["output_tokens"], row["failed"]) == (1200, 150, False)


def test_openrouter_fee_and_the_callers_own_provider_add_up(audited: Any) -> None:
    own_key = {**OPENROUTER, "is_byok": True, "total_cost": 0.00001, "upstream_inference_cost": 0.0002}

    (row,) = audited(own_key, settings=Settings(cost_source="reported")).rows

    assert row["cost_usd"] == "0.00021"


@pytest.mark.parametrize(
    ("changes", "usage"),
    [
        ({"cancelled": True, "native_tokens_prompt": None, "native_tokens_completion": None,
          "native_tokens_cached": None}, "missing"),
        ({"cancelled": True}, "partial"),
        ({"response_cache_source_id": "gen-0"}, "not_billed"),
        ({"provider_responses": [{"status": 503}, {"status": 429}], "native_tokens_prompt": 0,
          "native_tokens_completion": 0, "native_tokens_cached": 0}, "not_billed"),
    ],
)  # fmt: skip
def test_openrouter_states(audited: Any, changes: dict[str, Any], usage: str) -> None:
    assert audited({**OPENROUTER, **changes}).rows[0]["usage_status"] == usage


@pytest.mark.parametrize(
    "document",
    [
        (SAMPLES / "openrouter_activity.json").read_bytes(),
        b"date,model,model_permaslug,requests,usage\n2026-07-06,m,m-1,42,0.0125\n",
    ],
)
def test_openrouter_activity_is_refused_as_sums(audited: Any, document: bytes) -> None:
    with pytest.raises(InputError, match="activity sums the calls of a day") as raised:
        audited(document)

    assert "generation records" in str(raised.value.hint)


# -- Portkey -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "usage"),
    [("HIT", "not_billed"), ("SEMANTIC HIT", "not_billed"), ("hit", "not_billed"), ("MISS", "complete"),
     ("DISABLED", "complete")],
)  # fmt: skip
def test_portkey_cache(audited: Any, status: str, usage: str) -> None:
    assert audited({**METRIC, "cache_status": status}).rows[0]["usage_status"] == usage


@pytest.mark.parametrize(("trace", "joins"), [("conv-88", True), ("6f1e0f0e-2222-4222-8333-aaaaaaaaaaaa", False)])
def test_portkey_trace_is_a_session_unless_made_up(audited: Any, trace: str, joins: bool) -> None:
    tagged = {**PORTKEY, "trace_id": trace}
    other = {**PORTKEY, "id": "other", "trace_id": trace, "metadata": {}, "request": {"body": {}},
             "response": {"status": 200, "body": {**PORTKEY["response"]["body"], "id": "chatcmpl-2"}}}  # fmt: skip

    found = {row["call_id"]: row for row in audited([tagged, other]).rows}

    # Rows of one trace id are attempts of one request either way; a session says more than that.
    assert found["other"]["recovered_by"] == ("session" if joins else "trace")


def test_portkey_failed_and_retried_inside_one_row(audited: Any) -> None:
    failed = {**METRIC, "is_success": 0.0, "response_status_code": 429.0, "req_units": 0, "res_units": 0}
    retried = {**METRIC, "retry_success_count": "2", "mode": "FALLBACK"}

    assert audited(failed).rows[0]["usage_status"] == "not_billed"
    assert len(audited(retried).rows) == 1


def test_portkey_log_file_is_priced_from_the_answer_inside(audited: Any) -> None:
    blob = {
        "_id": "log-1",
        "organisation_id": "org-1",
        "created_at": "2026-07-06T12:00:00Z",
        "request": {**PORTKEY["request"], "url": "https://api.openai.com/v1/chat/completions"},
        "response": PORTKEY["response"],
    }

    (row,) = audited(blob).rows

    assert (row["cost_usd"], row["carried_tenant_id"], row["call_id"]) == ("0.0001932", "acme", "log-1")


# -- Cloudflare --------------------------------------------------------------------------------------


def test_cloudflare_steps_of_a_fallback_are_calls_of_their_own(audited: Any) -> None:
    first = {**CLOUDFLARE, "id": "a", "success": False, "status_code": 500, "tokens_in": 0, "tokens_out": 0}
    second = {**CLOUDFLARE, "id": "b", "step": 1}

    assert [row["usage_status"] for row in audited([first, second]).rows] == ["not_billed", "complete"]


def test_cloudflare_logpush_is_refused_with_a_hint(audited: Any) -> None:
    with pytest.raises(InputError, match="Logpush") as raised:
        audited({"Gateway": "g", "Provider": "openai", "Model": "m", "StatusCode": 200, "Metadata": {"data": "x"}})

    assert "logs API" in str(raised.value.hint)


def test_cloudflare_answer_without_tokens_is_unmetered(audited: Any) -> None:
    (row,) = audited({**CLOUDFLARE, "tokens_in": None, "tokens_out": None, "cost": None}).rows

    assert (row["usage_status"], row["cost_usd"]) == ("missing", None)


# -- Bedrock -----------------------------------------------------------------------------------------


def test_bedrock_profile_is_priced_through_an_alias(audited: Any, tmp_path: Path) -> None:
    # 176 x 1 + 1024 x 0.10 + 150 x 5, a tenth more in a region of its own.
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'version = 1\ncurrency = "USD"\n[[model_aliases]]\nprovider = "aws"\n'
        f'match = "{BEDROCK[0]["modelId"]}"\nmodel = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"\n'
    )

    (row,) = audited(BEDROCK[0], settings=Settings(pricing=prices)).rows

    assert row["cost_usd"] == "0.00113124"


@pytest.mark.parametrize("key", ["message", "@message"])
def test_bedrock_log_is_read_out_of_cloudwatch(audited: Any, key: str) -> None:
    (row,) = audited({"@timestamp": "2026-07-06 12:00:02.000", key: json.dumps(BEDROCK[1])}).rows

    assert (row["call_id"], row["input_tokens"]) == (BEDROCK[1]["requestId"], 1200)


@pytest.mark.parametrize(
    ("operation", "streamed"),
    [("Converse", False), ("InvokeModel", False), ("ConverseStream", True), ("InvokeModelWithResponseStream", True)],
)
def test_bedrock_operation_tells_streams(audited: Any, operation: str, *, streamed: bool) -> None:
    assert audited({**BEDROCK[1], "operation": operation}).rows[0]["streamed"] is streamed


# -- batches -----------------------------------------------------------------------------------------


def test_openai_batch_request_knows_its_tenant_by_the_input_file(audited: Any) -> None:
    found = {row["call_id"]: row for row in audited(OUTPUT, INPUT).rows}

    first, second = found["batch_req_001"], found["batch_req_002"]
    assert (first["tenant_id"], first["status"], first["recovered_by"]) == ("acme", "recoverable", "request_id")
    assert (second["status"], second["rule"]) == ("lost", "batch-without-metadata")


def test_openai_batches_with_the_same_custom_ids_and_other_tenants_are_not_mixed_up(audited: Any) -> None:
    other = [{**INPUT[0], "body": {**INPUT[0]["body"], "metadata": {"tenant_id": "globex"}}}]

    found = {row["call_id"]: row for row in audited(OUTPUT, INPUT, other).rows}

    assert (found["batch_req_001"]["status"], found["batch_req_001"]["tenant_id"]) == ("lost", None)


def test_openai_batch_object_before_its_lines_names_the_tenant_of_all(audited: Any) -> None:
    document = json.dumps({**JOB, "metadata": {"tenant_id": "acme"}}, indent=1).encode() + b"\n"

    done = audited(document + "\n".join(map(json.dumps, OUTPUT)).encode())

    assert [(row["tenant_id"], row["recovered_by"]) for row in done.rows] == [("acme", "batch_id")] * 2


def test_openai_batch_requests_of_one_size_are_two(audited: Any) -> None:
    body = {**OUTPUT[0]["response"]["body"], "id": "chatcmpl-b9"}
    twin = {
        **OUTPUT[0],
        "id": "batch_req_009",
        "custom_id": "doc-9",
        "response": {**OUTPUT[0]["response"], "body": body},
    }

    done = audited("\n".join(map(json.dumps, [JOB, OUTPUT[0], twin])).encode())

    assert done.report.totals.spend == 2 * 42_000_000


def test_openai_batch_of_embeddings_is_complete_without_output(audited: Any) -> None:
    # 1000 x 0.02 / 1e6 / 2
    body = {"object": "list", "model": "text-embedding-3-small", "usage": {"prompt_tokens": 1000, "total_tokens": 1000}}
    line = {**OUTPUT[0], "response": {"status_code": 200, "body": body}}

    (row,) = audited(line).rows

    assert (row["usage_status"], row["cost_usd"]) == ("complete", "0.00001")


def test_rows_of_two_systems_with_one_id_are_two_calls(audited: Any) -> None:
    kong = {**KONG, "request": {**KONG["request"], "id": "req-6"}}
    bifrost = {**BIFROST, "id": "req-6", "timestamp": "2026-07-06T18:00:00Z"}

    assert len(audited(kong, bifrost).rows) == 2


def test_openai_batch_input_and_object_are_no_calls(audited: Any) -> None:
    with pytest.raises(InputError, match="no model call"):
        audited(JOB, INPUT)


def test_openai_batch_request_that_expired_is_not_billed(audited: Any) -> None:
    done = audited(OUTPUT, sample("openai_batch_error.jsonl"))

    found = {row["call_id"]: row for row in done.rows}
    assert (found["batch_req_003"]["usage_status"], found["batch_req_003"]["failed"]) == ("not_billed", True)
    # The batch's own usage: 820 and 78 tokens.
    assert sum(row["input_tokens"] or 0 for row in done.rows) == JOB["usage"]["input_tokens"]
    assert sum(row["output_tokens"] or 0 for row in done.rows) == JOB["usage"]["output_tokens"]


def test_batch_line_of_litellm_and_of_openai_are_one_call(audited: Any) -> None:
    item = json.loads((SAMPLES.parent / "litellm_batch_line_items_part-00000.jsonl").read_text("utf-8"))
    item["response"]["body"]["created"] = OUTPUT[0]["response"]["body"]["created"]

    done = audited(item, [OUTPUT[0]])

    assert done.report.totals.spend == 42_000_000


def test_anthropic_batch_splits_cache_writes_by_lifetime(audited: Any) -> None:
    # (10 x 1 + 1000 x 1.25 + 2000 x 2 + 100 x 5) / 1e6 / 2
    message = RESULTS[0]["result"]["message"]
    usage = {
        "input_tokens": 10, "cache_creation_input_tokens": 3000, "cache_read_input_tokens": 0, "output_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
    }  # fmt: skip
    line = {**RESULTS[0], "result": {"type": "succeeded", "message": {**message, "usage": usage}}}

    (row,) = audited(line).rows

    assert (row["input_tokens"], row["cache_write_tokens"], row["cost_usd"]) == (3010, 3000, "0.00288")


# -- plain answers -----------------------------------------------------------------------------------


def test_answers_of_both_providers_one_a_line(audited: Any) -> None:
    message = sample("anthropic_message.json")
    embeddings = {"object": "list", "data": [{"embedding": [0.1]}], "model": "text-embedding-3-small",
                  "usage": {"prompt_tokens": 500, "total_tokens": 500}}  # fmt: skip

    rows = audited([CHAT, message, embeddings, {**RESPONSE, "id": "resp_2"}]).rows

    assert sorted((row["provider"], row["operation"], row["input_tokens"]) for row in rows) == [
        ("anthropic", "chat", 130213), ("openai", "chat", 1200), ("openai", "chat", 1200),
        ("openai", "embeddings", 500),
    ]  # fmt: skip


def test_same_answer_twice_counts_once(audited: Any) -> None:
    assert len(audited([CHAT, CHAT], [CHAT]).rows) == 1


# -- Kong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [KONG, json.dumps([KONG]).encode(), {**KONG, "ai": {"ai-proxy-advanced": KONG["ai"]["proxy"]}}],
)
def test_kong_versions_and_batches(audited: Any, document: Any) -> None:
    (row,) = audited(document).rows

    assert (row["call_id"], row["input_tokens"], row["cost_usd"], row["time"]) == (
        "req-1", 500, "0.000375", "2026-07-06T12:00:00.000000000Z",
    )  # fmt: skip


def test_kong_targets_that_were_tried_are_one_call(audited: Any) -> None:
    tried = {**KONG["ai"]["proxy"], "tried_targets": [{"provider": "openai"}, {"provider": "azure"}]}

    assert len(audited({**KONG, "ai": {"proxy": tried}}).rows) == 1


def test_kong_tool_calls_are_no_model_calls(audited: Any) -> None:
    tool = {"request": {"id": "t"}, "ai": {"mcp": {"rpc": [{"method": "tools/call"}]}}}

    done = audited([tool, KONG])

    assert ([row["call_id"] for row in done.rows], done.report.inputs[0].rejected) == (["req-1"], 0)


# -- Envoy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "usage"),
    [
        ({"gen_ai.usage.input_tokens": "15", "gen_ai.usage.output_tokens": "7"}, "complete"),
        ({"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None, "response_flags": "DC"}, "missing"),
        ({"gen_ai.usage.input_tokens": "-", "gen_ai.usage.output_tokens": "-"}, "missing"),
        ({"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None, "response_code": 503}, "not_billed"),
    ],
)
def test_envoy_counts(audited: Any, changes: dict[str, Any], usage: str) -> None:
    assert audited({**ENVOY, **changes}).rows[0]["usage_status"] == usage


# -- Bifrost, TensorZero, Databricks -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "usage"),
    [
        ({"status": "processing", "token_usage": None, "cost": None}, "missing"),
        ({"status": "error", "token_usage": None, "cost": None}, "not_billed"),
        ({"cache_debug": {"cache_hit": True}}, "not_billed"),
        ({"number_of_retries": 3}, "complete"),
    ],
)
def test_bifrost_states(audited: Any, changes: dict[str, Any], usage: str) -> None:
    (row,) = audited({**BIFROST, **changes}).rows

    assert row["usage_status"] == usage


def test_tensorzero_tables_as_lines_in_any_order(audited: Any) -> None:
    (row,) = audited([*TENSORZERO["ModelInference"], *TENSORZERO["ChatInference"]]).rows

    assert (row["carried_tenant_id"], row["feature"]) == ("acme", "summarise")


def test_tensorzero_calls_without_their_inferences_have_no_tenant(audited: Any) -> None:
    (row,) = audited(TENSORZERO["ModelInference"]).rows

    assert (row["carried_tenant_id"], row["input_tokens"]) == (None, 1200)


def test_tensorzero_two_calls_of_one_inference_are_two(audited: Any) -> None:
    call = TENSORZERO["ModelInference"][0]
    tables = {**TENSORZERO, "ModelInference": [call, {**call, "id": "0197dd00-0000-7000-8000-0000000000a2"}]}

    assert [row["carried_tenant_id"] for row in audited(tables).rows] == ["acme", "acme"]


def test_databricks_sample_of_payloads_is_rejected(audited: Any) -> None:
    done = audited([DATABRICKS, {**DATABRICKS, "databricks_request_id": "d-9", "sampling_fraction": 0.1}])

    assert [place.reason for place in done.report.inputs[0].rejections] == [
        "a sample of the calls: sampling_fraction is below 1"
    ]


# -- Azure, Vertex AI --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_azure_rows_of_one_call_are_put_together(audited: Any, order: tuple[int, ...]) -> None:
    # Some exports repeat the counts on every row of a call.
    rows = [APIM[0], {**APIM[1], "PromptTokens": 1200, "CompletionTokens": 150, "TotalTokens": 1350}, APIM[2]]

    done = audited([rows[number] for number in order], settings=Settings(tenant_keys=("ApimSubscriptionId",)))

    assert [(row["input_tokens"], row["output_tokens"], row["carried_tenant_id"]) for row in done.rows] == [
        (1200, 150, "sub-acme")
    ]


def test_azure_tables_in_two_files_meet_by_correlation(audited: Any) -> None:
    (row,) = audited(APIM[:2], APIM[2:], settings=Settings(tenant_keys=("ApimSubscriptionId",))).rows

    assert (row["tenant_id"], row["recovered_by"]) == ("sub-acme", "request_id")


@pytest.mark.parametrize("wrap", [lambda rows: rows, json.dumps])
def test_vertex_stream_has_its_usage_in_the_last_part(audited: Any, wrap: Any) -> None:
    response = VERTEX["full_response"]
    early = {**response, "usageMetadata": {"promptTokenCount": 1200, "candidatesTokenCount": 1}}

    (row,) = audited({**VERTEX, "full_response": wrap([early, response])}).rows

    assert (row["input_tokens"], row["output_tokens"], row["streamed"]) == (1200, 450, True)


def test_vertex_report_says_that_the_log_may_be_a_sample(audited: Any) -> None:
    (note,) = audited(VERTEX).report.inputs[0].notes

    assert "sample" in note


@pytest.mark.parametrize(("rows", "cut"), [(2, False), (3, True), (4, False)])
def test_export_that_ends_on_its_cap_is_reported_as_cut_off(
    audited: Any, monkeypatch: pytest.MonkeyPatch, rows: int, *, cut: bool
) -> None:
    assert {form.name: form.cap for form in FORMATS if form.cap} == {"litellm-spend-logs": 10_000, "portkey": 50_000}
    monkeypatch.setattr("auditor.load.joined.FORMATS", [replace(form, cap=3) for form in FORMATS])

    done = audited([{**METRIC, "id": f"r-{number}"} for number in range(rows)])

    assert bool(done.report.inputs[0].notes) is cut


# -- any record --------------------------------------------------------------------------------------

ROWS: dict[str, dict[str, Any]] = {
    "openrouter": OPENROUTER, "portkey": PORTKEY, "metric": METRIC, "cloudflare": CLOUDFLARE, "bedrock": BEDROCK[0],
    "kong": KONG, "envoy": ENVOY, "bifrost": BIFROST, "databricks": DATABRICKS, "azure": APIM[0],
    "diagnostic": DIAGNOSTIC, "vertex": VERTEX, "tensorzero": TENSORZERO["ModelInference"][0], "chat": CHAT,
    "response": RESPONSE, "batch": OUTPUT[0], "result": RESULTS[0],
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("value", [None, True, -1.5, 1e300, "text", '{"a"', [], [1], {}, {"a": 1}])
def test_wrong_type_in_any_field_costs_no_other_row(audited: Any, name: str, value: Any) -> None:
    row = ROWS[name]
    odd = [{**row, key: value} for key in row]

    done = audited([row, *odd])

    alone = audited(row).rows[0]["call_id"]
    assert alone in {entry["call_id"] for entry in done.rows}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("junk", ["5", '"text"', "[5]", "null"])
def test_junk_between_rows_is_counted(audited: Any, name: str, junk: str) -> None:
    line = json.dumps(ROWS[name])

    done = audited(f"{line}\n{junk}\n{line}\n".encode())

    assert (len(done.rows), done.report.inputs[0].rejected) == (1, 1)
