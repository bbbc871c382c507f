"""Spans that are walked on the wire say what the library reads, and what is odd or broken is left to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

from auditor.ledger.calls import call_rows
from auditor.load.otlp_proto import DAMAGED
from auditor.load.otlp_values import UNREADABLE
from auditor.load.otlp_wire import WireError, head_of, number_at, pair_of, rest_of
from auditor.load.proto_values import decode_proto
from auditor.pipeline import audit
from auditor.settings import Internal, Settings

PRODUCTION = Settings(internal=Internal(environments=()))
TRACE, OWN, PARENT = bytes(range(1, 17)), bytes(range(1, 9)), bytes(range(2, 10))
T0 = 1_790_000_000_000_000_000


def pair(key: str, value: Any) -> KeyValue:
    kind = "string_value" if isinstance(value, str) else "int_value"
    return KeyValue(key=key, value=AnyValue(**{kind: value}))


CALL = (
    pair("gen_ai.operation.name", "chat"),
    pair("gen_ai.request.model", "gpt-4o-mini"),
    pair("gen_ai.usage.input_tokens", 1000),
    pair("gen_ai.usage.output_tokens", 100),
    pair("tenant.id", "acme"),
)


def span(own: bytes = OWN, **fields: Any) -> Span:
    return Span(trace_id=TRACE, span_id=own, start_time_unix_nano=T0, end_time_unix_nano=T0 + 5, **fields)


def field(tag: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([tag]) + length + bytes([size]) + content


def export(*spans: bytes) -> bytes:
    """A request of one scope around spans as they stand."""
    return field(0x0A, field(0x12, b"".join(field(0x12, entry) for entry in spans)))


def audited(home: Path, data: bytes) -> Any:
    path = home / "traces.bin"
    path.write_bytes(data)
    return audit([str(path)], PRODUCTION)


@pytest.mark.parametrize(
    ("data", "number", "end"),
    [
        (b"\x05", 5, 1),
        (b"\x96\x01", 150, 2),
        (b"\xff\xff\xff\xff\x0f", (1 << 32) - 1, 5),
        (b"\x80\x80\x01", 1 << 14, 3),
    ],
)
def test_numbers_have_seven_bits_a_byte(data: bytes, number: int, end: int) -> None:
    assert number_at(data, 0) == (number, end)


def test_a_number_that_does_not_end_is_refused() -> None:
    with pytest.raises(WireError):
        number_at(b"\xff" * 11, 0)


def test_the_first_fields_are_those_that_the_library_writes() -> None:
    written = span(parent_span_id=PARENT, trace_state="a=b", name="x" * 200, kind=Span.SPAN_KIND_CLIENT)
    raw = written.SerializeToString()

    *first, at = head_of(raw)

    assert first == [TRACE.hex(), OWN.hex(), PARENT.hex(), b"x" * 200, 3, T0, T0 + 5]
    assert at == len(raw)


def test_the_last_fields_are_those_that_the_library_writes() -> None:
    written = span(
        flags=0x301,
        dropped_attributes_count=300,
        events=[Span.Event(name="e")],
        links=[Span.Link(span_id=PARENT)],
        status=Status(code=Status.STATUS_CODE_ERROR, message="no"),
    )
    raw = written.SerializeToString()

    events, links, status, flags = rest_of(raw, head_of(raw)[-1])

    assert [Span.Event.FromString(entry).name for entry in events] == ["e"]
    assert [Span.Link.FromString(entry).span_id for entry in links] == [PARENT]
    assert (Status.FromString(status).code, flags) == (2, 0x301)


@pytest.mark.parametrize("key", ["k", "key " * 30])
@pytest.mark.parametrize("text", ["", "acme", "long " * 100])
def test_an_attribute_is_its_key_and_its_value(key: str, text: str) -> None:
    found, value = pair_of(pair(key, text).SerializeToString())

    assert (found, decode_proto(value)) == (key.encode(), text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AnyValue(string_value="ä" * 100), "ä" * 100),
        (AnyValue(int_value=-7), -7),
        (AnyValue(int_value=(1 << 63) - 1), (1 << 63) - 1),
        (AnyValue(double_value=0.5), 0.5),
        (AnyValue(bool_value=True), True),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="stop")])), ["stop"]),
        (AnyValue(kvlist_value=KeyValueList(values=[pair("tenant_id", "acme")])), {"tenant_id": "acme"}),
        (AnyValue(bytes_value=b"x"), None),
        (AnyValue(), None),
    ],
)
def test_values_of_every_kind_are_read(value: AnyValue, expected: Any) -> None:
    assert decode_proto(field(0x12, value.SerializeToString())) == expected


@pytest.mark.parametrize("inner", [b"\x0a\x02\xff\xfe", b"\x0a\x7f", b"\x18", b"\x2a\x05\x0a", b"\x07"])
def test_a_broken_value_is_unreadable_and_no_error(inner: bytes) -> None:
    assert decode_proto(field(0x12, inner)) is UNREADABLE


def test_events_hold_json_and_are_read_by_the_same_function() -> None:
    assert decode_proto(b'"acme"') == "acme"


def test_fields_in_another_order_are_read_by_the_library(tmp_path: Path) -> None:
    # Messages that follow each other are one: so an encoder may begin with the attributes.
    odd = Span(attributes=CALL).SerializeToString() + span(kind=Span.SPAN_KIND_CLIENT).SerializeToString()
    with pytest.raises(WireError):
        head_of(odd)

    rows = list(call_rows(audited(tmp_path, export(odd)).calls))

    assert [(row["input_tokens"], row["output_tokens"], row["tenant_id"]) for row in rows] == [(1000, 100, "acme")]


def test_a_damaged_span_is_rejected_and_its_neighbours_are_read(tmp_path: Path) -> None:
    # The key of its attribute claims five bytes, and none follows.
    damaged = span(PARENT).SerializeToString() + b"\x4a\x02\x0a\x05"
    good = span(attributes=CALL).SerializeToString()

    report = audited(tmp_path, export(damaged, good)).report

    assert report.totals.calls == 1
    assert [(place.line, place.reason) for place in report.inputs[0].rejections] == [(1, DAMAGED)]


def test_a_span_that_ends_behind_its_scope_costs_the_message(tmp_path: Path) -> None:
    good = export(span(attributes=CALL).SerializeToString())
    # The scope is one byte shorter than the span in it: the last byte belongs to nothing.
    inner = field(0x12, span().SerializeToString())
    broken = field(0x0A, b"\x12" + bytes([len(inner) - 1]) + inner)

    report = audited(tmp_path, good + broken).report

    assert (report.totals.calls, report.inputs[0].rejected) == (1, 1)


def test_attributes_that_come_again_are_read_once_and_mean_the_same(tmp_path: Path) -> None:
    spans = [span(bytes([7, *OWN[1:7], number]), attributes=CALL) for number in range(1, 21)]
    other = [pair("tenant.id", "globex") if entry.key == "tenant.id" else entry for entry in CALL]
    spans.append(span(PARENT, attributes=other))
    assert len(TracesData.FromString(export(*(entry.SerializeToString() for entry in spans))).resource_spans) == 1

    rows = list(call_rows(audited(tmp_path, export(*(entry.SerializeToString() for entry in spans))).calls))

    assert sorted(row["tenant_id"] for row in rows) == ["acme"] * 20 + ["globex"]
    assert {row["input_tokens"] for row in rows} == {1000}
