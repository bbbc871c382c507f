"""Spans of documents that are read at once: what is remembered, learned or read in pieces changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from auditor.load import datadog, jaeger, load, mlflow, otlp_proto, tempo, zipkin
from auditor.load.builder import NO_PARENT, BatchBuilder
from auditor.load.learned_keys import LearnedKeys
from auditor.load.meanings import Meanings
from auditor.model.spans import NO_COUNT, Batch, Kind
from auditor.normalise.vocabulary import compile_lexicon
from builders import CLIENT, SERVER, Span, call, request, span
from other_formats import jaeger_answer, jaeger_span, proto3_json, tag
from other_formats import zipkin as zipkin_list

LEXICON = compile_lexicon()
DOCUMENTS = 8
T0 = 1793491200_000_000_000
"""Start of a span, in nanoseconds."""


@pytest.fixture(autouse=True)
def _nothing_is_kept_as_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans of the sample are never looked up, and in a small file all belong to it."""
    begin = BatchBuilder.__init__

    def begun(self: BatchBuilder, *given: Any, **told: Any) -> None:
        begin(self, *given, **told)
        self.sample_to, self.sample_mark = 0, NO_PARENT

    monkeypatch.setattr(BatchBuilder, "__init__", begun)


def story(number: int) -> list[Span]:
    """A request, a step in it whose keys and values others have too, one with an id of its own, and a call."""
    trace, tenant = f"trace {number}", ("acme", "globex")[number % 2]
    web = span(
        "POST /ask", trace=trace, kind=SERVER, service="web", attributes={"http.route": "/ask", "tenant.id": tenant}
    )
    query = span(
        "SELECT", trace=trace, kind=CLIENT, service="web", parent=web.id, failed=number % 3 == 0,
        attributes={"db.system.name": "postgresql", "tenant.id": tenant, "db.query.text": f"SELECT {number % 4}"},
    )  # fmt: skip
    chat = span("chat", trace=trace, service="web", parent=web.id, attributes={"session.id": f"conversation {number}"})
    return [web, query, chat, call(trace=trace, service="bot", parent=web.id)]


def tempo_answer(*spans: Span) -> bytes:
    return json.dumps({"trace": proto3_json(request(*spans))}).encode()


def apm(entry: Span) -> dict[str, Any]:
    trace, own = entry.ids
    told = entry.attributes or {}
    texts = {key: value for key, value in told.items() if isinstance(value, str)}
    kind = ("", "internal", "server", "client")[entry.kind]
    return {
        "name": entry.name,
        "service": entry.service,
        "trace_id": int(trace[16:], 16),
        "span_id": int(own, 16),
        "parent_id": int(Span(name="", id=entry.parent).ids[1], 16) if entry.parent else 0,
        "start": T0 + entry.start,
        "duration": 1_000_000,
        "error": int(entry.failed),
        "meta": {"_dd.p.tid": trace[:16], "runtime-id": f"{entry.service} 1", "span.kind": kind, **texts},
        "metrics": {key: float(value) for key, value in told.items() if isinstance(value, int)},
    }


def datadog_traces(*spans: Span) -> bytes:
    return json.dumps([[apm(entry) for entry in spans]]).encode()


def mlflow_trace(*spans: Span) -> bytes:
    written = [
        {
            "trace_id": entry.ids[0],
            "span_id": entry.ids[1],
            "parent_span_id": Span(name="", id=entry.parent).ids[1] if entry.parent else None,
            "name": entry.name,
            "start_time_unix_nano": T0 + entry.start,
            "end_time_unix_nano": T0 + entry.start + 1_000_000,
            "status": {"code": "STATUS_CODE_ERROR" if entry.failed else "STATUS_CODE_OK"},
            "attributes": {key: json.dumps(value) for key, value in (entry.attributes or {}).items()},
        }
        for entry in spans
    ]
    tags = {"service.name": "web", "team": "search"}
    info = {"trace_id": f"tr-{spans[0].ids[0]}", "trace_metadata": {}, "tags": tags}
    return json.dumps({"info": info, "data": {"spans": written}}).encode()


def protobuf(*spans: Span) -> bytes:
    data: bytes = ParseDict(proto3_json(request(*spans)), TracesData()).SerializeToString()
    return data


FORMS: dict[str, Callable[..., bytes]] = {
    "tempo": tempo_answer,
    "jaeger": jaeger_answer,
    "zipkin": zipkin_list,
    "datadog": datadog_traces,
    "mlflow": mlflow_trace,
    "otlp-proto": protobuf,
}
each_form = pytest.mark.parametrize("form", FORMS)


