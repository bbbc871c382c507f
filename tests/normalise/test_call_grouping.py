"""Which spans are one call: design §4, sentence by sentence, and the hazards of formats-traces §12."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import (
    CALL_PICO,
    CLIENT,
    FRAMEWORK,
    SDK,
    SERVER,
    Audited,
    Span,
    audit_spans,
    call,
    span,
    spans_of,
)

TOP = span("POST", id="top", kind=SERVER, ms=10_000, attributes={"tenant.id": "acme"})


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*spans: Span) -> Audited:
        return audit_spans(tmp_path, spans)

    return run


def grouped(done: Audited) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(spans_of(row)) for row in done.rows}


def as_groups(*groups: tuple[Span, ...]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(entry.ids for entry in group) for group in groups}


def framework(**fields: Any) -> Span:
    """The framework's span around an SDK call."""
    return call(**{"id": "framework", "scope": FRAMEWORK, "start": 90, "ms": 520, "parent": "top", **fields})


def sdk(**fields: Any) -> Span:
    return call(**{"id": "sdk", "parent": "framework", **fields})


# -- containers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "invoke_workflow"},
        {"gen_ai.operation.name": "execute_tool"},
        {"gen_ai.operation.name": "retrieval"},
        {"openinference.span.kind": "AGENT"},
        {"openinference.span.kind": "CHAIN"},
        {"traceloop.span.kind": "workflow"},
        {"ai.operationId": "ai.generateText", "gen_ai.operation.name": "chat"},
        {},
    ],
)
def test_container_repeats_what_lies_below_it(audited: Any, attributes: dict[str, Any]) -> None:
    # D1: usage 682/126 = 417 + 265 / 53 + 73.
    sums = {"gen_ai.usage.input_tokens": 682, "gen_ai.usage.output_tokens": 126, "gen_ai.request.model": "gpt-4o-mini"}
    agent = span("agent", id="agent", parent="top", ms=3000, attributes={**attributes, **sums})
    one = call(id="one", parent="agent", usage={"input": 417, "output": 53})
    two = call(id="two", parent="agent", start=900, usage={"input": 265, "output": 73})

    done = audited(TOP, agent, one, two)

    assert grouped(done) == as_groups((one,), (two,))
    assert done.report.totals.input_tokens == 682


def test_container_that_repeats_its_only_call_is_no_call(audited: Any) -> None:
    same = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    }
    agent = span("agent", id="agent", parent="top", ms=3000, attributes=same)
    inner = call(id="one", parent="agent")

    assert grouped(audited(TOP, agent, inner)) == as_groups((inner,))


def test_container_alone_is_no_call_either(audited: Any) -> None:
    agent = span(
        "agent", id="agent", attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 5}
    )
    one = call(id="one", trace="other")

    assert grouped(audited(agent, one)) == as_groups((one,))


def test_model_name_alone_makes_no_call(audited: Any) -> None:
    web = span("GET", id="web", kind=CLIENT, attributes={"gen_ai.request.model": "gpt-4o", "http.route": "/"})
    one = call(id="one", trace="other")

    assert grouped(audited(web, one)) == as_groups((one,))


# -- pairs -------------------------------------------------------------------------------------------


def test_framework_and_sdk_nested_are_one_call(audited: Any) -> None:
    done = audited(TOP, framework(), sdk())

    assert grouped(done) == as_groups((framework(), sdk()))
    assert done.report.totals.spend == CALL_PICO
    assert (done.rows[0]["span_id"], done.rows[0]["status"]) == (sdk().ids[1], "recoverable")


def test_framework_without_counts_is_one_call_with_its_sdk(audited: Any) -> None:
    assert grouped(audited(TOP, framework(usage={}), sdk())) == as_groups((framework(), sdk()))


def test_sdk_without_counts_takes_those_of_the_framework(audited: Any) -> None:
    done = audited(TOP, framework(), sdk(usage={}))

    assert grouped(done) == as_groups((framework(), sdk()))
    assert (done.rows[0]["input_tokens"], done.rows[0]["output_tokens"]) == (1000, 100)


def test_span_with_the_most_detail_gives_the_usage(audited: Any) -> None:
    # D3: the outer one does not see the cache (dd-trace-js#8936).
    done = audited(TOP, framework(), sdk(usage={"input": 1000, "output": 100, "read": 600, "write": 0}))

    assert len(done.rows) == 1
    assert done.rows[0]["cache_read_tokens"] == 600


def test_outer_span_that_leaves_cached_tokens_out_is_the_same_call(audited: Any) -> None:
    done = audited(
        TOP, framework(usage={"input": 400, "output": 100}), sdk(usage={"input": 1000, "output": 100, "read": 600})
    )

    assert len(done.rows) == 1
    assert (done.rows[0]["input_tokens"], done.rows[0]["cache_read_tokens"]) == (1000, 600)


