"""One story in every format: the same calls give the same ledger, whichever gateway logged them.

The calls are those of ``fixtures/exports/samples/SOURCES.md``. Where a format cannot tell what the others tell, the
difference is written down beside it, with its reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.ledger.calls import call_rows
from auditor.pipeline import audit
from auditor.settings import Internal, Settings

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
PRODUCTION = Settings(internal=Internal(environments=()))
FIELDS = (
    "operation", "input_tokens", "cache_read_tokens", "output_tokens", "usage_status", "cost_usd", "carried_tenant_id",
)  # fmt: skip

CACHED = ("chat", 1200, 1024, 150, "complete", "0.0001932", "acme")
"""Call 1: (176 x 0.15 + 1024 x 0.075 + 150 x 0.60) / 1e6."""
SHARED = ("chat", 500, 0, 500, "complete", "0.000375", None)
"""Call 2: (500 x 0.15 + 500 x 0.60) / 1e6."""
BROKEN = ("chat", None, None, None, "missing", None, None)
"""Call 3."""
EMBEDDED = ("embeddings", 500, 0, 0, "complete", "0.00001", None)
"""Call 4: 500 x 0.02 / 1e6."""
REPLAYED = ("chat", 1200, 1024, 150, "not_billed", "0", "acme")
"""Call 5."""
TIMED_OUT = ("chat", None, None, None, "not_billed", "0", None)
"""Call 6, first attempt."""
FELL_BACK = ("chat", 1015, 0, 95, "complete", "0.00149", None)
"""Call 6, second attempt: (1015 x 1 + 95 x 5) / 1e6."""
PASSED = ("chat", None, None, None, "missing", None, None)
"""Call 8."""


def but(call: tuple[Any, ...], **changes: Any) -> tuple[Any, ...]:
    """A call of the story as a format tells it that lacks something."""
    return tuple(changes.get(name, value) for name, value in zip(FIELDS, call, strict=True))


# Without the cached part all input is at the full rate: (1200 x 0.15 + 150 x 0.60) / 1e6.
NO_CACHE_COUNTS = {"cache_read_tokens": 0, "cost_usd": "0.00027"}
# The gateway's estimate takes the place of what was lost: (180 x 0.15 + 106 x 0.60) / 1e6.
ESTIMATED = but(BROKEN, input_tokens=180, cache_read_tokens=0, output_tokens=106, usage_status="complete",
                cost_usd="0.0000906")  # fmt: skip
LITELLM = {
    "chatcmpl-0001": CACHED,
    "chatcmpl-0002": SHARED,
    "chatcmpl-0003": ESTIMATED,
    "5d0e9c1a-0004": EMBEDDED,
    # Only the key's team is known on the row that the cache answered.
    "chatcmpl-0001_cache_hit1783339216.2": but(REPLAYED, carried_tenant_id="team_acme"),
    "chatcmpl-0006": TIMED_OUT,
    "msg_0006b": FELL_BACK,
    # Call 7: (40000 x 0.15 + 4000 x 0.60) / 1e6 / 2.
    "batch_0007_batch_cost": ("batch", 40000, 0, 4000, "complete", "0.0042", None),
    "9b1f77aa-0008": PASSED,
}
STORY: dict[str, dict[str, tuple[Any, ...]]] = {
    "litellm_standard_logging_payload.jsonl": LITELLM,
    "litellm_spend_logs_rows.json": LITELLM,
    # Call 7, one request of it: (400 x 0.15 + 40 x 0.60) / 1e6 / 2.
    "litellm_batch_line_items_part-00000.jsonl": {
        "batch_0007/acme:doc-1": ("batch", 400, 0, 40, "complete", "0.000042", None)
    },
    "gateways/helicone_requests.jsonl": {
        f"1a2b3c4d-0000-4000-8000-00000000000{number}": call
        for number, call in enumerate((CACHED, SHARED, BROKEN, EMBEDDED, REPLAYED), start=1)
    },
    # The CSV export has neither models nor cached tokens.
    "gateways/helicone_export.csv": {
        "6f0c1d2e-0000-4000-8000-000000000001": but(CACHED, input_tokens=176, cache_read_tokens=0, cost_usd=None),
        "6f0c1d2e-0000-4000-8000-000000000002": but(SHARED, cost_usd=None),
    },
    # A generation has no metadata: the user that the caller named is all that is known.
    "gateways/openrouter_generation.json": {"gen-1783339200-abc": but(CACHED, carried_tenant_id="acme:u_17")},
    "gateways/portkey_log_export.jsonl": {
        "0b2f8a1e-1111-4222-8333-000000000001": CACHED,
        "0b2f8a1e-1111-4222-8333-000000000003": BROKEN,
    },
    "gateways/portkey_metric_record.json": {"0b2f8a1e-1111-4222-8333-000000000001": but(CACHED, **NO_CACHE_COUNTS)},
    "gateways/cloudflare_ai_gateway_logs.json": {
        "01K0ABCDEFGHJKMNPQRSTVWXYZ": but(CACHED, **NO_CACHE_COUNTS),
        # The metadata of the second log is null.
        "01K0ABCDEFGHJKMNPQRSTVWXZ0": but(REPLAYED, cache_read_tokens=0, carried_tenant_id=None),
    },
    # Other models: the profile's ARN hides one, Claude Haiku 4.5 costs a tenth more in a region of its own,
    # 1.1 x (176 x 1 + 1024 x 0.10 + 150 x 5) / 1e6; a refused call is not billed.
    "gateways/bedrock_model_invocation_log.jsonl": {
        "00000000-0000-4000-8000-000000000001": but(CACHED, cost_usd=None),
        "00000000-0000-4000-8000-000000000002": but(CACHED, cost_usd="0.00113124", carried_tenant_id=None),
        "00000000-0000-4000-8000-000000000003": EMBEDDED,
        "00000000-0000-4000-8000-000000000004": TIMED_OUT,
    },
    "gateways/openai_chat_completion.json": {"chatcmpl-0001": CACHED},
    "gateways/openai_response_object.json": {"resp_0001": CACHED},
    # (5 x 1 + 1253 x 1.25 + 128955 x 0.10 + 503 x 5) / 1e6; input is 5 + 1253 + 128955.
    "gateways/anthropic_message.json": {"msg_0006b": ("chat", 130213, 128955, 503, "complete", "0.01698175", None)},
    # Call 7 request by request: ((400 x 0.15 + 40 x 0.60), (420 x 0.15 + 38 x 0.60)) / 1e6 / 2.
    "gateways/openai_batch_output.jsonl": {
        "batch_req_001": ("batch", 400, 0, 40, "complete", "0.000042", None),
        "batch_req_002": ("batch", 420, 0, 38, "complete", "0.0000429", None),
    },
    # (12 x 1 + 2048 x 0.10 + 64 x 5) / 1e6 / 2; nothing but success is billed.
    "gateways/anthropic_batch_results.jsonl": {
        "msg_b1": ("batch", 2060, 2048, 64, "complete", "0.0002684", None),
        "req-2": but(TIMED_OUT, operation="batch"),
        "req-3": but(TIMED_OUT, operation="batch"),
        "req-4": but(TIMED_OUT, operation="batch"),
    },
    "gateways/bifrost_logs.json": {"req-6": TIMED_OUT, "req-6-fb1": but(FELL_BACK, carried_tenant_id="acme")},
    "gateways/tensorzero_rows.json": {"0197dd00-0000-7000-8000-0000000000a1": but(CACHED, **NO_CACHE_COUNTS)},
    # No model is named, only an entity that is served.
    "gateways/databricks_endpoint_usage.json": {
        "d-1": but(CACHED, cache_read_tokens=0, cost_usd=None),
        "d-2": but(SHARED, cost_usd=None),
    },
    # The caller is a subscription, which only the settings can tell to be a tenant.
    "gateways/azure_apim_llm_log.json": {"c-1": but(CACHED, **NO_CACHE_COUNTS, carried_tenant_id=None)},
    "gateways/azure_openai_diagnostic_requestresponse.json": {"e1e1e1e1-0000-4000-8000-000000000001": BROKEN},
    # Gemini 2.5 Flash thinks for 300 tokens: (176 x 0.30 + 1024 x 0.03 + 450 x 2.50) / 1e6.
    "gateways/vertex_request_response_log.json": {
        "8123456789012345678": but(CACHED, output_tokens=450, cost_usd="0.00120852")
    },
    # The gateway's documentation has calls of its own: (15 x 0.15 + 7 x 0.60) / 1e6; the tool call bills nothing.
    "gateways/envoy_ai_gateway_access_log.jsonl": {
        "83b63da3-45a9-4196-98b8-1a7f697d6d8d": ("chat", 15, 0, 7, "complete", "0.00000645", None)
    },
    # 1.1 x (11184 x 1 + 124 x 5) / 1e6.
    "gateways/kong_http_log_llm_part.json": {
        "c22ad361a0d6ecbe73df4d8fffa67e5e": ("chat", 11184, 0, 124, "complete", "0.0129844", None)
    },
    # Answered from the cache, which asked for an embedding nobody counted; 62 x 0.10 / 1e6 for the retrieval's.
    "gateways/kong_ai_audit_log.json": {
        "37c418eddb9b818ffcb03bf8da89a0dd": ("chat", 14, 0, 21, "not_billed", "0", None),
        "37c418eddb9b818ffcb03bf8da89a0dd/cache": but(BROKEN, operation="embeddings"),
        "37c418eddb9b818ffcb03bf8da89a0dd/rag-inject": ("embeddings", 62, 0, 0, "complete", "0.0000062", None),
    },
}
REPORTED = {
    "litellm_spend_logs_rows.json": "chatcmpl-0001",
    "litellm_standard_logging_payload.jsonl": "chatcmpl-0001",
    "gateways/helicone_requests.jsonl": "1a2b3c4d-0000-4000-8000-000000000001",
    "gateways/helicone_export.csv": "6f0c1d2e-0000-4000-8000-000000000001",
    "gateways/openrouter_generation.json": "gen-1783339200-abc",
    "gateways/portkey_log_export.jsonl": "0b2f8a1e-1111-4222-8333-000000000001",
    "gateways/portkey_metric_record.json": "0b2f8a1e-1111-4222-8333-000000000001",
    "gateways/cloudflare_ai_gateway_logs.json": "01K0ABCDEFGHJKMNPQRSTVWXYZ",
    "gateways/tensorzero_rows.json": "0197dd00-0000-7000-8000-0000000000a1",
}


def ledger(name: str, settings: Settings = PRODUCTION) -> dict[str, dict[str, Any]]:
    done = audit([str(SAMPLES / name)], settings)
    assert done.report.inputs[0].rejected == 0
    return {row["call_id"]: row for row in call_rows(done.calls)}


@pytest.mark.parametrize("name", STORY)
def test_same_calls_give_the_same_ledger(name: str) -> None:
    told = {key: tuple(row[field] for field in FIELDS) for key, row in ledger(name).items()}

    assert told == STORY[name]


@pytest.mark.parametrize("name", REPORTED)
def test_first_call_costs_the_same_wherever_cost_is_logged(name: str) -> None:
    # In cents at Portkey, as text at TensorZero, as USD everywhere else.
    settings = Settings(internal=Internal(environments=()), cost_source="reported")

    assert ledger(name, settings)[REPORTED[name]]["cost_usd"] == "0.0001932"


@pytest.mark.parametrize(
    "name", [*REPORTED, "gateways/databricks_endpoint_usage.json", "gateways/azure_apim_llm_log.json"]
)
def test_first_call_begins_at_noon(name: str) -> None:
    # Written as seconds, as text with a zone or without one.
    assert min(row["time"] for row in ledger(name).values()) == "2026-07-06T12:00:00.000000000Z"


def test_span_of_a_server_of_ones_own_has_usage_and_no_price() -> None:
    # vLLM's spans are OTLP with the older names of counts; no provider bills its calls.
    (row,) = ledger("gateways/vllm_otlp_span.json").values()

    assert (row["input_tokens"], row["output_tokens"], row["cost_usd"], row["price_status"]) == (
        1200, 150, None, "unpriced",
    )  # fmt: skip


def test_every_sample_is_in_a_test() -> None:
    elsewhere = {
        "SOURCES.md", "vllm_otlp_span.json",
        # Records that are no calls: tests/load/test_gateway_rows.py.
        "openai_batch_input.jsonl", "openai_batch_error.jsonl", "openai_batch_object.json", "openrouter_activity.json",
    }  # fmt: skip
    here = {path.name for path in (SAMPLES / "gateways").iterdir()}

    assert here == {name.removeprefix("gateways/") for name in STORY if name.startswith("gateways/")} | elsewhere
