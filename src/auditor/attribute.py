"""Decides for every call whether it carries its tenant, and which join gives a tenant back where it does not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from auditor.graph.attributed import Attribution
from auditor.graph.resolve import Namespaces, Places, Walks, nearest_tenant, walk
from auditor.graph.table import SpanTable
from auditor.model.joins import ID_JOINS, STATUSES, Join, Status
from auditor.model.spans import I32, I64, TRACE_RECORD, U8, Bools, CallFacts, TenantTag

MAX_LINKS = 8
"""Links that are followed one after the other: producer of a producer, and so on."""

_NUMBER = re.compile(r"[-_.]\d+$")
_DIRECT, _RECOVERABLE, _LOST, _INTERNAL = (STATUSES.index(status) for status in Status)


class GroupedCalls(Protocol):
    """What attribution needs to know of the calls (see ``auditor.normalise.calls``)."""

    primary: I64
    facts: I64
    tenant: I32
    duplicates: dict[int, tuple[int, ...]]
    disagreeing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say about attribution."""

    rollup: str = "call"
    """``request`` counts a tenant on an ancestor of the same trace as carried."""
    internal_environments: frozenset[str] = frozenset()
    internal_services: frozenset[str] = frozenset()
    internal_features: frozenset[str] = frozenset()
    internal_tenants: frozenset[str] = frozenset()


def attribute(table: SpanTable, places: Places, calls: GroupedCalls, policy: Policy) -> Attribution:
    """Attribute every call."""
    values, value_of = _values(table.tenants)
    rows = table.call_row[calls.primary].astype(np.int64)
    walks, passed_call, passed_row = _walk_all(table, places, calls, rows)
    record = _trace_records(table)[table.trace[rows]]
    carried = value_of[calls.tenant]
    # A store that keeps the tenant on its record of the trace is read so: the record speaks for each of its calls.
    carried = np.where((carried < 0) & (record >= 0), value_of[table.tenant[record]], carried).astype(np.int32)
    untagged = carried < 0
    with_record = np.flatnonzero(record >= 0)
    passed_call = np.concatenate([passed_call, with_record.astype(np.int32)])
    passed_row = np.concatenate([passed_row, record[with_record].astype(np.int32)])
    join = np.zeros(len(rows), dtype=np.uint8)
    ambiguous = np.zeros(len(rows), dtype=bool)
    tenant = carried.copy()

    reached = _Reached(untagged, tenant, join, ambiguous)
    by_ancestor = np.flatnonzero(untagged & (walks.tenant_row >= 0))
    ancestors = walks.tenant_row[by_ancestor]
    reached.settle(Join.ANCESTOR, by_ancestor, value_of[table.tenant[ancestors]], ancestors)
    reached.settle(Join.LINK, *_by_links(table, value_of, reached, passed_call, passed_row))
    for level, kind in ID_JOINS:
        reached.settle(level, *_by_ids(table, value_of, reached, passed_call, passed_row, int(kind)))
    reached.settle(Join.TRACE, *_by_trace(table, value_of, reached, rows))

    status = np.where(untagged, np.where(tenant >= 0, _RECOVERABLE, _LOST), _DIRECT).astype(np.uint8)
    if policy.rollup == "request":
        status[untagged & (join == Join.ANCESTOR) & (tenant >= 0)] = _DIRECT
        carried = np.where(untagged & (join == Join.ANCESTOR), tenant, carried).astype(np.int32)
    status[_internal(table, calls, rows, status, tenant, values, policy)] = _INTERNAL

    conflict = walks.conflict_row >= 0
    conflict[list(calls.disagreeing)] = True
    conflict &= ~untagged & (status == _DIRECT)
    return Attribution(
        status=status,
        join=join,
        ambiguous=ambiguous,
        carried=carried,
        tenant=tenant,
        via_row=reached.via_row,
        passed_call=passed_call,
        passed_row=passed_row,
        conflict=conflict,
        conflict_row=walks.conflict_row,
        walks=walks,
        values=values,
    )


class _Reached:
    """Settles the calls level by level: a level that reaches tenants decides for the calls that it reaches."""

    def __init__(self, untagged: Bools, tenant: I32, join: U8, ambiguous: Bools) -> None:
        self.open = untagged.copy()
        self.tenant = tenant
        self.join = join
        self.ambiguous = ambiguous
        self.via_row = np.full(len(tenant), -1, dtype=np.int32)

    def settle(self, level: Join, calls: I64, values: I32, via: I32 | I64) -> None:
        """Take what a level reached: one tenant recovers, several leave the call lost and ambiguous."""
        wanted = (values >= 0) & self.open[calls]
        calls, values, via = calls[wanted], values[wanted], via[wanted]
        if not len(calls):
            return
        lowest = np.full(len(self.open), np.iinfo(np.int32).max, dtype=np.int32)
        highest = np.full(len(self.open), -1, dtype=np.int32)
        np.minimum.at(lowest, calls, values)
        np.maximum.at(highest, calls, values)
        nearest = np.full(len(self.open), np.iinfo(np.int32).max, dtype=np.int32)
        np.minimum.at(nearest, calls, via.astype(np.int32))
        here = np.unique(calls)
        self.via_row[here] = nearest[here]
        agreed = here[lowest[here] == highest[here]]
        self.tenant[agreed] = highest[agreed]
        self.ambiguous[here[lowest[here] != highest[here]]] = True
        self.join[here] = level
        self.open[here] = False


