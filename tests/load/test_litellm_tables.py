"""LiteLLM's table of spend and its batch line items: formats-gateways §1.8 and §2.1."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.settings import Internal, Settings
from builders import Audited, audit_bytes

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
PRODUCTION = Settings(internal=Internal(environments=()))
ROWS: list[dict[str, Any]] = json.loads((SAMPLES / "litellm_spend_logs_rows.json").read_text("utf-8"))
ITEM: dict[str, Any] = json.loads((SAMPLES / "litellm_batch_line_items_part-00000.jsonl").read_text("utf-8"))


def as_json(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, indent=1).encode()


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """A dump of the table: objects as JSON text, nothing for null."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}
        )
    return out.getvalue().encode()


def as_quoted(rows: list[dict[str, Any]]) -> bytes:
    """A raw dump: metadata and tags are JSON in text."""
    return as_lines(
        [
            {**row, "metadata": json.dumps(row["metadata"]), "request_tags": json.dumps(row["request_tags"])}
            for row in rows
        ]
    )


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*documents: bytes, settings: Settings = PRODUCTION) -> Audited:
        return audit_bytes(tmp_path, *documents, settings=settings)

    return run


@pytest.mark.parametrize("written", [as_json, as_lines, as_csv, as_quoted])
def test_table_of_spend_tells_the_eight_calls(audited: Any, written: Any) -> None:
    """By hand from the file; half the price for the batch, and nothing known of the pass-through call."""
    done = audited(written(ROWS))

    said = {
        row["call_id"]: (
            row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["usage_status"], row["cost_usd"],
            row["carried_tenant_id"],
        )
        for row in done.rows
    }  # fmt: skip
    assert said == {
        "chatcmpl-0001": (1200, 1024, 150, "complete", "0.0001932", "acme"),
        "chatcmpl-0002": (500, 0, 500, "complete", "0.000375", None),
        "chatcmpl-0003": (180, 0, 106, "complete", "0.0000906", None),
        "5d0e9c1a-0004": (500, 0, 0, "complete", "0.00001", None),
        "chatcmpl-0001_cache_hit1783339216.2": (1200, 1024, 150, "not_billed", "0", "team_acme"),
        "chatcmpl-0006": (None, None, None, "not_billed", "0", None),
        "msg_0006b": (1015, 0, 95, "complete", "0.00149", None),
        "batch_0007_batch_cost": (40000, 0, 4000, "complete", "0.0042", None),
        "9b1f77aa-0008": (None, None, None, "missing", None, None),
    }
    assert done.rows[0]["time"] == "2026-07-06T12:00:00.000000000Z"
    assert done.report.inputs[0].rejected == 0


def test_table_and_payloads_in_one_run_count_each_call_once(audited: Any) -> None:
    payloads = (SAMPLES / "litellm_standard_logging_payload.jsonl").read_bytes()

    alone, both = audited(payloads), audited(payloads, as_json(ROWS))

    assert both.report.totals.spend == alone.report.totals.spend
    assert {row["call_id"] for row in both.rows} == {row["call_id"] for row in alone.rows}


def test_answer_of_the_paginated_api_is_opened(audited: Any) -> None:
    answer = {"data": ROWS, "total": len(ROWS), "page": 1, "page_size": 50, "total_pages": 1}

    assert len(audited(json.dumps(answer).encode()).rows) == len(ROWS)


@pytest.mark.parametrize("sample", ["litellm_spend_logs_rows.json", "litellm_standard_logging_payload.jsonl"])
def test_list_too_large_to_be_looked_at_whole_is_recognised(audited: Any, sample: str) -> None:
    text = (SAMPLES / sample).read_text("utf-8")
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    many = [{**row, "messages": "x" * (1 << 18)} for row in rows]

    done = audited(json.dumps(many).encode())

    assert done.report.inputs[0].format == ("litellm" if "payload" in sample else "litellm-spend-logs")
    assert len(done.rows) == 9


def test_daily_summary_is_refused_with_a_hint(audited: Any) -> None:
    with pytest.raises(InputError, match="daily summary") as raised:
        audited((SAMPLES / "litellm_spend_logs_summarized.json").read_bytes())

    assert "summarize=false" in str(raised.value.hint)


def test_owner_of_the_key_is_no_tenant(audited: Any) -> None:
    # "user" is who owns the virtual key, whatever it holds.
    (row,) = audited(as_json([{**ROWS[1], "user": "acme"}])).rows

    assert (row["carried_tenant_id"], row["user_id"]) == (None, None)


def test_claude_codes_blob_in_the_end_user_is_no_tenant(audited: Any) -> None:
    blob = json.dumps({"device_id": "d", "account_uuid": "a", "session_id": "s"})

    (row,) = audited(as_json([{**ROWS[1], "end_user": blob}])).rows

    assert (row["carried_tenant_id"], row["user_id"]) == (None, None)


def test_empty_team_and_organisation_are_no_tenants(audited: Any) -> None:
    assert audited(as_json([ROWS[1]])).rows[0]["carried_tenant_id"] is None


