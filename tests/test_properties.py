"""What has to hold for every export: money adds up, and neither order nor framing nor names change the answer."""

from __future__ import annotations

import gzip
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from auditor.errors import InputError
from auditor.ledger.tenants import tenant_rows
from auditor.model.money import to_decimal_string
from auditor.model.report import Report
from auditor.pipeline import audit
from auditor.report.json_v1 import digest, render
from auditor.report.schema import validate
from auditor.settings import Settings
from builders import (
    CLIENT,
    CONSUMER,
    INTERNAL,
    PRODUCER,
    SERVER,
    Audited,
    Span,
    audit_bytes,
    call,
    lines,
    request,
    span,
)

common = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SERVICES = ("web", "api", "jobs", "agent")
KINDS = (0, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER)
TENANTS = ("acme", "globex", "initech")
MODELS = ("gpt-4o-mini", "gpt-4o", "claude-3-5-haiku-20241022", "no-such-model")
IDS = tuple(f"s{number}" for number in range(14))


@st.composite
def spans(draw: st.DrawFn) -> Span:
    """A span anywhere: parents that lie in other services, in other traces, nowhere, or in a circle."""
    tenant = draw(st.sampled_from((None, None, *TENANTS, "default")))
    fields: dict[str, Any] = {
        "id": draw(st.sampled_from(IDS)),
        "trace": draw(st.sampled_from(("t1", "t2", "t3"))),
        "parent": draw(st.sampled_from(("", "", *IDS, "nowhere"))),
        "service": draw(st.sampled_from(SERVICES)),
        "instance": draw(st.sampled_from(("", "", "i1", "i2"))),
        "start": draw(st.integers(0, 400)),
        "ms": draw(st.sampled_from((None, 0, 1, 50, 300, 5000))),
        "flags": draw(st.sampled_from((0, 0x100, 0x300))),
        "failed": draw(st.sampled_from((False, False, False, True))),
        "links": draw(st.lists(st.tuples(st.sampled_from(("t1", "t2", "t3")), st.sampled_from(IDS)), max_size=2)),
        "resource": draw(st.sampled_from(({}, {}, {}, {"deployment.environment.name": "staging"}))),
    }
    attributes: dict[str, Any] = {"tenant.id": tenant} if tenant else {}
    for key in ("session.id", "user.id", "messaging.message.id", "batch.id", "x-request-id"):
        if draw(st.integers(0, 7)) == 0:
            attributes[key] = draw(st.sampled_from(("one", "two")))
    if draw(st.booleans()):
        usage = draw(
            st.sampled_from(
                (
                    {"input": 1000, "output": 100},
                    {"input": 1000, "output": 100, "read": 600, "total": 1100},
                    {"input": 10, "output": 7, "write": 3000},
                    {"input": 17},
                    {},
                )
            )
        )
        return call(
            **fields,
            usage=usage,
            model=draw(st.sampled_from(MODELS)),
            operation=draw(st.sampled_from(("chat", "chat", "embeddings", "rerank", "invoke_agent"))),
            response=draw(st.sampled_from((None, None, "r1", "r2", "r3"))),
            scope=draw(st.sampled_from(("sdk", "framework", ""))),
            kind=draw(st.sampled_from(KINDS)),
            attributes=attributes,
        )
    extra = draw(
        st.sampled_from(
            (
                {},
                {"http.route": "/v1/chat/completions"},
                {"celery.task_name": "job"},
                {"gen_ai.operation.name": "invoke_agent"},
                {"gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100},
            )
        )
    )
    return span(**fields, kind=draw(st.sampled_from(KINDS)), attributes={**attributes, **extra})


@st.composite
def exports(draw: st.DrawFn) -> list[Span]:
    """Up to 25 spans, each (trace, id) once, at least one call that carries nothing strange."""
    found = draw(st.lists(spans(), max_size=24, unique_by=lambda entry: entry.ids))
    return [*found, call(id="sure", trace="sure", tenant=draw(st.sampled_from((None, "acme"))))]


@contextmanager
def a_home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def audited(*documents: bytes, settings: Settings | None = None) -> Audited:
    with a_home() as home:
        return audit_bytes(home, *documents, settings=settings)


def answer(report: Report) -> dict[str, Any]:
    """The report without inputs and positions."""
    document = orjson.loads(render(report))
    for finding in document["findings"]:
        for sample in finding["samples"]:
            del sample["input"], sample["line"]
    del document["inputs"]
    return document


# -- money -------------------------------------------------------------------------------------------


@common
@given(exports(), st.sampled_from(("call", "request")))
def test_every_amount_adds_up_exactly(export: list[Span], rollup: str) -> None:
    done = audited(lines(*export), settings=Settings(rollup=rollup))

    totals, findings = done.report.totals, done.report.findings
    assert sum(finding.unattributed_cost for finding in findings) == totals.unattributed.cost
    assert sum(finding.unattributed_calls for finding in findings) <= totals.unattributed.calls
    assert totals.recoverable.cost + totals.lost.cost == totals.unattributed.cost
    assert totals.recoverable.calls + totals.lost.calls == totals.unattributed.calls
    assert totals.direct.cost + totals.unattributed.cost + totals.internal.cost == totals.spend
    assert totals.direct.calls + totals.unattributed.calls + totals.internal.calls == totals.calls
    assert totals.spend - totals.internal.cost == totals.audited_spend
    assert sum(line.cost for line in done.report.joins) == totals.recoverable.cost
    assert sum(line.direct_cost for line in done.report.tenants) == totals.direct.cost
    assert sum(line.recovered_cost for line in done.report.tenants) == totals.recoverable.cost
    assert sum(repair.cost_freed for repair in done.report.plan) == totals.unattributed.cost
    assert sum(edge.lost_cost for edge in done.report.map_edges) <= totals.unattributed.cost


@common
@given(exports())
def test_ledger_rows_sum_to_the_totals(export: list[Span]) -> None:
    with a_home() as home:
        path = home / "x.json"
        path.write_bytes(lines(*export))
        done = audit([str(path)], Settings())
        rows = audit_bytes(home, lines(*export)).rows
        by_tenant = list(tenant_rows(done.calls))

    totals = done.report.totals
    cost = sum((Decimal(row["cost_usd"]) for row in rows if row["cost_usd"] is not None), Decimal(0))
    assert cost == Decimal(to_decimal_string(totals.spend))
    assert sum(Decimal(str(row["cost_usd"])) for row in by_tenant) == cost
    assert len(rows) == totals.calls == sum(int(str(row["calls"])) for row in by_tenant)
    for status in ("direct", "recoverable", "lost", "internal"):
        mine = [row for row in rows if row["status"] == status]
        assert len(mine) == getattr(totals, status).calls
    assert sum(row["input_tokens"] or 0 for row in rows) == totals.input_tokens
    assert sum(row["output_tokens"] or 0 for row in rows) == totals.output_tokens
    assert sum(row["usage_status"] == "missing" for row in rows) == totals.unmetered.calls
    assert sum(row["price_status"] == "unpriced" for row in rows) == totals.unpriced.calls
    assert sum(row["conflict"] for row in rows) == totals.conflict.calls


@common
@given(exports())
def test_each_unattributed_billed_call_has_one_rule_and_no_other_has_a_tenant_missing(export: list[Span]) -> None:
    done = audited(lines(*export))

    for row in done.rows:
        if row["status"] in {"recoverable", "lost"} and row["usage_status"] != "not_billed":
            assert row["rule"] or (row["failed"] and row["cost_usd"] in {None, "0"})
        assert (row["carried_tenant_id"] is not None) == (row["status"] == "direct") or row["status"] == "internal"
        assert (row["tenant_id"] is None) == (row["status"] == "lost") or row["status"] == "internal"
        assert (row["recovered_by"] is not None) == (row["status"] == "recoverable") or row["status"] == "internal"


@common
@given(exports())
def test_json_report_is_valid_against_the_schema(export: list[Span]) -> None:
    done = audited(lines(*export))

    validate(orjson.loads(render(done.report)))


# -- order, framing, redelivery ----------------------------------------------------------------------


@common
@given(exports(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_and_files_and_compression_change_nothing(export: list[Span], rng: random.Random, files: int) -> None:
    whole = audited(json.dumps(request(*export)).encode())
    shuffled = list(export)
    rng.shuffle(shuffled)
    parts = [lines(*shuffled[number::files]) for number in range(files)]

    split = audited(*(part for part in parts if part))
    packed = audited(*(gzip.compress(part) for part in reversed(parts) if part))

    assert answer(split.report) == answer(whole.report)
    assert digest(whole.report) == digest(split.report) == digest(packed.report)
    assert whole.rows == split.rows == packed.rows


@common
@given(exports(), st.randoms(use_true_random=False))
def test_redelivered_spans_count_once(export: list[Span], rng: random.Random) -> None:
    once = audited(lines(*export))
    again = rng.sample(export, rng.randint(1, len(export)))

    twice = audited(lines(*export), lines(*again))

    assert twice.rows == once.rows
    said, expected = answer(twice.report), answer(once.report)
    for document in (said, expected):
        # How many copies there were is a fact of the delivery.
        del document["totals"]["duplicates"]
    assert said == expected


@common
@given(exports(), st.randoms(use_true_random=False))
def test_copies_that_differ_give_one_answer_in_any_order(export: list[Span], rng: random.Random) -> None:
    def altered(entry: Span) -> Span:
        change = rng.choice(("ms", "parent", "service", "tenant", "model", "tokens"))
        match change:
            case "ms":
                return replace(entry, ms=rng.choice((0, 10, 999)))
            case "parent":
                return replace(entry, parent=rng.choice(IDS))
            case "service":
                return replace(entry, service=rng.choice(SERVICES))
            case "tenant":
                return entry.with_attributes(**{"tenant.id": rng.choice(TENANTS)})
            case "model":
                return entry.with_attributes(**{"gen_ai.request.model": rng.choice(MODELS)})
        return entry.with_attributes(
            **{"gen_ai.usage.input_tokens": rng.choice((5, 7)), "gen_ai.usage.output_tokens": rng.choice((5, 7))}
        )

    copies = [altered(entry) for entry in export]

    forth = audited(lines(*export), lines(*copies))
    back = audited(lines(*reversed(copies)), lines(*reversed(export)))

    assert back.rows == forth.rows
    assert digest(back.report) == digest(forth.report)


# -- names and tags ----------------------------------------------------------------------------------


@common
@given(exports())
def test_renaming_services_changes_no_total_and_no_rule(export: list[Span]) -> None:
    names = dict(zip(SERVICES, ("zulu", "yankee", "alpha", "mike"), strict=True))

    before = audited(lines(*export)).report
    after = audited(
        lines(*(replace(entry, service=names.get(entry.service, entry.service)) for entry in export))
    ).report

    assert after.totals == before.totals
    assert Counter((f.rule, f.calls, f.cost, f.unattributed_cost) for f in after.findings) == Counter(
        (f.rule, f.calls, f.cost, f.unattributed_cost) for f in before.findings
    )


@common
@given(exports())
def test_tagging_every_span_alike_silences_every_rule_but_those_about_usage(export: list[Span]) -> None:
    done = audited(lines(*(entry.with_attributes(**{"tenant.id": "acme"}) for entry in export)))

    assert {finding.rule for finding in done.report.findings} <= {"stream-span-closure", "uninstrumented-calls"}
    assert done.report.totals.unattributed.calls == 0
    assert done.report.totals.conflict.calls == 0


@common
@given(st.data())
def test_removing_one_tag_moves_exactly_that_money(data: st.DataObject) -> None:
    # Nothing else may know the tenant or be the same call: every call is a trace and a user of its own.
    calls = [
        call(id=f"c{number}", trace=f"c{number}", tenant=data.draw(st.sampled_from(TENANTS)),
             usage={"input": data.draw(st.integers(1, 10**6)), "output": data.draw(st.integers(1, 10**5))})
        for number in range(data.draw(st.integers(1, 6)))
    ]  # fmt: skip
    chosen = data.draw(st.integers(0, len(calls) - 1))
    untagged = [
        entry.with_attributes(**{"tenant.id": None}) if number == chosen else entry
        for number, entry in enumerate(calls)
    ]

    before, after = audited(lines(*calls)), audited(lines(*untagged))

    moved = before.row(calls[chosen])
    cost = Decimal(moved["cost_usd"]) * 10**12
    assert before.report.totals.unattributed.cost == 0
    assert after.report.totals.unattributed.cost == cost
    assert after.report.totals.direct.cost == before.report.totals.direct.cost - cost
    assert after.report.totals.spend == before.report.totals.spend
    others = [row for row in after.rows if row["call_id"] != moved["call_id"]]
    assert others == [row for row in before.rows if row["call_id"] != moved["call_id"]]


@common
@given(exports(), st.integers(1, 10**6))
def test_a_call_more_adds_its_cost_to_exactly_one_status(export: list[Span], tokens: int) -> None:
    more = call(
        id="more", trace="more", tenant="a tenant of its own", usage={"input": tokens, "output": 0, "total": tokens}
    )

    before = audited(lines(*export)).report.totals
    after = audited(lines(*export, more)).report.totals

    assert after.spend - before.spend == after.direct.cost - before.direct.cost == tokens * 150_000
    assert (after.recoverable, after.lost.cost, after.internal) == (
        before.recoverable if not after.recoverable.share else after.recoverable,
        before.lost.cost,
        before.internal,
    )


# -- any bytes ---------------------------------------------------------------------------------------

CALL = json.dumps(request(call(id="c", tenant="acme"))).encode()


@settings(common, max_examples=300)
@given(st.binary(max_size=300))
@example(b"")
@example(b"\xef\xbb\xbf")
@example(b"[[]]")
@example(b'{"resourceSpans":[[]]}')
@example(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}')
def test_any_bytes_are_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(InputError, match=r"0\.json"):
        audited(data)


@settings(common, max_examples=300)
@given(st.binary(min_size=1, max_size=30), st.integers(0, len(CALL)), st.integers(0, 30))
def test_bytes_overwritten_anywhere_give_a_report_or_a_reason(junk: bytes, at: int, kept: int) -> None:
    document = CALL + b"\n" + CALL[:at] + junk + CALL[at + kept :] + b"\n" + CALL.replace(b"chat", b"CHAT")

    done = audited(document)

    # The lines around the damaged one are the same call, told twice: nothing of it may be lost.
    assert done.report.totals.calls >= 1
    assert any(row["tenant_id"] == "acme" and row["cost_usd"] is not None for row in done.rows)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "traceId", "spanId", "parentSpanId", "name", "kind", "flags", "startTimeUnixNano", "endTimeUnixNano",
    "attributes", "events", "links", "status", "traceState", "droppedAttributesCount",
)  # fmt: skip


@settings(common, max_examples=200)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1))
def test_any_json_in_any_field_leaves_the_other_spans_alone(changes: dict[str, Any]) -> None:
    document = request(call(id="odd"), call(id="other", trace="other", tenant="acme"))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0].update(changes)
    last = request(call(id="last", trace="last", tenant="globex"))

    done = audited((json.dumps(document) + "\n" + json.dumps(last)).encode())

    tenants = [row["tenant_id"] for row in done.rows]
    assert {"acme", "globex"} <= set(tenants)


@settings(common, max_examples=200)
@given(st.sampled_from(("tenant.id", "gen_ai.usage.input_tokens", "gen_ai.operation.name", "metadata", "tag.tags",
                        "gen_ai.response.id", "langfuse.observation.usage_details", "llm.invocation_parameters",
                        "gen_ai.request.stream", "gen_ai.usage.cost", "http.route", "my.own")), JSON)  # fmt: skip
def test_any_json_as_an_attribute_value_leaves_the_other_spans_alone(key: str, value: Any) -> None:
    document = request(call(id="odd", tenant="globex"), call(id="other", trace="other", tenant="acme"))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"].append({"key": key, "value": value})

    done = audited(json.dumps(document).encode())

    (other,) = [row for row in done.rows if row["tenant_id"] == "acme"]
    assert other["cost_usd"] == "0.00021"
    validate(orjson.loads(render(done.report)))