def written(home: Path, form: str, documents: int = DOCUMENTS) -> str:
    """A file with so many stories, each in a document of its own."""
    path = home / "export"
    separator = b"" if form == "otlp-proto" else b"\n"
    path.write_bytes(separator.join(FORMS[form](*story(number)) for number in range(documents)))
    return str(path)


def written_raw(home: Path, *documents: bytes) -> str:
    path = home / "export"
    path.write_bytes(b"\n".join(documents))
    return str(path)


def said(path: str) -> tuple[Any, ...]:
    """Every span in its order with place, tenants and times; the calls; the ids; what was rejected."""
    loaded = load([path], LEXICON)
    (entry,) = loaded.inputs
    rejected = [(found.line, found.byte, found.reason) for found in entry.rejections]
    return [row for batch in loaded.batches for row in rows(batch)], rejected, entry.records


def rows(batch: Batch) -> list[tuple[Any, ...]]:
    ids: dict[int, list[tuple[int, int]]] = {}
    for row, kind, hashed in zip(batch.id_row.tolist(), batch.id_kind.tolist(), batch.id_hash.tolist(), strict=True):
        ids.setdefault(row, []).append((kind, hashed))
    calls = {
        row: (batch.facts[facts], tokens)
        for row, facts, tokens in zip(
            batch.call_row.tolist(), batch.call_facts.tolist(), batch.tokens.tolist(), strict=True
        )
    }
    return [
        (
            key,
            batch.parent[row],
            batch.places[batch.place[row]],
            batch.tenants[batch.tenant[row]] if batch.tenant[row] >= 0 else (),
            batch.start_ns[row],
            str(batch.duration_ms[row]),
            ids.get(row),
            calls.get(row),
        )
        for row, key in enumerate(batch.key.tolist())
    ]


def tenants(path: str) -> list[list[str]]:
    """Values of the tenants of every span, in the order of the file."""
    return [[tenant.value for tenant in row[3]] for row in said(path)[0]]


@each_form
def test_what_is_remembered_is_what_would_be_worked_out(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, form)
    hits: list[bool] = []
    add_known, request_of = Meanings.add_known, LearnedKeys.request

    def counted(*given: Any, **asked: Any) -> bool:
        hits.append(add_known(*given, **asked))
        return hits[-1]

    def decoded(self: LearnedKeys, record: bytes) -> Any:
        found = request_of(self, record)
        hits.append(found is not None)
        return found

    if form == "tempo":
        # Its spans are read as those of OTLP JSON are, by learned keys.
        monkeypatch.setattr(LearnedKeys, "request", decoded)
    monkeypatch.setattr(Meanings, "add_known", counted)
    found = said(path)
    monkeypatch.setattr(Meanings, "learn", lambda *_: None)
    monkeypatch.setattr(LearnedKeys, "learn", lambda *_: None)
    monkeypatch.setattr(otlp_proto, "LONGEST_BODY", -1)

    assert any(hits)
    assert len(found[0]) == DOCUMENTS * 4
    assert sum(row[-1] is not None for row in found[0]) == DOCUMENTS
    assert found == said(path)


@pytest.mark.parametrize("module", [tempo, jaeger, zipkin, datadog, mlflow])
def test_large_document_says_what_a_small_one_says(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, module.__name__.rpartition(".")[2])
    found = said(path)
    monkeypatch.setattr(module, "SPLIT_ABOVE", -1)
    monkeypatch.setattr(module, "PIECE", 3)

    assert len(found[0]) == DOCUMENTS * 4
    assert found == said(path)


def test_tag_that_holds_bytes_is_none_also_where_its_key_has_been_learned(tmp_path: Path) -> None:
    entry = jaeger_span(span("work", trace="t", attributes={"tenant.id": "acme"}))
    odd = {**entry, "spanID": "2", "tags": [{"key": "tenant.id", "type": "binary", "value": "YWNtZQ=="}]}
    new = {**entry, "spanID": "3", "tags": [{"key": "tenant.id", "type": "text", "value": "globex"}]}
    documents = [
        json.dumps({"data": [{"traceID": entry["traceID"], "spans": spans, "processes": {}}]}).encode()
        for spans in ([entry], [entry], [odd], [new], [entry])
    ]

    assert tenants(written_raw(tmp_path, *documents)) == [["acme"], ["acme"], [], ["globex"], ["acme"]]


