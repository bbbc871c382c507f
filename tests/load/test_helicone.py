"""Helicone's requests: formats-gateways §2.2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.settings import Internal, Settings
from builders import Audited, audit_bytes

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples" / "gateways"
PRODUCTION = Settings(internal=Internal(environments=()))
LINES = (SAMPLES / "helicone_requests.jsonl").read_bytes()
ROWS: list[dict[str, Any]] = [json.loads(line) for line in LINES.splitlines()]
ID = "1a2b3c4d-0000-4000-8000-00000000000"


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*documents: bytes | dict[str, Any], settings: Settings = PRODUCTION) -> Audited:
        data = [document if isinstance(document, bytes) else json.dumps(document).encode() for document in documents]
        return audit_bytes(tmp_path, *data, settings=settings)

    return run


@pytest.mark.parametrize("written", [LINES, json.dumps(ROWS, indent=1).encode(), json.dumps({"data": ROWS}).encode()])
def test_requests_tell_the_story(audited: Any, written: bytes) -> None:
    """By hand: prompt counts leave the 1,024 cached tokens out; the third was closed before usage arrived."""
    done = audited(written)

    said = {
        row["call_id"]: (
            row["operation"], row["input_tokens"], row["cache_read_tokens"], row["output_tokens"],
            row["usage_status"], row["cost_usd"], row["carried_tenant_id"],
        )
        for row in done.rows
    }  # fmt: skip
    assert said == {
        ID + "1": ("chat", 1200, 1024, 150, "complete", "0.0001932", "acme"),
        ID + "2": ("chat", 500, 0, 500, "complete", "0.000375", None),
        ID + "3": ("chat", None, None, None, "missing", None, None),
        ID + "4": ("embeddings", 500, 0, 0, "complete", "0.00001", None),
        ID + "5": ("chat", 1200, 1024, 150, "not_billed", "0", "acme"),
    }
    first = next(row for row in done.rows if row["call_id"] == ID + "1")
    assert (first["user_id"], first["environment"], first["provider"], first["time"]) == (
        "acme:u_17", "prod", "openai", "2026-07-06T12:00:00.000000000Z",
    )  # fmt: skip
    assert done.report.inputs[0].format == "helicone"


def test_twice_quoted_objects_of_the_csv_are_read(audited: Any) -> None:
    # The export has no cache counts and no models: what the calls cost is known from the report of cost alone.
    settings = Settings(internal=Internal(environments=()), cost_source="reported")

    rows = audited((SAMPLES / "helicone_export.csv").read_bytes(), settings=settings).rows

    assert [
        (row["call_id"][-1], row["carried_tenant_id"], row["environment"], row["input_tokens"], row["cost_usd"])
        for row in rows
    ] == [("1", "acme", "prod", 176, "0.0001932"), ("2", None, None, 500, "0.000375")]


def test_reasoning_is_counted_beside_the_completion(audited: Any) -> None:
    (row,) = audited({**ROWS[1], "reasoning_tokens": 40}).rows

    assert row["output_tokens"] == 540


@pytest.mark.parametrize(
    ("status", "first_token", "usage"),
    [(500, None, "not_billed"), (429, None, "not_billed"), (-3, None, "not_billed"), (-3, 210, "missing"),
     ("200", None, "missing"), (200, 10, "missing")],
)  # fmt: skip
def test_what_no_tokens_mean(audited: Any, status: Any, first_token: Any, usage: str) -> None:
    row = {
        **ROWS[1], "prompt_tokens": None, "completion_tokens": None,
        "response_status": status, "time_to_first_token": first_token,
    }  # fmt: skip

    assert audited(row).rows[0]["usage_status"] == usage


@pytest.mark.parametrize(
    "changes",
    [
        {"helicone_user": "acme"},
        {"request_properties": {"Helicone-Session-Id": "acme"}},
        {"request_properties": {"Helicone-Session-Name": "acme", "Helicone-Session-Path": "/acme"}},
        {"request_user_id": '{"device_id":"d"}'},
        {"request_user_id": "undefined"},
        {"country_code": "acme"},
    ],
)
def test_what_looks_like_a_tenant_and_is_not(audited: Any, changes: dict[str, Any]) -> None:
    assert audited({**ROWS[1], **changes}).rows[0]["carried_tenant_id"] is None


@pytest.mark.parametrize("name", ["tenant_id", "Tenant_Id", "tenantId", "Tenant-Id"])
def test_property_names_keep_the_case_of_the_header(audited: Any, name: str) -> None:
    assert audited({**ROWS[1], "request_properties": {name: "acme"}}).rows[0]["carried_tenant_id"] == "acme"


def test_session_of_the_caller_joins(audited: Any) -> None:
    other = {**ROWS[1], "request_properties": {"Helicone-Session-Id": "conv-88"}}

    found = {row["call_id"]: row for row in audited(json.dumps([ROWS[0], other]).encode()).rows}

    assert (found[ID + "2"]["status"], found[ID + "2"]["recovered_by"]) == ("recoverable", "session")


def test_row_without_any_id_is_rejected(audited: Any) -> None:
    done = audited(LINES + json.dumps({**ROWS[0], "request_id": None, "response_id": None}).encode())

    assert [(place.line, place.reason) for place in done.report.inputs[0].rejections] == [
        (6, "a Helicone request without a request_id or response_id")
    ]
