"""LiteLLM's payloads have a fast way, and a list of them takes the slow one: both must say the same."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.load.builder import pico_of
from auditor.load.litellm import _pico
from auditor.report.json_v1 import digest
from auditor.settings import Settings
from builders import audit_bytes

BASE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "session_id": "0af7651916cd43dd8448eb211c80319c",
    "litellm_call_id": "279a498d-e1f4-4d7e-97cb-f566db267bce",
    "call_type": "acompletion",
    "stream": None,
    "response_cost": 0.000468,
    "status": "success",
    "custom_llm_provider": "openai",
    "total_tokens": 1100,
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "startTime": 1_790_000_000.018,
    "endTime": 1_790_000_000.948,
    "completionStartTime": 1_790_000_000.948,
    "model": "openai/gpt-4o-mini",
    "model_group": "gpt-4o-mini",
    "metadata": {
        "user_api_key_hash": "88dc",
        "user_api_key_team_id": None,
        "spend_logs_metadata": {"feature": "answers"},
        "usage_object": {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 600}},
    },
    "cache_hit": False,
    "request_tags": ["env:prod", "User-Agent: x"],
    "end_user": None,
    "response": {"id": "chatcmpl-1", "usage": {"prompt_tokens": 1000}},
}
CHANGES: dict[str, list[Any]] = {
    "id": ["chatcmpl-2", "batch_1_batch_cost", "x_cache_hit1790000000.5", "", "r_background_cost"],
    "trace_id": ["conv-88", "", None, "0AF7651916CD43DD8448EB211C80319C", "0af76519-16cd-43dd-8448-eb211c80319c"],
    "session_id": ["conv-88", None],
    "litellm_call_id": ["call-2", "", None],
    "call_type": ["aembedding", "arerank", "aget_responses", "telepathy", "aretrieve_batch"],
    "stream": [True, False],
    "response_cost": [0, 0.0, None, 1e-12, 12345.678901, "0.5"],
    "status": ["failure", None],
    "custom_llm_provider": ["anthropic", None],
    "prompt_tokens": [0, None, 5, -1],
    "completion_tokens": [0, None],
    "total_tokens": [None],
    "startTime": [1_790_000_000, 0, None],
    "endTime": [0, 1_789_000_000.0],
    "completionStartTime": [None, 1_790_000_000.3, 1_790_000_000.9465, 1_790_000_000.9455, 0],
    "model": ["unknown", None, "openai/gpt-4o"],
    "model_group": [None, ""],
    "model_parameters": [{"stream": True}, {"stream": False}, {"temperature": 1}, None, "x"],
    "cache_hit": [True, "True", "None", None],
    "request_tags": [[], None, ["tenant:acme"], ["workflow_id:w-1", "session_id:s-1"], "x"],
    "end_user": ["acme", "", "default_user_id", '{"device_id":"d"}'],
    "response": [None, {}, {"usage": None}, "redacted", {"id": "x"}],
    "metadata": [
        {"spend_logs_metadata": {"tenant_id": "acme"}},
        {"spend_logs_metadata": {"tenant_id": "unknown"}},
        {"requester_metadata": {}},
        {"requester_metadata": {"tenant_id": "acme"}},
        {"requester_custom_headers": {"X-Tenant-Id": "acme"}, "user_api_key_team_id": "t"},
        {"user_api_key_org_id": "o", "user_api_key_end_user_id": "u"},
        {"user_api_key_end_user_id": "u"},
        {"spend_logs_metadata": {"user_id": "u-1", "environment": "staging"}},
        {"usage_object": {"cache_read_input_tokens": 600, "cache_creation_input_tokens": 300}},
        {"usage_object": {"prompt_tokens_details": {"cached_tokens": 0}, "cache_read_input_tokens": 0}},
        {"usage_object": None, "original_model_group": "gpt-4o", "internal_call_origin": "judge"},
        None,
    ],
}
SETTINGS = [Settings(), Settings(end_user_as_tenant=False), Settings(tenant_keys=("end_user",))]


def told(home: Path, document: bytes, settings: Settings) -> Any:
    done = audit_bytes(home, document, settings=settings)
    return done.rows, digest(done.report), done.report.inputs[0].rejected


def assert_same(home: Path, rows: list[dict[str, Any]], settings: Settings) -> None:
    fast = told(home, "\n".join(map(json.dumps, rows)).encode(), settings)
    slow = told(home, json.dumps(rows).encode(), settings)

    assert fast == slow


@pytest.mark.parametrize("field", CHANGES)
@pytest.mark.parametrize("settings", SETTINGS, ids=["default", "no end user", "end user first"])
def test_every_value_means_the_same_on_both_ways(tmp_path: Path, field: str, settings: Settings) -> None:
    # Each row twice: the first of a kind is learnt from, the second is looked up.
    rows = [BASE]
    for number, value in enumerate(CHANGES[field]):
        changed = {**BASE, "id": f"c-{number}", "litellm_call_id": f"l-{number}", field: value}
        rows += [changed, {**changed, "startTime": 1_790_000_100.5, "endTime": 1_790_000_101.0} | {field: value}]

    assert_same(tmp_path, rows, settings)


@given(
    changes=st.lists(
        st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in CHANGES.items()}),
        min_size=1,
        max_size=6,
    )
)
def test_any_mixture_means_the_same_on_both_ways(tmp_path_factory: pytest.TempPathFactory, changes: list[Any]) -> None:
    rows = [BASE, *({**BASE, "litellm_call_id": f"l-{number}", **change} for number, change in enumerate(changes))]

    assert_same(tmp_path_factory.mktemp("rows"), rows, Settings())


@given(st.decimals(min_value=Decimal("1e-14"), max_value=2000, places=15))
def test_costs_are_exact_to_the_pico_dollar(cost: Decimal) -> None:
    # Half even where a cost lies between two pico-dollars, as its shortest spelling says.
    assert _pico(float(cost)) == (pico_of(float(cost)) or -1)


@pytest.mark.parametrize("cost", [0.0000001234565, 0.0000001234575, 0.1 + 0.2, 999.999999999999, 1e-13, 5e-13, 1e9])
def test_costs_between_two_pico_dollars(cost: float) -> None:
    assert _pico(cost) == (pico_of(cost) or -1)
