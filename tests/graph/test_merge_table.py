"""Batches put together in any order are one table."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auditor.graph.table import LOOKS, MISSING, SpanTable, find_rows, merge
from auditor.load import load
from auditor.model.spans import NO_COUNT, Batch
from auditor.normalise.vocabulary import compile_lexicon
from builders import Span, call, lines, span

LEXICON = compile_lexicon()


def batch(*spans: Span) -> Batch:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "x.json"
        path.write_bytes(lines(*spans))
        (found,) = load([str(path)], LEXICON).batches
        return found


def content(table: SpanTable) -> dict[str, object]:
    """A table without the numbers that its interned values happen to have."""
    return {
        "key": table.key.tolist(),
        "parent": table.parent.tolist(),
        "trace": [table.trace_id(row) for row in range(len(table.key))],
        "place": [table.places[code] for code in table.place.tolist()],
        "tenant": [table.tenants[code] if code >= 0 else None for code in table.tenant.tolist()],
        "start": table.start_ns.tolist(),
        "duration": np.nan_to_num(table.duration_ms, nan=-1).tolist(),
        "call": table.call_row.tolist(),
        "facts": [table.facts[code] for code in table.call_facts.tolist()],
        "tokens": table.tokens.tolist(),
        "user": [table.texts[code] if code >= 0 else None for code in table.call_user.tolist()],
        "links": sorted(zip(table.link_row.tolist(), table.link_target.tolist(), strict=True)),
        "ids": sorted(zip(table.id_row.tolist(), table.id_kind.tolist(), table.id_hash.tolist(), strict=True)),
        "redelivered": table.redelivered,
    }


ONE = call(id="one", parent="top", tenant="acme", links=[("other", "far")], attributes={"user.id": "u1"})


@pytest.mark.parametrize(
    "copy",
    [
        ONE,
        replace(ONE, parent="elsewhere"),
        replace(ONE, service="another"),
        replace(ONE, ms=700),
        replace(ONE, ms=None),
        replace(ONE, start=50),
        ONE.with_attributes(**{"tenant.id": "globex"}),
        ONE.with_attributes(**{"tenant.id": None}),
        ONE.with_attributes(**{"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 1000}),
        ONE.with_attributes(**{"gen_ai.usage.output_tokens": None}),
        ONE.with_attributes(**{"user.id": "u2"}),
        ONE.with_attributes(**{"gen_ai.request.model": "gpt-4o"}),
        replace(ONE, links=[("other", "near")]),
    ],
)
def test_copies_of_a_span_give_one_row_in_any_order(copy: Span) -> None:
    parts = [batch(ONE), batch(copy), batch(span(id="top"), span(id="elsewhere"), span(id="far", trace="other"))]

    found = [content(merge(order)) for order in itertools.permutations(parts)]

    assert all(entry == found[0] for entry in found)
    assert found[0]["redelivered"] == 1
    assert len(found[0]["call"]) == 1  # type: ignore[arg-type]  # a list, as above


def test_copy_that_ended_last_counts_with_the_tenant_and_the_counts_of_any() -> None:
    early = replace(ONE, ms=10).with_attributes(**{"gen_ai.usage.output_tokens": 5})
    late = replace(ONE, ms=900).with_attributes(
        **{"tenant.id": None, "gen_ai.usage.input_tokens": None, "gen_ai.usage.output_tokens": None}
    )

    table = merge([batch(early), batch(late)])

    assert table.duration_ms.tolist() == [900]
    assert [tag.value for tag in table.tenants[table.tenant[0]]] == ["acme"]
    assert table.tokens[0, :2].tolist() == [1000, 5]


def test_parents_and_links_meet_across_batches() -> None:
    top, far = span(id="top"), span(id="far", trace="other")

    table = merge([batch(ONE), batch(far), batch(top)])

    names = {table.span_id(row): row for row in range(3)}
    own = names[ONE.ids[1]]
    assert table.parent[own] == names[top.ids[1]]
    assert list(zip(table.link_row.tolist(), table.link_target.tolist(), strict=True)) == [(own, names[far.ids[1]])]


def test_nothing_merges_to_nothing() -> None:
    table = merge([])

    assert (len(table.key), len(table.call_row), table.redelivered) == (0, 0, 0)


def test_missing_counts_stay_missing() -> None:
    table = merge([batch(call(usage={"input": 3}))])

    assert table.tokens[0].tolist() == [3, *[NO_COUNT] * 6]


HASHES = np.sort(np.random.default_rng(7).integers(0, 1 << 64, 5_000, dtype=np.uint64))
CROWDED = np.arange(1 << 60, (1 << 60) + 40 * LOOKS, 2, dtype=np.uint64)
"""Keys that all begin with the same digits."""


@pytest.mark.parametrize("keys", [HASHES, CROWDED, HASHES[:1], HASHES[:0], np.array([0, 5, 2**64 - 1], np.uint64)])
def test_rows_are_found_by_their_keys_and_no_other_is(keys: np.ndarray) -> None:
    strangers = np.array([0, 1, 5, (1 << 60) + 1, (1 << 60) - 1, 2**64 - 1], np.uint64)
    wanted = np.concatenate([keys[::-1], strangers, keys[::3] + np.uint64(1)])
    rows = {key: row for row, key in enumerate(keys.tolist())}

    assert find_rows(keys, wanted).tolist() == [rows.get(key, MISSING) for key in wanted.tolist()]
