"""One request, many rows: formats-gateways §1.8 line by line, and what money.md §2 says of attempts and answers.

Every row here has 1,000 tokens of input and 100 of output of gpt-4o-mini: (1000 x 0.15 + 100 x 0.60) / 1e6 dollars,
which is 210,000,000 pico-dollars.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.settings import Internal, Settings
from builders import Audited, audit_bytes

SAMPLES = Path(__file__).parents[2] / "fixtures" / "exports" / "samples"
ONE = 210_000_000
EMPTY = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def payload(**changes: Any) -> dict[str, Any]:
    """A ``StandardLoggingPayload``."""
    return {
        "id": "chatcmpl-1", "trace_id": "t-1", "litellm_call_id": "call-1", "call_type": "acompletion",
        "response_cost": 0.00021, "status": "success", "custom_llm_provider": "openai", "prompt_tokens": 1000,
        "completion_tokens": 100, "total_tokens": 1100, "startTime": 1783339200.0, "endTime": 1783339201.0,
        "model": "gpt-4o-mini", "model_group": "gpt-4o-mini", "cache_hit": False, "metadata": {}, **changes,
    }  # fmt: skip


def table(**changes: Any) -> dict[str, Any]:
    """The same as a row of the table of spend, with its names of columns and its strings."""
    row = payload(**changes)
    start, end = (f"2026-07-06T12:00:{int(row.pop(name)) % 60:02}.000Z" for name in ("startTime", "endTime"))
    return {
        **{key: value for key, value in row.items() if key not in {"id", "trace_id", "response_cost", "metadata"}},
        "request_id": row["id"],
        "session_id": row["trace_id"],
        "spend": row["response_cost"],
        "startTime": start,
        "endTime": end,
        "cache_hit": str(row["cache_hit"]),
        "request_tags": "[]",
        "metadata": json.dumps(row["metadata"]),
    }


FORMS = pytest.mark.parametrize("form", [payload, table])


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*rows: dict[str, Any]) -> Audited:
        data = "\n".join(map(json.dumps, rows)).encode()
        return audit_bytes(tmp_path, data, settings=Settings(internal=Internal(environments=())))

    return run


def usages(done: Audited) -> dict[str, str]:
    return {row["call_id"]: row["usage_status"] for row in done.rows}


# -- LiteLLM -----------------------------------------------------------------------------------------


@FORMS
def test_failed_attempts_cost_nothing_and_the_answer_counts(audited: Any, form: Any) -> None:
    failed = {"status": "failure", "response_cost": 0.0, **EMPTY}

    done = audited(
        form(id="a", litellm_call_id="a", **failed),
        form(id="b", litellm_call_id="b", startTime=1783339202.0, endTime=1783339203.0, **failed),
        form(id="c", litellm_call_id="c", startTime=1783339204.0, endTime=1783339205.0),
    )

    assert usages(done) == {"a": "not_billed", "b": "not_billed", "c": "complete"}
    assert done.report.totals.spend == ONE


@FORMS
def test_attempts_that_the_provider_billed_are_spend_of_their_own(audited: Any, form: Any) -> None:
    # One request: one trace, one id of the gateway's; each attempt has a suffix and a time of its own.
    done = audited(
        form(),
        *(
            form(
                id=f"chatcmpl-1-attempt-{number}",
                startTime=1783339200.0 + 2 * number,
                endTime=1783339201.0 + 2 * number,
                metadata={"billed_retry_attempt": True},
            )
            for number in (1, 2)
        ),
    )

    assert sorted(usages(done)) == ["chatcmpl-1", "chatcmpl-1-attempt-1", "chatcmpl-1-attempt-2"]
    assert done.report.totals.spend == 3 * ONE


@FORMS
def test_attempts_of_one_request_share_the_tenant_that_one_of_them_knows(audited: Any, form: Any) -> None:
    tagged = form(metadata={"user_api_key_team_id": "acme"})
    other = form(id="chatcmpl-1-attempt-1", startTime=1783339202.0, endTime=1783339203.0)

    found = {row["call_id"]: (row["status"], row["tenant_id"]) for row in audited(tagged, other).rows}

    assert found == {"chatcmpl-1": ("direct", "acme"), "chatcmpl-1-attempt-1": ("recoverable", "acme")}


@FORMS
def test_hit_of_the_gateways_cache_beside_the_call_that_filled_it(audited: Any, form: Any) -> None:
    hit = form(
        id="chatcmpl-1_cache_hit1783339216.2", litellm_call_id="call-2", trace_id="t-2", response_cost=0.0,
        cache_hit=True, startTime=1783339216.0, endTime=1783339216.1,
    )  # fmt: skip

    done = audited(form(), hit)

    assert usages(done) == {"chatcmpl-1": "complete", "chatcmpl-1_cache_hit1783339216.2": "not_billed"}
    assert (done.report.totals.spend, done.report.totals.cache_hits) == (ONE, 1)


@FORMS
def test_cache_hit_is_told_by_its_suffix_alone(audited: Any, form: Any) -> None:
    hit = form(id="chatcmpl-1_cache_hit1783339216.2", response_cost=0.0)

    assert usages(audited(hit)) == {"chatcmpl-1_cache_hit1783339216.2": "not_billed"}


@FORMS
def test_batch_counts_once_however_often_it_is_polled_and_booked(audited: Any, form: Any) -> None:
    # Half of 210 millionths for the batch; whoever polls first books its cost, and some book it again.
    polls = [
        form(id="batch_1", call_type="aretrieve_batch", litellm_call_id=f"poll-{number}", response_cost=0.0, **EMPTY)
        for number in range(3)
    ]
    booked = [
        form(
            id="batch_1_batch_cost",
            call_type="aretrieve_batch",
            litellm_call_id=f"cost-{number}",
            trace_id=f"t-{number}",
            startTime=1783339300.0 + number,
            endTime=1783339301.0 + number,
        )
        for number in range(2)
    ]

    done = audited(form(id="batch_1", call_type="acreate_batch", response_cost=0.0, **EMPTY), *polls, *booked)

    assert usages(done) == {"batch_1_batch_cost": "complete"}
    assert done.report.totals.spend == ONE // 2


@FORMS
def test_background_answer_counts_by_its_cost_row_alone(audited: Any, form: Any) -> None:
    polls = [
        form(id=f"resp_1-{number}", call_type="aget_responses", litellm_call_id=f"poll-{number}") for number in range(3)
    ]

    done = audited(*polls, form(id="resp_1_background_cost", call_type="aresponses"))

    assert usages(done) == {"resp_1_background_cost": "complete"}
    assert done.report.totals.spend == ONE


@FORMS
def test_fallback_to_another_model_is_a_call_of_its_own(audited: Any, form: Any) -> None:
    # Claude Haiku 4.5: (1000 x 1 + 100 x 5) / 1e6.
    first = form(id="a", litellm_call_id="a", status="failure", response_cost=0.0, **EMPTY)
    second = form(
        id="b", litellm_call_id="b", model="claude-haiku-4-5", custom_llm_provider="anthropic",
        startTime=1783339202.0, endTime=1783339203.0,
        metadata={"attempted_fallbacks": 1, "original_model_group": "gpt-4o-mini"},
    )  # fmt: skip

    done = audited(first, second)

    assert done.report.totals.spend == 1_500_000_000
    (answered,) = [row for row in done.rows if row["call_id"] == "b"]
    assert (answered["model_requested"], answered["model_executed"]) == ("gpt-4o-mini", "claude-haiku-4-5")


@FORMS
def test_failure_that_reports_usage_is_billed(audited: Any, form: Any) -> None:
    done = audited(form(status="failure", response_cost=0.0))

    assert done.report.totals.spend == ONE


@FORMS
@pytest.mark.parametrize("team", ["litellm-internal-health-check", "Unassigned Team", "default"])
def test_traffic_of_the_gateway_itself_has_no_tenant(audited: Any, form: Any, team: str) -> None:
    (row,) = audited(form(metadata={"user_api_key_team_id": team})).rows

    assert row["tenant_id"] is None


@FORMS
def test_row_that_is_exported_twice_counts_once(audited: Any, form: Any) -> None:
    assert audited(form(), form()).report.totals.spend == ONE


# -- other gateways ----------------------------------------------------------------------------------


def test_generations_of_one_request_to_openrouter_are_all_billed(audited: Any) -> None:
    first = json.loads((SAMPLES / "gateways" / "openrouter_generation.json").read_text())["data"]
    second = {**first, "id": "gen-2", "upstream_id": "chatcmpl-2", "created_at": "2026-07-06T12:00:05.000Z"}

    done = audited(first, second)

    assert sorted(usages(done)) == [first["id"], "gen-2"]
    # Two of call 1: (176 x 0.15 + 1024 x 0.075 + 150 x 0.60) / 1e6 dollars each.
    assert done.report.totals.spend == 2 * 193_200_000


def test_every_row_of_a_fallback_in_bifrost_is_billed(audited: Any) -> None:
    row = json.loads((SAMPLES / "gateways" / "bifrost_logs.json").read_text())["logs"][1]
    first = {**row, "id": "req-1", "parent_request_id": None, "fallback_index": 0, "number_of_retries": 2}
    second = {**row, "id": "req-1-fb1", "parent_request_id": "req-1", "fallback_index": 1}

    done = audited(first, second)

    # Two of call 6: (1015 x 1 + 95 x 5) / 1e6 dollars each, whatever the retries inside the first.
    assert sorted(usages(done)) == ["req-1", "req-1-fb1"]
    assert done.report.totals.spend == 2 * 1_490_000_000


def test_request_that_helicone_retried_is_one_row_and_one_call(audited: Any) -> None:
    row = json.loads((SAMPLES / "gateways" / "helicone_requests.jsonl").read_text().splitlines()[0])

    assert audited(row, row).report.totals.spend == 193_200_000


def test_chains_of_langsmith_repeat_what_their_calls_cost(audited: Any) -> None:
    runs = [
        json.loads(line)
        for line in (SAMPLES / "products" / "langsmith_runs.jsonl").read_text().splitlines()
        if line.strip()
    ]
    leaves = [run for run in runs if run["run_type"] in {"llm", "embedding"}]
    assert len(leaves) < len(runs)

    done = audited(*runs)

    assert len(done.rows) == len(leaves)
    # Call 1 of the story; the embedding names no model to price it by, and the agent's run repeats both.
    assert done.report.totals.spend == 193_200_000
