"""A trace and a gateway's log in one run: each call once, priced from the gateway, identified by the application."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from auditor.settings import Settings
from builders import T0, Audited, Span, audit_bytes, call, hex_id, lines, span

START = 100
"""Milliseconds after ``T0`` at which the application's call begins."""


def moment(ms: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=T0 // 1000 + round(ms * 1000))


def application(**fields: Any) -> tuple[Span, Span]:
    """A request of tenant acme, and in it the SDK's call, which asked for another model than the gateway took."""
    web = span("POST /chat", id="web", kind=2, start=0, ms=1000, attributes={"tenant.id": "acme"})
    tagged = {"tenant.id": "acme", **fields.pop("attributes", {})}
    asked = call(id="call", parent="web", start=START, ms=600, provider="gateway", attributes=tagged, **fields)
    return web, asked


def traceparent(entry: Span) -> str:
    trace, own = entry.ids
    return f"00-{trace}-{own}-01"


def litellm(**changes: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1", "trace_id": "t-1", "session_id": "t-1", "litellm_call_id": "call-1",
        "call_type": "acompletion", "response_cost": 0.5, "status": "success", "custom_llm_provider": "openai",
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "model": "openai/gpt-4o-mini",
        "model_group": "gpt-4o-mini", "startTime": moment(START + 20).timestamp(),
        "endTime": moment(START + 580).timestamp(), "metadata": {"user_api_key_hash": "88dc"}, **changes,
    }  # fmt: skip


def helicone(**changes: Any) -> dict[str, Any]:
    return {
        "request_id": "hel-1", "request_created_at": moment(START + 20).isoformat(), "delay_ms": 560,
        "request_properties": {}, "request_model": "gpt-4o-mini", "provider": "OPENAI", "response_status": 200,
        "request_path": "/v1/chat/completions", "prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.5,
        "response_body": {"id": "chatcmpl-1"}, **changes,
    }  # fmt: skip


def kong(parent: Span) -> dict[str, Any]:
    return {
        "request": {"id": "k-1", "uri": "/v1/chat/completions", "headers": {"traceparent": traceparent(parent)}},
        "response": {"status": 200},
        "started_at": moment(START + 20).timestamp() * 1000,
        "ai": {
            "proxy": {
                "meta": {"request_model": "gpt-4o-mini", "provider_name": "openai", "llm_latency": 560},
                "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "cost": 0.5},
            }
        },
    }


def run(home: Path, spans: tuple[Span, ...], row: dict[str, Any], **settings: Any) -> Audited:
    return audit_bytes(home, lines(*spans), json.dumps(row).encode(), settings=Settings(**settings))


BY: dict[str, tuple[tuple[Span, Span], dict[str, Any]]] = {
    "response id": (application(response="chatcmpl-1"), litellm()),
    "the gateway's call id": (application(attributes={"litellm.call_id": "call-1"}), litellm(id="other")),
    "response id inside the row": (application(response="chatcmpl-1"), helicone()),
    "traceparent": (application(), kong(application()[1])),
}


@pytest.mark.parametrize(("spans", "row"), BY.values(), ids=BY)
def test_span_and_row_of_a_call_count_once(tmp_path: Path, spans: tuple[Span, Span], row: dict[str, Any]) -> None:
    (found,) = run(tmp_path, spans, row).rows

    # Priced as what the gateway sent to its provider; identified as what the application knows.
    assert (found["provider"], found["cost_usd"]) == ("openai", "0.00021")
    assert (found["status"], found["carried_tenant_id"], found["span_id"]) == ("direct", "acme", hex_id("call", 8))
    assert len(found["duplicates"]) == 1


@pytest.mark.parametrize(("spans", "row"), BY.values(), ids=BY)
def test_cost_that_only_the_row_reports_is_the_calls(
    tmp_path: Path, spans: tuple[Span, Span], row: dict[str, Any]
) -> None:
    (found,) = run(tmp_path, spans, row, cost_source="reported").rows

    assert found["cost_usd"] == "0.5"


def test_reported_cost_is_the_rows_although_the_span_knows_more_of_the_usage(tmp_path: Path) -> None:
    detailed = {"input": 1000, "output": 100, "read": 0, "write": 0, "total": 1100}

    (found,) = run(tmp_path, application(response="chatcmpl-1", usage=detailed), litellm(), cost_source="reported").rows

    assert found["cost_usd"] == "0.5"


def test_row_fills_the_usage_that_a_span_lost(tmp_path: Path) -> None:
    (found,) = run(tmp_path, application(response="chatcmpl-1", usage={}), litellm()).rows

    assert (found["input_tokens"], found["output_tokens"], found["cost_usd"]) == (1000, 100, "0.00021")


def test_row_of_another_call_stays_one(tmp_path: Path) -> None:
    found = run(tmp_path, application(response="chatcmpl-9"), litellm()).rows

    assert len(found) == 2


def test_row_below_a_span_that_knows_no_tenant_is_found_by_the_way_up(tmp_path: Path) -> None:
    # The application has no span for the call itself, and hands on the context of its request.
    web = application()[0]

    (found,) = run(tmp_path, (web,), kong(web)).rows

    assert (found["status"], found["tenant_id"], found["recovered_by"]) == ("recoverable", "acme", "ancestor")


def test_request_id_of_a_row_leads_to_the_request(tmp_path: Path) -> None:
    web = span("POST /chat", id="web", kind=2, attributes={"tenant.id": "acme", "x-request-id": "r-1"})
    row = {
        "x-request-id": "r-1", "gen_ai.request.model": "gpt-4o-mini", "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100, "response_code": 200, "response_flags": "-",
        "start_time": moment(START).isoformat(), "duration": 600, "x-envoy-origin-path": "/v1/chat/completions",
    }  # fmt: skip

    (found,) = run(tmp_path, (web,), row).rows

    assert (found["status"], found["tenant_id"], found["recovered_by"]) == ("recoverable", "acme", "request_id")


def test_answer_from_the_gateways_cache_is_no_second_description(tmp_path: Path) -> None:
    replay = litellm(id="chatcmpl-1_cache_hit1790000000.2", cache_hit=True, response_cost=0.0)

    found = run(tmp_path, application(response="chatcmpl-1"), replay).rows

    assert sorted(row["cost_usd"] for row in found) == ["0", "0.00021"]
