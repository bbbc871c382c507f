"""AWS X-Ray segments: formats-traces §7 and a segment that the daemon was sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.errors import InputError
from auditor.load import load
from auditor.load.meanings import Meanings
from auditor.normalise.vocabulary import compile_lexicon
from builders import SERVER, Audited, audit_bytes, call, lines, span

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
TRACE = "1-5f2aebcc-b475d14618c51eaa28753d37"
HEX = "5f2aebccb475d14618c51eaa28753d37"
START = 1_790_000_000.25
USAGE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.provider.name": "openai",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}


def segment(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "trace_id": TRACE,
        "id": f"{number:016x}",
        "name": "web",
        "start_time": START,
        "end_time": START + 1,
        **fields,
    }


def sub(number: int, **fields: Any) -> dict[str, Any]:
    """A subsegment inside another one; ``alone`` makes it one that is sent by itself."""
    entry = segment(number, **{"name": "openai.chat", "namespace": "remote", **fields})
    del entry["trace_id"]
    return entry


def alone(number: int, parent: int, **fields: Any) -> dict[str, Any]:
    return {**sub(number, **fields), "trace_id": TRACE, "type": "subsegment", "parent_id": f"{parent:016x}"}


def chat(number: int, **fields: Any) -> dict[str, Any]:
    return sub(number, metadata={"default": USAGE}, **fields)


def lone_chat(number: int, parent: int, **fields: Any) -> dict[str, Any]:
    return alone(number, parent, **{"metadata": {"default": USAGE}, **fields})


def audited(home: Path, *values: Any) -> Audited:
    return audit_bytes(home, "\n".join(map(json.dumps, values)).encode())


def test_the_sample_is_one_span_without_a_call(tmp_path: Path) -> None:
    done = audit_bytes(tmp_path, (SAMPLES / "xray-segment-server.txt").read_bytes(), lines(call()))

    entry = done.report.inputs[0]
    assert (entry.format, entry.spans, entry.records, entry.rejected) == ("xray", 1, 1, 0)
    # The file says 1596648396.6399446; an input's range is that of the starts of its spans.
    assert (entry.start_ns, entry.end_ns) == (1_596_648_396_639_944_600, 1_596_648_396_639_944_600)


HEADER = {"format": "json", "version": 1}
ROOT = segment(
    1, http={"request": {"method": "POST", "url": "https://x.example/ask?q=1"}}, annotations={"tenant_id": "acme"}
)


def documents(*segments: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"Id": entry["id"], "Document": json.dumps(entry)} for entry in segments]


@pytest.mark.parametrize(
    "values",
    [
        [ROOT | {"subsegments": [chat(2)]}],
        [HEADER, ROOT | {"subsegments": [chat(2)]}, HEADER],
        [[ROOT | {"subsegments": [chat(2)]}]],
        [ROOT | {"subsegments": [sub(3, subsegments=[chat(2)])]}],
        [HEADER, lone_chat(2, 1), HEADER, ROOT],
        [ROOT, alone(3, 1), lone_chat(2, 3)],
        [lone_chat(2, 3), alone(3, 1), ROOT],
        [{"Traces": [{"Id": TRACE, "Segments": documents(ROOT, lone_chat(2, 1))}], "UnprocessedTraceIds": []}],
        [{"Traces": [{"Segments": documents(lone_chat(2, 1))}, {"Segments": documents(ROOT)}]}],
        [{"Segments": documents(ROOT | {"subsegments": [chat(2)]})}],
        documents(ROOT, lone_chat(2, 1)),
    ],
)
def test_all_ways_to_write_a_trace_say_the_same(tmp_path: Path, values: list[Any]) -> None:
    (row,) = audited(tmp_path, *values).rows

    assert (row["trace_id"], row["span_id"], row["service"]) == (HEX, f"{2:016x}", "web")
    assert (row["input_tokens"], row["output_tokens"], row["model_requested"]) == (1000, 100, "gpt-4o-mini")
    assert (row["tenant_id"], row["recovered_by"], row["rule"]) == ("acme", "ancestor", "tenant-not-copied")
    assert row["time"] == "2026-09-21T14:13:20.250000000Z"


def test_segment_of_another_service_is_another_process(tmp_path: Path) -> None:
    out = sub(2)
    bot = segment(3, name="bot", parent_id=f"{2:016x}", http={}, subsegments=[chat(4)])

    (row,) = audited(tmp_path, ROOT | {"subsegments": [out]}, bot).rows

    assert (row["service"], row["tenant_id"], row["rule"]) == ("bot", "acme", "header-stripping")


def test_application_in_xray_and_gateway_in_otlp_are_one_graph(tmp_path: Path) -> None:
    gate = span("POST", id="gate", kind=SERVER, trace=HEX, parent=f"{2:016x}", service="gateway", start=300, ms=500)
    asked = call(trace=HEX, parent=gate.id, service="gateway", start=310, ms=400)

    done = audit_bytes(tmp_path, json.dumps(ROOT | {"subsegments": [sub(2)]}).encode(), lines(gate, asked))

    assert [(row["tenant_id"], row["rule"]) for row in done.rows] == [("acme", "header-stripping")]


def test_indexed_attributes_have_underscores_for_dots(tmp_path: Path) -> None:
    annotations = {key.replace(".", "_"): value for key, value in USAGE.items()}
    annotations |= {"tenant_id": "acme", "user_id": "u-1", "deployment_environment": "prod"}

    (row,) = audited(tmp_path, segment(1, annotations=annotations)).rows

    assert (row["input_tokens"], row["output_tokens"], row["provider"]) == (1000, 100, "openai")
    assert (row["status"], row["tenant_id"], row["user_id"]) == ("direct", "acme", "u-1")
    assert row["environment"] == "prod"


def test_user_metadata_of_any_namespace_and_the_resource(tmp_path: Path) -> None:
    metadata = {
        "shop": {"tenant.id": "acme", "gen_ai.request.model": "other"},
        "default": {**USAGE, "otel.resource.deployment.environment.name": "prod"},
        "loose": 3,
    }

    (row,) = audited(tmp_path, segment(1, user="u-2", metadata=metadata)).rows

    assert (row["tenant_id"], row["user_id"], row["environment"]) == ("acme", "u-2", "prod")
    assert row["model_requested"] == "gpt-4o-mini"


@pytest.mark.parametrize("flag", ["error", "fault", "throttle"])
def test_three_flags_say_that_a_call_failed(tmp_path: Path, flag: str) -> None:
    model = {key: value for key, value in USAGE.items() if "usage" not in key}

    (row,) = audited(tmp_path, segment(1, metadata={"default": model}, **{flag: True})).rows

    assert (row["failed"], row["usage_status"]) == (True, "not_billed")


def test_unfinished_copy_gives_way_to_the_final_one(tmp_path: Path) -> None:
    begun = segment(1, in_progress=True, metadata={"default": {"gen_ai.operation.name": "chat"}})
    del begun["end_time"]
    final = segment(1, metadata={"default": USAGE}, annotations={"tenant_id": "acme"})

    for values in ([begun, final], [final, begun]):
        (row,) = audited(tmp_path, *values).rows

        assert (row["input_tokens"], row["tenant_id"]) == (1000, "acme")


def test_links_lead_to_other_traces(tmp_path: Path) -> None:
    other = "1-5f2aebcd-b475d14618c51eaa28753d37"
    worker = segment(7, trace_id=other, name="job", links=[{"trace_id": TRACE, "id": f"{1:016x}"}])

    (row,) = audited(tmp_path, ROOT, worker | {"subsegments": [chat(8)]}).rows

    assert (row["tenant_id"], row["recovered_by"]) == ("acme", "link")


def test_subsegments_without_their_segment_are_read(tmp_path: Path) -> None:
    circle = [alone(5, 6), alone(6, 5)]

    (row,) = audited(tmp_path, lone_chat(2, 9), *circle).rows

    assert row["service"] == "unknown_service"


def test_what_is_known_of_a_call_leaves_line_times_parent_and_failure_to_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.load.builder.SAMPLE_SIZE", 1)
    monkeypatch.setattr("auditor.load.xray.PIECE", 1)
    request = {"http.request.method": "POST", "url.full": "https://api.openai.com/v1/chat/completions"}
    usual = {"metadata": {"default": request}}
    asked = [
        alone(2, 1, **usual),
        alone(3, 1, **usual),
        alone(4, 1, **usual, in_progress=True),
        alone(5, 1, **usual) | {"start_time": None},
        alone(6, 1, **usual, fault=True),
        alone(7, 1, **usual, fault=True),
        # In a process that is not known, below a parent without a readable id.
        alone(8, 1, **usual) | {"parent_id": "?"},
        alone(9, 1, **usual) | {"parent_id": "?"},
    ]
    path = tmp_path / "answers.jsonl"
    # The segment is the sample: those after it are not looked at for keys that may name somebody.
    pages = [[segment(1, http={}, user="u-1")], asked[:4], asked[4:]]
    path.write_text("\n".join(json.dumps({"Segments": documents(*page)}) for page in pages), "utf-8")
    known = []
    add_call = Meanings.add_call

    def counted(self: Meanings, *given: Any) -> bool:
        is_known = add_call(self, *given)
        known.extend([given[2]] if is_known else [])
        return is_known

    def calls() -> list[tuple[Any, ...]]:
        (batch,) = load([str(path)], compile_lexicon()).batches
        rows = batch.call_row
        has_parent = (batch.parent[rows] != 0).tolist()
        starts, lasted = batch.start_ns[rows].tolist(), np.nan_to_num(batch.duration_ms[rows], nan=-1).tolist()
        failed = [batch.facts[number].failed for number in batch.call_facts.tolist()]
        return list(zip(batch.call_line.tolist(), starts, lasted, has_parent, failed, strict=True))

    monkeypatch.setattr(Meanings, "add_call", counted)
    found = calls()

    at = 1_790_000_000_250_000_000
    assert found == [
        (2, at, 1000, True, False),
        (2, at, 1000, True, False),
        # Without an end; and an end without a start says nothing either.
        (2, at, -1, True, False),
        (2, 0, -1, True, False),
        (3, at, 1000, True, True),
        (3, at, 1000, True, True),
        (3, at, 1000, False, False),
        (3, at, 1000, False, False),
    ]
    assert known == [f"{number:016x}" for number in (3, 4, 5, 7, 9)]
    monkeypatch.setattr(Meanings, "learn", lambda *_: None)
    assert found == calls()


def test_keys_that_may_name_somebody_are_sampled_from_every_namespace(tmp_path: Path) -> None:
    known = {"tenant.id": "acme", "session.id": "s-1"}
    metadata = [
        {"default": known},
        {"default": known | {"acme.customer": "globex"}},
        {"default": known, "shop": {"acme.shop": "initech"}},
        {"shop": known | {"acme.shop": "initech"}},
    ]
    rows = [segment(1 + number, http={}, metadata=told) for number, told in enumerate(metadata)]
    path = tmp_path / "segments.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")

    sample = load([str(path)], compile_lexicon()).sample

    shop = ("acme.shop", "initech")
    told = {entry.key: entry.attributes for entry in sample}
    assert told == {1: (), 2: (("acme.customer", "globex"),), 3: (shop,), 4: (shop,)}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (segment(2) | {"id": None}, "a span has no readable trace id or span id"),
        (segment(2, trace_id="1-5f2aebcc-x"), "a span has no readable trace id or span id"),
        (alone(2, 1) | {"trace_id": ""}, "a span has no readable trace id or span id"),
        (segment(2, start_time="now"), "segment: Expected float | null, got str: start_time"),
        (segment(2, subsegments=[sub(3), 4]), "segment.subsegments[1]: Expected object, got int"),
        ({"Segments": [{"Document": "{"}]}, "Segments[0]: its Document is not JSON"),
        ({"Segments": [{"Document": None}]}, "Segments[0]: its Document is not JSON"),
        ({"Traces": 3}, "no X-Ray document: Expected array | null, got int: Traces"),
    ],
)
def test_broken_segment_is_rejected_and_its_neighbours_are_read(tmp_path: Path, value: Any, reason: str) -> None:
    report = audited(tmp_path, ROOT | {"subsegments": [chat(9)]}, value).report

    assert report.totals.calls == 1
    assert [(entry.line, entry.reason) for entry in report.inputs[0].rejections] == [(2, reason)]


def test_very_deep_nesting_is_rejected(tmp_path: Path) -> None:
    deep = '{"subsegments": [' * 100_000 + "]}" * 100_000

    report = audit_bytes(tmp_path, f"{json.dumps(ROOT)}\n{deep}\n".encode(), lines(call())).report

    assert [entry.line for entry in report.inputs[0].rejections] == [2]


def test_document_that_breaks_off_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        audit_bytes(tmp_path, json.dumps(ROOT).encode()[:-40])
