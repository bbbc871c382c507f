"""A record that turns out not to be JSON after some of its spans were read: mended, or rejected, never a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builders import audit_bytes, call, lines
from other_formats import console_span, jaeger_span, zipkin_span


@pytest.mark.parametrize("write", [jaeger_span, zipkin_span])
@pytest.mark.parametrize("text", [b"\xff\xfe", b"\\ud83d"])
def test_a_text_that_was_cut_inside_a_character_is_mended(tmp_path: Path, write: Any, text: bytes) -> None:
    entries = [write(call(id=str(number), start=number * 1000)) for number in range(300)]
    entries[280]["operationName" if write is jaeger_span else "name"] = "<cut>"
    data = json.dumps(entries).encode().replace(b"<cut>", text)

    report = audit_bytes(tmp_path, data).report

    assert (report.totals.calls, report.inputs[0].rejected) == (300, 0)


def test_a_printed_span_that_was_cut_inside_a_character_is_mended(tmp_path: Path) -> None:
    good, cut = (json.dumps(console_span(call())).encode() for _ in range(2))

    report = audit_bytes(tmp_path, good + b"\n" + cut.replace(b"chat gpt", b"\xffchat")).report

    assert (report.totals.calls, report.inputs[0].rejected) == (2, 0)


@pytest.mark.parametrize("write", [jaeger_span, zipkin_span])
def test_a_record_that_cannot_be_mended_is_rejected_and_the_next_one_is_read(tmp_path: Path, write: Any) -> None:
    key = "startTime" if write is jaeger_span else "timestamp"
    entries = [write(call(id=str(number), start=number * 1000)) for number in range(3)]
    entries[2][key] = 123456789
    broken = json.dumps(entries).encode().replace(b"123456789", b"1e999999")
    data = broken + b"\n" + json.dumps([write(call(id="next"))]).encode()

    report = audit_bytes(tmp_path, data, lines(call(trace="otlp"))).report

    assert report.totals.calls >= 2
    assert all(entry.line == 1 for entry in report.inputs[0].rejections)
