"""Every known deviation from OTLP JSON says what the protocol's form says: formats-traces §2."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditor.load import builder as building
from auditor.load import otlp_json
from auditor.load.builder import BatchBuilder
from auditor.load.otlp_json import OtlpJsonReader
from auditor.load.otlp_repair import repair
from auditor.normalise.vocabulary import compile_lexicon
from builders import SDK, SERVER, Audited, audit_bytes, call, hex_id, request, span

SPANS = (
    span("POST", id="top", trace="t", kind=SERVER, attributes={"tenant.id": "acme"}, flags=0x100),
    call(id="call", trace="t", parent="top", links=[("u", "other")], flags=0x300, failed=False,
         usage={"input": 1200, "output": 150, "read": 1024}),
    call(id="failed", trace="t", parent="top", usage={}, failed=True),
    span("job", id="other", trace="u", attributes={"tenant.id": "globex"}),
)  # fmt: skip
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUS = ("UNSET", "OK", "ERROR")


def each_span(document: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for entry in scope["spans"]:
                change(entry)
    return document


def renamed(value: Any, name: Callable[[str], str]) -> Any:
    match value:
        case dict():
            return {name(key): renamed(inner, name) for key, inner in value.items()}
        case list():
            return [renamed(inner, name) for inner in value]
    return value


def snake(name: str) -> str:
    if name[0].isupper():
        return name
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def upper_ids(entry: dict[str, Any]) -> None:
    for key in ("traceId", "spanId", "parentSpanId"):
        entry[key] = entry[key].upper()


def base64_ids(entry: dict[str, Any]) -> None:
    for key in ("traceId", "spanId", "parentSpanId"):
        entry[key] = base64.b64encode(bytes.fromhex(entry[key])).decode()
    for link in entry.get("links", ()):
        base64_ids({**link, "parentSpanId": ""})
        for key in ("traceId", "spanId"):
            link[key] = base64.b64encode(bytes.fromhex(link[key])).decode()


def base64_of_hex_text(entry: dict[str, Any]) -> None:
    for key in ("traceId", "spanId", "parentSpanId"):
        entry[key] = base64.b64encode(entry[key].encode()).decode()


def prefixed_ids(entry: dict[str, Any]) -> None:
    for key in ("traceId", "spanId", "parentSpanId"):
        entry[key] = f"0x{entry[key]}" if entry[key] else ""


def byte_lists_in_links(entry: dict[str, Any]) -> None:
    for link in entry.get("links", ()):
        for key in ("traceId", "spanId"):
            link[key] = list(bytes.fromhex(link[key]))


def zero_parents(entry: dict[str, Any]) -> None:
    entry["parentSpanId"] = entry["parentSpanId"] or "0" * 16


def null_parents(entry: dict[str, Any]) -> None:
    entry["parentSpanId"] = entry["parentSpanId"] or None


def buffer_parents(entry: dict[str, Any]) -> None:
    entry["parentSpanId"] = entry["parentSpanId"] or {}


def no_parents(entry: dict[str, Any]) -> None:
    if not entry["parentSpanId"]:
        del entry["parentSpanId"]


def enum_names(entry: dict[str, Any]) -> None:
    entry["kind"] = f"SPAN_KIND_{KINDS[entry['kind']]}"
    entry["status"] = {"code": f"STATUS_CODE_{STATUS[entry['status'].get('code', 0)]}"}


def short_enum_names(entry: dict[str, Any]) -> None:
    entry["kind"] = KINDS[entry["kind"]].title()
    entry["status"] = {"code": STATUS[entry["status"].get("code", 0)].title()}


def numbers_as_numbers(entry: dict[str, Any]) -> None:
    for key in ("startTimeUnixNano", "endTimeUnixNano"):
        entry[key] = int(entry[key])
    for pair in entry["attributes"]:
        if "intValue" in pair["value"]:
            pair["value"]["intValue"] = int(pair["value"]["intValue"])


def numbers_as_text(entry: dict[str, Any]) -> None:
    entry["kind"] = str(entry["kind"])
    entry["flags"] = str(entry.get("flags", 0))
    for pair in entry["attributes"]:
        if "intValue" in pair["value"]:
            pair["value"] = {"stringValue": pair["value"]["intValue"]}


def whole_doubles(entry: dict[str, Any]) -> None:
    for pair in entry["attributes"]:
        if "intValue" in pair["value"]:
            pair["value"] = {"doubleValue": float(pair["value"]["intValue"])}


def one_element_lists(entry: dict[str, Any]) -> None:
    for pair in entry["attributes"]:
        pair["value"] = {"arrayValue": {"values": [pair["value"]]}}


def bare_values(entry: dict[str, Any]) -> None:
    for pair in entry["attributes"]:
        (pair["value"],) = pair["value"].values()


def attribute_maps(entry: dict[str, Any]) -> None:
    entry["attributes"] = {pair["key"]: next(iter(pair["value"].values())) for pair in entry["attributes"]}


def go_values(entry: dict[str, Any]) -> None:
    for pair in entry["attributes"]:
        pair["value"] = {"Value": {key[0].upper() + key[1:]: inner for key, inner in pair["value"].items()}}


def nulls(entry: dict[str, Any]) -> None:
    for key in ("traceState", "droppedAttributesCount", "events", "links", "flags", "name"):
        entry.setdefault(key, None)
        if not entry[key]:
            entry[key] = None
    entry["status"] = entry["status"] or None
    for pair in entry["attributes"]:
        pair["value"] |= {"boolValue": None, "doubleValue": None}


def unknown_fields(entry: dict[str, Any]) -> None:
    entry["newField"] = {"a": [1, {"b": None}]}


SPAN_CHANGES = (
    upper_ids, base64_ids, base64_of_hex_text, prefixed_ids, byte_lists_in_links, zero_parents, null_parents,
    buffer_parents, no_parents, enum_names, short_enum_names, numbers_as_numbers, numbers_as_text, whole_doubles,
    one_element_lists, bare_values, attribute_maps, nulls, unknown_fields,
)  # fmt: skip


def as_it_should_be(tmp_path: Path) -> Audited:
    return audit_bytes(tmp_path, json.dumps(request(*SPANS)).encode())


@pytest.mark.parametrize("change", SPAN_CHANGES)
def test_deviation_of_a_span_says_the_same(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    expected = as_it_should_be(tmp_path)
    assert len(expected.rows) == 2

    found = audit_bytes(tmp_path, json.dumps(each_span(request(*SPANS), change)).encode())

    assert found.rows == expected.rows
    assert found.report.inputs[0].rejected == 0


def old_scopes(document: dict[str, Any]) -> Any:
    for resource in document["resourceSpans"]:
        scopes = resource.pop("scopeSpans")
        resource["instrumentationLibrarySpans"] = [
            {"instrumentationLibrary": scope["scope"], "spans": scope["spans"]} for scope in scopes
        ]
    return document


DOCUMENT_CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "snake case": lambda document: renamed(document, snake),
    "snake case and enum names": lambda document: renamed(each_span(document, enum_names), snake),
    "structs of Go": lambda document: renamed(each_span(each_span(document, go_values), base64_ids), snake),
    "old scope names": old_scopes,
    "old scope names in snake case": lambda document: renamed(old_scopes(document), snake),
    "a list of requests": lambda document: [document],
    "nulls beside": lambda document: {**document, "resourceLogs": None, "schemaUrl": None},
    "two requests in a list": lambda document: [
        {"resourceSpans": document["resourceSpans"][:2]},
        {"resourceSpans": document["resourceSpans"][2:]},
    ],
}


@pytest.mark.parametrize("name", DOCUMENT_CHANGES)
def test_deviation_of_a_document_says_the_same(tmp_path: Path, name: str) -> None:
    expected = as_it_should_be(tmp_path)

    found = audit_bytes(tmp_path, json.dumps(DOCUMENT_CHANGES[name](request(*SPANS))).encode())

    assert found.rows == expected.rows
    assert found.report.inputs[0].rejected == 0


@pytest.mark.parametrize("change", SPAN_CHANGES)
def test_repair_leaves_clean_parts_as_they_are_and_ends_in_the_protocols_form(
    change: Callable[[dict[str, Any]], None],
) -> None:
    complaints: list[str] = []
    clean = repair(request(*SPANS), complaints.append)

    repaired = repair(each_span(copy.deepcopy(request(*SPANS)), change), complaints.append)

    assert repair(repaired, complaints.append) == repaired
    for one, other in zip(repaired["resourceSpans"], clean["resourceSpans"], strict=True):
        ours, theirs = one["scopeSpans"][0]["spans"][0], other["scopeSpans"][0]["spans"][0]
        for key in ("traceId", "spanId", "kind", "startTimeUnixNano", "endTimeUnixNano", "status"):
            assert ours[key] == theirs[key], key
    assert complaints == []


@pytest.mark.parametrize("value", [5, "text", None, True, 1.5, [1, "x"], {"resource": 1}, {"resourceSpans": 7}])
def test_what_is_no_request_is_reported_and_gives_nothing(value: Any) -> None:
    complaints: list[str] = []

    assert repair(value, complaints.append) == {"resourceSpans": []}
    assert complaints


def test_each_part_that_is_left_out_is_reported() -> None:
    complaints: list[str] = []
    document = {"resourceSpans": [5, {"scopeSpans": [None, "x", {"spans": [7, {"traceId": "zz"}]}]}]}

    assert repair(document, complaints.append)["resourceSpans"][0]["scopeSpans"][0]["spans"] == []
    assert complaints == [
        "an entry of resourceSpans is not an object",
        "an entry of scopeSpans is not an object",
        "an entry of spans is not an object",
        "a span has no readable trace id or span id",
    ]


def test_sixteen_digit_trace_ids_are_padded(tmp_path: Path) -> None:
    short, own = "00000000deadbeef", hex_id("call", 8)
    document = request(call(id="call"))
    each_span(document, lambda entry: entry.update(traceId=short))

    (row,) = audit_bytes(tmp_path, json.dumps(document).encode()).rows

    assert (row["trace_id"], row["span_id"]) == (short.zfill(32), own)


def test_unreadable_parent_costs_the_parent_only(tmp_path: Path) -> None:
    document = request(call(id="call", tenant="acme"))
    each_span(document, lambda entry: entry.update(parentSpanId="no id"))

    assert len(audit_bytes(tmp_path, json.dumps(document).encode()).rows) == 1


@pytest.mark.parametrize("scope", [None, 7, {"name": None}, {"name": ["x"]}])
def test_a_scope_without_a_readable_name_costs_the_name_only(scope: Any) -> None:
    document = request(call(id="odd"))
    document["resourceSpans"][0]["scopeSpans"][0]["scope"] = scope
    builder = BatchBuilder(compile_lexicon())
    reader = OtlpJsonReader(builder)

    for line, entry in enumerate((request(call(id="before")), document, request(call(id="after"))), 1):
        reader.read(json.dumps(entry).encode(), line, 0)

    batch = builder.finish()
    assert [batch.places[code].shape.scope for code in batch.place] == [SDK, "", SDK]
    assert len(batch.call_row) == 3
    assert builder.rejected == 0


def test_a_bad_id_late_in_a_large_document_is_reported_with_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_json, "SPLIT_ABOVE", 0)
    monkeypatch.setattr(otlp_json, "PIECE", 1)
    monkeypatch.setattr(building, "FLUSH_SPANS", 2)
    document = request(*(call(id=f"call-{number}") for number in range(5)))
    each_span(document, lambda entry: entry.update(spanId="no id") if entry["spanId"] == hex_id("call-4", 8) else None)
    builder = BatchBuilder(compile_lexicon())

    OtlpJsonReader(builder).read(json.dumps(document).encode(), 7, 900)
    builder.flush()

    assert len(builder.batches) > 1
    assert [(rejection.line, rejection.byte) for rejection in builder.rejections] == [(7, 900)]