def test_tenant_of_any_span_of_the_call_counts(audited: Any) -> None:
    top = replace(TOP, attributes={})
    for outer, inner in (("acme", None), (None, "acme")):
        done = audited(top, framework(tenant=outer), sdk(tenant=inner))

        assert [(row["status"], row["tenant_id"]) for row in done.rows] == [("direct", "acme")]


def test_three_descriptions_nested_are_one_call(audited: Any) -> None:
    # Framework, second instrumentation, SDK.
    middle = call(id="middle", parent="framework", scope="openinference.instrumentation.openai", start=95, ms=510)
    inner = sdk(parent="middle")

    done = audited(TOP, framework(), middle, inner)

    assert grouped(done) == as_groups((framework(), middle, inner))
    assert done.report.totals.spend == CALL_PICO


def test_spans_between_two_descriptions_do_not_matter(audited: Any) -> None:
    between = span("RunnableSequence", id="between", parent="framework", scope=FRAMEWORK, start=92, ms=515)

    assert grouped(audited(TOP, framework(), between, sdk(parent="between"))) == as_groups((framework(), sdk()))


@pytest.mark.parametrize(
    "change",
    [
        {"usage": {"input": 7, "output": 7}},
        {"model": "gpt-4o", "usage": {}},
        {"operation": "embeddings"},
        {"scope": FRAMEWORK},
        {"start": 700},
        {"ms": 9000},
    ],
    ids=["other counts", "other model and no counts", "other operation", "same scope", "after it", "outlasts it"],
)
def test_nested_calls_that_do_not_fit_stay_apart_or_container(audited: Any, change: dict[str, Any]) -> None:
    done = audited(TOP, framework(), sdk(**change))

    assert not any(len(group) == 2 for group in grouped(done))


def test_unknown_scopes_need_equal_counts(audited: Any) -> None:
    with_counts = audited(TOP, framework(scope=""), sdk(scope=""))
    without = audited(TOP, framework(scope=""), sdk(scope="", usage={}))

    assert grouped(with_counts) == as_groups((framework(), sdk()))
    assert not any(len(group) == 2 for group in grouped(without))


def test_two_instrumentations_beside_one_another_are_one_call(audited: Any) -> None:
    # D6: children of one parent, the same moment, different scopes.
    other = call(id="other", parent="top", scope="openinference.instrumentation.openai", start=102, ms=495)
    own = sdk(parent="top")

    assert grouped(audited(TOP, own, other)) == as_groups((own, other))


def test_two_calls_of_one_scope_beside_one_another_are_two(audited: Any) -> None:
    one, two = sdk(id="a", parent="top"), sdk(id="b", parent="top", start=101)

    assert grouped(audited(TOP, one, two)) == as_groups((one,), (two,))


def test_two_roots_are_never_siblings(audited: Any) -> None:
    one = call(id="a", scope=SDK)
    two = call(id="b", scope="openinference.instrumentation.openai", start=102, ms=495)

    assert grouped(audited(one, two)) == as_groups((one,), (two,))


def test_fan_out_pairs_one_to_one_by_time(audited: Any) -> None:
    # Three concurrent calls with equal counts, each seen by two instrumentations.
    own = [call(id=f"own {n}", parent="top", start=100 + 40 * n, ms=500) for n in range(3)]
    other = [call(id=f"other {n}", parent="top", scope="second", start=102 + 40 * n, ms=490) for n in range(3)]

    done = audited(TOP, *own, *other)

    assert grouped(done) == as_groups(*zip(own, other, strict=True))


def test_model_dates_and_prefixes_do_not_keep_a_pair_apart(audited: Any) -> None:
    done = audited(TOP, framework(model="openai/gpt-4o-mini"), sdk(model="gpt-4o-mini-2024-07-18"))

    assert grouped(done) == as_groups((framework(), sdk()))


# -- gateway -----------------------------------------------------------------------------------------


def through_gateway(**fields: Any) -> list[Span]:
    """Application → HTTP → gateway → provider, one trace."""
    return [
        TOP,
        call(id="app", parent="top", response="resp-1"),
        span("POST", id="http", parent="app", kind=CLIENT, start=105, ms=490),
        span("POST /v1/chat/completions", id="in", parent="http", service="gateway", kind=SERVER, start=110, ms=480),
        call(
            **{"id": "out", "parent": "in", "service": "gateway", "scope": "gateway", "start": 120, "ms": 450, **fields}
        ),
    ]


def test_application_and_gateway_are_one_call(audited: Any) -> None:
    spans = through_gateway(response="resp-1")

    assert grouped(audited(*spans)) == as_groups((spans[1], spans[4]))


