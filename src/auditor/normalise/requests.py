"""Which HTTP requests to a provider's API are calls that no instrumentation describes.

Most are described: a model call's span lies above its request, beside it, or below it in the gateway that answered
it. Those are taken out of the table again; what is left is spend that a trace shows and that no query for tokens
ever sees.

A trace settles its own requests. Those to a host of nobody's may be told of by a gateway in another trace, or in its
log: only all partitions together say which.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.graph.numbering import one_numbering
from auditor.graph.resolve import MAX_STEPS, Places
from auditor.graph.table import MISSING, ROOT, SpanTable
from auditor.model.lexicon import Operation
from auditor.model.spans import I64, U64, Bools, CallFacts, Role

TOLERANCE_NS = 5_000_000
"""How far an inner span may stick out of an outer one (clock granularity, end callbacks)."""
CLOCKS_NS = 1_000_000_000
"""How far the clocks of two machines may differ for a gateway's call to lie inside the request to it."""

MOST_AT_ONCE = 256
"""Calls of one trace and process that may run at the same time."""
FEWEST = 4
"""Requests of which an offset between two clocks can be told."""
MOST_COMPARED = 1000
MOSTLY = 0.6
"""Share of the requests that one offset has to explain."""

_TALKS = frozenset({Operation.CHAT, Operation.TEXT_COMPLETION})
_PER_CALL = (
    "call_row", "call_parent", "call_facts", "tokens", "call_user", "call_workflow", "call_line", "call_part",
    "searches", "reported_pico", "log_id",
)  # fmt: skip
"""Columns of the table with one entry for each candidate."""


Process = tuple[str, str]
"""Service and instance."""


@dataclass(slots=True)
class Moments:
    """When candidates were, and where: one entry each."""

    key: U64
    start: I64
    end: I64
    kind: I64
    process: I64
    """Row of ``processes``."""
    is_row: Bools
    processes: list[Process]

    def __len__(self) -> int:
        return len(self.key)

    def __getitem__(self, chosen: I64) -> Moments:
        return Moments(
            self.key[chosen], self.start[chosen], self.end[chosen], self.kind[chosen], self.process[chosen],
            self.is_row[chosen], self.processes,
        )  # fmt: skip


def leave_out_described(table: SpanTable, places: Places) -> Moments:
    """Take the requests out of the table that a model call of their own trace describes.

    Those are returned that stay and may be described elsewhere: see ``told_by_gateways``.
    """
    is_request = _are_requests(table)
    if not is_request.any():
        return none_open()
    described = _Requests(table, places, is_request).described()
    _take_out(table, described)
    requests = _Requests(table, places, is_request[~described])
    return requests.moments(np.flatnonzero(requests.is_request & ~requests.is_at_provider))


def none_open() -> Moments:
    """No requests."""
    nothing = np.empty(0, dtype=np.int64)
    return Moments(nothing.astype(np.uint64), nothing, nothing, nothing, nothing, nothing.astype(bool), [])


def leave_out(table: SpanTable, keys: U64) -> None:
    """Take the requests with these keys out of the table."""
    _take_out(table, _are_requests(table) & np.isin(table.key[table.call_row], keys))


def _are_requests(table: SpanTable) -> Bools:
    are: Bools = np.array([facts.is_request for facts in table.facts] or [False], dtype=bool)[table.call_facts]
    return are


def _take_out(table: SpanTable, described: Bools) -> None:
    if described.any():
        for name in _PER_CALL:
            setattr(table, name, getattr(table, name)[~described])


def gateway_answers(table: SpanTable, places: Places) -> Moments:
    """What a gateway tells of requests, in its log or in a trace that is cut."""
    requests = _Requests(table, places, _are_requests(table))
    parent = table.parent[requests.tops()]
    is_cut = (parent == MISSING) | ((parent == ROOT) & requests.is_served[table.place[requests.top]])
    return requests.moments(np.flatnonzero(~requests.is_request & (requests.is_row | is_cut)))


