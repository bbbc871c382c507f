"""Decides for every call whether it carries its tenant, and which join gives a tenant back where it does not.

A partition settles what its own traces tell. Spans that share an id with a call may lie in any partition: the ids of
calls that are still open are asked of all of them (``wanted_ids``, ``partners``), and what comes back of all together
(``shared_ids``) settles the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from auditor.graph.attributed import Attribution
from auditor.graph.numbering import one_numbering
from auditor.graph.resolve import Namespaces, Places, Walks, nearest_tenant, walk
from auditor.graph.table import SpanTable
from auditor.model.joins import ID_JOINS, STATUSES, Join, Status
from auditor.model.spans import I32, I64, TRACE_RECORD, U8, U64, Bools, CallFacts, TenantTag

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


Value = tuple[str, str]
"""Namespace and id of a tenant."""


@dataclass(slots=True)
class WantedIds:
    """Distinct ids of the calls that no trace of their own identifies, by kind."""

    kind: U8
    hash: U64


@dataclass(slots=True)
class Partners:
    """Tenants of the spans that have an id: one entry for each id and tenant."""

    kind: U8
    hash: U64
    value: I64
    """Row of ``values``."""
    key: U64
    """The span with the smallest key."""
    service: I64
    """Row of ``services``: where that span is."""
    values: list[Value]
    services: list[str]


def no_partners() -> Partners:
    """Nobody asks for ids."""
    nothing = np.empty(0, dtype=np.int64)
    return Partners(
        nothing.astype(np.uint8), nothing.astype(np.uint64), nothing, nothing.astype(np.uint64), nothing, [], []
    )


class Attributing:
    """Attributes the calls of a partition, level by level."""

    def __init__(self, table: SpanTable, places: Places, calls: GroupedCalls, policy: Policy) -> None:
        self._table = table
        self._calls = calls
        self._policy = policy
        self._values, self._value_of = _values(table.tenants)
        self._services, self._service_of = places.services, places.service
        self._rows = table.call_row[calls.primary].astype(np.int64)
        self.walks, passed_call, passed_row = _walk_all(table, places, calls, self._rows)
        value_of = self._value_of
        record = _trace_records(table)[table.trace[self._rows]]
        carried = value_of[calls.tenant]
        # A store that keeps the tenant on its record of the trace is read so: the record speaks for each of its calls.
        carried = np.where((carried < 0) & (record >= 0), value_of[table.tenant[record]], carried).astype(np.int32)
        self._carried = carried
        self._untagged = carried < 0
        with_record = np.flatnonzero(record >= 0)
        self._passed_call = np.concatenate([passed_call, with_record.astype(np.int32)])
        self._passed_row = np.concatenate([passed_row, record[with_record].astype(np.int32)])
        self._reached = _Reached(self._untagged, carried.copy())
        by_ancestor = np.flatnonzero(self._untagged & (self.walks.tenant_row >= 0))
        ancestors = self.walks.tenant_row[by_ancestor]
        self._settle_by_rows(Join.ANCESTOR, by_ancestor, value_of[table.tenant[ancestors]], ancestors)
        links = _by_links(table, value_of, self._reached, self._passed_call, self._passed_row)
        self._settle_by_rows(Join.LINK, *links)

    def _settle_by_rows(self, level: Join, calls: I64, values: I32, via: I32 | I64) -> None:
        service = self._service_of[self._table.place[via]]
        self._reached.settle(level, calls, values, self._table.key[via], service)

    def wanted_ids(self) -> WantedIds:
        """The ids of calls that are still open, of those kinds by which spans anywhere may identify them."""
        kinds, hashes = [np.empty(0, np.uint8)], [np.empty(0, np.uint64)]
        for _, kind in ID_JOINS:
            _, found = self._open_ids(int(kind))
            found = np.unique(found)
            kinds.append(np.full(len(found), int(kind), dtype=np.uint8))
            hashes.append(found)
        return WantedIds(np.concatenate(kinds), np.concatenate(hashes))

    def _open_ids(self, kind: int) -> tuple[I64, U64]:
        """Calls that are open and the ids of one kind that spans on their way carry."""
        table = self._table
        wanted = self._reached.open[self._passed_call]
        calls, rows = self._passed_call[wanted].astype(np.int64), self._passed_row[wanted].astype(np.int64)
        of_kind = table.id_kind == kind
        id_row, id_hash = table.id_row[of_kind].astype(np.int64), table.id_hash[of_kind]
        if not len(id_row) or not len(calls):
            return np.empty(0, np.int64), np.empty(0, np.uint64)
        at, own = _expand(rows, id_row, np.arange(len(id_row)))
        return calls[at], id_hash[own]

    def partners(self, wanted: WantedIds) -> Partners:
        """What the spans of this partition know of ids that any partition asks for."""
        table = self._table
        chosen = []
        for kind in np.unique(wanted.kind).tolist():
            numbers = np.flatnonzero(table.id_kind == kind)
            chosen.append(numbers[np.isin(table.id_hash[numbers], wanted.hash[wanted.kind == kind])])
        numbers = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
        rows = table.id_row[numbers].astype(np.int64)
        nearest, _ = nearest_tenant(table, rows)
        knows = nearest >= 0
        numbers, rows = numbers[knows], rows[knows]
        return _one_of_each(
            Partners(
                table.id_kind[numbers],
                table.id_hash[numbers],
                self._value_of[table.tenant[nearest[knows]]].astype(np.int64),
                table.key[rows],
                self._service_of[table.place[rows]],
                self._values,
                self._services,
            )
        )

    def finish(self, shared: Partners) -> Attribution:
        """Settle what is still open by the ids of all partitions, then by the trace."""
        reached, table = self._reached, self._table
        value_number = {value: number for number, value in enumerate(self._values)}
        service_number = {service: number for number, service in enumerate(self._services)}
        value = np.array([value_number.setdefault(entry, len(value_number)) for entry in shared.values], dtype=np.int32)
        service = np.array(
            [service_number.setdefault(entry, len(service_number)) for entry in shared.services], dtype=np.int64
        )
        for level, kind in ID_JOINS:
            of_kind = np.flatnonzero(shared.kind == int(kind))
            if len(of_kind):
                calls, hashes = self._open_ids(int(kind))
                at, found = _expand(hashes, shared.hash[of_kind], of_kind)
                reached.settle(
                    level, calls[at], value[shared.value[found]], shared.key[found], service[shared.service[found]]
                )
        calls, found_values, via = _by_trace(table, self._value_of, reached, self._rows)
        self._settle_by_rows(Join.TRACE, calls, found_values, via)
        return self._attribution(list(value_number), list(service_number))

    def _attribution(self, values: list[Value], services: list[str]) -> Attribution:
        reached, policy, untagged = self._reached, self._policy, self._untagged
        tenant, join, carried = reached.tenant, reached.join, self._carried
        status = np.where(untagged, np.where(tenant >= 0, _RECOVERABLE, _LOST), _DIRECT).astype(np.uint8)
        if policy.rollup == "request":
            status[untagged & (join == Join.ANCESTOR) & (tenant >= 0)] = _DIRECT
            carried = np.where(untagged & (join == Join.ANCESTOR), tenant, carried).astype(np.int32)
        status[_internal(self._table, self._calls, self._rows, status, tenant, values, policy)] = _INTERNAL

        conflict = self.walks.conflict_row >= 0
        conflict[list(self._calls.disagreeing)] = True
        conflict &= ~untagged & (status == _DIRECT)
        return Attribution(
            status=status,
            join=join,
            ambiguous=reached.ambiguous,
            carried=carried,
            tenant=tenant,
            via=services,
            via_service=reached.via_service,
            passed_call=self._passed_call,
            passed_row=self._passed_row,
            conflict=conflict,
            conflict_row=self.walks.conflict_row,
            walks=self.walks,
            values=values,
        )


def wanted_by_all(parts: Sequence[WantedIds]) -> WantedIds:
    """What any partition asks for."""
    kind, hashes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("kind", "hash"))
    order = np.lexsort((hashes, kind))
    kind, hashes = kind[order], hashes[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (kind[1:] != kind[:-1]) | (hashes[1:] != hashes[:-1])
    return WantedIds(kind[is_new], hashes[is_new])


def shared_ids(parts: Sequence[Partners]) -> Partners:
    """What the spans of all partitions know of the ids that were asked for."""
    values, value = one_numbering((part.values, part.value) for part in parts)
    services, service = one_numbering((part.services, part.service) for part in parts)
    return _one_of_each(
        Partners(
            np.concatenate([part.kind for part in parts]),
            np.concatenate([part.hash for part in parts]),
            value,
            np.concatenate([part.key for part in parts]),
            service,
            values,
            services,
        )
    )


def _one_of_each(partners: Partners) -> Partners:
    """Keep for each id and tenant the span with the smallest key: busy ids would pair all with all."""
    order = np.lexsort((partners.key, partners.value, partners.hash, partners.kind))
    kind, hashes, value = partners.kind[order], partners.hash[order], partners.value[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (kind[1:] != kind[:-1]) | (hashes[1:] != hashes[:-1]) | (value[1:] != value[:-1])
    chosen = order[is_first]
    return Partners(
        partners.kind[chosen], partners.hash[chosen], partners.value[chosen], partners.key[chosen],
        partners.service[chosen], partners.values, partners.services,
    )  # fmt: skip


class _Reached:
    """Settles the calls level by level: a level that reaches tenants decides for the calls that it reaches."""

    def __init__(self, untagged: Bools, tenant: I32) -> None:
        self.open = untagged.copy()
        self.tenant = tenant
        self.join = np.zeros(len(tenant), dtype=np.uint8)
        self.ambiguous = np.zeros(len(tenant), dtype=bool)
        self.via_service = np.full(len(tenant), -1, dtype=np.int32)

    def settle(self, level: Join, calls: I64, values: I32, via: U64, service: I64) -> None:
        """Take what a level reached: one tenant recovers, several leave the call lost and ambiguous.

        ``via`` are the keys of the spans at the other end, of which the smallest gives its ``service``.
        """
        wanted = (values >= 0) & self.open[calls]
        if not wanted.any():
            return
        calls, values, via, service = calls[wanted], values[wanted], via[wanted], service[wanted]
        order = np.lexsort((via, calls))
        calls, values = calls[order], values[order]
        starts = np.flatnonzero(np.r_[True, calls[1:] != calls[:-1]])
        here = calls[starts]
        lowest, highest = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        agreed = lowest == highest
        self.via_service[here] = service[order[starts]]
        self.tenant[here[agreed]] = highest[agreed]
        self.ambiguous[here[~agreed]] = True
        self.join[here] = level
        self.open[here] = False


def _values(tenants: Sequence[tuple[TenantTag, ...]]) -> tuple[list[Value], I32]:
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
    known = highest[traces] >= 0
    calls, traces = calls[known], traces[known]
    several = lowest[traces] != highest[traces]
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
    values: list[Value],
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
