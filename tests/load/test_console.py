"""Python's console exporter: formats-traces §5 and its sample."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auditor.errors import InputError
from auditor.load import load
from auditor.load.meanings import Meanings
from auditor.model.spans import mix
from auditor.normalise.vocabulary import compile_lexicon
from builders import CONSUMER, SERVER, Span, audit_bytes, call, lines, span
from other_formats import console, console_span

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"


SAID = [
    (15, 24, "complete"),
    (11, 203, "complete"),
    (15, 19, "complete"),
    (11, 228, "complete"),
    (None, None, "not_billed"),  # status ERROR, APIConnectionError
    (None, None, "missing"),  # a stream with a response id and no usage
    (8, 16, "complete"),
    (8, 0, "complete"),
    (8, 0, "complete"),
    (14, 8, "complete"),
]


def test_the_sample_holds_ten_requests_without_a_tenant(tmp_path: Path) -> None:
    # By hand from the file, in its order: input, output, reason for missing usage.
    report = audit_bytes(tmp_path, (SAMPLES / "console-span-exporter.txt").read_bytes())
    objects = json.loads(
        "[" + (SAMPLES / "console-span-exporter.txt").read_text("utf-8").replace("\n}\n{", "\n},\n{") + "]"
    )

    rows = {row["span_id"]: row for row in report.rows}

    said = [rows[entry["context"]["span_id"][2:]] for entry in objects if entry["context"]["span_id"][2:] in rows]
    assert [(row["input_tokens"], row["output_tokens"], row["usage_status"]) for row in said] == SAID
    assert {(row["status"], row["tenant_id"]) for row in said} == {("lost", None)}
    assert report.report.inputs[0].rejected == 0
    assert said[0]["time"] == "2026-11-21T09:47:48.727667000Z"


def story() -> list[Span]:
    """Without scopes, which the format does not have."""
    web = span("POST /ask", kind=SERVER, service="web", scope="", attributes={"tenant.id": "acme"})
    asked = call(service="web", scope="", parent=web.id, attributes={"gen_ai.response.finish_reasons": ["stop"]})
    failed = call(service="web", scope="", parent=web.id, start=90, usage={}, failed=True)
    work = span("work", trace="other", scope="", kind=CONSUMER, service="job", links=[("trace", web.id)])
    usage = {"gen_ai.usage.input_tokens": 70, "gen_ai.usage.output_tokens": 7}
    late = call(trace="other", service="job", scope="", parent=work.id, usage={}, events=[("gen_ai.choice", usage)])
    return [web, asked, failed, work, late]


def test_printed_spans_say_what_the_same_spans_say_as_otlp(tmp_path: Path) -> None:
    spans = story()
    wanted = audit_bytes(tmp_path, lines(*spans))

    found = audit_bytes(tmp_path, console(*spans))
    both = audit_bytes(tmp_path, console(*spans), lines(*spans))

    assert len(wanted.rows) == 3
    assert found.rows == wanted.rows == both.rows


def test_other_output_between_the_objects_is_passed_over(tmp_path: Path) -> None:
    first, second = call(), call()
    flat = json.dumps(console_span(second))
    data = b"\n".join(
        [
            b"INFO:     Started server process [1]",
            b"",
            b'{"event": "ready", "level": "info"}',
            console(first).strip(),
            b"[2026-11-21 09:47:48] 200 OK",
            b"3",
            flat.encode(),
            b'"bye"',
        ]
    )

    report = audit_bytes(tmp_path, data).report

    assert (report.inputs[0].format, report.inputs[0].records, report.inputs[0].rejected) == ("python-console", 2, 0)
    assert report.totals.calls == 2


def test_object_torn_by_other_output_is_rejected_with_its_line(tmp_path: Path) -> None:
    good, torn, last = console(call()), console(call()), console(call())
    cut = torn.index(b'"kind"')
    data = good + torn[:cut] + b"\nWARNING: torn\n" + torn[cut:] + last

    report = audit_bytes(tmp_path, data).report

    assert report.totals.calls == 2
    assert [entry.line for entry in report.inputs[0].rejections] == [good.count(b"\n") + 1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"context": None}, "a span has no readable trace id or span id"),
        ({"context": {"trace_id": "0x0", "span_id": "0x1"}}, "a span has no readable trace id or span id"),
        ({"context": {"trace_id": 1}}, "a printed span: Expected str, got int: context.trace_id"),
        ({"attributes": []}, "a printed span: Expected object | null, got array: attributes"),
        ({"resource": {"attributes": 3}}, "a printed resource: Expected object | null, got int: attributes"),
    ],
)
def test_broken_span_is_rejected_and_its_neighbours_are_read(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    entries = [console_span(call()), console_span(call()) | changes, console_span(call())]

    report = audit_bytes(tmp_path, "\n".join(map(json.dumps, entries)).encode()).report

    assert [(entry.line, entry.reason) for entry in report.inputs[0].rejections] == [(2, reason)]
    assert report.totals.calls == (3 if "resource" in changes else 2)


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("2026-11-21T09:47:48.727667Z", "2026-11-21T09:47:48.727667000Z"),
        ("2026-11-21T09:47:48Z", "2026-11-21T09:47:48.000000000Z"),
        ("2026-11-21T10:47:48.5+01:00", "2026-11-21T09:47:48.500000000Z"),
        ("2026-11-21 09:47:48.123456789", "2026-11-21T09:47:48.123456789Z"),
        ("yesterday, in the morning", None),
        (None, None),
    ],
)
def test_moments(tmp_path: Path, moment: str | None, said: str | None) -> None:
    entry = console_span(call()) | {"start_time": moment}

    (row,) = audit_bytes(tmp_path, json.dumps(entry).encode()).rows

    assert row["time"] == said


def test_unfinished_span_is_read(tmp_path: Path) -> None:
    (row,) = audit_bytes(tmp_path, console(call(ms=None))).rows

    assert row["input_tokens"] == 1000


JAVASCRIPT = """{
  resource: {
    attributes: {
      'service.name': 'dice-server'
    }
  },
  instrumentationScope: { name: 'dice', version: '0.1.0', schemaUrl: undefined },
  traceId: '5d6a1b2a3c4d5e6f708192a3b4c5d6e7',
  parentSpanContext: undefined,
  id: '8d1b2a3c4d5e6f70',
  kind: 1,
}
"""


def test_javascripts_console_output_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="console exporter for JavaScript") as raised:
        audit_bytes(tmp_path, JAVASCRIPT.encode())

    assert raised.value.hint is not None


def printed(number: int, **changes: object) -> str:
    entry: dict[str, Any] = {
        "name": "work",
        "context": {"trace_id": f"0x{1:032x}", "span_id": f"0x{number:016x}", "trace_state": "[]"},
        "kind": "SpanKind.INTERNAL",
        "parent_id": None,
        "start_time": "2026-11-01T00:00:00.000000Z",
        "end_time": "2026-11-01T00:00:01.000000Z",
        "status": {"status_code": "UNSET"},
        "attributes": {"tenant.id": "acme", "n": {"a": [1, 2]}},
        "events": [],
        "links": [],
        "resource": {"attributes": {"service.name": "web"}, "schema_url": ""},
    }
    return json.dumps(entry | changes, indent=4) + "\n"


ODD = {
    "is cut off": (printed(9)[:120] + "\n", 1),
    "has a context that is none": (printed(9, context="none"), 1),
    "has attributes that are none": (printed(9, attributes=["a"]), 1),
    "has no ids": (printed(9, context={}), 1),
    "has a trace id that is none": (printed(9, context={"trace_id": "0x" + "z" * 32, "span_id": f"0x{9:016x}"}), 1),
    "is other output": ('{\n    "answer": 1\n}\n', 0),
    "is a list": ("[\n    1\n]\n", 0),
    "is text": ("INFO:\n\n", 0),
    "lies on one line": (json.dumps(json.loads(printed(9))) + "\n", 0),
    "has no indent": (json.dumps(json.loads(printed(9)), indent=0) + "\n", 0),
    "comes twice on the same line": (printed(9).rstrip() + printed(10), 0),
    "has line ends of Windows": (printed(9).replace("\n", "\r\n"), 0),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("odd", ODD)
def test_what_stands_among_printed_spans_takes_none_of_them_along(odd: str, compressed: bool, tmp_path: Path) -> None:
    text, rejected = ODD[odd]
    path = tmp_path / "spans.txt"
    before, after = [printed(number) for number in (1, 2, 3)], [printed(number) for number in (4, 5, 6)]
    data = "".join([*before, text, *after]).encode()
    path.write_bytes(gzip.compress(data) if compressed else data)

    loaded = load([str(path)], compile_lexicon())

    keys = {int(key) for batch in loaded.batches for key in batch.key}
    assert {key_of(number) for number in range(1, 7)} <= keys
    places = [(entry.line, entry.byte) for entry in loaded.inputs[0].rejections]
    assert places == [("".join(before).count("\n") + 1, len("".join(before)))] * rejected


@pytest.mark.parametrize(
    ("odd", "wanted"),
    [
        (f"{9:016x}", 9),
        (f"0X{9:016x}", 9),
        (f"0x{0xA9:016X}", 0xA9),
        ("0x" + "9" * 14 + "0x", None),
        (f"0x{9:032x}", None),
        ("", None),
    ],
)
def test_parent_that_is_spelled_another_way_leaves_those_beside_it_as_they_are(
    odd: str, wanted: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "spans.txt"
    parents = [f"0x{11:016x}", None, f"0x{13:016x}", None, odd, f"0x{16:016x}"]
    path.write_text("".join(printed(number, parent_id=text) for number, text in enumerate(parents, 1)), "utf-8")

    (batch,) = load([str(path)], compile_lexicon()).batches

    found = dict(zip(batch.key.tolist(), batch.parent.tolist(), strict=True))
    numbers = [11, None, 13, None, wanted, 16]
    assert found == {
        key_of(number): 0 if parent is None else key_of(parent) for number, parent in enumerate(numbers, 1)
    }


def test_calls_that_say_the_same_are_found_at_their_own_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.load.builder.SAMPLE_SIZE", 1)
    remembered = []
    add_call = Meanings.add_call
    monkeypatch.setattr(Meanings, "add_call", lambda *given: remembered.append(add_call(*given)) or remembered[-1])
    path = tmp_path / "spans.txt"
    asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}
    attributes = [asked | {"tenant.id": "acme"}, asked | {"tenant.id": "globex"}, {"tenant.id": "acme"}]
    texts = [printed(number + 1, attributes=attributes[number % 3]) for number in range(30)]
    path.write_text("".join(texts), "utf-8")

    (batch,) = load([str(path)], compile_lexicon()).batches

    found = {
        int(batch.key[row]): (line, str(batch.tenants[batch.tenant[row]]))
        for row, line in zip(batch.call_row.tolist(), batch.call_line.tolist(), strict=True)
    }
    lines_before = [sum(text.count("\n") for text in texts[:number]) for number in range(30)]
    assert any(remembered)
    assert found.keys() == {key_of(number + 1) for number in range(30) if number % 3 < 2}
    for number in range(30):
        if number % 3 < 2:
            line, tenant = found[key_of(number + 1)]
            assert line == lines_before[number] + 1
            assert ("acme", "globex")[number % 3] in tenant


def key_of(number: int) -> int:
    """Key of a printed span."""
    trace = np.array([0, 1], dtype=np.uint64)
    return number ^ int(mix(trace[:1], trace[1:])[0])