class _Requests:
    def __init__(self, table: SpanTable, places: Places, is_request: Bools) -> None:
        self.table = table
        self.is_request = is_request
        self.row = table.call_row.astype(np.int64)
        self.place = table.place[self.row]
        self.trace = table.trace[self.row]
        self.start = table.start_ns[self.row]
        self.end = table.end_ns(self.row)
        self.process = places.process[self.place]
        self.processes = places.processes
        self.is_row = np.array([shape.is_row for shape in places.shapes], dtype=bool)[places.shape[self.place]]
        facts = table.facts
        self.kind = np.array([_kind(entry) for entry in facts], dtype=np.int64)[table.call_facts]
        self.is_at_provider = np.array([bool(entry.provider) for entry in facts], dtype=bool)[table.call_facts]
        self.failed = np.array([entry.failed for entry in facts], dtype=bool)[table.call_facts]
        self.is_served = places.having(Role.SERVER)
        self.top = self.row.copy()
        self.has_request = np.zeros(len(self.row), dtype=bool)
        """Calls whose own request has been found."""

    def moments(self, numbers: I64) -> Moments:
        """When and where some of the candidates were."""
        return Moments(
            self.table.key[self.row[numbers]],
            self.start[numbers],
            self.end[numbers],
            self.kind[numbers],
            self.process[numbers],
            self.is_row[numbers],
            self.processes,
        )

    def described(self) -> Bools:
        """Whether each candidate is a request that another candidate of its trace describes."""
        found = self._on_one_way()
        self._beside(found)
        return found

    def _same_kind(self, one: I64 | int, other: I64 | int) -> Bools:
        same: Bools = (self.kind[one] == self.kind[other]) | (self.kind[one] < 0) | (self.kind[other] < 0)
        return same

    def _on_one_way(self) -> Bools:
        """Requests with a model call above or below them, or with a request below them."""
        at_row = np.full(len(self.table.key), -1, dtype=np.int64)
        at_row[self.row] = np.arange(len(self.row))
        found = np.zeros(len(self.row), dtype=bool)
        with_request = np.zeros(len(self.table.trace_ids), dtype=bool)
        with_request[self.trace[self.is_request]] = True
        active = np.flatnonzero(with_request[self.trace])
        at = self.top
        for _ in range(MAX_STEPS):
            parent = self.table.parent[at[active]]
            active, parent = active[parent >= 0], parent[parent >= 0]
            if not len(active):
                break
            at[active] = parent
            above = at_row[parent]
            lower, upper = active[above >= 0], above[above >= 0]
            fits = (lower != upper) & self._same_kind(lower, upper)
            lower, upper = lower[fits], upper[fits]
            is_own = self.is_request[lower] & ~self.is_request[upper]
            found[lower[is_own]] = True
            self.has_request[upper[is_own & ~self.failed[lower]]] = True
            # Of two requests, one inside the other, the inner one is closer to the provider.
            found[upper[self.is_request[upper]]] = True
        return found

    def _beside(self, found: Bools) -> None:
        """Requests inside the time of a model call of their trace and process, where that was not made current.

        Each call has one request; those that failed before it are attempts of the same call.
        """
        left = np.flatnonzero(self.is_request & ~found)
        calls: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number in self._in_time(np.flatnonzero(np.isin(self.trace, self.trace[left]) & ~self.is_request)):
            calls[int(self.trace[number]), int(self.process[number])].append(number)
        for request in self._in_time(left):
            near = calls[int(self.trace[request]), int(self.process[request])]
            last = bisect_right(near, int(self.start[request]) + TOLERANCE_NS, key=self.start.__getitem__)
            for call in reversed(near[max(last - MOST_AT_ONCE, 0) : last]):
                if (
                    self._same_kind(call, request)
                    and (self.failed[request] or not self.has_request[call])
                    and self.end[request] <= self.end[call] + TOLERANCE_NS
                ):
                    found[request] = True
                    self.has_request[call] |= not self.failed[request]
                    break

    def _in_time(self, numbers: I64) -> list[int]:
        order: list[int] = numbers[np.lexsort((self.table.key[self.row[numbers]], self.start[numbers]))].tolist()
        return order

    def tops(self) -> I64:
        """The top of the way of each candidate."""
        active = np.arange(len(self.top))
        for _ in range(MAX_STEPS):
            parent = self.table.parent[self.top[active]]
            active = active[parent >= 0]
            if not len(active):
                break
            self.top[active] = self.table.parent[self.top[active]]
        return self.top


