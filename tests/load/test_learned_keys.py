"""The decoder that knows the keys of an export reads what it knows, and leaves the rest to the plain one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from auditor.load import learned_keys
from auditor.load.learned_keys import LearnedKeys
from auditor.load.otlp_types import Request, Span
from auditor.normalise.vocabulary import compile_lexicon

LEXICON = compile_lexicon()


def request(*attributes: dict[str, Any]) -> bytes:
    span = {"traceId": "ab" * 16, "spanId": "cd" * 8, "attributes": list(attributes)}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": "app"}, "spans": [span]}]}]}).encode()


def pair(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


def spans_of(decoded: Request | None) -> list[Span]:
    assert decoded is not None
    return [span for part in decoded.resourceSpans or [] for scope in part.scopeSpans for span in scope.spans]


def learn_from(keys: LearnedKeys, record: bytes) -> None:
    keys.learn(spans_of(msgspec.json.decode(record, type=Request, strict=False)))


MODEL = pair("gen_ai.request.model", stringValue="m")
TOKENS = pair("gen_ai.usage.input_tokens", intValue="120")


def test_known_keys_are_types_and_ids_and_counts_are_read_at_once() -> None:
    keys = LearnedKeys(LEXICON)
    assert keys.request(request(MODEL, TOKENS)) is None
    learn_from(keys, request(MODEL, TOKENS))

    (span,) = spans_of(keys.request(request(TOKENS, MODEL)))

    assert [pair.key for pair in span.attributes] == ["gen_ai.usage.input_tokens", "gen_ai.request.model"]
    assert span.attributes[0].value == learned_keys.KnownCount(intValue=120)
    assert bytes(span.attributes[1].value) == b'{"stringValue": "m"}'
    assert type(span.attributes[0]) is not type(span.attributes[1])


@pytest.mark.parametrize(
    "attribute",
    [
        pair("gen_ai.usage.input_tokens", doubleValue=1.5),
        pair("gen_ai.usage.input_tokens", arrayValue={"values": []}),
        pair("gen_ai.usage.input_tokens", stringValue="120"),
        pair("gen_ai.usage.input_tokens", intValue="-1"),
        pair("gen_ai.usage.input_tokens", intValue=str(10**9 + 1)),
        pair("gen_ai.usage.input_tokens"),
        {"key": "gen_ai.usage.input_tokens"},
        pair("another.key", stringValue="x"),
        {"value": {"stringValue": "no key"}},
    ],
    ids=[
        "a count with a fraction",
        "a list",
        "a text",
        "a negative count",
        "a corrupt count",
        "an empty count",
        "no value",
        "an unknown key",
        "no key",
    ],
)
def test_what_does_not_fit_is_left_to_the_plain_decoder(attribute: dict[str, Any]) -> None:
    keys = LearnedKeys(LEXICON)
    learn_from(keys, request(MODEL, TOKENS))

    assert keys.request(request(attribute)) is None


def test_a_new_key_is_learned_from_the_record_that_had_it() -> None:
    keys = LearnedKeys(LEXICON)
    learn_from(keys, request(MODEL))
    for _ in range(2):
        learn_from(keys, request(MODEL, pair("another.key", stringValue="x")))

    assert keys.request(request(pair("another.key", stringValue="y"))) is not None


def test_it_is_given_up_where_most_records_do_not_fit() -> None:
    keys = LearnedKeys(LEXICON)
    learn_from(keys, request(MODEL, TOKENS))
    odd = request(MODEL, pair("gen_ai.usage.input_tokens", doubleValue=1.5))
    for _ in range(learned_keys.PATIENCE):
        learn_from(keys, odd)
    assert keys.request(request(MODEL)) is not None

    for _ in range(2):
        learn_from(keys, odd)

    assert keys.request(request(MODEL)) is None


def test_made_up_keys_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_keys, "MAX_KEYS", 3)
    keys = LearnedKeys(LEXICON)
    learn_from(keys, request(*(pair(f"key.{number}", stringValue="x") for number in range(5))))

    assert keys.request(request(pair("key.2", stringValue="x"))) is not None
    assert keys.request(request(pair("key.3", stringValue="x"))) is None
