"""What real exports do to a parser: C1 to C12 as ``hazards.py`` names them.

Each case is what somebody's exporter writes; the plain form beside it says what has to come out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditor.ledger.calls import call_rows
from auditor.pipeline import audit
from auditor.report import Screen, renderer
from auditor.settings import Internal, Settings
from builders import (
    CALL_PICO,
    CLIENT,
    INTERNAL,
    SERVER,
    T0,
    Audited,
    Span,
    audit_bytes,
    audit_spans,
    call,
    lines,
    request,
    span,
)

SAMPLES = Path(__file__).parents[2] / "fixtures" / "exports" / "samples"
TOP = span("POST", id="top", kind=SERVER, ms=10_000, attributes={"tenant.id": "acme"})
CALL = call(id="call", parent="top")


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*spans: Span) -> Audited:
        return audit_spans(tmp_path, spans)

    return run


def changed(tmp_path: Path, change: Callable[[dict[str, Any]], None], *spans: Span) -> Audited:
    """Audit spans whose JSON was changed by hand."""
    document = request(*spans)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for entry in scope["spans"]:
                change(entry)
    return audit_bytes(tmp_path, json.dumps(document).encode())


# -- C1: ids -----------------------------------------------------------------------------------------


def _base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


SPELLINGS: dict[str, Callable[[str], Any]] = {
    "upper case": str.upper,
    "0x": lambda text: f"0x{text}",
    "base64": _base64,
    "base64 of the hex text": lambda text: base64.b64encode(text.encode()).decode(),
    "byte numbers": lambda text: list(bytes.fromhex(text)),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_c1_an_id_is_the_same_in_every_spelling(tmp_path: Path, spell: Callable[[str], Any]) -> None:
    def respell(entry: dict[str, Any]) -> None:
        for key in ("traceId", "spanId", "parentSpanId"):
            entry[key] = spell(entry[key]) if entry[key] else ""

    done = changed(tmp_path, respell, TOP, CALL)

    (row,) = done.rows
    assert (row["trace_id"], row["span_id"], row["status"]) == (*CALL.ids, "recoverable")


def test_c1_spellings_meet_across_spans_of_one_trace(tmp_path: Path) -> None:
    def half(entry: dict[str, Any]) -> None:
        if entry["name"] == "POST":
            entry["traceId"], entry["spanId"] = entry["traceId"].upper(), entry["spanId"].upper()
        else:
            entry["traceId"], entry["parentSpanId"] = _base64(entry["traceId"]), _base64(entry["parentSpanId"])

    (row,) = changed(tmp_path, half, TOP, CALL).rows

    assert row["recovered_by"] == "ancestor"


def test_c1_short_trace_ids_are_padded_on_the_left(tmp_path: Path) -> None:
    def shorten(entry: dict[str, Any]) -> None:
        entry["traceId"] = "00f067aa0ba902b7"

    (row,) = changed(tmp_path, shorten, TOP, CALL).rows

    assert row["trace_id"] == "0" * 16 + "00f067aa0ba902b7"


@pytest.mark.parametrize("nothing", ["", "0" * 16, None, {}, "AAAAAAAAAAA="])
def test_c1_no_parent_in_any_spelling_is_a_root(tmp_path: Path, nothing: Any) -> None:
    entry = call(id="root", tenant="acme")

    def orphan(written: dict[str, Any]) -> None:
        written["parentSpanId"] = nothing

    done = changed(tmp_path, orphan, entry)

    assert done.row(entry)["status"] == "direct"
    assert done.report.inputs[0].rejected == 0


# -- C2: times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [str, int, float], ids=["text", "number", "rounded"])
def test_c2_nanoseconds_as_text_and_as_numbers(tmp_path: Path, write: Callable[[int], Any]) -> None:
    def rewrite(entry: dict[str, Any]) -> None:
        for key in ("startTimeUnixNano", "endTimeUnixNano"):
            entry[key] = write(int(entry[key]))

    (row,) = changed(tmp_path, rewrite, TOP, CALL).rows

    # T0 is 2026-09-21T14:13:20Z; the call starts 100 ms after it. A float holds about 256 ns of that.
    assert row["time"][:23] == "2026-09-21T14:13:20.100"
    assert T0 == 1_790_000_000 * 10**9


def test_c2_exact_nanoseconds_survive(tmp_path: Path) -> None:
    def odd(entry: dict[str, Any]) -> None:
        entry["startTimeUnixNano"] = "1790000000123456789"

    (row,) = changed(tmp_path, odd, CALL).rows

    assert row["time"] == "2026-09-21T14:13:20.123456789Z"


@pytest.mark.parametrize("end", ["0", 0, "", None, str(T0 - 5)], ids=["0", "number 0", "empty", "null", "before start"])
def test_c2_missing_and_impossible_ends_cost_nothing_but_the_length(tmp_path: Path, end: Any) -> None:
    def unfinished(entry: dict[str, Any]) -> None:
        entry["endTimeUnixNano"] = end

    done = changed(tmp_path, unfinished, call(id="only", tenant="acme"))

    assert done.report.totals.spend == CALL_PICO


# -- C3: counts --------------------------------------------------------------------------------------

COUNTS = {
    "int": {"intValue": 1000},
    "int as text": {"intValue": "1000"},
    "double": {"doubleValue": 1000.0},
    "text": {"stringValue": "1000"},
    "text of a double": {"stringValue": "1000.0"},
    "list of one": {"arrayValue": {"values": [{"intValue": "1000"}]}},
}
NO_COUNTS = {
    "truth": {"boolValue": True},
    "NaN": {"doubleValue": "NaN"},
    "infinity": {"doubleValue": "Infinity"},
    "negative": {"intValue": "-5"},
    "fraction": {"doubleValue": 0.5},
    "word": {"stringValue": "many"},
    "too large": {"intValue": "99999999999"},
    "list of two": {"arrayValue": {"values": [{"intValue": "1"}, {"intValue": "2"}]}},
}


def _with_input(tmp_path: Path, value: dict[str, Any]) -> Audited:
    def put(entry: dict[str, Any]) -> None:
        for pair in entry["attributes"]:
            if pair["key"] == "gen_ai.usage.input_tokens":
                pair["value"] = value

    return changed(tmp_path, put, call(id="only", tenant="acme"))


@pytest.mark.parametrize("value", COUNTS.values(), ids=COUNTS)
def test_c3_a_count_is_the_same_in_every_type(tmp_path: Path, value: dict[str, Any]) -> None:
    done = _with_input(tmp_path, value)

    assert done.rows[0]["input_tokens"] == 1000
    assert done.report.totals.spend == CALL_PICO


@pytest.mark.parametrize("value", NO_COUNTS.values(), ids=NO_COUNTS)
def test_c3_what_is_no_count_is_missing_and_never_a_number(tmp_path: Path, value: dict[str, Any]) -> None:
    done = _with_input(tmp_path, value)

    (row,) = done.rows
    assert (row["usage_status"], row["output_tokens"]) == ("partial", 100)
    assert row["input_tokens"] == 0


@pytest.mark.parametrize("name", ["negative", "truth", "fraction", "too large"])
def test_c3_corrupt_counts_are_noted(tmp_path: Path, name: str) -> None:
    notes = _with_input(tmp_path, NO_COUNTS[name]).report.notes

    assert "1 token counts were negative, not whole or above 10^9 and count as missing." in notes


# -- C4: nested keys ---------------------------------------------------------------------------------

FLAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": "1000",
    "gen_ai.usage.output_tokens": "100",
    "tenant.id": "acme",
}
NESTED = {
    "gen_ai": {
        "operation": {"name": "chat"},
        "request": {"model": "gpt-4o-mini"},
        "usage": {"input_tokens": 1000, "output_tokens": 100},
    },
    "tenant": {"id": "acme"},
}


@pytest.mark.parametrize("attributes", [FLAT, NESTED], ids=["flat", "nested"])
def test_c4_nested_attributes_are_read_like_flat_ones(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """ClickHouse's JSON type gives the dots of a name back as levels."""
    row = {
        "Timestamp": "2026-11-21 09:53:35.123456789", "TraceId": "1" * 32, "SpanId": "2" * 16, "ParentSpanId": "",
        "SpanName": "chat", "SpanKind": "Client", "ServiceName": "api", "ResourceAttributes": {},
        "SpanAttributes": attributes, "Duration": "1500000000", "StatusCode": "Unset",
    }  # fmt: skip

    (call_row,) = audit_bytes(tmp_path, json.dumps(row).encode() + b"\n").rows

    assert (call_row["input_tokens"], call_row["output_tokens"], call_row["tenant_id"]) == (1000, 100, "acme")


