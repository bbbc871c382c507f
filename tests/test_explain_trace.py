"""One trace as a tree, from the file to the text."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.cli.main import run
from auditor.errors import InputError, SettingsError
from auditor.graph.one_trace import MOST_SPANS, Above, TraceTree, trace_prefix
from auditor.pipeline import audit, explain_trace
from auditor.report import Screen
from auditor.report.trace import render
from auditor.settings import Settings

Golden = Callable[[str, str], None]
TRACE = "5b8aa5a2d2c872e8321cf37308d69df2"
OTHER = "5b8aa5a2ffffffffffffffffffffffff"
START = 1_793_610_000_000_000_000
MS = 1_000_000
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
USAGE = {"gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 150}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
}


def span(
    number: int,
    name: str,
    parent: int | None = None,
    *,
    service: str = "portal",
    kind: int = 1,
    trace: str = TRACE,
    links: Sequence[tuple[str, int]] = (),
    lasts: int = 100,
    **attributes: Any,
) -> dict[str, Any]:
    """One request with one span; ``number`` is its id and its place in time."""
    fields: dict[str, Any] = {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(START + number * MS),
        "endTimeUnixNano": str(START + (number + lasts) * MS),
        "attributes": pairs(attributes.pop("attributes", {}) | attributes),
    }
    if parent is not None:
        fields["parentSpanId"] = f"{parent:016x}"
    if links:
        fields["links"] = [{"traceId": other, "spanId": f"{at:016x}"} for other, at in links]
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": pairs({"service.name": service, "telemetry.sdk.language": "python"})},
                "scopeSpans": [{"scope": {"name": "opentelemetry.instrumentation.asgi"}, "spans": [fields]}],
            }
        ]
    }


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in attributes.items()
    ]


def chat(number: int, parent: int | None, **more: Any) -> dict[str, Any]:
    """A model call with usage."""
    attributes = CHAT | USAGE | more.pop("attributes", {})
    return span(number, "chat gpt-4o-mini", parent, kind=CLIENT, attributes=attributes, **more)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(*requests: dict[str, Any]) -> str:
        path = tmp_path / "traces.jsonl"
        path.write_text("".join(json.dumps(request) + "\n" for request in requests))
        return str(path)

    return write


def tree_of(path: str, trace_id: str = TRACE, **changes: Any) -> TraceTree:
    return explain_trace(trace_id, [path], replace(Settings(), **changes))


def drawn(tree: TraceTree, **screen: Any) -> str:
    return render(tree, Screen(**screen)).decode()


def two_services() -> list[dict[str, Any]]:
    """A portal that knows its customer, a relay that is not told; a queue, a stump, a circle and links."""
    tenant = {"tenant.id": "acme"}
    return [
        span(1, "POST /v1/answers", kind=SERVER, lasts=900, attributes=tenant),
        span(2, "POST", 1, kind=CLIENT, attributes=tenant),
        span(3, "POST /v1/chat/completions", 2, service="relay", kind=SERVER),
        chat(4, 3, service="relay", attributes={"gen_ai.usage.cache_read.input_tokens": 1024}),
        span(5, "score [bold]x[/bold]\x1b[2J\u202e", 1),
        chat(6, 5),
        chat(7, 1, attributes=tenant),
        chat(8, 99, service="mailer"),
        span(10, "send digest", 1, kind=PRODUCER, attributes=tenant),
        span(11, "run digest", kind=CONSUMER, service="mailer", trace=OTHER, links=[(TRACE, 10), (TRACE, 98)]),
        chat(12, 11, service="mailer", trace=OTHER),
        span(20, "ring", 21),
        span(21, "ring", 20),
        span(22, "chat gpt-4o-mini", 21, attributes=CHAT | {"gen_ai.input.messages": "where is my parcel"}),
    ]


def test_a_trace_with_everything_is_drawn_as_reviewed(file: Callable[..., str], golden: Golden) -> None:
    path = file(*two_services())

    golden("explain/one_trace.txt", drawn(tree_of(path)))
    golden("explain/linked_trace.txt", drawn(tree_of(path, OTHER)))


def test_what_a_file_says_is_shown_and_not_obeyed(file: Callable[..., str]) -> None:
    path = file(*two_services())

    plain, colored = drawn(tree_of(path)), drawn(tree_of(path), color=True)

    assert "score [bold]x[/bold]\\x1b[2J\\u202e" in plain
    assert "\x1b" not in plain
    assert "score [bold]x[/bold]\\x1b[2J\\u202e" in re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert "\x1b[2J" not in colored
    assert "parcel" not in plain


def test_the_hop_is_the_one_that_lost_the_tenant(file: Callable[..., str]) -> None:
    tree = tree_of(file(*two_services()))

    losses = {tree.span(node).span_id: tree.span(node).loss for node in tree.graph if tree.span(node).loss}

    told = {
        span_id[-2:]: (loss.source, loss.target, str(loss.kind), loss.calls, loss.knew_tenant)
        for span_id, loss in losses.items()
        if loss
    }
    assert told == {
        "03": ("portal", "relay", "process", 1, True),
        "05": ("portal", "portal", "none", 1, True),
        "08": ("portal", "mailer", "queue", 1, False),
        "14": ("portal", "portal", "thread", 1, False),
    }


def test_amounts_are_those_of_the_ledger(file: Callable[..., str]) -> None:
    path = file(*two_services())

    tree = tree_of(path)

    shown = [call for node in tree.graph if (call := tree.span(node).call)]
    whole = audit([path], Settings()).calls
    members = [number for number, row in enumerate(whole.row.tolist()) if whole.spans.trace_id(row) == TRACE]
    assert len(shown) == tree.calls == len(members) == 5
    assert tree.cost == sum(call.cost or 0 for call in shown) == sum(int(whole.cost[call]) for call in members)
    assert tree.uncosted == 1
    assert tree.unattributed == 4


def test_circles_end_and_are_named(file: Callable[..., str]) -> None:
    tree = tree_of(file(*two_services()))

    tops = {tree.span(node).span_id[-2:]: tree.span(node).above for node in tree.roots}

    assert tops == {"01": Above.NOTHING, "08": Above.MISSING, "14": Above.CIRCLE}


def test_links_are_named_on_both_sides(file: Callable[..., str]) -> None:
    path = file(*two_services())

    here, there = tree_of(path), tree_of(path, OTHER)

    (consumer,) = [there.span(node) for node in there.graph if there.span(node).links]
    (producer,) = [here.span(node) for node in here.graph if here.span(node).links]
    assert [(link.trace_id, link.tenants, link.points_here) for link in consumer.links] == [
        (TRACE, (("tenant.id", "acme"),), False),
        ("", (), False),
    ]
    assert [(link.trace_id, link.service, link.points_here) for link in producer.links] == [(OTHER, "mailer", True)]


def test_spans_of_one_call_name_the_span_that_counts(file: Callable[..., str]) -> None:
    inner = chat(3, 2)
    inner["resourceSpans"][0]["scopeSpans"][0]["scope"]["name"] = "opentelemetry.instrumentation.openai"
    path = file(span(1, "GET /", kind=SERVER, attributes={"tenant.id": "acme"}), chat(2, 1), inner)

    tree = tree_of(path)

    assert tree.calls == 1
    assert drawn(tree).count("the same call as span") == 1


def test_hashed_ids_are_hashed_everywhere(file: Callable[..., str]) -> None:
    text = drawn(tree_of(file(*two_services()), hash_ids=True))

    assert "acme" not in text
    assert "knows the tenant " in text


@pytest.mark.parametrize("given", [TRACE, TRACE.upper(), f"0x{TRACE}", TRACE[:9], TRACE[:9].upper()])
def test_a_trace_is_found_by_any_spelling_of_its_id(given: str, file: Callable[..., str]) -> None:
    tree = tree_of(file(*two_services()), given)

    assert tree.trace_id == TRACE
    assert "POST /v1/answers" in drawn(tree)


def test_a_short_id_is_read_with_its_zeros(file: Callable[..., str]) -> None:
    path = file(chat(1, None, trace=f"{0x53CE929D0E0E4736:032x}"), chat(1, None))

    assert tree_of(path, "53ce929d0e0e4736").trace_id == f"{0x53CE929D0E0E4736:032x}"


def test_an_id_that_is_base64_in_the_file_is_found_by_its_hex(file: Callable[..., str]) -> None:
    written = chat(1, None)
    fields = written["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    fields["traceId"] = base64.b64encode(bytes.fromhex(TRACE)).decode()
    fields["spanId"] = base64.b64encode(bytes.fromhex(fields["spanId"])).decode()

    assert tree_of(file(written)).spans == 1


def test_an_unknown_trace_names_the_nearest(file: Callable[..., str]) -> None:
    with pytest.raises(InputError, match="no span of trace 5b8aa5a2d2c8ffff") as caught:
        tree_of(file(*two_services()), "5b8aa5a2d2c8ffff")

    assert caught.value.hint == f"nearest: {TRACE}, {OTHER}"
    assert caught.value.exit_code == 3


def test_a_beginning_of_several_traces_names_them(file: Callable[..., str]) -> None:
    with pytest.raises(InputError, match="2 traces begin with 5b8aa5a2") as caught:
        tree_of(file(*two_services()), "5b8aa5a2")

    assert caught.value.hint == f"give more digits: {TRACE}, {OTHER}"


@pytest.mark.parametrize("given", ["header-stripping", "5b8aa5", "", TRACE + "0", "-" * 32])
def test_what_is_no_trace_id_is_refused(given: str, file: Callable[..., str]) -> None:
    assert trace_prefix(given) is None
    with pytest.raises(SettingsError, match="is not a trace id"):
        tree_of(file(*two_services()), given)


def test_a_large_trace_is_cut_and_every_span_counted(file: Callable[..., str]) -> None:
    spans = 100_000
    many = [span(1, "import", kind=SERVER, attributes={"tenant.id": "acme"})]
    many += [span(number, "row", max(1, number // 10)) for number in range(2, spans)]
    path = file(*many, chat(spans, spans - 1))

    started = time.process_time()
    tree = tree_of(path)
    text = drawn(tree)
    took = time.process_time() - started

    assert tree.spans == spans
    assert len(tree.graph) == MOST_SPANS
    told = [int(number.replace(",", "")) for number in re.findall(r"… and ([\d,]+) more span", text)]
    assert sum(told) == spans - MOST_SPANS == tree.hidden
    assert "chat gpt-4o-mini" in text
    assert "tenant lost here" in text
    assert took < 30


def test_a_deep_chain_ends_and_stays_readable(file: Callable[..., str]) -> None:
    depth = 20_000
    chain = [span(1, "start", kind=SERVER, attributes={"tenant.id": "acme"})]
    chain += [span(number, "step", number - 1) for number in range(2, depth)]
    path = file(*chain, chat(depth, depth - 1))

    tree = tree_of(path)
    text = drawn(tree)

    assert "spans between" in text
    assert max(map(len, text.splitlines())) < 500
    told = [int(number.replace(",", "")) for number in re.findall(r"… and ([\d,]+) more span", text)]
    assert sum(told) == tree.hidden == depth - len(tree.graph)
    assert "tenant lost here: inside portal" in text


def test_the_tree_does_not_depend_on_the_order_of_the_file(file: Callable[..., str]) -> None:
    requests = two_services()

    forward = drawn(tree_of(file(*requests)))
    backward = drawn(tree_of(file(*reversed(requests))))

    assert forward == backward


def test_the_command_prints_the_tree_and_passes(
    file: Callable[..., str], capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    path = file(*two_services())

    code = run(["explain", TRACE, path, "--no-config"])

    out, err = capfdbinary.readouterr()
    assert (code, err) == (0, b"")
    assert out.decode() == drawn(tree_of(path))


def test_the_command_refuses_an_unknown_trace(
    file: Callable[..., str], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    code = run(["explain", "0123456789abcdef", file(*two_services()), "--no-config"])

    out, err = capfdbinary.readouterr()
    assert (code, out) == (3, b"")
    assert err.decode().startswith("audit: no span of trace 0123456789abcdef is in the input (2 traces are)\nhint: ")