def _values(tenants: Sequence[tuple[TenantTag, ...]]) -> tuple[list[tuple[str, str]], I32]:
    """Distinct (namespace, value) of the strongest tag, in textual order, and their number by tenant code."""
    values = sorted({(tags[0].namespace, tags[0].value) for tags in tenants})
    number = {value: position for position, value in enumerate(values)}
    codes = [number[tags[0].namespace, tags[0].value] for tags in tenants]
    return values, np.array([*codes, -1], dtype=np.int32)


def _walk_all(table: SpanTable, places: Places, calls: GroupedCalls, rows: I64) -> tuple[Walks, I32, I32]:
    """Walk from every call; a call of several spans takes the way of one that finds a tenant."""
    namespaces = Namespaces(table.tenants)
    walks = walk(table, places, rows, calls.tenant, namespaces)
    passed_call, passed_row = walks.passed_walk, walks.passed_row
    pairs = [(call, other) for call, others in calls.duplicates.items() for other in others]
    if not pairs:
        return walks, passed_call, passed_row
    of_call = np.array([call for call, _ in pairs], dtype=np.int64)
    other_rows = table.call_row[[other for _, other in pairs]].astype(np.int64)
    others = walk(table, places, other_rows, calls.tenant[of_call], namespaces)
    passed_call = np.concatenate([passed_call, of_call[others.passed_walk].astype(np.int32)])
    passed_row = np.concatenate([passed_row, others.passed_row])
    better = np.flatnonzero((others.tenant_row >= 0) & (walks.tenant_row[of_call] < 0) & (calls.tenant[of_call] < 0))
    # The last write wins, so the smallest key has to come last.
    for number in better[np.argsort(-table.key[other_rows[better]].astype(np.float64), kind="stable")]:
        call = of_call[number]
        walks.start[call] = other_rows[number]
        for name in ("tenant_row", "top_row", "end", "to_tenant", "to_top"):
            getattr(walks, name)[call] = getattr(others, name)[number]
    found = np.flatnonzero((others.conflict_row >= 0) & (walks.conflict_row[of_call] < 0))
    walks.conflict_row[of_call[found]] = others.conflict_row[found]
    return walks, passed_call, passed_row


def _trace_records(table: SpanTable) -> I64:
    """By trace, the span that stands for a store's record of it; -1 for none. One with a tenant comes first."""
    found = np.full(len(table.trace_ids), -1, dtype=np.int64)
    places = np.array([place.shape.scope == TRACE_RECORD for place in table.places], dtype=bool)
    if not places.any():
        return found
    rows = np.flatnonzero(places[table.place])
    # The last write wins: among records without a tenant, and with one, the row with the smallest key.
    rows = rows[np.lexsort((-rows, table.tenant[rows] >= 0))]
    found[table.trace[rows]] = rows
    return found