def test_tag_that_is_there_twice_counts_the_last_time(tmp_path: Path) -> None:
    entry = jaeger_span(span("work", trace="t"))
    spans = [
        {**entry, "spanID": str(1 + number), "tags": [tag("tenant.id", first), tag("tenant.id", second)]}
        for number, (first, second) in enumerate([("acme", "globex"), ("acme", "globex"), ("globex", "acme")])
    ]
    document = json.dumps({"data": [{"traceID": entry["traceID"], "spans": spans, "processes": {}}]}).encode()

    assert tenants(written_raw(tmp_path, document, document)) == [["globex"], ["globex"], ["acme"]] * 2


def test_odd_kinds_and_states_of_tempo_are_none(tmp_path: Path) -> None:
    whole = proto3_json(request(span("work", trace="t", kind=SERVER, service="web")))

    def answer(**changes: Any) -> bytes:
        document = json.loads(json.dumps(whole))
        document["resourceSpans"][0]["scopeSpans"][0]["spans"][0].update(changes)
        return json.dumps({"trace": document}).encode()

    path = written_raw(
        tmp_path,
        answer(), answer(kind="SPAN_KIND_CLIENT"), answer(kind=[2]), answer(kind="SERVER"), answer(kind=3),
        answer(kind=None, status="broken"), answer(status={"code": ["STATUS_CODE_ERROR"]}),
    )  # fmt: skip

    kinds = [row[2].shape.kind for row in said(path)[0]]

    assert kinds == [
        Kind.SERVER, Kind.CLIENT, Kind.UNSPECIFIED, Kind.UNSPECIFIED, Kind.CLIENT, Kind.UNSPECIFIED, Kind.SERVER
    ]  # fmt: skip


def test_same_texts_of_another_service_type_or_outcome_are_another_span(tmp_path: Path) -> None:
    entry = apm(span("work", trace="t", id="a", kind=0, service="web", attributes={"tenant.id": "acme"}))
    changes: list[dict[str, Any]] = [{}, {}, {"service": "jobs"}, {"type": "web"}, {"type": "http"}, {}]
    spans = [{**entry, "span_id": 1 << 60 | number, **change} for number, change in enumerate(changes)]

    found, rejected, _ = said(written_raw(tmp_path, json.dumps([spans]).encode(), json.dumps([spans]).encode()))

    shapes = [(row[2].shape.service, row[2].shape.kind) for row in found]
    web = ("web", Kind.UNSPECIFIED)
    assert shapes == [web, web, ("jobs", Kind.UNSPECIFIED), ("web", Kind.SERVER), ("web", Kind.CLIENT), web] * 2
    assert not rejected


def test_same_tags_of_another_process_kind_or_side_are_another_span(tmp_path: Path) -> None:
    entry = {"traceId": "1", "parentId": "1", "timestamp": 1, "duration": 1, "localEndpoint": {"serviceName": "web"}}
    changes: list[dict[str, Any]] = [
        {}, {}, {"kind": "SERVER"}, {"localEndpoint": {"serviceName": "jobs"}}, {"kind": "SERVER", "shared": True}
    ]  # fmt: skip
    spans = [
        {**entry, "id": f"a{number}", "tags": {"tenant.id": "acme"}, **change} for number, change in enumerate(changes)
    ]

    found, rejected, _ = said(written_raw(tmp_path, json.dumps(spans).encode(), json.dumps(spans).encode()))

    shapes = [(row[2].shape.service, row[2].shape.kind, row[2].shape.remote) for row in found]
    web = ("web", Kind.UNSPECIFIED, None)
    assert shapes == [
        web, web, ("web", Kind.SERVER, None), ("jobs", Kind.UNSPECIFIED, None), ("web", Kind.SERVER, True)
    ] * 2  # fmt: skip
    assert not rejected


def test_same_attributes_with_another_kind_or_scope_are_another_span(tmp_path: Path) -> None:
    entry = jaeger_span(span("work", trace="t"))
    told = [("server", "a"), ("server", "a"), ("client", "a"), ("client", "b"), ("server", "b"), ("server", "a")]
    spans = [
        {
            **entry,
            "spanID": str(1 + number),
            "tags": [tag("tenant.id", "acme"), tag("otel.scope.name", scope), tag("span.kind", kind)],
        }
        for number, (kind, scope) in enumerate(told)
    ]
    document = json.dumps({"data": [{"traceID": entry["traceID"], "spans": spans, "processes": {}}]}).encode()

    found, _, _ = said(written_raw(tmp_path, document, document))

    assert [(row[2].shape.kind, row[2].shape.scope) for row in found] == [
        (Kind[kind.upper()], scope) for kind, scope in told
    ] * 2


