"""LiteLLM's StandardLoggingPayload, row by row: formats-gateways §1 and §2.1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.settings import Settings
from builders import Audited, audit_bytes

KEY = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"


def row(**changes: Any) -> dict[str, Any]:
    """A chat of 1,000 and 100 tokens whose answer had its usage; ``metadata`` adds to what is there."""
    metadata = {
        "user_api_key_hash": KEY,
        "usage_object": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        **changes.pop("metadata", {}),
    }
    return {
        "id": "chatcmpl-1",
        "trace_id": "trace-1",
        "session_id": "trace-1",
        "litellm_call_id": "call-1",
        "call_type": "acompletion",
        "response_cost": 0.00021,
        "status": "success",
        "custom_llm_provider": "openai",
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "total_tokens": 1100,
        "startTime": 1_790_000_000.25,
        "endTime": 1_790_000_001.5,
        "model": "openai/gpt-4o-mini",
        "model_group": "gpt-4o-mini",
        "cache_hit": False,
        "request_tags": ["User-Agent: x", "User-Agent: x/1"],
        "end_user": None,
        "response": {"id": "chatcmpl-1", "usage": {"prompt_tokens": 1000}},
        "metadata": metadata,
        **changes,
    }


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*rows: Any, **settings: Any) -> Audited:
        data = "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in rows)
        return audit_bytes(tmp_path, data.encode(), settings=Settings(**settings))

    return run


def tokens(entry: dict[str, Any]) -> tuple[Any, ...]:
    return (
        entry["input_tokens"], entry["cache_read_tokens"], entry["cache_write_tokens"], entry["output_tokens"],
        entry["usage_status"],
    )  # fmt: skip


def test_plain_row(audited: Any) -> None:
    (found,) = audited(row()).rows

    assert tokens(found) == (1000, 0, 0, 100, "complete")
    assert (found["cost_usd"], found["call_id"], found["time"]) == (
        "0.00021", "chatcmpl-1", "2026-09-21T14:13:20.250000000Z",
    )  # fmt: skip


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens_details": {"cached_tokens": 600, "cache_creation_tokens": 300}},
        {"cache_read_input_tokens": 600, "cache_creation_input_tokens": 300},
        {"prompt_tokens_details": {"cached_tokens": 600}, "cache_creation_input_tokens": 300},
        {
            "prompt_tokens_details": {"cached_tokens": 0},
            "cache_read_input_tokens": 600,
            "cache_creation_input_tokens": 300,
        },
    ],
)
def test_cached_tokens_are_inside_the_prompt_whoever_the_provider_is(audited: Any, usage: dict[str, Any]) -> None:
    for provider in ("openai", "anthropic"):
        (found,) = audited(row(custom_llm_provider=provider, metadata={"usage_object": usage})).rows

        assert tokens(found) == (1000, 600, 300, 100, "complete")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cache_hit": True, "response_cost": 0.0}, (1000, 0, 0, 100, "not_billed")),
        ({"cache_hit": "True"}, (1000, 0, 0, 100, "not_billed")),
        ({"id": "chatcmpl-1_cache_hit1783339216.2"}, (1000, 0, 0, 100, "not_billed")),
        ({"cache_hit": "None"}, (1000, 0, 0, 100, "complete")),
        (
            {"status": "failure", "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            (None, None, None, None, "not_billed"),
        ),
        ({"status": "failure"}, (1000, 0, 0, 100, "complete")),
        (
            {"call_type": "pass_through_endpoint", "prompt_tokens": 0, "completion_tokens": 0, "model": "unknown"},
            (None, None, None, None, "missing"),
        ),
        ({"prompt_tokens": 0, "completion_tokens": 0, "stream": True}, (None, None, None, None, "missing")),
        # A stream that broke off is not marked as one; the request asked for it, or its parts came apart.
        (
            {"response": {"id": "x", "usage": None}, "model_parameters": {"stream": True}},
            (1000, 0, 0, 100, "partial"),
        ),
        (
            {"response": {"id": "x", "usage": None}, "completionStartTime": 1_790_000_000.75},
            (1000, 0, 0, 100, "partial"),
        ),
        ({"response": {"id": "x", "usage": None}, "stream": True}, (1000, 0, 0, 100, "partial")),
        ({"response": {"id": "x", "usage": None}}, (1000, 0, 0, 100, "complete")),
        (
            {"response": {"id": "x", "usage": None}, "completionStartTime": 1_790_000_001.5},
            (1000, 0, 0, 100, "complete"),
        ),
        ({"stream": True}, (1000, 0, 0, 100, "complete")),
        ({"response": None}, (1000, 0, 0, 100, "complete")),
        ({"response": {}}, (1000, 0, 0, 100, "complete")),
        ({"prompt_tokens": None, "completion_tokens": None}, (None, None, None, None, "missing")),
        ({"prompt_tokens": "1000", "completion_tokens": 100.0}, (1000, 0, 0, 100, "complete")),
        ({"prompt_tokens": -5, "completion_tokens": 10**12}, (None, None, None, None, "missing")),
    ],
)
def test_what_zeroes_and_marks_mean(audited: Any, changes: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (found,) = audited(row(**changes)).rows

    assert tokens(found) == expected
    if expected[-1] == "not_billed":
        assert found["cost_usd"] == "0"
    if expected[-1] == "missing":
        assert found["cost_usd"] is None


@pytest.mark.parametrize(
    ("call_type", "operation"),
    [
        ("completion", "chat"), ("acompletion", "chat"), ("aresponses", "chat"), ("anthropic_messages", "chat"),
        ("text_completion", "text_completion"), ("aembedding", "embeddings"), ("arerank", "rerank"),
        ("aimage_generation", "image"), ("atranscription", "audio"), ("aspeech", "audio"),
        ("amoderation", "moderation"), ("ACOMPLETION", "chat"),
    ],
)  # fmt: skip
def test_call_types(audited: Any, call_type: str, operation: str) -> None:
    assert [found["operation"] for found in audited(row(call_type=call_type)).rows] == [operation]


@pytest.mark.parametrize(
    "call_type", ["aget_responses", "acreate_batch", "aretrieve_batch", "call_mcp_tool", "afile_content"]
)
def test_what_bills_nothing_by_itself_is_no_call(audited: Any, call_type: str) -> None:
    done = audited(row(id="other", call_type=call_type), row())

    assert [found["call_id"] for found in done.rows] == ["chatcmpl-1"]
    assert done.report.inputs[0].rejected == 0


def test_unknown_call_type_is_counted(audited: Any) -> None:
    done = audited(row(), row(id="2", call_type="telepathy"))

    assert (len(done.rows), done.report.inputs[0].rejected) == (1, 1)


def test_batch_is_billed_once_at_half_price(audited: Any) -> None:
    created = row(id="batch_1", call_type="acreate_batch", prompt_tokens=0, completion_tokens=0)
    cost = row(id="batch_1_batch_cost", call_type="aretrieve_batch", response_cost=0.000105)

    (found,) = audited(created, cost, row(id="batch_1", call_type="aretrieve_batch")).rows

    assert (found["batch"], found["operation"], found["cost_usd"]) == (True, "batch", "0.000105")


def test_reported_cost_is_used_when_asked_for_and_never_by_itself(audited: Any) -> None:
    odd = row(response_cost=0.5)

    assert audited(odd).rows[0]["cost_usd"] == "0.00021"
    assert audited(odd, cost_source="reported").rows[0]["cost_usd"] == "0.5"


# -- identity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "tenant"),
    [
        ({"metadata": {"spend_logs_metadata": {"tenant_id": "acme"}}}, "acme"),
        ({"metadata": {"requester_metadata": {"tenant_id": "acme"}}}, "acme"),
        ({"metadata": {"user_api_key_auth_metadata": {"customer_id": "acme"}}}, "acme"),
        ({"metadata": {"requester_custom_headers": {"x-tenant-id": "acme"}}}, "acme"),
        ({"metadata": {"requester_custom_headers": {"X-Tenant-Id": "acme"}}}, "acme"),
        ({"metadata": {"user_api_key_team_id": "acme"}}, "acme"),
        ({"metadata": {"user_api_key_org_id": "acme"}}, "acme"),
        ({"metadata": {"user_api_key_project_id": "acme"}}, "acme"),
        ({"request_tags": ["tenant:acme", "env:prod"]}, "acme"),
        ({"end_user": "acme"}, "acme"),
        ({"metadata": {"user_api_key_end_user_id": "acme"}}, "acme"),
        ({"metadata": {"user_api_key_team_id": "team", "spend_logs_metadata": {"tenant_id": "acme"}}}, "acme"),
        ({"metadata": {"user_api_key_team_id": "team", "user_api_key_org_id": "acme"}}, "acme"),
        ({"metadata": {"user_api_key_team_id": "acme"}, "end_user": "u"}, "acme"),
        ({}, None),
        ({"metadata": {"user_api_key_user_id": "default_user_id"}}, None),
        ({"metadata": {"user_api_key_team_id": "litellm-dashboard"}}, None),
        ({"metadata": {"user_api_key_team_id": ""}, "end_user": ""}, None),
        ({"metadata": {"user_api_key_team_id": "Unassigned Team"}}, None),
        ({"metadata": {"user_api_key_alias": "saas", "user_api_key_hash": "litellm_proxy_master_key"}}, None),
        ({"end_user": '{"device_id":"d","account_uuid":"","session_id":"s"}'}, None),
        ({"metadata": {"spend_logs_metadata": {"tenant_id": "unknown"}}}, None),
    ],
)
def test_tenant_of_a_row(audited: Any, changes: dict[str, Any], tenant: str | None) -> None:
    (found,) = audited(row(**changes)).rows

    assert found["carried_tenant_id"] == tenant
    assert found["status"] == ("direct" if tenant else "lost")


def test_noise_of_the_proxy_is_no_tag(audited: Any) -> None:
    (found,) = audited(row(request_tags=["User-Agent: tenant:x", "feature: search", "env:staging"])).rows

    assert (found["feature"], found["environment"], found["status"]) == ("search", "staging", "internal")


def test_session_that_the_gateway_made_up_joins_nothing(audited: Any) -> None:
    # Equal to the trace id: the caller sent none.
    tagged = row(id="a", trace_id="s", session_id="s", metadata={"user_api_key_team_id": "acme"})
    other = row(id="b", trace_id="t", session_id="t", litellm_call_id="call-2")

    done = audited(tagged, other)

    assert {found["call_id"]: found["status"] for found in done.rows} == {"a": "direct", "b": "lost"}


def test_session_of_the_caller_joins(audited: Any) -> None:
    tagged = row(id="a", trace_id="1", session_id="s", metadata={"user_api_key_team_id": "acme"})
    other = row(id="b", trace_id="2", session_id="s", litellm_call_id="call-2")

    found = {entry["call_id"]: entry for entry in audited(tagged, other).rows}

    assert (found["b"]["status"], found["b"]["recovered_by"]) == ("recoverable", "session")


# -- rows that repeat, framing, wrong types ----------------------------------------------------------


def test_retries_of_one_request_are_calls_of_their_own(audited: Any) -> None:
    attempts = [
        row(id="chatcmpl-1", status="failure", prompt_tokens=0, completion_tokens=0, startTime=1_790_000_000.0),
        row(id="chatcmpl-2", startTime=1_790_000_002.0),
        row(id="chatcmpl-3", startTime=1_790_000_004.0),
    ]

    done = audited(*attempts)

    assert [found["usage_status"] for found in done.rows] == ["not_billed", "complete", "complete"]
    assert done.report.totals.spend == 2 * 210_000_000


def test_row_that_is_delivered_twice_counts_once(audited: Any) -> None:
    assert len(audited(row(), row()).rows) == 1


@pytest.mark.parametrize(
    "framing",
    [
        lambda rows: "\n".join(map(json.dumps, rows)),
        json.dumps,
        lambda rows: json.dumps(rows, indent=2),
        lambda rows: "\n".join(json.dumps(entry, indent=2) for entry in rows),
        lambda rows: "".join(map(json.dumps, rows)),
    ],
)
def test_framing_does_not_matter(audited: Any, framing: Any) -> None:
    rows = [
        row(id=f"c{number}", litellm_call_id=f"l{number}", startTime=1_790_000_000.0 + 60 * number)
        for number in range(3)
    ]

    assert [found["call_id"] for found in audited(framing(rows)).rows] == ["c0", "c1", "c2"]


@pytest.mark.parametrize("key", [key for key in row() if key not in {"id", "call_type", "litellm_call_id"}])
@pytest.mark.parametrize("value", [None, True, 5, -1.5, 10**400, "text", [], [1], {}, {"a": 1}])
def test_wrong_type_in_any_field_costs_no_row(audited: Any, key: str, value: Any) -> None:
    odd = {**row(id="odd", litellm_call_id="odd"), key: value}

    done = audited(row(), odd, row(id="after", litellm_call_id="after"))

    assert {"chatcmpl-1", "after"} <= {found["call_id"] for found in done.rows}
    assert len(done.rows) + done.report.inputs[0].rejected == 3


def test_row_without_an_id_is_counted_with_its_line(audited: Any) -> None:
    done = audited(row(), row(id=None, litellm_call_id=None), row(id="c", litellm_call_id="c"))

    assert [(place.line, place.reason) for place in done.report.inputs[0].rejections] == [
        (2, "a LiteLLM row without an id or a call_type")
    ]


@pytest.mark.parametrize("junk", ["5", '"text"', "[5]", "{}", "null"])
def test_junk_between_rows_is_counted(audited: Any, junk: str) -> None:
    done = audited(row(), junk, row(id="c", litellm_call_id="c"))

    assert (len(done.rows), done.report.inputs[0].rejected) == (2, 1)


def test_summaries_are_refused_by_what_they_are(audited: Any) -> None:
    with pytest.raises(InputError, match="daily summary"):
        audited([{"startTime": "2026-01-01", "spend": 1, "users": {}, "models": {}}])


def test_digest_of_a_key_is_never_told(audited: Any) -> None:
    from auditor.report.json_v1 import render  # noqa: PLC0415  # only here

    assert KEY not in render(audited(row(), row(id="b", litellm_call_id="b")).report).decode()


@pytest.mark.parametrize("cost", ["1e999999999", "1e400000", "-1e999999999", "NaN", "sNaN", "inf"])
def test_cost_of_absurd_size_is_none_and_takes_no_time(audited: Any, cost: str) -> None:
    assert [found["cost_usd"] for found in audited(row(response_cost=cost), cost_source="reported").rows] == [None]
