"""Requests to a provider's API: which are calls of their own, and which a model call describes already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.model.lexicon import Operation
from auditor.normalise.vocabulary import compile_apis
from auditor.report.json_v1 import render
from builders import CALL_PICO, CLIENT, INTERNAL, SERVER, Audited, Span, audit_bytes, audit_spans, call, lines, span

OPENAI = "https://api.openai.com/v1/chat/completions"
OWN_HOST = "http://models.internal:8080/v1/chat/completions"
TOP = span("POST /ask", id="top", kind=SERVER, ms=10_000, attributes={"tenant.id": "acme", "http.route": "/ask"})
ANSWERED = call(id="answered", trace="another", tenant="acme")
"""A call elsewhere, so that there is something to audit."""


def request(url: str = OPENAI, **fields: Any) -> Span:
    attributes = {"http.request.method": "POST", "url.full": url, **fields.pop("attributes", {})}
    attributes = {key: value for key, value in attributes.items() if value is not None}
    return span(
        "POST",
        **{"id": "request", "parent": "top", "kind": CLIENT, "scope": "httpx", "start": 110, "ms": 480, **fields},
        attributes=attributes,
    )


@pytest.fixture
def audited(tmp_path: Path) -> Any:
    def run(*spans: Span) -> Audited:
        return audit_spans(tmp_path, spans)

    return run


def uninstrumented(done: Audited) -> list[dict[str, Any]]:
    return [row for row in done.rows if row["rule"] == "uninstrumented-calls"]


# -- what an address says ----------------------------------------------------------------------------

ADDRESSES = {
    "https://api.openai.com/v1/chat/completions": ("openai", "chat", ""),
    "https://eu.api.openai.com/v1/responses?stream=true": ("openai", "chat", ""),
    "https://api.openai.com/v1/embeddings": ("openai", "embeddings", ""),
    "https://api.openai.com/v1/images/generations": ("openai", "image", ""),
    "https://api.openai.com/v1/audio/speech": ("openai", "audio", ""),
    "https://api.openai.com/v1/batches": ("openai", "batch", ""),
    "https://api.anthropic.com/v1/messages": ("anthropic", "chat", ""),
    "https://api.anthropic.com/v1/messages/batches": ("anthropic", "batch", ""),
    "https://acme.openai.azure.com/openai/deployments/gpt-4o-eu/chat/completions?api-version=1": (
        "azure.ai.openai", "chat", "gpt-4o-eu",
    ),
    "https://acme.openai.azure.com/openai/v1/responses": ("azure.ai.openai", "chat", ""),
    "https://acme.services.ai.azure.com/models/chat/completions": ("azure.ai.inference", "chat", ""),
    "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke": (
        "aws.bedrock", "chat", "anthropic.claude-3-haiku-20240307-v1:0",
    ),
    "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.titan-embed-text-v2:0/invoke": (
        "aws.bedrock", "embeddings", "amazon.titan-embed-text-v2:0",
    ),
    "https://bedrock-runtime.eu-west-1.amazonaws.com/model/x/converse-stream": ("aws.bedrock", "chat", "x"),
    "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent?key=SECRET": (
        "gcp.gemini", "chat", "gemini-2.5-flash",
    ),
    "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions": ("gcp.gemini", "chat", ""),
    "https://us-aiplatform.googleapis.com/v1/publishers/google/models/gemini-2.5-pro:streamGenerateContent": (
        "gcp.vertex_ai", "chat", "gemini-2.5-pro",
    ),
    "https://api.cohere.com/v2/rerank": ("cohere", "rerank", ""),
    "https://api.cohere.com/v2/embed": ("cohere", "embeddings", ""),
    "https://openrouter.ai/api/v1/chat/completions": ("openrouter", "chat", ""),
    "https://api.groq.com:443/openai/v1/chat/completions/": ("groq", "chat", ""),
    "http://10.0.0.7:4000/v1/chat/completions": ("", "chat", ""),
    "http://gateway/v1/messages": ("", "chat", ""),
    "http://gateway/gemini/v1beta/models/gemini-2.5-pro:generateContent": ("", "chat", "gemini-2.5-pro"),
}  # fmt: skip
NO_CALLS = [
    "https://api.openai.com/v1/models",
    "https://api.openai.com/v1/files",
    "https://api.openai.com/v1/chat/completions/chatcmpl-1/messages-not",
    "https://api.openai.com.evil.example/chat/completions",
    "https://notapi.openai.com.example/responses",
    "https://tickets.example.com/tickets/7/messages",
    "https://jobs.example.com/functions/resize/invoke",
    "https://survey.example.com/api/responses",
    "https://example.com/embeddings",
    "http://[broken/v1/chat/completions",
    "",
    "x" * 10_000 + "/v1/chat/completions",
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_tells_provider_operation_and_model(url: str) -> None:
    found = compile_apis().of_url(url)

    assert found is not None
    assert (found.provider, str(found.operation), found.model) == ADDRESSES[url]


@pytest.mark.parametrize("url", NO_CALLS)
def test_other_addresses_are_no_calls(url: str) -> None:
    assert compile_apis().of_url(url) is None


def test_every_ending_of_the_table_is_found_by_its_hint() -> None:
    """The hint is looked for in raw bytes first: an ending without one would never be seen."""
    apis = compile_apis()

    assert apis.hint is not None
    for url in ADDRESSES:
        assert apis.hint.search(url.encode()), url


# -- alone: a call -----------------------------------------------------------------------------------


def test_a_request_that_nothing_describes_is_an_unmetered_call(audited: Any) -> None:
    done = audited(TOP, request(attributes={"tenant.id": "acme"}), ANSWERED)

    (row,) = uninstrumented(done)
    assert row["span_id"] == request().ids[1]
    assert (row["provider"], row["operation"], row["model_requested"]) == ("openai", "chat", None)
    assert (row["usage_status"], row["cost_usd"], row["status"]) == ("missing", None, "direct")
    assert done.report.totals.unmetered.calls == 1
    assert done.report.totals.spend == CALL_PICO


ATTRIBUTES = {
    "stable names": {},
    "old names": {"http.request.method": None, "url.full": None, "http.method": "POST", "http.url": OPENAI},
    "path and host": {"url.full": None, "url.path": "/v1/chat/completions", "server.address": "api.openai.com"},
    "target and old host": {
        "url.full": None, "http.request.method": None, "http.method": "POST",
        "http.target": "/v1/chat/completions?x=1", "net.peer.name": "api.openai.com",
    },
    "http.host with a port": {
        "url.full": None, "http.target": "/v1/chat/completions", "http.host": "api.openai.com:443"
    },
    "no method": {"http.request.method": None},
    "lower case method": {"http.request.method": "post"},
    "other attributes too": {"session.id": "s-1", "user.id": "u-1", "deployment.environment.name": "production"},
}  # fmt: skip


@pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_a_request_is_seen_under_every_spelling(audited: Any, attributes: dict[str, Any]) -> None:
    (row,) = uninstrumented(audited(TOP, request(attributes=attributes), ANSWERED))

    assert (row["provider"], row["operation"]) == ("openai", "chat")


@pytest.mark.parametrize("kind", [0, INTERNAL])
def test_a_request_is_seen_where_kinds_are_missing(audited: Any, kind: int) -> None:
    assert len(uninstrumented(audited(TOP, request(kind=kind), ANSWERED))) == 1


@pytest.mark.parametrize(
    "entry",
    [
        request(attributes={"http.request.method": "GET"}),
        request(kind=SERVER),
        request(kind=INTERNAL, attributes={"http.route": "/v1/chat/completions"}),
        request("https://api.openai.com/v1/models"),
        request(attributes={"openinference.span.kind": "TOOL"}),
        request(attributes={"url.full": None, "url.path": "/v1/chat/completions"}),
    ],
    ids=["read", "server", "server without a kind", "other path", "a tool's span", "path without a host"],
)
def test_what_is_no_request_for_a_model_is_no_call(audited: Any, entry: Span) -> None:
    done = audited(TOP, entry, ANSWERED)

    assert done.report.totals.calls == 1


def test_a_failed_request_is_not_billed_and_nobodys_fault(audited: Any) -> None:
    done = audited(TOP, request(failed=True), ANSWERED)

    assert done.row(request())["usage_status"] == "not_billed"
    assert done.report.totals.unmetered.calls == 0
    assert uninstrumented(done) == []


def test_remembered_addresses_say_the_same_again(audited: Any) -> None:
    urls = [OPENAI, "https://api.anthropic.com/v1/messages", "https://example.com/", OPENAI] * 20
    requests = [request(url, id=f"r{at}", trace=f"t{at}", parent="") for at, url in enumerate(urls)]

    done = audited(*requests, ANSWERED)

    assert sorted(row["provider"] for row in uninstrumented(done)) == ["anthropic"] * 20 + ["openai"] * 40


def test_requests_are_no_sample_for_unknown_keys(audited: Any) -> None:
    """Half of the spans would then lack the tenant's key, and the key its coverage."""
    calls = [call(id=f"c{at}", trace=f"t{at}", attributes={"shop_ref": f"s{at % 2}"}) for at in range(4)]
    requests = [request(id=f"r{at}", trace=f"t{at}", parent="") for at in range(4)]

    (candidate,) = audited(*calls, *requests).report.candidate_keys

    assert (candidate.key, candidate.coverage) == ("shop_ref", 1.0)