def _by_links(
    table: SpanTable, value_of: I32, reached: _Reached, passed_call: I32, passed_row: I32
) -> tuple[I64, I32, I64]:
    """Tenants of the spans that spans on the way of a call link to; the span nearest to the call decides.

    A worker that takes many messages at once links to all of them, and the span of one message to its own.
    """
    wanted = reached.open[passed_call]
    calls, rows = passed_call[wanted].astype(np.int64), passed_row[wanted].astype(np.int64)
    steps = _rank_within(calls)
    found_calls, found_values = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    found_via, found_steps = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for _ in range(MAX_LINKS):
        at, targets = _expand(rows, table.link_row, table.link_target)
        known = targets >= 0
        calls, steps, targets = calls[at][known], steps[at][known], targets[known]
        if not len(targets):
            break
        nearest, top = nearest_tenant(table, targets)
        hit = nearest >= 0
        found_calls.append(calls[hit])
        found_values.append(value_of[table.tenant[nearest[hit]]])
        found_via.append(targets[hit])
        found_steps.append(steps[hit])
        calls, steps, rows = calls[~hit], steps[~hit], top[~hit].astype(np.int64)
    calls, steps = np.concatenate(found_calls), np.concatenate(found_steps)
    nearest_step = np.full(len(reached.open), np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(nearest_step, calls, steps)
    decides = steps == nearest_step[calls]
    return calls[decides], np.concatenate(found_values)[decides], np.concatenate(found_via)[decides]


def _rank_within(groups: I64) -> I64:
    """Place of each entry among those of its group, in the order in which they come."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, len(groups)])
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, sizes)
    return ranks


def _by_ids(
    table: SpanTable, value_of: I32, reached: _Reached, passed_call: I32, passed_row: I32, kind: int
) -> tuple[I64, I32, I64]:
    """Tenants of the spans anywhere that share an id of one kind with a span on the way of a call."""
    of_kind = table.id_kind == kind
    id_row, id_hash = table.id_row[of_kind].astype(np.int64), table.id_hash[of_kind]
    wanted = reached.open[passed_call]
    calls, rows = passed_call[wanted].astype(np.int64), passed_row[wanted].astype(np.int64)
    nothing = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64)
    if not len(id_row) or not len(calls):
        return nothing
    at, own = _expand(rows, id_row, np.arange(len(id_row)))
    calls, hashes = calls[at], id_hash[own]
    partners = np.flatnonzero(np.isin(id_hash, hashes))
    nearest, _ = nearest_tenant(table, id_row[partners])
    knows = nearest >= 0
    partners, nearest = partners[knows], nearest[knows]
    known_hash, known_value, partner_row = (
        id_hash[partners],
        value_of[table.tenant[nearest]],
        id_row[partners],
    )
    # One partner for each tenant of an id is enough, or busy ids would pair all with all.
    order = np.lexsort((partner_row, known_value, known_hash))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (known_hash[order][1:] != known_hash[order][:-1]) | (
        known_value[order][1:] != known_value[order][:-1]
    )
    chosen = order[is_first]
    at, found = _expand(hashes, known_hash[chosen], chosen)
    return calls[at], known_value[found], partner_row[found]


def _by_trace(table: SpanTable, value_of: I32, reached: _Reached, rows: I64) -> tuple[I64, I32, I64]:
    """The tenants of the other spans of a call's trace."""
    calls = np.flatnonzero(reached.open)
    traces = table.trace[rows[calls]]
    in_trace = np.zeros(len(table.trace_ids), dtype=bool)
    in_trace[traces] = True
    spans = np.flatnonzero(in_trace[table.trace] & (table.tenant >= 0))
    of_trace, found = table.trace[spans], value_of[table.tenant[spans]]
    lowest = np.full(len(table.trace_ids), np.iinfo(np.int32).max, dtype=np.int32)
    highest = np.full(len(table.trace_ids), -1, dtype=np.int32)
    first = np.full(len(table.trace_ids), np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(lowest, of_trace, found)
    np.maximum.at(highest, of_trace, found)
    np.minimum.at(first, of_trace, spans)
    several = (highest[traces] >= 0) & (lowest[traces] != highest[traces])
    return (
        np.concatenate([calls, calls[several]]),
        np.concatenate([highest[traces], lowest[traces][several]]),
        np.concatenate([first[traces], first[traces][several]]),
    )


def _expand(keys: np.ndarray, table_keys: np.ndarray, table_values: np.ndarray) -> tuple[I64, I64]:
    """For each key all values that a table lists for it: positions of the keys, and the values."""
    order = np.argsort(table_keys, kind="stable")
    ordered = table_keys[order]
    low = np.searchsorted(ordered, keys, side="left")
    counts = np.searchsorted(ordered, keys, side="right") - low
    at = np.repeat(np.arange(len(keys)), counts)
    within = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    return at, table_values[order][low[at] + within].astype(np.int64)


def _internal(
    table: SpanTable,
    calls: GroupedCalls,
    rows: I64,
    status: U8,
    tenant: I32,
    values: list[tuple[str, str]],
    policy: Policy,
) -> Bools:
    """Calls for which no tenant is expected."""
    by_facts = np.array([_is_internal(facts, policy) for facts in table.facts] or [False], dtype=bool)
    by_place = np.array(
        [place.shape.service in policy.internal_services for place in table.places] or [False], dtype=bool
    )
    own_use = np.array([value in policy.internal_tenants for _, value in values] + [False], dtype=bool)
    untagged = status != _DIRECT
    internal: Bools = (untagged & by_facts[calls.facts]) | (untagged & by_place[table.place[rows]]) | own_use[tenant]
    return internal


def _is_internal(facts: CallFacts, policy: Policy) -> bool:
    # A second one is numbered: staging-2.
    environment = _NUMBER.sub("", facts.environment.lower())
    return (
        not policy.internal_environments.isdisjoint({facts.environment.lower(), environment})
        or facts.feature in policy.internal_features
    )
