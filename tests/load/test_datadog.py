"""Datadog APM traces and LLM Observability spans: formats-traces §7 and the snapshots of its tracer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.load.datadog_ids import span_hex, trace_hex
from builders import SERVER, T0, Audited, audit_bytes, call, lines, span

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
HIGH = "6a3994fc00000000"


def audited(home: Path, *documents: Any) -> Audited:
    return audit_bytes(home, *(json.dumps(document).encode() for document in documents))


# By hand from the files: span id, operation, model, input, output, usage. Ids are small numbers there.
SNAPSHOTS = {
    "test_acompletion": [(1, "chat", "curie", 10, 150, "complete")],
    "test_anthropic_llm_tools_full_use_stream": [
        (1, "chat", "claude-3-opus-20240229", 599, 146, "complete"),
        (1, "chat", "claude-3-opus-20240229", 762, 33, "complete"),
    ],
    # The router's span is a workflow, the call is the one below it.
    "test_litellm_router_completion": [(2, "chat", "gpt-3.5-turbo", 13, 20, "complete")],
    "test_llama_index_openai_embedding": [(1, "embeddings", "text-embedding-ada-002", None, None, "missing")],
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_snapshots_of_the_tracer(tmp_path: Path, name: str) -> None:
    done = audit_bytes(tmp_path, (SAMPLES / f"datadog-apm-{name}.json").read_bytes())

    said = [
        (int(row["span_id"], 16), row["operation"], row["model_requested"], row["input_tokens"], row["output_tokens"],
         row["usage_status"])
        for row in done.rows
    ]  # fmt: skip
    assert said == SNAPSHOTS[name]
    assert {(row["status"], row["tenant_id"], row["failed"]) for row in done.rows} == {("lost", None, False)}
    assert (done.report.inputs[0].format, done.report.inputs[0].rejected) == ("datadog-apm", 0)
    assert done.report.inputs[0].vocabularies == ("datadog",)


def test_upper_half_of_a_trace_id_stands_on_some_of_its_spans_only(tmp_path: Path) -> None:
    # The file: trace_id 0, _dd.p.tid 6a39788800000000 on the first span; the call is the second one.
    (row,) = audit_bytes(tmp_path, (SAMPLES / "datadog-apm-test_litellm_router_completion.json").read_bytes()).rows

    assert row["trace_id"] == "6a397888000000000000000000000000"


def apm(name: str = "openai.request", **fields: Any) -> dict[str, Any]:
    """A span of the web service; ``meta`` and ``metrics`` add to what a call of the integration has."""
    kind = fields.pop("kind", "llm")
    meta = {"_dd.llmobs.span_kind": kind, "_dd.llmobs.model_name": "gpt-4o-mini", "_dd.llmobs.model_provider": "openai"}
    metrics = {"_dd.llmobs.input_tokens": 1000.0, "_dd.llmobs.output_tokens": 100.0}
    if not kind:
        meta, metrics = {}, {}
    return {
        "name": name,
        "service": "web",
        "resource": "create",
        "trace_id": 77,
        "span_id": 5,
        "parent_id": 1,
        "type": "",
        "error": 0,
        "start": T0,
        "duration": 1_000_000,
        "meta": meta | fields.pop("meta", {}),
        "metrics": metrics | fields.pop("metrics", {}),
        **fields,
    }


def root(**fields: Any) -> dict[str, Any]:
    meta = {"_dd.p.tid": HIGH, "runtime-id": "r1", "language": "python", "env": "prod", "span.kind": "server"}
    meta |= {"tenant_id": "acme"}
    changes = {"span_id": 1, "parent_id": 0, "duration": 9_000_000, "meta": meta | fields.pop("meta", {})}
    return apm("flask.request", kind="", **{**changes, **fields})


def test_spans_below_belong_to_the_process_and_environment_of_the_root(tmp_path: Path) -> None:
    (row,) = audited(tmp_path, [[root(), apm()]]).rows

    assert (row["status"], row["tenant_id"], row["recovered_by"], row["rule"]) == (
        "recoverable", "acme", "ancestor", "tenant-not-copied",
    )  # fmt: skip
    assert (row["environment"], row["service"], row["output_tokens"]) == ("prod", "web", 100)


def test_another_process_of_the_trace_is_another_process(tmp_path: Path) -> None:
    other = apm("flask.request", kind="", span_id=3, meta={"runtime-id": "r2", "_dd.p.tid": HIGH})

    (row,) = audited(tmp_path, [[root(), other, apm(parent_id=3)]]).rows

    assert (row["tenant_id"], row["rule"]) == ("acme", "header-stripping")


def test_parents_that_go_in_a_circle_end(tmp_path: Path) -> None:
    one = apm(kind="", span_id=8, parent_id=9)
    other = apm(kind="", span_id=9, parent_id=8)

    assert len(audited(tmp_path, [[one, other, apm(parent_id=8)]]).rows) == 1


@pytest.mark.parametrize("shape", ["trace list", "span list", "a line each"])
def test_all_framings_say_the_same(tmp_path: Path, shape: str) -> None:
    spans = [root(), apm(meta={"_dd.p.tid": HIGH})]
    data = {
        "trace list": json.dumps([spans, []]),
        "span list": json.dumps(spans),
        "a line each": "\n".join(map(json.dumps, spans)),
    }[shape]

    (row,) = audit_bytes(tmp_path, data.encode()).rows

    assert (row["trace_id"], row["tenant_id"]) == (f"{HIGH}{77:016x}", "acme")


def test_application_in_datadog_and_gateway_in_otlp_are_one_graph(tmp_path: Path) -> None:
    out = apm("requests.request", kind="", meta={"span.kind": "client"})
    trace = f"{HIGH}{77:016x}"
    gate = span("POST", id="gate", kind=SERVER, trace=trace, parent=f"{5:016x}", service="gateway", start=0.1, ms=0.5)
    asked = call(trace=trace, parent=gate.id, service="gateway", start=0.2, ms=0.2)

    done = audit_bytes(tmp_path, json.dumps([[root(), out]]).encode(), lines(gate, asked))

    assert [(row["tenant_id"], row["recovered_by"], row["rule"]) for row in done.rows] == [
        ("acme", "ancestor", "header-stripping")
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, (1000, 0, 100, "complete")),
        ({"metrics": {"_dd.llmobs.cache_read_input_tokens": 600.0}}, (1000, 600, 100, "complete")),
        ({"metrics": {"_dd.llmobs.input_tokens": 0.0, "_dd.llmobs.output_tokens": 0.0}}, (None, None, None, "missing")),
        ({"error": 1, "metrics": {"_dd.llmobs.input_tokens": None, "_dd.llmobs.output_tokens": None}},
         (None, None, None, "not_billed")),
        ({"metrics": {"_dd.llmobs.input_tokens": 10.5}}, (None, None, 100, "partial")),
    ],
)  # fmt: skip
def test_counts_are_floats(tmp_path: Path, changes: dict[str, Any], said: tuple[Any, ...]) -> None:
    (row,) = audited(tmp_path, [[apm(**changes)]]).rows

    if said[3] == "partial":
        assert (row["output_tokens"], row["usage_status"]) == (100, "partial")
    else:
        assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["usage_status"]) == said


def test_tags_of_older_tracers_are_usage_too(tmp_path: Path) -> None:
    # ddtrace before LLM Observability: no span kind; a span with usage and without an operation is a call.
    old = apm(
        kind="",
        meta={"openai.request.model": "gpt-4o-mini", "component": "openai"},
        metrics={"openai.response.usage.prompt_tokens": 70, "openai.response.usage.completion_tokens": 7},
    )

    (row,) = audited(tmp_path, [[old]]).rows

    assert (row["input_tokens"], row["output_tokens"], row["model_requested"]) == (70, 7, "gpt-4o-mini")


def test_framework_and_sdk_that_both_describe_a_call_are_one(tmp_path: Path) -> None:
    chain = apm("langchain.request", span_id=2, duration=2_000_000)
    inner = apm("openai.request", span_id=3, parent_id=2, start=T0 + 1000)

    (row,) = audited(tmp_path, [[chain, inner]]).rows

    assert [entry["span_id"] for entry in row["duplicates"]] == [f"{2:016x}"]


def test_links_lead_to_other_traces(tmp_path: Path) -> None:
    # A worker with a link to the request, as JSON text among the tags or as a field.
    link = {"trace_id": f"{HIGH}{77:016x}", "span_id": f"{1:016x}"}
    high = {"trace_id": 77, "trace_id_high": int(HIGH, 16), "span_id": 1}
    for changes in ({"meta": {"_dd.span_links": json.dumps([link])}}, {"span_links": [high]}):
        worker = apm("worker", kind="", trace_id=99, parent_id=0, **changes)

        (row,) = audited(tmp_path, [[root()], [worker, apm(trace_id=99, span_id=6, parent_id=5)]]).rows

        assert (row["tenant_id"], row["recovered_by"]) == ("acme", "link")


@pytest.mark.parametrize(
    ("value", "trace", "own"),
    [
        (77, f"{77:032x}", f"{77:016x}"),
        ("77", f"{77:032x}", f"{77:016x}"),
        (2**64 - 1, "0" * 16 + "f" * 16, "f" * 16),
        ("18446744073709551615", "0" * 16 + "f" * 16, "f" * 16),
        ("6a3994fc00000000000000000000004d", "6a3994fc00000000000000000000004d", ""),
        ("00000000000000000000000000000012", "00000000000000000000000000000012", ""),
        (-1, "", ""),
        (None, "0" * 32, "0" * 16),
        ("x", "", ""),
    ],
)
def test_ids(value: Any, trace: str, own: str) -> None:
    assert (trace_hex(value), span_hex(value)) == (trace, own)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trace_id": None}, "a span has no readable trace id or span id"),
        ({"span_id": 0}, "a span has no readable trace id or span id"),
        ({"span_id": [1]}, "traces[0][1]: Expected int | str | null, got array: span_id"),
        ({"meta": "x"}, "traces[0][1]: Expected object | null, got str: meta"),
    ],
)
def test_broken_span_is_rejected_and_its_neighbours_are_read(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    spans = [apm(span_id=11), apm(span_id=12) | changes, apm(span_id=13)]

    report = audited(tmp_path, [spans]).report

    assert report.totals.calls == 2
    assert [(entry.line, entry.reason) for entry in report.inputs[0].rejections] == [(1, reason)]


def test_answer_of_the_span_search(tmp_path: Path) -> None:
    custom = {"_dd": {"llmobs": {"span_kind": "llm", "model_name": "gpt-4o-mini", "input_tokens": 1000}}}
    custom["_dd"]["llmobs"] |= {"output_tokens": 100}
    common = {"service": "web", "env": "prod", "trace_id": "77"}
    times = {"start_timestamp": "2026-09-21T14:13:20.250Z", "end_timestamp": "2026-09-21T14:13:21Z"}
    answer = {
        "data": [
            {"type": "spans", "attributes": {**common, **times, "span_id": "1", "parent_id": "0",
                                             "tags": ["tenant_id:acme", "version:1"]}},
            {"type": "spans", "attributes": {**common, **times, "span_id": "2", "parent_id": "1", "custom": custom}},
            {"type": "spans", "attributes": 7},
        ]
    }  # fmt: skip

    done = audited(tmp_path, answer)

    assert [(row["tenant_id"], row["recovered_by"], row["time"], row["environment"]) for row in done.rows] == [
        ("acme", "ancestor", "2026-09-21T14:13:20.250000000Z", "prod")
    ]
    assert [entry.reason for entry in done.report.inputs[0].rejections] == [
        "data[2]: Expected object | null, got int: attributes"
    ]


# -- LLM Observability -------------------------------------------------------------------------------


def llmobs(**fields: Any) -> dict[str, Any]:
    return {
        "trace_id": "6a3994fc00000000000000000000004d",
        "span_id": "5",
        "parent_id": "1",
        "name": "generate",
        "start_ns": T0,
        "duration": 1_000_000,
        "status": "ok",
        "meta": {"kind": "llm", "model_name": "gpt-4o-mini", "model_provider": "openai"},
        "metrics": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        **fields,
    }


def agent(**fields: Any) -> dict[str, Any]:
    return llmobs(
        **{"span_id": "1", "parent_id": "undefined", "meta": {"kind": "agent"}, "tags": ["tenant_id:acme"], **fields}
    )


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    """An answer of the export API: what others have in ``meta`` stands at the top."""
    data = []
    for entry in spans:
        meta = dict(entry["meta"])
        top = {key: value for key, value in entry.items() if key != "meta"} | {"span_kind": meta.pop("kind")} | meta
        data.append({"id": "x", "type": "span", "attributes": top})
    return {"data": data, "meta": {"page": {}}}


def intake(*spans: dict[str, Any]) -> dict[str, Any]:
    """A request of the intake API."""
    return {"data": {"type": "span", "attributes": {"ml_app": "bot", "session_id": "s-1", "spans": list(spans)}}}


def payload(*spans: dict[str, Any]) -> list[dict[str, Any]]:
    """What the SDK sends."""
    return [{"_dd.stage": "raw", "event_type": "span", "spans": [entry]} for entry in spans]


@pytest.mark.parametrize("shape", [export, intake, payload, lambda *spans: list(spans)])
def test_shapes_of_llm_observability(tmp_path: Path, shape: Any) -> None:
    done = audited(tmp_path, shape(agent(), llmobs()))

    assert done.report.inputs[0].format == "datadog-llmobs"
    (row,) = done.rows
    assert (row["trace_id"], row["span_id"], row["operation"]) == (
        "6a3994fc00000000000000000000004d", f"{5:016x}", "chat",
    )  # fmt: skip
    assert (row["input_tokens"], row["output_tokens"], row["provider"]) == (1000, 100, "openai")
    assert (row["tenant_id"], row["recovered_by"]) == ("acme", "ancestor")


def test_only_llm_and_embedding_spans_are_priced(tmp_path: Path) -> None:
    kinds = ("llm", "embedding", "agent", "workflow", "task", "tool", "retrieval")
    spans = [llmobs(span_id=str(n), parent_id="undefined", meta={"kind": kind}) for n, kind in enumerate(kinds, 10)]

    rows = audited(tmp_path, spans).rows

    assert sorted(row["operation"] for row in rows) == ["chat", "embeddings"]


@pytest.mark.parametrize(
    "meta", [{"kind": "llm"}, {"span.kind": "llm"}, {"span": {"kind": "llm"}}],
)  # fmt: skip
def test_the_kind_stands_in_several_places(tmp_path: Path, meta: dict[str, Any]) -> None:
    (row,) = audited(tmp_path, [llmobs(meta={**meta, "model_provider": "unknown"})]).rows

    assert (row["operation"], row["provider"]) == ("chat", None)


def test_cache_writes_of_an_hour_are_apart(tmp_path: Path) -> None:
    # 1000 input: 200 read, 500 written of which 300 for an hour.
    metrics = {"input_tokens": 1000, "output_tokens": 10, "cache_read_input_tokens": 200}
    metrics |= {"cache_write_input_tokens": 500, "ephemeral_1h_input_tokens": 300, "ephemeral_5m_input_tokens": 200}

    (row,) = audited(tmp_path, [llmobs(metrics=metrics)]).rows

    assert (row["input_tokens"], row["cache_read_tokens"], row["cache_write_tokens"]) == (1000, 200, 500)


def test_tags_metadata_and_session_of_a_span(tmp_path: Path) -> None:
    tags = ["env:dev", "service:chat", "user_id:u-7", "tenant_id:acme", "version:"]

    (row,) = audited(tmp_path, [llmobs(tags=tags)]).rows
    (other,) = audited(tmp_path, [llmobs(meta={"kind": "llm", "metadata": {"tenant_id": "globex"}})]).rows

    assert (row["tenant_id"], row["user_id"], row["service"], row["environment"]) == ("acme", "u-7", "chat", "dev")
    assert other["tenant_id"] == "globex"


def test_span_and_its_apm_span_are_one_call(tmp_path: Path) -> None:
    ids = {"_dd": {"apm_trace_id": f"{HIGH}{77:016x}"}, "trace_id": "123456789"}

    done = audited(tmp_path, [[root(), apm()]], [llmobs(**ids)])

    assert [(row["tenant_id"], row["input_tokens"], row["span_id"]) for row in done.rows] == [
        ("acme", 1000, f"{5:016x}")
    ]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (llmobs(span_id=None), "a span has no readable trace id or span id"),
        (llmobs(tags="x"), "[1]: Expected array | null, got str: tags"),
        (llmobs(meta=[]), "[1].spans[0]: Expected object | null, got array: meta"),
        (3, "[1]: Expected object, got int"),
        ({"data": 3}, "[1].data: Expected object, got int"),
    ],
)
def test_broken_span_of_llm_observability_is_rejected(tmp_path: Path, entry: Any, reason: str) -> None:
    report = audited(tmp_path, [llmobs(span_id="8"), entry, llmobs(span_id="9", start_ns=T0 + 10**9)]).report

    assert report.totals.calls == 2
    assert [(place.line, place.reason) for place in report.inputs[0].rejections] == [(1, reason)]


def test_document_that_breaks_off_is_rejected(tmp_path: Path) -> None:
    for document in ([[root(), apm()]], export(agent(), llmobs())):
        with pytest.raises(InputError):
            audit_bytes(tmp_path, json.dumps(document).encode()[:-40])


@pytest.mark.parametrize(
    ("kind", "type_", "role"), [("", "web", "server"), ("", "http", "client"), ("client", "web", "client")]
)
def test_kind_of_a_span_comes_from_its_type_where_older_tracers_give_no_kind(
    tmp_path: Path, kind: str, type_: str, role: str
) -> None:
    web = root(meta={"span.kind": kind, "tenant_id": "acme"}, type=type_)

    nodes = audited(tmp_path, [[web, apm()]]).report.map_nodes

    assert {node.role for node in nodes} == {role, "model call"}