def test_secrets_of_an_address_are_never_told(audited: Any) -> None:
    url = "https://user:s3cr3t-value@generativelanguage.googleapis.com/v1/models/gemini-2.5-pro:generateContent?key=s3cr3t-value"

    done = audited(TOP, request(url), ANSWERED)

    assert len(uninstrumented(done)) == 1
    assert "s3cr3t-value" not in render(done.report).decode() + json.dumps(done.rows)


# -- described by a model call -----------------------------------------------------------------------

CALL = call(id="call", parent="top", tenant="acme")


def test_the_request_below_a_call_is_that_call(audited: Any) -> None:
    done = audited(TOP, CALL, request(parent="call"))

    assert [row["span_id"] for row in done.rows] == [CALL.ids[1]]
    assert done.rows[0]["duplicates"] == []


def test_spans_between_do_not_matter(audited: Any) -> None:
    between = span("retry", id="between", parent="call", start=105, ms=490)

    assert len(audited(TOP, CALL, between, request(parent="between")).rows) == 1


def test_a_request_around_the_gateways_call_is_that_call(audited: Any) -> None:
    entry = span("POST", id="entry", parent="request", kind=SERVER, service="gateway", start=120, ms=460)
    upstream = call(id="upstream", parent="entry", service="gateway", start=130, ms=440, tenant="acme")

    done = audited(TOP, request(OWN_HOST), entry, upstream)

    assert [row["span_id"] for row in done.rows] == [upstream.ids[1]]


