"""Every value of a document replaced by something odd, for each format: counted or read, never a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import SERVER, T0, Span, audit_bytes, call, request, span
from load_documents import DATADOG, LLMOBS, LOGS, MLFLOW, XRAY
from other_formats import console_span, jaeger_answer, jaeger_span, proto3_json, zipkin_span

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 7, 2**70, 1.5, 1e300,
    "", "x", "0", "\x00", "[", "{", '"',
    [], [None], [[]], [{}], {}, {"a": None},
)  # fmt: skip


def story() -> list[Span]:
    web = span("POST", kind=SERVER, attributes={"tenant.id": "acme", "http.route": "/ask"})
    usage = {"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 7}
    asked = call(parent=web.id, usage={}, events=[("gen_ai.choice", usage)], links=[("other", "far")])
    return [web, asked]


DOCUMENTS: dict[str, Any] = {
    "jaeger": json.loads(jaeger_answer(*story())),
    "jaeger array": [jaeger_span(entry) for entry in story()],
    "jaeger-v3": {"result": request(*story())},
    "tempo 1": {"batches": proto3_json(request(*story()))["resourceSpans"]},
    "tempo 2": {"trace": proto3_json(request(*story())), "status": "COMPLETE"},
    "zipkin": [zipkin_span(entry) for entry in story()],
    "console": console_span(story()[1]),
    "datadog": DATADOG,
    "llmobs": LLMOBS,
    "mlflow": MLFLOW,
    "xray": XRAY,
    "logs": LOGS,
}


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to all values of a document."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from paths_in(inner, (*path, key))


def with_odd(document: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    changed = copy.deepcopy(document)
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = odd
    return changed


@pytest.mark.parametrize("name", DOCUMENTS)
def test_odd_values_are_counted_or_read(tmp_path: Path, name: str) -> None:
    document = DOCUMENTS[name]
    plain = json.dumps(document)
    changed = [json.dumps(with_odd(document, path, odd)) for path in paths_in(document) for odd in ODD]

    report = audit_bytes(tmp_path, "\n".join([plain, *changed, plain]).encode()).report

    entry = report.inputs[0]
    assert report.totals.calls >= 1
    assert entry.rejected >= 1
    assert len(changed) > 100
    # What yields neither a span nor a rejection is empty: no traces, no spans.
    assert entry.spans + entry.rejected > 0.9 * len(changed)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_line_that_breaks_off_is_rejected_wherever_it_does(tmp_path: Path, name: str) -> None:
    plain = json.dumps(DOCUMENTS[name])
    cuts = [plain[:at] for at in range(20, len(plain) - 1, max(len(plain) // 40, 1))]

    report = audit_bytes(tmp_path, "\n".join([plain, *cuts, plain]).encode()).report

    assert report.inputs[0].rejected >= 1
    assert report.totals.calls >= 1


def test_moments_of_the_story_are_those_of_the_builders() -> None:
    # The documents of load_documents are written out: their time is that of the other builders.
    assert DATADOG[0][0]["start"] == T0
