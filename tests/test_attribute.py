"""Status of a call and the joins that give a tenant back: design §2 and §4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.settings import Internal, Settings
from builders import CONSUMER, PRODUCER, SERVER, Audited, Span, audit_spans, call, span


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*spans: Span, **settings: Any) -> Audited:
        return audit_spans(tmp_path, spans, Settings(**settings))

    return run


def said(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["status"], row["tenant_id"], row["recovered_by"]


KNOWS = {"tenant.id": "acme"}
CALL = call(id="call", trace="mine")


# -- carried -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        {"tenant.id": "acme"},
        {"tenant_id": "acme"},
        {"tenantId": "acme"},
        {"tenant": "acme"},
        {"customer.id": "acme"},
        {"org_id": "acme"},
        {"baggage.tenant.id": "acme"},
        {"app.tenant.id": "acme"},
        {"langfuse.trace.metadata.tenant_id": "acme"},
        {"traceloop.association.properties.customer_id": "acme"},
        {"ai.telemetry.metadata.tenantId": "acme"},
        {"langsmith.metadata.tenant_id": "acme"},
        {"metadata.user_api_key_team_id": "acme"},
        {"litellm.team.id": "acme"},
        {"metadata": '{"tenant_id": "acme", "a": 1}'},
        {"metadata": {"tenant_id": "acme"}},
        {"tag.tags": ["x", "tenant:acme"]},
        {"langfuse.trace.tags": '["tenant:acme"]'},
        {"http.request.header.x-tenant-id": ["acme"]},
        {"http.request.header.x_tenant_id": ["acme"]},
    ],
)
def test_tenant_under_any_known_key_is_direct(audited: Any, attributes: dict[str, Any]) -> None:
    done = audited(CALL.with_attributes(**attributes))

    assert said(done.row(CALL)) == ("direct", "acme", None)


def test_tenant_on_the_resource_only_is_direct(audited: Any) -> None:
    assert said(audited(replace(CALL, resource=KNOWS)).row(CALL)) == ("direct", "acme", None)


@pytest.mark.parametrize("key", ["account.id", "team.id", "workspace.id"])
def test_owner_of_the_process_is_no_tenant(audited: Any, key: str) -> None:
    assert said(audited(replace(CALL, resource={key: "platform"})).row(CALL)) == ("lost", None, None)


def test_numeric_and_one_element_tenants_are_text(audited: Any) -> None:
    one, two = call(id="one", trace="1", tenant=42), call(id="two", trace="2", tenant=["acme"])

    done = audited(one, two)

    assert [said(done.row(entry)) for entry in (one, two)] == [("direct", "42", None), ("direct", "acme", None)]


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "default", "DEFAULT", "unknown", "none", "None", "null", "undefined", "anonymous", "system", "worker",
        "-", "0", "n/a", "00000000-0000-0000-0000-000000000000", "default-flow", "[REDACTED]", "test",
    ],
)  # fmt: skip
def test_placeholder_is_no_tenant(audited: Any, value: str) -> None:
    top = span("POST", id="top", trace="mine", kind=SERVER, attributes=KNOWS)

    done = audited(top, replace(CALL, parent="top").with_attributes(**{"tenant.id": value}))

    assert said(done.row(CALL)) == ("recoverable", "acme", "ancestor")


def test_declared_key_comes_before_the_built_in_ones(audited: Any) -> None:
    both = CALL.with_attributes(**{"tenant.id": "built-in", "client_ref": "declared"})

    assert said(audited(both).row(CALL))[1] == "built-in"
    assert said(audited(both, tenant_keys=("client_ref",)).row(CALL))[1] == "declared"


def test_declared_placeholder_is_no_tenant(audited: Any) -> None:
    assert said(audited(CALL.with_attributes(**KNOWS), placeholders=("ACME",)).row(CALL))[0] == "lost"


def test_end_user_of_a_gateway_counts_last_and_can_be_switched_off(audited: Any) -> None:
    only = CALL.with_attributes(**{"litellm.end_user.id": "u_17"})
    both = only.with_attributes(**{"litellm.team.id": "team"})

    assert said(audited(only).row(CALL)) == ("direct", "u_17", None)
    assert said(audited(both).row(CALL)) == ("direct", "team", None)
    assert said(audited(only, end_user_as_tenant=False).row(CALL)) == ("lost", None, None)


# -- joins, each level -------------------------------------------------------------------------------


def test_ancestor_gives_the_tenant_back_and_the_nearest_counts(audited: Any) -> None:
    spans = [
        span("POST", id="a", trace="mine", attributes={"tenant.id": "far"}),
        span("step", id="b", trace="mine", parent="a", attributes={"tenant.id": "near"}),
        span("step", id="c", trace="mine", parent="b"),
        replace(CALL, parent="c"),
    ]

    assert said(audited(*spans).row(CALL)) == ("recoverable", "near", "ancestor")


def test_span_link_gives_the_tenant_back(audited: Any) -> None:
    web = span("POST", id="web", trace="other", kind=SERVER, attributes=KNOWS)
    producer = span("send", id="send", trace="other", parent="web", kind=PRODUCER)
    job = span("run", id="run", trace="mine", kind=CONSUMER, links=[("other", "send")])

    assert said(audited(web, producer, job, replace(CALL, parent="run")).row(CALL)) == ("recoverable", "acme", "link")


def test_links_are_followed_from_queue_to_queue(audited: Any) -> None:
    web = span("POST", id="web", trace="one", kind=SERVER, attributes=KNOWS)
    first = span("run", id="first", trace="two", kind=CONSUMER, links=[("one", "web")])
    second = span("run", id="second", trace="mine", kind=CONSUMER, links=[("two", "first")])

    assert said(audited(web, first, second, replace(CALL, parent="second")).row(CALL)) == (
        "recoverable",
        "acme",
        "link",
    )


def test_link_out_of_the_file_leads_nowhere(audited: Any) -> None:
    assert said(audited(replace(CALL, links=[("gone", "gone")])).row(CALL)) == ("lost", None, None)


@pytest.mark.parametrize(
    ("key", "join"),
    [
        ("gen_ai.batch.id", "batch_id"),
        ("gen_ai.response.id", "response_id"),
        ("messaging.message.id", "message_id"),
        ("x-request-id", "request_id"),
        ("http.request.header.x_request_id", "request_id"),
        ("workflow.id", "workflow_id"),
        ("temporalWorkflowID", "workflow_id"),
        ("session.id", "session"),
        ("gen_ai.conversation.id", "session"),
        ("user.id", "user"),
    ],
)
def test_id_that_both_sides_have_gives_the_tenant_back(audited: Any, key: str, join: str) -> None:
    knowing = span("POST", id="web", trace="other", attributes={**KNOWS, key: "shared"})

    assert said(audited(knowing, CALL.with_attributes(**{key: "shared"})).row(CALL)) == ("recoverable", "acme", join)


def test_id_on_a_span_above_the_call_joins_too(audited: Any) -> None:
    sender = span("send", id="send", trace="other", kind=PRODUCER, attributes={**KNOWS, "messaging.message.id": "m"})
    job = span("run", id="run", trace="mine", kind=CONSUMER, attributes={"messaging.message.id": "m"})

    assert said(audited(sender, job, replace(CALL, parent="run")).row(CALL)) == ("recoverable", "acme", "message_id")


def test_id_reaches_the_tenant_above_the_span_that_has_it(audited: Any) -> None:
    web = span("POST", id="web", trace="other", attributes=KNOWS)
    sender = span("send", id="send", trace="other", parent="web", attributes={"messaging.message.id": "m"})

    done = audited(web, sender, CALL.with_attributes(**{"messaging.message.id": "m"}))

    assert said(done.row(CALL)) == ("recoverable", "acme", "message_id")


def test_trace_gives_the_tenant_back_if_all_of_it_agrees(audited: Any) -> None:
    beside = span("POST", id="web", trace="mine", attributes=KNOWS)

    assert said(audited(beside, CALL).row(CALL)) == ("recoverable", "acme", "trace")
    other = span("GET", id="other", trace="mine", attributes={"tenant.id": "globex"})
    assert said(audited(beside, other, CALL).row(CALL)) == ("lost", None, None)


def test_nothing_in_common_is_lost(audited: Any) -> None:
    elsewhere = span("POST", id="web", trace="other", attributes={**KNOWS, "session.id": "s"})

    assert said(audited(elsewhere, CALL).row(CALL)) == ("lost", None, None)


def test_placeholder_ids_join_nothing(audited: Any) -> None:
    knowing = span("POST", id="web", trace="other", attributes={**KNOWS, "session.id": "unknown"})

    assert said(audited(knowing, CALL.with_attributes(**{"session.id": "unknown"})).row(CALL))[0] == "lost"


def test_ids_of_different_kinds_do_not_meet(audited: Any) -> None:
    knowing = span("POST", id="web", trace="other", attributes={**KNOWS, "session.id": "17"})

    assert said(audited(knowing, CALL.with_attributes(**{"user.id": "17"})).row(CALL))[0] == "lost"


LADDER = (
    ("link", None),
    ("batch_id", "gen_ai.batch.id"),
    ("response_id", "gen_ai.response.id"),
    ("message_id", "messaging.message.id"),
    ("request_id", "x-request-id"),
    ("workflow_id", "workflow.id"),
    ("session", "session.id"),
    ("user", "user.id"),
    ("trace", None),
)


@pytest.mark.parametrize("first", range(len(LADDER)), ids=[join for join, _ in LADDER])
def test_the_first_level_that_reaches_a_tenant_decides(audited: Any, first: int) -> None:
    # Every level from here on reaches a tenant of its own; the earlier ones reach none.
    spans, attributes, links = [], {}, []
    for join, key in LADDER[first:]:
        knows = {"tenant.id": f"by {join}"}
        if key:
            spans.append(span("web", id=join, trace=f"t {join}", attributes={**knows, key: "x"}))
            attributes[key] = "x"
        elif join == "link":
            spans.append(span("web", id=join, trace=f"t {join}", attributes=knows))
            links.append((f"t {join}", join))
        else:
            spans.append(span("web", id=join, trace="mine", attributes=knows))
    mine = replace(CALL.with_attributes(**attributes), links=links)

    assert said(audited(*spans, mine).row(CALL)) == ("recoverable", f"by {LADDER[first][0]}", LADDER[first][0])


@pytest.mark.parametrize("level", [join for join, key in LADDER if key] + ["link"])
def test_level_that_reaches_several_tenants_leaves_the_call_lost(audited: Any, level: str) -> None:
    # Also where a later level would reach one: the trace knows exactly one tenant here.
    key = dict(LADDER)[level]
    spans = [
        span("web", id=tenant, trace=f"t {tenant}", attributes={"tenant.id": tenant, **({key: "x"} if key else {})})
        for tenant in ("acme", "globex")
    ]
    sure = span("web", id="sure", trace="mine", attributes=KNOWS)
    links = [] if key else [("t acme", "acme"), ("t globex", "globex")]
    mine = replace(CALL.with_attributes(**({key: "x"} if key else {})), links=links)

    assert said(audited(*spans, sure, mine).row(CALL)) == ("lost", None, None)


def test_several_spans_of_one_tenant_are_not_ambiguous(audited: Any) -> None:
    spans = [span("web", id=f"w{n}", trace=f"t{n}", attributes={**KNOWS, "session.id": "s"}) for n in range(5)]

    assert said(audited(*spans, CALL.with_attributes(**{"session.id": "s"})).row(CALL)) == (
        "recoverable",
        "acme",
        "session",
    )


def test_joins_cross_files(tmp_path: Path) -> None:
    from builders import audit_bytes, lines  # noqa: PLC0415  # only here

    knowing = span("POST", id="web", trace="other", attributes={**KNOWS, "session.id": "s"})
    mine = CALL.with_attributes(**{"session.id": "s"})

    done = audit_bytes(tmp_path, lines(mine), lines(knowing))

    assert said(done.row(CALL)) == ("recoverable", "acme", "session")


def test_report_counts_each_join(audited: Any) -> None:
    top = span("POST", id="top", trace="mine", attributes=KNOWS)
    below = [replace(CALL, id=f"c{n}", parent="top") for n in range(3)]
    session = call(id="s", trace="s", attributes={"session.id": "x"})
    knowing = span("web", id="k", trace="k", attributes={**KNOWS, "session.id": "x"})

    report = audited(top, *below, session, knowing).report

    assert {line.join: line.calls for line in report.joins} == {"ancestor": 3, "session": 1}


# -- conflict ----------------------------------------------------------------------------------------


def test_call_that_carries_another_tenant_than_its_path_is_in_conflict(audited: Any) -> None:
    top = span("POST", id="top", trace="mine", attributes={"tenant.id": "globex"})
    mine = replace(CALL, parent="top").with_attributes(**KNOWS)

    done = audited(top, mine)

    assert (*said(done.row(CALL)), done.row(CALL)["conflict"], done.row(CALL)["rule"]) == (
        "direct", "acme", None, True, "tenant-conflict",
    )  # fmt: skip
    assert done.report.totals.conflict.cost == done.report.totals.direct.cost
    assert sum(finding.unattributed_cost for finding in done.report.findings) == 0


@pytest.mark.parametrize(
    "above", [{"tenant.id": "acme"}, {"team.id": "globex"}, {"tenant.id": "unknown"}, {"customer.id": "globex"}]
)
def test_same_tenant_other_namespace_and_placeholder_are_no_conflict(audited: Any, above: dict[str, str]) -> None:
    top = span("POST", id="top", trace="mine", attributes=above)

    done = audited(top, replace(CALL, parent="top").with_attributes(**KNOWS))

    assert not done.row(CALL)["conflict"]


def test_conflict_above_an_agreeing_span_is_seen(audited: Any) -> None:
    spans = [
        span("POST", id="a", trace="mine", attributes={"tenant.id": "globex"}),
        span("step", id="b", trace="mine", parent="a", attributes=KNOWS),
        replace(CALL, parent="b").with_attributes(**KNOWS),
    ]

    assert audited(*spans).row(CALL)["conflict"]


# -- internal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["deployment.environment.name", "deployment.environment", "env"])
@pytest.mark.parametrize("value", ["staging", "DEV", "ci", "eval"])
def test_untagged_call_outside_production_is_internal(audited: Any, key: str, value: str) -> None:
    report = audited(replace(CALL, resource={key: value})).report

    assert (report.totals.internal.calls, report.totals.unattributed.calls) == (1, 0)
    assert report.totals.audited_spend == 0
    assert report.findings == ()


def test_production_is_not_internal(audited: Any) -> None:
    assert (
        audited(replace(CALL, resource={"deployment.environment.name": "production"})).report.totals.internal.calls == 0
    )


def test_tagged_call_outside_production_stays_direct(audited: Any) -> None:
    mine = replace(CALL, resource={"deployment.environment.name": "staging"}).with_attributes(**KNOWS)

    assert said(audited(mine).row(CALL)) == ("direct", "acme", None)


@pytest.mark.parametrize(
    ("internal", "attributes"),
    [
        (Internal(services=("api",)), {}),
        (Internal(features=("nightly",)), {"feature": "nightly"}),
        (Internal(tenants=("acme",)), KNOWS),
    ],
)
def test_declared_own_use_is_internal(audited: Any, internal: Internal, attributes: dict[str, str]) -> None:
    done = audited(CALL.with_attributes(**attributes), internal=internal)

    assert done.row(CALL)["status"] == "internal"


# -- roll-up -----------------------------------------------------------------------------------------


def test_rollup_by_request_moves_the_ancestors_join_into_direct(audited: Any) -> None:
    top = span("POST", id="top", trace="mine", attributes=KNOWS)
    below = replace(CALL, parent="top")
    beside = call(id="beside", trace="mine")

    by_call, by_request = audited(top, below, beside), audited(top, below, beside, rollup="request")

    assert said(by_call.row(below)) == ("recoverable", "acme", "ancestor")
    assert said(by_request.row(below)) == ("direct", "acme", "ancestor")
    assert said(by_request.row(beside)) == said(by_call.row(beside)) == ("recoverable", "acme", "trace")
    assert by_request.report.totals.spend == by_call.report.totals.spend
    assert {line.join for line in by_request.report.joins} <= {line.join for line in by_call.report.joins}


def test_failed_call_without_a_tenant_costs_nothing_and_is_nobodys_fault(audited: Any) -> None:
    failed = replace(CALL, failed=True).with_attributes(
        **{"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    )
    report = audited(failed).report

    assert (report.totals.unattributed.calls, report.totals.unattributed.cost) == (1, 0)
    assert report.findings == ()


def test_unmetered_call_counts_among_the_unattributed_calls_without_money(audited: Any) -> None:
    metered = replace(CALL, id="m", trace="m").with_attributes(**KNOWS)
    unmetered = CALL.with_attributes(**{"gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None})

    totals = audited(metered, unmetered).report.totals

    assert (totals.unattributed.calls, totals.unattributed.cost, totals.unmetered.calls) == (1, 0, 1)
    assert totals.unmetered_estimate is not None
    assert totals.unmetered_estimate.low == totals.unmetered_estimate.high == totals.spend