def test_a_request_beside_a_call_that_was_not_made_current_is_that_call(audited: Any) -> None:
    step = span("step", id="step", parent="top", ms=900)
    deeper = call(id="deeper", parent="step", tenant="acme")

    assert len(audited(TOP, CALL, request()).rows) == 1
    assert len(audited(TOP, step, deeper, request()).rows) == 1


def test_one_call_has_one_request_and_its_failed_attempts(audited: Any) -> None:
    attempt = request(id="attempt", start=105, ms=2, failed=True)
    second = request(id="second", start=300, ms=100)

    done = audited(TOP, CALL, attempt, request(start=110, ms=100), second)

    assert [row["span_id"] for row in uninstrumented(done)] == [second.ids[1]]
    assert len(done.rows) == 2


@pytest.mark.parametrize(
    "change",
    [{"start": 700}, {"service": "other"}, {"trace": "third", "parent": ""}],
    ids=["later", "another process", "another trace"],
)
def test_a_request_elsewhere_is_a_call_of_its_own(audited: Any, change: dict[str, Any]) -> None:
    done = audited(TOP, CALL, request(**change))

    assert len(uninstrumented(done)) == 1


def test_an_embedding_inside_a_chat_is_another_call(audited: Any) -> None:
    done = audited(TOP, CALL, request("https://api.openai.com/v1/embeddings", parent="call"))

    (row,) = uninstrumented(done)
    assert row["operation"] == str(Operation.EMBEDDINGS)


