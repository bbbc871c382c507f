"""The spans of small records are read together, and still each comes from its own place in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.load import span_writer
from builders import audit_bytes, call
from other_formats import console_span

COUNT = 40


def printed(number: int, **changes: Any) -> bytes:
    return json.dumps(console_span(call(id=f"own {number}", trace=f"trace {number}", **changes))).encode()


def test_a_span_without_ids_is_rejected_at_its_own_line(tmp_path: Path) -> None:
    rows = [printed(number) for number in range(COUNT)]
    for number in (6, 23):
        entry = json.loads(rows[number])
        entry["context"]["trace_id"] = "0x"
        rows[number] = json.dumps(entry).encode()

    entry = audit_bytes(tmp_path, b"\n".join(rows)).report.inputs[0]

    assert [rejection.line for rejection in entry.rejections] == [7, 24]
    assert [rejection.byte for rejection in entry.rejections] == [
        sum(len(row) + 1 for row in rows[:number]) for number in (6, 23)
    ]
    assert (entry.records, entry.spans) == (COUNT, COUNT - 2)


def test_a_record_that_breaks_off_takes_no_other_with_it(tmp_path: Path) -> None:
    rows = [printed(number) for number in range(3)]
    rows.insert(2, rows[2][: len(rows[2]) // 2])

    report = audit_bytes(tmp_path, b"\n".join(rows)).report

    assert report.totals.calls == 3
    assert [rejection.line for rejection in report.inputs[0].rejections] == [3]


@pytest.mark.parametrize(("name", "value"), [("PIECE", 3), ("HELD", 1), ("WAITING", 1)])
def test_how_many_records_wait_for_each_other_changes_nothing(
    name: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"\n".join(printed(number, tenant=f"t{number % 3}") for number in range(COUNT))
    whole = audit_bytes(tmp_path, data)
    monkeypatch.setattr(span_writer, name, value)

    found = audit_bytes(tmp_path, data)

    assert len(found.rows) == COUNT
    assert found.rows == whole.rows


def test_objects_printed_over_many_lines_keep_their_lines(tmp_path: Path) -> None:
    spans = [console_span(call(id=f"own {number}", trace=f"trace {number}")) for number in range(3)]
    spans[1]["context"]["trace_id"] = "0x"
    texts = [json.dumps(entry, indent=4).encode() for entry in spans]

    entry = audit_bytes(tmp_path, b"\n".join(texts) + b"\n").report.inputs[0]

    assert [rejection.line for rejection in entry.rejections] == [texts[0].count(b"\n") + 2]
    assert entry.spans == 2