def told_by_gateways(requests: Sequence[Moments], answers: Sequence[Moments]) -> U64:
    """Keys of the requests to a host of nobody's that a gateway tells of; of all partitions.

    One call for each: what one offset between the clocks explains best.
    """
    left, told = _together([*requests, *answers], len(requests))
    found = np.zeros(len(left), dtype=bool)
    free = np.ones(len(told), dtype=bool)
    for process in np.unique(left.process).tolist():
        for other in np.unique(told.process[free]).tolist():
            mine = np.flatnonzero((left.process == process) & ~found)
            theirs = np.flatnonzero((told.process == other) & free & (told.is_row | (process != other)))
            offset = _clock_offset(left.start[mine], told.start[theirs])
            matches = [_matched(left[mine], told[theirs], shift) for shift in sorted({0, offset}, key=abs)]
            best = max(matches, key=len)
            found[mine[[request for request, _ in best]]] = True
            free[theirs[[answer for _, answer in best]]] = False
    return left.key[found]


def _together(parts: Sequence[Moments], requests: int) -> tuple[Moments, Moments]:
    """Join what partitions tell, in the order of keys, with one numbering of processes: that of their names."""
    names, process = one_numbering((part.processes, part.process) for part in parts)

    def joined(some: Sequence[Moments], of_process: I64) -> Moments:
        key, start, end, kind, is_row = (
            np.concatenate([getattr(part, name) for part in some]) for name in ("key", "start", "end", "kind", "is_row")
        )
        together = Moments(key, start, end, kind, of_process, is_row, names)
        return together[np.argsort(key)]

    border = sum(map(len, parts[:requests]))
    return joined(parts[:requests], process[:border]), joined(parts[requests:], process[border:])


def _in_time(moments: Moments, numbers: I64) -> list[int]:
    order: list[int] = numbers[np.lexsort((moments.key[numbers], moments.start[numbers]))].tolist()
    return order


def _matched(requests: Moments, answers: Moments, offset: int) -> list[tuple[int, int]]:
    """Requests and answers one to one, in the order of time."""
    matched = []
    for kind in np.unique(requests.kind).tolist():
        waiting = iter(_in_time(answers, np.flatnonzero(answers.kind == kind)))
        answer = next(waiting, None)
        for request in _in_time(requests, np.flatnonzero(requests.kind == kind)):
            while answer is not None and answers.start[answer] - offset < requests.start[request] - CLOCKS_NS:
                answer = next(waiting, None)
            if answer is not None and answers.start[answer] - offset <= requests.end[request] + CLOCKS_NS:
                matched.append((request, answer))
                answer = next(waiting, None)
    return matched


def _clock_offset(starts: I64, others: I64) -> int:
    """How much later the clock of the others is, where one offset explains most of the starts; else 0."""
    starts, others = starts[:MOST_COMPARED], others[:MOST_COMPARED]
    if len(starts) < FEWEST or len(others) < FEWEST:
        return 0
    differences = np.sort((others[None, :] - starts[:, None]).ravel())
    last = np.searchsorted(differences, differences + CLOCKS_NS, side="right")
    within = last - np.arange(len(differences))
    best = int(np.argmax(within))
    if within[best] < MOSTLY * len(starts):
        return 0
    return int(np.median(differences[best : last[best]]))


def _kind(facts: CallFacts) -> int:
    """What has to agree between a request and its description; -1 for a description without an operation."""
    if facts.operation is None:
        return -1
    operations = list(Operation)
    return operations.index(Operation.CHAT if facts.operation in _TALKS else facts.operation)