# -- C5: absent and zero -----------------------------------------------------------------------------


def test_c5_absent_usage_is_unknown_and_not_free(audited: Any) -> None:
    (row,) = audited(call(id="only", usage={}, tenant="acme")).rows

    assert (row["usage_status"], row["cost_usd"], row["input_tokens"]) == ("missing", None, None)


def test_c5_zero_tokens_are_no_usage_either(audited: Any) -> None:
    """An answer without a single token does not exist: instrumentations write zeros where usage got lost."""
    zeros = call(id="zeros", usage={"input": 0, "output": 0}, tenant="acme",
                 attributes={"gen_ai.response.finish_reasons": ["error"]})  # fmt: skip

    done = audited(zeros)

    assert done.row(zeros)["usage_status"] == "missing"
    assert done.report.totals.unmetered.calls == 1


def test_c5_zero_output_beside_input_is_a_count(audited: Any) -> None:
    (row,) = audited(call(id="only", usage={"input": 1000, "output": 0}, tenant="acme")).rows

    assert (row["usage_status"], row["input_tokens"], row["output_tokens"]) == ("complete", 1000, 0)


# -- C6: traces in pieces ----------------------------------------------------------------------------


def test_c6_parent_in_another_file_and_on_a_later_line(tmp_path: Path) -> None:
    for documents in ([lines(CALL), lines(TOP)], [lines(CALL, TOP)]):
        (row,) = audit_bytes(tmp_path, *documents).rows

        assert (row["status"], row["tenant_id"]) == ("recoverable", "acme")