def test_gateway_that_rewrites_the_response_id_is_still_the_same_call(audited: Any) -> None:
    spans = through_gateway(response="gw-77")

    assert grouped(audited(*spans)) == as_groups((spans[1], spans[4]))


def test_gateway_decides_the_price_and_the_application_the_identity(audited: Any) -> None:
    spans = through_gateway(model="gpt-4o", response="resp-1")
    spans[1] = spans[1].with_attributes(**{"tenant.id": "acme"})

    (row,) = audited(*spans).rows

    assert row["tenant_id"] == "acme"
    assert row["cost_usd"] == "0.0035"  # 1000 x 2.50 + 100 x 10 USD a million: gpt-4o


def test_clock_of_the_gateway_does_not_matter_inside_one_trace(audited: Any) -> None:
    spans = through_gateway(response="resp-1")
    skewed = [replace(entry, start=entry.start + 35_000) if entry.service == "gateway" else entry for entry in spans]

    assert grouped(audited(*skewed)) == as_groups((skewed[1], skewed[4]))


# -- response ids ------------------------------------------------------------------------------------


def test_response_id_joins_two_processes_across_traces(audited: Any) -> None:
    app = call(id="app", trace="a", response="r")
    gateway = call(id="gateway", trace="b", service="gateway", scope="gateway", start=150, response="r")

    assert grouped(audited(app, gateway)) == as_groups((app, gateway))


def test_response_id_joins_overlapping_spans_whose_parents_are_missing(audited: Any) -> None:
    outer = call(id="outer", parent="gone", scope=FRAMEWORK, start=90, ms=520, response="r")
    inner = call(id="inner", parent="lost", response="r")

    assert grouped(audited(outer, inner)) == as_groups((outer, inner))


def test_response_id_of_a_replay_later_is_another_call(audited: Any) -> None:
    # D14: agents, caches and recorded tests repeat an id.
    one = call(id="one", trace="a", response="r")
    two = call(id="two", trace="b", start=60_000, response="r")

    assert grouped(audited(one, two)) == as_groups((one,), (two,))


def test_response_id_with_other_counts_is_another_call(audited: Any) -> None:
    one = call(id="one", trace="a", response="r")
    two = call(id="two", trace="b", service="gateway", response="r", usage={"input": 3, "output": 4})

    assert grouped(audited(one, two)) == as_groups((one,), (two,))


def test_response_id_joins_under_a_constant_clock_offset(audited: Any) -> None:
    apps = [call(id=f"a{n}", trace=f"a{n}", start=1000 * n, response=f"r{n}") for n in range(5)]
    gateways = [
        call(id=f"g{n}", trace=f"g{n}", service="gateway", scope="gw", start=1000 * n + 3_600_000, response=f"r{n}")
        for n in range(5)
    ]

    assert grouped(audited(*apps, *gateways)) == as_groups(*zip(apps, gateways, strict=True))


def test_one_pair_far_apart_is_no_clock_offset(audited: Any) -> None:
    app = call(id="app", trace="a", response="r")
    gateway = call(id="gateway", trace="b", service="gateway", scope="gw", start=3_600_000, response="r")

    assert grouped(audited(app, gateway)) == as_groups((app,), (gateway,))


def test_one_response_id_pairs_one_to_one_per_process(audited: Any) -> None:
    app = call(id="app", trace="a", response="r")
    gateways = [
        call(id=f"g{n}", trace=f"g{n}", service="gateway", scope="gw", start=100 + 20 * n, response="r")
        for n in range(2)
    ]

    assert sorted(len(group) for group in grouped(audited(app, *gateways))) == [1, 2]


def test_gateway_cache_hit_is_not_the_call_that_it_repeats(audited: Any) -> None:
    # D13: the original response with the original id and usage, served again.
    one = call(id="one", trace="a", response="r")
    hit = call(
        id="hit", trace="b", service="gateway", scope="gw", start=700, ms=5, response="r",
        attributes={"litellm.cache_hit": True},
    )  # fmt: skip

    done = audited(one, hit)

    assert grouped(done) == as_groups((one,), (hit,))
    assert done.row(hit)["usage_status"] == "not_billed"
    assert done.report.totals.spend == CALL_PICO


# -- carriers of usage -------------------------------------------------------------------------------

USAGE = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 50}