def test_an_agent_around_a_request_is_no_model_call(audited: Any) -> None:
    agent = span("run", id="agent", parent="top", ms=900, attributes={"gen_ai.operation.name": "invoke_agent"})

    assert len(uninstrumented(audited(TOP, agent, request(parent="agent"), ANSWERED))) == 1


def test_two_http_instrumentations_of_one_request_are_one_call(audited: Any) -> None:
    inner = request(id="inner", parent="request", scope="urllib3", start=112, ms=470)

    done = audited(TOP, request(), inner, ANSWERED)

    assert [row["span_id"] for row in uninstrumented(done)] == [inner.ids[1]]


def test_requests_through_a_gateway_without_model_spans_are_one_call(audited: Any) -> None:
    entry = span("POST", id="entry", parent="request", kind=SERVER, service="gateway", start=120, ms=460)
    upstream = request(id="upstream", parent="entry", service="gateway", start=130, ms=440)

    done = audited(TOP, request(OWN_HOST), entry, upstream, ANSWERED)

    (row,) = uninstrumented(done)
    assert (row["service"], row["provider"]) == ("gateway", "openai")


# -- described by a gateway in another trace ---------------------------------------------------------


def gateway_calls(count: int, shift: float = 0) -> list[Span]:
    spans = []
    for at in range(count):
        start = 1000 * at + 130 + shift
        spans += [
            span("POST", id=f"e{at}", trace=f"g{at}", kind=SERVER, service="gateway", start=start - 10, ms=470),
            call(id=f"g{at}", trace=f"g{at}", parent=f"e{at}", service="gateway", start=start, ms=440, tenant="acme"),
        ]
    return spans


def own_requests(count: int, url: str = OWN_HOST) -> list[Span]:
    return [request(url, id=f"r{at}", trace=f"a{at}", parent="", start=1000 * at + 100, ms=500) for at in range(count)]


def test_a_gateway_whose_trace_is_cut_describes_the_requests_to_it(audited: Any) -> None:
    done = audited(*own_requests(3), *gateway_calls(3))

    assert len(done.rows) == 3
    assert uninstrumented(done) == []


def test_a_gateway_whose_clock_is_off_describes_them_too(audited: Any) -> None:
    done = audited(*own_requests(8), *gateway_calls(8, shift=3_600_000))

    assert uninstrumented(done) == []


def test_a_gateway_describes_one_request_for_each_of_its_calls(audited: Any) -> None:
    done = audited(*own_requests(3), *gateway_calls(2))

    assert len(uninstrumented(done)) == 1


def test_requests_to_a_providers_own_host_are_not_the_gateways(audited: Any) -> None:
    done = audited(*own_requests(3, OPENAI), *gateway_calls(3))

    assert len(uninstrumented(done)) == 3


def test_rows_of_a_gateways_log_describe_the_requests_to_it(tmp_path: Path) -> None:
    row = {
        "id": "chatcmpl-1", "trace_id": "t", "call_type": "acompletion", "status": "success", "model": "gpt-4o-mini",
        "custom_llm_provider": "openai", "startTime": 1_790_000_000.12, "endTime": 1_790_000_000.55,
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "response_cost": 0.00021,
        "metadata": {"user_api_key_team_id": "acme"}, "request_tags": [],
    }  # fmt: skip
    done = audit_bytes(tmp_path, lines(TOP, request(OWN_HOST)), json.dumps(row).encode() + b"\n")

    assert len(done.rows) == 1
    assert done.rows[0]["usage_status"] == "complete"
