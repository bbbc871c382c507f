"""What is remembered of spans, attributes and rows changes nothing of what is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditor.load import load
from auditor.load.builder import hash_texts
from auditor.load.clickhouse import ClickHouseReader
from auditor.load.langfuse import LangfuseReader
from auditor.load.langsmith import LangSmithReader
from auditor.load.meanings import Meanings
from auditor.load.phoenix import PhoenixReader
from auditor.model.spans import IdKind
from auditor.normalise.vocabulary import compile_lexicon

LEXICON = compile_lexicon()
COUNT = 60
TENANTS = ("acme", "globex", "initech")


def number_of(number: int, digits: int) -> str:
    """An id; those of later spans are larger, so that they do not belong to the sample."""
    return f"{number + 1:0{digits}x}"


def attributes(number: int) -> dict[str, Any]:
    told: dict[str, Any] = {"db.system.name": "postgresql", "tenant.id": TENANTS[number % 3]}
    if number % 5 == 0:
        told["http.route"] = "/ask"
    if number % 7 == 0:
        told["session.id"] = f"conversation {number}"
    return told


def phoenix(number: int) -> dict[str, Any]:
    return {
        "name": "work",
        "span_kind": "CHAIN" if number % 4 else "UNKNOWN",
        "parent_id": None,
        "start_time": "2026-11-01T00:00:00.815282+00:00",
        "end_time": "2026-11-01T00:00:01.815282+00:00",
        "status_code": "ERROR" if number % 11 == 0 else "OK",
        "events": [],
        "context.span_id": number_of(number, 16),
        "context.trace_id": number_of(number // 4, 32),
        **{f"attributes.{key}": value for key, value in attributes(number).items()},
    }


def clickhouse(number: int) -> dict[str, Any]:
    told = {f"http.{number % 2}": "x", **attributes(number)}
    if number % 10 == 9:
        # As with the exporter's JSON type.
        told["tenant"] = {"id": told.pop("tenant.id").upper()}
    events = [["gen_ai.choice.chunk"], [{"gen_ai.chunk": "1"}]] if number % 13 == 0 else [[], []]
    return {
        "Timestamp": "2026-11-01 00:00:00.815282929" if number % 9 else 1793491200815282929,
        "TraceId": number_of(number // 4, 32),
        "SpanId": number_of(number, 16),
        "ParentSpanId": "",
        "SpanKind": "Server" if number % 4 else "Internal",
        "ServiceName": "web" if number % 3 else "jobs",
        "ResourceAttributes": {"service.name": "web" if number % 3 else "jobs"},
        "ScopeName": "psycopg" if number % 2 else "",
        "SpanAttributes": told,
        "Duration": "64363",
        "StatusCode": "Error" if number % 11 == 0 else "Unset",
        "Events.Name": events[0],
        "Events.Attributes": events[1],
        "Links.TraceId": [number_of(0, 32)] if number % 17 == 0 else [],
        "Links.SpanId": [number_of(0, 16)] if number % 17 == 0 else [],
    }


def langfuse(number: int) -> dict[str, Any]:
    return {
        "id": number_of(number, 16),
        "trace_id": number_of(number // 4, 32),
        "type": "SPAN" if number % 4 else "TOOL",
        "parent_observation_id": None,
        "start_time": "2026-11-01T00:00:00.815282Z",
        "end_time": "2026-11-01T00:00:01.815282Z",
        "level": "ERROR" if number % 11 == 0 else "DEFAULT",
        "metadata": {
            "attributes": {**attributes(number), "thread.name": None} if number % 2 else attributes(number),
            "resourceAttributes": {"service.name": "web" if number % 3 else "jobs"},
            "scope": {"name": "psycopg"},
        },
        "usage_details": {},
    }


def langsmith(number: int) -> dict[str, Any]:
    return {
        "id": number_of(number, 16),
        "trace_id": number_of(number // 4, 32),
        "parent_run_id": number_of(1000, 16),
        "run_type": "chain" if number % 4 else "llm",
        "start_time": "2026-11-01T00:00:00.815282",
        "end_time": "2026-11-01T00:00:01.815282",
        "status": "error" if number % 11 == 0 else "success",
        "extra": {"metadata": {key.replace(".", "_"): value for key, value in attributes(number).items()}},
    }


def console(number: int) -> dict[str, Any]:
    return {
        "name": "work",
        "context": {"trace_id": f"0x{number_of(number // 4, 32)}", "span_id": f"0x{number_of(number, 16)}"},
        "kind": "SpanKind.INTERNAL" if number % 4 else "SpanKind.SERVER",
        "parent_id": None,
        "start_time": "2026-11-01T00:00:00.815282Z",
        "end_time": "2026-11-01T00:00:01.815282Z",
        "status": {"status_code": "ERROR" if number % 11 == 0 else "UNSET"},
        "attributes": attributes(number),
        "events": [],
        "links": [],
        "resource": {"attributes": {"service.name": "web" if number % 3 else "jobs"}},
    }


def xray(number: int) -> dict[str, Any]:
    trace = number_of(number // 4, 32)
    segment = {
        "id": number_of(number, 16),
        "trace_id": f"1-{trace[:8]}-{trace[8:]}",
        "name": "web" if number % 3 else "jobs",
        "start_time": 1793491200.815282,
        "end_time": 1793491201.815282,
        "fault": number % 11 == 0,
        "metadata": {"default": attributes(number)},
    }
    # The first of each trace comes alone, before the segment that it belongs to.
    return segment if number % 4 else segment | {"type": "subsegment", "parent_id": number_of(number + 1, 16)}


FORMS = pytest.mark.parametrize("form", [phoenix, clickhouse, langfuse, langsmith])
ALL_FORMS = pytest.mark.parametrize("form", [phoenix, clickhouse, langfuse, langsmith, console, xray])
Form = Callable[[int], dict[str, Any]]


def written(home: Path, rows: list[Any]) -> str:
    path = home / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n", "utf-8")
    return str(path)


def said(path: str) -> tuple[Any, ...]:
    """Every span with its place, tenants and times; the ids; and what was rejected."""
    loaded = load([path], LEXICON)
    spans = sorted(
        (int(key), str(batch.places[place]), str(batch.tenants[tenant]) if tenant >= 0 else "", int(start))
        for batch in loaded.batches
        for key, place, tenant, start in zip(batch.key, batch.place, batch.tenant, batch.start_ns, strict=True)
    )
    ids = sorted(
        (int(batch.key[row]), int(kind), int(hashed))
        for batch in loaded.batches
        for row, kind, hashed in zip(batch.id_row, batch.id_kind, batch.id_hash, strict=True)
    )
    rejected = [(entry.line, entry.byte, entry.reason) for entry in loaded.inputs[0].rejections]
    return spans, ids, rejected, loaded.inputs[0].records


@ALL_FORMS
def test_a_meaning_that_is_remembered_is_the_one_that_would_be_worked_out(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.load.builder.SAMPLE_SIZE", 1)
    monkeypatch.setattr("auditor.load.span_writer.PIECE", 4)
    path = written(tmp_path, [form(number) for number in range(COUNT)])
    remembered = []
    add_row, add_known = Meanings.add_row, Meanings.add_known

    def counted(*given: Any, **asked: Any) -> bool:
        is_known = add_known(*given, **asked)
        remembered.extend([given] if is_known else [])
        return is_known

    monkeypatch.setattr(Meanings, "add_row", lambda *given: (remembered.append(given), add_row(*given)))
    monkeypatch.setattr(Meanings, "add_known", counted)
    found = said(path)
    monkeypatch.setattr(Meanings, "learn", lambda *_: None)

    assert len(found[0]) == COUNT
    assert remembered
    assert found == said(path)


@ALL_FORMS
def test_the_same_id_is_noted_for_every_span_that_has_it(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.load.builder.SAMPLE_SIZE", 1)
    monkeypatch.setattr("auditor.load.span_writer.PIECE", 4)
    # Every seventh has a session of its own; here all of them have the same one.
    rows = [re.sub(r"conversation \d+", "the only one", json.dumps(form(7 * number))) for number in range(20)]
    path = written(tmp_path, rows)

    _, ids, _, _ = said(path)

    (wanted,) = hash_texts(["the only one"]).tolist()
    assert [(kind, hashed) for _, kind, hashed in ids] == [(IdKind.SESSION, wanted)] * 20


@FORMS
def test_lines_that_are_read_at_once_say_what_they_say_one_by_one(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Any] = [form(number) for number in range(COUNT)]
    rows[20] = json.dumps(rows[20])[:-30] + "}"
    rows[30] = [form(30), form(1030)]
    rows[40] = {key: None if key.endswith(("trace_id", "TraceId")) else value for key, value in rows[40].items()}
    path = written(tmp_path, rows)
    found = said(path)
    for reader in (PhoenixReader, ClickHouseReader, LangfuseReader, LangSmithReader):
        monkeypatch.setattr(reader, "takes_lines", False)

    assert [line for line, _, _ in found[2]] == [21, 41]
    assert len(found[0]) == COUNT - 1
    assert found == said(path)


def test_spans_of_the_sample_are_looked_at_though_their_meaning_is_known(tmp_path: Path) -> None:
    # Both are entries of the same place and tenant; the second has a key that may name somebody.
    rows = [console(20), console(40) | {"attributes": attributes(20) | {"acme.customer": "globex"}}]
    path = written(tmp_path, rows)

    loaded = load([path], LEXICON)

    assert [[name for name, _ in span.attributes] for span in loaded.sample] == [[], ["acme.customer"]]
