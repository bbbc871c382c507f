"""MLflow traces: formats-traces §7 and a trace that its library wrote."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import InputError
from auditor.settings import Settings
from builders import T0, Audited, audit_bytes, call, lines

SAMPLES = Path(__file__).parent.parent.parent / "fixtures" / "exports" / "samples"


def audited(home: Path, *documents: Any, settings: Settings | None = None) -> Audited:
    return audit_bytes(home, *(json.dumps(document).encode() for document in documents), settings=settings)


def test_the_sample_is_one_chat_whose_tenant_stands_on_the_trace(tmp_path: Path) -> None:
    # By hand: AGENT ba45…, CHAT_MODEL 5926… with 12 input (4 of them cached) and 3 output tokens; info.tags says
    # tenant_id acme-001, trace_metadata user u-17 and session s-1 and the same usage once more. Base64 to hex with
    # `echo 43J5IgkX4qjNmEvbynPYkA== | base64 -d | xxd -p`.
    done = audit_bytes(tmp_path, (SAMPLES / "mlflow-trace-v3.json").read_bytes())

    (row,) = done.rows
    assert (row["trace_id"], row["span_id"]) == ("e37279220917e2a8cd984bdbca73d890", "5926cb847b1139a1")
    assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["usage_status"]) == (
        12, 4, 3, "complete",
    )  # fmt: skip
    assert (row["provider"], row["model_requested"], row["operation"]) == ("openai", "gpt-4o-mini", "chat")
    assert (row["status"], row["tenant_id"], row["recovered_by"]) == ("recoverable", "acme-001", "ancestor")
    assert (row["user_id"], row["time"]) == ("u-17", "2026-11-21T09:56:57.278006200Z")
    assert done.report.inputs[0].vocabularies == ("mlflow",)


def test_the_tenant_of_a_trace_is_direct_where_requests_are_rolled_up(tmp_path: Path) -> None:
    data = (SAMPLES / "mlflow-trace-v3.json").read_bytes()

    (row,) = audit_bytes(tmp_path, data, settings=Settings(rollup="request")).rows

    assert (row["status"], row["tenant_id"]) == ("direct", "acme-001")


def text64(hex_id: str) -> str:
    return base64.b64encode(bytes.fromhex(hex_id)).decode()


def chat(number: int, **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
    attributes = {
        "mlflow.spanType": json.dumps(fields.pop("type", "CHAT_MODEL")),
        "mlflow.chat.tokenUsage": json.dumps(usage),
        "mlflow.llm.model": '"gpt-4o-mini"',
        "mlflow.llm.provider": '"openai"',
        **fields.pop("attributes", {}),
    }
    return {
        "trace_id": text64("4d" * 16),
        "span_id": text64(f"{number:016x}"),
        "parent_span_id": None,
        "name": "chat",
        "start_time_unix_nano": T0 + number,
        "end_time_unix_nano": T0 + 1000,
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": attributes,
        "events": [],
        "links": [],
        **fields,
    }


def trace(*spans: Any, **info: Any) -> dict[str, Any]:
    return {"info": {"trace_id": "tr-" + "4d" * 16, "trace_metadata": {}, "tags": {}, **info}, "data": {"spans": spans}}


@pytest.mark.parametrize("framing", ["list", "lines", "text"])
def test_several_traces(tmp_path: Path, framing: str) -> None:
    traces = [trace(chat(1)), trace(chat(2, trace_id=text64("5e" * 16)))]
    as_text = [{**entry, "data": json.dumps(entry["data"])} for entry in traces]
    data = {
        "list": json.dumps(traces),
        "lines": "\n".join(map(json.dumps, traces)),
        "text": "\n".join(map(json.dumps, as_text)),
    }[framing]

    rows = audit_bytes(tmp_path, data.encode()).rows

    assert [row["trace_id"] for row in rows] == ["4d" * 16, "5e" * 16]


def test_version_2_has_hex_ids_and_other_names(tmp_path: Path) -> None:
    old = {
        "name": "chat",
        "context": {"span_id": "0x0000000000000002", "trace_id": "0x" + "4d" * 16},
        "parent_id": "0x0000000000000001",
        "start_time": T0,
        "end_time": T0 + 1000,
        "status_code": "OK",
        "status_message": "",
        "attributes": chat(1)["attributes"],
    }
    top = old | {"context": {"span_id": "0x01", "trace_id": "0x" + "4d" * 16}, "parent_id": None, "attributes": {}}
    document = {
        "info": {"request_id": "4d" * 16, "timestamp_ms": 1, "request_metadata": {"mlflow.trace.user": "u-1"},
                 "tags": [{"key": "tenant_id", "value": "acme"}]},
        "data": {"spans": [top, old], "request": "{}"},
    }  # fmt: skip

    (row,) = audited(tmp_path, document).rows

    assert (row["trace_id"], row["span_id"], row["input_tokens"]) == ("4d" * 16, f"{2:016x}", 1000)
    assert (row["tenant_id"], row["recovered_by"], row["user_id"]) == ("acme", "ancestor", "u-1")


def test_base64_that_begins_like_hex_is_base64(tmp_path: Path) -> None:
    # "0x" are two characters of base64 as good as any others: one id in 4096 begins with them.
    own = "0x" + text64("12" * 8)[2:]
    assert base64.b64decode(own).hex() == "d312121212121212"

    (row,) = audited(tmp_path, trace(chat(1, span_id=own, trace_id="0x" + text64("34" * 16)[2:]))).rows

    assert (row["span_id"], row["trace_id"]) == ("d312121212121212", "d314" + "34" * 14)


def test_values_are_json_in_a_text(tmp_path: Path) -> None:
    attributes = {
        "tenant.id": '"acme"',
        "user.id": '"u-9"',
        "metadata": '{"feature": "search"}',
        "http.request.header.x-request-id": '["r-1"]',
        "gen_ai.response.id": '"resp-1"',
        "workflow.id": "17",
        "mlflow.chat.tokenUsage": '{"input_tokens": 10, "output_tokens": 2, "cache_creation_input_tokens": 5}',
    }

    (row,) = audited(tmp_path, trace(chat(1, attributes=attributes))).rows

    assert (row["status"], row["tenant_id"], row["user_id"]) == ("direct", "acme", "u-9")
    assert (row["feature"], row["workflow_id"]) == ("search", "17")
    assert (row["input_tokens"], row["cache_write_tokens"], row["output_tokens"]) == (10, 5, 2)


@pytest.mark.parametrize(
    ("provider", "usage", "said"),
    [
        ("openai", {"total_tokens": 1100}, 1000),  # 1000 + 100: cached tokens are inside
        ("openai", {}, 1000),
        ("anthropic", {}, 1600),
        ("gemini", {"total_tokens": 1700}, 1600),  # 1000 + 600 + 100: they are not
        ("bedrock", {"cache_read_input_tokens": 1500}, 2500),  # more cached than there is input
    ],
)
def test_whether_input_holds_cached_tokens_is_the_providers_matter(
    tmp_path: Path, provider: str, usage: dict[str, int], said: int
) -> None:
    counts = {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 600, **usage}
    attributes = {"mlflow.llm.provider": json.dumps(provider), "mlflow.chat.tokenUsage": json.dumps(counts)}

    (row,) = audited(tmp_path, trace(chat(1, attributes=attributes))).rows

    assert (row["input_tokens"], row["cache_read_tokens"]) == (said, counts["cache_read_input_tokens"])


def test_containers_repeat_the_usage_of_their_children(tmp_path: Path) -> None:
    parent = text64(f"{1:016x}")
    spans = [chat(1, type="AGENT"), chat(2, parent_span_id=parent), chat(3, parent_span_id=parent, type="EMBEDDING")]

    rows = audited(tmp_path, trace(*spans)).rows

    assert [(row["span_id"][-1], row["operation"]) for row in rows] == [("2", "chat"), ("3", "embeddings")]


@pytest.mark.parametrize(("code", "failed"), [("STATUS_CODE_ERROR", True), ("ERROR", True), (2, True), ("OK", False)])
def test_status(tmp_path: Path, code: Any, failed: bool) -> None:
    (row,) = audited(tmp_path, trace(chat(1, status={"code": code}))).rows

    assert row["failed"] is failed


def test_trace_in_mlflow_and_in_otlp_counts_once(tmp_path: Path) -> None:
    other = call(trace="4d" * 16, id=f"{1:016x}", provider="openai")

    done = audit_bytes(tmp_path, json.dumps(trace(chat(1))).encode(), lines(other))

    assert [(row["span_id"], row["input_tokens"]) for row in done.rows] == [(f"{1:016x}", 1000)]


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([chat(1), chat(2, span_id=None), chat(3)], "a span has no readable trace id or span id"),
        ([chat(1), chat(2) | {"attributes": 3}, chat(3)],
         "trace.spans[1]: Expected object | null, got int: attributes"),
        ([chat(1), "x", chat(3)], "trace.spans[1]: Expected object, got str"),
    ],
)  # fmt: skip
def test_broken_span_is_rejected_and_its_neighbours_are_read(tmp_path: Path, spans: list[Any], reason: str) -> None:
    report = audited(tmp_path, trace(*spans)).report

    assert report.totals.calls == 2
    assert [(entry.line, entry.reason) for entry in report.inputs[0].rejections] == [(1, reason)]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"info": {}, "data": 3}, "traces[1]: Expected object, got int"),
        ({"info": {}, "data": "{"}, "traces[1]: its data is not JSON"),
        ({"info": 3, "data": {}}, "traces[1]: Expected object | null, got int: info"),
        (7, "traces[1]: Expected object, got int"),
    ],
)
def test_broken_trace_is_rejected_and_its_neighbours_are_read(tmp_path: Path, document: Any, reason: str) -> None:
    report = audited(tmp_path, [trace(chat(1)), document, trace(chat(2))]).report

    assert report.totals.calls == 2
    assert [entry.reason for entry in report.inputs[0].rejections] == [reason]


def test_document_that_breaks_off_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        audit_bytes(tmp_path, json.dumps(trace(chat(1))).encode()[:-40])
