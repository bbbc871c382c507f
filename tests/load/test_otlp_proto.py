"""OTLP protobuf, bare and in the Collector's framings, says what the same spans say as OTLP JSON."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from google.protobuf import json_format
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from auditor.errors import InputError
from auditor.load import otlp_proto
from auditor.load.otlp_proto import is_collector_file, is_proto
from auditor.pipeline import audit
from auditor.report.json_v1 import digest
from auditor.settings import Internal, Settings
from builders import call, lines, request, span

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"
PRODUCTION = Settings(internal=Internal(environments=()))
JSON_SAMPLES = sorted(
    path.name
    for path in SAMPLES.glob("otlp-*.json*")
    if not path.name.startswith(("otlp-plain-proto3", "otlp-proto-example", "otlp-multi", "otlp-jaeger"))
)
IDS = ("traceId", "spanId", "parentSpanId")


def message(document: dict[str, Any]) -> TracesData:
    """An OTLP JSON request as protobuf; the plain mapping writes ids as base64 where the protocol has hex."""
    return json_format.ParseDict(in_base64(document), TracesData(), ignore_unknown_fields=True)


def in_base64(value: Any) -> Any:
    if isinstance(value, list):
        return [in_base64(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(inner)).decode() if key in IDS else in_base64(inner)
        for key, inner in value.items()
    }


def documents(name: str) -> list[dict[str, Any]]:
    text = (SAMPLES / name).read_text("utf-8")
    return [json.loads(text)] if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]


def framed(*messages: bytes) -> bytes:
    return b"".join(len(entry).to_bytes(4, "big") + entry for entry in messages)


ONE = message(request(call("chat", id="a", tenant="acme"))).SerializeToString()
TWO = message(request(call("chat", id="b", tenant="acme"))).SerializeToString()


def written(home: Path, data: bytes) -> Any:
    path = home / "traces.bin"
    path.write_bytes(data)
    return audit([str(path)], PRODUCTION).report


@pytest.mark.parametrize("name", JSON_SAMPLES)
def test_a_sample_as_protobuf_gives_the_digest_that_its_json_gives(name: str, tmp_path: Path) -> None:
    wanted = audit([str(SAMPLES / name)], PRODUCTION).report

    found = written(tmp_path, b"".join(message(entry).SerializeToString() for entry in documents(name)))

    assert found.inputs[0].format == "otlp-proto"
    assert found.totals.calls > 0
    assert digest(found) == digest(wanted)


@pytest.mark.parametrize(
    ("form", "format_name"),
    [
        (lambda parts: framed(*parts), "collector-file"),
        (lambda parts: framed(*map(zstandard.compress, parts)), "collector-file"),
        (lambda parts: zstandard.compress(framed(*parts)), "collector-file"),
        (lambda parts: gzip.compress(framed(*parts)), "collector-file"),
        (lambda parts: b"".join(zstandard.compress(framed(part)) for part in parts), "collector-file"),
        (lambda parts: zstandard.compress(b"".join(parts)), "otlp-proto"),
        (lambda parts: gzip.compress(b"".join(parts)), "otlp-proto"),
    ],
    ids=["plain", "zstd each", "zstd around", "gzip around", "zstd frames", "bare in zstd", "bare in gzip"],
)
def test_every_framing_of_protobuf_is_read(form: Any, format_name: str, tmp_path: Path) -> None:
    name = "otlp-openllmetry-openai.jsonl"
    wanted = audit([str(SAMPLES / name)], PRODUCTION).report

    found = written(tmp_path, form([message(entry).SerializeToString() for entry in documents(name)]))

    assert found.inputs[0].format == format_name
    assert digest(found) == digest(wanted)


@pytest.mark.parametrize("packed", [False, True])
def test_json_behind_lengths_is_read(packed: bool, tmp_path: Path) -> None:
    parts = [lines(call(id=name, tenant="acme")).rstrip() for name in "ab"]

    report = written(tmp_path, framed(*(zstandard.compress(part) if packed else part for part in parts)))

    assert (report.totals.calls, report.totals.direct.calls, report.inputs[0].records) == (2, 2, 2)


def test_a_call_is_found_again_by_the_number_of_its_message(tmp_path: Path) -> None:
    report = written(tmp_path, framed(ONE, message(request(call(id="b"))).SerializeToString()))

    assert [sample.line for finding in report.findings for sample in finding.samples] == [2]


# -- recognition -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b'\n{"resourceSpans":[]}',
        b'\n{\n  "resourceSpans": []\n}',
        b'\n\n\n\n{"resourceSpans":[]}',
        b"\n \n\n{}",
        b'    {"resourceSpans":[]}',
        b'\xef\xbb\xbf{"a":1}',
        b"PAR1",
        b"",
        b"\n",
        b"\n\x00",
        bytes(64),
    ],
)
def test_text_is_not_taken_for_protobuf(text: bytes) -> None:
    assert not is_proto(text)
    assert not is_collector_file(text)


def test_json_that_begins_with_blank_lines_is_still_json(tmp_path: Path) -> None:
    assert written(tmp_path, b"\n\n\n\n" + lines(call(tenant="acme"))).inputs[0].format == "otlp-json"


# -- what is broken ----------------------------------------------------------------------------------


def test_what_comes_before_a_cut_frame_is_audited(tmp_path: Path) -> None:
    report = written(tmp_path, framed(ONE, TWO)[:-10])

    assert (report.totals.calls, report.inputs[0].rejected) == (1, 1)
    (place,) = report.inputs[0].rejections
    size = len(TWO)
    assert (place.line, place.reason) == (
        2,
        f"the input ends inside message 2: it claims {size} bytes and {size - 10} follow",
    )


def test_a_cut_length_is_reported(tmp_path: Path) -> None:
    report = written(tmp_path, framed(ONE) + b"\0\0")

    assert [place.reason for place in report.inputs[0].rejections] == ["the input ends inside the length of message 2"]


def test_an_absurd_length_ends_the_reading_with_its_reason(tmp_path: Path) -> None:
    report = written(tmp_path, framed(ONE) + b"\xff\xff\xff\xff" + TWO)

    assert report.totals.calls == 1
    assert "message 2 claims 4294967295 bytes, and the limit is 134217728" in report.inputs[0].rejections[0].reason


def test_a_length_that_is_too_short_costs_its_message_and_is_reported(tmp_path: Path) -> None:
    wrong = (len(TWO) - 7).to_bytes(4, "big") + TWO

    report = written(tmp_path, framed(ONE) + wrong)

    assert (report.totals.calls, report.inputs[0].rejected) == (1, 2)
    assert report.inputs[0].rejections[0].reason == "not OTLP protobuf, or damaged"


def test_a_length_that_is_too_long_for_the_whole_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ends inside message 1: it claims 4096 bytes"):
        written(tmp_path, (4096).to_bytes(4, "big") + ONE)


def test_damage_in_one_frame_leaves_the_others(tmp_path: Path) -> None:
    damaged = ONE[:40] + b"\xff" * 8 + ONE[48:]

    report = written(tmp_path, framed(damaged, TWO))

    assert (report.totals.calls, report.inputs[0].rejected) == (1, 1)


def test_bare_protobuf_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    report = written(tmp_path, (ONE + TWO)[:-3])

    assert (report.totals.calls, report.inputs[0].rejected) == (1, 1)
    assert "the input ends inside a part that claims" in report.inputs[0].rejections[0].reason


def test_unknown_fields_beside_the_spans_are_passed_over(tmp_path: Path) -> None:
    number, text, fixed = b"\x78\x96\x01", b"\x7a\x03abc", b"\x7d\0\0\0\0"

    report = written(tmp_path, ONE + number + text + fixed + TWO)

    assert (report.totals.calls, report.inputs[0].rejected) == (2, 0)


def test_one_message_that_grows_beyond_the_limit_is_rejected_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_proto, "MAX_MESSAGE", 1 << 20)
    bomb = zstandard.compress(bytes(64 << 20))
    assert len(bomb) < 1 << 14

    report = written(tmp_path, framed(zstandard.compress(ONE), bomb))

    assert report.totals.calls == 1
    assert [place.reason for place in report.inputs[0].rejections] == [
        "a compressed message grows beyond the limit of 1048576 bytes"
    ]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_around_frames_is_refused_by_the_length_it_claims(pack: Any, tmp_path: Path) -> None:
    report = written(tmp_path, pack(framed(ONE) + (1 << 30).to_bytes(4, "big") + bytes(1 << 20)))

    assert "message 2 claims 1073741824 bytes" in report.inputs[0].rejections[0].reason


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_around_bare_protobuf_is_refused_by_the_length_it_claims(pack: Any, tmp_path: Path) -> None:
    report = written(tmp_path, pack(ONE + b"\x0a\x80\x80\x80\x80\x04" + bytes(1 << 20)))

    assert report.inputs[0].rejections[0].reason == "a part of 1073741824 bytes: the limit is 134217728"


def test_a_damaged_compressed_message_is_rejected(tmp_path: Path) -> None:
    packed = bytearray(zstandard.compress(TWO))
    packed[8:20] = b"\xff" * 12

    report = written(tmp_path, framed(zstandard.compress(ONE), bytes(packed)))

    assert (report.totals.calls, report.inputs[0].rejected) == (1, 1)


# -- what holds no spans -----------------------------------------------------------------------------

LOGS = LogsData()
_record = LOGS.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1, trace_id=b"x" * 16)
_record.body.string_value = "hello"
METRICS = MetricsData()
_metric = METRICS.resource_metrics.add().scope_metrics.add().metrics.add(name="a" * 16, description="b" * 8)
_metric.gauge.data_points.add(as_int=1)


@pytest.mark.parametrize(
    ("other", "reason"),
    [(LOGS, "OTLP logs, not spans"), (METRICS, "OTLP metrics hold no calls")],
)
@pytest.mark.parametrize("form", [framed, lambda *parts: b"".join(parts)], ids=["framed", "bare"])
def test_other_signals_in_the_file_are_named(other: Any, reason: str, form: Any, tmp_path: Path) -> None:
    report = written(tmp_path, form(ONE, other.SerializeToString()))

    assert report.totals.calls == 1
    assert [place.reason for place in report.inputs[0].rejections] == [reason]


def test_a_span_without_ids_is_rejected_among_good_ones(tmp_path: Path) -> None:
    both = message(request(call(id="a", tenant="acme"), span(id="b")))
    both.resource_spans[1].scope_spans[0].spans[0].ClearField("span_id")

    report = written(tmp_path, framed(both.SerializeToString()))

    assert (report.totals.calls, report.inputs[0].rejected) == (1, 1)
    assert report.inputs[0].rejections[0].reason == "a span has no readable trace id or span id"


def test_times_beyond_the_range_read_as_unknown(tmp_path: Path) -> None:
    late = message(request(call(id="a", tenant="acme")))
    late.resource_spans[0].scope_spans[0].spans[0].end_time_unix_nano = (1 << 64) - 1

    assert written(tmp_path, late.SerializeToString()).totals.calls == 1


def test_prompts_do_not_reach_the_columns(tmp_path: Path) -> None:
    secret = "a prompt that nobody may see " * 8
    spoken = call(id="a", tenant="acme", attributes={"gen_ai.prompt.0.content": secret, "short": "kept"})

    report = written(tmp_path, message(request(spoken)).SerializeToString())

    assert "nobody may see" not in repr(report)


def test_unknown_usage_is_reported_for_every_span_and_not_for_the_sample_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.load.builder.SAMPLE_SIZE", 2)
    calls = [call(id=f"own {number}", attributes={"gen_ai.usage.strange_tokens": 5}) for number in range(50)]
    path = tmp_path / "spans.bin"
    path.write_bytes(b"".join(message(request(entry)).SerializeToString() for entry in calls))

    (unread,) = audit([str(path)], Settings()).report.inputs[0].unread_usage

    assert (unread.key, unread.spans) == ("gen_ai.usage.strange_tokens", 50)
