"""The call ledger and the tenant ledger: design §7."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from auditor.ledger.calls import COLUMNS
from auditor.ledger.tenants import tenant_rows
from auditor.pipeline import audit
from auditor.settings import Settings
from builders import SERVER, Audited, Span, audit_spans, call, lines, span

DESIGNED = """call_id, trace_id, span_id, duplicates, time, service, provider, model_requested, model_executed,
operation, streamed, batch, failed, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, usage_status,
cache_hit, cost_usd, price_status, status, tenant_id, carried_tenant_id, recovered_by, conflict, rule, user_id,
workflow_id, environment, feature"""


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*spans: Span, **settings: Any) -> Audited:
        return audit_spans(tmp_path, spans, Settings(**settings))

    return run


def test_columns_are_those_of_the_contract_in_order(audited: Any) -> None:
    names = tuple(name.strip() for name in DESIGNED.split(","))

    assert names == COLUMNS
    assert all(tuple(row) == names for row in audited(call()).rows)


def test_rows_are_ordered_by_time_then_ids(audited: Any) -> None:
    calls = [call(id=f"{n:016x}", trace=f"{n % 3 + 1:032x}", start=100 * (n % 2)) for n in range(1, 13)]

    rows = audited(*reversed(calls)).rows

    keys = [(row["time"], row["trace_id"], row["span_id"]) for row in rows]
    assert keys == sorted(keys)
    assert len(keys) == 12


def test_whole_row(audited: Any) -> None:
    own = call(
        id="own", trace="t", tenant="acme", response="r", model="gpt-4o",
        usage={"input": 1200, "output": 150, "read": 1024},
        attributes={
            "gen_ai.response.model": "gpt-4o-2024-08-06", "user.id": "u", "workflow.id": "w", "feature": "f",
            "gen_ai.request.stream": True,
        },
        resource={"deployment.environment.name": "prod"},
    )  # fmt: skip

    (row,) = audited(own).rows

    trace_id, span_id = own.ids
    assert row == {
        "call_id": f"{trace_id}:{span_id}", "trace_id": trace_id, "span_id": span_id, "duplicates": [],
        "time": "2026-09-21T14:13:20.100000000Z", "service": "api", "provider": "openai", "model_requested": "gpt-4o",
        "model_executed": "gpt-4o-2024-08-06", "operation": "chat", "streamed": True, "batch": False, "failed": False,
        "input_tokens": 1200, "cache_read_tokens": 1024, "cache_write_tokens": 0, "output_tokens": 150,
        "usage_status": "complete", "cache_hit": False,
        # 176 x 2.50 + 1024 x 1.25 + 150 x 10 USD a million
        "cost_usd": "0.00322", "price_status": "priced", "status": "direct", "tenant_id": "acme",
        "carried_tenant_id": "acme", "recovered_by": None, "conflict": False, "rule": None, "user_id": "u",
        "workflow_id": "w", "environment": "prod", "feature": "f",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "usage_status", "cost", "price_status"),
    [
        ({}, "complete", "0.00021", "priced"),
        ({"usage": {}}, "missing", None, "no_usage"),
        ({"usage": {}, "failed": True}, "not_billed", "0", "no_usage"),
        ({"failed": True}, "complete", "0.00021", "priced"),
        ({"model": "no-such-model"}, "complete", None, "unpriced"),
        ({"usage": {"input": 1000}}, "partial", "0.00015", "priced"),
        ({"attributes": {"cache_hit": True}}, "not_billed", "0", "no_usage"),
        ({"usage": {"input": 0, "output": 0}}, "missing", None, "no_usage"),
    ],
)
def test_unknown_is_null_and_not_billed_is_zero(
    audited: Any, change: dict[str, Any], usage_status: str, cost: str | None, price_status: str
) -> None:
    (row,) = audited(call(**change)).rows

    assert (row["usage_status"], row["cost_usd"], row["price_status"]) == (usage_status, cost, price_status)
    assert (row["input_tokens"] is None) == (usage_status in {"missing", "not_billed"} and not row["cache_hit"])


def test_time_that_is_unknown_is_null(audited: Any) -> None:
    never = replace(call(), start=-1_790_000_000_000)

    assert audited(never).rows[0]["time"] is None


def test_internal_call_names_the_join_that_its_tenant_came_by(audited: Any) -> None:
    top = span("POST", id="top", kind=SERVER, attributes={"tenant.id": "acme"})
    own = call(parent="top", resource={"deployment.environment.name": "staging"})

    row = audited(top, own).row(own)

    assert (row["status"], row["tenant_id"], row["carried_tenant_id"], row["recovered_by"]) == (
        "internal", "acme", None, "ancestor",
    )  # fmt: skip


def test_hashed_ids_hide_tenants_and_users_alike_everywhere(audited: Any) -> None:
    calls = [call(id=f"c{n}", trace=f"t{n}", tenant="acme", attributes={"user.id": "u"}) for n in range(2)]

    done = audited(*calls, hash_ids=True)

    shown = {row["tenant_id"] for row in done.rows} | {line.tenant_id for line in done.report.tenants}
    assert len(shown) == 1
    assert "acme" not in str(done.rows) + str(done.report)
    assert {row["user_id"] for row in done.rows} != {"u"}


def test_tenant_rows_add_up_and_tell_every_status_apart(tmp_path: Path) -> None:
    top = span("POST", id="top", trace="t", kind=SERVER, attributes={"tenant.id": "acme"})
    spans = [
        top,
        call(id="direct", trace="a", tenant="acme"),
        call(id="recovered", trace="t", parent="top"),
        call(id="lost", trace="b"),
        call(id="internal", trace="c", resource={"env": "ci"}),
        call(id="other", trace="d", tenant="globex", usage={}),
        call(id="odd", trace="e", tenant="globex", model="no-such-model"),
    ]
    path = tmp_path / "x.json"
    path.write_bytes(lines(*spans))
    done = audit([str(path)], Settings())

    rows = list(tenant_rows(done.calls))

    said = {(row["tenant_id"], row["status"]): (row["calls"], row["cost_usd"]) for row in rows}
    assert said == {
        ("acme", "direct"): (1, "0.00021"),
        ("acme", "recoverable"): (1, "0.00021"),
        (None, "lost"): (1, "0.00021"),
        (None, "internal"): (1, "0.00021"),
        ("globex", "direct"): (2, "0"),
    }
    (globex,) = [row for row in rows if row["tenant_id"] == "globex"]
    assert (globex["unmetered_calls"], globex["unpriced_calls"]) == (1, 1)
    assert sum(Decimal(str(row["cost_usd"])) for row in rows) * 10**12 == done.report.totals.spend


def test_cache_hit_of_the_gateway_is_told_for_the_call_of_the_application(audited: Any) -> None:
    app = call(id="app", response="r")
    gateway = call(
        id="gateway", parent="app", service="gateway", scope="gateway", start=110, ms=480,
        attributes={"litellm.cache_hit": True},
    )  # fmt: skip

    row = audited(app, gateway).row(app)

    assert row["usage_status"] == "not_billed"
    assert (row["cache_hit"], row["input_tokens"]) == (True, 1000)