def test_c6_parent_that_never_comes(audited: Any) -> None:
    (row,) = audited(CALL).rows

    assert row["status"] == "lost"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_c6_parents_in_a_circle_end(audited: Any, length: int) -> None:
    ring = [call(id=f"r{at}", parent=f"r{(at + 1) % length}", start=1000 * at, trace="t") for at in range(length)]

    done = audited(*ring)

    assert len(done.rows) == length
    assert {row["status"] for row in done.rows} == {"lost"}


def test_c6_chain_of_ten_thousand_spans(audited: Any) -> None:
    chain = [
        span("step", id=f"{at:016x}", parent=f"{at - 1:016x}" if at > 1 else "", attributes=None)
        for at in range(1, 10_001)
    ]
    chain[0] = chain[0].with_attributes(**{"tenant.id": "acme"})
    deep = call(id="deep", parent=f"{10_000:016x}")

    assert audited(*chain, deep).row(deep)["tenant_id"] == "acme"


# -- C7: links ---------------------------------------------------------------------------------------


def test_c7_link_into_the_file_out_of_it_and_several(audited: Any) -> None:
    job = span("enqueue", id="job", trace="web", attributes={"tenant.id": "acme"})
    other = span("enqueue", id="other", trace="web 2", attributes={"tenant.id": "blue"})
    inside = call(id="inside", trace="w1", links=[("web", "job")])
    outside = call(id="outside", trace="w2", links=[("elsewhere", "gone")])
    both = call(id="both", trace="w3", links=[("web", "job"), ("web 2", "other")])
    one_is_gone = call(id="one is gone", trace="w4", links=[("elsewhere", "gone"), ("web", "job")])

    done = audited(job, other, inside, outside, both, one_is_gone)

    assert [(done.row(entry)["status"], done.row(entry)["tenant_id"]) for entry in (inside, outside)] == [
        ("recoverable", "acme"),
        ("lost", None),
    ]
    assert done.row(both)["status"] == "lost", "a batch consumer: several tenants, none of them sure"
    assert done.row(one_is_gone)["tenant_id"] == "acme"


# -- C8: kinds and status ----------------------------------------------------------------------------

KINDS = {"number": 3, "number as text": "3", "name": "SPAN_KIND_CLIENT", "short name": "Client", "upper": "CLIENT"}
FAILED = {"number": 2, "number as text": "2", "name": "STATUS_CODE_ERROR", "short name": "Error", "upper": "ERROR"}
FINE = {"unset": 0, "ok": 1, "name": "STATUS_CODE_OK", "short name": "Ok", "upper": "OK", "unset name": "Unset"}


def _with_status(tmp_path: Path, code: Any) -> Audited:
    def put(entry: dict[str, Any]) -> None:
        entry["status"] = {"code": code}

    return changed(tmp_path, put, call(id="only", usage={}, tenant="acme"), call(id="metered", tenant="acme"))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_c8_kind_by_number_and_by_name(tmp_path: Path, kind: Any) -> None:
    """A client span of another service's server: the hop is seen whatever way the kind is written."""
    entry = span("POST", id="c", kind=CLIENT, attributes={"tenant.id": "acme"})
    inner = call(id="call", parent="c", service="gateway")

    def put(written: dict[str, Any]) -> None:
        if written["name"] == "POST":
            written["kind"] = kind

    done = changed(tmp_path, put, entry, inner)

    (finding,) = done.report.findings
    assert (finding.rule, str(finding.hop.kind)) == ("header-stripping", "process")
    assert {(node.service, node.role) for node in done.report.map_nodes} >= {("api", "client")}


