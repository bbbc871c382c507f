"""Traces that are cut between two services: roots of the one lie inside calls that the other made.

Decided for a pair of services, never for a span. The roots of the downstream service are matched one to one with
the childless client spans (or server spans) of an upstream service that know a tenant and contain them in time.
The match counts only when it explains at least half of the roots and far more than the same match shifted by a
second; a constant offset between the two clocks is allowed for. In dense traffic a shifted match is as good as
the true one, and nothing is said.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush

import numpy as np

from auditor.graph.attributed import Attribution
from auditor.graph.resolve import End, Places, nearest_tenant
from auditor.graph.table import SpanTable
from auditor.model.case import CutMatch
from auditor.model.joins import STATUSES, Status
from auditor.model.spans import I64, Bools, Role

SHIFT_NS = 1_000_000_000
MAX_OFFSET_NS = 600_000_000_000
OFFSET_SAMPLE = 200
"""Roots compared to find an offset, and a tenth of the spans that they are compared with."""
CLEARLY_BETTER = 2.0
_LOST = (STATUSES.index(Status.RECOVERABLE), STATUSES.index(Status.LOST))


def find_cuts(table: SpanTable, places: Places, attribution: Attribution, rows: I64) -> dict[int, CutMatch]:
    """The cut that explains each call, by call number."""
    if not len(rows):
        return {}
    walks = attribution.walks
    is_server = places.having(Role.SERVER)
    tops = walks.top_row.astype(np.int64)
    cut_off = (
        np.isin(attribution.status, _LOST)
        & (walks.tenant_row < 0)
        & (walks.end == End.ROOT)
        & is_server[table.place[tops]]
    )
    if not cut_off.any():
        return {}
    service = _services(places)
    by_service: dict[int, list[int]] = defaultdict(list)
    for root in np.unique(tops[cut_off]).tolist():
        by_service[int(service[table.place[root]])].append(root)
    explained: dict[int, CutMatch] = {}
    clients, servers = _callers(table, places)
    for downstream, roots in sorted(by_service.items()):
        rows_of_roots = np.array(roots, dtype=np.int64)
        found = _match(table, service, rows_of_roots, downstream, clients)
        explained |= found or _match(table, service, rows_of_roots, downstream, servers)
    return {
        call: explained[int(tops[call])]
        for call in np.flatnonzero(cut_off).tolist()
        if int(tops[call]) in explained
    }


def _services(places: Places) -> I64:
    numbers: dict[str, int] = {}
    by_shape = np.array(
        [numbers.setdefault(shape.service, len(numbers)) for shape in places.shapes], dtype=np.int64
    )
    return by_shape[places.shape]


def _callers(table: SpanTable, places: Places) -> tuple[I64, I64]:
    """Spans with a tenant that may have made a call whose trace was cut: client spans without a child, and servers.

    A server counts when nothing below it, one step down, runs in another process: there its call would be seen.
    """
    has_child = np.zeros(len(table.key), dtype=bool)
    has_child[table.parent[table.parent >= 0]] = True
    process = places.process[table.place]
    below = np.flatnonzero(table.parent >= 0)
    crossing = below[process[below] != process[table.parent[below]]]
    calls_out = np.zeros(len(table.key), dtype=bool)
    calls_out[table.parent[crossing]] = True
    clients = np.flatnonzero(places.having(Role.CLIENT)[table.place] & ~has_child)
    servers = np.flatnonzero(places.having(Role.SERVER)[table.place] & ~calls_out)
    return tuple(rows[nearest_tenant(table, rows)[0] >= 0] for rows in (clients, servers))  # type: ignore[return-value]  # two rows in, two out


def _match(table: SpanTable, service: I64, roots: I64, downstream: int, callers: I64) -> dict[int, CutMatch]:
    best: dict[int, CutMatch] = {}
    best_count = 0
    starts, ends = table.start_ns[roots], table.end_ns(roots)
    of_service = service[table.place[callers]]
    for upstream in np.unique(of_service).tolist():
        if upstream == downstream:
            continue
        spans = callers[of_service == upstream]
        upper_start, upper_end = table.start_ns[spans], table.end_ns(spans)
        offset = _offset(starts, ends, upper_start, upper_end)
        matched = _one_to_one(starts + offset, ends + offset, upper_start, upper_end)
        count = int(matched.sum())
        shifted = max(
            int(_one_to_one(starts + offset + shift, ends + offset + shift, upper_start, upper_end).sum())
            for shift in (-SHIFT_NS, SHIFT_NS)
        )
        if count * 2 < len(roots) or count < CLEARLY_BETTER * shifted or count <= best_count:
            continue
        # A streamed answer outlasts the client span that asked for it: its beginning lies inside.
        contained = matched | _contained(starts + offset, starts + offset, upper_start, upper_end)
        name = table.places[table.place[spans[0]]].shape.service
        cut = CutMatch(name, count, len(roots))
        best = {int(root): cut for root, inside in zip(roots, contained, strict=True) if inside}
        best_count = count
    return best


def _offset(starts: I64, ends: I64, upper_start: I64, upper_end: I64) -> int:
    """A constant difference of the clocks, where most pairs agree on one; 0 where none is needed."""
    plain = int(_one_to_one(starts, ends, upper_start, upper_end).sum())
    if plain * 2 >= len(starts):
        return 0
    step = max(1, len(starts) // OFFSET_SAMPLE)
    upper_step = max(1, len(upper_start) // (10 * OFFSET_SAMPLE))
    # A root fits into a span for every offset of an interval; the best offset lies in the most intervals.
    low = (upper_start[None, ::upper_step] - starts[::step, None]).ravel()
    high = (upper_end[None, ::upper_step] - ends[::step, None]).ravel()
    fits = (low <= high) & (np.abs(low) <= MAX_OFFSET_NS)
    low, high = low[fits], high[fits]
    if not len(low):
        return 0
    at = np.concatenate([low, high])
    order = np.lexsort((np.repeat([0, 1], len(low)), at))
    depth = np.cumsum(np.where(order < len(low), 1, -1))
    best = int(np.argmax(depth))
    return int(at[order[best]] + at[order[best + 1]]) // 2


def _one_to_one(starts: I64, ends: I64, upper_start: I64, upper_end: I64) -> Bools:
    """Which intervals find an interval of their own that contains them, the earliest-ending first."""
    matched = np.zeros(len(starts), dtype=bool)
    order = np.argsort(starts, kind="stable")
    upper_order = np.argsort(upper_start, kind="stable")
    waiting: list[tuple[int, int]] = []
    position = 0
    for number in order.tolist():
        while position < len(upper_order) and upper_start[upper_order[position]] <= starts[number]:
            heappush(waiting, (int(upper_end[upper_order[position]]), int(upper_order[position])))
            position += 1
        while waiting and waiting[0][0] < starts[number]:
            heappop(waiting)
        put_back = []
        while waiting and waiting[0][0] < ends[number]:
            put_back.append(heappop(waiting))
        if waiting:
            heappop(waiting)
            matched[number] = True
        for entry in put_back:
            heappush(waiting, entry)
    return matched


def _contained(starts: I64, ends: I64, upper_start: I64, upper_end: I64) -> Bools:
    """Which intervals lie inside at least one of the others."""
    order = np.argsort(upper_start, kind="stable")
    latest_end = np.maximum.accumulate(upper_end[order])
    at = np.searchsorted(upper_start[order], starts, side="right") - 1
    return (at >= 0) & (latest_end[np.maximum(at, 0)] >= ends)