@pytest.mark.parametrize("where", ["child", "beside", "linked"])
@pytest.mark.parametrize("late", [False, True])
def test_usage_on_another_span_belongs_to_the_call_that_lacks_it(audited: Any, where: str, late: bool) -> None:
    stream = call(id="stream", parent="top", usage={})
    place = {
        "child": {"parent": "stream"},
        "beside": {"parent": "top"},
        "linked": {"trace": "another", "links": [("trace", "stream")]},
    }[where]
    carrier = span(
        "usage", id="carrier", scope="another scope", start=2500 if late else 550, ms=3, attributes=USAGE, **place
    )

    done = audited(TOP, stream, carrier)

    assert grouped(done) == as_groups((stream, carrier))
    row = done.row(stream)
    assert (row["span_id"], row["usage_status"]) == (stream.ids[1], "elsewhere")
    assert (row["input_tokens"], row["output_tokens"]) == (10, 50)


def test_usage_on_an_event_belongs_to_its_span(audited: Any) -> None:
    stream = call(id="stream", usage={}, events=[("stream.end", USAGE)])

    (row,) = audited(stream).rows

    assert (row["usage_status"], row["input_tokens"], row["output_tokens"]) == ("elsewhere", 10, 50)


def test_usage_beside_two_calls_goes_to_one_only(audited: Any) -> None:
    one = call(id="one", parent="top", usage={})
    two = call(id="two", parent="top", usage={}, start=700)
    carrier = span("usage", id="carrier", parent="top", start=650, ms=1, attributes=USAGE)

    done = audited(TOP, one, two, carrier)

    assert grouped(done) == as_groups((one, carrier), (two,))


def test_usage_beside_a_failed_call_is_not_its_usage(audited: Any) -> None:
    failed = call(id="failed", parent="top", usage={}, failed=True)
    carrier = span("usage", id="carrier", parent="top", start=650, ms=1, attributes=USAGE)

    done = audited(TOP, failed, carrier)

    assert done.row(failed)["usage_status"] == "not_billed"


def test_usage_told_again_below_a_call_is_not_added(audited: Any) -> None:
    own = call(id="own", parent="top", usage={"input": 10, "output": 50})
    carrier = span("usage", id="carrier", parent="own", start=550, ms=1, attributes=USAGE)

    assert audited(TOP, own, carrier).report.totals.input_tokens == 10


# -- retries, redelivery -----------------------------------------------------------------------------


def test_retries_with_usage_are_calls_of_their_own_and_failures_without_are_not_billed(audited: Any) -> None:
    # D8: attempts are siblings of one parent; both with usage are billed.
    failed = call(id="failed", parent="top", usage={}, failed=True)
    cut = call(id="cut", parent="top", start=700, usage={"input": 1000, "output": 3}, failed=True, response="r1")
    done_one = call(id="done", parent="top", start=1300, response="r2")

    done = audited(TOP, failed, cut, done_one)

    assert grouped(done) == as_groups((failed,), (cut,), (done_one,))
    assert {row["span_id"]: (row["usage_status"], row["cost_usd"]) for row in done.rows} == {
        failed.ids[1]: ("not_billed", "0"),
        cut.ids[1]: ("complete", "0.0001518"),
        done_one.ids[1]: ("complete", "0.00021"),
    }
    assert done.report.totals.unmetered.calls == 0


def test_failed_attempt_inside_the_span_of_all_attempts_is_not_that_call(audited: Any) -> None:
    failed = sdk(id="failed", usage={}, failed=True, start=100, ms=50)
    success = sdk(id="success", start=200, ms=300)

    done = audited(TOP, framework(), failed, success)

    assert done.report.totals.spend == CALL_PICO
    assert done.row(failed)["usage_status"] == "not_billed"
    assert done.row(success)["usage_status"] == "complete"


def test_delivered_twice_is_once(audited: Any) -> None:
    done = audited(TOP, sdk(parent="top"), sdk(parent="top"), TOP)

    assert len(done.rows) == 1
    assert done.report.totals.duplicates.calls == 2


def test_unfinished_copy_gives_way_to_the_finished_span(audited: Any) -> None:
    # D12: delivered at its start, and again at its end.
    unfinished = sdk(parent="top", ms=None, usage={})

    (row,) = audited(unfinished, TOP, sdk(parent="top"), unfinished).rows

    assert (row["usage_status"], row["input_tokens"]) == ("complete", 1000)


def test_pending_copy_of_logfire_is_no_call(audited: Any) -> None:
    pending = call(id="pending", parent="sdk", usage={}, ms=0, attributes={"logfire.span_type": "pending_span"})

    assert grouped(audited(TOP, sdk(parent="top"), pending)) == as_groups((sdk(),))


def test_links_of_a_dropped_copy_go_with_it(audited: Any) -> None:
    other = span("job", id="job", trace="other", attributes={"tenant.id": "globex"})
    pending = call(
        id="pending", trace="mine", usage={}, links=[("other", "job")], attributes={"logfire.span_type": "pending_span"}
    )
    own = call(id="own", trace="mine")

    done = audited(other, pending, own)

    assert done.row(own)["status"] == "lost"