@pytest.mark.parametrize("code", FAILED.values(), ids=FAILED)
def test_c8_error_by_number_and_by_name(tmp_path: Path, code: Any) -> None:
    done = _with_status(tmp_path, code)

    assert done.row(call(id="only"))["usage_status"] == "not_billed"


@pytest.mark.parametrize("code", FINE.values(), ids=FINE)
def test_c8_no_error_by_number_and_by_name(tmp_path: Path, code: Any) -> None:
    done = _with_status(tmp_path, code)

    assert done.row(call(id="only"))["usage_status"] == "missing"


# -- C9, C10: what is priced -------------------------------------------------------------------------


def test_c9_spans_that_only_name_a_model_are_not_priced(audited: Any) -> None:
    noise = [
        span("SELECT", kind=CLIENT, attributes={"db.system": "postgresql", "gen_ai.request.model": "gpt-4o"}),
        span("POST", kind=CLIENT, attributes={"http.request.method": "POST", "llm.model_name": "gpt-4o"}),
        span("cache", kind=INTERNAL, attributes={"gen_ai.provider.name": "openai"}),
    ]

    done = audited(*noise, call(id="only"))

    assert done.report.totals.calls == 1


def test_c10_the_leaves_are_priced_and_copies_above_them_are_counted(audited: Any) -> None:
    sums = {"gen_ai.usage.input_tokens": 2000, "gen_ai.usage.output_tokens": 200}
    outer = span("step", id="outer", parent="top", ms=3000, attributes=sums)
    leaves = [call(id=f"leaf {at}", parent="outer", start=100 + 900 * at) for at in range(2)]

    done = audited(TOP, outer, *leaves)

    assert done.report.totals.spend == 2 * CALL_PICO
    assert "1 spans repeat the usage of calls below them and are no calls." in done.report.notes


# -- C11: what products do ---------------------------------------------------------------------------


def test_c11_logfire_stream_is_one_call_with_the_usage_of_its_log() -> None:
    done = audit([str(SAMPLES / "otlp-logfire-openai.json")], Settings(internal=Internal(environments=())))

    rows = list(call_rows(done.calls))

    assert len(rows) == 2
    assert [len(row["duplicates"]) for row in rows if row["usage_status"] == "elsewhere"] == [1]


def test_c11_embeddings_without_a_provider_are_priced_by_their_model(audited: Any) -> None:
    """USD 0.02 a million for text-embedding-3-small; output on an embedding is a mock's slip."""
    entry = span(
        "CreateEmbeddings", id="e",
        attributes={
            "openinference.span.kind": "EMBEDDING", "embedding.model_name": "text-embedding-3-small",
            "llm.token_count.prompt": 1000, "llm.token_count.total": 1000, "llm.token_count.completion": 1,
            "tenant.id": "acme",
        },
    )  # fmt: skip

    (row,) = audited(entry).rows

    assert (row["operation"], row["provider"], row["output_tokens"]) == ("embeddings", None, 0)
    assert row["cost_usd"] == "0.00002"


def test_c11_rerank_without_tokens_is_no_lost_usage(audited: Any) -> None:
    entry = span(
        "rerank", id="r",
        attributes={"openinference.span.kind": "RERANKER", "reranker.model_name": "rerank-v3.5", "tenant.id": "acme"},
    )  # fmt: skip

    done = audited(entry, call(tenant="acme", trace="other"))

    assert done.row(entry)["usage_status"] == "complete"
    assert done.report.totals.unmetered.calls == 0


def test_c11_azure_run_ids_do_not_merge_the_calls_of_a_run(audited: Any) -> None:
    chats = [
        call(id=f"chat {at}", parent="top", start=100 + 900 * at, response="run_7", provider="azure.ai.openai")
        for at in range(2)
    ]

    assert len(audited(TOP, *chats).rows) == 2


# -- C12: untrusted text -----------------------------------------------------------------------------

EVIL = "a|b\n# c <script>alert(1)</script> [x](http://e) \x1b[31m\u202e"


@pytest.mark.parametrize("form", ["terminal", "markdown"])
def test_c12_text_from_a_file_cannot_break_out(audited: Any, form: str) -> None:
    done = audited(
        span("POST", id="top", kind=SERVER, service=EVIL, ms=9000, attributes={"tenant.id": EVIL}),
        call(id="call", parent="top", service=f"other {EVIL}", model=EVIL, attributes={"gen_ai.prompt": "my secret"}),
        call(id="direct", trace="other", tenant=EVIL),
    )

    text = renderer(form)(done.report, Screen(color=False)).decode()

    assert "my secret" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n# c" not in text
    if form == "markdown":
        assert "<script>" not in text
        assert "a|b" not in text
