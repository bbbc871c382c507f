"""Walks over all calls at once say what a walk by hand says, for any parents, circles and depths included."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.graph import resolve
from auditor.graph.resolve import End, Namespaces, Places, nearest_tenant, steps_between, walk
from auditor.graph.table import MISSING, ROOT, SpanTable, merge
from auditor.load import load
from auditor.model.spans import TenantTag
from auditor.normalise.vocabulary import compile_lexicon
from builders import Span, call, lines, span

LEXICON = compile_lexicon()


def table_of(*spans: Span) -> SpanTable:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "x.json"
        path.write_bytes(lines(*spans))
        return merge(load([str(path)], LEXICON).batches)


def row_of(table: SpanTable, entry: Span) -> int:
    (found,) = [row for row in range(len(table.key)) if (table.trace_id(row), table.span_id(row)) == entry.ids]
    return found


def by_hand(table: SpanTable, row: int) -> tuple[int, End]:
    """Nearest ancestor with a tenant, and how the walk ends; the naive way."""
    seen = {row}
    at, tenant = row, -1
    while (parent := int(table.parent[at])) >= 0:
        if tenant < 0 and table.tenant[parent] >= 0:
            tenant = parent
        if parent in seen:
            return tenant, End.CYCLE
        seen.add(parent)
        at = parent
    return tenant, End.MISSING if parent == MISSING else End.ROOT


IDS = [f"s{number}" for number in range(20)]
FORESTS = st.lists(
    st.tuples(st.sampled_from(["", "gone", *IDS]), st.sampled_from([None, None, None, "acme", "globex"])),
    min_size=2,
    max_size=20,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(FORESTS, st.sampled_from([1, 2, 5, 256]))
def test_walks_agree_with_walks_by_hand(forest: list[tuple[str, str | None]], max_steps: int) -> None:
    spans = [
        span(id=own, parent=parent, attributes={"tenant.id": tenant} if tenant else {})
        for own, (parent, tenant) in zip(IDS, forest, strict=False)
    ]
    table = table_of(*spans)
    rows = np.arange(len(table.key))
    before = resolve.MAX_STEPS
    resolve.MAX_STEPS = max_steps
    try:
        walks = walk(table, Places(table), rows, np.full(len(rows), -1, np.int32), Namespaces(table.tenants))
        nearest, _ = nearest_tenant(table, rows)
    finally:
        resolve.MAX_STEPS = before

    for row in rows.tolist():
        tenant, end = by_hand(table, row)
        knows_itself = table.tenant[row] >= 0
        # Inside a circle every span of it lies above every other: the nearest may be the start itself, told once.
        if end is not End.CYCLE:
            assert walks.tenant_row[row] == tenant
        assert End(int(walks.end[row])) == end
        assert int(nearest[row]) == (row if knows_itself else tenant)


def test_own_parent_is_a_missing_one() -> None:
    table = table_of(span(id="a", parent="a"), span(id="b", parent="a"), span(id="c"))

    parents = {table.span_id(row): int(table.parent[row]) for row in range(3)}

    assert sorted(parents.values()) == [MISSING, ROOT, row_of(table, span(id="a"))]


def test_same_span_id_in_two_traces_is_two_spans() -> None:
    table = table_of(span(id="1" * 16, trace="a"), span(id="1" * 16, trace="b", parent="1" * 16))

    assert len(table.key) == 2
    assert sorted(table.parent.tolist()) == [MISSING, ROOT]


def test_ids_come_back_as_they_were() -> None:
    odd = span(id="00000000000000ff", trace="0000000000000000000000000000000a")
    table = table_of(odd)

    assert (table.trace_id(0), table.span_id(0)) == (odd.trace, odd.id)


def paths(*spans: Span) -> dict[str, tuple[int, int]]:
    table = table_of(*spans)
    rows = table.call_row.astype(np.int64)
    walks = walk(table, Places(table), rows, np.full(len(rows), -1, np.int32), Namespaces(table.tenants))
    return {table.span_id(row): (int(walks.to_tenant[n]), int(walks.to_top[n])) for n, row in enumerate(rows.tolist())}


def test_calls_that_went_the_same_way_have_the_same_path_whatever_their_ids_and_depth() -> None:
    top = span(id="top", service="web", attributes={"tenant.id": "acme"})
    loop = [span(id=f"l{n}", parent=f"l{n - 1}" if n else "top", service="api") for n in range(9)]
    shallow, deep = call(id="shallow", parent="l0", service="api"), call(id="deep", parent="l8", service="api")

    found = paths(top, *loop, shallow, deep)

    assert found[shallow.ids[1]] == found[deep.ids[1]]


@pytest.mark.parametrize("change", [{"service": "other"}, {"kind": 5}, {"flags": 0x300}, {"scope": "other"}])
def test_another_way_is_another_path(change: dict[str, Any]) -> None:
    def ways(**fields: Any) -> set[tuple[int, int]]:
        return set(paths(span(id="top"), span(**{"id": "mid", "parent": "top", **fields}), call(parent="mid")).values())

    assert ways().isdisjoint(ways(**change))


def test_process_boundary_is_part_of_the_path() -> None:
    def way(instance: str) -> set[tuple[int, int]]:
        return set(paths(span(id="top", instance="i1"), call(parent="top", instance=instance)).values())

    assert way("i1").isdisjoint(way("i2"))


def test_path_does_not_depend_on_what_else_is_in_the_file() -> None:
    mine = [span(id="top", service="web"), call(id="c", parent="top")]
    others = [span(id=f"o{n}", trace=f"o{n}", service=f"service {n}", kind=n % 6) for n in range(30)]
    own = hex_of(mine[1])

    assert paths(*mine)[own] == paths(*others, *mine)[own] == paths(*mine, *others)[own]


def hex_of(entry: Span) -> str:
    return entry.ids[1]


def test_steps_fold_equal_neighbours_and_mark_the_process_boundary() -> None:
    spans = [
        span(id="web", service="web", kind=2),
        *(span(id=f"l{n}", parent=f"l{n - 1}" if n else "web", service="api") for n in range(5)),
        call(id="call", parent="l4", service="api"),
    ]
    table = table_of(*spans)

    steps = steps_between(table, Places(table), row_of(table, spans[-1]), row_of(table, spans[0]))

    assert [(step.shape.service, str(step.shape.role), step.crosses_process, step.repeated) for step in steps] == [
        ("api", "model call", False, False),
        ("api", "other", True, True),
        ("web", "server", False, False),
    ]


def test_namespaces_are_compared_one_by_one() -> None:
    def tags(**values: str) -> tuple[TenantTag, ...]:
        return tuple(TenantTag(namespace, value, namespace) for namespace, value in values.items())

    table = [tags(tenant="a"), tags(tenant="b"), tags(team="a"), tags(tenant="a", team="b"), tags(tenant="a", team="a")]
    differ = Namespaces(table).differ

    def said(one: int, other: int) -> bool:
        return bool(differ(np.array([one], np.int32), np.array([other], np.int32))[0])

    assert said(0, 1)
    assert not said(0, 2)
    assert not said(0, 3)
    assert said(2, 3)
    assert said(3, 4)
    assert not said(2, 4)
