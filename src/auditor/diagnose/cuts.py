"""Traces that are cut between two services: roots of the one lie inside calls that the other made.

Decided for a pair of services, never for a span. The roots of the downstream service are matched one to one with
the childless client spans (or server spans) of an upstream service that know a tenant and contain them in time.
The match counts only when it explains at least half of the roots and far more than the same match shifted by a
second; a constant offset between the two clocks is allowed for. In dense traffic a shifted match is as good as
the true one, and nothing is said.

Both sides may lie in any partition. First each tells its roots; then its callers around the earliest roots of each
service, on which the pairs of services are decided; and last, which of all roots lie inside callers of the service
that was found.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from auditor.graph.attributed import Attribution
from auditor.graph.numbering import one_numbering
from auditor.graph.ordering import order_by
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


def callers_around(table: SpanTable, places: Places, windows: Windows) -> Callers:
    """Callers whose time meets one of the windows."""
    known = _callers(table, places)
    return Callers(*(found[windows.meet(found)] for found in (known.clients, known.servers)))


def _callers(table: SpanTable, places: Places) -> Callers:
    """Client spans with a tenant and without a child, and servers with a tenant.

    A server counts when nothing below it, one step down, runs in another process: there its call would be seen.
    """
    has_parent = table.parent >= 0
    has_child = np.zeros(len(table.key), dtype=bool)
    has_child[table.parent[has_parent]] = True
    process = places.process[table.place]
    calls_out = np.zeros(len(table.key), dtype=bool)
    calls_out[table.parent[has_parent & (process != process[table.parent])]] = True
    clients = np.flatnonzero(places.having(Role.CLIENT)[table.place] & ~has_child)
    servers = np.flatnonzero(places.having(Role.SERVER)[table.place] & ~calls_out)
    knowing = (rows[nearest_tenant(table, rows)[0] >= 0] for rows in (clients, servers))
    return Callers(*(_moments(table, places, rows) for rows in knowing))


def _moments(table: SpanTable, places: Places, rows: I64) -> Moments:
    return Moments(
        table.start_ns[rows], table.end_ns(rows), places.service[table.place[rows]].astype(np.uint32), places.services
    )


@dataclass(slots=True)
class Windows:
    """Stretches of time, one after the other."""

    start: I64
    end: I64

    def meet(self, moments: Moments) -> Bools:
        """Which of the moments lie in a window, if only in part."""
        following = np.searchsorted(self.end, moments.start)
        meets: Bools = following < len(self.end)
        meets[meets] = self.start[following[meets]] <= moments.end[meets]
        return meets


def windows_of(roots: Sequence[Roots]) -> Windows:
    """When callers may have begun the earliest roots of each service, whatever the clocks."""
    every = _joined([part.at for part in roots])
    bounds = []
    for downstream in np.unique(every.service).tolist():
        here = every[every.service == downstream]
        first = _Spans(here.start, here.end).earliest(DECIDING_ROOTS)
        around = MAX_OFFSET_NS + SHIFT_NS
        bounds.append((int(first.start.min()) - around, int(first.end.max()) + around))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(bounds):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    starts, ends = np.array(merged, dtype=np.int64).reshape(-1, 2).T
    return Windows(starts, ends)


class Cut(NamedTuple):
    """A pair of services between which traces are cut."""

    upstream: str
    by_clients: bool
    """The roots lie inside client spans, not servers."""
    offset: int
    """Nanoseconds by which the upstream clock is ahead."""
    match: CutMatch


@dataclass(slots=True)
class Decided:
    """What is known of the cuts before it is known which roots they explain."""

    cuts: list[Cut]
    key: list[U64]
    """By cut: the keys of the roots of the downstream service."""
    begun: list[I64]
    """By cut: when these began, by the upstream clock."""


Cuts = dict[int, CutMatch]
"""By the key of the root that lies inside: the cut that explains it."""


def decide_cuts(roots: Sequence[Roots], known_callers: Sequence[Callers]) -> Decided:
    """Match the earliest roots of each service with the callers of all partitions."""
    key = np.concatenate([part.key for part in roots])
    order = np.argsort(key)
    key, inner = key[order], _joined([part.at for part in roots])[order]
    # In the order of time: spans of the same moments are as good as one another.
    clients, servers = (
        found[order_by(found.start, found.end)]
        for found in (
            _joined([part.clients for part in known_callers]),
            _joined([part.servers for part in known_callers]),
        )
    )
    decided = Decided([], [], [])
    for downstream in np.unique(inner.service).tolist():
        here = inner.service == downstream
        for outside in (clients, servers):
            found = _match(inner[here], inner.services[downstream], outside)
            if found is not None:
                upstream, offset, match = found
                decided.cuts.append(Cut(upstream, outside is clients, offset, match))
                decided.key.append(key[here])
                decided.begun.append(inner.start[here] + offset)
                break
    return decided


def roots_inside(table: SpanTable, places: Places, decided: Decided) -> list[U64]:
    """By cut: the keys of the roots that begin inside a caller of this partition."""
    known = _callers(table, places)
    found = []
    for cut, key, begun in zip(decided.cuts, decided.key, decided.begun, strict=True):
        outside = known.clients if cut.by_clients else known.servers
        of_service = np.array([name == cut.upstream for name in outside.services] or [False])[outside.service]
        # A streamed answer outlasts the client span that asked for it: its beginning lies inside.
        inside = _Spans(begun, begun).contained_in(_Spans(outside.start[of_service], outside.end[of_service]))
        found.append(key[inside])
    return found


def cuts_of(decided: Decided, inside: Sequence[Sequence[U64]]) -> Cuts:
    """The cut of each root that begins inside a caller of any partition."""
    cuts: Cuts = {}
    for part in inside:
        for cut, keys in zip(decided.cuts, part, strict=True):
            cuts |= dict.fromkeys(keys.tolist(), cut.match)
    return cuts


def _joined(parts: Sequence[Moments]) -> Moments:
    services, service = one_numbering((part.services, part.service) for part in parts)
    start, end = (np.concatenate([getattr(part, name) for part in parts]) for name in ("start", "end"))
    return Moments(start, end, service.astype(np.uint32), services)


def _match(roots: Moments, downstream: str, outside: Moments) -> tuple[str, int, CutMatch] | None:
    """The upstream service that explains most of the roots of a service, and the offset between the clocks."""
    best: tuple[str, int, CutMatch] | None = None
    best_share = Fraction(0)
    inner = _Spans(roots.start, roots.end).earliest(DECIDING_ROOTS)
    for upstream in np.unique(outside.service).tolist():
        name = outside.services[upstream]
        if name == downstream:
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
        best = name, offset, CutMatch(name, count, len(inner))
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
