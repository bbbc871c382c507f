"""LiteLLM's payloads have fast ways, many lines at once or one, and a list of them takes the slow one.

All must say the same.
"""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditor.load import litellm_payloads, load, sources
from auditor.load.builder import pico_of
from auditor.load.row_columns import picos_of
from auditor.normalise.vocabulary import compile_lexicon
from auditor.report.json_v1 import digest
from auditor.settings import Settings
from builders import audit_bytes

BASE: dict[str, Any] = {
    "id": "chatcmpl-1",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "session_id": "0af7651916cd43dd8448eb211c80319c",
    "litellm_call_id": "279a498d-e1f4-4d7e-97cb-f566db267bce",
    "call_type": "acompletion",
    "stream": None,
    "response_cost": 0.000468,
    "status": "success",
    "custom_llm_provider": "openai",
    "total_tokens": 1100,
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "startTime": 1_790_000_000.018,
    "endTime": 1_790_000_000.948,
    "completionStartTime": 1_790_000_000.948,
    "model": "openai/gpt-4o-mini",
    "model_group": "gpt-4o-mini",
    "metadata": {
        "user_api_key_hash": "88dc",
        "user_api_key_team_id": None,
        "spend_logs_metadata": {"feature": "answers"},
        "usage_object": {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 600}},
    },
    "cache_hit": False,
    "request_tags": ["env:prod", "User-Agent: x"],
    "end_user": None,
    "response": {"id": "chatcmpl-1", "usage": {"prompt_tokens": 1000}},
}
CHANGES: dict[str, list[Any]] = {
    "id": ["chatcmpl-2", "batch_1_batch_cost", "x_cache_hit1790000000.5", "", "r_background_cost"],
    "trace_id": ["conv-88", "", None, "0AF7651916CD43DD8448EB211C80319C", "0af76519-16cd-43dd-8448-eb211c80319c"],
    "session_id": ["conv-88", None],
    "litellm_call_id": ["call-2", "", None],
    "call_type": ["aembedding", "arerank", "aget_responses", "telepathy", "aretrieve_batch"],
    "stream": [True, False],
    "response_cost": [0, 0.0, None, 1e-12, 12345.678901, "0.5"],
    "status": ["failure", None],
    "custom_llm_provider": ["anthropic", None],
    "prompt_tokens": [0, None, 5, -1],
    "completion_tokens": [0, None],
    "total_tokens": [None],
    "startTime": [1_790_000_000, 0, None],
    "endTime": [0, 1_789_000_000.0],
    "completionStartTime": [None, 1_790_000_000.3, 1_790_000_000.9465, 1_790_000_000.9455, 0],
    "model": ["unknown", None, "openai/gpt-4o"],
    "model_group": [None, ""],
    "model_parameters": [{"stream": True}, {"stream": False}, {"temperature": 1}, None, "x"],
    "cache_hit": [True, "True", "None", None],
    "request_tags": [[], None, ["tenant:acme"], ["workflow_id:w-1", "session_id:s-1"], "x"],
    "end_user": ["acme", "", "default_user_id", '{"device_id":"d"}'],
    "response": [None, {}, {"usage": None}, "redacted", {"id": "x"}],
    "metadata": [
        {"spend_logs_metadata": {"tenant_id": "acme"}},
        {"spend_logs_metadata": {"tenant_id": "unknown"}},
        {"requester_metadata": {}},
        {"requester_metadata": {"tenant_id": "acme"}},
        {"requester_custom_headers": {"X-Tenant-Id": "acme"}, "user_api_key_team_id": "t"},
        {"user_api_key_org_id": "o", "user_api_key_end_user_id": "u"},
        {"user_api_key_end_user_id": "u"},
        {"spend_logs_metadata": {"user_id": "u-1", "environment": "staging"}},
        {"usage_object": {"cache_read_input_tokens": 600, "cache_creation_input_tokens": 300}},
        {"usage_object": {"prompt_tokens_details": {"cached_tokens": 0}, "cache_read_input_tokens": 0}},
        {"usage_object": None, "original_model_group": "gpt-4o", "internal_call_origin": "judge"},
        None,
    ],
}
SETTINGS = [Settings(), Settings(end_user_as_tenant=False), Settings(tenant_keys=("end_user",))]


def _pico(cost: float) -> int:
    return int(picos_of(np.array([cost]))[0])


def told(home: Path, document: bytes, settings: Settings) -> Any:
    done = audit_bytes(home, document, settings=settings)
    return done.rows, digest(done.report), done.report.inputs[0].rejected


def assert_same(home: Path, rows: list[dict[str, Any]], settings: Settings) -> None:
    fast = told(home, "\n".join(map(json.dumps, rows)).encode(), settings)
    slow = told(home, json.dumps(rows).encode(), settings)

    assert fast == slow


