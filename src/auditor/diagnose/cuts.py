"""Traces that are cut between two services: roots of the one lie inside calls that the other made.

Decided for a pair of services, never for a span. The roots of the downstream service are matched one to one with
the childless client spans (or server spans) of an upstream service that know a tenant and contain them in time.
The match counts only when it explains at least half of the roots and far more than the same match shifted by a
second; a constant offset between the two clocks is allowed for. In dense traffic a shifted match is as good as
the true one, and nothing is said.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
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
DECIDING_ROOTS = 2_000
"""Roots of a service, the earliest, on which a pair of services is decided."""
OFFSET_MATCHES = 5
OFFSET_SHARE = Fraction(4, 5)
"""Fewest roots, and the least share of them, that have to match where the clocks are taken to differ.

Among all offsets some fits a few roots by chance.
"""
CLEARLY_BETTER = 2
"""How many times as many roots have to match as when they are moved by ``SHIFT_NS``."""
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
        call: explained[int(tops[call])] for call in np.flatnonzero(cut_off).tolist() if int(tops[call]) in explained
    }


def _services(places: Places) -> I64:
    numbers: dict[str, int] = {}
    by_shape = np.array([numbers.setdefault(shape.service, len(numbers)) for shape in places.shapes], dtype=np.int64)
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
    best_share = Fraction(0)
    of_service = service[table.place[callers]]
    inner = _Spans(table.start_ns[roots], table.end_ns(roots)).earliest(DECIDING_ROOTS)
    for upstream in np.unique(of_service).tolist():
        if upstream == downstream:
            continue
        rows = callers[of_service == upstream]
        outer = _Spans(table.start_ns[rows], table.end_ns(rows))
        offset = _offset(inner, outer)
        count = _matched(inner.moved(offset), outer, at_least=(len(inner) + 1) // 2)
        if count is None or Fraction(count, len(inner)) <= best_share:
            continue
        shifted = [inner.moved(offset + shift) for shift in (-SHIFT_NS, SHIFT_NS)]
        bound = int(count / CLEARLY_BETTER) + 1
        if any(_matched(moved, outer, at_least=bound) is not None for moved in shifted):
            continue
        if offset and (count < OFFSET_MATCHES or count < OFFSET_SHARE * len(inner)):
            continue
        # A streamed answer outlasts the client span that asked for it: its beginning lies inside.
        begun = table.start_ns[roots] + offset
        contained = _Spans(begun, begun).contained_in(outer)
        cut = CutMatch(table.places[table.place[rows[0]]].shape.service, count, len(inner))
        best = {int(root): cut for root, inside in zip(roots, contained, strict=True) if inside}
        best_share = Fraction(count, len(inner))
    return best


@dataclass(frozen=True, slots=True)
class _Spans:
    """Intervals of time in nanoseconds."""

    start: I64
    end: I64

    def __len__(self) -> int:
        return len(self.start)

    def moved(self, offset: int) -> _Spans:
        return _Spans(self.start + offset, self.end + offset)

    def earliest(self, count: int) -> _Spans:
        """The first ones in time: a stretch of traffic as dense as the whole."""
        order = np.lexsort((self.end, self.start))[:count]
        return _Spans(self.start[order], self.end[order])

    def contained_in(self, outer: _Spans) -> Bools:
        """Which of them lie inside at least one of the others."""
        order = np.argsort(outer.start, kind="stable")
        latest_end = np.maximum.accumulate(outer.end[order])
        at = np.searchsorted(outer.start[order], self.start, side="right") - 1
        contained: Bools = (at >= 0) & (latest_end[np.maximum(at, 0)] >= self.end)
        return contained


def _matched(inner: _Spans, outer: _Spans, *, at_least: int) -> int | None:
    """How many intervals find one of their own that contains them; ``None`` when they are fewer than asked."""
    if int(inner.contained_in(outer).sum()) < at_least:
        return None
    count = int(_one_to_one(inner, outer).sum())
    return count if count >= at_least else None


def _offset(inner: _Spans, outer: _Spans) -> int:
    """A constant difference of the clocks, where most pairs agree on one; 0 where none is needed."""
    if int(inner.contained_in(outer).sum()) * 2 >= len(inner):
        return 0
    step = max(1, len(inner) // OFFSET_SAMPLE)
    outer_step = max(1, len(outer) // (10 * OFFSET_SAMPLE))
    # A root fits into a span for every offset of an interval; the best offset lies in the most intervals.
    low = (outer.start[None, ::outer_step] - inner.start[::step, None]).ravel()
    high = (outer.end[None, ::outer_step] - inner.end[::step, None]).ravel()
    fits = (low <= high) & (np.abs(low) <= MAX_OFFSET_NS)
    low, high = low[fits], high[fits]
    if not len(low):
        return 0
    at = np.concatenate([low, high])
    order = np.lexsort((np.repeat([0, 1], len(low)), at))
    depth = np.cumsum(np.where(order < len(low), 1, -1))
    best = int(np.argmax(depth))
    return int(at[order[best]] + at[order[best + 1]]) // 2


def _one_to_one(inner: _Spans, outer: _Spans) -> Bools:
    """Which intervals find an interval of their own that contains them, the earliest-ending first."""
    matched = np.zeros(len(inner), dtype=bool)
    upper = np.argsort(outer.start, kind="stable")
    upper_start, upper_end = outer.start[upper].tolist(), outer.end[upper].tolist()
    waiting: list[int] = []
    position = 0
    lower = np.argsort(inner.start, kind="stable")
    spans = zip(lower.tolist(), inner.start[lower].tolist(), inner.end[lower].tolist(), strict=True)
    for number, start, end in spans:
        while position < len(upper_start) and upper_start[position] <= start:
            heappush(waiting, upper_end[position])
            position += 1
        while waiting and waiting[0] < start:
            heappop(waiting)
        put_back = []
        while waiting and waiting[0] < end:
            put_back.append(heappop(waiting))
        if waiting:
            heappop(waiting)
            matched[number] = True
        for entry in put_back:
            heappush(waiting, entry)
    return matched
