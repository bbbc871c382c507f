"""The fast way to read a span and the slow one, which defines what a span means, yield the same columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.load import builder as building
from auditor.load import otlp_spans
from auditor.load.builder import BatchBuilder, canonical_id, hash_texts, plain_hex
from auditor.load.otlp_json import OtlpJsonReader
from auditor.model.spans import Batch
from auditor.normalise.vocabulary import compile_lexicon

LEXICON = compile_lexicon(tenant_keys=["customer.ref"])
CALL_KEYS = (
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model",
    "gen_ai.response.model", "gen_ai.response.id", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens",
    "gen_ai.usage.prompt_tokens", "gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt",
    "llm.invocation_parameters", "langfuse.observation.usage_details", "gen_ai.response.finish_reasons",
    "openinference.span.kind", "llm.is_streaming", "gen_ai.server.time_to_first_token",
)  # fmt: skip
SPAN_KEYS = (
    "tenant.id", "app.tenant.id", "customer.ref", "user.id", "enduser.id", "session.id", "metadata",
    "gen_ai.usage.mystery",
    "langfuse.trace.tags", "http.route", "url.path", "server.address", "messaging.system", "messaging.operation",
    "celery.task_name", "error.type", "logfire.span_type", "gen_ai.agent.id", "gen_ai.tool.name",
    "deployment.environment.name", "db.system", "code.function.name", "url.full", "http.url", "http.request.method",
    "http.host",
)  # fmt: skip
TEXTS = (
    "", "acme", "globex", "default", "000-000", "{}", '"quoted"', "chat", "embeddings", "invoke_agent", "LLM",
    "openai", "gpt-4o-mini", "send", "process", "pending_span", "/v1/chat/completions", "/v1/chat/completions?stream=1",
    "https://api.openai.com/v1/embeddings", "http://h/model/m/converse", "https://h/orders", "POST", "GET",
    "api.openai.com",
    "/orders",     "12", "true", "user-0123456789-0123456789-0123456789", '{"tenant_id": "initech", "user_id": "u7"}',
    '{"user_id": "u8", "session_id": "s8"}', '{"stream": true, "user": "u9", "service_tier": "flex"}',
    '{"input": 7, "output": 8}', '["tenant:umbrella", "team:core"]', "a\u00e9\u2003", "stop",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *({"stringValue": text} for text in TEXTS),
    {"intValue": "120"}, {"intValue": 7}, {"intValue": -1}, {"intValue": str(10**12)}, {"intValue": "0"},
    {"doubleValue": 3.0}, {"doubleValue": 0.25}, {"boolValue": True}, {"boolValue": False},
    {"arrayValue": {"values": [{"stringValue": "stop"}]}}, {"arrayValue": {"values": []}}, {}, None,
    {"kvlistValue": {"values": [{"key": "tenant_id", "value": {"stringValue": "hooli"}}]}},
    {"stringValue": "both", "intValue": "5"}, {"stringValue": 5},
)  # fmt: skip
EVENTS: tuple[Any, ...] = (
    [],
    [{"name": "exception", "attributes": [{"key": "exception.type", "value": {"stringValue": "X"}}]}],
    [{"name": "gen_ai.content.completion.chunk"}],
    [{"name": "done", "attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "9"}}]}],
)
RESOURCES: tuple[Any, ...] = (
    {},
    {"service.name": "web", "deployment.environment.name": "staging"},
    {"service.name": "web", "service.instance.id": "1", "tenant.id": "stark"},
)

attributes = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from(CALL_KEYS) | st.sampled_from(SPAN_KEYS), "value": st.sampled_from(VALUES)}
    ),
    max_size=10,
)
spans = st.fixed_dictionaries(
    {
        "kind": st.integers(0, 7),
        "attributes": attributes,
    },
    optional={
        "flags": st.sampled_from([0, 0x100, 0x300]),
        "status": st.sampled_from([{}, {"code": 1}, {"code": 2}]),
        "events": st.sampled_from(EVENTS),
        "links": st.sampled_from([[], [{"traceId": "ab" * 16, "spanId": "cd" * 8}]]),
    },
)
groups = st.tuples(st.sampled_from(RESOURCES), st.sampled_from(["app", "openai"]), st.lists(spans, max_size=5))


def record(parts: Iterable[tuple[dict[str, Any], str, Sequence[dict[str, Any]]]], first: int) -> bytes:
    """One request with these spans, numbered from ``first``, each a child of the one before."""
    number = first
    resource_spans = []
    for resource, scope, members in parts:
        numbered = []
        for member in members:
            ids = {
                "traceId": f"{number // 7 + 1:032x}",
                "spanId": f"{number:016x}",
                "parentSpanId": f"{number - 1:016x}",
            }
            times = {"startTimeUnixNano": str(10**18 + number), "endTimeUnixNano": str(10**18 + number + 5_000_000)}
            numbered.append({**ids, "name": "work", **times, **member})
            number += 1
        pairs = [{"key": key, "value": {"stringValue": value}} for key, value in resource.items()]
        scope_spans = [{"scope": {"name": scope}, "spans": numbered}]
        resource_spans.append({"resource": {"attributes": pairs}, "scopeSpans": scope_spans})
    return json.dumps({"resourceSpans": resource_spans}).encode()


def read(records: Iterable[bytes], *, fast: bool) -> BatchBuilder:
    builder = BatchBuilder(LEXICON)
    reader = OtlpJsonReader(builder, fast=fast)
    for number, data in enumerate(records):
        reader.read(data, number + 1, 100 * number)
    builder.flush()
    return builder


def looked_up(table: Sequence[Any], codes: Iterable[int]) -> list[Any]:
    return [table[code] if code >= 0 else None for code in codes]


def contents(batch: Batch) -> dict[str, Any]:
    """What a batch says, whatever its codes are; ids of one span in any order."""
    plain = (
        "key", "parent", "trace", "start_ns", "duration_ms", "trace_ids", "call_row", "tokens", "call_line",
        "link_row", "link_key", "link_trace", "extra_call", "extra_searches", "extra_cost_pico",
    )  # fmt: skip
    return {
        **{name: getattr(batch, name).tolist() for name in plain},
        "place": looked_up(batch.places, batch.place),
        "tenant": looked_up(batch.tenants, batch.tenant),
        "facts": looked_up(batch.facts, batch.call_facts),
        "user": looked_up(batch.texts, batch.call_user),
        "workflow": looked_up(batch.texts, batch.call_workflow),
        "ids": sorted(zip(batch.id_row.tolist(), batch.id_kind.tolist(), batch.id_hash.tolist(), strict=True)),
    }


def everything(builder: BatchBuilder) -> tuple[Any, ...]:
    return (
        [contents(batch) for batch in builder.batches],
        builder.vocabularies,
        sorted(builder.keys_taken),
        builder.unread_usage,
        builder.corrupt_counts,
        builder.dropped_copies,
        builder.sample,
        [(rejection.line, rejection.reason) for rejection in builder.rejections],
    )


@pytest.mark.parametrize("limit", [1 << 12, 2, 0])
@given(parts=st.lists(groups, min_size=1, max_size=4))
@settings(max_examples=150)
def test_both_ways_say_the_same_whatever_is_remembered(limit: int, parts: list[Any]) -> None:
    # The second record finds everything remembered that the limits allow, the third what was cut off there.
    records = [record(parts, 1), record(parts, 101), record(reversed(parts), 201)]

    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHED_PLANS", "CACHED_VALUES", "CACHED_RESOURCES", "CACHED_OUTCOMES", "CACHED_FACTS"):
            patch.setattr(otlp_spans, name, limit)
        fast = read(records, fast=True)

    assert everything(fast) == everything(read(records, fast=False))


CHAT = {
    "tenant.id": {"stringValue": "acme"},
    "gen_ai.operation.name": {"stringValue": "chat"},
    "gen_ai.request.model": {"stringValue": "gpt-4o-mini"},
    "gen_ai.response.id": {"stringValue": "resp-0001"},
    "gen_ai.usage.input_tokens": {"intValue": "100"},
}


def chat(**changes: Any) -> dict[str, Any]:
    values = {**CHAT, **{key.replace("__", "."): value for key, value in changes.items()}}
    return {"kind": 3, "attributes": [{"key": key, "value": value} for key, value in values.items()]}


def descriptions(members: Sequence[dict[str, Any]]) -> int:
    """How often the builder is asked what a span means when these are read one after the other."""
    asked: Counter[str] = Counter()

    class Asked(BatchBuilder):
        def describe(self, *arguments: Any, **options: Any) -> Any:
            asked["describe"] += 1
            return super().describe(*arguments, **options)

    OtlpJsonReader(Asked(LEXICON)).read(record([({}, "openai", members)], 1), 1, 0)
    return asked["describe"]


@pytest.mark.parametrize(
    "second",
    [
        chat(),
        chat(gen_ai__response__id={"stringValue": "resp-0002"}),
        chat(gen_ai__usage__input_tokens={"intValue": "7"}),
        chat(tenant__id={"stringValue": "globex"}),
        {**chat(), "attributes": [*chat()["attributes"], {"key": "gen_ai.prompt", "value": {"stringValue": "…"}}]},
    ],
    ids=["the same", "another id", "another count", "another tenant", "an unknown key more"],
)
def test_a_span_that_differs_in_ids_counts_or_tenant_is_not_described_again(second: dict[str, Any]) -> None:
    assert descriptions([chat(), second]) == 1


@pytest.mark.parametrize(
    "second",
    [
        chat(gen_ai__request__model={"stringValue": "gpt-4o"}),
        chat(gen_ai__response__id={"stringValue": ""}),
        chat(gen_ai__usage__input_tokens={"intValue": "-1"}),
        chat(tenant__id={"stringValue": "default"}),
        {**chat(), "status": {"code": 2}},
        {**chat(), "kind": 1},
        {**chat(), "events": EVENTS[2]},
        {**chat(), "events": EVENTS[3]},
    ],
    ids=["model", "empty id", "corrupt count", "placeholder", "failed", "kind", "chunks", "usage on an event"],
)
def test_a_span_that_differs_in_what_decides_is_described_by_itself(second: dict[str, Any]) -> None:
    assert descriptions([chat(), second]) == 2


def test_plain_spans_are_never_described() -> None:
    plain = {
        "kind": 2,
        "attributes": [{"key": key, "value": {"stringValue": "x"}} for key in ("tenant.id", "http.route")],
    }

    assert descriptions([plain, {"kind": 1, "attributes": []}]) == 0


def test_a_request_to_a_providers_api_is_no_call_in_the_sample() -> None:
    pairs = {
        "celery.task_name": "work",
        "deployment.environment.name": "staging",
        "url.full": "https://api.openai.com/v1/chat/completions",
        "customer": "acme",
    }
    job = {"kind": 0, "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in pairs.items()]}

    builder = read([record([({}, "app", [job] * 3)], 1)], fast=True)

    assert [(entry.is_call, entry.attributes) for entry in builder.sample] == [(False, (("customer", "acme"),))] * 3


@pytest.mark.parametrize("size", [1, 3])
def test_packing_rows_early_changes_nothing_even_where_ids_are_unreadable(size: int) -> None:
    broken = {**chat(), "spanId": "not an id"}
    empty = {**chat(), "traceId": "0" * 32}
    linked = {**chat(), "links": [{"traceId": "ab" * 16, "spanId": "cd" * 8}]}
    members = [chat(), broken, linked, empty, chat(), broken, linked]
    records = [record([({}, "openai", [member])], 1 + number) for number, member in enumerate(members)]
    whole = read(records, fast=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "PACK_SPANS", size)
        packed = read(records, fast=True)

    assert everything(packed) == everything(whole)
    assert len(packed.batches[0].key) == 4
    assert [rejection.line for rejection in packed.rejections] == [2, 4, 6]


ids = st.text("0123456789abcdefABCDEF \n\u0660", max_size=18) | st.text("0123456789abcdef", min_size=16, max_size=16)


@given(st.lists(ids, max_size=4))
def test_ids_are_taken_as_plain_hex_only_where_each_of_them_is(texts: list[str]) -> None:
    found = plain_hex(texts, 8)

    if found is None:
        assert any(len(text) != 16 or text.strip("0123456789abcdefABCDEF") for text in texts)
    else:
        assert [f"{number:016x}" for number in found[:, 0].tolist()] == [canonical_id(text, 8) for text in texts]


@given(st.lists(st.text(max_size=200), unique=True, max_size=40), st.randoms())
def test_hashes_of_ids_depend_on_the_id_alone(texts: list[str], random: Any) -> None:
    texts = [text for text in texts if not text.endswith("\0")]
    together = dict(zip(texts, hash_texts(texts).tolist(), strict=True))
    random.shuffle(texts)

    assert hash_texts(texts).tolist() == [together[text] for text in texts]
    assert len(set(together.values())) == len(texts)