@pytest.mark.parametrize("field", CHANGES)
@pytest.mark.parametrize("settings", SETTINGS, ids=["default", "no end user", "end user first"])
def test_every_value_means_the_same_on_both_ways(tmp_path: Path, field: str, settings: Settings) -> None:
    # Each row twice: the first of a kind is learnt from, the second is looked up.
    rows = [BASE]
    for number, value in enumerate(CHANGES[field]):
        changed = {**BASE, "id": f"c-{number}", "litellm_call_id": f"l-{number}", field: value}
        rows += [changed, {**changed, "startTime": 1_790_000_100.5, "endTime": 1_790_000_101.0} | {field: value}]

    assert_same(tmp_path, rows, settings)


@settings(deadline=None)
@given(
    changes=st.lists(
        st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in CHANGES.items()}),
        min_size=1,
        max_size=6,
    )
)
def test_any_mixture_means_the_same_on_both_ways(tmp_path_factory: pytest.TempPathFactory, changes: list[Any]) -> None:
    rows = [BASE, *({**BASE, "litellm_call_id": f"l-{number}", **change} for number, change in enumerate(changes))]

    assert_same(tmp_path_factory.mktemp("rows"), rows, Settings())


JUNK: list[Any] = [None, True, 5, -1.5, 10**400, "text", "ä\u0000", [], [1], {}, {"a": 1}]
ODD_ROWS = st.lists(
    st.fixed_dictionaries(
        {"litellm_call_id": st.sampled_from(["l-1", "l-2", "l-3"])},
        optional={
            key: st.sampled_from([*CHANGES.get(key, []), *JUNK]) for key in BASE | CHANGES if key != "litellm_call_id"
        },
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(changes=ODD_ROWS)
@example(changes=[{}, {"end_user": "e"}, {"end_user": "e"}, {"metadata": {"user_api_key_end_user_id": "e"}}])
def test_any_odd_row_means_the_same_on_both_ways(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, Any]]
) -> None:
    assert_same(tmp_path_factory.mktemp("rows"), [BASE, *({**BASE, **change} for change in changes)], Settings())


# -- many lines at once ------------------------------------------------------------------------------


def read(home: Path, document: bytes) -> Any:
    """All that is read of a file, in the order of its lines."""
    path = home / "rows.jsonl"
    path.write_bytes(document)
    loaded = load([str(path)], compile_lexicon())
    calls = []
    ids = []
    for batch in loaded.batches:
        calls += zip(
            batch.call_line.tolist(),
            batch.key[batch.call_row].tolist(),
            batch.trace_ids[batch.trace[batch.call_row]].tolist(),
            [batch.tenants[code] if code >= 0 else () for code in batch.tenant[batch.call_row].tolist()],
            [batch.facts[code] for code in batch.call_facts.tolist()],
            batch.tokens.tolist(),
            [batch.texts[code] if code >= 0 else "" for code in batch.call_user.tolist()],
            batch.start_ns[batch.call_row].tolist(),
            batch.duration_ms[batch.call_row].tolist(),
            [batch.texts[code] for code in batch.extra_log_id.tolist()],
            batch.extra_cost_pico.tolist(),
            strict=True,
        )
        lines = batch.call_line[np.argsort(batch.call_row)]
        ids += zip(lines[batch.id_row].tolist(), batch.id_kind.tolist(), batch.id_hash.tolist(), strict=True)
    (source,) = loaded.inputs
    return calls, sorted(ids), source.records, source.spans, source.rejected, source.rejections


CUT = "<cut>"
"""Stands for the first two bytes of a character of three."""
METADATA = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(
            st.none(),
            st.dictionaries(
                st.sampled_from(
                    ["tenant_id", "Customer_Id", "feature", "environment", "user_id", "session_id", "request_id",
                     "workflow_id", "batch_id", "other"]
                ),
                st.one_of(st.sampled_from(["acme", "unknown", "", '{"a": 1}', '"x"', "r-1"]), st.none(), st.just(7)),
            ),
            st.sampled_from(["text", '{"tenant_id": "acme"}', [], 5]),
        )
        for name in (
            "spend_logs_metadata", "user_api_key_auth_metadata", "requester_metadata", "requester_custom_headers"
        )
    }
    | {
        name: st.sampled_from([None, "", "t", "unknown"])
        for name in ("user_api_key_team_id", "user_api_key_org_id", "user_api_key_end_user_id")
    },
)  # fmt: skip
TAG_LISTS = st.lists(
    st.sampled_from(["env:prod", "env:test", "tenant:acme", "tenant:bolt", "session_id:s", "User-Agent: x", "x"]),
    max_size=3,
)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(METADATA, TAG_LISTS, st.sampled_from([None, "e-1", "unknown"])), max_size=6))
def test_identities_in_any_place_mean_the_same_on_both_ways(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, Any, Any]]
) -> None:
    # Each twice: the second time they are known.
    payloads = [
        {**BASE, "litellm_call_id": f"l-{number}", "metadata": metadata, "request_tags": tags, "end_user": end_user}
        for number, (metadata, tags, end_user) in enumerate([*rows, *rows])
    ]

    assert_same(tmp_path_factory.mktemp("rows"), [BASE, *payloads], Settings())


