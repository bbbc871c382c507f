"""Traces that are cut between two services: roots of the one lie inside calls that the other made.

Decided for a pair of services, never for a span. The roots of the downstream service are matched one to one with
the childless client spans (or server spans) of an upstream service that know a tenant and contain them in time.
The match counts only when it explains at least half of the roots and far more than the same match shifted by a
second; a constant offset between the two clocks is allowed for. In dense traffic a shifted match is as good as
the true one, and nothing is said.

Both sides may lie in any partition: each tells its roots and callers, and what all together say comes back by the
keys of the roots.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from auditor.graph.attributed import Attribution
from auditor.graph.resolve import End, Places, Walks, nearest_tenant
from auditor.graph.table import SpanTable
from auditor.model.case import CutMatch
from auditor.model.joins import STATUSES, Status
from auditor.model.spans import I64, U32, U64, Bools, Role

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


@dataclass(slots=True)
class Moments:
    """When some spans of services were."""

    start: I64
    end: I64
    service: U32
    """Row of ``services``."""
    services: list[str]

    def __getitem__(self, chosen: Bools | I64) -> Moments:
        return Moments(self.start[chosen], self.end[chosen], self.service[chosen], self.services)


@dataclass(slots=True)
class Roots:
    """Roots of traces that may be cut."""

    key: U64
    at: Moments


@dataclass(slots=True)
class Callers:
    """Spans with a tenant that may have made a call whose trace was cut."""

    clients: Moments
    servers: Moments


def may_be_cut(table: SpanTable, places: Places, walks: Walks) -> Bools:
    """Calls that reach no tenant, below a root that serves a request: another trace may have made it."""
    is_server = places.having(Role.SERVER)
    found: Bools = (walks.tenant_row < 0) & (walks.end == End.ROOT) & is_server[table.place[walks.top_row]]
    return found


def cut_roots(table: SpanTable, places: Places, attribution: Attribution) -> Roots:
    """Roots of the traces of calls that have no tenant and may be cut."""
    cut_off = np.isin(attribution.status, _LOST) & may_be_cut(table, places, attribution.walks)
    rows = np.unique(attribution.walks.top_row[cut_off].astype(np.int64))
    return Roots(table.key[rows], _moments(table, places, rows))


def callers(table: SpanTable, places: Places) -> Callers:
    """Client spans with a tenant and without a child, and servers with a tenant.

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
    knowing = (rows[nearest_tenant(table, rows)[0] >= 0] for rows in (clients, servers))
    return Callers(*(_moments(table, places, rows) for rows in knowing))


def _moments(table: SpanTable, places: Places, rows: I64) -> Moments:
    names = sorted({shape.service for shape in places.shapes})
    number = {name: position for position, name in enumerate(names)}
    by_shape = np.array([number[shape.service] for shape in places.shapes], dtype=np.uint32)
    service = by_shape[places.shape[table.place[rows]]] if len(rows) else np.empty(0, np.uint32)
    return Moments(table.start_ns[rows], table.end_ns(rows), service, names)


Cuts = dict[int, CutMatch]
"""By the key of the root that lies inside: the cut that explains it."""


def find_cuts(roots: Sequence[Roots], known_callers: Sequence[Callers]) -> Cuts:
    """Match the roots of all partitions with the callers of all partitions."""
    services = sorted({name for part in roots for name in part.at.services})
    key = np.concatenate([part.key for part in roots])
    order = np.argsort(key)
    key, inner = key[order], _joined([part.at for part in roots], services)[order]
    # In the order of time: spans of the same moments are as good as one another.
    clients, servers = (
        found[np.lexsort((found.end, found.start))]
        for found in (
            _joined([part.clients for part in known_callers], services),
            _joined([part.servers for part in known_callers], services),
        )
    )
    explained: Cuts = {}
    for downstream in np.unique(inner.service).tolist():
        here = inner.service == downstream
        found = _match(inner[here], downstream, clients) or _match(inner[here], downstream, servers)
        if found is not None:
            cut, contained = found
            explained |= dict.fromkeys(key[here][contained].tolist(), cut)
    return explained


def _joined(parts: Sequence[Moments], services: list[str]) -> Moments:
    number = {name: position for position, name in enumerate(services)}
    service = [np.array([number[name] for name in part.services] or [0], np.uint32)[part.service] for part in parts]
    start, end = (np.concatenate([getattr(part, name) for part in parts]) for name in ("start", "end"))
    return Moments(start, end, np.concatenate(service), services)


def _match(roots: Moments, downstream: int, outside: Moments) -> tuple[CutMatch, Bools] | None:
    """The cut that explains most of the roots of a service, and which of them."""
    best: tuple[CutMatch, Bools] | None = None
    best_share = Fraction(0)
    inner = _Spans(roots.start, roots.end).earliest(DECIDING_ROOTS)
    for upstream in np.unique(outside.service).tolist():
        if upstream == downstream:
            continue
        theirs = outside[outside.service == upstream]
        outer = _Spans(theirs.start, theirs.end)
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
        begun = roots.start + offset
        contained = _Spans(begun, begun).contained_in(outer)
        cut = CutMatch(outside.services[upstream], count, len(inner))
        best = cut, contained
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

    def around(self, inner: _Spans) -> _Spans:
        """Those that may contain any of the others."""
        if not len(inner):
            return self
        near = (self.start <= inner.start.max()) & (self.end >= inner.end.min())
        return _Spans(self.start[near], self.end[near])

    def contained_in(self, outer: _Spans) -> Bools:
        """Which of them lie inside at least one of the others."""
        order = np.argsort(outer.start, kind="stable")
        latest_end = np.maximum.accumulate(outer.end[order])
        at = np.searchsorted(outer.start[order], self.start, side="right") - 1
        if not len(order):
            return np.zeros(len(self), dtype=bool)
        contained: Bools = (at >= 0) & (latest_end[np.maximum(at, 0)] >= self.end)
        return contained


def _matched(inner: _Spans, outer: _Spans, *, at_least: int) -> int | None:
    """How many intervals find one of their own that contains them; ``None`` when they are fewer than asked."""
    outer = outer.around(inner)
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
    """Ends of those that have begun and are free, in order."""
    position = 0
    lower = np.argsort(inner.start, kind="stable")
    spans = zip(lower.tolist(), inner.start[lower].tolist(), inner.end[lower].tolist(), strict=True)
    for number, start, end in spans:
        while position < len(upper_start) and upper_start[position] <= start:
            insort(waiting, upper_end[position])
            position += 1
        del waiting[: bisect_left(waiting, start)]
        fitting = bisect_left(waiting, end)
        if fitting < len(waiting):
            del waiting[fitting]
            matched[number] = True
    return matched
