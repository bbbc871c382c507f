"""The generated exports are what the benchmark says they are, and their truth is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

GENERATOR = Path(__file__).resolve().parent.parent / "bench" / "generate.py"
SPANS = 40_000

TENANT_KEYS = {
    "tenant.id",
    "app.tenant.id",
    "traceloop.association.properties.tenant_id",
    "langfuse.trace.metadata.tenant_id",
}
MODEL_OPERATIONS = {"chat", "embeddings"}
MODEL_KINDS = {"LLM", "EMBEDDING", "RERANKER"}
INPUT_KEYS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
OUTPUT_KEYS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")


def generate(out: Path, *, spans: int, form: str = "lines", seed: int = 7, hash_seed: str = "0") -> dict[str, Any]:
    command = [sys.executable, str(GENERATOR), "--spans", str(spans), "--seed", str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    subprocess.run([*command, "--form", form, "--out", str(out)], check=True, env=environment)
    truth: dict[str, Any] = json.loads(out.with_name(out.name + ".truth.json").read_bytes())
    return truth


@dataclass
class Span:
    """One span record as an independent reader sees it."""

    line: int
    trace: str
    id: str
    parent: str
    scope: str
    service: str
    environment: str
    start: int
    end: int
    size: int
    attributes: dict[str, Any] = field(default_factory=dict)
    resource_tenant: str | None = None

    @property
    def is_model_span(self) -> bool:
        found = self.attributes
        return (
            found.get("gen_ai.operation.name") in MODEL_OPERATIONS
            or found.get("openinference.span.kind") in MODEL_KINDS
            or found.get("llm.request.type") == "chat"
        )

    @property
    def tenant(self) -> str | None:
        carried = next((self.attributes[key] for key in TENANT_KEYS if key in self.attributes), None)
        if carried is None and "metadata" in self.attributes:
            carried = orjson.loads(self.attributes["metadata"])["tenant_id"]
        carried = carried or self.resource_tenant
        return None if carried == "default" else carried

    def tokens(self, keys: tuple[str, ...]) -> int:
        return next((int(self.attributes[key]) for key in keys if key in self.attributes), 0)


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    flat = {}
    for attribute in attributes:
        ((_, value),) = attribute["value"].items()
        assert attribute["key"] not in flat
        flat[attribute["key"]] = value
    return flat


def spans_of(request: dict[str, Any], line: int) -> Iterator[Span]:
    for group in request["resourceSpans"]:
        resource = plain(group["resource"]["attributes"])
        for scoped in group["scopeSpans"]:
            for span in scoped["spans"]:
                yield Span(
                    line=line,
                    trace=span["traceId"],
                    id=span["spanId"],
                    parent=span["parentSpanId"],
                    scope=scoped["scope"]["name"],
                    service=resource["service.name"],
                    environment=resource["deployment.environment.name"],
                    start=int(span["startTimeUnixNano"]),
                    end=int(span["endTimeUnixNano"]),
                    size=len(orjson.dumps(span)),
                    attributes=plain(span["attributes"]),
                    resource_tenant=resource.get("tenant.id"),
                )


def once(records: list[Span]) -> dict[tuple[str, str], Span]:
    """Drop what was delivered twice."""
    return {(span.trace, span.id): span for span in records}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "spans.jsonl"


@pytest.fixture(scope="module")
def truth(export: Path) -> dict[str, Any]:
    return generate(export, spans=SPANS)


@pytest.fixture(scope="module")
def records(export: Path, truth: dict[str, Any]) -> list[Span]:
    assert truth["records"] == SPANS
    with export.open("rb") as file:
        return [span for number, line in enumerate(file) for span in spans_of(orjson.loads(line), number)]


def test_truth_about_spans_is_what_an_independent_reader_counts(
    records: list[Span], truth: dict[str, Any], export: Path
) -> None:
    spans = once(records)
    model_spans = [span for span in spans.values() if span.is_model_span]
    untagged = [span for span in model_spans if span.tenant is None]

    counted = {
        "bytes": export.stat().st_size,
        "lines": 1 + max(span.line for span in records),
        "records": len(records),
        "spans": len(spans),
        "redelivered_spans": len(records) - len(spans),
        "model_spans": len(model_spans),
        "model_spans_input_tokens": sum(span.tokens(INPUT_KEYS) for span in model_spans),
        "model_spans_output_tokens": sum(span.tokens(OUTPUT_KEYS) for span in model_spans),
        "model_spans_without_tenant": len(untagged),
        "model_spans_without_tenant_input_tokens": sum(span.tokens(INPUT_KEYS) for span in untagged),
        "model_spans_without_tenant_output_tokens": sum(span.tokens(OUTPUT_KEYS) for span in untagged),
    }
    assert counted == {name: truth[name] for name in counted}


def test_truth_about_calls_is_what_an_independent_reader_counts(records: list[Span], truth: dict[str, Any]) -> None:
    spans = once(records)
    inner_of_a_pair = {
        (span.trace, span.id) for span in spans.values() if span.is_model_span and is_described_above(span, spans)
    }
    logs = {
        key: span
        for key, span in spans.items()
        if span.scope == "logfire.openai" and span.attributes["logfire.span_type"] == "log"
    }
    calls = [
        span for key, span in spans.items() if span.is_model_span and key not in inner_of_a_pair and key not in logs
    ]
    metered = [span for span in [*calls, *logs.values()] if "RateLimit" not in span.attributes.get("error.type", "")]
    untagged = [span for span in metered if span.tenant is None and span.environment == "production"]

    totals = truth["totals"]
    assert len(calls) == totals["calls"]
    assert len(untagged) == totals["without_tenant"]
    assert sum(span.tokens(INPUT_KEYS) for span in metered) == totals["input_tokens"]
    assert sum(span.tokens(OUTPUT_KEYS) for span in metered) == totals["output_tokens"]
    assert sum(span.tokens(INPUT_KEYS) for span in untagged) == totals["input_tokens_without_tenant"]
    assert sum(span.tokens(OUTPUT_KEYS) for span in untagged) == totals["output_tokens_without_tenant"]
    assert sum(span.environment == "staging" for span in calls) == totals["internal"]


def is_described_above(span: Span, spans: dict[tuple[str, str], Span]) -> bool:
    """Whether an ancestor describes the same response: framework over SDK, application over gateway."""
    response = span.attributes.get("gen_ai.response.id")
    above = spans.get((span.trace, span.parent))
    while above is not None:
        if above.is_model_span and response and above.attributes.get("gen_ai.response.id") == response:
            return True
        above = spans.get((above.trace, above.parent))
    return False


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))

    truth = generate(one, spans=3000, hash_seed="1")
    again = generate(same, spans=3000, hash_seed="2")
    generate(other, spans=3000, seed=8)

    assert one.read_bytes() == same.read_bytes()
    assert truth == again
    assert one.read_bytes() != other.read_bytes()


def test_spans_have_the_size_and_share_that_the_benchmark_states(records: list[Span], export: Path) -> None:
    model_spans = [span for span in records if span.is_model_span]
    usual = sum(18 <= len(span.attributes) <= 24 for span in model_spans)

    assert 950 < export.stat().st_size / len(records) < 1080
    assert 115 < len(records) / (1 + records[-1].line) < 140
    assert 0.13 < len(model_spans) / len(records) < 0.15
    assert usual / len(model_spans) > 0.9


def test_children_come_before_their_parents_except_behind_a_queue(records: list[Span]) -> None:
    delivered = Counter((span.trace, span.id) for span in records)
    twice = {trace for (trace, _), times in delivered.items() if times > 1}
    line_of = {(span.trace, span.id): span.line for span in records}

    late = [
        span
        for span in records
        if span.trace not in twice and span.line > line_of.get((span.trace, span.parent), span.line)
    ]

    assert late
    assert {span.scope for span in late} == {"opentelemetry.instrumentation.celery"}


def test_traces_cross_lines_and_some_straggle_far_behind(records: list[Span]) -> None:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    sizes = Counter(span.trace for span in once(records).values())
    for position, span in enumerate(records):
        first.setdefault(span.trace, position)
        last[span.trace] = position
    spread = {trace: last[trace] - first[trace] for trace in first}
    straggling = [trace for trace in spread if spread[trace] > 25_000]

    assert min(sizes.values()) >= 5
    assert max(sizes.values()) <= 40
    assert sum(span > 127 for span in spread.values()) > 0.9 * len(spread)
    assert straggling


def test_spans_end_after_they_started_and_inside_the_hour(records: list[Span]) -> None:
    assert all(0 <= span.end - span.start < 3600 * 10**9 for span in records)


def test_every_failure_mode_is_planted(truth: dict[str, Any]) -> None:
    modes = {
        "gateway-single-key",
        "header-stripping",
        "async-drop",
        "stream-span-closure",
        "orphaned-agent-children",
        "tenant-not-copied",
        "untagged-embeddings",
        "batch-without-metadata",
        "tenant-conflict",
    }

    assert modes <= truth["families"].keys()
    assert all(truth["families"][mode]["calls"] > 10 for mode in modes)


def test_tenants_follow_a_zipf_law(records: list[Span]) -> None:
    requests = Counter(span.tenant for span in records if not span.parent and span.tenant)
    (_, most), (_, second), *_ = requests.most_common()

    assert 1.6 < most / second < 2.8  # 2 ** 1.1 is 2.14
    assert len(requests) > 100


def test_one_document_holds_the_same_spans_as_the_lines(tmp_path: Path) -> None:
    lines, document = tmp_path / "lines.jsonl", tmp_path / "document.json"

    generate(lines, spans=2000)
    generate(document, spans=2000, form="document")

    listed = [span for line in lines.read_bytes().splitlines() for span in orjson.loads(line)["resourceSpans"]]
    assert orjson.loads(document.read_bytes())["resourceSpans"] == listed


def test_gateway_rows_add_up_to_their_truth(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    truth = generate(path, spans=2000, form="litellm")

    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    untagged = [row for row in rows if row["metadata"]["user_api_key_team_id"] is None]
    assert len(rows) == truth["totals"]["calls"]
    assert sum(row["prompt_tokens"] for row in rows) == truth["totals"]["input_tokens"]
    assert sum(row["prompt_tokens"] for row in untagged) == truth["totals"]["input_tokens_without_tenant"]
    assert sum(row["status"] == "success" for row in untagged) == truth["totals"]["without_tenant"]
    assert 2500 < truth["bytes"] / len(rows) < 2900