def test_team_of_the_table_is_a_tenant_without_metadata(audited: Any) -> None:
    assert audited(as_json([{**ROWS[1], "team_id": "acme"}])).rows[0]["carried_tenant_id"] == "acme"


def test_end_user_counts_as_tenant_unless_switched_off(audited: Any) -> None:
    rows = as_json([{**ROWS[1], "end_user": "acme"}])

    assert audited(rows).rows[0]["carried_tenant_id"] == "acme"
    assert audited(rows, settings=Settings(end_user_as_tenant=False)).rows[0]["carried_tenant_id"] is None


def test_field_that_the_settings_name_is_a_tenant(audited: Any) -> None:
    rows = as_json([{**ROWS[1], "organization_id": "org-7", "team_id": "t"}])

    assert audited(rows, settings=Settings(tenant_keys=("organization_id",))).rows[0]["carried_tenant_id"] == "org-7"


def test_retry_that_the_provider_billed_is_spend_of_its_own(audited: Any) -> None:
    retry = {
        **ROWS[1],
        "request_id": "chatcmpl-0002-attempt-1",
        "startTime": "2026-07-06T12:00:04.000Z",
        "endTime": "2026-07-06T12:00:05.000Z",
        "metadata": {**ROWS[1]["metadata"], "billed_retry_attempt": True},
    }

    assert audited(as_json([ROWS[1], retry])).report.totals.spend == 2 * 375_000_000


def test_model_asked_for_before_a_fallback_is_the_requested_one(audited: Any) -> None:
    (fallback,) = [row for row in audited(as_json(ROWS)).rows if row["call_id"] == "msg_0006b"]

    assert (fallback["model_requested"], fallback["model_executed"]) == ("gpt-4o-mini", "anthropic/claude-haiku-4-5")


def test_poll_of_a_background_response_bills_nothing_and_its_cost_row_once(audited: Any) -> None:
    poll = {**ROWS[1], "request_id": "resp_1", "call_type": "aget_responses"}
    cost = {**ROWS[1], "request_id": "resp_1_background_cost", "call_type": "aresponses"}

    assert [row["call_id"] for row in audited(as_json([poll, poll, cost])).rows] == ["resp_1_background_cost"]


def test_call_of_the_gateway_itself_says_what_it_was_for(audited: Any) -> None:
    judge = {**ROWS[1], "metadata": {**ROWS[1]["metadata"], "internal_call_origin": "shadow_eval_judge"}}

    assert audited(as_json([judge])).rows[0]["feature"] == "shadow_eval_judge"


@pytest.mark.parametrize("column", list(ROWS[0]))
@pytest.mark.parametrize("value", [None, True, -1.5, 10**400, "text", '{"a"', [], {"a": 1}])
def test_wrong_type_in_any_column_costs_no_other_row(audited: Any, column: str, value: Any) -> None:
    done = audited(as_lines([ROWS[0], {**ROWS[1], column: value}, ROWS[3]]))

    assert {"chatcmpl-0001", "5d0e9c1a-0004"} <= {row["call_id"] for row in done.rows}


def test_line_of_a_table_with_too_few_columns_is_rejected_with_its_line(audited: Any) -> None:
    lines = as_csv(ROWS[:2]).splitlines(keepends=True)

    done = audited(lines[0] + lines[1] + b"half,a,row\r\n" + lines[2])

    assert [(place.line, place.byte) for place in done.report.inputs[0].rejections] == [
        (3, len(lines[0]) + len(lines[1]))
    ]
    assert len(done.rows) == 2


# -- line items of a batch ---------------------------------------------------------------------------


def test_line_item_costs_half(audited: Any) -> None:
    # (400 x 0.15 + 40 x 0.60) / 1e6 / 2
    (row,) = audited(json.dumps(ITEM).encode()).rows

    assert (row["batch"], row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (True, 400, 40, "0.000042")
    assert row["carried_tenant_id"] is None


def test_custom_id_is_a_tenant_only_where_the_settings_say_so(audited: Any) -> None:
    document = json.dumps({**ITEM, "custom_id": "acme:doc-1"}).encode()

    assert audited(document).rows[0]["carried_tenant_id"] is None
    assert audited(document, settings=Settings(tenant_keys=("custom_id",))).rows[0]["carried_tenant_id"] == "acme"


def test_batch_with_its_line_items_counts_once(audited: Any) -> None:
    # A batch of two items of one size; its own row holds their sum.
    response = {**ITEM["response"], "body": {**ITEM["response"]["body"], "id": "chatcmpl-b2"}}
    second = {**ITEM, "custom_id": "doc-2", "response": response}
    whole = {**ROWS[7], "prompt_tokens": 800, "completion_tokens": 80, "total_tokens": 880, "spend": 8.4e-05}

    done = audited(as_json([whole]), as_lines([ITEM, second]))

    assert done.report.totals.spend == 2 * 42_000_000
    assert {row["call_id"] for row in done.rows} == {"batch_0007/acme:doc-1", "batch_0007/doc-2"}
