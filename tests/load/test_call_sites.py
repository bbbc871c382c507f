"""Where in a program a sampled call is, read again from its record."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from auditor.load import call_sites
from auditor.load.call_sites import Checkout, checkout_of
from auditor.model.report import CodePlace, Report, Sample
from auditor.pipeline import audit, locate
from auditor.report import json_v1
from auditor.settings import Settings
from builders import call, lines, request, span

NEW = {"code.file.path": "/app/shop/chat.py", "code.line.number": 41, "code.function.name": "shop.chat.ask"}
OLD = {"code.filepath": "shop/chat.py", "code.lineno": 41}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one file of code."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "chat.py").write_text("pass\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def located(here: Path, name: str, data: bytes) -> list[Sample]:
    (here / name).write_bytes(data)
    report = locate(audit([name], Settings()).report, [name], here)
    return [sample for finding in report.findings for sample in finding.samples]


def without_tenant(attributes: dict[str, Any] | None = None, **fields: Any) -> Any:
    return call(id="lost", attributes=attributes or {}, **fields)


@pytest.mark.parametrize("attributes", [NEW, OLD], ids=["new keys", "old keys"])
def test_a_span_says_which_line_of_code_made_the_call(here: Path, attributes: dict[str, Any]) -> None:
    export = lines(span("noise"), span("noise"), without_tenant(attributes))

    (sample,) = located(here, "traces.jsonl", export)

    assert sample.code == CodePlace("shop/chat.py", 41)
    assert sample.line == 3


def test_a_span_without_code_has_its_line_in_the_input(here: Path) -> None:
    (sample,) = located(here, "traces.jsonl", lines(span("noise"), without_tenant()))

    assert (sample.line, sample.code) == (2, None)


def test_in_a_document_the_line_is_that_of_the_span(here: Path) -> None:
    lost = without_tenant(OLD)
    child = span("child", parent=lost.id, links=(("trace", lost.id),))
    text = json.dumps(request(child, lost), indent=1)

    (sample,) = located(here, "traces.json", text.encode())

    own = [number for number, line in enumerate(text.splitlines(), 1) if f'"spanId": "{lost.ids[1]}"' in line]
    assert sample.line == own[-1] > own[0] > 1  # the first is the link
    assert sample.code == CodePlace("shop/chat.py", 41)


def test_the_code_is_that_of_the_call_and_not_of_its_neighbours(here: Path) -> None:
    lost = without_tenant(OLD)
    other = span("child", parent=lost.id, links=(("trace", lost.id),), attributes={"code.filepath": "shop/other.py"})

    (sample,) = located(here, "traces.jsonl", json.dumps(request(other, lost, other)).encode())

    assert sample.code == CodePlace("shop/chat.py", 41)


def test_compressed_inputs_are_read_again_too(here: Path) -> None:
    (sample,) = located(here, "traces.jsonl.gz", gzip.compress(lines(span("noise"), without_tenant(OLD))))

    assert (sample.line, sample.code) == (2, CodePlace("shop/chat.py", 41))


def message(document: dict[str, Any]) -> bytes:
    from test_otlp_proto import in_base64  # noqa: PLC0415  # lies beside this file

    return json_format.ParseDict(in_base64(document), TracesData(), ignore_unknown_fields=True).SerializeToString()


def test_protobuf_says_it_as_well(here: Path) -> None:
    (sample,) = located(here, "traces.binpb", message(request(span("noise"), without_tenant(NEW))))

    assert sample.code == CodePlace("shop/chat.py", 41)


def test_the_collectors_framing_says_it_as_well(here: Path) -> None:
    parts = [message(request(span("noise"))), message(request(without_tenant(NEW)))]

    (sample,) = located(here, "traces.bin", b"".join(len(part).to_bytes(4, "big") + part for part in parts))

    assert sample.code == CodePlace("shop/chat.py", 41)
    assert sample.line == 2


def test_jaeger_tags_say_it_as_well(here: Path) -> None:
    lost = without_tenant(OLD)
    tags = [{"key": key, "type": "string", "value": value} for key, value in (lost.attributes or {}).items()]
    entry = {
        "traceID": lost.ids[0],
        "spanID": lost.ids[1],
        "operationName": lost.name,
        "references": [],
        "startTime": 1_790_000_000_000_000,
        "duration": 10,
        "tags": tags,
        "processID": "p1",
    }
    document = {"data": [{"traceID": lost.ids[0], "spans": [entry], "processes": {"p1": {"serviceName": "api"}}}]}

    (sample,) = located(here, "jaeger.json", json.dumps(document).encode())

    assert sample.code == CodePlace("shop/chat.py", 41)


def test_where_it_stands_changes_no_digest(here: Path) -> None:
    (here / "traces.jsonl").write_bytes(lines(without_tenant(OLD)))
    plain = audit(["traces.jsonl"], Settings()).report

    known = locate(plain, ["traces.jsonl"], here)

    assert known != plain
    assert json_v1.digest(known) == json_v1.digest(plain)
    assert b'"file": "shop/chat.py"' in json_v1.render(known)


def test_an_input_that_is_gone_leaves_the_finding(here: Path) -> None:
    (here / "traces.jsonl").write_bytes(lines(without_tenant(OLD)))
    report = audit(["traces.jsonl"], Settings()).report
    changed = replace(report, inputs=tuple(replace(entry, path="gone.jsonl") for entry in report.inputs))

    (here / "traces.jsonl").write_bytes(b'{"resourceSpans": [')

    assert locate(report, ["traces.jsonl"], here).findings == report.findings
    assert locate(changed, ["traces.jsonl"], here).findings == report.findings


def test_prompts_beside_the_id_do_not_mislead(here: Path) -> None:
    lost = without_tenant(OLD)
    prompt = json.dumps({"spanId": lost.ids[1], "name": "x", "attributes": {"code.filepath": "shop/evil.py"}})
    document = request(span("noise", attributes={"gen_ai.prompt": prompt}), lost)

    (sample,) = located(here, "traces.jsonl", json.dumps(document).encode())

    assert sample.code == CodePlace("shop/chat.py", 41)


@pytest.mark.parametrize(
    "changes",
    [
        {"attributes": [{"key": ["x"], "value": 1}, 3, None]},
        {"attributes": "text"},
        {"attributes": {"code.file.path": ["x"]}},
        {"attributes": {"code.file.path": "shop/chat.py", "code.line.number": {"intValue": "x"}}},
        {"attributes": {"code.file.path": "shop/chat.py", "code.line.number": -4}},
        {"attributes": {"code.file.path": "x" * 5000}},
        {"context": 3},
        {"id": "1" * 5000},
        {"traceId": 7},
        {"traceId": "\ud800"},
        {"name": None},
    ],
)
def test_odd_spans_have_no_place_and_do_no_harm(here: Path, changes: dict[str, Any]) -> None:
    (here / "traces.jsonl").write_bytes(lines(without_tenant(OLD)))
    report = audit(["traces.jsonl"], Settings()).report
    document = request(without_tenant(OLD))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0].update(changes)
    (here / "traces.jsonl").write_text(json.dumps(document) + "\n")

    (sample,) = locate(report, ["traces.jsonl"], here).findings[0].samples

    assert sample.code in {None, CodePlace("shop/chat.py", 1), CodePlace("shop/chat.py", 41)}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("shop/chat.py", "shop/chat.py"),
        ("/app/shop/chat.py", "shop/chat.py"),
        ("/home/ci/build/7/shop/chat.py", "shop/chat.py"),
        ("C:\\work\\shop\\chat.py", "shop/chat.py"),
        ("file:///srv/shop/chat.py", "shop/chat.py"),
        ("/app/main.py", "main.py"),
        ("/srv/app/main.py", "main.py"),
        ("/opt/some/where/else/main.py", "/opt/some/where/else/main.py"),
        ("/app/other.py", "/app/other.py"),
        ("../../shop/chat.py", "../../shop/chat.py"),
        ("/usr/lib/python3/site-packages/shop/chat.py", "/usr/lib/python3/site-packages/shop/chat.py"),
        ("/app/node_modules/x/main.py", "/app/node_modules/x/main.py"),
        ("a\0b/main.py", "a\0b/main.py"),
        ("x" * 5000, "x" * 5000),
        ("/", "/"),
    ],
)
def test_a_file_is_named_as_the_repository_has_it(here: Path, file: str, name: str) -> None:
    (here / "main.py").write_text("")

    assert checkout_of(here).name_of(file) == name


def test_from_a_directory_below_the_root_files_are_named_from_the_root(here: Path) -> None:
    (here / "web" / "src").mkdir(parents=True)
    (here / "web" / "src" / "app.py").write_text("")

    checkout = checkout_of(here / "web")

    assert checkout == Checkout(here, here / "web")
    assert checkout.name_of("src/app.py") == "web/src/app.py"
    assert checkout.name_of("/app/shop/chat.py") == "shop/chat.py"


def test_the_report_is_the_same_but_for_places(here: Path) -> None:
    (here / "traces.jsonl").write_bytes(lines(without_tenant(OLD), without_tenant(OLD, trace="other")))
    plain = audit(["traces.jsonl"], Settings()).report

    known = locate(plain, ["traces.jsonl"], here)

    def bare(report: Report) -> Report:
        return replace(report, findings=tuple(replace(entry, samples=()) for entry in report.findings))

    assert bare(known) == bare(plain)
    assert [sample.trace_id for sample in known.findings[0].samples] == [
        sample.trace_id for sample in plain.findings[0].samples
    ]


def test_an_input_that_names_no_code_and_has_a_span_a_line_is_not_parsed_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("auditor.load.call_sites._located", never)

    (sample,) = located(here, "traces.jsonl", lines(span("noise"), without_tenant()))

    assert (sample.line, sample.code) == (2, None)


def test_code_is_seen_wherever_the_pieces_are_cut(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = lines(span("noise"), without_tenant(OLD))
    at = export.index(b"code.file")
    for size in (at - 1, at, at + 1, at + 4, at + 9):
        monkeypatch.setattr("auditor.load.call_sites._AROUND", max(size, 1))
        with (here / "piece.jsonl").open("wb+") as file:
            file.write(export)

            assert call_sites._mentions_code(file)