def test_process_of_a_span_that_names_none_is_never_remembered(tmp_path: Path) -> None:
    def trace(number: int) -> list[dict[str, Any]]:
        named = apm(span("root", trace=f"t{number}", id=f"r{number}", service="web"))
        named["meta"]["runtime-id"] = f"process {number}"
        below = apm(span("work", trace=f"t{number}", service="web", parent=f"r{number}"))
        del below["meta"]["runtime-id"]
        return [named, below]

    found, _, _ = said(written_raw(tmp_path, json.dumps([trace(number) for number in range(4)]).encode()))

    assert [row[2].instance for row in found] == [f"process {number // 2}" for number in range(8)]


@pytest.mark.parametrize(
    "changes",
    [
        {"span_id": "1311768467294899695", "parent_id": None},
        {"span_id": "1234567890abcdef", "parent_id": "0"},
        {"span_id": 1311768467294899695 + (1 << 64), "parent_id": 0},
        {"start": float(T0), "duration": 1000000.0, "meta": None, "metrics": None},
    ],
)
def test_odd_spelling_of_a_span_of_datadog_says_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    usual = apm(span("work", trace="t", kind=0, service="web"))
    del usual["meta"]
    usual |= {"span_id": 0x1234567890ABCDEF}

    wanted, _, _ = said(written_raw(tmp_path, json.dumps([[usual]]).encode()))
    found, rejected, _ = said(written_raw(tmp_path, json.dumps([[usual | changes]]).encode()))

    assert len(wanted) == 1
    assert (found, rejected) == (wanted, [])


def test_what_stands_behind_the_times_means_something_else_elsewhere(tmp_path: Path) -> None:
    places = [
        ("web", "a", Kind.SERVER), ("web", "a", Kind.CLIENT), ("web", "b", Kind.SERVER), ("job", "a", Kind.INTERNAL)
    ]  # fmt: skip
    spans = [
        span(trace="t", service=service, scope=scope, kind=int(kind), attributes={"tenant.id": "acme"})
        for service, scope, kind in places * 3
    ]
    path = tmp_path / "export"
    path.write_bytes(b"".join(protobuf(entry) for entry in spans))

    found, _, _ = said(str(path))

    shapes = [(row[2].shape.service, row[2].shape.scope, row[2].shape.kind) for row in found]
    assert shapes == places * 3


def test_bodies_that_never_come_again_are_remembered_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_proto, "CACHED_BODIES", 4)
    learned = []
    remember = otlp_proto.OtlpProtoReader._remember

    def noted(self: otlp_proto.OtlpProtoReader, whole: bytes, body: otlp_proto.Body) -> None:
        learned.append(whole)
        remember(self, whole, body)

    monkeypatch.setattr(otlp_proto.OtlpProtoReader, "_remember", noted)
    spans = [span(trace="t", attributes={"tenant.id": "acme", "thread.id": number}) for number in range(40)]
    path = tmp_path / "export"
    path.write_bytes(protobuf(*spans))

    assert tenants(str(path)) == [["acme"]] * 40
    assert len(learned) == 5


@pytest.mark.parametrize(
    ("value", "counted"),
    [(0, 0), (127, 127), (128, 128), (16383, 16383), (16384, 16384), (2097152, 2097152)],
)
def test_counts_of_every_length_are_read_from_protobuf(value: int, counted: int, tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_bytes(protobuf(*(call(usage={"input": value, "output": 7}) for _ in range(3))))

    found, _, _ = said(str(path))

    assert [row[-1][1][:2] for row in found] == [[counted, 7]] * 3


def test_count_that_breaks_off_is_none(tmp_path: Path) -> None:
    data = protobuf(*(call(usage={"input": 128, "output": 7}) for _ in range(2)))
    whole, broken = b"\x12\x03\x18\x80\x01", b"\x12\x03\x18\x80\x80"
    path = tmp_path / "export"
    first, second, third = data.split(whole)
    path.write_bytes(first + whole + second + broken + third)

    found, rejected, _ = said(str(path))

    assert [row[-1][1][:2] for row in found] == [[128, 7], [NO_COUNT, 7]]
    assert not rejected