PIECES = st.one_of(
    ODD_ROWS.map(lambda changes: "\n".join(json.dumps({**BASE, **change}) for change in changes)),
    st.just(json.dumps(BASE)),
    st.just(json.dumps([BASE, BASE])),
    st.just(json.dumps(BASE, indent=1)),
    st.just(json.dumps(BASE) + json.dumps(BASE)),
    st.just(json.dumps(BASE).replace('"metadata": {', '"metadata": {\n')),
    st.just(json.dumps(BASE)[:-40]),
    st.just(json.dumps(BASE)[:-1]),
    st.just(json.dumps(BASE) + "}"),
    st.just(json.dumps(BASE).replace("acompletion", "acom\\ud83dpletion")),
    st.just(json.dumps(BASE).replace("answers", "ans\\ud83dwers")),
    st.just(json.dumps(BASE).replace("answers", CUT)),
    st.just(json.dumps(BASE).replace("0x", CUT)),
    st.just("\n" + "{" + json.dumps(BASE) + "}"),
    st.sampled_from(["", " ", "{}", "[]", "{}}", "{{}", "5", "null", '{"id": "x"}', "\x00"]),
)


@settings(deadline=None)
@given(pieces=st.lists(PIECES, max_size=8), end=st.sampled_from(["\n", "\r\n"]), last=st.sampled_from(["\n", ""]))
def test_lines_that_are_read_at_once_say_what_single_ones_say(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], end: str, last: str
) -> None:
    home = tmp_path_factory.mktemp("rows")
    document = (end.join([json.dumps(BASE), *pieces]) + last).encode().replace(CUT.encode(), b"\xe2\x82")

    at_once = read(home, document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "LINES", 0)
        assert at_once == read(home, document)


def test_lines_of_a_compressed_log_are_read_at_once(tmp_path: Path) -> None:
    lines = [json.dumps({**BASE, "litellm_call_id": f"l-{number}"}) for number in range(300)]
    document = "\n".join([*lines[:200], "{broken}", *lines[200:]]).encode()
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.mkdir()
    packed.mkdir()

    assert read(packed, gzip.compress(document)) == read(plain, document)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_rows_stay_in_order_however_few_make_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    # Every third row is of a kind that is seen for the first time, and takes the slow way behind its neighbours.
    document = "\n".join(
        json.dumps(BASE | {"litellm_call_id": f"l-{n}", "model": f"m-{n if n % 3 == 0 else 1}", "end_user": f"u-{n}"})
        for n in range(40)
    ).encode()
    expected = read(tmp_path, document)
    monkeypatch.setattr(litellm_payloads, "ROWS", rows)
    monkeypatch.setattr(litellm_payloads, "REMEMBERED", 0)
    monkeypatch.setattr(litellm_payloads, "REMEMBERED_USERS", 1)

    found = read(tmp_path, document)

    assert [call[0] for call in found[0]] == list(range(1, 41))
    assert found == expected


def test_rows_that_differ_in_what_decides_nothing_are_not_looked_at_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        BASE
        | {"id": f"c-{n}", "litellm_call_id": f"l-{n}", "trace_id": f"t-{n}", "prompt_tokens": n, "end_user": f"u{n}"}
        for n in range(100, 200)
    ]
    looked_at = []
    slowly = litellm_payloads.payload_row

    def payload_row(entry: Any, lexicon: Any) -> Any:
        looked_at.append(entry["id"])
        return slowly(entry, lexicon)

    monkeypatch.setattr(litellm_payloads, "payload_row", payload_row)
    read(tmp_path, "\n".join(map(json.dumps, rows)).encode() + b"\n")

    assert looked_at == ["c-100"]


@given(st.decimals(min_value=Decimal("1e-14"), max_value=2000, places=15))
def test_costs_are_exact_to_the_pico_dollar(cost: Decimal) -> None:
    # Half even where a cost lies between two pico-dollars, as its shortest spelling says.
    assert _pico(float(cost)) == (pico_of(float(cost)) or -1)


@pytest.mark.parametrize("cost", [0.0000001234565, 0.0000001234575, 0.1 + 0.2, 999.999999999999, 1e-13, 5e-13, 1e9])
def test_costs_between_two_pico_dollars(cost: float) -> None:
    assert _pico(cost) == (pico_of(cost) or -1)
